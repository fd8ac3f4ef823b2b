// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Blake2b} from "src/lib/Blake2b.sol";
import {Trees} from "src/lib/Trees.sol";

/// @notice Hashes and trees, callable: also for comparing them with other implementations.
contract TreesHarness {
    function hash(bytes calldata message) external view returns (bytes32) {
        return Blake2b.hash(message);
    }

    function leaf(bytes calldata content) external view returns (bytes32) {
        return Trees.leaf(content);
    }

    function root(bytes32 node, uint256 index, uint256 count, bytes32[] calldata path) external view returns (bytes32) {
        return Trees.root(node, index, count, path);
    }
}
