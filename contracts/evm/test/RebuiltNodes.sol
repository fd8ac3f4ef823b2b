// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ballot} from "src/Ballot.sol";
import {Governed} from "src/Governed.sol";
import {Registry} from "src/Registry.sol";
import {IBallot} from "src/interfaces/IBallot.sol";
import {IRegistry} from "src/interfaces/IRegistry.sol";
import {Vm} from "test/Vm.sol";

/// @notice The nodes, who stands for election, and the votes, by the events of the registry and the ballot.
contract RebuiltNodes {
    /// @dev What is not indexed of `NodeRegistered`.
    struct Registered {
        address receiver;
        string name;
        string networkAddress;
        bytes32 tlsKey;
        bytes publicKey;
        uint16 commission;
    }

    struct Key {
        uint32 fromPeriod;
        bytes key;
    }

    struct Commission {
        uint32 fromPeriod;
        uint16 commission;
    }

    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    address private guardian;
    uint32 private count;
    uint32 private decidedPeriod;
    uint32[] private candidates;
    mapping(uint32 nodeId => IRegistry.NodeView) private nodes;
    mapping(uint32 nodeId => Key[]) private keys;
    mapping(uint32 nodeId => Commission[]) private commissions;
    mapping(address account => uint32 nodeId) private nodeOf;
    address[] private accounts;
    mapping(uint32 nodeId => IBallot.Vote[]) private votes;

    /// @notice Takes in what the registry and the ballot told, among logs in their order.
    function take(Vm.Log[] memory logs, address registry, address ballot) external {
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].emitter == registry) _take(logs[i]);
            else if (logs[i].emitter == ballot) _takeVote(logs[i]);
        }
    }

    /// @notice A node's name and address of today, and its key in a period; compressed.
    function memberOf(uint32 nodeId, uint32 period)
        external
        view
        returns (string memory name, string memory networkAddress, bytes memory key)
    {
        return (nodes[nodeId].name, nodes[nodeId].networkAddress, _keyIn(nodeId, period));
    }

    /// @notice Compares all that the registry shows but the stake, which is another contract's.
    function compare(Registry real, uint32 period) external view {
        vm.assertEq(guardian, real.guardian());
        vm.assertEq(count, real.nodeCount());
        for (uint32 nodeId = 1; nodeId <= count; ++nodeId) {
            IRegistry.NodeView memory node = nodes[nodeId];
            node.nodeId = nodeId;
            node.stake = real.node(nodeId).stake;
            Key[] storage changes = keys[nodeId];
            node.publicKey = _keyIn(nodeId, period);
            (node.pendingPublicKey, node.publicKeyFrom) =
            (changes[changes.length - 1].key, changes[changes.length - 1].fromPeriod);
            node.commission = _commissionIn(nodeId, period);
            Commission memory last = commissions[nodeId][commissions[nodeId].length - 1];
            (node.pendingCommission, node.commissionFrom) = (last.commission, last.fromPeriod);
            vm.assertEq(abi.encode(node), abi.encode(real.node(nodeId)));
            for (uint32 past; past < period + 3; ++past) {
                vm.assertEq(_commissionIn(nodeId, past), real.commissionIn(nodeId, past));
            }
        }
        for (uint256 i; i < accounts.length; ++i) {
            vm.assertEq(nodeOf[accounts[i]], real.nodeOf(accounts[i]));
        }
        (uint32[] memory standing,) = real.candidates();
        vm.assertEq(abi.encode(candidates), abi.encode(standing));
    }

    /// @notice Compares the votes that count in the current period and the next.
    function compareVotes(Ballot real, uint32 period) external view {
        vm.assertEq(decidedPeriod, real.decidedPeriod());
        for (uint32 nodeId = 1; nodeId <= count; ++nodeId) {
            for (uint32 coming = period; coming < period + 2; ++coming) {
                IBallot.Vote memory counting;
                for (uint256 i; i < votes[nodeId].length; ++i) {
                    if (votes[nodeId][i].fromPeriod <= coming) counting = votes[nodeId][i];
                }
                vm.assertEq(abi.encode(counting), abi.encode(real.voteOf(nodeId, coming)));
            }
        }
    }

    function _take(Vm.Log memory log) private {
        bytes32 kind = log.topics[0];
        if (kind == Governed.GuardianChanged.selector) {
            guardian = address(uint160(uint256(log.topics[1])));
            return;
        }
        uint32 nodeId = uint32(uint256(log.topics[1]));
        address account = log.topics.length > 2 ? address(uint160(uint256(log.topics[2]))) : address(0);
        IRegistry.NodeView storage node = nodes[nodeId];
        if (kind == IRegistry.NodeRegistered.selector) {
            _registered(nodeId, account, log);
        } else if (kind == IRegistry.NetworkAddressChanged.selector) {
            (node.networkAddress, node.tlsKey) = abi.decode(log.data, (string, bytes32));
        } else if (kind == IRegistry.PublicKeyChanged.selector) {
            (bytes memory key, uint32 fromPeriod) = abi.decode(log.data, (bytes, uint32));
            Key[] storage changes = keys[nodeId];
            if (changes[changes.length - 1].fromPeriod == fromPeriod) changes.pop();
            changes.push(Key(fromPeriod, key));
        } else if (kind == IRegistry.CommissionChanged.selector) {
            (uint16 commission, uint32 fromPeriod) = abi.decode(log.data, (uint16, uint32));
            Commission[] storage changes = commissions[nodeId];
            if (changes[changes.length - 1].fromPeriod == fromPeriod) changes.pop();
            changes.push(Commission(fromPeriod, commission));
        } else if (kind == IRegistry.OperatorChanged.selector) {
            _operates(nodeId, account);
        } else if (kind == IRegistry.ReceiverChanged.selector) {
            node.receiver = account;
        } else if (kind == IRegistry.NodeOffered.selector) {
            node.nextOwner = account;
        } else if (kind == IRegistry.OwnerChanged.selector) {
            (node.owner, node.nextOwner) = (account, address(0));
        } else {
            _takeCandidacy(kind, nodeId, log.data);
        }
    }

    function _takeCandidacy(bytes32 kind, uint32 nodeId, bytes memory data) private {
        if (kind == IRegistry.CandidateJoined.selector) {
            candidates.push(nodeId);
            nodes[nodeId].candidate = true;
        } else if (kind == IRegistry.CandidateRemoved.selector) {
            nodes[nodeId].barredUntil = abi.decode(data, (uint32));
            _stepDown(nodeId);
        } else if (kind == IRegistry.NodeLeft.selector || kind == IRegistry.CandidateEvicted.selector) {
            _stepDown(nodeId);
        } else {
            revert("an event that is not known");
        }
    }

    function _registered(uint32 nodeId, address owner, Vm.Log memory log) private {
        count = nodeId;
        Registered memory told = abi.decode(bytes.concat(bytes32(uint256(32)), log.data), (Registered));
        IRegistry.NodeView storage node = nodes[nodeId];
        node.owner = owner;
        node.receiver = told.receiver;
        node.name = told.name;
        node.networkAddress = told.networkAddress;
        node.tlsKey = told.tlsKey;
        keys[nodeId].push(Key(0, told.publicKey));
        commissions[nodeId].push(Commission(0, told.commission));
        _operates(nodeId, address(uint160(uint256(log.topics[3]))));
    }

    function _operates(uint32 nodeId, address operator) private {
        delete nodeOf[nodes[nodeId].operator];
        nodes[nodeId].operator = operator;
        if (operator == address(0)) return;
        nodeOf[operator] = nodeId;
        accounts.push(operator);
    }

    function _stepDown(uint32 nodeId) private {
        if (!nodes[nodeId].candidate) return;
        nodes[nodeId].candidate = false;
        uint256 kept;
        for (uint256 i; i < candidates.length; ++i) {
            if (candidates[i] != nodeId) candidates[kept++] = candidates[i];
        }
        candidates.pop();
    }

    function _takeVote(Vm.Log memory log) private {
        uint32 topic = uint32(uint256(log.topics[1]));
        if (log.topics[0] == IBallot.Voted.selector) votes[topic].push(abi.decode(log.data, (IBallot.Vote)));
        else if (log.topics[0] == IBallot.Decided.selector) decidedPeriod = topic;
        else revert("an event that is not known");
    }

    function _keyIn(uint32 nodeId, uint32 period) private view returns (bytes memory key) {
        for (uint256 i; i < keys[nodeId].length; ++i) {
            if (keys[nodeId][i].fromPeriod <= period) key = keys[nodeId][i].key;
        }
    }

    function _commissionIn(uint32 nodeId, uint32 period) private view returns (uint16 commission) {
        for (uint256 i; i < commissions[nodeId].length; ++i) {
            if (commissions[nodeId][i].fromPeriod <= period) commission = commissions[nodeId][i].commission;
        }
    }
}
