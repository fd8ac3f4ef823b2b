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

    /// @notice The bytes that all nodes together keep of a blob, which are what is billed.
    /// @param shards At least 4 and at most 1000, as the committee contract guarantees.
    function encodedSize(uint256 shards, uint64 length) internal pure returns (uint64) {
        uint256 faulty = (shards - 1) / 3;
        uint256 rows = shards - 2 * faulty;
        uint256 columns = shards - faulty;
        uint256 symbols = rows * columns;
        // Symbols are of an even size; the empty blob has symbols of two bytes.
        uint256 symbolSize = length == 0 ? 2 : (length + 2 * symbols - 1) / (2 * symbols) * 2;
        if (symbolSize > LARGEST_SYMBOL_BYTES) revert BlobTooLong(length, symbols * LARGEST_SYMBOL_BYTES);
        return uint64(shards * ((rows + columns) * symbolSize + 64 * shards + 32));
    }
}
