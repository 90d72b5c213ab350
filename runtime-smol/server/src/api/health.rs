//! The server's health, and draining.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use anabranch_core::cluster::Spread;
use anabranch_core::url::{Scheme, TcUrl};
use anabranch_host::Drain;
use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::Serialize;
use tracing::info;

use super::answers::{json, json_with};
use super::context::{Context, milliseconds};
use super::reply::Reply;
use super::routes::Call;
use crate::cluster::TO_BE_KNOWN;
use crate::record::Failing;

/// How long a drain takes at most, in seconds: by default, and the largest value.
const DRAIN_SECONDS: usize = 30;
const MOST_DRAIN_SECONDS: usize = 86_400;

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Health {
    pub(super) data: HealthSummary,
}

/// Whether the server does its work. The HTTP status is 200 if it accepts new clients, and 503 if it does not.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HealthSummary {
    /// `ok`; `degraded` if it serves clients but something is wrong; `draining`; `stopping`.
    pub(super) status: String,
    /// True if it accepts new clients.
    pub(super) ready: bool,
    /// What is wrong.
    pub(super) reasons: Vec<HealthReason>,
    /// The drain, while the server drains.
    pub(super) drain: Option<DrainState>,
}

/// Something that is wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HealthReason {
    /// `hook_failing`: the last call to a URL failed. `recording_failing`: a stream cannot be recorded.
    /// `directory_lost`: the directory of the cluster does not answer.
    pub(super) code: String,
    /// The URL, the stream, or the directory.
    pub(super) subject: String,
    /// The error.
    pub(super) words: String,
    /// When it last happened, in milliseconds since 1970.
    pub(super) time_ms: u64,
}

/// A server that drains.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DrainState {
    /// When it began, in milliseconds since 1970.
    pub(super) since_ms: u64,
    /// After so many seconds the server closes the connections that are left.
    pub(super) seconds_left: u64,
    /// Connections that are open.
    pub(super) connections: usize,
    /// Whether `DELETE /api/v1/drain` undoes it. A drain by a signal ends the program and cannot be undone.
    pub(super) can_be_undone: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DrainAnswer {
    pub(super) data: DrainBegun,
}

/// The server drains.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DrainBegun {
    /// After so many seconds the server closes the remaining connections.
    pub(super) seconds: u64,
    /// Connections that are open.
    pub(super) connections: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DrainUndoneAnswer {
    pub(super) data: DrainUndone,
}

/// The server does not drain.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DrainUndone {
    /// False if it did not drain before either.
    pub(super) was_draining: bool,
    /// Connections that are open.
    pub(super) connections: usize,
    /// Connections that ended while it drained.
    pub(super) closed: u64,
}

pub(super) fn health(context: &Context, _: &Call<'_>) -> Reply {
    let handle = &context.handle;
    let (draining, stopping) = (handle.draining(), handle.is_stopping());
    let reasons = reasons(context);
    let ready = !handle.is_leaving();
    let status = match (stopping, ready) {
        (true, _) => "stopping",
        (false, false) => "draining",
        (false, true) if reasons.is_empty() => "ok",
        (false, true) => "degraded",
    };
    let drain = draining.map(|drain| state(&drain, handle.stats().connections));
    let data = HealthSummary { status: status.to_owned(), ready, reasons, drain };
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_with(context, code, Health { data })
}

