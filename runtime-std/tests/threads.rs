//! What threads and blocking sockets could get wrong: stacks too small, threads that cannot be woken.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anabranch_core::conn::Config;
use anabranch_std::{Handle, Server};

fn serve(config: Config) -> (SocketAddr, Handle, JoinHandle<()>) {
    let server = Server::builder().config(config).listen("127.0.0.1:0".parse().unwrap()).build().unwrap();
    let (address, handle) = (server.addresses()[0], server.handle());
    (address, handle, thread::spawn(|| server.run()))
}

/// A client after the handshake, which needs no digest (RTMP 1.0 §5.2).
fn shake_hands(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut c0_c1 = [0; 1537];
    c0_c1[0] = 3;
    socket.write_all(&c0_c1).unwrap();
    let mut replies = [0; 1 + 2 * 1536];
    socket.read_exact(&mut replies).unwrap();
    socket.write_all(&replies[1..1537]).unwrap();
    socket
}

/// `connect` whose command object holds `opening` as often as `depth` says, then as many `closing`, in chunks of 128
/// bytes on chunk stream 3.
fn nested_connect(depth: usize, [before, opening, closing]: [&[u8]; 3]) -> Vec<u8> {
    let mut body = b"\x02\x00\x07connect\x00\x3f\xf0\x00\x00\x00\x00\x00\x00\x03\x00\x03app\x02\x00\x04live".to_vec();
    body.extend(b"\x00\x01a");
    body.extend(before);
    body.extend(opening.repeat(depth));
    body.push(5);
    body.extend(closing.repeat(depth));
    body.extend(b"\x00\x00\x09");
    let mut message = vec![3, 0, 0, 0, 0];
    message.extend(&u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend([20, 0, 0, 0, 0]);
    for (index, chunk) in body.chunks(128).enumerate() {
        message.extend(if index == 0 { &[][..] } else { &[0xc3] });
        message.extend(chunk);
    }
    message
}

#[test]
fn stacks_hold_the_deepest_nesting_that_can_be_configured() {
    let mut config = Config::default();
    config.defaults.session.limits.amf.depth = usize::MAX;
    let (address, handle, server) = serve(config);
    // AMF 0 objects and strict arrays; AMF 3 arrays and objects, after the marker that switches to them.
    let shapes: [[&[u8]; 3]; 4] = [
        [b"", b"\x03\x00\x01a", b"\x00\x00\x09"],
        [b"", b"\x0a\x00\x00\x00\x01", b""],
        [b"\x11", b"\x09\x03\x01", b""],
        [b"\x11", b"\x0a\x0b\x01\x03a", b"\x01"],
    ];
    for shape in shapes {
        for depth in [1, 100, 125, 126, 127, 128, 500] {
            let mut socket = shake_hands(address);
            socket.write_all(&nested_connect(depth, shape)).unwrap();
            // Accepted or refused: the thread lives and says so. An overflow would end the whole process.
            let mut byte = [0];
            let _ = socket.read(&mut byte);
        }
    }
    drop(shake_hands(address));
    handle.stop();
    server.join().unwrap();
}

#[test]
fn stopping_wakes_threads_that_are_blocked() {
    let (address, handle, server) = serve(Config::default());
    // One whose reader waits for the first byte, one in the middle of the handshake, one after it.
    let _silent = TcpStream::connect(address).unwrap();
    let mut begun = TcpStream::connect(address).unwrap();
    begun.write_all(&[3; 10]).unwrap();
    let _idle = shake_hands(address);
    let start = Instant::now();
    handle.stop();
    server.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(3));
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    assert_eq!(begun.read(&mut [0; 4096]).unwrap_or(0), 0, "the connection is closed");
}

#[test]
fn a_deadline_ends_a_connection_that_neither_reads_nor_writes() {
    let mut config = Config::default();
    config.defaults.session.timeouts.connect = Duration::from_millis(200);
    let (address, handle, server) = serve(config);
    let mut silent = TcpStream::connect(address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let start = Instant::now();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    let elapsed = start.elapsed();
    assert!((Duration::from_millis(150)..Duration::from_millis(1000)).contains(&elapsed), "{elapsed:?}");
    handle.stop();
    server.join().unwrap();
}
