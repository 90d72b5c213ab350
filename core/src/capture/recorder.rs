use std::time::Instant;

use super::encoding::{Put, zigzag};
use super::record::{Call, Decision, DecisionKind, Pull, PulledFrame, Returned, Written, tag};
use super::{Opening, Tap};
use crate::hub::Pulled;
use crate::session::Outbound;
use crate::source::Frame;

/// Writes the records of a connection.
#[derive(Debug)]
pub(crate) struct Recorder {
    tap: Box<dyn Tap>,
    start: Instant,
    /// Nanoseconds from the start to the last record.
    last: i64,
    written: Written,
    /// Decision points so far; see [`Decision`].
    pub(super) points: u64,
    /// A reused buffer.
    payload: Vec<u8>,
    record: Vec<u8>,
}

impl Recorder {
    pub(crate) fn new(start: Instant, opening: &Opening, mut tap: Box<dyn Tap>) -> Self {
        tap.opened(opening);
        let written = Written::default();
        let (payload, record) = (Vec::new(), Vec::new());
        let mut recorder = Recorder { tap, start, last: 0, written, points: 0, payload, record };
        opening.put(&mut recorder.payload);
        recorder.emit(start, tag::OPENING);
        recorder
    }

    /// Gives the tap a record with the bytes in `payload`.
    fn emit(&mut self, now: Instant, tag: u8) {
        let at = i64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(i64::MAX);
        self.record.clear();
        self.record.push(tag);
        self.record.number(zigzag(at - self.last));
        self.record.number(self.payload.len() as u64);
        self.record.extend_from_slice(&self.payload);
        self.last = at;
        self.tap.record(&self.record);
        self.payload.clear();
        // The buffers do not stay large after a large frame.
        self.payload.shrink_to(16 << 10);
        self.record.shrink_to(16 << 10);
    }

    pub(super) fn called(&mut self, now: Instant, outbound: &Outbound, call: &Call<'_>) {
        let start = self.start;
        let since = |at: Instant| at.saturating_duration_since(start);
        let tag = call.put(Written::of(outbound), &mut self.written, since, &mut self.payload);
        self.emit(now, tag);
    }

    pub(super) fn decided(&mut self, now: Instant, kind: DecisionKind) {
        Decision { point: self.points, kind }.put(&mut self.payload);
        self.emit(now, tag::DECISION);
    }

    pub(super) fn returned(&mut self, now: Instant, returned: &Returned) {
        returned.put(&mut self.payload);
        self.emit(now, tag::RETURNED);
    }

    pub(super) fn pull(
        &mut self,
        now: Instant,
        stream_id: u32,
        live: bool,
        mut sink: impl FnMut(&Frame) -> bool,
        pull: impl FnOnce(&mut dyn FnMut(&Frame) -> bool) -> Pulled,
    ) -> Pulled {
        let mut frames = Vec::new();
        let pulled = pull(&mut |frame| {
            PulledFrame::put(frame, &mut frames);
            sink(frame)
        });
        let start = self.start;
        let since = |at: Instant| at.saturating_duration_since(start);
        Pull::put(stream_id, live, pulled, since, &mut self.payload);
        self.payload.extend_from_slice(&frames);
        self.emit(now, tag::PULL);
        pulled
    }
}
