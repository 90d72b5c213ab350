//! The connections that ended last, for operators that ask why.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anabranch_core::conn::{Report, Requested, Role};
use anabranch_core::session::{Outcome, Phase};
use anabranch_core::source::Gap;
use anabranch_core::url::StreamKey;

use crate::{Lines, LogAddresses};

/// How many are kept of those that had connected.
const CONNECTED: usize = 100;
/// How many are kept of those that ended before that. They have their own places: many of them must not take the
/// places of publishers and players.
const BEFORE_CONNECT: usize = 28;
/// The most characters of the words about a reason.
const WORDS: usize = 200;

/// A connection that has ended.
#[derive(Debug, Clone)]
pub struct Closed {
    /// Its number, as in the log.
    pub id: u64,
    /// When it ended.
    pub at: SystemTime,
    /// The client's address without port, as far as it is known and as the log shows it (`LogAddresses`).
    pub address: Option<String>,
    /// The stream that it published last, or played if it never published.
    pub stream: Option<(Role, StreamKey)>,
    /// The request whose refusal ended it.
    pub request: Option<Requested>,
    /// What it asked for with that request, `app/stream?vhost=NAME`; empty if there was none. At most about 768 characters.
    pub asked: String,
    /// [`Refusal::code`](anabranch_core::policy::Refusal::code), if a rule ended it.
    pub code: Option<&'static str>,
    /// The [name](anabranch_core::session::CloseReason::name) of the reason.
    pub reason: &'static str,
    /// The reason in words; at most 200 characters.
    pub words: String,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// How long it was open.
    pub duration: Duration,
    /// What it missed as a player because it was slow or paused.
    pub missed: Gap,
}

/// The last connections that have ended, the newest first.
#[derive(Debug, Default)]
pub(crate) struct Closes(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    connected: VecDeque<Closed>,
    before_connect: VecDeque<Closed>,
}

impl Closes {
    /// Notes the end of a connection.
    pub(crate) fn note(&self, lines: &Lines, report: &Report, addresses: LogAddresses) {
        let refused = lines.refused_at_end(report);
        let words = report.close.reason.to_string();
        let closed = Closed {
            id: lines.id(),
            at: SystemTime::now(),
            address: report.peer.and_then(|peer| addresses.shown_host(peer.ip())),
            stream: lines.last(),
            request: refused.as_ref().map(|refused| refused.request),
            asked: refused.as_ref().map(|refused| refused.name()).unwrap_or_default(),
            code: report.refused.filter(|_| report.close.outcome() == Outcome::Refused),
            reason: report.close.reason.name(),
            words: addresses.cleaned(&words, report.peer).chars().take(WORDS).collect(),
            received: report.received,
            sent: report.sent,
            duration: report.duration,
            missed: report.missed,
        };
        let mut kept = self.kept();
        let (list, most) = match report.close.phase {
            Phase::Handshake | Phase::Connect => (&mut kept.before_connect, BEFORE_CONNECT),
            _ => (&mut kept.connected, CONNECTED),
        };
        list.truncate(most - 1);
        list.push_front(closed);
    }

    /// All that are kept, the newest first.
    pub(crate) fn all(&self) -> Vec<Closed> {
        let kept = self.kept();
        let mut all: Vec<_> = kept.connected.iter().chain(&kept.before_connect).cloned().collect();
        drop(kept);
        all.sort_by_key(|closed| std::cmp::Reverse(closed.at));
        all
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
