//! Server and client handshake with each other, for any split of the input.

use proptest::prelude::*;

use super::{
    ClientHandshake, ClientHandshakeKind, HandshakeError, Kind, PACKET_LENGTH, Packet, Progress, S2Check,
    ServerHandshake, Status, VERSION,
    digest::{self, Scheme, Signer},
};

const SERVER_SEED: [u8; 32] = [0x51; 32];
const CLIENT_SEED: [u8; 32] = [0xc1; 32];
const SERVER_EPOCH: u32 = 0x0102_0304;
const CLIENT_EPOCH: u32 = 0x0506_0708;
const TRAILING: &[u8] = b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\0\x10\0";

fn server() -> ServerHandshake {
    ServerHandshake::new(SERVER_SEED, SERVER_EPOCH)
}

fn client(kind: ClientHandshakeKind) -> ClientHandshake {
    ClientHandshake::new(CLIENT_SEED, CLIENT_EPOCH, kind)
}

/// The result of feeding bytes to one side.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fed {
    out: Vec<u8>,
    trailing: Vec<u8>,
    error: Option<HandshakeError>,
}

/// Feeds the pieces in order and collects the bytes of each that the handshake does not consume.
fn feed<'a>(
    mut read: impl FnMut(&[u8], &mut Vec<u8>) -> Result<Progress, HandshakeError>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Fed {
    let mut fed = Fed::default();
    for piece in pieces {
        match read(piece, &mut fed.out) {
            Ok(Progress { consumed, status }) => {
                if status == Status::NeedMore {
                    assert_eq!(consumed, piece.len(), "bytes may remain only at the end");
                }
                fed.trailing.extend_from_slice(&piece[consumed..]);
            }
            Err(error) => {
                fed.error = Some(error);
                break;
            }
        }
    }
    fed
}

/// One complete handshake: all bytes of the client and all bytes of the server, each with trailing
/// bytes.
fn conversation(kind: ClientHandshakeKind) -> (Vec<u8>, Vec<u8>) {
    let (mut server, mut client) = (server(), client(kind));
    let (mut sent, mut answer) = (Vec::new(), Vec::new());
    client.start(&mut sent);
    let progress = server.read(&sent, &mut answer).expect("C0 is 3");
    assert_eq!(progress, Progress { consumed: 1 + PACKET_LENGTH, status: Status::NeedMore });
    let progress = client.read(&answer, &mut sent).expect("S0 is 3");
    assert_eq!(progress, Progress { consumed: 1 + 2 * PACKET_LENGTH, status: Status::Done });
    sent.extend_from_slice(TRAILING);
    answer.extend_from_slice(TRAILING);
    (sent, answer)
}

fn packet(bytes: &[u8], index: usize) -> &Packet {
    bytes[1 + index * PACKET_LENGTH..].first_chunk().expect("a whole packet")
}

#[test]
fn simple_pair() {
    let (sent, answer) = conversation(ClientHandshakeKind::Simple);
    let (c1, c2) = (packet(&sent, 0), packet(&sent, 1));
    let (s1, s2) = (packet(&answer, 0), packet(&answer, 1));
    assert_eq!((sent[0], answer[0]), (VERSION, VERSION));
    assert_eq!(c1[..8], [5, 6, 7, 8, 0, 0, 0, 0]);
    assert_eq!(s1[..8], [1, 2, 3, 4, 0, 0, 0, 0]);
    assert_eq!(s2, c1);
    assert_eq!(c2, s1);
    assert_ne!(s1[8..], c1[8..]);

    let mut client = client(ClientHandshakeKind::Simple);
    assert_eq!(feed(|piece, out| client.read(piece, out), [&answer[..]]).trailing, TRAILING);
    assert_eq!((client.kind(), client.s2()), (Some(Kind::Simple), Some(S2Check::Echo)));
}

