//! Both halves of the handshake.

use anabranch_core::handshake::{
    ClientHandshake, ClientHandshakeKind, HandshakeError, Kind, Progress, S2Check, ServerHandshake, Status,
};

use crate::cuts::{Cuts, take_byte};

/// All that can be seen of one half.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    out: Vec<u8>,
    consumed: usize,
    end: Result<Status, HandshakeError>,
}

fn trace(pieces: &[&[u8]], mut read: impl FnMut(&[u8], &mut Vec<u8>) -> Result<Progress, HandshakeError>) -> Trace {
    let mut trace = Trace { out: Vec::new(), consumed: 0, end: Ok(Status::NeedMore) };
    for piece in pieces {
        match read(piece, &mut trace.out) {
            Ok(Progress { consumed, status }) => {
                assert!(consumed <= piece.len());
                assert!(status == Status::Done || consumed == piece.len(), "what is needed is taken");
                trace.consumed += consumed;
                trace.end = Ok(status);
            }
            Err(error) => {
                trace.end = Err(error.clone());
                assert_eq!(read(piece, &mut Vec::new()), Err(error), "an error is final");
            }
        }
    }
    trace
}

/// Cuts, then what a client sends.
pub fn server(mut input: &[u8]) {
    let cuts = Cuts::take(&mut input);
    let run = |pieces: &[&[u8]]| {
        let mut server = ServerHandshake::new([5; 32], 77);
        let trace = trace(pieces, |bytes, out| server.read(bytes, out));
        (trace, server.kind())
    };
    let (whole, kind) = run(&[input]);
    assert_eq!(run(&cuts.pieces(input)), (whole, kind), "cuts change nothing");
    let (whole, _) = run(&[input]);
    assert_eq!(whole.out.len(), if kind.is_some() { 3073 } else { 0 });
    assert_eq!(kind.is_some(), whole.end.is_ok() && input.len() >= 1537);
    assert!(whole.consumed <= 3073);

    // Whatever C1 was: our own client understands what a server like this says to its own.
    let seed = [input.first().copied().unwrap_or(0); 32];
    for asked in [ClientHandshakeKind::Simple, ClientHandshakeKind::Digest] {
        let (mut client, mut server) = (ClientHandshake::new(seed, 3, asked), ServerHandshake::new([6; 32], 4));
        let (mut up, mut down) = (Vec::new(), Vec::new());
        client.start(&mut up);
        let _ = server.read(&up, &mut down).expect("a client's hello");
        up.clear();
        assert_eq!(client.read(&down, &mut up).map(|progress| progress.status), Ok(Status::Done));
        assert_eq!(server.read(&up, &mut down).map(|progress| progress.status), Ok(Status::Done));
        match asked {
            ClientHandshakeKind::Simple => {
                assert_eq!((client.kind(), client.s2()), (Some(Kind::Simple), Some(S2Check::Echo)))
            }
            ClientHandshakeKind::Digest => assert_eq!(client.s2(), Some(S2Check::Signature)),
        }
    }
}

/// The form of the handshake, cuts, then what a server sends.
pub fn client(mut input: &[u8]) {
    let asked = if take_byte(&mut input) % 2 == 0 { ClientHandshakeKind::Simple } else { ClientHandshakeKind::Digest };
    let cuts = Cuts::take(&mut input);
    let run = |pieces: &[&[u8]]| {
        let mut client = ClientHandshake::new([8; 32], 99, asked);
        let mut hello = Vec::new();
        client.start(&mut hello);
        assert_eq!(hello.len(), 1537);
        let trace = trace(pieces, |bytes, out| client.read(bytes, out));
        (trace, client.kind(), client.s2())
    };
    let whole = run(&[input]);
    assert_eq!(run(&cuts.pieces(input)), whole, "cuts change nothing");
    let (trace, kind, s2) = whole;
    assert_eq!(trace.out.len(), if kind.is_some() { 1536 } else { 0 });
    assert_eq!(s2.is_some(), trace.end == Ok(Status::Done));
    assert!(trace.consumed <= 3073);
}
