//! Tests of Anabranch that need more than one crate, and the simulator they are built on.

pub mod sim;

pub mod clients;

pub mod conformance;
pub mod driver;
