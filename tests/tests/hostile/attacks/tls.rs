//! TLS clients that cost the server more than they cost themselves.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use anabranch_tests::conformance::Target;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::cipher::{AeadKey, Iv, MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::crypto::tls13::OkmBlock;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ContentType, KeyLog, ProtocolVersion, RootCertStore, StreamOwned};
use rustls::{SupportedCipherSuite, Tls13CipherSuite};
use socket2::{Domain, Socket, Type};

use super::Attackers::Of;
use super::{Case, LONG, Memory};
use crate::arena::Arena;

/// How often an attacker comes back.
const ROUNDS: usize = 4;
/// Beginnings of each attacker of the flood, and how many of them are open at a time.
const BEGINNINGS: usize = 500;
const AT_ONCE: usize = 100;
/// Bytes: what the server takes without content, and what is on its way when it closes, are less.
const ENOUGH: usize = 32 << 20;

pub(crate) static CASES: &[Case] = &[
    Case::new(
        "tls_key_updates_with_empty_records_between",
        "64 KiB of records without content",
        Of(4, 4),
        Memory::Of(16, 256),
        &["tls_without_content"],
        |arena| arena.each(|target, _| (0..ROUNDS).for_each(|_| change_keys(target, &arena.roots))),
    )
    .with_settings(EC, "TLS"),
    Case::new(
        "a_flood_of_tls_beginnings",
        "threads that come behind those of media, 512 that wait",
        Of(4, 8),
        Memory::Of(48, 4 << 10),
        // Handshakes wait behind all other work: on a machine with much other work some wait for longer than a client has.
        &["peer_closed", "peer_lost", "tls_error", "tls_too_many_begin", "connect_timeout"],
        flood,
    )
    .with_settings(RSA, "TLS"),
    Case::new(
        "tls_that_begins_and_says_no_more",
        "SessionTimeouts::connect 10 s",
        Of(200, 2000),
        Memory::Of(8, 64),
        &["connect_timeout"],
        begin_and_wait,
    )
    .with_settings(EC, "TLS")
    .lasting(10.0),
];

const EC: &str =
    "[tls]\non_rtmp_ports = true\n[[tls.certificates]]\ncertificate = 'KEYS/ec.pem'\nkey = 'KEYS/ec.key'\n";
const RSA: &str =
    "[tls]\non_rtmp_ports = true\n[[tls.certificates]]\ncertificate = 'KEYS/rsa.pem'\nkey = 'KEYS/rsa.key'\n";

/// Keys that are changed thirty-two times, as often as may be without another record, an empty record, and so on.
fn change_keys(target: &Target, roots: &RootCertStore) {
    let secret = Arc::new(Secret::default());
    let mut socket = established(target, roots, secret.clone());
    let mut records = Records::new(secret.0.lock().expect("a secret").clone());
    let mut sent = 0;
    while sent < ENOUGH {
        let mut bytes = Vec::new();
        for _ in 0..32 {
            for _ in 0..32 {
                bytes.extend(records.change_keys());
            }
            bytes.extend(records.empty());
        }
        if socket.write_all(&bytes).is_err() {
            return;
        }
        sent += bytes.len();
    }
    panic!("{sent} bytes of records without content were taken");
}

/// Beginnings whose clients do not wait for them. In the middle of them a client comes from elsewhere, and is served.
fn flood(arena: &Arena) {
    let words = first_words(&arena.roots);
    arena.each(|target, attacker| {
        let mut open = VecDeque::new();
        for number in 0..BEGINNINGS {
            let mut socket = dial(target);
            // One that was closed already is as good.
            let _ = socket.write_all(&words);
            open.push_back(socket);
            if open.len() > AT_ONCE {
                open.pop_front();
            }
            if attacker == 0 && number == BEGINNINGS / 2 {
                drop(established_on(dial_from([127, 0, 0, 2], target), &arena.roots, Arc::default()));
            }
        }
    });
}

/// Nothing, half of a first record, the whole of it, and half of a record later: then silence.
fn begin_and_wait(arena: &Arena) {
    const ATTENDANTS: usize = 8;
    arena.several(ATTENDANTS, |target, attendant| {
        let open = (attendant..arena.attackers).step_by(ATTENDANTS).map(|number| {
            let mut socket = match number / ATTENDANTS % 4 {
                3 => established(target, &arena.roots, Arc::default()),
                _ => dial(target),
            };
            let words = first_words(&arena.roots);
            let words = match number / ATTENDANTS % 4 {
                0 => Vec::new(),
                1 => words[..words.len() / 2].to_vec(),
                2 => words,
                _ => [&[23, 3, 3, 0x40, 0][..], &[7; 8 << 10]].concat(),
            };
            socket.write_all(&words).expect("the server takes it");
            socket
        });
        let open: Vec<TcpStream> = open.collect();
        for mut socket in open {
            // However it ends.
            let _ = socket.read_to_end(&mut Vec::new());
        }
    });
}

