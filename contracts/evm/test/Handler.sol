// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Blobs} from "src/Blobs.sol";
import {Governed} from "src/Governed.sol";
import {IBlobs} from "src/interfaces/IBlobs.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {BlobId} from "src/lib/BlobId.sol";
import {Messages} from "src/lib/Messages.sol";
import {N, NODES, StakeHandler} from "test/StakeHandler.sol";

/// @notice What the invariants let the fuzzer do, in any order: each action checks that the contracts do it exactly if
/// they should, and keeps account of its own.
contract Handler is StakeHandler {
    /// @notice Tokens that went into the blobs' contract, and that it paid out.
    uint256 public paid;
    uint256 public paidOut;
    uint256 public refunded;
    /// @notice The weight that signed a certificate that was accepted; 0 for none.
    mapping(uint256 objectId => uint256) public certifiedWeight;
    /// @notice Reservations, by their ids.
    uint256[] public resourceIds;

    mapping(uint32 nodeId => uint32 epoch) private _ejectedIn;

    function contracts() external view returns (address, address, address, address) {
        return (address(token), address(staking), address(committee), address(blobs));
    }

    // Epochs

    /// @dev The next step of the epochs, or the next two, each as soon as it is possible; a handover may be closed.
    function push(uint256 seed) external watched {
        for (uint256 step; step <= seed % 2; ++step) {
            ICommittee.State memory state = committee.state();
            if (!state.handoverDone) {
                uint256 closableAt = state.startedAt + DEADLINE_S;
                if (block.timestamp < closableAt) vm.warp(closableAt);
                committee.close();
            } else if (state.selectedEpoch != 0) {
                vm.warp(block.timestamp + EPOCH_S);
                committee.start();
                if (!state.isReplacement) _beganAt[committee.period()] = block.timestamp;
                _checkShards(state.selectedEpoch);
            } else if (_anyStake()) {
                vm.warp(block.timestamp + EPOCH_S / 2);
                try committee.select() {}
                catch {
                    vm.warp(block.timestamp + SHRINK_S); // whoever stands
                    committee.select();
                }
                _checkShards(state.epoch + 1);
            }
        }
    }

    /// @dev Some or all of what a node has to attest.
    function attest(uint256 seed) external watched {
        if (epoch == 0) return;
        uint32 nodeId = _node(seed);
        uint16[] memory missing = committee.missingShards(epoch);
        uint16[] memory own = _shardsIn(committee.committeeOf(epoch), nodeId);
        uint256 count;
        for (uint256 i; i < own.length; ++i) {
            for (uint256 k; k < missing.length; ++k) {
                if (own[i] == missing[k]) own[count++] = own[i];
            }
        }
        if (count != 0) _attest(nodeId, _part(own, 0, 1 + seed % count));
        require(committee.missingShards(epoch).length + (count == 0 ? 0 : 1 + seed % count) == missing.length);
    }

    // Blobs

    function register(uint256 seed) external watched {
        if (epoch == 0 || blobs.isPaused(blobs.reserveAndRegister.selector)) return;
        _changePrice(seed);
        uint256 before = token.balanceOf(address(blobs));
        bool isInvalid = blobs.isInvalid(BlobId.toInteger(BlobId.compute(1, 1000, bytes32(seed)))); // seeds come again
        if (!_isSold() || isInvalid) vm.expectRevert();
        blobs.reserveAndRegister(bytes32(seed), 1000, 1, uint32(1 + seed % 4), seed & 16 == 0, ANY, ANY);
        paid += token.balanceOf(address(blobs)) - before;
    }

    function reserve(uint256 seed, uint64 size) external watched {
        if (epoch == 0) return;
        _changePrice(seed);
        uint256 before = token.balanceOf(address(blobs));
        size = uint64(_between(size, 1, 1 << 24));
        bool isSold = _isSold();
        if (!isSold) vm.expectRevert();
        uint256 resourceId = blobs.reserve(size, uint32(1 + seed % 4), ANY);
        if (isSold) resourceIds.push(resourceId);
        paid += token.balanceOf(address(blobs)) - before;
    }

    /// @dev At a standstill, once.
    function refund(uint256 seed) external watched {
        if (seed & 1 == 0) {
            if (resourceIds.length != 0) _refund(resourceIds[(seed >> 8) % resourceIds.length]);
        } else if (blobs.blobCount() != 0) {
            _refundBlob(1 + (seed >> 8) % blobs.blobCount());
        }
    }

    /// @dev Signed by any members of the current committee, or of the last one.
    function certify(uint256 seed, uint256 signers) external watched {
        if (blobs.isPaused(blobs.certify.selector)) return;
        IBlobs.BlobView memory blob = _someBlob(seed, IBlobs.Status.Registered);
        if (blob.objectId == 0) return;
        uint32 signing = blob.registeredEpoch < epoch && !committee.state().handoverDone ? epoch - 1 : epoch;
        bytes32 id = BlobId.fromInteger(blob.blobId);
        bytes memory body = blob.deletable ? Messages.deletableBlob(id, blob.objectId) : Messages.permanentBlob(id);
        (uint256 weight, bytes memory bitmap, bytes memory signature) =
            _signed(signing, signers, _message(Messages.BLOB, signing, body));
        if (3 * weight >= 2 * uint256(N) + 1) certifiedWeight[blob.objectId] = weight;
        else vm.expectRevert();
        blobs.certify(blob.objectId, signing, bitmap, signature);
    }

    function extendOrRemove(uint256 seed) external watched {
        IBlobs.BlobView memory blob = _someBlob(seed, IBlobs.Status.Certified);
        if (blob.objectId == 0) return;
        if (blob.deletable && seed & 32 == 0) {
            vm.prank(blob.owner);
            resourceIds.push(blobs.remove(blob.objectId));
        } else if (blob.endPeriod < period + 8) {
            uint256 before = token.balanceOf(address(blobs));
            if (!_isSold()) vm.expectRevert();
            blobs.extend(blob.objectId, 1, blob.endPeriod, ANY);
            paid += token.balanceOf(address(blobs)) - before;
        }
    }

    /// @dev Some nodes, perhaps one twice, for some epochs; whatever is paused.
    function payOut(uint256 seed) external watched {
        uint32[] memory nodeIds = new uint32[](1 + seed % NODES);
        uint32 until = uint32((seed >> 64) % (period + 3));
        uint32 payable_ = committee.isStalled() ? period + 1 : period;
        if (payable_ < blobs.openPeriod()) payable_ = blobs.openPeriod(); // closed as stalled
        uint256 expected;
        uint256 seen;
        for (uint256 i; i < nodeIds.length; ++i) {
            nodeIds[i] = _node(seed >> 8 * i);
            for (uint32 past = 1; past < until && past < payable_; ++past) {
                if (seen >> nodeIds[i] & 1 == 0) expected += blobs.owed(past, nodeIds[i]);
            }
            seen |= 1 << nodeIds[i];
        }
        require(blobs.payOut(nodeIds, until) == expected, "what they earned");
        paidOut += expected;
        rewarded += expected;
    }

    /// @dev A member, by all members.
    function eject(uint256 seed) external watched {
        if (epoch == 0 || committee.isPaused(committee.eject.selector)) return;
        uint32 nodeId = _node(seed);
        bool isMember = _shardsIn(committee.committeeOf(epoch), nodeId).length != 0;
        if (!isMember || _ejectedIn[nodeId] == epoch) return;
        _ejectedIn[nodeId] = epoch;
        uint64 deadline = uint64(block.timestamp);
        bytes memory message = _message(Messages.EJECT, epoch, Messages.ejection(nodeId, 1, deadline));
        (, bytes memory bitmap, bytes memory signature) = _signed(epoch, type(uint256).max, message);
        committee.eject(nodeId, 1, deadline, bitmap, signature);
    }

    /// @dev Exactly if a member in office was ejected, the others had two thirds of the shards when the period began, and
    /// no regular change is under way.
    function replace(uint256 seed) external watched {
        vm.warp(block.timestamp + seed % EPOCH_S);
        ICommittee.State memory state = committee.state();
        (uint32 duration,,,, uint32 notice,,) = committee.parameters();
        uint256 due = state.regularHandoverDone + duration;
        bool isRegularFirst = block.timestamp + notice >= due && block.timestamp < due + notice;
        bool isPossible = epoch != 0 && state.handoverDone && state.selectedEpoch == 0 && !isRegularFirst
            && state.epoch - state.firstEpoch < 16 && _shardsToStay(state) * 3 >= 2 * uint256(N) && _isAnyEjected();
        require((state.replaceableAt != 0) == isPossible || isRegularFirst, "what is shown");
        if (!isPossible) vm.expectRevert();
        committee.replace();
        if (isPossible) _checkReplacement();
    }

    // Governing

    /// @dev What happens seldom: a pause or its end, another commission, commissions withdrawn, or nothing for long.
    function govern(uint256 seed) external watched {
        uint32 nodeId = _node(seed);
        if (seed & 3 == 0) _pause(seed >> 64);
        if (seed & 3 == 1) _takeEarnings(_operator(nodeId));
        if (seed & 3 == 2) vm.warp(block.timestamp + (seed >> 64) % 6000);
        if (seed & 3 == 3) {
            vm.prank(registry.node(nodeId).owner);
            registry.changeCommission(nodeId, uint16(seed >> 64) % 3001);
        }
    }

    /// @notice Everybody takes everything, whatever is paused, once epochs have come to a standstill.
    function leaveAll() external watched {
        if (committee.state().selectedEpoch != 0) {
            vm.warp(block.timestamp + EPOCH_S);
            committee.start(); // which what stands for it waits for
            (epoch, period) = (committee.epoch(), committee.period());
        }
        vm.warp(block.timestamp + 5 * (EPOCH_S + DEADLINE_S));
        uint256 pay = _payOutAll();
        (paidOut, rewarded) = (paidOut + pay, rewarded + pay);
        _takeAllStake();
        for (uint256 i; i < resourceIds.length; ++i) {
            _refund(resourceIds[i]);
        }
        for (uint256 id = 1; id <= blobs.blobCount(); ++id) {
            _refundBlob(id);
        }
    }

    function _pause(uint256 seed) private {
        bytes4[5] memory selectors = [
            staking.stake.selector,
            registry.becomeCandidate.selector,
            committee.eject.selector,
            blobs.reserveAndRegister.selector,
            blobs.certify.selector
        ];
        uint256 index = seed % 5;
        Governed[5] memory targets = [Governed(staking), registry, committee, blobs, blobs];
        Governed target = targets[index];
        bool isPaused = target.isPaused(selectors[index]);
        vm.prank(GOVERNOR);
        if (isPaused) target.unpause(selectors[index]);
        else target.pause(selectors[index]);
    }

    function _refund(uint256 resourceId) private {
        (address owner,,, uint32 endPeriod) = blobs.reservations(resourceId);
        if (owner == address(0) || !committee.isStalled() || endPeriod <= period + 1) vm.expectRevert();
        vm.prank(owner);
        refunded += blobs.refund(resourceId);
    }

    function _refundBlob(uint256 objectId) private {
        IBlobs.BlobView memory blob = blobs.blob(objectId);
        if (!committee.isStalled() || blob.endPeriod <= period + 1) vm.expectRevert();
        vm.prank(blob.owner);
        refunded += blobs.refundBlob(objectId);
    }

    /// @dev What is booked next is at another price.
    function _changePrice(uint256 seed) private {
        vm.prank(GOVERNOR);
        blobs.setTerms(ISpace.Terms(uint80(_between(seed >> 128, 1, 1e22)), WRITE_PRICE, CAPACITY));
    }

    function _isRunning() internal view returns (bool) {
        return !committee.isStalled() && blobs.openPeriod() <= period;
    }

    function _isSold() internal view returns (bool) {
        return !committee.isLate() && blobs.openPeriod() <= period;
    }

    /// @dev Any blob of a status, or one with id 0 if there is none.
    function _someBlob(uint256 seed, IBlobs.Status status) internal view returns (IBlobs.BlobView memory) {
        uint256 count = blobs.blobCount();
        for (uint256 i; i < count; ++i) {
            IBlobs.BlobView memory blob = blobs.blob(1 + (seed % count + i) % count);
            if (blob.status == status) return blob;
        }
        IBlobs.BlobView memory none;
        return none;
    }

    function _anyStake() private view returns (bool) {
        (, uint256[] memory stakes) = registry.candidates();
        for (uint256 i; i < stakes.length; ++i) {
            if (stakes[i] != 0) return true;
        }
        return false;
    }

    /// @dev What the members in office that are not ejected had when the period began.
    function _shardsToStay(ICommittee.State memory state) private view returns (uint256 count) {
        ICommittee.CommitteeView memory regular = committee.committeeOf(state.firstEpoch);
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            bool isMember = _shardsIn(committee.committeeOf(epoch), nodeId).length != 0;
            if (isMember && _ejectedIn[nodeId] != epoch) count += _shardsIn(regular, nodeId).length;
        }
    }

    function _isAnyEjected() private view returns (bool) {
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            if (_ejectedIn[nodeId] == epoch && _shardsIn(committee.committeeOf(epoch), nodeId).length != 0) {
                return true;
            }
        }
        return false;
    }

    /// @dev The members that stay keep their shards, and get those of the ejected.
    function _checkReplacement() private view {
        _checkShards(epoch + 1);
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            uint16[] memory before = _shardsIn(committee.committeeOf(epoch), nodeId);
            uint16[] memory next = _shardsIn(committee.committeeOf(epoch + 1), nodeId);
            if (_ejectedIn[nodeId] == epoch || before.length == 0) require(next.length == 0, "stays out");
            else require(next.length >= before.length, "loses nothing");
            for (uint256 i; i < before.length && next.length != 0; ++i) {
                require(before[i] == next[i], "keeps its shards");
            }
        }
    }

    /// @dev All shards are somebody's, and nobody else's.
    function _checkShards(uint32 epoch_) private view {
        ICommittee.CommitteeView memory shown = committee.committeeOf(epoch_);
        uint256 seen;
        uint256 count;
        for (uint256 i; i < shown.members.length; ++i) {
            for (uint256 k; k < shown.members[i].shards.length; ++k) {
                seen |= 1 << shown.members[i].shards[k];
                ++count;
            }
        }
        require(count == N && seen == (1 << N) - 1, "each shard has one owner");
    }

    /// @dev A certificate by those members whose bit is set in `signers`, and how many shards they have.
    function _signed(uint32 epoch_, uint256 signers, bytes memory message)
        internal
        view
        returns (uint256 weight, bytes memory bitmap, bytes memory signature)
    {
        ICommittee.CommitteeView memory shown = committee.committeeOf(epoch_);
        uint256 secret;
        bitmap = new bytes(1);
        for (uint256 i; i < shown.members.length; ++i) {
            if (signers >> i & 1 == 0) continue;
            secret = addmod(secret, _secret(shown.members[i].nodeId), ORDER);
            bitmap[0] |= bytes1(uint8(1 << i));
            weight += shown.members[i].shards.length;
        }
        signature = _sign(secret, message);
    }
}
