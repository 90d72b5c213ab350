//! The little of STUN (RFC 8489) that tells which peer a datagram is for.

/// Bytes of the header of a message.
const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0, 1];
const USERNAME: u16 = 0x0006;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: [u8; 2], cookie: [u8; 4], name: &[u8]) -> Vec<u8> {
        let mut attributes = vec![0x80, 0x22, 0, 3, 1, 2, 3, 0];
        attributes.extend_from_slice(&[0, 6, 0, name.len() as u8]);
        attributes.extend_from_slice(name);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
        let length = (attributes.len() as u16).to_be_bytes();
        [&kind[..], &length, &cookie, &[9; 12], &attributes].concat()
    }

    #[test]
    fn a_request_says_which_session_it_is_for() {
        let whole = request(BINDING_REQUEST, COOKIE, b"server:cli");
        assert_eq!(name_of(&whole), Some("server"));
        for cut in 0..whole.len() {
            assert_eq!(name_of(&whole[..cut]), None, "{cut} bytes");
        }
        assert_eq!(name_of(&request([1, 1], COOKIE, b"server:cli")), None, "an answer");
        assert_eq!(name_of(&request(BINDING_REQUEST, [0; 4], b"server:cli")), None);
        assert_eq!(name_of(&request(BINDING_REQUEST, COOKIE, b"server")), None);
        assert_eq!(name_of(&request(BINDING_REQUEST, COOKIE, b"\xFF:cli")), None);
    }
}
