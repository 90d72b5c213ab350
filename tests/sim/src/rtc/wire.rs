//! What plain peers say to each other: a line of text, and bytes behind it.

use anabranch_rtc::peer::{Medium, answer_binding};

/// The password of each peer, as its offer says.
pub(super) const PEER_PASSWORD: &str = "0123456789abcdef0123456789abcdef";

/// Types of the attributes of a binding request: the name is as in RFC 8489, and the password is in it in plain text.
const USERNAME: u16 = 0x0006;
const PASSWORD: u16 = 0xFF00;
const PADDING: u16 = 0xFF01;
const HEADER: usize = 20;

/// A binding request, as browsers send it: it says which session it is for, and is about as long.
pub(super) fn binding(name: &str, password: &str) -> Vec<u8> {
    let mut attributes = Vec::new();
    for (kind, value) in [(USERNAME, &*format!("{name}:peer")), (PASSWORD, password), (PADDING, "0123456789abcdef")] {
        attributes.extend_from_slice(&kind.to_be_bytes());
        attributes.extend_from_slice(&(value.len() as u16).to_be_bytes());
        attributes.extend_from_slice(value.as_bytes());
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    }
    let length = (attributes.len() as u16).to_be_bytes();
    [&[0, 1][..], &length, &[0x21, 0x12, 0xA4, 0x42], &[7; 12], &attributes].concat()
}

/// The answer to a binding request of the server, by which it learns that an address is genuine.
pub(super) fn binding_answer(request: &[u8]) -> Option<Vec<u8>> {
    answer_binding(request, PEER_PASSWORD)
}

/// True if it is such an answer.
pub(super) fn is_binding_answer(bytes: &[u8]) -> bool {
    bytes.len() > HEADER && bytes[..2] == [1, 1]
}

/// The password in a binding request.
pub(super) fn password_in(bytes: &[u8]) -> Option<&str> {
    let mut attributes = bytes.get(HEADER..).filter(|_| bytes[..2] == [0, 1])?;
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if u16::from_be_bytes([head[0], head[1]]) == PASSWORD {
            return std::str::from_utf8(rest.get(..length)?).ok();
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// What the server says.
#[derive(Debug, PartialEq)]
pub(super) enum FromServer<'a> {
    /// The binding request was right.
    Bound,
    /// The peer is connected.
    Welcome,
    Packet {
        medium: Medium,
        number: u64,
        time: u32,
        marker: bool,
        payload: &'a [u8],
    },
    /// It wants a key frame.
    WantsKey,
    Bye,
}

/// What a peer says, in addition to binding requests.
#[derive(Debug, PartialEq)]
pub(super) enum FromPeer<'a> {
    Hello,
    /// It has missed these packets of its pictures.
    Missed(Vec<u64>),
    WantsKey,
    /// It has lost so many packets of a hundred.
    Loss(u32),
    Unit {
        medium: Medium,
        is_key: bool,
        milliseconds: u64,
        is_contiguous: bool,
        data: &'a [u8],
    },
    Bye,
}

fn letter(medium: Medium) -> char {
    if medium == Medium::Video { 'v' } else { 'a' }
}

fn medium(letter: &str) -> Option<Medium> {
    match letter {
        "v" => Some(Medium::Video),
        "a" => Some(Medium::Audio),
        _ => None,
    }
}

/// The words of the line, and what is behind it.
fn split(bytes: &[u8]) -> Option<(impl Iterator<Item = &str>, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    Some((line.split(' '), &bytes[end + 1..]))
}

fn next<'a, N: std::str::FromStr>(words: &mut impl Iterator<Item = &'a str>) -> Option<N> {
    words.next()?.parse().ok()
}

impl<'a> FromServer<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (line, payload): (String, &[u8]) = match self {
            FromServer::Bound => ("bound\n".into(), &[]),
            FromServer::Welcome => ("welcome\n".into(), &[]),
            FromServer::WantsKey => ("key\n".into(), &[]),
            FromServer::Bye => ("bye\n".into(), &[]),
            FromServer::Packet { medium, number, time, marker, payload } => {
                (format!("packet {} {number} {time} {}\n", letter(*medium), u8::from(*marker)), payload)
            }
        };
        let mut bytes = Vec::with_capacity(line.len() + payload.len());
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (mut words, payload) = split(bytes)?;
        Some(match words.next()? {
            "bound" => FromServer::Bound,
            "welcome" => FromServer::Welcome,
            "key" => FromServer::WantsKey,
            "bye" => FromServer::Bye,
            "packet" => FromServer::Packet {
                medium: medium(words.next()?)?,
                number: next(&mut words)?,
                time: next(&mut words)?,
                marker: words.next()? == "1",
                payload,
            },
            _ => return None,
        })
    }
}

impl<'a> FromPeer<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            FromPeer::Hello => b"hello\n".to_vec(),
            FromPeer::WantsKey => b"key\n".to_vec(),
            FromPeer::Bye => b"bye\n".to_vec(),
            FromPeer::Loss(percent) => format!("loss {percent}\n").into_bytes(),
            FromPeer::Missed(numbers) => {
                let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
                format!("missed {}\n", numbers.join(" ")).into_bytes()
            }
            FromPeer::Unit { medium, is_key, milliseconds, is_contiguous, data } => {
                let (key, whole) = (u8::from(*is_key), u8::from(*is_contiguous));
                let line = format!("unit {} {key} {milliseconds} {whole}\n", letter(*medium));
                [line.as_bytes(), data].concat()
            }
        }
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (mut words, data) = split(bytes)?;
        Some(match words.next()? {
            "hello" => FromPeer::Hello,
            "key" => FromPeer::WantsKey,
            "bye" => FromPeer::Bye,
            "loss" => FromPeer::Loss(next(&mut words)?),
            "missed" => FromPeer::Missed(words.map_while(|word| word.parse().ok()).collect()),
            "unit" => FromPeer::Unit {
                medium: medium(words.next()?)?,
                is_key: words.next()? == "1",
                milliseconds: next(&mut words)?,
                is_contiguous: words.next()? == "1",
                data,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let (medium, payload) = (Medium::Audio, &b"a\nb"[..]);
        let packet = FromServer::Packet { medium, number: 7, time: u32::MAX, marker: true, payload };
        for word in [FromServer::Bound, FromServer::Welcome, FromServer::WantsKey, FromServer::Bye, packet] {
            assert_eq!(FromServer::parse(&word.encode()), Some(word));
        }
        let unit = FromPeer::Unit { medium, is_key: true, milliseconds: 5, is_contiguous: false, data: payload };
        let missed = FromPeer::Missed(vec![1, 2]);
        for word in [FromPeer::Hello, FromPeer::WantsKey, FromPeer::Loss(30), FromPeer::Bye, missed, unit] {
            assert_eq!(FromPeer::parse(&word.encode()), Some(word));
        }
        assert_eq!(password_in(&binding("name", "secret")), Some("secret"));
        assert_eq!(password_in(b"hello\n"), None);
        let answer = binding_answer(&binding("name", "secret")).expect("it is a request");
        assert!(is_binding_answer(&answer) && binding_answer(b"hello\n").is_none());
    }
}
