use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Cluster, DirectoryOrder, FindNumber, key_of, name_of};
use crate::location::{Located, Owner};
use crate::policy::{AskId, Verdict};
use crate::url::{DEFAULT_VHOST, StreamKey};

/// How soon it is asked again where a wanted stream is while it does not come: a notice may be lost.
pub(super) const AGAIN: Duration = Duration::from_secs(1);
/// The longest time between questions about a stream that no server has: each one in a row that says so doubles it.
const LONGEST_AGAIN: Duration = Duration::from_secs(4);
/// An adapter that answers nothing for so long is asked again.
const UNANSWERED: Duration = Duration::from_secs(5);

/// A name that players here want.
#[derive(Debug, Default)]
pub(super) struct Want {
    pub(super) place: Option<Place>,
    /// The question that has no answer yet.
    asked: Option<FindNumber>,
    /// True if something has changed since it was asked.
    is_outdated: bool,
    /// True while the stream comes.
    comes: bool,
    /// When it is asked again, as noted among the looks.
    next: Option<Instant>,
    /// How many answers in a row said that no server has it.
    nowhere: u32,
    /// The lease that its server has denied. It is not asked about twice in a row.
    denied: Option<u64>,
}

/// Where a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) node: Arc<str>,
    pub(crate) address: Arc<str>,
    pub(crate) fencing: u64,
}

/// On whose behalf a question is asked.
#[derive(Debug)]
pub(super) enum Asked {
    /// The relay of the stream.
    Relay(StreamKey),
    /// A player that may be sent to the server that has the stream, with the parameters of its URL.
    Player { connection: u64, ask: AskId, key: StreamKey, params: Box<str> },
}

/// What follows of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    Nothing,
    /// The place of the stream may have changed.
    Place(StreamKey),
    /// A player that waits gets its verdict.
    Verdict(u64, AskId, Verdict),
}

impl Cluster {
    /// A player of the stream follows redirects, and waits for the verdict about this question.
    pub(crate) fn guide(&mut self, key: &StreamKey, connection: u64, ask: AskId, params: &str) {
        let find = FindNumber(self.number());
        self.totals.finds += 1;
        self.finds.insert(find, Asked::Player { connection, ask, key: key.clone(), params: params.into() });
        self.orders.push_back(DirectoryOrder::Find { find, name: name_of(key) });
    }

    /// Players want the stream, and it is not here.
    pub(crate) fn want(&mut self, now: Instant, key: &StreamKey) {
        if !self.wants.contains_key(key) {
            self.wants.insert(key.clone(), Want::default());
            self.orders.push_back(DirectoryOrder::Watch(name_of(key)));
            self.find(now, key);
        }
    }

    /// No longer.
    pub(crate) fn forget(&mut self, key: &StreamKey) {
        if let Some(want) = self.wants.remove(key) {
            // An answer that is on its way finds nothing.
            if let Some(find) = want.asked {
                self.finds.remove(&find);
            }
            if let Some(at) = want.next {
                self.looks.remove(&(at, key.clone()));
            }
            self.orders.push_back(DirectoryOrder::Unwatch(name_of(key)));
        }
    }

    pub(crate) fn is_wanted(&self, key: &StreamKey) -> bool {
        self.wants.contains_key(key)
    }

    /// Where the stream is, as far as it is known.
    pub(crate) fn place(&self, key: &StreamKey) -> Option<&Place> {
        self.wants.get(key)?.place.as_ref()
    }

    /// Whether the stream comes. While it does not, the directory is asked from time to time: at once when it stops. While it
    /// does, it is asked now and then only: the server that sends it may have lost its name, and the notice be lost.
    pub(crate) fn look(&mut self, now: Instant, key: &StreamKey, comes: bool) {
        let Some(want) = self.wants.get_mut(key) else { return };
        let came = std::mem::replace(&mut want.comes, comes);
        if comes {
            (want.denied, want.nowhere) = (None, 0);
            if !came || want.next.is_none() {
                self.ask_at(key, now + self.recheck);
            }
        } else if (came || want.next.is_none()) && want.asked.is_none() {
            self.find(now, key);
        }
    }

