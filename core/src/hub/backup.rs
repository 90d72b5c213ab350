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
//! In a cluster the publisher on air may be at another server. A relay pulls the stream then, also if nothing here plays it.
//! The one that stands by waits for the name: it goes on air when the directory has given the name to this server
//! ([`Hub::name_is_here`]). It says what it [lacks](Lack), and the relays ask the directory.
//!
//! A switch begins another publication of the source ([`Source::switch_to`]): players go on at the key frame with the
//! headers in force there, and in the time of the stream. The one that was on air stands by from then on, if it is still
//! there. It learns that when its next message does not fit the epoch of the source.
//!
//! Locks are taken in this order: the registry, the stream's source, the [`Progress`] of the one that stands by, its
//! source. What a switch copies is copied under the locks of the two sources only.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::group::HostCounts;
use super::{Entry, HeldBy, Holder, Holds, Hub, Registry, Stream, StreamId};
use crate::cluster::{Lack, Waiting};
use crate::source::{Bridge, Bridged, Frame, Source, Timeline};
use crate::url::StreamKey;

/// How long the first publisher must have sent without a stall before it goes on air again.
const RETURN_AFTER: Duration = Duration::from_secs(5);
/// How often the relays are told what a publisher lacks that waits for the name.
const ASKED: Duration = Duration::from_millis(500);

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
    progress: Mutex<Progress>,
}

/// What a publisher waits for that stands by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Waits {
    /// For the publisher on air to leave or to stall.
    #[default]
    Turn,
    /// For something that players can begin at: until then the stream's fallback plays, or nothing.
    Start,
    /// For the name, which another server of the cluster has.
    Name,
    /// It is about to be closed.
    Nothing,
}

#[derive(Debug, Default)]
struct Progress {
    place: Stand,
    waits: Waits,
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
    /// When the newest media came from the other server that has the name.
    elsewhere: Option<Instant>,
    /// Since when another server has it.
    moved: Option<Instant>,
    /// What it lacks that waits for the name, and when that was told.
    lack: Option<(Lack, Instant)>,
    /// True if it was granted or goes on as backup of another publisher: it tells when it is on air. One that only waits for
    /// something that players can begin at has been told of as the publisher.
    tells: bool,
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
    /// What the publisher is to tell of it, if the one that left does not.
    event: Option<StandbyEvent>,
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
    /// It is kept, and the relays are to be told what the publisher lacks.
    Lacks,
    /// The publisher is on air.
    OnAir(OnAir),
    Replaced,
}

impl Standby {
    /// A publisher that has sent nothing yet.
    pub(super) fn new(stream: &Stream, hub: &Hub, waits: Waits) -> Arc<Self> {
        Standby::with(stream, hub, Progress { waits, tells: waits != Waits::Start, ..Progress::default() }, |_| {})
    }

    /// A publisher that was on air with this source. If it has sent no media, it lost its place by that.
    fn of_source(now: Instant, stream: &Stream, hub: &Hub, source: &Source) -> Arc<Self> {
        let begun = now.checked_sub(hub.config().backup.after);
        let progress = Progress { newest: source.newest_media(), begun, tells: true, ..Progress::default() };
        Standby::with(stream, hub, progress, |own| own.adopt(source))
    }

