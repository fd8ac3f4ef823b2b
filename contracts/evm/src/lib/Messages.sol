// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {LittleEndian} from "./LittleEndian.sol";

/// @title The messages that storage nodes sign, byte for byte.
/// @notice `intent u8, version u8 (1), application u8 (3), epoch u32 little-endian, domain 32, body`. The domain
/// names the chain and the deployment, so that no signature serves on another one.
library Messages {
    /// @notice A node's key signs for itself; body: account left-padded to 32 bytes, compressed key 48.
    uint8 internal constant POSSESSION = 0;
    /// @notice Both slivers of all the signer's shards are durable; body: blob id 32, then 0x00 for a permanent blob
    /// or 0x01 and the object id 32 for a deletable one.
    uint8 internal constant BLOB = 1;
    /// @notice The writer encoded the blob inconsistently; body: blob id 32.
    uint8 internal constant INVALID_BLOB = 2;
    /// @notice A member is to be ejected; body: node id left-padded to 32 bytes, reason u8, and the last second at which
    /// this counts, u64 little-endian.
    uint8 internal constant EJECT = 7;
    /// @notice What the members are to store; body: root of the inventory's tree 32, count u32 and weight u64, both
    /// little-endian.
    uint8 internal constant INVENTORY = 10;
    /// @notice A member showed its fellows what was drawn; body: node id left-padded to 32 bytes, draw 32.
    uint8 internal constant PROOF = 11;

    uint8 private constant VERSION = 1;
    uint8 private constant APPLICATION = 3;

    /// @notice The domain of the deployment whose system contract this is, on this chain.
    function domainOf(address system) internal view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, system));
    }

    function encode(uint8 intent, uint32 epoch, bytes32 domain, bytes memory body)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(intent, VERSION, APPLICATION, LittleEndian.reverse32(epoch), domain, body);
    }

    function possession(address account, bytes memory compressedKey) internal pure returns (bytes memory) {
        return abi.encodePacked(uint256(uint160(account)), compressedKey);
    }

    function permanentBlob(bytes32 blobId) internal pure returns (bytes memory) {
        return abi.encodePacked(blobId, uint8(0));
    }

    function deletableBlob(bytes32 blobId, uint256 objectId) internal pure returns (bytes memory) {
        return abi.encodePacked(blobId, uint8(1), objectId);
    }

    function invalidBlob(bytes32 blobId) internal pure returns (bytes memory) {
        return abi.encodePacked(blobId);
    }

    function ejection(uint32 nodeId, uint8 reason, uint64 deadline) internal pure returns (bytes memory) {
        return abi.encodePacked(uint256(nodeId), reason, LittleEndian.reverse64(deadline));
    }

    function inventory(bytes32 root, uint32 count, uint64 weight) internal pure returns (bytes memory) {
        return abi.encodePacked(root, LittleEndian.reverse32(count), LittleEndian.reverse64(weight));
    }

    function proof(uint32 nodeId, bytes32 draw) internal pure returns (bytes memory) {
        return abi.encodePacked(uint256(nodeId), draw);
    }
}
