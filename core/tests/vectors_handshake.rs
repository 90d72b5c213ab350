//! The handshake against the recorded and derived vectors, each by its id.

use anabranch_core::handshake::{
    ClientHandshake, ClientHandshakeKind, Kind, PACKET_LENGTH, Packet, Progress, S2Check, ServerHandshake, Status,
    VERSION,
    digest::{self, Digest, Scheme, Signer},
};
use serde_json::Value;

struct Vectors(Value);

impl Vectors {
    fn load() -> Self {
        Self(serde_json::from_str(include_str!("fixtures/vectors.json")).expect("the fixture is JSON"))
    }

    fn ids(&self, kind: &str) -> Vec<&str> {
        let all = self.0["vectors"].as_array().expect("a list of vectors");
        all.iter().filter(|vector| vector["kind"] == kind).filter_map(|vector| vector["id"].as_str()).collect()
    }

    fn vector(&self, id: &str) -> Vector<'_> {
        let all = self.0["vectors"].as_array().expect("a list of vectors");
        let found = all.iter().find(|vector| vector["id"] == id).unwrap_or_else(|| panic!("no vector {id}"));
        Vector { input: bytes(&found["input"]), expect: &found["expect"] }
    }
}

struct Vector<'a> {
    input: Vec<u8>,
    expect: &'a Value,
}

impl Vector<'_> {
    /// The packet that starts at `position` of the input.
    fn packet(&self, position: usize) -> &Packet {
        self.input[position..].first_chunk().expect("a whole packet")
    }

    fn digest(&self, field: &str) -> Digest {
        bytes(&self.expect[field]).try_into().expect("32 bytes")
    }

    fn position(&self, field: &str) -> usize {
        let number = self.expect[field].as_u64().expect("a number");
        usize::try_from(number).expect("a position in a packet")
    }
}

fn bytes(hex: &Value) -> Vec<u8> {
    hex::decode(hex.as_str().expect("a hex string")).expect("hex digits")
}

/// The server's answer to C0 C1, its S1, its S2, and the kind it reports.
fn answer(c0c1: &[u8]) -> (Packet, Packet, Kind) {
    let mut server = ServerHandshake::new([0x11; 32], 77);
    let mut out = Vec::new();
    let progress = server.read(c0c1, &mut out).expect("C0 is 3");
    assert_eq!(progress, Progress { consumed: c0c1.len(), status: Status::NeedMore });
    assert_eq!((out.len(), out[0]), (1 + 2 * PACKET_LENGTH, VERSION));
    let s1: Packet = *out[1..].first_chunk().expect("S1");
    let s2: Packet = *out.last_chunk().expect("S2");
    assert_eq!(s1[..4], 77u32.to_be_bytes());
    (s1, s2, server.kind().expect("C1 was read"))
}

fn check_signed_c1(id: &str, scheme: Scheme, digest_base: usize) {
    let vectors = Vectors::load();
    let vector = vectors.vector(id);
    let c1 = vector.packet(1);
    let c1_digest = vector.digest("digest");
    assert_eq!(vector.expect["valid"], true);
    assert_eq!(vector.expect["version"], vector.input[0]);
    assert_eq!(vector.position("digest_base"), digest_base);
    assert_eq!(scheme.digest_position(c1), vector.position("digest_offset"));
    assert_eq!(scheme.key_position(c1), vector.position("dh_offset"));
    assert_eq!(digest::digest(Signer::Client, scheme, c1), c1_digest);
    assert_eq!(digest::find(Signer::Client, c1), Some((scheme, c1_digest)));

    let mut unsigned = *c1;
    unsigned[scheme.digest_position(c1)..][..32].fill(0);
    assert_eq!(digest::sign(Signer::Client, scheme, &mut unsigned), c1_digest);
    assert_eq!(&unsigned, c1);

    let (s1, s2, kind) = answer(&vector.input);
    assert_eq!(kind, Kind::Digest { scheme });
    assert_eq!(s1[4..8], [4, 5, 0, 1]);
    let (s1_scheme, _) = digest::find(Signer::Server, &s1).expect("S1 is signed");
    assert_eq!(s1_scheme, scheme, "S1 must come in the scheme of C1");
    assert!(digest::is_signed(Signer::Server, &c1_digest, &s2));
}

fn check_simple_c1(id: &str) {
    let vectors = Vectors::load();
    let vector = vectors.vector(id);
    let c1 = vector.packet(1);
    assert_eq!(vector.expect["valid"], false);
    assert_eq!(vector.expect["version"], vector.input[0]);
    assert_eq!(digest::find(Signer::Client, c1), None);

    let (s1, s2, kind) = answer(&vector.input);
    assert_eq!(kind, Kind::Simple);
    assert_eq!(s1[4..8], [0; 4], "FFmpeg players would look for a digest");
    assert_eq!(&s2, c1);
}

#[test]
fn hs_c1_scheme1() {
    check_signed_c1("hs-c1-scheme1", Scheme::DigestFirst, 8);
}

