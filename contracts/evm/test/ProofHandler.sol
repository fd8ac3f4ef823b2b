// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IProofs} from "src/interfaces/IProofs.sol";
import {Messages} from "src/lib/Messages.sol";
import {ProofBase} from "test/ProofBase.sol";

/// @notice Members that have what they should store and members that lack it, askers, and anybody who judges, in rounds that
/// the fuzzer moves on, cuts short by replacements, or lets end with the period. Each action says itself what has to
/// succeed and what a success must not do; what must hold at any time is in the checks.
contract ProofHandler is ProofBase {
    struct Asked {
        uint32 epoch;
        uint32 nodeId;
        address asker;
        uint256 position;
        uint256 answerBy;
    }

    uint256 private constant ASKERS = 3;

    /// @notice Whether a member proved or answered in an epoch, and whether it committed to what it should store.
    mapping(uint32 epoch => mapping(uint32 nodeId => bool)) public hasShown;
    mapping(uint32 epoch => mapping(uint32 nodeId => bool)) public hasCommitted;
    mapping(uint32 nodeId => uint256) public inARow; // misses that were judged
    mapping(uint32 nodeId => uint256) public expectedStake;
    mapping(uint32 period => uint256) public punishedShards;
    mapping(uint32 period => uint256) public fined;
    uint256 public punishments;

    Asked[] private _asked; // neither answered nor judged nor reclaimed

    constructor() {
        vm.warp(1_700_000_000);
        _deployProofs();
        _addNodes(NODES);
        _nextEpoch();
        _payOutAll();
        vm.roll(block.number + 1);
        for (uint256 i; i < ASKERS; ++i) {
            _fund(_asker(i), 1000 * BOND);
            vm.prank(_asker(i));
            token.approve(address(proofs), type(uint256).max);
        }
        for (uint32 i = 1; i <= NODES; ++i) {
            expectedStake[i] = STAKE;
        }
    }

    function setUp() public override {}

    // Time

    function pass(uint256 seed) external {
        vm.warp(block.timestamp + 1 + seed % 60);
        vm.roll(block.number + 1 + seed % 3);
    }

    /// @dev The round's next step, if there is one that time alone allows.
    function advance() public {
        IProofs.Round memory round = proofs.roundOf(committee.epoch());
        if (round.count == 0) {
            _begin();
        } else if (round.answerBy == 0) {
            _warpTo(round.commitBy);
            if (round.drawBlock != 0 && block.number <= round.drawBlock) vm.roll(round.drawBlock + 1);
            proofs.draw();
        }
    }

    /// @dev A whole round up to the draw, in which the members named by a bit commit to what they should store.
    function rush(uint256 honest) external {
        while (proofs.roundOf(committee.epoch()).answerBy == 0) {
            advance();
            if (proofs.roundOf(committee.epoch()).drawBlock != 0) continue;
            uint32[] memory nodeIds = _members();
            for (uint256 i; i < nodeIds.length; ++i) {
                if (honest >> i & 1 == 1) commit(i);
            }
        }
    }

    /// @dev Behind the last answer all that have shown nothing are judged.
    function judgement() external {
        if (proofs.roundOf(committee.epoch()).answerBy == 0) return;
        _warpTo(uint256(proofs.roundOf(committee.epoch()).answerBy) + 1);
        uint256 count = _members().length;
        for (uint256 i; i < count; ++i) {
            judge(i);
        }
    }

    function turn() external {
        if (!committee.state().handoverDone) {
            _warpTo(uint256(committee.state().startedAt) + DEADLINE_S);
            committee.close();
        }
        if (committee.state().isReplacement) {
            _warpTo(uint256(committee.state().selectedAt) + NOTICE_S);
            _warpTo(uint256(committee.state().startedAt) + GRACE_S);
            committee.start();
        } else {
            _selectWithWhatStands();
            _turn();
        }
        vm.roll(block.number + 1);
        _standAgain();
    }

    /// @dev A member is ejected by its fellows' certificate, and replaced if that is possible: the round is cut short.
    function cutShort(uint256 seed) external {
        uint32 nodeId = _member(seed);
        uint32 epoch = committee.epoch();
        if (committee.isEjected(epoch, nodeId) || _shards(nodeId).length > (N - 1) / 3) return;
        _eject(nodeId);
        if (committee.state().replaceableAt == 0) return;
        try committee.replace() {}
        catch {
            return;
        }
        _warpTo(uint256(committee.state().selectedAt) + NOTICE_S);
        _warpTo(uint256(committee.state().startedAt) + GRACE_S);
        committee.start();
        vm.roll(block.number + 1);
    }

    // Members

    function commit(uint256 seed) public {
        uint32 epoch = committee.epoch();
        uint256 commitBy = proofs.roundOf(epoch).commitBy;
        if (commitBy == 0 || block.timestamp >= commitBy) return;
        _commit(_member(seed));
        hasCommitted[epoch][_member(seed)] = true;
    }

    function commitToNothing(uint256 seed) external {
        uint32 epoch = committee.epoch();
        uint256 commitBy = proofs.roundOf(epoch).commitBy;
        if (commitBy == 0 || block.timestamp >= commitBy) return;
        _commitTo(_member(seed), keccak256(abi.encode(seed)));
        hasCommitted[epoch][_member(seed)] = false;
    }

    /// @dev Before the deadline or behind it: it has everything.
    function attest(uint256 seed) external {
        if (proofs.roundOf(committee.epoch()).count != 0) _attestTruly(_member(seed), seed >> 8);
    }

    function prove(uint256 seed) external {
        if (!_isAnswering()) return;
        (uint32 epoch, uint32 nodeId) = (committee.epoch(), _member(seed));
        if (hasShown[epoch][nodeId]) return;
        bytes memory body = Messages.proof(nodeId, proofs.roundOf(epoch).draw);
        (bytes memory bitmap, bytes memory signature) = _signedIn(epoch, 0, _message(Messages.PROOF, epoch, body));
        proofs.prove(nodeId, bitmap, signature);
        hasShown[epoch][nodeId] = true;
        inARow[nodeId] = 0;
    }

    /// @dev All places; who has everything is never refused, whatever was answered before.
    function answer(uint256 seed) external {
        if (!_isAnswering()) return;
        (uint32 epoch, uint32 nodeId) = (committee.epoch(), _member(seed));
        if (hasShown[epoch][nodeId]) return;
        if (hasCommitted[epoch][nodeId]) {
            _answerAll(nodeId);
        } else {
            try this.answerAll(nodeId) {} catch {} // all its places may be excused
        }
        if (hasCommitted[epoch][nodeId]) require(proofs.proofOf(epoch, nodeId).isProven, "all was answered");
        if (!proofs.proofOf(epoch, nodeId).isProven) return;
        hasShown[epoch][nodeId] = true;
        if (_isAskedForAny(nodeId)) inARow[nodeId] = 0;
    }

    function answerAll(uint32 nodeId) external {
        _answerAll(nodeId);
    }

    function judge(uint256 seed) public {
        (uint32 epoch, uint32 nodeId) = (committee.epoch(), _member(seed));
        bool wasPunished = proofs.proofOf(epoch, nodeId).isPunished;
        try proofs.judge(nodeId) {
            require(!hasShown[epoch][nodeId], "it has shown what it stores");
            require(
                committee.earnings(committee.state().period, nodeId) == 0 || _hasEarlierEpochs(), "it earns nothing"
            );
            ++inARow[nodeId];
            bool isPunished = !wasPunished && proofs.proofOf(epoch, nodeId).isPunished;
            require(!isPunished || inARow[nodeId] > 1, "a first miss is not punished");
            if (isPunished) _notePunished(epoch, nodeId);
        } catch (bytes memory reason) {
            bytes4 selector = bytes4(reason);
            require(
                selector == IProofs.RoundNotBegun.selector || selector == IProofs.DrawNotMade.selector
                    || selector == IProofs.TooEarly.selector || selector == IProofs.AlreadyProven.selector
                    || selector == IProofs.AlreadyJudged.selector,
                "refused for another reason"
            );
        }
    }

    // Askers

    function demand(uint256 seed, uint256 position) external {
        (uint32 epoch, uint32 nodeId, address asker) = (committee.epoch(), _member(seed), _asker(seed >> 8));
        if (proofs.roundOf(epoch).count == 0) return;
        if (proofs.demandOf(epoch, nodeId, asker).answerBy != 0) return;
        position %= _shards(nodeId).length * U * weight;
        vm.prank(asker);
        proofs.demand(nodeId, position);
        _asked.push(Asked(epoch, nodeId, asker, position, proofs.demandOf(epoch, nodeId, asker).answerBy));
    }

    /// @dev Who has everything answers, and is never refused in time.
    function answerDemand(uint256 seed) external {
        if (_asked.length == 0) return;
        Asked memory asked = _asked[seed % _asked.length];
        if (asked.epoch != committee.epoch() || block.timestamp > asked.answerBy) return;
        IProofs.Opening memory opening = _shownTo(asked.nodeId, asked.position);
        address receiver = _operator(asked.nodeId);
        uint256 before = token.balanceOf(receiver);
        proofs.answerDemand(asked.nodeId, asked.asker, opening);
        require(token.balanceOf(receiver) == before + BOND, "the bond is the receiver's");
        _forget(seed % _asked.length);
    }

    function judgeDemand(uint256 seed) external {
        if (_asked.length == 0) return;
        Asked memory asked = _asked[seed % _asked.length];
        uint32 epoch = committee.epoch();
        bool isOld = asked.epoch != epoch;
        // One of this epoch would be judged in its place.
        if (isOld && proofs.demandOf(epoch, asked.nodeId, asked.asker).answerBy != 0) return;
        uint256 before = token.balanceOf(asked.asker);
        bool wasPunished = proofs.proofOf(asked.epoch, asked.nodeId).isPunished;
        bool isDue = !isOld && block.timestamp > asked.answerBy;
        try proofs.judgeDemand(asked.nodeId, asked.asker) {
            require(isDue, "too early, or the epoch is over");
        } catch {
            require(!isDue, "a demand that nobody answered is judged");
            return;
        }
        uint256 bounty;
        if (!wasPunished && proofs.proofOf(asked.epoch, asked.nodeId).isPunished) {
            bounty = expectedStake[asked.nodeId] / 100 / 10;
            if (bounty > BOND / 10) bounty = BOND / 10;
            _notePunished(asked.epoch, asked.nodeId);
        }
        require(token.balanceOf(asked.asker) == before + BOND + bounty, "bond and bounty are the asker's");
        _forget(seed % _asked.length);
    }

    function reclaim(uint256 seed) external {
        if (_asked.length == 0) return;
        Asked memory asked = _asked[seed % _asked.length];
        uint256 before = token.balanceOf(asked.asker);
        bool isOver = asked.epoch != committee.epoch();
        try proofs.reclaim(asked.epoch, asked.nodeId, asked.asker) {
            require(isOver && token.balanceOf(asked.asker) == before + BOND, "the bond is the asker's");
            _forget(seed % _asked.length);
        } catch {
            require(!isOver, "the bond of an epoch that is over");
        }
    }

    // What holds at any time

    /// @notice The contract has the bonds of the demands that are open, to the wei.
    function checkBonds() external view {
        require(token.balanceOf(address(proofs)) == _asked.length * BOND, "bonds");
    }

    /// @notice No stake is less than by the punishments that the handler has seen to be due: who proves, answers, or is cut
    /// short loses nothing.
    function checkStakes() external view {
        for (uint32 i = 1; i <= NODES; ++i) {
            (uint256 tokens,) = staking.poolOf(i);
            require(tokens == expectedStake[i], "stake");
            require(proofs.misses(i) == inARow[i], "misses");
        }
    }

    /// @notice The punished of a period began it with no more shards than may be faulty, and lose no more than a
    /// twentieth of all stake.
    function checkLimits() external view {
        uint32 last = committee.state().period;
        for (uint32 period = 1; period <= last; ++period) {
            require(punishedShards[period] <= (N - 1) / 3, "shards");
            require(proofs.punishedShards(period) == punishedShards[period], "shards noted");
            require(fined[period] * 20 <= NODES * STAKE, "fines");
        }
    }

    /// @dev Whoever may.
    function _standAgain() private {
        bool isStalled = committee.isStalled();
        for (uint32 i = 1; i <= NODES; ++i) {
            bool isBarred = committee.state().period < registry.node(i).barredUntil && !isStalled;
            if (registry.node(i).candidate || isBarred) continue;
            vm.prank(_operator(i));
            registry.becomeCandidate(i);
        }
    }

    /// @dev With few candidates left it takes as long as a shrinking network does. By then also those stand that were ejected.
    function _selectWithWhatStands() private {
        uint256 selectable = uint256(committee.state().regularHandoverDone) + EPOCH_S / 2;
        _warpTo(selectable);
        if (committee.state().selectedEpoch != 0) return;
        try committee.select() {}
        catch {
            _warpTo(selectable + SHRINK_S);
            _standAgain();
            committee.select();
        }
    }

    function _notePunished(uint32 epoch, uint32 nodeId) private {
        uint256 fine = expectedStake[nodeId] / 100;
        expectedStake[nodeId] -= fine;
        ICommittee.State memory state = committee.state();
        fined[state.period] += fine;
        punishedShards[state.period] += _shardsIn(committee.committeeOf(state.firstEpoch), nodeId).length;
        require(committee.isEjected(epoch, nodeId) && !registry.node(nodeId).candidate, "it is ejected");
        ++punishments;
    }

    function _forget(uint256 index) private {
        _asked[index] = _asked[_asked.length - 1];
        _asked.pop();
    }

    function _isAnswering() private view returns (bool) {
        uint256 answerBy = proofs.roundOf(committee.epoch()).answerBy;
        return answerBy != 0 && block.timestamp <= answerBy;
    }

    /// @dev Whether a place of a member is one that it is not excused from.
    function _isAskedForAny(uint32 nodeId) private view returns (bool) {
        uint256 commitBy = proofs.roundOf(committee.epoch()).commitBy;
        uint16[] memory own = _shards(nodeId);
        for (uint256 place; place < proofs.PLACES(); ++place) {
            (uint64 since,,) = committee.heldSince(own[proofs.positionOf(nodeId, place) / weight / U]);
            if (since != 0 && since < commitBy) return true;
        }
        return false;
    }

    function _hasEarlierEpochs() private view returns (bool) {
        ICommittee.State memory state = committee.state();
        return state.firstEpoch != state.epoch || committee.isLate();
    }

    function _member(uint256 seed) private view returns (uint32) {
        uint32[] memory nodeIds = _members();
        return nodeIds[seed % nodeIds.length];
    }

    function _asker(uint256 seed) private pure returns (address) {
        return address(uint160(0xa5c00 + seed % ASKERS));
    }
}
