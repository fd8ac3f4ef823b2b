// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Assignment, Roster} from "src/lib/Assignment.sol";
import {AssignmentHarness} from "test/AssignmentHarness.sol";
import {Signing} from "test/Base.t.sol";

contract AssignmentTest is Signing {
    AssignmentHarness private harness = new AssignmentHarness();

    // First committees

    function test_elect_deals_equal_shares_in_candidate_order() public view {
        Roster memory roster = _elect(_none(), _ids(30, 10, 20), _numbers(5, 5, 5), 10, 500);
        // One quotient more than the others: a tie, to the earlier candidate.
        _check(roster, 0, 10, _list(4, 5, 6));
        _check(roster, 1, 20, _list(7, 8, 9));
        _check(roster, 2, 30, _list(0, 1, 2, 3));
    }

    function test_elect_caps_nobody() public view {
        Roster memory roster = _elect(_none(), _ids(1, 2, 3), _numbers(80, 10, 10), 10, 500);
        vm.assertEq(roster.shards[0].length, 8);
    }

    function test_elect_leaves_out_a_node_not_worth_a_shard() public view {
        // A shard is worth 100; of a stake of 99 the total is 999, and 99.9 are wanted.
        Roster memory roster = _elect(_none(), _ids(1, 2, 3), _numbers(600, 300, 100), 10, 500);
        vm.assertEq(roster.nodeIds.length, 3);
        roster = _elect(_none(), _ids(1, 2, 3), _numbers(600, 300, 99), 10, 500);
        vm.assertEq(roster.nodeIds.length, 2);
    }

    function test_elect_tells_the_stake_that_counts() public view {
        (, uint256 total) = harness.elect(_none(), _ids(1, 2, 3), _numbers(600, 300, 99), 10, 500);
        vm.assertEq(total, 900);
    }

    function test_elect_drops_no_more_than_it_must() public view {
        // Of 12 equal stakes none is a tenth of all; the last two are dropped.
        (uint32[] memory nodeIds, uint256[] memory stakes) = _crowd(12, 5);
        Roster memory roster = _elect(_none(), nodeIds, stakes, 10, 500);
        vm.assertEq(roster.nodeIds.length, 10);
        vm.assertEq(roster.nodeIds[9], 10);
    }

    function test_elect_gives_dust_nothing_however_many_nodes_it_is_on() public view {
        (uint32[] memory nodeIds, uint256[] memory stakes) = _crowd(100, 1e9);
        for (uint256 i; i < 3; ++i) {
            stakes[40 * i] = 1000 ether;
        }
        Roster memory roster = _elect(_none(), nodeIds, stakes, 100, 500);
        vm.assertEq(roster.nodeIds.length, 3);
    }

    function test_elect_leaves_out_who_earns_no_shard() public view {
        Roster memory roster = _elect(_none(), _ids(1, 2, 3), _numbers(1000, 1, 1000), 4, 500);
        vm.assertEq(roster.nodeIds.length, 2);
        vm.assertEq(roster.nodeIds[1], 3);
    }

    function test_elect_bears_the_largest_stakes() public view {
        Roster memory roster = _elect(_none(), _ids(1, 2, 3), _numbers(1 << 128, 1 << 128, 1 << 128), 1000, 500);
        vm.assertEq(roster.shards[0].length, 334);
    }

    function test_elect_reverts_without_stake() public {
        vm.expectRevert(Assignment.NoStake.selector);
        _elect(_none(), _ids(1, 2, 3), _numbers(0, 0, 0), 10, 500);
    }

    function test_elect_reverts_without_candidates() public {
        vm.expectRevert(Assignment.NoStake.selector);
        _elect(_none(), new uint32[](0), new uint256[](0), 10, 500);
    }

    function test_elect_reverts_for_a_stake_above_the_limit() public {
        vm.expectRevert(abi.encodeWithSelector(Assignment.StakeTooLarge.selector, (1 << 128) + 1));
        _elect(_none(), _ids(1, 2, 3), _numbers(1, (1 << 128) + 1, 1), 10, 500);
    }

    function test_elect_gives_nine_shards_to_twenty_nodes() public view {
        (uint32[] memory nodeIds, uint256[] memory stakes) = _crowd(20, 1);
        Roster memory roster = _elect(_none(), nodeIds, stakes, 9, 500);
        vm.assertEq(roster.nodeIds.length, 9);
        for (uint256 i; i < 9; ++i) {
            vm.assertEq(roster.shards[i].length, 1);
        }
    }

    // Moves; the previous committee is node 1 with 0..3, node 2 with 4..6, node 3 with 7..9

    function test_elect_moves_nothing_for_equal_stakes() public view {
        Roster memory roster = _elect(_three(), _ids(1, 2, 3), _numbers(5, 5, 5), 10, 0);
        vm.assertEq(keccak256(abi.encode(roster)), keccak256(abi.encode(_three())));
    }

    function test_elect_gives_what_a_departed_member_had_to_a_new_one_last_first() public view {
        Roster memory roster = _elect(_three(), _ids(1, 3, 4), _numbers(5, 5, 5), 10, 500);
        _check(roster, 0, 1, _list(0, 1, 2, 3));
        _check(roster, 1, 3, _list(7, 8, 9));
        _check(roster, 2, 4, _list(6, 5, 4));
    }

    function test_elect_gives_to_growing_members_by_id() public view {
        Roster memory roster = _elect(_three(), _ids(3, 1), _numbers(5, 5), 10, 500);
        _check(roster, 0, 1, _list(0, 1, 2, 3, 6));
        _check(roster, 1, 3, _list(7, 8, 9, 5, 4));
    }

    function test_elect_takes_from_the_tail_of_a_shrinking_member() public view {
        Roster memory roster = _elect(_three(), _ids(1, 2, 3), _numbers(1, 3, 6), 10, 500);
        _check(roster, 0, 1, _list(0));
        _check(roster, 1, 2, _list(4, 5, 6));
        _check(roster, 2, 3, _list(7, 8, 9, 1, 2, 3));
    }

    function test_elect_serves_new_members_before_growing_ones() public view {
        // Node 3 (growing, 3 → 4) has the lower id, node 9 is new; node 1 gives 3, node 2 its list.
        Roster memory roster = _elect(_three(), _ids(1, 3, 9), _numbers(3, 4, 3), 10, 0);
        _check(roster, 0, 1, _list(0, 1, 2));
        _check(roster, 1, 3, _list(7, 8, 9, 3));
        _check(roster, 2, 9, _list(6, 5, 4));
    }

    function test_elect_serves_new_members_in_candidate_order() public view {
        Roster memory roster = _elect(_three(), _ids(9, 8, 1), _numbers(3, 3, 4), 10, 0);
        _check(roster, 0, 1, _list(0, 1, 2, 3));
        _check(roster, 1, 8, _list(6, 5, 4));
        _check(roster, 2, 9, _list(9, 8, 7));
    }

    function test_elect_treats_a_member_without_stake_as_departed() public view {
        Roster memory roster = _elect(_three(), _ids(1, 2, 3), _numbers(5, 0, 5), 10, 500);
        _check(roster, 0, 1, _list(0, 1, 2, 3, 6));
        _check(roster, 1, 3, _list(7, 8, 9, 5, 4));
    }

    // The tolerance band: shares 3.3, 3.4, 3.3 elect 3, 4, 3; node 1 holds 0.7 too much

    function test_elect_moves_a_shard_just_outside_the_band() public view {
        Roster memory roster = _elect(_three(), _ids(1, 2, 3), _numbers(33, 34, 33), 10, 699);
        _check(roster, 0, 1, _list(0, 1, 2));
        _check(roster, 1, 2, _list(4, 5, 6, 3));
    }

    function test_elect_moves_nothing_at_the_edge_of_the_band() public view {
        Roster memory roster = _elect(_three(), _ids(1, 2, 3), _numbers(33, 34, 33), 10, 700);
        vm.assertEq(keccak256(abi.encode(roster)), keccak256(abi.encode(_three())));
    }

    function test_elect_without_a_band_moves_however_little_it_matters() public view {
        Roster memory roster = _elect(_three(), _ids(1, 2, 3), _numbers(3333, 3334, 3333), 10, 0);
        _check(roster, 0, 1, _list(0, 1, 2));
    }

    function test_elect_lets_no_member_keep_more_than_an_election_could_give() public view {
        // Shares 3.1 or 3.0, which an election among three members gives at most 4.03 or 3.9 shards; node 1 holds 4.
        Roster memory roster = _elect(_three(), _ids(1, 2, 3), _numbers(31, 35, 34), 10, 1000);
        vm.assertEq(keccak256(abi.encode(roster)), keccak256(abi.encode(_three())));
        roster = _elect(_three(), _ids(1, 2, 3), _numbers(30, 35, 35), 10, 1000);
        _check(roster, 0, 1, _list(0, 1, 2));
        _check(roster, 1, 2, _list(4, 5, 6, 3));
    }

    function test_elect_leaves_a_new_member_its_only_shard() public view {
        // Shares 3.6, 2.7, 2.7 and 1 elect 4, 3, 2 and 1; node 3 holds 0.3 too much.
        (uint32[] memory nodeIds, uint256[] memory stakes) = _crowd(4, 27);
        (stakes[0], stakes[3]) = (36, 10);
        Roster memory roster = _elect(_three(), nodeIds, stakes, 10, 500);
        vm.assertEq(roster.shards[2].length, 2);
        _check(roster, 3, 4, _list(9));
    }

    function test_elect_spares_no_member_in_the_band_that_is_not_worth_a_shard() public view {
        Roster memory roster = _elect(_three(), _ids(1, 2, 3), _numbers(600, 300, 99), 10, 100_000);
        vm.assertEq(roster.nodeIds.length, 2);
    }

    // Any stakes

    function test_elect_keeps_its_rules_for_any_stakes(uint256 seed, uint256 shards, uint256 bandMillis) public view {
        shards = _between(shards, 10, 130);
        bandMillis = _between(bandMillis, 0, 1500);
        (uint32[] memory nodeIds, uint256[] memory stakes) = _candidates(seed);
        Roster memory first = _elect(_none(), nodeIds, stakes, shards, 0);
        _checkWhole(first, shards);
        _checkBound(first, nodeIds, stakes, shards);
        (nodeIds, stakes) = _candidates(seed >> 8);
        Roster memory second = _elect(first, nodeIds, stakes, shards, bandMillis);
        _checkWhole(second, shards);
        _checkBound(second, nodeIds, stakes, shards);
        _checkLeastMovement(first, second);
    }

    function test_elect_counts_like_a_race_for_every_single_shard(uint256 seed, uint256 shards) public view {
        shards = _between(shards, 10, 130);
        (uint32[] memory nodeIds, uint256[] memory stakes) = _candidates(seed);
        _checkRace(nodeIds, stakes, shards);
    }

    function test_elect_counts_like_a_race_for_small_stakes_with_ties(uint256 seed, uint256 shards) public view {
        shards = _between(shards, 10, 130);
        (uint32[] memory nodeIds, uint256[] memory stakes) = _candidates(seed);
        for (uint256 i; i < stakes.length; ++i) {
            stakes[i] = 1 + (seed >> (8 * i)) % 7;
        }
        _checkRace(nodeIds, stakes, shards);
    }

    function test_elect_counts_like_a_race_when_most_are_not_worth_a_shard() public view {
        (uint32[] memory nodeIds, uint256[] memory stakes) = _crowd(24, 1);
        (stakes[3], stakes[9], stakes[10], stakes[20]) = (1 << 128, 1 << 120, 1e9, 40);
        _checkRace(nodeIds, stakes, 130);
    }

    /// @dev Without a sure start: every shard to the highest quotient, ties to the earlier candidate.
    function _checkRace(uint32[] memory nodeIds, uint256[] memory stakes, uint256 shards) private view {
        uint256[] memory counts = new uint256[](stakes.length);
        uint256[] memory counting = _worthAShard(stakes, shards);
        for (uint256 left = shards; left > 0; --left) {
            uint256 best = type(uint256).max;
            for (uint256 i; i < stakes.length; ++i) {
                if (counting[i] == 0) continue;
                bool isFirst = best == type(uint256).max;
                if (isFirst || stakes[i] * (counts[best] + 1) > stakes[best] * (counts[i] + 1)) best = i;
            }
            ++counts[best];
        }
        Roster memory roster = _elect(_none(), nodeIds, stakes, shards, 0);
        for (uint256 i; i < stakes.length; ++i) {
            (bool found, uint256 position) = Assignment.positionOf(roster.nodeIds, nodeIds[i]);
            vm.assertEq(found ? roster.shards[position].length : 0, counts[i]);
        }
    }

    function _checkWhole(Roster memory roster, uint256 shards) private pure {
        bool[] memory seen = new bool[](shards);
        uint256 count;
        for (uint256 i; i < roster.nodeIds.length; ++i) {
            vm.assertTrue(i == 0 || roster.nodeIds[i - 1] < roster.nodeIds[i]);
            vm.assertTrue(roster.shards[i].length > 0);
            for (uint256 k; k < roster.shards[i].length; ++k) {
                vm.assertFalse(seen[roster.shards[i][k]]);
                seen[roster.shards[i][k]] = true;
                ++count;
            }
        }
        vm.assertEq(count, shards);
    }

    /// @dev Every member keeps the head of its list, as long as the shorter of the old and the new one: so exactly
    /// sum(max(0, old - new)) shards move.
    function _checkLeastMovement(Roster memory first, Roster memory second) private pure {
        for (uint256 i; i < second.nodeIds.length; ++i) {
            (bool found, uint256 position) = Assignment.positionOf(first.nodeIds, second.nodeIds[i]);
            if (!found) continue;
            (uint16[] memory old, uint16[] memory kept) = (first.shards[position], second.shards[i]);
            for (uint256 k; k < old.length && k < kept.length; ++k) {
                vm.assertEq(old[k], kept[k]);
            }
        }
    }

    /// @dev What any nodes hold, however an attacker split its stake among them, is at most their part of the members'
    /// stake times `shards + members`; it is enough to check it for each.
    function _checkBound(Roster memory roster, uint32[] memory nodeIds, uint256[] memory stakes, uint256 shards)
        private
        pure
    {
        uint256 total;
        uint256[] memory held = new uint256[](nodeIds.length);
        for (uint256 i; i < nodeIds.length; ++i) {
            (bool found, uint256 position) = Assignment.positionOf(roster.nodeIds, nodeIds[i]);
            if (!found) continue;
            held[i] = roster.shards[position].length;
            total += stakes[i];
        }
        for (uint256 i; i < nodeIds.length; ++i) {
            vm.assertLe(held[i] * total, stakes[i] * (shards + roster.nodeIds.length));
            if (held[i] == 0) vm.assertTrue(stakes[i] * shards < total + stakes[i]); // nor were it one more
        }
    }

    /// @dev The largest set of the greatest stakes of which each is worth a shard; 0 for the others.
    function _worthAShard(uint256[] memory stakes, uint256 shards) private pure returns (uint256[] memory counting) {
        counting = new uint256[](stakes.length);
        uint256 total;
        for (uint256 k; k < stakes.length; ++k) {
            uint256 next = type(uint256).max;
            for (uint256 i; i < stakes.length; ++i) {
                if (counting[i] == 0 && (next == type(uint256).max || stakes[i] > stakes[next])) next = i;
            }
            if (stakes[next] == 0 || stakes[next] * shards < total + stakes[next]) return counting;
            counting[next] = stakes[next];
            total += stakes[next];
        }
    }

    /// @dev 1 to 24 candidates out of ids 1 to 32 in some order, stakes of several magnitudes, some without.
    function _candidates(uint256 seed) private pure returns (uint32[] memory nodeIds, uint256[] memory stakes) {
        uint256 count = _between(seed & 0xff, 1, 24);
        uint256 step = 2 * (seed >> 16 & 0xf) + 1; // odd: all ids differ
        nodeIds = new uint32[](count);
        stakes = new uint256[](count);
        for (uint256 i; i < count; ++i) {
            nodeIds[i] = uint32(1 + ((seed >> 24) + i * step) % 32);
            uint256 random = uint256(keccak256(abi.encode(seed, i)));
            stakes[i] = i > 0 && random & 7 == 0 ? 0 : 1 + (random >> 128) % (10 ** (1 + (random >> 8) % 30));
        }
    }

    function _elect(
        Roster memory previous,
        uint32[] memory nodeIds,
        uint256[] memory stakes,
        uint256 shards,
        uint256 bandMillis
    ) private view returns (Roster memory roster) {
        (roster,) = harness.elect(previous, nodeIds, stakes, shards, bandMillis);
    }

    function _check(Roster memory roster, uint256 member, uint32 nodeId, uint16[] memory shards) private pure {
        vm.assertEq(roster.nodeIds[member], nodeId);
        vm.assertEq(keccak256(abi.encode(roster.shards[member])), keccak256(abi.encode(shards)));
    }

    function _none() private pure returns (Roster memory roster) {}

    function _three() private pure returns (Roster memory roster) {
        roster.nodeIds = _ids(1, 2, 3);
        roster.shards = new uint16[][](3);
        (roster.shards[0], roster.shards[1], roster.shards[2]) = (_list(0, 1, 2, 3), _list(4, 5, 6), _list(7, 8, 9));
    }

    function _crowd(uint256 count, uint256 amount)
        private
        pure
        returns (uint32[] memory nodeIds, uint256[] memory stakes)
    {
        nodeIds = new uint32[](count);
        stakes = new uint256[](count);
        for (uint256 i; i < count; ++i) {
            (nodeIds[i], stakes[i]) = (uint32(i + 1), amount);
        }
    }

    function _joined(uint16[] memory left, uint16[] memory right) private pure returns (uint16[] memory both) {
        both = new uint16[](left.length + right.length);
        for (uint256 i; i < both.length; ++i) {
            both[i] = i < left.length ? left[i] : right[i - left.length];
        }
    }

    function _ids(uint32 a, uint32 b) private pure returns (uint32[] memory list) {
        list = new uint32[](2);
        (list[0], list[1]) = (a, b);
    }

    function _ids(uint32 a, uint32 b, uint32 c) private pure returns (uint32[] memory list) {
        list = new uint32[](3);
        (list[0], list[1], list[2]) = (a, b, c);
    }

    function _numbers(uint256 a, uint256 b) private pure returns (uint256[] memory list) {
        list = new uint256[](2);
        (list[0], list[1]) = (a, b);
    }

    function _numbers(uint256 a, uint256 b, uint256 c) private pure returns (uint256[] memory list) {
        list = new uint256[](3);
        (list[0], list[1], list[2]) = (a, b, c);
    }

    function _list(uint16 a) private pure returns (uint16[] memory list) {
        list = new uint16[](1);
        list[0] = a;
    }

    function _list(uint16 a, uint16 b, uint16 c) private pure returns (uint16[] memory list) {
        list = new uint16[](3);
        (list[0], list[1], list[2]) = (a, b, c);
    }

    function _list(uint16 a, uint16 b, uint16 c, uint16 d) private pure returns (uint16[] memory) {
        return _joined(_list(a, b, c), _list(d));
    }

    function _list(uint16 a, uint16 b, uint16 c, uint16 d, uint16 e) private pure returns (uint16[] memory) {
        return _joined(_list(a, b, c, d), _list(e));
    }

    function _list(uint16 a, uint16 b, uint16 c, uint16 d, uint16 e, uint16 f) private pure returns (uint16[] memory) {
        return _joined(_list(a, b, c), _list(d, e, f));
    }
}
