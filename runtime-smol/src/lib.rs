//! The Anabranch RTMP server on the smol runtime.
//!
//! This crate holds sockets, timers and tasks; what is said on a connection and who gets which frame is decided by
//! [`anabranch_core`]. A program of your own runs a server like this:
//!
//! ```no_run
//! use anabranch_core::conn::Config;
//! use anabranch_smol::Server;
//!
//! let server = Server::new(Config::default()).listen("1935".parse()?)?;
//! let handle = server.handle();
//! std::thread::spawn(move || { /* ... */ handle.stop(); });
//! server.run();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//! Each connection has a task that reads its socket and keeps its timers. Frames do not pass through those tasks: when
//! a publisher's core says that players are to be woken, the stream's sweepers, one per thread, write to each player's
//! socket directly, and only a player whose socket is full is left to its own task.

#![forbid(unsafe_code)]

mod accept;
mod connection;
mod fanout;
mod server;

pub use server::{Handle, Server};
