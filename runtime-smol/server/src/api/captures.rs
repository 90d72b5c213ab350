//! Captures that are begun and ended through the API.
//!
//! The answers have the paths of the files, and not the files: captures hold stream keys, tokens and media, and the API
//! may be without TLS.

use std::time::Duration;

use anabranch_core::conn::{LocalError, Role};
use anabranch_core::policy::Network;
use anabranch_core::url::StreamKey;
use anabranch_host::CaptureError;
use anabranch_program::{
    CaptureChoice, CaptureFolder, CaptureTally, CaptureView, ChosenCaptures, ChosenLimits, FileView, LeftOut, NotBegun,
};
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::answers::{NO_CLIENT, NO_STREAM, NO_VHOST, json};
use super::context::{Context, milliseconds};
use super::health::decoded;
use super::reply::Reply;
use super::routes::Call;
use crate::settings::Loaded;

/// How long a capture runs, in seconds: by default, and at most.
const SECONDS: usize = 600;
const MOST_SECONDS: usize = 86_400;
/// Connections that a capture takes: by default, and at most.
const CONNECTIONS: usize = 10;
const MOST_CONNECTIONS: usize = 100;
/// The smallest file, in bytes.
const LEAST_BYTES: usize = 64 << 10;

/// The captures of this program.
#[derive(Debug, Clone)]
pub(crate) enum Capturing {
    /// Each connection is captured.
    All(CaptureFolder),
    /// Those that the API chooses.
    Chosen(ChosenCaptures),
}

impl Capturing {
    /// The settings of files to come have changed.
    pub(crate) fn update(&self, loaded: &Loaded, program: &str) {
        match self {
            Capturing::All(captures) => captures.set_header(&loaded.capture_header(program)),
            Capturing::Chosen(captures) => captures.set(loaded.chosen_folder(program)),
        }
    }

    /// Waits until all that was recorded is written, but not longer than `timeout`.
    pub(crate) fn flush(&self, timeout: Duration) {
        match self {
            Capturing::All(captures) => captures.flush(timeout),
            Capturing::Chosen(captures) => captures.flush(timeout),
        }
    }

    /// How many captures through the API run.
    pub(super) fn running(&self) -> usize {
        match self {
            Capturing::All(_) => 0,
            Capturing::Chosen(captures) => captures.running(),
        }
    }

