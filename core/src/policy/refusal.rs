use thiserror::Error;

use super::{Action, Counted};
use crate::bandwidth::TooSoon;
use crate::url::UrlError;

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
    #[error("clients of this web page may not {action}")]
    ReferDenied {
        /// What was asked for.
        action: Action,
    },
    /// A script of the page may not read live streams by HTTP ([`Origins`](crate::http::Origins)).
    #[error("pages of this origin may not play")]
    PageDenied,
    /// The URL must be signed and has no `token` or no `expires`.
    #[error("to {action}, the URL must be signed: token or expires is missing from it")]
    TokenMissing {
        /// What was asked for.
        action: Action,
    },
    /// `expires` is not a number of seconds, or `token` is not 64 lower-case hex digits.
    #[error(
        "the signature in the URL has the wrong form: token is 64 lower-case hex digits, expires a Unix time in seconds"
    )]
    TokenMalformed,
    /// The signature was not made with one of the secrets, or was made for another action, stream or time.
    #[error("the signature in the URL is wrong: it is for another stream, action or time, or made with another secret")]
    TokenInvalid,
    /// The signature is right, and its time is over.
    #[error("the signed URL has expired")]
    TokenExpired,
    /// The URL has a [pass](super::Passes) that is not valid: for another stream or action, its program has ended, too many
    /// connections use it, not from a loopback
    /// address, or not of this server.
    #[error("the pass in the URL is not valid for this")]
    PassInvalid,
    /// No virtual host has the name, and no default virtual host exists.
    #[error("the server has no virtual host of this name")]
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
    /// The server drains.
    #[error("the server takes no new clients at present")]
    Draining,
    /// The connection of a publisher sends more than its [`Rate`](super::Rate) permits, media and everything else.
    #[error("the publisher sends more than its limit allows")]
    LimitBitrate,
    /// The URLs of `connect` name no application, or are malformed.
    #[error("{0}")]
    UrlInvalid(UrlError),
    /// The name of `publish` or `play` is none that a stream can have.
    #[error("{0}")]
    NameInvalid(UrlError),
    /// The stream of this name has a publisher already.
    #[error("Stream {0} is already being published.")]
    NameTaken(String),
    /// The back end refused the request, with these words.
    #[error("{0}")]
    HookDenied(String),
    /// The back end did not answer in time, or failed.
    #[error("the server got no answer about this request in time; try again later")]
    HookUnanswered,
    /// The back end named another server for the client.
    #[error("RTMP 302 Redirect")]
    HookRedirected,
    /// The origin of this edge refused the request, with these words.
    #[error("{0}")]
    OriginDenied(String),
    /// Another server of the cluster has the name.
    #[error("Stream {0} is already being published.")]
    NameElsewhere(String),
    /// The directory of the cluster does not answer, or gives out no names at present.
    #[error("the server cannot find out whether the name is free: {0}; try again later")]
    NoDirectory(String),
    /// Another server of the cluster pulls a stream that this one does not have, or has under another lease.
    #[error("this server does not have the stream")]
    NotOwner,
    /// A server of the cluster pulls, and its signature is not valid here.
    #[error(
        "the signature of this pull is not valid here: the two servers have different secrets (cluster.secret), or their \
         clocks differ"
    )]
    PullNotSigned,
    /// A server of the cluster has two connections for the stream already.
    #[error("your server pulls this stream on two connections already")]
    PullRepeated,
    /// A server of the cluster pulls, and gets the stream from another one that has it from here.
    #[error("another server of the cluster sends you the stream")]
    PullReferred,
    /// The client is a server of which this one has the stream: it would go in a circle.
    #[error("the stream has been on this server already: it would go in a circle")]
    Loop,
    /// The virtual host is for bandwidth checks, and the client does not send its key.
    #[error("the bandwidth check needs its secret, as the parameter `key` of the URL")]
    CheckKey,
    /// The virtual host is for bandwidth checks, and the last check was too short a time ago.
    #[error("{0}")]
    CheckTooSoon(TooSoon),
}

const CONNECT: &str = "NetConnection.Connect.Rejected";
const PUBLISH: &str = "NetStream.Publish.Denied";
const PLAY: &str = "NetStream.Play.Failed";
const BAD_PUBLISH: &str = "NetStream.Publish.BadName";
const BAD_PLAY: &str = "NetStream.Play.StreamNotFound";
/// Reasons against any request, and against those for a stream.
const ANY: &[&str] = &[CONNECT, PUBLISH, PLAY];
const STREAM: &[&str] = &[PUBLISH, PLAY];
/// Reasons against any request and against a name: an origin says which, and a virtual host is asked for in `connect` or
/// in the name of a stream, or is removed by a reload while the back end decides.
const EVERY: &[&str] = &[CONNECT, PUBLISH, PLAY, BAD_PUBLISH, BAD_PLAY];

