// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Parameters behind a governor, functions behind a switch.
/// @notice The governor, a timelock, changes parameters; so everybody sees a change before it counts. The guardian may
/// pause single functions at once. Which can be paused is fixed in the code: those by which something new comes in,
/// never one by which a token goes out or an epoch goes on.
abstract contract Governed {
    /// @notice A function is paused from now on, or no longer.
    event PauseChanged(bytes4 indexed selector, bool paused);
    /// @notice Somebody else may pause functions.
    event GuardianChanged(address indexed guardian);

    /// @notice Only the governor may.
    error NotGovernor(address account);
    /// @notice Only the guardian and the governor may.
    error NotGuardian(address account);
    /// @notice The function is paused.
    error Paused(bytes4 selector);
    /// @notice The function can never be paused.
    error NotPausable(bytes4 selector);
    /// @notice A parameter is out of bounds.
    error InvalidParameter(string name);

    /// @notice A timelock: the only account that may change parameters.
    address public immutable governor;
    /// @notice Who may pause functions.
    address public guardian;
    /// @notice Whether a function is paused, by its selector.
    mapping(bytes4 selector => bool) public isPaused;

    modifier onlyGovernor() {
        if (msg.sender != governor) revert NotGovernor(msg.sender);
        _;
    }

    modifier pausable() {
        if (isPaused[msg.sig]) revert Paused(msg.sig);
        _;
    }

    constructor(address governor_, address guardian_) {
        governor = governor_;
        guardian = guardian_;
        emit GuardianChanged(guardian_);
    }

    /// @notice Pauses a function, or ends its pause. Guardian or governor.
    function setPaused(bytes4 selector, bool paused) external {
        if (msg.sender != guardian && msg.sender != governor) revert NotGuardian(msg.sender);
        if (!isPausable(selector)) revert NotPausable(selector);
        isPaused[selector] = paused;
        emit PauseChanged(selector, paused);
    }

    /// @notice Names another guardian; the zero address for none. Governor only.
    function setGuardian(address guardian_) external onlyGovernor {
        guardian = guardian_;
        emit GuardianChanged(guardian_);
    }

    /// @notice Whether a function can be paused at all.
    function isPausable(bytes4 selector) public pure virtual returns (bool);
}
