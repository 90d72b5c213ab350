use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anabranch_core::conn::{Action, Attachment, Delivery, Refused, Remark, Report, Role};
use anabranch_core::hub::{HeldBy, StreamId, Switched};
use anabranch_core::policy::Refusal;
use anabranch_core::session::{CloseReason, DueKind, Outcome, Phase};
use anabranch_core::source::Gap;
use anabranch_core::url::{DEFAULT_VHOST, StreamKey, quoted, shortened};
use tracing::{Level, debug, enabled, info, warn};

use crate::addresses::AddressRule;
use crate::before_connect::BeforeConnect;
use crate::events::MANY;

/// Most lines of a connection about what it publishes and plays: a client can begin again as often as it likes.
const ATTACH_LINES: u32 = 10;
/// Characters shown of a client's own name, which may be as long as the client likes.
const AGENT_LENGTH: usize = 64;
/// The target of lines, at debug level, about connections that ended before `connect` while many were opened.
const BEFORE_CONNECT: &str = "anabranch_host::before_connect";

/// Writes the log lines of a connection: opened, identified, refused, waiting, slow, closed. Each has the connection's
/// number as the field `conn`, its name as the field `event`, and each value in its text as a field.
#[derive(Debug)]
pub struct Lines {
    id: u64,
    peer: SocketAddr,
    addresses: Arc<AddressRule>,
    /// Whether the first line was written: while many connections are opened, it waits until the client has connected.
    shown: AtomicBool,
    before_connect: Arc<BeforeConnect>,
    /// How often it attached to a stream.
    attached: AtomicU32,
    streams: Mutex<Streams>,
    /// The last request that was refused.
    refused: Mutex<Option<Box<Refused>>>,
}

/// What a connection publishes and plays.
#[derive(Debug, Default)]
struct Streams {
    present: Vec<(StreamId, Role, StreamKey)>,
    /// The last one, a published one before a played one.
    last: Option<(Role, StreamKey)>,
}

impl Lines {
    /// The connection is open. `id` is in each of its lines.
    pub(crate) fn opened(
        id: u64,
        peer: SocketAddr,
        addresses: Arc<AddressRule>,
        before_connect: Arc<BeforeConnect>,
    ) -> Self {
        let shown = before_connect.show(Instant::now());
        let streams = Mutex::default();
        let lines = Lines {
            id,
            peer,
            addresses,
            shown: AtomicBool::new(shown),
            before_connect,
            attached: AtomicU32::new(0),
            streams,
            refused: Mutex::default(),
        };
        let address = lines.address(Some(peer));
        let from = From(address.as_deref());
        if shown {
            info!(event = "opened", conn = id, address = address.as_deref(), "conn {id} opened{from}");
        } else {
            let address = address.as_deref();
            debug!(target: BEFORE_CONNECT, event = "opened", conn = id, address, "conn {id} opened{from}");
        }
        lines
    }

