// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IBlobs} from "./IBlobs.sol";
import {ICommittee} from "./ICommittee.sol";
import {IStaking} from "./IStaking.sol";

/// @title Storage proofs: once an epoch each member shows that it has what it should store.
/// @notice An epoch's round: a quorum certifies the inventory, the blobs that are to be stored (`begin`). Each member
/// commits itself to every symbol that it stores, under a salt of its own (`commit`). Then positions are drawn by the
/// hash of a block to come (`draw`). A member shows the symbols drawn to its fellows, of whom a quorum certifies that
/// (`prove`), or the first of them here (`answer`). A member that does neither in time misses the round (`judge`). Beside
/// that any account may demand a single symbol of a member at any time of the round (`demand`). Nothing can be paused,
/// and no member's word alone has another one fined. A round that ends with its epoch before it is judged has no misses.
interface IProofs {
    /// @notice How long the steps of a round may take, seconds.
    struct Windows {
        /// @dev From the inventory's certificate until commitments are refused and the draw can be made.
        uint32 commit;
        /// @dev From the draw until a member without a certificate should begin to answer here; nothing is refused then. May
        /// be 0.
        uint32 prove;
        /// @dev From then until certificates and answers are refused.
        uint32 answer;
        /// @dev From a demand until it must be answered.
        uint32 demand;
    }

    /// @notice An epoch's round.
    struct Round {
        /// @dev Root of the inventory's tree.
        bytes32 inventory;
        /// @dev Of the block that started the epoch; a part of the salts.
        bytes32 startHash;
        /// @dev The hash that draws the positions, 0 before.
        bytes32 draw;
        /// @dev How many blobs are in the inventory; 0 if the round has not begun.
        uint32 count;
        /// @dev The sum of their symbols' sizes, bytes.
        uint64 weight;
        /// @dev When commitments are refused from, seconds.
        uint40 commitBy;
        /// @dev The block whose hash draws; 0 while none is fixed.
        uint40 drawBlock;
        /// @dev The last second of certificates and answers; 0 before the draw.
        uint40 answerBy;
    }

    /// @notice A member's part in a round.
    struct Proof {
        /// @dev The first 24 bytes of the root of the member's tree; 0 for no commitment.
        bytes24 commitment;
        /// @dev One bit for each place that is answered.
        uint16 answered;
        bool isProven;
        bool isMissed;
        bool isPunished;
        /// @dev Demands that are neither answered nor judged, but for those in places of fellows.
        uint8 openDemands;
        /// @dev Whether one of the places that are answered was with a symbol.
        bool hasShown;
    }

    /// @notice A demand of an account, to a member and in an epoch; with a deadline of 0, none.
    struct Demand {
        uint96 position;
        uint40 answerBy;
        /// @dev The member whose own place it has; 0 for one that is for anybody.
        uint32 fellow;
    }

    /// @notice A symbol with all that shows it to be the one drawn or demanded. For a position whose shard the member
    /// neither kept nor attested in time (for a demand: by now) nothing of it is looked at. For a blob that is invalid now it ends with
    /// `blobLength`: the rest is empty.
    struct Opening {
        /// @dev Of the blob in the inventory.
        uint32 index;
        /// @dev The sum of the symbol sizes of the blobs before it.
        uint64 offset;
        /// @dev From the blob's leaf to the inventory's root, bottom-up as all paths.
        bytes32[] inventoryPath;
        /// @dev Without a symbol, of a blob that is invalid now, the blob's id: nobody need know its root any more.
        bytes32 blobRoot;
        /// @dev Bytes of the blob as it is, not encoded.
        uint64 blobLength;
        bytes symbol;
        /// @dev From the symbol's salted leaf through pair, shard and member tree to the member's root. For a demand not
        /// looked at, but for a shard that was attested from `commitBy` on, in this epoch: then up to the shard's root.
        bytes32[] commitmentPath;
        /// @dev From the symbol's leaf to the sliver's root.
        bytes32[] sliverPath;
        /// @dev The root of the pair's other sliver.
        bytes32 otherRoot;
        /// @dev From the pair's leaf to the blob's root.
        bytes32[] blobPath;
    }

