use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Rng;

/// Bytes that travel together: the granularity of pacing.
const PIECE: usize = 4096;
/// The most that one read takes.
const READ: usize = 64 << 10;

/// Bytes in a segment, the unit of loss.
const SEGMENT: usize = 1448;
/// The shortest time after which TCP retransmits what was not acknowledged, and how often here.
const TIMEOUT: Duration = Duration::from_millis(200);
const ATTEMPTS: u32 = 6;

/// The path between one client and the server: a byte stream in each direction, as TCP gives it. Nothing is lost or
/// reordered; bytes are late, cut anywhere, or stop coming. Loss in the network shows as delay: TCP sends the segment
/// again, and everything after it waits.
#[derive(Debug)]
pub struct Link {
    /// From the client to the server.
    pub up: Pipe,
    /// From the server to the client.
    pub down: Pipe,
}

impl Link {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let latency = Duration::from_millis(rng.within(1..=30) as u64);
        Link { up: Pipe::new(latency, rng.fork(1)), down: Pipe::new(latency, rng.fork(2)) }
    }

    /// Bytes a second, in each direction. No limit by default.
    pub fn bandwidth(&mut self, bytes: u64) -> &mut Self {
        self.up.bandwidth(bytes);
        self.down.bandwidth(bytes);
        self
    }

    /// How long a byte travels, in each direction. By default random, between 1 and 30 ms.
    pub fn latency(&mut self, latency: Duration) -> &mut Self {
        self.up.latency = latency;
        self.down.latency = latency;
        self
    }

    /// This many of a million segments are lost, in each direction: see [`Pipe::loss`].
    pub fn loss(&mut self, per_million: u32) -> &mut Self {
        self.up.loss(per_million);
        self.down.loss(per_million);
        self
    }

    /// Bytes in transit in each direction before the writer's write stops. Default 128 KiB.
    pub fn buffer(&mut self, bytes: usize) -> &mut Self {
        self.up.buffer = bytes;
        self.down.buffer = bytes;
        self
    }
}

/// One direction of a [`Link`].
#[derive(Debug)]
pub struct Pipe {
    bandwidth: Option<u64>,
    latency: Duration,
    buffer: usize,
    /// Of a million segments.
    loss: u32,
    pieces: VecDeque<Piece>,
    /// Bytes in `pieces`.
    held: usize,
    /// When the line is free for the next piece.
    free_at: Option<Instant>,
    stall: Stall,
    /// When the reader learns that the writer closed, after the last byte.
    end: Option<Instant>,
    rng: Rng,
    luck: Rng,
}

#[derive(Debug)]
struct Piece {
    at: Instant,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stall {
    No,
    Until(Instant),
    ForEver,
}

/// What a reader gets.
#[derive(Debug)]
pub(super) enum Delivery {
    Bytes(Vec<u8>),
    /// The writer closed.
    End,
}

impl Pipe {
    fn new(latency: Duration, rng: Rng) -> Self {
        Pipe {
            bandwidth: None,
            latency,
            buffer: 128 << 10,
            loss: 0,
            pieces: VecDeque::new(),
            held: 0,
            free_at: None,
            stall: Stall::No,
            end: None,
            luck: rng.fork(1),
            rng,
        }
    }

    /// Bytes a second, for what is written from now on.
    pub fn bandwidth(&mut self, bytes: u64) -> &mut Self {
        self.bandwidth = Some(bytes.max(1));
        self
    }

    /// Bytes in transit before the writer's write stops.
    pub fn buffer(&mut self, bytes: usize) -> &mut Self {
        self.buffer = bytes;
        self
    }

    /// This many of a million segments are lost and sent again: after a round trip if later segments show the loss,
    /// otherwise after a timeout, which doubles if the segment is lost again. What was written after them waits.
    pub fn loss(&mut self, per_million: u32) -> &mut Self {
        self.loss = per_million;
        self
    }

    /// The reader takes nothing until [`resume`](Self::resume).
    pub fn stall(&mut self) {
        self.stall = Stall::ForEver;
    }

    /// The reader takes nothing before `time`.
    pub(super) fn stall_until(&mut self, time: Instant) {
        self.stall = Stall::Until(time);
    }

    /// The reader reads again.
    pub fn resume(&mut self) {
        self.stall = Stall::No;
    }

    pub(super) fn room(&self) -> usize {
        if self.end.is_some() { 0 } else { self.buffer.saturating_sub(self.held) }
    }

    /// Takes as much of `bytes` as there is room for.
    pub(super) fn write(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        for piece in bytes[..taken].chunks(PIECE) {
            let at = self.arrival(now, piece.len());
            self.pieces.push_back(Piece { at, bytes: piece.to_vec() });
        }
        self.held += taken;
        taken
    }

