//! One suite for every server there is: what a client on the other end of a TCP connection can see of it.
//!
//! The cases know nothing of a server but its address. A [`Runtime`] is what starts one: the library on smol, the one
//! on threads, or any program that drives the core. [`main`] runs all cases on all runtimes and prints a table of them.
//!
//! A [`Case`] is a function over a [`Target`]. It fails by panicking. Cases with the same [`Setup`] share a server, so
//! each keeps to stream names of its own. Nothing in them sleeps: they read until what they wait for comes, or
//! [`TIMEOUT`](crate::peer::TIMEOUT) is over. The answer to a ping shows that nothing comes, see
//! [`ScriptedClient::receive_pending`](crate::peer::ScriptedClient::receive_pending).

mod arguments;
mod cases;
mod healthy;
mod media;
mod runner;
mod table;
mod target;

use std::net::SocketAddr;

use anabranch_core::conn::Config;

pub use arguments::Arguments;
pub use cases::in_every_phase;
pub use healthy::assert_healthy;
pub use runner::main;
pub use target::Target;

/// A way to run a server.
#[derive(Debug, Clone, Copy)]
pub struct Runtime {
    /// What the table calls it.
    pub name: &'static str,
    /// Starts a server on a free port of 127.0.0.1.
    pub start: fn(Config) -> Running,
}

/// A server that runs.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Stops it and returns when it has.
    pub stop: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What a server is configured with for some cases.
#[derive(Debug)]
pub struct Setup {
    /// Tells it from others.
    name: &'static str,
    /// Changes the default.
    apply: fn(&mut Config),
}

/// The default configuration.
static PLAIN: Setup = Setup { name: "plain", apply: |_| {} };

/// Something a server must do.
#[derive(Debug)]
pub struct Case {
    /// A sentence with `_` between its words.
    name: &'static str,
    setup: &'static Setup,
    run: fn(&Target),
}

/// Cases about the same thing.
#[derive(Debug)]
pub struct Group {
    name: &'static str,
    cases: &'static [Case],
    /// Whether the server must go on relaying after each case: whatever one client does, the others do not notice.
    healthy: bool,
}
