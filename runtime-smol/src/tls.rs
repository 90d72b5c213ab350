use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch_host::Carrier;
use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};

use crate::transport::Written;

/// With this byte TLS begins: the type of a record that opens a connection (RFC 8446, section 5.1).
const FIRST_OF_TLS: u8 = 22;
/// Bytes that may wait, encrypted, for a socket that is full: what is taken further counts as written.
const TAKEN: usize = 32 << 10;

/// A connection that is carried in TLS, or may turn out to be.
#[derive(Debug)]
pub(crate) struct Tls {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Undecided(Arc<ServerConfig>),
    Plain,
    /// `None` if the library made none of it.
    Encrypted(Option<Box<Encrypted>>),
}

#[derive(Debug)]
struct Encrypted {
    connection: ServerConnection,
    /// True if the first byte of the next write was taken already. It counts as written once all before it is: what
    /// waits here would be waited for by nobody.
    ahead: bool,
    /// True once there is nothing more to read.
    over: bool,
}

impl Tls {
    /// `None` if there is nothing to do.
    pub(crate) fn new(carrier: &Carrier) -> Option<Self> {
        let state = match carrier {
            Carrier::Tls(config) => State::encrypted(config.clone()),
            Carrier::Either(config) => State::Undecided(config.clone()),
            _ => return None,
        };
        Some(Tls { state: Mutex::new(state) })
    }

    /// Reads until the buffer is full or there is no more.
    pub(crate) fn read(&self, mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        if let State::Undecided(config) = &*state {
            let mut first = [0];
            match socket.peek(&mut first)? {
                0 => return Ok(0),
                _ if first[0] == FIRST_OF_TLS => *state = State::encrypted(config.clone()),
                _ => *state = State::Plain,
            }
        }
        match &mut *state {
            State::Encrypted(Some(encrypted)) => encrypted.read(socket, buffer),
            State::Encrypted(None) => Err(unusable()),
            _ => socket.read(buffer),
        }
    }

    /// Takes what fits, and writes it as far as the socket has room: the rest is for [`flush`](Self::flush). While there
    /// is a rest, less is taken than is offered.
    pub(crate) fn write(&self, mut socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut *self.state() {
            State::Encrypted(Some(encrypted)) => encrypted.write(socket, slices),
            State::Encrypted(None) => Err(unusable()),
            _ => socket.write_vectored(slices),
        }
    }

    pub(crate) fn flush(&self, socket: &TcpStream) -> io::Result<Written> {
        match &mut *self.state() {
            State::Encrypted(Some(encrypted)) => flush(&mut encrypted.connection, socket),
            _ => Ok(Written::All),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        matches!(&*self.state(), State::Encrypted(Some(encrypted)) if encrypted.connection.wants_write())
    }

    /// True once the peer has ended its side, which its socket need not show.
    pub(crate) fn is_over(&self) -> bool {
        matches!(&*self.state(), State::Encrypted(Some(encrypted)) if encrypted.over)
    }

    /// Tells the peer that this is the end and not a cut, if the socket has room for it.
    pub(crate) fn end(&self, socket: &TcpStream) {
        if let State::Encrypted(Some(encrypted)) = &mut *self.state() {
            encrypted.connection.send_close_notify();
            // A peer that is gone does not miss it.
            let _ = flush(&mut encrypted.connection, socket);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn encrypted(config: Arc<ServerConfig>) -> Self {
        let connection = ServerConnection::new(config).map(|mut connection| {
            connection.set_buffer_limit(Some(TAKEN));
            Box::new(Encrypted { connection, ahead: false, over: false })
        });
        State::Encrypted(connection.ok())
    }
}

impl Encrypted {
    fn read(&mut self, mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        let Encrypted { connection, over, .. } = self;
        let mut taken = 0;
        loop {
            match connection.reader().read(&mut buffer[taken..]) {
                // The peer has said that this is the end; or it has gone without a word, as most do.
                Ok(0) => {
                    *over = true;
                    return Ok(taken);
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    *over = true;
                    return Ok(taken);
                }
                Ok(count) => {
                    taken += count;
                    if taken == buffer.len() {
                        return Ok(taken);
                    }
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) => match connection.read_tls(&mut socket) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) if taken > 0 => return Ok(taken),
                    Err(error) => return Err(error),
                    Ok(_) => {
                        let processed = connection.process_new_packets();
                        // Its part of the beginning, or what it has to say about an error.
                        let flushed = flush(connection, socket);
                        processed
                            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {error}")))?;
                        flushed?;
                    }
                },
            }
        }
    }

    fn write(&mut self, socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Encrypted { connection, ahead, .. } = self;
        let mut taken = 0;
        'slices: for slice in slices {
            let mut rest = &slice[..];
            while !rest.is_empty() {
                // One that is full takes no more before that is gone.
                if flush(connection, socket)? == Written::Full {
                    break 'slices;
                }
                let count = if *ahead { 1 } else { connection.writer().write(&rest[..rest.len().min(TAKEN)])? };
                if count == 0 {
                    return Ok(taken);
                }
                *ahead = false;
                taken += count;
                rest = &rest[count..];
            }
        }
        if taken > 0 && flush(connection, socket)? == Written::Full {
            *ahead = true;
            taken -= 1;
        }
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }
}

fn flush(connection: &mut ServerConnection, mut socket: &TcpStream) -> io::Result<Written> {
    while connection.wants_write() {
        match connection.write_tls(&mut socket) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Full),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Written::All)
}

fn unusable() -> io::Error {
    io::Error::other("TLS is not set up")
}

#[cfg(test)]
mod tests {
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
            client.write_all(b"hello").expect("the server answers");
            client
        });
        let (mut heard, mut buffer) = (0, [0; 16]);
        while heard < 5 {
            match tls.read(&accepted, &mut buffer) {
                Ok(count) => heard += count,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            thread::sleep(Duration::from_millis(1));
        }
        (tls, accepted, shakes.join().expect("a client"))
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
}
