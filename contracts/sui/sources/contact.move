/// What a node may be called, and where it may say that it is reached (PROTOCOL section 6).
///
/// Every node, client and operator reads both, so they are printable ASCII, and an address is scheme, host and port and
/// nothing else. That the host exists, and is the node's, no contract can check.
module haulout::contact;

const MAX_NAME_BYTES: u64 = 64;
const MAX_ADDRESS_BYTES: u64 = 256;
const MAX_PORT_DIGITS: u64 = 5;
const MAX_PORT: u64 = 65535;

const COLON: u8 = 0x3a;
const OPENING_BRACKET: u8 = 0x5b;
const CLOSING_BRACKET: u8 = 0x5d;

// Sets of ASCII characters: bit `c` of a set stands for the character `c`.
const PRINTABLE: u128 = ((1 << 95) - 1) << 0x20; // space to "~"
const DIGITS: u128 = ((1 << 10) - 1) << 0x30;
const LETTERS: u128 = (((1 << 26) - 1) << 0x41) | (((1 << 26) - 1) << 0x61);
const IN_NAMES: u128 = DIGITS | LETTERS | (1 << 0x2d) | (1 << 0x2e) | (1 << 0x5f); // also - . _
const IN_IPV6: u128 = DIGITS | (((1 << 6) - 1) << 0x41) | (((1 << 6) - 1) << 0x61) | (1 << 0x2e) | (1 << 0x3a); // hexadecimal . :

/// Returns whether a text has 1 to 64 characters from space to "~", the first and the last no space.
public(package) fun is_name(text: &vector<u8>): bool {
    let length = text.length();
    if (length == 0 || length > MAX_NAME_BYTES) return false;
    let space = b" "[0];
    text[0] != space && text[length - 1] != space && end_of(text, 0, PRINTABLE) == length
}

/// Returns whether a text is `http(s)://host[:port]` of at most 256 bytes: a host of letters, digits, "-", "." and "_",
/// or in brackets of hexadecimal digits, ":" and "."; a port from 1 to 65535 without leading zeros.
public(package) fun is_network_address(text: &vector<u8>): bool {
    let length = text.length();
    if (length > MAX_ADDRESS_BYTES) return false;
    let host = if (begins_with(text, &b"http://")) 7 else if (begins_with(text, &b"https://")) 8 else return false;
    let end = end_of_host(text, host);
    if (end == host) return false;
    end == length || (text[end] == COLON && is_port(text, end + 1))
}

/// Returns where a host ends that begins at `start`; `start` itself if none does.
fun end_of_host(text: &vector<u8>, start: u64): u64 {
    if (start == text.length() || text[start] != OPENING_BRACKET) return end_of(text, start, IN_NAMES);
    let end = end_of(text, start + 1, IN_IPV6);
    let is_closed = end > start + 1 && end < text.length() && text[end] == CLOSING_BRACKET;
    if (is_closed) end + 1 else start
}

fun is_port(text: &vector<u8>, start: u64): bool {
    let length = text.length();
    if (start == length || length - start > MAX_PORT_DIGITS || text[start] == b"0"[0]) return false;
    let mut port = 0;
    let mut place = start;
    while (place < length) {
        if (!is_in(text[place], DIGITS)) return false;
        port = 10 * port + ((text[place] - b"0"[0]) as u64);
        place = place + 1;
    };
    port <= MAX_PORT
}

fun begins_with(text: &vector<u8>, start: &vector<u8>): bool {
    if (text.length() < start.length()) return false;
    let mut place = 0;
    while (place < start.length()) {
        if (text[place] != start[place]) return false;
        place = place + 1;
    };
    true
}

/// Returns where the characters of a set end that begin at `place`.
fun end_of(text: &vector<u8>, mut place: u64, set: u128): u64 {
    while (place < text.length() && is_in(text[place], set)) {
        place = place + 1;
    };
    place
}

fun is_in(character: u8, set: u128): bool {
    character < 128 && set >> character & 1 == 1
}
