#[test_only]
module haulout::encoding_tests;

use haulout::encoding;

#[test]
fun empty_blob_has_symbols_of_two_bytes() {
    assert!(encoding::symbol_size(10, 0) == 2);
    assert!(encoding::symbol_size(10, 1) == 2);
    assert!(encoding::encoded_size(10, 0) == 10 * (11 * 2 + 64 * 10 + 32));
}

#[test]
fun longest_blob_fills_the_largest_symbols() {
    assert!(encoding::symbol_size(4, 6 * 65534) == 65534);
}

#[test, expected_failure(abort_code = encoding::EBlobTooLong)]
fun symbol_size_aborts_behind_the_longest_blob() {
    encoding::symbol_size(4, 6 * 65534 + 1);
}

#[test, expected_failure(abort_code = encoding::EBlobTooLong)]
fun encoded_size_aborts_for_the_largest_length() {
    encoding::encoded_size(1000, 0xffff_ffff_ffff_ffff);
}
