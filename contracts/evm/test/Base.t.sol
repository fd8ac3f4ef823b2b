// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {BLS} from "solady/utils/ext/ithaca/BLS.sol";
import {Ballot} from "src/Ballot.sol";
import {Blobs} from "src/Blobs.sol";
import {Committee} from "src/Committee.sol";
import {HauloutToken} from "src/HauloutToken.sol";
import {Proofs} from "src/Proofs.sol";
import {Registry} from "src/Registry.sol";
import {Staking} from "src/Staking.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IProofs} from "src/interfaces/IProofs.sol";
import {IRegistry} from "src/interfaces/IRegistry.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {Bls} from "src/lib/Bls.sol";
import {Messages} from "src/lib/Messages.sol";
import {Vm} from "test/Vm.sol";

/// @notice BLS keys and signatures out of small secrets, by the chain's own precompiles.
abstract contract Signing {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint256 internal constant ORDER = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001;
    bytes internal constant GENERATOR = hex"0000000000000000000000000000000017f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
        hex"0000000000000000000000000000000008b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1";
    /// @dev x = 4: on the curve, not in the subgroup.
    bytes internal constant OUTSIDE_G1 = hex"00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000004"
        hex"000000000000000000000000000000000a989badd40d6212b33cffc3f3763e9bc760f988c9926b26da9dd85e928483446346b8ed00e1de5d5ea93e354abe706c";
    /// @dev x = 2: on the twist, not in the subgroup.
    bytes internal constant OUTSIDE_G2 = hex"00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000002"
        hex"00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        hex"0000000000000000000000000000000018c6b864ae17dc9da64203ffefb966306425a7bc6aeb7c75247438372716284a4173830420cd476ba1a365b95bfcec38"
        hex"00000000000000000000000000000000172e93db764a8400a7d5071b6b6f5de0da2f0f4a063119abca014006b7c40a2cfe291a1924e65db0d6d0fcfbf3bf3d5c";

    /// @dev A number from `least` to `most`, for fuzzing.
    function _between(uint256 value, uint256 least, uint256 most) internal pure returns (uint256) {
        return least + value % (most - least + 1);
    }

    function _publicKey(uint256 secret) internal view returns (bytes memory) {
        return _call(BLS.BLS12_G1MSM, abi.encodePacked(GENERATOR, secret));
    }

    function _sign(uint256 secret, bytes memory message) internal view returns (bytes memory) {
        return _call(BLS.BLS12_G2MSM, abi.encodePacked(abi.encode(BLS.hashToG2(message)), secret));
    }

    function _call(address precompile, bytes memory input) private view returns (bytes memory output) {
        bool success;
        (success, output) = precompile.staticcall(input);
        require(success, "precompile");
    }
}