    /// @notice The round of an epoch has begun.
    event RoundBegun(
        uint32 indexed epoch, bytes32 inventory, uint32 count, uint64 weight, bytes32 startHash, uint256 commitBy
    );
    /// @notice A member committed itself; another commitment of it in the epoch counts no more.
    event Committed(uint32 indexed epoch, uint32 indexed nodeId, bytes32 root);
    /// @notice The hash of this block draws, once it is told to the contract.
    event DrawFixed(uint32 indexed epoch, uint256 drawBlock);
    /// @notice The positions are drawn. From `proveBy` on members without a certificate answer; until `answerBy`.
    event Drawn(uint32 indexed epoch, bytes32 draw, uint256 proveBy, uint256 answerBy);
    /// @notice A place was answered, with a symbol, or excused.
    event Answered(uint32 indexed epoch, uint32 indexed nodeId, uint256 place, bool isExcused);
    /// @notice The round has ended for a member without a miss: it has shown what it stores, as far as it is not excused.
    event Proven(uint32 indexed epoch, uint32 indexed nodeId);
    /// @notice A member has not. It earns nothing for the epoch.
    /// @param inARow As `misses`, this one included.
    event Missed(uint32 indexed epoch, uint32 indexed nodeId, uint256 inARow);
    /// @notice A member was ejected and `amount` of its stake slashed.
    /// @param reason As in `ICommittee.MemberEjected`: 2 or 3.
    event Punished(uint32 indexed epoch, uint32 indexed nodeId, uint8 reason, uint256 amount);
    /// @notice An account wants to see a symbol.
    event Demanded(
        uint32 indexed epoch, uint32 indexed nodeId, address indexed asker, uint256 position, uint256 answerBy
    );
    /// @notice A demand was answered; the bond is the node's receiver's.
    event DemandAnswered(uint32 indexed epoch, uint32 indexed nodeId, address indexed asker, address receiver);
    /// @notice A demand was not answered; the asker has its bond back.
    event DemandMissed(uint32 indexed epoch, uint32 indexed nodeId, address indexed asker);
    /// @notice The epoch of a demand ended; the asker has its bond back.
    event DemandReclaimed(uint32 indexed epoch, uint32 indexed nodeId, address indexed asker);

    /// @notice A parameter of the deployment is out of bounds.
    error InvalidParameter(string name);
    /// @notice The round of this epoch has begun.
    error AlreadyBegun(uint32 epoch);
    /// @notice The round of this epoch has not begun.
    error RoundNotBegun(uint32 epoch);
    /// @notice There is nothing to prove.
    error EmptyInventory();
    /// @notice The chain does not tell the hash of this block, which started the epoch.
    error StartTooOld(uint256 startBlock);
    /// @notice Possible from `availableAt` on, seconds.
    error TooEarly(uint256 availableAt);
    /// @notice It was possible until `deadline`, seconds.
    error TooLate(uint256 deadline);
    /// @notice The account operates no node.
    error NotAnOperator(address account);
    /// @notice The node is not a member in this epoch.
    error NotAMember(uint32 nodeId, uint32 epoch);
    /// @notice The draw of this epoch is made.
    error AlreadyDrawn(uint32 epoch);
    /// @notice The draw of this epoch is not made.
    error DrawNotMade(uint32 epoch);
    /// @notice The block that draws is this one, or is to come.
    error DrawPending(uint256 drawBlock);
    /// @notice The member has proven already.
    error AlreadyProven(uint32 nodeId, uint32 epoch);
    /// @notice The member's miss is judged already.
    error AlreadyJudged(uint32 nodeId, uint32 epoch);
    /// @notice Places and openings are lists of one length.
    error LengthMismatch();
    /// @notice There is no such place.
    error NoSuchPlace(uint256 place);
    /// @notice Positions are below `end`.
    error NoSuchPosition(uint256 position, uint256 end);
    /// @notice The account's demand of this member is open.
    error AlreadyDemanded(uint32 nodeId, address asker);
    /// @notice As many demands of this member are open as can be, and the sender has no place of its own, or has used it.
    error TooManyDemands(uint32 nodeId);
    /// @notice The account has no demand of this member in this epoch.
    error NotDemanded(uint32 nodeId, address asker);
    /// @notice The epoch of the demand is the current one.
    error EpochNotOver(uint32 epoch);

    /// @notice How many places can be answered here.
    function PLACES() external view returns (uint256);

    /// @notice How many demands of a member can be open at once, beside one of each of its fellows.
    function MAX_OPEN_DEMANDS() external view returns (uint256);

    /// @notice Which part of all that is slashable is slashed, of `IStaking.WHOLE`.
    function FINE() external view returns (uint256);

    /// @notice How many blocks the block that draws is ahead when it is fixed.
    function DRAW_AHEAD() external view returns (uint256);

    /// @notice Whose members prove.
    function committee() external view returns (ICommittee);

    /// @notice The blobs that they store.
    function blobs() external view returns (IBlobs);

