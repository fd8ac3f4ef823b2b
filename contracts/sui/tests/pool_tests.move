#[test_only]
module haulout::pool_tests;

use haulout::pool;

#[test]
fun first_shares_are_worth_one_unit_each() {
    let mut pool = pool::new();
    assert!(pool.enter(7) == 7);
    assert!(pool.worth(3) == 3);
}

#[test]
fun what_is_added_for_all_raises_the_price_for_newcomers() {
    let mut pool = pool::new();
    pool.enter(100);
    pool.raise(50);
    assert!(pool.enter(150) == 100);
    assert!(pool.amount() == 300 && pool.shares() == 200);
}

#[test]
fun rounding_is_to_the_disadvantage_of_whoever_enters_or_exits() {
    let mut pool = pool::new();
    pool.enter(3);
    pool.raise(2);
    assert!(pool.enter(4) == 2);
    assert!(pool.exit(2) == 3);
}

#[test]
fun last_to_exit_takes_what_rounding_has_left() {
    let mut pool = pool::new();
    pool.enter(3);
    pool.raise(2);
    assert!(pool.exit(1) == 1);
    assert!(pool.exit(1) == 2);
    assert!(pool.exit(1) == 2);
    assert!(pool == pool::new());
}

#[test]
fun shares_without_an_amount_do_not_keep_others_out() {
    let mut pool = pool::new();
    pool.enter(10);
    pool.exchange(0);
    assert!(pool.worth(10) == 0);
    assert!(pool.enter(10) == 10);
    assert!(pool.worth(10) == 5);
}

#[test]
fun no_product_of_the_largest_amounts_overflows() {
    let mut pool = pool::new();
    let largest = 0xffff_ffff_ffff_ffff;
    pool.enter(largest);
    pool.exchange(1);
    assert!(pool.enter(largest) == largest * largest);
    assert!(pool.worth(largest * largest) == largest);
}
