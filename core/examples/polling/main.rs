//! A server on one thread, on the `polling` crate: `cargo run -p anabranch-core --example polling [ADDRESS]...`.
//!
//! SIGINT and SIGTERM stop it. The server is in `server.rs`.

// An adapter does what core must not do (sockets, clocks, threads), so these lints are off here.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod server;

use std::net::{SocketAddr, ToSocketAddrs};
use std::{env, io, thread};

use anabranch_core::conn::Config;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> io::Result<()> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for argument in env::args().skip(1) {
        addresses.extend(argument.to_socket_addrs()?);
    }
    if addresses.is_empty() {
        addresses.push(([127, 0, 0, 1], 1935).into());
    }
    let server = server::Server::bind(&addresses[..], Config::default())?.with_log(|line| println!("{line}"));
    for address in server.addresses() {
        println!("listening on {address}");
    }
    let (stopper, mut signals) = (server.stopper(), Signals::new([SIGINT, SIGTERM])?);
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            stopper.stop();
        }
    });
    server.run()
}
