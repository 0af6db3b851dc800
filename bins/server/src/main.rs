//! The `tunnels-server` program.
fn main() {}
