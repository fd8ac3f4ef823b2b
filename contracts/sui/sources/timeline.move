/// Where the epochs and periods are, and what may happen when (PROTOCOL section 5).
///
/// An epoch is a committee's term. A period is what users pay for and what stake is elected for: its first epoch begins
/// with a regular election, each further one with a replacement of ejected members. Times are seconds of Sui's clock.
module haulout::timeline;

use haulout::parameters::Parameters;

/// The committee of the next epoch is selected.
const EAlreadySelected: u64 = 110;
/// No committee is selected for the next epoch.
const ENotSelected: u64 = 111;
/// The handover of the current epoch comes first.
const EHandoverNotDone: u64 = 112;
/// There is no handover to close.
const EHandoverIsDone: u64 = 113;
/// The time has not come.
const ETooEarly: u64 = 114;
/// Members were replaced as often as they can be in a period.
const ETooManyReplacements: u64 = 115;

const MAX_REPLACEMENTS: u8 = 16;

public struct Timeline has drop, store {
    /// 0 before the first.
    epoch: u32,
    /// 0 before the first.
    period: u32,
    /// In this period: as many epochs began after its first.
    replacements: u8,
    /// When the epoch began.
    started_at_s: u64,
    /// When the period began.
    period_started_at_s: u64,
    handover_done: bool,
    /// When the newest handover that is done was; before the first, the deployment.
    last_handover_done_s: u64,
    /// The same of the handovers with which periods began: the next period's times are counted from it.
    regular_handover_done_s: u64,
    /// The stake that elected the committee with which the period began.
    stake: u64,
    /// Of the committee for the next epoch, if there is one.
    selection: Option<Selection>,
}

public struct Selection has copy, drop, store {
    at_s: u64,
    /// That elected the committee, or, of a replacement, the committee with which the period began.
    stake: u64,
    /// Whether the next epoch is one of the current period.
    is_replacement: bool,
}

/// Returns the timeline of a deployment before its first epoch.
public(package) fun new(now_s: u64): Timeline {
    Timeline {
        epoch: 0,
        period: 0,
        replacements: 0,
        started_at_s: 0,
        period_started_at_s: 0,
        handover_done: true, // before the first epoch nothing is to be handed over
        last_handover_done_s: now_s,
        regular_handover_done_s: now_s,
        stake: 0,
        selection: option::none(),
    }
}

public(package) fun epoch(self: &Timeline): u32 { self.epoch }

public(package) fun period(self: &Timeline): u32 { self.period }

/// Returns the first period whose committee is not elected yet.
public(package) fun electable_period(self: &Timeline): u32 {
    if (self.has_regular_selection()) self.period + 2 else self.period + 1
}

/// Returns the epoch with which the period began.
public(package) fun first_epoch(self: &Timeline): u32 { self.epoch - (self.replacements as u32) }

/// Returns whether certificates of an epoch's committee count.
///
/// The one before counts until the handover is done, and for the grace in any case, so that a certificate on its way
/// survives every start.
public(package) fun accepts(self: &Timeline, parameters: &Parameters, epoch: u32, now_s: u64): bool {
    if (epoch == 0) return false;
    let in_grace = now_s < self.started_at_s + parameters.certificate_grace_s();
    epoch == self.epoch || epoch < self.epoch && epoch == self.epoch - 1 && (!self.handover_done || in_grace)
}

/// Returns whether certificates of a committee of a period count.
public(package) fun accepts_period(self: &Timeline, parameters: &Parameters, period: u32, now_s: u64): bool {
    if (period == 0) return false;
    let is_before = period < self.period && period == self.period - 1 && self.replacements == 0;
    period == self.period || is_before && self.accepts(parameters, self.epoch - 1, now_s)
}

/// Returns whether no period has begun for half of the time that makes a standstill: then nothing is sold any more.
public(package) fun is_late(self: &Timeline, parameters: &Parameters, now_s: u64): bool {
    now_s > self.last_in_time_s() + stall_time_s(parameters) / 2
}

/// Returns whether no period has begun for so long that none may come any more.
///
/// From the end of a period's handover to the next period's start takes the duration, from there to the next end at most
/// the deadline. Replacements put nothing off.
public(package) fun is_stalled(self: &Timeline, parameters: &Parameters, now_s: u64): bool {
    now_s > self.last_in_time_s() + stall_time_s(parameters)
}

/// Aborts unless a committee for the next period may be selected now, as far as time goes.
public(package) fun check_selectable(self: &Timeline, parameters: &Parameters, now_s: u64) {
    self.check_free();
    assert!(now_s >= self.selectable_at_s(parameters), ETooEarly);
}

/// Aborts unless members may be replaced now, as far as time goes: up to 16 times in a period, and not from the notice
/// before the next period's start is due until the notice after.
public(package) fun check_replaceable(self: &Timeline, parameters: &Parameters, now_s: u64) {
    assert!(self.replacements < MAX_REPLACEMENTS, ETooManyReplacements);
    let (due_s, notice_s) = (self.due_at_s(parameters), parameters.notice_s());
    assert!(now_s + notice_s < due_s || now_s >= due_s + notice_s, ETooEarly);
}

