// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Reservations} from "./Reservations.sol";
import {IBlobs} from "./interfaces/IBlobs.sol";
import {BlobId} from "./lib/BlobId.sol";

/// @title What is kept and shown of blob objects.
/// @dev Beside the objects by id, those that are not deleted are listed by the period they end with: what is expired
/// drops out of `liveBlobs` with its period, and no transaction has to take it out.
abstract contract BlobObjects is IBlobs, Reservations {
    struct Blob {
        bytes32 root;
        address owner;
        uint32 registeredEpoch;
        uint32 certifiedEpoch;
        uint32 endPeriod;
        uint64 length;
        uint64 size; // of the space it takes
        uint64 place; // in the list of its end period
        uint8 encodingType;
        bool deletable;
    }

    uint256 private constant SHOWN_BITS = 64; // of a cursor of `liveBlobs`: end period, complement of what is left of its list

    /// @inheritdoc IBlobs
    uint128 public blobCount;
    /// @inheritdoc IBlobs
    mapping(uint256 blobId => bool) public isInvalid;

    mapping(uint256 objectId => Blob) internal _blobs;
    /// @dev A list is as long as its last period's account says, which a payment for the period has just read and written;
    /// what is behind its end counts for nothing.
    mapping(uint32 endPeriod => uint64[1 << 48] objectIds) private _endingWith;

    /// @inheritdoc IBlobs
    function blob(uint256 objectId) public view returns (BlobView memory shown) {
        if (objectId == 0 || objectId > blobCount) revert UnknownObject(objectId);
        shown.objectId = objectId;
        Blob memory blob_ = _blobs[objectId];
        if (blob_.owner == address(0)) return shown;
        shown.blobId = BlobId.toInteger(BlobId.compute(blob_.encodingType, blob_.length, blob_.root));
        shown.root = blob_.root;
        shown.length = blob_.length;
        shown.size = blob_.size;
        shown.encodingType = blob_.encodingType;
        shown.owner = blob_.owner;
        shown.registeredEpoch = blob_.registeredEpoch;
        shown.certifiedEpoch = blob_.certifiedEpoch;
        shown.endPeriod = blob_.endPeriod;
        shown.deletable = blob_.deletable;
        if (isInvalid[shown.blobId]) shown.status = Status.Invalid;
        else if (blob_.endPeriod <= committee.period()) shown.status = Status.Expired;
        else shown.status = blob_.certifiedEpoch == 0 ? Status.Registered : Status.Certified;
    }

    /// @inheritdoc IBlobs
    function blobs(uint256 cursor, uint256 count) external view returns (BlobView[] memory page, uint256 next) {
        uint256 first = cursor == 0 ? 1 : cursor;
        uint256 left = first > blobCount ? 0 : blobCount - first + 1;
        page = new BlobView[](count < left ? count : left);
        if (count < left) next = first + count;
        for (uint256 i; i < page.length; ++i) {
            page[i] = blob(first + i);
        }
    }

    /// @inheritdoc IBlobs
    /// @dev Each list from its end on: what is taken out of one between two pages moves only an object that was shown to
    /// the place, and an extension moves one to a list further on.
    function liveBlobs(uint256 cursor, uint256 count) external view returns (BlobView[] memory page, uint256 next) {
        uint32 current = committee.period();
        uint32 last = current + MAX_PERIODS_AHEAD;
        if (cursor >> SHOWN_BITS > last) return (page, 0);
        (uint32 period, uint64 left) = (uint32(cursor >> SHOWN_BITS), ~uint64(cursor));
        if (period <= current) (period, left) = (current + 1, type(uint64).max);
        if (left > _ending(period)) left = _ending(period);
        uint256 more = left;
        for (uint32 later = period + 1; later <= last; ++later) {
            more += _ending(later);
        }
        page = new BlobView[](count < more ? count : more);
        for (uint256 i; i < page.length; --left) {
            while (left == 0) left = _ending(++period);
            page[i++] = blob(_endingWith[period][left - 1]);
        }
        if (page.length < more) next = uint256(period) << SHOWN_BITS | ~left;
    }

    /// @inheritdoc IBlobs
    function newestWith(bytes32 root, uint256 before, uint256 count)
        external
        view
        returns (uint256 objectId, uint256 next)
    {
        next = before == 0 || before > blobCount ? uint256(blobCount) + 1 : before;
        uint256 last = next > count ? next - count : 1;
        while (next > last) {
            --next;
            Blob storage blob_ = _blobs[next];
            if (blob_.root == root && blob_.owner != address(0)) {
                objectId = next;
                break;
            }
        }
        if (next == 1) next = 0;
    }

    /// @dev A new object, with the next id.
    function _add(Blob memory blob_) internal returns (uint256 objectId) {
        objectId = ++blobCount;
        _blobs[objectId] = blob_;
        _list(objectId, blob_.endPeriod);
    }

    function _delete(uint256 objectId) internal {
        _unlist(_blobs[objectId]);
        delete _blobs[objectId];
    }

    function _setEnd(uint256 objectId, uint32 endPeriod) internal {
        _unlist(_blobs[objectId]);
        _blobs[objectId].endPeriod = endPeriod;
        _list(objectId, endPeriod);
    }

    function _existing(uint256 objectId) internal view returns (Blob storage blob_) {
        blob_ = _blobs[objectId];
        if (blob_.owner == address(0)) revert UnknownObject(objectId);
    }

    function _owned(uint256 objectId) internal view returns (Blob storage blob_) {
        blob_ = _existing(objectId);
        if (blob_.owner != msg.sender) revert NotOwner(blob_.owner);
    }

    function _blobId(Blob storage blob_) internal view returns (uint256) {
        return BlobId.toInteger(BlobId.compute(blob_.encodingType, blob_.length, blob_.root));
    }

    function _list(uint256 objectId, uint32 endPeriod) private {
        uint64 place = _accounts[endPeriod - 1].ending++;
        _blobs[objectId].place = place;
        _endingWith[endPeriod][place] = uint64(objectId);
    }

    /// @dev The last one of the list takes the place.
    function _unlist(Blob storage blob_) private {
        uint64[1 << 48] storage objectIds = _endingWith[blob_.endPeriod];
        uint64 last = objectIds[--_accounts[blob_.endPeriod - 1].ending];
        objectIds[blob_.place] = last;
        _blobs[last].place = blob_.place;
    }

    /// @dev The number of objects that end with a period.
    function _ending(uint32 endPeriod) private view returns (uint64) {
        return _accounts[endPeriod - 1].ending;
    }
}
