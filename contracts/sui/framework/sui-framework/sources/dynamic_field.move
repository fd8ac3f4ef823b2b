module sui::dynamic_field;

public fun add<Name: copy + drop + store, Value: store>(object: &mut UID, name: Name, value: Value) { abort }
public fun borrow<Name: copy + drop + store, Value: store>(object: &UID, name: Name): &Value { abort }
public fun borrow_mut<Name: copy + drop + store, Value: store>(object: &mut UID, name: Name): &mut Value { abort }
public fun remove<Name: copy + drop + store, Value: store>(object: &mut UID, name: Name): Value { abort }
