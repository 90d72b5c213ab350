use std::fmt;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::number::milliseconds_since;

/// A time span that ends now and over which a [`Rate`] is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// One second.
    Seconds1,
    /// 10 seconds.
    Seconds10,
    /// 30 seconds.
    Seconds30,
    /// One minute.
    Seconds60,
    /// Five minutes.
    Seconds300,
}

impl Window {
    /// All windows, the shortest first.
    pub const ALL: [Window; 5] =
        [Window::Seconds1, Window::Seconds10, Window::Seconds30, Window::Seconds60, Window::Seconds300];

    /// The nominal length.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.buckets() * self.tier().width * TICK)
    }

    /// The most by which the time covered exceeds the nominal length: 250 ms for one second, 2.5 s for 10 seconds, 10 s
    /// for 30 seconds and one minute, 60 s for five minutes.
    pub const fn resolution(self) -> Duration {
        Duration::from_millis(self.tier().width * TICK)
    }

    const fn tier(self) -> &'static Tier {
        match self {
            Window::Seconds1 => &TIERS[0],
            Window::Seconds10 => &TIERS[1],
            Window::Seconds30 | Window::Seconds60 => &TIERS[2],
            Window::Seconds300 => &TIERS[3],
        }
    }

    /// Whole buckets in the window.
    const fn buckets(self) -> u64 {
        match self {
            Window::Seconds1 | Window::Seconds10 => 4,
            Window::Seconds30 => 3,
            Window::Seconds60 => 6,
            Window::Seconds300 => 5,
        }
    }
}

/// Milliseconds of the smallest bucket.
const TICK: u64 = 250;

/// Every rate is a mean over at least this time. Otherwise the key frame at the start of a stream would give an
/// enormous rate.
const SHORTEST_SPAN: u64 = 1000;

/// Buckets of one width.
#[derive(Debug)]
struct Tier {
    /// Ticks in a bucket.
    width: u64,
    /// Index of its first slot.
    first_slot: u64,
    /// Two more than the buckets of the longest window: one for the bucket that is being filled, and one for a reader
    /// whose time is a little behind.
    slots: u64,
}

const TIERS: [Tier; 4] = [
    Tier { width: 1, first_slot: 0, slots: 6 },
    Tier { width: 10, first_slot: 6, slots: 6 },
    Tier { width: 40, first_slot: 12, slots: 8 },
    Tier { width: 240, first_slot: 20, slots: 7 },
];

const SLOTS: usize = 27;

/// Bytes and frames over sliding windows, in fixed memory (256 bytes).
///
/// # What is reported
/// Time is divided into buckets; longer windows have longer buckets. A window covers the bucket that is being filled
/// and the whole buckets before it that make up its nominal length. So it covers its nominal length and up to one
/// bucket ([`Window::resolution`]) more. The reported rate is the exact mean over the time covered, to the millisecond.
/// While the time since the first record is shorter than the window, the mean is over that time, and over at least one
/// second. When no frame arrives, the reported rate falls with each reading, and is 0 after the window and one bucket
/// have passed.
///
/// Exact up to 2^40 bytes and 2^24 frames in a window (23 Gbit/s and 44 000 frames per second over five minutes).
///
/// # Threads
/// One thread records while any number of threads read; neither waits. If two threads record at the same time, one
/// record may be lost. A reader whose `now` is more than a bucket before that of the newest record may get too low a
/// rate.
pub struct Rate {
    origin: Instant,
    /// Milliseconds from the origin to the first record, plus one; 0 before the first record.
    began: AtomicU64,
    /// Ticks from the origin to the newest record.
    tick: AtomicU64,
    /// All bytes and frames recorded, [packed](pack). Modulo 2^64, which does not affect differences.
    total: AtomicU64,
    /// For each bucket, the value of `total` when the bucket began.
    slots: [AtomicU64; SLOTS],
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rate { began, tick, total, .. } = self;
        f.debug_struct("Rate").field("began", began).field("tick", tick).field("total", total).finish_non_exhaustive()
    }
}

/// Bytes and frames in one number, so that no reader sees one without the other.
const fn pack(bytes: u64, frames: u64) -> u64 {
    bytes.wrapping_add(frames << BYTES_BITS)
}

const BYTES_BITS: u32 = 40;

impl Rate {
    /// A rate without records. Reported rates begin with the first record, not at `now`.
    pub fn new(now: Instant) -> Self {
        Rate {
            origin: now,
            began: AtomicU64::new(0),
            tick: AtomicU64::new(0),
            total: AtomicU64::new(0),
            slots: [const { AtomicU64::new(0) }; SLOTS],
        }
    }

