use std::fmt;

/// Which kind of client publishes: with RTMP, by the order of its commands.
///
/// ```text
///                releaseStream | FCPublish             createStream
///   connected ─────────────────────────────▶ fmle ───────────────────▶ fmle
///       │                                                               │ publish
///       │ createStream                                                  ▼
///       └──────────▶ created ── releaseStream | FCPublish ──▶ haivision ─▶ publishing
///                       │                                                 ▲
///                       └──────────────── publish (flash) ────────────────┘
/// ```
///
/// `play` identifies a player in every state. The kind changes only which notices the client expects: FMLE and
/// Haivision encoders wait for `onFCPublish`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientKind {
    /// releaseStream, FCPublish, createStream, publish: FMLE, FFmpeg, OBS and most encoders.
    Fmle,
    /// createStream, FCPublish, publish: Haivision encoders.
    Haivision,
    /// createStream, publish: Flash Player.
    Flash,
    /// An offer by HTTP, then WebRTC.
    WebRtc,
}

impl ClientKind {
    /// The name SRS uses for it in its API.
    pub fn name(self) -> &'static str {
        match self {
            ClientKind::Fmle => "fmle-publish",
            ClientKind::Haivision => "haivision-publish",
            ClientKind::Flash => "flash-publish",
            ClientKind::WebRtc => "rtc-publish",
        }
    }
}

impl fmt::Display for ClientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far identification has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Identification {
    #[default]
    Connected,
    Created,
    Fmle,
    Haivision,
}

/// The commands that identification looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    CreateStream,
    /// releaseStream or FCPublish.
    Announce,
}

impl Identification {
    pub(super) fn after(self, sign: Sign) -> Self {
        match (self, sign) {
            (Identification::Connected, Sign::CreateStream) => Identification::Created,
            (Identification::Connected, Sign::Announce) => Identification::Fmle,
            (Identification::Created, Sign::Announce) => Identification::Haivision,
            (stays, _) => stays,
        }
    }

    /// Which kind of client a `publish` now comes from.
    pub(super) fn publisher(self) -> ClientKind {
        match self {
            // A bare `publish` is Flash's with the createStream left out.
            Identification::Connected | Identification::Created => ClientKind::Flash,
            Identification::Fmle => ClientKind::Fmle,
            Identification::Haivision => ClientKind::Haivision,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_manner_is_told_by_the_order_of_its_commands() {
        let kind =
            |signs: &[Sign]| signs.iter().fold(Identification::default(), |state, sign| state.after(*sign)).publisher();
        use Sign::{Announce, CreateStream};
        assert_eq!(kind(&[Announce, Announce, CreateStream]), ClientKind::Fmle);
        assert_eq!(kind(&[Announce, CreateStream]), ClientKind::Fmle);
        assert_eq!(kind(&[CreateStream, Announce]), ClientKind::Haivision);
        assert_eq!(kind(&[CreateStream, CreateStream]), ClientKind::Flash);
        assert_eq!(kind(&[]), ClientKind::Flash);
    }
}
