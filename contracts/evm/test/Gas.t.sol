// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Messages} from "src/lib/Messages.sol";
import {BlobId} from "src/lib/BlobId.sol";
import {Base} from "test/Base.t.sol";
import {Vm} from "test/Vm.sol";

/// @notice What whole transactions cost, intrinsic gas and calldata included, at ten members and 100 shards.
/// forge-config: default.isolate = true
contract GasTest is Base {
    event GasUsed(string action, uint256 gas);

    uint256 private constant NODES = 10;

    function test_gas_of_a_blob() public {
        _addNodes(NODES);
        _nextEpoch();
        // The first of all blobs pays for the slots of periods, counters and the list it ends in, the second does not.
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 5, false, ANY, ANY);
        _report("reserveAndRegister, first", 325_000);
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 5, true, ANY, ANY);
        _report("reserveAndRegister", 190_000);
        bytes32 id = BlobId.fromInteger(blobs.blob(1).blobId);
        (bytes memory bitmap, bytes memory signature) =
            _certificate(NODES, 0, _message(Messages.BLOB, 1, Messages.permanentBlob(id)));
        blobs.certify(1, 1, bitmap, signature);
        _report("certify, all sign", 235_000);
        (bitmap, signature) = _certificate(NODES, 0x7, _message(Messages.BLOB, 1, Messages.deletableBlob(id, 2)));
        blobs.certify(2, 1, bitmap, signature);
        _report("certify, seven sign", 245_000);
    }

    function test_gas_of_an_epoch() public {
        _addNode(STAKE);
        _report("stake", 200_000);
        _addNodes(NODES - 1);
        _nextEpoch();
        for (uint32 i = 1; i <= 5; ++i) {
            _leave(i);
        }
        _addNodes(5);
        _select();
        _report("select", 2_000_000);
        _start();
        _report("start", 500_000);
        _attest(11, _gained(11));
        _report("attest ten shards", 800_000);
    }

    function _report(string memory action, uint256 most) private {
        uint256 used = vm.lastCallGas().gasTotalUsed;
        emit GasUsed(action, used);
        vm.assertLe(used, most);
    }
}
