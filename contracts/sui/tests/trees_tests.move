#[test_only]
module haulout::trees_tests;

use haulout::trees;

#[test]
fun tree_is_as_deep_as_its_leaves_need() {
    let counts = vector[1, 2, 3, 4, 5, 8, 9, 1000, 1024, 1025, 0xffff_ffff];
    let depths = vector[0, 1, 2, 2, 3, 3, 4, 10, 10, 11, 32];
    let mut place = 0;
    while (place < counts.length()) {
        assert!(trees::depth(counts[place]) == depths[place], place);
        place = place + 1;
    }
}

#[test]
fun only_leaf_is_the_root() {
    assert!(trees::root(@0x7, 0, 1, &vector[]) == @0x7);
}

#[test]
fun third_leaf_of_three_is_padded() {
    let leaves = vector[trees::leaf(1u8), trees::leaf_of_bytes(&vector[2]), trees::leaf(3u8)];
    let left = trees::root(leaves[0], 0, 2, &vector[leaves[1]]);
    let right = trees::root(leaves[2], 0, 2, &vector[@0x0]);
    let root = trees::root(leaves[2], 2, 3, &vector[@0x0, left]);
    assert!(root == trees::root(leaves[1], 1, 3, &vector[leaves[0], right]));
    assert!(root != trees::root(leaves[2], 1, 3, &vector[@0x0, left]));
}

#[test]
fun path_can_be_the_part_of_a_longer_one() {
    let (root, end) = trees::climb(@0x7, 1, 2, &vector[@0x1, @0x2, @0x3], 1);
    assert!(end == 2);
    assert!(root == trees::root(@0x7, 1, 2, &vector[@0x2]));
}

#[test, expected_failure(abort_code = trees::EWrongPath)]
fun index_beyond_the_leaves_aborts() {
    trees::root(@0x7, 3, 3, &vector[@0x0, @0x0]);
}

#[test, expected_failure(abort_code = trees::EWrongPath)]
fun tree_without_leaves_has_no_path() {
    trees::root(@0x7, 0, 0, &vector[]);
}

#[test, expected_failure(abort_code = trees::EWrongPath)]
fun path_that_is_too_long_aborts() {
    trees::root(@0x7, 0, 1, &vector[@0x0]);
}

#[test, expected_failure(abort_code = trees::EWrongPath)]
fun path_that_is_too_short_aborts() {
    trees::root(@0x7, 0, 3, &vector[@0x0]);
}
