//! The `tunnels-client` program.
fn main() {}
