// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ISpace} from "./ISpace.sol";

/// @title Blob objects.
/// @notice A blob object uses up a reservation; it is registered, and certified once a quorum of the committee holds
/// the blob. Several objects may name one blob; each has its own owner and lifetime. Object ids count from 1. End
/// periods are exclusive.
interface IBlobs is ISpace {
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
        /// @dev Bytes of the space that it takes: whole mebibytes.
        uint64 size;
        uint8 encodingType;
        address owner;
        uint32 registeredEpoch;
        /// @dev The epoch of the committee that certified it; 0 if none has.
        uint32 certifiedEpoch;
        uint32 endPeriod;
        bool deletable;
        Status status;
    }

    /// @notice A blob object exists; its slivers may be uploaded.
    event BlobRegistered(
        uint256 indexed objectId,
        uint256 indexed blobId,
        address indexed owner,
        uint32 epoch,
        bytes32 root,
        uint64 length,
        uint64 size,
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
    /// @notice A blob object belongs to another account.
    event BlobTransferred(uint256 indexed objectId, address indexed from, address indexed to);
    /// @notice The owner gave up a deletable blob object, or was refunded for one that was not certified.
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
    /// @notice The sender has a newer object of the blob than those it knows of, of the same kind, and it lives.
    error RegisteredMeanwhile(uint256 objectId);
    /// @notice The object's end is not the one that the sender knows of.
    error EndMoved(uint32 endPeriod);

    /// @notice How many blob objects there have been; their ids are 1 to this.
    function blobCount() external view returns (uint128);

    /// @notice Whether a blob is known to be encoded inconsistently.
    function isInvalid(uint256 blobId) external view returns (bool);

    /// @notice Registers a blob in space that the sender has reserved, and pays for the writing.
    /// @param root Of the Merkle tree over the sliver pairs' roots.
    /// @param length Bytes of the blob as it is, not encoded.
    /// @param encodingType 1.
    /// @param deletable Whether the owner may delete the blob before its end.
    /// @param knownUpTo `blobCount` when the sender looked for its objects of the blob. Reverts if one that lives, and is
    /// as deletable, was registered since, so that nothing is paid twice; `type(uint256).max` registers all the same. Each
    /// object since, anybody's, costs some 2300 gas.
    /// @param maxCost The most that the writing may cost.
    function register(
        uint256 resourceId,
        bytes32 root,
        uint64 length,
        uint8 encodingType,
        bool deletable,
        uint256 knownUpTo,
        uint256 maxCost
    ) external returns (uint256 objectId);

    /// @notice Reserves just the space that a blob needs and registers it there.
    /// @dev Parameters as in `reserve` and `register`.
    function reserveAndRegister(
        bytes32 root,
        uint64 length,
        uint8 encodingType,
        uint32 periodsAhead,
        bool deletable,
        uint256 knownUpTo,
        uint256 maxCost
    ) external returns (uint256 objectId);

    /// @notice Certifies that a quorum holds the blob: it must stay readable until its end. Anyone may.
    /// @param epoch The certificate's: one of which certificates count (`Epochs.accepts`).
    /// @param bitmap The signers, as in `Committee.verify`.
    /// @param signature Of all signers over the message of intent 1.
    function certify(uint256 objectId, uint32 epoch, bytes calldata bitmap, bytes calldata signature) external;

    /// @notice Certifies several blobs that all have the same signers; those that are certified already stay as they are.
    /// Anyone may.
    /// @param signature Aggregate of all signers' over the messages of all blobs.
    function certifyMany(uint256[] calldata objectIds, uint32 epoch, bytes calldata bitmap, bytes calldata signature)
        external;

    /// @notice Gives the sender's blob object, while it lives, to another owner.
    function transferBlob(uint256 objectId, address to) external;

    /// @notice Reserves and pays more periods for a certified blob, while it lives. Any account may pay; what is
    /// added belongs to the owner.
    /// @param periods How many more; its new end is at most 53 periods ahead.
    /// @param knownEnd The end that the sender knows of. Reverts when it is another by now, so that nothing is paid twice.
    /// @param maxCost The most that they may cost.
    function extend(uint256 objectId, uint32 periods, uint32 knownEnd, uint256 maxCost) external;

    /// @notice Extends a certified blob, anybody's, while it lives, to the end of a reservation of the sender's: of the
    /// blob's size, and for all periods from the blob's end on. What it has before that end stays the sender's.
    function extendWith(uint256 objectId, uint256 resourceId) external;

    /// @notice Deletes a deletable blob of the sender's while it lives. The space comes back as a reservation.
    function remove(uint256 objectId) external returns (uint256 resourceId);

    /// @notice Gives the sender back, once periods have come to a standstill, what was paid for its blob from the next
    /// period on, as `refund` does for a reservation. A certified blob ends with the current period; one that is not is
    /// deleted.
    function refundBlob(uint256 objectId) external returns (uint256 amount);

    /// @notice What `extend` would cost now.
    function extensionCost(uint256 objectId, uint32 periods) external view returns (uint256);

    /// @notice Marks a blob as encoded inconsistently. Anyone may, with the certificate of members of whom at least one
    /// is correct. Nobody has to keep it any longer, and it cannot be registered or certified again.
    /// @param blobId The id as an integer.
    function invalidate(uint256 blobId, uint32 epoch, bytes calldata bitmap, bytes calldata signature) external;

    /// @notice One blob object. Reverts for an id that has never been.
    function blob(uint256 objectId) external view returns (BlobView memory);

    /// @notice Blob objects by ascending id, a page of them.
    /// @param cursor The first id; 0 begins like 1.
    /// @param count The most objects on the page.
    /// @return page The objects, deleted and expired ones among them.
    /// @return next Where the next page begins, 0 at the end.
    function blobs(uint256 cursor, uint256 count) external view returns (BlobView[] memory page, uint256 next);

    /// @notice The blob objects that are neither deleted nor expired, by end period, a page of them. All pages of one
    /// block together are each of them once. Pages of several blocks show each object that lived all the while at least
    /// once, but for one that a refund at a standstill gave another end meanwhile.
    /// @param cursor 0 for the first page, else what the page before named.
    /// @param count The most objects on the page.
    /// @return page The objects, those of invalid blobs among them.
    /// @return next The cursor of the next page, 0 at the end.
    function liveBlobs(uint256 cursor, uint256 count) external view returns (BlobView[] memory page, uint256 next);

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
        returns (uint256 objectId, uint256 next);
}