fn state(drain: &Drain, connections: usize) -> DrainState {
    let since = SystemTime::now().checked_sub(drain.since.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
    DrainState {
        since_ms: milliseconds(since),
        seconds_left: drain.deadline.saturating_duration_since(Instant::now()).as_secs(),
        connections,
        can_be_undone: !drain.to_stop,
    }
}

/// What is wrong while the server serves clients.
fn reasons(context: &Context) -> Vec<HealthReason> {
    let mut reasons = Vec::new();
    for url in context.workers.hooks.urls().iter().filter(|url| url.is_failing()) {
        if let Some((time, words)) = &url.last_failure {
            reasons.push(HealthReason {
                code: "hook_failing".to_owned(),
                subject: url.url.clone(),
                words: words.clone(),
                time_ms: milliseconds(*time),
            });
        }
    }
    for recording in context.workers.recorder.recordings().running() {
        if let Some(Failing { failure, error, at, .. }) = recording.failing {
            reasons.push(HealthReason {
                code: "recording_failing".to_owned(),
                subject: recording.key.to_string(),
                words: format!("{}: {error}", failure.name()),
                time_ms: milliseconds(at),
            });
        }
    }
    if let Some(directory) = &context.workers.directory {
        let state = directory.state();
        if !state.connected {
            let words = state.error.map_or_else(|| "it was not reached yet".to_owned(), |(_, words)| words);
            reasons.push(HealthReason {
                code: "directory_lost".to_owned(),
                subject: directory.shown().to_owned(),
                words,
                time_ms: milliseconds(state.since),
            });
        }
    }
    reasons
}

/// How many things are wrong, for the metrics.
pub(super) fn count_reasons(context: &Context) -> [(&'static str, u64); 3] {
    let reasons = reasons(context);
    ["hook_failing", "recording_failing", "directory_lost"]
        .map(|code| (code, reasons.iter().filter(|reason| reason.code == code).count() as u64))
}

pub(super) fn drain(context: &Context, call: &Call<'_>) -> Reply {
    let seconds = match call.number("seconds", DRAIN_SECONDS) {
        Ok(seconds) if seconds <= MOST_DRAIN_SECONDS => seconds as u64,
        Ok(seconds) => {
            let words = format!("seconds is {seconds}: expected 0 to {MOST_DRAIN_SECONDS}");
            return Reply::error(StatusCode::BAD_REQUEST, 400, words);
        }
        Err(words) => return Reply::error(StatusCode::BAD_REQUEST, 400, words),
    };
    let tc_url = call.parameter("tc_url").filter(|url| !url.is_empty()).map(decoded);
    if let Some(Err(words)) = tc_url.as_deref().map(target) {
        return Reply::error(StatusCode::BAD_REQUEST, 400, words);
    }
    // The other servers of the cluster first: they get the clients that are asked to connect again.
    let others = context.workers.directory.as_ref().map(|directory| directory.begin_drain(TO_BE_KNOWN));
    let servers = tc_url.as_deref().map(Spread::to_one).or(others).unwrap_or_default();
    let first = servers.next_server().and_then(|url| target(url).ok());
    let (target, sent) = match (servers.len(), first) {
        (0, _) | (_, None) => (None, String::new()),
        (1, Some(target)) => (Some(target.clone()), format!("; clients are sent to {target}")),
        (count, Some(target)) => (Some(target), format!("; clients are spread over {count} servers of the cluster")),
    };
    if let Err(error) = context.handle.drain_among(Duration::from_secs(seconds), servers) {
        return Reply::error(StatusCode::CONFLICT, 409, error.to_string());
    }
    info!(
        event = "draining",
        seconds,
        tc_url = target,
        "draining, through the API, for {seconds} s at most{sent}; DELETE /api/v1/drain undoes it"
    );
    json(context, DrainAnswer { data: DrainBegun { seconds, connections: context.handle.stats().connections } })
}

/// The URL that clients are sent to, as the log shows it: without user, password and query.
///
/// # Errors
/// Clients cannot connect to it; the text says why.
fn target(url: &str) -> Result<String, String> {
    let wrong = |why: &dyn fmt::Display| format!("tc_url: {why}; write it as rtmp://HOST/APP, percent-encoded");
    let found = TcUrl::parse(url).map_err(|error| wrong(&error))?;
    if let Scheme::Other(scheme) = found.scheme() {
        return Err(wrong(&format_args!("{scheme:?} is not a scheme of RTMP")));
    }
    // The parser leaves out blanks and quotes around it, and clients get it as it is.
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains(['"', '\'']) {
        return Err(wrong(&"it has blanks, quotes or other characters than ASCII"));
    }
    let without_query = found.to_string();
    Ok(without_query.split('?').next().unwrap_or_default().to_owned())
}

pub(super) fn stop_draining(context: &Context, _: &Call<'_>) -> Reply {
    let drain = context.handle.draining();
    let was_draining = match context.handle.stop_draining() {
        Ok(was_draining) => was_draining,
        Err(error) => return Reply::error(StatusCode::CONFLICT, 409, error.to_string()),
    };
    if let Some(directory) = &context.workers.directory {
        directory.end_drain();
    }
    let connections = context.handle.stats().connections;
    let closed_now = context.handle.totals().ended();
    let closed = drain.map_or(0, |drain| closed_now.saturating_sub(drain.ended_before));
    if was_draining {
        info!(
            event = "drain_undone",
            closed,
            open = connections,
            "the drain is undone through the API: new clients are accepted again; connections that ended while the \
             server drained: {closed}; still open: {connections}"
        );
    }
    json(context, DrainUndoneAnswer { data: DrainUndone { was_draining, connections, closed } })
}

/// Decodes a percent-encoded text. Bytes that are not UTF-8 become the replacement character. A `+` stays a `+`: it may
/// be part of a token.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_sent_only_to_urls_that_they_can_use() {
        assert_eq!(target("rtmp://other.example/live?token=secret").unwrap(), "rtmp://other.example/live");
        assert_eq!(target("rtmps://u:p@[::1]:444/live/room").unwrap(), "rtmps://[::1]:444/live/room");
        for (url, words) in [
            ("other.example/live", "no scheme"),
            ("http://other.example/live", "http is not a scheme of RTMP"),
            ("rtmq://other.example/live", "not a scheme of RTMP"),
            ("rtmp:///live", "no host"),
            ("rtmp://x\ny/live", "control character"),
            ("rtmp://other.example:x/live", "port"),
            (" rtmp://other.example/live", "blanks"),
            ("rtmp://other.example/l\u{f6}ve", "blanks"),
        ] {
            let error = target(url).unwrap_err();
            assert!(error.starts_with("tc_url: ") && error.contains(words), "{url:?}: {error}");
        }
    }

    #[test]
    fn percent_encoding_is_undone_where_it_is_some() {
        assert_eq!(decoded("rtmp%3A%2F%2Fh%3a1935/live"), "rtmp://h:1935/live");
        for (text, expected) in [
            ("", ""),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("%+1", "%+1"),
            ("%41%", "A%"),
            ("%2541", "%41"),
            ("%ff", "\u{fffd}"),
            ("a%C3%A9%c3%", "aé\u{fffd}%"),
            ("a+b%2Bc%20d", "a+b+c d"),
        ] {
            assert_eq!(decoded(text), expected, "{text}");
        }
    }
}
