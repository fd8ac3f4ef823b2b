#[test_only]
module std::unit_test;

/// The compiler has every module call this in its tests' build.
public fun poison() {}
