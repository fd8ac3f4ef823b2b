// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Committee} from "./Committee.sol";
import {BlobId} from "./lib/BlobId.sol";
import {Messages} from "./lib/Messages.sol";
import {RedStuff} from "./lib/RedStuff.sol";

/// @title Storage reservations and blob objects.
/// @notice Space is reserved and paid for from the current epoch to an end epoch. A blob object uses up a reservation;
/// it is registered, and certified once a quorum of the committee holds the blob. Several objects may name one blob;
/// each has its own owner and lifetime. Object and reservation ids count from 1. End epochs are exclusive.
contract Blobs {
    using SafeERC20 for IERC20;

    /// @notice What has become of a blob object.
    enum Status {
        Deleted,
        Registered,
        Certified,
        Expired,
        Invalid
    }

    /// @notice A blob object as it is shown; of a deleted one only id and status.
    struct BlobView {
        uint256 objectId;
        uint256 blobId;
        bytes32 root;
        uint64 length;
        uint8 encodingType;
        address owner;
        uint32 registeredEpoch;
        /// @dev The epoch of the committee that certified it; 0 if none has.
        uint32 certifiedEpoch;
        uint32 endEpoch;
        bool deletable;
        Status status;
    }

    /// @notice Space until an end epoch, to be used by one blob.
    struct Reservation {
        address owner;
        uint64 size;
        uint32 endEpoch;
    }

    struct Blob {
        bytes32 root;
        address owner;
        uint32 registeredEpoch;
        uint32 certifiedEpoch;
        uint32 endEpoch;
        uint64 length;
        uint64 size; // of the reservation it uses
        uint8 encodingType;
        bool deletable;
    }

    struct Account {
        uint64 reserved; // bytes
        uint128 payment; // for the epoch's members; mebibytes of 2^64 bytes times a price of 80 bits fit
    }

    /// @notice A reservation that no blob uses yet, bought or come back.
    event SpaceReserved(uint256 indexed resourceId, address indexed owner, uint64 size, uint32 endEpoch);
    /// @notice A blob object exists; its slivers may be uploaded.
    event BlobRegistered(
        uint256 indexed objectId,
        uint256 indexed blobId,
        address indexed owner,
        uint32 epoch,
        bytes32 root,
        uint64 length,
        uint8 encodingType,
        uint32 endEpoch,
        bool deletable
    );
    /// @notice A quorum holds the blob until `endEpoch`.
    /// @param epoch The epoch of the committee that certified the blob, also when it is extended.
    event BlobCertified(
        uint256 indexed objectId,
        uint256 indexed blobId,
        uint32 epoch,
        uint32 endEpoch,
        bool deletable,
        bool isExtension
    );
    /// @notice The owner gave up a deletable blob object.
    event BlobDeleted(uint256 indexed objectId, uint256 indexed blobId, uint32 epoch);
    /// @notice The writer encoded the blob inconsistently.
    event BlobInvalidated(uint256 indexed blobId, uint32 epoch);

    /// @notice Storage begins with the first epoch.
    error NoEpochYet();
    /// @notice From one epoch to `most` are possible.
    error InvalidPeriod(uint256 epochsAhead, uint256 most);
    /// @notice A reservation has at least one byte.
    error InvalidSize();
    /// @notice The epoch has too little space left.
    error NoCapacity(uint32 epoch, uint256 free, uint256 wanted);
    /// @notice Encoding type 1 is the only one.
    error UnknownEncoding(uint8 encodingType);
    /// @notice There is no such reservation, or a blob uses it.
    error UnknownReservation(uint256 resourceId);
    /// @notice The blob needs more space.
    error ReservationTooSmall(uint64 size, uint64 needed);
    /// @notice There is no such blob object, or it is deleted.
    error UnknownObject(uint256 objectId);
    /// @notice Only the owner may.
    error NotOwner(address owner);
    /// @notice It ended with the start of `endEpoch`.
    error Expired(uint32 endEpoch);
    /// @notice The object is certified, in this epoch.
    error AlreadyCertified(uint256 objectId, uint32 epoch);
    /// @notice The object is not certified.
    error NotCertified(uint256 objectId);
    /// @notice The object is permanent.
    error NotDeletable(uint256 objectId);
    /// @notice The blob is known to be encoded inconsistently.
    error InvalidBlob(uint256 blobId);
    /// @notice The certificate is from before the object was registered.
    error CertificateTooOld(uint32 epoch, uint32 registeredEpoch);
    /// @notice The signers' shards are fewer than needed.
    error NotEnoughWeight(uint256 weight, uint256 shards);

    /// @notice How many epochs, the current one included, space can be reserved for.
    uint32 public constant MAX_EPOCHS_AHEAD = 53;

    uint256 private constant MEBIBYTE = 1 << 20;

    /// @notice Whose certificates count, and whose epochs.
    Committee public immutable committee;
    /// @notice What storage is paid with.
    IERC20 public immutable token;
    /// @notice Price of a mebibyte of encoded size, begun or full, for one epoch.
    uint80 public immutable price;
    /// @notice Bytes of encoded size that can be reserved in one epoch.
    uint64 public immutable capacity;

    uint256 private immutable _nShards;

    /// @notice How many blob objects there have been; their ids are 1 to this.
    uint128 public blobCount;
    /// @notice How many reservations there have been on their own; their ids are 1 to this.
    uint128 public reservationCount;
    /// @notice The reservations that no blob uses yet.
    mapping(uint256 resourceId => Reservation) public reservations;
    /// @notice What is reserved in an epoch, bytes, and paid for it.
    mapping(uint32 epoch => Account) public accounts;
    /// @notice Whether a blob is known to be encoded inconsistently.
    mapping(uint256 blobId => bool) public isInvalid;

    mapping(uint256 objectId => Blob) private _blobs;

    constructor(Committee committee_, IERC20 token_, uint80 price_, uint64 capacity_) {
        committee = committee_;
        token = token_;
        price = price_;
        capacity = capacity_;
        _nShards = committee_.nShards();
    }

    /// @notice Reserves and pays space, from the current epoch on.
    /// @param encodedSize Bytes, as `quote` has them.
    /// @param epochsAhead How many epochs, the current one included; 1 to 53.
    function reserve(uint64 encodedSize, uint32 epochsAhead) external returns (uint256 resourceId) {
        (, uint32 endEpoch) = _reserve(encodedSize, epochsAhead);
        return _keep(msg.sender, encodedSize, endEpoch);
    }

    /// @notice Registers a blob in space that the sender has reserved.
    /// @param root Of the Merkle tree over the sliver pairs' roots.
    /// @param length Bytes of the blob as it is, not encoded.
    /// @param encodingType 1.
    /// @param deletable Whether the owner may delete the blob before its end.
    function register(uint256 resourceId, bytes32 root, uint64 length, uint8 encodingType, bool deletable)
        external
        returns (uint256 objectId)
    {
        Reservation memory space = reservations[resourceId];
        if (space.owner == address(0)) revert UnknownReservation(resourceId);
        if (space.owner != msg.sender) revert NotOwner(space.owner);
        uint32 current = committee.epoch();
        if (space.endEpoch <= current) revert Expired(space.endEpoch);
        uint64 needed = RedStuff.encodedSize(_nShards, length);
        if (space.size < needed) revert ReservationTooSmall(space.size, needed);
        delete reservations[resourceId];
        return _register(
            Blob({
                root: root,
                owner: msg.sender,
                registeredEpoch: current,
                certifiedEpoch: 0,
                endEpoch: space.endEpoch,
                length: length,
                size: space.size,
                encodingType: encodingType,
                deletable: deletable
            })
        );
    }

    /// @notice Reserves just the space that a blob needs and registers it there.
    /// @dev Parameters as in `reserve` and `register`.
    function reserveAndRegister(bytes32 root, uint64 length, uint8 encodingType, uint32 epochsAhead, bool deletable)
        external
        returns (uint256 objectId)
    {
        uint64 size = RedStuff.encodedSize(_nShards, length);
        (uint32 current, uint32 endEpoch) = _reserve(size, epochsAhead);
        return _register(
            Blob({
                root: root,
                owner: msg.sender,
                registeredEpoch: current,
                certifiedEpoch: 0,
                endEpoch: endEpoch,
                length: length,
                size: size,
                encodingType: encodingType,
                deletable: deletable
            })
        );
    }

    /// @notice Certifies that a quorum holds the blob: it must stay readable until its end. Anyone may.
    /// @param epoch The certificate's: the current one, or the one before while the handover is not done.
    /// @param bitmap The signers, as in `Committee.verify`.
    /// @param signature Of all signers over the message of intent 1.
    function certify(uint256 objectId, uint32 epoch, bytes calldata bitmap, bytes calldata signature) external {
        Blob storage blob_ = _existing(objectId);
        if (blob_.certifiedEpoch != 0) revert AlreadyCertified(objectId, blob_.certifiedEpoch);
        _checkLive(blob_.endEpoch);
        if (epoch < blob_.registeredEpoch) revert CertificateTooOld(epoch, blob_.registeredEpoch);
        bytes32 id = BlobId.compute(blob_.encodingType, blob_.length, blob_.root);
        uint256 blobId = BlobId.toInteger(id);
        if (isInvalid[blobId]) revert InvalidBlob(blobId);
        bool deletable = blob_.deletable;
        bytes memory body = deletable ? Messages.deletableBlob(id, objectId) : Messages.permanentBlob(id);
        uint256 weight = committee.verify(epoch, Messages.BLOB, body, bitmap, signature);
        if (3 * weight < 2 * _nShards + 1) revert NotEnoughWeight(weight, _nShards);
        blob_.certifiedEpoch = epoch;
        emit BlobCertified(objectId, blobId, epoch, blob_.endEpoch, deletable, false);
    }

    /// @notice Reserves and pays more epochs for a certified blob of the sender's, while it lives.
    /// @param epochs How many more; its new end is at most 53 epochs ahead.
    function extend(uint256 objectId, uint32 epochs) external {
        Blob storage blob_ = _owned(objectId);
        if (blob_.certifiedEpoch == 0) revert NotCertified(objectId);
        uint32 current = _checkLive(blob_.endEpoch);
        uint256 blobId = _blobId(blob_);
        if (isInvalid[blobId]) revert InvalidBlob(blobId);
        uint256 end = uint256(blob_.endEpoch) + epochs;
        if (epochs == 0 || end > current + MAX_EPOCHS_AHEAD) {
            revert InvalidPeriod(epochs, current + MAX_EPOCHS_AHEAD - blob_.endEpoch);
        }
        _book(blob_.size, blob_.endEpoch, uint32(end));
        blob_.endEpoch = uint32(end);
        emit BlobCertified(objectId, blobId, blob_.certifiedEpoch, uint32(end), blob_.deletable, true);
    }

    /// @notice Deletes a deletable blob of the sender's while it lives. The space comes back as a reservation.
    function remove(uint256 objectId) external returns (uint256 resourceId) {
        Blob storage blob_ = _owned(objectId);
        if (!blob_.deletable) revert NotDeletable(objectId);
        uint32 current = _checkLive(blob_.endEpoch);
        emit BlobDeleted(objectId, _blobId(blob_), current);
        resourceId = _keep(blob_.owner, blob_.size, blob_.endEpoch);
        delete _blobs[objectId];
    }

    /// @notice Marks a blob as encoded inconsistently. Anyone may, with the certificate of members of whom at least one
    /// is correct. Nobody has to keep it any longer, and it cannot be registered or certified again.
    /// @param blobId The id as an integer.
    function invalidate(uint256 blobId, uint32 epoch, bytes calldata bitmap, bytes calldata signature) external {
        if (isInvalid[blobId]) revert InvalidBlob(blobId);
        bytes memory body = Messages.invalidBlob(BlobId.fromInteger(blobId));
        uint256 weight = committee.verify(epoch, Messages.INVALID_BLOB, body, bitmap, signature);
        if (3 * weight < _nShards + 1) revert NotEnoughWeight(weight, _nShards);
        isInvalid[blobId] = true;
        emit BlobInvalidated(blobId, epoch);
    }

    /// @notice What a blob of `length` bytes takes and costs.
    /// @return encodedSize Bytes, of all slivers and metadata on all shards.
    /// @return cost In the token's smallest unit, for `epochsAhead` epochs.
    function quote(uint64 length, uint32 epochsAhead) external view returns (uint64 encodedSize, uint256 cost) {
        encodedSize = RedStuff.encodedSize(_nShards, length);
        cost = _costPerEpoch(encodedSize) * epochsAhead;
    }

    /// @notice One blob object. Reverts for an id that has never been.
    function blob(uint256 objectId) public view returns (BlobView memory shown) {
        if (objectId == 0 || objectId > blobCount) revert UnknownObject(objectId);
        shown.objectId = objectId;
        Blob memory blob_ = _blobs[objectId];
        if (blob_.owner == address(0)) return shown;
        shown.blobId = BlobId.toInteger(BlobId.compute(blob_.encodingType, blob_.length, blob_.root));
        shown.root = blob_.root;
        shown.length = blob_.length;
        shown.encodingType = blob_.encodingType;
        shown.owner = blob_.owner;
        shown.registeredEpoch = blob_.registeredEpoch;
        shown.certifiedEpoch = blob_.certifiedEpoch;
        shown.endEpoch = blob_.endEpoch;
        shown.deletable = blob_.deletable;
        if (isInvalid[shown.blobId]) shown.status = Status.Invalid;
        else if (blob_.endEpoch <= committee.epoch()) shown.status = Status.Expired;
        else shown.status = blob_.certifiedEpoch == 0 ? Status.Registered : Status.Certified;
    }

    /// @notice Blob objects by ascending id, a page of them.
    /// @param cursor The first id; 0 begins like 1.
    /// @param count The most objects on the page.
    /// @return page The objects, deleted ones among them.
    /// @return next Where the next page begins, 0 at the end.
    function blobs(uint256 cursor, uint256 count) external view returns (BlobView[] memory page, uint256 next) {
        uint256 first = cursor == 0 ? 1 : cursor;
        uint256 left = first > blobCount ? 0 : blobCount - first + 1;
        page = new BlobView[](count < left ? count : left);
        if (count < left) next = first + count;
        for (uint256 i; i < page.length; ++i) {
            page[i] = blob(first + i);
        }
    }

    function _reserve(uint64 size, uint32 epochsAhead) private returns (uint32 current, uint32 endEpoch) {
        current = committee.epoch();
        if (current == 0) revert NoEpochYet();
        if (size == 0) revert InvalidSize();
        if (epochsAhead == 0 || epochsAhead > MAX_EPOCHS_AHEAD) revert InvalidPeriod(epochsAhead, MAX_EPOCHS_AHEAD);
        endEpoch = current + epochsAhead;
        _book(size, current, endEpoch);
    }

    /// @dev Takes capacity and payment for the epochs from `first` to before `end`.
    function _book(uint64 size, uint32 first, uint32 end) private {
        uint256 cost = _costPerEpoch(size);
        for (uint32 epoch = first; epoch < end; ++epoch) {
            Account storage account = accounts[epoch];
            uint256 free = capacity - account.reserved;
            if (size > free) revert NoCapacity(epoch, free, size);
            account.reserved += size;
            account.payment += uint128(cost);
        }
        if (cost != 0) token.safeTransferFrom(msg.sender, address(this), cost * (end - first));
    }

    function _keep(address owner, uint64 size, uint32 endEpoch) private returns (uint256 resourceId) {
        resourceId = ++reservationCount;
        reservations[resourceId] = Reservation({owner: owner, size: size, endEpoch: endEpoch});
        emit SpaceReserved(resourceId, owner, size, endEpoch);
    }

    function _register(Blob memory blob_) private returns (uint256 objectId) {
        if (blob_.encodingType != RedStuff.ENCODING_TYPE) revert UnknownEncoding(blob_.encodingType);
        uint256 blobId = BlobId.toInteger(BlobId.compute(blob_.encodingType, blob_.length, blob_.root));
        if (isInvalid[blobId]) revert InvalidBlob(blobId);
        objectId = ++blobCount;
        _blobs[objectId] = blob_;
        emit BlobRegistered(
            objectId,
            blobId,
            blob_.owner,
            blob_.registeredEpoch,
            blob_.root,
            blob_.length,
            blob_.encodingType,
            blob_.endEpoch,
            blob_.deletable
        );
    }

    function _existing(uint256 objectId) private view returns (Blob storage blob_) {
        blob_ = _blobs[objectId];
        if (blob_.owner == address(0)) revert UnknownObject(objectId);
    }

    function _owned(uint256 objectId) private view returns (Blob storage blob_) {
        blob_ = _existing(objectId);
        if (blob_.owner != msg.sender) revert NotOwner(blob_.owner);
    }

    function _checkLive(uint32 endEpoch) private view returns (uint32 current) {
        current = committee.epoch();
        if (endEpoch <= current) revert Expired(endEpoch);
    }

    function _blobId(Blob storage blob_) private view returns (uint256) {
        return BlobId.toInteger(BlobId.compute(blob_.encodingType, blob_.length, blob_.root));
    }

    function _costPerEpoch(uint64 size) private view returns (uint256) {
        return (uint256(size) + MEBIBYTE - 1) / MEBIBYTE * price;
    }
}
