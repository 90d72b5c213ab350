//! Texts for the log that say why a TLS handshake failed.

use std::borrow::Cow;
use std::{error, fmt, io};

use anabranch_core::session::{CloseReason, TlsFault};
use rustls::{AlertDescription, Error, PeerIncompatible};

/// Where the version is in a ClientHello: after the record's header and the message's type and length.
const VERSION: std::ops::Range<usize> = 9..11;

/// The reason for a failure, inside an [`io::Error`].
#[derive(Debug)]
struct Refusal {
    fault: TlsFault,
    words: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS: {}", self.words)
    }
}

impl error::Error for Refusal {}

/// An error for a read to return.
pub(super) fn refusal(fault: TlsFault, words: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Refusal { fault, words: words.into() })
}

/// The close reason for this error, if TLS caused it.
pub(crate) fn reason(error: &io::Error) -> Option<CloseReason> {
    let refusal: &Refusal = error.get_ref()?.downcast_ref()?;
    Some(CloseReason::Tls(refusal.fault, refusal.words.clone()))
}

/// What the first bytes of a connection say about its client.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hello {
    first: u8,
    /// The highest version of a client from before TLS 1.3; later ones name 1.2 here.
    version: Option<[u8; 2]>,
}

impl Hello {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let version = bytes.get(VERSION).and_then(|version| version.try_into().ok());
        Hello { first: bytes.first().copied().unwrap_or_default(), version }
    }

    fn offers(self) -> &'static str {
        match self.version {
            Some([3, 0]) => "SSL 3.0 at most",
            Some([3, 1]) => "TLS 1.0 at most",
            Some([3, 2]) => "TLS 1.1 at most",
            _ => "none of them",
        }
    }

    /// An error for a read to return.
    pub(super) fn refused(self, error: &Error) -> io::Error {
        refusal(TlsFault::Broken, self.words(error).into_owned())
    }

    fn words(self, error: &Error) -> Cow<'static, str> {
        match error {
            Error::InvalidMessage(_) if self.first == 3 => "the client speaks RTMP without TLS".into(),
            Error::InvalidMessage(_) if self.first.is_ascii_uppercase() => {
                "the client speaks HTTP or another text protocol".into()
            }
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired,
            ) => {
                format!("no version in common: this server speaks TLS 1.2 and 1.3, the client offers {}", self.offers())
                    .into()
            }
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
                "no cipher in common: the client offers none with forward secrecy and AES-GCM or ChaCha20-Poly1305"
                    .into()
            }
            Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => {
                "no key exchange in common: the client offers neither X25519 nor P-256 nor P-384".into()
            }
            Error::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon) => {
                "the client accepts no signature that this server's certificate can make".into()
            }
            Error::AlertReceived(AlertDescription::UnknownCA) => {
                "the client does not trust the certificate's issuer (unknown CA)".into()
            }
            Error::AlertReceived(AlertDescription::CertificateExpired) => {
                "the client says that the certificate has expired".into()
            }
            Error::AlertReceived(
                alert @ (AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateUnknown),
            ) => format!("the client does not accept the certificate ({alert:?})").into(),
            Error::AlertReceived(alert) => format!("the client closed with the alert {alert:?}").into(),
            // The resolver has no certificate, or none that the client can verify.
            Error::General(words) if words.contains("certificate chain") => {
                "the server has no certificate whose signature the client could verify".into()
            }
            error => error.to_string().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::InvalidMessage;

    use super::*;

    #[test]
    fn the_reason_is_in_words_for_the_operator() {
        let hello = |version: u8| Hello::of(&[22, 3, 1, 0, 100, 1, 0, 0, 96, 3, version]);
        let versions = Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered);
        for (hello, error, words) in [
            (
                hello(1),
                &versions,
                "TLS: no version in common: this server speaks TLS 1.2 and 1.3, the client offers TLS 1.0 at most",
            ),
            (hello(2), &versions, "offers TLS 1.1 at most"),
            (hello(0), &versions, "offers SSL 3.0 at most"),
            (Hello::of(&[22, 3]), &versions, "offers none of them"),
            (hello(3), &Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon), "no cipher in common"),
            (hello(3), &Error::AlertReceived(AlertDescription::UnknownCA), "does not trust the certificate's issuer"),
            (Hello::of(&[3, 1]), &Error::InvalidMessage(InvalidMessage::InvalidContentType), "RTMP without TLS"),
            (Hello::of(b"GET / HTTP/1.1"), &Error::InvalidMessage(InvalidMessage::InvalidContentType), "HTTP"),
            (hello(3), &Error::DecryptError, "decrypt"),
        ] {
            let shown = hello.refused(error).to_string();
            assert!(shown.starts_with("TLS: ") && shown.contains(words), "{shown}");
        }
    }
}
