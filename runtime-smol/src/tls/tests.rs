use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
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
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn server_config() -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    Arc::new(config.expect("they belong together"))
}

type Client = StreamOwned<ClientConnection, std::net::TcpStream>;

/// The server's side of a connection, with a thread that computes handshakes until this is dropped.
struct Side {
    tls: Tls,
    socket: TcpStream,
    openings: Arc<Openings>,
}

impl Side {
    fn new(socket: std::net::TcpStream) -> Self {
        socket.set_nonblocking(true).expect("a socket");
        let openings = Arc::new(Openings::default());
        let computing = openings.clone();
        thread::spawn(move || computing.run());
        let tls = Tls::new(&Carrier::Tls(server_config())).expect("TLS");
        Side { tls, socket: TcpStream::from_std(socket), openings }
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tls.read(&self.socket, buffer, Ipv4Addr::LOCALHOST.into(), &self.openings, Waker::noop())
    }

    /// Reads until something arrives; returns that, or an error.
    fn wait(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing comes");
            match self.read(buffer) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    thread::sleep(Duration::from_millis(1));
                }
                read => return read,
            }
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.openings.close();
    }
}

fn client_connection() -> ClientConnection {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a client")
}

/// A connection after its handshake, and the client's side of it.
fn pair() -> (Side, Client) {
    let (side, client, heard) = pair_behind(b"");
    assert_eq!(heard, b"hello");
    (side, client)
}

/// The same after a proxy's header, with all bytes that the server has received.
fn pair_behind(preface: &'static [u8]) -> (Side, Client, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let socket = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
    let (accepted, _) = listener.accept().expect("a connection");
    let side = Side::new(accepted);
    let mut client = StreamOwned::new(client_connection(), socket);
    let shakes = thread::spawn(move || {
        client.sock.write_all(preface).expect("room");
        client.write_all(b"hello").expect("the server answers");
        client
    });
    let (mut heard, mut buffer) = (Vec::new(), [0; 16]);
    while heard.len() < preface.len() + 5 {
        let count = side.wait(&mut buffer).expect("a client that is well");
        heard.extend_from_slice(&buffer[..count]);
    }
    (side, shakes.join().expect("a client"), heard)
}

#[test]
fn the_end_is_seen_behind_the_last_bytes_though_the_socket_stays_open() {
    let (side, mut client) = pair();
    client.conn.writer().write_all(b"last").expect("room");
    client.conn.send_close_notify();
    while client.conn.wants_write() {
        client.conn.write_tls(&mut client.sock).expect("room");
    }
    let mut buffer = [0; 16];
    let count = side.wait(&mut buffer).expect("the last bytes");
    assert_eq!((&buffer[..count], side.tls.has_more()), (b"last".as_slice(), true));
    assert_eq!(side.read(&mut buffer).expect("the end"), 0);
}

#[test]
fn a_proxy_header_may_name_the_client_in_front_of_tls() {
    let preface = b"PROXY TCP4 192.0.2.1 192.0.2.2 51000 443\r\n";
    let (.., heard) = pair_behind(preface);
    assert_eq!(heard, [preface.as_slice(), b"hello"].concat());
}

/// Those bytes are no longer in the socket when the turn ends after them.
#[test]
fn what_a_proxy_said_is_not_lost_where_a_turn_ends_behind_it() {
    let preface = b"PROXY TCP4 192.0.2.1 192.0.2.2 51000 443\r\n";
    let mut hello = Vec::new();
    let mut connection = client_connection();
    connection.write_tls(&mut hello).expect("it is memory");
    // One byte, half of a ClientHello, and all of it, which is computed on another thread.
    for length in [1, hello.len() / 2, hello.len()] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut socket = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
        let side = Side::new(listener.accept().expect("a connection").0);
        let sent = [preface.as_slice(), &hello[..length]].concat();
        socket.write_all(&sent).expect("room");
        let mut buffer = [0; 4096];
        while side.socket.peek(&mut buffer).unwrap_or(0) < sent.len() {
            thread::sleep(Duration::from_millis(1));
        }
        let count = side.read(&mut buffer).expect("what the proxy said");
        assert_eq!(&buffer[..count], preface, "before {length} bytes");
        let next = side.read(&mut buffer).expect_err("nothing is whole");
        assert!(matches!(next.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted), "{next}");
    }
}