#[test]
fn digest_pair() {
    let (sent, answer) = conversation(ClientHandshakeKind::Digest);
    let (c1, c2) = (packet(&sent, 0), packet(&sent, 1));
    let (s1, s2) = (packet(&answer, 0), packet(&answer, 1));
    assert_eq!(c1[..8], [5, 6, 7, 8, 0x80, 0, 7, 2]);
    assert_eq!(s1[..8], [1, 2, 3, 4, 4, 5, 0, 1]);
    let (scheme, c1_digest) = digest::find(Signer::Client, c1).expect("C1 is signed");
    assert_eq!(scheme, Scheme::DigestFirst);
    let (scheme, s1_digest) = digest::find(Signer::Server, s1).expect("S1 is signed");
    assert_eq!(scheme, Scheme::DigestFirst);
    assert!(digest::is_signed(Signer::Server, &c1_digest, s2));
    assert!(digest::is_signed(Signer::Client, &s1_digest, c2));

    let (mut server, mut client) = (server(), client(ClientHandshakeKind::Digest));
    assert_eq!(feed(|piece, out| client.read(piece, out), [&answer[..]]).trailing, TRAILING);
    assert_eq!(feed(|piece, out| server.read(piece, out), [&sent[..]]).trailing, TRAILING);
    let kind = Kind::Digest { scheme: Scheme::DigestFirst };
    assert_eq!((client.kind(), client.s2()), (Some(kind), Some(S2Check::Signature)));
    assert_eq!(server.kind(), Some(kind));
    assert_eq!(kind.to_string(), "digest (digest first)");
}

#[test]
fn the_server_answers_in_the_scheme_it_was_asked_in() {
    for scheme in Scheme::ALL {
        let mut c1 = [0x33; PACKET_LENGTH];
        let c1_digest = digest::sign(Signer::Client, scheme, &mut c1);
        let mut server = server();
        let answer = feed(|piece, out| server.read(piece, out), [&[VERSION][..], &c1]).out;
        assert_eq!(server.kind(), Some(Kind::Digest { scheme }));
        let found = digest::find(Signer::Server, packet(&answer, 0)).map(|(scheme, _)| scheme);
        assert_eq!(found, Some(scheme));
        assert!(digest::is_signed(Signer::Server, &c1_digest, packet(&answer, 1)));
    }
}

#[test]
fn a_digest_without_a_version_is_not_asked_for() {
    let mut c1 = [0x33; PACKET_LENGTH];
    c1[4..8].fill(0);
    digest::sign(Signer::Client, Scheme::DigestFirst, &mut c1);
    let mut server = server();
    let answer = feed(|piece, out| server.read(piece, out), [&[VERSION][..], &c1]).out;
    assert_eq!(server.kind(), Some(Kind::Simple));
    assert_eq!(packet(&answer, 1), &c1);
}

#[test]
fn a_digest_client_accepts_a_simple_server() {
    let mut client = client(ClientHandshakeKind::Digest);
    let mut sent = Vec::new();
    client.start(&mut sent);
    let c1 = *packet(&sent, 0);
    let s1 = [0x77; PACKET_LENGTH];
    let mut s2 = c1;
    s2[4..8].copy_from_slice(&[0, 0, 0, 9]); // the server's time of reading
    let fed = feed(|piece, out| client.read(piece, out), [&[VERSION][..], &s1, &s2, TRAILING]);
    assert_eq!(fed, Fed { out: s1.to_vec(), trailing: TRAILING.to_vec(), error: None });
    assert_eq!((client.kind(), client.s2()), (Some(Kind::Simple), Some(S2Check::Echo)));
}

#[test]
fn a_wrong_s2_is_reported_and_does_not_fail_the_client() {
    for kind in [ClientHandshakeKind::Simple, ClientHandshakeKind::Digest] {
        let (_, mut answer) = conversation(kind);
        answer[2 * PACKET_LENGTH] ^= 1; // the last byte of S2
        let mut client = client(kind);
        let fed = feed(|piece, out| client.read(piece, out), [&answer[..]]);
        assert_eq!(fed.error, None);
        assert_eq!(fed.trailing, TRAILING);
        assert_eq!(client.s2(), Some(S2Check::Mismatch));
    }
}

#[test]
fn c2_is_not_verified() {
    for kind in [ClientHandshakeKind::Simple, ClientHandshakeKind::Digest] {
        let (mut sent, _) = conversation(kind);
        sent[1 + PACKET_LENGTH..1 + 2 * PACKET_LENGTH].fill(0);
        let mut server = server();
        let fed = feed(|piece, out| server.read(piece, out), [&sent[..]]);
        assert_eq!((fed.error, fed.trailing), (None, TRAILING.to_vec()));
    }
}

