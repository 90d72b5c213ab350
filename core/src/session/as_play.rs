use super::event::Rejection;
use crate::command::ConnectInfo;
use crate::http::{Answer, LivePath, Request};
use crate::policy::Refusal;

/// When to come again, in seconds, to a server that is full or drains.
pub(super) const RETRY_AFTER: &str = "5";
/// Where the name of a client's program is cut, in characters.
const LONGEST_AGENT: usize = 512;

/// The `connect` that a live stream stands for.
pub(super) fn connect_info(request: &Request, path: &LivePath, is_trusted: bool) -> ConnectInfo {
    let forwarded = request.field("X-Forwarded-Proto").filter(|_| is_trusted);
    let scheme = if forwarded.is_some_and(|proto| proto.eq_ignore_ascii_case("https")) { "https" } else { "http" };
    let folder = request.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    let tc_url = request.field("Host").filter(|host| !host.is_empty()).map(|host| format!("{scheme}://{host}{folder}"));
    let query = request.query().map(|query| format!("?{query}")).unwrap_or_default();
    ConnectInfo {
        // With the parameters, because they may name another virtual host.
        app: Some(format!("{}{query}", path.app)),
        tc_url,
        flash_ver: request.field("User-Agent").map(|agent| agent.chars().take(LONGEST_AGENT).collect()),
        // Browsers name no page when they open a WebSocket, and a page may forbid it altogether.
        page_url: request
            .field("Referer")
            .or(request.field("Origin").filter(|page| *page != "null"))
            .map(str::to_owned),
        is_web: true,
        ..ConnectInfo::default()
    }
}

/// The answer to a request that is refused.
pub(super) fn refused(rejection: &Rejection) -> Answer {
    let text = &rejection.description;
    if rejection.code == "NetStream.Play.StreamNotFound" {
        return Answer::text(404, text);
    }
    match &rejection.refusal {
        Some(
            Refusal::TokenMissing { .. } | Refusal::TokenMalformed | Refusal::TokenInvalid | Refusal::TokenExpired,
        ) => Answer::text(401, text).with("WWW-Authenticate", "Bearer"),
        Some(
            Refusal::VhostUnknown
            | Refusal::VhostDisabled
            | Refusal::VhostMeasures
            | Refusal::UrlInvalid(_)
            | Refusal::NameInvalid(_),
        ) => Answer::text(404, text),
        Some(
            Refusal::Limit(_)
            | Refusal::Draining
            | Refusal::HookUnanswered
            | Refusal::NoDirectory(_)
            | Refusal::NotOwner,
        ) => Answer::text(503, text).with("Retry-After", RETRY_AFTER),
        _ => match &rejection.redirect {
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
                Answer::text(302, text).with("Location", url)
            }
            _ => Answer::text(403, text),
        },
    }
}