    /// Asks about what is due. Returns when the next is.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Instant> {
        while let Some((at, key)) = self.looks.first().cloned() {
            if at > now {
                return Some(at);
            }
            self.looks.pop_first();
            if let Some(want) = self.wants.get_mut(&key) {
                want.next = None;
                // Its answer may come all the same, and finds nothing.
                if let Some(find) = want.asked.take() {
                    self.finds.remove(&find);
                }
            }
            self.find(now, &key);
        }
        None
    }

    fn ask_at(&mut self, key: &StreamKey, at: Instant) {
        let Some(want) = self.wants.get_mut(key) else { return };
        if let Some(before) = want.next.replace(at) {
            self.looks.remove(&(before, key.clone()));
        }
        self.looks.insert((at, key.clone()));
    }

    pub(super) fn find(&mut self, now: Instant, key: &StreamKey) {
        let find = FindNumber(self.number());
        let Some(want) = self.wants.get_mut(key) else { return };
        if want.asked.is_some() {
            want.is_outdated = true;
            return;
        }
        (want.asked, want.is_outdated) = (Some(find), false);
        self.ask_at(key, now + UNANSWERED);
        self.totals.finds += 1;
        self.finds.insert(find, Asked::Relay(key.clone()));
        self.orders.push_back(DirectoryOrder::Find { find, name: name_of(key) });
    }

    /// The answer to a question.
    pub(crate) fn located(&mut self, now: Instant, find: FindNumber, located: Located) -> Learned {
        match self.finds.remove(&find) {
            Some(Asked::Relay(key)) => {
                let is_new = self.placed(now, &key, find, located);
                if is_new { Learned::Place(key) } else { Learned::Nothing }
            }
            Some(Asked::Player { connection, ask, key, params }) => {
                let verdict = match located {
                    Located::At { owner: Owner { address: Some(address), .. }, stale: false } => {
                        Verdict::Redirect(url_at(&address, &key, &params))
                    }
                    _ => Verdict::Allow,
                };
                Learned::Verdict(connection, ask, verdict)
            }
            None => Learned::Nothing,
        }
    }

    /// True if the place of the stream may have changed.
    fn placed(&mut self, now: Instant, key: &StreamKey, find: FindNumber, located: Located) -> bool {
        let Some(want) = self.wants.get_mut(key).filter(|want| want.asked == Some(find)) else { return false };
        want.asked = None;
        // Anyone can ask for names that are nowhere. A notice tells at once when one of them appears.
        want.nowhere = if matches!(located, Located::Nowhere) { want.nowhere.saturating_add(1) } else { 0 };
        let again = AGAIN.saturating_mul(1 << want.nowhere.saturating_sub(1).min(8)).min(LONGEST_AGAIN);
        let (again, is_outdated) = (if want.comes { self.recheck } else { again }, want.is_outdated);
        let place = match located {
            Located::At { owner, .. } => {
                // Without an address it is a server that is probably dead.
                let (node, fencing) = (owner.node, owner.fencing);
                Some(owner.address.map(|address| Place { node, address, fencing }))
            }
            Located::Here | Located::Nowhere => Some(None),
            // The directory does not answer: what was known holds.
            Located::Unknown => None,
        };
        let is_new = place.as_ref().is_some_and(|place| *place != want.place);
        if let Some(place) = place {
            want.place = place;
        }
        self.ask_at(key, now + again);
        if is_outdated {
            self.find(now, key);
        }
        is_new
    }

    /// The name has changed hands.
    pub(crate) fn changed(&mut self, now: Instant, name: &str) {
        if let Some(key) = key_of(name) {
            self.find(now, &key);
        }
    }

    /// The server that should have the stream says that it does not: the directory is asked once more. If the same is denied
    /// again, the next look is in a while, or at a notice.
    pub(crate) fn denied(&mut self, now: Instant, key: &StreamKey, fencing: u64) {
        let Some(want) = self.wants.get_mut(key) else { return };
        if want.denied.replace(fencing) != Some(fencing) {
            self.totals.denied += 1;
            self.orders.push_back(DirectoryOrder::Deny { name: name_of(key), fencing });
            self.find(now, key);
        }
    }
}

/// The URL of the stream at another server, with the player's own parameters.
fn url_at(address: &str, key: &StreamKey, params: &str) -> String {
    let params = params.trim_start_matches('?');
    let names_host = params.split('&').any(|pair| pair.starts_with("vhost="));
    let mut query = params.to_owned();
    if key.vhost() != DEFAULT_VHOST && !names_host {
        query.push_str(if query.is_empty() { "vhost=" } else { "&vhost=" });
        query.push_str(key.vhost());
    }
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{address}/{}{mark}{query}", key.path())
}
