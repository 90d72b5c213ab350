//! A live RTMP server as a pure state machine: bytes and time go in, actions come out. No sockets, threads, clocks,
//! files or randomness of its own, so that it runs the same in an event loop, in a test with a virtual clock, and under
//! a fuzzer.
//!
//! # A server in four steps
//! 1. Make one [`conn::Server`] and, for each connection, a [`conn::Conn`] with
//!    [`connect_from`](conn::Server::connect_from).
//! 2. Feed it what happens: [`handle_input`](conn::Conn::handle_input) with bytes from the peer, cut anywhere;
//!    [`handle_timeout`](conn::Conn::handle_timeout) at the deadline it named;
//!    [`handle_disconnect`](conn::Conn::handle_disconnect) when the peer is gone.
//! 3. After each of these, and when a stream it is attached to is woken, [`poll`](conn::Conn::poll) it until it says
//!    what to wait for. On the way it asks to be attached to streams and to have their players woken.
//! 4. Write what [`outbound`](conn::Conn::outbound) holds, with one vectored call, and advance it by what was taken.
//!
//! ```
//! use std::io::{self, IoSlice, Write};
//! use std::time::Instant;
//!
//! use anabranch_core::conn::{Config, Conn, Output, Server};
//! use anabranch_core::session::Wait;
//! use bytes::Buf;
//!
//! /// Does all there is to do for a connection now. `None`: it is over, close the socket.
//! fn serve(conn: &mut Conn, socket: &mut impl Write, now: Instant) -> io::Result<Option<Wait>> {
//!     loop {
//!         match conn.poll(now) {
//!             Output::Action(action) => println!("{action:?}"),
//!             Output::Wait(wait) if !wait.write => return Ok(Some(wait)),
//!             Output::Wait(_) => {
//!                 let mut slices = [IoSlice::new(&[]); 64];
//!                 let outbound = conn.outbound();
//!                 let count = outbound.chunks_vectored(&mut slices);
//!                 let sent = socket.write_vectored(&slices[..count])?;
//!                 outbound.advance(sent);
//!             }
//!             Output::Closed(report) => {
//!                 println!("{report}");
//!                 return Ok(None);
//!             }
//!         }
//!     }
//! }
//!
//! let server = Server::new(Config::default(), [7; 32]);
//! let now = Instant::now();
//! let mut conn = server.connect(now);
//! let mut c0_c1 = vec![3];
//! c0_c1.resize(1537, 0);
//! conn.handle_input(now, &c0_c1);
//!
//! let mut socket = Vec::new();
//! let wait = serve(&mut conn, &mut socket, now)?.expect("the handshake goes on");
//! assert_eq!(socket.len(), 3073, "S0, S1 and S2");
//! assert!(wait.read && wait.deadline.is_some());
//! # Ok::<(), io::Error>(())
//! ```
//!
//! `examples/blocking.rs` is a whole server in that manner.
//!
//! # Parts that are useful alone
//! [`session::Session`] is one connection without streams, [`source::Source`] one stream's log without names,
//! [`hub::Hub`] names to streams; [`chunk`], [`amf`], [`flv`], [`handshake`], [`command`], [`message`] and [`url`] are
//! the formats.

pub mod amf;
pub mod bandwidth;
pub mod capture;
pub mod chunk;
pub mod command;
pub mod conn;
pub mod flv;
pub mod handshake;
pub mod hub;
pub mod message;
pub mod policy;
pub mod preface;
pub mod session;
pub mod source;
pub mod stats;
pub mod url;
