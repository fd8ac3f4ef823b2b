module sui::coin;

use sui::balance::Balance;

public struct Coin<phantom T> has key, store { id: UID, balance: Balance<T> }

public fun value<T>(self: &Coin<T>): u64 { abort }
