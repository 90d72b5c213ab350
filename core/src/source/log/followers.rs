use std::collections::VecDeque;
use std::time::Instant;

use super::{Cursor, Frame, Gap, Next, Source};

/// A player that gets each publication up to its end, also if the next publication begins before it has read all.
#[derive(Debug)]
pub(super) struct Follower {
    /// Identifies it.
    number: u64,
    /// Behind all that is in `rests`.
    cursor: Cursor,
    /// What it has not read of publications that are over, the oldest first.
    rests: VecDeque<Rest>,
}

/// What a follower has not read of a publication that is over.
#[derive(Debug)]
struct Rest {
    epoch: u64,
    frames: VecDeque<Frame>,
    missed: Gap,
    ended: Option<Instant>,
    dated: Option<(u32, Instant)>,
}

/// What [`Source::read_rest`] returns in addition to frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RestRead {
    /// The publication that the frames belong to.
    pub(crate) epoch: u64,
    /// What the follower missed before them.
    pub(crate) missed: Gap,
    /// True if that was all of the publication.
    pub(crate) is_over: bool,
    /// When the publication ended; `None` if another publisher took over.
    pub(crate) ended: Option<Instant>,
    /// See [`Source::dated`].
    pub(crate) dated: Option<(u32, Instant)>,
}

impl Rest {
    /// Gives up its frames: the follower misses them.
    fn give_up(&mut self) {
        let (first, last) = (self.frames.front().map(Frame::timestamp), self.frames.back().map(Frame::timestamp));
        let milliseconds = first.zip(last).map_or(0, |(first, last)| super::milliseconds_from(first, last));
        let bytes = self.frames.iter().map(|frame| frame.wire().len() as u64).sum();
        let frames = self.frames.len() as u64;
        self.missed.add(Gap { frames, bytes, milliseconds: milliseconds.into() });
        self.frames = VecDeque::new();
    }

    fn held_bytes(&self) -> usize {
        self.frames.iter().map(held_bytes).sum::<usize>() + size_of::<Rest>()
    }
}

/// Bytes that a frame takes in a rest.
fn held_bytes(frame: &Frame) -> usize {
    frame.held_bytes() + frame.extra_bytes() + 2 * size_of::<Frame>()
}

impl Source {
    /// Makes the player of `cursor` a follower, by a number that no other follower has.
    pub(crate) fn follow(&mut self, number: u64, cursor: Cursor) {
        self.followers.push(Follower { number, cursor, rests: VecDeque::new() });
    }

    /// The follower is gone.
    pub(crate) fn unfollow(&mut self, number: u64) {
        self.followers.retain(|follower| follower.number != number);
        self.count_rests();
    }

    /// Hands what the follower has not read of its oldest publication that is over to `sink`, until `sink` returns
    /// false. `None` if it has read all of such publications: then `cursor` is where it goes on.
    pub(crate) fn read_rest(
        &mut self,
        number: u64,
        cursor: &mut Cursor,
        sink: &mut impl FnMut(&Frame) -> bool,
    ) -> Option<RestRead> {
        let follower = self.followers.iter_mut().find(|follower| follower.number == number)?;
        let Some(rest) = follower.rests.front_mut() else {
            *cursor = follower.cursor.clone();
            return None;
        };
        let (epoch, missed, ended) = (rest.epoch, std::mem::take(&mut rest.missed), rest.ended);
        let dated = rest.dated;
        let is_over = loop {
            let Some(frame) = rest.frames.pop_front() else {
                break true;
            };
            if !sink(&frame) {
                break false;
            }
        };
        if is_over {
            follower.rests.pop_front();
        }
        self.count_rests();
        Some(RestRead { epoch, missed, is_over, ended, dated })
    }

    /// The follower has read on to `cursor`.
    pub(crate) fn note_followed(&mut self, number: u64, cursor: &Cursor) {
        if let Some(follower) = self.followers.iter_mut().find(|follower| follower.number == number) {
            follower.cursor = cursor.clone();
        }
    }

    /// Keeps what followers have not read, because the log is about to be dropped for another publication. A follower
    /// may have so much unread as a log may hold; it misses the rest of a publication that goes beyond that.
    pub(super) fn keep_rests(&mut self) {
        // Followers do not get what the fallback plays.
        if self.followers.is_empty() || self.fallback {
            return;
        }
        let mut followers = std::mem::take(&mut self.followers);
        for Follower { cursor, rests, .. } in &mut followers {
            let mut rest = self.rest(cursor);
            if rest.frames.is_empty() && rest.missed.frames == 0 {
                continue;
            }
            let frames: usize = rests.iter().map(|rest| rest.frames.len()).sum();
            let bytes: usize = rests.iter().map(Rest::held_bytes).sum();
            let is_large = bytes + rest.held_bytes() > self.limits.bytes.saturating_add(self.limits.header_bytes)
                || frames + rest.frames.len() > self.limits.frames;
            if is_large {
                rest.give_up();
            }
            match rests.back_mut() {
                // Entries without frames are not kept one for each publication.
                Some(last) if last.frames.is_empty() && rest.frames.is_empty() => {
                    last.missed.add(rest.missed);
                    (last.epoch, last.ended, last.dated) = (rest.epoch, rest.ended, rest.dated);
                }
                _ => rests.push_back(rest),
            }
        }
        self.followers = followers;
        self.count_rests();
    }

    /// Gives up what is kept for followers: they miss it.
    pub(super) fn give_rests(&mut self) {
        self.followers.iter_mut().flat_map(|follower| &mut follower.rests).for_each(Rest::give_up);
        self.count_rests();
    }

    /// All that the cursor can read now.
    fn rest(&self, cursor: &mut Cursor) -> Rest {
        let (epoch, ended, dated) = (self.epoch, self.ended, self.dated);
        let mut rest = Rest { epoch, frames: VecDeque::new(), missed: Gap::default(), ended, dated };
        loop {
            match self.next(cursor) {
                Next::Frame(frame) => rest.frames.push_back(frame.clone()),
                Next::Start(start) => {
                    rest.missed.add(start.gap);
                    rest.frames.extend(start.frames());
                }
                Next::Pending | Next::Ended => return rest,
            }
        }
    }

    fn count_rests(&mut self) {
        let rests = self.followers.iter().flat_map(|follower| &follower.rests);
        self.rests = rests.map(Rest::held_bytes).sum();
    }
}
