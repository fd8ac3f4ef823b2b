// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Election} from "src/Election.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IRegistry} from "src/interfaces/IRegistry.sol";
import {Messages} from "src/lib/Messages.sol";
import {ReplacementBase} from "test/ReplacementBase.sol";

/// @notice Ejected members are replaced within the period.
contract ReplacementTest is ReplacementBase {
    function test_replace_deals_the_shards_of_the_ejected_to_the_others() public {
        _eject(3);
        committee.replace();
        ICommittee.State memory state = committee.state();
        vm.assertEq(state.selectedEpoch, 2);
        vm.assertTrue(state.isReplacement);
        vm.warp(block.timestamp + NOTICE_S);
        vm.expectEmit();
        emit ICommittee.EpochStarted(2, 1);
        committee.start();
        ICommittee.CommitteeView memory shown = committee.committeeOf(2);
        vm.assertEq(shown.members.length, 4);
        for (uint256 i; i < 4; ++i) {
            uint32 nodeId = shown.members[i].nodeId;
            uint16[] memory before = _shardsIn(committee.committeeOf(1), nodeId);
            vm.assertEq(before.length, 20);
            vm.assertEq(shown.members[i].shards.length, 25);
            for (uint256 k; k < 20; ++k) {
                vm.assertEq(shown.members[i].shards[k], before[k]);
            }
        }
        vm.assertEq(_shardsIn(shown, 3).length, 0);
    }

    function test_ownerOf_tells_who_has_a_shard_in_any_epoch() public {
        _eject(3);
        committee.replace();
        for (uint32 epoch = 1; epoch <= 2; ++epoch) {
            ICommittee.MemberView[] memory members = committee.committeeOf(epoch).members;
            uint256 count;
            for (uint256 i; i < members.length; ++i) {
                for (uint256 k; k < members[i].shards.length; ++k) {
                    vm.assertEq(ICommittee(address(committee)).ownerOf(epoch, members[i].shards[k]), members[i].nodeId);
                    ++count;
                }
            }
            vm.assertEq(count, SHARDS);
        }
        vm.assertEq(committee.ownerOf(1, SHARDS), 0);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 3, 1));
        committee.ownerOf(3, 0);
    }

    function test_a_replacement_goes_on_with_the_period() public {
        uint64 regularHandoverDone = committee.state().regularHandoverDone;
        _replace(3);
        ICommittee.State memory state = committee.state();
        vm.assertEq(state.epoch, 2);
        vm.assertEq(state.period, 1);
        vm.assertEq(state.firstEpoch, 1);
        vm.assertEq(committee.firstEpochOf(1), 1);
        vm.assertEq(committee.electablePeriod(), 2);
        vm.assertEq(committee.endedAt(1), 0);
        vm.assertTrue(state.handoverDone); // 80 shards are kept
        vm.assertEq(state.lastHandoverDone, block.timestamp);
        vm.assertEq(state.regularHandoverDone, regularHandoverDone);
        vm.assertEq(committee.missingShards(2).length, 20);
        _attestAll();
        vm.assertEq(committee.missingShards(2).length, 0);
    }

    function test_a_replacement_moves_no_users_clock() public {
        uint256 done = committee.state().regularHandoverDone;
        _replace(3);
        vm.warp(done + EPOCH_S / 2 - 1);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.TooEarly.selector, done + EPOCH_S / 2));
        committee.select();
        vm.warp(done + EPOCH_S / 2);
        committee.select();
        vm.assertFalse(committee.state().isReplacement);
        vm.warp(done + EPOCH_S - 1);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.TooEarly.selector, done + EPOCH_S));
        committee.start();
        vm.warp(done + EPOCH_S);
        vm.expectEmit();
        emit ICommittee.EpochStarted(3, 2);
        committee.start();
        vm.assertEq(committee.firstEpochOf(2), 3);
        vm.assertEq(committee.endedAt(1), block.timestamp);
        vm.assertEq(committee.state().firstEpoch, 3);
    }

    function test_the_newest_handover_that_is_done_may_be_a_replacements() public {
        _replace(3);
        uint256 done = block.timestamp;
        _replaceMembers(2); // half of the shards move
        vm.assertFalse(committee.state().handoverDone);
        vm.assertEq(committee.state().lastHandoverDone, done);
        vm.assertLe(committee.state().regularHandoverDone, done - 1);
    }

    function test_replaceableAt_says_since_when() public {
        vm.assertEq(committee.state().replaceableAt, 0);
        vm.warp(block.timestamp + 10);
        _eject(3);
        uint256 ejected = block.timestamp;
        vm.warp(ejected + 10);
        vm.assertEq(committee.state().replaceableAt, ejected);
        committee.replace();
        vm.assertEq(committee.state().replaceableAt, 0); // a selection stands
        vm.warp(ejected + 10 + NOTICE_S);
        committee.start();
        vm.assertEq(committee.state().replaceableAt, 0); // nothing to replace
        _eject(4);
        vm.assertEq(committee.state().replaceableAt, 0); // 60 shards are too few
    }

    function test_a_replacement_after_a_closed_handover_is_possible_from_then_on() public {
        _replaceMembers(3); // 60 shards move
        _eject(4);
        vm.assertEq(committee.state().replaceableAt, 0);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.HandoverNotDone.selector, 2));
        committee.replace();
        vm.warp(block.timestamp + DEADLINE_S);
        committee.close();
        vm.assertEq(committee.state().replaceableAt, block.timestamp);
        committee.replace();
    }

    // Stake and keys

    function test_fresh_stake_around_a_replacement_counts_for_nothing() public {
        _eject(3);
        staking.stake(1, 1000 * STAKE);
        _addNode(1000 * STAKE);
        committee.replace();
        ICommittee.CommitteeView memory shown = committee.committeeOf(2);
        vm.assertEq(shown.members.length, 4);
        for (uint256 i; i < 4; ++i) {
            vm.assertEq(shown.members[i].shards.length, 25);
        }
    }

    function test_stake_staked_while_a_replacement_stands_joins_with_the_next_period() public {
        _payOutAll();
        _eject(3);
        committee.replace();
        vm.assertEq(staking.stake(1, STAKE), 2);
        vm.assertEq(staking.unstake(2, STAKE), 2);
    }

    function test_the_stake_needed_stays_that_of_the_periods_own_committee() public {
        uint256 needed = committee.stakeNeeded();
        _replace(3);
        vm.assertEq(committee.stakeNeeded(), needed);
        vm.assertEq(needed, NODES * STAKE * 2 / 3);
    }

    function test_a_key_to_come_does_not_come_with_a_replacement() public {
        uint256 secret = 77;
        bytes memory proof = _possession(secret, _operator(1));
        bytes memory key = _publicKey(secret);
        vm.prank(_operator(1));
        registry.changePublicKey(1, key, proof);
        vm.assertEq(registry.node(1).publicKeyFrom, 2);
        bytes memory before = committee.committeeOf(1).members[0].publicKey;
        _replace(3);
        vm.assertEq(committee.committeeOf(2).members[0].publicKey, before);
        (bytes memory bitmap, bytes memory signature) = _signedIn(2, 0, _message(Messages.BLOB, 2, "any"));
        vm.assertEq(committee.verify(2, Messages.BLOB, "any", bitmap, signature), SHARDS);
        _nextEpoch();
        vm.assertFalse(keccak256(committee.committeeOf(3).members[0].publicKey) == keccak256(before));
    }

    function test_the_ejected_stands_again_with_the_next_period_only() public {
        _replace(3);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.Barred.selector, 3, 2));
        vm.prank(_operator(3));
        registry.becomeCandidate(3);
        _nextEpoch();
        vm.prank(_operator(3));
        registry.becomeCandidate(3);
    }

    function test_parameters_change_with_a_period_not_with_a_replacement() public {
        ICommittee.Parameters memory given = _parameters(0);
        given.periodDuration = 2 * EPOCH_S;
        given.shrinkDuration = 2 * SHRINK_S;
        vm.prank(GOVERNOR);
        committee.setParameters(given);
        _replace(3);
        (uint32 duration,,,,,,) = committee.parameters();
        vm.assertEq(duration, EPOCH_S);
        _nextEpoch();
        (duration,,,,,,) = committee.parameters();
        vm.assertEq(duration, 2 * EPOCH_S);
    }

    // With the regular change

    function test_an_ejection_drops_a_regular_selection_and_a_replacement_follows() public {
        uint256 done = committee.state().regularHandoverDone;
        _select();
        vm.assertEq(committee.electablePeriod(), 3);
        _eject(3);
        vm.assertEq(committee.electablePeriod(), 2);
        committee.replace();
        vm.expectRevert(abi.encodeWithSelector(ICommittee.AlreadySelected.selector, 2));
        committee.select();
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        committee.select();
        vm.warp(done + EPOCH_S);
        committee.start();
        vm.assertEq(committee.epoch(), 3);
        vm.assertEq(committee.period(), 2);
    }

    function test_an_ejection_drops_a_replacement_and_the_next_leaves_both_out() public {
        _deployTen();
        _eject(3);
        committee.replace();
        vm.expectEmit();
        emit ICommittee.SelectionDropped(2);
        _eject(4);
        vm.assertFalse(committee.state().isReplacement);
        committee.replace();
        vm.assertEq(committee.committeeOf(2).members.length, 8);
    }

    function test_replace_reverts_when_the_regular_start_is_due_no_later() public {
        _eject(3);
        uint256 due = committee.state().regularHandoverDone + EPOCH_S;
        vm.warp(due - NOTICE_S);
        bytes memory reason = abi.encodeWithSelector(ICommittee.TooEarly.selector, due + NOTICE_S);
        vm.expectRevert(reason);
        committee.replace();
        vm.warp(due + NOTICE_S - 1);
        vm.expectRevert(reason);
        committee.replace();
        vm.warp(due + NOTICE_S);
        committee.replace(); // nobody has selected: it may be for lack of stake
    }

    function test_replace_before_the_regular_start_is_due() public {
        _eject(3);
        vm.warp(committee.state().regularHandoverDone + EPOCH_S - NOTICE_S - 1);
        committee.replace();
    }

    function test_replacements_put_a_standstill_off_by_nothing() public {
        uint256 last = committee.state().regularHandoverDone + 4 * (EPOCH_S + DEADLINE_S);
        _eject(3);
        vm.warp(last - NOTICE_S);
        committee.replace();
        vm.warp(last);
        committee.start();
        vm.assertFalse(committee.isStalled());
        vm.warp(last + 1);
        vm.assertTrue(committee.isStalled());
    }

    // Refusals

    function test_replace_reverts_before_the_first_epoch() public {
        _deploy(SHARDS, 500);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NothingToReplace.selector, 0));
        committee.replace();
    }

    function test_replace_reverts_without_an_ejection_in_this_epoch() public {
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NothingToReplace.selector, 1));
        committee.replace();
        _replace(3);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NothingToReplace.selector, 2));
        committee.replace();
    }

    function test_replace_reverts_for_an_ejected_node_that_is_only_selected() public {
        _addNode(STAKE);
        _select();
        _eject(6);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NothingToReplace.selector, 1));
        committee.replace();
    }

    function test_replace_reverts_while_a_selection_stands() public {
        _leave(3);
        _select();
        _eject(3); // is not selected, so the selection stands
        vm.expectRevert(abi.encodeWithSelector(ICommittee.AlreadySelected.selector, 2));
        committee.replace();
    }

    function test_replace_reverts_for_a_second_replacement_at_once() public {
        _eject(3);
        committee.replace();
        vm.expectRevert(abi.encodeWithSelector(ICommittee.AlreadySelected.selector, 2));
        committee.replace();
    }

    function test_replace_reverts_with_less_than_two_thirds_left() public {
        _eject(3);
        _eject(4);
        vm.expectRevert(abi.encodeWithSelector(Election.TooFewLeft.selector, 60, 67));
        committee.replace();
    }

    function test_replace_reverts_for_chained_ejections_below_two_thirds() public {
        _deployTen();
        _replace(3);
        _replace(4);
        _replace(5); // the others had 70 shards when the period began, and have all
        _eject(6);
        vm.assertEq(committee.state().replaceableAt, 0);
        vm.expectRevert(abi.encodeWithSelector(Election.TooFewLeft.selector, 60, 67));
        committee.replace();
    }

    function test_replace_reverts_for_the_seventeenth_in_a_period() public {
        _deploy(SHARDS, 0);
        _addNodes(64);
        _nextEpoch();
        uint256 due = committee.state().regularHandoverDone + EPOCH_S;
        vm.warp(due + NOTICE_S); // nobody selects
        for (uint32 nodeId = 1; nodeId <= 16; ++nodeId) {
            this.replaceAndAttest(nodeId);
        }
        _eject(17);
        vm.assertEq(committee.state().replaceableAt, 0);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.TooManyReplacements.selector, 16));
        committee.replace();
        committee.select();
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        vm.assertEq(committee.epoch(), 18);
        vm.assertEq(committee.state().firstEpoch, 18);
    }

    function test_start_of_a_replacement_reverts_before_the_notice_is_over() public {
        _eject(3);
        committee.replace();
        vm.warp(block.timestamp + NOTICE_S - 1);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.TooEarly.selector, block.timestamp + 1));
        committee.start();
    }

    /// @dev In a call of its own, whose memory is given back.
    function replaceAndAttest(uint32 nodeId) external {
        _replace(nodeId);
        _attestAll();
    }
}
