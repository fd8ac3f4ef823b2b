// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Integers with their bytes turned around.
library LittleEndian {
    /// @notice The integer whose little-endian bytes these are; applied to an integer, its bytes again.
    function reverse(uint256 value) internal pure returns (uint256) {
        uint256 mask = type(uint256).max;
        for (uint256 shift = 128; shift >= 8; shift >>= 1) {
            mask ^= mask << shift; // ones in the lower half of every group of 2 * shift bits
            value = ((value & mask) << shift) | ((value >> shift) & mask);
        }
        return value;
    }

    function reverse32(uint32 value) internal pure returns (uint32) {
        return uint32(reverse(value) >> 224);
    }

    function reverse64(uint64 value) internal pure returns (uint64) {
        return uint64(reverse(value) >> 192);
    }
}
