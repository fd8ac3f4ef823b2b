/// Sets of shards, a bit each.
module haulout::shard_set;

const WORD_BITS: u16 = 256;

public struct ShardSet has copy, drop, store { words: vector<u256>, size: u16 }

/// Returns the set of none; it has room for the numbers below `n_shards`.
public(package) fun empty(n_shards: u16): ShardSet {
    let mut words = vector[];
    while (words.length() < ((n_shards + WORD_BITS - 1) / WORD_BITS) as u64) words.push_back(0);
    ShardSet { words, size: 0 }
}

/// Returns the set of the shards in a list, each once.
public(package) fun of(shards: vector<u16>, n_shards: u16): ShardSet {
    let mut set = empty(n_shards);
    let mut place = 0;
    while (place < shards.length()) {
        set.add(shards[place]);
        place = place + 1;
    };
    set
}

/// Adds a shard that is not in the set.
public(package) fun add(self: &mut ShardSet, shard: u16) {
    let word = &mut self.words[(shard / WORD_BITS) as u64];
    *word = *word | 1 << ((shard % WORD_BITS) as u8);
    self.size = self.size + 1;
}

public(package) fun contains(self: &ShardSet, shard: u16): bool {
    let word = (shard / WORD_BITS) as u64;
    word < self.words.length() && self.words[word] >> ((shard % WORD_BITS) as u8) & 1 == 1
}

public(package) fun size(self: &ShardSet): u16 { self.size }
