// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Nodes} from "./Nodes.sol";
import {Bls} from "./lib/Bls.sol";
import {Contact} from "./lib/Contact.sol";
import {Messages} from "./lib/Messages.sol";

/// @title What is checked of a node before it is registered, or changed.
/// @notice Without state.
contract Admission {
    /// @notice Reverts with `Nodes.InvalidName` unless a node may be called so.
    function checkName(string calldata name) external pure {
        if (!Contact.isName(bytes(name))) revert Nodes.InvalidName();
    }

    /// @notice Reverts with `Nodes.InvalidNetworkAddress` unless a node may say that it is reached there.
    function checkNetworkAddress(string calldata networkAddress) external pure {
        if (!Contact.isNetworkAddress(bytes(networkAddress))) revert Nodes.InvalidNetworkAddress();
    }

    /// @notice Reverts with `Nodes.InvalidKey` or `Nodes.InvalidProofOfPossession` unless the owner of a node has shown
    /// that the key is its own.
    /// @param committee Whose deployment the proof is for.
    /// @return The key, compressed, 48 bytes.
    function checkKey(bytes calldata publicKey, bytes calldata proofOfPossession, address owner, address committee)
        external
        view
        returns (bytes memory)
    {
        bytes memory key = publicKey;
        if (!Bls.isKey(key)) revert Nodes.InvalidKey();
        bytes memory compressed = Bls.compress(key);
        bytes memory body = Messages.possession(owner, compressed);
        bytes memory message = Messages.encode(Messages.POSSESSION, 0, Messages.domainOf(committee), body);
        if (!Bls.verify(Bls.keyAt(key, 0), message, proofOfPossession)) revert Nodes.InvalidProofOfPossession();
        return compressed;
    }
}
