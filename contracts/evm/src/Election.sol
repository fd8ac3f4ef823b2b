// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {LibBit} from "solady/utils/LibBit.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {Assignment, Roster} from "./lib/Assignment.sol";
import {Bls} from "./lib/Bls.sol";
import {Roll, Rolls} from "./lib/Rolls.sol";
import {Votes} from "./lib/Votes.sol";

/// @title How a committee is elected, and written.
/// @notice Without state; a contract of its own because the committee contract's code has no room for it (EIP-170).
contract Election {
    /// @notice The members that stay would have held fewer shards when the period began than a replacement needs.
    error TooFewLeft(uint256 shards, uint256 needed);

    /// @notice Elects a period's committee from the candidates as they are now.
    /// @param previous The committee to move away from; zero addresses at the first election.
    /// @param period The period, in whose keys the members sign.
    /// @param shards How many there are.
    /// @param bandMillis As in `Assignment.elect`.
    /// @return roll The committee.
    /// @return stake The stake of its members.
    /// @return members How many they are.
    function elect(Roll calldata previous, IRegistry registry, uint32 period, uint256 shards, uint256 bandMillis)
        external
        returns (Roll memory roll, uint256 stake, uint256 members)
    {
        (uint32[] memory nodeIds, uint256[] memory stakes) = registry.candidates();
        Roster memory before;
        if (previous.members != address(0)) before = Rolls.read(previous);
        Roster memory next;
        (next, stake) = Assignment.elect(before, nodeIds, stakes, shards, bandMillis);
        return (Rolls.write(next, registry.keysOf(next.nodeIds, period)), stake, next.nodeIds.length);
    }

    /// @notice Deals the shards of departed members to those that stay (`Assignment.replace`), by the shards that these
    /// had when the period began; so a member has the same after one replacement as after several. Their keys stay the
    /// same. Reverts with `TooFewLeft` where `shardsLeft` is below two thirds.
    /// @param regular The committee with which the period began.
    /// @param inOffice The committee in office, whose members are all in `regular`.
    /// @param departed One bit per member in office, least significant bit first.
    /// @param shards How many there are.
    function replace(Roll calldata regular, Roll calldata inOffice, uint256 departed, uint256 shards)
        external
        returns (Roll memory)
    {
        Roster memory before = Rolls.read(inOffice);
        (uint256[] memory weights, uint256 left) = _weightsIn(regular, before.nodeIds, departed);
        if (left < Votes.twoThirds(shards)) revert TooFewLeft(left, Votes.twoThirds(shards));
        (uint256[] memory places, bytes memory keys) = _staying(inOffice, departed);
        uint32[] memory nodeIds = new uint32[](places.length);
        for (uint256 i; i < places.length; ++i) {
            nodeIds[i] = before.nodeIds[places[i]];
        }
        return Rolls.write(Assignment.replace(before, nodeIds, weights, shards), keys);
    }

    /// @notice How many shards the members that stay held in the committee with which the period began.
    /// @dev Parameters as in `replace`.
    function shardsLeft(Roll calldata regular, Roll calldata inOffice, uint256 departed)
        external
        view
        returns (uint256 count)
    {
        (, count) = _weightsIn(regular, Rolls.nodeIdsOf(inOffice), departed);
    }

    /// @dev The shards in `regular` of each member that stays, and of all of them.
    function _weightsIn(Roll calldata regular, uint32[] memory inOffice, uint256 departed)
        private
        view
        returns (uint256[] memory weights, uint256 total)
    {
        Roster memory roster = Rolls.read(regular);
        weights = new uint256[](inOffice.length - LibBit.popCount(departed));
        uint256 count;
        for (uint256 i; i < inOffice.length; ++i) {
            if (departed >> i & 1 == 1) continue;
            (, uint256 position) = Assignment.positionOf(roster.nodeIds, inOffice[i]);
            weights[count] = roster.shards[position].length;
            total += weights[count++];
        }
    }

    /// @dev The places in the committee's order of the members that stay, and their keys.
    function _staying(Roll calldata inOffice, uint256 departed)
        private
        view
        returns (uint256[] memory places, bytes memory keys)
    {
        bytes memory all = Rolls.keys(inOffice);
        uint256 members = all.length / Bls.KEY_BYTES;
        places = new uint256[](members);
        keys = new bytes(all.length);
        uint256 count;
        for (uint256 i; i < members; ++i) {
            if (departed >> i & 1 == 1) continue;
            assembly ("memory-safe") {
                mcopy(add(add(keys, 0x20), mul(count, 0x80)), add(add(all, 0x20), mul(i, 0x80)), 0x80)
            }
            places[count++] = i;
        }
        assembly ("memory-safe") {
            mstore(places, count)
            mstore(keys, mul(count, 0x80))
        }
    }
}
