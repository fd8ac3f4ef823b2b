// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Parameters behind a governor, functions behind a switch.
/// @notice The governor, a timelock, changes parameters; so everybody sees a change before it counts. The guardian may
/// pause single functions at once, each once, until the governor lets it do so again. Every pause ends by itself. Which
/// functions can be paused is fixed in the code: those by which something new comes in, never one by which a token goes
/// out, an epoch goes on, or what somebody has paid for is kept alive.
abstract contract Governed {
    struct Pause {
        uint48 until; // seconds
        bool isUsedUp; // by the guardian
    }

    /// @notice A function is paused until then, seconds; 0 for no longer.
    event PauseChanged(bytes4 indexed selector, uint256 until);
    /// @notice Somebody else may pause functions.
    event GuardianChanged(address indexed guardian);

    /// @notice Only the governor may.
    error NotGovernor(address account);
    /// @notice Only the guardian and the governor may.
    error NotGuardian(address account);
    /// @notice The function is paused.
    error Paused(bytes4 selector);
    /// @notice The guardian has paused the function since the governor let it last.
    error PauseUsedUp(bytes4 selector);
    /// @notice The function can never be paused.
    error NotPausable(bytes4 selector);
    /// @notice A parameter is out of bounds.
    error InvalidParameter(string name);

    /// @notice How long a pause lasts, if it is not ended: longer than the timelock's usual delay, so that the governor
    /// can see to it before it is over.
    uint256 public constant PAUSE_DURATION = 4 days;

    /// @notice A timelock: the only account that may change parameters.
    address public immutable governor;
    /// @notice Who may pause functions.
    address public guardian;

    mapping(bytes4 selector => Pause) private _pauses;

    modifier onlyGovernor() {
        if (msg.sender != governor) revert NotGovernor(msg.sender);
        _;
    }

    modifier pausable() {
        if (isPaused(msg.sig)) revert Paused(msg.sig);
        _;
    }

    constructor(address governor_, address guardian_) {
        governor = governor_;
        guardian = guardian_;
        emit GuardianChanged(guardian_);
    }

    /// @notice Pauses a function for `PAUSE_DURATION` from now on. The guardian once, the governor again.
    function pause(bytes4 selector) external {
        if (!isPausable(selector)) revert NotPausable(selector);
        Pause memory entry = _pauses[selector];
        if (msg.sender != governor) {
            if (msg.sender != guardian) revert NotGuardian(msg.sender);
            if (entry.isUsedUp) revert PauseUsedUp(selector);
            entry.isUsedUp = true;
        }
        entry.until = uint48(block.timestamp + PAUSE_DURATION);
        _pauses[selector] = entry;
        emit PauseChanged(selector, entry.until);
    }

    /// @notice Ends a pause, if there is one. Guardian or governor; done by the governor it lets the guardian pause the
    /// function once more.
    function unpause(bytes4 selector) external {
        if (msg.sender != guardian && msg.sender != governor) revert NotGuardian(msg.sender);
        _pauses[selector].until = 0;
        if (msg.sender == governor) _pauses[selector].isUsedUp = false;
        emit PauseChanged(selector, 0);
    }

    /// @notice Names another guardian; the zero address for none. Governor only.
    function setGuardian(address guardian_) external onlyGovernor {
        guardian = guardian_;
        emit GuardianChanged(guardian_);
    }

    /// @notice Whether a function is paused.
    function isPaused(bytes4 selector) public view returns (bool) {
        return block.timestamp < _pauses[selector].until;
    }

    /// @notice Whether a function can be paused at all.
    function isPausable(bytes4 selector) public pure virtual returns (bool);
}
