// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "./interfaces/ICommittee.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {Roster} from "./lib/Assignment.sol";
import {Bls} from "./lib/Bls.sol";
import {Roll, Rolls} from "./lib/Rolls.sol";

/// @title Committees as they are shown: their members with names, addresses, keys and shards.
/// @notice A part of the committee contract, which creates it and passes its answers on as they are: that contract
/// has no room for it (EIP-170). It keeps nothing, and trusts its callers about the rolls.
contract CommitteeViews {
    /// @notice Shows the committee of an epoch, with the members' names and addresses of today.
    function committeeOf(IRegistry registry, uint32 epoch, Roll memory roll)
        public
        view
        returns (ICommittee.CommitteeView memory shown)
    {
        Roster memory roster = Rolls.read(roll);
        bytes memory keys = Rolls.keys(roll);
        shown.epoch = epoch;
        shown.members = new ICommittee.MemberView[](roster.nodeIds.length);
        for (uint256 i; i < shown.members.length; ++i) {
            (string memory name, string memory networkAddress) = registry.contact(roster.nodeIds[i]);
            shown.members[i] = ICommittee.MemberView({
                nodeId: roster.nodeIds[i],
                name: name,
                networkAddress: networkAddress,
                publicKey: Bls.compress(Bls.keyAt(keys, i)),
                shards: roster.shards[i]
            });
        }
    }

    /// @notice Shows three committees; of one whose epoch is given as 0, nothing.
    function committees(IRegistry registry, uint32[3] calldata epochs, Roll[3] calldata rolls)
        external
        view
        returns (
            ICommittee.CommitteeView memory previous,
            ICommittee.CommitteeView memory current,
            ICommittee.CommitteeView memory next
        )
    {
        if (epochs[0] != 0) {
            previous = committeeOf(registry, epochs[0], rolls[0]);
        }
        if (epochs[1] != 0) current = committeeOf(registry, epochs[1], rolls[1]);
        if (epochs[2] != 0) next = committeeOf(registry, epochs[2], rolls[2]);
    }

    /// @notice The member that has a shard; 0 if none has.
    function ownerOf(Roll calldata roll, uint16 shard) external view returns (uint32) {
        return Rolls.ownerOf(roll, shard);
    }
}
