// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Blake2b} from "./Blake2b.sol";
import {LittleEndian} from "./LittleEndian.sol";

/// @title The id of a blob, recomputed on chain.
/// @notice `Blake2b-256(encoding type u8, length u64 little-endian, root 32)`. As an integer the id is the u256 whose
/// little-endian bytes are those 32.
library BlobId {
    /// @return id The id's 32 bytes, in their own order.
    function compute(uint8 encodingType, uint64 length, bytes32 root) internal view returns (bytes32 id) {
        return Blake2b.hash(abi.encodePacked(encodingType, LittleEndian.reverse64(length), root));
    }

    /// @notice The id as an integer.
    function toInteger(bytes32 id) internal pure returns (uint256) {
        return LittleEndian.reverse(uint256(id));
    }

    /// @notice The id's bytes again.
    function fromInteger(uint256 id) internal pure returns (bytes32) {
        return bytes32(LittleEndian.reverse(id));
    }
}
