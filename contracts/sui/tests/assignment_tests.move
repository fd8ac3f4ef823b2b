#[test_only]
module haulout::assignment_tests;

use haulout::assignment;

#[test]
fun first_committee_has_the_shards_in_the_candidates_order() {
    let nobody = assignment::new_roster(vector[], vector[]);
    let (elected, stake) = assignment::elect(&nobody, vector[9, 4], vector[30, 10], 4, 500);
    assert!(elected == assignment::new_roster(vector[4, 9], vector[vector[3], vector[0, 1, 2]]));
    assert!(stake == 40);
}

#[test]
fun stake_that_is_not_worth_a_shard_elects_nobody() {
    let nobody = assignment::new_roster(vector[], vector[]);
    let (elected, stake) = assignment::elect(&nobody, vector[1, 2, 3], vector[100, 100, 1], 10, 500);
    assert!(elected == assignment::new_roster(vector[1, 2], vector[vector[0, 1, 2, 3, 4], vector[5, 6, 7, 8, 9]]));
    assert!(stake == 200);
}

#[test]
fun newcomer_takes_from_the_tails_and_nobody_else_moves() {
    let held = assignment::new_roster(vector[1, 2], vector[vector[0, 1, 2], vector[3, 4, 5]]);
    let (elected, _) = assignment::elect(&held, vector[1, 2, 3], vector[10, 10, 10], 6, 500);
    let expected = assignment::new_roster(vector[1, 2, 3], vector[vector[0, 1], vector[3, 4], vector[5, 2]]);
    assert!(elected == expected);
}

#[test]
fun stake_that_changes_within_the_band_moves_nothing() {
    let held = assignment::new_roster(vector[1, 2], vector[vector[0, 1, 2], vector[3, 4, 5]]);
    let (elected, _) = assignment::elect(&held, vector[1, 2], vector[70, 51], 6, 500);
    assert!(elected == held);
    let (elected, _) = assignment::elect(&held, vector[1, 2], vector[70, 51], 6, 0);
    assert!(elected != held);
}

#[test, expected_failure(abort_code = assignment::ENoStake)]
fun elect_aborts_without_stake() {
    let nobody = assignment::new_roster(vector[], vector[]);
    assignment::elect(&nobody, vector[1], vector[0], 4, 500);
}
