//! The Anabranch RTMP server on blocking sockets and threads: no async runtime, no readiness polling.
//!
//! This crate holds sockets, clocks and threads; what is said on a connection and who gets which frame is decided by
//! [`anabranch_core`]. A program of your own runs a server like this:
//!
//! ```no_run
//! use anabranch_std::Server;
//!
//! let server = Server::builder().listen("1935".parse()?).build()?;
//! let handle = server.handle();
//! std::thread::spawn(move || { /* ... */ handle.stop(); });
//! server.run();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The [`Builder`] takes addresses, the [configuration](anabranch_core::conn::Config), TCP options, and [`Hooks`] that
//! are asked about clients. The [`Handle`] stops the server, drains it, tells numbers, closes a connection, and lets the
//! program itself publish and play: everything as with `anabranch-smol`, whose documentation has an example of it.
//!
//! # How it works
//! Each connection has two threads. The reader blocks in reading the socket. The writer keeps the connection's time and
//! sleeps until its next deadline or until it is woken: by the reader when there is something to answer, by another
//! connection when there is something new in a stream, by a server that stops. It then writes, with no lock held.
//!
//! # Threads and memory
//! A running server has the thread that called [`Server::run`], one for each listener, and two for each connection: two
//! hundred connections are four hundred threads and a few. Each connection's threads reserve 1 MiB of address space for
//! their stack, of which they use a few pages, and its reader has a buffer of 16 KiB. When the system gives no more
//! threads, a new connection is closed and logged, and the others go on. For thousands of connections take
//! `anabranch-smol`.

#![forbid(unsafe_code)]

mod accept;
mod connection;
mod fanout;
mod server;
mod write;

pub use anabranch_host::{
    Answer, Builder, Captures, ConnectionInfo, Handle, Hooks, Listen, Over, Publication, Stats, Subscription,
    TcpOptions, Totals, Update,
};
pub use server::Server;
