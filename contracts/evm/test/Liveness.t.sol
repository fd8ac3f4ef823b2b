// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IProofs} from "src/interfaces/IProofs.sol";
import {ReplacementBase} from "test/ReplacementBase.sol";

/// @notice Whatever anybody did at whatever time, with whatever parameters: each step of the epochs is possible from the
/// second on that its rule names, and the steps lead to the next period.
contract LivenessTest is ReplacementBase {
    ICommittee.Parameters private _given;
    uint256 private _random;

    function setUp() public override {
        vm.warp(1_700_000_000);
    }

    /// forge-config: default.fuzz.runs = 64
    function test_the_epochs_go_on_from_any_state(uint256 seed) public {
        _random = seed;
        _given = _anyParameters();
        _deploy(uint16(_draw(4, 40)), 0);
        uint32 nodes = uint32(_draw(1, 6));
        for (uint256 i; i < nodes; ++i) {
            _addNode(STAKE * _draw(1, 5));
        }
        for (uint256 step; step < 60; ++step) {
            if (_draw(0, 9) < 4) try this.push(_draw(0, 1200)) {} catch {} else _act(uint32(_draw(1, nodes)));
        }
        for (uint32 goal = committee.period() + 2; committee.period() < goal; _step()) {
            (, uint256 due) = _next();
            if (_isToSelect()) {
                (,,,,, uint32 shrink,) = committee.parameters();
                if (committee.epoch() != 0) due += shrink; // until any stake is enough
                _standAgain(nodes);
            }
            if (block.timestamp < due) vm.warp(due);
        }
        _payOutAll();
    }

    /// @dev The next step, at its first second or somewhat later; it may be refused where too little stake stands.
    function push(uint256 late) external {
        (bool isReplacement, uint256 due) = _next();
        if (late < 300) due += late;
        if (block.timestamp < due) vm.warp(due);
        if (isReplacement) committee.replace();
        else _step();
    }

    function eject(uint32 nodeId) external {
        _eject(nodeId);
    }

    function payOutAll() external {
        _payOutAll();
    }

    /// @dev Something of what stakers, operators, a quorum, the governor and the guardian can do, if they can now.
    function _act(uint32 nodeId) private {
        uint256 kind = _draw(0, 7);
        vm.warp(block.timestamp + _draw(0, 200));
        if (_draw(0, 60) == 0) vm.warp(block.timestamp + 5 * (2000 + 2000)); // a standstill
        if (kind == 0) try this.eject(nodeId) {} catch {}
        if (kind == 1 && committee.epoch() != 0) _attestOwn(nodeId);
        if (kind == 2) try staking.stake(nodeId, _draw(1e9, 10 * STAKE)) {} catch {}
        if (kind == 3) {
            uint256 shares = staking.sharesOf(nodeId, address(this));
            try staking.unstake(nodeId, _draw(0, 1) == 0 ? shares : _draw(0, shares)) {} catch {}
        }
        if (kind == 4) {
            bool stands = registry.node(nodeId).candidate;
            vm.prank(_operator(nodeId));
            if (stands) registry.leaveCandidates(nodeId);
            else try registry.becomeCandidate(nodeId) {} catch {}
        }
        if (kind == 5) {
            ICommittee.Parameters memory changed = _changedParameters();
            vm.prank(GOVERNOR);
            try committee.setParameters(changed) {} catch {}
        }
        if (kind == 6) {
            vm.startPrank(GUARDIAN);
            try registry.pause(registry.becomeCandidate.selector) {} catch {}
            try staking.pause(staking.stake.selector) {} catch {}
            vm.stopPrank();
        }
        if (kind == 7) try this.payOutAll() {} catch {}
    }

    /// @dev Whether the next step is a replacement, and from when on it, or a step of `_step`, is possible by its rule.
    function _next() private view returns (bool isReplacement, uint256 due) {
        ICommittee.State memory state = committee.state();
        (uint32 duration, uint32 deadline,, uint32 grace, uint32 notice,,) = committee.parameters();
        if (!state.handoverDone) return (false, state.startedAt + deadline);
        if (state.epoch == 0) return (false, 0);
        if (state.selectedEpoch == 0) return (state.replaceableAt != 0, state.regularHandoverDone + duration / 2);
        due = state.selectedAt + notice;
        if (due < state.startedAt + grace) due = state.startedAt + grace;
        uint256 regular = state.regularHandoverDone + duration;
        if (!state.isReplacement && due < regular) due = regular;
    }

    function _step() private {
        if (!committee.state().handoverDone) committee.close();
        else if (_isToSelect()) committee.select();
        else committee.start();
    }

    function _isToSelect() private view returns (bool) {
        ICommittee.State memory state = committee.state();
        return state.handoverDone && state.selectedEpoch == 0;
    }

    /// @dev Operators whose nodes were ejected, or left, let them stand at a standstill, if no stake stands before.
    function _standAgain(uint32 nodes) private {
        (, uint256[] memory stakes) = registry.candidates();
        for (uint256 i; i < stakes.length; ++i) {
            if (stakes[i] != 0) return;
        }
        vm.warp(block.timestamp + 4 * (4000 + 4000) + 4 days); // no pause lasts longer
        _payOutAll();
        for (uint32 nodeId = 1; nodeId <= nodes; ++nodeId) {
            staking.stake(nodeId, STAKE);
            if (registry.node(nodeId).candidate) continue;
            vm.prank(_operator(nodeId));
            registry.becomeCandidate(nodeId);
        }
        vm.warp(block.timestamp + 3 * 4000); // no stake stays young for longer
    }

    function _parameters(uint32) internal view override returns (ICommittee.Parameters memory) {
        return _given;
    }

    /// @dev Such as the shortest period has room for.
    function _windows() internal pure override returns (IProofs.Windows memory) {
        return IProofs.Windows(1, 0, 1, 1);
    }

    /// @dev Of those that can be deployed, also the extremes of grace and notice.
    function _anyParameters() private returns (ICommittee.Parameters memory) {
        uint256 duration = _draw(12, 2000);
        uint256 grace = _draw(0, 1) == 0 ? _draw(0, duration) : duration;
        uint256 notice = _draw(0, 1) == 0 ? _draw(0, duration) : duration;
        return _times(duration, _draw(1, 2000), grace, notice, _draw(4 * duration, 30 * duration));
    }

    function _changedParameters() private returns (ICommittee.Parameters memory) {
        return _times(
            _changed(_given.periodDuration),
            _changed(_given.handoverDeadline),
            _changed(_given.certificateGrace),
            _changed(_given.notice),
            _changed(_given.shrinkDuration)
        );
    }

    function _times(uint256 duration, uint256 deadline, uint256 grace, uint256 notice, uint256 shrink)
        private
        returns (ICommittee.Parameters memory)
    {
        return ICommittee.Parameters(
            uint32(duration), uint32(deadline), 1, uint32(grace), uint32(notice), uint32(shrink), uint32(_draw(0, 1000))
        );
    }

    function _changed(uint256 deployed) private returns (uint256) {
        return _draw((deployed + 1) / 2, 2 * deployed);
    }

    function _draw(uint256 least, uint256 most) private returns (uint256) {
        _random = uint256(keccak256(abi.encode(_random)));
        return _between(_random, least, most);
    }
}
