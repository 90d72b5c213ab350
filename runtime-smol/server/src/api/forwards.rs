//! Pushes to and pulls from other servers. No answer has a secret of a URL.

use std::time::{Duration, Instant, SystemTime};

use anabranch_core::relay::{NotAdded, RelayId, RelayKind, RelaySnapshot};
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use tracing::info;

use super::answers::{json, page};
use super::captures::{NoChoice, stream_key};
use super::context::{Context, milliseconds};
use super::health::decoded;
use super::reply::Reply;
use super::routes::Call;
use super::shapes::Done;

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Forwards {
    /// The pushes, in the order in which they began.
    pub(super) forwards: Vec<Relay>,
    /// How many there are.
    pub(super) total: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OneForward {
    pub(super) forward: Relay,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Edges {
    /// The pulls from origins, and what is published at origins, in the order in which they began.
    pub(super) edge: Vec<Relay>,
    /// How many there are.
    pub(super) total: usize,
}

/// A push or a pull.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Relay {
    /// Its number in this run of the server.
    pub(super) id: u64,
    /// `push`, `pull`, `upward` (what a client publishes at an edge is published at the origin) or `traverse` (an origin is
    /// asked about a client's connect).
    pub(super) kind: String,
    pub(super) vhost: String,
    pub(super) app: String,
    pub(super) stream: String,
    /// The stream's id, as in the list of streams.
    pub(super) stream_id: String,
    /// The target or the origin. `***` stands for what may be secret.
    pub(super) target: String,
    /// Where the target comes from: `configuration`, `hook` or `api`.
    pub(super) source: String,
    /// `idle`, `connecting`, `silent`, `live`, `lagging`, `waiting`, `refused` or `ending`.
    pub(super) state: String,
    /// Milliseconds since it has been in this state.
    pub(super) state_ms: u64,
    /// Milliseconds since it began.
    pub(super) age_ms: u64,
    /// How many attempts in a row have failed.
    pub(super) failures: u32,
    /// When the next attempt begins, in milliseconds since 1970; 0 if it does not wait for one.
    pub(super) next_try_ms: u64,
    /// Why the last attempt failed or the last connection ended, if there was a failure.
    pub(super) last_error: Option<RelayFailure>,
    /// What the other server does not take of the stream, such as a codec; empty if it takes all.
    pub(super) left_out: String,
    /// The address of the other server; empty if there is no connection.
    pub(super) address: String,
    /// Attempts that were made.
    pub(super) attempts: u64,
    /// Attempts that became live.
    pub(super) connects: u64,
    /// Bytes on all its connections.
    pub(super) recv_bytes: u64,
    pub(super) send_bytes: u64,
    /// Audio, video and data messages on all its connections.
    pub(super) recv_frames: u64,
    pub(super) send_frames: u64,
    /// Frames that a push did not send because the target was slow or gone.
    pub(super) dropped_frames: u64,
    /// How much media that was, in milliseconds.
    pub(super) dropped_ms: u64,
    /// How many frames a push is behind the newest one.
    pub(super) lag_frames: u64,
    /// Of a pull within a cluster: over how many connections between servers the stream comes; otherwise 0.
    pub(super) hop: u8,
    /// Of a pull within a cluster: the id of the server that sends the stream; otherwise empty.
    pub(super) parent: String,
}

/// Why an attempt failed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RelayFailure {
    /// A name that does not change, such as `resolve`, `connect`, `tls` or `rejected`.
    pub(super) reason: String,
    /// The other server's status code, such as `NetStream.Publish.BadName`; empty if it gave none.
    pub(super) code: String,
    /// In words.
    pub(super) words: String,
    /// True if the next attempt will fail in the same way unless something is changed.
    pub(super) lasting: bool,
}

