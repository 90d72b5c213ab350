use std::sync::Arc;
use std::time::Instant;

use super::{Batch, Frame, FrameKind, Headers, Source, milliseconds_from};

/// A player's place in a [`Source`].
#[derive(Debug, Clone)]
pub struct Cursor {
    /// Next frame to hand out; void while `starting`.
    pub(super) position: u64,
    pub(super) epoch: u64,
    /// True until a place to start at is found.
    pub(super) starting: bool,
    /// Where the wait for a start began. A player gets all from the first start on that came while it waited; if there
    /// was one already, it begins as near to the present as it can.
    pub(super) waits_from: u64,
    /// When the newest coded frame had come then.
    pub(super) waits_since: Option<Instant>,
    /// False until the first key frame: coded video before it would not decode.
    pub(super) key_seen: bool,
    /// Where the player is in the stream's bytes and frames and time, for counting gaps; `None` before its first start.
    pub(super) reached: Option<Reached>,
    /// Video frames passed over because they came before the first key frame.
    pub(super) undecodable: u64,
}

/// Where a player is that has begun: what it gets next depends on this alone.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    epoch: u64,
    key_seen: bool,
    reached: Reached,
}

impl Place {
    /// True if the same follows.
    pub(in crate::source) fn is_same(&self, other: &Place) -> bool {
        (self.epoch, self.reached.position) == (other.epoch, other.reached.position)
    }

    pub(in crate::source) fn is_behind_key_frame(&self) -> bool {
        self.key_seen
    }

    pub(in crate::source) fn reach(&mut self, reached: Reached) {
        self.reached = reached;
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(in crate::source) struct Reached {
    pub(super) position: u64,
    pub(super) offset: u64,
    pub(super) timestamp: u32,
}

impl Reached {
    /// What lies between here and `later`.
    pub(super) fn gap_to(self, later: Reached) -> Gap {
        Gap {
            frames: later.position.saturating_sub(self.position),
            bytes: later.offset.saturating_sub(self.offset),
            milliseconds: u64::from(milliseconds_from(self.timestamp, later.timestamp)),
        }
    }
}

/// What [`Source::next`] found.
#[derive(Debug)]
pub enum Next<'a> {
    /// The player begins, or begins again after a gap: send these headers first.
    Start(Start),
    /// The next frame.
    Frame(&'a Frame),
    /// Nothing now; a publisher is there.
    Pending,
    /// Nothing now; no publisher is there.
    Ended,
}

/// Where a player begins.
#[derive(Debug, Clone)]
pub struct Start {
    /// The headers in force at the first frame.
    pub headers: Arc<Headers>,
    /// Timestamp of the first frame.
    pub timestamp: u32,
    /// What the player missed since it was last served; zero at its first start.
    pub gap: Gap,
    /// True if there was no key frame to start at, and the player begins with what there is.
    pub keyless: bool,
}

impl Start {
    /// The headers as the player is to get them: at the time of the first frame, metadata at 0. (FFmpeg takes metadata
    /// with another timestamp for a subtitle.) They share their payload with the headers.
    pub fn frames(&self) -> impl Iterator<Item = Frame> {
        self.headers.iter().map(|header| match header.kind() {
            FrameKind::Data => header.at(0),
            FrameKind::Audio | FrameKind::Video => header.at(self.timestamp),
        })
    }
}

/// What a player did not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gap {
    /// Frames.
    pub frames: u64,
    /// Bytes, chunk headers included.
    pub bytes: u64,
    /// Milliseconds of the stream's time.
    pub milliseconds: u64,
}

impl Gap {
    /// What came to it since it was `earlier`.
    #[must_use]
    pub fn since(self, earlier: Gap) -> Gap {
        Gap {
            frames: self.frames - earlier.frames,
            bytes: self.bytes - earlier.bytes,
            milliseconds: self.milliseconds - earlier.milliseconds,
        }
    }

    /// Adds another gap.
    pub fn add(&mut self, other: Gap) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.milliseconds += other.milliseconds;
    }
}

impl Cursor {
    /// Where it is, once it has begun.
    pub fn place(&self) -> Option<Place> {
        let reached = self.reached.filter(|reached| !self.starting && reached.position == self.position)?;
        Some(Place { epoch: self.epoch, key_seen: self.key_seen, reached })
    }

