module sui::table;

public struct Table<phantom K: copy + drop + store, phantom V: store> has key, store { id: UID, size: u64 }

public fun new<K: copy + drop + store, V: store>(ctx: &mut TxContext): Table<K, V> { abort }
public fun add<K: copy + drop + store, V: store>(self: &mut Table<K, V>, key: K, value: V) { abort }
#[syntax(index)]
public fun borrow<K: copy + drop + store, V: store>(self: &Table<K, V>, key: K): &V { abort }
#[syntax(index)]
public fun borrow_mut<K: copy + drop + store, V: store>(self: &mut Table<K, V>, key: K): &mut V { abort }
public fun contains<K: copy + drop + store, V: store>(self: &Table<K, V>, key: K): bool { abort }
public fun remove<K: copy + drop + store, V: store>(self: &mut Table<K, V>, key: K): V { abort }