fn show(context: &Context, relay: &RelaySnapshot, now: Instant) -> Relay {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let next_try = relay.next_try.map(|at| SystemTime::now() + at.saturating_duration_since(now));
    let failure = relay.last_error.as_ref().map(|error| RelayFailure {
        reason: error.name.to_owned(),
        code: error.code.clone(),
        words: error.words.clone(),
        lasting: error.is_lasting,
    });
    Relay {
        id: relay.id.number(),
        kind: relay.kind.name().to_owned(),
        vhost: relay.key.vhost().to_owned(),
        app: relay.key.app().to_owned(),
        stream: relay.key.stream().to_owned(),
        stream_id: context.identity.stream_id(&relay.key),
        target: relay.target.to_string(),
        source: relay.source.name().to_owned(),
        state: relay.state.name().to_owned(),
        state_ms: ms(now.saturating_duration_since(relay.since)),
        age_ms: ms(relay.age),
        failures: relay.failures,
        next_try_ms: next_try.map_or(0, milliseconds),
        last_error: failure,
        left_out: relay.left_out.clone(),
        address: relay.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        attempts: relay.attempts,
        connects: relay.connects,
        recv_bytes: relay.bytes_in,
        send_bytes: relay.bytes_out,
        recv_frames: relay.frames_in,
        send_frames: relay.frames_out,
        dropped_frames: relay.dropped.frames,
        dropped_ms: relay.dropped.milliseconds,
        lag_frames: relay.lag,
        hop: relay.hop.unwrap_or(0),
        parent: relay.parent.as_deref().unwrap_or_default().to_owned(),
    }
}

/// A page of the relays of these kinds, and how many there are.
fn listed(context: &Context, call: &Call<'_>, is_one: fn(RelayKind) -> bool) -> Result<(Vec<Relay>, usize), String> {
    let (start, count) = page(call)?;
    let mut all = context.handle.relays();
    all.retain(|relay| is_one(relay.kind));
    let now = Instant::now();
    let relays = all.iter().skip(start).take(count).map(|relay| show(context, relay, now)).collect();
    Ok((relays, all.len()))
}

fn bad(words: impl Into<String>) -> Reply {
    Reply::error(StatusCode::BAD_REQUEST, 400, words)
}

fn missing() -> Reply {
    Reply::error(StatusCode::NOT_FOUND, 404, "there is no such push")
}

pub(super) fn forwards(context: &Context, call: &Call<'_>) -> Reply {
    match listed(context, call, |kind| kind == RelayKind::Push) {
        Ok((forwards, total)) => json(context, Forwards { forwards, total }),
        Err(words) => bad(words),
    }
}

pub(super) fn edge(context: &Context, call: &Call<'_>) -> Reply {
    match listed(context, call, |kind| kind != RelayKind::Push) {
        Ok((edge, total)) => json(context, Edges { edge, total }),
        Err(words) => bad(words),
    }
}

fn found(context: &Context, id: RelayId) -> Option<Relay> {
    let relays = context.handle.relays();
    let relay = relays.iter().find(|relay| relay.id == id && relay.kind == RelayKind::Push)?;
    Some(show(context, relay, Instant::now()))
}

pub(super) fn forward(context: &Context, call: &Call<'_>) -> Reply {
    let id = call.id.parse().ok().map(RelayId::of_number);
    match id.and_then(|id| found(context, id)) {
        Some(forward) => json(context, OneForward { forward }),
        None => missing(),
    }
}

pub(super) fn add(context: &Context, call: &Call<'_>) -> Reply {
    let given = |name: &str| call.parameter(name).filter(|text| !text.is_empty()).map(decoded);
    let (Some(stream), Some(url)) = (given("stream"), given("url")) else {
        return bad("expected stream and url");
    };
    let key = match stream_key(context, &stream) {
        Ok(key) => key,
        Err(NoChoice::Wrong(words)) => return bad(words),
        Err(NoChoice::Missing(code, words)) => return Reply::error(StatusCode::NOT_FOUND, code, words),
    };
    match context.handle.add_forward(&key, &url) {
        Ok(id) => match found(context, id) {
            Some(forward) => {
                let (relay, target) = (forward.id, forward.target.clone());
                info!(
                    event = "forward_added",
                    relay,
                    target,
                    "relay {relay}: a push of {} to {target} was added through the API",
                    key.shown()
                );
                json(context, OneForward { forward })
            }
            None => missing(),
        },
        Err(NotAdded::Url(error)) => bad(format!("url: {error}")),
        Err(error) => Reply::error(StatusCode::CONFLICT, 409, error.to_string()),
    }
}

pub(super) fn remove(context: &Context, call: &Call<'_>) -> Reply {
    match call.id.parse().ok().map(RelayId::of_number) {
        Some(id) if context.handle.remove_forward(id) => {
            info!(event = "forward_removed", relay = id.number(), "relay {id}: the push was removed through the API");
            json(context, Done {})
        }
        _ => missing(),
    }
}
