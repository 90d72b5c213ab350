use std::sync::Arc;
use std::time::Instant;

use super::super::mp4::HISTORY;
use super::{Batch, Form, Frame, FrameKind, Headers, Source, milliseconds_from};

/// The state of a player of a [`Source`]: it seeks a frame to start at, or it is at a place.
#[derive(Debug, Clone)]
pub struct Cursor {
    pub(super) state: State,
    /// Video frames left out because they came before the first key frame.
    undecodable: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    Seeking(Seeking),
    At(Place),
}

/// A player that has no place. [`Source::next`] looks for one each time it is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seeking {
    pub(super) reason: SeekReason,
    /// The epoch of the publisher whose start it seeks.
    pub(super) epoch: u64,
    /// Arrival of the newest coded frame when it began to seek. `None`: it has sought since this publisher's first
    /// frame.
    pub(super) since: Option<Instant>,
    /// The place it had before. What it missed counts from there, once a start is found. `None` before the first start.
    pub(super) left: Option<Place>,
}

/// Why a player has no place, which decides where it may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SeekReason {
    /// It is new. It starts at the first start at `from` or later, which was the end of the log when it joined. If
    /// there is none, it starts at the newest start that [`StartRule`](super::StartRule) allows.
    Joined { from: u64 },
    /// Its next frame is no longer in the log, or it gave up its place. It starts at the newest start.
    FellBehind,
    /// Another publisher began, and it waits for the first start of that.
    NewPublisher,
}

/// A place in a stream, between two frames. All players at a place get the same frames next.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The epoch of the publisher.
    pub(super) epoch: u64,
    /// False until the first key frame: coded video before it cannot be decoded.
    pub(super) key_seen: bool,
    pub(super) mark: Mark,
}

impl Place {
    /// True if the same frames follow.
    pub(in crate::source) fn is_same(&self, other: &Place) -> bool {
        (self.epoch, self.mark.position) == (other.epoch, other.mark.position)
    }

    pub(in crate::source) fn is_behind_key_frame(&self) -> bool {
        self.key_seen
    }

    /// What lies between this place and a later one.
    pub(crate) fn gap_to(&self, later: &Place) -> Gap {
        self.mark.gap_to(later.mark)
    }

    /// Moves on to a later mark of the same publication.
    pub(in crate::source) fn advance_to(&mut self, mark: Mark) {
        self.mark = mark;
    }
}

/// A point of a stream in frames, bytes and time, from which gaps are measured.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::source) struct Mark {
    /// Frames before it, over the life of the source.
    pub(super) position: u64,
    /// Bytes before it, over the life of the source.
    pub(super) offset: u64,
    /// The stream's time there.
    pub(super) timestamp: u32,
}

impl Mark {
    /// What lies between here and `later`.
    pub(super) fn gap_to(self, later: Mark) -> Gap {
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
    /// The player begins, or begins again after a gap: the caller sends these headers first.
    Start(Start),
    /// The next frame.
    Frame(&'a Frame),
    /// Nothing now; there is a publisher.
    Pending,
    /// Nothing now; there is no publisher.
    Ended,
}

/// Where a player begins.
#[derive(Debug, Clone)]
pub struct Start {
    /// The headers in force at the first frame.
    pub headers: Arc<Headers>,
    /// Timestamp of the first frame.
    pub timestamp: u32,
    /// What the player missed since its last frame; zero at its first start. Starts never count the same frame twice,
    /// so the sum over all starts is all that was missed.
    pub gap: Gap,
    /// True if there was no key frame to start at, and the player begins without one.
    pub keyless: bool,
}

impl Start {
    /// The headers as the player gets them: with the timestamp of the first frame, metadata with 0. (FFmpeg takes
    /// metadata with another timestamp for a subtitle.) They share their payload with the headers.
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
    /// Subtracts a gap that is part of this one.
    pub(crate) fn remove(&mut self, part: Gap) {
        self.frames = self.frames.saturating_sub(part.frames);
        self.bytes = self.bytes.saturating_sub(part.bytes);
        self.milliseconds = self.milliseconds.saturating_sub(part.milliseconds);
    }

    /// Adds another gap.
    pub fn add(&mut self, other: Gap) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.milliseconds += other.milliseconds;
    }
}

impl Cursor {
    /// Its place; `None` while it seeks a start.
    pub fn place(&self) -> Option<Place> {
        match self.state {
            State::At(place) => Some(place),
            State::Seeking(_) => None,
        }
    }

