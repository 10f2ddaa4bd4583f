//! Cargo tasks.
fn main() {}