fn dial(target: &Target) -> TcpStream {
    dial_from([127, 0, 0, 1], target)
}

fn dial_from(address: [u8; 4], target: &Target) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((address, 0)).into()).expect("the address is one of the loopback's");
    socket.connect(&target.address().into()).expect("the server accepts");
    let socket = TcpStream::from(socket);
    socket.set_nodelay(true).expect("a socket option");
    socket.set_read_timeout(Some(LONG)).expect("a socket option");
    socket.set_write_timeout(Some(LONG)).expect("a socket option");
    socket
}

/// The secret that a client's keys are made of.
#[derive(Debug, Default)]
struct Secret(Mutex<Vec<u8>>);

impl KeyLog for Secret {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == "CLIENT_TRAFFIC_SECRET_0" {
            *self.0.lock().expect("no test has failed") = secret.to_vec();
        }
    }
}

/// A client that speaks nothing but the suite of [`Records`].
fn client(roots: &RootCertStore, secret: Arc<Secret>) -> ClientConnection {
    let provider = rustls::crypto::CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256],
        ..aws_lc_rs::default_provider()
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
    let mut config = config.expect("there is TLS 1.3").with_root_certificates(roots.clone()).with_no_client_auth();
    config.key_log = secret;
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a client")
}

/// What a client says first.
fn first_words(roots: &RootCertStore) -> Vec<u8> {
    let mut bytes = Vec::new();
    client(roots, Arc::default()).write_tls(&mut bytes).expect("it is memory");
    bytes
}

/// A connection past its handshake.
fn established(target: &Target, roots: &RootCertStore, secret: Arc<Secret>) -> TcpStream {
    established_on(dial(target), roots, secret)
}

fn established_on(socket: TcpStream, roots: &RootCertStore, secret: Arc<Secret>) -> TcpStream {
    let mut stream = StreamOwned::new(client(roots, secret), socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).expect("the server answers");
    }
    stream.sock
}

/// Records as no library makes them.
struct Records {
    suite: &'static Tls13CipherSuite,
    secret: Vec<u8>,
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Records {
    /// With the first keys of a client.
    fn new(secret: Vec<u8>) -> Self {
        let SupportedCipherSuite::Tls13(suite) = aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256 else {
            unreachable!("it is of TLS 1.3");
        };
        let encrypter = encrypter(suite, &secret);
        Records { suite, secret, encrypter, sequence: 0 }
    }

    /// A KeyUpdate that asks for none (RFC 8446, section 4.6.3).
    fn change_keys(&mut self) -> Vec<u8> {
        let record = self.record(ContentType::Handshake, &[24, 0, 0, 1, 0]);
        let mut next = vec![0; self.secret.len()];
        expand(self.suite, &self.secret, b"traffic upd", &mut next);
        *self = Records { encrypter: encrypter(self.suite, &next), secret: next, suite: self.suite, sequence: 0 };
        record
    }

    fn empty(&mut self) -> Vec<u8> {
        self.record(ContentType::ApplicationData, &[])
    }

    fn record(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let plain =
            OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload: OutboundChunks::Single(payload) };
        let record = self.encrypter.encrypt(plain, self.sequence).expect("it is short");
        self.sequence += 1;
        record.encode()
    }
}

fn encrypter(suite: &Tls13CipherSuite, secret: &[u8]) -> Box<dyn MessageEncrypter> {
    let (mut key, mut iv) = ([0; 32], [0; 12]);
    expand(suite, secret, b"key", &mut key);
    expand(suite, secret, b"iv", &mut iv);
    suite.aead_alg.encrypter(AeadKey::from(key), Iv::new(iv))
}

/// HKDF-Expand-Label without context (RFC 8446, section 7.1).
fn expand(suite: &Tls13CipherSuite, secret: &[u8], label: &[u8], output: &mut [u8]) {
    let length = (output.len() as u16).to_be_bytes();
    let info: [&[u8]; 5] = [&length, &[6 + label.len() as u8], b"tls13 ", label, &[0]];
    let expander = suite.hkdf_provider.expander_for_okm(&OkmBlock::new(secret));
    expander.expand_slice(&info, output).unwrap_or_else(|_| panic!("{} bytes are too many", output.len()));
}