    /// Its place, or the one before it began to seek; `None` before its first start.
    fn last_place(&self) -> Option<Place> {
        match self.state {
            State::At(place) => Some(place),
            State::Seeking(seeking) => seeking.left,
        }
    }

    /// Moves to a later place of the same publication: the frames between were sent as [batches](Source::batch).
    pub fn pass_to(&mut self, place: Place) {
        debug_assert!(
            self.place().is_some_and(|now| place.epoch == now.epoch && place.mark.position >= now.mark.position),
            "a batch is for players that have a place, and brings them further"
        );
        self.state = State::At(place);
    }

    /// The same if it was at `from` when the batch was begun, and nothing but giving up its place has happened since.
    /// Then it is at `place`; whether it had given up its place. `None`, and nothing is changed, if it was not there.
    pub(crate) fn pass_late(&mut self, from: &Place, place: Place) -> Option<bool> {
        let was_there = self.last_place().is_some_and(|last| last.is_same(from));
        let seeks = self.place().is_none();
        was_there.then(|| {
            self.state = State::At(place);
            seeks
        })
    }

    /// Video frames left out because they came before the first key frame.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }
}

/// What players get.
impl Source {
    /// A cursor for a new player. It begins at the newest key frame, or waits for the next.
    pub fn join(&self) -> Cursor {
        let reason = SeekReason::Joined { from: self.end_position() };
        let state = State::Seeking(Seeking { reason, epoch: self.epoch, since: self.newest_arrival(), left: None });
        Cursor { state, undecodable: 0 }
    }

    /// Gives up the place of `cursor`: its player starts again at the newest key frame, and the frames between count as
    /// a gap.
    pub fn restart(&self, cursor: &mut Cursor) {
        cursor.state = State::Seeking(match cursor.state {
            State::At(place) => self.fallen_behind(place.epoch, Some(place)),
            State::Seeking(seeking) if seeking.reason == SeekReason::NewPublisher => seeking,
            State::Seeking(seeking) => self.fallen_behind(seeking.epoch, seeking.left),
        });
    }

    /// Returns what the player gets next, and moves its cursor.
    pub fn next(&self, cursor: &mut Cursor) -> Next<'_> {
        let place = match &mut cursor.state {
            State::At(place) if place.epoch == self.epoch && place.mark.position >= self.first => place,
            _ => return self.seek(cursor),
        };
        loop {
            let Some(entry) = self.entry(place.mark.position) else {
                return self.nothing();
            };
            let frame = &entry.frame;
            place.mark = Mark {
                position: place.mark.position + 1,
                offset: entry.offset + frame.wire().len() as u64,
                timestamp: entry.time,
            };
            place.key_seen |= frame.is_join_point() || entry.keyless;
            if place.key_seen || !frame.needs_key_frame() {
                return Next::Frame(frame);
            }
            cursor.undecodable += 1;
        }
    }