    /// Writes the first line, if it was left out so far.
    fn show(&self) {
        // If the target is logged at debug level, the line is in the log already.
        let logged = || enabled!(target: BEFORE_CONNECT, Level::DEBUG);
        if !self.shown.swap(true, Ordering::Relaxed) && !logged() {
            let (id, address) = (self.id, self.address(Some(self.peer)));
            let from = From(address.as_deref());
            info!(event = "opened", conn = id, address = address.as_deref(), "conn {id} opened{from}");
        }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Logs an action of the connection, if there is a line for it.
    pub fn action(&self, action: &Action) {
        match action {
            Action::Attach(attachment) => self.identified(attachment),
            Action::Detach { role, stream, .. } => self.detached(*role, *stream),
            Action::Remark(remark) => self.remark(remark),
            Action::Subscribe(_)
            | Action::Unsubscribe(_)
            | Action::Wake(_)
            | Action::Finish
            | Action::Request(_)
            | Action::Ask(_)
            | Action::Notify(_) => {}
        }
    }

    fn identified(&self, attachment: &Attachment) {
        self.show();
        let Attachment { role, stream, key, unknown_host, client, agent, delivery, peer, backup, .. } = attachment;
        let shown_role = if *backup { "backup" } else { role.name() };
        {
            let mut streams = self.streams();
            streams.present.reserve_exact(1);
            streams.present.push((*stream, *role, key.clone()));
            if *role == Role::Publisher || !matches!(streams.last, Some((Role::Publisher, _))) {
                streams.last = Some((*role, key.clone()));
            }
        }
        let (id, names, address) = (self.id, Names::of(key), self.address(*peer));
        // Publishers have a manner.
        let form = client.is_none().then(|| delivery.name());
        let client = client.map_or(delivery.kind(), |client| client.name());
        // Before it is cut: half of an address would stay.
        let agent = self.cleaned(agent.as_deref().unwrap_or_default(), *peer);
        let (agent, cut) = match agent.char_indices().nth(AGENT_LENGTH) {
            Some((end, _)) => (&agent[..end], "..."),
            None => (&*agent, ""),
        };
        let mut line = format!("conn {id}{} is {shown_role} of {}", From(address.as_deref()), key.shown());
        if let Some(host) = unknown_host {
            line += &format!(", as there is no virtual host {}", quoted(host));
        }
        let how = form.filter(|_| *delivery != Delivery::Rtmp).unwrap_or(client);
        line += &format!(", {how} \"{}{cut}\"", agent.escape_debug());
        macro_rules! log_line {
            ($level:ident) => {
                $level!(
                    event = "identified",
                    conn = id,
                    role = shown_role,
                    vhost = &*names.vhost,
                    app = &*names.app,
                    stream = &*names.stream,
                    unknown_host = unknown_host.as_deref(),
                    address = address.as_deref(),
                    client,
                    form,
                    agent,
                    "{line}"
                )
            };
        }
        match self.attached.fetch_add(1, Ordering::Relaxed) {
            ..ATTACH_LINES => log_line!(info),
            ATTACH_LINES => {
                info!(
                    event = "lines_reduced",
                    conn = id,
                    "conn {id} goes on like that; from here its lines are at debug level"
                );
                log_line!(debug);
            }
            _ => log_line!(debug),
        }
    }

    fn detached(&self, role: Role, stream: StreamId) {
        let key = {
            let present = &mut self.streams().present;
            let found = present.iter().position(|(id, its_role, _)| (*id, *its_role) == (stream, role));
            found.map(|index| present.swap_remove(index).2)
        };
        let Some(key) = key else {
            return;
        };
        let (id, names) = (self.id, Names::of(&key));
        debug!(
            event = "detached",
            conn = id,
            role = role.name(),
            vhost = &*names.vhost,
            app = &*names.app,
            stream = &*names.stream,
            "conn {id} is no longer {role} of {}",
            key.shown()
        );
    }

    fn remark(&self, remark: &Remark) {
        let id = self.id;
        match remark {
            Remark::Refused(refused) => self.refused(refused),
            Remark::TookOver { key, from } => {
                let names = Names::of(key);
                info!(
                    event = "took_over",
                    conn = id,
                    vhost = &*names.vhost,
                    app = &*names.app,
                    stream = &*names.stream,
                    holder = number(from),
                    "conn {id} {remark}"
                );
                // The other one, which learns of it when it sends something.
                if let Some(before) = number(from) {
                    info!(
                        event = "taken_over",
                        conn = before,
                        vhost = &*names.vhost,
                        app = &*names.app,
                        stream = &*names.stream,
                        by = id,
                        "conn {before} lost {} to conn {id}",
                        key.shown()
                    );
                }
            }
            Remark::Waits(key) => {
                let names = Names::of(key);
                info!(
                    target: MANY,
                    event = "waits",
                    conn = id,
                    vhost = &*names.vhost,
                    app = &*names.app,
                    stream = &*names.stream,
                    "conn {id} {remark}"
                );
            }
            Remark::WaitsAgain(key) => {
                let names = Names::of(key);
                info!(
                    target: MANY,
                    event = "waits_again",
                    conn = id,
                    vhost = &*names.vhost,
                    app = &*names.app,
                    stream = &*names.stream,
                    "conn {id} {remark}"
                );
            }
            Remark::Began { key, waited } => {
                let names = Names::of(key);
                info!(
                    target: MANY,
                    event = "began",
                    conn = id,
                    vhost = &*names.vhost,
                    app = &*names.app,
                    stream = &*names.stream,
                    seconds = waited.as_secs_f64(),
                    "conn {id} {remark}"
                );
            }
            Remark::Slow { key, missed, behind } => {
                let names = Names::of(key);
                // Zero is not measured.
                let some = |count: u64| Some(count).filter(|count| *count > 0);
                warn!(
                    event = "slow",
                    conn = id,
                    vhost = &*names.vhost,
                    app = &*names.app,
                    stream = &*names.stream,
                    missed_frames = some(missed.frames),
                    missed_bytes = some(missed.bytes),
                    missed_ms = some(missed.milliseconds),
                    behind_frames = some(*behind),
                    "conn {id} {remark}"
                );
            }
            Remark::KeepsUp { key, time, missed } => {
                let names = Names::of(key);
                info!(
                    target: MANY,
                    event = "keeps_up",
                    conn = id,
                    vhost = &*names.vhost,
                    app = &*names.app,
                    stream = &*names.stream,
                    seconds = time.as_secs_f64(),
                    missed_frames = missed.frames,
                    missed_bytes = missed.bytes,
                    missed_ms = missed.milliseconds,
                    "conn {id} {remark}"
                );
            }
            Remark::Keyless(key) => {
                let names = Names::of(key);
                warn!(
                    event = "keyless",
                    conn = id,
                    vhost = &*names.vhost,
                    app = &*names.app,
                    stream = &*names.stream,
                    "conn {id}: {remark}"
                );
            }
            Remark::NoSound(key) => {
                let names = Names::of(key);
                info!(
                    target: MANY,
                    event = "no_sound",
                    conn = id,
                    vhost = &*names.vhost,
                    app = &*names.app,
                    stream = &*names.stream,
                    "conn {id} {remark}"
                );
            }
            Remark::BeyondChildren(key) => {
                let names = Names::of(key);
                info!(
                    target: MANY,
                    event = "beyond_children",
                    conn = id,
                    vhost = &*names.vhost,
                    app = &*names.app,
                    stream = &*names.stream,
                    "conn {id} {remark}"
                );
            }
            Remark::BackupReady { key, on_air } => {
                let names = Names::of(key);
                info!(
                    event = "backup_ready",
                    conn = id,
                    vhost = &*names.vhost,
                    app = &*names.app,
                    stream = &*names.stream,
                    holder = on_air.as_ref().and_then(number),
                    "conn {id} {remark}"
                );
            }
            Remark::Switched { key, because: Switched::Returned, before } => {
                let names = Names::of(key);
                info!(
                    event = "backup_returned",
                    conn = id,
                    vhost = &*names.vhost,
                    app = &*names.app,
                    stream = &*names.stream,
                    holder = before.as_ref().and_then(number),
                    "conn {id} {remark}"
                );
            }
            Remark::Switched { key, because, before } => {
                let names = Names::of(key);
                warn!(
                    event = "backup_took_over",
                    conn = id,
                    vhost = &*names.vhost,
                    app = &*names.app,
                    stream = &*names.stream,
                    holder = before.as_ref().and_then(number),
                    reason = because.name(),
                    "conn {id} {remark}"
                );
            }
            other => info!(event = other.name(), conn = id, "conn {id}: {other}"),
        }
    }

    fn refused(&self, refused: &Refused) {
        let Refused { code, request, vhost, unknown_host, app, stream, status, told, peer, holder } = refused;
        let (id, address) = (self.id, self.address(*peer));
        let (holder_conn, holder_peer) = match holder {
            Some(HeldBy::Client { connection, address } | HeldBy::Relay { connection, address }) => {
                (Some(*connection), *address)
            }
            Some(HeldBy::Program) | None => (None, None),
        };
        let holder_address = self.address(holder_peer);
        let all = || peer.iter().chain(&holder_peer).copied();
        let told = self.cleaned(told, all());
        let mut line = format!("conn {id}{} is refused ({code}", From(address.as_deref()));
        match (holder, holder_conn) {
            (_, Some(holder)) => line += &format!(", held by conn {holder}{}", From(holder_address.as_deref())),
            (Some(_), None) => line += ", held by the program around the server",
            (None, None) => {}
        }
        line += &format!("): {}", refused.asked());
        if !told.is_empty() {
            line += &format!("; told: {told:?} ({status})");
        }
        *self.last_refused() = Some(Box::new(refused.clone()));
        let some = |text: &'static str| Some(text).filter(|text| !text.is_empty());
        macro_rules! line {
            ($level:ident) => {
                $level!(
                    event = "refused",
                    conn = id,
                    code,
                    request = request.name(),
                    vhost = filled(vhost),
                    app = filled(app),
                    stream = filled(stream),
                    unknown_host = unknown_host.as_deref(),
                    status = some(status),
                    told = filled(&told),
                    address = address.as_deref(),
                    holder = holder_conn,
                    holder_address = holder_address.as_deref(),
                    "{line}"
                )
            };
        }
        // A cluster grows its trees so.
        if *code == Refusal::PullReferred.code() { line!(info) } else { line!(warn) }
    }

    /// A deadline of the connection came.
    pub fn deadline(&self, due: DueKind) {
        let id = self.id;
        debug!(event = "deadline", conn = id, due = due.name(), "conn {id} had a deadline: {due}");
    }

    /// The connection cannot be served, because the system does not give what that needs.
    pub fn not_served(&self, error: &std::io::Error) {
        let id = self.id;
        warn!(event = "not_served", conn = id, error = %error, "conn {id} cannot be served: {error}");
    }

    /// What the connection published last, or played if it never published.
    pub(crate) fn last(&self) -> Option<(Role, StreamKey)> {
        self.streams().last.clone()
    }

    /// The request whose refusal ended the connection. A connection that a rule ended after it was granted is told by
    /// [`last`](Self::last).
    pub(crate) fn refused_at_end(&self, report: &Report) -> Option<Box<Refused>> {
        let refused = self.last_refused().clone()?;
        let is_request = self.streams().last.is_none() || matches!(report.close.reason, CloseReason::Rejected(_));
        let is_end = report.close.outcome() == Outcome::Refused && report.refused == Some(refused.code);
        (is_request && is_end).then_some(refused)
    }

    /// The connection is closed. `waiting` counts the players that wait for a stream.
    pub(crate) fn closed(&self, report: &Report, waiting: impl FnOnce(&StreamKey) -> usize) {
        let (id, close) = (self.id, &report.close);
        let Closed { outcome, words } = Closed::of(report);
        let was = self.streams().last.clone();
        let address = self.address(report.peer.or(Some(self.peer)));
        let names = was.as_ref().map(|(_, key)| Names::of(key));
        let published = was.as_ref().filter(|(role, _)| *role == Role::Publisher);
        let left = published.map(|(_, key)| waiting(key)).filter(|left| *left > 0);
        let refused = self.refused_at_end(report);
        let all = || report.peer.iter().copied();
        let told = self.cleaned(&close.told, all());
        let told = shortened(&told);
        let error = close.reason.to_string();
        let error = self.cleaned(&error, all());
        let mut line = format!("conn {id} closed: {words}");
        if let (Outcome::Refused, Some(code)) = (outcome, report.refused) {
            line += &format!(" ({code})");
        }
        if let Some(address) = &address {
            line += &format!(", from {address}");
        }
        match (&refused, &was) {
            (Some(refused), _) => line += &format!(": {}", refused.asked()),
            (None, Some((role, key))) => line += &format!(", {role} of {}", key.shown()),
            (None, None) if report.vhost.is_empty() || report.vhost == DEFAULT_VHOST => {}
            (None, None) => line += &format!(", in virtual host {}", quoted(&shortened(&report.vhost))),
        }
        match left {
            Some(1) => line += ", for which 1 player waits",
            Some(left) => line += &format!(", for which {left} players wait"),
            None => {}
        }
        // The line begins with "refused" already.
        let reason = if refused.is_some() { error.strip_prefix("refused: ").unwrap_or(&error) } else { &error };
        line += &format!("; {reason} ({}) in phase {} at byte {}", close.reason.name(), close.phase, close.offset);
        if !told.is_empty() {
            line += &format!("; told: {told:?}");
        }
        line += &format!("; {}", report.counts());
        let came_to_nothing =
            was.is_none() && (matches!(close.phase, Phase::Handshake | Phase::Connect) || outcome == Outcome::Refused);
        let (left_out, ignored) = (report.left_out, report.ignored);
        let (role, request) = (was.as_ref().map(|(role, _)| role.name()), refused.as_ref().map(|it| it.request.name()));
        let (vhost, app, stream) = match (&refused, &names) {
            (Some(refused), _) => (filled(&refused.vhost), filled(&refused.app), filled(&refused.stream)),
            (None, Some(names)) => (Some(&*names.vhost), Some(&*names.app), Some(&*names.stream)),
            (None, None) => (filled(&report.vhost), None, None),
        };
        let some = |count: u64| Some(count).filter(|count| *count > 0);
        let gap = |gap: Gap| (some(gap.frames), some(gap.bytes), some(gap.milliseconds));
        let (missed, unsent) = (gap(report.missed), gap(report.unsent));
        macro_rules! log_line {
            ($level:ident $(, target: $target:expr)?) => {
                $level!(
                    $(target: $target,)?
                    event = "closed",
                    conn = id,
                    outcome = outcome.name(),
                    reason = close.reason.name(),
                    code = report.refused,
                    words = &*error,
                    phase = %close.phase,
                    offset = close.offset,
                    told = filled(&told),
                    role,
                    request,
                    vhost,
                    app,
                    stream,
                    address = address.as_deref(),
                    received = report.received,
                    sent = report.sent,
                    seconds = report.duration.as_secs_f64(),
                    missed_frames = missed.0,
                    missed_bytes = missed.1,
                    missed_ms = missed.2,
                    unsent_frames = unsent.0,
                    unsent_bytes = unsent.1,
                    unsent_ms = unsent.2,
                    given_up = some(report.given_up),
                    left_out = some(left_out.all()),
                    malformed = some(report.malformed),
                    ignored = some(ignored.unreadable_messages + ignored.stray_media + ignored.ignored_messages),
                    waiting = left,
                    "{line}"
                )
            };
        }
        if came_to_nothing && !self.shown.load(Ordering::Relaxed) {
            self.before_connect.leave_out(Instant::now(), self.address_of_host(), close.reason.name());
            log_line!(debug, target: BEFORE_CONNECT);
            return;
        }
        self.show();
        log_line!(info);
    }

    fn address_of_host(&self) -> Option<String> {
        self.addresses.get().shown_host(self.peer.ip())
    }

    fn address(&self, address: Option<SocketAddr>) -> Option<String> {
        self.addresses.get().shown(address?)
    }

    /// A text without what the log may not show of addresses: those of this connection, and these.
    fn cleaned(&self, text: &str, others: impl IntoIterator<Item = SocketAddr>) -> String {
        self.addresses.get().cleaned(text, [self.peer].into_iter().chain(others)).into_owned()
    }

    fn last_refused(&self) -> MutexGuard<'_, Option<Box<Refused>>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parts of a stream's name, shortened.
struct Names<'a> {
    vhost: Cow<'a, str>,
    app: Cow<'a, str>,
    stream: Cow<'a, str>,
}

impl<'a> Names<'a> {
    fn of(key: &'a StreamKey) -> Self {
        Names { vhost: shortened(key.vhost()), app: shortened(key.app()), stream: shortened(key.stream()) }
    }
}

/// Where a connection comes from, if the log shows it.
struct From<'a>(Option<&'a str>);

impl fmt::Display for From<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |address| write!(f, " from {address}"))
    }
}

/// The text, unless it is empty.
fn filled(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// The end of a connection, in a word.
struct Closed {
    outcome: Outcome,
    words: &'static str,
}

impl Closed {
    fn of(report: &Report) -> Self {
        let outcome = report.close.outcome();
        let words = match outcome {
            Outcome::Orderly => "orderly end",
            Outcome::Abrupt => "abrupt end",
            Outcome::Lost => "lost",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::Closed => "by the server",
        };
        Closed { outcome, words }
    }
}

fn number(holder: &HeldBy) -> Option<u64> {
    match holder {
        HeldBy::Client { connection, .. } | HeldBy::Relay { connection, .. } => Some(*connection),
        HeldBy::Program => None,
    }
}
