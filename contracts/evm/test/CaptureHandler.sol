// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {Messages} from "src/lib/Messages.sol";
import {CaptureChecks} from "test/CaptureChecks.sol";

/// @notice An attacker with a part of all stake that is drawn for each run, on as many of twelve nodes as it likes,
/// against six honest nodes that act as their software does: when they are up they attest what they gained, eject who is
/// silent, and stand again after an ejection. They are down whenever the fuzzer wants, also all at once for epochs, and
/// their operators leave and come back. The attacker stakes late, spreads what it stakes, waits for a standstill, is silent,
/// and does each step of the epochs at a time of its choice, as anybody can.
contract CaptureHandler is CaptureChecks {
    uint256 private constant HONEST_STAKE = 73_000 ether;
    /// @dev Just below `F / (SHARDS + NODES)` of all stake.
    uint256 private constant MOST = HONEST_STAKE * F / (SHARDS + NODES - F) - 1;
    uint256 private constant LEAST = 1e9;

    mapping(uint32 nodeId => bool) private _isDown;
    uint256 private _drawn;
    uint256 private _staked; // by the attacker, and not withdrawn
    uint32[2][] private _unbondings; // its nodes and unlock epochs

    constructor() {
        vm.warp(1_700_000_000);
        _deploy(SHARDS, 1000); // the widest band
        uint8[HONEST] memory parts = [23, 17, 13, 9, 7, 4];
        for (uint256 i; i < HONEST; ++i) {
            _addNode(HONEST_STAKE / 73 * parts[i]);
        }
        for (uint32 i = HONEST; i < NODES; ++i) {
            _addNode(0);
        }
    }

    function setUp() public override {}

    // The attacker

    function stake(uint256 seed, uint256 amount) external {
        _payOutAll();
        _stake(_attackers(seed), _between(amount, LEAST, MOST), seed);
    }

    /// @dev One amount on each of several nodes: of dust, of what is just worth a shard, or of all it has.
    function spread(uint256 seed, uint256 amount) external {
        _payOutAll();
        uint256 count = 1 + seed % (NODES - HONEST);
        uint256 most = [HONEST_STAKE / 1000, HONEST_STAKE / 50, MOST / count][(seed >> 8) % 3];
        amount = _between(amount, most / 2, most);
        for (uint256 i; i < count; ++i) {
            _stake(_attackers(i), amount, seed);
        }
    }

    function unstake(uint256 seed) external {
        uint32 nodeId = _attackers(seed);
        _payOutAll();
        uint256 shares = staking.sharesOf(nodeId, address(this));
        if (shares == 0) return;
        _unbondings.push([nodeId, staking.unstake(nodeId, shares)]);
    }

    /// @dev All that is unlocked.
    function withdraw() external {
        _payOutAll();
        for (uint256 i; i < _unbondings.length; ++i) {
            try staking.withdraw(_unbondings[i][0], _unbondings[i][1]) returns (uint256 amount) {
                _staked -= amount;
            } catch {}
        }
    }

    function candidacy(uint256 seed) external {
        uint32 nodeId = _attackers(seed);
        if (!registry.node(nodeId).candidate) return _stand(nodeId);
        vm.prank(_operator(nodeId));
        registry.leaveCandidates(nodeId);
    }

    function attest(uint256 seed) external {
        if (committee.epoch() != 0) _attestAll(_attackers(seed));
    }

    // Time and the epochs

    /// @dev The next two steps, each if it is possible after a while.
    function push(uint256 seconds_) external {
        _push(seconds_, 2);
    }

    /// @dev All honest nodes are down while epochs go on without them, and then up again.
    function outage(uint256 seconds_) external {
        this.down(type(uint256).max);
        _push(seconds_, 6);
        this.up(type(uint256).max);
    }

    /// @dev Some honest nodes are down and ejected, and epochs go on: by replacements, where that is possible.
    function purge(uint256 nodes) external {
        this.down(nodes);
        for (uint32 nodeId = 1; nodeId <= HONEST; ++nodeId) {
            this.eject(nodeId - 1);
        }
        _push(nodes, 2);
    }

    /// @dev Nobody does a step for as long as a network takes to stall, or until a selection needs no stake any more.
    function standstill(uint256 seconds_) external {
        vm.warp(block.timestamp + seconds_ % (SHRINK_S + EPOCH_S));
    }

    // The honest

    function down(uint256 nodes) external {
        for (uint32 nodeId = 1; nodeId <= HONEST; ++nodeId) {
            if (nodes >> nodeId & 1 == 1) _isDown[nodeId] = true;
        }
    }

    function up(uint256 nodes) external {
        for (uint32 nodeId = 1; nodeId <= HONEST; ++nodeId) {
            if (nodes >> nodeId & 1 == 0) continue;
            _isDown[nodeId] = false;
            if (_isOut[nodeId] && !_hasLeft[nodeId]) _stand(nodeId);
            if (committee.epoch() != 0) _attestAll(nodeId);
        }
    }

    /// @dev Their operators take them away.
    function goAway(uint256 nodes) external {
        for (uint32 nodeId = 1; nodeId <= HONEST; ++nodeId) {
            if (nodes >> nodeId & 1 == 0 || !registry.node(nodeId).candidate) continue;
            _hasLeft[nodeId] = true;
            _leave(nodeId);
        }
    }

    function comeBack(uint256 nodes) external {
        for (uint32 nodeId = 1; nodeId <= HONEST; ++nodeId) {
            if (nodes >> nodeId & 1 == 1 && _hasLeft[nodeId]) _stand(nodeId);
        }
    }

    /// @dev One that is down, by all that are up, honest or not; or one of the attacker's, by the honest.
    function eject(uint256 seed) external {
        uint32 epoch = committee.epoch();
        uint32 nodeId = uint32(1 + seed % NODES);
        if (epoch == 0 || (nodeId <= HONEST && !_isDown[nodeId])) return;
        uint64 deadline = uint64(block.timestamp);
        (uint256 secret, bytes memory bitmap) = _signers(epoch, nodeId <= HONEST ? NODES : HONEST);
        if (secret == 0) return;
        bytes memory message = _message(Messages.EJECT, epoch, Messages.ejection(nodeId, 1, deadline));
        try committee.eject(nodeId, 1, deadline, bitmap, _sign(secret, message)) {
            _isOut[nodeId] = true;
            (_ejectedIn[nodeId], _barredIn[nodeId]) = (committee.period(), committee.period());
        } catch {}
    }

    function _budget() internal view override returns (uint256) {
        return _drawn;
    }

    /// @dev As much as its budget allows. The budget is drawn with the first stake: as often the most as anything else.
    function _stake(uint32 nodeId, uint256 amount, uint256 seed) private {
        if (_drawn == 0) _drawn = seed & 1 == 0 ? MOST : _between(uint256(keccak256(abi.encode(seed))), LEAST, MOST);
        if (amount > _drawn - _staked) amount = _drawn - _staked;
        if (amount < LEAST) return;
        staking.stake(nodeId, amount);
        _staked += amount;
    }

    function _push(uint256 seconds_, uint256 steps) private {
        for (uint256 step; step < steps; ++step) {
            vm.warp(block.timestamp + uint256(keccak256(abi.encode(seconds_, step))) % EPOCH_S);
            ICommittee.State memory state = committee.state();
            if (!state.handoverDone) {
                try committee.close() {} catch {}
            } else if (state.selectedEpoch != 0) {
                _tryStart();
            } else {
                _tryReplace();
                if (committee.state().selectedEpoch == 0) _trySelect();
            }
        }
    }

    /// @dev At a standstill also the ejected may, as the next period may never come.
    function _stand(uint32 nodeId) private {
        vm.prank(_operator(nodeId));
        try registry.becomeCandidate(nodeId) {
            (_isOut[nodeId], _hasLeft[nodeId]) = (false, false);
            if (committee.isStalled()) delete _barredIn[nodeId];
        } catch {}
    }

    /// @dev The secret and bitmap of the members up to a node that are up.
    function _signers(uint32 epoch, uint32 last) private view returns (uint256 secret, bytes memory bitmap) {
        ICommittee.CommitteeView memory shown = committee.committeeOf(epoch);
        bitmap = new bytes((shown.members.length + 7) / 8);
        for (uint256 i; i < shown.members.length; ++i) {
            uint32 signer = shown.members[i].nodeId;
            if (_isDown[signer] || signer > last) continue;
            secret = addmod(secret, _secret(signer), ORDER);
            bitmap[i / 8] |= bytes1(uint8(1 << (i % 8)));
        }
    }

    function _attestAll(uint32 nodeId) private {
        uint32 epoch = committee.epoch();
        uint16[] memory missing = committee.missingShards(epoch);
        uint16[] memory own = _shardsIn(committee.committeeOf(epoch), nodeId);
        uint256 count;
        for (uint256 i; i < own.length; ++i) {
            for (uint256 k; k < missing.length; ++k) {
                if (own[i] == missing[k]) own[count++] = own[i];
            }
        }
        if (count != 0) _attest(nodeId, _part(own, 0, count));
    }

    function _attackers(uint256 seed) private pure returns (uint32) {
        return uint32(HONEST + 1 + seed % (NODES - HONEST));
    }
}
