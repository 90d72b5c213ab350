//! A second publisher of a name that stands by.
//!
//! With [`Conflict::Backup`](super::Conflict::Backup) a name has a publisher that is *on air* and one that *stands by*. The
//! one that stands by sends into a source that only it has, which keeps what came since its newest key frame and belongs to
//! the memory of all streams. It takes the stream over
//!
//! - when the one on air leaves, at once and under the lock of all names: the stream is never without publisher, so players
//!   get no message and no time of grace begins;
//! - when the one on air stalls for [`BackupRules::after`]. The one that stands by looks at each of its frames, so no timer
//!   is needed, and a publisher that is silent itself takes nothing over. If it was silent, too, it must have sent again for
//!   that long;
//! - with [`BackupRules::returns`], when it was the first one and sends again.
//!
//! A switch begins another publication of the source ([`Source::switch_to`]): players go on at the key frame with the
//! headers in force there, and in the time of the stream. The one that was on air stands by from then on, if it is still
//! there. It learns that when its next message does not fit the epoch of the source.
//!
//! Locks are taken in this order: the registry, the stream's source, the [`Progress`] of the one that stands by, its
//! source.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{HeldBy, Holder, Holds, Hub, Registry, Stream};
use crate::source::{Bridge, Bridged, Frame, Headers, Source, Timeline};
use crate::url::StreamKey;

/// How long the first publisher must have sent without a stall before it goes on air again.
const RETURN_AFTER: Duration = Duration::from_secs(5);

/// When a publisher that stands by takes a stream over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupRules {
    /// How long the publisher on air may send no media, or no pictures while the other one does. Default 2 s.
    pub after: Duration,
    /// Whether the first publisher goes on air again when it is back and has sent media for 5 s. Otherwise it stands by.
    /// Default no.
    pub returns: bool,
}

impl Default for BackupRules {
    fn default() -> Self {
        BackupRules { after: Duration::from_secs(2), returns: false }
    }
}

/// Why a publisher that stood by is on air.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switched {
    /// The publisher before has left.
    Lost,
    /// The publisher before sent nothing for too long, and stands by now.
    Stalled,
    /// It is the first publisher, and the other one stands by now.
    Returned,
    /// The stream's fallback played until it had a key frame.
    Began,
}

impl Switched {
    /// `lost`, `stalled`, `returned` or `began`.
    pub fn name(self) -> &'static str {
        match self {
            Switched::Lost => "lost",
            Switched::Stalled => "stalled",
            Switched::Returned => "returned",
            Switched::Began => "began",
        }
    }
}

/// What has become of a publisher that stands by or stood by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandbyEvent {
    /// It has something that players can begin at.
    Ready {
        /// The publisher that is on air.
        on_air: Option<HeldBy>,
    },
    /// It is on air.
    OnAir {
        /// Why.
        because: Switched,
        /// The publisher that was on air.
        before: Option<HeldBy>,
    },
}

/// The one of two publishers of a name that was there first, or that came when only the other one was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    First,
    Second,
}

impl Rank {
    pub(super) fn other(self) -> Rank {
        match self {
            Rank::First => Rank::Second,
            Rank::Second => Rank::First,
        }
    }
}

/// The publisher of a name that stands by.
#[derive(Debug)]
pub(super) struct Reserve {
    pub(super) holder: Holder,
    pub(super) standby: Arc<Standby>,
}

/// What a publisher that stands by sends, and what becomes of it.
#[derive(Debug)]
pub(super) struct Standby {
    /// What it has sent since its newest key frame.
    pub(super) stream: Arc<Stream>,
    /// True if it waits for its first key frame, and the stream's fallback plays until then.
    over_fallback: bool,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    place: Stand,
    /// When it was granted.
    begun: Option<Instant>,
    /// When its newest message came.
    heard: Option<Instant>,
    /// When its newest media came, also while it was on air.
    newest: Option<Instant>,
    /// Since when it has sent media without a stall while it stands by.
    runs: Option<Instant>,
    /// When it sent media again after it had been silent itself.
    resumed: Option<Instant>,
    /// True once it was said that it has something that players can begin at.
    ready: bool,
}

