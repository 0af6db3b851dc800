//! The `tunnels` toolbox.
fn main() {}
