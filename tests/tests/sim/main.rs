//! The simulator: core on simulated links with a virtual clock, a subject in each module. One binary, which is linked once.

mod asks;
mod encoders;
mod join;
mod media;
mod memory;
mod pace;
mod policy;
mod policy_streams;
mod republish;
mod scenes;
mod seeds;
mod slow_players;
mod takeover;
mod timeouts;
