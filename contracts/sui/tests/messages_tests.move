#[test_only]
module haulout::messages_tests;

use haulout::messages;

#[test]
fun message_is_header_domain_and_body() {
    let domain = x"1111111111111111111111111111111111111111111111111111111111111111";
    let message = messages::encode(messages::eject_intent(), 258, domain, messages::ejection(7, 1, 3));
    let mut expected = x"07010302010000";
    expected.append(domain);
    expected.append(x"0000000000000000000000000000000000000000000000000000000000000007");
    expected.append(x"01");
    expected.append(x"0300000000000000");
    assert!(message == expected);
}

#[test]
fun domains_of_two_chains_or_packages_differ() {
    let chain = x"1111111111111111111111111111111111111111111111111111111111111111";
    let other = x"1111111111111111111111111111111111111111111111111111111111111112";
    assert!(messages::domain(&chain, @0x1) != messages::domain(&other, @0x1));
    assert!(messages::domain(&chain, @0x1) != messages::domain(&chain, @0x2));
}

#[test, expected_failure(abort_code = messages::EInvalidChain)]
fun domain_aborts_without_a_whole_digest() {
    messages::domain(&x"35834a8a", @0x1);
}
