/// Random programs on structs, generics, enums and references to their parts.
module harness::records;

use std::bcs;

const ETooMany: u64 = 7;
const LARGEST: u64 = 40;
const NAME: vector<u8> = b"a constant";

public struct Leaf has copy, drop, store {
    number: u64,
    text: vector<u8>,
}

public struct Pair<A, B> has copy, drop, store {
    first: A,
    second: B,
}

public struct Tag<phantom T>(u16) has copy, drop, store;

public enum Shape has copy, drop, store {
    Empty,
    Point { x: u64, y: u64 },
    Named(vector<u8>, Leaf),
    Many(vector<Leaf>),
}

public enum Maybe<T> has copy, drop, store {
    No,
    Yes(T),
}

public struct Tree has copy, drop, store {
    leaves: vector<Leaf>,
    pair: Pair<u8, Pair<Leaf, bool>>,
    shape: Shape,
    maybe: Maybe<Pair<u64, Shape>>,
    tag: Tag<Leaf>,
}

fun leaf(number: u64): Leaf { Leaf { number, text: NAME } }

fun tree(seed: u64): Tree {
    Tree {
        leaves: vector[leaf(seed), leaf(seed + 1)],
        pair: Pair { first: (seed % 256) as u8, second: Pair { first: leaf(2), second: seed > 5 } },
        shape: Shape::Empty,
        maybe: Maybe::No,
        tag: Tag((seed % 65536) as u16),
    }
}

/// A reference to one of the leaves in the tree, wherever it lies.
fun any_leaf(tree: &mut Tree, place: u64): &mut Leaf {
    let count = tree.leaves.length();
    if (place % 3 == 0) &mut tree.pair.second.first else &mut tree.leaves[place % count]
}


fun step(tree: &mut Tree, operation: u8, argument: u64) {
    match (operation % 10) {
        0 => {
            let leaf = tree.any_leaf(argument);
            leaf.number = leaf.number + argument;
            leaf.text.push_back((argument % 251) as u8);
        },
        1 => {
            let copied = *tree.any_leaf(argument);
            tree.leaves.push_back(copied);
            assert!(tree.leaves.length() <= LARGEST, ETooMany);
            tree.any_leaf(argument).number = 1;
        },
        2 => tree.shape = Shape::Point { x: argument, y: tree.leaves.length() },
        3 => {
            let leaf = *tree.any_leaf(argument);
            tree.shape = Shape::Named(leaf.text, leaf)
        },
        4 => {
            let old = tree.shape;
            tree.maybe = Maybe::Yes(Pair { first: argument, second: old });
            tree.shape = Shape::Many(tree.leaves);
        },
        5 => match (&mut tree.shape) {
            Shape::Empty => tree.tag.0 = tree.tag.0 + 1,
            Shape::Point { x, y } => {
                let sum = *x + *y;
                *x = *y;
                *y = sum;
            },
            Shape::Named(text, leaf) => {
                text.push_back(1);
                leaf.number = text.length();
            },
            Shape::Many(leaves) => {
                let last = leaves.pop_back();
                tree.pair.second.first = last;
            },
        },
        6 => match (&tree.maybe) {
            Maybe::No => (),
            Maybe::Yes(pair) => tree.shape = pair.second,
        },
        7 => {
            let Pair { first, second: Pair { first: inner, second } } = tree.pair;
            tree.pair = Pair { first: first ^ 85, second: Pair { first: inner, second: !second } };
        },
        8 => {
            let before = *tree;
            tree.leaves.reverse();
            tree.pair.second.second = before == *tree;
        },
        _ => match (tree.maybe) {
            Maybe::Yes(Pair { first, second: Shape::Point { x, y: _ } }) if (*first > *x) => tree.leaves.push_back(leaf(x)),
            Maybe::Yes(Pair { first, second: _ }) => tree.tag = Tag((first - argument) as u16),
            Maybe::No => tree.maybe = Maybe::Yes(Pair { first: 0, second: tree.shape }),
        },
    }
}

/// Executes commands of two bytes each on a tree grown from a seed, and returns the tree.
public fun run(seed: u64, program: vector<u8>): vector<u8> {
    let mut tree = tree(seed);
    let mut at = 0;
    while (at + 1 < program.length()) {
        tree.step(program[at], program[at + 1] as u64);
        at = at + 2;
    };
    bcs::to_bytes(&tree)
}

/// Calls itself `depth` times.
public fun recurse(depth: u64): u64 {
    if (depth == 0) 0 else 1 + recurse(depth - 1)
}

/// Never ends.
#[allow(lint(loop_without_exit))]
public fun spin() {
    loop {}
}
