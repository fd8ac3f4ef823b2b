// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {Blake2b} from "./Blake2b.sol";

/// @title Merkle trees by Blake2b-256: leaf `H(0x00 ‖ bytes)`, inner node `H(0x01 ‖ left ‖ right)`.
/// @notice A level of odd length is padded with one node of 32 zero bytes, so that a tree of `count` leaves has
/// `ceil(log2(count))` levels above them.
library Trees {
    /// @notice A tree of so many leaves has no leaf of this index, or no path of this length.
    error WrongPath(uint256 index, uint256 count, uint256 length);

    /// @notice The node of a leaf.
    function leaf(bytes memory content) internal view returns (bytes32) {
        return Blake2b.hash(abi.encodePacked(uint8(0), content));
    }

    /// @notice How many siblings lead from a leaf to the root of a tree of `count` leaves, at least one.
    function depth(uint256 count) internal pure returns (uint256) {
        return FixedPointMathLib.log2Up(count);
    }

    /// @notice The root of the tree of `count` leaves in which `node` is the leaf of this index.
    /// @param path The siblings on the way, from the leaf's to the one below the root.
    /// @dev As `Blake2b.hash`, but the precompile's input is laid out once for all levels, whose messages have 65 bytes each.
    function root(bytes32 node, uint256 index, uint256 count, bytes32[] calldata path)
        internal
        view
        returns (bytes32 found)
    {
        if (index >= count || path.length != depth(count)) revert WrongPath(index, count, path.length);
        (bytes32 state0, bytes32 state1) = (Blake2b.STATE_0, Blake2b.STATE_1);
        bool hasAnswered = true;
        assembly ("memory-safe") {
            let input := mload(0x40)
            let left := add(input, 69)
            let right := add(input, 101)
            mstore(input, shl(224, 12))
            mstore(add(input, 133), 0) // the rest of the block, and the count of bytes
            mstore(add(input, 165), 0)
            mstore(add(input, 181), 0)
            mstore8(add(input, 196), 65)
            mstore8(add(input, 212), 1)
            found := node
            for { let level := 0 } lt(level, path.length) { level := add(level, 1) } {
                mstore(add(input, 4), state0)
                mstore(add(input, 36), state1)
                mstore8(add(input, 68), 1)
                let isRight := and(shr(level, index), 1)
                mstore(xor(left, mul(xor(left, right), isRight)), found)
                mstore(xor(right, mul(xor(left, right), isRight)), calldataload(add(path.offset, shl(5, level))))
                hasAnswered := and(hasAnswered, staticcall(gas(), 9, input, 213, 0, 32))
                hasAnswered := and(hasAnswered, eq(returndatasize(), 64))
                found := mload(0)
            }
        }
        if (!hasAnswered) revert Blake2b.Blake2bMissing();
    }
}
