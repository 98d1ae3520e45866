//! Measures `teleflow-pool` against its rivals.

fn main() {}
