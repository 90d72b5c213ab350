//! The Anabranch RTMP server on the smol runtime.
//!
//! This crate holds sockets, timers and tasks; [core] speaks RTMP on each connection and decides which
//! player gets which frame. A program runs a server like this:
//!
//! ```no_run
//! use anabranch_smol::Server;
//!
//! let server = Server::builder().listen("1935".parse()?).build()?;
//! let handle = server.handle();
//! std::thread::spawn(move || { /* ... */ handle.stop(); });
//! server.run();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The [`Builder`] takes addresses, the [configuration](core::conn::Config), TCP options, [`Hooks`] that
//! decide about clients, and the number of threads. Types of core are in [`anabranch_smol::core`](core), so a program
//! needs no other crate. The [`Handle`] stops or drains the server, returns statistics,
//! closes a connection, and lets the program itself publish and play:
//!
//! ```no_run
//! use anabranch_smol::core::message::Message;
//! use anabranch_smol::{Server, Update};
//!
//! let server = Server::builder().listen("1935".parse()?).build()?;
//! let handle = server.handle();
//! std::thread::spawn(move || server.run());
//!
//! let mut publication = handle.publish("live/made-here")?;
//! publication.push(Message::audio(0, [0xaf, 0, 0x12, 0x10].as_slice()))?;
//!
//! let mut subscription = handle.subscribe("live/cam")?;
//! while let Some(update) = subscription.recv() {
//!     if let Update::Frame(frame) = update {
//!         println!("{:?} at {} ms, {} bytes", frame.kind(), frame.timestamp(), frame.payload().len());
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Examples
//! Whole programs are in the folder `examples` of this crate, and `cargo run -p anabranch-smol --example NAME` runs them:
//!
//! | example | what it shows |
//! |---|---|
//! | `tokens` | [`Hooks`] that let clients publish and play by a table of tokens |
//! | `file` | an FLV file becomes a live stream: [`core::flv::TagReader`] reads it, a [`Publication`] publishes it at its pace |
//! | `forward` | a [`Subscription`] is published on another server with [`core::client::Client`], which connects again and resumes at a key frame |
//!
//! Hooks are asked what the configuration says; a server whose hooks are asked nothing is not built:
//!
//! ```no_run
//! use anabranch_smol::core::conn::{Ask, Asks, Subject, Verdict, VhostConfig};
//! use anabranch_smol::{Answer, Hooks, Server};
//!
//! #[derive(Debug)]
//! struct OnlyCam;
//!
//! impl Hooks for OnlyCam {
//!     fn ask(&self, ask: Ask, answer: Answer) {
//!         let allowed = matches!(&ask.subject, Subject::Publish(stream) if stream.key.to_string() == "live/cam");
//!         answer.give(if allowed { Verdict::Allow } else { Verdict::Deny("only live/cam".into()) });
//!     }
//! }
//!
//! let asks = Asks { publish: true, ..Asks::default() };
//! let config = VhostConfig { asks, ..VhostConfig::default() };
//! let server = Server::builder().listen("1935".parse()?).config(config).hooks(OnlyCam).build()?;
//! server.run();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//! Each connection has a task that reads its socket and keeps its timers. Frames do not pass through those tasks: when
//! the core wakes a stream, the stream's sweepers, one per thread, write to the socket of each subscribed connection
//! directly. If a socket is full, its connection's own task writes the rest.
//!
//! Tasks run on executors of smol, one for each thread. Each thread has an event queue, built on mio, for the sockets
//! and timers of its connections. They do not use async-io: async-io has one reactor for the process, and with it a
//! message cost about fifteen system calls and two switches between threads. With the thread's own queue, a message
//! costs one call to read it and at most one to wait for it. Ten publishers, each with a player, sent some 3,700
//! messages in five seconds; that took 3,942 calls of `recvfrom`, 1,910 of `epoll_wait` and 2,708 of `sendto`. Count
//! them with `strace -f -c -p $(pidof anabranch)` while `anabranch-load 127.0.0.1:1935 --publishers 10 --players 10`
//! runs.
//!
//! async-io is still used for tasks that belong to no connection: the server's stop, and wake-ups at a given time for a
//! [`Publication`] of the program.

#![forbid(unsafe_code)]

mod accept;
mod connection;
mod deferred_read;
mod fanout;
#[cfg(feature = "tls")]
mod openings;
mod outbound;
mod reactor;
mod server;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod worker;

pub use anabranch_core as core;
pub use anabranch_host::{
    Answer, Arriving, Builder, CaptureError, Captures, Carrier, ConnectionInfo, Drain, Entrance, Handle, Hooks,
    LeavesToStop, Listen, Over, Publication, PublishStart, PublishingClient, Serve, Stats, Subscription, SwitchNotice,
    TcpOptions, Totals, Update, raise_file_limit, random_seed,
};
pub use server::Server;
#[cfg(feature = "tls")]
pub use tls::CONNECTION_MEMORY as TLS_CONNECTION_MEMORY;
