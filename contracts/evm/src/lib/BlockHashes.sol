// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title The hashes of blocks that are past.
library BlockHashes {
    /// @dev EIP-2935's contract, which keeps the hashes of the last 8191 blocks (Prague).
    address private constant HISTORY = 0x0000F90827F1C53a10cb7A02335B175320002935;

    /// @notice The hash of a block; 0 for one that is this one, is to come, or is older than the chain tells.
    function hashOf(uint256 blockNumber) internal view returns (bytes32 blockHash) {
        blockHash = blockhash(blockNumber);
        if (blockHash != 0 || blockNumber >= block.number) return blockHash;
        (bool success, bytes memory answer) = HISTORY.staticcall(abi.encode(blockNumber));
        if (success && answer.length == 32) blockHash = bytes32(answer);
    }
}
