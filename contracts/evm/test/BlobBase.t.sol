// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {BlobId} from "src/lib/BlobId.sol";
import {Messages} from "src/lib/Messages.sol";
import {Base} from "test/Base.t.sol";

/// @notice Epoch 1 with ten members of ten shards each: seven are a quorum, four have a correct one among them.
abstract contract BlobBase is Base {
    uint256 internal constant NODES = 10;
    address internal constant STRANGER = address(0xbeef);
    uint256 internal constant COST = 6 * PRICE; // of the blob, per epoch
    uint256 internal constant FEE = 6 * WRITE_PRICE;

    uint256 internal blobId = BlobId.toInteger(ID);

    function setUp() public virtual override {
        super.setUp();
        _addNodes(NODES);
        _nextEpoch();
    }

    function _register(bool deletable) internal {
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 5, deletable, ANY, ANY);
    }

    function _certified(bool deletable) internal {
        _register(deletable);
        bytes memory body = deletable ? Messages.deletableBlob(ID, 1) : Messages.permanentBlob(ID);
        (bytes memory bitmap, bytes memory signature) = _signed(1, body, 0);
        blobs.certify(1, 1, bitmap, signature);
    }

    function _invalidate() internal {
        (bytes memory bitmap, bytes memory signature) = _invalidity(0);
        blobs.invalidate(blobId, 1, bitmap, signature);
    }

    function _invalidity(uint256 absent) internal view returns (bytes memory, bytes memory) {
        return _certificate(NODES, absent, _message(Messages.INVALID_BLOB, 1, Messages.invalidBlob(ID)));
    }

    function _signed(uint32 epoch, bytes memory body, uint256 absent)
        internal
        view
        returns (bytes memory, bytes memory)
    {
        return _certificate(NODES, absent, _message(Messages.BLOB, epoch, body));
    }

    /// @dev A deployment of so many shards, of which member 1 has `weight` and member 2 the others.
    function _twoMembers(uint16 shards, uint256 weight) internal {
        _deploy(shards, 500);
        _addNode(weight * 1 ether);
        _addNode((shards - weight) * 1 ether);
        _nextEpoch();
        vm.assertEq(committee.committeeOf(1).members[0].shards.length, weight);
    }

    /// @dev Epoch 2 with half of the members new: its handover is not done.
    function _startHandover() internal {
        _replaceMembers(5);
        vm.assertFalse(committee.state().handoverDone);
    }
}
