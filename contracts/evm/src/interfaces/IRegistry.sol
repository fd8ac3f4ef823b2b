// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IStaking} from "./IStaking.sol";

/// @title The registry: which storage nodes there are, and which of them stand for election.
/// @notice A node has an owner, who registered it, or accepted it from the owner before, and decides about it; an
/// operator, the hot key that its process sends with; and a receiver of its commission. Address and TLS key change at
/// once, BLS key and commission from the next committee on that is not elected yet. Node ids count from 1.
interface IRegistry {
    /// @notice What a node is registered with.
    struct Registration {
        /// @dev 1 to 64 printable ASCII characters (`Contact.isName`).
        string name;
        /// @dev `http(s)://host[:port]`, at most 256 bytes (`Contact.isNetworkAddress`).
        string networkAddress;
        /// @dev SHA-256 of the TLS key's SubjectPublicKeyInfo, 0 for a node without TLS.
        bytes32 tlsKey;
        /// @dev A point of G1 in EIP-2537's form, 128 bytes.
        bytes publicKey;
        /// @dev The key's signature over the message of intent 0 for the owner, 256 bytes.
        bytes proofOfPossession;
        /// @dev In hundredths of a percent, at most `MAX_COMMISSION`.
        uint16 commission;
        address operator;
        address receiver;
    }

    /// @notice A registered node as it is shown.
    struct NodeView {
        uint32 nodeId;
        address owner;
        /// @dev The account that may accept the node as its own; the zero address for none.
        address nextOwner;
        address operator;
        address receiver;
        string name;
        string networkAddress;
        bytes32 tlsKey;
        /// @dev Compressed, 48 bytes; in the current period.
        bytes publicKey;
        /// @dev In the current period.
        uint16 commission;
        uint256 stake;
        bool candidate;
        /// @dev The period with whose start it may become a candidate again, if it is none.
        uint32 barredUntil;
        /// @dev The key to come, or the same one again.
        bytes pendingPublicKey;
        uint32 publicKeyFrom;
        /// @dev The commission to come, or the same one again.
        uint16 pendingCommission;
        uint32 commissionFrom;
    }

    /// @notice A node was registered; `publicKey` is compressed, 48 bytes.
    event NodeRegistered(
        uint32 indexed nodeId,
        address indexed owner,
        address indexed operator,
        address receiver,
        string name,
        string networkAddress,
        bytes32 tlsKey,
        bytes publicKey,
        uint16 commission
    );
    /// @notice A node is reached elsewhere from now on.
    event NetworkAddressChanged(uint32 indexed nodeId, string networkAddress, bytes32 tlsKey);
    /// @notice A node signs with another key from a period on; compressed, 48 bytes.
    event PublicKeyChanged(uint32 indexed nodeId, bytes publicKey, uint32 fromPeriod);
    /// @notice A node takes another part of its rewards from a period on.
    event CommissionChanged(uint32 indexed nodeId, uint16 commission, uint32 fromPeriod);
    /// @notice A node is operated by another account; the zero address stands for none.
    event OperatorChanged(uint32 indexed nodeId, address indexed operator);
    /// @notice A node's commission goes to another account.
    event ReceiverChanged(uint32 indexed nodeId, address indexed receiver);
    /// @notice The owner offers the node to an account; the zero address withdraws the offer.
    event NodeOffered(uint32 indexed nodeId, address indexed nextOwner);
    /// @notice A node is another account's, which accepted it.
    event OwnerChanged(uint32 indexed nodeId, address indexed owner);
    /// @notice A node stands for election, behind all that stand already.
    event CandidateJoined(uint32 indexed nodeId);
    /// @notice The candidacy was withdrawn.
    event NodeLeft(uint32 indexed nodeId);
    /// @notice The committee contract ended the candidacy until the start of a period (ejection), or barred a node that
    /// had withdrawn already.
    event CandidateRemoved(uint32 indexed nodeId, uint32 barredUntil);
    /// @notice A candidate with more stake took the place of this one.
    event CandidateEvicted(uint32 indexed nodeId);

    /// @notice An account operates one node at most.
    error AccountHasNode(address account, uint32 nodeId);
    /// @notice Another node has, or this one had, the key.
    error KeyInUse(uint32 nodeId);
    /// @notice Not 128 bytes, not on the curve, not of the right subgroup, or the identity.
    error InvalidKey();
    /// @notice The proof is not the key's signature over owner and key, for this deployment.
    error InvalidProofOfPossession();
    /// @notice A name has 1 to 64 printable ASCII characters, no space first or last.
    error InvalidName();
    /// @notice A network address is `http(s)://host[:port]` and nothing else, with at most 256 bytes.
    error InvalidNetworkAddress();
    /// @notice A commission is at most `most`.
    error CommissionTooHigh(uint256 commission, uint256 most);
    /// @notice The zero address can neither operate nor receive.
    error ZeroAddress();
    /// @notice Only the node's owner may.
    error NotNodeOwner(address account, uint32 nodeId);
    /// @notice The node is not offered to the account.
    error NotOffered(address account, uint32 nodeId);
    /// @notice Only the node's owner and its operator may.
    error NotAnOperator(address account, uint32 nodeId);
    /// @notice No node has this id.
    error UnknownNode(uint32 nodeId);
    /// @notice The node stands already.
    error AlreadyCandidate(uint32 nodeId);
    /// @notice The node does not stand.
    error NotCandidate(uint32 nodeId);
    /// @notice The node may not stand before the period `until` has begun.
    error Barred(uint32 nodeId, uint32 until);
    /// @notice All places are taken by candidates with at least `leastStake`.
    error CandidatesFull(uint256 leastStake);
    /// @notice Only the committee contract may.
    error NotCommittee(address account);

