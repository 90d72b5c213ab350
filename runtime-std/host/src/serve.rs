use std::net::SocketAddr;

use crate::{Builder, Handle};

/// A server of some runtime: what programs and tests need of it, written once for all of them.
pub trait Serve: Sized {
    /// The name of the runtime's program.
    const PROGRAM: &'static str;
    /// Its version.
    const VERSION: &'static str;

    /// A builder of such servers.
    fn builder() -> Builder<Self>;

    /// The addresses it listens on, with the ports the system chose for port 0.
    fn addresses(&self) -> Vec<SocketAddr>;

    /// The running server, from elsewhere in the program.
    fn handle(&self) -> Handle;

    /// Serves until [`Handle::stop`] is called; then returns within 3 seconds.
    fn run(self);
}
