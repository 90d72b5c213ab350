//! The Anabranch RTMP server on the smol runtime.
//!
//! This crate holds sockets, timers and tasks; what is said on a connection and who gets which frame is decided by
//! [`anabranch_core`]. A program of your own runs a server like this:
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
//! The [`Builder`] takes addresses, the [configuration](anabranch_core::conn::Config), TCP options, [`Hooks`] that are
//! asked about clients, and the number of threads. The [`Handle`] stops the server, drains it, tells numbers, closes a
//! connection, and lets the program itself take part:
//!
//! ```no_run
//! use anabranch_core::message::Message;
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
//! # How it works
//! Each connection has a task that reads its socket and keeps its timers. Frames do not pass through those tasks: when
//! the core says that a stream is to be woken, its sweepers, one per thread, write to each subscribed connection's socket
//! directly, and only a connection whose socket is full is left to its own task.
//!
//! Tasks run on executors of smol, one for each thread. Sockets and timers of connections are awaited by an event queue of
//! that thread, built on mio, and not by async-io: async-io has one reactor for the process, and with it a message cost about
//! fifteen system calls and two switches between threads. With the thread's own queue it costs one call to read it and at
//! most one to learn of it. Ten publishers, each with a player, sent some 3,700 messages in five seconds; that took 3,942
//! calls of `recvfrom`, 1,910 of `epoll_wait` and 2,708 of `sendto`. Count them with
//! `strace -f -c -p $(pidof anabranch)` while `anabranch-load 127.0.0.1:1935 --publishers 10 --players 10` runs.
//!
//! async-io is still used for what belongs to no connection: the end of the server, and streams that are woken at a time
//! for a [`Publication`] of the program.

#![forbid(unsafe_code)]

mod accept;
mod connection;
mod deferred_read;
mod fanout;
#[cfg(feature = "tls")]
mod openings;
mod reactor;
mod server;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod worker;

pub use anabranch_host::{
    Answer, Builder, Captures, Carrier, ConnectionInfo, Handle, Hooks, Listen, Over, Publication, Stats, Subscription,
    TcpOptions, Totals, Update,
};
pub use server::Server;
#[cfg(feature = "tls")]
pub use tls::CONNECTION_MEMORY as TLS_CONNECTION_MEMORY;
