//! What the machine itself can do: a loop that sends every player the same bytes, with one write call for each message
//! or one for each window, and does nothing else. The CPU time of that loop for each gigabyte is what servers are
//! compared with.
//!
//! Its players are those of any server: what sending costs depends on the receiver, on how soon that answers and on
//! what it does with the bytes. So each is let in by a session of core's, which is dropped when it plays, and gets a
//! stream like that of [`load`](crate::load())'s publishers, from the newest key frame on. From then on the loop knows
//! of it its socket and how far it is; what it says is thrown away.

mod opening;
mod stream;

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::Random;
use crate::media::MediaOptions;
use opening::Opening;
pub(crate) use stream::Stream;

/// How often the loop looks whether it is to stop.
const STEP: Duration = Duration::from_millis(50);
/// The listener; connections have the numbers of their places.
const LISTENER: Token = Token(usize::MAX);

/// The loop that sends.
#[derive(Debug)]
pub struct Limit {
    listener: TcpListener,
    poll: Poll,
    stream: Stream,
    window: Duration,
    players: Vec<Option<Player>>,
    random: Random,
}

#[derive(Debug)]
struct Player {
    socket: TcpStream,
    /// Until it plays.
    opening: Option<Box<Opening>>,
    /// Where in the stream it is.
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
        let (stream, random) = (Stream::new(media, Instant::now()), Random::new(1));
        Ok(Limit { listener, poll, stream, window, players: Vec::new(), random })
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
        let mut next = self.stream.due();
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= next {
                while self.stream.due() <= now {
                    self.stream.advance();
                    if self.window.is_zero() {
                        self.send_all();
                    }
                }
                if self.window.is_zero() {
                    next = self.stream.due();
                } else {
                    self.send_all();
                    next = now + self.window;
                }
            }
            let wait = next.saturating_duration_since(Instant::now()).min(STEP);
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept();
                } else {
                    self.ready(event);
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        while let Ok((mut socket, _)) = self.listener.accept() {
            let free = self.players.iter().position(Option::is_none).unwrap_or_else(|| {
                self.players.push(None);
                self.players.len() - 1
            });
            let interest = Interest::READABLE | Interest::WRITABLE;
            let watched = self.poll.registry().register(&mut socket, Token(free), interest);
            if socket.set_nodelay(true).and(watched).is_ok() {
                let opening = Some(Box::new(Opening::new(self.random.seed(), Instant::now())));
                self.players[free] = Some(Player { socket, opening, cursor: 0, full: false });
            }
        }
    }

    fn ready(&mut self, event: &mio::event::Event) {
        let Some(place) = self.players.get_mut(event.token().0) else {
            return;
        };
        let Some(player) = place else {
            return;
        };
        let is_there = !event.is_readable() || player.read(&self.stream).is_ok();
        // No separate write for what the next message will bring.
        let sends = event.is_writable() && std::mem::take(&mut player.full);
        if !is_there || (sends && player.send(&self.stream).is_err()) {
            *place = None;
        }
    }

    fn send_all(&mut self) {
        for place in &mut self.players {
            if let Some(player) = place
                && !player.full
                && player.opening.is_none()
                && player.send(&self.stream).is_err()
            {
                *place = None;
            }
        }
    }
}

impl Player {
    /// Sends the stream up to its end, with one call as long as the socket takes it.
    fn send(&mut self, stream: &Stream) -> io::Result<()> {
        // It may have half a message: there is no place to go on from.
        if self.cursor < stream.first() {
            return Err(io::Error::other("it is too slow"));
        }
        while self.cursor < stream.end() {
            match self.socket.write(stream.from(self.cursor)) {
                Ok(count) => self.cursor += count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.full = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads until there is nothing more: the event comes once.
    fn read(&mut self, stream: &Stream) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    if let Some(opening) = &mut self.opening
                        && opening.handle(&buffer[..count], &mut self.socket)?
                    {
                        // A socket that has had so little takes it.
                        self.socket.write_all(stream.headers())?;
                        (self.opening, self.cursor) = (None, stream.start());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use anabranch_core::client::Destination;

    use super::*;
    use crate::{LoadOptions, load};

    #[test]
    fn players_get_a_whole_stream_whatever_the_window() {
        for window in [0, 100] {
            let window = Duration::from_millis(window);
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let limit = Limit::bind(any, &MediaOptions::default(), window).expect("it listens");
            let (address, stop) = (limit.address().expect("it has one"), Arc::new(AtomicBool::new(false)));
            let stopping = stop.clone();
            let thread = thread::spawn(move || limit.run(&stopping));
            let destination = Destination::parse(&format!("rtmp://{address}/live/load")).expect("a URL");
            let options = LoadOptions {
                publishers: 0,
                players: 20,
                duration: Duration::from_secs(1),
                server_pid: Some(std::process::id()),
                ..LoadOptions::to(destination)
            };
            let report = load(&options, |_| {}).expect("it plays");
            stop.store(true, Ordering::Relaxed);
            thread.join().expect("it ends").expect("without an error");
            assert_eq!((report.players, report.gaps, report.error_count()), (20, 0, 0), "{report}");
            assert!(report.bytes > 0 && report.cpu_per_gigabyte().is_some(), "{report}");
            // What is sent once in a window waits for half of it.
            let median = report.latency.quantile(0.5).expect("frames came");
            assert!(window.is_zero() || median > window / 4, "{report}");
        }
    }
}
