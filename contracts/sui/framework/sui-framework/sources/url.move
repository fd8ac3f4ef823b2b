module sui::url;

public struct Url has copy, drop, store { url: vector<u8> }
