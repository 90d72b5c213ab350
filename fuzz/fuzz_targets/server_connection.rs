//! A whole server connection: any bytes behind a handshake, everything granted, everything written taken at once.
#![no_main]

use std::time::{Duration, Instant};

use anabranch_core::conn::{Config, Output, Server};
use bytes::Buf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let server = Server::new(Config::default(), [7; 32]);
    let mut now = Instant::now();
    let mut conn = server.connect(now);
    let mut hello = vec![3];
    hello.resize(1 + 2 * 1536, 0);
    for piece in std::iter::once(hello.as_slice()).chain(bytes.chunks(777)) {
        conn.handle_input(now, piece);
        now += Duration::from_millis(5);
        conn.handle_timeout(now);
        loop {
            match conn.poll(now) {
                Output::Action(_) => {}
                Output::Wait(wait) if wait.write => {
                    let waiting = conn.outbound().remaining();
                    conn.outbound().advance(waiting);
                }
                Output::Wait(_) => break,
                Output::Closed(_) => {
                    assert!(server.hub().streams().is_empty(), "a connection that is over holds nothing");
                    return;
                }
            }
        }
    }
});
