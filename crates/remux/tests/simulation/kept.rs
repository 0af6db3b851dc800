//! Seeds that once broke a promise, or the world's own account of one.

use remux::Wire;

use crate::world::{World, plan::Plan};
use crate::{t29_partitions, t30_clocks};

#[test]
fn dials_that_fail_side_by_side_are_one_failure() {
    World::new(Plan::mix(1206, Wire::Remux2)).live();
}

#[test]
fn stall_that_began_before_anybody_looked_ends_when_it_was_to() {
    t29_partitions::live(16, Wire::Remux2, false);
}

#[test]
fn silence_of_a_connection_without_streams_is_not_counted() {
    t29_partitions::live(25, Wire::Remux2, false);
}

#[test]
fn sleeper_opens_a_stream_on_a_connection_that_ended_meanwhile() {
    t30_clocks::live(105, Wire::Classic, false);
}

#[test]
fn reset_after_the_end_leaves_what_had_come() {
    t30_clocks::live(115, Wire::Remux2, false);
}

#[test]
fn time_to_answer_after_a_sleep_is_the_sleepers_own() {
    t30_clocks::live(174, Wire::Remux2, false);
}

#[test]
fn room_may_come_and_go_within_one_read() {
    World::new(Plan::mix(3580, Wire::Remux2)).live();
}

#[test]
fn classic_connection_lasts_by_its_clients_clock() {
    t30_clocks::live(763, Wire::Classic, false);
}
