use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::backup::{Lane, OnAir, Rank, Standby, StandbyEvent, StoodBy};
use super::{Entry, HeldBy, Hub, Stream, StreamId, Superseded};
use crate::chunk::MAX_CHUNK_SIZE;
use crate::flv::{FrameClass, Pictures};
use crate::message::{Message, MessageType};
use crate::pacing::{Pacing, Sockets, WakeTimer};
use crate::source::{Bridge, Frame, FrameKind, Timeline};
use crate::url::StreamKey;

/// The publish lock of one stream, or the place of the publisher that stands by. Dropping it ends the publication and
/// frees the name, or the place.
#[derive(Debug)]
pub struct Publisher {
    hub: Hub,
    stream: Arc<Stream>,
    /// Identifies it among all publishers of the hub.
    number: u64,
    timeline: Timeline,
    pictures: Pictures,
    lane: Lane,
    /// Whether it was there before the other one.
    rank: Rank,
    wakes: WakeTimer,
    /// Messages too damaged to be of use to any player.
    malformed: u64,
    /// The time of the latest call. It is the end of the publication if the publisher is dropped without
    /// [`end`](Self::end).
    now: Option<Instant>,
    /// The publisher that it took the name over from.
    took_from: Option<HeldBy>,
    /// What has become of it that was not taken yet.
    events: Vec<StandbyEvent>,
    is_backup: bool,
    /// The stream's takeovers when it last looked whether it is still on air.
    takeovers: u64,
    /// True if its metadata says that it comes from WebRTC.
    is_by_webrtc: bool,
    /// False: its frames wait as configured, whatever threads have to do.
    is_elastic: bool,
    /// True once it has given its place back.
    left: bool,
}

/// What a publisher becomes when it gets its place.
#[derive(Debug)]
pub(super) enum Begins {
    OnAir {
        timeline: Timeline,
        epoch: u64,
    },
    StandsBy {
        standby: Arc<Standby>,
        timeline: Timeline,
        /// True if it stands by for another publisher, and not while the stream's fallback plays.
        is_backup: bool,
    },
}

impl Publisher {
    pub(super) fn new(
        hub: Hub,
        stream: Arc<Stream>,
        number: u64,
        rank: Rank,
        begins: Begins,
        took_from: Option<HeldBy>,
    ) -> Self {
        hub.publishers.add();
        let (lane, timeline, is_backup) = match begins {
            Begins::OnAir { timeline, epoch } => (Lane::OnAir { epoch, bridge: Bridge::default() }, timeline, false),
            Begins::StandsBy { standby, timeline, is_backup } => (Lane::By(standby), timeline, is_backup),
        };
        let publisher = Publisher {
            hub,
            stream,
            number,
            timeline,
            pictures: Pictures::default(),
            lane,
            rank,
            wakes: WakeTimer::default(),
            malformed: 0,
            now: None,
            took_from,
            events: Vec::new(),
            is_backup,
            takeovers: 0,
            is_by_webrtc: false,
            is_elastic: true,
            left: false,
        };
        publisher.limit_pace();
        publisher
    }

    /// Says which connection publishes, for [`Hub::holder`].
    pub fn held_by(&self, connection: u64, address: Option<SocketAddr>) {
        self.hub.registry().name_holder(&self.stream.key, self.number, (connection, address));
        self.hub.changes.changed(&self.stream.key);
    }

    /// The publisher that it took the name over from, if it did.
    pub fn took_from(&self) -> Option<HeldBy> {
        self.took_from
    }

    /// The stream's id.
    pub fn stream_id(&self) -> StreamId {
        self.stream.id
    }

    /// The stream's name.
    pub fn key(&self) -> &StreamKey {
        &self.stream.key
    }

