// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IStaking} from "src/interfaces/IStaking.sol";
import {Base} from "test/Base.t.sol";

/// @notice What the tests of staking, unstaking and withdrawing begin with; a share is worth one unit throughout.
abstract contract StakeBase is Base {
    address internal constant STAKER = address(0xbeef);
    uint256 internal constant UNIT = 1e9; // the least stake

    /// @dev Epoch 1 runs, with four nodes that are settled.
    function _staked() internal {
        _addNodes(4);
        _nextEpoch();
        _payOutAll();
    }

    function _expectBonded(uint32 nodeId, uint32 unlockPeriod) internal {
        vm.assertFalse(staking.isUnlocked(unlockPeriod));
        vm.expectRevert(abi.encodeWithSelector(IStaking.StillBonded.selector, unlockPeriod));
        staking.withdraw(nodeId, unlockPeriod);
    }

    function _expectTooMany(address staker, uint256 held, uint256 shares) internal {
        vm.expectRevert(abi.encodeWithSelector(IStaking.NotEnoughShares.selector, held, shares));
        vm.prank(staker);
        staking.unstake(1, shares);
    }
}
