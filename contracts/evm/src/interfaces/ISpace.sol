// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title Space to store in: what is left of it, what it costs, who has reserved it, and who earns that.
/// @notice Space is reserved and paid for from the current period to an end period, exclusive, in whole mebibytes.
/// What was paid for a period is shared out when it is over, by the parts that its members have earned (`Earnings`);
/// what no member has earned is shared out with the next one. Reservation ids count from 1.
interface ISpace {
    /// @notice Space from a start period to an end period, exclusive, to be used by one blob.
    struct Reservation {
        address owner;
        /// @dev Bytes: whole mebibytes, as they are booked and paid.
        uint64 size;
        uint32 startPeriod;
        uint32 endPeriod;
    }

    /// @notice A reservation with its id.
    struct ReservationView {
        uint256 resourceId;
        address owner;
        uint64 size;
        uint32 startPeriod;
        uint32 endPeriod;
    }

    /// @notice What the members vote on, and the governor can change.
    struct Terms {
        /// @dev Price of a mebibyte of encoded size, begun or full, for one period; above 0.
        uint80 price;
        /// @dev Price of a mebibyte of encoded size, begun or full, for registering a blob.
        uint80 writePrice;
        /// @dev Bytes of encoded size that can be reserved in one period.
        uint64 capacity;
    }

    /// @notice A reservation has these values from now on: bought, come back from a deleted blob, or changed.
    event ReservationChanged(
        uint256 indexed resourceId, address indexed owner, uint64 size, uint32 startPeriod, uint32 endPeriod
    );
    /// @notice A blob object uses a reservation up; 0 where it was refunded before it began.
    event ReservationUsed(uint256 indexed resourceId, uint256 indexed objectId);
    /// @notice A reservation is part of another one from now on.
    event ReservationMerged(uint256 indexed resourceId, uint256 indexed intoId);
    /// @notice `mebibytes` more are reserved in each period from `startPeriod` to before `endPeriod`, for `perPeriod`
    /// each; and `fee` is paid besides for `startPeriod`.
    event Paid(
        address indexed payer, uint32 startPeriod, uint32 endPeriod, uint64 mebibytes, uint256 perPeriod, uint256 fee
    );
    /// @notice Prices and capacity are others from now on.
    event TermsChanged(uint80 price, uint80 writePrice, uint64 capacity);
    /// @notice A period's payment is final: `part` is what each part earned is worth, `rest` is shared
    /// out with the next period.
    event PeriodClosed(uint32 indexed period, uint256 payment, uint256 part, uint256 rest);
    /// @notice What a node earned in a period went to its pool.
    event PaidOut(uint32 indexed period, uint32 indexed nodeId, uint256 amount);
    /// @notice `mebibytes` are not reserved any more from `startPeriod` to before `endPeriod`, and `amount` went back: of
    /// each period's payment the part that they were of what was reserved, rounded down.
    event Refunded(address indexed owner, uint32 startPeriod, uint32 endPeriod, uint64 mebibytes, uint256 amount);

    /// @notice Storage begins with the first epoch.
    error NoEpochYet();
    /// @notice From one period to `most` are possible.
    error InvalidPeriod(uint256 periodsAhead, uint256 most);
    /// @notice A reservation has at least one byte; one that is split, whole mebibytes on both sides.
    error InvalidSize();
    /// @notice It costs more than the sender was ready to pay.
    error TooExpensive(uint256 cost, uint256 most);
    /// @notice The next period is late by half of what it takes to stall, or the current one was closed as stalled:
    /// nothing can be bought. What is paid for can be used until periods have come to a standstill.
    error Stalled();
    /// @notice The period cannot be paid yet.
    error NotOver(uint32 period);
    /// @notice Only when periods have come to a standstill.
    error NotStalled();
    /// @notice The period has too little space left, in bytes.
    error NoCapacity(uint32 period, uint256 free, uint256 wanted);
    /// @notice There is no such reservation, or a blob uses it.
    error UnknownReservation(uint256 resourceId);
    /// @notice Only the owner may.
    error NotOwner(address owner);
    /// @notice Nobody is the zero address.
    error InvalidOwner();
    /// @notice It ended with the start of `endPeriod`.
    error Expired(uint32 endPeriod);
    /// @notice It begins with `startPeriod`.
    error NotBegun(uint32 startPeriod);
    /// @notice The period is not within those that are left of the reservation.
    error NotWithin(uint32 period, uint32 startPeriod, uint32 endPeriod);
    /// @notice The reservation does not go on where the other thing ends: another size, or other periods.
    error NotAdjoining(uint256 resourceId);
    /// @notice All periods from the next one on are refunded, or none was paid for.
    error NothingToRefund();