    /// Appends a message of type 8, 9 or 18 to the stream; others are [`malformed`](Self::malformed). Afterwards
    /// [`wake_deadline`](Self::wake_deadline) says when players are to be woken.
    ///
    /// A publisher that stands by keeps the message, see [`Conflict::Backup`](super::Conflict::Backup).
    ///
    /// # Errors
    /// Another publisher has taken over; the stream takes no more messages of this one.
    pub fn push(&mut self, now: Instant, message: Message) -> Result<(), Superseded> {
        self.now = Some(now);
        if !can_be_a_frame(&message) {
            self.malformed += 1;
            return Ok(());
        }
        self.look();
        let (timeline, lane, sent) = (&mut self.timeline, &mut self.lane, message.timestamp);
        let mut own = None;
        let mut frame = Frame::encode_at(message, self.stream.format, &mut self.pictures, |kind, class| {
            // Metadata belongs to no time, and FFmpeg players take it for a subtitle unless its timestamp is 0.
            if kind == FrameKind::Data && sent == 0 {
                return 0;
            }
            let time = timeline.map(now, kind, class.is_coded(), sent);
            own = Some(time);
            match lane {
                Lane::OnAir { bridge, .. } => bridge.map(time, kind, class.is_coded()),
                Lane::By(_) | Lane::Superseded => time,
            }
        });
        if frame.class() == FrameClass::Malformed {
            self.malformed += 1;
            return Ok(());
        }
        if frame.class() == FrameClass::Metadata {
            self.is_by_webrtc = frame.says_by_webrtc();
        }
        if self.is_by_webrtc && (frame.class() == FrameClass::Metadata || frame.is_opus()) {
            frame.only_for_announced();
        }
        self.wakes.pushed(now, self.window(), &frame);
        let pushed = match &self.lane {
            Lane::OnAir { epoch, .. } => {
                let source = self.stream.source();
                if source.epoch() == *epoch {
                    self.stream.push(source, now, frame);
                    Ok(())
                } else {
                    drop(source);
                    self.push_by(now, &frame, sent, own)
                }
            }
            Lane::By(_) | Lane::Superseded => self.push_by(now, &frame, sent, own),
        };
        self.hub.relieve(Some(now));
        pushed
    }

    /// A frame of a publisher that is not on air, as far as it knows. `sent` is its timestamp, and `own` its time in the
    /// publisher's own timeline; `None` if it has no time.
    fn push_by(&mut self, now: Instant, frame: &Frame, sent: u32, own: Option<u32>) -> Result<(), Superseded> {
        if let Lane::OnAir { .. } = self.lane {
            self.find_place();
        }
        let Lane::By(standby) = &self.lane else {
            return Err(Superseded);
        };
        let rules = self.hub.config().backup;
        let frame = own.map_or_else(|| frame.clone(), |own| frame.encoded_again(own));
        let (stood_by, ready) = standby.push(now, &frame, rules, self.rank, &self.stream);
        if ready {
            self.events.push(StandbyEvent::Ready { on_air: self.hub.holder(&self.stream.key) });
        }
        match stood_by {
            StoodBy::Kept => Ok(()),
            StoodBy::Replaced => {
                self.lane = Lane::Superseded;
                Err(Superseded)
            }
            StoodBy::Wants(because) => {
                // The frame is among those that it keeps, so the switch has pushed it.
                self.hub.switch(&self.stream.key, self.number, because, now, rules);
                self.look();
                Ok(())
            }
            StoodBy::Lacks => {
                self.hub.changed(&self.stream.key);
                Ok(())
            }
            StoodBy::OnAir(on_air) => {
                let (kind, coded) = (frame.kind(), frame.class().is_coded());
                let begins = self.go_on_air(on_air);
                let own = own.map(|own| if begins { self.timeline.map(now, kind, coded, sent) } else { own });
                let Lane::OnAir { epoch, bridge } = &mut self.lane else {
                    return Err(Superseded);
                };
                let frame = own.map_or_else(|| frame.clone(), |own| frame.encoded_again(bridge.map(own, kind, coded)));
                let source = self.stream.source();
                // If the other one has it again, one frame is lost that no player gets: the next one finds that out.
                if source.epoch() == *epoch {
                    self.stream.push(source, now, frame);
                }
                Ok(())
            }
        }
    }