/// A connection to a listener for TLS, on which a peer has sent `sent`.
fn side_that_was_sent(sent: &[u8]) -> Side {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut socket = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
    let side = Side::new(listener.accept().expect("a connection").0);
    socket.write_all(sent).expect("room");
    while side.socket.peek(&mut [0; 4096]).unwrap_or(0) < sent.len() {
        thread::sleep(Duration::from_millis(1));
    }
    side
}

/// The core refuses it, and needs the bytes to do so.
#[test]
fn what_only_looks_like_a_proxys_header_is_left_to_the_core() {
    for sent in [&b"PUT / HTTP/1.1\r\n\r\n"[..], b"\r\n\r\nGET", &[0xf3, 0xff, 0xff, 22, 3, 1], &[b'P'; 300]] {
        let side = side_that_was_sent(sent);
        let (mut heard, mut buffer) = (Vec::new(), [0; 16]);
        while heard.len() < sent.len() {
            let count = side.read(&mut buffer).expect("bytes that are there");
            heard.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(heard, sent);
    }
}

#[test]
fn there_is_one_header_of_a_proxy_at_most() {
    let preface = b"PROXY TCP4 192.0.2.1 192.0.2.2 51000 443\r\n";
    let side = side_that_was_sent(&[&preface[..], preface].concat());
    let mut buffer = [0; 4096];
    let count = side.read(&mut buffer).expect("what the proxy said");
    assert_eq!(&buffer[..count], preface);
    let error = side.wait(&mut buffer).expect_err("only TLS may follow");
    assert_eq!(reason(&error).map(|reason| reason.name()), Some("tls_error"), "{error}");
}

#[test]
fn the_client_of_a_proxy_is_known_before_its_handshake_is_computed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut client = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
    let side = Side::new(listener.accept().expect("a connection").0);
    let preface = b"PROXY TCP4 192.0.2.1 192.0.2.2 51000 443\r\n";
    client.write_all(&[preface.as_slice(), &[FIRST_OF_TLS, 3, 1, 0, 100, 1]].concat()).expect("room");
    // All of it is there.
    while !side.socket.peek(&mut [0; 64]).is_ok_and(|count| count == preface.len() + 6) {
        thread::yield_now();
    }
    let mut buffer = [0; 512];
    let count = side.wait(&mut buffer).expect("what the proxy says");
    assert_eq!(&buffer[..count], preface);
    assert!(matches!(&*side.tls.state(), State::Undecided(_)), "its turn is that of the client behind the proxy");
    assert!(side.tls.has_more(), "the socket has no further event for it");
    let next = side.read(&mut buffer).expect_err("no content yet");
    assert!(next.kind() == io::ErrorKind::WouldBlock && !side.tls.has_more(), "{next}");
}

#[test]
fn what_does_not_fit_into_the_socket_does_not_count_as_written() {
    for size in [1, 2, 1000, 20_000, 100_000] {
        let (side, mut client) = pair();
        let (tls, socket) = (&side.tls, &side.socket);
        // Small writes take long to fill the socket.
        let filling = vec![7; 20_000];
        let mut sent: Vec<u8> = Vec::new();
        let mut offer = |bytes: &[u8]| match tls.write(socket, &mut [IoSlice::new(bytes)]) {
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
            client.read_to_end(&mut all).expect("the closing alert");
            all
        });
        let mut rest = &last[..];
        while !rest.is_empty() {
            rest = &rest[offer(rest)..];
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!tls.is_full());
        tls.end(socket);
        drop(side);
        assert!(reads.join().expect("a client") == sent, "{size}");
    }
}

/// The lengths of records that are longer than this, until so many bytes have come in these. Sessions' tickets are shorter.
fn long_records(socket: &mut std::net::TcpStream, longer: usize, bytes: usize) -> Vec<usize> {
    let mut lengths = Vec::new();
    while lengths.iter().sum::<usize>() < bytes {
        let mut head = [0; 5];
        socket.read_exact(&mut head).expect("a record");
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        socket.read_exact(&mut vec![0; length]).expect("all of it");
        lengths.extend(Some(length).filter(|length| *length > longer));
    }
    lengths
}

