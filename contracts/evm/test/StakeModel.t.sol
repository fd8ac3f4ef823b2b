// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {StakeModelHandler} from "test/StakeModelHandler.sol";

/// @notice Pools with shares give each staker what a plain account of everybody's stake gives it, whatever comes in between:
/// pay, commissions, slashings, selections that are dropped, and standstills.
contract StakeModelTest {
    /// @dev Foundry's: which functions of a contract the fuzzer calls.
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    StakeModelHandler private handler;

    function setUp() public {
        handler = new StakeModelHandler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[8] memory actions = [
            StakeModelHandler.stake.selector,
            StakeModelHandler.unstake.selector,
            StakeModelHandler.cancelStaking.selector,
            StakeModelHandler.takeBack.selector,
            StakeModelHandler.withdraw.selector,
            StakeModelHandler.settle.selector,
            StakeModelHandler.slash.selector,
            StakeModelHandler.tick.selector
        ];
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), new bytes4[](actions.length));
        for (uint256 i; i < actions.length; ++i) {
            targets[0].selectors[i] = actions[i];
        }
    }

    /// forge-config: default.invariant.runs = 64
    function invariant_each_staker_has_its_part() external view {
        handler.check();
    }

    function afterInvariant() external {
        handler.leaveAll();
    }
}
