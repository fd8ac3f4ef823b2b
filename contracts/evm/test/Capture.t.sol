// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {Messages} from "src/lib/Messages.sol";
import {Base} from "test/Base.t.sol";

/// @notice Attacks by which a little stake would take a third of the shards or more; each fails.
contract CaptureTest is Base {
    // Lateness and leaving of others

    function test_a_lone_newcomer_takes_nothing_from_members_that_are_late() public {
        _addNodes(10);
        _nextEpoch();
        _replaceMembers(4); // 40 shards move, and nobody attests any
        vm.assertFalse(committee.state().handoverDone);
        vm.warp(block.timestamp + DEADLINE_S);
        committee.close();
        uint32 newcomer = _addNode(1e9);
        _nextEpoch();
        vm.assertEq(_shardsFrom(newcomer), 0);
        vm.assertEq(committee.committeeOf(3).members.length, 10);
    }

    function test_the_committee_stays_in_office_while_too_few_stand() public {
        _addNodes(10);
        _nextEpoch();
        for (uint32 i = 1; i <= 9; ++i) {
            _leave(i);
        }
        _addNode(1e9);
        vm.warp(block.timestamp + EPOCH_S / 2);
        uint256 needed = 10 * STAKE * 2 / 3;
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughStake.selector, STAKE, needed));
        committee.select();
        // Its certificates count on.
        (bytes memory bitmap, bytes memory signature) = _certificate(10, 0, _message(Messages.BLOB, 1, "any"));
        vm.assertEq(committee.verify(1, Messages.BLOB, "any", bitmap, signature), SHARDS);
    }

    function test_a_fifth_of_the_stake_gets_no_third_of_the_shards_by_others_leaving() public {
        _deploy(1000, 500);
        _addNode(20 ether);
        for (uint256 i; i < 20; ++i) {
            _addNode(4 ether);
        }
        _nextEpoch();
        for (uint32 i = 2; i <= 9; ++i) {
            _leave(i); // as many as may
        }
        _nextEpoch();
        vm.assertLe(_shardsIn(committee.committeeOf(2), 1).length, 333);
        for (uint32 i = 10; i <= 15; ++i) {
            _leave(i);
        }
        vm.warp(block.timestamp + EPOCH_S / 2);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughStake.selector, 44 ether, 68 ether * 2 / uint256(3)));
        committee.select();
    }

    function test_the_stake_needed_falls_to_nothing() public {
        _addNodes(9);
        _nextEpoch();
        uint256 elected = 9 * STAKE;
        vm.assertEq(committee.stakeNeeded(), elected * 2 / 3);
        vm.warp(block.timestamp + EPOCH_S / 2);
        vm.assertEq(committee.stakeNeeded(), elected * 2 / 3);
        vm.warp(block.timestamp + SHRINK_S / 2);
        vm.assertEq(committee.stakeNeeded(), elected / 3);
        vm.warp(block.timestamp + SHRINK_S / 2 - 20);
        vm.assertEq(committee.stakeNeeded(), elected * 2 / 3 / 1000);
        vm.warp(block.timestamp + 20);
        vm.assertEq(committee.stakeNeeded(), 0);
    }

    function test_a_network_that_truly_shrinks_goes_on() public {
        _addNodes(10);
        _nextEpoch();
        _payOutAll();
        for (uint32 i = 1; i <= 8; ++i) {
            staking.unstake(i, STAKE);
        }
        // Two tenths are left; two thirds have fallen to that after seven tenths of the time.
        uint256 firstAt = block.timestamp + EPOCH_S / 2 + SHRINK_S * 7 / 10;
        vm.warp(firstAt - 20);
        vm.expectRevert();
        committee.select();
        vm.warp(firstAt);
        committee.select();
        vm.warp(firstAt + NOTICE_S);
        committee.start();
        vm.assertEq(committee.committeeOf(2).members.length, 2);
        // What is needed now is a part of what elected these.
        vm.assertEq(committee.stakeNeeded(), 2 * STAKE * 2 / 3);
    }

    function test_stake_of_newcomers_stands_for_that_of_leavers() public {
        _addNodes(5);
        _nextEpoch();
        _replaceMembers(5);
        vm.assertEq(committee.committeeOf(2).members[0].nodeId, 6);
    }

    // Dust, and however an attacker splits its stake

    function test_dust_on_fourteen_nodes_takes_nothing_from_six() public {
        _addNodes(6);
        _nextEpoch();
        for (uint256 i; i < 14; ++i) {
            _addNode(1e9);
        }
        _nextEpoch();
        vm.assertEq(_shardsFrom(7), 0);
    }

    function test_dust_on_seventeen_nodes_takes_nothing_from_three() public {
        _addNodes(3);
        for (uint256 i; i < 17; ++i) {
            _addNode(1e9);
        }
        _nextEpoch();
        vm.assertEq(_shardsFrom(4), 0);
    }

    function test_a_fiftieth_of_the_stake_on_twenty_nodes_takes_a_fiftieth_of_the_shards() public {
        // Each of them is worth a shard of 1000: a cap that falls with the number of nodes would give them 400.
        _deploy(1000, 500);
        for (uint256 i; i < 6; ++i) {
            _addNode(49_000 ether);
        }
        for (uint256 i; i < 20; ++i) {
            _addNode(300 ether);
        }
        _nextEpoch();
        vm.assertEq(_shardsFrom(7), 20);
    }

    // What an election leaves with members whose stake changed little

    function test_a_quarter_of_the_stake_on_many_nodes_keeps_no_third_of_the_shards_by_the_band() public {
        _keepWithinTheBand(500, 1.34 ether); // of a share of 1.51 shards each
        _keepWithinTheBand(1000, 0.81 ether); // of one of just over one shard
    }

    /// @dev Seventeen nodes come to 34 shards with a third of the stake, of which all but a part of each leaves then.
    function _keepWithinTheBand(uint32 bandMillis, uint256 stake) private {
        _deploy(SHARDS, bandMillis);
        for (uint256 i; i < 6; ++i) {
            _addNode(11 ether);
        }
        for (uint256 i; i < 17; ++i) {
            _addNode(2.02 ether);
        }
        _nextEpoch();
        vm.assertEq(_shardsFrom(7), 34);
        _payOutAll();
        for (uint32 nodeId = 7; nodeId <= 23; ++nodeId) {
            staking.unstake(nodeId, 2.02 ether - stake);
        }
        _nextEpoch();
        vm.assertEq(_shardsFrom(7), 17);
    }

    // Pushing others out

    function test_less_than_a_quarter_of_all_stake_takes_no_third_by_taking_candidates_places() public {
        _addNodes(100);
        _nextEpoch();
        for (uint256 i; i < 32; ++i) {
            uint32 nodeId = _addNode(STAKE + 1); // 32 of 132
            vm.prank(_operator(nodeId));
            registry.becomeCandidate(nodeId);
        }
        _nextEpoch();
        vm.assertFalse(registry.node(69).candidate); // the last of those with the least
        vm.assertTrue(registry.node(68).candidate);
        vm.assertLe(_shardsFrom(101), 33);
    }

    function test_less_than_a_quarter_of_all_stake_takes_no_third_where_others_are_worth_just_a_shard() public {
        _addNodes(100);
        _nextEpoch();
        uint32 nodeId = registry.nodeCount() + 1;
        _leave(100);
        _addNode(32 * STAKE); // 32 of 131, which drops as much of the others' below a shard's worth
        _nextEpoch();
        vm.assertEq(committee.committeeOf(2).members.length, 69);
        vm.assertLe(_shardsFrom(nodeId), 33);
    }

    /// @dev What the nodes from this one on hold in the current epoch.
    function _shardsFrom(uint32 first) private view returns (uint256 count) {
        for (uint32 nodeId = first; nodeId <= registry.nodeCount(); ++nodeId) {
            count += _shardsIn(committee.committeeOf(committee.epoch()), nodeId).length;
        }
    }
}
