// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Staking} from "src/Staking.sol";
import {Bls} from "src/lib/Bls.sol";
import {Messages} from "src/lib/Messages.sol";
import {Base} from "test/Base.t.sol";

contract StakingTest is Base {
    address private constant OPERATOR = address(0xa0001); // of node 1
    address private constant STAKER = address(0xbeef);

    // Registration

    function test_registerNode_shows_the_node() public {
        bytes memory key = Bls.compress(_publicKey(_secret(1)));
        bytes memory proof = _possession(_secret(1), OPERATOR);
        vm.expectEmit();
        emit Staking.NodeRegistered(1, OPERATOR, "anna", "http://anna:9000", key);
        vm.expectEmit();
        emit Staking.CandidateJoined(1);
        _register("anna", "http://anna:9000", _publicKey(_secret(1)), proof);
        Staking.NodeView memory node = staking.node(1);
        vm.assertEq(node.nodeId, 1);
        vm.assertEq(node.account, OPERATOR);
        vm.assertEq(node.name, "anna");
        vm.assertEq(node.networkAddress, "http://anna:9000");
        vm.assertEq(node.publicKey, key);
        vm.assertEq(node.stake, 0);
        vm.assertTrue(node.candidate);
        vm.assertEq(staking.nodeOf(OPERATOR), 1);
        vm.assertEq(staking.nodeCount(), 1);
    }

    function test_registerNode_reverts_for_a_second_node_of_an_account() public {
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(Staking.AccountHasNode.selector, OPERATOR, 1));
        _register("anna", "a", "", "");
    }

    function test_registerNode_reverts_for_a_key_in_use() public {
        _addNode(0);
        bytes memory key = _publicKey(_secret(1));
        bytes memory proof = _possession(_secret(1), STAKER);
        vm.prank(STAKER);
        vm.expectRevert(abi.encodeWithSelector(Staking.KeyInUse.selector, 1));
        staking.registerNode("eve", "e", key, proof);
    }

    function test_registerNode_reverts_for_the_identity_key() public {
        _expectKeyRefused(new bytes(128));
    }

    function test_registerNode_reverts_for_a_key_outside_the_subgroup() public {
        _expectKeyRefused(OUTSIDE_G1);
    }

    function test_registerNode_reverts_for_a_key_off_the_curve() public {
        bytes memory key = _publicKey(5);
        key[127] ^= 0x01;
        _expectKeyRefused(key);
    }

    function test_registerNode_reverts_for_a_stretched_key() public {
        _expectKeyRefused(abi.encodePacked(_publicKey(5), uint8(0)));
    }

    function test_registerNode_reverts_for_a_rogue_key_without_proof() public {
        // The key that would cancel node 1's: nobody needs its secret to write it down, but it can prove nothing.
        _addNode(0);
        bytes memory rogue = _publicKey(ORDER - _secret(1));
        bytes memory proof = _possession(_secret(1), STAKER);
        vm.prank(STAKER);
        vm.expectRevert(Staking.InvalidProofOfPossession.selector);
        staking.registerNode("eve", "e", rogue, proof);
    }

    function test_registerNode_reverts_for_a_proof_by_another_account() public {
        _expectProofRefused(_possession(_secret(1), STAKER));
    }

    function test_registerNode_reverts_for_a_proof_with_another_key() public {
        bytes memory body = Messages.possession(OPERATOR, Bls.compress(_publicKey(_secret(1))));
        _expectProofRefused(_sign(_secret(2), _message(Messages.POSSESSION, 0, body)));
    }

    function test_registerNode_reverts_for_a_proof_with_another_intent() public {
        bytes memory body = Messages.possession(OPERATOR, Bls.compress(_publicKey(_secret(1))));
        _expectProofRefused(_sign(_secret(1), _message(Messages.BLOB, 0, body)));
    }

    function test_registerNode_reverts_for_a_proof_of_another_epoch() public {
        bytes memory body = Messages.possession(OPERATOR, Bls.compress(_publicKey(_secret(1))));
        _expectProofRefused(_sign(_secret(1), _message(Messages.POSSESSION, 1, body)));
    }

    function test_registerNode_reverts_for_a_proof_on_another_chain() public {
        bytes memory proof = _possession(_secret(1), OPERATOR);
        vm.chainId(5);
        _expectProofRefused(proof);
    }

    function test_registerNode_reverts_for_an_empty_name() public {
        vm.expectRevert(abi.encodeWithSelector(Staking.InvalidName.selector, 0));
        _register("", "a", "", "");
    }

    function test_registerNode_reverts_for_a_long_name() public {
        vm.expectRevert(abi.encodeWithSelector(Staking.InvalidName.selector, 65));
        _register(string(new bytes(65)), "a", "", "");
    }

    function test_registerNode_reverts_for_an_empty_address() public {
        vm.expectRevert(abi.encodeWithSelector(Staking.InvalidNetworkAddress.selector, 0));
        _register("a", "", "", "");
    }

    function test_registerNode_reverts_for_a_long_address() public {
        vm.expectRevert(abi.encodeWithSelector(Staking.InvalidNetworkAddress.selector, 257));
        _register("a", string(new bytes(257)), "", "");
    }

    function test_updateNetworkAddress_changes_it_at_once() public {
        _addNode(0);
        vm.expectEmit();
        emit Staking.NetworkAddressChanged(1, "http://elsewhere");
        vm.prank(OPERATOR);
        staking.updateNetworkAddress("http://elsewhere");
        vm.assertEq(staking.node(1).networkAddress, "http://elsewhere");
    }

    function test_updateNetworkAddress_reverts_for_a_stranger() public {
        vm.expectRevert(abi.encodeWithSelector(Staking.NotAnOperator.selector, STAKER));
        vm.prank(STAKER);
        staking.updateNetworkAddress("http://elsewhere");
    }

    // Candidates

    function test_leaveCandidates_keeps_the_order_of_the_others() public {
        _addNodes(4);
        vm.expectEmit();
        emit Staking.NodeLeft(2);
        vm.prank(_operator(2));
        staking.leaveCandidates();
        _checkCandidates(1, 3, 4);
        vm.assertFalse(staking.node(2).candidate);
    }

    function test_leaveCandidates_reverts_for_no_candidate() public {
        _addNode(0);
        vm.startPrank(OPERATOR);
        staking.leaveCandidates();
        vm.expectRevert(abi.encodeWithSelector(Staking.NotCandidate.selector, 1));
        staking.leaveCandidates();
    }

    function test_becomeCandidate_stands_behind_the_others() public {
        _addNodes(3);
        vm.startPrank(OPERATOR);
        staking.leaveCandidates();
        vm.expectEmit();
        emit Staking.CandidateJoined(1);
        staking.becomeCandidate();
        _checkCandidates(2, 3, 1);
    }

    function test_becomeCandidate_reverts_for_a_candidate() public {
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(Staking.AlreadyCandidate.selector, 1));
        vm.prank(OPERATOR);
        staking.becomeCandidate();
    }

    function test_becomeCandidate_takes_the_place_of_the_least_staked() public {
        for (uint256 i; i < 100; ++i) {
            _addNode(i == 30 || i == 60 ? 5 : 6);
        }
        _addNode(0);
        vm.assertFalse(staking.node(101).candidate);
        staking.stake(101, 5, 0);
        vm.expectRevert(abi.encodeWithSelector(Staking.CandidatesFull.selector, 5));
        vm.prank(_operator(101));
        staking.becomeCandidate();
        staking.stake(101, 1, 0);
        vm.expectEmit();
        emit Staking.CandidateEvicted(61);
        vm.prank(_operator(101));
        staking.becomeCandidate();
        (uint32[] memory nodeIds,) = staking.candidates();
        vm.assertEq(nodeIds.length, 100);
        vm.assertEq(nodeIds[60], 62);
        vm.assertEq(nodeIds[99], 101);
        vm.assertTrue(staking.node(31).candidate);
        vm.assertFalse(staking.node(61).candidate);
    }

    function test_removeCandidate_reverts_for_anyone_but_the_committee() public {
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(Staking.NotCommittee.selector, address(this)));
        staking.removeCandidate(1, 0);
    }

    function test_removeCandidate_never_shortens_a_bar() public {
        _addNode(0);
        vm.startPrank(address(committee));
        staking.removeCandidate(1, uint64(block.timestamp) + 10);
        staking.removeCandidate(1, 0);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(Staking.Barred.selector, 1, block.timestamp + 10));
        vm.prank(OPERATOR);
        staking.becomeCandidate();
        vm.warp(block.timestamp + 10);
        vm.prank(OPERATOR);
        staking.becomeCandidate();
    }

    // Stake

    function test_stake_counts_for_the_node_and_the_staker() public {
        _addNode(0);
        vm.expectEmit();
        emit Staking.Staked(1, address(this), 12);
        staking.stake(1, 12, 0);
        staking.stake(1, 8, 0);
        vm.assertEq(staking.node(1).stake, 20);
        vm.assertEq(staking.stakeOf(1, address(this)), 20);
        vm.assertEq(token.balanceOf(address(staking)), 20);
        (, uint256[] memory stakes) = staking.candidates();
        vm.assertEq(stakes[0], 20);
    }

    function test_stake_reverts_for_an_unknown_node() public {
        vm.expectRevert(abi.encodeWithSelector(Staking.UnknownNode.selector, 1));
        staking.stake(1, 1, 0);
    }

    function test_stake_reverts_for_nothing() public {
        _addNode(0);
        vm.expectRevert(Staking.ZeroAmount.selector);
        staking.stake(1, 0, 0);
    }

    function test_stake_reverts_without_allowance() public {
        _addNode(0);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(staking), 0, 1)
        );
        vm.prank(STAKER);
        staking.stake(1, 1, 0);
    }

    function test_stake_reverts_above_the_limit() public {
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooLarge.selector, 1 << 128));
        staking.stake(1, 1 << 128, 0);
        token.mint(address(this), 1 << 128);
        staking.stake(1, type(uint128).max, 0);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooLarge.selector, 1 << 128));
        staking.stake(1, 1, 0);
    }

    function test_unstake_pays_after_two_epochs() public {
        _addNodes(4);
        vm.expectEmit();
        emit Staking.Unstaked(1, address(this), STAKE / 4, 2);
        staking.unstake(1, STAKE / 4);
        vm.assertEq(staking.node(1).stake, STAKE - STAKE / 4);
        _nextEpoch();
        vm.expectRevert(abi.encodeWithSelector(Staking.StillBonded.selector, 2));
        staking.withdraw(1);
        _nextEpoch();
        uint256 before = token.balanceOf(address(this));
        vm.expectEmit();
        emit Staking.Withdrawn(1, address(this), STAKE / 4);
        staking.withdraw(1);
        vm.assertEq(token.balanceOf(address(this)), before + STAKE / 4);
    }

    function test_unstake_again_moves_the_unlock_epoch_of_all() public {
        _addNodes(4);
        staking.unstake(1, 1);
        _nextEpoch();
        staking.unstake(1, 2);
        (uint128 amount, uint32 unlockEpoch) = staking.unbondingOf(1, address(this));
        vm.assertEq(amount, 3);
        vm.assertEq(unlockEpoch, 3);
    }

    function test_unstake_reverts_above_the_stake() public {
        _addNodes(2);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooSmall.selector, STAKE, STAKE + 1));
        staking.unstake(1, STAKE + 1);
    }

    function test_unstake_reverts_for_a_stranger() public {
        _addNode(STAKE);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooSmall.selector, 0, 1));
        vm.prank(STAKER);
        staking.unstake(1, 1);
    }

    function test_unstake_reverts_for_nothing() public {
        vm.expectRevert(Staking.ZeroAmount.selector);
        staking.unstake(1, 0);
    }

    function test_withdraw_reverts_the_second_time() public {
        _addNodes(4);
        staking.unstake(1, 1);
        _nextEpoch();
        _nextEpoch();
        staking.withdraw(1);
        vm.expectRevert(abi.encodeWithSelector(Staking.NothingUnbonding.selector, 1, address(this)));
        staking.withdraw(1);
    }

    function test_stake_is_conserved(uint256 staked, uint256 unstaked) public {
        _addNodes(4);
        staked = _between(staked, 1, 1e6 ether);
        unstaked = _between(unstaked, 1, staked);
        token.mint(STAKER, staked);
        vm.startPrank(STAKER);
        token.approve(address(staking), staked);
        staking.stake(2, staked, 0);
        staking.unstake(2, unstaked);
        vm.stopPrank();
        _nextEpoch();
        _nextEpoch();
        vm.prank(STAKER);
        staking.withdraw(2);
        vm.assertEq(token.balanceOf(STAKER), unstaked);
        vm.assertEq(staking.stakeOf(2, STAKER), staked - unstaked);
        vm.assertEq(token.balanceOf(address(staking)), 4 * STAKE + staked - unstaked);
    }

    // Views

    function test_nodes_come_in_pages() public {
        _addNodes(5);
        (Staking.NodeView[] memory page, uint32 next) = staking.nodes(0, 2);
        vm.assertEq(page.length, 2);
        vm.assertEq(page[0].nodeId, 1);
        vm.assertEq(next, 3);
        (page, next) = staking.nodes(next, 3);
        vm.assertEq(page.length, 3);
        vm.assertEq(page[2].nodeId, 5);
        vm.assertEq(next, 0);
        (page, next) = staking.nodes(5, type(uint32).max);
        vm.assertEq(page.length, 1);
        vm.assertEq(next, 0);
        (page, next) = staking.nodes(6, 1);
        vm.assertEq(page.length, 0);
        vm.assertEq(next, 0);
    }

    function test_node_reverts_for_an_unknown_id() public {
        vm.expectRevert(abi.encodeWithSelector(Staking.UnknownNode.selector, 0));
        staking.node(0);
        vm.expectRevert(abi.encodeWithSelector(Staking.UnknownNode.selector, 1));
        staking.keysOf(abi.decode(abi.encode(32, 1, 1), (uint32[])));
    }

    function test_mint_reverts_for_anyone_but_the_owner() public {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, STAKER));
        vm.prank(STAKER);
        token.mint(STAKER, 1);
    }

    function _register(string memory name, string memory networkAddress, bytes memory key, bytes memory proof) private {
        vm.prank(OPERATOR);
        staking.registerNode(name, networkAddress, key, proof);
    }

    function _expectKeyRefused(bytes memory key) private {
        vm.expectRevert(Staking.InvalidKey.selector);
        _register("anna", "a", key, new bytes(256));
    }

    function _expectProofRefused(bytes memory proof) private {
        bytes memory key = _publicKey(_secret(1));
        vm.expectRevert(Staking.InvalidProofOfPossession.selector);
        _register("anna", "a", key, proof);
    }

    function _checkCandidates(uint32 a, uint32 b, uint32 c) private view {
        (uint32[] memory nodeIds, uint256[] memory stakes) = staking.candidates();
        vm.assertEq(nodeIds.length, 3);
        vm.assertEq(stakes.length, 3);
        vm.assertEq(nodeIds[0], a);
        vm.assertEq(nodeIds[1], b);
        vm.assertEq(nodeIds[2], c);
    }
}
