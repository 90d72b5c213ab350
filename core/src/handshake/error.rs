//! Why a handshake fails. The peer's first byte decides, before any byte is buffered.

use super::VERSION;

/// The peer does not speak plain RTMP. The variant names the protocol that the peer seems to speak,
/// for the reader of the log.
///
/// Only the first byte can fail a handshake. RTMP 1.0 §5.2.2 forbids versions of 32 and above, so
/// that the first byte distinguishes RTMP from text protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// A TLS record: 0x16, the first byte of a ClientHello, or 0x15, the alert with which a TLS server
    /// answers our C0.
    #[error(
        "the peer speaks TLS (RTMPS, HTTPS); this port takes RTMP without TLS: use rtmp:// or put a TLS terminator in \
         front"
    )]
    Tls,
    /// The first letter of an HTTP method other than `P`, or of a server's `HTTP/1.1`: a browser, a
    /// health check or RTMPT. RTSP methods begin with the same letters.
    #[error(
        "the peer speaks HTTP (RTMPT, a browser, a health check) or RTSP; this port takes RTMP only: use rtmp://, \
         and check health by a TCP connection"
    )]
    Http,
    /// `P`, the first letter of PROXY protocol version 1 and of HTTP's `POST`, `PUT` and `PATCH`. RTMPT
    /// clients send `POST`.
    #[error(
        "the peer speaks HTTP (RTMPT, POST) or is a proxy that sends its client's address (PROXY protocol 1) \
         and is not a trusted one: use rtmp://, or add the proxy's address to the trusted proxies"
    )]
    HttpOrProxy,
    /// The first byte of a prefix that names the proxy's client, from an address that is not a trusted
    /// proxy: 0x0d is PROXY protocol version 2, 0xf3 is SRS's RTMP proxy.
    #[error(
        "the peer is a proxy that sends its client's address ({}) and is not a trusted one: add its address to the \
         trusted proxies",
        proxy_header(*.0)
    )]
    Proxy(u8),
    /// RTMPE: 6 is RC4 after a Diffie-Hellman exchange, 8 the same with XTEA, 9 with Blowfish.
    #[error("the peer asks for encrypted RTMP (RTMPE, version {0}), which is not supported")]
    Encrypted(u8),
    /// Any other version; 0 to 2 were used before RTMP was published, the rest is reserved (RTMP
    /// 1.0 §5.2.2).
    #[error("the peer speaks RTMP version {0} or another protocol; only version 3 is supported")]
    Version(u8),
}

/// Checks C0 or S0.
///
/// A server may answer an unknown version with 3 (RTMP 1.0 §5.2.2), but no known client needs that,
/// and each scanner would cost a buffer and an answer of 3073 bytes.
pub(super) fn check_version(byte: u8) -> Result<(), HandshakeError> {
    match byte {
        VERSION => Ok(()),
        0x15 | 0x16 => Err(HandshakeError::Tls),
        // CONNECT, DELETE, GET, HEAD, OPTIONS, TRACE.
        b'C' | b'D' | b'G' | b'H' | b'O' | b'T' => Err(HandshakeError::Http),
        // One byte does not distinguish PROXY from POST, and the next byte may not be received yet.
        b'P' => Err(HandshakeError::HttpOrProxy),
        b'\r' | SRS_PROXY => Err(HandshakeError::Proxy(byte)),
        6 | 8 | 9 => Err(HandshakeError::Encrypted(byte)),
        _ => Err(HandshakeError::Version(byte)),
    }
}

/// First byte of the header of SRS's RTMP proxy.
const SRS_PROXY: u8 = 0xf3;

fn proxy_header(byte: u8) -> &'static str {
    match byte {
        SRS_PROXY => "SRS's proxy",
        _ => "PROXY protocol 2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_the_peer_speaks() {
        assert_eq!(check_version(3), Ok(()));
        for method in ["CONNECT", "DELETE", "GET", "HEAD", "HTTP/1.1", "OPTIONS", "TRACE"] {
            assert_eq!(check_version(method.as_bytes()[0]), Err(HandshakeError::Http), "{method}");
        }
        for ambiguous in ["PATCH", "POST", "PUT", "PROXY TCP4 "] {
            assert_eq!(check_version(ambiguous.as_bytes()[0]), Err(HandshakeError::HttpOrProxy), "{ambiguous}");
        }
        for header in [0x0d, 0xf3] {
            assert_eq!(check_version(header), Err(HandshakeError::Proxy(header)));
        }
        assert_eq!(check_version(0x16), Err(HandshakeError::Tls));
        assert_eq!(check_version(0x15), Err(HandshakeError::Tls));
        for version in [6, 8, 9] {
            assert_eq!(check_version(version), Err(HandshakeError::Encrypted(version)));
        }
        for version in [0, 1, 2, 4, 5, 7, 10, 31, 32, b'g', b'A', 0x80, 0xff] {
            assert_eq!(check_version(version), Err(HandshakeError::Version(version)));
        }
    }

    #[test]
    fn the_message_says_what_to_do() {
        let advice = [
            (0x16, "TLS terminator"),
            (b'G', "use rtmp://"),
            (b'P', "trusted"),
            (0x0d, "(PROXY protocol 2) and is not a trusted one: add its address"),
            (0xf3, "(SRS's proxy) and is not a trusted one: add its address"),
        ];
        for (byte, words) in advice {
            let message = check_version(byte).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn only_version_three_passes() {
        let passed: Vec<u8> = (0..=u8::MAX).filter(|&byte| check_version(byte).is_ok()).collect();
        assert_eq!(passed, [VERSION]);
    }
}
