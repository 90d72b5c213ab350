use std::net::SocketAddr;

use crate::{Builder, Handle};

/// A server of any runtime, for programs and tests that work with all of them.
pub trait Serve: Sized {
    /// The name of the runtime's program.
    const PROGRAM: &'static str;
    /// Its version.
    const VERSION: &'static str;

    /// A builder of such servers.
    fn builder() -> Builder<Self>;

    /// The addresses that the server listens on for RTMP, with the ports that the system chose for port 0.
    fn addresses(&self) -> Vec<SocketAddr>;

    /// The addresses that the server listens on for HTTP, and for both.
    fn web_addresses(&self) -> Vec<SocketAddr>;

    /// A handle of the running server for other parts of the program.
    fn handle(&self) -> Handle;

    /// Serves until [`Handle::stop`] is called; then returns within 3 seconds.
    fn run(self);
}
