#[test_only]
module haulout::votes_tests;

use haulout::votes;

#[test]
fun two_quorums_share_more_than_f_shards() {
    let mut n_shards: u16 = 4;
    while (n_shards <= 1000) {
        let f = (n_shards - 1) / 3;
        assert!(2 * votes::quorum(n_shards) - n_shards > f);
        assert!(votes::quorum(n_shards) <= n_shards - f);
        assert!(votes::one_correct(n_shards) > f);
        n_shards = n_shards + 1;
    }
}
