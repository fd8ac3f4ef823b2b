// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Blobs} from "src/Blobs.sol";
import {IBlobs} from "src/interfaces/IBlobs.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {BlobId} from "src/lib/BlobId.sol";
import {Messages} from "src/lib/Messages.sol";
import {Handler} from "test/Handler.sol";

/// @notice What owners do with reservations and blobs besides using them.
contract TradeHandler is Handler {
    uint64 private constant MEBIBYTE = 1 << 20;
    address private constant FRIEND = address(0xf1);

    /// @notice How many trades of each kind came about.
    uint256[6] public trades;

    /// @dev With reservations and blobs of any age: what is over is refused.
    function trade(uint256 seed) external watched {
        uint256 kind = seed % 6;
        seed >>= 8;
        if (kind == 5) return _transferBlob(seed);
        if (resourceIds.length == 0) return;
        uint256 id = resourceIds[seed % resourceIds.length];
        seed >>= 32;
        ISpace.Reservation memory space = _left(id);
        if (kind == 0) _transfer(id, space, seed);
        if (kind == 1) _splitBySize(id, space, seed);
        if (kind == 2) _splitByPeriod(id, space, seed);
        if (kind == 3) _merge(id, space, resourceIds[seed % resourceIds.length]);
        if (kind == 4) _extendWith(id, space, seed);
    }

    /// @dev A blob, by all members.
    function invalidate(uint256 seed) external watched {
        if (seed & 7 != 0) return;
        IBlobs.BlobView memory blob =
            _someBlob(seed, seed & 8 == 0 ? IBlobs.Status.Certified : IBlobs.Status.Registered);
        if (blob.objectId == 0) return;
        bytes memory body = Messages.invalidBlob(BlobId.fromInteger(blob.blobId));
        (, bytes memory bitmap, bytes memory signature) =
            _signed(epoch, type(uint256).max, _message(Messages.INVALID_BLOB, epoch, body));
        blobs.invalidate(blob.blobId, epoch, bitmap, signature);
    }

    function _transfer(uint256 id, ISpace.Reservation memory space, uint256 seed) private {
        address to = seed & 1 == 0 ? address(this) : FRIEND;
        _expect(space, 0, true);
        blobs.transferReservation(id, to);
    }

    function _splitBySize(uint256 id, ISpace.Reservation memory space, uint256 seed) private {
        uint64 mebibytes = uint64(_between(seed, 0, space.size / MEBIBYTE));
        bool isSplit = _expect(space, 1, mebibytes != 0 && mebibytes * MEBIBYTE < space.size);
        uint256 newId = blobs.splitBySize(id, mebibytes * MEBIBYTE);
        if (isSplit) resourceIds.push(newId);
    }

    function _splitByPeriod(uint256 id, ISpace.Reservation memory space, uint256 seed) private {
        uint32 period = _isLeft(space) ? uint32(_between(seed, space.startPeriod, space.endPeriod)) : 1;
        bool isSplit = _expect(space, 2, space.startPeriod < period && period < space.endPeriod);
        uint256 newId = blobs.splitByPeriod(id, period);
        if (isSplit) resourceIds.push(newId);
    }

    function _merge(uint256 id, ISpace.Reservation memory space, uint256 otherId) private {
        ISpace.Reservation memory other = _left(otherId);
        bool isSame = space.startPeriod == other.startPeriod && space.endPeriod == other.endPeriod;
        bool isNext = space.startPeriod == other.endPeriod || space.endPeriod == other.startPeriod;
        bool fits = isSame || (isNext && space.size == other.size);
        bool isOwn = space.owner == other.owner && other.endPeriod > committee.period();
        _expect(space, 3, id != otherId && isOwn && fits);
        blobs.merge(id, otherId);
    }

    /// @dev With just the size of the blob, where there is more.
    function _extendWith(uint256 id, ISpace.Reservation memory space, uint256 seed) private {
        IBlobs.BlobView memory blob = _someBlob(seed, IBlobs.Status.Certified);
        if (blob.objectId == 0) return;
        if (_isLeft(space) && space.size > blob.size) {
            vm.prank(space.owner);
            resourceIds.push(blobs.splitBySize(id, blob.size));
            space.size = blob.size;
        }
        bool fits = space.startPeriod <= blob.endPeriod && blob.endPeriod < space.endPeriod;
        _expect(space, 4, _isRunning() && fits && space.size == blob.size);
        blobs.extendWith(blob.objectId, id);
    }

    function _transferBlob(uint256 seed) private {
        IBlobs.BlobView memory blob =
            _someBlob(seed, seed & 2 == 0 ? IBlobs.Status.Certified : IBlobs.Status.Registered);
        if (blob.objectId == 0) return;
        ++trades[5];
        vm.prank(blob.owner);
        blobs.transferBlob(blob.objectId, seed & 1 == 0 ? address(this) : FRIEND);
        require(blobs.blob(blob.objectId).owner == (seed & 1 == 0 ? address(this) : FRIEND), "the new owner");
    }

    /// @dev The next call is its owner's, and reverts unless something is left of the reservation and it is `allowed`.
    function _expect(ISpace.Reservation memory space, uint256 kind, bool allowed) private returns (bool) {
        allowed = allowed && _isLeft(space);
        if (allowed) ++trades[kind];
        else vm.expectRevert();
        if (space.owner != address(0)) vm.prank(space.owner);
        return allowed;
    }

    function _isLeft(ISpace.Reservation memory space) private view returns (bool) {
        return space.owner != address(0) && space.endPeriod > committee.period();
    }

    /// @dev A reservation without the periods that are past.
    function _left(uint256 id) private view returns (ISpace.Reservation memory space) {
        (space.owner, space.size, space.startPeriod, space.endPeriod) = blobs.reservations(id);
        uint32 current = committee.period();
        if (space.startPeriod < current) space.startPeriod = current;
    }
}
