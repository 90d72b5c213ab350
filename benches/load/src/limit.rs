//! What the machine itself can do: a loop that speaks no protocol and sends every player the same bytes, and players
//! that count them. The CPU time of that loop for each gigabyte is what servers are compared with.
//!
//! The bytes are frames of the same sizes at the same times as a real publisher's, with their headers, built before the
//! first player comes. Each player costs one write call a message, or one a window, and nothing else.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anabranch_core::chunk::write_message;
use anabranch_core::message::MessageType;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::media::{Feed, MediaOptions};

/// Chunk size of the bytes sent, as our servers have it.
pub(crate) const CHUNK_SIZE: u32 = 60_000;
/// How often the loop looks whether it is to stop.
const STEP: Duration = Duration::from_millis(50);
/// GOPs that a player may be behind before it skips to the present.
const BEHIND: u64 = 4;
/// The listener; connections have the numbers of their places.
const LISTENER: Token = Token(usize::MAX);

/// The loop that sends.
#[derive(Debug)]
pub struct Limit {
    listener: TcpListener,
    poll: Poll,
    gop: Gop,
    window: Duration,
    players: Vec<Option<Player>>,
    start: Instant,
}

/// All messages of one GOP, over and over.
#[derive(Debug)]
struct Gop {
    bytes: Vec<u8>,
    /// When each message is due, and where in `bytes` it ends.
    messages: Vec<(Duration, usize)>,
    length: Duration,
}

#[derive(Debug)]
struct Player {
    socket: TcpStream,
    /// Bytes of the endless stream before the next one to send.
    cursor: u64,
    full: bool,
}

