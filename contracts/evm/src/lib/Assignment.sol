// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";

/// @notice Who holds which shards: node ids ascending, each with its list, from whose tail it gives up.
struct Roster {
    uint32[] nodeIds;
    uint16[][] shards;
}

/// @title Stake to shards, moving as few as possible.
/// @notice Largest quotients (Hagenbach-Bischoff) among the nodes whose stake is worth a shard, then a tolerance band in
/// which a changed stake moves nothing, then the shards themselves. No node is capped: a cap hands what it takes from
/// some nodes to others beyond their stake, and with the number of nodes an attacker sets it. Integers only, so that the
/// Python implementation agrees bit for bit.
library Assignment {
    /// @notice No candidate has any stake.
    error NoStake();
    /// @notice A stake above 2^128, with which the arithmetic could overflow.
    error StakeTooLarge(uint256 stake);

    /// @dev In the place of an excess.
    int256 private constant NOBODY = type(int256).min;

    /// @notice What the steps share; all arrays run in candidate order.
    struct Election {
        uint32[] nodeIds;
        uint256[] stakes; // 0 for the candidates that do not count
        uint256 total; // of the stakes that count
        uint256 shards; // n
        uint256[] held; // shards in the previous committee
        uint256[] elected; // shards in the next one
    }

    /// @notice Elects the next committee.
    /// @param previous The committee to move away from; without members at the first election.
    /// @param nodeIds Candidates in candidate order, each once.
    /// @param stakes Theirs; a candidate whose stake is not worth a shard is elected to nothing.
    /// @param shards How many there are to assign.
    /// @param bandMillis Tolerance band in thousandths of a shard; 0 switches it off.
    /// @return The next committee: all candidates whose stake is worth a shard. Nodes with a part `x` of its members' stake
    /// hold at most `x * (shards + members)` shards, with any band, however they share their stake out among themselves.
    /// @return The stake of its members.
    function elect(
        Roster memory previous,
        uint32[] memory nodeIds,
        uint256[] memory stakes,
        uint256 shards,
        uint256 bandMillis
    ) internal pure returns (Roster memory, uint256) {
        Election memory election = _open(previous, nodeIds, stakes, shards);
        _dropTheLeast(election);
        _apportion(election);
        if (bandMillis != 0) _settle(election, bandMillis);
        return (_assigned(election, previous), election.total);
    }

    /// @notice Deals the shards of departed members to those that stay, by Webster's divisors: the next shard goes to the
    /// member with the greatest `weight / (2 * shards + 1)`, of equals the first. No member that stays loses a shard.
    /// @param inOffice The committee in office, the outcome of an election or of a replacement with the same weights.
    /// @param nodeIds The members of it that stay, ascending.
    /// @param weights Theirs, above 0.
    /// @param shards How many there are.
    /// @return The next committee. If the weights are two thirds of `shards` or more, no member holds more than half as
    /// many again as its weight, rounded up.
    function replace(Roster memory inOffice, uint32[] memory nodeIds, uint256[] memory weights, uint256 shards)
        internal
        pure
        returns (Roster memory)
    {
        Election memory election = _open(inOffice, nodeIds, weights, shards);
        _grow(election);
        return _assigned(election, inOffice);
    }

    /// @notice Position of a node in an ascending list of ids.
    function positionOf(uint32[] memory ascending, uint32 nodeId) internal pure returns (bool found, uint256 position) {
        uint256 end = ascending.length;
        while (position < end) {
            uint256 middle = (position + end) / 2;
            if (ascending[middle] < nodeId) position = middle + 1;
            else end = middle;
        }
        found = position < ascending.length && ascending[position] == nodeId;
    }

    function _open(Roster memory previous, uint32[] memory nodeIds, uint256[] memory stakes, uint256 shards)
        private
        pure
        returns (Election memory election)
    {
        election.nodeIds = nodeIds;
        election.shards = shards;
        election.stakes = new uint256[](nodeIds.length);
        election.held = new uint256[](nodeIds.length);
        election.elected = new uint256[](nodeIds.length);
        for (uint256 i; i < nodeIds.length; ++i) {
            if (stakes[i] > 1 << 128) revert StakeTooLarge(stakes[i]);
            election.stakes[i] = stakes[i];
            election.total += stakes[i];
            (bool found, uint256 position) = positionOf(previous.nodeIds, nodeIds[i]);
            if (found) election.held[i] = previous.shards[position].length;
        }
        if (election.total == 0) revert NoStake();
    }

    /// @dev Drops the least stake, of equals the last, until each that is left is worth a shard: `total / shards` of
    /// what is left. So those that count are the largest set of the greatest stakes in which that holds.
    function _dropTheLeast(Election memory election) private pure {
        uint256[] memory stakes = election.stakes;
        while (true) {
            uint256 least;
            uint256 lowest = type(uint256).max;
            for (uint256 i; i < stakes.length; ++i) {
                if (stakes[i] != 0 && stakes[i] <= lowest) (least, lowest) = (i, stakes[i]);
            }
            if (lowest * election.shards >= election.total) return;
            stakes[least] = 0;
            election.total -= lowest;
        }
    }

    /// @dev Counts by stake alone: a sure start, the stake divided by a quota so large that the shards suffice, and then
    /// one shard at a time to the highest quotient. Fewer shards are left for that than there are candidates, whatever
    /// the stakes, which bounds the gas.
    function _apportion(Election memory election) private pure {
        uint256[] memory stakes = election.stakes;
        uint256[] memory quotients = new uint256[](stakes.length); // 0 for the candidates that do not count
        uint256 quota = (election.total << 64) / (election.shards + 1) + 1;
        uint256 left = election.shards;
        for (uint256 i; i < stakes.length; ++i) {
            uint256 sure = (stakes[i] << 64) / quota;
            election.elected[i] = sure;
            quotients[i] = (stakes[i] << 64) / (sure + 1);
            left -= sure;
        }
        for (; left > 0; --left) {
            uint256 best;
            for (uint256 i = 1; i < quotients.length; ++i) {
                if (quotients[i] > quotients[best]) best = i;
            }
            quotients[best] = (stakes[best] << 64) / (++election.elected[best] + 1);
        }
    }

    /// @dev From what is held on. Begins with what each has once all quotients above a bound are served, a bound so high
    /// that the shards suffice; fewer shards are left then than there are members, which bounds the gas. As weights are
    /// below 2^16, quotients that differ do so in the 64 bits too.
    function _grow(Election memory election) private pure {
        uint256[] memory weights = election.stakes;
        uint256[] memory quotients = new uint256[](weights.length);
        uint256 halves = 2 * election.shards - weights.length; // half a shard each is for rounding
        uint256 left = election.shards;
        for (uint256 i; i < weights.length; ++i) {
            uint256 sure = (weights[i] * halves + election.total) / (2 * election.total);
            sure = FixedPointMathLib.max(sure, election.held[i]);
            election.elected[i] = sure;
            quotients[i] = (weights[i] << 64) / (2 * sure + 1);
            left -= sure;
        }
        for (; left > 0; --left) {
            uint256 best;
            for (uint256 i = 1; i < quotients.length; ++i) {
                if (quotients[i] > quotients[best]) best = i;
            }
            quotients[best] = (weights[best] << 64) / (2 * ++election.elected[best] + 1);
        }
    }

    /// @dev Undoes one move of each member that would shrink although it holds hardly more than its share, the one
    /// with the least excess first; the growing member furthest above its own share gives the shard back, but none its
    /// only one.
    function _settle(Election memory election, uint256 bandMillis) private pure {
        uint256 count = election.stakes.length;
        uint256 most = election.shards + _members(election);
        int256[] memory shrinking = new int256[](count); // who may get one back: its excess, negative
        int256[] memory growing = new int256[](count); // who may give one up: the excess of what it is elected to
        for (uint256 i; i < count; ++i) {
            (uint256 held, uint256 elected) = (election.held[i], election.elected[i]);
            (shrinking[i], growing[i]) = (NOBODY, NOBODY);
            if (elected > FixedPointMathLib.max(held, 1)) growing[i] = _excess(election, i, elected);
            if (elected < held && _mayKeep(election, i, bandMillis, most)) shrinking[i] = -_excess(election, i, held);
        }
        while (true) {
            (bool anyShrinks, uint256 keeper) = _greatest(shrinking);
            (bool anyGrows, uint256 giver) = _greatest(growing);
            if (!anyShrinks || !anyGrows) return;
            shrinking[keeper] = NOBODY;
            ++election.elected[keeper];
            if (--election.elected[giver] == FixedPointMathLib.max(election.held[giver], 1)) growing[giver] = NOBODY;
            else growing[giver] -= int256(election.total);
        }
    }

    /// @dev Whether what a candidate holds is in the band, and no more than `_apportion` could give it: else a part of the
    /// stake that is spread over many nodes would keep half a shard, or a whole one, on each of them for nothing.
    /// @param most Shards and members.
    function _mayKeep(Election memory election, uint256 candidate, uint256 bandMillis, uint256 most)
        private
        pure
        returns (bool)
    {
        uint256 held = election.held[candidate];
        if (held * election.total > most * election.stakes[candidate]) return false;
        return 1000 * _excess(election, candidate, held) <= int256(bandMillis * election.total);
    }

    /// @dev How many candidates count.
    function _members(Election memory election) private pure returns (uint256 count) {
        for (uint256 i; i < election.stakes.length; ++i) {
            if (election.stakes[i] != 0) ++count;
        }
    }

    /// @dev Where the first of the greatest values is, if not all are `NOBODY`.
    function _greatest(int256[] memory values) private pure returns (bool found, uint256 position) {
        int256 best = NOBODY;
        for (uint256 i; i < values.length; ++i) {
            if (values[i] > best) (found, position, best) = (true, i, values[i]);
        }
    }

    /// @dev `count - share`, times the total stake.
    function _excess(Election memory election, uint256 candidate, uint256 count) private pure returns (int256) {
        return int256(count * election.total) - int256(election.shards * election.stakes[candidate]);
    }

    /// @dev The committee that has the shards counted in `elected`.
    function _assigned(Election memory election, Roster memory previous) private pure returns (Roster memory) {
        uint16[][] memory lists = new uint16[][](election.nodeIds.length);
        for (uint256 i; i < lists.length; ++i) {
            lists[i] = new uint16[](election.elected[i]);
        }
        if (previous.nodeIds.length == 0) _deal(lists, election.shards);
        else _move(election, previous, lists);
        return _ascending(election.nodeIds, lists);
    }

    /// @dev The first committee: all shards in sequence, in candidate order.
    function _deal(uint16[][] memory lists, uint256 shards) private pure {
        uint256 owner;
        uint256 filled;
        for (uint256 shard; shard < shards; ++shard) {
            while (filled == lists[owner].length) (owner, filled) = (owner + 1, 0);
            lists[owner][filled++] = uint16(shard);
        }
    }

    /// @dev Fills the lists: what each keeps, then freed shards, last in first out, to new members in candidate order
    /// and to growing ones in the order of their ids.
    function _move(Election memory election, Roster memory previous, uint16[][] memory lists) private pure {
        uint16[] memory freed = new uint16[](election.shards);
        uint256 top;
        uint256[] memory growing = new uint256[](previous.nodeIds.length); // candidates' positions, by node id
        uint256 growingCount;
        for (uint256 i; i < previous.nodeIds.length; ++i) {
            uint16[] memory owned = previous.shards[i];
            (bool stands, uint256 candidate) = _candidate(election.nodeIds, previous.nodeIds[i]);
            uint256 kept = stands ? FixedPointMathLib.min(owned.length, lists[candidate].length) : 0;
            for (uint256 k; k < kept; ++k) {
                lists[candidate][k] = owned[k];
            }
            if (kept == 0) {
                for (uint256 k; k < owned.length; ++k) {
                    freed[top++] = owned[k];
                }
            } else {
                for (uint256 k = owned.length; k > kept; --k) {
                    freed[top++] = owned[k - 1];
                }
                if (lists[candidate].length > kept) growing[growingCount++] = candidate;
            }
        }
        for (uint256 i; i < lists.length; ++i) {
            if (election.held[i] == 0) top = _take(lists[i], 0, freed, top);
        }
        for (uint256 i; i < growingCount; ++i) {
            top = _take(lists[growing[i]], election.held[growing[i]], freed, top);
        }
    }

    /// @dev Completes `list` from position `filled` on with the freed shards below `top`; returns the new top.
    function _take(uint16[] memory list, uint256 filled, uint16[] memory freed, uint256 top)
        private
        pure
        returns (uint256)
    {
        for (; filled < list.length; ++filled) {
            list[filled] = freed[--top];
        }
        return top;
    }

    function _candidate(uint32[] memory nodeIds, uint32 nodeId) private pure returns (bool found, uint256 position) {
        for (; position < nodeIds.length; ++position) {
            if (nodeIds[position] == nodeId) return (true, position);
        }
    }

    /// @dev The candidates that hold shards, by ascending id.
    function _ascending(uint32[] memory nodeIds, uint16[][] memory lists) private pure returns (Roster memory roster) {
        uint256[] memory order = new uint256[](nodeIds.length);
        uint256 members;
        for (uint256 i; i < nodeIds.length; ++i) {
            if (lists[i].length == 0) continue;
            uint256 k = members++;
            for (; k > 0 && nodeIds[order[k - 1]] > nodeIds[i]; --k) {
                order[k] = order[k - 1];
            }
            order[k] = i;
        }
        roster.nodeIds = new uint32[](members);
        roster.shards = new uint16[][](members);
        for (uint256 i; i < members; ++i) {
            (roster.nodeIds[i], roster.shards[i]) = (nodeIds[order[i]], lists[order[i]]);
        }
    }
}
