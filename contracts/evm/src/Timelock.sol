// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

/// @title The governor of a deployment: what it does is announced, and done no sooner than its delay.
/// @notice OpenZeppelin's timelock without an administrator: its roles and its delay change through itself only.
contract Timelock is TimelockController {
    /// @param delay Seconds from announcement to execution.
    /// @param proposers May announce and cancel.
    /// @param executors May execute; the zero address stands for anybody.
    constructor(uint256 delay, address[] memory proposers, address[] memory executors)
        TimelockController(delay, proposers, executors, address(0))
    {}
}
