use bytes::{Bytes, BytesMut};

use super::Frame;
use super::log::{Mark, Place};

/// What follows a place in a source's log, in one piece. All players at that place are sent the same bytes, so that each
/// costs one write and hardly anything else.
#[derive(Debug, Clone)]
pub struct Batch {
    from: Place,
    frames: Vec<(Bytes, Mark)>,
    /// True if some of it decodes only behind a key frame.
    video: bool,
    wire: Bytes,
}

impl Batch {
    /// Of frames as they follow each other, each with where a player is behind it. `None` of none.
    pub(super) fn new(from: Place, frames: Vec<(&Frame, Mark)>) -> Option<Self> {
        let video = frames.iter().any(|(frame, _)| frame.needs_key_frame());
        let frames: Vec<_> = frames.into_iter().map(|(frame, mark)| (frame.wire().clone(), mark)).collect();
        if frames.is_empty() { None } else { Some(Batch { from, frames, video, wire: Bytes::new() }) }
    }

    /// The same with its bytes put together, which is a copy for all players at once; a single frame is not copied.
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

    /// Its bytes, chunk headers included.
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }

    /// Audio, video and data messages in it.
    pub fn frames(&self) -> u32 {
        self.frames.len() as u32
    }

    /// True if it is what a player at this place is to be sent next.
    pub fn follows(&self, place: &Place) -> bool {
        self.from.is_same(place) && (place.is_behind_key_frame() || !self.video)
    }

    /// Where a player is that got all of it, having been at `place`.
    pub(crate) fn pass(&self, place: &mut Place) {
        if let Some((_, mark)) = self.frames.last() {
            place.advance_to(*mark);
        }
    }

    /// The frames begun by the first `count` bytes, and where a player is behind them.
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
