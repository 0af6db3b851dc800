//! T20: everything at random, up to four kinds of faults in a world.

use remux::Wire;

use crate::runner::{BOTH, Outcome, Scenario};
use crate::world::{World, plan::Plan};

const MIX: Scenario = Scenario {
    name: "t20_mix",
    seeds: 10_000,
    wires: BOTH,
    live,
    must: &[
        ("cut at a byte", 40),
        ("cut in time", 40),
        ("black hole", 40),
        ("stall", 40),
        ("path grows", 40),
        ("dial failure", 40),
        ("hostile peer", 40),
        ("server drains", 40),
        ("suspend", 40),
        ("slow reader", 40),
        ("stopped reader", 40),
        ("client resets", 40),
        ("server resets", 40),
        ("tight memory", 40),
        ("safe retry", 40),
        ("server's stream", 40),
    ],
};

fn live(seed: u64, wire: Wire, tells: bool) -> Outcome {
    let life = World::new(Plan::mix(seed, wire)).telling(tells).live();
    Outcome::from(&life)
}

#[test]
fn t20_mix_loses_doubles_or_mixes_no_byte_and_neither_hangs_nor_keeps_anything() {
    MIX.run();
}
