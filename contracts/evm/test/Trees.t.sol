// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Blake2b} from "src/lib/Blake2b.sol";
import {Trees} from "src/lib/Trees.sol";
import {TreesHarness} from "test/TreesHarness.sol";
import {Vm} from "test/Vm.sol";

/// @notice Hashes and trees against Python's: one digest over thousands of cases, which tests/storage/proofs/test_trees.py
/// computes by hashlib from the same inputs and finds in this file.
contract TreesTest {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    bytes32 private constant HASHES = 0x14f59f57610e677a5e75f0547a4acc9ed77d5e3299f0f4453880c57abacae912;
    bytes32 private constant ROOTS = 0xf7531eb8546432663950c220cf84549005365902f9aad7463779b9046f0c52e1;

    TreesHarness private harness = new TreesHarness();

    /// @dev All lengths around the first five blocks, and the largest symbol. Each message begins with the hash before.
    function test_hash_agrees_with_hashlib() public view {
        bytes32 last;
        for (uint256 length; length <= 640; ++length) {
            last = harness.hash(_message(last, length));
        }
        vm.assertEq(harness.hash(_message(last, 65534)), HASHES);
    }

    function test_hash_reverts_where_the_precompile_answers_with_nothing() public {
        vm.mockCall(address(9), "", "");
        vm.expectRevert(Blake2b.Blake2bMissing.selector);
        harness.hash("");
        vm.expectRevert(Blake2b.Blake2bMissing.selector);
        harness.root(0, 0, 2, new bytes32[](1));
    }

    /// @dev Trees of 1 to 2000 leaves; in each the first, the last and five more lead to the root.
    function test_root_agrees_with_python() public view {
        bytes32 all;
        uint16[13] memory counts = [1, 2, 3, 4, 5, 7, 8, 9, 31, 101, 334, 1000, 2000];
        for (uint256 i; i < counts.length; ++i) {
            (uint256 count, bytes32[][] memory levels) = (counts[i], _levels(counts[i]));
            bytes32 root = levels[levels.length - 1][0];
            for (uint256 j; j < 7; ++j) {
                uint256 index = j == 6 ? count - 1 : j * count / 6;
                vm.assertEq(harness.root(levels[0][index], index, count, _path(levels, index)), root);
            }
            all = harness.hash(abi.encodePacked(all, root));
        }
        vm.assertEq(all, ROOTS);
    }

    function test_root_is_another_for_each_other_leaf_index_or_sibling() public view {
        bytes32[][] memory levels = _levels(101);
        bytes32 root = levels[levels.length - 1][0];
        for (uint256 index; index < 101; index += 7) {
            bytes32[] memory path = _path(levels, index);
            vm.assertTrue(harness.root(levels[0][(index + 1) % 101], index, 101, path) != root);
            for (uint256 other; other < 101; ++other) {
                if (other != index) vm.assertTrue(harness.root(levels[0][index], other, 101, path) != root);
            }
            for (uint256 level; level < path.length; ++level) {
                path[level] ^= bytes32(uint256(1));
                vm.assertTrue(harness.root(levels[0][index], index, 101, path) != root);
                path[level] ^= bytes32(uint256(1));
            }
        }
    }

    function test_root_reverts_for_an_index_beyond_the_leaves() public {
        bytes32[] memory path = new bytes32[](2);
        vm.expectRevert(abi.encodeWithSelector(Trees.WrongPath.selector, 3, 3, 2));
        harness.root(0, 3, 3, path);
        vm.expectRevert(abi.encodeWithSelector(Trees.WrongPath.selector, 0, 0, 0));
        harness.root(0, 0, 0, new bytes32[](0));
    }

    function test_root_reverts_for_a_path_too_short_or_too_long() public {
        for (uint256 count = 1; count <= 9; ++count) {
            uint256 depth = count == 1 ? 0 : count == 2 ? 1 : count <= 4 ? 2 : count <= 8 ? 3 : 4;
            for (uint256 length; length <= 6; ++length) {
                if (length == depth) continue;
                vm.expectRevert(abi.encodeWithSelector(Trees.WrongPath.selector, 0, count, length));
                harness.root(0, 0, count, new bytes32[](length));
            }
        }
    }

    function _message(bytes32 last, uint256 length) private pure returns (bytes memory message) {
        message = new bytes(length);
        for (uint256 i; i < length; ++i) {
            message[i] = i < 32 ? last[i] : bytes1(uint8(7 * i + length));
        }
    }

    /// @dev From the leaves, which are their numbers as u32, to the root.
    function _levels(uint256 count) private view returns (bytes32[][] memory levels) {
        levels = new bytes32[][](12);
        levels[0] = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            levels[0][i] = harness.leaf(abi.encodePacked(uint32(i)));
        }
        uint256 level;
        for (; levels[level].length > 1; ++level) {
            bytes32[] memory below = levels[level];
            bytes32[] memory nodes = new bytes32[]((below.length + 1) / 2);
            for (uint256 i; i < nodes.length; ++i) {
                bytes32 right = 2 * i + 1 < below.length ? below[2 * i + 1] : bytes32(0);
                nodes[i] = harness.hash(abi.encodePacked(uint8(1), below[2 * i], right));
            }
            levels[level + 1] = nodes;
        }
        assembly ("memory-safe") {
            mstore(levels, add(level, 1))
        }
    }

    function _path(bytes32[][] memory levels, uint256 index) private pure returns (bytes32[] memory path) {
        path = new bytes32[](levels.length - 1);
        for (uint256 level; level < path.length; ++level) {
            uint256 sibling = (index >> level) ^ 1;
            path[level] = sibling < levels[level].length ? levels[level][sibling] : bytes32(0);
        }
    }
}
