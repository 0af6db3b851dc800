//! Simulated worlds: sessions on both wires and a pool, with everything going wrong that can.
//!
//! ```text
//!  flows ─▶ Pool ─▶ Session ◀── Duplex (delay, splits, cuts, stalls, black holes) ──▶ Session ─▶ flows
//!           client host: clock, sleeps                                               server host, budget
//!                                                    attackers' frames ──────────────▶
//! ```
//! Every byte describes itself (flow, direction, offset), so the receiver knows a wrong, lost, doubled or foreign one. Nothing may
//! end early, fail, be suspected or be refused without a fault that explains it; what has a reason to end must end in time; nothing
//! is done before an event asked for it; and when all is over nobody holds anything.
//!
//! One file a scenario; each alters the plan of a world and adds promises of its own. A world is decided by its seed alone:
//!
//! | | |
//! |---|---|
//! | `REMUX_SEED=4711 cargo test -p remux --test simulation t22 -- --nocapture` | one seed of one scenario, with its story |
//! | `REMUX_SEEDS=20000 …` | so many seeds |
//! | `REMUX_SECONDS=600 REMUX_FROM=1000000 …` | as many as the time allows, from a seed on (`scripts/nightly-sim`) |

mod kept;
mod runner;
mod t12_races;
mod t20_mix;
mod t21_cuts;
mod t22_drains;
mod t23_churn;
mod t24_stopped_reader;
mod t25_resets;
mod t26_floods;
mod t27_unread_windows;
mod t28_failed_dials;
mod t29_partitions;
mod t30_clocks;
mod world;
