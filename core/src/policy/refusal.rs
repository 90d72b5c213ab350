use thiserror::Error;

use super::{Action, Counted};

/// Why a request of a client is refused.
///
/// `Display` is safe to send to the client: it names no rule, number, name or secret of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A rule of [`Security`](super::Security) denies the address.
    #[error("your address may not {action}")]
    SecurityDenied {
        /// What was asked for.
        action: Action,
    },
    /// Rules of [`Security`](super::Security) allow addresses, and none allows this one.
    #[error("your address is not among those that may {action}")]
    SecurityNotAllowed {
        /// What was asked for.
        action: Action,
    },
    /// The page of the client is on none of the hosts of [`Refer`](super::Refer), or the client names no page.
    #[error("this page may not {action}")]
    ReferDenied {
        /// What was asked for.
        action: Action,
    },
    /// The URL must be signed and has no `token` or no `expires`.
    #[error("a signed URL is needed to {action}: token or expires is missing")]
    TokenMissing {
        /// What was asked for.
        action: Action,
    },
    /// `expires` is not a number of seconds, or `token` is not 64 lower-case hex digits.
    #[error("the signature of the URL is malformed")]
    TokenMalformed,
    /// The signature was not made with one of the secrets, or was made for another action, stream or time.
    #[error("the signature of the URL does not fit")]
    TokenInvalid,
    /// The signature is right, and its time is over.
    #[error("the signed URL has expired")]
    TokenExpired,
    /// No virtual host has the name, and no default virtual host exists.
    #[error("unknown virtual host")]
    VhostUnknown,
    /// The virtual host is switched off.
    #[error("the virtual host is disabled")]
    VhostDisabled,
    /// The virtual host is only for bandwidth checks: clients cannot publish or play there.
    #[error("the virtual host is for bandwidth checks only")]
    VhostMeasures,
    /// A limit is reached.
    #[error("too many {0}")]
    Limit(Counted),
    /// The server is about to stop.
    #[error("the server is going down")]
    Draining,
    /// The connection of a publisher sends more than its [`Rate`](super::Rate) permits, media and everything else.
    #[error("the bitrate is over the limit")]
    LimitBitrate,
}

impl Refusal {
    /// The reason as a code for programs, in logs, metrics and hooks. The code of a reason never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::SecurityDenied { .. } => "security_denied",
            Refusal::SecurityNotAllowed { .. } => "security_not_allowed",
            Refusal::ReferDenied { .. } => "refer_denied",
            Refusal::TokenMissing { .. } => "token_missing",
            Refusal::TokenMalformed => "token_malformed",
            Refusal::TokenInvalid => "token_invalid",
            Refusal::TokenExpired => "token_expired",
            Refusal::VhostUnknown => "vhost_unknown",
            Refusal::VhostDisabled => "vhost_disabled",
            Refusal::VhostMeasures => "vhost_measures",
            Refusal::Limit(Counted::Connections) => "limit_connections",
            Refusal::Limit(Counted::Publishers) => "limit_publishers",
            Refusal::Limit(Counted::Players) => "limit_players",
            Refusal::Limit(Counted::StreamPlayers) => "limit_stream_players",
            Refusal::Limit(Counted::Streams) => "limit_streams",
            Refusal::Limit(Counted::Questions) => "limit_questions",
            Refusal::Draining => "draining",
            Refusal::LimitBitrate => "limit_bitrate",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_code_and_text() {
        let action = Action::Play;
        let table = [
            (Refusal::SecurityDenied { action }, "security_denied"),
            (Refusal::SecurityNotAllowed { action }, "security_not_allowed"),
            (Refusal::ReferDenied { action }, "refer_denied"),
            (Refusal::TokenMissing { action }, "token_missing"),
            (Refusal::TokenMalformed, "token_malformed"),
            (Refusal::TokenInvalid, "token_invalid"),
            (Refusal::TokenExpired, "token_expired"),
            (Refusal::VhostUnknown, "vhost_unknown"),
            (Refusal::VhostDisabled, "vhost_disabled"),
            (Refusal::VhostMeasures, "vhost_measures"),
            (Refusal::Limit(Counted::Connections), "limit_connections"),
            (Refusal::Limit(Counted::Publishers), "limit_publishers"),
            (Refusal::Limit(Counted::Players), "limit_players"),
            (Refusal::Limit(Counted::StreamPlayers), "limit_stream_players"),
            (Refusal::Limit(Counted::Streams), "limit_streams"),
            (Refusal::Limit(Counted::Questions), "limit_questions"),
            (Refusal::LimitBitrate, "limit_bitrate"),
        ];
        for (refusal, code) in &table {
            assert_eq!(refusal.code(), *code);
        }
        let texts: HashSet<String> = table.iter().map(|(refusal, _)| refusal.to_string()).collect();
        assert_eq!(texts.len(), table.len());
        assert_eq!(Refusal::Limit(Counted::StreamPlayers).to_string(), "too many players of this stream");
        assert_eq!(Refusal::SecurityDenied { action }.to_string(), "your address may not play");
    }
}
