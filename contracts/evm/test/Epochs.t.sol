// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Governed} from "src/Governed.sol";
import {Registry} from "src/Registry.sol";
import {Staking} from "src/Staking.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {Bls} from "src/lib/Bls.sol";
import {Base} from "test/Base.t.sol";

/// @notice What is shown of the epochs, and what a committee contract is deployed with.
contract EpochsTest is Base {
    uint256 private constant NODES = 5; // 20 shards each; any four are a quorum

    function setUp() public override {
        super.setUp();
        _addNodes(NODES);
    }

    // Views

    function test_committees_shows_what_there_is() public {
        (ICommittee.CommitteeView memory previous, ICommittee.CommitteeView memory current,) = committee.committees();
        vm.assertEq(previous.epoch + current.epoch, 0);
        _nextEpoch();
        _replaceMembers(3);
        _attest(6, _gained(6));
        _attest(7, _gained(7));
        _select();
        ICommittee.CommitteeView memory next;
        (previous, current, next) = committee.committees();
        vm.assertEq(previous.epoch, 1);
        vm.assertEq(current.epoch, 2);
        vm.assertEq(next.epoch, 3);
        vm.assertEq(previous.members[0].nodeId, 1);
        vm.assertEq(current.members[0].nodeId, 4);
        vm.assertEq(next.members.length, NODES);
    }

    function test_committee_shows_an_epoch_long_gone() public {
        for (uint256 i; i < 3; ++i) {
            _nextEpoch();
        }
        ICommittee.CommitteeView memory first = committee.committeeOf(1);
        vm.assertEq(first.epoch, 1);
        vm.assertEq(first.members.length, NODES);
        vm.assertEq(first.members[4].shards[0], 80);
    }

    function test_committee_reverts_for_an_epoch_that_has_never_been() public {
        for (uint256 i; i < 3; ++i) {
            _nextEpoch();
        }
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 4, 3));
        committee.committeeOf(4);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 0, 3));
        committee.committeeOf(0);
    }

    function test_domain_names_the_chain_and_the_contract() public {
        vm.assertEq(committee.domain(), keccak256(abi.encode(block.chainid, address(committee))));
        vm.chainId(99);
        vm.assertEq(committee.domain(), keccak256(abi.encode(99, address(committee))));
    }

    // Deploying

    function test_constructor_reverts_for_a_registry_of_another_committee() public {
        _expectConstructorReverts("registry", 100, _parameters(500));
    }

    function test_constructor_reverts_for_bad_numbers_of_shards() public {
        _predict();
        _expectConstructorReverts("nShards", 3, _parameters(500));
        _predict();
        _expectConstructorReverts("nShards", 1001, _parameters(500));
    }

    function test_constructor_reverts_for_bad_parameters() public {
        ICommittee.Parameters memory given = _parameters(500);
        (given.periodDuration, given.shrinkDuration) = (0, 1);
        _expectRefused("periodDuration", given);
        (given.periodDuration, given.shrinkDuration) = (365 days + 1, type(uint32).max);
        _expectRefused("periodDuration", given);
        given = _parameters(500);
        given.handoverDeadline = 0;
        _expectRefused("handoverDeadline", given);
        given.handoverDeadline = 365 days + 1;
        _expectRefused("handoverDeadline", given);
        given = _parameters(500);
        given.patience = 0;
        _expectRefused("patience", given);
        given = _parameters(500);
        given.certificateGrace = EPOCH_S + 1;
        _expectRefused("certificateGrace", given);
        given = _parameters(500);
        given.notice = EPOCH_S + 1;
        _expectRefused("notice", given);
        given = _parameters(500);
        given.shrinkDuration = 4 * EPOCH_S - 1;
        _expectRefused("shrinkDuration", given);
        _expectRefused("bandMillis", _parameters(1001));
    }

    /// @dev The least times, which only a chain for development has a use for.
    function test_constructor_takes_periods_of_a_second() public {
        _predict();
        ICommittee.Parameters memory given = ICommittee.Parameters(1, 1, 1, 0, 0, 4, 0);
        this.create(100, given, ICommittee.Opening(1, 0, 0));
        given.shrinkDuration = 3;
        _expectRefused("shrinkDuration", given);
    }

    function test_constructor_reverts_for_an_opening_without_end() public {
        _predict();
        vm.expectRevert(abi.encodeWithSelector(Governed.InvalidParameter.selector, "opening"));
        this.create(100, _parameters(500), ICommittee.Opening(1, 0, 365 days + 1));
    }

    function test_constructor_reverts_without_the_precompiles() public {
        vm.mockCall(address(0x0b), "", "");
        vm.expectRevert(Bls.PrecompileMissing.selector);
        this.create(100, _parameters(500), ICommittee.Opening(1, 0, 0));
    }

    /// @dev Deploys and reverts with the constructor's reason.
    function create(uint16 shards, ICommittee.Parameters memory parameters, ICommittee.Opening memory opening)
        external
    {
        _create("artifacts/Committee.json", abi.encode(registry, shards, parameters, opening, GOVERNOR, GUARDIAN));
    }

    function _predict() private {
        uint64 nonce = vm.getNonce(address(this));
        address registry_ = vm.computeCreateAddress(address(this), nonce + 1);
        address committee_ = vm.computeCreateAddress(address(this), nonce + 2);
        bytes memory arguments =
            abi.encode(token, registry_, committee_, address(0), address(0), EVIDENCE_S, GOVERNOR, GUARDIAN);
        staking = Staking(vm.deployCode("artifacts/Staking.json", arguments));
        registry = Registry(vm.deployCode("artifacts/Registry.json", abi.encode(staking, GOVERNOR, GUARDIAN)));
    }

    function _expectRefused(string memory name, ICommittee.Parameters memory parameters) private {
        _predict();
        _expectConstructorReverts(name, 100, parameters);
    }

    function _expectConstructorReverts(string memory name, uint16 shards, ICommittee.Parameters memory parameters)
        private
    {
        vm.expectRevert(abi.encodeWithSelector(Governed.InvalidParameter.selector, name));
        this.create(shards, parameters, ICommittee.Opening(1, 0, 0));
    }
}
