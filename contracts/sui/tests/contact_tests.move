#[test_only]
module haulout::contact_tests;

use haulout::contact;

#[test]
fun name_takes_just_the_printable_characters() {
    let mut character: u64 = 0;
    while (character < 256) {
        let name = vector[0x61, character as u8, 0x61];
        assert!(contact::is_name(&name) == (character >= 0x20 && character < 0x7f), character);
        character = character + 1;
    }
}

#[test]
fun name_has_a_length_and_no_space_at_its_ends() {
    assert!(contact::is_name(&b"Baffin Island, 7!"));
    assert!(!contact::is_name(&b""));
    assert!(!contact::is_name(&b" a"));
    assert!(!contact::is_name(&b"a "));
    let half = b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    let mut longest = half;
    longest.append(half);
    assert!(contact::is_name(&longest));
    longest.append(b"x");
    assert!(!contact::is_name(&longest));
}

#[test]
fun address_is_scheme_host_and_port() {
    let good = vector[b"http://node.example:9000", b"https://NODE_1.x-y", b"https://[2001:db8::1]", b"http://[::1]:65535"];
    let bad = vector[
        b"", b"http://", b"ftp://node", b"http://node/", b"http://user@node", b"http://[::1", b"http://[]:1",
        b"http://node:0", b"http://node:01", b"http://node:65536", b"http://node:", b"HTTP://node", b" http://node",
    ];
    let mut place = 0;
    while (place < good.length()) {
        assert!(contact::is_network_address(&good[place]), place);
        place = place + 1;
    };
    place = 0;
    while (place < bad.length()) {
        assert!(!contact::is_network_address(&bad[place]), place);
        place = place + 1;
    }
}
