//! Peers that mean harm, one by one, for the real programs.

fn main() {}
