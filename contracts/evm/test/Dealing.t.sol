// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Assignment, Roster} from "src/lib/Assignment.sol";
import {AssignmentHarness} from "test/AssignmentHarness.sol";
import {Signing} from "test/Base.t.sol";

/// @notice How replacements deal the shards of ejected members.
contract DealingTest is Signing {
    AssignmentHarness private harness = new AssignmentHarness();

    function test_replace_makes_no_large_member_larger_than_in_proportion() public view {
        (uint32[] memory nodeIds, uint256[] memory stakes) = _equal(84);
        stakes[0] = 17;
        Roster memory regular = _elect(nodeIds, stakes, 100);
        Roster memory next = _without(regular, regular, ((1 << 33) - 1) << 51, 100); // 33 of the others
        vm.assertEq(next.shards[0].length, 26);
    }

    function test_replace_deals_ties_to_the_lower_id_and_weighs_as_the_period_began() public view {
        (uint32[] memory nodeIds, uint256[] memory stakes) = _equal(6);
        Roster memory regular = _elect(nodeIds, stakes, 6);
        Roster memory once = _without(regular, regular, 1 << 5, 6);
        vm.assertEq(once.shards[0].length, 2);
        Roster memory twice = _without(regular, once, 1 << 4, 6);
        vm.assertEq(twice.shards[0].length, 2);
        vm.assertEq(twice.shards[1].length, 2);
    }

    /// @dev One to three replacements in a period, which leave two thirds of the shards with which it began.
    function test_replace_keeps_its_rules_for_any_stakes(uint256 seed, uint256 shards) public view {
        shards = _between(shards, 10, 200);
        (uint32[] memory nodeIds, uint256[] memory stakes) = _equal(_between(seed & 0xff, 2, 60));
        for (uint256 i; i < stakes.length; ++i) {
            uint256 random = uint256(keccak256(abi.encode(seed, i)));
            stakes[i] = 1 + (random >> 128) % (seed & 0x100 == 0 ? 4 : 10 ** (1 + (random >> 8) % 6));
        }
        Roster memory regular = _elect(nodeIds, stakes, shards);
        Roster memory inOffice = regular;
        for (uint256 turn; turn < 1 + (seed >> 16) % 3; ++turn) {
            uint256 departed =
                _someToEject(regular, inOffice, uint256(keccak256(abi.encode(seed, turn, "out"))), shards);
            Roster memory next = _without(regular, inOffice, departed, shards);
            _checkRace(regular, inOffice, next, shards);
            inOffice = next;
        }
    }

    /// @dev Without a sure start: every shard to the highest quotient, ties to the lower id. Who stays keeps its shards,
    /// and gets at most half as many again as it began with, rounded up.
    function _checkRace(Roster memory regular, Roster memory inOffice, Roster memory next, uint256 shards)
        private
        pure
    {
        uint256 members = next.nodeIds.length;
        uint256[] memory counts = new uint256[](members);
        uint256 left = shards;
        for (uint256 i; i < members; ++i) {
            uint16[] memory before = _shardsOf(inOffice, next.nodeIds[i]);
            counts[i] = before.length;
            left -= before.length;
            for (uint256 k; k < before.length; ++k) {
                vm.assertEq(before[k], next.shards[i][k]);
            }
        }
        uint256[] memory weights = _weightsOf(regular, next.nodeIds);
        for (; left > 0; --left) {
            uint256 best;
            for (uint256 i = 1; i < members; ++i) {
                if (weights[i] * (2 * counts[best] + 1) > weights[best] * (2 * counts[i] + 1)) best = i;
            }
            ++counts[best];
        }
        bool[] memory seen = new bool[](shards);
        for (uint256 i; i < members; ++i) {
            vm.assertEq(next.shards[i].length, counts[i]);
            vm.assertLe(2 * counts[i], 3 * weights[i] + 1);
            for (uint256 k; k < counts[i]; ++k) {
                vm.assertFalse(seen[next.shards[i][k]]);
                seen[next.shards[i][k]] = true;
            }
        }
    }

    /// @dev Bits of members in office without which two thirds of the shards in `regular` are left.
    function _someToEject(Roster memory regular, Roster memory inOffice, uint256 random, uint256 shards)
        private
        pure
        returns (uint256 departed)
    {
        uint256[] memory weights = _weightsOf(regular, inOffice.nodeIds);
        uint256 left;
        for (uint256 i; i < weights.length; ++i) {
            left += weights[i];
        }
        for (uint256 i; i < weights.length; ++i) {
            if (random >> i & 1 == 1 && 3 * (left - weights[i]) >= 2 * shards) {
                departed |= 1 << i;
                left -= weights[i];
            }
        }
    }

    function _without(Roster memory regular, Roster memory inOffice, uint256 departed, uint256 shards)
        private
        view
        returns (Roster memory)
    {
        uint32[] memory staying = new uint32[](inOffice.nodeIds.length);
        uint256 count;
        for (uint256 i; i < staying.length; ++i) {
            if (departed >> i & 1 == 0) staying[count++] = inOffice.nodeIds[i];
        }
        assembly ("memory-safe") {
            mstore(staying, count)
        }
        return harness.replace(inOffice, staying, _weightsOf(regular, staying), shards);
    }

    function _weightsOf(Roster memory regular, uint32[] memory nodeIds)
        private
        pure
        returns (uint256[] memory weights)
    {
        weights = new uint256[](nodeIds.length);
        for (uint256 i; i < nodeIds.length; ++i) {
            weights[i] = _shardsOf(regular, nodeIds[i]).length;
        }
    }

    function _shardsOf(Roster memory roster, uint32 nodeId) private pure returns (uint16[] memory) {
        (bool found, uint256 position) = Assignment.positionOf(roster.nodeIds, nodeId);
        vm.assertTrue(found);
        return roster.shards[position];
    }

    function _equal(uint256 count) private pure returns (uint32[] memory nodeIds, uint256[] memory stakes) {
        (nodeIds, stakes) = (new uint32[](count), new uint256[](count));
        for (uint256 i; i < count; ++i) {
            (nodeIds[i], stakes[i]) = (uint32(i + 1), 1);
        }
    }

    function _elect(uint32[] memory nodeIds, uint256[] memory stakes, uint256 shards)
        private
        view
        returns (Roster memory roster)
    {
        Roster memory none;
        (roster,) = harness.elect(none, nodeIds, stakes, shards, 0);
    }
}
