use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

/// Feeds the pieces in order and returns the result of the last one.
fn read(bytes: &[u8], cuts: &[usize]) -> (Result<Prefaced, PrefaceError>, usize) {
    let mut preface = Preface::default();
    let mut at = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        match preface.read(&bytes[at..cut]) {
            Ok(Prefaced::NeedMore) => at = cut,
            Ok(Prefaced::Done { consumed, client }) => return (Ok(Prefaced::Done { consumed, client }), at + consumed),
            error => return (error, at),
        }
    }
    (Ok(Prefaced::NeedMore), at)
}

fn client(bytes: &[u8]) -> Option<(String, u16)> {
    match read(bytes, &[]).0 {
        Ok(Prefaced::Done { client, .. }) => client.map(|(address, port)| (address.to_string(), port)),
        other => panic!("{other:?}"),
    }
}

fn samples() -> Vec<Vec<u8>> {
    let version_2 = |command: u8, family: u8, body: &[u8]| {
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        bytes.extend_from_slice(&[command, family, 0, body.len() as u8]);
        bytes.extend_from_slice(body);
        bytes
    };
    let mut v6 = [0; 36];
    v6[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
    v6[32..34].copy_from_slice(&[0x30, 0x39]);
    let mut mapped = v6;
    mapped[..16].copy_from_slice(&Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().octets());
    vec![
        b"PROXY TCP4 192.0.2.7 192.0.2.1 51000 1935\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::7 2001:db8::1 51000 1935\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        version_2(0x21, 0x11, &[192, 0, 2, 7, 192, 0, 2, 1, 0x30, 0x39, 7, 0x8f, 4, 0, 1, 9]),
        version_2(0x21, 0x21, &v6),
        version_2(0x20, 0, &[]),
        version_2(0x21, 0x21, &mapped),
        b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 51000 1935\r\n".to_vec(),
        vec![0xf3, 0, 4, 192, 0, 2, 7],
        vec![0xf3, 0, 0],
        vec![],
    ]
}

#[test]
fn each_form_names_its_client() {
    let found: Vec<_> = samples().iter().map(|bytes| client(&[bytes.as_slice(), &[3]].concat())).collect();
    let some = |address: &str, port| Some((address.to_owned(), port));
    assert_eq!(
        found,
        [
            some("192.0.2.7", 51000),
            some("2001:db8::7", 51000),
            None,
            some("192.0.2.7", 12345),
            some("2001:db8::", 12345),
            None,
            some("192.0.2.7", 12345),
            some("192.0.2.7", 51000),
            some("192.0.2.7", 0),
            None,
            None,
        ]
    );
}

#[test]
fn what_follows_is_left_wherever_the_bytes_are_cut() {
    for sample in samples() {
        let bytes = [sample.as_slice(), &[3, 1, 2, 3]].concat();
        for cut in 0..=bytes.len() {
            let (result, consumed) = read(&bytes, &[cut.min(sample.len())]);
            assert!(matches!(result, Ok(Prefaced::Done { .. })), "{sample:?} cut at {cut}");
            assert_eq!(consumed, sample.len(), "{sample:?} cut at {cut}");
        }
        let every: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(read(&bytes, &every).1, sample.len());
    }
}

#[test]
fn what_is_too_long_or_malformed_is_refused() {
    let refused = |bytes: &[u8]| read(bytes, &[]).0.is_err();
    assert!(refused(&[b"PROXY TCP4 ".as_slice(), &[b'1'; 120]].concat()));
    assert!(refused(b"PROXY TCP4 here there 1 2\r\n"));
    assert!(refused(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n"));
    assert!(refused(b"PUT / HTTP/1.1\r\n"));
    assert!(refused(b"\r\nGET"));
    assert!(refused(&[0xf3, 4, 1]));
    assert!(refused(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"));
    assert!(refused(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x02ab"));
    assert!(refused(b"\r\n\r\n\0\r\nQUIT\n\x11\x11\x00\x00"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_hold_more_than_its_limit(pieces: Vec<Vec<u8>>, first in 0usize..4) {
        let mut preface = Preface::default();
        let heads: [&[u8]; 4] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n", &[0xf3], &[]];
        let mut state = preface.read(heads[first]);
        for piece in pieces {
            if !matches!(state, Ok(Prefaced::NeedMore)) {
                break;
            }
            state = preface.read(&piece);
            prop_assert!(preface.held.len() <= MAX_PREFACE + 1);
        }
    }
}
