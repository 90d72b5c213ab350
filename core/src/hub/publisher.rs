use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{HeldBy, Hub, Stream, StreamId, Superseded};
use crate::chunk::MAX_CHUNK_SIZE;
use crate::flv::{FrameClass, Pictures};
use crate::message::{Message, MessageType};
use crate::pacing::{Pacing, Sockets, WakeTimer};
use crate::source::{Frame, FrameKind, Timeline};
use crate::url::StreamKey;

/// The publish lock of one stream. Dropping it ends the publication and frees the name.
#[derive(Debug)]
pub struct Publisher {
    hub: Hub,
    stream: Arc<Stream>,
    /// Identifies it among all publishers of the hub.
    number: u64,
    timeline: Timeline,
    pictures: Pictures,
    /// The source's epoch while this publisher is the present one.
    epoch: u64,
    wakes: WakeTimer,
    /// Messages too damaged to be of use to any player.
    malformed: u64,
    /// The time of the latest call. It is the end of the publication if the publisher is dropped without
    /// [`end`](Self::end).
    now: Option<Instant>,
    /// The publisher that it took the name over from.
    took_from: Option<HeldBy>,
}

impl Publisher {
    pub(super) fn new(
        hub: Hub,
        stream: Arc<Stream>,
        number: u64,
        timeline: Timeline,
        epoch: u64,
        took_from: Option<HeldBy>,
    ) -> Self {
        hub.publishers.add();
        let (pictures, wakes) = (Pictures::default(), WakeTimer::default());
        Publisher { hub, stream, number, timeline, pictures, epoch, wakes, malformed: 0, now: None, took_from }
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
    /// # Errors
    /// Another publisher has taken over; the stream takes no more messages of this one.
    pub fn push(&mut self, now: Instant, message: Message) -> Result<(), Superseded> {
        self.now = Some(now);
        if !can_be_a_frame(&message) {
            self.malformed += 1;
            return Ok(());
        }
        let (timeline, sent) = (&mut self.timeline, message.timestamp);
        let frame = Frame::encode_at(message, self.stream.format, &mut self.pictures, |kind, class| {
            // Metadata belongs to no time, and FFmpeg players take it for a subtitle unless its timestamp is 0.
            if kind == FrameKind::Data && sent == 0 { 0 } else { timeline.map(now, kind, class.is_coded(), sent) }
        });
        if frame.class() == FrameClass::Malformed {
            self.malformed += 1;
            return Ok(());
        }
        let source = self.stream.source();
        if source.epoch() != self.epoch {
            return Err(Superseded);
        }
        self.wakes.pushed(now, self.hub.config().pacing.merge_window, &frame);
        self.stream.push(source, now, frame);
        self.hub.relieve(Some(now));
        Ok(())
    }

    /// Sets the time before anything is pushed, so that the end of a publication without frames has a time, too.
    pub fn begun(&mut self, now: Instant) {
        self.now.get_or_insert(now);
    }

    /// How many players the stream has.
    pub fn players(&self) -> usize {
        self.hub.player_count(&self.stream.key)
    }

    /// When to read the publisher next, if it was read at `last`, so that players get nothing later than without the
    /// wait; `None`: when something comes.
    pub(crate) fn next_read(&self, now: Instant, last: Instant, sockets: &Sockets) -> Option<Instant> {
        if self.is_played() {
            self.pacing().next_read_if_played(now, last, &self.wakes, sockets)
        } else {
            self.pacing().next_read_if_unplayed(last, &self.hub.publishers)
        }
    }

    /// How long its frames and reads may be delayed.
    pub(crate) fn pacing(&self) -> &Pacing {
        &self.hub.config().pacing
    }

    /// True while it sends pictures and no key frame to start at: players begin without one, see
    /// [`StartLimits`](crate::source::StartLimits).
    pub fn is_keyless(&self) -> bool {
        self.stream.keyless.load(Ordering::Relaxed)
    }

    /// True once another publisher has taken over.
    pub fn is_superseded(&self) -> bool {
        self.stream.source().epoch() != self.epoch
    }

    /// Withdraws the stream's metadata.
    pub fn clear_metadata(&mut self) {
        let mut source = self.stream.source();
        if source.epoch() == self.epoch {
            source.clear_metadata();
            self.stream.settle(&source);
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

    /// Ends the publication. The caller then wakes the players, so that they learn of the end.
    pub fn end(mut self, now: Instant) {
        self.now = Some(now);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // First the source, then the name: the next publisher must find the source ended.
        let mut source = self.stream.source();
        if source.epoch() == self.epoch {
            match self.now {
                Some(now) => source.end(now),
                None => source.abandon(),
            }
        }
        drop(source);
        self.hub.publishers.remove();
        let (removed, freed) = self.hub.registry().give_up(&self.stream.key, self.number);
        if freed {
            self.hub.changes.changed(&self.stream.key);
        }
        if let Some(stream) = removed {
            stream.release();
        }
    }
}

/// Connections push only such messages; a program may push any message.
fn can_be_a_frame(message: &Message) -> bool {
    let known = matches!(message.type_id, MessageType::AUDIO | MessageType::VIDEO | MessageType::DATA_AMF0);
    known && message.payload.len() <= MAX_CHUNK_SIZE as usize
}
