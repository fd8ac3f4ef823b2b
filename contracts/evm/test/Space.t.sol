// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Blobs} from "src/Blobs.sol";
import {Governed} from "src/Governed.sol";
import {HauloutToken} from "src/HauloutToken.sol";
import {IBlobs} from "src/interfaces/IBlobs.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {Messages} from "src/lib/Messages.sol";
import {RedStuff} from "src/lib/RedStuff.sol";
import {BlobBase} from "test/BlobBase.t.sol";

/// @notice Reserving space, and registering blobs in it.
contract SpaceTest is BlobBase {
    uint64 private constant MEBIBYTE = 1 << 20;

    // Reserving

    function test_quote_is_per_mebibyte_and_epoch() public view {
        (uint64 size, uint256 cost) = blobs.quote(LENGTH, 5);
        vm.assertEq(size, SIZE);
        vm.assertEq(cost, 5 * COST + FEE);
    }

    function test_reserve_takes_capacity_and_payment() public {
        uint256 before = token.balanceOf(address(this));
        vm.expectEmit();
        emit ISpace.Paid(address(this), 1, 4, 6, COST, 0);
        vm.expectEmit();
        emit ISpace.ReservationChanged(1, address(this), 6 * MEBIBYTE, 1, 4);
        vm.assertEq(blobs.reserve(SIZE, 3, ANY), 1);
        vm.assertEq(before - token.balanceOf(address(this)), 3 * COST);
        vm.assertEq(token.balanceOf(address(blobs)), 3 * COST);
        for (uint32 epoch = 1; epoch <= 4; ++epoch) {
            (uint64 reserved, uint128 payment) = blobs.accounts(epoch);
            vm.assertEq(reserved, epoch < 4 ? 6 : 0); // mebibytes, one of them begun
            vm.assertEq(payment, epoch < 4 ? COST : 0);
        }
    }

    function test_reserve_takes_the_longest_period() public {
        blobs.reserve(SIZE, 53, ANY);
        (uint64 reserved,) = blobs.accounts(53);
        vm.assertEq(reserved, 6);
    }

    function test_reserve_reverts_beyond_the_longest_period() public {
        vm.expectRevert(abi.encodeWithSelector(ISpace.InvalidPeriod.selector, 54, 53));
        blobs.reserve(SIZE, 54, ANY);
    }

    function test_reserve_reverts_for_no_epoch() public {
        vm.expectRevert(abi.encodeWithSelector(ISpace.InvalidPeriod.selector, 0, 53));
        blobs.reserve(SIZE, 0, ANY);
    }

    function test_reserve_reverts_for_no_space() public {
        vm.expectRevert(ISpace.InvalidSize.selector);
        blobs.reserve(0, 1, ANY);
    }

    function test_reserve_reverts_beyond_the_capacity_of_any_epoch() public {
        blobs.reserve(CAPACITY - 6 * MEBIBYTE, 2, ANY);
        blobs.reserve(SIZE, 2, ANY); // which begins the sixth mebibyte
        vm.expectRevert(abi.encodeWithSelector(ISpace.NoCapacity.selector, 1, 0, 1));
        blobs.reserve(1, 5, ANY);
        _nextEpoch();
        _nextEpoch();
        blobs.reserve(CAPACITY, 1, ANY);
    }

    function test_reserve_reverts_before_the_first_epoch() public {
        _deploy(SHARDS, 500);
        vm.expectRevert(ISpace.NoEpochYet.selector);
        blobs.reserve(SIZE, 1, ANY);
    }

    function test_reserve_reverts_without_allowance() public {
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(blobs), 0, COST)
        );
        vm.prank(STRANGER);
        blobs.reserve(SIZE, 1, ANY);
    }

    // Registering

    function test_reserveAndRegister_recomputes_the_id() public {
        vm.expectEmit();
        emit ISpace.Paid(address(this), 1, 6, 6, COST, FEE);
        vm.expectEmit();
        emit IBlobs.BlobRegistered(1, blobId, address(this), 1, ROOT, LENGTH, 6 * MEBIBYTE, 1, 6, true);
        vm.assertEq(blobs.reserveAndRegister(ROOT, LENGTH, 1, 5, true, ANY, ANY), 1);
        IBlobs.BlobView memory blob = blobs.blob(1);
        vm.assertEq(blob.objectId, 1);
        vm.assertEq(blob.blobId, blobId);
        vm.assertEq(blob.root, ROOT);
        vm.assertEq(blob.length, LENGTH);
        vm.assertEq(blob.size, 6 * MEBIBYTE);
        vm.assertEq(blob.encodingType, 1);
        vm.assertEq(blob.owner, address(this));
        vm.assertEq(blob.registeredEpoch, 1);
        vm.assertEq(blob.certifiedEpoch, 0);
        vm.assertEq(blob.endPeriod, 6);
        vm.assertTrue(blob.deletable);
        vm.assertTrue(blob.status == IBlobs.Status.Registered);
        vm.assertEq(token.balanceOf(address(blobs)), 5 * COST + FEE);
        (uint64 reserved,) = blobs.accounts(5);
        vm.assertEq(reserved, 6);
        vm.assertEq(blobs.reservationCount(), 0);
    }

    function test_register_uses_a_reservation_up() public {
        uint256 resourceId = blobs.reserve(SIZE + 7, 3, ANY);
        _nextEpoch();
        blobs.register(resourceId, ROOT, LENGTH, 1, false, ANY, ANY);
        vm.assertEq(blobs.blob(1).endPeriod, 4);
        vm.assertEq(blobs.blob(1).registeredEpoch, 2);
        vm.expectRevert(abi.encodeWithSelector(ISpace.UnknownReservation.selector, resourceId));
        blobs.register(resourceId, ROOT, LENGTH, 1, false, ANY, ANY);
    }

    function test_register_reverts_for_anothers_reservation() public {
        uint256 resourceId = blobs.reserve(SIZE, 3, ANY);
        vm.expectRevert(abi.encodeWithSelector(ISpace.NotOwner.selector, address(this)));
        vm.prank(STRANGER);
        blobs.register(resourceId, ROOT, LENGTH, 1, false, ANY, ANY);
    }

    function test_register_reverts_for_a_reservation_too_small() public {
        uint256 resourceId = blobs.reserve(5 * MEBIBYTE, 3, ANY);
        vm.expectRevert(abi.encodeWithSelector(IBlobs.ReservationTooSmall.selector, 5 * MEBIBYTE, SIZE));
        blobs.register(resourceId, ROOT, LENGTH, 1, false, ANY, ANY);
    }

    function test_register_reverts_for_an_expired_reservation() public {
        uint256 resourceId = blobs.reserve(SIZE, 1, ANY);
        _nextEpoch();
        vm.expectRevert(abi.encodeWithSelector(ISpace.Expired.selector, 2));
        blobs.register(resourceId, ROOT, LENGTH, 1, false, ANY, ANY);
    }

    function test_reserveAndRegister_reverts_for_an_unknown_encoding() public {
        vm.expectRevert(abi.encodeWithSelector(IBlobs.UnknownEncoding.selector, 0));
        blobs.reserveAndRegister(ROOT, LENGTH, 0, 1, false, ANY, ANY);
    }

    function test_reserveAndRegister_reverts_for_a_blob_too_long() public {
        uint64 largest = 34 * 67 * 65534;
        vm.expectRevert(abi.encodeWithSelector(RedStuff.BlobTooLong.selector, largest + 1, largest));
        blobs.reserveAndRegister(ROOT, largest + 1, 1, 1, false, ANY, ANY);
    }

    function test_reserveAndRegister_reverts_for_an_invalid_blob() public {
        _invalidate();
        vm.expectRevert(abi.encodeWithSelector(IBlobs.InvalidBlob.selector, blobId));
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 1, false, ANY, ANY);
    }

    // Write fee

    function test_register_pays_the_write_fee_into_the_current_epoch() public {
        uint256 resourceId = blobs.reserve(SIZE, 3, ANY);
        _nextEpoch();
        vm.expectEmit();
        emit ISpace.Paid(address(this), 2, 2, 0, 0, FEE);
        vm.expectEmit();
        emit ISpace.ReservationUsed(resourceId, 1);
        blobs.register(resourceId, ROOT, LENGTH, 1, false, ANY, ANY);
        vm.assertEq(token.balanceOf(address(blobs)), 3 * COST + FEE);
        _checkPayments(COST, COST + FEE, COST);
    }

    function test_reserveAndRegister_pays_the_write_fee_into_the_first_epoch() public {
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 3, false, ANY, ANY);
        _checkPayments(COST + FEE, COST, COST);
    }

    function test_register_pays_for_the_blob_and_not_for_the_reservation() public {
        uint256 resourceId = blobs.reserve(100 * SIZE, 1, ANY);
        uint256 before = token.balanceOf(address(blobs));
        blobs.register(resourceId, ROOT, LENGTH, 1, false, ANY, ANY);
        vm.assertEq(token.balanceOf(address(blobs)), before + FEE);
    }

    function test_register_reverts_without_the_write_fee() public {
        token.mint(STRANGER, COST);
        vm.startPrank(STRANGER);
        token.approve(address(blobs), type(uint256).max);
        uint256 resourceId = blobs.reserve(SIZE, 1, ANY);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, STRANGER, 0, FEE));
        blobs.register(resourceId, ROOT, LENGTH, 1, false, ANY, ANY);
    }

    function test_a_mebibyte_begun_is_a_mebibyte_paid() public {
        blobs.reserve(1, 1, ANY);
        vm.assertEq(token.balanceOf(address(blobs)), PRICE);
        blobs.reserve(1 << 20, 1, ANY);
        vm.assertEq(token.balanceOf(address(blobs)), 2 * PRICE);
        blobs.reserve((1 << 20) + 1, 1, ANY);
        vm.assertEq(token.balanceOf(address(blobs)), 4 * PRICE);
    }

    // Terms

    function test_setTerms_leaves_what_is_paid_for() public {
        uint256 resourceId = blobs.reserve(SIZE, 3, ANY);
        _setTerms(100, 10, CAPACITY);
        vm.assertEq(token.balanceOf(address(blobs)), 3 * COST);
        blobs.register(resourceId, ROOT, LENGTH, 1, true, ANY, ANY);
        vm.assertEq(token.balanceOf(address(blobs)), 3 * COST + 6 * 10);
        blobs.reserve(SIZE, 2, ANY);
        _checkPayments(COST + 6 * 10 + 6 * 100, COST + 6 * 100, COST);
    }

    function test_setTerms_reverts_for_space_without_a_price() public {
        vm.expectRevert(abi.encodeWithSelector(Governed.InvalidParameter.selector, "price"));
        _setTerms(0, WRITE_PRICE, CAPACITY);
        _setTerms(1, 0, CAPACITY); // writing may be free
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 53, false, ANY, 53 * 6);
    }

    function test_setTerms_below_what_is_reserved_refuses_more_and_keeps_what_is() public {
        uint256 resourceId = blobs.reserve(24 * MEBIBYTE, 2, ANY);
        _setTerms(PRICE, WRITE_PRICE, 18 * MEBIBYTE);
        vm.expectRevert(abi.encodeWithSelector(ISpace.NoCapacity.selector, 1, 0, 1));
        blobs.reserve(1, 1, ANY);
        blobs.register(resourceId, ROOT, LENGTH, 1, false, ANY, ANY);
        _setTerms(PRICE, WRITE_PRICE, 30 * MEBIBYTE);
        vm.expectRevert(abi.encodeWithSelector(ISpace.NoCapacity.selector, 1, 6 * MEBIBYTE, 6 * MEBIBYTE + 1));
        blobs.reserve(6 * MEBIBYTE + 1, 1, ANY);
        blobs.reserve(6 * MEBIBYTE, 1, ANY);
    }

    function test_setTerms_at_the_highest_price_of_the_largest_space_overflows_nothing() public {
        _setTerms(type(uint80).max, type(uint80).max, type(uint64).max);
        uint256 cost = (1 << 44) * uint256(type(uint80).max);
        cost -= type(uint80).max; // the last mebibyte begun would be a byte beyond
        token.mint(address(this), 53 * cost);
        blobs.reserve(type(uint64).max - MEBIBYTE, 53, ANY);
        (uint64 reserved, uint128 payment) = blobs.accounts(53);
        vm.assertEq(reserved, (1 << 44) - 1);
        vm.assertEq(payment, cost);
    }

    function test_constructor_reverts_for_another_token_than_is_staked() public {
        HauloutToken other = new HauloutToken(address(this), address(this), 0);
        vm.expectRevert(abi.encodeWithSelector(Governed.InvalidParameter.selector, "token"));
        this.create(other, ISpace.Terms(PRICE, WRITE_PRICE, CAPACITY));
    }

    function test_constructor_reverts_for_a_registry_that_another_contract_pays() public {
        vm.expectRevert(abi.encodeWithSelector(Governed.InvalidParameter.selector, "payer"));
        this.create(token, ISpace.Terms(PRICE, WRITE_PRICE, CAPACITY));
    }

    function test_constructor_reverts_for_space_without_a_price() public {
        // Stake that the next contract of this account is paid for: all else is right.
        address next = vm.computeCreateAddress(address(this), vm.getNonce(address(this)));
        vm.mockCall(address(staking), abi.encodeCall(staking.payer, ()), abi.encode(next));
        vm.expectRevert(abi.encodeWithSelector(Governed.InvalidParameter.selector, "price"));
        this.create(token, ISpace.Terms(0, WRITE_PRICE, CAPACITY));
        this.create(token, ISpace.Terms(1, 0, 0));
    }

    // The most that it may cost

    function test_each_payment_reverts_above_what_the_sender_is_ready_to_pay() public {
        _expectTooExpensive(2 * COST);
        blobs.reserve(SIZE, 2, 2 * COST - 1);
        uint256 resourceId = blobs.reserve(SIZE, 2, 2 * COST);
        _expectTooExpensive(FEE);
        blobs.register(resourceId, ROOT, LENGTH, 1, false, ANY, FEE - 1);
        blobs.register(resourceId, ROOT, LENGTH, 1, false, ANY, FEE);
        _expectTooExpensive(5 * COST + FEE);
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 5, false, ANY, 5 * COST + FEE - 1);
        (, uint256 cost) = blobs.quote(LENGTH, 5);
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 5, false, ANY, cost);
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.permanentBlob(ID), 0);
        blobs.certify(2, 1, bitmap, signature);
        _expectTooExpensive(3 * COST);
        blobs.extend(2, 3, 6, 3 * COST - 1);
        blobs.extend(2, 3, 6, blobs.extensionCost(2, 3));
        vm.assertEq(blobs.blob(2).endPeriod, 9);
    }

    /// @dev Deploys and reverts with the constructor's reason.
    function create(HauloutToken other, ISpace.Terms memory terms) external {
        _create("artifacts/Blobs.json", abi.encode(committee, other, terms, address(ballot), GOVERNOR, GUARDIAN));
    }

    function _expectTooExpensive(uint256 cost) private {
        vm.expectRevert(abi.encodeWithSelector(ISpace.TooExpensive.selector, cost, cost - 1));
    }

    function _setTerms(uint80 price, uint80 writePrice, uint64 capacity) private {
        vm.prank(GOVERNOR);
        blobs.setTerms(ISpace.Terms(price, writePrice, capacity));
    }

    /// @dev What is paid for epochs 1, 2 and 3.
    function _checkPayments(uint256 first, uint256 second, uint256 third) private view {
        (, uint128 payment) = blobs.accounts(1);
        vm.assertEq(payment, first);
        (, payment) = blobs.accounts(2);
        vm.assertEq(payment, second);
        (, payment) = blobs.accounts(3);
        vm.assertEq(payment, third);
    }
}