impl Limit {
    /// Listens. `window` is how long messages wait to leave together; zero for one write call for each.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn bind(address: SocketAddr, media: &MediaOptions, window: Duration) -> io::Result<Self> {
        // With the backlog of the servers it is compared with.
        let listener = anabranch_host::listen(anabranch_host::Listen::One(address))?;
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let (gop, start) = (Gop::new(media), Instant::now());
        Ok(Limit { listener, poll, gop, window, players: Vec::new(), start })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Sends until it is to stop.
    ///
    /// # Errors
    /// The system's event queue fails. Players that fail are let go.
    pub fn run(mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        self.start = Instant::now();
        let (mut sent, mut next) = (0, Duration::ZERO);
        while !stop.load(Ordering::Relaxed) {
            let now = self.start.elapsed();
            if now >= next {
                let due = self.gop.due(now);
                if self.window.is_zero() {
                    for message in sent + 1..=due {
                        self.send_all(self.gop.end(message));
                    }
                    next = self.gop.time(due);
                } else {
                    self.send_all(self.gop.end(due));
                    next = now + self.window;
                }
                sent = due;
            }
            let wait = next.saturating_sub(self.start.elapsed()).min(STEP);
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let end = self.gop.end(sent);
            for event in &events {
                if event.token() == LISTENER {
                    self.accept(end);
                } else {
                    self.ready(event, end);
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, cursor: u64) {
        while let Ok((mut socket, _)) = self.listener.accept() {
            let free = self.players.iter().position(Option::is_none).unwrap_or_else(|| {
                self.players.push(None);
                self.players.len() - 1
            });
            let interest = Interest::READABLE | Interest::WRITABLE;
            let watched = self.poll.registry().register(&mut socket, Token(free), interest);
            if socket.set_nodelay(true).and(watched).is_ok() {
                self.players[free] = Some(Player { socket, cursor, full: false });
            }
        }
    }

    fn ready(&mut self, event: &mio::event::Event, end: u64) {
        let place = event.token().0;
        let Some(player) = self.players.get_mut(place).and_then(Option::as_mut) else {
            return;
        };
        let is_there = !event.is_readable() || player.ignore_input();
        if event.is_writable() && player.full {
            player.full = false;
            // Not a write of its own for what the next message will bring.
            if is_there && player.send(&self.gop, end) {
                return;
            }
        } else if is_there {
            return;
        }
        self.players[place] = None;
    }

    fn send_all(&mut self, end: u64) {
        for place in &mut self.players {
            if let Some(player) = place
                && !player.full
                && !player.send(&self.gop, end)
            {
                *place = None;
            }
        }
    }
}

impl Player {
    /// Sends the stream up to `end`, with one call unless it is behind; false if the connection is gone.
    fn send(&mut self, gop: &Gop, end: u64) -> bool {
        let length = gop.bytes.len() as u64;
        if end.saturating_sub(self.cursor) > BEHIND * length {
            self.cursor = end;
        }
        while self.cursor < end {
            let at = (self.cursor % length) as usize;
            let left = (end - self.cursor) as usize;
            let first = &gop.bytes[at..gop.bytes.len().min(at + left)];
            let second = &gop.bytes[..(left - first.len()).min(at)];
            let written = if second.is_empty() {
                self.socket.write(first)
            } else {
                self.socket.write_vectored(&[IoSlice::new(first), IoSlice::new(second)])
            };
            match written {
                Ok(count) => self.cursor += count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.full = error.kind() == io::ErrorKind::WouldBlock;
                    return self.full;
                }
            }
        }
        true
    }

    /// False if the connection is gone.
    fn ignore_input(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }
}

impl Gop {
    fn new(media: &MediaOptions) -> Self {
        let (start, length) = (Instant::now(), media.gop_time());
        let mut messages = Vec::new();
        let media = MediaOptions { metadata: false, ..media.clone() };
        Feed::new(media, 0, 0, start).take_due(start + length - Duration::from_nanos(1), start, &mut messages);
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        // The sequence headers, few as they are, leave with the first picture.
        let is_header = |body: &[u8]| body.get(1) == Some(&0);
        for message in messages {
            let chunk_stream = if message.type_id == MessageType::AUDIO { 4 } else { 6 };
            let (timestamp, type_id) = (message.timestamp, message.type_id);
            write_message(&mut bytes, CHUNK_SIZE, chunk_stream, timestamp, type_id, 1, &message.payload);
            if !is_header(&message.payload) {
                ends.push((Duration::from_millis(u64::from(timestamp)), bytes.len()));
            }
        }
        Gop { bytes, messages: ends, length }
    }

    /// How many messages of the endless stream are due at a time after its beginning.
    fn due(&self, time: Duration) -> u64 {
        let rounds = (time.as_nanos() / self.length.as_nanos()) as u64;
        let within = time.saturating_sub(self.length * rounds as u32);
        let due = self.messages.partition_point(|(at, _)| *at <= within);
        rounds * self.messages.len() as u64 + due as u64
    }

    /// When the message is due that has so many before it.
    fn time(&self, before: u64) -> Duration {
        let count = self.messages.len() as u64;
        self.length * (before / count) as u32 + self.messages[(before % count) as usize].0
    }

    /// Bytes of the endless stream up to the end of so many messages.
    fn end(&self, messages: u64) -> u64 {
        let count = self.messages.len() as u64;
        let within = match messages % count {
            0 => 0,
            some => self.messages[some as usize - 1].1,
        };
        messages / count * self.bytes.len() as u64 + within as u64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;
    use crate::count::{CountOptions, count};

    #[test]
    fn the_endless_stream_has_all_messages_at_their_times() {
        let gop = Gop::new(&MediaOptions::default());
        // Sixty pictures and eighty-seven of audio in two seconds.
        assert_eq!(gop.messages.len(), 60 + 87);
        assert_eq!(gop.due(Duration::ZERO), 2);
        assert_eq!(gop.due(Duration::from_millis(2000)), 147 + 2);
        assert_eq!((gop.end(0), gop.end(147)), (0, gop.bytes.len() as u64));
        assert_eq!(gop.end(148) - gop.end(147), gop.end(1));
        for message in [0, 1, 2, 146, 147, 148, 1000] {
            assert!(gop.due(gop.time(message)) > message, "{message} is due at its time");
        }
    }

    #[test]
    fn players_get_the_bytes_of_the_stream_whatever_the_window() {
        for window in [0, 100] {
            let media = MediaOptions::default();
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let limit = Limit::bind(any, &media, Duration::from_millis(window)).expect("it listens");
            let (address, stop) = (limit.address().expect("it has one"), Arc::new(AtomicBool::new(false)));
            let stopping = stop.clone();
            let thread = thread::spawn(move || limit.run(&stopping));
            let options = CountOptions {
                address,
                players: 20,
                media,
                duration: Duration::from_secs(1),
                patience: Duration::from_secs(30),
                server_pid: Some(std::process::id()),
            };
            let report = count(&options).expect("it counts");
            stop.store(true, Ordering::Relaxed);
            thread.join().expect("it ends").expect("without an error");
            assert_eq!((report.players, report.error_count()), (20, 0), "{report}");
            assert!(report.bytes > 0 && report.cpu_per_gigabyte().is_some(), "{report}");
            assert!(report.latency.count() > 0, "{report}");
        }
    }
}
