/// Every instruction on integers, at every width.
module harness::numbers;

const EUnknownOperation: u64 = 1;

macro fun calculate<$T>($operation: u8, $left: $T, $right: $T, $distance: u8): $T {
    let (operation, left, right, distance) = ($operation, $left, $right, $distance);
    match (operation) {
        0 => left + right,
        1 => left - right,
        2 => left * right,
        3 => left / right,
        4 => left % right,
        5 => left & right,
        6 => left | right,
        7 => left ^ right,
        8 => left << distance,
        9 => left >> distance,
        _ => abort EUnknownOperation,
    }
}

macro fun compare<$T>($left: $T, $right: $T): vector<bool> {
    let (left, right) = ($left, $right);
    vector[left < right, left > right, left <= right, left >= right, left == right, left != right]
}

public fun calculate_u8(operation: u8, left: u8, right: u8, distance: u8): u8 {
    calculate!(operation, left, right, distance)
}

public fun calculate_u16(operation: u8, left: u16, right: u16, distance: u8): u16 {
    calculate!(operation, left, right, distance)
}

public fun calculate_u32(operation: u8, left: u32, right: u32, distance: u8): u32 {
    calculate!(operation, left, right, distance)
}

public fun calculate_u64(operation: u8, left: u64, right: u64, distance: u8): u64 {
    calculate!(operation, left, right, distance)
}

public fun calculate_u128(operation: u8, left: u128, right: u128, distance: u8): u128 {
    calculate!(operation, left, right, distance)
}

public fun calculate_u256(operation: u8, left: u256, right: u256, distance: u8): u256 {
    calculate!(operation, left, right, distance)
}

public fun compare_u8(left: u8, right: u8): vector<bool> { compare!(left, right) }

public fun compare_u64(left: u64, right: u64): vector<bool> { compare!(left, right) }

public fun compare_u256(left: u256, right: u256): vector<bool> { compare!(left, right) }

public fun to_u8(number: u256): u8 { number as u8 }

public fun to_u16(number: u256): u16 { number as u16 }

public fun to_u32(number: u256): u32 { number as u32 }

public fun to_u64(number: u256): u64 { number as u64 }

public fun to_u128(number: u256): u128 { number as u128 }

public fun widen(number: u8): u256 { ((((number as u16) as u32) as u64) as u128) as u256 }

/// The operators of bool, which evaluate their right side only when they must.
public fun decide(left: bool, right: bool, number: u8): vector<bool> {
    vector[left && right, left || right, !left, left == right, left && 10 / number > 1, left || 10 / number > 1]
}
