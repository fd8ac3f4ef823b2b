// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice What registry and stake ask of the committee contract.
interface IEpochs {
    /// @notice The current period, 0 before the first.
    function period() external view returns (uint32);
    /// @notice The first period whose committee is not elected yet.
    function electablePeriod() external view returns (uint32);
    /// @notice Whether certificates of a committee of this period still count.
    function acceptsPeriod(uint32 period_) external view returns (bool);
    /// @notice When a period ended with the start of the next, seconds; 0 if it has not.
    function endedAt(uint32 period_) external view returns (uint64);
    /// @notice Whether no period has begun for so long that none may come any more.
    function isStalled() external view returns (bool);
}
