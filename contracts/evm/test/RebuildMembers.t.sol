// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IRegistry} from "src/interfaces/IRegistry.sol";
import {Messages} from "src/lib/Messages.sol";
import {Base, Vm} from "test/Base.t.sol";
import {RebuiltEpochs} from "test/RebuiltEpochs.sol";
import {RebuiltNodes} from "test/RebuiltNodes.sol";

/// @notice All state of nodes, votes, epochs and committees can be rebuilt from the events of the registry, the ballot and
/// the committee contract alone.
contract RebuildMembersTest is Base {
    uint256 private constant PARTS = 6;
    uint256 private constant ACTIONS = 20; // in each
    uint256 private constant KINDS = 20;
    /// @dev Nodes 1 to 4 keep their keys and sign, with a quorum of the shards; the others change everything.
    uint32 private constant SIGNERS = 4;
    uint32 private constant NODES = 8;
    uint256 private constant MOST_NODES = 12;

    RebuiltNodes private nodes;
    RebuiltEpochs private epochs;
    uint256[KINDS] private done;
    uint256 private dice;

    function setUp() public override {
        vm.recordLogs();
        super.setUp();
        nodes = new RebuiltNodes();
        epochs = new RebuiltEpochs(nodes, SHARDS);
        for (uint32 i = 1; i <= NODES; ++i) {
            _addNode(i <= SIGNERS ? 5 * STAKE : STAKE);
        }
        _take();
    }

    /// forge-config: default.fuzz.runs = 12
    function test_the_state_is_what_the_events_tell(uint256 seed) public {
        for (uint256 part; part < PARTS; ++part) {
            _history(seed, part);
            _compare();
        }
    }

    /// @dev What the history above consists of: each kind of call succeeds in it.
    function test_every_kind_of_call_is_part_of_some_history() public {
        for (uint256 part; part < 3 * PARTS; ++part) {
            _history(0, part);
        }
        for (uint256 kind; kind < KINDS; ++kind) {
            vm.assertEq(done[kind] == 0 ? kind : 99, 99);
        }
    }

    function test_an_eviction_is_told() public {
        for (uint32 i = NODES; i < registry.MAX_CANDIDATES(); ++i) {
            _addNode(0);
        }
        uint32 last = _addNode(STAKE);
        vm.prank(_operator(last));
        registry.becomeCandidate(last);
        _take();
        vm.assertFalse(registry.node(last - 1).candidate);
        nodes.compare(registry, 0);
    }

    function _history(uint256 seed, uint256 part) private {
        for (uint256 i; i < ACTIONS; ++i) {
            dice = uint256(keccak256(abi.encode(seed, part, i)));
            if (dice & 1 == 0) _advance();
            else _act(_roll(KINDS));
        }
    }

    function _act(uint256 kind) private {
        uint32 nodeId = uint32(1 + _roll(registry.nodeCount()));
        IRegistry.NodeView memory node = registry.node(nodeId);
        if (kind < 11) {
            bytes memory call = _registryCall(kind, nodeId);
            if (call.length == 0) return;
            bool isOperators = kind == 4 || kind == 9 || kind == 10;
            address sender = isOperators && node.operator != address(0) ? node.operator : node.owner;
            if (kind == 6 && node.nextOwner != address(0)) sender = node.nextOwner;
            return _do(kind, sender, address(registry), call);
        }
        if (kind == 11) {
            ICommittee.Parameters memory given = _parameters(_even(1000));
            (given.notice, given.patience) = (NOTICE_S / 2 + _even(NOTICE_S), PATIENCE_S / 2 + _even(PATIENCE_S));
            return _do(kind, GOVERNOR, address(committee), abi.encodeCall(committee.setParameters, (given)));
        }
        if (kind == 12) {
            bytes memory vote =
                abi.encodeCall(ballot.vote, (uint80(_roll(9)), uint80(_roll(9)), uint64(_roll(1 << 50))));
            return _do(kind, node.operator, address(ballot), vote);
        }
        if (kind == 13) {
            for (uint32 i = 1; i <= SIGNERS; ++i) {
                bytes memory vote = abi.encodeCall(ballot.vote, (uint80(1 + _roll(9)), 1, CAPACITY));
                _do(kind, registry.node(i).operator, address(ballot), vote);
            }
            return;
        }
        if (kind == 14) return _do(kind, address(this), address(ballot), abi.encodeCall(ballot.decide, ()));
        if (kind == 15) return _ejectOne(kind, nodeId);
        if (kind == 16) return _attestSome(nodeId);
        if (kind == 17) return _step();
        if (kind == 18 && registry.nodeCount() < MOST_NODES) {
            _addNode(STAKE * _roll(3));
            ++done[kind];
            return _take();
        }
        vm.warp(block.timestamp + _roll(EPOCH_S / 4));
        ++done[kind];
    }

    function _registryCall(uint256 kind, uint32 nodeId) private returns (bytes memory) {
        address account = address(uint160(0xacc000 + _roll(20)));
        if (kind == 0) return abi.encodeCall(registry.updateNetworkAddress, (nodeId, "http://other", bytes32(dice)));
        if (kind == 1) return nodeId <= SIGNERS ? bytes("") : _keyCall(nodeId);
        if (kind == 2) return abi.encodeCall(registry.changeCommission, (nodeId, uint16(_roll(3001))));
        if (kind == 3) return abi.encodeCall(registry.changeOperator, (nodeId, account));
        if (kind == 4) return abi.encodeCall(registry.resignOperator, ());
        if (kind == 5) return abi.encodeCall(registry.offerNode, (nodeId, _roll(4) == 0 ? address(0) : account));
        if (kind == 6) return abi.encodeCall(registry.acceptNode, (nodeId));
        if (kind == 7) return abi.encodeCall(registry.changeReceiver, (nodeId, account));
        // An owner that names its own account, which another owner may have named.
        if (kind == 8) return abi.encodeCall(registry.changeOperator, (nodeId, registry.node(nodeId).owner));
        if (kind == 9) return nodeId <= SIGNERS ? bytes("") : abi.encodeCall(registry.leaveCandidates, (nodeId));
        return abi.encodeCall(registry.becomeCandidate, (nodeId));
    }

    function _keyCall(uint32 nodeId) private returns (bytes memory) {
        uint256 secret = 1 + _roll(ORDER - 1);
        bytes memory proof = _possession(secret, registry.node(nodeId).owner);
        return abi.encodeCall(registry.changePublicKey, (nodeId, _publicKey(secret), proof));
    }

    /// @dev By nodes 1 to 4, of which it is none.
    function _ejectOne(uint256 kind, uint32 nodeId) private {
        uint32 epoch = committee.epoch();
        if (epoch == 0 || nodeId <= SIGNERS) return;
        ICommittee.CommitteeView memory shown = committee.committeeOf(epoch);
        bytes memory bitmap = new bytes(1);
        uint256 secret;
        for (uint256 i; i < shown.members.length; ++i) {
            if (shown.members[i].nodeId > SIGNERS) continue;
            secret = addmod(secret, _secret(shown.members[i].nodeId), ORDER);
            bitmap[0] |= bytes1(uint8(1 << i));
        }
        uint64 deadline = uint64(block.timestamp);
        bytes memory signature = _sign(secret, _message(Messages.EJECT, epoch, Messages.ejection(nodeId, 1, deadline)));
        bytes memory call = abi.encodeCall(committee.eject, (nodeId, 1, deadline, bitmap, signature));
        _do(kind, address(this), address(committee), call);
    }

    /// @dev Each of a member's missing shards, or not.
    function _attestSome(uint32 nodeId) private {
        uint32 epoch = committee.epoch();
        if (epoch == 0) return;
        uint16[] memory missing = committee.missingShards(epoch);
        uint256 count;
        for (uint256 i; i < missing.length; ++i) {
            if (committee.ownerOf(epoch, missing[i]) == nodeId && _roll(2) == 0) missing[count++] = missing[i];
        }
        missing = _part(missing, 0, count);
        bytes32[] memory digests = new bytes32[](count);
        uint32[] memory counts = new uint32[](count);
        for (uint256 i; i < count; ++i) {
            (digests[i], counts[i]) = (keccak256(abi.encode(dice, i)), uint32(_roll(9)));
        }
        if (count == 0) return;
        bytes memory call = abi.encodeCall(committee.attest, (epoch, missing, digests, counts));
        _do(16, registry.node(nodeId).owner, address(committee), call);
        _do(16, registry.node(nodeId).operator, address(committee), call);
    }

    /// @dev The next step of the epochs as soon as it is possible.
    function _advance() private {
        vm.warp(block.timestamp + _roll(EPOCH_S));
        _step();
    }

    function _step() private {
        ICommittee.State memory state = committee.state();
        address target = address(committee);
        if (!state.handoverDone) return _do(17, address(this), target, abi.encodeCall(committee.close, ()));
        if (state.selectedEpoch != 0) return _do(17, address(this), target, abi.encodeCall(committee.start, ()));
        if (state.replaceableAt != 0) _do(19, address(this), target, abi.encodeCall(committee.replace, ()));
        _do(17, address(this), target, abi.encodeCall(committee.select, ()));
    }

    /// @dev Whatever a call tells that reverts is nothing.
    function _do(uint256 kind, address sender, address target, bytes memory call) private {
        vm.getRecordedLogs();
        vm.prank(sender);
        (bool success,) = target.call(call);
        if (!success) return;
        ++done[kind];
        _take();
    }

    function _take() private {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        nodes.take(logs, address(registry), address(ballot));
        epochs.take(logs, address(committee));
    }

    function _compare() private view {
        uint32 period = committee.period();
        nodes.compare(registry, period);
        nodes.compareVotes(ballot, period);
        epochs.compare(committee, registry.nodeCount());
    }

    /// @dev Below `end`.
    function _even(uint32 end) private returns (uint32) {
        return uint32(_roll(end));
    }

    function _roll(uint256 end) private returns (uint256) {
        dice = uint256(keccak256(abi.encode(dice)));
        return dice % end;
    }
}
