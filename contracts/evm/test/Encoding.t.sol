// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Blake2b} from "src/lib/Blake2b.sol";
import {BlobId} from "src/lib/BlobId.sol";
import {Messages} from "src/lib/Messages.sol";
import {RedStuff} from "src/lib/RedStuff.sol";
import {Signing} from "test/Base.t.sol";

contract EncodingHarness {
    function blobId(uint64 length, bytes32 root) external view returns (bytes32) {
        return BlobId.compute(1, length, root);
    }

    function encodedSize(uint256 shards, uint64 length) external pure returns (uint64) {
        return RedStuff.encodedSize(shards, length);
    }
}

/// @notice Ids and sizes against blobs that the real Walrus encoder encoded, and messages byte by byte.
contract EncodingTest is Signing {
    EncodingHarness private harness = new EncodingHarness();

    function test_compute_agrees_with_walrus() public view {
        vm.assertEq(
            harness.blobId(0, 0x669f802f68a03496fb92340718031ee1cf14cbe78a9ebd7d065f2e72b1e3bc1d),
            0x0a6cdc88575624fd4820cfab0f772a5e55415d83347e901f1da85906f91a6542
        );
        vm.assertEq(
            harness.blobId(1000, 0xe030e77724cdd606c15a0f8a64f4d2cb9182832c161d2f5c829e8c2ac7b73ee9),
            0x4c40af937ab588e63549a29ebbfb567074d93f11bfa65a7aa648657e7c409cc1
        );
        vm.assertEq(
            harness.blobId(1048576, 0xbb5ac73445d282489d235aaa3fde24428751636e9f31ddfc71a1706d482bdee2),
            0x39484d056cbb6de5ffb154602ebd503c335bd250e6c7677c62c6bfd8ef7be5c8
        );
    }

    function test_compute_reverts_where_the_precompile_answers_with_nothing() public {
        vm.mockCall(address(9), "", "");
        vm.expectRevert(Blake2b.Blake2bMissing.selector);
        harness.blobId(0, 0);
    }

    function test_toInteger_reads_little_endian(bytes32 id) public pure {
        uint256 value = BlobId.toInteger(id);
        for (uint256 i; i < 32; ++i) {
            vm.assertEq(uint8(id[i]), value >> (8 * i) & 0xff);
        }
        vm.assertEq(BlobId.fromInteger(value), id);
    }

    function test_encodedSize_follows_the_symbol_sizes_of_walrus() public view {
        _checkSize(4, 2, 3, 0, 2);
        _checkSize(4, 2, 3, 1000, 168);
        _checkSize(4, 2, 3, 1024, 172);
        _checkSize(7, 3, 5, 65536, 4370);
        _checkSize(10, 4, 7, 1, 2);
        _checkSize(10, 4, 7, 1024, 38);
        _checkSize(10, 4, 7, 1048576, 37450);
        _checkSize(13, 5, 9, 90, 2);
        _checkSize(13, 5, 9, 91, 4);
        _checkSize(100, 34, 67, 65536, 30);
        _checkSize(1000, 334, 667, 1024, 2);
    }

    function test_encodedSize_takes_the_largest_blob() public view {
        _checkSize(7, 3, 5, 983010, 65534);
        _checkSize(1000, 334, 667, 14_599_533_452, 65534);
    }

    function test_encodedSize_reverts_above_the_largest_blob() public {
        vm.expectRevert(abi.encodeWithSelector(RedStuff.BlobTooLong.selector, 983011, 983010));
        harness.encodedSize(7, 983011);
        vm.expectRevert(abi.encodeWithSelector(RedStuff.BlobTooLong.selector, type(uint64).max, 983010));
        harness.encodedSize(7, type(uint64).max);
    }

    function test_encode_lays_a_message_out_byte_by_byte() public pure {
        bytes memory body = Messages.ejection(5, 1, 0x0102030405060708);
        bytes memory message = Messages.encode(7, 0x01020304, bytes32(uint256(0xd0)), body);
        bytes memory expected =
            abi.encodePacked(hex"07010304030201", uint256(0xd0), uint256(5), hex"01", hex"0807060504030201");
        vm.assertEq(message, expected);
    }

    function test_bodies_are_laid_out_byte_by_byte() public pure {
        bytes32 id = keccak256("id");
        vm.assertEq(Messages.permanentBlob(id), abi.encodePacked(id, hex"00"));
        vm.assertEq(Messages.deletableBlob(id, 9), abi.encodePacked(id, hex"01", uint256(9)));
        vm.assertEq(Messages.invalidBlob(id), abi.encodePacked(id));
        vm.assertEq(Messages.possession(address(0xab), hex"0102"), abi.encodePacked(uint256(0xab), hex"0102"));
    }

    function _checkSize(uint256 shards, uint256 rows, uint256 columns, uint64 length, uint256 symbolSize) private view {
        uint256 expected = shards * ((rows + columns) * symbolSize + 64 * shards + 32);
        vm.assertEq(harness.encodedSize(shards, length), expected);
    }
}