#[test]
fn hs_c1_scheme0() {
    check_signed_c1("hs-c1-scheme0", Scheme::KeyFirst, 772);
}

#[test]
fn hs_c1_ffmpeg() {
    check_signed_c1("hs-c1-ffmpeg", Scheme::DigestFirst, 8);
    let vectors = Vectors::load();
    let vector = vectors.vector("hs-c1-ffmpeg");
    assert_eq!(vector.packet(1)[4..8], bytes(&vector.expect["client_version"]));
}

#[test]
fn hs_c1_badmac() {
    check_simple_c1("hs-c1-badmac");
    let vectors = Vectors::load();
    assert_ne!(vectors.vector("hs-c1-badmac").packet(1)[4..8], [0; 4], "it does ask for a digest");
}

#[test]
fn hs_c1_simple() {
    check_simple_c1("hs-c1-simple");
    let vectors = Vectors::load();
    let vector = vectors.vector("hs-c1-simple");
    let time = u32::from_be_bytes(*vector.packet(1).first_chunk().expect("four bytes"));
    assert_eq!(vector.expect["time"], time);
}

#[test]
fn hs_s1s2() {
    let vectors = Vectors::load();
    let vector = vectors.vector("hs-s1s2");
    let (s1, s2) = (vector.packet(0), vector.packet(PACKET_LENGTH));
    let s1_digest = vector.digest("s1_digest");
    assert_eq!(Scheme::DigestFirst.digest_position(s1), vector.position("s1_digest_offset"));
    assert_eq!(digest::digest(Signer::Server, Scheme::DigestFirst, s1), s1_digest);
    assert_eq!(digest::find(Signer::Server, s1), Some((Scheme::DigestFirst, s1_digest)));

    let c1_digest = vectors.vector("hs-c1-scheme1").digest("digest");
    assert_eq!(digest::signature_key(Signer::Server, &c1_digest), vector.digest("s2_key"));
    assert_eq!(digest::signature(Signer::Server, &c1_digest, s2), vector.digest("s2_signature"));
    assert!(digest::is_signed(Signer::Server, &c1_digest, s2));
    let mut filler = *s2;
    filler[PACKET_LENGTH - 32..].fill(0);
    assert_eq!(&digest::signed_answer(Signer::Server, &c1_digest, filler), s2);
}

#[test]
fn hs_s1s2_read_by_a_client() {
    let vectors = Vectors::load();
    let vector = vectors.vector("hs-s1s2");
    let input = [&[VERSION], &vector.input[..]].concat();

    let mut client = ClientHandshake::new([0x22; 32], 0, ClientHandshakeKind::Digest);
    let (mut hello, mut c2) = (Vec::new(), Vec::new());
    client.start(&mut hello);
    let progress = client.read(&input, &mut c2).expect("S0 is 3");
    assert_eq!(progress, Progress { consumed: input.len(), status: Status::Done });
    assert_eq!(client.kind(), Some(Kind::Digest { scheme: Scheme::DigestFirst }));
    assert_eq!(client.s2(), Some(S2Check::Mismatch), "the S2 answers another client's C1");
    let c2: Packet = c2.try_into().expect("C2 and nothing else");
    assert!(digest::is_signed(Signer::Client, &vector.digest("s1_digest"), &c2));
}

#[test]
fn hs_c2() {
    let vectors = Vectors::load();
    let vector = vectors.vector("hs-c2");
    let c2 = vector.packet(0);
    let s1_digest = vectors.vector("hs-s1s2").digest("s1_digest");
    assert_eq!(vector.expect["valid"], true);
    assert_eq!(digest::signature_key(Signer::Client, &s1_digest), vector.digest("c2_key"));
    assert_eq!(digest::signature(Signer::Client, &s1_digest, c2), vector.digest("c2_signature"));
    assert!(digest::is_signed(Signer::Client, &s1_digest, c2));
    let mut filler = *c2;
    filler[PACKET_LENGTH - 32..].fill(0);
    assert_eq!(&digest::signed_answer(Signer::Client, &s1_digest, filler), c2);
}

#[test]
fn hs_c2_ends_the_handshake() {
    let vectors = Vectors::load();
    let mut input = vectors.vector("hs-c1-scheme1").input;
    input.extend(vectors.vector("hs-c2").input);
    let end = input.len();
    input.extend_from_slice(b"chunks");
    let mut server = ServerHandshake::new([0x11; 32], 77);
    let progress = server.read(&input, &mut Vec::new()).expect("C0 is 3");
    assert_eq!(progress, Progress { consumed: end, status: Status::Done });
}

/// A vector that is added to the fixture must get a test here.
#[test]
fn every_handshake_vector_has_a_test() {
    let vectors = Vectors::load();
    assert_eq!(vectors.ids("c0c1"), ["hs-c1-scheme1", "hs-c1-scheme0", "hs-c1-badmac", "hs-c1-simple", "hs-c1-ffmpeg"]);
    assert_eq!(vectors.ids("s1s2"), ["hs-s1s2"]);
    assert_eq!(vectors.ids("c2"), ["hs-c2"]);
}
