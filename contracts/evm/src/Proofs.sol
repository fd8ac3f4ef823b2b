// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ProofRounds} from "./ProofRounds.sol";
import {IBlobs} from "./interfaces/IBlobs.sol";
import {ICommittee} from "./interfaces/ICommittee.sol";
import {IProofs} from "./interfaces/IProofs.sol";
import {BlobId} from "./lib/BlobId.sol";
import {Openings, Position} from "./lib/Openings.sol";
import {Trees} from "./lib/Trees.sol";

/// @title Storage proofs: what members answer here, and demands of single symbols (`IProofs`).
contract Proofs is ProofRounds {
    using SafeERC20 for IERC20;

    struct Member {
        uint32 nodeId;
        bytes shards; // two bytes each
        bytes32 salt;
    }

    /// @inheritdoc IProofs
    uint256 public constant PLACES = 16;
    /// @inheritdoc IProofs
    uint256 public constant MAX_OPEN_DEMANDS = 16;

    uint16 private constant ALL_PLACES = type(uint16).max;

    mapping(uint32 epoch => mapping(uint32 nodeId => mapping(address asker => Demand))) private _demands;
    /// @dev Whether a fellow has an open demand of a member in its own place.
    mapping(uint32 epoch => mapping(uint32 nodeId => mapping(uint32 fellow => bool))) private _isAsking;

    /// @param committee_ The committee contract of a deployment whose stake names this contract.
    /// @param blobs_ Its blobs.
    /// @param windows_ Each a second at least, but for that of proofs, which may be 0; those of commitments, proofs and answers
    /// together, and that of demands, a sixth of a period at most.
    /// @param bond_ Of a demand, above 0.
    constructor(ICommittee committee_, IBlobs blobs_, Windows memory windows_, uint256 bond_)
        ProofRounds(committee_, blobs_, windows_, bond_)
    {}

    /// @inheritdoc IProofs
    /// @dev Places that are answered are passed over: else an account that answers one first had all others refused.
    function answer(uint32 nodeId, uint256[] calldata places, Opening[] calldata openings) external {
        if (places.length != openings.length) revert LengthMismatch();
        (uint32 epoch, Round memory round) = _drawn();
        Proof memory proof = _proofs[epoch][nodeId];
        if (proof.isProven) revert AlreadyProven(nodeId, epoch);
        Member memory member = _memberIn(epoch, nodeId, round.startHash);
        for (uint256 i; i < places.length; ++i) {
            uint256 place = places[i];
            if (place >= PLACES) revert NoSuchPlace(place);
            if (proof.answered >> place & 1 == 1) continue;
            bool isExcused = _checkPlace(round, member, proof.commitment, place, openings[i]);
            proof.answered |= uint16(1 << place);
            if (!isExcused) proof.hasShown = true;
            emit Answered(epoch, nodeId, place, isExcused);
        }
        proof.isProven = proof.answered == ALL_PLACES;
        _proofs[epoch][nodeId] = proof;
        if (!proof.isProven) return;
        if (proof.hasShown) _forgive(nodeId);
        emit Proven(epoch, nodeId);
    }

    /// @inheritdoc IProofs
    function demand(uint32 nodeId, uint256 position) external {
        (uint32 epoch, Round storage round) = _current();
        (, bytes memory shards) = _member(epoch, nodeId);
        uint256 end = Openings.positions(shards, _nShards, round.weight);
        if (position >= end) revert NoSuchPosition(position, end);
        Demand storage asked = _demands[epoch][nodeId][msg.sender];
        if (asked.answerBy != 0) revert AlreadyDemanded(nodeId, msg.sender);
        (asked.position, asked.answerBy) = (uint96(position), uint40(block.timestamp + _demandWindow));
        asked.fellow = _takePlace(epoch, nodeId);
        emit Demanded(epoch, nodeId, msg.sender, position, asked.answerBy);
        token.safeTransferFrom(msg.sender, address(this), bond);
    }

    /// @inheritdoc IProofs
    function answerDemand(uint32 nodeId, address asker, Opening calldata opening) external {
        (uint32 epoch, Round memory round) = _current();
        Demand memory asked = _open(epoch, nodeId, asker);
        if (block.timestamp > asked.answerBy) revert TooLate(asked.answerBy);
        Member memory member = _memberIn(epoch, nodeId, round.startHash);
        Position memory position = Openings.locate(asked.position, member.shards, _nShards, round.weight);
        // A shard that is attested by now can be shown, however late it was: its owner earns for it.
        bool isExcused = _check(round, position, opening, type(uint256).max);
        if (!isExcused) _checkLate(round, member, position, opening);
        _close(epoch, nodeId, asker);
        address receiver = _registry.receiverOf(nodeId);
        emit DemandAnswered(epoch, nodeId, asker, receiver);
        token.safeTransfer(receiver, bond);
    }

    /// @inheritdoc IProofs
    function judgeDemand(uint32 nodeId, address asker) external {
        (uint32 epoch,) = _current();
        Demand memory asked = _open(epoch, nodeId, asker);
        if (block.timestamp <= asked.answerBy) revert TooEarly(uint256(asked.answerBy) + 1);
        _close(epoch, nodeId, asker);
        emit DemandMissed(epoch, nodeId, asker);
        committee.forfeit(nodeId);
        _punish(epoch, nodeId, UNANSWERED, bytes32(uint256(asked.position)), asker);
        token.safeTransfer(asker, bond);
    }

    /// @inheritdoc IProofs
    function reclaim(uint32 epoch, uint32 nodeId, address asker) external {
        if (epoch == committee.epoch()) revert EpochNotOver(epoch);
        _open(epoch, nodeId, asker);
        _close(epoch, nodeId, asker);
        emit DemandReclaimed(epoch, nodeId, asker);
        token.safeTransfer(asker, bond);
    }

    /// @inheritdoc IProofs
    function demandOf(uint32 epoch, uint32 nodeId, address asker) external view returns (Demand memory) {
        return _demands[epoch][nodeId][asker];
    }

    /// @inheritdoc IProofs
    function positionOf(uint32 nodeId, uint256 place) external view returns (uint256 position) {
        (uint32 epoch, Round storage round) = _current();
        if (round.draw == 0) revert DrawNotMade(epoch);
        (, bytes memory shards) = _member(epoch, nodeId);
        return Openings.drawn(round.draw, nodeId, place, Openings.positions(shards, _nShards, round.weight));
    }

    /// @inheritdoc IProofs
    function saltOf(uint32 nodeId) external view returns (bytes32) {
        (uint32 epoch, Round storage round) = _current();
        (bytes memory key,) = _member(epoch, nodeId);
        return Openings.salt(epoch, nodeId, key, round.startHash);
    }

    /// @dev Requires that an opening answers a place of a member.
    function _checkPlace(
        Round memory round,
        Member memory member,
        bytes24 commitment,
        uint256 place,
        Opening calldata opening
    ) private view returns (bool isExcused) {
        uint256 end = Openings.positions(member.shards, _nShards, round.weight);
        uint256 number = Openings.drawn(round.draw, member.nodeId, place, end);
        Position memory position = Openings.locate(number, member.shards, _nShards, round.weight);
        isExcused = _check(round, position, opening, round.commitBy);
        if (isExcused) return true;
        (bytes32 root, bytes32[] calldata above) = _attestedRoot(round.count, member, position, opening);
        root = Trees.root(root, position.shardNumber, member.shards.length / 2, above);
        if (bytes24(root) != commitment) revert Openings.NotCommitted();
    }

    /// @dev Requires that an opening leads to what was attested of its shard in the epoch, if that was too late for the
    /// round: no commitment has the shard, and a symbol alone can be had from others.
    function _checkLate(Round memory round, Member memory member, Position memory position, Opening calldata opening)
        private
        view
    {
        (uint256 since,,) = committee.heldSince(position.shard);
        if (since < round.commitBy) return;
        (, bytes32[] calldata above) = _attestedRoot(round.count, member, position, opening);
        if (above.length != 0) revert Trees.WrongPath(position.shardNumber, 0, above.length);
    }

    /// @dev The shard's root that an opening leads to, the attested one if the shard was attested in this epoch, and the
    /// rest of its path.
    function _attestedRoot(uint256 count, Member memory member, Position memory position, Opening calldata opening)
        private
        view
        returns (bytes32 root, bytes32[] calldata above)
    {
        (root, above) = Openings.shardRoot(opening, position, member.salt, count, _nShards);
        (, bool isAttested, bytes32 digest) = committee.heldSince(position.shard);
        if (isAttested && digest != root) revert Openings.NotAttested();
    }

    /// @dev Requires that an opening shows the symbol at a position, unless the member need not have it: it has the shard
    /// to show if it kept it, or attested it before `deadline`.
    function _check(Round memory round, Position memory position, Opening calldata opening, uint256 deadline)
        private
        view
        returns (bool isExcused)
    {
        (uint256 since,,) = committee.heldSince(position.shard);
        if (since == 0 || since >= deadline) return true;
        bytes32 id = Openings.requireInInventory(opening, position, round.inventory, round.count, _nShards);
        if (opening.symbol.length == 0 && blobs.isInvalid(BlobId.toInteger(id))) return true;
        Openings.requireSymbol(opening, position, id, _nShards);
    }

    function _memberIn(uint32 epoch, uint32 nodeId, bytes32 startHash) private view returns (Member memory member) {
        bytes memory key;
        (key, member.shards) = _member(epoch, nodeId);
        member.nodeId = nodeId;
        member.salt = Openings.salt(epoch, nodeId, key, startHash);
    }

    /// @dev An account's demand that is neither answered nor judged.
    function _open(uint32 epoch, uint32 nodeId, address asker) private view returns (Demand memory asked) {
        asked = _demands[epoch][nodeId][asker];
        if (asked.answerBy == 0) revert NotDemanded(nodeId, asker);
    }

    /// @dev Takes a place for a demand of the sender; when all that are for anybody are taken, the sender's own as a
    /// member, of which that member's id is returned. (Without these, a member that demands of itself, and answers and
    /// demands anew in one transaction, could keep everybody else out.)
    function _takePlace(uint32 epoch, uint32 nodeId) private returns (uint32 fellow) {
        Proof storage proof = _proofs[epoch][nodeId];
        if (proof.openDemands < MAX_OPEN_DEMANDS) {
            ++proof.openDemands;
            return 0;
        }
        fellow = _registry.nodeOf(msg.sender);
        (, bytes memory shards) = committee.memberOf(epoch, fellow);
        if (shards.length == 0 || _isAsking[epoch][nodeId][fellow]) revert TooManyDemands(nodeId);
        _isAsking[epoch][nodeId][fellow] = true;
    }

    function _close(uint32 epoch, uint32 nodeId, address asker) private {
        uint32 fellow = _demands[epoch][nodeId][asker].fellow;
        delete _demands[epoch][nodeId][asker];
        if (fellow == 0) --_proofs[epoch][nodeId].openDemands;
        else delete _isAsking[epoch][nodeId][fellow];
    }
}
