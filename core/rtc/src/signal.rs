//! What WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) say over HTTP, as values.

use thiserror::Error;

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

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The endpoint of a stream for publishers: `/live/cam/whip`, `/rtc/v1/whip/?app=live&stream=cam`.
    Whip {
        /// The application.
        app: String,
        /// The stream.
        stream: String,
    },
    /// The endpoint of a stream for players: `/live/cam/whep`, `/rtc/v1/whep/?app=live&stream=cam`.
    Whep {
        /// The application.
        app: String,
        /// The stream.
        stream: String,
    },
    /// A session: `/rtc/session/ID`.
    Session {
        /// Its secret name, which names the node, too.
        id: String,
    },
    /// SRS's own calls, whose bodies are JSON: `/rtc/v1/publish/` and `/rtc/v1/play/`.
    Srs {
        /// True for the call that publishes.
        publishes: bool,
    },
}

impl Target {
    /// What a request is for, if it is for WebRTC.
    pub fn of(request: &anabranch_core::http::Request) -> Option<Self> {
        let _ = request;
        None
    }
}
