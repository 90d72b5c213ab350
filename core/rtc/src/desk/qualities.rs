//! Streams that are the same in several qualities.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::packager::Ticket;
use anabranch_core::url::StreamKey;

use super::session::{Kind, Session, Stage};
use super::{Desk, SessionId};
use crate::peer::Network;

/// A viewer that has lost more than this part of its packets gets too much: it gets less, or goes on at a key frame.
const TOO_MUCH_LOSS: f32 = 0.2;
/// One that loses less than this may get more, after a while.
const LITTLE_LOSS: f32 = 0.02;
/// That while, and the longest: it doubles each time that more was too much.
const PATIENCE: Duration = Duration::from_secs(20);
const LONGEST_PATIENCE: Duration = Duration::from_secs(320);
/// Qualities of one stream.
const MOST: usize = 8;

/// The quality that a viewer gets.
#[derive(Debug)]
pub(super) struct Quality {
    /// All that there are, by their names.
    pub(super) all: Arc<[StreamKey]>,
    /// The one that it gets from its next key frame on.
    pub(super) next: Option<StreamKey>,
    since: Option<Instant>,
    patience: Duration,
    went_up: bool,
}

impl Quality {
    pub(super) fn new(all: Arc<[StreamKey]>) -> Self {
        Quality { all, next: None, since: None, patience: PATIENCE, went_up: false }
    }

    fn changes(&mut self, now: Instant, to: StreamKey, is_up: bool) {
        if is_up {
            self.went_up = true;
        } else if std::mem::take(&mut self.went_up) {
            self.patience = (self.patience * 2).min(LONGEST_PATIENCE);
        }
        (self.next, self.since) = (Some(to), Some(now));
    }

    /// The network is not good: the good time that a higher quality needs begins later.
    fn restart_patience(&mut self, now: Instant) {
        if let Some(since) = &mut self.since {
            *since = now;
        }
    }

    fn may_go_up(&self, now: Instant) -> bool {
        let is_time = |since: Instant| now.saturating_duration_since(since) >= self.patience;
        self.next.is_none() && self.since.is_some_and(is_time)
    }
}

/// The names of all qualities of a stream, if there are several.
pub(super) fn all(key: &StreamKey, ends: &[Box<str>]) -> Arc<[StreamKey]> {
    let names = ends.iter().take(MOST).map(|end| format!("{}{end}", key.stream()));
    let others = names.filter_map(|name| StreamKey::new(key.vhost(), key.app(), &name).ok());
    let all: Vec<_> = std::iter::once(key.clone()).chain(others).collect();
    if all.len() > 1 { all.into() } else { Arc::from([]) }
}

impl<T: Ticket> Desk<T> {
    /// A viewer tells of the network.
    pub(super) fn judge(&mut self, now: Instant, number: SessionId, network: Network) {
        let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) else { return };
        let (Some(loss), Kind::Viewer(viewer)) = (network.loss, &mut open.kind) else { return };
        if loss >= LITTLE_LOSS || !viewer.congestion.is_calm(now) {
            viewer.quality.restart_patience(now);
        }
        if loss > TOO_MUCH_LOSS {
            self.gets_too_much(now, number);
        } else if loss < LITTLE_LOSS && viewer.congestion.is_calm(now) && viewer.quality.may_go_up(now) {
            self.change_quality(now, number, true);
        }
    }

    /// A viewer estimates how many bits a second it could receive.
    pub(super) fn estimated(&mut self, now: Instant, number: SessionId, estimate: u64) {
        let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) else { return };
        open.network.estimate = Some(estimate);
        let (Kind::Viewer(viewer), Some(stream)) = (&mut open.kind, self.streams.get(&open.key)) else { return };
        let rate = stream.kbps(now).map_or(0, |kbps| (kbps * 1000.0) as u64);
        if viewer.congestion.gets_too_much(now, estimate, rate) {
            self.gets_too_much(now, number);
        }
    }

    /// A viewer gets less: a lower quality if there is one, and nothing up to the next key frame.
    fn gets_too_much(&mut self, now: Instant, number: SessionId) {
        if let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number)
            && let Kind::Viewer(viewer) = &mut open.kind
        {
            viewer.skip();
        }
        self.change_quality(now, number, false);
    }

    /// Has a viewer get the next better or worse quality from its next key frame on, if there is one.
    fn change_quality(&mut self, now: Instant, number: SessionId, is_up: bool) {
        let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get(&number) else { return };
        let Kind::Viewer(viewer) = &open.kind else { return };
        let Some(present) = self.streams.get(&open.key).and_then(|stream| stream.kbps(now)) else { return };
        if viewer.video.is_none() || viewer.quality.next.is_some() {
            return;
        }
        let mut best: Option<(f64, StreamKey)> = None;
        for key in viewer.quality.all.iter().filter(|key| **key != open.key) {
            let player = self.hub.follow_for_clients(key);
            let Some(kbps) = player.kbps(now).filter(|_| player.is_live() && player.codecs().0 == viewer.video) else {
                continue;
            };
            let is_next = if is_up { kbps > present * 1.1 } else { kbps < present * 0.9 };
            let is_nearer = best.as_ref().is_none_or(|(best, _)| if is_up { kbps < *best } else { kbps > *best });
            if is_next && is_nearer {
                best = Some((kbps, key.clone()));
            }
        }
        if let Some((_, key)) = best {
            self.enter_quality(now, number, key, is_up);
        }
    }

    fn enter_quality(&mut self, now: Instant, number: SessionId, key: StreamKey, is_up: bool) {
        self.follow(now, &key);
        let Some(stream) = self.streams.get_mut(&key) else { return };
        stream.entering.insert(number);
        if let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number)
            && let Kind::Viewer(viewer) = &mut open.kind
        {
            viewer.quality.changes(now, key, is_up);
        }
    }

    /// A key frame of a stream has come: those that wait for it get this stream from there on.
    pub(super) fn let_in(&mut self, key: &StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        for number in std::mem::take(&mut stream.entering) {
            let Some(stream) = self.streams.get_mut(key) else { return };
            let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) else { continue };
            let Kind::Viewer(viewer) = &mut open.kind else { continue };
            viewer.quality.next = None;
            if stream.video() != viewer.video {
                // It has become one that the viewer has no decoder for.
                self.leave_stream(key, number, false);
                continue;
            }
            viewer.change(&stream.log);
            stream.viewers.insert(number);
            stream.listeners += usize::from(viewer.has_sound);
            let takes_sound = viewer.has_sound;
            let before = std::mem::replace(&mut open.key, key.clone());
            self.leave_stream(&before, number, takes_sound);
        }
    }

    /// A quality has ended: its viewers get the stream that they were granted.
    pub(super) fn leave_quality(&mut self, now: Instant, key: &StreamKey) {
        let Some(stream) = self.streams.get(key).filter(|stream| !stream.is_live()) else { return };
        let home = |number: &SessionId| {
            let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get(number) else { return None };
            let Kind::Viewer(viewer) = &open.kind else { return None };
            viewer.quality.all.first().filter(|home| *home != key && viewer.quality.next.is_none()).cloned()
        };
        let moves: Vec<_> =
            stream.viewers.iter().filter_map(|number| home(number).map(|home| (*number, home))).collect();
        for (number, home) in moves {
            self.enter_quality(now, number, home, true);
        }
    }
}
