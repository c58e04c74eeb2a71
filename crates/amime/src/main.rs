//! The amime binary.
fn main() {}
