// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Governed} from "./Governed.sol";
import {Candidates, Nodes} from "./Nodes.sol";
import {IStaking} from "./interfaces/IStaking.sol";

/// @title The registry: which storage nodes there are, and which of them stand for election.
contract Registry is Nodes {
    /// @param staking_ The stake on the nodes, deployed for this contract's address.
    constructor(IStaking staking_, address governor_, address guardian_)
        Governed(governor_, guardian_)
        Candidates(staking_)
    {}

    /// @inheritdoc Governed
    function isPausable(bytes4 selector) public pure override returns (bool) {
        return selector == this.registerNode.selector || selector == this.changePublicKey.selector
            || selector == this.becomeCandidate.selector;
    }
}
