//! What WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) say over HTTP, as values.

mod fragment;
pub(crate) mod offer;
mod target;

use thiserror::Error;

pub use fragment::Fragment;
pub(crate) use target::without_names;
pub use target::{SessionName, SrsCall, Target, with_bearer};

/// Why an offer has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SignalError {
    /// It is no offer that WebRTC knows.
    #[error("the offer cannot be read: {0}")]
    BadOffer(String),
    /// An address of the server cannot be told to peers.
    #[error("an address cannot be told to peers: {0}")]
    BadCandidate(String),
    /// It has several tracks of one kind.
    #[error("the offer has several tracks of a kind")]
    TooManyTracks,
    /// It has no codec that the session is for.
    #[error("the offer has no codec in common with the stream")]
    NothingInCommon,
    /// The library of the encryption makes no certificate.
    #[error("there is no certificate")]
    NoCertificate,
    /// The part of the server that reads offers has failed.
    #[error("the offer made the server fail, which is a bug")]
    Bug,
}

#[cfg(test)]
mod tests;
