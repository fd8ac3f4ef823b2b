module sui::object;

public struct ID has copy, drop, store { bytes: address }

public struct UID has store { id: ID }

public fun new(ctx: &mut TxContext): UID { abort }
public fun delete(id: UID) { abort }
public fun id<T: key>(object: &T): ID { abort }
public fun id_address<T: key>(object: &T): address { abort }
