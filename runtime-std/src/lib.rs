//! The Anabranch RTMP server on blocking sockets and threads: no async runtime, no readiness polling.
//!
//! This crate holds sockets, clocks and threads; [core] speaks RTMP on each connection and decides which
//! player gets which frame. A program runs a server like this:
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
//! decide about clients. The [`Handle`] stops or drains the server, returns statistics, closes a connection, and lets
//! the program itself publish and play. All this is as in `anabranch-smol`, whose documentation has examples. Types of
//! core are in [`anabranch_std::core`](core), so a program needs no other crate.
//!
//! # How it works
//! Each connection has two threads. The reader blocks on reads of the socket. The writer keeps the connection's timers
//! and sleeps until the next deadline or until it is woken: by the reader when there is something to answer, by another
//! connection when a stream has new frames, or by a server that stops. It then writes, with no lock held.
//!
//! # Threads and memory
//! A running server has the thread that called [`Server::run`], one for each listener, and two for each connection: two
//! hundred connections are four hundred threads and a few. Each connection's threads reserve 1 MiB of address space for
//! their stack, of which they use a few pages, and its reader has a buffer of 16 KiB. When the system gives no more
//! threads, the server closes and logs a new connection, and the others go on. For thousands of connections use
//! `anabranch-smol`.

#![forbid(unsafe_code)]

mod accept;
mod connection;
mod fanout;
mod outbound;
mod server;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod write;

pub use anabranch_core as core;
pub use anabranch_host::{
    Answer, Arriving, Builder, CaptureError, Captures, Carrier, ConnectionInfo, Drain, Entrance, Handle, Hooks,
    LeavesToStop, Listen, Over, Publication, PublishStart, PublishingClient, Serve, Stats, Subscription, SwitchNotice,
    TcpOptions, Totals, Update, raise_file_limit, random_seed,
};
pub use server::Server;
