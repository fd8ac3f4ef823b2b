// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Committee} from "./Committee.sol";
import {Governed} from "./Governed.sol";
import {ISpace} from "./interfaces/ISpace.sol";
import {IStaking} from "./interfaces/IStaking.sol";
import {RedStuff} from "./lib/RedStuff.sol";

/// @title Space to store in: what is left of it, what it costs, and who earns that.
/// @dev `ISpace` says what it does. Periods are closed in order. A part of a closed period is worth its payment divided
/// by all parts there are, rounded down, and its payment changes no more.
abstract contract Space is ISpace, Governed {
    using SafeERC20 for IERC20;

    /// @notice What is reserved in a period, and paid for it.
    struct Account {
        /// @dev Mebibytes.
        uint64 reserved;
        /// @dev What users paid; of a closed period also what was not earned before it. Mebibytes of 2^64 bytes times
        /// prices of 80 bits fit.
        uint128 payment;
        /// @dev Blob objects for which it is the last period: here their number costs next to nothing.
        uint64 ending;
    }

    /// @inheritdoc ISpace
    uint32 public constant MAX_PERIODS_AHEAD = 53;

    uint256 internal constant MEBIBYTE = 1 << 20;

    /// @notice Whose certificates count, and whose periods.
    Committee public immutable committee;
    /// @inheritdoc ISpace
    IERC20 public immutable token;

    /// @notice Where the members' votes on the terms are counted.
    address public immutable ballot;

    uint256 internal immutable _nShards;
    uint256 private immutable _parts; // that all members together earn at most

    /// @inheritdoc ISpace
    Terms public terms;
    /// @inheritdoc ISpace
    uint32 public openPeriod;
    /// @inheritdoc ISpace
    uint128 public unearned;
    mapping(uint32 period => Account) internal _accounts;

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

    /// @inheritdoc ISpace
    function setTerms(Terms calldata terms_) external {
        if (msg.sender != ballot && msg.sender != governor) revert NotGovernor(msg.sender);
        _setTerms(terms_);
    }

    /// @inheritdoc ISpace
    function permit(uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        try IERC20Permit(address(token)).permit(msg.sender, address(this), value, deadline, v, r, s) {} catch {}
    }

    /// @inheritdoc ISpace
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

    /// @inheritdoc ISpace
    function unpaid(uint32 period, uint32[] calldata nodeIds) external view returns (uint32[] memory found) {
        IStaking staking = committee.staking();
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

    /// @inheritdoc ISpace
    function owed(uint32 period, uint32 nodeId) external view returns (uint256) {
        if (period >= _payableUntil()) revert NotOver(period);
        uint256 parts = committee.earnings(period, nodeId);
        if (period < committee.staking().settledPeriod(nodeId)) return 0;
        uint256 payment = _accounts[period].payment;
        uint256 rest = unearned;
        for (uint32 open = openPeriod; open <= period; ++open) {
            payment = _accounts[open].payment + rest;
            if (payment != 0) rest = payment - payment / _parts * committee.earned(open); // else there is none
        }
        return payment / _parts * parts;
    }

    /// @inheritdoc ISpace
    function accounts(uint32 period) external view returns (uint64 reserved, uint128 payment) {
        return (_accounts[period].reserved, _accounts[period].payment);
    }

    /// @inheritdoc ISpace
    function quote(uint64 length, uint32 periodsAhead) external view returns (uint64 encodedSize, uint256 cost) {
        encodedSize = RedStuff.encodedSize(_nShards, length);
        cost = _mebibytes(encodedSize) * (uint256(terms.price) * periodsAhead + terms.writePrice);
    }

    /// @dev The periods from the current one on, checked.
    function _span(uint32 periodsAhead) internal view returns (uint32 current, uint32 endPeriod) {
        current = committee.period();
        if (current == 0) revert NoEpochYet();
        _requireSelling(current);
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

    /// @dev Once a period is being paid out, a new payment for it would reach no node.
    function _requireRunning(uint32 current) internal view {
        if (current < openPeriod || committee.isStalled()) revert Stalled();
    }

    /// @dev What is bought shortly before a standstill would be given back with others' money.
    function _requireSelling(uint32 current) internal view {
        if (current < openPeriod || committee.isLate()) revert Stalled();
    }

    /// @dev The current period, in which something that ends with the start of `endPeriod` must live.
    function _checkLive(uint32 endPeriod) internal view returns (uint32 current) {
        current = committee.period();
        if (endPeriod <= current) revert Expired(endPeriod);
    }

    /// @dev Enters capacity and payment for the periods from `first` to before `end`, and `fee` for the first of them.
    /// @return cost What is to be paid.
    function _book(uint64 size, uint32 first, uint32 end, uint256 fee) internal returns (uint256 cost) {
        Terms memory current = terms;
        uint256 space = _mebibytes(size);
        uint256 perPeriod = space * current.price;
        cost = perPeriod * (end - first) + fee;
        emit Paid(msg.sender, first, end, uint64(space), perPeriod, fee);
        for (uint32 period = first; period < end; ++period) {
            Account memory account = _accounts[period];
            uint256 reserved = account.reserved * MEBIBYTE;
            if (reserved + space * MEBIBYTE > current.capacity) {
                revert NoCapacity(period, current.capacity > reserved ? current.capacity - reserved : 0, size);
            }
            account.reserved += uint64(space);
            account.payment += uint128(perPeriod + fee);
            _accounts[period] = account;
            fee = 0;
        }
    }

    /// @dev What registering a blob of this encoded size costs.
    function _writeFee(uint64 size) internal view returns (uint256) {
        return _mebibytes(size) * terms.writePrice;
    }

    /// @dev Enters a payment for the current period alone.
    function _bookFee(uint32 current, uint256 fee) internal {
        _accounts[current].payment += uint128(fee);
        emit Paid(msg.sender, current, current, 0, 0, fee);
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
            Account memory account = _accounts[period];
            uint128 back = uint128(uint256(account.payment) * space / account.reserved);
            (account.reserved, account.payment) = (account.reserved - space, account.payment - back);
            _accounts[period] = account;
            amount += back;
        }
        emit Refunded(msg.sender, first, end, space, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @dev Pays a node for its periods before `end` that are not settled, all of them closed.
    function _settle(uint32 nodeId, uint32 end) private returns (uint256 amount) {
        IStaking staking = committee.staking();
        uint32 first = staking.settledPeriod(nodeId);
        if (first >= end) return 0;
        uint256[] memory amounts = new uint256[](end - first);
        for (uint32 period = first; period < end; ++period) {
            uint256 part = _accounts[period].payment / _parts;
            if (part == 0) continue;
            uint256 earned = part * committee.earnings(period, nodeId);
            if (earned == 0) continue;
            amounts[period - first] = earned;
            amount += earned;
            emit PaidOut(period, nodeId, earned);
        }
        staking.settle(nodeId, amounts);
    }

    /// @dev Makes a period's payment final: what users paid for it, and what was not earned before. What is not earned of
    /// it waits for the next period to be closed, apart from what users paid for that one and may be given back.
    function _close(uint32 period) private {
        uint256 payment = _accounts[period].payment + unearned;
        _accounts[period].payment = uint128(payment);
        uint256 part = payment / _parts;
        uint256 rest = payment == 0 ? 0 : payment - part * committee.earned(period);
        unearned = uint128(rest);
        emit PeriodClosed(period, payment, part, rest);
    }

    /// @dev What space costs for some periods, by today's terms.
    function _price(uint64 size, uint32 periods) internal view returns (uint256) {
        return _mebibytes(size) * terms.price * periods;
    }

    /// @dev A size in bytes, begun mebibytes counted whole.
    function _mebibytes(uint64 size) internal pure returns (uint256) {
        return (uint256(size) + MEBIBYTE - 1) / MEBIBYTE;
    }

    function _setTerms(Terms memory terms_) private {
        if (terms_.price == 0) revert InvalidParameter("price");
        terms = terms_;
        emit TermsChanged(terms_.price, terms_.writePrice, terms_.capacity);
    }
}
