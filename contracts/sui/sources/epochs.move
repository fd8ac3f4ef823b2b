/// Epochs: who stores which shards, and whether they have them (PROTOCOL section 5).
///
/// Each epoch has a committee that holds all shards. Half a period after a period's handover anyone may select the next
/// period's committee, after a full one anyone may start it; its members fill the shards they gained and attest them, until a
/// quorum of the shards is kept or attested: the handover is done. If it is not within the deadline, anyone may close it.
/// Within a period anyone may replace members that were ejected: the others get their shards, with the start of another
/// epoch. But for ejections none of these can be paused. Where too little stake stands for a selection the committee in office
/// stays, with its shards and certificates.
module haulout::epochs;

use haulout::assignment::{Self, Roster};
use haulout::candidates;
use haulout::committee;
use haulout::messages;
use haulout::pauses;
use haulout::registry::{OperatorCap, Registry};
use haulout::shard_set::{Self, ShardSet};
use haulout::staking::Staking;
use haulout::system::{Self, System};
use haulout::term;
use haulout::votes;
use sui::bls12381::UncompressedG1;
use sui::clock::Clock;
use sui::event;
use sui::group_ops::Element;
use sui::random::Random;

/// An epoch is not, or no longer, one to act in.
const EWrongEpoch: u64 = 123;
/// The stake that is elected is less than a selection needs now.
const ENotEnoughStake: u64 = 160;
/// The first committee has to have more members now.
const ENotEnoughMembers: u64 = 161;
/// No member in office was ejected in this epoch.
const ENothingToReplace: u64 = 162;
/// The members that stay held less than two thirds of the shards when the period began.
const ETooFewLeft: u64 = 163;
/// A node is not a member in this epoch.
const ENotAMember: u64 = 164;
/// What was signed to eject a node was for use until a time that has passed.
const EEjectionTooLate: u64 = 165;

const SALT_BYTES: u16 = 32;

/// The committee of an epoch is elected and will not change any more, unless it is dropped. In a period that has begun it is
/// a replacement. Members sign with the keys that they have in the period.
public struct CommitteeSelected has copy, drop {
    epoch: u32,
    period: u32,
    /// That elected the period's first committee.
    stake: u64,
    /// By ascending node id.
    node_ids: vector<u32>,
    /// Of each member, in the order in which they came to it.
    shards: vector<vector<u16>>,
    at_s: u64,
}

/// The selected committee is void, one of its members having been ejected; it may be selected again.
public struct SelectionDropped has copy, drop { epoch: u32 }

/// An epoch is the current one; its members fill the shards that they gained.
public struct EpochStarted has copy, drop { epoch: u32, period: u32, salt: vector<u8>, at_s: u64 }

/// A member has, durably, the bytes of these shards.
public struct ShardsAttested has copy, drop {
    epoch: u32,
    node_id: u32,
    shards: vector<u16>,
    roots: vector<address>,
    counts: vector<u32>,
    at_s: u64,
}

/// A quorum of the shards is kept or attested, or the handover was closed.
public struct HandoverDone has copy, drop { epoch: u32, is_closed: bool, at_s: u64 }

/// A quorum found that a member does not answer (reason 1), or it missed two storage proofs in a row (2), or did not answer a
/// demand (3).
public struct MemberEjected has copy, drop { epoch: u32, node_id: u32, reason: u8, at_s: u64 }

/// Elects the next period's committee from the candidates as they are now. Anyone may, from half a period after the
/// period's handover on, if the stake that is elected suffices; before the first epoch once there is what the opening
/// waits for.
///
/// Aborts with `EAlreadySelected`, `EHandoverNotDone`, `ETooEarly`, `ENoStake`, `ENotEnoughStake` or `ENotEnoughMembers`.
public fun select(system: &mut System, registry: &Registry, staking: &Staking, clock: &Clock) {
    let (parameters, now_s) = (system.parameters(), system::seconds(clock));
    system.timeline().check_selectable(&parameters, now_s);
    let node_ids = registry.candidates();
    let stakes = staking.stakes_on(system, &node_ids, clock);
    let held = system.roster();
    let (roster, stake) = assignment::elect(&held, node_ids, stakes, system.n_shards(), parameters.band_millis());
    let (least_stake, least_members) = system.needed(now_s);
    assert!(stake >= least_stake, ENotEnoughStake);
    assert!(roster.node_ids().length() >= least_members as u64, ENotEnoughMembers);
    let (node_ids, period) = (roster.node_ids(), system.period() + 1);
    let mut keys = vector[];
    let mut place = 0;
    while (place < node_ids.length()) {
        keys.push_back(registry.key_in(node_ids[place], period));
        place = place + 1;
    };
    system.timeline_mut().select(stake, now_s);
    enter(system, &roster, keys, period, stake, now_s);
}

