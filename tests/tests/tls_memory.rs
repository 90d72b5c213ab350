//! What a connection in TLS holds because of that stays below what the adapter says of it: counted where memory is
//! allocated, in a server within this process.

use std::alloc::System;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anabranch_smol::{Carrier, Server, TLS_CONNECTION_MEMORY};
use anabranch_tests::{TIMEOUT, wait_for};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Connections of each kind.
const COUNT: usize = 40;
/// Bytes of each that come and make nothing whole.
const HALF: usize = 15 << 10;

/// Bytes that each of so many connections makes the server hold, once that is `least`.
fn held_by_each(least: usize, open: impl Fn() -> TcpStream) -> usize {
    // What is made once, for the first, is not counted.
    drop(open());
    let region = Region::new(ALLOCATOR);
    let sockets: Vec<TcpStream> = (0..COUNT).map(|_| open()).collect();
    let each = wait_for("memory of connections", TIMEOUT, || {
        let change = region.change();
        let each = change.bytes_allocated.saturating_sub(change.bytes_deallocated) / COUNT;
        (each >= least).then_some(each)
    });
    drop(sockets);
    each
}

fn dial(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).expect("it listens")
}

/// A record that is announced as the longest, and most of it.
fn half_a_record(mut socket: TcpStream, content_type: u8, beginning: &[u8]) -> TcpStream {
    let bytes = [&[content_type, 3, 3, 0x40, 0], beginning, &vec![7; HALF]].concat();
    socket.write_all(&bytes[..HALF]).expect("there is room");
    socket
}

#[test]
fn half_a_beginning_and_half_a_record_are_within_the_bound() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let certificate = made.cert.der().clone();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.clone()], key).expect("they belong together");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let server = Server::builder().listen_as(listen, Carrier::Either(Arc::new(config))).build().expect("a server");
    let (address, handle) = (server.addresses()[0], server.handle());
    let thread = std::thread::spawn(|| server.run());

    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("it can be trusted");
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = Arc::new(client.expect("versions").with_root_certificates(roots).with_no_client_auth());
    let established = || {
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(client.clone(), name).expect("a client");
        let mut stream = StreamOwned::new(connection, dial(address));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).expect("the server answers");
        }
        stream.sock
    };
    let plain = held_by_each(1000, || {
        let mut socket = dial(address);
        socket.write_all(&[3]).expect("there is room");
        socket
    });
    // A ClientHello of 64 KiB.
    let stranger = held_by_each(plain + HALF, || half_a_record(dial(address), 22, &[1, 0, 0xff, 0xff]));
    let half = held_by_each(plain + HALF, || half_a_record(established(), 23, &[]));
    handle.stop();
    thread.join().expect("it does not panic");
    println!("plain {plain}, half a beginning {stranger}, half a record {half}, bound {TLS_CONNECTION_MEMORY}");
    // Beside these, content that is not taken and records that are not sent may wait: limits, not measured here.
    let waiting = (16 + 20) << 10;
    for each in [stranger, half] {
        assert!(each - plain + waiting <= TLS_CONNECTION_MEMORY, "{} and {waiting} bytes", each - plain);
    }
}