impl Refusal {
    /// All codes, in the order of the variants, each with the status codes with which a client may be refused for it.
    pub const STATUSES: [(&'static str, &'static [&'static str]); 36] = [
        ("security_denied", STREAM),
        ("security_not_allowed", STREAM),
        ("refer_denied", STREAM),
        ("page_denied", &[CONNECT]),
        ("token_missing", STREAM),
        ("token_malformed", STREAM),
        ("token_invalid", STREAM),
        ("token_expired", STREAM),
        ("pass_invalid", ANY),
        ("vhost_unknown", EVERY),
        ("vhost_disabled", EVERY),
        ("vhost_measures", STREAM),
        ("limit_connections", ANY),
        ("limit_publishers", &[PUBLISH]),
        ("limit_players", &[PLAY]),
        ("limit_stream_players", &[PLAY]),
        ("limit_streams", STREAM),
        ("limit_questions", ANY),
        ("draining", ANY),
        ("limit_bitrate", &[PUBLISH]),
        // The second is for a name that a back end gave, and so are the last two of the next.
        ("url_invalid", &["NetConnection.Connect.InvalidApp", CONNECT]),
        ("name_invalid", &[BAD_PUBLISH, BAD_PLAY, PUBLISH, PLAY]),
        ("name_taken", &[BAD_PUBLISH]),
        ("hook_denied", ANY),
        ("hook_unanswered", ANY),
        ("hook_redirected", &[CONNECT]),
        ("origin_denied", EVERY),
        ("name_elsewhere", &[BAD_PUBLISH]),
        ("no_directory", &[PUBLISH]),
        ("not_owner", &[BAD_PLAY]),
        ("pull_not_signed", &[CONNECT]),
        ("pull_repeated", &[CONNECT]),
        ("pull_referred", &[CONNECT]),
        ("loop", &[CONNECT]),
        ("check_key", &[CONNECT]),
        ("check_too_soon", &[CONNECT]),
    ];

    /// All codes, in the order of the variants.
    pub const CODES: [&'static str; 36] = {
        let (mut codes, mut next) = ([""; 36], 0);
        while next < codes.len() {
            codes[next] = Refusal::STATUSES[next].0;
            next += 1;
        }
        codes
    };

    /// The reason as a code for programs, in logs, metrics and hooks. The code of a reason never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::SecurityDenied { .. } => "security_denied",
            Refusal::SecurityNotAllowed { .. } => "security_not_allowed",
            Refusal::ReferDenied { .. } => "refer_denied",
            Refusal::PageDenied => "page_denied",
            Refusal::TokenMissing { .. } => "token_missing",
            Refusal::TokenMalformed => "token_malformed",
            Refusal::TokenInvalid => "token_invalid",
            Refusal::TokenExpired => "token_expired",
            Refusal::PassInvalid => "pass_invalid",
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
            Refusal::UrlInvalid(_) => "url_invalid",
            Refusal::NameInvalid(_) => "name_invalid",
            Refusal::NameTaken(_) => "name_taken",
            Refusal::HookDenied(_) => "hook_denied",
            Refusal::HookUnanswered => "hook_unanswered",
            Refusal::HookRedirected => "hook_redirected",
            Refusal::OriginDenied(_) => "origin_denied",
            Refusal::NameElsewhere(_) => "name_elsewhere",
            Refusal::NoDirectory(_) => "no_directory",
            Refusal::NotOwner => "not_owner",
            Refusal::PullNotSigned => "pull_not_signed",
            Refusal::PullRepeated => "pull_repeated",
            Refusal::PullReferred => "pull_referred",
            Refusal::Loop => "loop",
            Refusal::CheckKey => "check_key",
            Refusal::CheckTooSoon(_) => "check_too_soon",
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
            (Refusal::PageDenied, "page_denied"),
            (Refusal::TokenMissing { action }, "token_missing"),
            (Refusal::TokenMalformed, "token_malformed"),
            (Refusal::TokenInvalid, "token_invalid"),
            (Refusal::TokenExpired, "token_expired"),
            (Refusal::PassInvalid, "pass_invalid"),
            (Refusal::VhostUnknown, "vhost_unknown"),
            (Refusal::VhostDisabled, "vhost_disabled"),
            (Refusal::VhostMeasures, "vhost_measures"),
            (Refusal::Limit(Counted::Connections), "limit_connections"),
            (Refusal::Limit(Counted::Publishers), "limit_publishers"),
            (Refusal::Limit(Counted::Players), "limit_players"),
            (Refusal::Limit(Counted::StreamPlayers), "limit_stream_players"),
            (Refusal::Limit(Counted::Streams), "limit_streams"),
            (Refusal::Limit(Counted::Questions), "limit_questions"),
            (Refusal::Draining, "draining"),
            (Refusal::LimitBitrate, "limit_bitrate"),
            (Refusal::UrlInvalid(UrlError::Missing), "url_invalid"),
            (Refusal::NameInvalid(UrlError::TooManyParams), "name_invalid"),
            (Refusal::NameTaken("cam".to_owned()), "name_taken"),
            (Refusal::HookDenied("not today".to_owned()), "hook_denied"),
            (Refusal::HookUnanswered, "hook_unanswered"),
            (Refusal::HookRedirected, "hook_redirected"),
            (Refusal::OriginDenied("busy".to_owned()), "origin_denied"),
            (Refusal::NameElsewhere("cam2".to_owned()), "name_elsewhere"),
            (Refusal::NoDirectory("no answer".to_owned()), "no_directory"),
            (Refusal::NotOwner, "not_owner"),
            (Refusal::PullNotSigned, "pull_not_signed"),
            (Refusal::PullRepeated, "pull_repeated"),
            (Refusal::PullReferred, "pull_referred"),
            (Refusal::Loop, "loop"),
            (Refusal::CheckKey, "check_key"),
            (Refusal::CheckTooSoon(TooSoon { remaining: std::time::Duration::from_secs(3) }), "check_too_soon"),
        ];
        for (refusal, code) in &table {
            assert_eq!(refusal.code(), *code);
        }
        assert_eq!(table.each_ref().map(|(refusal, _)| refusal.code()), Refusal::CODES);
        let texts: HashSet<String> = table.iter().map(|(refusal, _)| refusal.to_string()).collect();
        assert_eq!(texts.len(), table.len());
        assert_eq!(Refusal::Limit(Counted::StreamPlayers).to_string(), "too many players of this stream");
        assert_eq!(Refusal::SecurityDenied { action }.to_string(), "your address may not play");
    }
}