    /// @notice How many periods, the current one included, space can be reserved for.
    function MAX_PERIODS_AHEAD() external view returns (uint32);

    /// @notice What storage is paid with.
    function token() external view returns (IERC20);

    /// @notice What the members vote on, and the governor can change.
    function terms() external view returns (uint80 price, uint80 writePrice, uint64 capacity);

    /// @notice How many reservations there have been on their own; their ids are 1 to this.
    function reservationCount() external view returns (uint128);

    /// @notice A reservation that no blob uses; all zero for others.
    function reservations(uint256 resourceId)
        external
        view
        returns (address owner, uint64 size, uint32 startPeriod, uint32 endPeriod);

    /// @notice An account's reservations that have not ended, among `count` ids from `cursor` on.
    /// @param cursor The first id; 0 begins like 1.
    /// @param count The most ids to look at.
    /// @return page The reservations, by ascending id.
    /// @return next Where to go on, 0 at the end.
    function reservationsOf(address owner, uint256 cursor, uint256 count)
        external
        view
        returns (ReservationView[] memory page, uint256 next);

    /// @notice The first period that is not closed.
    function openPeriod() external view returns (uint32);

    /// @notice What no member earned of the closed periods. It is shared out with the open one and never refunded.
    function unearned() external view returns (uint128);

    /// @notice What is reserved in a period, mebibytes, and paid for it; for a closed one with what was not earned before.
    function accounts(uint32 period) external view returns (uint64 reserved, uint128 payment);

    /// @notice Changes prices and capacity, for what is reserved and registered from now on. The governor, and the ballot
    /// by the members' votes.
    function setTerms(Terms calldata terms_) external;

    /// @notice Lets the contract take `value` of the sender's tokens, by the sender's signature (EIP-2612): in one
    /// transaction with what is paid for, by `multicall`. Anybody who sees the signature can post it to the token first,
    /// and then the allowance is there: so a signature that does not count reverts nothing here.
    function permit(uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice Reserves and pays space, from the current period on.
    /// @param encodedSize Bytes, as `quote` has them; reserved are whole mebibytes.
    /// @param periodsAhead How many periods, the current one included; 1 to 53.
    /// @param maxCost The most that it may cost.
    function reserve(uint64 encodedSize, uint32 periodsAhead, uint256 maxCost) external returns (uint256 resourceId);

    /// @notice Gives the sender's reservation to another owner.
    function transferReservation(uint256 resourceId, address to) external;

    /// @notice Splits the sender's reservation in two for the same periods: it keeps `size` bytes, whole mebibytes.
    /// @return newId The sender's reservation of the other bytes.
    function splitBySize(uint256 resourceId, uint64 size) external returns (uint256 newId);

    /// @notice Splits the sender's reservation in two of the same size: it keeps the periods before `period`.
    /// @return newId The sender's reservation of `period` and what follows.
    function splitByPeriod(uint256 resourceId, uint32 period) external returns (uint256 newId);

    /// @notice Joins two of the sender's reservations, of which the first one stays: two of one size whose periods
    /// adjoin, or two for the same periods. What is past of either does not count.
    function merge(uint256 resourceId, uint256 otherId) external;

    /// @notice Gives the sender back, once periods have come to a standstill, what was paid for its reservation from the
    /// next period on: of each period's payment the part that it has of the space reserved then. (Space is split, joined
    /// and extended at other prices; so all that is reserved for a period is refunded alike.) The reservation ends with
    /// the current period.
    function refund(uint256 resourceId) external returns (uint256 amount);

    /// @notice Pays nodes what they earned in their periods before `until` that are over and not settled, into their
    /// pools (`Staking.settle`), and closes these periods. When periods have come to a standstill, the current one counts
    /// as over. Anyone may; what is done is skipped.
    /// @param until The first period not to be paid; bounds the work.
    /// @return amount What all of them got.
    function payOut(uint32[] calldata nodeIds, uint32 until) external returns (uint256 amount);

    /// @notice Those of the nodes for which a period that can be paid is not settled.
    function unpaid(uint32 period, uint32[] calldata nodeIds) external view returns (uint32[] memory found);

    /// @notice What a node earned in a period that is over and is still to be paid to it.
    function owed(uint32 period, uint32 nodeId) external view returns (uint256);

    /// @notice What a blob of `length` bytes takes and costs.
    /// @return encodedSize Bytes, of all slivers and metadata on all shards.
    /// @return cost In the token's smallest unit, for `periodsAhead` periods and for registering it.
    function quote(uint64 length, uint32 periodsAhead) external view returns (uint64 encodedSize, uint256 cost);
}