/// @notice A deployment with nodes 1, 2, … that have staked, each operated by an account of its own.
abstract contract Base is Signing {
    uint16 internal constant SHARDS = 100;
    uint32 internal constant EPOCH_S = 1000;
    uint32 internal constant DEADLINE_S = 300;
    uint32 internal constant PATIENCE_S = 60;
    uint32 internal constant GRACE_S = 100;
    uint32 internal constant NOTICE_S = 200;
    uint32 internal constant SHRINK_S = 20 * EPOCH_S;
    uint80 internal constant PRICE = 5e9;
    uint80 internal constant WRITE_PRICE = 3e9;
    uint64 internal constant CAPACITY = 1 << 40;
    uint256 internal constant STAKE = 1000 ether;
    uint64 internal constant EVIDENCE_S = 200;
    uint256 internal constant BOND = 10 ether;
    /// @dev Of a payment: whatever it costs.
    uint256 internal constant ANY = type(uint256).max;
    /// @dev Of what is paid out: all there is.
    uint32 internal constant ALL = type(uint32).max;
    uint16 internal constant COMMISSION = 1_000; // of 10 000
    // A blob that the real Walrus encoder encoded for 100 shards.
    uint64 internal constant LENGTH = 1048576;
    bytes32 internal constant ROOT = 0xb7a320a26c9e5db9cf2a96bd743141f8e96d3980ff7c75015d3d84eedc8d1788;
    bytes32 internal constant ID = 0x47ad94b8a397d2b4d18bad6710b6acbca668edb087dfc11bd8cc226f09ed081c;
    uint64 internal constant SIZE = 100 * ((34 + 67) * 462 + 64 * 100 + 32); // 5 309 400: six mebibytes
    address internal constant GOVERNOR = address(0x60);
    address internal constant GUARDIAN = address(0x6a);

    HauloutToken internal token;
    Staking internal staking;
    Registry internal registry;
    Committee internal committee;
    Blobs internal blobs;
    Ballot internal ballot;
    Proofs internal proofs;

    function setUp() public virtual {
        vm.warp(1_700_000_000);
        _deploy(SHARDS, 500);
    }

    /// @dev Who is to govern the next deployment.
    function _governor() internal virtual returns (address) {
        return GOVERNOR;
    }

    /// @dev What the first selection of the next deployment waits for.
    function _opening() internal virtual returns (ICommittee.Opening memory) {
        return ICommittee.Opening(1, 0, 0);
    }

    function _parameters(uint32 bandMillis) internal view virtual returns (ICommittee.Parameters memory) {
        return ICommittee.Parameters(EPOCH_S, DEADLINE_S, PATIENCE_S, GRACE_S, NOTICE_S, SHRINK_S, bandMillis);
    }

    /// @dev Of the next deployment's storage proofs.
    function _windows() internal view virtual returns (IProofs.Windows memory) {
        return IProofs.Windows(EPOCH_S / 10, EPOCH_S / 40, EPOCH_S / 25, EPOCH_S / 20);
    }

    function _deploy(uint16 shards, uint32 bandMillis) internal {
        address governor = _governor();
        token = HauloutToken(
            vm.deployCode("artifacts/HauloutToken.json", abi.encode(address(this), address(this), 1e9 ether))
        );
        uint64 nonce = vm.getNonce(address(this));
        bytes memory arguments = abi.encode(
            token,
            vm.computeCreateAddress(address(this), nonce + 1),
            vm.computeCreateAddress(address(this), nonce + 2),
            vm.computeCreateAddress(address(this), nonce + 3),
            vm.computeCreateAddress(address(this), nonce + 5),
            EVIDENCE_S,
            governor,
            GUARDIAN
        );
        staking = Staking(vm.deployCode("artifacts/Staking.json", arguments));
        arguments = abi.encode(staking, governor, GUARDIAN);
        registry = Registry(vm.deployCode("artifacts/Registry.json", arguments));
        arguments = abi.encode(registry, shards, _parameters(bandMillis), _opening(), governor, GUARDIAN);
        committee = Committee(vm.deployCode("artifacts/Committee.json", arguments));
        ISpace.Terms memory terms = ISpace.Terms(PRICE, WRITE_PRICE, CAPACITY);
        arguments =
            abi.encode(committee, token, terms, vm.computeCreateAddress(address(this), nonce + 4), governor, GUARDIAN);
        blobs = Blobs(vm.deployCode("artifacts/Blobs.json", arguments));
        ballot = Ballot(vm.deployCode("artifacts/Ballot.json", abi.encode(blobs)));
        proofs = Proofs(vm.deployCode("artifacts/Proofs.json", abi.encode(committee, blobs, _windows(), BOND)));
        token.approve(address(staking), type(uint256).max);
        token.approve(address(blobs), type(uint256).max);
    }

    /// @dev Deploys, or reverts with the constructor's reason.
    function _create(string memory artifact, bytes memory arguments) internal {
        bytes memory code = abi.encodePacked(vm.getCode(artifact), arguments);
        assembly {
            if iszero(create(0, add(code, 0x20), mload(code))) {
                returndatacopy(0, 0, returndatasize())
                revert(0, returndatasize())
            }
        }
    }

    // Nodes

    function _operator(uint32 nodeId) internal pure returns (address) {
        return address(uint160(0xa0000 + nodeId));
    }

    function _secret(uint32 nodeId) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode("secret", nodeId))) % ORDER;
    }

    function _possession(uint256 secret, address account) internal view returns (bytes memory) {
        bytes memory body = Messages.possession(account, Bls.compress(_publicKey(secret)));
        return _sign(secret, Messages.encode(Messages.POSSESSION, 0, committee.domain(), body));
    }

    /// @dev The next node: registered, and staked on unless `amount` is 0.
    function _addNode(uint256 amount) internal returns (uint32 nodeId) {
        nodeId = registry.nodeCount() + 1;
        uint256 secret = _secret(nodeId);
        IRegistry.Registration memory given =
            _registration(_operator(nodeId), _publicKey(secret), _possession(secret, _operator(nodeId)));
        vm.prank(_operator(nodeId));
        registry.registerNode(given);
        if (amount != 0) staking.stake(nodeId, amount);
    }

    /// @dev Of a node whose owner, operator and receiver are one.
    function _registration(address account, bytes memory key, bytes memory proof)
        internal
        pure
        returns (IRegistry.Registration memory)
    {
        return IRegistry.Registration("node", "http://node", bytes32(0), key, proof, COMMISSION, account, account);
    }

    function _addNodes(uint256 count) internal {
        for (uint256 i; i < count; ++i) {
            _addNode(STAKE);
        }
    }

    /// @dev Tokens for an account that may stake them and pay with them.
    function _fund(address account, uint256 amount) internal {
        token.mint(account, amount);
        vm.startPrank(account);
        token.approve(address(staking), type(uint256).max);
        token.approve(address(blobs), type(uint256).max);
        vm.stopPrank();
    }

    /// @dev Pays a node out for its epochs before `until`.
    function _payOut(uint32 nodeId, uint32 until) internal returns (uint256) {
        uint32[] memory nodeIds = new uint32[](1);
        nodeIds[0] = nodeId;
        return blobs.payOut(nodeIds, until);
    }

    /// @dev Pays all nodes out for all there is.
    function _payOutAll() internal returns (uint256) {
        uint32[] memory nodeIds = new uint32[](registry.nodeCount());
        for (uint32 i; i < nodeIds.length; ++i) {
            nodeIds[i] = i + 1;
        }
        return blobs.payOut(nodeIds, ALL);
    }

    /// @dev Settles a node's next epoch, in which it is to have earned an amount.
    function _reward(uint32 nodeId, uint256 amount) internal {
        uint256[] memory amounts = new uint256[](1);
        amounts[0] = amount;
        token.mint(address(blobs), amount);
        vm.prank(address(blobs));
        staking.settle(nodeId, amounts);
    }

    /// @dev Until what stood for the epoch before the current one can be withdrawn, if its handover is done.
    function _passEvidenceWindow() internal {
        vm.warp(block.timestamp + EVIDENCE_S);
    }

    function _leave(uint32 nodeId) internal {
        vm.prank(_operator(nodeId));
        registry.leaveCandidates(nodeId);
    }

    // Epochs

    function _select() internal {
        vm.warp(block.timestamp + EPOCH_S / 2);
        committee.select();
    }

    function _start() internal {
        vm.warp(block.timestamp + EPOCH_S - EPOCH_S / 2);
        committee.start();
    }

    function _nextEpoch() internal {
        _select();
        _start();
    }

    /// @dev The next epoch, in which the first `count` nodes have left and as many new ones have come.
    function _replaceMembers(uint32 count) internal {
        for (uint32 i = 1; i <= count; ++i) {
            _leave(i);
        }
        _addNodes(count);
        _nextEpoch();
    }

    /// @dev Shards that a node has in the current epoch and had not before.
    function _gained(uint32 nodeId) internal view returns (uint16[] memory gained) {
        (ICommittee.CommitteeView memory previous, ICommittee.CommitteeView memory current,) = committee.committees();
        uint16[] memory before = _shardsIn(previous, nodeId);
        gained = _shardsIn(current, nodeId);
        uint256 count;
        for (uint256 i; i < gained.length; ++i) {
            bool isKept;
            for (uint256 k; k < before.length; ++k) {
                isKept = isKept || before[k] == gained[i];
            }
            if (!isKept) gained[count++] = gained[i];
        }
        assembly {
            mstore(gained, count)
        }
    }

    function _shardsIn(ICommittee.CommitteeView memory shown, uint32 nodeId)
        internal
        pure
        returns (uint16[] memory shards)
    {
        for (uint256 i; i < shown.members.length; ++i) {
            if (shown.members[i].nodeId == nodeId) {
                shards = abi.decode(abi.encode(shown.members[i].shards), (uint16[]));
            }
        }
    }

    /// @dev The elements from `first` to before `end`.
    function _part(uint16[] memory list, uint256 first, uint256 end) internal pure returns (uint16[] memory part) {
        part = new uint16[](end - first);
        for (uint256 i; i < part.length; ++i) {
            part[i] = list[first + i];
        }
    }

    function _attest(uint32 nodeId, uint16[] memory shards) internal {
        bytes32[] memory digests = new bytes32[](shards.length);
        uint32[] memory counts = new uint32[](shards.length);
        for (uint256 i; i < shards.length; ++i) {
            (digests[i], counts[i]) = (keccak256(abi.encode(shards[i])), uint32(shards[i]) + 7);
        }
        uint32 epoch = committee.epoch();
        vm.prank(_operator(nodeId));
        committee.attest(epoch, shards, digests, counts);
    }

    function _expectAttestReverts(uint32 nodeId, uint16 shard, bytes memory reason) internal {
        uint16[] memory shards = new uint16[](1);
        shards[0] = shard;
        uint32 epoch = committee.epoch();
        vm.expectRevert(reason);
        vm.prank(_operator(nodeId));
        committee.attest(epoch, shards, new bytes32[](1), new uint32[](1));
    }

    // Certificates: of members 0, 1, … of a committee whose members are nodes 1, 2, …

    /// @dev The bitmap and aggregate signature of the first `members` nodes but the ones in `absent`.
    function _certificate(uint256 members, uint256 absent, bytes memory message)
        internal
        view
        returns (bytes memory bitmap, bytes memory signature)
    {
        bitmap = new bytes((members + 7) / 8);
        uint256 secret;
        for (uint256 i; i < members; ++i) {
            if (absent >> i & 1 == 1) continue;
            secret = addmod(secret, _secret(uint32(i + 1)), ORDER);
            bitmap[i / 8] |= bytes1(uint8(1 << (i % 8)));
        }
        signature = _sign(secret, message);
    }

    /// @dev By the first `members` nodes but the one that is to go, until its deadline.
    function _ejection(uint256 members, uint32 nodeId, uint64 deadline)
        internal
        view
        returns (bytes memory bitmap, bytes memory signature)
    {
        bytes memory body = Messages.ejection(nodeId, 1, deadline);
        return _certificate(members, 1 << (nodeId - 1), _message(Messages.EJECT, committee.epoch(), body));
    }

    /// @dev Ejects a member of a committee whose members are nodes 1, 2, …
    function _eject(uint256 members, uint32 nodeId) internal {
        uint64 deadline = uint64(block.timestamp);
        (bytes memory bitmap, bytes memory signature) = _ejection(members, nodeId, deadline);
        committee.eject(nodeId, 1, deadline, bitmap, signature);
    }

    function _message(uint8 intent, uint32 epoch, bytes memory body) internal view returns (bytes memory) {
        return Messages.encode(intent, epoch, committee.domain(), body);
    }
}