    /// Counts for the metrics.
    pub(super) fn tally(&self) -> &CaptureTally {
        match self {
            Capturing::All(captures) => captures.tally(),
            Capturing::Chosen(captures) => captures.tally(),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Captures {
    /// Those that run, then those that have ended, the newest first; at most 16 and 100.
    pub(super) captures: Vec<Capture>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OneCapture {
    pub(super) capture: Capture,
}

/// A capture.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Capture {
    /// Its number in this run of the server.
    pub(super) id: u64,
    /// What it takes, in words.
    pub(super) selector: String,
    /// `running` or `ended`.
    pub(super) state: String,
    /// Why it ended: `ended_by_api`, `time_limit`, `file_limit`, or why its last file ended. Empty while it runs.
    pub(super) reason: String,
    /// When it began, in milliseconds since 1970.
    pub(super) begun_ms: u64,
    /// How long it runs at most.
    pub(super) seconds: u64,
    /// The largest size of each file.
    pub(super) bytes: u64,
    /// How many connections it takes at most.
    pub(super) connections: usize,
    /// How many open connections it chose when it began.
    pub(super) matches: usize,
    /// The files, one for each connection.
    pub(super) files: Vec<CapturedFile>,
    /// Connections that it chose and could not take; at most 100.
    pub(super) skipped: Vec<SkippedClient>,
}

/// A connection that a capture chose and could not take.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SkippedClient {
    pub(super) client_id: String,
    /// Why, in words.
    pub(super) reason: String,
}

/// A file of a capture.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CapturedFile {
    pub(super) client_id: String,
    /// The path on the server.
    pub(super) file: String,
    /// True if it begins with the connection: `anabranch replay` then runs it again. Otherwise it begins in the middle,
    /// and `anabranch replay` shows it.
    pub(super) from_start: bool,
    pub(super) bytes: u64,
    /// Why it ended: `connection_closed`, `byte_limit`, `time_limit`, `ended_by_api`, `disk_slow`, `disk_failed`,
    /// `disk_full`. Empty while it is written.
    pub(super) reason: String,
    /// The same in words.
    pub(super) words: String,
}

fn show(context: &Context, view: CaptureView) -> Capture {
    let file = |file: FileView| CapturedFile {
        client_id: context.identity.client_id(file.connection),
        file: file.path.display().to_string(),
        from_start: file.from_start,
        bytes: file.bytes,
        reason: file.end.as_ref().map(|end| end.name().to_owned()).unwrap_or_default(),
        words: file.end.as_ref().map(anabranch_program::FileEnd::words).unwrap_or_default(),
    };
    let skipped =
        |LeftOut { connection, why }| SkippedClient { client_id: context.identity.client_id(connection), reason: why };
    Capture {
        id: view.number,
        selector: view.choice.to_string(),
        state: if view.ended.is_some() { "ended" } else { "running" }.to_owned(),
        reason: view.ended.unwrap_or_default().to_owned(),
        begun_ms: milliseconds(view.begun),
        seconds: view.limits.time.as_secs(),
        bytes: view.limits.bytes,
        connections: view.limits.connections,
        matches: view.matches,
        files: view.files.into_iter().map(file).collect(),
        skipped: view.left_out.into_iter().map(skipped).collect(),
    }
}

fn bad(words: impl Into<String>) -> Reply {
    Reply::error(StatusCode::BAD_REQUEST, 400, words)
}

pub(super) fn list(context: &Context, _: &Call<'_>) -> Reply {
    let list = match &context.workers.captures {
        Capturing::All(_) => Vec::new(),
        Capturing::Chosen(captures) => captures.list(),
    };
    json(context, Captures { captures: list.into_iter().map(|view| show(context, view)).collect() })
}

pub(super) fn one(context: &Context, call: &Call<'_>) -> Reply {
    answer(context, call, ChosenCaptures::find)
}

pub(super) fn end(context: &Context, call: &Call<'_>) -> Reply {
    answer(context, call, ChosenCaptures::end)
}

fn answer(context: &Context, call: &Call<'_>, act: fn(&ChosenCaptures, u64) -> Option<CaptureView>) -> Reply {
    let found = match (&context.workers.captures, call.id.parse()) {
        (Capturing::Chosen(captures), Ok(number)) => act(captures, number),
        _ => None,
    };
    match found {
        Some(view) => json(context, OneCapture { capture: show(context, view) }),
        None => Reply::error(StatusCode::NOT_FOUND, 404, "there is no such capture"),
    }
}

pub(super) fn begin(context: &Context, call: &Call<'_>) -> Reply {
    let captures = match &context.workers.captures {
        Capturing::Chosen(captures) => captures,
        Capturing::All(_) => {
            let words = "each connection is captured already, into capture.folder";
            return Reply::error(StatusCode::CONFLICT, 409, words);
        }
    };
    let choice = match choice(context, call) {
        Ok(choice) => choice,
        Err(NoChoice::Wrong(words)) => return bad(words),
        Err(NoChoice::Missing(code, words)) => return Reply::error(StatusCode::NOT_FOUND, code, words),
    };
    let limits = match limits(call, captures.largest_file()) {
        Ok(limits) => limits,
        Err(words) => return bad(words),
    };
    match captures.begin(&choice, limits) {
        Ok(view) => json(context, OneCapture { capture: show(context, view) }),
        Err(NotBegun::Connection(CaptureError::NoConnection)) => {
            Reply::error(StatusCode::NOT_FOUND, NO_CLIENT, "there is no such client")
        }
        Err(NotBegun::Failed(words)) => Reply::error(StatusCode::INSUFFICIENT_STORAGE, 507, words),
        Err(error) => Reply::error(StatusCode::CONFLICT, 409, error.to_string()),
    }
}

/// Why the parameters choose nothing.
pub(super) enum NoChoice {
    /// They are not valid, for this reason.
    Wrong(String),
    /// There is no such client, stream or virtual host: the API's code and the words.
    Missing(u32, String),
}

impl NoChoice {
    fn wrong(words: impl Into<String>) -> Self {
        NoChoice::Wrong(words.into())
    }
}

/// What the capture takes: exactly one of `client`, `address` and `stream`.
fn choice(context: &Context, call: &Call<'_>) -> Result<CaptureChoice, NoChoice> {
    let given = |name: &str| call.parameter(name).filter(|text| !text.is_empty()).map(decoded);
    let role = given("role");
    if role.is_some() && given("stream").is_none() {
        return Err(NoChoice::wrong("role needs stream"));
    }
    match (given("client"), given("address"), given("stream")) {
        (Some(client), None, None) => match context.identity.connection(&client) {
            Some(id) => Ok(CaptureChoice::Connection(id)),
            None => Err(NoChoice::Missing(NO_CLIENT, "there is no such client".to_owned())),
        },
        (None, Some(network), None) => match network.parse::<Network>() {
            Ok(network) => Ok(CaptureChoice::Network(network)),
            Err(error) => Err(NoChoice::wrong(format!("address: {error}"))),
        },
        (None, None, Some(stream)) => {
            let role = match role.as_deref() {
                None => None,
                Some("publisher") => Some(Role::Publisher),
                Some("player") => Some(Role::Player),
                Some(_) => return Err(NoChoice::wrong("role: expected \"publisher\" or \"player\"")),
            };
            Ok(CaptureChoice::Stream { key: stream_key(context, &stream)?, role })
        }
        _ => Err(NoChoice::wrong("expected one of client, address and stream")),
    }
}

/// A stream by its id, or by its name: `app/stream`, `app/stream?vhost=NAME`.
pub(super) fn stream_key(context: &Context, text: &str) -> Result<StreamKey, NoChoice> {
    if text.starts_with("vid-") && !text.contains('/') {
        let mut streams = context.handle.stats().streams.into_iter();
        let found = streams.find(|stream| context.identity.stream_id(&stream.key) == text);
        let missing = || NoChoice::Missing(NO_STREAM, "there is no stream of this id".to_owned());
        return found.map(|stream| stream.key).ok_or_else(missing);
    }
    let path = text.split('?').next().unwrap_or_default();
    if !path.trim_matches('/').contains('/') {
        return Err(NoChoice::wrong("stream: expected APP/STREAM, APP/STREAM?vhost=NAME or a stream's id"));
    }
    context.handle.stream_key(text).map_err(|error| match error {
        LocalError::Refused(refusal) => NoChoice::Missing(NO_VHOST, format!("stream: {refusal}")),
        error => {
            NoChoice::wrong(format!("stream: {error}: expected APP/STREAM, APP/STREAM?vhost=NAME or a stream's id"))
        }
    })
}

fn limits(call: &Call<'_>, largest: u64) -> Result<ChosenLimits, String> {
    let largest = usize::try_from(largest).unwrap_or(usize::MAX);
    let within = |name: &str, default: usize, least: usize, most: usize| match call.number(name, default)? {
        value if (least..=most).contains(&value) => Ok(value),
        value => Err(format!("{name} is {value}: expected {least} to {most}")),
    };
    let bytes = within("bytes", largest, LEAST_BYTES.min(largest), largest)?;
    let seconds = within("seconds", SECONDS, 1, MOST_SECONDS)?;
    let connections = within("connections", CONNECTIONS, 1, MOST_CONNECTIONS)?;
    Ok(ChosenLimits { bytes: bytes as u64, time: Duration::from_secs(seconds as u64), connections })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_bounds_that_the_error_names() {
        let of = |query: &'static str| limits(&Call::new("", query), 64 << 20);
        let all = of("").unwrap();
        assert_eq!((all.bytes, all.time.as_secs(), all.connections), (64 << 20, 600, 10));
        assert_eq!(of("bytes=100000&seconds=5&connections=2").unwrap().bytes, 100_000);
        for (query, words) in [
            ("bytes=1", "65536 to 67108864"),
            ("bytes=67108865", "67108864"),
            ("seconds=0", "1 to 86400"),
            ("connections=101", "1 to 100"),
            ("seconds=x", "a number"),
        ] {
            assert!(of(query).unwrap_err().contains(words), "{query}");
        }
    }
}
