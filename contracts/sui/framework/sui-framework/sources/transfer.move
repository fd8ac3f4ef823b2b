module sui::transfer;

public fun transfer<T: key>(object: T, recipient: address) { abort }
public fun share_object<T: key>(object: T) { abort }
public fun public_transfer<T: key + store>(object: T, recipient: address) { abort }
public fun public_freeze_object<T: key + store>(object: T) { abort }
