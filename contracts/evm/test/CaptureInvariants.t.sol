// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {CaptureHandler} from "test/CaptureHandler.sol";

/// @notice An actor with less than a third of the stake, less rounding, never holds a third of the shards: the handler
/// checks every committee that is selected, and that it starts as selected and in time.
contract CaptureInvariantsTest {
    /// @dev Foundry's: which functions of a contract the fuzzer calls.
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    CaptureHandler private handler;

    function setUp() public {
        handler = new CaptureHandler();
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[15] memory actions = [
            CaptureHandler.stake.selector,
            CaptureHandler.spread.selector,
            CaptureHandler.unstake.selector,
            CaptureHandler.withdraw.selector,
            CaptureHandler.candidacy.selector,
            CaptureHandler.attest.selector,
            CaptureHandler.push.selector,
            CaptureHandler.outage.selector,
            CaptureHandler.purge.selector,
            CaptureHandler.standstill.selector,
            CaptureHandler.down.selector,
            CaptureHandler.up.selector,
            CaptureHandler.goAway.selector,
            CaptureHandler.comeBack.selector,
            CaptureHandler.eject.selector
        ];
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), new bytes4[](actions.length));
        for (uint256 i; i < actions.length; ++i) {
            targets[0].selectors[i] = actions[i];
        }
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_less_than_a_third_of_the_stake_never_holds_a_third_of_the_shards() external view {}
}