/// Aborts unless no committee is selected, and the handover is done.
public(package) fun check_free(self: &Timeline) {
    assert!(self.selection.is_none(), EAlreadySelected);
    assert!(self.handover_done, EHandoverNotDone);
}

/// Returns the stake that a selection made now needs: two thirds of the stake that elected the period's first committee,
/// and the less the longer the selection waits.
public(package) fun stake_needed(self: &Timeline, parameters: &Parameters, now_s: u64): u64 {
    let selectable_s = self.selectable_at_s(parameters);
    let waited_s = if (now_s < selectable_s) 0 else now_s - selectable_s;
    let longest_s = parameters.shrink_duration_s();
    if (waited_s >= longest_s) return 0;
    (2 * (self.stake as u128) * ((longest_s - waited_s) as u128) / (3 * longest_s as u128)) as u64
}

/// Takes note that a committee is selected for the next epoch.
public(package) fun select(self: &mut Timeline, stake: u64, now_s: u64) {
    self.selection = option::some(Selection { at_s: now_s, stake, is_replacement: false });
}

/// Takes note that a committee is selected for the next epoch that is the one in office without its ejected members.
public(package) fun replace(self: &mut Timeline, now_s: u64) {
    self.selection = option::some(Selection { at_s: now_s, stake: self.stake, is_replacement: true });
}

/// Forgets the selection.
public(package) fun drop_selection(self: &mut Timeline) {
    self.selection = option::none();
}

/// Starts the selected epoch; returns whether it is a replacement. Aborts with `ENotSelected` or `ETooEarly`.
///
/// The first epoch starts at once; a replacement no sooner than the notice after its selection, nor before the grace for
/// certificates after the last start; the next period, besides, a full duration after this one's handover.
public(package) fun start(self: &mut Timeline, parameters: &Parameters, now_s: u64): bool {
    assert!(self.selection.is_some(), ENotSelected);
    let Selection { at_s, stake, is_replacement } = self.selection.extract();
    if (self.epoch != 0) {
        assert!(is_replacement || now_s >= self.due_at_s(parameters), ETooEarly);
        assert!(now_s >= at_s + parameters.notice_s(), ETooEarly);
        assert!(now_s >= self.started_at_s + parameters.certificate_grace_s(), ETooEarly);
    };
    self.epoch = self.epoch + 1;
    self.started_at_s = now_s;
    self.handover_done = false;
    if (is_replacement) {
        self.replacements = self.replacements + 1;
    } else {
        self.period = self.period + 1;
        self.period_started_at_s = now_s;
        self.replacements = 0;
        self.stake = stake;
    };
    is_replacement
}

/// Aborts with `EHandoverIsDone`, or with `ETooEarly` before the handover's deadline.
public(package) fun check_closable(self: &Timeline, parameters: &Parameters, now_s: u64) {
    assert!(!self.handover_done, EHandoverIsDone);
    assert!(now_s >= self.started_at_s + parameters.handover_deadline_s(), ETooEarly);
}

/// Ends the handover.
public(package) fun finish(self: &mut Timeline, now_s: u64) {
    self.handover_done = true;
    self.last_handover_done_s = now_s;
    if (self.replacements == 0) self.regular_handover_done_s = now_s;
}

public(package) fun is_handover_done(self: &Timeline): bool { self.handover_done }

/// Returns the seconds since the period began.
public(package) fun passed_s(self: &Timeline, now_s: u64): u64 { now_s - self.period_started_at_s }

/// Returns whether the period may have been paid as one that has stalled.
public(package) fun is_paid_as_stalled(self: &Timeline, parameters: &Parameters, now_s: u64): bool {
    now_s > self.period_started_at_s + stall_time_s(parameters)
}

/// Returns the stake that elected the committee with which the period began.
public(package) fun stake(self: &Timeline): u64 { self.stake }

/// Returns the seconds since the deployment, before the first epoch.
public(package) fun waited_s(self: &Timeline, now_s: u64): u64 { now_s - self.regular_handover_done_s }

public(package) fun has_selection(self: &Timeline): bool { self.selection.is_some() }

fun has_regular_selection(self: &Timeline): bool {
    self.selection.is_some() && !self.selection.borrow().is_replacement
}

/// From when on the next period may start.
fun due_at_s(self: &Timeline, parameters: &Parameters): u64 {
    self.regular_handover_done_s + parameters.period_duration_s()
}

fun selectable_at_s(self: &Timeline, parameters: &Parameters): u64 {
    if (self.epoch == 0) 0 else self.regular_handover_done_s + parameters.period_duration_s() / 2
}

/// When something last happened that the period's clock goes by.
fun last_in_time_s(self: &Timeline): u64 {
    if (self.handover_done || self.replacements != 0) self.regular_handover_done_s else self.started_at_s
}

/// Time in which nothing happens before a period has stalled.
fun stall_time_s(parameters: &Parameters): u64 {
    4 * (parameters.period_duration_s() + parameters.handover_deadline_s())
}
