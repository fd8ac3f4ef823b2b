// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {SSTORE2} from "solady/utils/SSTORE2.sol";
import {Candidates} from "./Candidates.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {Bls} from "./lib/Bls.sol";
import {Contact} from "./lib/Contact.sol";
import {Messages} from "./lib/Messages.sol";

/// @title Storage nodes: their accounts, keys, addresses and commissions (`IRegistry`).
abstract contract Nodes is Candidates {
    using Checkpoints for Checkpoints.Trace160;

    struct Node {
        address owner;
        address nextOwner;
        address operator;
        address receiver;
        bytes32 tlsKey;
        Checkpoints.Trace160 keys; // period → 128 bytes as contract code
        Checkpoints.Trace160 commissions; // period → hundredths of a percent
        string name;
        string networkAddress;
    }

    /// @inheritdoc IRegistry
    uint16 public constant MAX_COMMISSION = 3_000;

    /// @inheritdoc IRegistry
    uint32 public nodeCount;
    /// @inheritdoc IRegistry
    mapping(address account => uint32 nodeId) public nodeOf;

    mapping(uint32 nodeId => Node) private _nodes;
    mapping(bytes32 keyHash => uint32 nodeId) private _nodeWithKey;

    /// @inheritdoc IRegistry
    function registerNode(Registration calldata given) external pausable returns (uint32 nodeId) {
        if (!Contact.isName(bytes(given.name))) revert InvalidName();
        _checkNetworkAddress(given.networkAddress);
        _checkCommission(given.commission);
        nodeId = ++nodeCount;
        Node storage entry = _nodes[nodeId];
        entry.owner = msg.sender;
        entry.name = given.name;
        entry.networkAddress = given.networkAddress;
        entry.tlsKey = given.tlsKey;
        _operate(entry, nodeId, given.operator);
        _receive(entry, given.receiver);
        entry.commissions.push(0, given.commission);
        bytes memory compressed = _takeKey(entry, nodeId, given.publicKey, given.proofOfPossession, 0);
        emit NodeRegistered(
            nodeId,
            msg.sender,
            given.operator,
            given.receiver,
            given.name,
            given.networkAddress,
            given.tlsKey,
            compressed,
            given.commission
        );
        _joinIfFree(nodeId);
    }

    /// @inheritdoc IRegistry
    function updateNetworkAddress(uint32 nodeId, string calldata networkAddress, bytes32 tlsKey)
        external
        onlyOperator(nodeId)
    {
        Node storage entry = _nodes[nodeId];
        _checkNetworkAddress(networkAddress);
        entry.networkAddress = networkAddress;
        entry.tlsKey = tlsKey;
        emit NetworkAddressChanged(nodeId, networkAddress, tlsKey);
    }

    /// @inheritdoc IRegistry
    function changePublicKey(uint32 nodeId, bytes calldata publicKey, bytes calldata proofOfPossession)
        external
        pausable
    {
        Node storage entry = _owned(nodeId);
        uint32 fromPeriod = _changePeriod(entry.keys);
        bytes memory compressed = _takeKey(entry, nodeId, publicKey, proofOfPossession, fromPeriod);
        emit PublicKeyChanged(nodeId, compressed, fromPeriod);
    }

    /// @inheritdoc IRegistry
    function changeCommission(uint32 nodeId, uint16 commission) external {
        Node storage entry = _owned(nodeId);
        _checkCommission(commission);
        uint32 fromPeriod = _changePeriod(entry.commissions);
        entry.commissions.push(fromPeriod, commission);
        emit CommissionChanged(nodeId, commission, fromPeriod);
    }

    /// @inheritdoc IRegistry
    function changeOperator(uint32 nodeId, address operator) external {
        Node storage entry = _owned(nodeId);
        delete nodeOf[entry.operator];
        _operate(entry, nodeId, operator);
        emit OperatorChanged(nodeId, operator);
    }

    /// @inheritdoc IRegistry
    function resignOperator() public {
        uint32 nodeId = nodeOf[msg.sender];
        if (nodeId == 0) revert NotAnOperator(msg.sender, nodeId);
        delete nodeOf[msg.sender];
        delete _nodes[nodeId].operator;
        emit OperatorChanged(nodeId, address(0));
    }

    /// @inheritdoc IRegistry
    function offerNode(uint32 nodeId, address nextOwner) external {
        _owned(nodeId).nextOwner = nextOwner;
        emit NodeOffered(nodeId, nextOwner);
    }

    /// @inheritdoc IRegistry
    function acceptNode(uint32 nodeId) external {
        Node storage entry = _known(nodeId);
        if (msg.sender != entry.nextOwner) revert NotOffered(msg.sender, nodeId);
        entry.owner = msg.sender;
        delete entry.nextOwner;
        emit OwnerChanged(nodeId, msg.sender);
    }

    /// @inheritdoc IRegistry
    function changeReceiver(uint32 nodeId, address receiver) external {
        _receive(_owned(nodeId), receiver);
        emit ReceiverChanged(nodeId, receiver);
    }

    /// @inheritdoc IRegistry
    function node(uint32 nodeId) public view returns (NodeView memory shown) {
        Node storage entry = _known(nodeId);
        uint32 current = IEpochs(committee).period();
        (, uint96 keyFrom, uint160 lastKey) = entry.keys.latestCheckpoint();
        (, uint96 commissionFrom, uint160 lastCommission) = entry.commissions.latestCheckpoint();
        shown.nodeId = nodeId;
        shown.owner = entry.owner;
        shown.nextOwner = entry.nextOwner;
        shown.operator = entry.operator;
        shown.receiver = entry.receiver;
        shown.name = entry.name;
        shown.networkAddress = entry.networkAddress;
        shown.tlsKey = entry.tlsKey;
        shown.publicKey = Bls.compress(_keyIn(entry, current));
        shown.commission = commissionIn(nodeId, current);
        shown.stake = staking.stakeOn(nodeId);
        shown.candidate = _standings[nodeId].candidate;
        shown.barredUntil = _standings[nodeId].barredUntil;
        shown.pendingPublicKey = Bls.compress(SSTORE2.read(address(lastKey)));
        shown.publicKeyFrom = uint32(keyFrom);
        shown.pendingCommission = uint16(lastCommission);
        shown.commissionFrom = uint32(commissionFrom);
    }

    /// @inheritdoc IRegistry
    function nodes(uint32 cursor, uint32 count) external view returns (NodeView[] memory page, uint32 next) {
        uint256 first = cursor == 0 ? 1 : cursor;
        uint256 end = first + count; // exclusive
        if (end <= nodeCount) next = uint32(end);
        else end = first > nodeCount ? first : uint256(nodeCount) + 1;
        page = new NodeView[](end - first);
        for (uint256 i; i < page.length; ++i) {
            page[i] = node(uint32(first + i));
        }
    }

    /// @inheritdoc IRegistry
    function contact(uint32 nodeId) external view returns (string memory name, string memory networkAddress) {
        Node storage entry = _known(nodeId);
        return (entry.name, entry.networkAddress);
    }

    /// @inheritdoc IRegistry
    function keysOf(uint32[] calldata nodeIds, uint32 period) external view returns (bytes memory keys) {
        keys = new bytes(nodeIds.length * Bls.KEY_BYTES);
        for (uint256 i; i < nodeIds.length; ++i) {
            bytes memory key = _keyIn(_known(nodeIds[i]), period);
            assembly ("memory-safe") {
                mcopy(add(add(keys, 0x20), mul(i, 0x80)), add(key, 0x20), 0x80)
            }
        }
    }

    /// @inheritdoc IRegistry
    function commissionIn(uint32 nodeId, uint32 period) public view returns (uint16) {
        return uint16(_known(nodeId).commissions.upperLookupRecent(period));
    }

    /// @inheritdoc IRegistry
    function receiverOf(uint32 nodeId) external view returns (address) {
        return _known(nodeId).receiver;
    }

    function _requireOperator(uint32 nodeId) internal view override {
        Node storage entry = _known(nodeId);
        if (msg.sender != entry.owner && msg.sender != entry.operator) revert NotAnOperator(msg.sender, nodeId);
    }

    function _known(uint32 nodeId) private view returns (Node storage entry) {
        entry = _nodes[nodeId];
        if (entry.owner == address(0)) revert UnknownNode(nodeId);
    }

    /// @dev Checks a new key and keeps it for the periods from `fromPeriod` on; returns it compressed.
    function _takeKey(
        Node storage entry,
        uint32 nodeId,
        bytes calldata publicKey,
        bytes calldata proofOfPossession,
        uint32 fromPeriod
    ) private returns (bytes memory compressed) {
        uint32 user = _nodeWithKey[keccak256(publicKey)];
        if (user != 0) revert KeyInUse(user);
        _nodeWithKey[keccak256(publicKey)] = nodeId;
        bytes memory key = publicKey;
        if (!Bls.isKey(key)) revert InvalidKey();
        compressed = Bls.compress(key);
        bytes memory body = Messages.possession(entry.owner, compressed);
        bytes memory message = Messages.encode(Messages.POSSESSION, 0, Messages.domainOf(committee), body);
        if (!Bls.verify(Bls.keyAt(key, 0), message, proofOfPossession)) revert InvalidProofOfPossession();
        entry.keys.push(fromPeriod, uint160(SSTORE2.write(publicKey)));
    }

    /// @dev Makes an account the operator of a node. An account operates one node at a time, and another owner may have
    /// named it without asking: an owner that names itself therefore leaves that other node.
    function _operate(Node storage entry, uint32 nodeId, address operator) private {
        if (operator == address(0)) revert ZeroAddress();
        uint32 other = nodeOf[operator];
        if (other != 0) {
            if (operator != msg.sender || _nodes[other].owner == operator) revert AccountHasNode(operator, other);
            resignOperator();
        }
        nodeOf[operator] = nodeId;
        entry.operator = operator;
    }

    function _receive(Node storage entry, address receiver) private {
        if (receiver == address(0)) revert ZeroAddress();
        entry.receiver = receiver;
    }

    /// @dev From when on a change counts; a selection dropped meanwhile never brings it forward.
    function _changePeriod(Checkpoints.Trace160 storage changes) private view returns (uint32) {
        uint32 electable = IEpochs(committee).electablePeriod();
        (, uint96 last,) = changes.latestCheckpoint();
        return last > electable ? uint32(last) : electable;
    }

    function _keyIn(Node storage entry, uint32 period) private view returns (bytes memory) {
        return SSTORE2.read(address(entry.keys.upperLookupRecent(period)));
    }

    function _owned(uint32 nodeId) private view returns (Node storage entry) {
        entry = _known(nodeId);
        if (msg.sender != entry.owner) revert NotNodeOwner(msg.sender, nodeId);
    }

    function _checkNetworkAddress(string calldata networkAddress) private pure {
        if (!Contact.isNetworkAddress(bytes(networkAddress))) revert InvalidNetworkAddress();
    }

    function _checkCommission(uint16 commission) private pure {
        if (commission > MAX_COMMISSION) revert CommissionTooHigh(commission, MAX_COMMISSION);
    }
}
