#[test_only]
module haulout::shard_set_tests;

use haulout::shard_set;

#[test]
fun set_has_what_was_added_and_nothing_else() {
    let added = vector[0, 1, 255, 256, 511, 512, 999];
    let set = shard_set::of(added, 1000);
    assert!(set.size() == 7);
    let mut shard = 0;
    let mut found = vector[];
    while (shard < 1000) {
        if (set.contains(shard)) found.push_back(shard);
        shard = shard + 1;
    };
    assert!(found == added);
}

#[test]
fun shard_that_does_not_exist_is_in_no_set() {
    let set = shard_set::of(vector[0, 1, 2, 3], 4);
    assert!(!set.contains(4) && !set.contains(255) && !set.contains(256) && !set.contains(0xffff));
    assert!(shard_set::empty(1000).size() == 0);
}
