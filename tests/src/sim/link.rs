use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Rng;

/// Bytes that travel together: the grain of pacing.
const PIECE: usize = 4096;
/// The most that one read takes.
const READ: usize = 64 << 10;

/// The path between one client and the server: a byte stream each way, as TCP gives it. Nothing is lost or overtaken;
/// bytes are late, cut anywhere, or stop coming.
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

    /// Bytes a second, each way. Without it there is no limit.
    pub fn bandwidth(&mut self, bytes: u64) -> &mut Self {
        self.up.bandwidth(bytes);
        self.down.bandwidth(bytes);
        self
    }

    /// How long a byte travels, each way. Random between 1 and 30 ms without it.
    pub fn latency(&mut self, latency: Duration) -> &mut Self {
        self.up.latency = latency;
        self.down.latency = latency;
        self
    }

    /// Bytes on their way in each direction before the writer's write stops. Default 128 KiB.
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
    pieces: VecDeque<Piece>,
    /// Bytes in `pieces`.
    held: usize,
    /// When the line is free for the next piece.
    free_at: Option<Instant>,
    stall: Stall,
    /// The writer closed: the reader learns it at this time, behind the last byte.
    end: Option<Instant>,
    rng: Rng,
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
            pieces: VecDeque::new(),
            held: 0,
            free_at: None,
            stall: Stall::No,
            end: None,
            rng,
        }
    }

    /// Bytes a second, for what is written from now on.
    pub fn bandwidth(&mut self, bytes: u64) -> &mut Self {
        self.bandwidth = Some(bytes.max(1));
        self
    }

    /// Bytes on their way before the writer's write stops.
    pub fn buffer(&mut self, bytes: usize) -> &mut Self {
        self.buffer = bytes;
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

    /// All that is on its way is lost.
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
        (sent + self.latency).max(last)
    }
}
