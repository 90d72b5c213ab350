use std::fmt;

use bytes::{Bytes, BytesMut};

use super::log::{Mark, Place};
use crate::shown::Shown;

/// The frames after a place in a source's log, in one piece. All players at that place are sent the same bytes, so a
/// player costs little more than one write.
#[derive(Clone)]
pub struct Batch {
    from: Place,
    frames: Vec<(Bytes, Mark)>,
    /// True if one of the frames can only be decoded after a key frame.
    video: bool,
    wire: Bytes,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Batch");
        shown.field("from", &self.from).field("frames", &self.frames.len()).field("video", &self.video);
        shown.field("wire", &Shown(&self.wire)).finish()
    }
}

impl Batch {
    /// Makes a batch of consecutive frames, each with the mark after it. `None` if there are no frames.
    pub(super) fn new(from: Place, frames: Vec<(Bytes, Mark)>, video: bool) -> Option<Self> {
        if frames.is_empty() { None } else { Some(Batch { from, frames, video, wire: Bytes::new() }) }
    }

    /// The same with its bytes in one piece. This is one copy for all players; a single frame is not copied.
    #[must_use]
    pub(crate) fn joined(mut self) -> Self {
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

    /// The bytes of all frames, chunk headers included.
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }

    /// Bytes of memory that it keeps. A single frame is not copied.
    pub(crate) fn held(&self) -> usize {
        if self.frames.len() > 1 { 2 * self.wire.len() } else { self.wire.len() }
    }

    /// How many audio, video and data messages are in it.
    pub fn frames(&self) -> u32 {
        self.frames.len() as u32
    }

    /// True if a player at this place is to be sent this batch next.
    pub fn follows(&self, place: &Place) -> bool {
        self.from.is_same(place) && (place.is_behind_key_frame() || !self.video)
    }

    /// Moves `place` to where a player is that was there and got the whole batch.
    pub(crate) fn pass(&self, place: &mut Place) {
        if let Some((_, mark)) = self.frames.last() {
            place.advance_to(*mark);
        }
    }

    /// The frames of which the first `count` bytes contain at least a part; moves `place` after them.
    pub(crate) fn begun(&self, count: usize, place: &mut Place) -> impl Iterator<Item = &Bytes> {
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
        begun.into_iter().map(|(frame, _)| frame)
    }
}