#[test]
fn slices_share_records() {
    let (side, mut client) = pair();
    let slice = [7; 700];
    let mut slices = [IoSlice::new(&slice); 64];
    let all = slices.len() * slice.len();
    assert_eq!(side.tls.write(&side.socket, &mut slices).expect("there is room"), all);
    assert!(!side.tls.is_full());
    // Each record has a byte for its type and a tag.
    let (full, more) = (TAKEN, 17);
    let expected = [full + more, full + more, all - 2 * full + more];
    assert_eq!(long_records(&mut client.sock, 600, all), expected);
}

/// The client updates its keys until it has sent `bytes` bytes, and sends `content` after every thirty-two updates.
/// Stops with an error when the server closes the connection.
fn change_keys(client: &mut Client, bytes: usize, content: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes {
        for _ in 0..32 {
            client.conn.refresh_traffic_keys().map_err(io::Error::other)?;
            while client.conn.wants_write() {
                sent += client.conn.write_tls(&mut client.sock)?;
            }
        }
        client.conn.writer().write_all(content)?;
        while client.conn.wants_write() {
            sent += client.conn.write_tls(&mut client.sock)?;
        }
    }
    Ok(())
}

#[test]
fn a_turn_ends_before_the_socket_is_empty_whatever_the_records_bring() {
    let (side, mut client) = pair();
    // All of it is there at once. The content accounts for all bytes before it.
    let content = [7; 64];
    change_keys(&mut client, 3 * TURN, &content).expect("the system's buffers hold it");
    let mut buffer = vec![0; 64 << 10];
    let (mut turns, mut taken) = (0, 0);
    loop {
        match side.read(&mut buffer) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
        turns += 1;
        assert!(
            side.tls.has_more() || side.socket.peek(&mut [0]).is_err(),
            "the socket has no further event for the rest"
        );
    }
    assert!(turns > 2, "{turns}");
    assert!(taken > 0 && taken % content.len() == 0, "{taken} bytes of content");
}

#[test]
fn records_that_bring_nothing_end_the_connection() {
    let (side, mut client) = pair();
    let sends = thread::spawn(move || change_keys(&mut client, 64 * WITHOUT_CONTENT, b"x"));
    let (mut buffer, mut content) = (vec![0; 64 << 10], 0);
    let error = loop {
        match side.wait(&mut buffer) {
            Ok(count) => content += count,
            Err(error) => break error,
        }
    };
    assert_eq!(reason(&error).map(|reason| reason.name()), Some("tls_without_content"), "{error}");
    // One byte of content in about nine hundred.
    assert!(content < 2 * WITHOUT_CONTENT / 800, "{content}");
    drop(side);
    assert!(sends.join().expect("it ends").is_err(), "the connection is gone");
}

#[test]
fn content_in_the_smallest_records_is_content() {
    let (side, mut client) = pair();
    let sends = thread::spawn(move || {
        for _ in 0..WITHOUT_CONTENT / 8 {
            client.write_all(b"x").expect("it is taken");
        }
        client
    });
    let (mut buffer, mut content) = ([0; 512], 0);
    while content < WITHOUT_CONTENT / 8 {
        content += side.wait(&mut buffer).expect("nothing is wrong");
    }
    drop(sends.join().expect("it ends"));
}

#[test]
fn a_client_whose_handshake_is_too_long_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut client = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
    let side = Side::new(listener.accept().expect("a connection").0);
    // A message of 64 KiB that begins, in records of 16 KiB.
    let record = [&[22, 3, 1, 0x40, 0][..], &[1, 0, 0xff, 0xff], &[0; (16 << 10) - 4]].concat();
    client.write_all(&record).expect("room");
    client.write_all(&record[..]).expect("room");
    let error = side.wait(&mut [0; 512]).expect_err("that is too much");
    assert_eq!(reason(&error).map(|reason| reason.name()), Some("tls_beginning_too_long"), "{error}");
}
