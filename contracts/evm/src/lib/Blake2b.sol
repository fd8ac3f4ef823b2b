// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Blake2b-256 (RFC 7693), by the precompile of EIP-152.
library Blake2b {
    /// @notice The chain lacks the Blake2b precompile of EIP-152 (Istanbul).
    error Blake2bMissing();

    // The initial state for a digest of 32 bytes without a key: word 0 is xored with 0x01010020.
    bytes32 internal constant STATE_0 = 0x28c9bdf267e6096a3ba7ca8485ae67bb2bf894fe72f36e3cf1361d5f3af54fa5;
    bytes32 internal constant STATE_1 = 0xd182e6ad7f520e511f6c3e2b8c68059b6bbd41fbabd9831f79217e1319cde05b;

    /// @notice The hash of a message shorter than 2^24 bytes.
    /// @dev The precompile takes 213 bytes: rounds u32, state 64, block 128, bytes so far u128 little-endian, whether the
    /// block is the last u8. They are laid out once, behind the free memory, and the state is answered into its place.
    function hash(bytes memory message) internal view returns (bytes32 digest) {
        bool hasAnswered;
        assembly ("memory-safe") {
            let input := mload(0x40)
            let blockAt := add(input, 68)
            let size := mload(message)
            let source := add(message, 0x20)
            mstore(input, shl(224, 12))
            mstore(add(input, 4), STATE_0)
            mstore(add(input, 36), STATE_1)
            mstore(add(input, 196), 0)
            for { let done := 0 } 1 {} {
                let length := sub(size, done)
                switch gt(length, 128)
                case 0 {
                    mstore(blockAt, 0)
                    mstore(add(blockAt, 32), 0)
                    mstore(add(blockAt, 64), 0)
                    mstore(add(blockAt, 96), 0)
                    mstore8(add(input, 212), 1)
                }
                default { length := 128 }
                mcopy(blockAt, add(source, done), length)
                done := add(done, length)
                mstore8(add(input, 196), done)
                mstore8(add(input, 197), shr(8, done))
                mstore8(add(input, 198), shr(16, done))
                hasAnswered := staticcall(gas(), 9, input, 213, add(input, 4), 64)
                hasAnswered := and(hasAnswered, eq(returndatasize(), 64))
                if or(iszero(hasAnswered), eq(done, size)) { break }
            }
            digest := mload(add(input, 4))
        }
        if (!hasAnswered) revert Blake2bMissing();
    }
}