    /// Adds bytes and frames. Constant time; most calls are two additions. A `now` before that of an earlier call is
    /// treated as the earlier call's.
    pub fn record(&self, now: Instant, bytes: u64, frames: u32) {
        let milliseconds = milliseconds_since(self.origin, now);
        if self.began.load(Ordering::Relaxed) == 0 {
            self.began.store(milliseconds.saturating_add(1), Ordering::Relaxed);
        }
        let (tick, last) = (milliseconds / TICK, self.tick.load(Ordering::Relaxed));
        let total = self.total.load(Ordering::Relaxed);
        if tick > last {
            self.begin_buckets(last, tick, total);
        }
        self.total.store(total.wrapping_add(pack(bytes, u64::from(frames))), Ordering::Relaxed);
    }

    /// Kilobits (1000 bits) per second.
    pub fn kbps(&self, window: Window, now: Instant) -> f64 {
        self.recent(window, now).kbps()
    }

    /// Frames per second.
    pub fn fps(&self, window: Window, now: Instant) -> f64 {
        self.recent(window, now).fps()
    }

    /// The bytes and frames recorded in a window.
    pub fn recent(&self, window: Window, now: Instant) -> Recent {
        let (tier, last) = (window.tier(), self.tick.load(Ordering::Acquire));
        let now = milliseconds_since(self.origin, now).max(last * TICK);
        let width = tier.width * TICK;
        let first = (now / width).checked_sub(window.buckets());
        let before = match first {
            // The window begins before the origin.
            None => 0,
            Some(first) if first > last / tier.width => self.total.load(Ordering::Relaxed),
            // Acquire: the total must not be older than the slot's value.
            Some(first) => self.slot(tier, first).map_or(0, |slot| slot.load(Ordering::Acquire)),
        };
        let counted = self.total.load(Ordering::Relaxed).wrapping_sub(before);
        let Some(began) = self.began.load(Ordering::Relaxed).checked_sub(1) else {
            return Recent { bytes: 0, frames: 0, milliseconds: SHORTEST_SPAN };
        };
        let from = first.map_or(began, |first| began.max(first * width));
        Recent {
            bytes: counted & ((1 << BYTES_BITS) - 1),
            frames: counted >> BYTES_BITS,
            milliseconds: now.saturating_sub(from).max(SHORTEST_SPAN),
        }
    }

    /// The rates of all windows.
    pub fn throughput(&self, now: Instant) -> Throughput {
        let recent = Window::ALL.map(|window| self.recent(window, now));
        Throughput { kbps: recent.map(Recent::kbps), fps: recent.map(Recent::fps) }
    }

    /// Stores the total in all buckets that began after tick `last`.
    fn begin_buckets(&self, last: u64, tick: u64, total: u64) {
        for tier in &TIERS {
            let newest = tick / tier.width;
            let oldest = (last / tier.width + 1).max((newest + 1).saturating_sub(tier.slots));
            for bucket in oldest..=newest {
                if let Some(slot) = self.slot(tier, bucket) {
                    slot.store(total, Ordering::Release);
                }
            }
        }
        self.tick.store(tick, Ordering::Release);
    }

    fn slot(&self, tier: &Tier, bucket: u64) -> Option<&AtomicU64> {
        self.slots.get((tier.first_slot + bucket % tier.slots) as usize)
    }
}

/// The records of a [`Rate`] in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recent {
    /// Bytes.
    pub bytes: u64,
    /// Frames.
    pub frames: u64,
    /// The time covered, never 0.
    pub milliseconds: u64,
}

impl Recent {
    /// Kilobits (1000 bits) per second.
    pub fn kbps(self) -> f64 {
        // Bits per millisecond. All three numbers are far below 2^53.
        (self.bytes * 8) as f64 / self.milliseconds as f64
    }

    /// Frames per second.
    pub fn fps(self) -> f64 {
        (self.frames * 1000) as f64 / self.milliseconds as f64
    }
}

/// The rates of all windows at one time. They can be added: audio and video of a stream, streams of a virtual host.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Throughput {
    kbps: [f64; Window::ALL.len()],
    fps: [f64; Window::ALL.len()],
}

impl Throughput {
    /// Kilobits (1000 bits) per second.
    pub fn kbps(&self, window: Window) -> f64 {
        self.kbps[window as usize]
    }

    /// Frames per second.
    pub fn fps(&self, window: Window) -> f64 {
        self.fps[window as usize]
    }
}

impl AddAssign for Throughput {
    fn add_assign(&mut self, other: Throughput) {
        for (sum, other) in self.kbps.iter_mut().zip(other.kbps) {
            *sum += other;
        }
        for (sum, other) in self.fps.iter_mut().zip(other.fps) {
            *sum += other;
        }
    }
}

#[cfg(test)]
mod tests;
