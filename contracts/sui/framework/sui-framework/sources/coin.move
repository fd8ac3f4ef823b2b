module sui::coin;

use sui::balance::{Balance, Supply};
use sui::url::Url;

public struct Coin<phantom T> has key, store { id: UID, balance: Balance<T> }
public struct CoinMetadata<phantom T> has key, store { id: UID }
public struct TreasuryCap<phantom T> has key, store { id: UID, total_supply: Supply<T> }

public fun treasury_into_supply<T>(treasury: TreasuryCap<T>): Supply<T> { abort }
public fun value<T>(self: &Coin<T>): u64 { abort }
public fun from_balance<T>(balance: Balance<T>, ctx: &mut TxContext): Coin<T> { abort }
public fun into_balance<T>(coin: Coin<T>): Balance<T> { abort }
public fun create_currency<T: drop>(
    witness: T,
    decimals: u8,
    symbol: vector<u8>,
    name: vector<u8>,
    description: vector<u8>,
    icon_url: Option<Url>,
    ctx: &mut TxContext,
): (TreasuryCap<T>, CoinMetadata<T>) { abort }
public fun balance_mut<T>(coin: &mut Coin<T>): &mut Balance<T> { abort }
