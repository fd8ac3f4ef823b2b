/// Makes the shared objects of a deployment, once.
module haulout::deployment;

use haulout::ballot;
use haulout::blobs;
use haulout::haul::HAUL;
use haulout::parameters::{Opening, Parameters};
use haulout::proofs::{Self, Windows};
use haulout::registry;
use haulout::staking;
use haulout::system::{Self, GovernorCap, GuardianCap};
use haulout::terms::Terms;
use sui::clock::Clock;
use sui::coin::TreasuryCap;

/// The right to create the deployment's shared objects, once.
public struct Founder has key, store { id: UID }

fun init(ctx: &mut TxContext) {
    transfer::transfer(Founder { id: object::new(ctx) }, ctx.sender());
}

/// Creates the shared objects of a deployment on a chain; returns the governor's and the guardian's capability.
///
/// `chain` is the digest of the chain's first checkpoint, 32 bytes. Move cannot ask which chain it runs on, so a reader of the
/// deployment must compare the domain with the chain's. `treasury` has minted all tokens that there will be. Stake can be
/// slashed for `evidence_window_s` seconds after a period that it stood for. Aborts with the error of what is invalid.
public fun create(
    founder: Founder,
    treasury: TreasuryCap<HAUL>,
    chain: vector<u8>,
    n_shards: u16,
    parameters: Parameters,
    opening: Opening,
    terms: Terms,
    windows: Windows,
    bond: u64,
    evidence_window_s: u64,
    clock: &Clock,
    ctx: &mut TxContext,
): (GovernorCap, GuardianCap) {
    let Founder { id } = founder;
    id.delete();
    let (system, governor_cap, guardian_cap) = system::create(chain, n_shards, parameters, opening, clock, ctx);
    registry::create(ctx);
    staking::create(treasury, evidence_window_s, ctx);
    blobs::create(terms, ctx);
    ballot::create(ctx);
    proofs::create(windows, bond, &parameters, ctx);
    system.share();
    (governor_cap, guardian_cap)
}
