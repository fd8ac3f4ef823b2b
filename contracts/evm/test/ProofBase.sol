// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IProofs} from "src/interfaces/IProofs.sol";
import {Blake2b} from "src/lib/Blake2b.sol";
import {BlobId} from "src/lib/BlobId.sol";
import {LittleEndian} from "src/lib/LittleEndian.sol";
import {Messages} from "src/lib/Messages.sol";
import {Trees} from "src/lib/Trees.sol";
import {ReplacementBase} from "test/ReplacementBase.sol";

/// @notice Merkle trees by PROTOCOL section 1, written as plainly as can be.
library PlainTrees {
    function root(bytes32[] memory nodes) internal view returns (bytes32) {
        if (nodes.length == 0) return 0;
        while (nodes.length > 1) nodes = _above(nodes);
        return nodes[0];
    }

    function path(bytes32[] memory nodes, uint256 index) internal view returns (bytes32[] memory siblings) {
        siblings = new bytes32[](32);
        uint256 count;
        for (; nodes.length > 1; index /= 2) {
            uint256 sibling = index % 2 == 0 ? index + 1 : index - 1;
            siblings[count++] = sibling < nodes.length ? nodes[sibling] : bytes32(0);
            nodes = _above(nodes);
        }
        assembly ("memory-safe") {
            mstore(siblings, count)
        }
    }

    function joined(bytes32[] memory first, bytes32[] memory second) internal pure returns (bytes32[] memory all) {
        all = new bytes32[](first.length + second.length);
        for (uint256 i; i < all.length; ++i) {
            all[i] = i < first.length ? first[i] : second[i - first.length];
        }
    }

    function _above(bytes32[] memory nodes) private view returns (bytes32[] memory above) {
        above = new bytes32[]((nodes.length + 1) / 2);
        for (uint256 i; i < above.length; ++i) {
            bytes32 right = 2 * i + 1 < nodes.length ? nodes[2 * i + 1] : bytes32(0);
            above[i] = Blake2b.hash(abi.encodePacked(uint8(1), nodes[2 * i], right));
        }
    }
}

