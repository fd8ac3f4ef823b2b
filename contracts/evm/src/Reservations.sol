// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Space} from "./Space.sol";
import {ISpace} from "./interfaces/ISpace.sol";

/// @title Reservations of space: bought, given on, split and joined.
/// @dev A reservation is whole mebibytes in each of its periods, just what is booked for it there. Splitting and joining
/// move no booking and no payment: the mebibytes in each period are the same before and after, so no owner gains or loses
/// space, nor what is refunded at a standstill but for a unit that rounding leaves to the other owners.
abstract contract Reservations is Space {
    /// @inheritdoc ISpace
    uint128 public reservationCount;
    /// @inheritdoc ISpace
    mapping(uint256 resourceId => Reservation) public reservations;

    /// @inheritdoc ISpace
    function reserve(uint64 encodedSize, uint32 periodsAhead, uint256 maxCost)
        external
        pausable
        returns (uint256 resourceId)
    {
        (uint32 current, uint32 endPeriod) = _span(periodsAhead);
        if (encodedSize == 0) revert InvalidSize();
        _pay(_book(encodedSize, current, endPeriod, 0), maxCost);
        return _keep(Reservation(msg.sender, _whole(encodedSize), current, endPeriod));
    }

    /// @inheritdoc ISpace
    function transferReservation(uint256 resourceId, address to) external {
        Reservation memory space = _ownReservation(resourceId);
        if (to == address(0)) revert InvalidOwner();
        space.owner = to;
        _change(resourceId, space);
    }

    /// @inheritdoc ISpace
    function splitBySize(uint256 resourceId, uint64 size) external returns (uint256 newId) {
        Reservation memory space = _ownReservation(resourceId);
        if (size == 0 || size >= space.size || size % MEBIBYTE != 0) revert InvalidSize();
        newId = _keep(Reservation(space.owner, space.size - size, space.startPeriod, space.endPeriod));
        space.size = size;
        _change(resourceId, space);
    }

    /// @inheritdoc ISpace
    function splitByPeriod(uint256 resourceId, uint32 period) external returns (uint256 newId) {
        Reservation memory space = _ownReservation(resourceId);
        if (period <= space.startPeriod || period >= space.endPeriod) {
            revert NotWithin(period, space.startPeriod, space.endPeriod);
        }
        newId = _keep(Reservation(space.owner, space.size, period, space.endPeriod));
        space.endPeriod = period;
        _change(resourceId, space);
    }

    /// @inheritdoc ISpace
    function merge(uint256 resourceId, uint256 otherId) external {
        Reservation memory space = _ownReservation(resourceId);
        Reservation memory other = _ownReservation(otherId);
        if (resourceId == otherId) revert NotAdjoining(otherId);
        if (space.startPeriod == other.startPeriod && space.endPeriod == other.endPeriod) {
            space.size += other.size;
        } else if (space.size == other.size && space.endPeriod == other.startPeriod) {
            space.endPeriod = other.endPeriod;
        } else if (space.size == other.size && other.endPeriod == space.startPeriod) {
            space.startPeriod = other.startPeriod;
        } else {
            revert NotAdjoining(otherId);
        }
        delete reservations[otherId];
        emit ReservationMerged(otherId, resourceId);
        _change(resourceId, space);
    }

    /// @inheritdoc ISpace
    function refund(uint256 resourceId) external returns (uint256 amount) {
        Reservation memory space = reservations[resourceId];
        _requireOwn(resourceId, space);
        (uint32 next, uint32 endPeriod) = (_nextPeriod(), space.endPeriod);
        uint32 first = next > space.startPeriod ? next : space.startPeriod;
        _shorten(resourceId, space, first, 0);
        amount = _refund(space.size, first, endPeriod);
    }

    /// @inheritdoc ISpace
    function reservationsOf(address owner, uint256 cursor, uint256 count)
        external
        view
        returns (ReservationView[] memory page, uint256 next)
    {
        uint256 first = cursor == 0 ? 1 : cursor;
        uint256 left = first > reservationCount ? 0 : reservationCount - first + 1;
        if (count < left) (left, next) = (count, first + count);
        page = new ReservationView[](left);
        uint32 current = committee.period();
        uint256 length;
        for (uint256 id = first; id < first + left; ++id) {
            Reservation memory space = reservations[id];
            if (space.owner != owner || space.endPeriod <= current) continue;
            page[length++] = ReservationView(id, owner, space.size, space.startPeriod, space.endPeriod);
        }
        assembly ("memory-safe") {
            mstore(page, length)
        }
    }

    /// @dev The sender's reservation, without the periods that are past. Something must be left of it.
    function _ownReservation(uint256 resourceId) internal view returns (Reservation memory space) {
        space = reservations[resourceId];
        _requireOwn(resourceId, space);
        uint32 current = _checkLive(space.endPeriod);
        if (space.startPeriod < current) space.startPeriod = current;
    }

    /// @dev Keeps what is left of a reservation of which a blob takes, or a refund, the periods from `endPeriod` on.
    function _shorten(uint256 resourceId, Reservation memory space, uint32 endPeriod, uint256 objectId) internal {
        if (space.startPeriod == endPeriod) {
            delete reservations[resourceId];
            emit ReservationUsed(resourceId, objectId);
        } else {
            space.endPeriod = endPeriod;
            _change(resourceId, space);
        }
    }

    /// @dev A new reservation.
    function _keep(Reservation memory space) internal returns (uint256 resourceId) {
        resourceId = ++reservationCount;
        _change(resourceId, space);
    }

    /// @dev A size in bytes as it is booked: whole mebibytes. Whatever was booked fits.
    function _whole(uint64 size) internal pure returns (uint64) {
        return uint64(_mebibytes(size) * MEBIBYTE);
    }

    function _change(uint256 resourceId, Reservation memory space) private {
        reservations[resourceId] = space;
        emit ReservationChanged(resourceId, space.owner, space.size, space.startPeriod, space.endPeriod);
    }

    function _requireOwn(uint256 resourceId, Reservation memory space) private view {
        if (space.owner == address(0)) revert UnknownReservation(resourceId);
        if (space.owner != msg.sender) revert NotOwner(space.owner);
    }
}
