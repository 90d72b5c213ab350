use std::net::SocketAddr;
use std::time::Instant;

use super::encoding::{Put, zigzag};
use super::record::{Call, Decision, DecisionKind, Pull, PulledFrame, Returned, Written, tag};
use super::{Joined, Opening, Tap};
use crate::hub::Pulled;
use crate::session::Outbound;
use crate::source::Frame;
use crate::url::StreamKey;

/// Writes the records of a connection.
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
    /// True if the capture began in the middle of the connection: it has the bytes for the client, and not what they
    /// came from.
    joined: bool,
    /// True once the tap knows the client's address from a proxy.
    addressed: bool,
}

crate::shown::debug_with_bytes!(Recorder { tap, start, last, written, points; payload, record });

impl Recorder {
    pub(crate) fn new(start: Instant, opening: &Opening, mut tap: Box<dyn Tap>) -> Self {
        tap.opened(opening);
        let mut recorder = Recorder::with(tap, start, false);
        opening.put(&mut recorder.payload);
        opening.put_accepts(&mut recorder.payload);
        recorder.emit(start, tag::OPENING);
        recorder
    }

    /// A recorder that begins in the middle of a connection. `unread` are bytes of the client that are not parsed yet.
    pub(crate) fn join(
        now: Instant,
        joined: &Joined,
        unread: &[u8],
        outbound: &Outbound,
        mut tap: Box<dyn Tap>,
    ) -> Self {
        tap.joined(joined);
        let mut recorder = Recorder::with(tap, now, true);
        joined.put(&mut recorder.payload);
        recorder.emit(now, tag::JOINED);
        if !unread.is_empty() {
            recorder.called(now, outbound, &Call::Input(unread));
        }
        recorder
    }

    fn with(tap: Box<dyn Tap>, start: Instant, joined: bool) -> Self {
        Recorder {
            tap,
            start,
            last: 0,
            written: Written::default(),
            points: 0,
            payload: Vec::new(),
            record: Vec::new(),
            joined,
            addressed: joined,
        }
    }

    /// True if the tap takes no more.
    pub(super) fn is_over(&self) -> bool {
        self.tap.is_over()
    }

    pub(super) fn names(&mut self, key: &StreamKey, publishes: bool) {
        self.tap.names(key, publishes);
    }

    pub(super) fn client_address(&mut self, address: SocketAddr) {
        if !std::mem::replace(&mut self.addressed, true) {
            self.tap.client_address(address);
        }
    }

    /// Records what was queued for the client since the last time, if nothing else in the capture shows it.
    pub(super) fn pushed(&mut self, now: Instant, outbound: &mut Outbound) {
        if !self.joined {
            return;
        }
        let bytes = outbound.tally().and_then(|tally| tally.bytes.as_mut()).map(std::mem::take).unwrap_or_default();
        if !bytes.is_empty() {
            self.payload.extend_from_slice(&bytes);
            self.emit(now, tag::OUTPUT);
        }
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
        message_stream_id: u32,
        live: bool,
        mut sink: impl FnMut(&Frame) -> bool,
        pull: impl FnOnce(&mut dyn FnMut(&Frame) -> bool) -> Pulled,
    ) -> Pulled {
        if self.joined {
            return pull(&mut sink);
        }
        let mut frames = Vec::new();
        let pulled = pull(&mut |frame| {
            PulledFrame::put(frame, &mut frames);
            sink(frame)
        });
        let start = self.start;
        let since = |at: Instant| at.saturating_duration_since(start);
        Pull::put(message_stream_id, live, pulled, since, &mut self.payload);
        self.payload.extend_from_slice(&frames);
        self.emit(now, tag::PULL);
        pulled
    }
}