/// Whether it stands by.
#[derive(Debug, Default)]
enum Stand {
    #[default]
    By,
    /// It is on air; taken once by its publisher.
    OnAir(Option<OnAir>),
    /// Another publisher has its place.
    Replaced,
}

/// How a publisher goes on that is on air now.
#[derive(Debug)]
pub(super) struct OnAir {
    pub(super) epoch: u64,
    pub(super) bridged: Bridged,
    because: Switched,
    before: Option<HeldBy>,
}

/// Where a publisher's messages go.
#[derive(Debug)]
pub(super) enum Lane {
    OnAir {
        /// The source's epoch while it is on air.
        epoch: u64,
        bridge: Bridge,
    },
    By(Arc<Standby>),
    /// Another publisher has the name.
    Superseded,
}

/// What became of a frame of a publisher that stands by.
pub(super) enum StoodBy {
    Kept,
    /// It is kept, and the publisher should take the stream over if it can.
    Wants(Switched),
    /// The publisher is on air.
    OnAir(OnAir),
    Replaced,
}

impl Standby {
    /// A publisher that was on air has sent headers, and `newest` is when it sent its newest media.
    pub(super) fn new(
        stream: &Stream,
        hub: &Hub,
        headers: Arc<Headers>,
        newest: Option<Instant>,
        over_fallback: bool,
    ) -> Arc<Self> {
        let stream = Arc::new(stream.apart(hub.config()));
        {
            let mut source = stream.source();
            source.keep_past(false);
            source.begin();
            source.adopt_headers(headers);
            stream.settle(&source);
        }
        Arc::new(Standby { stream, over_fallback, progress: Mutex::new(Progress { newest, ..Progress::default() }) })
    }

    /// It is granted.
    pub(super) fn begun(&self, now: Instant) {
        self.progress().begun = Some(now);
    }

    /// Keeps a frame, in the time of the publisher's own timeline. Returns what became of it and, once, true if players
    /// can begin at what it has sent.
    pub(super) fn push(
        &self,
        now: Instant,
        frame: &Frame,
        rules: BackupRules,
        rank: Rank,
        on_air: &Stream,
    ) -> (StoodBy, bool) {
        let mut progress = self.progress();
        match &mut progress.place {
            Stand::By => {}
            Stand::OnAir(on_air) => {
                return (on_air.take().map_or(StoodBy::Replaced, StoodBy::OnAir), false);
            }
            Stand::Replaced => return (StoodBy::Replaced, false),
        }
        progress.heard = Some(now);
        let coded = frame.class().is_coded();
        if coded {
            let lasts = progress.newest.is_some_and(|last| now.saturating_duration_since(last) < rules.after);
            progress.runs = progress.runs.filter(|_| lasts).or(Some(now));
            if !lasts && progress.newest.is_some() {
                progress.resumed = Some(now);
            }
            progress.newest = Some(now);
        }
        let mut source = self.stream.source();
        source.push(now, frame.clone());
        self.stream.settle(&source);
        let (has_start, at_start) = (source.has_start(), source.is_at_start());
        let shows_pictures = source.shows_pictures(now, rules.after);
        drop(source);
        let ready = has_start && !progress.ready;
        progress.ready |= has_start;
        let lasted = progress.runs.map(|since| now.saturating_duration_since(since));
        drop(progress);
        if !has_start || !coded {
            return (StoodBy::Kept, ready && !self.over_fallback);
        }
        if self.over_fallback {
            return (StoodBy::Wants(Switched::Began), false);
        }
        let stream = on_air.source();
        let stalled = self.sees_stall(now, &stream, rules);
        let is_less = stream.shows_pictures(now, rules.after) && !shows_pictures;
        drop(stream);
        let returns = rules.returns && rank == Rank::First && at_start && !is_less;
        let wants = if stalled {
            StoodBy::Wants(Switched::Stalled)
        } else if returns && lasted.is_some_and(|time| time >= RETURN_AFTER) {
            StoodBy::Wants(Switched::Returned)
        } else {
            StoodBy::Kept
        };
        (wants, ready)
    }