    /// The writer closes in good order.
    pub(super) fn close(&mut self, now: Instant) {
        if self.end.is_none() {
            self.end = Some(self.arrival(now, 0));
        }
    }

    /// Drops everything in transit.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.held = 0;
        self.end = None;
    }

    /// When there is something to read.
    pub(super) fn ready(&self) -> Option<Instant> {
        let at = self.pieces.front().map(|piece| piece.at).or(self.end)?;
        match self.stall {
            Stall::No => Some(at),
            Stall::Until(time) => Some(at.max(time)),
            Stall::ForEver => None,
        }
    }

    /// One read: what has arrived, put together and cut at random.
    pub(super) fn read(&mut self, now: Instant) -> Option<Delivery> {
        if self.ready().is_none_or(|at| at > now) {
            return None;
        }
        let Some(first) = self.pieces.pop_front() else {
            self.end = None;
            return Some(Delivery::End);
        };
        let (at, mut bytes) = (first.at, first.bytes);
        while bytes.len() < READ
            && self.pieces.front().is_some_and(|piece| piece.at <= now)
            && !self.rng.once_in(2)
            && let Some(next) = self.pieces.pop_front()
        {
            bytes.extend_from_slice(&next.bytes);
        }
        let length = match self.rng.within(0..=7) {
            0 => 1,
            1 => self.rng.within(1..=16),
            2 => self.rng.within(1..=bytes.len()),
            _ => bytes.len(),
        };
        let rest = bytes.split_off(length.min(bytes.len()));
        if !rest.is_empty() {
            self.pieces.push_front(Piece { at, bytes: rest });
        }
        self.held -= bytes.len();
        Some(Delivery::Bytes(bytes))
    }

    fn arrival(&mut self, now: Instant, length: usize) -> Instant {
        let start = self.free_at.map_or(now, |free| free.max(now));
        let time = self.bandwidth.map_or(0, |bandwidth| length as u64 * 1_000_000_000 / bandwidth);
        let sent = start + Duration::from_nanos(time);
        self.free_at = Some(sent);
        let last = self.pieces.back().map_or(now, |piece| piece.at);
        (sent + self.latency + self.retransmission(length)).max(last)
    }

    /// How much later than it could the last segment of so many bytes arrives.
    fn retransmission(&mut self, length: usize) -> Duration {
        if self.loss == 0 {
            return Duration::ZERO;
        }
        let timeout = TIMEOUT.max(self.latency * 2);
        let mut latest = Duration::ZERO;
        for _ in 0..length.div_ceil(SEGMENT).max(1) {
            let (mut late, mut attempts) = (Duration::ZERO, 0);
            while attempts < ATTEMPTS && self.luck.draw() % 1_000_000 < u64::from(self.loss) {
                let shown = attempts == 0 && self.luck.once_in(2);
                late += if shown { self.latency * 2 } else { timeout * (1 << attempts) };
                attempts += 1;
            }
            latest = latest.max(late);
        }
        latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a numbered byte each 10 ms for a minute; when each arrived.
    fn delays(loss: u32, seed: u64) -> Vec<Duration> {
        let start = Instant::now();
        let mut link = Link::new(&mut Rng::new(seed));
        link.latency(Duration::from_millis(20)).loss(loss);
        let mut delays = Vec::new();
        for tick in 0..6_000_u32 {
            let now = start + Duration::from_millis(10) * tick;
            assert_eq!(link.up.write(now, &[tick as u8]), 1);
            while let Some(at) = link.up.ready().filter(|at| *at <= now) {
                let Some(Delivery::Bytes(bytes)) = link.up.read(at) else { panic!("closed") };
                for byte in bytes {
                    assert_eq!(byte, delays.len() as u8, "nothing is lost or overtaken");
                    delays.push(at - (start + Duration::from_millis(10) * delays.len() as u32));
                }
            }
        }
        delays
    }

    #[test]
    fn lost_bytes_come_late_and_delay_the_bytes_after_them() {
        let latency = Duration::from_millis(20);
        assert!(delays(0, 1).iter().all(|delay| *delay == latency));
        let lossy = delays(10_000, 1);
        assert_eq!(lossy, delays(10_000, 1), "by the seed");
        assert_ne!(lossy, delays(10_000, 2));
        let late = lossy.iter().filter(|delay| **delay > latency).count();
        let lost = lossy.windows(2).filter(|pair| pair[1] > pair[0]).count();
        assert!((30..=90).contains(&lost), "one in a hundred, of 6,000: {lost}");
        assert!(late > lost * 3, "{late} bytes were late, {lost} lost");
        assert!(lossy.iter().any(|delay| *delay >= TIMEOUT));
        assert!(lossy.iter().filter(|delay| **delay == latency).count() > 3_000, "it recovers");
    }
}
