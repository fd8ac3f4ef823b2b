#[test_only]
module haulout::positions_tests;

use haulout::positions;

const N_SHARDS: u16 = 10;
const SYMBOLS: u64 = 11;
const WEIGHT: u64 = 28;

#[test]
fun every_number_is_a_position_of_its_own() {
    let count = positions::count(N_SHARDS, 3, WEIGHT);
    assert!(count == 3 * (SYMBOLS as u128) * (WEIGHT as u128));
    let mut number = 0;
    while (number < count) {
        let position = positions::at(N_SHARDS, WEIGHT, number);
        assert!(position.shard_number() < 3 && position.symbol() < SYMBOLS && position.offset() < WEIGHT);
        let back = (position.shard_number() * SYMBOLS + position.symbol()) * WEIGHT + position.offset();
        assert!(back as u128 == number);
        number = number + 1;
    }
}

#[test]
fun largest_network_has_positions_that_fit() {
    let count = positions::count(1000, 1000, 0xffff_ffff_ffff_ffff);
    let last = positions::at(1000, 0xffff_ffff_ffff_ffff, count - 1);
    assert!(last.shard_number() == 999 && last.symbol() == 1000 && last.offset() == 0xffff_ffff_ffff_fffe);
}

#[test]
fun only_position_is_drawn_always() {
    let mut place = 0;
    while (place < 640) {
        assert!(positions::drawn(@0x7, 3, place, 1) == 0);
        assert!(positions::drawn(@0x7, 3, place, 5) < 5);
        place = place + 1;
    }
}
