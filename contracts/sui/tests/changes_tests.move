#[test_only]
module haulout::changes_tests;

use haulout::changes;

#[test]
fun value_is_that_of_the_last_change_before_the_period_or_with_it() {
    let mut value = changes::new(1);
    assert!(value.set(3, 2) == 3 && value.set(7, 3) == 7);
    assert!(value.at(0) == 1 && value.at(2) == 1 && value.at(3) == 2 && value.at(6) == 2 && value.at(7) == 3);
    assert!(value.at(0xffff_ffff) == 3);
}

#[test]
fun change_in_the_same_period_takes_the_place_of_the_one_before() {
    let mut value = changes::new(1);
    value.set(3, 2);
    assert!(value.set(3, 4) == 3);
    assert!(value.at(2) == 1 && value.at(3) == 4);
}

#[test]
fun no_change_is_brought_forward() {
    let mut value = changes::new(1);
    value.set(4, 2);
    assert!(value.set(3, 5) == 4);
    assert!(value.at(3) == 1 && value.at(4) == 5);
}

#[test]
fun what_counts_from_a_period_on_is_not_forgotten() {
    let mut value = changes::new(1);
    value.set(3, 2);
    value.set(7, 3);
    value.forget_before(2);
    assert!(value.at(2) == 1);
    value.forget_before(6);
    assert!(value.at(6) == 2 && value.at(7) == 3);
    value.forget_before(9);
    assert!(value.at(9) == 3);
}
