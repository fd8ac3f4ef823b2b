// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Sizes of RedStuff, the encoding of blobs as grids of symbols.
/// @notice `n` shards, `f = (n - 1) / 3` of which may fail, `p = n - 2f` rows, `s = n - f` columns.
library RedStuff {
    /// @notice No grid of this many shards holds so many bytes.
    error BlobTooLong(uint64 length, uint256 largest);

    /// @notice The only encoding there is, RS2.
    uint8 internal constant ENCODING_TYPE = 1;

    uint256 private constant LARGEST_SYMBOL_BYTES = 65534;

    /// @notice How many rows and columns the grid has: `p` and `s`.
    /// @param shards At least 4 and at most 1000, as the committee contract guarantees.
    function grid(uint256 shards) internal pure returns (uint256 rows, uint256 columns) {
        uint256 faulty = (shards - 1) / 3;
        return (shards - 2 * faulty, shards - faulty);
    }

    /// @notice The bytes of a symbol of a blob: even, and 2 of the empty blob.
    function symbolSize(uint256 shards, uint64 length) internal pure returns (uint256 size) {
        (uint256 rows, uint256 columns) = grid(shards);
        uint256 symbols = rows * columns;
        size = length == 0 ? 2 : (length + 2 * symbols - 1) / (2 * symbols) * 2;
        if (size > LARGEST_SYMBOL_BYTES) revert BlobTooLong(length, symbols * LARGEST_SYMBOL_BYTES);
    }

    /// @notice The bytes that all nodes together keep of a blob, which are what is billed.
    function encodedSize(uint256 shards, uint64 length) internal pure returns (uint64) {
        (uint256 rows, uint256 columns) = grid(shards);
        return uint64(shards * ((rows + columns) * symbolSize(shards, length) + 64 * shards + 32));
    }
}
