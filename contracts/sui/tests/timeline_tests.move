#[test_only]
module haulout::timeline_tests;

use haulout::parameters::{Self, Parameters};
use haulout::timeline::{Self, Timeline};

const BEGIN_S: u64 = 500_000;

/// A period of 1000 s, a deadline of 100 s, a grace of 20 s, a notice of 50 s, 8000 s to shrink in.
fun usual(): Parameters {
    parameters::new(1000, 100, 30, 20, 50, 8000, 500)
}

/// Two periods with an epoch each: the first began with the deployment, the second 1000 s later, its handover not done.
fun in_second_epoch(): Timeline {
    let mut timeline = timeline::new(BEGIN_S);
    timeline.select(300, BEGIN_S);
    timeline.start(&usual(), BEGIN_S);
    timeline.finish(BEGIN_S);
    timeline.select(300, BEGIN_S + 500);
    timeline.start(&usual(), BEGIN_S + 1000);
    timeline
}

#[test]
fun first_epoch_starts_at_once() {
    let mut timeline = timeline::new(BEGIN_S);
    timeline.check_selectable(&usual(), BEGIN_S);
    timeline.select(300, BEGIN_S);
    assert!(timeline.electable_period() == 2);
    assert!(!timeline.start(&usual(), BEGIN_S));
    assert!(timeline.epoch() == 1 && timeline.period() == 1 && timeline.electable_period() == 2);
}

#[test]
fun certificates_of_the_epoch_before_count_until_the_handover_and_the_grace_are_over() {
    let mut timeline = in_second_epoch();
    let parameters = usual();
    assert!(timeline.accepts(&parameters, 2, BEGIN_S + 1000) && timeline.accepts(&parameters, 1, BEGIN_S + 1099));
    assert!(!timeline.accepts(&parameters, 0, BEGIN_S + 1000) && !timeline.accepts(&parameters, 3, BEGIN_S + 1000));
    assert!(timeline.accepts_period(&parameters, 1, BEGIN_S + 1099) && timeline.accepts_period(&parameters, 2, 0));
    timeline.finish(BEGIN_S + 1001);
    assert!(timeline.accepts(&parameters, 1, BEGIN_S + 1019) && timeline.accepts_period(&parameters, 1, BEGIN_S + 1019));
    assert!(!timeline.accepts(&parameters, 1, BEGIN_S + 1020) && !timeline.accepts_period(&parameters, 1, BEGIN_S + 1020));
}

#[test]
fun replacement_moves_neither_the_period_nor_its_clock() {
    let mut timeline = in_second_epoch();
    let parameters = usual();
    timeline.finish(BEGIN_S + 1100);
    timeline.check_replaceable(&parameters, BEGIN_S + 1200);
    timeline.replace(BEGIN_S + 1200);
    assert!(timeline.electable_period() == 3);
    assert!(timeline.start(&parameters, BEGIN_S + 1250));
    assert!(timeline.epoch() == 3 && timeline.period() == 2 && timeline.first_epoch() == 2);
    assert!(!timeline.accepts_period(&parameters, 1, BEGIN_S + 1250));
    timeline.finish(BEGIN_S + 1300);
    timeline.check_selectable(&parameters, BEGIN_S + 1600);
    timeline.select(250, BEGIN_S + 1600);
    assert!(!timeline.start(&parameters, BEGIN_S + 2100));
}

#[test, expected_failure(abort_code = timeline::ETooEarly)]
fun nobody_is_replaced_from_the_notice_before_the_next_period_is_due() {
    let mut timeline = in_second_epoch();
    timeline.finish(BEGIN_S + 1100);
    timeline.check_replaceable(&usual(), BEGIN_S + 2149);
    abort 0
}

#[test, expected_failure(abort_code = timeline::ETooEarly)]
fun selection_waits_for_half_a_period() {
    let mut timeline = in_second_epoch();
    timeline.finish(BEGIN_S + 1100);
    timeline.check_selectable(&usual(), BEGIN_S + 1599)
}

#[test, expected_failure(abort_code = timeline::EHandoverNotDone)]
fun selection_waits_for_the_handover() {
    in_second_epoch().check_selectable(&usual(), BEGIN_S + 9000)
}

