// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Blobs} from "src/Blobs.sol";
import {Committee} from "src/Committee.sol";
import {Governed} from "src/Governed.sol";
import {IBlobs} from "src/interfaces/IBlobs.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {Vm} from "test/Vm.sol";

/// @notice The state of space and blobs, by the events of the blobs' contract.
contract RebuiltState {
    struct Account {
        uint256 reserved;
        uint256 payment;
    }

    /// @dev What is not indexed of `BlobRegistered`.
    struct Registration {
        uint32 epoch;
        bytes32 root;
        uint64 length;
        uint64 size;
        uint8 encodingType;
        uint32 endPeriod;
        bool deletable;
    }

    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    ISpace.Terms private terms;
    uint256 private balance;
    uint256 private reservationCount;
    uint256 private blobCount;
    uint32 private openPeriod;
    uint256 private unearned;
    address private guardian;
    mapping(uint32 period => Account) private accounts;
    mapping(uint256 id => ISpace.Reservation) private reservations;
    mapping(uint256 id => IBlobs.BlobView) private blobs;
    mapping(uint256 blobId => bool) private isInvalid;
    mapping(bytes4 selector => uint256) private pausedUntil;

    /// @notice Takes in what a contract told, among logs in their order.
    function take(Vm.Log[] memory logs, address emitter) external {
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].emitter == emitter) _take(logs[i]);
        }
    }

    /// @notice Compares all that the contract shows, accounts before the period `end`.
    function compare(Blobs real, Committee committee, IERC20 token, uint32 end) external view {
        (uint80 price, uint80 writePrice, uint64 capacity) = real.terms();
        vm.assertEq(terms.price, price);
        vm.assertEq(terms.writePrice, writePrice);
        vm.assertEq(terms.capacity, capacity);
        vm.assertEq(openPeriod, real.openPeriod());
        vm.assertEq(unearned, real.unearned());
        vm.assertEq(balance, token.balanceOf(address(real)));
        vm.assertEq(guardian, real.guardian());
        bytes4 selector = real.reserveAndRegister.selector;
        vm.assertTrue((pausedUntil[selector] > block.timestamp) == real.isPaused(selector));
        for (uint32 period; period < end; ++period) {
            (uint64 reserved, uint128 payment) = real.accounts(period);
            vm.assertEq(accounts[period].reserved, reserved);
            vm.assertEq(accounts[period].payment, payment);
        }
        _compareReservations(real);
        _compareBlobs(real, committee.period());
    }

    function _compareReservations(Blobs real) private view {
        vm.assertEq(reservationCount, real.reservationCount());
        for (uint256 id = 1; id <= reservationCount; ++id) {
            ISpace.Reservation memory space;
            (space.owner, space.size, space.startPeriod, space.endPeriod) = real.reservations(id);
            vm.assertEq(keccak256(abi.encode(reservations[id])), keccak256(abi.encode(space)));
        }
    }

    function _compareBlobs(Blobs real, uint32 period) private view {
        vm.assertEq(blobCount, real.blobCount());
        for (uint256 id = 1; id <= blobCount; ++id) {
            IBlobs.BlobView memory blob = blobs[id];
            blob.objectId = id;
            if (blob.owner != address(0)) {
                if (isInvalid[blob.blobId]) blob.status = IBlobs.Status.Invalid;
                else if (blob.endPeriod <= period) blob.status = IBlobs.Status.Expired;
                else blob.status = blob.certifiedEpoch == 0 ? IBlobs.Status.Registered : IBlobs.Status.Certified;
                vm.assertTrue(real.isInvalid(blob.blobId) == isInvalid[blob.blobId]);
            }
            vm.assertEq(keccak256(abi.encode(blob)), keccak256(abi.encode(real.blob(id))));
        }
    }

    function _take(Vm.Log memory log) private {
        bytes32 kind = log.topics[0];
        if (kind == ISpace.TermsChanged.selector) terms = abi.decode(log.data, (ISpace.Terms));
        else if (kind == ISpace.Paid.selector) _paid(log.data);
        else if (kind == ISpace.PeriodClosed.selector) _closed(log);
        else if (kind == ISpace.PaidOut.selector) balance -= abi.decode(log.data, (uint256));
        else if (kind == ISpace.Refunded.selector) _refunded(log.data);
        else if (kind == ISpace.ReservationChanged.selector) _reservation(log);
        else if (kind == ISpace.ReservationUsed.selector) delete reservations[uint256(log.topics[1])];
        else if (kind == ISpace.ReservationMerged.selector) delete reservations[uint256(log.topics[1])];
        else if (kind == Governed.GuardianChanged.selector) guardian = address(uint160(uint256(log.topics[1])));
        else if (kind == Governed.PauseChanged.selector) _paused(log);
        else _takeBlob(kind, log);
    }

    function _takeBlob(bytes32 kind, Vm.Log memory log) private {
        uint256 id = uint256(log.topics[1]);
        if (kind == IBlobs.BlobRegistered.selector) {
            _registered(id, log);
        } else if (kind == IBlobs.BlobCertified.selector) {
            (blobs[id].certifiedEpoch, blobs[id].endPeriod,,) = abi.decode(log.data, (uint32, uint32, bool, bool));
        } else if (kind == IBlobs.BlobTransferred.selector) {
            blobs[id].owner = address(uint160(uint256(log.topics[3])));
        } else if (kind == IBlobs.BlobDeleted.selector) {
            delete blobs[id];
        } else if (kind == IBlobs.BlobInvalidated.selector) {
            isInvalid[id] = true;
        } else {
            revert("an event that is not known");
        }
    }

    function _paid(bytes memory data) private {
        (uint32 start, uint32 end, uint64 mebibytes, uint256 perPeriod, uint256 fee) =
            abi.decode(data, (uint32, uint32, uint64, uint256, uint256));
        accounts[start].payment += fee;
        balance += fee + perPeriod * (end - start);
        for (uint32 period = start; period < end; ++period) {
            accounts[period].reserved += mebibytes;
            accounts[period].payment += perPeriod;
        }
    }

    function _closed(Vm.Log memory log) private {
        openPeriod = uint32(uint256(log.topics[1])) + 1;
        (accounts[openPeriod - 1].payment,, unearned) = abi.decode(log.data, (uint256, uint256, uint256));
    }

    function _refunded(bytes memory data) private {
        (uint32 start, uint32 end, uint64 mebibytes, uint256 amount) =
            abi.decode(data, (uint32, uint32, uint64, uint256));
        balance -= amount;
        for (uint32 period = start; period < end; ++period) {
            Account storage account = accounts[period];
            account.payment -= account.payment * mebibytes / account.reserved;
            account.reserved -= mebibytes;
        }
    }

    function _reservation(Vm.Log memory log) private {
        uint256 id = uint256(log.topics[1]);
        if (id > reservationCount) reservationCount = id;
        ISpace.Reservation storage space = reservations[id];
        space.owner = address(uint160(uint256(log.topics[2])));
        (space.size, space.startPeriod, space.endPeriod) = abi.decode(log.data, (uint64, uint32, uint32));
    }

    function _registered(uint256 id, Vm.Log memory log) private {
        blobCount = id;
        IBlobs.BlobView storage blob = blobs[id];
        blob.blobId = uint256(log.topics[2]);
        blob.owner = address(uint160(uint256(log.topics[3])));
        Registration memory told = abi.decode(log.data, (Registration));
        blob.registeredEpoch = told.epoch;
        blob.root = told.root;
        blob.length = told.length;
        blob.size = told.size;
        blob.encodingType = told.encodingType;
        blob.endPeriod = told.endPeriod;
        blob.deletable = told.deletable;
    }

    function _paused(Vm.Log memory log) private {
        pausedUntil[bytes4(log.topics[1])] = abi.decode(log.data, (uint256));
    }
}
