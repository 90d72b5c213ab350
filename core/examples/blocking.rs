//! A small but complete RTMP server on blocking sockets: `cargo run -p anabranch-core --example blocking [ADDRESS]`.
//!
//! It has one thread per connection and does not wake players: a player checks every ten milliseconds for new frames.
//! `examples/polling` has one thread for all connections and wakes players. For production, use the crates
//! `anabranch-std` and `anabranch-smol`.

// An adapter does what core must not do (sockets, clocks, threads), so these lints are off here.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::bytes::Buf;
use anabranch_core::conn::{Action, Config, Core, Output, Report};
use anabranch_core::session::{CloseReason, Wait};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1935".into());
    let listener = TcpListener::bind(&address)?;
    println!("listening on {}", listener.local_addr()?);
    let server = Core::new(Config::default(), [7; 32]); // use random bytes: the handshake is made from them
    for socket in listener.incoming() {
        let server = server.clone();
        let started = socket.and_then(|socket| {
            let _ = socket.set_nodelay(true); // each write is a whole batch already
            thread::Builder::new().spawn(move || match serve(socket, &server) {
                Ok(report) => println!("a connection closed: {report}"),
                Err(error) => println!("a connection failed at its start: {error}"),
            })
        });
        if let Err(error) = started {
            // The system has no more files or threads; it will have some later.
            println!("cannot serve a connection: {error}");
            thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// Serves one client to the end of its connection.
pub fn serve(mut socket: TcpStream, server: &Core) -> io::Result<Report> {
    socket.set_write_timeout(Some(Duration::from_millis(500)))?; // so that a write does not delay deadlines
    let mut conn = server.connect_from(Instant::now(), socket.peer_addr()?);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let wait = loop {
            match conn.poll(Instant::now()) {
                Output::Action(action) => act(conn.id(), &action), // 1. carry out the core's actions
                Output::Wait(wait) => break wait,                  //    until it only waits
                Output::Closed(report) => return Ok(report),
            }
        };
        let result = if wait.write {
            let mut slices = [IoSlice::new(&[]); 64]; // 2. write the output; there may be more after that
            let outbound = conn.outbound();
            let count = outbound.chunks_vectored(&mut slices);
            socket.write_vectored(&slices[..count]).map(|count| outbound.advance(count))
        } else {
            read(&mut socket, &mut buffer, &wait).map(|count| match count {
                0 => conn.handle_disconnect(Instant::now(), CloseReason::PeerClosed),
                _ => conn.handle_input(Instant::now(), &buffer[..count]), // 3. `read` waited; 4. pass on its bytes
            })
        };
        // 4. or tell it that the connection is lost. The time comes in each turn: a busy peer delays no deadline
        if let Some(e) = result.err().filter(|e| !matches!(e.kind(), WouldBlock | TimedOut | Interrupted)) {
            conn.handle_disconnect(Instant::now(), CloseReason::PeerLost(e.to_string()));
        }
        conn.handle_timeout(Instant::now());
    }
}

/// Reads once, if the core wants input, at most as many bytes as it wants, and waits at most until its deadline. A player
/// sends nothing while it plays: a read without this timeout would wait forever, and the player would get no frame.
fn read(socket: &mut TcpStream, buffer: &mut [u8], wait: &Wait) -> io::Result<usize> {
    // 3. Wait. There are no wakes here: a player polls. Zero is not a legal timeout.
    let longest = Duration::from_millis(if wait.source { 10 } else { 10_000 });
    let left = wait.deadline().map_or(longest, |deadline| deadline.saturating_duration_since(Instant::now()));
    let timeout = left.min(longest).max(Duration::from_millis(1));
    let Some(read) = wait.read else {
        thread::sleep(timeout);
        return Err(WouldBlock.into());
    };
    socket.set_read_timeout(Some(timeout))?;
    let most = read.most.min(buffer.len());
    socket.read(&mut buffer[..most])
}

/// Carries out an action of the core. Players poll, so wakes are ignored, and there is no back end to ask.
fn act(id: u64, action: &Action) {
    if let Action::Attach(attachment) = action {
        println!("conn {id} is {attachment}");
    }
}