    /// Goes on from another place of the same publication: what lies between was sent as [batches](Source::batch).
    pub fn pass_to(&mut self, place: Place) {
        debug_assert!(!self.starting && place.epoch == self.epoch && place.reached.position >= self.position);
        self.position = place.reached.position;
        self.reached = Some(place.reached);
    }

    /// Video frames passed over because they came before the first key frame.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Gives up the place: the next start is the newest key frame, and what lies between counts as a gap.
    pub fn restart(&mut self) {
        self.starting = true;
        self.waits_from = u64::MAX;
        self.waits_since = None;
    }
}

/// What players get.
impl Source {
    /// A cursor for a new player. It begins at the newest key frame, or waits for the next.
    pub fn join(&self) -> Cursor {
        let waits_from = self.first + self.log.len() as u64;
        Cursor {
            position: 0,
            epoch: self.epoch,
            starting: true,
            waits_from,
            waits_since: self.last.map(|(_, time)| time),
            key_seen: false,
            reached: None,
            undecodable: 0,
        }
    }

    /// The next thing for the player at `cursor`, which moves on.
    pub fn next(&self, cursor: &mut Cursor) -> Next<'_> {
        if !cursor.starting && (cursor.position < self.first || cursor.epoch != self.epoch) {
            cursor.restart();
        }
        if cursor.starting {
            cursor.waits_since = cursor.waits_since.or(self.last.map(|(_, time)| time));
            return match self.start(cursor) {
                Some(start) => Next::Start(start),
                None => self.nothing(),
            };
        }
        loop {
            let Some(entry) = self.entry(cursor.position) else {
                return self.nothing();
            };
            cursor.position += 1;
            let frame = &entry.frame;
            cursor.reached = Some(Reached {
                position: cursor.position,
                offset: entry.offset + frame.wire().len() as u64,
                timestamp: entry.time,
            });
            cursor.key_seen |= frame.is_join_point() || entry.keyless;
            if cursor.key_seen || !frame.needs_key_frame() {
                return Next::Frame(frame);
            }
            cursor.undecodable += 1;
        }
    }

    fn nothing(&self) -> Next<'static> {
        if self.live { Next::Pending } else { Next::Ended }
    }

    /// All that follows a place, if that is something, no more than `most` bytes, the same for every player, and its
    /// publisher is still there: what is out of the ordinary is for [`next`](Self::next).
    pub fn batch(&self, place: &Place, most: usize) -> Option<Batch> {
        self.batch_in_pieces(place, most).map(Batch::joined)
    }

    /// The same without the copy, which need not be made while others wait for the source.
    pub(crate) fn batch_in_pieces(&self, place: &Place, most: usize) -> Option<Batch> {
        if !self.live || place.epoch != self.epoch {
            return None;
        }
        let from = usize::try_from(place.reached.position.checked_sub(self.first)?).ok()?;
        let mut frames = Vec::with_capacity(self.log.len().saturating_sub(from));
        for entry in self.log.range(from.min(self.log.len())..) {
            let position = self.first + (from + frames.len()) as u64 + 1;
            let end = entry.offset + entry.frame.wire().len() as u64;
            if end - place.reached.offset > most as u64 || entry.frame.differs_by_player() {
                return None;
            }
            frames.push((&entry.frame, Reached { position, offset: end, timestamp: entry.time }));
        }
        Batch::new(*place, frames)
    }

    /// What lies between the cursor and the present; nothing if it has not begun.
    pub fn unsent(&self, cursor: &Cursor) -> Gap {
        let timestamp = self.log.back().map(|entry| entry.time);
        let head = Reached {
            position: self.first + self.log.len() as u64,
            offset: self.pushed,
            timestamp: timestamp.or(self.last.map(|(timestamp, _)| timestamp)).unwrap_or(0),
        };
        cursor.reached.map_or_else(Gap::default, |reached| reached.gap_to(head))
    }

    /// Frames between the cursor and the head of the log; 0 while it waits for a start.
    pub fn behind(&self, cursor: &Cursor) -> u64 {
        let head = self.first + self.log.len() as u64;
        if cursor.starting { 0 } else { head.saturating_sub(cursor.position) }
    }

    /// True if the log does not have the frame any more that the cursor came to last: who keeps it keeps it alone.
    pub fn has_dropped_last_of(&self, cursor: &Cursor) -> bool {
        cursor.position <= self.first
    }
}