    /// It is not on air any more, as the one that it was: finds out what it is.
    fn find_place(&mut self) {
        self.lane = match self.hub.standing_by(&self.stream.key, self.number) {
            Some(standby) => Lane::By(standby),
            None => Lane::Superseded,
        };
    }

    /// Looks whether it is on air now. It may have stood by in the meantime, and not know that.
    fn look(&mut self) {
        if let Lane::OnAir { epoch, .. } = &self.lane {
            let takeovers = self.stream.takeovers.load(Ordering::Relaxed);
            if std::mem::replace(&mut self.takeovers, takeovers) != takeovers && self.stream.source().epoch() != *epoch
            {
                self.find_place();
            }
        }
        if let Lane::By(standby) = &self.lane
            && let Some(on_air) = standby.take_on_air()
        {
            self.go_on_air(on_air);
        }
    }

    /// Returns true if it has another timeline from now on.
    fn go_on_air(&mut self, on_air: OnAir) -> bool {
        self.events.extend(on_air.event());
        let (lane, timeline) = on_air.lane();
        self.lane = lane;
        self.limit_pace();
        let begins = timeline.is_some();
        if let Some(timeline) = timeline {
            self.timeline = timeline;
        }
        begins
    }

    /// True if it stood by for another publisher when it got its place.
    pub fn began_as_backup(&self) -> bool {
        self.is_backup
    }

    /// True while it stands by, as far as it knows.
    pub fn stands_by(&self) -> bool {
        matches!(&self.lane, Lane::By(standby) if standby.is_by())
    }

    /// What has become of it since the last call, if it stands by or stood by.
    pub fn take_events(&mut self) -> Vec<StandbyEvent> {
        self.look();
        std::mem::take(&mut self.events)
    }

    /// Sets the time before anything is pushed, so that the end of a publication without frames has a time, too.
    pub fn begun(&mut self, now: Instant) {
        self.now.get_or_insert(now);
        if let Lane::By(standby) = &self.lane {
            standby.begun(now);
        }
    }

    /// How many players the stream has.
    pub fn players(&self) -> usize {
        self.hub.player_count(&self.stream.key)
    }

    /// When to read the publisher next, if it was read at `last`, so that players get nothing later than without the
    /// wait; `None`: when something comes.
    pub(crate) fn next_read(&self, now: Instant, last: Instant, sockets: &Sockets) -> Option<Instant> {
        if self.is_played() {
            self.pacing().next_read_if_played((now, last), self.window(), &self.wakes, sockets)
        } else {
            self.pacing().next_read_if_unplayed(last, &self.hub.publishers)
        }
    }

    /// How long its frames wait now.
    pub(crate) fn window(&self) -> Duration {
        let pacing = self.pacing();
        if self.is_elastic { self.stream.pace.window_by(pacing) } else { pacing.merge_window }
    }

    /// Its frames wait longer while threads have much to do, or always as configured. The latter is for captures: a replay,
    /// of which only one connection is known, gives the same result.
    pub(crate) fn set_elastic(&mut self, is_elastic: bool) {
        if std::mem::replace(&mut self.is_elastic, is_elastic) != is_elastic {
            self.look();
            self.limit_pace();
        }
    }

    /// If it is on air, its settings are those of the stream.
    fn limit_pace(&self) {
        if let Lane::OnAir { epoch, .. } = self.lane
            && self.stream.source().epoch() == epoch
        {
            self.stream.pace.limit(self.pacing(), self.is_elastic);
        }
    }

    /// How long its frames and reads may be delayed.
    pub(crate) fn pacing(&self) -> &Pacing {
        &self.hub.config().pacing
    }

    /// True while it sends pictures and no key frame to start at: players begin without one, see
    /// [`StartLimits`](crate::source::StartLimits).
    pub fn is_keyless(&self) -> bool {
        !matches!(self.lane, Lane::By(_)) && self.stream.keyless.load(Ordering::Relaxed)
    }

