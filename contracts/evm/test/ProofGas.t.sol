// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IProofs} from "src/interfaces/IProofs.sol";
import {LittleEndian} from "src/lib/LittleEndian.sol";
import {Messages} from "src/lib/Messages.sol";
import {Trees} from "src/lib/Trees.sol";
import {Blake2b} from "src/lib/Blake2b.sol";
import {Base} from "test/Base.t.sol";
import {PlainTrees} from "test/ProofBase.sol";

/// @notice A tree whose leaves are all the same.
struct Uniform {
    bytes32 node;
    uint256 count;
}

/// @notice What whole transactions of the storage proofs cost among 100 members and 1000 shards, with symbols of 302
/// bytes: calldata included, also by its floor price (EIP-7623).
/// @dev All bytes of a blob are the same, so that trees of 1000 leaves are made of few nodes.
/// forge-config: default.isolate = true
contract ProofGasTest is Base {
    event GasUsed(string action, uint256 gas);

    uint32 private constant MEMBERS = 100;
    uint256 private constant N = 1000;
    uint256 private constant U = 1001; // 334 rows and 667 columns
    uint256 private constant SIZE_T = 302;
    uint64 private constant LONGEST = 302 * 334 * 667;
    uint32 private constant MEMBER = 42;

    bytes private symbol;
    bytes32 private blobRoot;
    bytes32[] private inventoryLeaves;
    uint64 private weight;

    function setUp() public override {
        vm.warp(1_700_000_000);
        _deploy(uint16(N), 500);
        _addNodes(MEMBERS);
        _nextEpoch();
        vm.roll(block.number + 1);
        for (uint256 i; i < SIZE_T; ++i) {
            symbol = bytes.concat(symbol, bytes1(0xa5));
        }
        bytes32 sliver = _root(Uniform(_leaf(symbol), N));
        blobRoot = _root(Uniform(_leaf(abi.encodePacked(sliver, sliver)), N));
    }

    function test_gas_of_a_round() public {
        (bytes32 root, bytes memory bitmap, bytes memory signature) = _inventory(1000);
        proofs.begin(root, 1000, weight, bitmap, signature);
        _report("begin", 330_000);
        bytes32 committed = _commitment(1000);
        vm.prank(_operator(MEMBER));
        proofs.commit(1, committed);
        _report("commit", 60_000);
        vm.warp(proofs.roundOf(1).commitBy);
        proofs.draw();
        vm.roll(block.number + 5);
        proofs.draw();
        _report("draw", 100_000);
        bytes32 drawn = proofs.roundOf(1).draw;
        (bitmap, signature) = _certificate(MEMBERS, 0, _message(Messages.PROOF, 1, Messages.proof(1, drawn)));
        proofs.prove(1, bitmap, signature);
        _report("prove, all sign, not committed", 260_000);
        (bitmap, signature) = _certificate(MEMBERS, 0, _message(Messages.PROOF, 1, Messages.proof(MEMBER, drawn)));
        proofs.prove(MEMBER, bitmap, signature);
        _report("prove, all sign", 240_000);
        vm.warp(proofs.roundOf(1).answerBy + 1);
        proofs.judge(2);
        _report("judge", 200_000);
    }

    function test_gas_of_an_opening_of_one_blob() public {
        _drawWith(1);
        _measure("answer one of one blob", 0, 1, 140_000);
        _measure("answer another of one blob", 1, 1, 140_000);
    }

    function test_gas_of_sixteen_openings_of_one_blob() public {
        _drawWith(1);
        _measure("answer sixteen of one blob, each", 0, 16, 75_000);
    }

    function test_gas_of_openings_of_a_thousand_blobs() public {
        _drawWith(1000);
        _measure("answer one of a thousand blobs", 0, 1, 160_000);
        _measure("answer fifteen of a thousand blobs, each", 1, 15, 110_000);
    }

    // The world

    function _drawWith(uint32 count) private {
        (bytes32 root, bytes memory bitmap, bytes memory signature) = _inventory(count);
        proofs.begin(root, count, weight, bitmap, signature);
        bytes32 committed = _commitment(count);
        vm.prank(_operator(MEMBER));
        proofs.commit(1, committed);
        vm.warp(proofs.roundOf(1).commitBy);
        proofs.draw();
        vm.roll(block.number + 5);
        proofs.draw();
    }

    /// @dev Blobs of one root and of different lengths have different ids.
    function _inventory(uint32 count) private returns (bytes32 root, bytes memory bitmap, bytes memory signature) {
        for (uint64 i; i < count; ++i) {
            bytes memory named = abi.encodePacked(uint8(1), LittleEndian.reverse64(LONGEST - i), blobRoot);
            inventoryLeaves.push(
                _leaf(abi.encodePacked(Blake2b.hash(named), hex"2e01", LittleEndian.reverse64(weight)))
            );
            weight += uint64(SIZE_T);
        }
        root = PlainTrees.root(inventoryLeaves);
        bytes memory message = _message(Messages.INVENTORY, 1, Messages.inventory(root, count, weight));
        (bitmap, signature) = _certificate(MEMBERS, 0, message);
    }

    function _pairTree() private view returns (Uniform memory) {
        return Uniform(_leaf(abi.encodePacked(proofs.saltOf(MEMBER), symbol)), U);
    }

    function _commitment(uint256 count) private view returns (bytes32) {
        return _root(Uniform(_root(Uniform(_root(_pairTree()), count)), N / MEMBERS));
    }

    function _opening(uint256 position) private view returns (IProofs.Opening memory opening) {
        uint256 index = position % weight / SIZE_T;
        uint256 column = position / weight % U;
        uint256 rank = position / weight / U;
        opening.index = uint32(index);
        opening.offset = uint64(index * SIZE_T);
        opening.inventoryPath = PlainTrees.path(inventoryLeaves, index);
        (opening.blobRoot, opening.blobLength, opening.symbol) = (blobRoot, LONGEST - uint64(index), symbol);
        Uniform memory shards = Uniform(_root(_pairTree()), inventoryLeaves.length);
        bytes32[] memory path = PlainTrees.joined(_path(_pairTree(), column), _path(shards, index));
        opening.commitmentPath = PlainTrees.joined(path, _path(Uniform(_root(shards), N / MEMBERS), rank));
        Uniform memory sliver = Uniform(_leaf(symbol), N);
        opening.sliverPath = _path(sliver, column < 667 ? column : column - 667);
        opening.otherRoot = _root(sliver);
        bytes memory named = abi.encodePacked(uint8(1), LittleEndian.reverse64(opening.blobLength), blobRoot);
        (, bytes memory own) = committee.memberOf(1, MEMBER);
        uint256 shard = uint256(uint8(own[2 * rank])) << 8 | uint8(own[2 * rank + 1]);
        uint256 pair = (shard + N - uint256(Blake2b.hash(named)) % N) % N;
        bytes32 node = _leaf(abi.encodePacked(opening.otherRoot, opening.otherRoot));
        opening.blobPath = _path(Uniform(node, N), pair);
    }

    function _measure(string memory action, uint256 first, uint256 count, uint256 most) private {
        (uint256[] memory places, IProofs.Opening[] memory openings) =
            (new uint256[](count), new IProofs.Opening[](count));
        for (uint256 i; i < count; ++i) {
            (places[i], openings[i]) = (first + i, _opening(proofs.positionOf(MEMBER, first + i)));
        }
        proofs.answer(MEMBER, places, openings);
        uint256 used = vm.lastCallGas().gasTotalUsed;
        uint256 floor = _floor(abi.encodeCall(proofs.answer, (MEMBER, places, openings)));
        used = used > floor ? used : floor;
        emit GasUsed(action, used / count);
        emit GasUsed("of that the floor price of its calldata", floor / count);
        vm.assertLe(used / count, most);
    }

    /// @dev What calldata costs at least, the transaction's own gas included (EIP-7623).
    function _floor(bytes memory data) private pure returns (uint256) {
        uint256 tokens;
        for (uint256 i; i < data.length; ++i) {
            tokens += data[i] == 0 ? 1 : 4;
        }
        return 21_000 + 10 * tokens;
    }

    function _report(string memory action, uint256 most) private {
        uint256 used = vm.lastCallGas().gasTotalUsed;
        emit GasUsed(action, used);
        vm.assertLe(used, most);
    }

    // Trees of leaves that are all the same

    function _leaf(bytes memory content) private view returns (bytes32) {
        return Trees.leaf(content);
    }

    function _root(Uniform memory tree) private view returns (bytes32 root) {
        (root,) = _walk(tree, 0);
    }

    function _path(Uniform memory tree, uint256 index) private view returns (bytes32[] memory path) {
        (, path) = _walk(tree, index);
    }

    /// @dev At each level all nodes are `full` but for the last.
    function _walk(Uniform memory tree, uint256 index) private view returns (bytes32 root, bytes32[] memory path) {
        path = new bytes32[](Trees.depth(tree.count));
        (bytes32 full, bytes32 last, uint256 count) = (tree.node, tree.node, tree.count);
        for (uint256 level; level < path.length; ++level) {
            uint256 sibling = index ^ 1;
            path[level] = sibling >= count ? bytes32(0) : sibling == count - 1 ? last : full;
            last = count % 2 == 1 ? _inner(last, 0) : _inner(full, last);
            (full, count, index) = (_inner(full, full), (count + 1) / 2, index / 2);
        }
        return (last, path);
    }

    function _inner(bytes32 left, bytes32 right) private view returns (bytes32) {
        return Blake2b.hash(abi.encodePacked(uint8(1), left, right));
    }
}
