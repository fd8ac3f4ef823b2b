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

/// @title Storage nodes.
/// @notice A node has an owner, who registered it, or accepted it from the owner before, and decides about it; an operator, the hot key that its process
/// sends with; and a receiver of its commission. Address and TLS key change at once, BLS key and commission from the
/// next committee on that is not elected yet. Node ids count from 1.
abstract contract Nodes is Candidates, IRegistry {
    using Checkpoints for Checkpoints.Trace160;

    /// @notice What a node is registered with.
    struct Registration {
        /// @dev 1 to 64 printable ASCII characters (`Contact.isName`).
        string name;
        /// @dev `http(s)://host[:port]`, at most 256 bytes (`Contact.isNetworkAddress`).
        string networkAddress;
        /// @dev SHA-256 of the TLS key's SubjectPublicKeyInfo, 0 for a node without TLS.
        bytes32 tlsKey;
        /// @dev A point of G1 in EIP-2537's form, 128 bytes.
        bytes publicKey;
        /// @dev The key's signature over the message of intent 0 for the owner, 256 bytes.
        bytes proofOfPossession;
        /// @dev In hundredths of a percent, at most `MAX_COMMISSION`.
        uint16 commission;
        address operator;
        address receiver;
    }

    /// @notice A registered node as it is shown.
    struct NodeView {
        uint32 nodeId;
        address owner;
        /// @dev The account that may accept the node as its own; the zero address for none.
        address nextOwner;
        address operator;
        address receiver;
        string name;
        string networkAddress;
        bytes32 tlsKey;
        /// @dev Compressed, 48 bytes; in the current period.
        bytes publicKey;
        /// @dev In the current period.
        uint16 commission;
        uint256 stake;
        bool candidate;
        /// @dev The period with whose start it may become a candidate again, if it is none.
        uint32 barredUntil;
        /// @dev The key to come, or the same one again.
        bytes pendingPublicKey;
        uint32 publicKeyFrom;
        /// @dev The commission to come, or the same one again.
        uint16 pendingCommission;
        uint32 commissionFrom;
    }

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

    /// @notice A node was registered; `publicKey` is compressed, 48 bytes.
    event NodeRegistered(
        uint32 indexed nodeId,
        address indexed owner,
        address indexed operator,
        address receiver,
        string name,
        string networkAddress,
        bytes32 tlsKey,
        bytes publicKey,
        uint16 commission
    );
    /// @notice A node is reached elsewhere from now on.
    event NetworkAddressChanged(uint32 indexed nodeId, string networkAddress, bytes32 tlsKey);
    /// @notice A node signs with another key from a period on; compressed, 48 bytes.
    event PublicKeyChanged(uint32 indexed nodeId, bytes publicKey, uint32 fromPeriod);
    /// @notice A node takes another part of its rewards from a period on.
    event CommissionChanged(uint32 indexed nodeId, uint16 commission, uint32 fromPeriod);
    /// @notice A node is operated by another account; the zero address stands for none.
    event OperatorChanged(uint32 indexed nodeId, address indexed operator);
    /// @notice A node's commission goes to another account.
    event ReceiverChanged(uint32 indexed nodeId, address indexed receiver);
    /// @notice The owner offers the node to an account; the zero address withdraws the offer.
    event NodeOffered(uint32 indexed nodeId, address indexed nextOwner);
    /// @notice A node is another account's, which accepted it.
    event OwnerChanged(uint32 indexed nodeId, address indexed owner);

    /// @notice An account operates one node at most.
    error AccountHasNode(address account, uint32 nodeId);
    /// @notice Another node has, or this one had, the key.
    error KeyInUse(uint32 nodeId);
    /// @notice Not 128 bytes, not on the curve, not of the right subgroup, or the identity.
    error InvalidKey();
    /// @notice The proof is not the key's signature over owner and key, for this deployment.
    error InvalidProofOfPossession();
    /// @notice A name has 1 to 64 printable ASCII characters, no space first or last.
    error InvalidName();
    /// @notice A network address is `http(s)://host[:port]` and nothing else, with at most 256 bytes.
    error InvalidNetworkAddress();
    /// @notice A commission is at most `most`.
    error CommissionTooHigh(uint256 commission, uint256 most);
    /// @notice The zero address can neither operate nor receive.
    error ZeroAddress();
    /// @notice Only the node's owner may.
    error NotNodeOwner(address account, uint32 nodeId);
    /// @notice The node is not offered to the account.
    error NotOffered(address account, uint32 nodeId);
    /// @notice Only the node's owner and its operator may.
    error NotAnOperator(address account, uint32 nodeId);
    /// @notice The most that a node may take of its rewards, hundredths of a percent.
    uint16 public constant MAX_COMMISSION = 3_000;

    /// @inheritdoc IRegistry
    uint32 public nodeCount;
    /// @notice The node that an account operates, 0 if none.
    mapping(address account => uint32 nodeId) public nodeOf;

    mapping(uint32 nodeId => Node) private _nodes;
    mapping(bytes32 keyHash => uint32 nodeId) private _nodeWithKey;

    /// @notice Registers a node of the sender's and makes it a candidate, unless all places are taken.
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

    /// @notice Changes where a node is reached, at once. Owner or operator.
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

    /// @notice Gives a node another BLS key, for the next committee on that is not elected yet. Owner only.
    /// @param publicKey A point of G1 in EIP-2537's form, 128 bytes; never used before.
    /// @param proofOfPossession The key's signature over the message of intent 0 for the owner, 256 bytes.
    function changePublicKey(uint32 nodeId, bytes calldata publicKey, bytes calldata proofOfPossession)
        external
        pausable
    {
        Node storage entry = _owned(nodeId);
        uint32 fromPeriod = _changePeriod(entry.keys);
        bytes memory compressed = _takeKey(entry, nodeId, publicKey, proofOfPossession, fromPeriod);
        emit PublicKeyChanged(nodeId, compressed, fromPeriod);
    }

    /// @notice Changes what a node takes of its rewards, from the next period on that is not elected yet. Owner only.
    /// @param commission Hundredths of a percent, at most `MAX_COMMISSION`.
    function changeCommission(uint32 nodeId, uint16 commission) external {
        Node storage entry = _owned(nodeId);
        _checkCommission(commission);
        uint32 fromPeriod = _changePeriod(entry.commissions);
        entry.commissions.push(fromPeriod, commission);
        emit CommissionChanged(nodeId, commission, fromPeriod);
    }

    /// @notice Lets another account operate a node, one that operates none. Owner only.
    function changeOperator(uint32 nodeId, address operator) external {
        Node storage entry = _owned(nodeId);
        delete nodeOf[entry.operator];
        _operate(entry, nodeId, operator);
        emit OperatorChanged(nodeId, operator);
    }

    /// @notice The sender no longer operates its node, until the owner names another operator the owner alone does.
    /// So nobody is bound by having been named without being asked.
    function resignOperator() public {
        uint32 nodeId = nodeOf[msg.sender];
        if (nodeId == 0) revert NotAnOperator(msg.sender, nodeId);
        delete nodeOf[msg.sender];
        delete _nodes[nodeId].operator;
        emit OperatorChanged(nodeId, address(0));
    }

    /// @notice Offers a node to another account, in place of whom it was offered to before; the zero address withdraws
    /// the offer. Nothing changes until it is accepted. Owner only.
    function offerNode(uint32 nodeId, address nextOwner) external {
        _owned(nodeId).nextOwner = nextOwner;
        emit NodeOffered(nodeId, nextOwner);
    }

    /// @notice Makes the sender the owner of a node that is offered to it. Operator, receiver, key and commission stay
    /// until the new owner changes them.
    function acceptNode(uint32 nodeId) external {
        Node storage entry = _known(nodeId);
        if (msg.sender != entry.nextOwner) revert NotOffered(msg.sender, nodeId);
        entry.owner = msg.sender;
        delete entry.nextOwner;
        emit OwnerChanged(nodeId, msg.sender);
    }

    /// @notice Sends a node's commission, from now on, to another account. Owner only.
    function changeReceiver(uint32 nodeId, address receiver) external {
        _receive(_owned(nodeId), receiver);
        emit ReceiverChanged(nodeId, receiver);
    }

    /// @notice One node. Reverts for an id that does not exist.
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

    /// @notice Nodes by ascending id, a page of them.
    /// @param cursor The first id; 0 begins like 1.
    /// @param count The most nodes on the page.
    /// @return page The nodes.
    /// @return next Where the next page begins, 0 at the end.
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

    /// @notice Name and network address of a node. Reverts for an id that does not exist.
    function contact(uint32 nodeId) external view returns (string memory name, string memory networkAddress) {
        Node storage entry = _known(nodeId);
        return (entry.name, entry.networkAddress);
    }

    /// @notice The keys of nodes in a period, in EIP-2537's form, 128 bytes each, one after another.
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

    /// @dev An owner that names itself leaves the node for which another owner named it: nobody can keep an account from
    /// a node of its own by naming it first.
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
