// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";

/// @notice What came lately, in two stretches of time that follow each other.
struct Recent {
    uint40 since; // seconds: when the newer stretch began
    uint104 newer; // came in it
    uint104 older; // came in the one before
}

/// @title How much of an amount is young.
/// @notice What came is young for one to three times an age; never for less, and for no more than three times, whatever
/// comes after it: nobody can make another's stake young again by adding to it. What goes is taken off the young first.
library Recents {
    using FixedPointMathLib for uint256;

    /// @notice Notes that `amount` comes now. A stretch takes `age` seconds; what comes after it begins another.
    function add(Recent storage recent, uint256 amount, uint256 age) internal {
        (uint256 newer, uint256 older) = (recent.newer, recent.older);
        uint256 passed = block.timestamp - recent.since;
        if (passed >= age) {
            (newer, older) = (0, passed < 2 * age ? newer : 0);
            recent.since = uint40(block.timestamp);
        }
        (recent.newer, recent.older) = (_fitting(newer + amount), uint104(older));
    }

    /// @notice Notes that `amount` goes now.
    function take(Recent storage recent, uint256 amount, uint256 age) internal {
        if (young(recent, age) == 0) return;
        (uint256 newer, uint256 older) = (recent.newer, recent.older);
        recent.newer = uint104(newer.zeroFloorSub(amount));
        recent.older = uint104(older.zeroFloorSub(amount.zeroFloorSub(newer)));
    }

    /// @notice How much may have come less than `age` seconds ago.
    function young(Recent storage recent, uint256 age) internal view returns (uint256) {
        uint256 passed = block.timestamp - recent.since;
        if (passed >= 2 * age) return 0;
        return passed < age ? uint256(recent.newer) + recent.older : recent.newer;
    }

    /// @dev 2^104 units are more than there are of any token worth its name.
    function _fitting(uint256 amount) private pure returns (uint104) {
        return uint104(amount.min(type(uint104).max));
    }
}
