//! Connections that the server opened to other servers, and what the log says about relays.

use std::sync::Arc;

use anabranch_core::conn::Ended;
use anabranch_core::relay::{RelayEvent, Remark, Uplink, UplinkReport};
use anabranch_core::session::DueKind;
use anabranch_core::url::{StreamKey, shortened};
use tracing::{debug, info, warn};

use crate::Lines;
use crate::events::MANY;

/// The log lines of a connection of either kind.
#[derive(Debug)]
pub enum AnyLines {
    /// A client opened the connection.
    Client(Lines),
    /// The server opened it.
    Uplink(UplinkLines),
}

/// The log lines of a connection to another server.
#[derive(Debug)]
pub struct UplinkLines {
    id: u64,
    key: StreamKey,
    target: Arc<str>,
}

impl AnyLines {
    /// The connection's number.
    pub fn id(&self) -> u64 {
        match self {
            AnyLines::Client(lines) => lines.id(),
            AnyLines::Uplink(lines) => lines.id,
        }
    }

    /// A deadline of the connection came.
    pub fn deadline(&self, due: DueKind) {
        match self {
            AnyLines::Client(lines) => lines.deadline(due),
            AnyLines::Uplink(UplinkLines { id, .. }) => {
                debug!(event = "deadline", conn = id, due = due.name(), "uplink {id} had a deadline: {due}");
            }
        }
    }

    /// The connection cannot be served, because the system does not give what that needs.
    pub fn not_served(&self, error: &std::io::Error) {
        match self {
            AnyLines::Client(lines) => lines.not_served(error),
            AnyLines::Uplink(UplinkLines { id, target, .. }) => {
                warn!(event = "not_served", conn = id, target = %target, error = %error,
                    "uplink {id} to {target} cannot be served: {error}");
            }
        }
    }
}

impl UplinkLines {
    /// The connection is open.
    pub(crate) fn opened(uplink: &Uplink) -> Self {
        let lines = UplinkLines { id: uplink.id(), key: uplink.key().clone(), target: uplink.target().clone() };
        let UplinkLines { id, key, target } = &lines;
        let (relay, kind, peer) = (uplink.relay().number(), uplink.kind(), uplink.peer());
        debug!(
            event = "uplink_opened",
            conn = id,
            relay,
            kind = kind.name(),
            stream = &*shortened(key.stream()),
            target = %target,
            address = %peer,
            "uplink {id}: {kind} of {}, {target} at {peer}",
            key.shown()
        );
        lines
    }

    pub(crate) fn closed(&self, report: &UplinkReport) {
        let (id, close) = (self.id, &report.close);
        let (vhost, app, stream) =
            (shortened(self.key.vhost()), shortened(self.key.app()), shortened(self.key.stream()));
        let some = |count: u64| Some(count).filter(|count| *count > 0);
        info!(
            target: MANY,
            event = "uplink_closed",
            conn = id,
            relay = report.relay.number(),
            kind = report.kind.name(),
            reason = close.reason.name(),
            words = %close.reason,
            phase = %close.phase,
            vhost = &*vhost,
            app = &*app,
            stream = &*stream,
            target = &*report.target,
            address = %report.peer,
            received = report.received,
            sent = report.sent,
            seconds = report.duration.as_secs_f64(),
            missed_frames = some(report.missed.frames),
            missed_bytes = some(report.missed.bytes),
            missed_ms = some(report.missed.milliseconds),
            given_up = some(report.given_up),
            "uplink {id} closed: {report}"
        );
    }
}

/// The name of the reason for the end, for totals.
pub(crate) fn reason_of(ended: &Ended) -> &'static str {
    match ended {
        Ended::Client(report) => report.close.reason.name(),
        Ended::Uplink(report) => report.close.reason.name(),
    }
}

/// Logs what operators should know about a relay.
pub(crate) fn log(remark: &Remark) {
    let Remark { id, kind, key, target, event } = remark;
    let (relay, kind) = (id.number(), kind.name());
    let (vhost, app, stream) = (shortened(key.vhost()), shortened(key.app()), shortened(key.stream()));
    macro_rules! line {
        ($level:ident, event = $event:literal $(, $field:ident = $value:expr)*) => {
            $level!(target: MANY, event = $event, relay, kind, vhost = &*vhost, app = &*app, stream = &*stream,
                target = %target, $($field = $value,)* "relay {relay}: {remark}")
        };
    }
    let some = |count: u64| Some(count).filter(|count| *count > 0);
    let filled = |text: &'_ str| Some(text.to_owned()).filter(|text| !text.is_empty());
    match event {
        RelayEvent::Connecting => line!(info, event = "relay_connecting"),
        RelayEvent::Live { peer, after, left_out } => line!(
            info,
            event = "relay_live",
            address = peer.to_string(),
            seconds = after.as_secs_f64(),
            left_out = filled(left_out)
        ),
        RelayEvent::Failed { error, failures, next, .. } => line!(
            warn,
            event = "relay_failed",
            reason = error.name,
            code = filled(&error.code),
            words = filled(&error.words),
            lasting = error.is_lasting,
            failures = *failures,
            next_seconds = next.map(|next| next.as_secs_f64())
        ),
        RelayEvent::Lagging { missed, behind } => line!(
            warn,
            event = "relay_lagging",
            missed_frames = some(missed.frames),
            missed_bytes = some(missed.bytes),
            missed_ms = some(missed.milliseconds),
            behind_frames = some(*behind)
        ),
        RelayEvent::KeepsUp { time, missed } => line!(
            info,
            event = "relay_keeps_up",
            seconds = time.as_secs_f64(),
            missed_frames = missed.frames,
            missed_bytes = missed.bytes,
            missed_ms = missed.milliseconds
        ),
        RelayEvent::Redirected { to } => line!(info, event = "relay_redirected", to = &**to),
        RelayEvent::NotTrusted => line!(warn, event = "relay_not_trusted"),
        RelayEvent::Silent => line!(info, event = "relay_silent"),
        RelayEvent::Absent => line!(info, event = "relay_absent"),
        RelayEvent::NotBegun { why } => line!(warn, event = "relay_not_begun", words = &**why),
        RelayEvent::Ended { why } => line!(info, event = "relay_ended", reason = why.name()),
        _ => line!(info, event = "relay_changed"),
    }
}