    /// @notice What is slashed.
    function staking() external view returns (IStaking);

    /// @notice What bonds are in.
    function token() external view returns (IERC20);

    /// @notice What a demand costs if it is answered, in the token's smallest unit.
    function bond() external view returns (uint256);

    /// @notice How long the steps take, for ever.
    function windows() external view returns (uint32 commit_, uint32 prove_, uint32 answer_, uint32 demand_);

    /// @notice How many rounds a node has missed since it last proved, not counting answers in which all was excused.
    function misses(uint32 nodeId) external view returns (uint32);

    /// @notice With how many shards the members that were punished in a period began it.
    function punishedShards(uint32 period) external view returns (uint256);

    /// @notice Begins the round of the current epoch, once, with the inventory that a quorum certified. Anyone may.
    /// @param inventory Root of its tree.
    /// @param count Its blobs, at least one.
    /// @param weight The sum of their symbols' sizes.
    /// @param bitmap The signers, as in `ICommittee.verify`.
    /// @param signature Of all signers over the message of intent 10.
    function begin(bytes32 inventory, uint32 count, uint64 weight, bytes calldata bitmap, bytes calldata signature)
        external;

    /// @notice Commits the sender's node to what it stores; before `commitBy` as often as it likes, the last counts. The
    /// operator only. Of a node that is no member, and for an epoch that is over, it counts for nothing.
    /// @param epoch The current epoch.
    /// @param root Of the member's tree.
    function commit(uint32 epoch, bytes32 root) external;

    /// @notice From `commitBy` on: fixes the block that draws; behind that block: draws. If the chain does not tell that
    /// block's hash any more, fixes another. Anyone may.
    function draw() external;

    /// @notice Ends the round for a member, by its fellows' certificate. Until `answerBy`, anyone.
    /// @param bitmap The signers, as in `ICommittee.verify`.
    /// @param signature Of all signers over the message of intent 11.
    function prove(uint32 nodeId, bytes calldata bitmap, bytes calldata signature) external;

    /// @notice Answers one place or several of a member; when all `PLACES` are, it has proven. Until `answerBy`, anyone.
    /// A place counts as answered without a symbol if its shard was neither kept nor attested before `commitBy`, or
    /// its blob is invalid now. Places that are answered already are passed over. Where no place was answered with a symbol
    /// the round ends without a miss, and those before count on.
    function answer(uint32 nodeId, uint256[] calldata places, Opening[] calldata openings) external;

    /// @notice Has a member that has not proven in time earn nothing for the epoch; if it missed the round before too, it
    /// is punished. Once, behind `answerBy` and while the epoch lasts. Anyone may; the node must be settled if it is
    /// to be slashed (`IStaking.NotSettled`).
    function judge(uint32 nodeId) external;

    /// @notice Demands that a member shows a symbol. The bond is taken from the sender. It goes to the node's receiver if
    /// the demand is answered. While the round's epoch lasts. An account has one open demand of a member. When all places
    /// for demands are taken, operators of members have one more for each member: nobody can keep these out.
    /// @param position Below shards of the member * symbols of a pair * `weight`.
    function demand(uint32 nodeId, uint256 position) external;

    /// @notice Answers a demand, without a path in the member's commitment. Until the demand's deadline, anyone. No symbol
    /// is needed of a shard that is neither kept nor attested by now, or of a blob that is invalid now. A shard that was
    /// attested too late for the round must be opened to the root that was attested.
    function answerDemand(uint32 nodeId, address asker, Opening calldata opening) external;

    /// @notice Punishes a member that has not answered a demand. The asker gets its bond back, and the bounty. While the
    /// epoch lasts, anyone.
    function judgeDemand(uint32 nodeId, address asker) external;

    /// @notice Gives an asker its bond back when the epoch of the demand is over. Anyone may.
    function reclaim(uint32 epoch, uint32 nodeId, address asker) external;

    /// @notice The round of an epoch; all zeros if there was none.
    function roundOf(uint32 epoch) external view returns (Round memory);

    /// @notice A node's part in a round.
    function proofOf(uint32 epoch, uint32 nodeId) external view returns (Proof memory);

    /// @notice A demand that is open.
    function demandOf(uint32 epoch, uint32 nodeId, address asker) external view returns (Demand memory);

    /// @notice The position of a member's place in the current epoch. Reverts before the draw.
    function positionOf(uint32 nodeId, uint256 place) external view returns (uint256 position);

    /// @notice The salt of a member's commitment in the current epoch. Reverts before the round has begun.
    function saltOf(uint32 nodeId) external view returns (bytes32);
}