#[test, expected_failure(abort_code = timeline::EAlreadySelected)]
fun nothing_is_selected_twice() {
    let mut timeline = timeline::new(BEGIN_S);
    timeline.select(300, BEGIN_S);
    timeline.check_selectable(&usual(), BEGIN_S)
}

#[test, expected_failure(abort_code = timeline::ENotSelected)]
fun start_needs_a_selection() {
    let mut timeline = timeline::new(BEGIN_S);
    timeline.select(300, BEGIN_S);
    timeline.drop_selection();
    timeline.start(&usual(), BEGIN_S);
}

#[test, expected_failure(abort_code = timeline::ETooEarly)]
fun period_starts_no_sooner_than_its_duration_after_the_handover() {
    let mut timeline = in_second_epoch();
    timeline.finish(BEGIN_S + 1100);
    timeline.select(300, BEGIN_S + 1600);
    timeline.start(&usual(), BEGIN_S + 2099);
}

#[test, expected_failure(abort_code = timeline::ETooEarly)]
fun start_waits_for_the_notice() {
    let mut timeline = in_second_epoch();
    timeline.finish(BEGIN_S + 1100);
    timeline.select(300, BEGIN_S + 2090);
    timeline.start(&usual(), BEGIN_S + 2139);
}

#[test, expected_failure(abort_code = timeline::ETooEarly)]
fun epoch_starts_no_sooner_than_the_grace_after_the_last_start() {
    let parameters = parameters::new(1000, 100, 30, 200, 50, 8000, 500);
    let mut timeline = in_second_epoch();
    timeline.finish(BEGIN_S + 1001);
    timeline.replace(BEGIN_S + 1002);
    timeline.start(&parameters, BEGIN_S + 1199);
}

#[test, expected_failure(abort_code = timeline::ETooManyReplacements)]
fun members_are_replaced_sixteen_times_in_a_period() {
    let parameters = usual();
    let mut timeline = in_second_epoch();
    let mut now_s = BEGIN_S + 1001;
    timeline.finish(now_s);
    loop {
        timeline.check_replaceable(&parameters, now_s);
        timeline.replace(now_s);
        now_s = now_s + 50;
        timeline.start(&parameters, now_s);
        timeline.finish(now_s);
        assert!(timeline.epoch() <= 2 + 16, 0);
    }
}

#[test, expected_failure(abort_code = timeline::ETooEarly)]
fun handover_is_closed_at_its_deadline() {
    in_second_epoch().check_closable(&usual(), BEGIN_S + 1099)
}

#[test, expected_failure(abort_code = timeline::EHandoverIsDone)]
fun handover_that_is_done_is_not_closed() {
    let mut timeline = in_second_epoch();
    timeline.check_closable(&usual(), BEGIN_S + 1100);
    timeline.finish(BEGIN_S + 1100);
    timeline.check_closable(&usual(), BEGIN_S + 1100)
}

#[test]
fun periods_stall_after_four_times_the_longest_that_one_takes() {
    let mut timeline = in_second_epoch();
    let parameters = usual();
    assert!(!timeline.is_late(&parameters, BEGIN_S + 1000 + 2200));
    assert!(timeline.is_late(&parameters, BEGIN_S + 1000 + 2201));
    assert!(!timeline.is_stalled(&parameters, BEGIN_S + 1000 + 4400));
    assert!(timeline.is_stalled(&parameters, BEGIN_S + 1000 + 4401));
    timeline.finish(BEGIN_S + 1100);
    assert!(!timeline.is_stalled(&parameters, BEGIN_S + 1100 + 4400));
    timeline.replace(BEGIN_S + 3000);
    timeline.start(&parameters, BEGIN_S + 3050);
    assert!(timeline.is_stalled(&parameters, BEGIN_S + 1100 + 4401), 0);
}

#[test]
fun stake_that_a_selection_needs_falls_from_two_thirds_to_nothing() {
    let mut timeline = in_second_epoch();
    let parameters = usual();
    timeline.finish(BEGIN_S + 1100);
    assert!(timeline.stake_needed(&parameters, BEGIN_S + 1600) == 200);
    assert!(timeline.stake_needed(&parameters, BEGIN_S + 5600) == 100);
    assert!(timeline.stake_needed(&parameters, BEGIN_S + 9599) == 0);
    assert!(timeline.stake_needed(&parameters, BEGIN_S + 9_999_999) == 0);
}
