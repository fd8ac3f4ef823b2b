// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {IBlobs} from "./interfaces/IBlobs.sol";
import {ICommittee} from "./interfaces/ICommittee.sol";
import {IProofs} from "./interfaces/IProofs.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IStaking} from "./interfaces/IStaking.sol";
import {BlockHashes} from "./lib/BlockHashes.sol";
import {Messages} from "./lib/Messages.sol";

/// @title The rounds of the storage proofs: their clock, commitments, certificates, misses and punishments (`IProofs`).
/// @dev Without a governor: nothing can be changed or paused. Only the round of the current epoch is acted in.
abstract contract ProofRounds is IProofs {
    /// @inheritdoc IProofs
    uint256 public constant DRAW_AHEAD = 4;
    /// @inheritdoc IProofs
    uint256 public constant FINE = 1e16;

    /// @dev A bounty is no more than such a part of the bond: that pays the gas of a demand, and no owner for the fine of its
    /// own stakers.
    uint256 private constant BOUNTY_PART = 10;

    /// @dev A round, and a demand, take such a part of a period at most. A replacement ends them without a verdict, so who
    /// would have a period without one needs nearly as many members that are ejected one after another.
    uint256 private constant WINDOWS_IN_A_PERIOD = 6;

    uint8 internal constant MISSED = 2; // reasons of an ejection
    uint8 internal constant UNANSWERED = 3;

    /// @inheritdoc IProofs
    ICommittee public immutable committee;
    /// @inheritdoc IProofs
    IBlobs public immutable blobs;
    /// @inheritdoc IProofs
    IStaking public immutable staking;
    /// @inheritdoc IProofs
    IERC20 public immutable token;
    /// @inheritdoc IProofs
    uint256 public immutable bond;

    /// @inheritdoc IProofs
    mapping(uint32 nodeId => uint32) public misses;
    /// @inheritdoc IProofs
    mapping(uint32 period => uint256) public punishedShards;

    IRegistry internal immutable _registry;
    uint256 internal immutable _nShards;
    uint256 internal immutable _commitWindow;
    uint256 internal immutable _proveWindow;
    uint256 internal immutable _answerWindow;
    uint256 internal immutable _demandWindow;

    mapping(uint32 epoch => Round) internal _rounds;
    mapping(uint32 epoch => mapping(uint32 nodeId => Proof)) internal _proofs;

    constructor(ICommittee committee_, IBlobs blobs_, Windows memory windows_, uint256 bond_) {
        (committee, blobs, staking) = (committee_, blobs_, committee_.staking());
        (_registry, token) = (committee_.registry(), committee_.staking().token());
        if (staking.proofs() != address(this)) revert InvalidParameter("committee");
        if (staking.payer() != address(blobs_)) revert InvalidParameter("blobs");
        _nShards = committee_.nShards();
        (uint256 duration,,,,,,) = committee_.parameters();
        if (windows_.commit == 0 || windows_.answer == 0) revert InvalidParameter("windows");
        uint256 whole = uint256(windows_.commit) + windows_.prove + windows_.answer;
        if (WINDOWS_IN_A_PERIOD * whole > duration) revert InvalidParameter("windows");
        if (windows_.demand == 0 || WINDOWS_IN_A_PERIOD * windows_.demand > duration) {
            revert InvalidParameter("demand");
        }
        if (bond_ == 0) revert InvalidParameter("bond");
        (_commitWindow, _proveWindow) = (windows_.commit, windows_.prove);
        (_answerWindow, _demandWindow) = (windows_.answer, windows_.demand);
        bond = bond_;
    }

    /// @inheritdoc IProofs
    function begin(bytes32 inventory, uint32 count, uint64 weight, bytes calldata bitmap, bytes calldata signature)
        external
    {
        uint32 epoch = committee.epoch();
        Round storage round = _rounds[epoch];
        if (round.count != 0) revert AlreadyBegun(epoch);
        if (count == 0 || weight == 0) revert EmptyInventory();
        committee.verify(epoch, Messages.INVENTORY, Messages.inventory(inventory, count, weight), bitmap, signature);
        uint256 startBlock = committee.state().startedAtBlock;
        bytes32 startHash = BlockHashes.hashOf(startBlock);
        if (startHash == 0) revert StartTooOld(startBlock);
        (round.inventory, round.startHash) = (inventory, startHash);
        (round.count, round.weight) = (count, weight);
        round.commitBy = uint40(block.timestamp + _commitWindow);
        emit RoundBegun(epoch, inventory, count, weight, startHash, round.commitBy);
    }

    /// @inheritdoc IProofs
    /// @dev It is not asked whether epoch and node are the current one and a member: for any other a commitment means nothing,
    /// and asking would cost a quarter more.
    function commit(uint32 epoch, bytes32 root) external {
        uint256 deadline = _rounds[epoch].commitBy;
        if (deadline == 0) revert RoundNotBegun(epoch);
        if (block.timestamp >= deadline) revert TooLate(deadline);
        uint32 nodeId = _registry.nodeOf(msg.sender);
        if (nodeId == 0) revert NotAnOperator(msg.sender);
        _proofs[epoch][nodeId].commitment = bytes24(root);
        emit Committed(epoch, nodeId, root);
    }

    /// @inheritdoc IProofs
    function draw() external {
        (uint32 epoch, Round storage round) = _current();
        if (round.answerBy != 0) revert AlreadyDrawn(epoch);
        if (block.timestamp < round.commitBy) revert TooEarly(round.commitBy);
        uint256 drawBlock = round.drawBlock;
        if (drawBlock != 0 && block.number <= drawBlock) revert DrawPending(drawBlock);
        bytes32 drawn = drawBlock == 0 ? bytes32(0) : BlockHashes.hashOf(drawBlock);
        if (drawn == 0) {
            round.drawBlock = uint40(block.number + DRAW_AHEAD);
            emit DrawFixed(epoch, round.drawBlock);
        } else {
            uint256 proveBy = block.timestamp + _proveWindow;
            (round.draw, round.answerBy) = (drawn, uint40(proveBy + _answerWindow));
            emit Drawn(epoch, drawn, proveBy, round.answerBy);
        }
    }

    /// @inheritdoc IProofs
    function prove(uint32 nodeId, bytes calldata bitmap, bytes calldata signature) external {
        (uint32 epoch, Round storage round) = _drawn();
        Proof storage proof = _proofs[epoch][nodeId];
        if (proof.isProven) revert AlreadyProven(nodeId, epoch);
        committee.verify(epoch, Messages.PROOF, Messages.proof(nodeId, round.draw), bitmap, signature);
        proof.isProven = true;
        _forgive(nodeId);
        emit Proven(epoch, nodeId);
    }

    /// @inheritdoc IProofs
    function judge(uint32 nodeId) external {
        (uint32 epoch, Round storage round) = _current();
        uint256 answerBy = round.answerBy;
        if (answerBy == 0) revert DrawNotMade(epoch);
        if (block.timestamp <= answerBy) revert TooEarly(answerBy + 1);
        Proof storage proof = _proofs[epoch][nodeId];
        if (proof.isProven) revert AlreadyProven(nodeId, epoch);
        if (proof.isMissed) revert AlreadyJudged(nodeId, epoch);
        _member(epoch, nodeId);
        proof.isMissed = true;
        uint32 inARow = ++misses[nodeId];
        emit Missed(epoch, nodeId, inARow);
        committee.forfeit(nodeId);
        if (inARow > 1) _punish(epoch, nodeId, MISSED, round.draw, address(0));
    }

    /// @inheritdoc IProofs
    function windows() external view returns (uint32 commit_, uint32 prove_, uint32 answer_, uint32 demand_) {
        return (uint32(_commitWindow), uint32(_proveWindow), uint32(_answerWindow), uint32(_demandWindow));
    }

    /// @inheritdoc IProofs
    function roundOf(uint32 epoch) external view returns (Round memory) {
        return _rounds[epoch];
    }

    /// @inheritdoc IProofs
    function proofOf(uint32 epoch, uint32 nodeId) external view returns (Proof memory) {
        return _proofs[epoch][nodeId];
    }

    /// @dev The current epoch and its round, which must have begun.
    function _current() internal view returns (uint32 epoch, Round storage round) {
        epoch = committee.epoch();
        round = _rounds[epoch];
        if (round.count == 0) revert RoundNotBegun(epoch);
    }

    /// @dev The current epoch and its round, in which certificates and answers are taken.
    function _drawn() internal view returns (uint32 epoch, Round storage round) {
        (epoch, round) = _current();
        uint256 answerBy = round.answerBy;
        if (answerBy == 0) revert DrawNotMade(epoch);
        if (block.timestamp > answerBy) revert TooLate(answerBy);
    }

    /// @dev A member's key, 128 bytes, and its shards, two bytes each.
    function _member(uint32 epoch, uint32 nodeId) internal view returns (bytes memory key, bytes memory shards) {
        (key, shards) = committee.memberOf(epoch, nodeId);
        if (shards.length == 0) revert NotAMember(nodeId, epoch);
    }

    function _forgive(uint32 nodeId) internal {
        if (misses[nodeId] != 0) delete misses[nodeId];
    }

    /// @dev Ejects a member and slashes its stake; once in an epoch, and only as long as those punished in the period began it
    /// with no more shards than may be faulty: so a fault that all nodes share takes nobody's stake but a third's, and no
    /// quorum away, however many replacements there are.
    function _punish(uint32 epoch, uint32 nodeId, uint8 reason, bytes32 evidence, address finder) internal {
        Proof storage proof = _proofs[epoch][nodeId];
        uint32 period = committee.period();
        (, bytes memory shards) = _member(committee.firstEpochOf(period), nodeId);
        uint256 punished = punishedShards[period] + shards.length / 2;
        if (proof.isPunished || punished > (_nShards - 1) / 3) return;
        (proof.isPunished, punishedShards[period]) = (true, punished);
        uint256 fraction = FixedPointMathLib.min(FINE, staking.mostSlashable(nodeId));
        uint256 amount = fraction == 0 ? 0 : staking.slash(nodeId, fraction, evidence, finder, bond / BOUNTY_PART);
        emit Punished(epoch, nodeId, reason, amount);
        if (!committee.isEjected(epoch, nodeId)) committee.remove(nodeId, reason);
    }
}
