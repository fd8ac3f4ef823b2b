// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IRegistry} from "src/interfaces/IRegistry.sol";
import {IStaking} from "src/interfaces/IStaking.sol";
import {Base} from "test/Base.t.sol";

uint16 constant N = 10;
uint32 constant NODES = 4;
uint256 constant STAKERS = 3;

/// @dev One of the accounts that stake.
function stakerAt(uint256 index) pure returns (address) {
    return address(uint160(0xb0000 + index));
}

/// @notice What the invariants let the fuzzer do with stake, and who runs for committees.
abstract contract StakeHandler is Base {
    /// @notice Stake of a node that unlocks in an epoch; somebody has unstaked some.
    struct Unbonding {
        uint32 nodeId;
        uint32 unlockPeriod;
    }

    uint256 private constant MOST_SLASHED = 1e17; // a tenth, in an epoch

    /// @notice Tokens that went into the registry as stake and as rewards, and that came out of it.
    uint256 public staked;
    uint256 public rewarded;
    uint256 public withdrawn;
    uint256 public slashed;
    uint256 public earned;
    /// @notice The same by staker.
    mapping(address staker => uint256) public stakedBy;
    mapping(address staker => uint256) public withdrawnBy;
    /// @notice Where stake is, or was, unbonding.
    Unbonding[] public unbondings;
    /// @notice The last epoch and period seen.
    uint32 public epoch;
    uint32 public period;

    mapping(uint32 period => uint256) internal _beganAt;
    mapping(uint32 nodeId => mapping(uint32 unlockPeriod => bool)) private _isListed;
    mapping(uint32 nodeId => mapping(uint32 period => uint256)) private _slashedIn;

    constructor() {
        vm.warp(1_700_000_000);
        _deploy(N, 500);
        vm.prank(GOVERNOR);
        staking.setSlasher(address(this));
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            _addNode(0);
            address account = stakerAt(nodeId % STAKERS);
            if (nodeId <= STAKERS) _fund(account, 1e9 ether);
            _stake(nodeId, account, STAKE);
        }
    }

    function setUp() public override {}

    modifier watched() {
        _;
        uint32 now_ = committee.epoch();
        require(now_ == epoch || now_ == epoch + 1, "epochs go on one by one");
        require(committee.period() - period <= now_ - epoch, "periods begin with epochs");
        (epoch, period) = (now_, committee.period());
    }

    function receiver(uint32 nodeId) external pure returns (address) {
        return _operator(nodeId);
    }

    function unbondingCount() external view returns (uint256) {
        return unbondings.length;
    }

    function stake(uint256 seed, uint256 amount) external watched {
        (uint32 nodeId, address account) = (_node(seed), _staker(seed));
        amount = _between(amount, 1, seed & 1 == 0 ? 1e10 : 1e22);
        if (staking.isPaused(staking.stake.selector)) return;
        IStaking.Joining[] memory joinings = staking.joiningsOf(nodeId, account);
        uint256 joining = amount;
        bool isFull; // of what waits for settling
        uint32 fromPeriod = committee.electablePeriod();
        bool joinsAtOnce = fromPeriod <= staking.settledPeriod(nodeId); // the epoch before was settled as stalled
        for (uint256 i; i < joinings.length && !joinsAtOnce; ++i) {
            joining += joinings[i].amount;
            isFull = isFull || (joinings[i].period != fromPeriod && joinings[i].period % 2 == fromPeriod % 2);
        }
        uint256 shares = staking.sharesOf(nodeId, account) + staking.sharesFor(nodeId, joining);
        if (shares >= staking.LEAST_SHARES() && !isFull) return _stake(nodeId, account, amount);
        vm.expectRevert();
        vm.prank(account);
        staking.stake(nodeId, amount);
    }

    /// @dev Whatever is paused.
    function unstake(uint256 seed, uint256 shares) external watched {
        (uint32 nodeId, address account) = (_node(seed), _staker(seed));
        uint256 held = staking.sharesOf(nodeId, account);
        if (held == 0) return;
        shares = _between(shares, 1, held);
        if (held - shares < staking.LEAST_SHARES()) shares = held;
        _unstake(nodeId, account, shares);
    }

    function cancel(uint256 seed, uint256 shares) external watched {
        (uint256 held, Unbonding memory one, address account) = _someUnbonding(seed);
        if (held == 0) return;
        shares = _between(shares, 1, held);
        bool isElectedWithout = one.unlockPeriod < committee.electablePeriod();
        vm.prank(account);
        try staking.cancelUnstaking(one.nodeId, one.unlockPeriod, shares) {
            require(!isElectedWithout, "what stands for no committee cannot stand again");
        } catch (bytes memory reason) {
            bytes4 wanted = isElectedWithout ? IStaking.ElectedWithout.selector : IStaking.StakeTooSmall.selector;
            require(bytes4(reason) == wanted, "no reason to refuse");
        }
    }

    /// @dev Of what was unstaked behind a selection that was dropped: any part. Whatever is paused.
    function unstakeSooner(uint256 seed, uint256 shares) external watched {
        (uint256 held, Unbonding memory one, address account) = _someUnbonding(seed);
        if (held == 0) return;
        shares = _between(shares, 1, held);
        bool isElectedWithout = one.unlockPeriod < committee.electablePeriod();
        if (isElectedWithout) vm.expectRevert();
        vm.prank(account);
        uint32 unlockPeriod = staking.unstakeSooner(one.nodeId, one.unlockPeriod, shares);
        if (!isElectedWithout) _list(one.nodeId, unlockPeriod);
    }

    /// @dev Whatever is paused; once, and not before it is unlocked.
    function withdraw(uint256 seed) external watched {
        (uint256 held, Unbonding memory one, address account) = _someUnbonding(seed);
        if (held == 0) return;
        bool isSettled = staking.settledPeriod(one.nodeId) >= one.unlockPeriod;
        if (isSettled && _isUnlocked(one.unlockPeriod)) _withdraw(one, account);
        vm.expectRevert();
        vm.prank(account);
        staking.withdraw(one.nodeId, one.unlockPeriod);
    }

    function slash(uint256 seed, uint256 fraction) external watched {
        uint32 nodeId = _node(seed);
        fraction = _between(fraction, 1, MOST_SLASHED);
        bool isBehind = staking.settledPeriod(nodeId) < period;
        uint256 left = MOST_SLASHED - _slashedIn[nodeId][period];
        if (staking.slasher() != address(this) || isBehind || fraction > left) vm.expectRevert();
        else _slashedIn[nodeId][period] += fraction;
        slashed += staking.slash(nodeId, fraction, 0, address(0), 0);
    }

    function candidacy(uint256 seed) external watched {
        IRegistry.NodeView memory node = registry.node(_node(seed));
        if (node.candidate) return _leave(node.nodeId);
        bool isPaused = registry.isPaused(registry.becomeCandidate.selector);
        bool isBarred = period < node.barredUntil && !committee.isStalled();
        if (isPaused || isBarred) vm.expectRevert();
        vm.prank(node.operator);
        registry.becomeCandidate(node.nodeId);
    }

    /// @dev At a standstill, all being paid out: everybody takes all stake and all commissions. Of those who joined
    /// together the last to collect has the share that rounding has left, which shows when the others have: so twice.
    function _takeAllStake() internal {
        for (uint256 round; round < 2; ++round) {
            _unstakeAll();
            _withdrawAll();
        }
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            _takeEarnings(_operator(nodeId));
        }
    }

    function _takeEarnings(address account) internal {
        if (staking.earningsOf(account) == 0) return;
        vm.prank(account);
        earned += staking.withdrawEarnings();
    }

    function _node(uint256 seed) internal pure returns (uint32) {
        return uint32(1 + (seed >> 8) % NODES);
    }

    function _unstakeAll() private {
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            for (uint256 i; i < STAKERS; ++i) {
                uint256 shares = staking.sharesOf(nodeId, stakerAt(i));
                if (shares != 0) _unstake(nodeId, stakerAt(i), shares);
                IStaking.Joining[] memory joinings = staking.joiningsOf(nodeId, stakerAt(i));
                for (uint256 k; k < joinings.length; ++k) {
                    _cancelStaking(nodeId, stakerAt(i), joinings[k].period);
                }
            }
        }
    }

    function _withdrawAll() private {
        for (uint256 k; k < unbondings.length; ++k) {
            Unbonding memory one = unbondings[k];
            for (uint256 i; i < STAKERS; ++i) {
                uint256 shares = staking.unbondingSharesOf(one.nodeId, one.unlockPeriod, stakerAt(i));
                if (shares == 0) continue;
                if (one.unlockPeriod > period + 1) _leaveSooner(one, stakerAt(i), shares);
                else _withdraw(one, stakerAt(i));
            }
        }
    }

    function _stake(uint32 nodeId, address account, uint256 amount) private {
        vm.prank(account);
        staking.stake(nodeId, amount);
        staked += amount;
        stakedBy[account] += amount;
    }

    function _unstake(uint32 nodeId, address account, uint256 shares) private {
        vm.prank(account);
        _list(nodeId, staking.unstake(nodeId, shares));
    }

    function _list(uint32 nodeId, uint32 unlockPeriod) private {
        require(unlockPeriod == committee.electablePeriod(), "the first for which it does not stand");
        if (_isListed[nodeId][unlockPeriod]) return;
        _isListed[nodeId][unlockPeriod] = true;
        unbondings.push(Unbonding(nodeId, unlockPeriod));
    }

    /// @dev Stake that came after a selection which was dropped.
    function _cancelStaking(uint32 nodeId, address account, uint32 fromPeriod) private {
        vm.prank(account);
        uint256 amount = staking.cancelStaking(nodeId, fromPeriod);
        (withdrawn, withdrawnBy[account]) = (withdrawn + amount, withdrawnBy[account] + amount);
    }

    function _withdraw(Unbonding memory one, address account) private {
        vm.prank(account);
        uint256 amount = staking.withdraw(one.nodeId, one.unlockPeriod);
        withdrawn += amount;
        withdrawnBy[account] += amount;
    }

    /// @dev What was unstaked after a selection which was dropped need not wait for the epoch behind.
    function _leaveSooner(Unbonding memory one, address account, uint256 shares) private {
        vm.prank(account);
        Unbonding memory sooner = Unbonding(one.nodeId, staking.unstakeSooner(one.nodeId, one.unlockPeriod, shares));
        require(sooner.unlockPeriod == period + 1, "the first epoch that is not elected for");
        // Nothing, if it was worth less than a share of what is unbonding.
        if (staking.unbondingSharesOf(sooner.nodeId, sooner.unlockPeriod, account) != 0) _withdraw(sooner, account);
    }

    /// @dev Whether what served the epoch before can be judged no more.
    function _isUnlocked(uint32 unlockPeriod) private view returns (bool) {
        if (committee.isStalled() && unlockPeriod <= period + 1) return true;
        ICommittee.State memory state = committee.state();
        bool isJudged = unlockPeriod == period && state.firstEpoch == state.epoch && !state.handoverDone;
        if (unlockPeriod > period || isJudged) return false;
        return block.timestamp >= _beganAt[unlockPeriod] + EVIDENCE_S;
    }

    /// @dev Any stake that is unbonding, or `held` 0 if there is none.
    function _someUnbonding(uint256 seed) private view returns (uint256 held, Unbonding memory one, address account) {
        uint256 count = unbondings.length * STAKERS;
        for (uint256 i; i < count && held == 0; ++i) {
            uint256 index = (seed % count + i) % count;
            (one, account) = (unbondings[index / STAKERS], stakerAt(index % STAKERS));
            held = staking.unbondingSharesOf(one.nodeId, one.unlockPeriod, account);
        }
    }

    function _staker(uint256 seed) private pure returns (address) {
        return stakerAt((seed >> 16) % STAKERS);
    }
}
