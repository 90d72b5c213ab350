//! The program `anabranch-std`.

fn main() {}
