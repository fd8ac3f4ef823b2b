/// The parameters of a deployment: the times that epochs and periods go by, and what the first selection waits for.
module haulout::parameters;

/// A number of shards is not 4 to 1000.
const EInvalidShardCount: u64 = 100;
/// A period's duration is not a second to a year, or not half to twice of what was deployed.
const EInvalidPeriodDuration: u64 = 101;
/// A handover's deadline is not a second to a year, or not half to twice of what was deployed.
const EInvalidHandoverDeadline: u64 = 102;
/// The patience is not a second to a year, or not half to twice of what was deployed.
const EInvalidPatience: u64 = 103;
/// The grace for certificates is above a period's duration, or not half to twice of what was deployed.
const EInvalidCertificateGrace: u64 = 104;
/// The notice is above a period's duration, or not half to twice of what was deployed.
const EInvalidNotice: u64 = 105;
/// The time to shrink in is below four periods' durations, or not half to twice of what was deployed.
const EInvalidShrinkDuration: u64 = 106;
/// The tolerance band is above a shard.
const EInvalidBand: u64 = 107;
/// The opening takes longer than a year.
const EInvalidOpening: u64 = 108;

const LEAST_SHARDS: u16 = 4;
const MOST_SHARDS: u16 = 1000;
const LONGEST_S: u64 = 365 * 24 * 3600;
/// A shorter time to shrink in would be no protection.
const LEAST_SHRINK_PERIODS: u64 = 4;
const WIDEST_BAND_MILLIS: u16 = 1000;

/// What the governor can change; times are in seconds.
public struct Parameters has copy, drop, store {
    /// From the end of a period's handover to the start of the next period.
    period_duration_s: u64,
    /// From a start until its handover may be closed without a quorum.
    handover_deadline_s: u64,
    /// Time after which a silent member may be ejected. Members that sign an ejection go by it; this package does not.
    patience_s: u64,
    /// Time from a start in which certificates of the epoch before count, and in which no other epoch starts.
    certificate_grace_s: u64,
    /// Least time from a selection to its start.
    notice_s: u64,
    /// Time in which the part of the elected stake that a selection needs falls from two thirds to nothing.
    shrink_duration_s: u64,
    /// Tolerance band of the shard assignment, in thousandths of a shard; 0 switches it off.
    band_millis: u16,
}

/// What the first selection waits for: both members and stake, or the time since the deployment.
public struct Opening has copy, drop, store { members: u16, stake: u64, duration_s: u64 }

/// Returns parameters. Aborts with the error of the first that is out of bounds.
public fun new(
    period_duration_s: u64,
    handover_deadline_s: u64,
    patience_s: u64,
    certificate_grace_s: u64,
    notice_s: u64,
    shrink_duration_s: u64,
    band_millis: u16,
): Parameters {
    assert!(is_time(period_duration_s), EInvalidPeriodDuration);
    assert!(is_time(handover_deadline_s), EInvalidHandoverDeadline);
    assert!(is_time(patience_s), EInvalidPatience);
    assert!(certificate_grace_s <= period_duration_s, EInvalidCertificateGrace);
    assert!(notice_s <= period_duration_s, EInvalidNotice);
    assert!(
        shrink_duration_s >= LEAST_SHRINK_PERIODS * period_duration_s && shrink_duration_s < 1 << 32,
        EInvalidShrinkDuration,
    );
    assert!(band_millis <= WIDEST_BAND_MILLIS, EInvalidBand);
    Parameters {
        period_duration_s,
        handover_deadline_s,
        patience_s,
        certificate_grace_s,
        notice_s,
        shrink_duration_s,
        band_millis,
    }
}

/// Returns an opening. Aborts with `EInvalidOpening`.
public fun new_opening(members: u16, stake: u64, duration_s: u64): Opening {
    assert!(duration_s <= LONGEST_S, EInvalidOpening);
    Opening { members, stake, duration_s }
}

/// Aborts with `EInvalidShardCount`.
public(package) fun check_shards(n_shards: u16) {
    assert!(n_shards >= LEAST_SHARDS && n_shards <= MOST_SHARDS, EInvalidShardCount);
}

/// Aborts with the error of the first time that is not half to twice of what was deployed.
public(package) fun check_change(self: &Parameters, deployed: &Parameters) {
    assert!(is_near(self.period_duration_s, deployed.period_duration_s), EInvalidPeriodDuration);
    assert!(is_near(self.handover_deadline_s, deployed.handover_deadline_s), EInvalidHandoverDeadline);
    assert!(is_near(self.patience_s, deployed.patience_s), EInvalidPatience);
    assert!(is_near(self.certificate_grace_s, deployed.certificate_grace_s), EInvalidCertificateGrace);
    assert!(is_near(self.notice_s, deployed.notice_s), EInvalidNotice);
    assert!(is_near(self.shrink_duration_s, deployed.shrink_duration_s), EInvalidShrinkDuration);
}

public(package) fun period_duration_s(self: &Parameters): u64 { self.period_duration_s }

public(package) fun handover_deadline_s(self: &Parameters): u64 { self.handover_deadline_s }

public(package) fun certificate_grace_s(self: &Parameters): u64 { self.certificate_grace_s }

public(package) fun band_millis(self: &Parameters): u16 { self.band_millis }

/// Returns what the first selection waits for: so much stake and so many members, or so many seconds.
public(package) fun opening_parts(self: &Opening): (u64, u16, u64) { (self.stake, self.members, self.duration_s) }

public(package) fun notice_s(self: &Parameters): u64 { self.notice_s }

public(package) fun shrink_duration_s(self: &Parameters): u64 { self.shrink_duration_s }

fun is_time(time_s: u64): bool {
    time_s > 0 && time_s <= LONGEST_S
}

fun is_near(time_s: u64, deployed_s: u64): bool {
    time_s <= 2 * deployed_s && 2 * time_s >= deployed_s
}
