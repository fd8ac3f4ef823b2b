// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IProofs} from "src/interfaces/IProofs.sol";
import {Messages} from "src/lib/Messages.sol";
import {ReplacementBase} from "test/ReplacementBase.sol";

/// @notice Members that fall silent one after another, each so that its replacement ends the round in the last second in
/// which nobody is judged yet: how many of them a period without a judgement takes. Windows are the longest that a
/// deployment can have; a draw takes a hundredth of a period. There are 20 members of five shards each.
contract ProofVoidTest is ReplacementBase {
    uint32 private constant MEMBERS = 20;
    uint32 private constant SHORT_NOTICE_S = 10;

    function setUp() public override {
        vm.warp(1_700_000_000);
        _deploy(SHARDS, 500);
        _addNodes(MEMBERS);
        _nextEpoch();
    }

    function test_after_four_rounds_that_were_cut_short_a_fifth_is_judged_in_the_period() public {
        _cutShort(4);
        _beginAndDraw();
        vm.warp(_answerBy() + 1);
        vm.assertTrue(block.timestamp < _due());
        uint32 liar = MEMBERS;
        proofs.judge(liar);
        vm.assertEq(proofs.misses(liar), 1);
        vm.assertEq(committee.state().period, 1);
        vm.assertEq(committee.state().epoch, 5);
    }

    function test_five_rounds_that_are_cut_short_leave_no_time_for_a_sixth() public {
        _cutShort(5);
        _beginAndDraw();
        vm.assertTrue(_answerBy() > _due());
    }

    function test_in_the_shortest_period_that_a_governor_can_make_a_second_round_is_judged() public {
        ICommittee.Parameters memory given = _parameters(500);
        given.periodDuration /= 2;
        vm.prank(GOVERNOR);
        committee.setParameters(given);
        _nextEpoch();
        _cutShort(1);
        _beginAndDraw();
        vm.warp(_answerBy() + 1);
        vm.assertTrue(block.timestamp < _due());
        proofs.judge(MEMBERS);
        vm.assertEq(committee.state().period, 2);
    }

    function _parameters(uint32 bandMillis) internal pure override returns (ICommittee.Parameters memory) {
        return ICommittee.Parameters(EPOCH_S, DEADLINE_S, PATIENCE_S, 0, SHORT_NOTICE_S, SHRINK_S, bandMillis);
    }

    function _windows() internal pure override returns (IProofs.Windows memory) {
        uint32 sixth = EPOCH_S / 6;
        return IProofs.Windows(sixth - 2 * (sixth / 6), sixth / 6, sixth / 6, sixth);
    }

    /// @dev The first members of the list, one a round.
    function _cutShort(uint32 count) private {
        for (uint32 nodeId = 1; nodeId <= count; ++nodeId) {
            _beginAndDraw();
            vm.warp(_answerBy() - SHORT_NOTICE_S);
            _eject(nodeId);
            committee.replace();
            vm.warp(_answerBy());
            committee.start();
            vm.assertTrue(committee.state().handoverDone);
            vm.expectRevert(abi.encodeWithSelector(IProofs.RoundNotBegun.selector, committee.epoch()));
            proofs.judge(MEMBERS);
        }
    }

    function _beginAndDraw() private {
        vm.roll(block.number + 1);
        uint32 epoch = committee.epoch();
        bytes memory body = Messages.inventory(keccak256("inventory"), 1, 2);
        (bytes memory bitmap, bytes memory signature) = _signedIn(epoch, 0, _message(Messages.INVENTORY, epoch, body));
        proofs.begin(keccak256("inventory"), 1, 2, bitmap, signature);
        vm.warp(proofs.roundOf(epoch).commitBy);
        proofs.draw();
        vm.roll(block.number + proofs.DRAW_AHEAD() + 1);
        vm.warp(block.timestamp + EPOCH_S / 100);
        proofs.draw();
    }

    function _answerBy() private view returns (uint256) {
        return proofs.roundOf(committee.epoch()).answerBy;
    }

    /// @dev From when on the next period may start.
    function _due() private view returns (uint256) {
        (uint256 duration,,,,,,) = committee.parameters();
        return committee.state().regularHandoverDone + duration;
    }
}
