module sui::group_ops;

public struct Element<phantom T> has copy, drop, store { bytes: vector<u8> }

public fun bytes<T>(element: &Element<T>): &vector<u8> { abort }
