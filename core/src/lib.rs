//! A live RTMP server as a pure state machine: bytes and time go in, actions and bytes come out. It has no sockets,
//! threads, clocks, files or randomness, so it runs the same in any event loop, in a test with a virtual clock, and under
//! a fuzzer.
//!
//! Encoders publish streams, players play them. This crate has all of the protocol and all decisions: which client may
//! publish a name, where a player begins, which player is too slow, when a silent peer is closed. The program around
//! it, the *adapter*, has sockets and time, and calls the right connection when something has happened. The crates
//! `anabranch-smol` and `anabranch-std` are such adapters, complete servers; this page is for writing your own.
//!
//! # The pieces
//! - A [`conn::Core`] is what all connections share: configuration, live streams, limits. Make one; clones are cheap.
//! - A [`conn::Conn`] is one connection. Make one for each socket accepted, with
//!   [`connect_from`](conn::Core::connect_from).
//! - [`Conn::poll`](conn::Conn::poll) says what is next, as an [`Output`](conn::Output): an [`Action`](conn::Action) to
//!   do, a [`Wait`](session::Wait) for something to happen, or `Closed` with a [`Report`](conn::Report) at the end.
//! - [`Conn::outbound`](conn::Conn::outbound) holds the bytes for the peer, as a [`bytes::Buf`].
//!
//! # The loop
//! 1. **Drain.** [`poll`](conn::Conn::poll) until it returns `Wait` or `Closed`, and do each `Action` on the way. At
//!    `Closed` drop the connection and close the socket.
//! 2. **Write.** If the `Wait` says `write`, write what [`outbound`](conn::Conn::outbound) shows with one vectored
//!    call, advance it by what was taken, and go back to 1: there may be more once that is out. If the socket takes no
//!    more, wait until it is writable, too.
//! 3. **Wait** for what the `Wait` names, whatever comes first: bytes from the peer, the deadline, a wake-up.
//! 4. **Feed** it what happened: [`handle_input`](conn::Conn::handle_input) with bytes cut anywhere,
//!    [`handle_timeout`](conn::Conn::handle_timeout) when its time has come,
//!    [`handle_disconnect`](conn::Conn::handle_disconnect) when the peer has closed or is lost; nothing at all for a
//!    wake-up or a writable socket. Go back to 1.
//!
//! Any order of these calls is legal, and each of them too often does no harm. None of them waits for anything.
//!
//! This is that loop on blocking sockets, as a whole program. A player sends nothing while it plays: so `read` waits no
//! longer than ten milliseconds for its bytes, and then the loop polls again for new frames.
//!
//! ```no_run
//! use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
//! use std::io::{self, IoSlice, Read, Write};
//! use std::net::{TcpListener, TcpStream};
//! use std::thread;
//! use std::time::{Duration, Instant};
//!
//! use anabranch_core::bytes::Buf;
//! use anabranch_core::conn::{Action, Config, Core, Output, Report};
//! use anabranch_core::session::{CloseReason, Wait};
//!
//! fn main() -> io::Result<()> {
//!     let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1935".into());
//!     let listener = TcpListener::bind(&address)?;
//!     println!("listening on {}", listener.local_addr()?);
//!     let server = Core::new(Config::default(), [7; 32]); // use random bytes: the handshake is made from them
//!     for socket in listener.incoming() {
//!         let server = server.clone();
//!         let started = socket.and_then(|socket| {
//!             let _ = socket.set_nodelay(true); // each write is a whole batch already
//!             thread::Builder::new().spawn(move || match serve(socket, &server) {
//!                 Ok(report) => println!("a connection closed: {report}"),
//!                 Err(error) => println!("a connection failed at its start: {error}"),
//!             })
//!         });
//!         if let Err(error) = started {
//!             // The system has no more files or threads; it will have some later.
//!             println!("cannot serve a connection: {error}");
//!             thread::sleep(Duration::from_millis(100));
//!         }
//!     }
//!     Ok(())
//! }
//!
//! /// Serves one client to the end of its connection.
//! pub fn serve(mut socket: TcpStream, server: &Core) -> io::Result<Report> {
//!     socket.set_write_timeout(Some(Duration::from_millis(500)))?; // so that a write does not delay deadlines
//!     let mut conn = server.connect_from(Instant::now(), socket.peer_addr()?);
//!     let mut buffer = vec![0; 16 * 1024];
//!     loop {
//!         let wait = loop {
//!             match conn.poll(Instant::now()) {
//!                 Output::Action(action) => act(conn.id(), &action), // 1. carry out the core's actions
//!                 Output::Wait(wait) => break wait,                  //    until it only waits
//!                 Output::Closed(report) => return Ok(report),
//!             }
//!         };
//!         let result = if wait.write {
//!             let mut slices = [IoSlice::new(&[]); 64]; // 2. write the output; there may be more after that
//!             let outbound = conn.outbound();
//!             let count = outbound.chunks_vectored(&mut slices);
//!             socket.write_vectored(&slices[..count]).map(|count| outbound.advance(count))
//!         } else {
//!             read(&mut socket, &mut buffer, &wait).map(|count| match count {
//!                 0 => conn.handle_disconnect(Instant::now(), CloseReason::PeerClosed),
//!                 _ => conn.handle_input(Instant::now(), &buffer[..count]), // 3. `read` waited; 4. pass on its bytes
//!             })
//!         };
//!         // 4. or tell it that the connection is lost. The time comes in each turn: a busy peer delays no deadline
//!         if let Some(e) = result.err().filter(|e| !matches!(e.kind(), WouldBlock | TimedOut | Interrupted)) {
//!             conn.handle_disconnect(Instant::now(), CloseReason::PeerLost(e.to_string()));
//!         }
//!         conn.handle_timeout(Instant::now());
//!     }
//! }
//!
//! /// Reads once, if the core wants input, at most as many bytes as it wants, and waits at most until its deadline. A player
//! /// sends nothing while it plays: a read without this timeout would wait forever, and the player would get no frame.
//! fn read(socket: &mut TcpStream, buffer: &mut [u8], wait: &Wait) -> io::Result<usize> {
//!     // 3. Wait. There are no wakes here: a player polls. Zero is not a legal timeout.
//!     let longest = Duration::from_millis(if wait.source { 10 } else { 10_000 });
//!     let left = wait.deadline().map_or(longest, |deadline| deadline.saturating_duration_since(Instant::now()));
//!     let timeout = left.min(longest).max(Duration::from_millis(1));
//!     let Some(read) = wait.read else {
//!         thread::sleep(timeout);
//!         return Err(WouldBlock.into());
//!     };
//!     socket.set_read_timeout(Some(timeout))?;
//!     let most = read.most.min(buffer.len());
//!     socket.read(&mut buffer[..most])
//! }
//!
//! /// Carries out an action of the core. Players poll, so wakes are ignored, and there is no back end to ask.
//! fn act(id: u64, action: &Action) {
//!     if let Action::Attach(attachment) = action {
//!         println!("conn {id} is {attachment}");
//!     }
//! }
//! ```
//!
//! It is `examples/blocking.rs`. `examples/polling/server.rs` is the same loop for thousands of
//! connections on one thread, to take as a pattern; `examples/relay.rs` runs it without any socket, in virtual time.
//!
//! # What an action wants
//! | [`Action`](conn::Action) | the adapter |
//! |---|---|
//! | `Subscribe(stream)` | notes that this connection is to be polled whenever that stream is woken |
//! | `Unsubscribe(stream)` | forgets that |
//! | `Wake(stream)` | polls every connection subscribed to the stream, soon. For thousands, it asks a [`Batches`](conn::Batches) for each first: it writes a connection's [`Share`](conn::Share) and reports it with [`Conn::wrote`](conn::Conn::wrote), and polls the connections that have none |
//! | `Attach`, `Detach` | need not do anything: they report the publishers and players, for logs and lists |
//! | `Ask(ask)` | asks the back end, and calls [`Conn::answer`](conn::Conn::answer) when the verdict is there, or never: at the deadline core decides. Comes only if [`conn::Asks`] says so |
//! | `Notify(notice)` | tells the back end that something is over. Exactly one follows each question that was not refused |
//! | `Remark(remark)` | writes it to the log |
//!
//! The adapter does them in their order.
//!
//! # What a wait means
//! | [`Wait`](session::Wait) | |
//! |---|---|
//! | `due` | call [`handle_timeout`](conn::Conn::handle_timeout) then; it says what for. `None`: nothing is due |
//! | `read` | bytes from the peer are welcome: at most so many at once, and until when reading may wait ([`Core::with_sockets`](conn::Core::with_sockets) makes the core say that; with [`Core::new`](conn::Core::new) it is always `None`). `None`: leave them in the socket |
//! | `write` | there are bytes in [`outbound`](conn::Conn::outbound) |
//! | `source` | it plays and has room for more media |
//!
//! Each `poll` returns a new one that replaces the last. One timer per connection is enough.
//!
//! # Waking players
//! A publisher's frames go into the log of its stream, once for all players. Players get it after the publisher's
//! `poll` has returned `Wake(stream)`: at once for most video, a little later for audio, so that it leaves together
//! with the next picture ([`Pacing::merge_window`](pacing::Pacing::merge_window)). The adapter then polls the players
//! of that stream; each takes what is new for it into its own outbound queue, by reference, up to
//! [`high_water`](conn::VhostConfig::high_water). Keep for each [`StreamId`](hub::StreamId) a set of connections;
//! collect the streams woken in one turn of the loop and poll each player once for all of them. A player whose socket
//! is full may be left out until it is writable, unless [`has_large_queue`](conn::Conn::has_large_queue): poll such a
//! player all the same, because only a poll counts the frames that its queue alone still has.
//!
//! A program that publishes or plays itself has no connection for that: [`Core::publish`](conn::Core::publish) and
//! [`Core::play`](conn::Core::play). Its publisher says when players are to be woken, as a connection does.
//!
//! # Under load
//! The loop above is right for any number of connections. Four things make it cheap for thousands; each is optional.
//!
//! - **Reads that wait.** [`Read::from`](session::Read::from) says until when the bytes of a publisher may stay in its
//!   socket: one read then brings what many would have brought. Have the event queue ignore the socket until then, and
//!   read at that time even if there is nothing. A read that filled its buffer is followed by another at once. It is said
//!   only after [`Core::with_sockets`](conn::Core::with_sockets) has told what a socket can hold.
//! - **Batches.** At `Wake(stream)`, ask a new [`Batches`](conn::Batches) for each connection that is subscribed:
//!   [`share`](conn::Batches::share) gives a [`Share`](conn::Share) to each player that needs no poll. Its bytes are put
//!   together once for all players at one place in the stream. Write them, and report how many were taken with
//!   [`wrote`](conn::Conn::wrote); `Ok(true)` means that there is nothing else to do. Poll a connection that has no share,
//!   and one whose report returns `Ok(false)`.
//! - **Lending.** [`Outbound::lend`](session::Outbound::lend) takes the queue out of the connection, so that no lock on it
//!   is held during a write; [`restore`](session::Outbound::restore) puts it back.
//! - **Writes that end later**, as on io_uring or completion ports. A share and a lent queue own their bytes, and may be
//!   reported at any time and from any thread, those of different connections in any order. Meanwhile feed and poll the
//!   connection as ever: what it queues goes behind, its `Wait` does not say `write`, and it takes no media.
//!   Poll a connection whose write does not end in its turn, so that its time to write runs, and at each wake, so that it
//!   learns that its stream has ended.
//!
//! A share or a lent queue that is returned to another connection comes back in an error, and nothing is changed. One that
//! is dropped counts as a write that does not end: the connection is closed when its time to write is over. If a write was
//! cancelled and it is not known how much was written, drop it and call
//! [`handle_disconnect`](conn::Conn::handle_disconnect).
//!
//! # Time
//! Time is an argument: every `now` is one of yours, and must not run backwards on a connection. The core reads no
//! clock and sets no timer; it only returns deadlines. Signed URLs need the time of day:
//! [`Core::set_clock`](conn::Core::set_clock).
//!
//! # Backpressure
//! Towards publishers it is [`Wait::read`](session::Wait::read): while it is `None`, do not read, and the peer's own
//! writes come to a halt. Towards players it is the outbound queue: it holds little, and while it is full nothing is
//! taken from the stream's log. A player that falls behind the log resumes at the newest key frame, and what it missed
//! is counted; one that takes nothing at all is closed after [`SessionTimeouts::write`](session::SessionTimeouts). So
//! write what the socket takes, keep the rest where it is, and buffer nothing yourself.
//!
//! # Shutting down
//! - One connection, now: [`Conn::close`](conn::Conn::close) with a reason.
//! - The server, now: stop accepting. For each connection call [`handle_timeout`](conn::Conn::handle_timeout), so that
//!   it knows the time, and [`shutdown`](conn::Conn::shutdown); go on with the loop until it is `Closed`. Players
//!   get a message that their stream is over. When you have waited long enough, `handle_disconnect` with
//!   [`CloseReason::Shutdown`](session::CloseReason::Shutdown) ends the rest.
//! - The server, gently: [`Core::drain`](conn::Core::drain) and [`Conn::drain`](conn::Conn::drain) let players
//!   finish their GOP and ask clients to reconnect.
//!
//! Poll every connection to its `Closed`, also one whose socket broke: its last actions wake other connections and send
//! notices.
//!
//! # Rules for clients
//! [`conn::VhostConfig`] has all rules as data, for all host names or for each virtual host: rules by address and by
//! page, signed URLs, limits ([`policy`]); what happens when a name is published twice ([`hub::Conflict`]); questions
//! to a back end ([`conn::Asks`]). The default allows all clients everything.
//!
//! # Limits and numbers
//! No input makes it panic, hang, or hold more than it is allowed to. What one peer may make it hold is in
//! [`session::SessionLimits`], [`chunk::ChunkLimits`] and [`amf::Limits`]; what a stream holds in
//! [`source::SourceLimits`]; what a player holds in [`high_water`](conn::VhostConfig::high_water); how long things may
//! take in [`session::SessionTimeouts`]. How many there may be of everything is [`policy::Limits`], without bound by
//! default.
//!
//! What happened is in [`Conn::stats`](conn::Conn::stats), [`Hub::streams`](hub::Hub::streams) and
//! [`Core::vhosts`](conn::Core::vhosts), to be read from any thread at any time, and in the
//! [`Report`](conn::Report) of each connection: why it ended, at which byte, what was missed or ignored.
//!
//! # What it speaks
//! - RTMP 1.0 with the simple and both digest handshakes; AMF0 and AMF3; aggregates; both conventions of extended
//!   timestamps.
//! - Publishers in the manner of FMLE, Haivision and Flash, several streams on a connection; players that pause, turn
//!   tracks off and name a duration.
//! - Enhanced RTMP v1 and v2: every FourCC codec is relayed as it came, multitrack goes to players that announce it,
//!   reconnect requests.
//! - Late joiners begin at the newest key frame, with metadata and the headers of every track. Players wait for their
//!   publisher and survive its loss. A new encoder, or one that jumps in time, is bridged ([`source::Timestamps`]).
//! - Virtual hosts, takeover of a live name, draining, PROXY protocol 1 and 2, SRS's proxy header and bandwidth check.
//!
//! Payloads are never changed. It is no player and no encoder, and it does not record.
//!
//! # Parts that are useful alone
//! [`session::Session`] is one connection without streams, [`client::Client`] one in the client's role; [`hub::Hub`] is
//! streams without connections; [`source::Source`] is one stream's log without a name. Below them are the formats, each
//! usable from either side: [`handshake`], [`chunk`], [`message`], [`command`], [`amf`], [`flv`], [`url`].
//!
//! # Map
//! | module | what it holds | start at |
//! |---|---|---|
//! | [`conn`] | a connection with its publishers and players: what an adapter drives | [`conn::Conn`] |
//! | [`session`] | one RTMP connection: handshake to close, timers, outbound queue | [`session::Session`] |
//! | [`client`] | one RTMP connection in the client's role: publishes and plays elsewhere | [`client::Client`] |
//! | [`hub`] | names to streams, the publish lock | [`hub::Hub`] |
//! | [`location`] | which server of a cluster has a stream | [`location::Location`] |
//! | [`relay`] | streams from and to other servers | [`relay::Relays`] |
//! | [`source`] | one stream: log, headers in force, cursors, time | [`source::Source`] |
//! | [`policy`] | rules for clients, as data | [`policy::Security`], [`policy::Token`], [`policy::Limits`] |
//! | [`stats`] | counts, rates and intervals | [`stats::ConnSnapshot`], [`stats::StreamSnapshot`] |
//! | [`handshake`] | both sides of the handshake | [`handshake::ServerHandshake`] |
//! | [`preface`] | the header that a proxy sends before it | [`preface::Preface`] |
//! | [`chunk`] | messages to chunks and back | [`chunk::ChunkReader`] |
//! | [`message`] | messages and control messages, typed | [`message::Message`] |
//! | [`command`] | calls and their answers, typed | [`command::Request`], [`command::reply`] |
//! | [`amf`] | AMF0 and AMF3 | [`amf::Value`] |
//! | [`flv`] | what a media message is; FLV files | [`flv::classify_video`], [`flv::tag`] |
//! | [`url`] | what a client wants to a stream's name | [`url::Connect`] |
//! | [`capture`] | connections recorded as files | [`capture::Capture`] |
//! | [`replay`] | such a file run again, with a report | [`replay::run`] |
//! | [`bandwidth`] | SRS's bandwidth check | [`bandwidth::BandwidthCheck`] |

#![forbid(unsafe_code)]

/// The crate with [`Buf`](bytes::Buf), which [`conn::Conn::outbound`] returns, and with the shared bytes of frames.
pub use bytes;

pub mod amf;
pub mod bandwidth;
pub mod capture;
pub mod chunk;
pub mod client;
pub mod cluster;
pub mod command;
pub mod conn;
mod endpoint;
mod fast_path;
pub mod flv;
pub mod fmp4;
pub mod handshake;
pub mod hls;
pub mod http;
pub mod hub;
pub mod location;
pub mod message;
pub mod mpegts;
pub mod pacing;
pub mod packager;
pub mod policy;
mod pool;
pub mod preface;
pub mod relay;
pub mod replay;
pub mod session;
mod shown;
pub mod source;
mod split_mix;
pub mod stats;
mod time_limit;
pub mod url;
