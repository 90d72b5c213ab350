use super::Delivery;
use super::event::Rejection;
use crate::command::ConnectInfo;
use crate::http::{Answer, Request};
use crate::policy::Refusal;

/// When to come again, in seconds, to a server that is full or drains.
pub(super) const RETRY_AFTER: &str = "5";
/// Where the name of a client's program is cut, in characters.
const LONGEST_AGENT: usize = 512;

/// The folder that a request is for.
pub(super) fn folder(request: &Request) -> &str {
    request.path().rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The `connect` that a request for a stream of this application stands for. `folder` is what its URL has for that.
pub(super) fn connect_info(request: &Request, app: &str, folder: &str, is_trusted: bool) -> ConnectInfo {
    let forwarded = request.field("X-Forwarded-Proto").filter(|_| is_trusted);
    let scheme = if forwarded.is_some_and(|proto| proto.eq_ignore_ascii_case("https")) { "https" } else { "http" };
    let tc_url = request.field("Host").filter(|host| !host.is_empty()).map(|host| format!("{scheme}://{host}{folder}"));
    let query = request.query().map(|query| format!("?{query}")).unwrap_or_default();
    ConnectInfo {
        // With the parameters, because they may name another virtual host.
        app: Some(format!("{app}{query}")),
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
pub(super) fn refused(rejection: &Rejection, delivery: Delivery) -> Answer {
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
        Some(Refusal::NameTaken(_) | Refusal::NameElsewhere(_)) => Answer::text(409, text),
        // An origin says so of names that it owns.
        Some(Refusal::OriginDenied(_)) if rejection.code == "NetStream.Publish.BadName" => Answer::text(409, text),
        Some(
            Refusal::Limit(_)
            | Refusal::Draining
            | Refusal::HookUnanswered
            | Refusal::NoDirectory(_)
            | Refusal::NotOwner,
        ) => Answer::text(503, text).with("Retry-After", RETRY_AFTER),
        _ => match &rejection.redirect {
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
                // With 302, clients would not send their offer again.
                let status = if delivery == Delivery::WebRtc { 307 } else { 302 };
                Answer::text(status, text).with("Location", url)
            }
            _ => Answer::text(403, text),
        },
    }
}