    fn with(stream: &Stream, hub: &Hub, progress: Progress, adopt: impl FnOnce(&mut Source)) -> Arc<Self> {
        let stream = Arc::new(stream.apart(hub.config()));
        {
            let mut source = stream.source();
            source.keep_past(false);
            source.begin();
            adopt(&mut source);
            stream.settle(&source);
        }
        Arc::new(Standby { stream, progress: Mutex::new(progress) })
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
        let waits = progress.waits;
        drop(progress);
        if !coded || !has_start && waits != Waits::Name {
            return (StoodBy::Kept, ready && waits != Waits::Start);
        }
        let stream = on_air.source();
        match waits {
            Waits::Turn => {}
            Waits::Start => return (StoodBy::Wants(Switched::Began), false),
            Waits::Name if self.lacks(now, &stream, rules, has_start) => return (StoodBy::Lacks, ready),
            Waits::Name | Waits::Nothing => return (StoodBy::Kept, ready),
        }
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

    /// Notes what it lacks that waits for the name. Returns true if that is to be told. The source is that of the stream.
    fn lacks(&self, now: Instant, stream: &Source, rules: BackupRules, has_start: bool) -> bool {
        // A backup that stands by at the other server is to be the first.
        let rules = BackupRules { after: rules.after + rules.after / 8, ..rules };
        let comes = stream.is_live() && !stream.is_fallback();
        let newest = stream.newest_media().filter(|_| comes);
        let is_stalled = newest.is_some() && self.sees_stall(now, stream, rules);
        let mut progress = self.progress();
        progress.elsewhere = newest.or(progress.elsewhere);
        let since = progress.elsewhere.max(progress.runs).unwrap_or(now);
        let lasts = |since: Instant| now.saturating_duration_since(since) >= rules.after;
        let is_over = has_start && progress.moved.is_none_or(lasts) && (is_stalled || lasts(since));
        let lack = match comes {
            _ if is_over => Some(Lack::Stalled { seen: progress.elsewhere.is_some() }),
            true => None,
            false => Some(Lack::Gone),
        };
        let told = progress.lack.filter(|(_, at)| now.saturating_duration_since(*at) < ASKED).map(|(lack, _)| lack);
        if lack == told {
            return false;
        }
        progress.lack = lack.map(|lack| (lack, now));
        lack.is_some()
    }

    /// What it lacks that waits for the name, as far as it has noted that lately.
    fn lack(&self, now: Instant) -> Option<Lack> {
        let noted = self.progress().lack;
        noted.filter(|(_, at)| now.saturating_duration_since(*at) < ASKED * 2).map(|(lack, _)| lack)
    }

    /// True if it has waited for a start for too long, or is silent.
    fn is_late(&self, now: Instant, rules: BackupRules) -> bool {
        let begun = self.progress().begun;
        begun.is_some_and(|begun| now.saturating_duration_since(begun) >= rules.after) || self.is_silent(now, rules)
    }

    /// What it waits for.
    pub(super) fn waits(&self) -> Waits {
        self.progress().waits
    }

    pub(super) fn wait_for(&self, waits: Waits) {
        self.progress().waits = waits;
    }

    /// There is a publisher on air, for which it stands by.
    pub(super) fn turns(&self) {
        let mut progress = self.progress();
        if progress.waits == Waits::Start {
            (progress.waits, progress.tells) = (Waits::Turn, true);
        }
    }

    /// True if it is the publisher as far as was told, and waits for something that players can begin at.
    pub(super) fn is_told(&self) -> bool {
        let progress = self.progress();
        progress.waits == Waits::Start && !progress.tells
    }

    /// What it tells when it is on air; the other publisher was on air before.
    fn told_on_air(&self, because: Switched, before: Option<HeldBy>) -> Option<StandbyEvent> {
        self.progress().tells.then_some(StandbyEvent::OnAir { because, before })
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

    /// Makes it the publisher of the stream. The source is that of the stream. It tells the event, if there is one.
    fn go_on_air(&self, source: &mut Source, event: Option<StandbyEvent>) {
        let mut progress = self.progress();
        let own = self.stream.source();
        let bridged = source.switch_to(&own, progress.heard);
        drop(own);
        progress.place = Stand::OnAir(Some(OnAir { epoch: source.epoch(), bridged, event }));
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
        self.event
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
        let Some((entry, counts)) = registry.of(key) else {
            return;
        };
        let Some(reserve) = entry.reserve.as_ref().filter(|reserve| reserve.holder.number == number) else {
            return;
        };
        let (stream, standby) = (entry.stream.clone(), reserve.standby.clone());
        let mut source = stream.source();
        let is_over = because == Switched::Stalled && !standby.sees_stall(now, &source, rules);
        if is_over || matches!(standby.waits(), Waits::Name | Waits::Nothing) {
            return;
        }
        let on_air = entry.holder.as_ref().filter(|holder| holder.role != Holds::Fallback);
        let event = match on_air {
            Some(holder) => standby.told_on_air(because, holder.held_by()),
            // It was silent when the one before left. The fallback may have played since then.
            None => standby.told_on_air(Switched::Lost, None),
        };
        counts.change(entry, |entry| {
            let before = entry.promote().filter(|before| before.role != Holds::Fallback);
            entry.reserve = before.map(|before| {
                let standby = Standby::of_source(now, &stream, self, &source);
                Reserve { holder: Holder { stood_by: None, ..before }, standby }
            });
        });
        entry.switches += u64::from(event.is_some());
        drop(registry);
        standby.go_on_air(&mut source, event);
        stream.took_over(&source);
        drop(source);
        self.changed(key);
    }

    /// The publisher of this connection waits for the name, and it is this server's now. Returns the stream, if the publisher
    /// is on air.
    pub(crate) fn name_is_here(&self, key: &StreamKey, connection: u64) -> Option<StreamId> {
        let mut registry = self.registry();
        let (entry, counts) = registry.of(key)?;
        let is_it = |reserve: &&Reserve| reserve.holder.connection.is_some_and(|(number, _)| number == connection);
        let standby = entry.reserve.as_ref().filter(is_it)?.standby.clone();
        if standby.waits() != Waits::Name {
            return None;
        }
        let role = entry.holder.as_ref().map(|holder| holder.role);
        standby.wait_for(if role == Some(Holds::Fallback) { Waits::Start } else { Waits::Turn });
        if role.is_some_and(|role| role != Holds::Relay) {
            drop(registry);
            self.changed(key);
            return None;
        }
        let because = if role.is_some() { Switched::Stalled } else { Switched::Lost };
        let before = entry.holder.as_ref().and_then(Holder::held_by);
        let stream = entry.stream.clone();
        let mut source = stream.source();
        counts.change(entry, Entry::promote);
        entry.switches += 1;
        drop(registry);
        standby.go_on_air(&mut source, Some(StandbyEvent::OnAir { because, before }));
        stream.took_over(&source);
        drop(source);
        self.changed(key);
        Some(stream.id)
    }

    /// The publisher that waits for a name of another server, and what it lacks.
    pub(crate) fn waiting_for_name(&self, now: Instant, key: &StreamKey) -> Option<Waiting> {
        let registry = self.registry();
        let entry = registry.streams.get(key)?;
        let reserve = entry.reserve.as_ref().filter(|reserve| reserve.standby.waits() == Waits::Name)?;
        let (connection, _) = reserve.holder.connection?;
        let comes = entry.holder.as_ref().is_some_and(|holder| holder.role == Holds::Relay);
        let lack = reserve.standby.lack(now).or((!comes).then_some(Lack::Gone));
        Some(Waiting { connection, lack: lack.filter(|_| !reserve.standby.is_silent(now, self.config().backup)) })
    }

    /// Another server has the name now. It has as long as the one before until it counts as stalled.
    pub(crate) fn name_moved(&self, now: Instant, key: &StreamKey) {
        if let Some(reserve) = self.registry().streams.get(key).and_then(|entry| entry.reserve.as_ref()) {
            let mut progress = reserve.standby.progress();
            (progress.moved, progress.lack) = (Some(now), None);
        }
    }

    /// True if a publisher of the stream waits for its name, which another server has.
    pub(crate) fn waits_for_name(&self, key: &StreamKey) -> bool {
        self.registry().streams.get(key).is_some_and(Entry::waits_for_name)
    }

    /// The publishers of a stream are about to be closed: the one that stands by does not go on air for it.
    pub fn hold_back(&self, key: &StreamKey) {
        let registry = self.registry();
        let reserve = registry.streams.get(key).and_then(|entry| entry.reserve.as_ref());
        // One that waits for the name of another server does not go on air by itself.
        if let Some(reserve) = reserve.filter(|reserve| reserve.standby.waits() != Waits::Name) {
            reserve.standby.wait_for(Waits::Nothing);
        }
    }
}

/// A publisher that stood by has got the place of one that leaves.
pub(super) struct Succession {
    pub(super) stream: Arc<Stream>,
    standby: Arc<Standby>,
    event: Option<StandbyEvent>,
    /// The publisher that has it now, if it has something to tell.
    pub(super) to_tell: Option<HeldBy>,
}

impl Succession {
    /// Puts it on air. The source is that of the stream, locked under the registry's lock.
    pub(super) fn happen(&self, source: &mut Source) {
        self.standby.go_on_air(source, self.event);
        self.stream.took_over(source);
    }
}

impl Registry {
    pub(super) fn of(&mut self, key: &StreamKey) -> Option<(&mut Entry, &mut HostCounts)> {
        Some((self.streams.get_mut(key)?, self.counts.get_mut(key.vhost())?))
    }

    /// The publisher of this number leaves. If it is on air and another one stands by, that gets its place. One that is
    /// silent itself does not: nothing is on air until it sends again. `now` is when the publisher leaves, if that is known.
    pub(super) fn succeed(
        &mut self,
        key: &StreamKey,
        number: u64,
        now: Option<Instant>,
        rules: BackupRules,
    ) -> Option<Succession> {
        let (entry, counts) = self.of(key)?;
        let holder = entry.holder.as_ref().filter(|holder| holder.number == number)?;
        let (before, is_fallback) = (holder.held_by(), holder.role == Holds::Fallback);
        let standby = entry.reserve.as_ref()?.standby.clone();
        if matches!(standby.waits(), Waits::Name | Waits::Nothing) {
            return None;
        }
        if now.is_some_and(|now| standby.is_silent(now, rules)) {
            standby.wait_for(Waits::Start);
            return None;
        }
        counts.change(entry, Entry::promote);
        // A fallback is no publisher, and known to no client.
        let event = standby.told_on_air(Switched::Lost, before.filter(|_| !is_fallback));
        entry.switches += u64::from(event.is_some());
        let to_tell = entry.holder.as_ref().and_then(Holder::held_by).filter(|_| event.is_some());
        Some(Succession { stream: entry.stream.clone(), standby, event, to_tell })
    }

    /// The publisher that waits for its first key frame is on air from now on, instead of the fallback.
    pub(super) fn end_fallback(&mut self, key: &StreamKey) {
        let Some((entry, counts)) = self.of(key) else {
            return;
        };
        let starts = |reserve: &Reserve| reserve.standby.waits() == Waits::Start;
        if entry.falls_back()
            && let Some(standby) =
                entry.reserve.as_ref().filter(|reserve| starts(reserve)).map(|one| one.standby.clone())
        {
            counts.change(entry, Entry::promote);
            let event = standby.told_on_air(Switched::Lost, None);
            entry.switches += u64::from(event.is_some());
            let mut source = entry.stream.source();
            standby.go_on_air(&mut source, event);
            entry.stream.took_over(&source);
        }
    }

    /// The publisher of this number leaves: frees its place if it stands by. Returns true if nothing else publishes the
    /// stream here.
    pub(super) fn stand_down(&mut self, key: &StreamKey, number: u64) -> bool {
        let Some((entry, counts)) = self.of(key) else {
            return false;
        };
        let mut left = None;
        counts.change(entry, |entry| {
            left = entry.reserve.take_if(|reserve| reserve.holder.number == number);
        });
        if let Some(reserve) = left {
            entry.stream.awaited.store(false, Ordering::Relaxed);
            reserve.standby.release();
            return entry.publisher().is_none_or(|holder| holder.role == Holds::Relay);
        }
        false
    }
}

impl Entry {
    /// The publisher that stands by gets the place on air. Returns the one that had it. For relays the publication of a client
    /// goes on: neither the targets of pushes nor what the operator has removed of them depend on which one is on air.
    fn promote(&mut self) -> Option<Holder> {
        let Reserve { mut holder, standby } = self.reserve.take()?;
        if let Some(before) = self.holder.as_ref().filter(|before| before.role == Holds::Client) {
            (holder.publication, holder.published_by) = (before.publication, before.published_by.clone());
        }
        self.holder.replace(Holder { stood_by: Some(standby), ..holder })
    }

    /// True if the publisher that stands by waits for the name, which another server has.
    pub(super) fn waits_for_name(&self) -> bool {
        self.reserve.as_ref().is_some_and(|reserve| reserve.standby.waits() == Waits::Name)
    }

    /// How a client may get a place as backup, or beside one that waits; `None` if there is none for it. `is_elsewhere` if
    /// another server has the name.
    pub(super) fn backup_place(&self, now: Instant, rules: BackupRules, is_elsewhere: bool) -> Option<BackupPlace> {
        let role = self.holder.as_ref().map(|holder| holder.role);
        let Some(reserve) = &self.reserve else {
            let may = role == Some(Holds::Client)
                || is_elsewhere && role.is_none_or(|role| matches!(role, Holds::Relay | Holds::Fallback));
            return may.then_some(BackupPlace::More);
        };
        let waits = reserve.standby.waits();
        match role {
            // The one that waits is on air from now on, unless it has waited in vain.
            Some(Holds::Fallback) | None if waits == Waits::Start => {
                let replaces = role.is_some() && !is_elsewhere && reserve.standby.is_late(now, rules);
                Some(if replaces { BackupPlace::Instead } else { BackupPlace::More })
            }
            Some(Holds::Passed | Holds::Program) => None,
            Some(Holds::Fallback | Holds::Relay) | None if !is_elsewhere => None,
            _ => reserve.standby.is_silent(now, rules).then_some(BackupPlace::Instead),
        }
    }
}

/// The place of a client beside another publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BackupPlace {
    /// That of one that has stalled.
    Instead,
    /// One more.
    More,
}

impl Stream {
    /// A publisher that stood by is on air.
    fn took_over(&self, source: &Source) {
        self.takeovers.fetch_add(1, Ordering::Relaxed);
        self.awaited.store(false, Ordering::Relaxed);
        self.absent.store(false, Ordering::Relaxed);
        self.keyless.store(source.is_keyless(), Ordering::Relaxed);
        self.settle(source);
    }
}

#[cfg(test)]
pub(super) mod tests;
