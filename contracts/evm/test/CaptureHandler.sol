// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {Messages} from "src/lib/Messages.sol";
import {Base} from "test/Base.t.sol";

/// @notice An attacker with 27 % of all stake, on as many of twelve nodes as it likes, against six honest nodes that act
/// as their software does: when they are up they attest what they gained, eject who is down, and stand again after an
/// ejection. They are down whenever the fuzzer wants, also all at once. Whoever can pushes the epochs, at any time.
/// @dev Of 100 shards `f` is 33; with at most 18 members 27 % of the stake holds at most 0.27 * 118 of them.
contract CaptureHandler is Base {
    uint32 private constant HONEST = 6;
    uint32 private constant NODES = 18;
    uint256 private constant F = 33;
    uint256 private constant HONEST_STAKE = 73_000 ether;
    uint256 private constant BUDGET = 27_000 ether;

    mapping(uint32 nodeId => bool) private _isDown;
    mapping(uint32 nodeId => bool) private _isEjected; // and has not asked to stand again
    uint256 private _staked; // by the attacker, and not withdrawn
    uint32[2][] private _unbondings; // its nodes and unlock epochs

    constructor() {
        vm.warp(1_700_000_000);
        _deploy(SHARDS, 0);
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
        if (_staked == BUDGET) return;
        amount = _between(amount, 1e9, BUDGET);
        if (amount > BUDGET - _staked) amount = BUDGET - _staked;
        if (amount < 1e9) return;
        _payOutAll();
        staking.stake(_attackers(seed), amount);
        _staked += amount;
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
        bool stands = registry.node(nodeId).candidate;
        vm.prank(_operator(nodeId));
        if (stands) registry.leaveCandidates(nodeId);
        else try registry.becomeCandidate(nodeId) {} catch {}
    }

    // Time and the epochs

    /// @dev The next two steps, each if it is possible after a while.
    function push(uint256 seconds_) external {
        for (uint256 step; step < 2; ++step) {
            vm.warp(block.timestamp + seconds_ % EPOCH_S);
            ICommittee.State memory state = committee.state();
            if (!state.handoverDone) {
                try committee.close() {} catch {}
            } else if (state.selectedEpoch != 0) {
                try committee.start() {} catch {}
            } else {
                try committee.replace() {
                    _checkReplacement(state);
                } catch {
                    try committee.select() {
                        _check(state.epoch + 1);
                    } catch {}
                }
            }
        }
    }

    // The honest

    function down(uint256 nodes) external {
        for (uint32 nodeId = 1; nodeId <= HONEST; ++nodeId) {
            if (nodes >> nodeId & 1 == 1) _isDown[nodeId] = true;
        }
    }

    function up(uint256 nodes) external {
        uint32 epoch = committee.epoch();
        for (uint32 nodeId = 1; nodeId <= HONEST; ++nodeId) {
            if (nodes >> nodeId & 1 == 0) continue;
            _isDown[nodeId] = false;
            if (!registry.node(nodeId).candidate) {
                vm.prank(_operator(nodeId));
                try registry.becomeCandidate(nodeId) {
                    _isEjected[nodeId] = false;
                } catch {}
            }
            if (epoch != 0) _attestAll(nodeId);
        }
    }

    function attest(uint256 seed) external {
        if (committee.epoch() != 0) _attestAll(_attackers(seed));
    }

    /// @dev Signed by all that are up, honest or not.
    function eject(uint256 seed) external {
        uint32 epoch = committee.epoch();
        uint32 nodeId = uint32(1 + seed % HONEST);
        if (epoch == 0 || !_isDown[nodeId]) return;
        uint64 deadline = uint64(block.timestamp);
        (uint256 secret, bytes memory bitmap) = _signers(epoch);
        if (secret == 0) return;
        bytes memory message = _message(Messages.EJECT, epoch, Messages.ejection(nodeId, 1, deadline));
        try committee.eject(nodeId, 1, deadline, bitmap, _sign(secret, message)) {
            _isEjected[nodeId] = true;
        } catch {}
    }

    function _signers(uint32 epoch) private view returns (uint256 secret, bytes memory bitmap) {
        ICommittee.CommitteeView memory shown = committee.committeeOf(epoch);
        bitmap = new bytes((shown.members.length + 7) / 8);
        for (uint256 i; i < shown.members.length; ++i) {
            uint32 signer = shown.members[i].nodeId;
            if (_isDown[signer]) continue;
            secret = addmod(secret, _secret(signer), ORDER);
            bitmap[i / 8] |= bytes1(uint8(1 << (i % 8)));
        }
    }

    /// @notice Whatever the attacker and time do: it has a third of the shards in no committee, but for what a quorum of
    /// the others has taken away from members that it ejected; and nothing else ends an honest candidacy.
    function _check(uint32 epoch_) private view {
        ICommittee.CommitteeView memory shown = committee.committeeOf(epoch_);
        uint256 away;
        for (uint32 nodeId = 1; nodeId <= HONEST; ++nodeId) {
            if (registry.node(nodeId).candidate) continue;
            require(_isEjected[nodeId], "only an ejection ends a candidacy");
            away += staking.stakeOn(nodeId);
        }
        uint256 held;
        for (uint256 i; i < shown.members.length; ++i) {
            if (shown.members[i].nodeId > HONEST) held += shown.members[i].shards.length;
        }
        uint256 standing = HONEST_STAKE - away + _staked;
        require(held * standing <= _staked * (SHARDS + shown.members.length), "more than rounding gives");
        if (away == 0) require(held <= F, "a third of the shards");
    }

    /// @notice A replacement takes from nobody but the ejected, gives no member more than half as many shards again as it
    /// had when the period began, rounded up, and leaves members that had two thirds of them then.
    function _checkReplacement(ICommittee.State memory state) private view {
        ICommittee.CommitteeView memory regular = committee.committeeOf(state.firstEpoch);
        ICommittee.CommitteeView memory before = committee.committeeOf(state.epoch);
        ICommittee.CommitteeView memory shown = committee.committeeOf(state.epoch + 1);
        uint256 left;
        for (uint256 i; i < shown.members.length; ++i) {
            uint32 nodeId = shown.members[i].nodeId;
            uint256 began = _shardsIn(regular, nodeId).length;
            uint256 had = _shardsIn(before, nodeId).length;
            uint256 has = shown.members[i].shards.length;
            require(had != 0 && has >= had, "a member that stays loses nothing");
            require(!committee.isEjected(state.epoch, nodeId), "the ejected go");
            require(2 * has <= 3 * began + 1, "half as many again");
            left += began;
        }
        require(3 * left >= 2 * uint256(SHARDS), "two thirds");
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
