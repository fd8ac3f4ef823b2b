// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Committee} from "./Committee.sol";
import {Governed} from "./Governed.sol";
import {Space} from "./Space.sol";
import {BlobId} from "./lib/BlobId.sol";
import {Messages} from "./lib/Messages.sol";
import {RedStuff} from "./lib/RedStuff.sol";

/// @title Blob objects.
/// @notice A blob object uses up a reservation; it is registered, and certified once a quorum of the committee holds
/// the blob. Several objects may name one blob; each has its own owner and lifetime. Object ids count from 1. End
/// periods are exclusive.
contract Blobs is Space {
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
        uint32 endPeriod;
        bool deletable;
        Status status;
    }

    struct Blob {
        bytes32 root;
        address owner;
        uint32 registeredEpoch;
        uint32 certifiedEpoch;
        uint32 endPeriod;
        uint64 length;
        uint64 size; // of the reservation it uses
        uint8 encodingType;
        bool deletable;
    }

    /// @notice A blob object exists; its slivers may be uploaded.
    event BlobRegistered(
        uint256 indexed objectId,
        uint256 indexed blobId,
        address indexed owner,
        uint32 epoch,
        bytes32 root,
        uint64 length,
        uint8 encodingType,
        uint32 endPeriod,
        bool deletable
    );
    /// @notice A quorum holds the blob until `endPeriod`.
    /// @param epoch The epoch of the committee that certified the blob, also when it is extended.
    event BlobCertified(
        uint256 indexed objectId,
        uint256 indexed blobId,
        uint32 epoch,
        uint32 endPeriod,
        bool deletable,
        bool isExtension
    );
    /// @notice The owner gave up a deletable blob object.
    event BlobDeleted(uint256 indexed objectId, uint256 indexed blobId, uint32 epoch);
    /// @notice The writer encoded the blob inconsistently.
    event BlobInvalidated(uint256 indexed blobId, uint32 epoch);

    /// @notice Encoding type 1 is the only one.
    error UnknownEncoding(uint8 encodingType);
    /// @notice The blob needs more space.
    error ReservationTooSmall(uint64 size, uint64 needed);
    /// @notice There is no such blob object, or it is deleted.
    error UnknownObject(uint256 objectId);
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

    /// @notice How many blob objects there have been; their ids are 1 to this.
    uint128 public blobCount;
    /// @notice Whether a blob is known to be encoded inconsistently.
    mapping(uint256 blobId => bool) public isInvalid;

    mapping(uint256 objectId => Blob) private _blobs;

    /// @dev Parameters as in `Space` and `Governed`.
    constructor(
        Committee committee_,
        IERC20 token_,
        Terms memory terms_,
        address ballot_,
        address governor_,
        address guardian_
    ) Governed(governor_, guardian_) Space(committee_, token_, terms_, ballot_) {}

    /// @notice Registers a blob in space that the sender has reserved, and pays for the writing.
    /// @param root Of the Merkle tree over the sliver pairs' roots.
    /// @param length Bytes of the blob as it is, not encoded.
    /// @param encodingType 1.
    /// @param deletable Whether the owner may delete the blob before its end.
    /// @param maxCost The most that the writing may cost.
    function register(
        uint256 resourceId,
        bytes32 root,
        uint64 length,
        uint8 encodingType,
        bool deletable,
        uint256 maxCost
    ) external pausable returns (uint256 objectId) {
        Reservation memory space = reservations[resourceId];
        if (space.owner == address(0)) revert UnknownReservation(resourceId);
        if (space.owner != msg.sender) revert NotOwner(space.owner);
        uint32 current = _checkLive(space.endPeriod);
        _requireRunning(current);
        uint64 needed = RedStuff.encodedSize(_nShards, length);
        if (space.size < needed) revert ReservationTooSmall(space.size, needed);
        delete reservations[resourceId];
        uint256 fee = _writeFee(needed);
        _bookFee(current, fee);
        _pay(fee, maxCost);
        objectId = _register(
            Blob({
                root: root,
                owner: msg.sender,
                registeredEpoch: committee.epoch(),
                certifiedEpoch: 0,
                endPeriod: space.endPeriod,
                length: length,
                size: space.size,
                encodingType: encodingType,
                deletable: deletable
            })
        );
        emit SpaceUsed(resourceId, objectId);
    }

    /// @notice Reserves just the space that a blob needs and registers it there.
    /// @dev Parameters as in `reserve` and `register`.
    function reserveAndRegister(
        bytes32 root,
        uint64 length,
        uint8 encodingType,
        uint32 periodsAhead,
        bool deletable,
        uint256 maxCost
    ) external pausable returns (uint256 objectId) {
        uint64 size = RedStuff.encodedSize(_nShards, length);
        (uint32 current, uint32 endPeriod) = _span(periodsAhead);
        _pay(_book(size, current, endPeriod, _writeFee(size)), maxCost);
        return _register(
            Blob({
                root: root,
                owner: msg.sender,
                registeredEpoch: committee.epoch(),
                certifiedEpoch: 0,
                endPeriod: endPeriod,
                length: length,
                size: size,
                encodingType: encodingType,
                deletable: deletable
            })
        );
    }

    /// @notice Certifies that a quorum holds the blob: it must stay readable until its end. Anyone may.
    /// @param epoch The certificate's: one of which certificates count (`Epochs.accepts`).
    /// @param bitmap The signers, as in `Committee.verify`.
    /// @param signature Of all signers over the message of intent 1.
    function certify(uint256 objectId, uint32 epoch, bytes calldata bitmap, bytes calldata signature)
        external
        pausable
    {
        uint32 certified = _existing(objectId).certifiedEpoch;
        if (certified != 0) revert AlreadyCertified(objectId, certified);
        committee.verify(epoch, Messages.BLOB, _certify(objectId, epoch), bitmap, signature);
    }

    /// @notice Certifies several blobs that all have the same signers; those that are certified already stay as they are.
    /// Anyone may.
    /// @param signature Aggregate of all signers' over the messages of all blobs.
    function certifyMany(uint256[] calldata objectIds, uint32 epoch, bytes calldata bitmap, bytes calldata signature)
        external
        pausable
    {
        bytes[] memory bodies = new bytes[](objectIds.length);
        for (uint256 i; i < bodies.length; ++i) {
            bodies[i] = _certify(objectIds[i], epoch);
        }
        committee.verifyMany(epoch, Messages.BLOB, bodies, bitmap, signature);
    }

    /// @notice Reserves and pays more periods for a certified blob of the sender's, while it lives.
    /// @param periods How many more; its new end is at most 53 periods ahead.
    /// @param maxCost The most that they may cost.
    function extend(uint256 objectId, uint32 periods, uint256 maxCost) external {
        Blob storage blob_ = _owned(objectId);
        if (blob_.certifiedEpoch == 0) revert NotCertified(objectId);
        uint32 current = _checkLive(blob_.endPeriod);
        _requireRunning(current);
        uint256 blobId = _blobId(blob_);
        if (isInvalid[blobId]) revert InvalidBlob(blobId);
        uint256 end = uint256(blob_.endPeriod) + periods;
        if (periods == 0 || end > current + MAX_PERIODS_AHEAD) {
            revert InvalidPeriod(periods, current + MAX_PERIODS_AHEAD - blob_.endPeriod);
        }
        _pay(_book(blob_.size, blob_.endPeriod, uint32(end), 0), maxCost);
        blob_.endPeriod = uint32(end);
        emit BlobCertified(objectId, blobId, blob_.certifiedEpoch, uint32(end), blob_.deletable, true);
    }

    /// @notice Deletes a deletable blob of the sender's while it lives. The space comes back as a reservation.
    function remove(uint256 objectId) external returns (uint256 resourceId) {
        Blob storage blob_ = _owned(objectId);
        if (!blob_.deletable) revert NotDeletable(objectId);
        _checkLive(blob_.endPeriod);
        emit BlobDeleted(objectId, _blobId(blob_), committee.epoch());
        resourceId = _keep(blob_.owner, blob_.size, blob_.endPeriod);
        delete _blobs[objectId];
    }

    /// @notice Gives the sender back, once periods have come to a standstill, what was paid for its blob from the next
    /// period on, as `refund` does for a reservation. A certified blob ends with the current period; one that is not is
    /// deleted.
    function refundBlob(uint256 objectId) external returns (uint256 amount) {
        Blob storage blob_ = _owned(objectId);
        (uint64 size, uint32 endPeriod, uint32 next) = (blob_.size, blob_.endPeriod, _nextPeriod());
        uint256 blobId = _blobId(blob_);
        if (blob_.certifiedEpoch == 0) {
            emit BlobDeleted(objectId, blobId, committee.epoch());
            delete _blobs[objectId];
        } else {
            blob_.endPeriod = next;
            emit BlobCertified(objectId, blobId, blob_.certifiedEpoch, next, blob_.deletable, true);
        }
        amount = _refund(size, next, endPeriod);
    }

    /// @notice What `extend` would cost now.
    function extensionCost(uint256 objectId, uint32 periods) external view returns (uint256) {
        return _price(_existing(objectId).size, periods);
    }

    /// @notice Marks a blob as encoded inconsistently. Anyone may, with the certificate of members of whom at least one
    /// is correct. Nobody has to keep it any longer, and it cannot be registered or certified again.
    /// @param blobId The id as an integer.
    function invalidate(uint256 blobId, uint32 epoch, bytes calldata bitmap, bytes calldata signature)
        external
        pausable
    {
        if (isInvalid[blobId]) revert InvalidBlob(blobId);
        bytes memory body = Messages.invalidBlob(BlobId.fromInteger(blobId));
        committee.verify(epoch, Messages.INVALID_BLOB, body, bitmap, signature);
        isInvalid[blobId] = true;
        emit BlobInvalidated(blobId, epoch);
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
        shown.endPeriod = blob_.endPeriod;
        shown.deletable = blob_.deletable;
        if (isInvalid[shown.blobId]) shown.status = Status.Invalid;
        else if (blob_.endPeriod <= committee.period()) shown.status = Status.Expired;
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

    /// @notice The newest blob object that was registered with this root and is not deleted, among `count` ids below
    /// `before`. A writer finds with it what an earlier try has paid for.
    /// @param root Of the Merkle tree over the sliver pairs' roots.
    /// @param before The first id that is not looked at; 0 begins with the newest object.
    /// @param count The most ids to look at; each costs a call about 2500 gas.
    /// @return objectId 0 when there is none.
    /// @return next What to pass as `before` to go on; 0 at the end.
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

    /// @inheritdoc Governed
    function isPausable(bytes4 selector) public pure override returns (bool) {
        return selector == this.reserve.selector || selector == this.register.selector
            || selector == this.reserveAndRegister.selector || selector == this.certify.selector
            || selector == this.certifyMany.selector || selector == this.invalidate.selector;
    }

    /// @dev Marks an object as certified, unless it is, before the certificate is verified; returns the body its signers
    /// signed.
    function _certify(uint256 objectId, uint32 epoch) private returns (bytes memory) {
        Blob storage blob_ = _existing(objectId);
        _checkLive(blob_.endPeriod);
        if (epoch < blob_.registeredEpoch) revert CertificateTooOld(epoch, blob_.registeredEpoch);
        bytes32 id = BlobId.compute(blob_.encodingType, blob_.length, blob_.root);
        uint256 blobId = BlobId.toInteger(id);
        if (isInvalid[blobId]) revert InvalidBlob(blobId);
        bool deletable = blob_.deletable;
        if (blob_.certifiedEpoch == 0) {
            blob_.certifiedEpoch = epoch;
            emit BlobCertified(objectId, blobId, epoch, blob_.endPeriod, deletable, false);
        }
        return deletable ? Messages.deletableBlob(id, objectId) : Messages.permanentBlob(id);
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
            blob_.endPeriod,
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

    function _checkLive(uint32 endPeriod) private view returns (uint32 current) {
        current = committee.period();
        if (endPeriod <= current) revert Expired(endPeriod);
    }

    function _blobId(Blob storage blob_) private view returns (uint256) {
        return BlobId.toInteger(BlobId.compute(blob_.encodingType, blob_.length, blob_.root));
    }
}
