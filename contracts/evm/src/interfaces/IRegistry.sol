// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice What the stake asks of the registry.
interface IRegistry {
    /// @notice No node has this id.
    error UnknownNode(uint32 nodeId);

    /// @notice How many nodes there are; their ids are 1 to this.
    function nodeCount() external view returns (uint32);
    /// @notice The account that gets a node's commission.
    function receiverOf(uint32 nodeId) external view returns (address);
    /// @notice What a node takes of a period's rewards, hundredths of a percent.
    function commissionIn(uint32 nodeId, uint32 period) external view returns (uint16);
}
