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

/// True if a datagram is a good answer to the request of this number.
pub(super) fn answers(bytes: &[u8], number: [u8; 12]) -> bool {
    let header = bytes.get(..HEADER);
    header.is_some_and(|header| header[..2] == BINDING_ANSWER && header[4..8] == COOKIE && header[8..] == number)
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
    // Both cover a length that counts them.
    set_length(&mut message, INTEGRITY_LENGTH);
    let mut mac = Hmac::<Sha1>::new_from_slice(remote.password.as_bytes()).expect("an HMAC key may have any length");
    mac.update(&message);
    let integrity: [u8; 20] = mac.finalize().into_bytes().into();
    attribute(&mut message, INTEGRITY, &integrity);
    set_length(&mut message, FINGERPRINT_LENGTH);
    let fingerprint = crc32(&message) ^ 0x5354_554E;
    attribute(&mut message, FINGERPRINT, &fingerprint.to_be_bytes());
    message
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
        let mut answer = [&[1, 1, 0, 0][..], &COOKIE, &[7; 12]].concat();
        assert!(answers(&answer, [7; 12]) && !answers(&answer, [8; 12]));
        answer.pop();
        assert!(!answers(&answer, [7; 12]));
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
