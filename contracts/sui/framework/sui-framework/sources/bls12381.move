module sui::bls12381;

use sui::group_ops::Element;

public struct G1 {}
public struct UncompressedG1 {}

public native fun bls12381_min_pk_verify(signature: &vector<u8>, public_key: &vector<u8>, message: &vector<u8>): bool;
public fun g1_from_bytes(bytes: &vector<u8>): Element<G1> { abort }
public fun g1_sub(a: &Element<G1>, b: &Element<G1>): Element<G1> { abort }
public fun g1_to_uncompressed_g1(element: &Element<G1>): Element<UncompressedG1> { abort }
public fun uncompressed_g1_to_g1(element: &Element<UncompressedG1>): Element<G1> { abort }
public fun uncompressed_g1_sum(terms: &vector<Element<UncompressedG1>>): Element<UncompressedG1> { abort }
