// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Committee} from "./Committee.sol";
import {Governed} from "./Governed.sol";
import {RedStuff} from "./lib/RedStuff.sol";

/// @title Space to store in: what is left of it, what it costs, and who earns that.
/// @notice Space is reserved and paid for from the current epoch to an end epoch, exclusive. What was paid for an epoch
/// is shared out, when it is over, among its members by the shards that they kept or attested; each share is paid out
/// on demand. Reservation ids count from 1.
abstract contract Space is Governed {
    using SafeERC20 for IERC20;

    /// @notice Space until an end epoch, to be used by one blob.
    struct Reservation {
        address owner;
        uint64 size;
        uint32 endEpoch;
    }

    /// @notice What is reserved in an epoch, and paid for it.
    struct Account {
        /// @dev Bytes.
        uint64 reserved;
        /// @dev Mebibytes of 2^64 bytes times prices of 80 bits fit.
        uint128 payment;
    }

    /// @notice What the governor can change.
    struct Terms {
        /// @dev Price of a mebibyte of encoded size, begun or full, for one epoch.
        uint80 price;
        /// @dev Price of a mebibyte of encoded size, begun or full, for registering a blob.
        uint80 writePrice;
        /// @dev Bytes of encoded size that can be reserved in one epoch.
        uint64 capacity;
    }

    /// @notice A reservation that no blob uses yet, bought or come back.
    event SpaceReserved(uint256 indexed resourceId, address indexed owner, uint64 size, uint32 endEpoch);
    /// @notice A blob object uses a reservation up.
    event SpaceUsed(uint256 indexed resourceId, uint256 indexed objectId);
    /// @notice Prices and capacity are others from now on.
    event TermsChanged(uint80 price, uint80 writePrice, uint64 capacity);
    /// @notice A node's part of what was paid for an epoch went to its pool.
    event PaidOut(uint32 indexed epoch, uint32 indexed nodeId, uint256 amount);

    /// @notice Storage begins with the first epoch.
    error NoEpochYet();
    /// @notice From one epoch to `most` are possible.
    error InvalidPeriod(uint256 epochsAhead, uint256 most);
    /// @notice A reservation has at least one byte.
    error InvalidSize();
    /// @notice The epoch has too little space left.
    error NoCapacity(uint32 epoch, uint256 free, uint256 wanted);
    /// @notice There is no such reservation, or a blob uses it.
    error UnknownReservation(uint256 resourceId);
    /// @notice Only the owner may.
    error NotOwner(address owner);
    /// @notice It ended with the start of `endEpoch`.
    error Expired(uint32 endEpoch);
    /// @notice The node has earned nothing in the epoch, or has been paid.
    error NothingToPay(uint32 epoch, uint32 nodeId);

    /// @notice How many epochs, the current one included, space can be reserved for.
    uint32 public constant MAX_EPOCHS_AHEAD = 53;

    uint256 private constant MEBIBYTE = 1 << 20;

    /// @notice Whose certificates count, and whose epochs.
    Committee public immutable committee;
    /// @notice What storage is paid with.
    IERC20 public immutable token;

    uint256 internal immutable _nShards;

    /// @notice What the governor can change.
    Terms public terms;
    /// @notice How many reservations there have been on their own; their ids are 1 to this.
    uint128 public reservationCount;
    /// @notice The reservations that no blob uses yet.
    mapping(uint256 resourceId => Reservation) public reservations;
    /// @notice What is reserved in an epoch, bytes, and paid for it.
    mapping(uint32 epoch => Account) public accounts;
    /// @notice Whether a node has been paid for an epoch.
    mapping(uint32 epoch => mapping(uint32 nodeId => bool)) public isPaid;

    constructor(Committee committee_, IERC20 token_, Terms memory terms_) {
        if (address(committee_.staking().token()) != address(token_)) revert InvalidParameter("token");
        committee = committee_;
        token = token_;
        _nShards = committee_.nShards();
        _setTerms(terms_);
        token_.approve(address(committee_.staking()), type(uint256).max); // which takes the rewards that it is given
    }

    /// @notice Changes prices and capacity, for what is reserved and registered from now on. Governor only.
    function setTerms(Terms calldata terms_) external onlyGovernor {
        _setTerms(terms_);
    }

    /// @notice Reserves and pays space, from the current epoch on.
    /// @param encodedSize Bytes, as `quote` has them.
    /// @param epochsAhead How many epochs, the current one included; 1 to 53.
    function reserve(uint64 encodedSize, uint32 epochsAhead) external pausable returns (uint256 resourceId) {
        (uint32 current, uint32 endEpoch) = _period(epochsAhead);
        if (encodedSize == 0) revert InvalidSize();
        _pay(_book(encodedSize, current, endEpoch, 0));
        return _keep(msg.sender, encodedSize, endEpoch);
    }

    /// @notice Pays a node its part of what was paid for an epoch that is over, into its pool. Anyone may, once.
    function payOut(uint32 epoch, uint32 nodeId) external returns (uint256 amount) {
        (uint256 earning, uint256 all) = committee.earnings(epoch, nodeId);
        if (earning != 0 && !isPaid[epoch][nodeId]) amount = accounts[epoch].payment * earning / all;
        if (amount == 0) revert NothingToPay(epoch, nodeId);
        isPaid[epoch][nodeId] = true;
        emit PaidOut(epoch, nodeId, amount);
        committee.staking().reward(nodeId, epoch, amount);
    }

    /// @notice What a blob of `length` bytes takes and costs.
    /// @return encodedSize Bytes, of all slivers and metadata on all shards.
    /// @return cost In the token's smallest unit, for `epochsAhead` epochs and for registering it.
    function quote(uint64 length, uint32 epochsAhead) external view returns (uint64 encodedSize, uint256 cost) {
        encodedSize = RedStuff.encodedSize(_nShards, length);
        cost = _mebibytes(encodedSize) * (uint256(terms.price) * epochsAhead + terms.writePrice);
    }

    /// @dev The epochs from the current one on, checked.
    function _period(uint32 epochsAhead) internal view returns (uint32 current, uint32 endEpoch) {
        current = committee.epoch();
        if (current == 0) revert NoEpochYet();
        if (epochsAhead == 0 || epochsAhead > MAX_EPOCHS_AHEAD) revert InvalidPeriod(epochsAhead, MAX_EPOCHS_AHEAD);
        endEpoch = current + epochsAhead;
    }

    /// @dev Enters capacity and payment for the epochs from `first` to before `end`, and `fee` for the first of them.
    /// @return cost What is to be paid.
    function _book(uint64 size, uint32 first, uint32 end, uint256 fee) internal returns (uint256 cost) {
        Terms memory current = terms;
        uint256 perEpoch = _mebibytes(size) * current.price;
        cost = perEpoch * (end - first) + fee;
        for (uint32 epoch = first; epoch < end; ++epoch) {
            Account memory account = accounts[epoch];
            uint256 reserved = uint256(account.reserved) + size;
            if (reserved > current.capacity) {
                uint256 free = current.capacity > account.reserved ? current.capacity - account.reserved : 0;
                revert NoCapacity(epoch, free, size);
            }
            account.reserved = uint64(reserved);
            account.payment += uint128(perEpoch + fee);
            accounts[epoch] = account;
            fee = 0;
        }
    }

    /// @dev What registering a blob of this encoded size costs.
    function _writeFee(uint64 size) internal view returns (uint256) {
        return _mebibytes(size) * terms.writePrice;
    }

    /// @dev Enters a payment for the current epoch alone.
    function _bookFee(uint32 current, uint256 fee) internal {
        accounts[current].payment += uint128(fee);
    }

    function _pay(uint256 cost) internal {
        if (cost != 0) token.safeTransferFrom(msg.sender, address(this), cost);
    }

    function _keep(address owner, uint64 size, uint32 endEpoch) internal returns (uint256 resourceId) {
        resourceId = ++reservationCount;
        reservations[resourceId] = Reservation({owner: owner, size: size, endEpoch: endEpoch});
        emit SpaceReserved(resourceId, owner, size, endEpoch);
    }

    function _mebibytes(uint64 size) private pure returns (uint256) {
        return (uint256(size) + MEBIBYTE - 1) / MEBIBYTE;
    }

    function _setTerms(Terms memory terms_) private {
        terms = terms_;
        emit TermsChanged(terms_.price, terms_.writePrice, terms_.capacity);
    }
}
