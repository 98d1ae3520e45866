//! Measures `teleflow-cache` against its rivals.

fn main() {}
