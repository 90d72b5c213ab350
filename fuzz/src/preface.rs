//! The header of a proxy.

use anabranch_core::preface::{MAX_PREFACE, Preface, PrefaceError, Prefaced};

use crate::cuts::Cuts;

/// How far the header went, and what it said; `None` while it is not over.
type End = Option<Result<(usize, Option<(std::net::IpAddr, u16)>), PrefaceError>>;

fn read(pieces: &[&[u8]]) -> End {
    let mut preface = Preface::default();
    let mut before = 0;
    for piece in pieces {
        match preface.read(piece) {
            Ok(Prefaced::NeedMore) => before += piece.len(),
            Ok(Prefaced::Done { consumed, client }) => {
                assert!(consumed <= piece.len());
                return Some(Ok((before + consumed, client)));
            }
            Err(error) => return Some(Err(error)),
        }
    }
    assert!(before <= MAX_PREFACE, "{before} bytes are kept");
    None
}

/// Cuts, then what a proxy sends.
pub fn run(mut input: &[u8]) {
    let cuts = Cuts::take(&mut input);
    let whole = read(&[input]);
    assert_eq!(read(&cuts.pieces(input)), whole, "cuts change nothing");
    if let Some(Ok((length, _))) = whole {
        assert!(length <= MAX_PREFACE);
        assert_eq!(read(&[&input[..length]]), if length == 0 { None } else { whole }, "nothing behind it counts");
    }
}