    /// Seeks a start for a player that has no place, or whose place is no longer in the log.
    // Separate from `next`, which nearly always has a place, and uses fewer registers without this code.
    #[inline(never)]
    fn seek(&self, cursor: &mut Cursor) -> Next<'_> {
        let mut seeking = match cursor.state {
            State::At(place) => self.fallen_behind(place.epoch, Some(place)),
            State::Seeking(seeking) => seeking,
        };
        if seeking.epoch != self.epoch {
            let reason = SeekReason::NewPublisher;
            seeking = Seeking { reason, epoch: self.epoch, since: None, left: seeking.left };
        }
        match self.start(&seeking) {
            Some((start, place)) => {
                cursor.state = State::At(place);
                Next::Start(start)
            }
            None => {
                cursor.state = State::Seeking(seeking);
                self.nothing()
            }
        }
    }

    fn fallen_behind(&self, epoch: u64, left: Option<Place>) -> Seeking {
        Seeking { reason: SeekReason::FellBehind, epoch, since: self.newest_arrival(), left }
    }

    /// The position after the newest frame.
    fn end_position(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    pub(super) fn newest_arrival(&self) -> Option<Instant> {
        self.last.map(|(_, arrival)| arrival)
    }

    fn nothing(&self) -> Next<'static> {
        if self.live { Next::Pending } else { Next::Ended }
    }

    /// All frames after a place, as messages of RTMP. `None` if there are none, if they have more than `most` bytes, if players get
    /// different forms of one of them, or if the publisher of the place is gone: players then use [`next`](Self::next).
    pub fn batch(&self, place: &Place, most: usize) -> Option<Batch> {
        self.batch_in_pieces(place, most, Form::Rtmp).map(Batch::joined)
    }

    /// The same in any form, and without the copy, which the caller can make after it unlocks the source.
    pub(crate) fn batch_in_pieces(&self, place: &Place, most: usize, form: Form) -> Option<Batch> {
        if !self.live || place.epoch != self.epoch {
            return None;
        }
        let from = usize::try_from(place.mark.position.checked_sub(self.first)?).ok()?;
        let mut batch = Batch::new(*place, form, self.log.len().saturating_sub(from));
        let from_here = from.min(self.log.len());
        if let Form::Mp4(mp4) = form {
            let mut pacing = mp4.pacing();
            let before = self.log.range(from_here.saturating_sub(HISTORY)..from_here);
            before.for_each(|entry| mp4.pass(&entry.frame, &mut pacing));
            batch.follow(pacing);
        }
        for entry in self.log.range(from_here..) {
            let position = self.first + from as u64 + u64::from(batch.frames()) + 1;
            let end = entry.offset + entry.frame.wire().len() as u64;
            if end - place.mark.offset > most as u64 || entry.frame.differs_by_player() {
                return None;
            }
            // A player by MP4 may need another init segment, and other times.
            if let Form::Mp4(mp4) = form
                && (entry.frame.is_header() && entry.frame.kind() != FrameKind::Data
                    || !mp4.is_near(entry.frame.timestamp()))
            {
                return None;
            }
            batch.push(&entry.frame, Mark { position, offset: end, timestamp: entry.time });
        }
        (batch.frames() > 0).then_some(batch)
    }

    /// What lies between the cursor and the newest frame; nothing if it has not begun.
    pub fn unsent(&self, cursor: &Cursor) -> Gap {
        let timestamp = self.log.back().map(|entry| entry.time);
        let end = Mark {
            position: self.end_position(),
            offset: self.pushed,
            timestamp: timestamp.or(self.last.map(|(timestamp, _)| timestamp)).unwrap_or(0),
        };
        cursor.last_place().map_or_else(Gap::default, |place| place.mark.gap_to(end))
    }

    /// Frames between the cursor and the newest frame; 0 while it seeks a start.
    pub fn behind(&self, cursor: &Cursor) -> u64 {
        cursor.place().map_or(0, |place| self.end_position().saturating_sub(place.mark.position))
    }

    /// True if there is a start after the place of `cursor`, or another publication: [`restart`](Self::restart) then
    /// skips frames.
    pub fn has_newer_start(&self, cursor: &Cursor) -> bool {
        let is_of_another = match cursor.state {
            State::At(place) => place.epoch != self.epoch,
            State::Seeking(seeking) => seeking.epoch != self.epoch || seeking.reason == SeekReason::NewPublisher,
        };
        let openings = self.openings.positions.back().filter(|_| self.keyless);
        let newest = self.starts.back().into_iter().chain(openings).max();
        let position = cursor.last_place().map_or(0, |place| place.mark.position);
        is_of_another || newest.is_some_and(|start| *start > position)
    }

    /// True if the log has dropped the last frame that the cursor passed, so that only players still hold it.
    pub fn has_dropped_last_of(&self, cursor: &Cursor) -> bool {
        cursor.last_place().is_none_or(|place| place.mark.position <= self.first)
    }
}