#[test]
fn the_server_answers_with_the_last_byte_of_c1() {
    let (sent, _) = conversation(ClientHandshakeKind::Digest);
    let (mut server, mut out) = (server(), Vec::new());
    let progress = server.read(&sent[..PACKET_LENGTH], &mut out).expect("C0 is 3");
    assert_eq!(progress.status, Status::NeedMore);
    assert!(out.is_empty());
    let _ = server.read(&sent[PACKET_LENGTH..=PACKET_LENGTH], &mut out).expect("C0 is 3");
    assert_eq!(out.len(), 1 + 2 * PACKET_LENGTH);
}

#[test]
fn the_client_sends_c2_with_the_last_byte_of_s1() {
    let (_, answer) = conversation(ClientHandshakeKind::Digest);
    let (mut client, mut out) = (client(ClientHandshakeKind::Digest), Vec::new());
    client.start(&mut out);
    out.clear();
    let _ = client.read(&answer[..PACKET_LENGTH], &mut out).expect("S0 is 3");
    assert!(out.is_empty());
    let _ = client.read(&answer[PACKET_LENGTH..=PACKET_LENGTH], &mut out).expect("S0 is 3");
    assert_eq!(out.len(), PACKET_LENGTH);
    assert_eq!(client.s2(), None);
}

#[test]
fn nothing_is_consumed_or_sent_after_the_end() {
    let (sent, answer) = conversation(ClientHandshakeKind::Simple);
    let end = 1 + 2 * PACKET_LENGTH;
    let (mut server, mut client, mut out) = (server(), client(ClientHandshakeKind::Simple), Vec::new());
    let _ = server.read(&sent[..end], &mut out).expect("C0 is 3");
    let _ = client.read(&answer[..end], &mut out).expect("S0 is 3");
    out.clear();
    let done = Ok(Progress { consumed: 0, status: Status::Done });
    assert_eq!(server.read(b"abc", &mut out), done);
    assert_eq!(client.read(b"abc", &mut out), done);
    client.start(&mut out);
    assert!(out.is_empty());
}

#[test]
fn a_client_read_before_its_start_starts_it_once() {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let (mut early, mut usual) = (client(ClientHandshakeKind::Digest), client(ClientHandshakeKind::Digest));
    let progress = early.read(&[], &mut first).expect("no byte to refuse");
    assert_eq!(progress, Progress { consumed: 0, status: Status::NeedMore });
    early.start(&mut first);
    usual.start(&mut second);
    assert_eq!(first, second);
}

#[test]
fn a_client_names_what_the_server_speaks() {
    for (greeting, error) in [
        (&b"HTTP/1.1 400 Bad Request"[..], HandshakeError::Http),
        (&[0x15, 3, 1, 0, 2, 2, 70][..], HandshakeError::Tls),
        (&[6][..], HandshakeError::Encrypted(6)),
        (b"SSH-2.0", HandshakeError::Version(b'S')),
    ] {
        let mut client = client(ClientHandshakeKind::Simple);
        let mut out = Vec::new();
        assert_eq!(client.read(greeting, &mut out), Err(error));
        assert_eq!(client.read(&[VERSION], &mut out), Err(error));
    }
}

#[test]
fn every_two_piece_split_gives_the_same_bytes() {
    for kind in [ClientHandshakeKind::Simple, ClientHandshakeKind::Digest] {
        let (sent, answer) = conversation(kind);
        let expected_answer = answer[..1 + 2 * PACKET_LENGTH].to_vec();
        let (c0c1c2, _) = sent.split_at(1 + 2 * PACKET_LENGTH);
        for cut in 0..=sent.len() {
            let mut server = server();
            let (head, tail) = sent.split_at(cut);
            let fed = feed(|piece, out| server.read(piece, out), [head, tail]);
            assert_eq!(fed.out, expected_answer, "{kind:?}, cut at {cut}");
            assert_eq!(fed.trailing, TRAILING, "{kind:?}, cut at {cut}");

            let mut client = client(kind);
            let (head, tail) = answer.split_at(cut);
            let fed = feed(|piece, out| client.read(piece, out), [head, tail]);
            assert_eq!(fed.out, c0c1c2, "{kind:?}, cut at {cut}");
            assert_eq!(fed.trailing, TRAILING, "{kind:?}, cut at {cut}");
        }
    }
}

