module sui::random;

public struct Random has key { id: UID }
public struct RandomGenerator has drop { seed: vector<u8>, counter: u16, buffer: vector<u8> }

public fun new_generator(random: &Random, ctx: &mut TxContext): RandomGenerator { abort }
public fun generate_bytes(generator: &mut RandomGenerator, count: u16): vector<u8> { abort }
