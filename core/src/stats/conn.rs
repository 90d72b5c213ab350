use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::number::{Number, OptionalNumber, ago, milliseconds_since};
use super::rate::{Rate, Throughput};
use crate::source::Gap;

/// Counts the traffic of one connection. Only the connection writes it; all other code reads a [view](Self::view).
///
/// Small, because a server has many connections: 128 bytes, and a [`Rate`] for each direction that has frames. Nearly
/// every connection has frames in one direction only.
#[derive(Debug)]
pub struct ConnStats {
    shared: Arc<Shared>,
}

/// Reads the statistics of a connection.
#[derive(Debug, Clone)]
pub struct ConnStatsView {
    shared: Arc<Shared>,
}

/// The statistics of a connection at one time. Two of the numbers may differ by one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConnSnapshot {
    /// Time since the connection was made.
    pub age: Duration,
    /// Bytes received, from the first one of the handshake.
    pub bytes_in: u64,
    /// Bytes sent, from the first one of the handshake.
    pub bytes_out: u64,
    /// Audio, video and data messages received.
    pub frames_in: u64,
    /// Audio, video and data messages sent or queued.
    pub frames_out: u64,
    /// Frames that the peer did not get.
    pub dropped: Gap,
    /// Frames between the player's place in the stream and the newest frame.
    pub lag: u64,
    /// Bytes and frames received, from the first frame on.
    pub rate_in: Throughput,
    /// Bytes and frames sent, from the first frame on.
    pub rate_out: Throughput,
    /// Time since bytes were last received.
    pub idle_in: Option<Duration>,
    /// Time since bytes were last sent.
    pub idle_out: Option<Duration>,
}

#[derive(Debug)]
struct Shared {
    origin: Instant,
    input: Direction,
    output: Direction,
    dropped_frames: Number,
    dropped_bytes: Number,
    dropped_milliseconds: Number,
    lag: Number,
}

#[derive(Debug, Default)]
struct Direction {
    bytes: Number,
    frames: Number,
    /// Milliseconds from the origin to the newest bytes.
    newest: OptionalNumber,
    /// Created with the first frame.
    rate: OnceLock<Box<Rate>>,
}

impl ConnStats {
    /// A connection that was just made.
    pub fn new(now: Instant) -> Self {
        let shared = Shared {
            origin: now,
            input: Direction::default(),
            output: Direction::default(),
            dropped_frames: Number::default(),
            dropped_bytes: Number::default(),
            dropped_milliseconds: Number::default(),
            lag: Number::default(),
        };
        ConnStats { shared: Arc::new(shared) }
    }

    /// A view for readers.
    pub fn view(&self) -> ConnStatsView {
        ConnStatsView { shared: self.shared.clone() }
    }

    /// Counts received bytes.
    pub fn received(&mut self, now: Instant, bytes: usize) {
        self.shared.input.add_bytes(self.shared.origin, now, bytes);
    }

    /// Counts sent bytes.
    pub fn sent(&mut self, now: Instant, bytes: usize) {
        self.shared.output.add_bytes(self.shared.origin, now, bytes);
    }

    /// Counts what the connection has sent since it was counted last: it has sent so many bytes in all.
    pub(crate) fn sent_in_all(&mut self, now: Instant, bytes: u64) {
        let new = bytes.saturating_sub(self.shared.output.bytes.read());
        if new > 0 {
            self.sent(now, usize::try_from(new).unwrap_or(usize::MAX));
        }
    }

    /// Counts received audio, video or data messages.
    pub fn received_frames(&mut self, now: Instant, frames: u32) {
        self.shared.input.add_frames(now, frames);
    }

    /// Counts audio, video or data messages that were queued to be sent.
    pub fn queued_frames(&mut self, now: Instant, frames: u32) {
        self.shared.output.add_frames(now, frames);
    }

    /// Adds frames that the peer did not get.
    pub fn dropped(&mut self, gap: Gap) {
        self.shared.dropped_frames.add(gap.frames);
        self.shared.dropped_bytes.add(gap.bytes);
        self.shared.dropped_milliseconds.add(gap.milliseconds);
    }

    /// All frames that the peer did not get so far.
    pub fn missed(&self) -> Gap {
        self.shared.dropped()
    }

    /// Sets how many frames the player is behind the stream's newest frame.
    pub fn set_lag(&mut self, frames: u64) {
        self.shared.lag.set(frames);
    }
}

