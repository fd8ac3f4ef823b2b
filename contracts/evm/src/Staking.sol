// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SSTORE2} from "solady/utils/SSTORE2.sol";
import {Bls} from "./lib/Bls.sol";
import {Messages} from "./lib/Messages.sol";

/// @notice What staking asks of the committee contract.
interface IEpochs {
    /// @notice The current epoch, 0 before the first.
    function epoch() external view returns (uint32);
}

/// @title Storage nodes, the stake on them, and who of them stands for election.
/// @notice A node is an account with a name, a network address and a BLS key whose possession it proved. Anybody may
/// stake on any node. Candidates keep the order in which they became candidates; the committee contract elects from
/// them. Node ids count from 1.
contract Staking {
    using SafeERC20 for IERC20;

    /// @notice A registered node as it is shown.
    struct NodeView {
        uint32 nodeId;
        address account;
        string name;
        string networkAddress;
        /// @dev Compressed, 48 bytes.
        bytes publicKey;
        uint256 stake;
        bool candidate;
    }

    struct Node {
        address account;
        bool candidate;
        uint64 barredUntil; // seconds; may not become a candidate before
        address key; // 128 bytes as contract code
        uint128 stake; // of everybody on this node
        string name;
        string networkAddress;
    }

    /// @notice Unstaked and not yet withdrawn.
    struct Unbonding {
        uint128 amount;
        uint32 unlockEpoch;
    }

    /// @notice A node was registered; `publicKey` is compressed, 48 bytes.
    event NodeRegistered(
        uint32 indexed nodeId, address indexed account, string name, string networkAddress, bytes publicKey
    );
    /// @notice A node is reached elsewhere from now on.
    event NetworkAddressChanged(uint32 indexed nodeId, string networkAddress);
    /// @notice A node stands for election, behind all that stand already.
    event CandidateJoined(uint32 indexed nodeId);
    /// @notice The operator withdrew the candidacy.
    event NodeLeft(uint32 indexed nodeId);
    /// @notice The committee contract ended the candidacy (ejection, or shards not attested at a close).
    event CandidateRemoved(uint32 indexed nodeId, uint64 barredUntil);
    /// @notice A candidate with more stake took the place of this one.
    event CandidateEvicted(uint32 indexed nodeId);
    /// @notice `amount` more is staked on the node.
    event Staked(uint32 indexed nodeId, address indexed staker, uint256 amount);
    /// @notice `amount` is staked no more; it can be withdrawn in `unlockEpoch`.
    event Unstaked(uint32 indexed nodeId, address indexed staker, uint256 amount, uint32 unlockEpoch);
    /// @notice Unstaked tokens went back to the staker.
    event Withdrawn(uint32 indexed nodeId, address indexed staker, uint256 amount);

    /// @notice An account operates one node at most.
    error AccountHasNode(address account, uint32 nodeId);
    /// @notice Another node has the key.
    error KeyInUse(uint32 nodeId);
    /// @notice Not 128 bytes, not on the curve, not of the right subgroup, or the identity.
    error InvalidKey();
    /// @notice The proof is not the key's signature over this account and key, for this deployment.
    error InvalidProofOfPossession();
    /// @notice A name has 1 to 64 bytes.
    error InvalidName(uint256 length);
    /// @notice A network address has 1 to 256 bytes.
    error InvalidNetworkAddress(uint256 length);
    /// @notice No node has this id.
    error UnknownNode(uint32 nodeId);
    /// @notice The account operates no node.
    error NotAnOperator(address account);
    /// @notice The node stands already.
    error AlreadyCandidate(uint32 nodeId);
    /// @notice The node does not stand.
    error NotCandidate(uint32 nodeId);
    /// @notice The node may not stand before `until`, seconds.
    error Barred(uint32 nodeId, uint64 until);
    /// @notice All places are taken by candidates with at least `leastStake`.
    error CandidatesFull(uint256 leastStake);
    /// @notice An amount must be above zero.
    error ZeroAmount();
    /// @notice A node carries less than 2^128.
    error StakeTooLarge(uint256 stake);
    /// @notice The sender has less than `amount` on the node.
    error StakeTooSmall(uint256 staked, uint256 amount);
    /// @notice The staker has unstaked nothing from the node, or has withdrawn it.
    error NothingUnbonding(uint32 nodeId, address staker);
    /// @notice The stake can be withdrawn from `unlockEpoch` on.
    error StillBonded(uint32 unlockEpoch);
    /// @notice Only the committee contract may.
    error NotCommittee(address account);

    /// @notice The most candidates at a time.
    uint256 public constant MAX_CANDIDATES = 100;
    /// @notice Epochs from unstaking to withdrawing.
    uint32 public constant UNBONDING_EPOCHS = 2;

    uint256 private constant MAX_NAME_BYTES = 64;
    uint256 private constant MAX_NETWORK_ADDRESS_BYTES = 256;

    /// @notice What is staked.
    IERC20 public immutable token;
    /// @notice The committee contract; it alone may remove candidates.
    address public immutable committee;

    /// @notice How many nodes there are; their ids are 1 to this.
    uint32 public nodeCount;
    /// @notice The node that an account operates, 0 if none.
    mapping(address account => uint32 nodeId) public nodeOf;
    /// @notice What a staker has on a node, without what is unbonding.
    mapping(uint32 nodeId => mapping(address staker => uint256 amount)) public stakeOf;
    /// @notice What a staker may withdraw from a node, and from which epoch on.
    mapping(uint32 nodeId => mapping(address staker => Unbonding)) public unbondingOf;

    mapping(uint32 nodeId => Node) private _nodes;
    mapping(bytes32 keyHash => uint32 nodeId) private _nodeWithKey;
    uint32[] private _candidates;

    /// @param committee_ Where the committee contract is, or is about to be deployed.
    constructor(IERC20 token_, address committee_) {
        token = token_;
        committee = committee_;
    }

    /// @notice Registers the sender's node and makes it a candidate, unless all places are taken.
    /// @param name 1 to 64 bytes.
    /// @param networkAddress 1 to 256 bytes.
    /// @param publicKey A point of G1 in EIP-2537's form, 128 bytes.
    /// @param proofOfPossession The key's signature over the message of intent 0, 256 bytes.
    function registerNode(
        string calldata name,
        string calldata networkAddress,
        bytes calldata publicKey,
        bytes calldata proofOfPossession
    ) external returns (uint32 nodeId) {
        if (nodeOf[msg.sender] != 0) revert AccountHasNode(msg.sender, nodeOf[msg.sender]);
        if (bytes(name).length == 0 || bytes(name).length > MAX_NAME_BYTES) revert InvalidName(bytes(name).length);
        _checkNetworkAddress(networkAddress);
        bytes memory compressed = _checkKey(publicKey, proofOfPossession);
        nodeId = ++nodeCount;
        nodeOf[msg.sender] = nodeId;
        _nodeWithKey[keccak256(publicKey)] = nodeId;
        Node storage entry = _nodes[nodeId];
        entry.account = msg.sender;
        entry.key = SSTORE2.write(publicKey);
        entry.name = name;
        entry.networkAddress = networkAddress;
        emit NodeRegistered(nodeId, msg.sender, name, networkAddress, compressed);
        if (_candidates.length < MAX_CANDIDATES) _join(nodeId);
    }

    /// @notice Changes where the sender's node is reached, at once.
    function updateNetworkAddress(string calldata networkAddress) external {
        uint32 nodeId = _operatedNode();
        _checkNetworkAddress(networkAddress);
        _nodes[nodeId].networkAddress = networkAddress;
        emit NetworkAddressChanged(nodeId, networkAddress);
    }

    /// @notice Stakes the sender's tokens on a node; they count from the next selection on.
    function stake(uint32 nodeId, uint256 amount) external {
        Node storage entry = _known(nodeId);
        if (amount == 0) revert ZeroAmount();
        uint256 total = uint256(entry.stake) + _bounded(amount);
        entry.stake = _bounded(total);
        stakeOf[nodeId][msg.sender] += amount;
        emit Staked(nodeId, msg.sender, amount);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @notice Takes stake off a node. It counts no more at once, and may be withdrawn two epochs later, together with
    /// what was unbonding already.
    function unstake(uint32 nodeId, uint256 amount) external {
        if (amount == 0) revert ZeroAmount();
        uint256 staked = stakeOf[nodeId][msg.sender];
        if (amount > staked) revert StakeTooSmall(staked, amount);
        stakeOf[nodeId][msg.sender] = staked - amount;
        _nodes[nodeId].stake -= uint128(amount);
        Unbonding storage unbonding = unbondingOf[nodeId][msg.sender];
        unbonding.amount += uint128(amount);
        unbonding.unlockEpoch = IEpochs(committee).epoch() + UNBONDING_EPOCHS;
        emit Unstaked(nodeId, msg.sender, amount, unbonding.unlockEpoch);
    }

    /// @notice Pays out what the sender unstaked from a node, once its unlock epoch has come.
    function withdraw(uint32 nodeId) external {
        Unbonding memory unbonding = unbondingOf[nodeId][msg.sender];
        if (unbonding.amount == 0) revert NothingUnbonding(nodeId, msg.sender);
        if (IEpochs(committee).epoch() < unbonding.unlockEpoch) revert StillBonded(unbonding.unlockEpoch);
        delete unbondingOf[nodeId][msg.sender];
        emit Withdrawn(nodeId, msg.sender, unbonding.amount);
        token.safeTransfer(msg.sender, unbonding.amount);
    }

    /// @notice The sender's node stands for no further selection. In committees already selected it stays.
    function leaveCandidates() external {
        uint32 nodeId = _operatedNode();
        if (!_remove(nodeId)) revert NotCandidate(nodeId);
        emit NodeLeft(nodeId);
    }

    /// @notice The sender's node stands again, behind the other candidates. If all places are taken, it takes the one
    /// with the least stake (of equals the last), if that is less than its own.
    function becomeCandidate() external {
        uint32 nodeId = _operatedNode();
        Node storage entry = _nodes[nodeId];
        if (entry.candidate) revert AlreadyCandidate(nodeId);
        if (block.timestamp < entry.barredUntil) revert Barred(nodeId, entry.barredUntil);
        if (_candidates.length == MAX_CANDIDATES) _evictFor(entry.stake);
        _join(nodeId);
    }

    /// @notice Ends a candidacy, if there is one; only the committee contract may.
    /// @param barredUntil When the node may become a candidate again, seconds; never shortens an earlier bar.
    function removeCandidate(uint32 nodeId, uint64 barredUntil) external {
        if (msg.sender != committee) revert NotCommittee(msg.sender);
        Node storage entry = _nodes[nodeId];
        if (barredUntil > entry.barredUntil) entry.barredUntil = barredUntil;
        if (_remove(nodeId)) emit CandidateRemoved(nodeId, entry.barredUntil);
    }

    /// @notice One node. Reverts for an id that does not exist.
    function node(uint32 nodeId) public view returns (NodeView memory) {
        Node storage entry = _known(nodeId);
        return NodeView({
            nodeId: nodeId,
            account: entry.account,
            name: entry.name,
            networkAddress: entry.networkAddress,
            publicKey: Bls.compress(SSTORE2.read(entry.key)),
            stake: entry.stake,
            candidate: entry.candidate
        });
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

    /// @notice Who stands for the next selection, with the stake of each, in candidate order.
    function candidates() external view returns (uint32[] memory nodeIds, uint256[] memory stakes) {
        nodeIds = _candidates;
        stakes = new uint256[](nodeIds.length);
        for (uint256 i; i < nodeIds.length; ++i) {
            stakes[i] = _nodes[nodeIds[i]].stake;
        }
    }

    /// @notice The keys of nodes in EIP-2537's form, 128 bytes each, one after another.
    function keysOf(uint32[] calldata nodeIds) external view returns (bytes memory keys) {
        keys = new bytes(nodeIds.length * Bls.KEY_BYTES);
        for (uint256 i; i < nodeIds.length; ++i) {
            bytes memory key = SSTORE2.read(_known(nodeIds[i]).key);
            assembly ("memory-safe") {
                mcopy(add(add(keys, 0x20), mul(i, 0x80)), add(key, 0x20), 0x80)
            }
        }
    }

    function _checkKey(bytes calldata publicKey, bytes calldata proofOfPossession)
        private
        view
        returns (bytes memory compressed)
    {
        uint32 user = _nodeWithKey[keccak256(publicKey)];
        if (user != 0) revert KeyInUse(user);
        bytes memory key = publicKey;
        if (!Bls.isKey(key)) revert InvalidKey();
        compressed = Bls.compress(key);
        bytes memory message = Messages.encode(
            Messages.POSSESSION, 0, Messages.domainOf(committee), Messages.possession(msg.sender, compressed)
        );
        if (!Bls.verify(Bls.keyAt(key, 0), message, proofOfPossession)) revert InvalidProofOfPossession();
    }

    function _join(uint32 nodeId) private {
        _candidates.push(nodeId);
        _nodes[nodeId].candidate = true;
        emit CandidateJoined(nodeId);
    }

    /// @dev Removes a candidate and keeps the order of the others; false if it was none.
    function _remove(uint32 nodeId) private returns (bool) {
        if (!_nodes[nodeId].candidate) return false;
        _nodes[nodeId].candidate = false;
        uint32[] memory list = _candidates;
        uint256 kept;
        for (uint256 i; i < list.length; ++i) {
            if (list[i] == nodeId) continue;
            if (kept != i) _candidates[kept] = list[i];
            ++kept;
        }
        _candidates.pop();
        return true;
    }

    function _evictFor(uint256 newcomerStake) private {
        uint32 least;
        uint256 leastStake = type(uint256).max;
        for (uint256 i; i < _candidates.length; ++i) {
            uint256 candidateStake = _nodes[_candidates[i]].stake;
            if (candidateStake <= leastStake) (least, leastStake) = (_candidates[i], candidateStake);
        }
        if (newcomerStake <= leastStake) revert CandidatesFull(leastStake);
        _remove(least);
        emit CandidateEvicted(least);
    }

    function _operatedNode() private view returns (uint32 nodeId) {
        nodeId = nodeOf[msg.sender];
        if (nodeId == 0) revert NotAnOperator(msg.sender);
    }

    function _known(uint32 nodeId) private view returns (Node storage entry) {
        entry = _nodes[nodeId];
        if (entry.account == address(0)) revert UnknownNode(nodeId);
    }

    function _bounded(uint256 amount) private pure returns (uint128) {
        if (amount > type(uint128).max) revert StakeTooLarge(amount);
        return uint128(amount);
    }

    function _checkNetworkAddress(string calldata networkAddress) private pure {
        uint256 length = bytes(networkAddress).length;
        if (length == 0 || length > MAX_NETWORK_ADDRESS_BYTES) revert InvalidNetworkAddress(length);
    }
}
