#[test_only]
module haulout::terms_tests;

use haulout::terms;

#[test]
fun price_is_the_lowest_that_a_quorum_asked_at_most() {
    let votes = vector[terms::new(30, 3, 100), terms::new(20, 2, 300), terms::new(25, 1, 200)];
    let decided = terms::new(20, 2, 200).decided(&votes, &vector[3, 3, 4], 7);
    assert!(decided == terms::new(25, 2, 200));
}

#[test]
fun no_term_changes_by_more_than_a_factor_of_two() {
    let largest = 0xffff_ffff_ffff_ffff;
    let up = vector[terms::new(largest, largest, largest)];
    assert!(terms::new(10, 0, largest - 1).decided(&up, &vector[7], 7) == terms::new(20, 1, largest));
    let down = vector[terms::new(1, 0, 0)];
    assert!(terms::new(11, 1, 10).decided(&down, &vector[7], 7) == terms::new(5, 0, 5));
    assert!(terms::new(1, 0, 0).decided(&down, &vector[7], 7) == terms::new(1, 0, 0));
}

#[test]
fun price_stays_above_nothing() {
    assert!(terms::new(1, 0, 0).decided(&vector[terms::new(0, 0, 0)], &vector[7], 7) == terms::new(1, 0, 0));
}

#[test, expected_failure(abort_code = terms::ENoQuorum)]
fun decided_aborts_without_a_quorum() {
    terms::new(1, 1, 1).decided(&vector[terms::new(1, 1, 1)], &vector[6], 7);
}

#[test, expected_failure(abort_code = terms::ENoQuorum)]
fun decided_aborts_without_votes() {
    terms::new(1, 1, 1).decided(&vector[], &vector[], 7);
}

#[test, expected_failure(abort_code = terms::EVotesWithoutWeights)]
fun decided_aborts_when_a_vote_has_no_weight() {
    terms::new(1, 1, 1).decided(&vector[terms::new(1, 1, 1)], &vector[6, 1], 7);
}
