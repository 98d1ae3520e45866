//! Measures `teleflow-concurrency` against its rivals.

fn main() {}
