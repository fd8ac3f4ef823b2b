// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Blobs} from "src/Blobs.sol";
import {Committee} from "src/Committee.sol";
import {HauloutToken} from "src/HauloutToken.sol";
import {Staking} from "src/Staking.sol";
import {Signing} from "test/Base.t.sol";
import {Handler} from "test/Handler.sol";

/// @notice What holds whatever anybody does in whatever order. The handler itself checks, with every action, that
/// epochs go on one by one, that each shard has one owner, and that nothing stops unstaking and withdrawing.
contract InvariantsTest is Signing {
    /// @dev Foundry's: which functions of a contract the fuzzer calls.
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Handler private handler;
    HauloutToken private token;
    Staking private staking;
    Committee private committee;
    Blobs private blobs;

    function setUp() public {
        handler = new Handler();
        (address token_, address staking_, address committee_, address blobs_) = handler.contracts();
        (token, staking) = (HauloutToken(token_), Staking(staking_));
        (committee, blobs) = (Committee(committee_), Blobs(blobs_));
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[17] memory actions = [
            Handler.stake.selector,
            Handler.unstake.selector,
            Handler.cancel.selector,
            Handler.withdraw.selector,
            Handler.reward.selector,
            Handler.slash.selector,
            Handler.candidacy.selector,
            Handler.push.selector,
            Handler.attest.selector,
            Handler.wait.selector,
            Handler.register.selector,
            Handler.certify.selector,
            Handler.extendOrRemove.selector,
            Handler.payOut.selector,
            Handler.pause.selector,
            Handler.commission.selector,
            Handler.takeEarnings.selector
        ];
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), new bytes4[](actions.length));
        for (uint256 i; i < actions.length; ++i) {
            targets[0].selectors[i] = actions[i];
        }
    }

    function invariant_stake_is_conserved_and_nobody_gets_more_than_their_part() public view {
        uint256 tokens = _checkPools() + _checkUnbondings();
        for (uint32 nodeId = 1; nodeId <= handler.NODES(); ++nodeId) {
            tokens += staking.earningsOf(staking.node(nodeId).receiver);
        }
        vm.assertEq(token.balanceOf(address(staking)), tokens);
        uint256 out = handler.withdrawn() + handler.slashed() + handler.earned();
        vm.assertEq(tokens + out, handler.staked() + handler.rewarded());
    }

    function invariant_payments_are_conserved() public view {
        uint256 payments;
        for (uint32 epoch = 1; epoch <= handler.epoch() + 53; ++epoch) {
            (, uint128 payment) = blobs.accounts(epoch);
            payments += payment;
        }
        vm.assertEq(payments, handler.paid());
        vm.assertEq(token.balanceOf(address(blobs)), payments - handler.paidOut());
    }

    function invariant_certified_implies_a_quorum() public view {
        for (uint256 objectId = 1; objectId <= blobs.blobCount(); ++objectId) {
            bool isCertified = blobs.blob(objectId).certifiedEpoch != 0;
            uint256 weight = handler.certifiedWeight(objectId);
            vm.assertTrue(!isCertified || 3 * weight >= 2 * uint256(handler.N()) + 1);
        }
    }

    /// @notice At the end of each run everybody takes everything out, and nothing stays behind.
    function afterInvariant() external {
        handler.leave();
        vm.assertEq(token.balanceOf(address(staking)), 0);
    }

    /// @dev The stake on all nodes. Each pool's shares are its stakers', and together worth no more than it has.
    function _checkPools() private view returns (uint256 sum) {
        for (uint32 nodeId = 1; nodeId <= handler.NODES(); ++nodeId) {
            (uint256 tokens, uint256 shares) = staking.poolOf(nodeId);
            uint256 worth;
            for (uint256 i; i < handler.STAKERS(); ++i) {
                uint256 held = staking.sharesOf(nodeId, handler.staker(i));
                vm.assertTrue(held == 0 || held >= staking.LEAST_SHARES());
                worth += staking.stakeOf(nodeId, handler.staker(i));
                shares -= held;
            }
            vm.assertEq(shares, 0);
            vm.assertLe(worth, tokens);
            vm.assertLe(tokens, worth + handler.STAKERS());
            sum += tokens;
        }
    }

    /// @dev The same for what is unbonding.
    function _checkUnbondings() private view returns (uint256 sum) {
        for (uint256 k; k < handler.unbondingCount(); ++k) {
            (uint32 nodeId, uint32 unlockEpoch) = handler.unbondings(k);
            (uint256 tokens, uint256 shares) = staking.unbondingPoolOf(nodeId, unlockEpoch);
            vm.assertTrue(tokens <= shares && (tokens == 0) == (shares == 0));
            for (uint256 i; i < handler.STAKERS(); ++i) {
                shares -= staking.unbondingSharesOf(nodeId, unlockEpoch, handler.staker(i));
            }
            vm.assertEq(shares, 0);
            sum += tokens;
        }
    }
}
