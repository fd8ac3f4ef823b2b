// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {ReplacementBase} from "test/ReplacementBase.sol";

/// @notice What members earn in a period of attestations, ejections, missed storage proofs and replacements at any moments,
/// against a plain account of each shard in each epoch.
contract EarningsModelTest is ReplacementBase {
    uint16 private constant FEW = 20; // shards
    uint256 private constant PARTS = 10_000;

    mapping(uint32 epoch => uint256) private _begin; // parts passed at its start
    mapping(uint32 epoch => mapping(uint16 shard => uint32)) private _ownerIn;
    mapping(uint32 epoch => mapping(uint16 shard => uint256)) private _heldFrom; // parts, and one; 0 for never
    mapping(uint32 epoch => mapping(uint32 nodeId => bool)) private _isOut;
    mapping(uint32 epoch => mapping(uint32 nodeId => bool)) private _hasForfeited;
    uint256 private _periodBegan;

    function setUp() public override {
        vm.warp(1_700_000_000);
        _deploy(FEW, 500);
        for (uint256 i; i < 8; ++i) {
            _addNode(STAKE * (3 + i % 3));
        }
        _nextEpoch();
        _enter();
    }

    /// forge-config: default.fuzz.runs = 64
    function test_earnings_are_the_parts_that_each_shard_was_held(uint256 seed) public {
        _beginSecondPeriod(seed);
        for (uint256 step; step < 14; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            vm.warp(block.timestamp + seed % 160);
            _act(seed >> 16);
            _check(2, committee.epoch());
        }
        _beginThirdPeriod();
        _check(2, committee.firstEpochOf(3) - 1);
    }

    /// forge-config: default.fuzz.runs = 64
    function test_what_was_closed_at_a_standstill_changes_no_more(uint256 seed) public {
        _beginSecondPeriod(seed);
        blobs.reserve(1 << 30, 9, ANY);
        _act(seed >> 64);
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        vm.assertTrue(committee.isStalled());
        blobs.payOut(new uint32[](0), ALL);
        bytes32 before = _owed();
        for (uint256 step; step < 8; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            vm.warp(block.timestamp + seed % 160);
            _act(seed >> 16);
            vm.assertEq(_owed(), before);
        }
        _beginThirdPeriod();
        vm.assertEq(_owed(), before);
        uint256 held = token.balanceOf(address(blobs));
        vm.assertEq(held - _payOutAll(), token.balanceOf(address(blobs)));
    }

    function _beginSecondPeriod(uint256 seed) private {
        for (uint32 i; i < seed % 3; ++i) {
            _leave(1 + i);
            _addNode(STAKE * 3);
        }
        _nextEpoch();
        _enter();
    }

    function _beginThirdPeriod() private {
        ICommittee.State memory state = committee.state();
        vm.warp(block.timestamp + DEADLINE_S);
        if (!state.handoverDone) committee.close();
        vm.warp(block.timestamp + EPOCH_S + SHRINK_S); // whoever is left may be elected
        if (state.selectedEpoch == 0) committee.select();
        vm.warp(block.timestamp + EPOCH_S);
        committee.start();
    }

    /// @dev Attests some shards of a node, ejects a member, has one miss its proof, closes the handover, or replaces those that
    /// were ejected.
    function _act(uint256 seed) private {
        uint256 what = seed % 7;
        if (what <= 1) _attestSome(uint32(1 + (seed >> 8) % registry.nodeCount()), seed >> 16);
        else if (what <= 3) _ejectOne(seed >> 8);
        else if (what == 4) _tryClose();
        else if (what == 5) _forfeitOne(seed >> 8);
        else if (committee.state().replaceableAt != 0) _tryReplace();
    }

    function _attestSome(uint32 nodeId, uint256 seed) private {
        uint32 epoch = committee.epoch();
        uint16[] memory shards = committee.missingShards(epoch);
        uint256 count;
        for (uint256 i; i < shards.length; ++i) {
            if (_ownerIn[epoch][shards[i]] == nodeId && seed >> i & 1 == 1) shards[count++] = shards[i];
        }
        if (count == 0) return;
        _attest(nodeId, _part(shards, 0, count));
        for (uint256 i; i < count; ++i) {
            _heldFrom[epoch][shards[i]] = _partsPassed() + 1;
        }
    }

    function _ejectOne(uint256 seed) private {
        uint32 epoch = committee.epoch();
        ICommittee.MemberView[] memory members = committee.committeeOf(epoch).members;
        uint32 nodeId = members[seed % members.length].nodeId;
        if (members.length == 1 || _isOut[epoch][nodeId]) return;
        try this.eject(nodeId) {
            _isOut[epoch][nodeId] = true;
        } catch {} // one with a third of the shards, without which the others are no quorum
    }

    /// @dev It stays a member, and earns again in the next epoch.
    function _forfeitOne(uint256 seed) private {
        uint32 epoch = committee.epoch();
        ICommittee.MemberView[] memory members = committee.committeeOf(epoch).members;
        uint32 nodeId = members[seed % members.length].nodeId;
        vm.prank(address(proofs));
        committee.forfeit(nodeId);
        _hasForfeited[epoch][nodeId] = true;
    }

    function eject(uint32 nodeId) external {
        _eject(nodeId);
    }

    function _tryClose() private {
        try committee.close() {} catch {}
    }

    function _tryReplace() private {
        try committee.replace() {
            vm.warp(block.timestamp + NOTICE_S);
            committee.start();
            _enter();
        } catch {}
    }

    /// @dev Notes the epoch that has started: a shard is held from then on if its owner had it before, and held it.
    function _enter() private {
        uint32 epoch = committee.epoch();
        if (committee.state().firstEpoch == epoch) _periodBegan = block.timestamp;
        _begin[epoch] = _partsPassed();
        ICommittee.MemberView[] memory members = committee.committeeOf(epoch).members;
        for (uint256 i; i < members.length; ++i) {
            for (uint256 k; k < members[i].shards.length; ++k) {
                uint16 shard = members[i].shards[k];
                _ownerIn[epoch][shard] = members[i].nodeId;
                bool isKept = _ownerIn[epoch - 1][shard] == members[i].nodeId && _heldFrom[epoch - 1][shard] != 0;
                if (epoch == 1 || isKept) _heldFrom[epoch][shard] = _begin[epoch] + 1;
            }
        }
    }

    function _check(uint32 period, uint32 last) private view {
        uint256 total;
        for (uint32 nodeId = 1; nodeId <= registry.nodeCount(); ++nodeId) {
            uint256 expected;
            for (uint32 epoch = committee.firstEpochOf(period); epoch <= last; ++epoch) {
                if (_isOut[epoch][nodeId] || _hasForfeited[epoch][nodeId]) continue;
                uint256 end = epoch == last ? PARTS : _begin[epoch + 1];
                for (uint16 shard; shard < FEW; ++shard) {
                    bool isHeld = _ownerIn[epoch][shard] == nodeId && _heldFrom[epoch][shard] != 0;
                    if (isHeld) expected += end + 1 - _heldFrom[epoch][shard];
                }
            }
            vm.assertEq(committee.earnings(period, nodeId), expected);
            total += expected;
        }
        vm.assertEq(committee.earned(period), total);
    }

    /// @dev What period 2 owes its members, and what all of them earned.
    function _owed() private view returns (bytes32) {
        uint256[] memory owed = new uint256[](registry.nodeCount() + 1);
        for (uint32 nodeId = 1; nodeId < owed.length; ++nodeId) {
            owed[nodeId] = blobs.owed(2, nodeId);
        }
        owed[0] = committee.earned(2);
        return keccak256(abi.encode(owed));
    }

    function _partsPassed() private view returns (uint256) {
        uint256 parts = PARTS * (block.timestamp - _periodBegan) / EPOCH_S;
        return parts < PARTS ? parts : PARTS;
    }
}