    /// Whether the publisher on air, whose source this is, has stalled.
    fn sees_stall(&self, now: Instant, on_air: &Source, rules: BackupRules) -> bool {
        let progress = self.progress();
        let (runs, resumed) = (progress.runs.unwrap_or(now), progress.resumed);
        drop(progress);
        // If both were silent, the network or the server was: what the other one has sent may be on its way.
        if resumed.is_some_and(|resumed| now.saturating_duration_since(resumed) < rules.after) {
            return false;
        }
        on_air.is_stalled(now, runs, rules.after, &self.stream.source())
    }

    /// Withdraws its metadata.
    pub(super) fn clear_metadata(&self) {
        let mut source = self.stream.source();
        source.clear_metadata();
        self.stream.settle(&source);
    }

    /// True while it stands by.
    pub(super) fn is_by(&self) -> bool {
        matches!(self.progress().place, Stand::By)
    }

    /// True once another publisher has its place.
    pub(super) fn is_replaced(&self) -> bool {
        matches!(self.progress().place, Stand::Replaced)
    }

    /// How it goes on, once, if it is on air now.
    pub(super) fn take_on_air(&self) -> Option<OnAir> {
        match &mut self.progress().place {
            Stand::OnAir(on_air) => on_air.take(),
            Stand::By | Stand::Replaced => None,
        }
    }

    /// Another publisher has its place, or it has left.
    pub(super) fn release(&self) {
        self.progress().place = Stand::Replaced;
        self.stream.release();
    }

    /// True if it has sent no media for too long. Whether the publisher on air has, too, says nothing: both may have lost
    /// the same network.
    fn is_silent(&self, now: Instant, rules: BackupRules) -> bool {
        let progress = self.progress();
        let since = progress.newest.or(progress.begun);
        since.is_some_and(|since| now.saturating_duration_since(since) >= rules.after)
    }

