//! A seeded relay of TCP and UDP that breaks what passes through it, without root.

fn main() {}
