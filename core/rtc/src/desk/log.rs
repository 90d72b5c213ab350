use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::peer::Medium;

/// Bytes that a packet takes in addition to its payload.
const OVERHEAD: usize = size_of::<Entry>() + 16;

/// A packet of a stream, for all its viewers.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) medium: Medium,
    pub(super) payload: Arc<[u8]>,
    pub(super) time: u32,
    pub(super) wall: Instant,
    /// True for the last packet of a picture.
    pub(super) marker: bool,
    /// The number of the picture; for sound that of the one before.
    pub(super) picture: u64,
    /// True for the first packet of a key frame.
    pub(super) is_start: bool,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { medium, payload, time, picture, .. } = self;
        write!(f, "{medium:?} at {time}, picture {picture}, {} bytes", payload.len())
    }
}

/// The packets of a stream from its newest key frame on, and those that viewers have not been sent.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The index of the first one.
    first: u64,
    /// The index of the newest key frame.
    start: Option<u64>,
    bytes: usize,
}

impl Log {
    /// The index of the next packet.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The index of the oldest packet.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The index of the newest key frame.
    pub(super) fn start(&self) -> Option<u64> {
        self.start
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// Adds a packet. If there are more than `most` bytes then, all that came before is given up.
    pub(super) fn push(&mut self, entry: Entry, most: usize) {
        if entry.is_start {
            self.start = Some(self.end());
        }
        self.bytes += entry.payload.len() + OVERHEAD;
        self.entries.push_back(entry);
        if self.bytes > most {
            self.trim();
        }
        if self.bytes > most {
            self.start = None;
            self.trim();
        }
    }

    /// Joiners begin at no key frame that is here.
    pub(super) fn forget_start(&mut self) {
        self.start = None;
    }

    /// Gives up what comes before the newest key frame: all viewers have been sent it.
    pub(super) fn trim(&mut self) {
        let kept_from = self.start.unwrap_or(self.end());
        while self.first < kept_from {
            let Some(entry) = self.entries.pop_front() else { break };
            self.bytes -= entry.payload.len() + OVERHEAD;
            self.first += 1;
        }
        if self.entries.is_empty() {
            self.entries.shrink_to(256);
        }
    }
}
