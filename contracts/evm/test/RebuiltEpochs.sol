// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Committee} from "src/Committee.sol";
import {Governed} from "src/Governed.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {RebuiltNodes} from "test/RebuiltNodes.sol";
import {Vm} from "test/Vm.sol";

/// @notice Clock, committees, shards, ejections, attestations, parameters and pay, by the committee contract's events and
/// the blocks that they are in. Keys and addresses of members are the registry's to tell.
contract RebuiltEpochs {
    struct Term {
        uint32 period;
        uint256 stake;
        uint32[] nodeIds;
        uint16[][] shards;
        uint64 selectedAt;
        uint64 startedAt;
        uint256 from; // parts of the period that had passed at the start
        uint64 handoverDoneAt;
    }

    /// @dev Of a shard in an epoch.
    struct Fate {
        uint32 owner;
        bool held; // kept or attested
        bool attested;
        uint256 attestedAt; // parts
        bytes32 digest;
        uint32 count;
    }

    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 private constant PARTS = 10_000;

    RebuiltNodes private immutable _nodes;
    uint16 private immutable _shards;
    uint32 private epoch;
    uint32 private period;
    uint32 private selectedEpoch;
    uint64 private startedAtBlock;
    ICommittee.Parameters private parameters;
    ICommittee.Parameters private nextParameters;
    mapping(uint32 epoch => Term) private terms;
    mapping(uint32 epoch => mapping(uint256 shard => Fate)) private fates;
    mapping(uint32 epoch => mapping(uint32 nodeId => bool)) private isEjected;
    mapping(uint32 period => uint32 epoch) private firstEpochOf;

    /// @param nodes_ What the registry tells.
    /// @param shards How many there are; fixed at the deployment.
    constructor(RebuiltNodes nodes_, uint16 shards) {
        (_nodes, _shards) = (nodes_, shards);
        terms[0].handoverDoneAt = uint64(block.timestamp);
    }

    /// @notice Takes in what the contract told in this block, among logs in their order.
    function take(Vm.Log[] memory logs, address emitter) external {
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].emitter == emitter) _take(logs[i]);
        }
    }

    /// @notice Compares all that the contract shows.
    function compare(Committee real, uint32 nodes) external view {
        _compareState(real);
        _compareParameters(real);
        uint32 last = selectedEpoch == 0 ? epoch : selectedEpoch;
        for (uint32 one = 1; one <= last; ++one) {
            _compareCommittee(real.committeeOf(one), one);
        }
        for (uint32 one = 1; one <= epoch; ++one) {
            for (uint32 nodeId = 1; nodeId <= nodes; ++nodeId) {
                vm.assertTrue(real.isEjected(one, nodeId) == isEjected[one][nodeId]);
            }
            uint16[] memory missing = real.missingShards(one);
            uint256 count;
            for (uint16 shard; shard < _shards; ++shard) {
                if (!fates[one][shard].held) vm.assertEq(missing[count++], shard);
            }
            vm.assertEq(missing.length, count);
        }
        for (uint16 shard; shard < _shards; ++shard) {
            Fate memory fate = fates[epoch][shard];
            (bool done, bytes32 digest, uint32 count) = real.attestation(shard);
            vm.assertEq(abi.encode(fate.attested, fate.digest, fate.count), abi.encode(done, digest, count));
        }
        for (uint32 one = 1; one <= period; ++one) {
            vm.assertEq(firstEpochOf[one], real.firstEpochOf(one));
            for (uint32 nodeId = 1; nodeId <= nodes; ++nodeId) {
                vm.assertEq(_earnings(one, nodeId), real.earnings(one, nodeId));
            }
        }
    }

    function _compareState(Committee real) private view {
        uint64 regularDone = terms[firstEpochOf[period]].handoverDoneAt;
        if (regularDone == 0) regularDone = terms[firstEpochOf[period - 1]].handoverDoneAt;
        bool done = epoch == 0 || terms[epoch].handoverDoneAt != 0;
        ICommittee.State memory shown = ICommittee.State({
            epoch: epoch,
            period: period,
            firstEpoch: firstEpochOf[period],
            startedAt: terms[epoch].startedAt,
            startedAtBlock: startedAtBlock,
            handoverDone: done,
            lastHandoverDone: terms[done ? epoch : epoch - 1].handoverDoneAt,
            regularHandoverDone: regularDone,
            selectedEpoch: selectedEpoch,
            selectedAt: selectedEpoch == 0 ? 0 : terms[selectedEpoch].selectedAt,
            isReplacement: selectedEpoch != 0 && terms[selectedEpoch].period == period,
            replaceableAt: real.state().replaceableAt, // follows from the others (Replacement.t.sol)
            nShards: _shards
        });
        vm.assertEq(abi.encode(shown), abi.encode(real.state()));
        if (epoch == 0 || block.timestamp > regularDone + parameters.periodDuration / 2) return;
        vm.assertEq(2 * terms[epoch].stake / 3, real.stakeNeeded());
    }

    function _compareParameters(Committee real) private view {
        (, bytes memory answer) = address(real).staticcall(abi.encodeWithSignature("parameters()"));
        vm.assertEq(abi.encode(parameters), answer);
        (, answer) = address(real).staticcall(abi.encodeWithSignature("nextParameters()"));
        vm.assertEq(abi.encode(nextParameters), answer);
    }

    function _compareCommittee(ICommittee.CommitteeView memory real, uint32 one) private view {
        Term memory term = terms[one];
        ICommittee.CommitteeView memory shown =
            ICommittee.CommitteeView(one, new ICommittee.MemberView[](term.nodeIds.length));
        for (uint256 i; i < term.nodeIds.length; ++i) {
            (string memory name, string memory networkAddress, bytes memory key) =
                _nodes.memberOf(term.nodeIds[i], term.period);
            shown.members[i] = ICommittee.MemberView(term.nodeIds[i], name, networkAddress, key, term.shards[i]);
        }
        vm.assertEq(abi.encode(shown), abi.encode(real));
    }

    /// @dev What a node's shards earned, one after another; in an epoch that has no next one, to the end of the period.
    function _earnings(uint32 one, uint32 nodeId) private view returns (uint256 parts) {
        uint32 last = one == period ? epoch : firstEpochOf[one + 1] - 1;
        for (uint32 during = firstEpochOf[one]; during <= last; ++during) {
            if (isEjected[during][nodeId]) continue;
            uint256 until = during == last ? PARTS : terms[during + 1].from;
            for (uint256 shard; shard < _shards; ++shard) {
                Fate memory fate = fates[during][shard];
                if (fate.owner != nodeId || !fate.held) continue;
                parts += until - (fate.attested ? fate.attestedAt : terms[during].from);
            }
        }
    }

    function _take(Vm.Log memory log) private {
        bytes32 kind = log.topics[0];
        uint32 topic = uint32(uint256(log.topics[1]));
        if (kind == ICommittee.ParametersChanged.selector) {
            nextParameters = abi.decode(log.data, (ICommittee.Parameters));
            if (topic == 1 && epoch == 0) parameters = nextParameters;
        } else if (kind == ICommittee.CommitteeSelected.selector) {
            _selected(topic, log.data);
        } else if (kind == ICommittee.SelectionDropped.selector) {
            delete terms[topic];
            selectedEpoch = 0;
        } else if (kind == ICommittee.EpochStarted.selector) {
            _started(topic, abi.decode(log.data, (uint32)));
        } else if (kind == ICommittee.ShardsAttested.selector) {
            _attested(topic, log.data);
        } else if (kind == ICommittee.HandoverDone.selector) {
            terms[topic].handoverDoneAt = uint64(block.timestamp);
        } else if (kind == ICommittee.MemberEjected.selector) {
            isEjected[topic][uint32(uint256(log.topics[2]))] = true;
        } else if (kind != ICommittee.HandoverClosed.selector && kind != Governed.GuardianChanged.selector) {
            revert("an event that is not known");
        }
    }

    function _selected(uint32 one, bytes memory data) private {
        selectedEpoch = one;
        Term storage term = terms[one];
        delete terms[one];
        bytes memory members;
        bytes memory list;
        (term.period, term.stake, members, list) = abi.decode(data, (uint32, uint256, bytes, bytes));
        term.selectedAt = uint64(block.timestamp);
        uint256 shard;
        for (uint256 i; i < members.length; i += 6) {
            term.nodeIds.push(uint32(_number(members, i, 4)));
            uint16[] storage own = term.shards.push();
            for (uint256 end = _number(members, i + 4, 2); shard < end; ++shard) {
                own.push(uint16(_number(list, 2 * shard, 2)));
            }
        }
    }

    function _started(uint32 one, uint32 period_) private {
        Term storage term = terms[one];
        term.startedAt = uint64(block.timestamp);
        if (period_ == period) {
            term.from = _partsPassed();
        } else {
            firstEpochOf[period_] = one;
            parameters = nextParameters;
        }
        (epoch, period, selectedEpoch, startedAtBlock) = (one, period_, 0, uint64(block.number));
        for (uint256 i; i < term.nodeIds.length; ++i) {
            for (uint256 k; k < term.shards[i].length; ++k) {
                uint16 shard = term.shards[i][k];
                Fate memory before = fates[one - 1][shard];
                bool kept = one == 1 || (before.owner == term.nodeIds[i] && before.held);
                fates[one][shard] = Fate(term.nodeIds[i], kept, false, 0, 0, 0);
            }
        }
    }

    function _attested(uint32 one, bytes memory data) private {
        (uint16[] memory shards, bytes32[] memory digests, uint32[] memory counts) =
            abi.decode(data, (uint16[], bytes32[], uint32[]));
        for (uint256 i; i < shards.length; ++i) {
            Fate storage fate = fates[one][shards[i]];
            (fate.held, fate.attested, fate.attestedAt) = (true, true, _partsPassed());
            (fate.digest, fate.count) = (digests[i], counts[i]);
        }
    }

    function _partsPassed() private view returns (uint256 parts) {
        parts = PARTS * (block.timestamp - terms[firstEpochOf[period]].startedAt) / parameters.periodDuration;
        if (parts > PARTS) parts = PARTS;
    }

    function _number(bytes memory data, uint256 start, uint256 size) private pure returns (uint256 number) {
        for (uint256 i; i < size; ++i) {
            number = number << 8 | uint8(data[start + i]);
        }
    }
}
