// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ProofHandler} from "test/ProofHandler.sol";

/// @notice Storage proofs in random histories: bonds, stakes and limits at any time, and in each action that who proves or
/// answers is not judged, who has everything is never refused, and an epoch that is cut short costs nobody anything.
/// forge-config: default.invariant.runs = 32
/// forge-config: default.invariant.depth = 60
/// forge-config: slow.invariant.runs = 256
/// forge-config: slow.invariant.depth = 320
contract ProofInvariantsTest {
    /// @dev Foundry's: which functions of a contract the fuzzer calls.
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    ProofHandler private handler;

    function setUp() public {
        handler = new ProofHandler();
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[18] memory actions = [
            ProofHandler.pass.selector,
            ProofHandler.advance.selector,
            ProofHandler.rush.selector,
            ProofHandler.rush.selector, // the fuzzer would come to few judgements by single steps
            ProofHandler.judgement.selector,
            ProofHandler.judgement.selector,
            ProofHandler.turn.selector,
            ProofHandler.cutShort.selector,
            ProofHandler.commit.selector,
            ProofHandler.commitToNothing.selector,
            ProofHandler.attest.selector,
            ProofHandler.attest.selector,
            ProofHandler.prove.selector,
            ProofHandler.answer.selector,
            ProofHandler.demand.selector,
            ProofHandler.answerDemand.selector,
            ProofHandler.judgeDemand.selector,
            ProofHandler.reclaim.selector
        ];
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), new bytes4[](actions.length));
        for (uint256 i; i < actions.length; ++i) {
            targets[0].selectors[i] = actions[i];
        }
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_bonds_stakes_and_limits() external view {
        handler.checkBonds();
        handler.checkStakes();
        handler.checkLimits();
    }

    /// @dev The handler gets members punished at all, by misses and by a demand.
    function test_the_handler_punishes() public {
        handler.rush(0);
        handler.judgement();
        handler.turn();
        handler.rush(0);
        handler.judgement();
        require(handler.punishments() == 1, "the limit is one member of two shards");
        handler.turn();
        handler.advance();
        handler.demand(1, 7);
        handler.pass(59);
        handler.judgeDemand(0);
        require(handler.punishments() == 2, "a demand");
        handler.checkBonds();
        handler.checkStakes();
        handler.checkLimits();
    }
}
