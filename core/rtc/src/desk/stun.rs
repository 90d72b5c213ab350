//! The little of STUN (RFC 8489) that tells which peer a datagram is for.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::engine::Credentials;

/// Bytes of the header of a message.
const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0, 1];
const BINDING_ANSWER: [u8; 2] = [1, 1];
const USERNAME: u16 = 0x0006;
const INTEGRITY: u16 = 0x0008;
const PRIORITY: u16 = 0x0024;
const CONTROLLED: u16 = 0x8029;
const FINGERPRINT: u16 = 0x8028;
/// Bytes of an attribute with the integrity, and of one with the fingerprint.
const INTEGRITY_LENGTH: usize = 24;
const FINGERPRINT_LENGTH: usize = 8;

/// The server's name in a request of a peer, which says `server:client`. `None` if this is no such request. Whether it is
/// genuine is for the peer to check.
pub(super) fn name_of(bytes: &[u8]) -> Option<&str> {
    let (header, mut attributes) = bytes.split_at_checked(HEADER)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[..2] != BINDING_REQUEST || header[4..8] != COOKIE || length != attributes.len() {
        return None;
    }
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(..length)?;
        if u16::from_be_bytes([head[0], head[1]]) == USERNAME {
            return std::str::from_utf8(value).ok()?.split_once(':').map(|(server, _)| server);
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// The number of the request that a datagram is a good answer to, by what it says of itself.
pub(super) fn answered(bytes: &[u8]) -> Option<[u8; 12]> {
    let header = bytes.get(..HEADER)?;
    (header[..2] == BINDING_ANSWER && header[4..8] == COOKIE).then(|| header[8..].try_into().ok()).flatten()
}

/// True if a message shows the password (RFC 8489 §14.5).
pub(super) fn shows(bytes: &[u8], password: &str) -> bool {
    let Some((header, mut attributes)) = bytes.split_at_checked(HEADER) else { return false };
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let Some(value) = rest.get(..length) else { return false };
        if u16::from_be_bytes([head[0], head[1]]) == INTEGRITY {
            let before = bytes.len() - attributes.len();
            let counted = (before - HEADER + INTEGRITY_LENGTH) as u16;
            let parts = [&header[..2], &counted.to_be_bytes(), &header[4..], &bytes[HEADER..before]];
            return hmac(password, &parts).verify_slice(value).is_ok();
        }
        let Some(after) = rest.get(length.next_multiple_of(4)..) else { return false };
        attributes = after;
    }
    false
}

fn hmac(password: &str, parts: &[&[u8]]) -> Hmac<Sha1> {
    let mut mac = Hmac::<Sha1>::new_from_slice(password.as_bytes()).expect("an HMAC key may have any length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// The answer of a peer to a request of the server, which shows the password of the peer. `None` if this is no request.
pub(crate) fn answer(request: &[u8], password: &str) -> Option<Vec<u8>> {
    let header = request.get(..HEADER).filter(|header| header[..2] == BINDING_REQUEST && header[4..8] == COOKIE)?;
    let mut message = [&BINDING_ANSWER[..], &[0, 0], &header[4..]].concat();
    sign(&mut message, password);
    Some(message)
}

/// A request of this number to a peer, from the server of this name. Its answer shows that the peer is there.
pub(super) fn request(number: [u8; 12], local: &str, remote: &Credentials) -> Vec<u8> {
    let priority = (110_u32 << 24 | 0xFF_FF_FF).to_be_bytes();
    signed(number, local, remote, &[(PRIORITY, &priority), (CONTROLLED, &[0; 8])])
}

/// A request to `remote` that shows the password.
pub(super) fn signed(number: [u8; 12], local: &str, remote: &Credentials, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = [&BINDING_REQUEST[..], &[0, 0], &COOKIE, &number].concat();
    attribute(&mut message, USERNAME, format!("{}:{local}", remote.name).as_bytes());
    for (kind, value) in attributes {
        attribute(&mut message, *kind, value);
    }
    sign(&mut message, &remote.password);
    message
}

/// Adds the integrity and the fingerprint. Both cover a length that counts them.
fn sign(message: &mut Vec<u8>, password: &str) {
    set_length(message, INTEGRITY_LENGTH);
    let integrity: [u8; 20] = hmac(password, &[message]).finalize().into_bytes().into();
    attribute(message, INTEGRITY, &integrity);
    set_length(message, FINGERPRINT_LENGTH);
    let fingerprint = crc32(message) ^ 0x5354_554E;
    attribute(message, FINGERPRINT, &fingerprint.to_be_bytes());
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&(value.len() as u16).to_be_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn set_length(message: &mut [u8], more: usize) {
    let length = (message.len() - HEADER + more) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

/// That of Ethernet (ITU-T V.42).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xEDB8_8320 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: [u8; 2], cookie: [u8; 4], name: &[u8]) -> Vec<u8> {
        let mut attributes = vec![0x80, 0x22, 0, 3, 1, 2, 3, 0];
        attributes.extend_from_slice(&[0, 6, 0, name.len() as u8]);
        attributes.extend_from_slice(name);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
        let length = (attributes.len() as u16).to_be_bytes();
        [&kind[..], &length, &cookie, &[9; 12], &attributes].concat()
    }

    #[test]
    fn the_sum_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_request_of_the_server_is_no_longer_than_one_of_a_peer() {
        let remote = Credentials { name: "abcd".to_owned(), password: "p".repeat(24) };
        let request = super::request([7; 12], "0123456789abcdef", &remote);
        // RFC 8445 §7.2.2 has the same attributes in that of the peer, and one more if it nominates.
        assert!(request.len() <= 104, "{}", request.len());
        assert_eq!(name_of(&request), Some("abcd"));
    }

    #[test]
    fn an_answer_is_one_to_a_request_and_shows_the_password() {
        let remote = Credentials { name: "abcd".to_owned(), password: "p".repeat(24) };
        let request = super::request([7; 12], "0123456789abcdef", &remote);
        assert!(shows(&request, &remote.password) && answered(&request).is_none());
        let answer = super::answer(&request, &remote.password).expect("it is a request");
        assert_eq!(answered(&answer), Some([7; 12]));
        assert!(shows(&answer, &remote.password) && !shows(&answer, "another"));
        for cut in 0..answer.len() {
            assert!(cut >= HEADER + INTEGRITY_LENGTH || !shows(&answer[..cut], &remote.password), "{cut} bytes");
        }
        let mut other = answer.clone();
        other[19] ^= 1;
        assert!(!shows(&other, &remote.password), "it covers the number");
        assert!(super::answer(&answer, &remote.password).is_none());
    }

    #[test]
    fn a_request_says_which_session_it_is_for() {
        let whole = message(BINDING_REQUEST, COOKIE, b"server:cli");
        assert_eq!(name_of(&whole), Some("server"));
        for cut in 0..whole.len() {
            assert_eq!(name_of(&whole[..cut]), None, "{cut} bytes");
        }
        assert_eq!(name_of(&message([1, 1], COOKIE, b"server:cli")), None, "an answer");
        assert_eq!(name_of(&message(BINDING_REQUEST, [0; 4], b"server:cli")), None);
        assert_eq!(name_of(&message(BINDING_REQUEST, COOKIE, b"server")), None);
        assert_eq!(name_of(&message(BINDING_REQUEST, COOKIE, b"\xFF:cli")), None);
    }
}
