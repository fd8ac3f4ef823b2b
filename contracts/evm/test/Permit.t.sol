// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {Governed} from "src/Governed.sol";
import {IBlobs} from "src/interfaces/IBlobs.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {BlobBase} from "test/BlobBase.t.sol";

/// @notice Payments by signature, and several calls in one transaction.
contract PermitTest is BlobBase {
    uint256 private constant KEY = 0xa11ce;

    address private payer;

    function setUp() public override {
        super.setUp();
        payer = vm.addr(KEY);
        token.mint(payer, 100 * COST);
    }

    function test_multicall_permits_and_registers_in_one_transaction() public {
        bytes[] memory calls = _permitAndRegister(5 * COST + FEE, KEY);
        vm.prank(payer);
        bytes[] memory answers = blobs.multicall(calls);
        vm.assertEq(abi.decode(answers[1], (uint256)), 1);
        vm.assertEq(blobs.blob(1).owner, payer);
        vm.assertEq(token.balanceOf(payer), 95 * COST - FEE);
        vm.assertEq(token.allowance(payer, address(blobs)), 0);
        vm.assertEq(token.nonces(payer), 1);
    }

    function test_multicall_registers_also_when_the_permit_was_posted_by_another_before() public {
        bytes[] memory calls = _permitAndRegister(5 * COST + FEE, KEY);
        (uint8 v, bytes32 r, bytes32 s) = _signature(5 * COST + FEE, KEY);
        token.permit(payer, address(blobs), 5 * COST + FEE, block.timestamp, v, r, s);
        vm.prank(payer);
        blobs.multicall(calls);
        vm.assertEq(blobs.blob(1).owner, payer);
    }

    function test_multicall_reverts_as_a_whole_for_a_permit_of_too_little() public {
        bytes[] memory calls = _permitAndRegister(5 * COST + FEE - 1, KEY);
        _expectAllowance(5 * COST + FEE - 1);
        vm.prank(payer);
        blobs.multicall(calls);
        vm.assertEq(token.nonces(payer), 0);
    }

    function test_multicall_reverts_for_a_permit_by_another_key() public {
        bytes[] memory calls = _permitAndRegister(5 * COST + FEE, KEY + 1);
        _expectAllowance(0);
        vm.prank(payer);
        blobs.multicall(calls);
    }

    function test_multicall_reverts_for_anothers_permit() public {
        bytes[] memory calls = _permitAndRegister(5 * COST + FEE, KEY);
        _expectAllowance(0);
        vm.prank(STRANGER);
        blobs.multicall(calls);
        vm.assertEq(token.nonces(payer), 0);
    }

    function test_multicall_reverts_for_a_permit_whose_time_is_over() public {
        bytes[] memory calls = _permitAndRegister(5 * COST + FEE, KEY);
        vm.warp(block.timestamp + 1);
        _expectAllowance(0);
        vm.prank(payer);
        blobs.multicall(calls);
    }

    function test_permit_reverts_the_second_time_at_the_token() public {
        (uint8 v, bytes32 r, bytes32 s) = _signature(COST, KEY);
        token.permit(payer, address(blobs), COST, block.timestamp, v, r, s);
        vm.expectPartialRevert(ERC20Permit.ERC2612InvalidSigner.selector);
        token.permit(payer, address(blobs), COST, block.timestamp, v, r, s);
    }

    function test_multicall_calls_nothing_that_is_paused() public {
        bytes[] memory calls = _permitAndRegister(5 * COST + FEE, KEY);
        vm.prank(GUARDIAN);
        blobs.pause(blobs.reserveAndRegister.selector);
        vm.expectRevert(abi.encodeWithSelector(Governed.Paused.selector, blobs.reserveAndRegister.selector));
        vm.prank(payer);
        blobs.multicall(calls);
    }

    function test_multicall_calls_nothing_that_the_sender_may_not() public {
        bytes[] memory calls = new bytes[](1);
        calls[0] = abi.encodeCall(ISpace.setTerms, (ISpace.Terms(1, 1, 1)));
        vm.expectRevert(abi.encodeWithSelector(Governed.NotGovernor.selector, STRANGER));
        vm.prank(STRANGER);
        blobs.multicall(calls);
    }

    function test_multicall_splits_a_reservation_and_uses_it() public {
        uint256 id = blobs.reserve(2 * SIZE, 5, ANY);
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(ISpace.splitBySize, (id, 6 << 20));
        calls[1] = abi.encodeCall(IBlobs.register, (id, ROOT, LENGTH, 1, false, ANY, ANY));
        blobs.multicall(calls);
        vm.assertEq(blobs.blob(1).size, 6 << 20);
    }

    function _permitAndRegister(uint256 value, uint256 key) private view returns (bytes[] memory calls) {
        (uint8 v, bytes32 r, bytes32 s) = _signature(value, key);
        calls = new bytes[](2);
        calls[0] = abi.encodeCall(ISpace.permit, (value, block.timestamp, v, r, s));
        calls[1] = abi.encodeCall(IBlobs.reserveAndRegister, (ROOT, LENGTH, 1, 5, false, ANY, ANY));
    }

    function _signature(uint256 value, uint256 key) private view returns (uint8, bytes32, bytes32) {
        bytes32 kind = keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 message = keccak256(abi.encode(kind, payer, blobs, value, token.nonces(payer), block.timestamp));
        return vm.sign(key, keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), message)));
    }

    function _expectAllowance(uint256 allowance) private {
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector, address(blobs), allowance, 5 * COST + FEE
            )
        );
    }
}
