// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Election} from "src/Election.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {ReplacementBase} from "test/ReplacementBase.sol";

/// @notice What members earn in a period in which some of them are replaced.
contract ReplacementPayTest is ReplacementBase {
    uint64 private constant SPACE = 1000 << 20;
    uint256 private constant COST = 1000 * uint256(PRICE); // of SPACE, per period
    uint256 private constant PART = COST / (100 * 10_000);

    uint256 private startedAt;

    function setUp() public override {
        super.setUp();
        startedAt = committee.state().startedAt;
        _payOutAll();
        blobs.reserve(SPACE, 4, ANY);
    }

    function test_an_ejected_member_earns_nothing_in_that_epoch_and_its_heirs_from_their_attestations() public {
        _replaceAt(3, 400);
        vm.warp(startedAt + 700);
        _attest(1, _gained(1));
        vm.assertEq(committee.earnings(1, 3), 0);
        vm.assertEq(committee.earnings(1, 1), 20 * 10_000 + 5 * 3_000);
        vm.assertEq(committee.earnings(1, 2), 20 * 10_000);
        vm.assertEq(committee.earned(1), 80 * 10_000 + 5 * 3_000);
        _finishPeriod();
        vm.assertEq(blobs.owed(1, 3), 0);
        vm.assertEq(_payOutAll(), PART * (80 * 10_000 + 5 * 3_000));
        (, uint128 next) = blobs.accounts(2);
        vm.assertEq(next + blobs.unearned(), 2 * COST - PART * (80 * 10_000 + 5 * 3_000));
    }

    function test_shards_attested_at_once_earn_all_but_what_the_ejected_missed() public {
        _replaceAt(3, 400);
        _attestAll();
        vm.assertEq(committee.earned(1), 100 * 10_000 - 20 * 4_000);
        vm.assertEq(committee.earnings(1, 2), 20 * 10_000 + 5 * 6_000);
    }

    function test_a_member_ejected_later_keeps_what_it_earned_before() public {
        _deployTen();
        startedAt = committee.state().startedAt;
        _replaceAt(3, 250);
        _attestAll(); // ten shards to nine members
        uint256 gained = _gained(4).length;
        _replaceAt(4, 500);
        vm.assertEq(committee.earnings(1, 4), 10 * 2_500);
        _attestAll();
        uint256 lost = 10 * 2_500 + (10 + gained) * 2_500;
        vm.assertEq(committee.earned(1), 100 * 10_000 - lost);
        _checkSum(10);
    }

    function test_what_an_ejected_member_attested_late_is_not_subtracted_twice() public {
        _deployTen();
        startedAt = committee.state().startedAt;
        _replaceAt(3, 250);
        vm.warp(startedAt + 500);
        uint16[] memory gained = _gained(1);
        _attest(1, gained); // late
        _eject(1);
        _checkSum(10);
        vm.assertEq(committee.earnings(1, 1), 10 * 2_500);
        _checkSum(10);
    }

    function test_an_ejected_member_earns_nothing_for_what_it_attests_then() public {
        _deployTen();
        startedAt = committee.state().startedAt;
        _replaceAt(3, 250);
        _eject(1);
        uint256 earned = committee.earned(1);
        _attest(1, _gained(1));
        vm.assertEq(committee.earned(1), earned);
        vm.assertEq(committee.earnings(1, 1), 10 * 2_500);
        _checkSum(10);
    }

    function test_a_shard_missing_in_one_epoch_is_kept_in_none_until_it_is_attested() public {
        _deployTen();
        startedAt = committee.state().startedAt;
        _replaceAt(3, 250); // nobody attests the ten shards
        _replaceAt(4, 500);
        vm.assertEq(committee.missingShards(1).length, 0);
        vm.assertEq(committee.missingShards(2).length, 10);
        vm.assertEq(committee.missingShards(3).length, 20);
        vm.assertEq(committee.earned(1), 90 * 2_500 + 80 * 2_500 + 80 * 5_000);
        _checkSum(10);
    }

    function test_a_replacement_after_the_duration_changes_no_pay() public {
        vm.warp(startedAt + EPOCH_S + NOTICE_S);
        _replace(3);
        vm.assertEq(committee.earnings(1, 1), 20 * 10_000);
        vm.assertEq(committee.earnings(1, 3), 0);
        _attestAll();
        vm.assertEq(committee.earned(1), 80 * 10_000);
        _checkSum(uint32(NODES));
    }

    function test_what_was_paid_at_a_standstill_changes_with_no_replacement() public {
        _replaceAt(3, 400);
        vm.warp(startedAt + 5 * (EPOCH_S + DEADLINE_S));
        vm.assertTrue(committee.isStalled());
        uint256 earned = committee.earned(1);
        uint256 paid = _payOutAll();
        _eject(5); // of the 20 shards that it kept none is lost
        vm.assertEq(committee.earned(1), earned);
        vm.expectRevert(abi.encodeWithSelector(Election.TooFewLeft.selector, 60, 67));
        committee.replace();
        _attestAll();
        vm.assertEq(committee.earned(1), earned);
        vm.assertEq(paid, PART * earned);
    }

    function test_a_replacement_at_a_standstill_changes_no_pay() public {
        vm.warp(startedAt + 5 * (EPOCH_S + DEADLINE_S));
        uint256 paid = _payOutAll();
        vm.assertEq(paid, COST);
        _replace(3);
        _attestAll();
        vm.assertEq(committee.earned(1), 100 * 10_000);
        _checkSum(uint32(NODES));
    }

    function test_earnings_revert_for_a_period_that_has_not_begun() public {
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongPeriod.selector, 2, 1));
        committee.earnings(2, 1);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongPeriod.selector, 2, 1));
        committee.earned(2);
    }

    /// forge-config: default.fuzz.runs = 24
    function test_payouts_and_what_rolls_on_are_the_payment_to_the_wei(uint256 seed) public {
        _deployTen();
        startedAt = committee.state().startedAt;
        blobs.reserve(SPACE, 4, ANY);
        for (uint32 nodeId = 3; nodeId <= 5; ++nodeId) {
            uint256 time = committee.state().startedAt + _between(seed >> 8 * nodeId, NOTICE_S, 400);
            vm.warp(time);
            if (seed >> nodeId & 1 == 1) _attestSome(seed);
            _eject(nodeId);
            if (seed >> (nodeId + 8) & 1 == 1) _attestOwn(nodeId);
            try committee.replace() {
                vm.warp(block.timestamp + NOTICE_S);
                committee.start();
            } catch {
                break; // the regular change comes first
            }
        }
        _attestSome(seed >> 128);
        _finishPeriod();
        _checkSum(10);
        vm.assertLe(committee.earned(1), 100 * 10_000);
        uint256 paid = _payOutAll();
        (, uint128 next) = blobs.accounts(2);
        vm.assertEq(paid + next + blobs.unearned(), 2 * COST);
        vm.assertEq(token.balanceOf(address(blobs)), 4 * COST - paid);
    }

    /// @dev Some members attest all that they gained and have not attested.
    function _attestSome(uint256 seed) private {
        ICommittee.CommitteeView memory shown = committee.committeeOf(committee.epoch());
        for (uint256 i; i < shown.members.length; ++i) {
            if (seed >> i & 1 == 1) _attestOwn(shown.members[i].nodeId);
        }
    }

    /// @dev Has a member ejected and replaced such that the next epoch starts that long after the period.
    function _replaceAt(uint32 nodeId, uint256 time) private {
        vm.warp(startedAt + time - NOTICE_S);
        _eject(nodeId);
        committee.replace();
        vm.warp(startedAt + time);
        committee.start();
    }

    function _finishPeriod() private {
        vm.warp(block.timestamp + EPOCH_S);
        committee.select();
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
    }

    /// @dev All members' parts together are those of all.
    function _checkSum(uint32 nodes) private view {
        uint256 sum;
        for (uint32 nodeId = 1; nodeId <= nodes; ++nodeId) {
            sum += committee.earnings(1, nodeId);
        }
        vm.assertEq(sum, committee.earned(1));
    }
}
