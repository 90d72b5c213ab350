use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anabranch_core::http::Answer;
use anabranch_core::packager::Ticket;
use anabranch_rtc::desk::Role;
use anabranch_rtc::peer::{Path, Transport};

use super::camera::{Camera, Recording};
use super::plain::PlainPeers;
use super::viewing::Viewing;
use super::wire::PEER_PASSWORD;
use crate::Rng;

/// How often a peer says that it is there.
const ALIVE: Duration = Duration::from_secs(2);
/// How long it waits for an answer to the first messages.
const AGAIN: Duration = Duration::from_millis(100);

/// The network between a peer and the server.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// How long a datagram takes at least.
    pub latency: Duration,
    /// By how much longer at most: those that take longer come out of order.
    pub jitter: Duration,
    /// How many of a million are lost.
    pub loss: u32,
}

impl Default for Weather {
    fn default() -> Self {
        Weather { latency: Duration::from_millis(20), jitter: Duration::ZERO, loss: 0 }
    }
}

/// How a peer leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// It ends its session by HTTP.
    Delete,
    /// It says so in a datagram.
    Bye,
    /// It is not there any more.
    Silent,
}

/// A request by HTTP that waits for its answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) remote: usize,
    /// True if it is the offer of a session.
    pub(super) is_offer: bool,
    pub(super) is_gone: Arc<AtomicBool>,
    pub(super) is_answered: bool,
    pub(super) peers: PlainPeers,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut ledger = self.peers.ledger();
        ledger.waiting -= 1;
        if !self.is_answered && !self.is_gone() {
            ledger.fault(|| format!("a request of remote {} gets no answer", self.remote));
        }
    }
}

impl Ticket for Asked {
    fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }
}

/// How far a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It makes its offer at this time.
    Away(Instant),
    /// Its offer has no answer yet.
    Asking,
    /// It checks whether datagrams reach the server.
    Binding,
    /// They do.
    Greeting,
    Connected,
    /// It is over.
    Over,
}

/// A browser or an encoder.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) role: Role,
    pub(super) stream: String,
    pub(super) stage: Stage,
    pub(super) weather: Weather,
    pub(super) rng: Rng,
    /// How often it has moved.
    pub(super) moves: u16,
    /// True if nothing of it comes through any more.
    pub(super) is_silent: bool,
    /// What the answer to its offer said.
    pub(super) name: String,
    pub(super) password: String,
    pub(super) url: String,
    pub(super) is_gone: Arc<AtomicBool>,
    /// True if the server has closed its session, so that it does not come again.
    pub(super) is_dismissed: bool,
    /// When something came from the server last.
    pub(super) heard: Instant,
    pub(super) connected: Option<Instant>,
    /// When it says that it is there.
    alive: Instant,
    asked: Option<Instant>,
    pub(super) viewing: Viewing,
    /// What it publishes.
    pub(super) camera: Option<Camera>,
    pub(super) recording: Option<Recording>,
    /// When something of it last was wrong.
    pub(super) troubled: Option<Instant>,
    /// The statuses of answers to its offers.
    pub(super) statuses: Vec<u16>,
    pub(super) scheduled: Option<Instant>,
}

/// Where the server is.
pub(super) fn server_address() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 8000)
}

/// The path of a peer that has moved so often.
pub(super) fn path_of(index: usize, moves: u16) -> Path {
    let [_, high, middle, low] = (index as u32 + 1).to_be_bytes();
    let remote = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, high, middle, low)), 40_000 + moves);
    Path { transport: Transport::Udp, local: server_address(), remote }
}

impl Remote {
    pub(super) fn new(role: Role, stream: &str, weather: Weather, rng: Rng, now: Instant) -> Self {
        Remote {
            role,
            stream: stream.to_owned(),
            stage: Stage::Away(now),
            weather,
            rng,
            moves: 0,
            is_silent: false,
            name: String::new(),
            password: String::new(),
            url: String::new(),
            is_gone: Arc::default(),
            is_dismissed: false,
            heard: now,
            connected: None,
            alive: now,
            asked: None,
            viewing: Viewing::default(),
            camera: None,
            recording: None,
            troubled: None,
            statuses: Vec::new(),
            scheduled: None,
        }
    }