/// Elects a committee for the rest of the period: that in office without the members that were ejected, whose shards the others
/// get. Stake that came since counts for nothing. Anyone may, up to 16 times in a period, while the members that stay held two
/// thirds of the shards when it began; not from the notice before the next period's start is due until the notice after.
///
/// Aborts with `EAlreadySelected`, `EHandoverNotDone`, `ENothingToReplace`, `ETooManyReplacements`, `ETooEarly` or
/// `ETooFewLeft`.
public fun replace(system: &mut System, clock: &Clock) {
    let (parameters, now_s) = (system.parameters(), system::seconds(clock));
    system.timeline().check_free();
    let epoch = system.epoch();
    assert!(epoch > 0 && system.term(epoch).first_ejection_s() > 0, ENothingToReplace);
    system.timeline().check_replaceable(&parameters, now_s);
    let in_office = system.committee(epoch).node_ids();
    let first_epoch = system.timeline().first_epoch();
    let (mut node_ids, mut weights, mut keys, mut left) = (vector[], vector[], vector[], 0);
    let mut place = 0;
    while (place < in_office.length()) {
        let node_id = in_office[place];
        if (!system.term(epoch).is_ejected(node_id)) {
            let weight = system.committee(first_epoch).shards_of(node_id).length();
            left = left + weight;
            node_ids.push_back(node_id);
            weights.push_back(weight);
            keys.push_back(system.committee(epoch).key_of(node_id));
        };
        place = place + 1;
    };
    assert!(left >= votes::two_thirds(system.n_shards()) as u64, ETooFewLeft);
    let roster = assignment::replace(&system.roster(), node_ids, weights, system.n_shards());
    system.timeline_mut().replace(now_s);
    let (period, stake) = (system.period(), system.timeline().stake());
    enter(system, &roster, keys, period, stake, now_s);
}

/// Starts the selected epoch. Anyone may, no sooner after the selection than the notice, and when no certificate of the epoch
/// before the current one counts any more; the first epoch at once. The next period starts no sooner than a full duration
/// after this one's handover, and with the parameters that were set last. Aborts with `ENotSelected` or `ETooEarly`.
entry fun start(system: &mut System, random: &Random, clock: &Clock, ctx: &mut TxContext) {
    let (parameters, now_s) = (system.parameters(), system::seconds(clock));
    let is_replacement = system.timeline_mut().start(&parameters, now_s);
    let kept = kept_shards(system);
    let from = if (is_replacement) system.parts_passed(now_s) else 0;
    if (!is_replacement) system.begin_period(now_s);
    let salt = random.new_generator(ctx).generate_bytes(SALT_BYTES);
    system.begin_term(term::new(now_s, from, salt, kept, ctx));
    event::emit(EpochStarted { epoch: system.epoch(), period: system.period(), salt, at_s: now_s });
    finish_at_quorum(system, now_s);
}

/// The operator's node has, durably, its slivers of every live certified blob for shards that it gained in this epoch, or
/// gained in the one before and did not attest. Possible until the next start, after the handover too.
///
/// `epoch` is the current one; per shard there is a root that binds the node to the bytes, and the number of blobs in it.
/// Aborts with `EWrongEpoch`, `ENotOperator`, `ENotAMember`, `EUnequalLists`, `ENotYourShard`, `EShardIsKept` or
/// `EAlreadyAttested`.
public fun attest(
    system: &mut System,
    registry: &Registry,
    cap: &OperatorCap,
    epoch: u32,
    shards: vector<u16>,
    roots: vector<address>,
    counts: vector<u32>,
    clock: &Clock,
) {
    assert!(epoch == system.epoch() && epoch > 0, EWrongEpoch);
    let node_id = registry.check_operator(cap);
    let owned = system.committee(epoch).shards_of(node_id);
    assert!(!owned.is_empty(), ENotAMember);
    let now_s = system::seconds(clock);
    let passed = system.parts_passed(now_s);
    let owned = shard_set::of(owned, system.n_shards());
    system.term_mut().attest(node_id, &owned, &shards, &roots, &counts, passed, now_s);
    event::emit(ShardsAttested { epoch, node_id, shards, roots, counts, at_s: now_s });
    finish_at_quorum(system, now_s);
}

/// Ends a handover that has no quorum at its deadline. Anyone may. The members that are late then weigh more than all that
/// may be faulty, so it costs them no more than the pay for what they lack. Aborts with `EHandoverIsDone` or `ETooEarly`.
public fun close(system: &mut System, clock: &Clock) {
    let (parameters, now_s) = (system.parameters(), system::seconds(clock));
    system.timeline().check_closable(&parameters, now_s);
    finish(system, true, now_s);
}

