module sui::balance;

public struct Supply<phantom T> has store { value: u64 }
public struct Balance<phantom T> has store { value: u64 }

public fun value<T>(self: &Balance<T>): u64 { abort }
public fun supply_value<T>(supply: &Supply<T>): u64 { abort }
public fun increase_supply<T>(self: &mut Supply<T>, value: u64): Balance<T> { abort }
public fun decrease_supply<T>(self: &mut Supply<T>, balance: Balance<T>): u64 { abort }
public fun join<T>(self: &mut Balance<T>, balance: Balance<T>): u64 { abort }
public fun split<T>(self: &mut Balance<T>, value: u64): Balance<T> { abort }
public fun zero<T>(): Balance<T> { abort }
public fun destroy_zero<T>(balance: Balance<T>) { abort }
