// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";

/// @notice Tokens, and the shares that they are divided into.
struct Pool {
    uint256 tokens;
    uint256 shares;
}

/// @title Pools with shares.
/// @notice A share is worth `tokens / shares`; the first ones are worth one token unit each. All is rounded to the
/// disadvantage of who enters or exits, so that nobody can take out more than there is, and the last to exit takes
/// what rounding has left. A pool with tokens has shares.
library Pools {
    using FixedPointMathLib for uint256;

    /// @notice The shares that `amount` gives.
    function price(Pool storage pool, uint256 amount) internal view returns (uint256) {
        return pool.tokens == 0 ? amount : amount.fullMulDiv(pool.shares, pool.tokens);
    }

    /// @notice What shares are worth.
    function worth(Pool storage pool, uint256 shares) internal view returns (uint256) {
        return shares == 0 ? 0 : shares.fullMulDiv(pool.tokens, pool.shares);
    }

    /// @notice As much of `amount` as the whole shares that it gives cost: entering with it makes no share dear.
    function cost(Pool storage pool, uint256 amount) internal view returns (uint256) {
        return pool.tokens == 0 ? amount : price(pool, amount).fullMulDivUp(pool.tokens, pool.shares);
    }

    /// @notice Adds tokens and the shares for them.
    function enter(Pool storage pool, uint256 amount) internal returns (uint256 shares) {
        shares = price(pool, amount);
        pool.shares += shares;
        pool.tokens += amount;
    }

    /// @notice Takes shares out, and the tokens that they are worth.
    function exit(Pool storage pool, uint256 shares) internal returns (uint256 amount) {
        amount = worth(pool, shares);
        pool.shares -= shares;
        pool.tokens -= amount;
    }

    /// @notice Adds tokens for all shares.
    function raise(Pool storage pool, uint256 amount) internal {
        if (amount != 0) pool.tokens += amount;
    }

    /// @notice Takes `fraction / whole` of the tokens from all shares, rounded down.
    function lower(Pool storage pool, uint256 fraction, uint256 whole) internal returns (uint256 amount) {
        amount = pool.tokens.fullMulDiv(fraction, whole);
        if (amount != 0) pool.tokens -= amount;
    }
}