/// @notice Epoch 1 with five members of two shards each, of ten: four are a quorum, three shards may be faulty. The
/// inventory has three blobs. (Their symbols are not of one code: the contract looks at hashes alone.)
abstract contract ProofBase is ReplacementBase {
    struct Stored {
        bytes32 id;
        bytes32 root;
        uint64 length;
        uint64 offset;
        uint256 size; // of a symbol
        bytes32[] primary; // roots of the slivers
        bytes32[] secondary;
    }

    uint256 internal constant N = 10; // shards
    uint256 internal constant P = 4; // rows
    uint256 internal constant S = 7; // columns
    uint256 internal constant U = P + S;
    address internal constant ASKER = address(0xa5c);

    Stored[] internal stored;
    uint64 internal weight;
    bytes32 internal inventory;

    function setUp() public virtual override {
        vm.warp(1_700_000_000);
        _deployProofs();
        _addNodes(NODES);
        _nextEpoch();
        _payOutAll();
        _fund(ASKER, 100 * BOND);
        vm.prank(ASKER);
        token.approve(address(proofs), type(uint256).max);
        vm.roll(block.number + 1);
    }

    function _deployProofs() internal {
        _deploy(uint16(N), 500);
        delete stored;
        (weight, inventory) = (0, 0);
        _store(0); // 2 bytes a symbol
        _store(1000); // 36
        _store(100); // 4
        bytes32[] memory leaves = _inventoryLeaves();
        inventory = PlainTrees.root(leaves);
    }

    // Rounds

    function _inventoryCertificate(uint32 epoch) internal view returns (bytes memory, bytes memory) {
        bytes memory body = Messages.inventory(inventory, uint32(stored.length), weight);
        return _signedIn(epoch, 0, _message(Messages.INVENTORY, epoch, body));
    }

    function _begin() internal {
        uint32 epoch = committee.epoch();
        (bytes memory bitmap, bytes memory signature) = _inventoryCertificate(epoch);
        proofs.begin(inventory, uint32(stored.length), weight, bitmap, signature);
    }

    /// @dev Commits a member to all that it should store.
    function _commit(uint32 nodeId) internal {
        _commitTo(nodeId, _commitmentRoot(nodeId));
    }

    function _commitTo(uint32 nodeId, bytes32 root) internal {
        uint32 epoch = committee.epoch();
        vm.prank(_operator(nodeId));
        proofs.commit(epoch, root);
    }

    function _draw() internal {
        IProofs.Round memory round = proofs.roundOf(committee.epoch());
        if (block.timestamp < round.commitBy) vm.warp(round.commitBy);
        proofs.draw();
        vm.roll(block.number + proofs.DRAW_AHEAD() + 1);
        proofs.draw();
    }

    /// @dev Up to where members answer: all committed to what they store.
    function _beginAndDraw() internal {
        _begin();
        uint32[] memory nodeIds = _members();
        for (uint256 i; i < nodeIds.length; ++i) {
            _commit(nodeIds[i]);
        }
        _draw();
    }

    function _proofCertificate(uint32 nodeId) internal view returns (bytes memory, bytes memory) {
        uint32 epoch = committee.epoch();
        bytes memory body = Messages.proof(nodeId, proofs.roundOf(epoch).draw);
        return _signedIn(epoch, nodeId, _message(Messages.PROOF, epoch, body));
    }

    function _prove(uint32 nodeId) internal {
        (bytes memory bitmap, bytes memory signature) = _proofCertificate(nodeId);
        proofs.prove(nodeId, bitmap, signature);
    }

    function _answerAll(uint32 nodeId) internal {
        _answerFrom(nodeId, 0);
    }

    /// @dev All places from `first` on.
    function _answerFrom(uint32 nodeId, uint256 first) internal {
        uint256 count = proofs.PLACES() - first;
        uint256[] memory places = new uint256[](count);
        IProofs.Opening[] memory openings = new IProofs.Opening[](count);
        for (uint256 i; i < count; ++i) {
            places[i] = first + i;
            openings[i] = _opening(nodeId, proofs.positionOf(nodeId, first + i));
        }
        proofs.answer(nodeId, places, openings);
    }

    function _answer(uint32 nodeId, uint256 place, IProofs.Opening memory opening) internal {
        (uint256[] memory places, IProofs.Opening[] memory openings) = (new uint256[](1), new IProofs.Opening[](1));
        (places[0], openings[0]) = (place, opening);
        proofs.answer(nodeId, places, openings);
    }

    /// @dev Behind the last second for answers.
    function _passAnswers() internal {
        vm.warp(uint256(proofs.roundOf(committee.epoch()).answerBy) + 1);
    }

    /// @dev A round in which all but `absent` prove; it is not judged.
    function _round(uint32 absent) internal {
        _begin();
        _draw();
        uint32[] memory nodeIds = _members();
        for (uint256 i; i < nodeIds.length; ++i) {
            if (nodeIds[i] != absent) _prove(nodeIds[i]);
        }
        _passAnswers();
    }

    /// @dev The next period, settled.
    function _turn() internal {
        _warpTo(uint256(committee.state().regularHandoverDone) + EPOCH_S / 2);
        if (committee.state().selectedEpoch == 0) committee.select();
        _warpTo(uint256(committee.state().regularHandoverDone) + EPOCH_S);
        _warpTo(uint256(committee.state().selectedAt) + NOTICE_S);
        _warpTo(uint256(committee.state().startedAt) + GRACE_S);
        committee.start();
        _payOutAll();
        vm.roll(block.number + 1);
    }

    function _warpTo(uint256 time) internal {
        if (block.timestamp < time) vm.warp(time);
    }

    function _members() internal view returns (uint32[] memory nodeIds) {
        uint256 count = committee.committeeOf(committee.epoch()).members.length;
        nodeIds = new uint32[](count);
        for (uint256 i; i < count; ++i) {
            nodeIds[i] = committee.committeeOf(committee.epoch()).members[i].nodeId;
        }
    }

    function _shards(uint32 nodeId) internal view returns (uint16[] memory) {
        return _shardsIn(committee.committeeOf(committee.epoch()), nodeId);
    }

    // What is stored

    function _store(uint64 length) private {
        uint256 index = stored.length;
        stored.push();
        Stored storage blob = stored[index];
        uint256 size = length == 0 ? 2 : (length + P * S - 1) / (P * S);
        (blob.length, blob.size, blob.offset) = (length, size + size % 2, weight);
        weight += uint64(blob.size);
        bytes32[] memory leaves = new bytes32[](N);
        for (uint256 i; i < N; ++i) {
            blob.primary.push(PlainTrees.root(_sliver(index, true, i)));
            blob.secondary.push(PlainTrees.root(_sliver(index, false, i)));
        }
        for (uint256 i; i < N; ++i) {
            leaves[i] = _pairLeaf(index, i);
        }
        blob.root = PlainTrees.root(leaves);
        blob.id = Blake2b.hash(abi.encodePacked(uint8(1), LittleEndian.reverse64(length), blob.root));
    }

    /// @dev The symbol where row and column of the expanded grid cross.
    function _symbol(uint256 index, uint256 row, uint256 column) internal view returns (bytes memory symbol) {
        symbol = new bytes(stored[index].size);
        bytes32 filling = keccak256(abi.encode(index, row, column));
        for (uint256 i; i < symbol.length; ++i) {
            symbol[i] = filling[i % 32];
        }
    }

    /// @dev The leaves of a sliver's tree.
    function _sliver(uint256 index, bool isPrimary, uint256 place) private view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](N);
        for (uint256 i; i < N; ++i) {
            bytes memory symbol = isPrimary ? _symbol(index, place, i) : _symbol(index, i, place);
            leaves[i] = Blake2b.hash(abi.encodePacked(uint8(0), symbol));
        }
    }

    function _pairLeaf(uint256 index, uint256 pair) private view returns (bytes32) {
        Stored storage blob = stored[index];
        return Blake2b.hash(abi.encodePacked(uint8(0), blob.primary[pair], blob.secondary[N - 1 - pair]));
    }

    function _inventoryLeaves() private view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](stored.length);
        for (uint256 i; i < leaves.length; ++i) {
            Stored storage blob = stored[i];
            leaves[i] = Blake2b.hash(
                abi.encodePacked(
                    uint8(0), blob.id, bytes1(uint8(blob.size)), bytes1(0), LittleEndian.reverse64(blob.offset)
                )
            );
        }
    }

    // What members commit themselves to, and show

    /// @dev The pair of a blob that a shard has.
    function _pairOf(uint256 index, uint256 shard) internal view returns (uint256) {
        return (shard + N - uint256(stored[index].id) % N) % N;
    }

    /// @dev A symbol that is stored of a pair: those of the primary sliver first.
    function _storedSymbol(uint256 index, uint256 pair, uint256 column) internal view returns (bytes memory) {
        return column < S ? _symbol(index, pair, column) : _symbol(index, column - S, N - 1 - pair);
    }

    function _pairTree(uint256 index, uint256 pair, bytes32 salt) private view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](U);
        for (uint256 i; i < U; ++i) {
            leaves[i] = Blake2b.hash(abi.encodePacked(uint8(0), salt, _storedSymbol(index, pair, i)));
        }
    }

    function _shardTree(uint256 shard, bytes32 salt) private view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](stored.length);
        for (uint256 i; i < leaves.length; ++i) {
            leaves[i] = PlainTrees.root(_pairTree(i, _pairOf(i, shard), salt));
        }
    }

    /// @dev What a member attests of a shard.
    function _shardRoot(uint32 nodeId, uint256 shard) internal view returns (bytes32) {
        return PlainTrees.root(_shardTree(shard, proofs.saltOf(nodeId)));
    }

    function _memberTree(uint32 nodeId) private view returns (bytes32[] memory leaves) {
        uint16[] memory shards = _shards(nodeId);
        leaves = new bytes32[](shards.length);
        for (uint256 i; i < shards.length; ++i) {
            leaves[i] = _shardRoot(nodeId, shards[i]);
        }
    }

    function _commitmentRoot(uint32 nodeId) internal view returns (bytes32) {
        return PlainTrees.root(_memberTree(nodeId));
    }

    /// @dev Which blob has an offset.
    function _blobAt(uint256 offset) internal view returns (uint256 index) {
        while (offset >= stored[index].offset + stored[index].size) ++index;
    }

    /// @dev What a member that has everything shows of a position.
    function _opening(uint32 nodeId, uint256 position) internal view returns (IProofs.Opening memory opening) {
        uint256 index = _blobAt(position % weight);
        uint256 column = position / weight % U;
        uint256 rank = position / weight / U;
        uint256 shard = _shards(nodeId)[rank];
        uint256 pair = _pairOf(index, shard);
        opening = _unopened(index);
        opening.blobRoot = stored[index].root;
        opening.symbol = _storedSymbol(index, pair, column);
        bytes32 salt = proofs.saltOf(nodeId);
        bytes32[] memory path = PlainTrees.path(_pairTree(index, pair, salt), column);
        path = PlainTrees.joined(path, PlainTrees.path(_shardTree(shard, salt), index));
        opening.commitmentPath = PlainTrees.joined(path, PlainTrees.path(_memberTree(nodeId), rank));
        bool isPrimary = column < S;
        opening.sliverPath = PlainTrees.path(
            _sliver(index, isPrimary, isPrimary ? pair : N - 1 - pair), isPrimary ? column : column - S
        );
        opening.otherRoot = isPrimary ? stored[index].secondary[N - 1 - pair] : stored[index].primary[pair];
        bytes32[] memory leaves = new bytes32[](N);
        for (uint256 i; i < N; ++i) {
            leaves[i] = _pairLeaf(index, i);
        }
        opening.blobPath = PlainTrees.path(leaves, pair);
    }

    /// @dev What a member that has everything shows to who demands a position: with the way to the root of the shard if
    /// that was attested too late for the round.
    function _shownTo(uint32 nodeId, uint256 position) internal view returns (IProofs.Opening memory opening) {
        opening = _opening(nodeId, position);
        uint16[] memory own = _shards(nodeId);
        (uint64 since,,) = committee.heldSince(own[position / weight / U]);
        bytes32[] memory path = opening.commitmentPath;
        bool isLate = since >= proofs.roundOf(committee.epoch()).commitBy;
        uint256 length = isLate ? path.length - Trees.depth(own.length) : 0;
        assembly ("memory-safe") {
            mstore(path, length)
        }
    }

    /// @dev Attests those of a node's shards that it lacks and that a bit of `chosen` names, by their true roots.
    function _attestTruly(uint32 nodeId, uint256 chosen) internal {
        uint16[] memory own = _shards(nodeId);
        bytes32[] memory digests = new bytes32[](own.length);
        uint256 count;
        for (uint256 i; i < own.length; ++i) {
            (uint64 since,,) = committee.heldSince(own[i]);
            if (since != 0 || chosen >> i & 1 == 0) continue;
            (own[count], digests[count]) = (own[i], _shardRoot(nodeId, own[i]));
            ++count;
        }
        assembly ("memory-safe") {
            mstore(own, count)
            mstore(digests, count)
        }
        uint32 epoch = committee.epoch();
        vm.prank(_operator(nodeId));
        committee.attest(epoch, own, digests, new uint32[](count));
    }

    /// @dev That the inventory lists a blob, and nothing of the blob: what is shown of an invalid one.
    function _unopened(uint256 index) internal view returns (IProofs.Opening memory opening) {
        Stored storage blob = stored[index];
        (opening.index, opening.offset) = (uint32(index), blob.offset);
        (opening.blobRoot, opening.blobLength) = (blob.id, blob.length);
        opening.inventoryPath = PlainTrees.path(_inventoryLeaves(), index);
    }

    function _invalidate(uint256 index) internal {
        uint32 epoch = committee.epoch();
        bytes memory body = Messages.invalidBlob(stored[index].id);
        (bytes memory bitmap, bytes memory signature) =
            _signedIn(epoch, 0, _message(Messages.INVALID_BLOB, epoch, body));
        blobs.invalidate(BlobId.toInteger(stored[index].id), epoch, bitmap, signature);
    }
}
