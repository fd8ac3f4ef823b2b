// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {Messages} from "src/lib/Messages.sol";
import {Base} from "test/Base.t.sol";

/// @notice Epoch 1 with five members of 20 shards each: any four are a quorum, and two thirds are 67 shards.
abstract contract ReplacementBase is Base {
    uint256 internal constant NODES = 5;

    function setUp() public virtual override {
        super.setUp();
        _addNodes(NODES);
        _nextEpoch();
    }

    /// @dev Ejects a member of the committee in office, by all the others.
    function _eject(uint32 nodeId) internal {
        uint32 epoch = committee.epoch();
        uint64 deadline = uint64(block.timestamp);
        bytes memory body = Messages.ejection(nodeId, 1, deadline);
        (bytes memory bitmap, bytes memory signature) = _signedIn(epoch, nodeId, _message(Messages.EJECT, epoch, body));
        committee.eject(nodeId, 1, deadline, bitmap, signature);
    }

    /// @dev Bitmap and aggregate signature of all members of an epoch but one.
    function _signedIn(uint32 epoch, uint32 absent, bytes memory message)
        internal
        view
        returns (bytes memory bitmap, bytes memory signature)
    {
        ICommittee.CommitteeView memory shown = committee.committeeOf(epoch);
        bitmap = new bytes((shown.members.length + 7) / 8);
        uint256 secret;
        for (uint256 i; i < shown.members.length; ++i) {
            if (shown.members[i].nodeId == absent) continue;
            secret = addmod(secret, _secret(shown.members[i].nodeId), ORDER);
            bitmap[i / 8] |= bytes1(uint8(1 << (i % 8)));
        }
        signature = _sign(secret, message);
    }

    /// @dev Has an ejected member replaced as soon as it can be.
    function _replace(uint32 nodeId) internal {
        _eject(nodeId);
        committee.replace();
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
    }

    /// @dev All that is to be attested in the current epoch.
    function _attestAll() internal {
        ICommittee.CommitteeView memory shown = committee.committeeOf(committee.epoch());
        for (uint256 i; i < shown.members.length; ++i) {
            _attestOwn(shown.members[i].nodeId);
        }
    }

    /// @dev All that a node has to attest.
    function _attestOwn(uint32 nodeId) internal {
        uint32 epoch = committee.epoch();
        uint16[] memory missing = committee.missingShards(epoch);
        uint16[] memory own = _shardsIn(committee.committeeOf(epoch), nodeId);
        uint256 count;
        for (uint256 i; i < own.length; ++i) {
            for (uint256 k; k < missing.length; ++k) {
                if (own[i] == missing[k]) own[count++] = own[i];
            }
        }
        if (count != 0) _attest(nodeId, _part(own, 0, count));
    }

    /// @dev Epoch 1 with ten members of ten shards each.
    function _deployTen() internal {
        _deploy(SHARDS, 500);
        _addNodes(10);
        _nextEpoch();
    }
}