impl ConnStatsView {
    /// The statistics now. Cheap; the connection never waits for it.
    pub fn snapshot(&self, now: Instant) -> ConnSnapshot {
        let shared = &*self.shared;
        ConnSnapshot {
            age: now.saturating_duration_since(shared.origin),
            bytes_in: shared.input.bytes.read(),
            bytes_out: shared.output.bytes.read(),
            frames_in: shared.input.frames.read(),
            frames_out: shared.output.frames.read(),
            dropped: shared.dropped(),
            lag: shared.lag.read(),
            rate_in: shared.input.throughput(now),
            rate_out: shared.output.throughput(now),
            idle_in: shared.input.idle(shared.origin, now),
            idle_out: shared.output.idle(shared.origin, now),
        }
    }
}

impl Shared {
    fn dropped(&self) -> Gap {
        Gap {
            frames: self.dropped_frames.read(),
            bytes: self.dropped_bytes.read(),
            milliseconds: self.dropped_milliseconds.read(),
        }
    }
}

impl Direction {
    fn add_bytes(&self, origin: Instant, now: Instant, bytes: usize) {
        self.bytes.add(bytes as u64);
        self.newest.set(Some(milliseconds_since(origin, now)));
        if let Some(rate) = self.rate.get() {
            rate.record(now, bytes as u64, 0);
        }
    }

    fn add_frames(&self, now: Instant, frames: u32) {
        if frames > 0 {
            self.frames.add(u64::from(frames));
            self.rate.get_or_init(|| Box::new(Rate::new(now))).record(now, 0, frames);
        }
    }

    fn throughput(&self, now: Instant) -> Throughput {
        self.rate.get().map(|rate| rate.throughput(now)).unwrap_or_default()
    }

    fn idle(&self, origin: Instant, now: Instant) -> Option<Duration> {
        self.newest.read().map(|newest| ago(origin, newest, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Window;

    #[allow(clippy::disallowed_methods)] // any instant is fine as the start of the test's clock
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn it_is_small() {
        assert!(size_of::<Shared>() <= 128, "{}", size_of::<Shared>());
    }

    #[test]
    fn what_was_counted_already_is_not_counted_again_with_all_that_was_sent() {
        let start = origin();
        let mut stats = ConnStats::new(start);
        stats.sent_in_all(start, 10);
        // A batch went past the queue, and the next poll sees it in the queue's total.
        stats.sent(start, 5);
        for (in_all, counted) in [(15, 15), (15, 15), (20, 20)] {
            stats.sent_in_all(start, in_all);
            assert_eq!(stats.view().snapshot(start).bytes_out, counted);
        }
    }

    #[test]
    fn each_direction_is_counted_and_rated_by_itself() {
        let start = origin();
        let at = |ms| start + Duration::from_millis(ms);
        let mut stats = ConnStats::new(start);
        let view = stats.view();
        stats.received(at(0), 3073);
        stats.sent(at(1), 3073);
        for second in 1..=20 {
            stats.queued_frames(at(second * 1000), 30);
            stats.sent(at(second * 1000), 125_000);
        }
        stats.dropped(Gap { frames: 3, bytes: 4, milliseconds: 5 });
        stats.dropped(Gap { frames: 30, bytes: 40, milliseconds: 50 });
        stats.set_lag(7);

        let snapshot = view.snapshot(at(21_000));
        assert_eq!((snapshot.bytes_in, snapshot.bytes_out), (3073, 3073 + 20 * 125_000));
        assert_eq!((snapshot.frames_in, snapshot.frames_out), (0, 600));
        assert_eq!(snapshot.dropped, Gap { frames: 33, bytes: 44, milliseconds: 55 });
        assert_eq!(snapshot.lag, 7);
        assert_eq!(snapshot.rate_in, Throughput::default(), "no frames came in");
        assert_eq!(snapshot.rate_out.fps(Window::Seconds30), 30.0);
        assert_eq!(snapshot.rate_out.kbps(Window::Seconds30), 1000.0);
        assert_eq!(snapshot.age, Duration::from_secs(21));
        assert_eq!(snapshot.idle_in, Some(Duration::from_secs(21)));
        assert_eq!(snapshot.idle_out, Some(Duration::from_secs(1)));
        assert_eq!(view.snapshot(at(700_000)).rate_out, Throughput::default(), "all is long ago");
    }
}