    /// True once another publisher has taken over.
    pub fn is_superseded(&self) -> bool {
        match &self.lane {
            Lane::OnAir { epoch, .. } => {
                self.stream.source().epoch() != *epoch && self.hub.standing_by(&self.stream.key, self.number).is_none()
            }
            Lane::By(standby) => standby.is_replaced(),
            Lane::Superseded => true,
        }
    }

    /// Withdraws the stream's metadata.
    pub fn clear_metadata(&mut self) {
        self.look();
        match &self.lane {
            Lane::OnAir { epoch, .. } => {
                let mut source = self.stream.source();
                if source.epoch() == *epoch {
                    source.clear_metadata();
                    self.stream.settle(&source);
                }
            }
            Lane::By(standby) => standby.clear_metadata(),
            Lane::Superseded => {}
        }
    }

    /// When players must be woken: for frames in the log, or once more when the stream has become quiet, so that their
    /// statistics are complete.
    pub fn wake_deadline(&self) -> Option<Instant> {
        self.wakes.deadline()
    }

    /// Returns true once when that time has come: the caller then wakes the stream's players.
    pub fn take_wake(&mut self, now: Instant) -> bool {
        self.wakes.take_due(now)
    }

    /// Cancels the wake-up for frames in the log: the stream is not [played](Self::is_played).
    pub fn cancel_wake(&mut self, now: Instant) {
        self.wakes.clear(now);
    }

    /// False if the stream has no players, so none is to be woken. A player that joins after a push, and that this call
    /// does not see yet, finds the pushed frames itself.
    pub fn is_played(&self) -> bool {
        self.stream.players.load(Ordering::Relaxed) > 0
    }

    /// Messages dropped because no player could use them.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Ends the publication. The caller then wakes the players, so that they learn of the end. Returns what the stream goes on
    /// with.
    pub fn end(mut self, now: Instant) -> GoesOn {
        self.now = Some(now);
        self.leave()
    }

    /// Gives its place back.
    fn leave(&mut self) -> GoesOn {
        let mut goes_on = GoesOn::default();
        if std::mem::replace(&mut self.left, true) {
            return goes_on;
        }
        self.hub.publishers.remove();
        let key = &self.stream.key;
        let mut registry = self.hub.registry();
        let awaited = registry.stand_down(key, self.number);
        if let Some(succession) = registry.succeed(key, self.number, self.now, self.hub.config().backup) {
            let stream = succession.stream.clone();
            let mut source = stream.source();
            drop(registry);
            succession.happen(&mut source);
            drop(source);
            self.hub.changed(key);
            return GoesOn { is_published: true, to_tell: succession.to_tell };
        }
        // First the source, then the name: the next publisher must find the source ended.
        if registry.holds(key, self.number) {
            let mut source = self.stream.source();
            match self.now {
                Some(now) => source.end(now),
                None => source.abandon(),
            }
        }
        let (removed, freed) = registry.give_up(key, self.number);
        let freed = freed || awaited;
        goes_on.is_published = registry.streams.get(key).is_some_and(Entry::goes_on);
        drop(registry);
        if freed {
            self.hub.changed(key);
        }
        if let Some(stream) = removed {
            stream.release();
        }
        goes_on
    }
}

/// What becomes of a stream when a publisher leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GoesOn {
    /// True if another publisher is on air, or is to be as soon as it has something that players can begin at.
    pub is_published: bool,
    /// That one has just come on air, and does not know it: it learns it at its next call, which may be late if its encoder
    /// is silent.
    pub to_tell: Option<HeldBy>,
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Connections push only such messages; a program may push any message.
fn can_be_a_frame(message: &Message) -> bool {
    let known = matches!(message.type_id, MessageType::AUDIO | MessageType::VIDEO | MessageType::DATA_AMF0);
    known && message.payload.len() <= MAX_CHUNK_SIZE as usize
}
