//! Why a handshake cannot go on: decided on the peer's first byte, before anything is buffered.

use super::VERSION;

/// The peer does not speak plain RTMP. The variant says what it seems to speak, for the person who
/// reads the log.
///
/// Only the first byte can fail a handshake. RTMP 1.0 §5.2.2 forbids versions of 32 and above
/// precisely so that text protocols can be told apart by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// A TLS record: 0x16, which opens a ClientHello, or 0x15, the alert with which a TLS server
    /// greets our C0.
    #[error("the peer speaks TLS, so it wants RTMPS or HTTPS; this connection is plain RTMP")]
    Tls,
    /// The first letter of an HTTP method, or of a server's `HTTP/1.1`: a browser, a health check
    /// or RTMPT. RTSP shares those letters.
    #[error("the peer speaks HTTP (RTMPT, a browser, a health check) or RTSP, not RTMP")]
    Http,
    /// RTMPE: 6 is RC4 after a Diffie-Hellman exchange, 8 the same with XTEA, 9 with Blowfish.
    #[error("the peer asks for encrypted RTMP (RTMPE, version {0}), which is not supported")]
    Encrypted(u8),
    /// Any other version; 0 to 2 were used before RTMP was published, the rest is reserved (RTMP
    /// 1.0 §5.2.2).
    #[error("the peer speaks RTMP version {0} or another protocol; only version 3 is supported")]
    Version(u8),
}

/// Judges C0 or S0.
///
/// A server may answer an unknown version with 3 (RTMP 1.0 §5.2.2), but no client is known to count
/// on it, and a scanner would cost a buffer and 3073 bytes of answer.
pub(super) fn check_version(byte: u8) -> Result<(), HandshakeError> {
    match byte {
        VERSION => Ok(()),
        0x15 | 0x16 => Err(HandshakeError::Tls),
        // CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE.
        b'C' | b'D' | b'G' | b'H' | b'O' | b'P' | b'T' => Err(HandshakeError::Http),
        6 | 8 | 9 => Err(HandshakeError::Encrypted(byte)),
        _ => Err(HandshakeError::Version(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_the_peer_speaks() {
        assert_eq!(check_version(3), Ok(()));
        for method in ["CONNECT", "DELETE", "GET", "HEAD", "HTTP/1.1", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"] {
            assert_eq!(check_version(method.as_bytes()[0]), Err(HandshakeError::Http), "{method}");
        }
        assert_eq!(check_version(0x16), Err(HandshakeError::Tls));
        assert_eq!(check_version(0x15), Err(HandshakeError::Tls));
        for version in [6, 8, 9] {
            assert_eq!(check_version(version), Err(HandshakeError::Encrypted(version)));
        }
        for version in [0, 1, 2, 4, 5, 7, 10, 31, 32, b'g', b'A', 0x80, 0xf3, 0xff] {
            assert_eq!(check_version(version), Err(HandshakeError::Version(version)));
        }
    }

    #[test]
    fn only_version_three_passes() {
        let passed: Vec<u8> = (0..=u8::MAX).filter(|&byte| check_version(byte).is_ok()).collect();
        assert_eq!(passed, [VERSION]);
    }
}
