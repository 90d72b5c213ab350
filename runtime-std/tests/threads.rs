//! What threads and blocking sockets could get wrong: stacks too small, threads that cannot be woken.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anabranch_core::conn::Config;
use anabranch_std::Server;
use anabranch_tests::embedded::Embedded;
use anabranch_tests::peer::{End, Wire, opening};

fn serve(config: Config) -> Embedded {
    Embedded::start::<Server>(|builder| builder.config(config))
}

/// A client after the handshake.
fn shake_hands(address: SocketAddr) -> Wire {
    let mut wire = Wire::dial(address);
    wire.write(&opening::hello());
    wire.read_exact(opening::ANSWER_LENGTH);
    wire
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
    let server = serve(config);
    // AMF 0 objects and strict arrays; AMF 3 arrays and objects, after the marker that switches to them.
    let shapes: [[&[u8]; 3]; 4] = [
        [b"", b"\x03\x00\x01a", b"\x00\x00\x09"],
        [b"", b"\x0a\x00\x00\x00\x01", b""],
        [b"\x11", b"\x09\x03\x01", b""],
        [b"\x11", b"\x0a\x0b\x01\x03a", b"\x01"],
    ];
    for shape in shapes {
        for depth in [1, 100, 125, 126, 127, 128, 500] {
            let mut wire = shake_hands(server.address);
            wire.write(&nested_connect(depth, shape));
            // Accepted or refused: the thread lives and says so. An overflow would end the whole process.
            wire.shut_down_writing();
            let (answer, end) = wire.read_to_end();
            assert!(end != End::Open, "{} bytes and no end", answer.len());
        }
    }
    drop(shake_hands(server.address));
    server.stop();
}

#[test]
fn stopping_wakes_threads_that_are_blocked() {
    let server = serve(Config::default());
    // One whose reader waits for the first byte, one in the middle of the handshake, one after it.
    let address = server.address;
    let _silent = Wire::dial(address);
    let mut begun = Wire::dial(address);
    begun.write(&[3; 10]);
    let _idle = shake_hands(address);
    let start = Instant::now();
    server.stop();
    assert!(start.elapsed() < Duration::from_secs(3));
    assert!(TcpStream::connect(address).is_err(), "the port is closed");
    begun.assert_closed();
}

#[test]
fn a_deadline_ends_a_connection_that_neither_reads_nor_writes() {
    let mut config = Config::default();
    config.defaults.session.timeouts.connect = Duration::from_millis(200);
    let server = serve(config);
    let mut silent = Wire::dial(server.address);
    silent.assert_closed();
    let elapsed = silent.opened().elapsed();
    assert!((Duration::from_millis(150)..Duration::from_millis(1000)).contains(&elapsed), "{elapsed:?}");
    server.stop();
}
