//! Players of what a [`Limit`](crate::limit::Limit) sends, which is taken apart like a stream and speaks no protocol.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency};
use anabranch_core::message::{Message, MessageType};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::limit::CHUNK_SIZE;
use crate::media::{Kind, MediaOptions, Stamp};
use crate::report::{Cost, Report};
use crate::{Histogram, process};

/// Who plays, and for how long.
#[derive(Debug, Clone)]
pub struct CountOptions {
    /// Where the loop listens.
    pub address: SocketAddr,
    /// How many.
    pub players: u32,
    /// What the loop sends.
    pub media: MediaOptions,
    /// How long to measure, once all have got something.
    pub duration: Duration,
    /// How long to wait for that before measuring those that have.
    pub patience: Duration,
    /// The loop's process on this machine.
    pub server_pid: Option<u32>,
}

/// Plays what a [`Limit`](crate::limit::Limit) sends.
///
/// The loop's frames say when in a GOP they are due and not when that GOP began: latencies are beyond that of the frame
/// which was fastest of all, which had next to none.
///
/// # Errors
/// The system's event queue fails, or the loop's process is not there. What goes wrong with single connections is
/// counted instead.
pub fn count(options: &CountOptions) -> io::Result<Report> {
    let mut counting = Counting::connect(options)?;
    counting.run(Instant::now() + options.patience, |counting| counting.up + counting.failed >= options.players)?;
    let cpu = || -> io::Result<(f64, Option<f64>)> {
        let server = options.server_pid.map(process::cpu_seconds).transpose()?;
        Ok((process::cpu_seconds(std::process::id())?, server))
    };
    let (begin, bytes, (own, server)) = (Instant::now(), counting.bytes, cpu()?);
    counting.measuring = true;
    counting.run(begin + options.duration, |_| false)?;
    let (seconds, bytes) = (begin.elapsed().as_secs_f64(), counting.bytes - bytes);
    let (own_after, server_after) = cpu()?;
    let resident = options.server_pid.map(process::resident_bytes).transpose()?;
    let server = server.zip(server_after).zip(resident);
    if counting.up + counting.failed < options.players {
        let missing = options.players - counting.up - counting.failed;
        counting.errors.insert("not up when it was measured".to_owned(), u64::from(missing));
    }
    Ok(Report {
        publishers: 0,
        players: u64::from(counting.up),
        wanted: u64::from(options.players),
        seconds,
        bytes,
        frames: counting.delays.len() as u64,
        gaps: 0,
        latency: counting.latency(),
        first_frame: counting.first,
        churn: None,
        errors: counting.errors,
        own_cpu: own_after - own,
        server: server.map(|((before, after), resident)| Cost { cpu: after - before, resident }),
    })
}

struct Counting {
    poll: Poll,
    media: MediaOptions,
    start: Instant,
    players: Vec<Option<Counter>>,
    measuring: bool,
    /// From the last time that each frame may have been due, in nanoseconds, modulo the length of a GOP.
    delays: Vec<u64>,
    buffer: Box<[u8]>,
    up: u32,
    failed: u32,
    bytes: u64,
    first: Histogram,
    errors: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Counter {
    socket: TcpStream,
    reader: ChunkReader,
    /// The time of its opening, until its first byte has come.
    opened: Option<Instant>,
}

impl Counting {
    fn connect(options: &CountOptions) -> io::Result<Self> {
        let mut counting = Counting {
            poll: Poll::new()?,
            media: options.media.clone(),
            start: Instant::now(),
            measuring: false,
            delays: Vec::new(),
            players: Vec::new(),
            buffer: vec![0; 256 << 10].into_boxed_slice(),
            up: 0,
            failed: 0,
            bytes: 0,
            first: Histogram::default(),
            errors: BTreeMap::new(),
        };
        for place in 0..options.players as usize {
            let now = Instant::now();
            let mut socket = TcpStream::connect(options.address)?;
            counting.poll.registry().register(&mut socket, Token(place), Interest::READABLE)?;
            let mut reader = ChunkReader::new(ChunkLimits::default(), Leniency::Strict);
            reader.set_chunk_size(CHUNK_SIZE).map_err(io::Error::other)?;
            counting.players.push(Some(Counter { socket, reader, opened: Some(now) }));
        }
        Ok(counting)
    }

    fn run(&mut self, until: Instant, is_done: impl Fn(&Counting) -> bool) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while Instant::now() < until && !is_done(self) {
            match self.poll.poll(&mut events, Some(until.saturating_duration_since(Instant::now()))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                self.read(event.token().0);
            }
        }
        Ok(())
    }

    fn read(&mut self, place: usize) {
        let Some(mut player) = self.players.get_mut(place).and_then(Option::take) else {
            return;
        };
        let error = loop {
            match player.socket.read(&mut self.buffer) {
                Ok(0) => break "peer_closed".to_owned(),
                Ok(count) => {
                    self.bytes += count as u64;
                    if let Some(opened) = player.opened.take() {
                        self.up += 1;
                        self.first.record(opened.elapsed());
                    }
                    let mut rest = &self.buffer[..count];
                    match take_apart(&mut player.reader, &mut rest, |message| {
                        let delay = self.measuring.then(|| delay(&self.media, self.start, message)).flatten();
                        self.delays.extend(delay);
                    }) {
                        Ok(()) => {}
                        Err(error) => break error,
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.players[place] = Some(player);
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error.kind().to_string(),
            }
        };
        if player.opened.is_some() {
            self.failed += 1;
        }
        *self.errors.entry(error).or_default() += 1;
    }

    /// What the delays are beyond the least.
    fn latency(&self) -> Histogram {
        let mut latency = Histogram::default();
        let Some(any) = self.delays.first() else {
            return latency;
        };
        let gop = self.media.gop_time().as_nanos() as u64;
        // Nearer to one of them than half a GOP, whichever that is.
        let beyond = |delay: &u64| ((delay + gop + gop / 2 - any) % gop) as i64 - (gop / 2) as i64;
        let least = self.delays.iter().map(beyond).min().unwrap_or_default();
        for delay in &self.delays {
            latency.record(Duration::from_nanos((beyond(delay) - least) as u64));
        }
        latency
    }
}

fn take_apart(reader: &mut ChunkReader, rest: &mut &[u8], mut each: impl FnMut(&Message)) -> Result<(), String> {
    while !rest.is_empty() {
        match reader.read(rest) {
            Ok(Some(message)) => each(&message),
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

fn delay(media: &MediaOptions, start: Instant, message: &Message) -> Option<u64> {
    let kind = if message.type_id == MessageType::AUDIO { Kind::Audio } else { Kind::Video };
    let stamp = Stamp::read(kind, &message.payload)?;
    let gop = media.gop_time();
    let due = media.time(kind, stamp.number).as_nanos() as u64 % gop.as_nanos() as u64;
    Some((start.elapsed().as_nanos() as u64 + gop.as_nanos() as u64 - due) % gop.as_nanos() as u64)
}