#[test]
fn one_byte_at_a_time_gives_the_same_bytes() {
    for kind in [ClientHandshakeKind::Simple, ClientHandshakeKind::Digest] {
        let (sent, answer) = conversation(kind);
        let end = 1 + 2 * PACKET_LENGTH;
        let (mut server, mut client) = (server(), client(kind));
        let fed = feed(|piece, out| server.read(piece, out), sent.chunks(1));
        assert_eq!(fed, Fed { out: answer[..end].to_vec(), trailing: TRAILING.to_vec(), error: None });
        let fed = feed(|piece, out| client.read(piece, out), answer.chunks(1));
        assert_eq!(fed, Fed { out: sent[..end].to_vec(), trailing: TRAILING.to_vec(), error: None });
    }
}

/// `bytes` split at each of `cuts`. The cuts may be in any order and repeat, so that some pieces are
/// empty.
fn cut<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(bytes.len());
    let mut start = 0;
    cuts.into_iter().map(|end| &bytes[std::mem::replace(&mut start, end)..end]).collect()
}

fn client_kind() -> impl Strategy<Value = ClientHandshakeKind> {
    prop_oneof![Just(ClientHandshakeKind::Simple), Just(ClientHandshakeKind::Digest)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_gives_the_same_bytes(
        kind in client_kind(),
        server_seed: [u8; 32],
        client_seed: [u8; 32],
        epochs: (u32, u32),
        trailing in proptest::collection::vec(any::<u8>(), 0..64),
        cuts in proptest::collection::vec(any::<usize>(), 0..24),
    ) {
        let new_server = || ServerHandshake::new(server_seed, epochs.0);
        let new_client = || ClientHandshake::new(client_seed, epochs.1, kind);

        let (mut server, mut client) = (new_server(), new_client());
        let (mut sent, mut answer) = (Vec::new(), Vec::new());
        client.start(&mut sent);
        let _ = server.read(&sent, &mut answer).expect("C0 is 3");
        let _ = client.read(&answer, &mut sent).expect("S0 is 3");
        let check = match kind {
            ClientHandshakeKind::Simple => S2Check::Echo,
            ClientHandshakeKind::Digest => S2Check::Signature,
        };
        prop_assert_eq!(client.s2(), Some(check));
        prop_assert_eq!(client.kind(), server.kind());

        let input = [&sent[..], &trailing].concat();
        let mut server = new_server();
        let fed = feed(|piece, out| server.read(piece, out), cut(&input, &cuts));
        prop_assert_eq!(fed, Fed { out: answer.clone(), trailing: trailing.clone(), error: None });

        let input = [&answer[..], &trailing].concat();
        let mut client = new_client();
        let fed = feed(|piece, out| client.read(piece, out), cut(&input, &cuts));
        prop_assert_eq!(fed, Fed { out: sent, trailing, error: None });
    }

    #[test]
    fn any_bytes_end_the_same_however_they_are_split(
        first in prop_oneof![Just(VERSION), any::<u8>()],
        rest in proptest::collection::vec(any::<u8>(), 0..3400),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let input = [&[first][..], &rest].concat();
        let (mut whole, mut split) = (server(), server());
        let expected = feed(|piece, out| whole.read(piece, out), [&input[..]]);
        let fed = feed(|piece, out| split.read(piece, out), cut(&input, &cuts));
        prop_assert_eq!(&fed, &expected);
        prop_assert_eq!(fed.error.is_none(), first == VERSION);
        prop_assert_eq!(whole.kind(), split.kind());

        let (mut whole, mut split) = (client(ClientHandshakeKind::Digest), client(ClientHandshakeKind::Digest));
        let expected = feed(|piece, out| whole.read(piece, out), [&input[..]]);
        let fed = feed(|piece, out| split.read(piece, out), cut(&input, &cuts));
        prop_assert_eq!(&fed, &expected);
        prop_assert_eq!(fed.error.is_none(), first == VERSION);
    }
}
