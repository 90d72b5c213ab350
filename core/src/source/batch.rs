use std::fmt;

use bytes::{Bytes, BytesMut};

use super::form::{self, Form};
use super::log::{Mark, Place};
use super::mp4::Pacing;
use super::{Frame, FrameKind};
use crate::shown::Shown;

/// What frames there are in a batch, or which of them a reader takes as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Contents(u8);

impl Contents {
    pub(crate) const AUDIO: Contents = Contents(1);
    pub(crate) const VIDEO: Contents = Contents(2);
    pub(crate) const DATA: Contents = Contents(4);
    /// Sequence headers, metadata and the like.
    pub(crate) const HEADERS: Contents = Contents(8);
    /// What only players get that have announced its codec.
    pub(crate) const ANNOUNCED: Contents = Contents(16);
    pub(crate) const ALL: Contents = Contents(31);

    fn of(frame: &Frame) -> Self {
        let kind = match frame.kind() {
            FrameKind::Audio => Self::AUDIO,
            FrameKind::Video => Self::VIDEO,
            FrameKind::Data => Self::DATA,
        };
        let headers = if frame.class().is_header() { Self::HEADERS } else { Self::default() };
        let announced = if frame.is_for_announced() { Self::ANNOUNCED } else { Self::default() };
        kind.and(headers).and(announced)
    }

    /// The contents of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Contents(self.0 | other.0)
    }

    /// What is in it and not in the other.
    pub(crate) fn without(self, other: Self) -> Self {
        Contents(self.0 & !other.0)
    }

    fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

/// The frames after a place in a source's log, in one piece. All players at that place are sent the same bytes, so a
/// player costs little more than one write.
#[derive(Clone)]
pub struct Batch {
    from: Place,
    form: Form,
    /// The frames as messages of RTMP, each with the mark after it. In another form, once it is in one piece, that piece:
    /// a piece that is begun must be completed.
    frames: Vec<(Bytes, Mark)>,
    /// The frames, for another form than RTMP, until they are in one piece.
    whole: Vec<Frame>,
    /// The times of the frames before it, for a form that has to say how long its last frames last.
    pacing: Option<Pacing>,
    count: u32,
    /// True if one of the frames can only be decoded after a key frame.
    video: bool,
    contents: Contents,
    wire: Bytes,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Batch");
        shown
            .field("from", &self.from)
            .field("form", &self.form)
            .field("frames", &self.count)
            .field("video", &self.video)
            .field("contents", &self.contents);
        shown.field("wire", &Shown(&self.wire)).finish()
    }
}

impl Batch {
    /// A batch without frames at a place, with room for so many.
    pub(super) fn new(from: Place, form: Form, room: usize) -> Self {
        let (rtmp, other) = if form == Form::Rtmp { (room, 0) } else { (0, room) };
        Batch {
            from,
            form,
            frames: Vec::with_capacity(rtmp),
            whole: Vec::with_capacity(other),
            pacing: None,
            count: 0,
            video: false,
            contents: Contents::default(),
            wire: Bytes::new(),
        }
    }

    /// Tells the times of the frames before it.
    pub(super) fn follow(&mut self, pacing: Pacing) {
        self.pacing = Some(pacing);
    }

    /// Adds the next frame, with the mark after it.
    pub(super) fn push(&mut self, frame: &Frame, mark: Mark) {
        self.video |= frame.needs_key_frame();
        self.contents = self.contents.and(Contents::of(frame));
        self.count += 1;
        if self.form == Form::Rtmp {
            self.frames.push((frame.wire().clone(), mark));
        } else {
            self.whole.push(frame.clone());
            // What is passed on is the end.
            self.frames.clear();
            self.frames.push((Bytes::new(), mark));
        }
    }

    /// The same with its bytes in one piece. This is one copy for all players; a single frame is not copied.
    #[must_use]
    pub(crate) fn joined(mut self) -> Self {
        if self.form != Form::Rtmp
            && let Some((piece, _)) = self.frames.first_mut()
        {
            self.wire = match self.form {
                Form::Mp4(mp4) => mp4.piece(&self.whole, self.pacing.unwrap_or_else(|| mp4.pacing())),
                Form::Flv(framing) => form::flv(&self.whole, framing),
                Form::Rtmp => Bytes::new(),
            };
            *piece = self.wire.clone();
            self.whole = Vec::new();
            return self;
        }
        self.wire = match &self.frames[..] {
            [(frame, _)] => frame.clone(),
            frames => {
                let mut wire = BytesMut::with_capacity(frames.iter().map(|(frame, _)| frame.len()).sum());
                frames.iter().for_each(|(frame, _)| wire.extend_from_slice(frame));
                wire.freeze()
            }
        };
        self
    }

    /// Its form.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The bytes of all frames, with all that its form adds to them.
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }

    /// Bytes of memory that it keeps. A single frame is not copied.
    pub(crate) fn held(&self) -> usize {
        if self.form == Form::Rtmp && self.count > 1 { 2 * self.wire.len() } else { self.wire.len() }
    }

    /// How many audio, video and data messages are in it.
    pub fn frames(&self) -> u32 {
        self.count
    }

    /// True if a player at this place is to be sent this batch next.
    pub fn follows(&self, place: &Place) -> bool {
        self.from.is_same(place) && (place.is_behind_key_frame() || !self.video)
    }

    /// True if it begins at this place.
    pub(crate) fn begins_at(&self, place: &Place) -> bool {
        self.from.is_same(place)
    }

    /// True if it has nothing but this.
    pub(crate) fn is_within(&self, contents: Contents) -> bool {
        self.contents.is_within(contents)
    }

    /// Moves `place` to where a player is that was there and got the whole batch.
    pub(crate) fn pass(&self, place: &mut Place) {
        if let Some((_, mark)) = self.frames.last() {
            place.advance_to(*mark);
        }
    }

    /// The pieces of which the first `count` bytes contain at least a part, and the number of frames in them; moves
    /// `place` after them.
    pub(crate) fn begun(&self, count: usize, place: &mut Place) -> (impl Iterator<Item = &Bytes>, u32) {
        let mut before = 0;
        let begun = self.frames.iter().take_while(move |(frame, _)| {
            let begins = before < count;
            before += frame.len();
            begins
        });
        let begun: Vec<_> = begun.collect();
        if let Some((_, mark)) = begun.last() {
            place.advance_to(*mark);
        }
        let frames = if self.form == Form::Rtmp || begun.is_empty() { begun.len() as u32 } else { self.count };
        (begun.into_iter().map(|(frame, _)| frame), frames)
    }
}
