module std::string;

public struct String has copy, drop, store { bytes: vector<u8> }

public fun as_bytes(self: &String): &vector<u8> { abort }