    /// @notice The most that a node may take of its rewards, hundredths of a percent.
    function MAX_COMMISSION() external view returns (uint16);

    /// @notice How many nodes there are; their ids are 1 to this.
    function nodeCount() external view returns (uint32);

    /// @notice The node that an account operates, 0 if none.
    function nodeOf(address account) external view returns (uint32 nodeId);

    /// @notice Registers a node of the sender's and makes it a candidate, unless all places are taken.
    function registerNode(Registration calldata given) external returns (uint32 nodeId);

    /// @notice Changes where a node is reached, at once. Owner or operator.
    function updateNetworkAddress(uint32 nodeId, string calldata networkAddress, bytes32 tlsKey) external;

    /// @notice Gives a node another BLS key, for the next committee on that is not elected yet. Owner only.
    /// @param publicKey A point of G1 in EIP-2537's form, 128 bytes; never used before.
    /// @param proofOfPossession The key's signature over the message of intent 0 for the owner, 256 bytes.
    function changePublicKey(uint32 nodeId, bytes calldata publicKey, bytes calldata proofOfPossession) external;

    /// @notice Changes what a node takes of its rewards, from the next period on that is not elected yet. Owner only.
    /// @param commission Hundredths of a percent, at most `MAX_COMMISSION`.
    function changeCommission(uint32 nodeId, uint16 commission) external;

    /// @notice Lets another account operate a node, one that operates none. Owner only.
    function changeOperator(uint32 nodeId, address operator) external;

    /// @notice The sender no longer operates its node, which has no operator until its owner names one: until then no
    /// account attests or votes for it, and the owner alone changes its network address, has it leave and has it return.
    /// An account that was named without being asked frees itself by this.
    function resignOperator() external;

    /// @notice Offers a node to another account, in place of any account it was offered to before; the zero address
    /// withdraws the offer. Nothing changes until it is accepted. Owner only.
    function offerNode(uint32 nodeId, address nextOwner) external;

    /// @notice Makes the sender the owner of a node that is offered to it. Operator, receiver, key and commission stay
    /// until the new owner changes them.
    function acceptNode(uint32 nodeId) external;

    /// @notice Sends a node's commission, from now on, to another account. Owner only.
    function changeReceiver(uint32 nodeId, address receiver) external;

    /// @notice One node. Reverts for an id that does not exist.
    function node(uint32 nodeId) external view returns (NodeView memory shown);

    /// @notice Nodes by ascending id, a page of them.
    /// @param cursor The first id; 0 begins like 1.
    /// @param count The most nodes on the page.
    /// @return page The nodes.
    /// @return next Where the next page begins, 0 at the end.
    function nodes(uint32 cursor, uint32 count) external view returns (NodeView[] memory page, uint32 next);

    /// @notice Name and network address of a node. Reverts for an id that does not exist.
    function contact(uint32 nodeId) external view returns (string memory name, string memory networkAddress);

    /// @notice The keys of nodes in a period, in EIP-2537's form, 128 bytes each, one after another.
    function keysOf(uint32[] calldata nodeIds, uint32 period) external view returns (bytes memory keys);

    /// @notice What a node takes of a period's rewards, hundredths of a percent.
    function commissionIn(uint32 nodeId, uint32 period) external view returns (uint16);

    /// @notice The account that gets a node's commission.
    function receiverOf(uint32 nodeId) external view returns (address);

    /// @notice The most candidates at a time.
    function MAX_CANDIDATES() external view returns (uint256);

    /// @notice The committee contract; it alone may remove candidates.
    function committee() external view returns (address);

    /// @notice The stake on the nodes.
    function staking() external view returns (IStaking);

    /// @notice A node stands for no further selection. In committees already selected it stays. Owner or operator.
    function leaveCandidates(uint32 nodeId) external;

    /// @notice A node stands again, behind the other candidates. If all places are taken, it takes that of the candidate
    /// with the least stake (of equals the last), if that is less than its own. A node that was ejected waits for the
    /// next period, unless none comes. Owner or operator.
    function becomeCandidate(uint32 nodeId) external;

    /// @notice Ends a candidacy, if there is one; only the committee contract may.
    /// @param barredUntil The period with whose start the node may become a candidate again.
    function removeCandidate(uint32 nodeId, uint32 barredUntil) external;

    /// @notice The nodes that stand for the next selection, with the stake on each, in candidate order.
    function candidates() external view returns (uint32[] memory nodeIds, uint256[] memory stakes);
}