    /// Makes it the publisher of the stream. The source is that of the stream.
    fn go_on_air(&self, source: &mut Source, because: Switched, before: Option<HeldBy>) {
        let mut progress = self.progress();
        let own = self.stream.source();
        let bridged = source.switch_to(&own, progress.heard);
        drop(own);
        progress.place = Stand::OnAir(Some(OnAir { epoch: source.epoch(), bridged, because, before }));
        drop(progress);
        self.stream.release();
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OnAir {
    /// What there is to tell.
    pub(super) fn event(&self) -> Option<StandbyEvent> {
        let OnAir { because, before, .. } = *self;
        (because != Switched::Began).then_some(StandbyEvent::OnAir { because, before })
    }

    /// The lane of the publisher, and its timeline if it begins.
    pub(super) fn lane(self) -> (Lane, Option<Timeline>) {
        match self.bridged {
            Bridged::Kept(bridge) => (Lane::OnAir { epoch: self.epoch, bridge }, None),
            Bridged::Resumed(timeline) => {
                (Lane::OnAir { epoch: self.epoch, bridge: Bridge::default() }, Some(*timeline))
            }
        }
    }
}

impl Hub {
    /// The publisher of a stream that stands by, if there is one that is known.
    pub fn backup(&self, key: &StreamKey) -> Option<HeldBy> {
        self.registry().streams.get(key)?.backup()?.held_by()
    }

    /// How the publisher of this number stands by, or went on air. `None` if it did neither.
    pub(super) fn standing_by(&self, key: &StreamKey, number: u64) -> Option<Arc<Standby>> {
        let registry = self.registry();
        let entry = registry.streams.get(key)?;
        let reserve = entry.reserve.as_ref().filter(|reserve| reserve.holder.number == number);
        let holder = entry.holder.as_ref().filter(|holder| holder.number == number);
        reserve.map(|reserve| reserve.standby.clone()).or_else(|| holder?.stood_by.clone())
    }

    /// The publisher of this number, which stands by, goes on air; the one that is on air stands by. Nothing happens if the
    /// publisher does not stand by any more, or the other one has sent something in the meantime.
    pub(super) fn switch(&self, key: &StreamKey, number: u64, because: Switched, now: Instant, rules: BackupRules) {
        let mut registry = self.registry();
        let Some(entry) = registry.streams.get_mut(key) else {
            return;
        };
        let (Some(reserve), Some(holder)) = (&entry.reserve, &entry.holder) else {
            return;
        };
        if reserve.holder.number != number {
            return;
        }
        let mut source = entry.stream.source();
        if because == Switched::Stalled && !reserve.standby.sees_stall(now, &source, rules) {
            return;
        }
        if entry.holder.as_ref().is_some_and(|holder| holder.role == Holds::Fallback) {
            reserve.standby.go_on_air(&mut source, because, None);
            entry.stream.settle(&source);
            entry.stream.awaited.store(false, Ordering::Relaxed);
            drop(source);
            if let Some(Reserve { holder, standby }) = entry.reserve.take() {
                entry.holder = Some(Holder { stood_by: Some(standby), ..holder });
            }
            return;
        }
        let (before, headers, newest) = (holder.held_by(), source.shared_headers(), source.newest_media());
        reserve.standby.go_on_air(&mut source, because, before);
        entry.stream.settle(&source);
        drop(source);
        let standby = Standby::new(&entry.stream, self, headers, newest, false);
        if let (Some(holder), Some(reserve)) = (&mut entry.holder, &mut entry.reserve) {
            std::mem::swap(holder, &mut reserve.holder);
            holder.stood_by = Some(std::mem::replace(&mut reserve.standby, standby));
            reserve.holder.stood_by = None;
        }
        entry.switches += 1;
        drop(registry);
        self.changed(key);
    }
}

impl Registry {
    /// The publisher of this number leaves. If it is on air and another one stands by, that goes on air. Returns true then.
    pub(super) fn succeed(&mut self, key: &StreamKey, number: u64) -> bool {
        let (Some(entry), Some(counts)) = (self.streams.get_mut(key), self.counts.get_mut(key.vhost())) else {
            return false;
        };
        if entry.holder.as_ref().is_none_or(|holder| holder.number != number) {
            return false;
        }
        let before = entry.holder.as_ref().and_then(Holder::held_by);
        let standby = counts.change(entry, |entry| {
            let Reserve { holder, standby } = entry.reserve.take()?;
            entry.holder = Some(Holder { stood_by: Some(standby.clone()), ..holder });
            Some(standby)
        });
        let Some(standby) = standby else {
            return false;
        };
        entry.stream.awaited.store(false, Ordering::Relaxed);
        let mut source = entry.stream.source();
        let because = if standby.over_fallback { Switched::Began } else { Switched::Lost };
        standby.go_on_air(&mut source, because, before);
        entry.stream.settle(&source);
        entry.switches += u64::from(because == Switched::Lost);
        true
    }

    /// The publisher of this number leaves: frees its place if it stands by. Returns true if the fallback plays on.
    pub(super) fn stand_down(&mut self, key: &StreamKey, number: u64) -> bool {
        let (Some(entry), Some(counts)) = (self.streams.get_mut(key), self.counts.get_mut(key.vhost())) else {
            return false;
        };
        let mut left = None;
        counts.change(entry, |entry| {
            left = entry.reserve.take_if(|reserve| reserve.holder.number == number);
        });
        if let Some(reserve) = left {
            entry.stream.awaited.store(false, Ordering::Relaxed);
            reserve.standby.release();
            return entry.falls_back();
        }
        false
    }
}

impl super::Entry {
    /// Whether a client may stand by: there is no other one that does, or that one has stalled.
    pub(super) fn may_stand_by(&self, now: Instant, rules: BackupRules) -> bool {
        let is_client = self.holder.as_ref().is_some_and(|holder| holder.role == Holds::Client);
        is_client && self.reserve.as_ref().is_none_or(|reserve| reserve.standby.is_silent(now, rules))
    }
}

#[cfg(test)]
pub(super) mod tests;
