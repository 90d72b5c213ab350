use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::flv::VideoCodec;
use anabranch_core::url::StreamKey;

use super::congestion::Congestion;
use super::log::{Entry, Log};
use super::qualities::Quality;
use crate::peer::{Medium, Packet};

/// How long it is until a viewer gets more of what it is behind: what comes at once can be lost in the buffers on the way.
pub(super) const PAUSE: Duration = Duration::from_millis(5);
/// A viewer catches up this many times as fast as the stream goes on, and at least with so many kilobits a second: fast enough for
/// the first key frame of a stream with few pictures, and no more than most lines carry.
const FASTER: f64 = 4.0;
const LEAST_KBPS: f64 = 10_000.0;

/// Bytes that a viewer that is behind a stream of this rate gets at once.
pub(super) fn burst(kbps: Option<f64>) -> usize {
    let kbps = (kbps.unwrap_or_default() * FASTER).max(LEAST_KBPS);
    (kbps * 125.0 * PAUSE.as_secs_f64()) as usize
}

/// Milliseconds by which the times of two qualities may differ.
const JUMP: i64 = 100;

/// What a peer that plays has got of its stream.
#[derive(Debug)]
pub(super) struct Viewer {
    /// The codec of its pictures, if it takes any.
    pub(super) video: Option<VideoCodec>,
    /// True if it has asked for pictures.
    pub(super) wants_video: bool,
    /// True if it takes sound.
    pub(super) has_sound: bool,
    /// The index of the next packet of the log.
    next: u64,
    /// Sound before this index is too old for it.
    live_from: u64,
    /// The numbers of the next packets.
    numbers: [u64; 2],
    /// True until it has begun at a key frame, and after it was too slow.
    waits_for_key: bool,
    has_begun: bool,
    /// The number of the last picture that it got.
    picture: u64,
    has_sound_begun: bool,
    /// When it may get more of what it is behind.
    pub(super) pauses_until: Option<Instant>,
    /// True while it is in the queue of those that get packets.
    pub(super) is_queued: bool,
    pub(super) frames: u64,
    pub(super) skipped: u64,
    pub(super) quality: Quality,
    pub(super) congestion: Congestion,
    /// The times of its last packets, before they are moved, and their moments.
    last: [Option<(u32, Instant)>; 2],
    /// Milliseconds by which times are moved: those of another quality may be others.
    moved: i64,
    /// True until that is known.
    has_changed: bool,
}

impl Viewer {
    pub(super) fn new(
        video: Option<VideoCodec>,
        wants_video: bool,
        has_sound: bool,
        first: [u16; 2],
        qualities: Arc<[StreamKey]>,
    ) -> Self {
        Viewer {
            video,
            wants_video,
            has_sound,
            next: 0,
            live_from: 0,
            numbers: first.map(u64::from),
            waits_for_key: true,
            has_begun: false,
            picture: 0,
            has_sound_begun: false,
            pauses_until: None,
            is_queued: false,
            frames: 0,
            skipped: 0,
            quality: Quality::new(qualities),
            congestion: Congestion::default(),
            last: [None; 2],
            moved: 0,
            has_changed: false,
        }
    }

    /// It is connected, and begins: at the newest key frame if there is one.
    pub(super) fn begin(&mut self, log: &Log) {
        self.live_from = log.end();
        self.next = log.start().unwrap_or(log.end());
        self.has_begun = true;
    }

    /// It goes on with another stream, at its newest key frame.
    pub(super) fn change(&mut self, log: &Log) {
        let start = log.start().unwrap_or(log.end());
        (self.next, self.live_from) = (start, start);
        (self.waits_for_key, self.picture, self.has_changed) = (true, 0, true);
    }

    /// True if there are packets for it.
    pub(super) fn is_behind(&self, log: &Log) -> bool {
        self.has_begun && self.next < log.end()
    }

    /// It goes on at the next key frame, as it is too slow.
    pub(super) fn skip(&mut self) {
        self.waits_for_key = true;
    }

    /// True if it is behind what was live when it began: it gets that bit by bit.
    pub(super) fn is_catching_up(&self) -> bool {
        self.next < self.live_from
    }

    /// Hands what is new to `write`, and at most `burst` bytes of what is older. Returns how many pictures it has missed, if it
    /// goes on after a gap.
    pub(super) fn take(&mut self, now: Instant, log: &Log, burst: usize, mut write: impl FnMut(Packet)) -> Option<u64> {
        if self.next < log.first() {
            // What it was to get is gone. While it catches up, that is a shorter way.
            if self.is_catching_up() {
                self.picture = 0;
            }
            (self.next, self.waits_for_key) = (log.first(), true);
        }
        if !self.has_begun || self.pauses_until.is_some_and(|until| now < until) {
            return None;
        }
        self.pauses_until = None;
        let (mut left, mut missed) = (burst, None);
        while let Some(entry) = log.get(self.next) {
            let is_old = self.is_catching_up();
            if is_old && left == 0 {
                self.pauses_until = Some(now + PAUSE);
                break;
            }
            self.next += 1;
            let packet = match entry.medium {
                Medium::Video => self.picture(entry, &mut missed),
                Medium::Audio => self.sound(entry, is_old),
            };
            if let Some(packet) = packet {
                left = left.saturating_sub(packet.payload.len());
                write(packet);
            }
        }
        missed
    }

    fn picture(&mut self, entry: &Entry, missed: &mut Option<u64>) -> Option<Packet> {
        self.video?;
        if self.waits_for_key {
            if !entry.is_start {
                return None;
            }
            self.waits_for_key = false;
            if self.picture > 0 {
                let pictures = entry.picture.saturating_sub(self.picture + 1);
                self.skipped += pictures;
                *missed = Some(missed.unwrap_or(0) + pictures);
            }
        }
        self.picture = entry.picture;
        self.frames += u64::from(entry.marker);
        Some(self.packet(entry, entry.marker))
    }

    fn sound(&mut self, entry: &Entry, is_old: bool) -> Option<Packet> {
        if !self.has_sound || is_old {
            return None;
        }
        let is_first = !std::mem::replace(&mut self.has_sound_begun, true);
        self.frames += 1;
        Some(self.packet(entry, is_first))
    }

    fn packet(&mut self, entry: &Entry, marker: bool) -> Packet {
        let Entry { medium, ref payload, wall, .. } = *entry;
        let (index, units) = if medium == Medium::Video { (0, 90) } else { (1, 48) };
        if self.has_changed
            && let Some((last, moment)) = self.last[index]
        {
            self.has_changed = false;
            self.move_times(entry.time, last, wall.saturating_duration_since(moment), units);
        }
        self.last[index] = Some((entry.time, wall));
        let time = entry.time.wrapping_add((self.moved * units) as u32);
        let number = &mut self.numbers[index];
        *number += 1;
        Packet { medium, payload: payload.clone(), number: *number, time, wall, marker }
    }

    /// Has the times go on as they would have, if those of the other quality do not.
    fn move_times(&mut self, time: u32, last: u32, passed: Duration, units: i64) {
        let expected = last.wrapping_add((passed.as_millis() as i64 * units) as u32);
        let ahead = i64::from(time.wrapping_sub(expected).cast_signed()) / units;
        if ahead.abs() > JUMP {
            self.moved -= ahead;
        }
    }
}
