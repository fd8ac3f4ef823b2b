// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IProofs} from "../interfaces/IProofs.sol";
import {Blake2b} from "./Blake2b.sol";
import {Bls} from "./Bls.sol";
import {BlobId} from "./BlobId.sol";
import {LittleEndian} from "./LittleEndian.sol";
import {RedStuff} from "./RedStuff.sol";
import {Trees} from "./Trees.sol";

/// @notice What the number of a position means.
struct Position {
    /// @dev Of the shard among the member's, in the committee's order, and the shard itself.
    uint256 shardNumber;
    uint16 shard;
    /// @dev Of the symbol in the sliver pair: those of the primary sliver first, then those of the secondary.
    uint256 symbol;
    /// @dev In the inventory.
    uint256 offset;
}

/// @title Which symbol a position means, and whether an opening shows it (PROTOCOL section 8).
/// @notice A position is `(shardNumber * u + symbol) * weight + offset`, where `u` symbols are stored of each sliver
/// pair and `weight` is the inventory's: so each byte that is stored is drawn as often.
library Openings {
    /// @notice The blob does not stand there in the inventory.
    error NotInInventory();
    /// @notice Another blob was drawn, or demanded.
    error NotDrawn();
    /// @notice The symbol has not the size of the blob's symbols.
    error WrongSymbolSize(uint256 size, uint256 needed);
    /// @notice The symbol is not the one at this place of the blob's grid.
    error NotOfTheBlob();
    /// @notice The member attested the shard, in this epoch, with another root.
    error NotAttested();
    /// @notice The member committed to something else at this place, or to nothing.
    error NotCommitted();

    /// @notice How many positions a member has.
    /// @param shards The member's, two bytes each.
    function positions(bytes memory shards, uint256 nShards, uint256 weight) internal pure returns (uint256) {
        return shards.length / 2 * symbolsInPair(nShards) * weight;
    }

    /// @notice The position that is drawn for a place of a member, below `end`.
    function drawn(bytes32 draw, uint32 nodeId, uint256 place, uint256 end) internal view returns (uint256) {
        bytes memory ticket = abi.encodePacked("haulout proof", draw, LittleEndian.reverse32(nodeId), _reverse16(place));
        return uint256(Blake2b.hash(ticket)) % end;
    }

    /// @notice The salt of a member's commitment.
    /// @param key The member's, 128 bytes.
    /// @param startHash Of the block that started the epoch.
    function salt(uint32 epoch, uint32 nodeId, bytes memory key, bytes32 startHash) internal view returns (bytes32) {
        (uint32 reversedEpoch, uint32 reversedId) = (LittleEndian.reverse32(epoch), LittleEndian.reverse32(nodeId));
        return Blake2b.hash(abi.encodePacked(reversedEpoch, reversedId, Bls.compress(key), startHash));
    }

    /// @notice What a position means.
    /// @param shards The member's, two bytes each.
    function locate(uint256 number, bytes memory shards, uint256 nShards, uint256 weight)
        internal
        pure
        returns (Position memory position)
    {
        position.offset = number % weight;
        number /= weight;
        position.symbol = number % symbolsInPair(nShards);
        position.shardNumber = number / symbolsInPair(nShards);
        uint256 place = 2 * position.shardNumber;
        position.shard = uint16(uint8(shards[place])) << 8 | uint8(shards[place + 1]);
    }

    /// @notice Requires that an opening is about the blob that a position means. Returns the blob's id, which an opening
    /// without a symbol names itself.
    /// @param inventory The root of its tree of `count` blobs.
    function requireInInventory(
        IProofs.Opening calldata opening,
        Position memory position,
        bytes32 inventory,
        uint256 count,
        uint256 nShards
    ) internal view returns (bytes32 id) {
        uint256 size = RedStuff.symbolSize(nShards, opening.blobLength);
        id = opening.symbol.length == 0
            ? opening.blobRoot
            : BlobId.compute(RedStuff.ENCODING_TYPE, opening.blobLength, opening.blobRoot);
        uint64 reversedOffset = LittleEndian.reverse64(opening.offset);
        bytes32 node = Trees.leaf(abi.encodePacked(id, _reverse16(size), reversedOffset));
        if (Trees.root(node, opening.index, count, opening.inventoryPath) != inventory) revert NotInInventory();
        bool isCovered = position.offset >= opening.offset && position.offset < opening.offset + size;
        if (!isCovered) revert NotDrawn();
    }

    /// @notice Requires that an opening's symbol is the one at a position of the blob with this id.
    function requireSymbol(IProofs.Opening calldata opening, Position memory position, bytes32 id, uint256 nShards)
        internal
        view
    {
        uint256 size = RedStuff.symbolSize(nShards, opening.blobLength);
        if (opening.symbol.length != size) revert WrongSymbolSize(opening.symbol.length, size);
        uint256 pair = (position.shard + nShards - uint256(id) % nShards) % nShards;
        bytes32 node = _pairNode(opening, position.symbol, nShards);
        if (Trees.root(node, pair, nShards, opening.blobPath) != opening.blobRoot) revert NotOfTheBlob();
    }

    /// @notice The root of the shard's tree that an opening's symbol leads to, by the first part of its commitment path.
    /// @param salt_ The member's.
    /// @param count Blobs of the inventory.
    /// @return node The root.
    /// @return above The rest of the path.
    function shardRoot(
        IProofs.Opening calldata opening,
        Position memory position,
        bytes32 salt_,
        uint256 count,
        uint256 nShards
    ) internal view returns (bytes32 node, bytes32[] calldata above) {
        node = Trees.leaf(abi.encodePacked(salt_, opening.symbol));
        (node, above) = _climb(node, position.symbol, symbolsInPair(nShards), opening.commitmentPath);
        (node, above) = _climb(node, opening.index, count, above);
    }

    /// @notice How many symbols are stored of a sliver pair: `u`.
    function symbolsInPair(uint256 nShards) internal pure returns (uint256) {
        (uint256 rows, uint256 columns) = RedStuff.grid(nShards);
        return rows + columns;
    }

    /// @dev The root of a tree to which the first part of a path leads, and the rest of the path.
    function _climb(bytes32 node, uint256 index, uint256 count, bytes32[] calldata path)
        private
        view
        returns (bytes32, bytes32[] calldata)
    {
        uint256 depth = Trees.depth(count);
        if (depth > path.length) revert Trees.WrongPath(index, count, path.length);
        return (Trees.root(node, index, count, path[:depth]), path[depth:]);
    }

    /// @dev The blob's node of a pair of which an opening shows symbol number `symbol`, and the other sliver's root.
    function _pairNode(IProofs.Opening calldata opening, uint256 symbol, uint256 nShards)
        private
        view
        returns (bytes32)
    {
        (, uint256 columns) = RedStuff.grid(nShards);
        bytes32 node = Trees.leaf(opening.symbol);
        if (symbol < columns) {
            node = Trees.root(node, symbol, nShards, opening.sliverPath);
            return Trees.leaf(abi.encodePacked(node, opening.otherRoot));
        }
        node = Trees.root(node, symbol - columns, nShards, opening.sliverPath);
        return Trees.leaf(abi.encodePacked(opening.otherRoot, node));
    }

    /// @dev Of a number below 2^16.
    function _reverse16(uint256 value) private pure returns (uint16) {
        return uint16(value << 8 | value >> 8);
    }
}
