// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Recent, Recents} from "src/lib/Recents.sol";
import {Vm} from "test/Vm.sol";

/// @notice How much is young, held against a list of all that came.
contract RecentsTest {
    using Recents for Recent;

    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 private constant AGE = 100;

    Recent private recent;
    uint256[2][] private came; // when, and how much of it has not gone

    /// @dev What goes is what came last. Young is all that came within the age, and nothing from before three times that.
    function testFuzz_what_is_young_is_between_one_and_three_times_the_age(uint256 seed) public {
        vm.warp(1_000_000);
        for (uint256 i; i < 60; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            vm.warp(block.timestamp + (seed & 3 == 0 ? seed % 350 : seed % 40));
            uint256 amount = (seed >> 16) % 1000;
            if ((seed >> 8) % 3 == 0) _take(amount);
            else _add(amount);
            uint256 young = recent.young(AGE);
            vm.assertGe(young, _sinceThen(AGE));
            vm.assertLe(young, _sinceThen(3 * AGE));
        }
    }

    function test_an_amount_that_fits_no_field_counts_as_the_most_that_does() public {
        recent.add(type(uint256).max, AGE);
        vm.assertEq(recent.young(AGE), type(uint104).max);
        recent.add(1, AGE);
        vm.assertEq(recent.young(AGE), type(uint104).max);
    }

    function test_what_goes_is_taken_off_the_older_only_by_what_the_newer_does_not_hold() public {
        vm.warp(1_000_000);
        recent.add(50, AGE);
        vm.warp(block.timestamp + AGE);
        recent.add(30, AGE);
        recent.take(40, AGE);
        vm.assertEq(recent.newer, 0);
        vm.assertEq(recent.older, 40);
    }

    function _add(uint256 amount) private {
        recent.add(amount, AGE);
        came.push([block.timestamp, amount]);
    }

    function _take(uint256 amount) private {
        recent.take(amount, AGE);
        for (uint256 i = came.length; i > 0; --i) {
            uint256 taken = amount < came[i - 1][1] ? amount : came[i - 1][1];
            came[i - 1][1] -= taken;
            amount -= taken;
        }
    }

    function _sinceThen(uint256 age) private view returns (uint256 sum) {
        for (uint256 i; i < came.length; ++i) {
            if (block.timestamp - came[i][0] < age) sum += came[i][1];
        }
    }
}
