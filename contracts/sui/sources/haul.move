/// The token that is staked on storage nodes and that storage is paid with.
///
/// The publisher mints it until the deployment is created; from then on nobody does, and slashing alone burns some.
module haulout::haul;

use sui::coin;

const DECIMALS: u8 = 9;

public struct HAUL has drop {}

fun init(witness: HAUL, ctx: &mut TxContext) {
    let (treasury, metadata) = coin::create_currency(
        witness,
        DECIMALS,
        b"HAUL",
        b"Haulout",
        b"Staked on storage nodes, and what storage is paid with",
        option::none(),
        ctx,
    );
    transfer::public_freeze_object(metadata);
    transfer::public_transfer(treasury, ctx.sender());
}
