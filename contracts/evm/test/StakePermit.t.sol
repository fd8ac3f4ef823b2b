// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {StakeBase} from "test/StakeBase.t.sol";

/// @notice Staking with a permit in one transaction.
contract StakePermitTest is StakeBase {
    function setUp() public override {
        super.setUp();
        _addNode(STAKE);
        token.mint(STAKER, STAKE);
    }

    function test_multicall_with_a_permit_that_does_not_hold_says_what_is_lacking() public {
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(staking.permit, (STAKE, block.timestamp, 27, bytes32("r"), bytes32("s")));
        calls[1] = abi.encodeCall(staking.stake, (1, STAKE));
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(staking), 0, STAKE)
        );
        vm.prank(STAKER);
        staking.multicall(calls);
    }

    function test_multicall_with_an_allowance_stakes_though_its_permit_was_used_by_another() public {
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(staking.permit, (STAKE, block.timestamp, 27, bytes32("r"), bytes32("s")));
        calls[1] = abi.encodeCall(staking.stake, (1, STAKE));
        vm.startPrank(STAKER);
        token.approve(address(staking), STAKE); // as the permit, mined before, has made it
        staking.multicall(calls);
        vm.stopPrank();
        vm.assertEq(staking.stakeOf(1, STAKER), STAKE);
    }
}
