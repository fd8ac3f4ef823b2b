// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Blobs} from "src/Blobs.sol";
import {Committee} from "src/Committee.sol";
import {HauloutToken} from "src/HauloutToken.sol";
import {Staking} from "src/Staking.sol";
import {IBlobs} from "src/interfaces/IBlobs.sol";
import {IRegistry} from "src/interfaces/IRegistry.sol";
import {IStaking} from "src/interfaces/IStaking.sol";
import {Signing} from "test/Base.t.sol";
import {GovernanceHandler} from "test/GovernanceHandler.sol";
import {Handler} from "test/Handler.sol";
import {N, NODES, STAKERS, StakeHandler, stakerAt} from "test/StakeHandler.sol";
import {TradeHandler} from "test/TradeHandler.sol";

/// @notice What holds whatever anybody does in whatever order. The handler itself checks, with every action, that
/// epochs go on one by one, that each shard has one owner, and that nothing stops unstaking and withdrawing.
contract InvariantsTest is Signing {
    /// @dev Foundry's: which functions of a contract the fuzzer calls.
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    uint256 private constant LEAST_SHARES = 1e9;
    /// @dev What rounding can shift between stakers in a run: a hundred times the worth of the dearest share, which
    /// is that of the least shares after all that was paid.
    uint256 private constant DUST = 100 * (100 * 4 * 16 * 1e22 / LEAST_SHARES);

    GovernanceHandler private handler;
    HauloutToken private token;
    Staking private staking;
    Committee private committee;
    Blobs private blobs;

    function setUp() public {
        handler = new GovernanceHandler();
        (address token_, address staking_, address committee_, address blobs_) = handler.contracts();
        (token, staking) = (HauloutToken(token_), Staking(staking_));
        (committee, blobs) = (Committee(committee_), Blobs(blobs_));
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[24] memory actions = [
            StakeHandler.stake.selector,
            StakeHandler.unstake.selector,
            StakeHandler.cancel.selector,
            StakeHandler.unstakeSooner.selector,
            StakeHandler.withdraw.selector,
            StakeHandler.slash.selector,
            StakeHandler.candidacy.selector,
            Handler.push.selector,
            Handler.attest.selector,
            Handler.register.selector,
            Handler.certify.selector,
            Handler.extendOrRemove.selector,
            Handler.payOut.selector,
            Handler.reserve.selector,
            Handler.refund.selector,
            Handler.eject.selector,
            Handler.replace.selector,
            Handler.govern.selector,
            TradeHandler.trade.selector,
            TradeHandler.invalidate.selector,
            GovernanceHandler.vote.selector,
            GovernanceHandler.decide.selector,
            GovernanceHandler.offer.selector,
            GovernanceHandler.accept.selector
        ];
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), new bytes4[](actions.length));
        for (uint256 i; i < actions.length; ++i) {
            targets[0].selectors[i] = actions[i];
        }
    }

    /// @dev One invariant for all of them: Foundry runs a campaign for each.
    function invariant_the_books_balance_and_certified_means_signed_by_a_quorum() external view {
        _checkStake();
        _checkPayments();
        _checkSpace();
        _checkCertificates();
        _checkOwners();
    }

    /// @notice At the end of each run everybody takes everything out: nothing stays behind, and nobody gets more than
    /// was put in and all the rewards.
    function afterInvariant() external {
        handler.leaveAll();
        vm.assertEq(token.balanceOf(address(staking)), 0);
        // What nobody earned is the next period's members', should there be one; users got back all they paid for later.
        vm.assertEq(token.balanceOf(address(blobs)), blobs.unearned());
        for (uint256 i; i < STAKERS; ++i) {
            uint256 most = handler.stakedBy(stakerAt(i)) + handler.rewarded() + DUST;
            vm.assertLe(handler.withdrawnBy(stakerAt(i)), most);
        }
    }

    /// @dev Tokens are conserved: what is there is what came in and did not go out.
    function _checkStake() private view {
        uint256 tokens = _checkPools() + _checkUnbondings();
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            tokens += staking.earningsOf(handler.receiver(nodeId));
        }
        vm.assertEq(token.balanceOf(address(staking)), tokens);
        uint256 out = handler.withdrawn() + handler.slashed() + handler.earned();
        vm.assertEq(tokens + out, handler.staked() + handler.rewarded());
    }

    /// @dev What is paid for epochs that are not closed, what the members of closed ones are still owed, and what nobody
    /// earned of these.
    function _checkPayments() private view {
        uint32 last = handler.period() + 8; // the handler pays for no later epoch
        uint256 owed = blobs.unearned();
        for (uint32 period = blobs.openPeriod(); period <= last; ++period) {
            (, uint128 payment) = blobs.accounts(period);
            owed += payment;
        }
        for (uint32 period = 1; period < blobs.openPeriod(); ++period) {
            for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
                owed += blobs.owed(period, nodeId);
            }
        }
        vm.assertEq(token.balanceOf(address(blobs)), owed);
        vm.assertEq(owed + handler.paidOut() + handler.refunded(), handler.paid());
    }

    /// @dev What is booked in each coming period is the space of what lives in it. (In the current one, what was refunded
    /// for the coming ones stays booked.)
    function _checkSpace() private view {
        uint32 current = committee.period();
        uint256[10] memory mebibytes; // by periods ahead
        for (uint256 id = 1; id <= blobs.reservationCount(); ++id) {
            (, uint64 size, uint32 startPeriod, uint32 endPeriod) = blobs.reservations(id);
            uint32 first = startPeriod < current ? current : startPeriod;
            for (uint32 period = first; period < endPeriod; ++period) {
                mebibytes[period - current] += size >> 20;
            }
        }
        for (uint256 id = 1; id <= blobs.blobCount(); ++id) {
            IBlobs.BlobView memory blob = blobs.blob(id);
            for (uint32 period = current; period < blob.endPeriod; ++period) {
                mebibytes[period - current] += blob.size >> 20;
            }
        }
        for (uint32 ahead; ahead < mebibytes.length; ++ahead) {
            (uint64 reserved,) = blobs.accounts(current + ahead);
            vm.assertTrue(mebibytes[ahead] == reserved || (ahead == 0 && mebibytes[ahead] < reserved));
        }
    }

    function _checkCertificates() private view {
        uint256 count = blobs.blobCount();
        uint256 quorum = (2 * uint256(N) + 3) / 3; // the least w with 3w >= 2n + 1
        for (uint256 objectId = 1; objectId <= count; ++objectId) {
            bool isCertified = blobs.blob(objectId).certifiedEpoch != 0;
            vm.assertTrue(!isCertified || handler.certifiedWeight(objectId) >= quorum);
        }
    }

    function _checkOwners() private view {
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            IRegistry.NodeView memory node = committee.registry().node(nodeId);
            vm.assertEq(node.owner, handler.ownerOf(nodeId));
            vm.assertEq(node.nextOwner, handler.nextOwnerOf(nodeId));
        }
    }

    /// @dev The stake on all nodes, and what is to join. Each pool's shares are its stakers' and those that are to leave,
    /// together worth no more than it has.
    function _checkPools() private view returns (uint256 sum) {
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            (uint256 tokens, uint256 shares) = staking.poolOf(nodeId);
            (uint256 joining, uint256 leaving) = staking.pendingOf(nodeId);
            uint256 worth;
            uint256 held = leaving;
            uint256 joins;
            for (uint256 i; i < STAKERS; ++i) {
                held += staking.sharesOf(nodeId, stakerAt(i));
                worth += staking.stakeOf(nodeId, stakerAt(i));
                IStaking.Joining[] memory joinings = staking.joiningsOf(nodeId, stakerAt(i));
                for (uint256 k; k < joinings.length; ++k) {
                    joins += joinings[k].amount;
                }
            }
            vm.assertEq(joins, joining);
            // Of those who joined together, the last one gets the share that rounding has left.
            vm.assertLe(held, shares);
            vm.assertLe(shares, held + 2 * STAKERS);
            vm.assertLe(worth, tokens + joining);
            sum += tokens + joining;
        }
    }

    /// @dev What is unbonding. What is not settled yet is counted with the node's pool.
    function _checkUnbondings() private view returns (uint256 sum) {
        for (uint256 k; k < handler.unbondingCount(); ++k) {
            (uint32 nodeId, uint32 unlockPeriod) = handler.unbondings(k);
            (uint256 tokens, uint256 shares) = staking.unbondingPoolOf(nodeId, unlockPeriod);
            vm.assertTrue(tokens == 0 || shares != 0);
            for (uint256 i; i < STAKERS; ++i) {
                shares -= staking.unbondingSharesOf(nodeId, unlockPeriod, stakerAt(i));
            }
            vm.assertEq(shares, 0);
            if (unlockPeriod <= staking.settledPeriod(nodeId)) sum += tokens;
        }
    }
}
