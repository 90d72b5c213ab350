use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use super::*;

#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn server_config() -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    Arc::new(config.expect("they belong together"))
}

type Client = StreamOwned<ClientConnection, std::net::TcpStream>;

/// A connection past its handshake, and the client's side of it.
fn pair() -> (Tls, TcpStream, Client) {
    let (tls, socket, client, heard) = pair_behind(b"");
    assert_eq!(heard, b"hello");
    (tls, socket, client)
}

/// The same behind what a proxy says first, with all that the server has heard.
fn pair_behind(preface: &'static [u8]) -> (Tls, TcpStream, Client, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let socket = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
    let (accepted, _) = listener.accept().expect("a connection");
    accepted.set_nonblocking(true).expect("a socket");
    let (tls, accepted) = (Tls::new(&Carrier::Tls(server_config())).expect("TLS"), TcpStream::from_std(accepted));
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut client = StreamOwned::new(client, socket);
    let shakes = thread::spawn(move || {
        client.sock.write_all(preface).expect("room");
        client.write_all(b"hello").expect("the server answers");
        client
    });
    let (mut heard, mut buffer) = (Vec::new(), [0; 16]);
    while heard.len() < preface.len() + 5 {
        match tls.read(&accepted, &mut buffer) {
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        thread::sleep(Duration::from_millis(1));
    }
    (tls, accepted, shakes.join().expect("a client"), heard)
}

#[test]
fn the_end_is_seen_behind_the_last_bytes_though_the_socket_stays_open() {
    let (tls, socket, mut client) = pair();
    client.conn.writer().write_all(b"last").expect("room");
    client.conn.send_close_notify();
    while client.conn.wants_write() {
        client.conn.write_tls(&mut client.sock).expect("room");
    }
    let mut buffer = [0; 16];
    let count = loop {
        match tls.read(&socket, &mut buffer) {
            Ok(count) => break count,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        thread::sleep(Duration::from_millis(1));
    };
    assert_eq!((&buffer[..count], tls.is_over()), (b"last".as_slice(), true));
    assert_eq!(tls.read(&socket, &mut buffer).expect("the end"), 0);
}

#[test]
fn a_proxy_may_say_who_the_client_is_in_front_of_tls() {
    let preface = b"PROXY TCP4 192.0.2.1 192.0.2.2 51000 443\r\n";
    let (.., heard) = pair_behind(preface);
    assert_eq!(heard, [preface.as_slice(), b"hello"].concat());
}

#[test]
fn what_does_not_fit_into_the_socket_does_not_count_as_written() {
    for size in [1, 2, 1000, 20_000, 100_000] {
        let (tls, socket, mut client) = pair();
        // Small writes take long to fill the socket.
        let filling = vec![7; 20_000];
        let mut sent: Vec<u8> = Vec::new();
        let mut offer = |bytes: &[u8]| match tls.write(&socket, &[IoSlice::new(bytes)]) {
            Ok(0) => panic!("nothing written is an error"),
            Ok(count) => {
                assert!(count < bytes.len() || !tls.is_full(), "{size}: all is written, and some of it is not");
                sent.extend_from_slice(&bytes[..count]);
                count
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                0
            }
        };
        let taken = loop {
            match offer(&filling) {
                count if count < filling.len() => break count,
                _ => {}
            }
        };
        let last: Vec<u8> = (0..size).map(|number: u32| number as u8).collect();
        let last = [&filling[taken..], &last].concat();
        let reads = thread::spawn(move || {
            let mut all = Vec::new();
            client.read_to_end(&mut all).expect("an end that is told");
            all
        });
        let mut rest = &last[..];
        while !rest.is_empty() {
            rest = &rest[offer(rest)..];
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!tls.is_full());
        tls.end(&socket);
        drop(socket);
        assert!(reads.join().expect("a client") == sent, "{size}");
    }
}
