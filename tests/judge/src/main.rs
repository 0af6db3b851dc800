//! Makes, swallows and judges self-describing traffic: what was lost, changed, mixed up or ended dishonestly.

fn main() {}
