//! The simulator: core on simulated links with a virtual clock, one subject in each module. One binary, linked once.

mod asks;
mod cluster;
mod encoders;
mod join;
mod media;
mod memory;
mod pace;
mod policy;
mod policy_streams;
mod republish;
#[cfg(feature = "rtc")]
mod rtc;
mod scenes;
mod seeds;
mod slow_players;
mod takeover;
mod timeouts;
