// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Blobs} from "src/Blobs.sol";
import {IBlobs} from "src/interfaces/IBlobs.sol";
import {Messages} from "src/lib/Messages.sol";
import {BlobBase} from "test/BlobBase.t.sol";

/// @notice `liveBlobs` shows what is neither deleted nor expired, each object once, whatever the pages' size, and hides
/// nothing from a reader whose pages are of several blocks.
contract LiveBlobsTest is BlobBase {
    function test_liveBlobs_has_nothing_before_anything_is_registered() public view {
        _assertLive(new uint256[](0));
    }

    function test_liveBlobs_leaves_out_what_is_deleted() public {
        _registerEach(5, 3, 3);
        blobs.remove(2);
        blobs.remove(5);
        _assertLive(_ids(1, 3, 4));
        blobs.remove(1);
        blobs.remove(4);
        blobs.remove(3);
        _assertLive(new uint256[](0));
    }

    function test_liveBlobs_leaves_out_what_is_expired_without_a_transaction() public {
        _registerEach(3, 1, 3); // until 2, 3 and 4
        _assertLive(_ids(1, 2, 3));
        _nextEpoch();
        vm.assertEq(_live().length, 2);
        _nextEpoch();
        vm.assertEq(_live()[0], 3);
        _nextEpoch();
        _assertLive(new uint256[](0));
        vm.assertTrue(blobs.blob(3).status == IBlobs.Status.Expired);
    }

    function test_liveBlobs_has_the_last_period_that_can_be_reserved() public {
        _registerEach(1, 53, 53);
        vm.assertEq(_live().length, 1);
        for (uint256 i; i < 52; ++i) {
            _nextEpoch();
        }
        vm.assertEq(_live().length, 1);
        _nextEpoch();
        vm.assertEq(_live().length, 0);
    }

    function test_liveBlobs_follows_an_extension() public {
        _certified(true); // until 6
        _registerEach(1, 5, 5);
        blobs.extend(1, 1, 6, ANY);
        _registerEach(1, 6, 6);
        vm.assertEq(_live().length, 3);
        blobs.remove(1);
        vm.assertEq(_live().length, 2);
        for (uint256 i; i < 5; ++i) {
            _nextEpoch();
        }
        vm.assertEq(_live()[0], 3);
    }

    function test_liveBlobs_shows_invalid_blobs_and_who_owns_what() public {
        _certified(false);
        _invalidate();
        blobs.transferBlob(1, STRANGER);
        (IBlobs.BlobView[] memory page,) = blobs.liveBlobs(0, 1);
        vm.assertTrue(page[0].status == IBlobs.Status.Invalid);
        vm.assertEq(page[0].owner, STRANGER);
    }

    function test_liveBlobs_after_refunds_at_a_standstill() public {
        _certified(false);
        _registerEach(1, 5, 5);
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        blobs.refundBlob(1); // ends with the current period
        blobs.refundBlob(2); // is deleted
        vm.assertEq(_live().length, 1);
        vm.assertEq(_live()[0], 1);
        committee.select();
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        _assertLive(new uint256[](0));
    }

    function test_liveBlobs_of_a_cursor_that_no_page_named_ends(uint256 cursor) public {
        _registerEach(3, 1, 3);
        (IBlobs.BlobView[] memory page,) = blobs.liveBlobs(cursor, ANY);
        vm.assertLe(page.length, 3);
    }

    /// @dev Whatever is registered, deleted, extended and passed: the same as of all objects the live ones.
    /// forge-config: default.fuzz.runs = 48
    function test_liveBlobs_are_all_objects_but_the_dead_ones(uint256 seed, uint256 pageSize) public {
        for (uint256 i; i < 24; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            uint256 count = blobs.blobCount();
            if (count == 0 || dice % 4 < 2) {
                blobs.reserveAndRegister(ROOT, LENGTH, 1, uint32(1 + (dice >> 8) % 6), true, ANY, ANY);
            } else if (dice % 4 == 2) {
                uint256 id = 1 + (dice >> 8) % count;
                IBlobs.Status status = blobs.blob(id).status;
                if (status == IBlobs.Status.Registered) _certifyNow(id);
                else if (status == IBlobs.Status.Certified && dice & 64 == 0) _extend(id);
                else if (status == IBlobs.Status.Certified) blobs.remove(id);
            } else {
                _nextEpoch();
            }
        }
        uint256[] memory ids = _livePages(_between(pageSize, 1, 9));
        uint256 expected;
        for (uint256 id = 1; id <= blobs.blobCount(); ++id) {
            IBlobs.Status status = blobs.blob(id).status;
            bool isLive = status == IBlobs.Status.Registered || status == IBlobs.Status.Certified;
            uint256 seen;
            for (uint256 i; i < ids.length; ++i) {
                if (ids[i] == id) ++seen;
            }
            vm.assertEq(seen, isLive ? 1 : 0);
            if (isLive) ++expected;
        }
        vm.assertEq(ids.length, expected);
    }

    /// @dev What is removed, extended and registered between two pages hides no object that lived all the while.
    function test_liveBlobs_of_several_blocks_has_all_that_lived_all_the_while(uint256 seed, uint256 pageSize) public {
        _registerEach(9, 2, 4);
        uint256 before = blobs.blobCount();
        bool[] memory isSeen = new bool[](before + 1);
        (uint256 cursor, uint256 size) = (0, _between(pageSize, 1, 4));
        do {
            IBlobs.BlobView[] memory page;
            (page, cursor) = blobs.liveBlobs(cursor, size);
            for (uint256 i; i < page.length; ++i) {
                if (page[i].objectId <= before) isSeen[page[i].objectId] = true;
            }
            for (uint256 i; i < 2; ++i) {
                seed = uint256(keccak256(abi.encode(seed)));
                _disturb(seed);
            }
        } while (cursor != 0);
        for (uint256 id = 1; id <= before; ++id) {
            vm.assertTrue(isSeen[id] || blobs.blob(id).status == IBlobs.Status.Deleted);
        }
    }

    function _disturb(uint256 dice) private {
        uint256 id = 1 + (dice >> 8) % blobs.blobCount();
        IBlobs.Status status = blobs.blob(id).status;
        if (dice % 4 == 0) _registerEach(1, 1 + (dice >> 16) % 5, 6);
        else if (status == IBlobs.Status.Deleted) return;
        else if (dice % 4 < 3) blobs.remove(id);
        else if (status == IBlobs.Status.Registered) _certifyNow(id);
        else _extend(id);
    }

    function _certifyNow(uint256 id) private {
        uint32 epoch = committee.epoch();
        (bytes memory bitmap, bytes memory signature) = _signed(epoch, Messages.deletableBlob(ID, id), 0);
        blobs.certify(id, epoch, bitmap, signature);
    }

    function _extend(uint256 id) private {
        blobs.extend(id, 1, blobs.blob(id).endPeriod, ANY);
    }

    /// @dev `count` objects; the first for `least` periods, each for one more than the one before, up to `most`.
    function _registerEach(uint256 count, uint256 least, uint256 most) private {
        for (uint256 i; i < count; ++i) {
            uint256 periods = least + i < most ? least + i : most;
            blobs.reserveAndRegister(ROOT, LENGTH, 1, uint32(periods), true, ANY, ANY);
        }
    }

    function _ids(uint256 first, uint256 second, uint256 third) private pure returns (uint256[] memory ids) {
        ids = new uint256[](3);
        (ids[0], ids[1], ids[2]) = (first, second, third);
    }

    function _live() private view returns (uint256[] memory) {
        return _livePages(ANY);
    }

    /// @dev In pages of every size.
    function _assertLive(uint256[] memory expected) private view {
        for (uint256 size = 1; size <= expected.length + 1; ++size) {
            uint256[] memory ids = _livePages(size);
            vm.assertEq(ids.length, expected.length);
            for (uint256 i; i < expected.length; ++i) {
                uint256 seen;
                for (uint256 k; k < ids.length; ++k) {
                    if (ids[k] == expected[i]) ++seen;
                }
                vm.assertEq(seen, 1);
            }
        }
    }

    function _livePages(uint256 size) private view returns (uint256[] memory ids) {
        ids = new uint256[](blobs.blobCount());
        (uint256 length, uint256 cursor) = (0, 0);
        do {
            IBlobs.BlobView[] memory page;
            (page, cursor) = blobs.liveBlobs(cursor, size);
            vm.assertTrue(page.length == size || cursor == 0);
            for (uint256 i; i < page.length; ++i) {
                ids[length++] = page[i].objectId;
            }
        } while (cursor != 0);
        assembly {
            mstore(ids, length)
        }
    }
}
