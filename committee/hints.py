"""What to do about a contract's refusal: its error's name → a hint, in the words of the commands."""

from __future__ import annotations

from collections.abc import Mapping

_NODES = "`haulout node status` lists the nodes"
_STAKES = "`haulout stake list` shows what there is"
_PHASE = "`haulout epoch status` says what comes next, and when"
_SPACE = "`haulout space list` lists an account's reservations"
_ROUND = "`haulout proofs status` says what comes next, and by when"
_DEMANDS = "`haulout proofs demands NODE` lists those that are open"
_OWNER = "use the key of the account that owns it (--key-file)"

HINTS: Mapping[str, str] = {
    # money
    "InsufficientFunds": "the account needs gas: have it sent some (`haulout account fund`)",
    "OutOfGas": "the chain's endpoint has told too little gas: try again, or use another endpoint (--rpc)",
    "ERC20InsufficientBalance": (
        "the account has too few tokens (`haulout stake list`): have it sent some; on a network of your own the "
        "token's owner makes them (`haulout account mint`)"
    ),
    "OwnableUnauthorizedAccount": (
        "only the token's owner may: the timelock, unless another account was named when the network was deployed "
        "(--minter)"
    ),
    # epochs
    "NotSelected": "elect the next committee first: `haulout epoch select`",
    "AlreadySelected": "start the epoch: `haulout epoch start`",
    "NoStake": "stake on at least one node first: `haulout stake add NODE TOKENS`",
    "NotEnoughStake": "too little stake stands for election: the committee stays until more does, or time has passed",
    "NotEnoughMembers": "the first epoch waits for more nodes with stake",
    "TooEarly": f"{_PHASE}; of storage proofs `haulout proofs status` does",
    "NothingToReplace": f"no member of the committee in office is ejected: {_PHASE}",
    "TooFewLeft": "less than two thirds of the period's first committee are left: the next period replaces them",
    "TooManyReplacements": "the period has had its replacements: the next period replaces the others",
    "HandoverNotDone": f"wait for the handover, or close it behind its deadline: {_PHASE}",
    "HandoverIsDone": f"there is nothing to close: {_PHASE}",
    "NoEpochYet": "start the first epoch: `haulout epoch select`, then `haulout epoch start`",
    "WrongEpoch": "the epoch has changed meanwhile: try again",
    # nodes
    "KeyInUse": "another node has this BLS key: make the node one of its own (`haulout node init`)",
    "AccountHasNode": "an account operates one node: use another account, or update the node it has",
    "InvalidProofOfPossession": "the proof is for another account or deployment: check --key-file and --deployment",
    "InvalidName": "a name has 1 to 64 printable ASCII characters, no space first or last",
    "InvalidNetworkAddress": "give scheme, host and port and nothing else, such as http://node.example:9000",
    "CommissionTooHigh": "give a lower --commission",
    "UnknownNode": _NODES,
    "NotNodeOwner": f"{_OWNER}; {_NODES}",
    "NotOffered": f"the node's owner offers it first: `haulout node transfer NODE ACCOUNT`; {_NODES}",
    "NotAnOperator": (
        "use the key of the account that operates the node (--key-file); a node's owner names an operator, such as "
        "itself, by `haulout node update NODE --operator ACCOUNT`"
    ),
    "AlreadyCandidate": "nothing needs to be done: the node stands for election",
    "NotCandidate": "nothing needs to be done: the node does not stand for election",
    "Barred": "the node was ejected: try again when the next period has begun",
    "CandidatesFull": "stake more on the node than the least of the candidates has, then try again",
    "AlreadyDecided": "nothing needs to be done: the votes of this period are counted",
    "NoQuorum": "the terms stay until members with two thirds of the shards have voted: `haulout node vote`",
    "ZeroPrice": "ask more than 0",
    # stake
    "ZeroAmount": f"there is nothing to move: {_STAKES}",
    "StakeTooSmall": "give more, or unstake all",
    "NotEnoughShares": f"that is more than is staked there: {_STAKES}",
    "NothingUnbonding": f"nothing unlocks in that period: {_STAKES}",
    "StillBonded": f"wait until that period has begun and the evidence window has passed: {_STAKES}",
    "ElectedWith": "start the epoch, and unstake it then: `haulout epoch start`",
    "ElectedWithout": "withdraw it when it is unlocked (`haulout stake list`), and stake it again",
    "NotSettled": "have the node paid out first: `haulout epoch pay NODE`",
    "NothingEarned": "commissions come when a period is paid out: `haulout epoch pay`",
    # storage proofs
    "RoundNotBegun": f"the members begin it with the epoch's inventory: {_ROUND}",
    "DrawNotMade": f"positions are drawn when commitments have ended (`haulout proofs draw`): {_ROUND}",
    "DrawPending": "wait for the block that draws, and try again",
    "AlreadyDrawn": f"nothing needs to be done: {_ROUND}",
    "AlreadyProven": f"the member has proven: {_ROUND}",
    "AlreadyJudged": f"nothing needs to be done: {_ROUND}",
    "AlreadyDemanded": f"the account's demand of this member is open: {_DEMANDS}",
    "NotDemanded": f"it was answered, judged or reclaimed before, or never made: {_DEMANDS}",
    "TooManyDemands": f"wait until one is answered or judged: {_DEMANDS}",
    "EpochNotOver": f"while the epoch lasts it can be judged (`haulout proofs judge-demand`): {_DEMANDS}",
    # blobs
    "InvalidPeriod": "give fewer --periods",
    "RegisteredMeanwhile": "the account has paid for that object: `haulout blob store` goes on with it",
    "EndMoved": "the object was extended meanwhile, and nothing was paid now: try again if it ends too soon",
    "TooExpensive": "the price has changed meanwhile: try again",
    "Stalled": f"the next period is late, and nothing is sold until it begins: {_PHASE}",
    "NotStalled": "epochs go on: what is paid for will be served",
    "NothingToRefund": "all periods behind the current one are refunded, or none was paid for",
    "NoCapacity": "the network is full in that period: give fewer --periods, or wait until space is given back",
    "UnknownReservation": _SPACE,
    "InvalidSize": "give at least a mebibyte, and less than the reservation has",
    "InvalidOwner": "name an account other than the zero address",
    "NotWithin": f"give a period behind its first one and before its end: {_SPACE}",
    "NotBegun": f"its first period has not begun: {_SPACE}",
    "NotAdjoining": f"it must have the same size, and go on where the other ends, or the same periods: {_SPACE}",
    "ReservationTooSmall": "merge it with another for the same periods: `haulout space merge`",
    "UnknownObject": (
        "`haulout blob status BLOB` lists a blob's objects; of one that was registered in a later block this endpoint "
        "does not know yet"
    ),
    "NotOwner": _OWNER,
    "NotCertified": "certify the blob first: `haulout blob certify`",
    "AlreadyCertified": "nothing needs to be done: the blob is certified",
    "NotDeletable": "it was not registered as --deletable: it stays until its end period",
    "Expired": "its time is over: store the blob, or reserve the space, anew",
    "Paused": "the network's guardian has paused this: try again later",
}


def hint(reason: str) -> str:
    """Return what to do; "" for an error that no user can do anything about."""
    return HINTS.get(reason, "")