    /// The request that makes its offer.
    pub(super) fn offer(&self) -> String {
        let direction = if self.role == Role::Player { "whep" } else { "whip" };
        let body =
            format!("v=0\r\na=ice-ufrag:peer\r\na=ice-pwd:{PEER_PASSWORD}\r\nm=audio 9 plain\r\nm=video 9 plain\r\n");
        let length = body.len();
        let stream = &self.stream;
        format!(
            "POST /{stream}/{direction} HTTP/1.1\r\nHost: tv.example\r\nContent-Type: application/sdp\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    }

    /// Its offer was answered. The error says what is wrong with the answer.
    pub(super) fn answered(&mut self, now: Instant, answer: &Answer) -> Result<(), String> {
        self.statuses.push(answer.status);
        if self.stage != Stage::Asking {
            return if self.stage == Stage::Over { Ok(()) } else { Err("its offer is answered again".into()) };
        }
        match answer.status {
            201 => {
                let body = String::from_utf8_lossy(&answer.body);
                let mut lines = body.lines().map(str::to_owned);
                let location = answer.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("location"));
                let (Some(name), Some(password), Some((_, url))) = (lines.next(), lines.next(), location) else {
                    return Err(format!("an answer lacks what it must have: {answer:?}"));
                };
                (self.name, self.password, self.url) = (name, password, url.clone());
                (self.stage, self.alive, self.heard) = (Stage::Binding, now, now);
            }
            403 if self.is_dismissed => self.stage = Stage::Over,
            // It comes again.
            404 | 409 | 503 => {
                let pause = Duration::from_millis(self.rng.within(1_500..=2_500) as u64);
                self.stage = Stage::Away(now + pause);
            }
            status => return Err(format!("its offer is answered with {status}: {answer:?}")),
        }
        Ok(())
    }

    /// When it does something.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        match self.stage {
            Stage::Away(at) => Some(at),
            Stage::Asking | Stage::Over => None,
            Stage::Binding | Stage::Greeting => Some(self.alive),
            Stage::Connected => {
                let media = self.recording.as_ref().map(Recording::due);
                [Some(self.alive), self.viewing.due(now), media].into_iter().flatten().min()
            }
        }
    }

    /// It says at once that it is there.
    pub(super) fn hurry(&mut self, now: Instant) {
        (self.alive, self.troubled) = (now, Some(now));
    }

    /// Its session is over, and it begins another one.
    pub(super) fn begin_again(&mut self, now: Instant) {
        let pause = Duration::from_millis(self.rng.within(300..=1_500) as u64);
        self.stage = Stage::Away(now + pause);
        self.viewing.begin_again();
        self.troubled = Some(now);
    }

    /// True if it is time to say that it is there.
    pub(super) fn is_alive_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.alive;
        if is_due {
            self.alive = now + if self.stage == Stage::Connected { ALIVE } else { AGAIN };
        }
        is_due
    }

    /// True if it is time to ask for packets again.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        let may = self.asked.is_none_or(|asked| now >= asked + super::viewing::ASK_AGAIN);
        if may {
            self.asked = Some(now);
        }
        may
    }

    /// How long a datagram is on its way; `None` if it is lost.
    pub(super) fn way(&mut self) -> Option<Duration> {
        let Weather { latency, jitter, loss } = self.weather;
        if loss > 0 && self.rng.draw() % 1_000_000 < u64::from(loss) {
            return None;
        }
        let more = if jitter.is_zero() { 0 } else { self.rng.draw() % jitter.as_micros() as u64 };
        Some(latency + Duration::from_micros(more))
    }

    /// True if it must have all that it should, and soon.
    pub(super) fn is_well(&self) -> bool {
        self.stage == Stage::Connected && !self.is_silent && !self.is_dismissed
    }
}
