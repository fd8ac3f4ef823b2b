// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {BlobObjects} from "./BlobObjects.sol";
import {Committee} from "./Committee.sol";
import {Governed} from "./Governed.sol";
import {Space} from "./Space.sol";
import {IBlobs} from "./interfaces/IBlobs.sol";
import {BlobId} from "./lib/BlobId.sol";
import {Messages} from "./lib/Messages.sol";
import {RedStuff} from "./lib/RedStuff.sol";

/// @title What becomes of blob objects.
/// @dev `IBlobs` says what it does. Nothing takes ether, so that `multicall` can count none twice; and each of its calls
/// has its own selector, by which it can be paused.
contract Blobs is BlobObjects, Multicall {
    /// @dev Parameters as in `Space` and `Governed`.
    constructor(
        Committee committee_,
        IERC20 token_,
        Terms memory terms_,
        address ballot_,
        address governor_,
        address guardian_
    ) Governed(governor_, guardian_) Space(committee_, token_, terms_, ballot_) {}

    /// @inheritdoc IBlobs
    function register(
        uint256 resourceId,
        bytes32 root,
        uint64 length,
        uint8 encodingType,
        bool deletable,
        uint256 knownUpTo,
        uint256 maxCost
    ) external pausable returns (uint256 objectId) {
        _requireNoNewer(root, length, deletable, knownUpTo);
        Reservation memory space = _ownReservation(resourceId);
        uint32 current = committee.period();
        if (space.startPeriod > current) revert NotBegun(space.startPeriod);
        _requireRunning(current);
        uint64 needed = RedStuff.encodedSize(_nShards, length);
        if (space.size < needed) revert ReservationTooSmall(space.size, needed);
        delete reservations[resourceId];
        uint256 fee = _writeFee(needed);
        _bookFee(current, fee);
        _pay(fee, maxCost);
        objectId = _register(root, length, encodingType, space.size, space.endPeriod, deletable);
        emit ReservationUsed(resourceId, objectId);
    }

    /// @inheritdoc IBlobs
    function reserveAndRegister(
        bytes32 root,
        uint64 length,
        uint8 encodingType,
        uint32 periodsAhead,
        bool deletable,
        uint256 knownUpTo,
        uint256 maxCost
    ) external pausable returns (uint256 objectId) {
        _requireNoNewer(root, length, deletable, knownUpTo);
        uint64 size = RedStuff.encodedSize(_nShards, length);
        (uint32 current, uint32 endPeriod) = _span(periodsAhead);
        _pay(_book(size, current, endPeriod, _writeFee(size)), maxCost);
        return _register(root, length, encodingType, _whole(size), endPeriod, deletable);
    }

    /// @inheritdoc IBlobs
    function certify(uint256 objectId, uint32 epoch, bytes calldata bitmap, bytes calldata signature)
        external
        pausable
    {
        uint32 certified = _existing(objectId).certifiedEpoch;
        if (certified != 0) revert AlreadyCertified(objectId, certified);
        committee.verify(epoch, Messages.BLOB, _certify(objectId, epoch), bitmap, signature);
    }

    /// @inheritdoc IBlobs
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

    /// @inheritdoc IBlobs
    function transferBlob(uint256 objectId, address to) external {
        Blob storage blob_ = _owned(objectId);
        _checkLive(blob_.endPeriod);
        if (to == address(0)) revert InvalidOwner();
        blob_.owner = to;
        emit BlobTransferred(objectId, msg.sender, to);
    }

    /// @inheritdoc IBlobs
    function extend(uint256 objectId, uint32 periods, uint32 knownEnd, uint256 maxCost) external {
        (Blob storage blob_, uint32 current) = _extendable(objectId);
        uint32 start = blob_.endPeriod;
        if (start != knownEnd) revert EndMoved(start);
        _requireSelling(current);
        uint256 end = uint256(start) + periods;
        if (periods == 0 || end > current + MAX_PERIODS_AHEAD) {
            revert InvalidPeriod(periods, current + MAX_PERIODS_AHEAD - start);
        }
        _pay(_book(blob_.size, start, uint32(end), 0), maxCost);
        _extend(objectId, uint32(end));
    }

    /// @inheritdoc IBlobs
    function extendWith(uint256 objectId, uint256 resourceId) external {
        (Blob storage blob_,) = _extendable(objectId);
        Reservation memory space = _ownReservation(resourceId);
        (uint32 start, uint32 end) = (blob_.endPeriod, space.endPeriod);
        if (space.size != blob_.size || space.startPeriod > start || end <= start) revert NotAdjoining(resourceId);
        _shorten(resourceId, space, start, objectId);
        _extend(objectId, end);
    }

    /// @inheritdoc IBlobs
    function remove(uint256 objectId) external returns (uint256 resourceId) {
        Blob storage blob_ = _owned(objectId);
        if (!blob_.deletable) revert NotDeletable(objectId);
        uint32 current = _checkLive(blob_.endPeriod);
        emit BlobDeleted(objectId, _blobId(blob_), committee.epoch());
        resourceId = _keep(Reservation(blob_.owner, blob_.size, current, blob_.endPeriod));
        _delete(objectId);
    }

    /// @inheritdoc IBlobs
    function refundBlob(uint256 objectId) external returns (uint256 amount) {
        Blob storage blob_ = _owned(objectId);
        (uint64 size, uint32 endPeriod, uint32 next) = (blob_.size, blob_.endPeriod, _nextPeriod());
        if (blob_.certifiedEpoch == 0) {
            emit BlobDeleted(objectId, _blobId(blob_), committee.epoch());
            _delete(objectId);
        } else {
            _extend(objectId, next);
        }
        amount = _refund(size, next, endPeriod);
    }

    /// @inheritdoc IBlobs
    function extensionCost(uint256 objectId, uint32 periods) external view returns (uint256) {
        return _price(_existing(objectId).size, periods);
    }

    /// @inheritdoc IBlobs
    /// @dev Not to be paused: it excuses members from showing what nobody can make for them.
    function invalidate(uint256 blobId, uint32 epoch, bytes calldata bitmap, bytes calldata signature) external {
        if (isInvalid[blobId]) revert InvalidBlob(blobId);
        bytes memory body = Messages.invalidBlob(BlobId.fromInteger(blobId));
        committee.verify(epoch, Messages.INVALID_BLOB, body, bitmap, signature);
        isInvalid[blobId] = true;
        emit BlobInvalidated(blobId, epoch);
    }

    /// @inheritdoc Governed
    function isPausable(bytes4 selector) public pure override returns (bool) {
        return selector == this.reserve.selector || selector == this.register.selector
            || selector == this.reserveAndRegister.selector || selector == this.certify.selector
            || selector == this.certifyMany.selector;
    }

    /// @dev Marks an object as certified, if it is not marked yet; its certificate is verified after that. Returns the body
    /// that its signers signed.
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

    /// @dev Reverts when the sender has registered the blob after its look at the chain. Its endpoint may have shown an old
    /// block, and without this check the sender would pay twice.
    function _requireNoNewer(bytes32 root, uint64 length, bool deletable, uint256 knownUpTo) private view {
        for (uint256 id = blobCount; id > knownUpTo; --id) {
            Blob storage blob_ = _blobs[id];
            if (
                blob_.root == root && blob_.owner == msg.sender && blob_.length == length
                    && blob_.deletable == deletable && blob_.endPeriod > committee.period()
            ) revert RegisteredMeanwhile(id);
        }
    }

    /// @dev The sender's object, in space of `size` bytes up to `endPeriod`.
    function _register(bytes32 root, uint64 length, uint8 encodingType, uint64 size, uint32 endPeriod, bool deletable)
        private
        returns (uint256 objectId)
    {
        if (encodingType != RedStuff.ENCODING_TYPE) revert UnknownEncoding(encodingType);
        uint256 blobId = BlobId.toInteger(BlobId.compute(encodingType, length, root));
        if (isInvalid[blobId]) revert InvalidBlob(blobId);
        uint32 epoch = committee.epoch();
        objectId = _add(
            Blob({
                root: root,
                owner: msg.sender,
                registeredEpoch: epoch,
                certifiedEpoch: 0,
                endPeriod: endPeriod,
                length: length,
                size: size,
                place: 0,
                encodingType: encodingType,
                deletable: deletable
            })
        );
        emit BlobRegistered(objectId, blobId, msg.sender, epoch, root, length, size, encodingType, endPeriod, deletable);
    }

    /// @dev A certified blob that lives and can be paid for.
    function _extendable(uint256 objectId) private view returns (Blob storage blob_, uint32 current) {
        blob_ = _existing(objectId);
        if (blob_.certifiedEpoch == 0) revert NotCertified(objectId);
        current = _checkLive(blob_.endPeriod);
        _requireRunning(current);
        uint256 blobId = _blobId(blob_);
        if (isInvalid[blobId]) revert InvalidBlob(blobId);
    }

    /// @dev Gives a certified blob another end.
    function _extend(uint256 objectId, uint32 endPeriod) private {
        _setEnd(objectId, endPeriod);
        Blob storage blob_ = _blobs[objectId];
        emit BlobCertified(objectId, _blobId(blob_), blob_.certifiedEpoch, endPeriod, blob_.deletable, true);
    }
}
