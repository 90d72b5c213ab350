//! Benchmarks of Anabranch; see the `benches` folder.
