// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Committee} from "./Committee.sol";
import {Governed} from "./Governed.sol";
import {Staking} from "./Staking.sol";
import {RedStuff} from "./lib/RedStuff.sol";

/// @title Space to store in: what is left of it, what it costs, and who earns that.
/// @notice Space is reserved and paid for from the current period to an end period, exclusive, in mebibytes, begun or full.
/// What was paid for a period is shared out when it is over, by the parts that its members have earned (`Earnings`);
/// what nobody has earned is added to what was paid for the next. Reservation ids count from 1.
/// @dev Periods are closed in order. A part of a closed period is worth its payment divided by all parts there are,
/// rounded down, and its payment changes no more.
abstract contract Space is Governed {
    using SafeERC20 for IERC20;

    /// @notice Space until an end period, to be used by one blob.
    struct Reservation {
        address owner;
        uint64 size;
        uint32 endPeriod;
    }

    /// @notice What is reserved in a period, and paid for it.
    struct Account {
        /// @dev Mebibytes.
        uint64 reserved;
        /// @dev What users paid, and what was not earned in the periods before. Mebibytes of 2^64 bytes times prices of
        /// 80 bits fit.
        uint128 payment;
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

    /// @notice A reservation that no blob uses yet, bought or come back.
    event SpaceReserved(uint256 indexed resourceId, address indexed owner, uint64 size, uint32 endPeriod);
    /// @notice A blob object uses a reservation up.
    event SpaceUsed(uint256 indexed resourceId, uint256 indexed objectId);
    /// @notice Prices and capacity are others from now on.
    event TermsChanged(uint80 price, uint80 writePrice, uint64 capacity);
    /// @notice A period's payment is final: `part` is what each part earned is worth, `rest` is paid for the next period.
    event PeriodClosed(uint32 indexed period, uint256 payment, uint256 part, uint256 rest);
    /// @notice What a node earned in a period went to its pool.
    event PaidOut(uint32 indexed period, uint32 indexed nodeId, uint256 amount);
    /// @notice What was paid for the periods from `fromPeriod` on went back.
    event Refunded(address indexed owner, uint32 fromPeriod, uint32 endPeriod, uint256 amount);

    /// @notice Storage begins with the first epoch.
    error NoEpochYet();
    /// @notice From one period to `most` are possible.
    error InvalidPeriod(uint256 periodsAhead, uint256 most);
    /// @notice A reservation has at least one byte.
    error InvalidSize();
    /// @notice It costs more than the sender was ready to pay.
    error TooExpensive(uint256 cost, uint256 most);
    /// @notice Periods have come to a standstill, or the current one was closed when they had: nothing can be bought.
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
    /// @notice It ended with the start of `endPeriod`.
    error Expired(uint32 endPeriod);
    /// @notice All periods from the next one on are refunded, or none was paid for.
    error NothingToRefund();

    /// @notice How many periods, the current one included, space can be reserved for.
    uint32 public constant MAX_PERIODS_AHEAD = 53;

    uint256 private constant MEBIBYTE = 1 << 20;

    /// @notice Whose certificates count, and whose periods.
    Committee public immutable committee;
    /// @notice What storage is paid with.
    IERC20 public immutable token;
    /// @notice Where the members' votes on the terms are counted.
    address public immutable ballot;

    uint256 internal immutable _nShards;
    uint256 private immutable _parts; // that all members together earn at most

    /// @notice What the governor can change.
    Terms public terms;
    /// @notice How many reservations there have been on their own; their ids are 1 to this.
    uint128 public reservationCount;
    /// @notice The reservations that no blob uses yet.
    mapping(uint256 resourceId => Reservation) public reservations;
    /// @notice The first period that is not closed.
    uint32 public openPeriod;
    /// @notice What is reserved in a period, mebibytes, and paid for it.
    mapping(uint32 period => Account) public accounts;

    constructor(Committee committee_, IERC20 token_, Terms memory terms_, address ballot_) {
        if (address(committee_.staking().token()) != address(token_)) revert InvalidParameter("token");
        if (committee_.staking().payer() != address(this)) revert InvalidParameter("payer");
        committee = committee_;
        token = token_;
        ballot = ballot_;
        _nShards = committee_.nShards();
        _parts = committee_.nShards() * committee_.PARTS();
        _setTerms(terms_);
        token_.approve(address(committee_.staking()), type(uint256).max); // which takes the rewards that it is given
    }

    /// @notice Changes prices and capacity, for what is reserved and registered from now on. The governor, and the ballot
    /// by the members' votes.
    function setTerms(Terms calldata terms_) external {
        if (msg.sender != ballot && msg.sender != governor) revert NotGovernor(msg.sender);
        _setTerms(terms_);
    }

    /// @notice Reserves and pays space, from the current period on.
    /// @param encodedSize Bytes, as `quote` has them.
    /// @param periodsAhead How many periods, the current one included; 1 to 53.
    /// @param maxCost The most that it may cost.
    function reserve(uint64 encodedSize, uint32 periodsAhead, uint256 maxCost)
        external
        pausable
        returns (uint256 resourceId)
    {
        (uint32 current, uint32 endPeriod) = _span(periodsAhead);
        if (encodedSize == 0) revert InvalidSize();
        _pay(_book(encodedSize, current, endPeriod, 0), maxCost);
        return _keep(msg.sender, encodedSize, endPeriod);
    }

    /// @notice Pays nodes what they earned in their periods before `until` that are over and not settled, into their
    /// pools (`Staking.settle`), and closes these periods. When periods have come to a standstill, the current one counts
    /// as over. Anyone may; what is done is skipped.
    /// @param until The first period not to be paid; bounds the work.
    /// @return amount What all of them got.
    function payOut(uint32[] calldata nodeIds, uint32 until) external returns (uint256 amount) {
        uint32 payable_ = _payableUntil();
        uint32 end = until < payable_ ? until : payable_;
        uint32 open = openPeriod;
        for (; open < end; ++open) {
            _close(open);
        }
        openPeriod = open;
        for (uint256 i; i < nodeIds.length; ++i) {
            amount += _settle(nodeIds[i], end);
        }
    }

    /// @notice Gives the sender back, once periods have come to a standstill, what was paid for its reservation from the
    /// next period on: of each period's payment the part that it has of the space reserved then. (Space is split, joined
    /// and extended at other prices; so all that is reserved for a period is refunded alike.) The reservation ends with
    /// the current period.
    function refund(uint256 resourceId) external returns (uint256 amount) {
        Reservation storage space = reservations[resourceId];
        if (space.owner == address(0)) revert UnknownReservation(resourceId);
        if (space.owner != msg.sender) revert NotOwner(space.owner);
        uint32 endPeriod = space.endPeriod;
        space.endPeriod = _nextPeriod();
        amount = _refund(space.size, space.endPeriod, endPeriod);
    }

    /// @notice Those of the nodes for which a period that can be paid is not settled.
    function unpaid(uint32 period, uint32[] calldata nodeIds) external view returns (uint32[] memory found) {
        Staking staking = committee.staking();
        uint256 count = period < _payableUntil() ? nodeIds.length : 0;
        found = new uint32[](count);
        uint256 length;
        for (uint256 i; i < count; ++i) {
            if (staking.settledPeriod(nodeIds[i]) <= period) found[length++] = nodeIds[i];
        }
        assembly ("memory-safe") {
            mstore(found, length)
        }
    }

    /// @notice What a node earned in a period that is over and is still to be paid to it.
    function owed(uint32 period, uint32 nodeId) external view returns (uint256) {
        if (period >= _payableUntil()) revert NotOver(period);
        uint256 parts = committee.earnings(period, nodeId);
        if (period < committee.staking().settledPeriod(nodeId)) return 0;
        uint256 payment = accounts[period].payment;
        uint256 rest;
        for (uint32 open = openPeriod; open <= period; ++open) {
            payment = accounts[open].payment + rest;
            if (payment != 0) rest = payment - payment / _parts * committee.earned(open);
        }
        return payment / _parts * parts;
    }

    /// @notice What a blob of `length` bytes takes and costs.
    /// @return encodedSize Bytes, of all slivers and metadata on all shards.
    /// @return cost In the token's smallest unit, for `periodsAhead` periods and for registering it.
    function quote(uint64 length, uint32 periodsAhead) external view returns (uint64 encodedSize, uint256 cost) {
        encodedSize = RedStuff.encodedSize(_nShards, length);
        cost = _mebibytes(encodedSize) * (uint256(terms.price) * periodsAhead + terms.writePrice);
    }

    /// @dev The periods from the current one on, checked.
    function _span(uint32 periodsAhead) internal view returns (uint32 current, uint32 endPeriod) {
        current = committee.period();
        if (current == 0) revert NoEpochYet();
        _requireRunning(current);
        if (periodsAhead == 0 || periodsAhead > MAX_PERIODS_AHEAD) {
            revert InvalidPeriod(periodsAhead, MAX_PERIODS_AHEAD);
        }
        endPeriod = current + periodsAhead;
    }

    /// @dev A period that was closed as stalled can be paid, also when periods then go on.
    function _payableUntil() private view returns (uint32) {
        uint32 payable_ = committee.payableUntil();
        return payable_ < openPeriod ? openPeriod : payable_;
    }

    /// @dev What is paid when all that a period can pay is being paid would be nobody's.
    function _requireRunning(uint32 current) internal view {
        if (current < openPeriod || committee.isStalled()) revert Stalled();
    }

    /// @dev Enters capacity and payment for the periods from `first` to before `end`, and `fee` for the first of them.
    /// @return cost What is to be paid.
    function _book(uint64 size, uint32 first, uint32 end, uint256 fee) internal returns (uint256 cost) {
        Terms memory current = terms;
        uint256 space = _mebibytes(size);
        uint256 perPeriod = space * current.price;
        cost = perPeriod * (end - first) + fee;
        for (uint32 period = first; period < end; ++period) {
            Account memory account = accounts[period];
            uint256 reserved = account.reserved * MEBIBYTE;
            if (reserved + space * MEBIBYTE > current.capacity) {
                revert NoCapacity(period, current.capacity > reserved ? current.capacity - reserved : 0, size);
            }
            account.reserved += uint64(space);
            account.payment += uint128(perPeriod + fee);
            accounts[period] = account;
            fee = 0;
        }
    }

    /// @dev What registering a blob of this encoded size costs.
    function _writeFee(uint64 size) internal view returns (uint256) {
        return _mebibytes(size) * terms.writePrice;
    }

    /// @dev Enters a payment for the current period alone.
    function _bookFee(uint32 current, uint256 fee) internal {
        accounts[current].payment += uint128(fee);
    }

    function _pay(uint256 cost, uint256 maxCost) internal {
        if (cost > maxCost) revert TooExpensive(cost, maxCost);
        if (cost != 0) token.safeTransferFrom(msg.sender, address(this), cost);
    }

    /// @dev The first period that is refunded.
    function _nextPeriod() internal view returns (uint32) {
        if (!committee.isStalled()) revert NotStalled();
        return committee.period() + 1;
    }

    /// @dev Takes space out of the periods from `first` to before `end` and gives the sender what is paid for it.
    function _refund(uint64 size, uint32 first, uint32 end) internal returns (uint256 amount) {
        if (first >= end) revert NothingToRefund();
        uint64 space = uint64(_mebibytes(size));
        for (uint32 period = first; period < end; ++period) {
            Account memory account = accounts[period];
            uint128 back = uint128(uint256(account.payment) * space / account.reserved);
            accounts[period] = Account(account.reserved - space, account.payment - back);
            amount += back;
        }
        emit Refunded(msg.sender, first, end, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @dev Pays a node for its periods before `end` that are not settled, all of them closed.
    function _settle(uint32 nodeId, uint32 end) private returns (uint256 amount) {
        Staking staking = committee.staking();
        uint32 first = staking.settledPeriod(nodeId);
        if (first >= end) return 0;
        uint256[] memory amounts = new uint256[](end - first);
        for (uint32 period = first; period < end; ++period) {
            uint256 part = accounts[period].payment / _parts;
            if (part == 0) continue;
            uint256 earned = part * committee.earnings(period, nodeId);
            if (earned == 0) continue;
            amounts[period - first] = earned;
            amount += earned;
            emit PaidOut(period, nodeId, earned);
        }
        staking.settle(nodeId, amounts);
    }

    /// @dev Makes a period's payment final; what is not earned of it is paid for the next.
    function _close(uint32 period) private {
        uint256 payment = accounts[period].payment;
        if (payment == 0) return;
        uint256 part = payment / _parts;
        uint256 rest = payment - part * committee.earned(period);
        accounts[period + 1].payment += uint128(rest);
        emit PeriodClosed(period, payment, part, rest);
    }

    function _keep(address owner, uint64 size, uint32 endPeriod) internal returns (uint256 resourceId) {
        resourceId = ++reservationCount;
        reservations[resourceId] = Reservation({owner: owner, size: size, endPeriod: endPeriod});
        emit SpaceReserved(resourceId, owner, size, endPeriod);
    }

    /// @dev What space costs for some periods, by today's terms.
    function _price(uint64 size, uint32 periods) internal view returns (uint256) {
        return _mebibytes(size) * terms.price * periods;
    }

    function _mebibytes(uint64 size) private pure returns (uint256) {
        return (uint256(size) + MEBIBYTE - 1) / MEBIBYTE;
    }

    function _setTerms(Terms memory terms_) private {
        if (terms_.price == 0) revert InvalidParameter("price");
        terms = terms_;
        emit TermsChanged(terms_.price, terms_.writePrice, terms_.capacity);
    }
}
