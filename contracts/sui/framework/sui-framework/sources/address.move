#[defines_primitive(address)]
module sui::address;

public native fun from_bytes(bytes: vector<u8>): address;
public native fun to_u256(self: address): u256;
