// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Governed} from "src/Governed.sol";
import {IBlobs} from "src/interfaces/IBlobs.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {BlobId} from "src/lib/BlobId.sol";
import {Messages} from "src/lib/Messages.sol";
import {Base} from "test/Base.t.sol";
import {RebuiltState} from "test/RebuiltState.sol";

/// @notice All state of space and blobs can be rebuilt from the events of the blobs' contract alone.
contract RebuildTest is Base {
    uint256 private constant ACTIONS = 150;
    uint256 private constant KINDS = 22;
    uint256 private constant NODES = 4;
    address private constant FRIEND = address(0xf1);

    RebuiltState private rebuilt;
    uint256[KINDS] private done;
    uint256 private dice;

    function setUp() public override {
        vm.recordLogs();
        super.setUp();
        rebuilt = new RebuiltState();
        rebuilt.take(vm.getRecordedLogs(), address(blobs));
        _addNodes(NODES);
        _fund(FRIEND, 1e30);
        token.mint(address(this), 1e30);
        _nextEpoch();
    }

    /// forge-config: default.fuzz.runs = 24
    function test_the_state_is_what_the_events_tell(uint256 seed) public {
        for (uint256 i; i < ACTIONS; ++i) {
            dice = uint256(keccak256(abi.encode(seed, i)));
            // What is refunded needs a standstill, which comes near the end.
            if (i == ACTIONS * 4 / 5) vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
            uint256 kind = dice % KINDS;
            (address sender, bytes memory call) = _action(kind);
            if (call.length != 0) _do(kind, sender, call);
            else if (kind == 19 && i < ACTIONS / 2) _advance();
        }
        rebuilt.compare(blobs, committee, token, committee.period() + 60);
    }

    /// @dev What the history above consists of: each kind of call succeeds in it.
    function test_every_kind_of_call_is_part_of_some_history() public {
        for (uint256 seed; seed < 8; ++seed) {
            setUp();
            test_the_state_is_what_the_events_tell(seed);
        }
        for (uint256 kind; kind < 19; ++kind) {
            vm.assertEq(done[kind] == 0 ? kind : 99, 99);
        }
    }

    /// @dev A call of the blobs' contract; whatever it tells when it reverts is nothing.
    function _do(uint256 kind, address sender, bytes memory call) private {
        vm.getRecordedLogs();
        vm.prank(sender);
        (bool success,) = address(blobs).call(call);
        if (!success) return;
        ++done[kind];
        rebuilt.take(vm.getRecordedLogs(), address(blobs));
    }

    function _action(uint256 kind) private returns (address sender, bytes memory) {
        uint256 id = _newOne(blobs.reservationCount());
        uint256 objectId = _newOne(blobs.blobCount());
        uint32 epoch = committee.epoch();
        if (kind == 10) (id, objectId) = _pair(id, objectId);
        if (kind < 11) return (_reservationOwner(id), _reservationCall(kind, id, objectId));
        if (kind == 11) return (GOVERNOR, _setTerms());
        if (kind == 12) return (GUARDIAN, abi.encodeCall(Governed.pause, (blobs.reserve.selector)));
        if (kind == 13) return (GOVERNOR, abi.encodeCall(Governed.unpause, (blobs.reserve.selector)));
        if (kind == 14) return (FRIEND, _payOutCall());
        if (kind == 19 || objectId > blobs.blobCount()) return (FRIEND, "");
        IBlobs.BlobView memory blob = blobs.blob(objectId);
        bytes32 blobId = BlobId.fromInteger(blob.blobId);
        if (kind == 15 || kind > 19) {
            // more often than others, as an extension takes it
            bytes memory body =
                blob.deletable ? Messages.deletableBlob(blobId, objectId) : Messages.permanentBlob(blobId);
            (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 0, _message(Messages.BLOB, epoch, body));
            return (FRIEND, abi.encodeCall(IBlobs.certify, (objectId, epoch, bitmap, signature)));
        }
        if (kind == 16) return (blob.owner, abi.encodeCall(IBlobs.remove, (objectId)));
        if (kind == 17) return (blob.owner, abi.encodeCall(IBlobs.transferBlob, (objectId, _account())));
        if (_roll(3) != 0) return (blob.owner, abi.encodeCall(IBlobs.refundBlob, (objectId)));
        (bytes memory voters, bytes memory proof) =
            _certificate(NODES, 0, _message(Messages.INVALID_BLOB, epoch, Messages.invalidBlob(blobId)));
        return (FRIEND, abi.encodeCall(IBlobs.invalidate, (blob.blobId, epoch, voters, proof)));
    }

    function _reservationCall(uint256 kind, uint256 id, uint256 objectId) private returns (bytes memory) {
        uint64 size = uint64(_roll(3) << 20);
        uint32 periods = uint32(1 + _roll(6));
        bytes32 root = bytes32(_roll(30));
        if (kind == 0) return abi.encodeCall(ISpace.reserve, (size / 2 + 1, periods, ANY));
        if (kind == 1) return abi.encodeCall(IBlobs.reserveAndRegister, (root, 1000, 1, periods, true, ANY, ANY));
        if (kind == 2) return abi.encodeCall(IBlobs.reserveAndRegister, (root, 1000, 1, periods, false, ANY, ANY));
        if (kind == 3) return abi.encodeCall(IBlobs.register, (id, root, 1000, 1, true, ANY, ANY));
        if (kind == 4) return abi.encodeCall(ISpace.transferReservation, (id, _account()));
        if (kind == 5) return abi.encodeCall(ISpace.splitBySize, (id, size));
        if (kind == 6) return abi.encodeCall(ISpace.splitByPeriod, (id, committee.period() + periods));
        if (kind == 7) return abi.encodeCall(ISpace.merge, (id, _mate(id)));
        if (kind == 8) return abi.encodeCall(ISpace.refund, (id));
        if (kind == 9) return abi.encodeCall(IBlobs.extend, (objectId, periods, _endOf(objectId), ANY));
        return abi.encodeCall(IBlobs.extendWith, (objectId, id));
    }

    function _endOf(uint256 objectId) private view returns (uint32) {
        return objectId == 0 || objectId > blobs.blobCount() ? 0 : blobs.blob(objectId).endPeriod;
    }

    function _setTerms() private returns (bytes memory) {
        return abi.encodeCall(ISpace.setTerms, (ISpace.Terms(uint80(1 + _roll(1e22)), uint80(_roll(1e22)), CAPACITY)));
    }

    function _payOutCall() private returns (bytes memory) {
        uint32[] memory nodeIds = new uint32[](1 + _roll(NODES));
        for (uint32 i; i < nodeIds.length; ++i) {
            nodeIds[i] = i + 1;
        }
        return abi.encodeCall(ISpace.payOut, (nodeIds, uint32(_roll(uint256(committee.period()) + 2))));
    }

    function _reservationOwner(uint256 id) private returns (address owner) {
        owner = _reservation(id).owner;
        if (owner == address(0)) owner = _account();
    }

    function _account() private returns (address) {
        return _roll(2) == 0 ? address(this) : FRIEND;
    }

    /// @dev A reservation of the same owner that may fit, if there is one.
    function _mate(uint256 id) private returns (uint256) {
        ISpace.Reservation memory space = _reservation(id);
        for (uint256 other = blobs.reservationCount(); other > 0; --other) {
            ISpace.Reservation memory mate = _reservation(other);
            bool isNext = mate.startPeriod == space.endPeriod || mate.endPeriod == space.startPeriod;
            bool fits = mate.endPeriod == space.endPeriod || (isNext && mate.size == space.size);
            if (other != id && mate.owner == space.owner && mate.endPeriod > committee.period() && fits) return other;
        }
        return _newOne(blobs.reservationCount());
    }

    /// @dev A reservation and a blob that it can extend, if there are such.
    function _pair(uint256 id, uint256 objectId) private view returns (uint256, uint256) {
        for (uint256 other = 1; other <= blobs.blobCount(); ++other) {
            IBlobs.BlobView memory blob = blobs.blob(other);
            if (blob.status != IBlobs.Status.Certified) continue;
            for (uint256 number = 1; number <= blobs.reservationCount(); ++number) {
                ISpace.Reservation memory space = _reservation(number);
                bool goesOn = space.startPeriod <= blob.endPeriod && blob.endPeriod < space.endPeriod;
                if (goesOn && space.size == blob.size) return (number, other);
            }
        }
        return (id, objectId);
    }

    function _reservation(uint256 id) private view returns (ISpace.Reservation memory space) {
        (space.owner, space.size, space.startPeriod, space.endPeriod) = blobs.reservations(id);
    }

    /// @dev The next epoch; pay shifts stake, so a handover may not be done.
    function _advance() private {
        if (!committee.state().handoverDone) {
            vm.warp(block.timestamp + DEADLINE_S);
            committee.close();
        }
        _nextEpoch();
    }

    /// @dev One of the newest of as many ids.
    function _newOne(uint256 count) private returns (uint256) {
        return 1 + (count < 6 ? _roll(count) : count - 1 - _roll(6));
    }

    /// @dev The next number below `end`; 0 where that is 0.
    function _roll(uint256 end) private returns (uint256) {
        dice = uint256(keccak256(abi.encode(dice)));
        return end == 0 ? 0 : dice % end;
    }
}