/// Ends the candidacy of a member that does not answer until the next period has begun. Anyone may, with a certificate of this
/// epoch by a quorum, before its deadline; once per node and epoch. A committee selected with the node is selected anew.
///
/// `node_id` is a member of the current or the selected committee; reason (1: does not answer) and deadline, in seconds, are part
/// of what was signed. Aborts with `EPaused`, `EEjectionTooLate`, `EWrongEpoch`, `ENotAMember`, `EAlreadyEjected`, or as
/// `committee::verify`.
public fun eject(
    system: &mut System,
    registry: &mut Registry,
    node_id: u32,
    reason: u8,
    deadline_s: u64,
    bitmap: vector<u8>,
    signature: vector<u8>,
    clock: &Clock,
) {
    system.check_open(pauses::ejection(), clock);
    assert!(system::seconds(clock) <= deadline_s, EEjectionTooLate);
    remove(system, registry, node_id, reason, clock);
    let body = messages::ejection(node_id, reason, deadline_s);
    system.verify(system.epoch(), messages::eject_intent(), body, &bitmap, &signature, clock);
}

/// Ejects a member as `eject` does, without a certificate.
public(package) fun remove(system: &mut System, registry: &mut Registry, node_id: u32, reason: u8, clock: &Clock) {
    let (epoch, now_s) = (system.epoch(), system::seconds(clock));
    assert!(epoch > 0, EWrongEpoch);
    let has_selection = system.timeline().has_selection();
    let is_selected = has_selection && system.committee(epoch + 1).is_member(node_id);
    let is_in_office = system.committee(epoch).is_member(node_id);
    assert!(is_selected || is_in_office, ENotAMember);
    system.term_mut().eject(node_id, is_in_office, now_s);
    forfeit(system, node_id, clock);
    event::emit(MemberEjected { epoch, node_id, reason, at_s: now_s });
    if (is_selected) {
        system.timeline_mut().drop_selection();
        event::emit(SelectionDropped { epoch: epoch + 1 });
    };
    candidates::remove(registry, node_id, system.period() + 1);
}

/// Has a member of the current epoch earn nothing for it. From when on the period may have been paid as stalled, that changes
/// no pay.
public(package) fun forfeit(system: &mut System, node_id: u32, clock: &Clock) {
    if (system.is_paid_as_stalled(system::seconds(clock))) return;
    let owned = system.committee(system.epoch()).shards_of(node_id);
    system.term_mut().forfeit(node_id, &owned);
}

/// Returns since when the owner of a shard has had it in the current epoch, in seconds, and the root if it attested it: since the
/// epoch's start if it kept the shard. 0 for a shard that is neither.
public(package) fun held_since(system: &System, shard: u16): (u64, Option<address>) {
    let epoch = system.epoch();
    system.term(epoch).held_since(system.committee(epoch).owner_of(shard), shard)
}

/// Enters an elected committee for the next epoch.
fun enter(
    system: &mut System,
    roster: &Roster,
    keys: vector<Element<UncompressedG1>>,
    period: u32,
    stake: u64,
    now_s: u64,
) {
    let (epoch, node_ids, shards) = (system.epoch() + 1, roster.node_ids(), roster.shards());
    let mut members = vector[];
    let mut place = 0;
    while (place < node_ids.length()) {
        members.push_back(committee::new_member(node_ids[place], keys[place], shards[place]));
        place = place + 1;
    };
    system.enter(committee::new(epoch, members));
    event::emit(CommitteeSelected { epoch, period, stake, node_ids, shards, at_s: now_s });
}

/// Returns the shards of the current epoch whose owner is the one it was before, but for those it did not attest there.
///
/// What a member had before is the first of its list: members give up from the tail and gain at the tail. In the first epoch,
/// with no blob to be handed over, all count as kept.
fun kept_shards(system: &System): ShardSet {
    let (epoch, mut kept) = (system.epoch(), shard_set::empty(system.n_shards()));
    let (node_ids, shards) = (system.roster().node_ids(), system.roster().shards());
    let is_first = epoch == 1;
    let held = if (is_first) kept else *system.term(epoch - 1).held();
    let mut place = 0;
    while (place < node_ids.length()) {
        let owned = &shards[place];
        let had = if (is_first) owned.length() else system.committee(epoch - 1).shards_of(node_ids[place]).length();
        let mut first = 0;
        while (first < owned.length() && first < had) {
            if (is_first || held.contains(owned[first])) kept.add(owned[first]);
            first = first + 1;
        };
        place = place + 1;
    };
    kept
}

fun finish_at_quorum(system: &mut System, now_s: u64) {
    let held = system.term(system.epoch()).held().size();
    if (!system.timeline().is_handover_done() && held >= system.quorum()) finish(system, false, now_s);
}

fun finish(system: &mut System, is_closed: bool, now_s: u64) {
    system.timeline_mut().finish(now_s);
    event::emit(HandoverDone { epoch: system.epoch(), is_closed, at_s: now_s });
}
