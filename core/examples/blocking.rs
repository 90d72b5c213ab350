//! A whole RTMP server on blocking sockets, to read in one go: `cargo run -p anabranch-core --example blocking`.
//!
//! One thread a connection, no wake-ups: a player looks every ten milliseconds whether its stream has something new.
//! The servers of this repository do better; see the crates `anabranch-std` and `anabranch-smol`.

// An adapter: what core must not do is done here.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::conn::{Config, Output, Server};
use anabranch_core::session::CloseReason;
use bytes::Buf;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1935".into());
    let listener = TcpListener::bind(&address)?;
    println!("listening on {}", listener.local_addr()?);
    let server = Server::new(Config::default(), [7; 32]);
    for socket in listener.incoming() {
        let (server, socket) = (server.clone(), socket?);
        thread::spawn(move || serve(socket, &server).unwrap_or_else(|error| println!("{error}")));
    }
    Ok(())
}

fn serve(mut socket: TcpStream, server: &Server) -> io::Result<()> {
    let mut conn = server.connect_from(Instant::now(), socket.peer_addr()?);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        // 1. Drain: what does the core want done?
        let wait = loop {
            match conn.poll(Instant::now()) {
                Output::Action(action) => println!("{action:?}"),
                Output::Wait(wait) => break wait,
                Output::Closed(report) => {
                    println!("{report}");
                    return Ok(());
                }
            }
        };
        // 2. Write what it has to say. There may be more once that is out.
        if wait.write {
            let mut slices = [IoSlice::new(&[]); 64];
            let outbound = conn.outbound();
            let count = outbound.chunks_vectored(&mut slices);
            let sent = socket.write_vectored(&slices[..count])?;
            outbound.advance(sent);
            continue;
        }
        // 3. Wait, at most until its deadline. Zero is not a legal timeout.
        let mut left = wait.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if wait.source {
            left = Some(left.unwrap_or(Duration::MAX).min(Duration::from_millis(10)));
        }
        socket.set_read_timeout(left.map(|left| left.max(Duration::from_millis(1))))?;
        // 4. Feed one thing.
        match socket.read(&mut buffer) {
            Ok(0) => conn.handle_disconnect(Instant::now(), CloseReason::PeerClosed),
            Ok(count) => conn.handle_input(Instant::now(), &buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                conn.handle_timeout(Instant::now());
            }
            Err(error) => conn.handle_disconnect(Instant::now(), CloseReason::PeerLost(error.to_string())),
        }
    }
}
