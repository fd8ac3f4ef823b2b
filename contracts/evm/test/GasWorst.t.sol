// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IRegistry} from "src/interfaces/IRegistry.sol";
import {Base} from "test/Base.t.sol";

/// @notice The largest elections there can be, 100 members and 1000 shards, each in one transaction of at most 16 M gas.
/// forge-config: default.isolate = true
contract WorstGasTest is Base {
    event GasUsed(string action, uint256 gas);

    uint256 private constant MOST = 16_000_000;
    uint32 private constant MEMBERS = 100;

    function setUp() public override {
        vm.warp(1_700_000_000);
        _deploy(1000, 500);
    }

    function test_gas_when_the_whole_committee_is_replaced() public {
        _run(false);
        for (uint32 nodeId = 1; nodeId <= MEMBERS; ++nodeId) {
            _leave(nodeId);
        }
        for (uint256 i; i < MEMBERS; ++i) {
            _addNode(STAKE * (10 + i * i % 37));
        }
        _run(true);
        vm.warp(block.timestamp + DEADLINE_S);
        committee.close();
        _report("close");
    }

    function test_gas_when_stakes_are_turned_around() public {
        for (uint256 i; i < MEMBERS; ++i) {
            _addNode(STAKE * (10 + i));
        }
        _nextEpoch();
        _payOutAll();
        for (uint32 i; i < MEMBERS; ++i) {
            uint256 stake = STAKE * (109 - i);
            if (stake > STAKE * (10 + i)) staking.stake(i + 1, stake - STAKE * (10 + i));
            else if (stake < STAKE * (10 + i)) staking.unstake(i + 1, STAKE * (10 + i) - stake);
        }
        _run(true);
    }

    function test_gas_when_one_node_has_nearly_all_the_stake() public {
        // As much as leaves the other members a shard each.
        _run(false);
        staking.stake(1, 900 * STAKE);
        _run(true);
    }

    function test_gas_when_hardly_anything_is_staked_beside_one_node() public {
        // The other candidates are dropped one by one.
        _run(false);
        staking.stake(1, 1e5 * STAKE);
        _select();
        _report("select");
        vm.assertEq(committee.committeeOf(2).members.length, 1);
        _start();
        _report("start");
    }

    function test_gas_when_every_move_is_undone_that_can_be() public {
        _deploy(1000, 1000);
        _run(false);
        // Shares of 100 shards, and 9.1 for each of the others: 109 and 9 are elected, and all keep their 10.
        staking.stake(MEMBERS, 10 * STAKE - 1 ether);
        _run(true);
        vm.assertEq(committee.missingShards(2).length, 0);
    }

    function test_gas_when_a_third_of_the_members_is_replaced_within_the_period() public {
        _run(false);
        for (uint32 nodeId = 1; nodeId <= MEMBERS / 3; ++nodeId) {
            _eject(MEMBERS, nodeId);
        }
        committee.replace();
        _report("replace");
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        _report("start");
    }

    function test_gas_of_paying_for_a_period_with_all_its_replacements() public {
        _run(false);
        _payOutAll();
        blobs.reserve(1 << 30, 1, ANY);
        vm.warp(committee.state().regularHandoverDone + EPOCH_S + NOTICE_S); // nobody selects
        for (uint32 i; i < committee.MAX_REPLACEMENTS(); ++i) {
            _eject(MEMBERS - i, MEMBERS - i);
            committee.replace();
            vm.warp(block.timestamp + NOTICE_S);
            committee.start();
        }
        committee.select();
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        uint32[] memory nodeIds = new uint32[](16); // as many as are paid in one transaction, for two periods
        for (uint32 i; i < nodeIds.length; ++i) {
            nodeIds[i] = i + 1;
        }
        blobs.payOut(nodeIds, ALL);
        _report("payOut");
        vm.assertLe(vm.lastCallGas().gasTotalUsed, MOST / 2);
    }

    function test_gas_of_counting_votes_of_members_with_the_longest_names_and_addresses() public {
        string memory name = string(_letters(64));
        string memory networkAddress = string.concat("https://", string(_letters(248)));
        for (uint32 nodeId = 1; nodeId <= MEMBERS; ++nodeId) {
            (address account, uint256 secret) = (_operator(nodeId), _secret(nodeId));
            IRegistry.Registration memory given =
                _registration(account, _publicKey(secret), _possession(secret, account));
            (given.name, given.networkAddress) = (name, networkAddress);
            vm.prank(account);
            registry.registerNode(given);
            staking.stake(nodeId, STAKE);
        }
        _nextEpoch();
        for (uint32 nodeId = 1; nodeId <= MEMBERS; ++nodeId) {
            vm.prank(_operator(nodeId));
            ballot.vote(PRICE + nodeId * 77 % 31, WRITE_PRICE + nodeId, CAPACITY - nodeId * 31 % 17);
        }
        _nextEpoch();
        ballot.decide();
        _report("decide");
    }

    /// @dev As many as nodes attest in one transaction, for the first time.
    function test_gas_of_attesting_two_hundred_shards() public {
        _addNode(STAKE);
        _nextEpoch();
        _addNode(STAKE);
        _nextEpoch();
        uint16[] memory gained = _gained(2);
        vm.assertEq(gained.length, 500);
        _attest(2, _part(gained, 0, 200));
        _report("attest 200 shards");
    }

    function _letters(uint256 count) private pure returns (bytes memory letters) {
        letters = new bytes(count);
        for (uint256 i; i < count; ++i) {
            letters[i] = "a";
        }
    }

    function _run(bool isMeasured) private {
        if (registry.nodeCount() == 0) _addNodes(MEMBERS);
        _select();
        if (isMeasured) _report("select");
        vm.assertEq(committee.committeeOf(committee.epoch() + 1).members.length, MEMBERS);
        _start();
        if (isMeasured) _report("start");
    }

    function _report(string memory action) private {
        uint256 used = vm.lastCallGas().gasTotalUsed;
        emit GasUsed(action, used);
        vm.assertLe(used, MOST);
    }
}
