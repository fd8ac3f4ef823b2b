/// Pools with shares.
///
/// A share is worth `amount / shares`; the first ones are worth one unit each. All is rounded to the disadvantage of whoever
/// enters or exits, so that nobody can take out more than there is, and the last to exit takes what rounding has left. A
/// pool with an amount has shares.
///
/// Amounts of tokens are below 2^64. Shares grow beyond that only where most of a pool's tokens are slashed before others
/// enter, so that 128 bits are never too few.
module haulout::pool;

public struct Pool has copy, drop, store { amount: u128, shares: u128 }

public(package) fun new(): Pool {
    Pool { amount: 0, shares: 0 }
}

public(package) fun amount(self: &Pool): u128 { self.amount }

public(package) fun shares(self: &Pool): u128 { self.shares }

/// Returns the shares that `amount` gives.
public(package) fun price(self: &Pool, amount: u128): u128 {
    if (self.amount == 0) amount else scaled(amount, self.shares, self.amount)
}

/// Returns what shares of the pool are worth.
public(package) fun worth(self: &Pool, shares: u128): u128 {
    if (shares == 0) 0 else scaled(shares, self.amount, self.shares)
}

/// Adds an amount; returns the shares for it.
public(package) fun enter(self: &mut Pool, amount: u128): u128 {
    let shares = self.price(amount);
    self.shares = self.shares + shares;
    self.amount = self.amount + amount;
    shares
}

/// Takes shares out; returns what they are worth.
public(package) fun exit(self: &mut Pool, shares: u128): u128 {
    let amount = self.worth(shares);
    self.shares = self.shares - shares;
    self.amount = self.amount - amount;
    amount
}

/// Adds an amount for all shares.
public(package) fun raise(self: &mut Pool, amount: u128) {
    self.amount = self.amount + amount;
}

/// Takes `fraction / whole` of the amount from all shares, rounded down; returns it.
public(package) fun lower(self: &mut Pool, fraction: u64, whole: u64): u128 {
    let amount = scaled(self.amount, fraction as u128, whole as u128);
    self.amount = self.amount - amount;
    amount
}

/// Puts an amount of something else in the place of all that the shares stood for.
public(package) fun exchange(self: &mut Pool, amount: u128) {
    self.amount = amount;
}

/// Returns `value * factor / divisor`, rounded down.
fun scaled(value: u128, factor: u128, divisor: u128): u128 {
    ((value as u256) * (factor as u256) / (divisor as u256)) as u128
}
