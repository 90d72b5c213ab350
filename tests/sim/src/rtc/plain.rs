use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anabranch_core::flv::{AudioCodec, Codec, VideoCodec};
use anabranch_rtc::desk::Peers;
use anabranch_rtc::engine::{Accepted, Candidates, Credentials, Purpose};
use anabranch_rtc::peer::{Datagram, Event, Gone, Medium, Network, Output, Packet, Path, Peer, Unit};
use anabranch_rtc::signal::SignalError;

use super::wire::{FromPeer, FromServer, password_in};
use crate::Digest;

/// A peer from which nothing has come for so long is gone.
pub(super) const SILENCE: Duration = Duration::from_secs(6);
/// Packets of pictures that are kept to be sent again.
const KEPT: usize = 256;
/// Payloads that are kept, so that none has the place in memory of one that viewers may still get.
const REMEMBERED: usize = 50_000;
/// By how much pictures and sound may be apart, and how long that may be otherwise: each has to come once after a change.
const DRIFT: Duration = Duration::from_millis(40);
const SETTLING: Duration = Duration::from_secs(1);

/// What all plain peers of a server have done.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Payloads by their places in memory, and in the order in which they came.
    payloads: HashMap<usize, Arc<[u8]>>,
    order: VecDeque<usize>,
    /// What was in them: the same once more would be a picture that was put into packets twice.
    contents: HashSet<Digest>,
    /// Packets that were handed to peers.
    pub(super) written: u64,
    /// Payloads that were made for them.
    pub(super) made: u64,
    /// Requests that wait for an answer.
    pub(super) waiting: usize,
    /// Peers that there are.
    pub(super) alive: usize,
    /// Paths from which the right password has come.
    genuine: HashSet<Path>,
    /// Key frames that publishers were asked for.
    pub(super) asked: u64,
    /// The beginning of the simulation.
    pub(super) start: Option<Instant>,
    /// True if packets are kept to be sent again.
    pub(super) keeps: bool,
    /// The first thing that was wrong.
    pub(super) fault: Option<String>,
}

impl Ledger {
    pub(super) fn fault(&mut self, what: impl FnOnce() -> String) {
        self.fault.get_or_insert_with(what);
    }

    fn note(&mut self, packet: &Packet) {
        self.written += 1;
        let place = packet.payload.as_ptr() as usize;
        if self.payloads.contains_key(&place) {
            return;
        }
        self.made += 1;
        let mut digest = Digest::default();
        digest.bytes(&packet.payload);
        // The parameters in front of key frames are the same.
        digest.word(packet.time.into());
        if !self.contents.insert(digest) {
            self.fault(|| format!("{packet:?} was put into packets twice"));
        }
        self.payloads.insert(place, packet.payload.clone());
        self.order.push_back(place);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.payloads.remove(&oldest);
        }
    }
}

/// Peers that speak plain text. They share a [`Ledger`] with the simulation.
#[derive(Debug, Clone, Default)]
pub(super) struct PlainPeers(Arc<Mutex<Ledger>>);

impl PlainPeers {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().expect("no thread panics")
    }
}

impl Peers for PlainPeers {
    fn accept(
        &mut self,
        now: Instant,
        offer: &str,
        purpose: &Purpose,
        credentials: &Credentials,
        _candidates: &Candidates,
    ) -> Result<Accepted, SignalError> {
        let offers = |kind: &str| offer.lines().any(|line| line.starts_with(kind));
        let (video, audio) = match purpose {
            Purpose::Play { video, audio } => (video.is_some(), *audio),
            Purpose::Publish => (true, true),
        };
        let of = [(Medium::Video, video && offers("m=video ")), (Medium::Audio, audio && offers("m=audio "))];
        let media: Vec<_> = of.into_iter().filter(|(_, is_there)| *is_there).map(|(medium, _)| medium).collect();
        if media.is_empty() {
            return Err(SignalError::NothingInCommon);
        }
        self.ledger().alive += 1;
        let peer = PlainPeer {
            peers: self.clone(),
            password: credentials.password.clone(),
            media: media.clone(),
            path: None,
            heard: now,
            now,
            is_connected: false,
            is_over: false,
            says: VecDeque::new(),
            numbers: [None; 2],
            behind: [None; 2],
            apart_since: None,
            kept: VecDeque::new(),
            missed: 0,
        };
        let answer = format!("{}\n{}\n", credentials.name, credentials.password);
        Ok(Accepted { peer: Box::new(peer), answer, media })
    }
}

/// The server's side of a peer that speaks plain text. It checks what a peer may rely on.
struct PlainPeer {
    peers: PlainPeers,
    password: String,
    media: Vec<Medium>,
    path: Option<Path>,
    heard: Instant,
    now: Instant,
    is_connected: bool,
    is_over: bool,
    says: VecDeque<Output>,
    /// The numbers of the newest packets, and by how many microseconds the clock was ahead of their times.
    numbers: [Option<u64>; 2],
    behind: [Option<i64>; 2],
    apart_since: Option<Instant>,
    kept: VecDeque<(u64, Vec<u8>)>,
    missed: u64,
}

impl fmt::Debug for PlainPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainPeer").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for PlainPeer {
    fn drop(&mut self) {
        // A test that fails may have it locked.
        if let Ok(mut ledger) = self.peers.0.lock() {
            ledger.alive -= 1;
        }
    }
}

impl PlainPeer {
    fn fault(&self, what: &str) {
        self.peers.ledger().fault(|| format!("{what}: {self:?}"));
    }

    fn pass(&mut self, now: Instant) {
        if now < self.now {
            self.fault("time goes back");
        }
        self.now = now;
    }

    fn say(&mut self, word: &FromServer<'_>) {
        if let Some(path) = self.path {
            self.says.push_back(Output::Send(Datagram { path, bytes: word.encode() }));
        }
    }

    fn end(&mut self, why: Gone) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.says.push_back(Output::Event(Event::Gone(why)));
        }
    }

    fn hear(&mut self, word: FromPeer<'_>) {
        match word {
            FromPeer::Hello => {
                self.say(&FromServer::Welcome);
                if !std::mem::replace(&mut self.is_connected, true) {
                    self.says.push_back(Output::Event(Event::Connected));
                }
            }
            FromPeer::WantsKey => self.says.push_back(Output::Event(Event::WantsKey)),
            FromPeer::Loss(percent) => self.tell(Some(percent as f32 / 100.0)),
            FromPeer::Missed(numbers) => {
                self.missed += numbers.len() as u64;
                let again = self.kept.iter().filter(|(number, _)| numbers.contains(number));
                let again: Vec<_> = again.map(|(_, bytes)| bytes.clone()).collect();
                let path = self.path;
                let send = |bytes| path.map(|path| Output::Send(Datagram { path, bytes }));
                self.says.extend(again.into_iter().filter_map(send));
                self.tell(None);
            }
            FromPeer::Unit { medium, is_key, milliseconds, is_contiguous, data } => {
                let codec = match medium {
                    Medium::Video => Codec::Video(VideoCodec::Avc),
                    Medium::Audio => Codec::Audio(AudioCodec::Opus),
                };
                let time = Duration::from_millis(milliseconds);
                let (sender_time, arrived) = (Some(time), self.now);
                let unit = Unit { codec, data: data.into(), time, sender_time, arrived, is_key, is_contiguous };
                self.says.push_back(Output::Event(Event::Unit(unit)));
            }
            FromPeer::Bye => self.end(Gone::Left),
        }
    }

    fn tell(&mut self, loss: Option<f32>) {
        let network = Network { loss, nacks: self.missed, ..Network::default() };
        self.says.push_back(Output::Event(Event::Network(network)));
    }

    /// The times of pictures and sound mean the same moments, so that players keep both together.
    fn check_times(&mut self, packet: &Packet) {
        let (index, rate) = index_and_rate(packet.medium);
        let start = self.peers.ledger().start.unwrap_or(packet.wall);
        let wall = match packet.wall.checked_duration_since(start) {
            Some(since) => since.as_micros() as i64,
            None => -(start.duration_since(packet.wall).as_micros() as i64),
        };
        if packet.wall > self.now {
            self.fault("a packet is from the future");
        }
        self.behind[index] = Some(wall - i64::from(packet.time) * 1_000 / rate);
        let [Some(pictures), Some(sound)] = self.behind else { return };
        if pictures.abs_diff(sound) <= DRIFT.as_micros() as u64 {
            self.apart_since = None;
        } else if self.now > *self.apart_since.get_or_insert(self.now) + SETTLING {
            self.fault(&format!("pictures and sound are {} ms apart", (pictures - sound) / 1_000));
        }
    }
}

impl Peer for PlainPeer {
    fn receive(&mut self, now: Instant, path: Path, bytes: &[u8]) {
        self.pass(now);
        if self.is_over {
            return;
        }
        if let Some(password) = password_in(bytes) {
            if password == self.password {
                (self.heard, self.path) = (now, Some(path));
                self.peers.ledger().genuine.insert(path);
                self.say(&FromServer::Bound);
            }
            return;
        }
        // As datagrams that are not encrypted for this peer.
        if !self.peers.ledger().genuine.contains(&path) {
            return;
        }
        if let Some(word) = FromPeer::parse(bytes) {
            self.heard = now;
            self.hear(word);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.pass(now);
        if now >= self.heard + SILENCE {
            self.end(Gone::Silent);
        }
    }

    fn write(&mut self, now: Instant, packet: Packet) {
        self.pass(now);
        let (index, _) = index_and_rate(packet.medium);
        if self.is_over || !self.is_connected || !self.media.contains(&packet.medium) {
            self.fault("it gets a packet that it cannot send");
        }
        let before = self.numbers[index].replace(packet.number);
        if before.is_some_and(|before| packet.number != before + 1) || before.is_none() && packet.number > 0xFFFF {
            self.fault(&format!("{packet:?} came after {before:?}"));
        }
        self.peers.ledger().note(&packet);
        self.check_times(&packet);
        let Packet { medium, number, time, marker, ref payload, .. } = packet;
        let Some(path) = self.path else { return };
        let bytes = FromServer::Packet { medium, number, time, marker, payload }.encode();
        if medium == Medium::Video && self.peers.ledger().keeps {
            if self.kept.len() == KEPT {
                self.kept.pop_front();
            }
            self.kept.push_back((number, bytes.clone()));
        }
        self.says.push_back(Output::Send(Datagram { path, bytes }));
    }

    fn ask_for_key(&mut self, now: Instant) {
        self.pass(now);
        self.peers.ledger().asked += 1;
        self.say(&FromServer::WantsKey);
    }

    fn close(&mut self, now: Instant) {
        self.pass(now);
        if !self.is_over {
            self.say(&FromServer::Bye);
            self.end(Gone::Left);
        }
    }

    fn poll(&mut self) -> Output {
        self.says.pop_front().unwrap_or(Output::Wait(self.heard + SILENCE))
    }
}

fn index_and_rate(medium: Medium) -> (usize, i64) {
    if medium == Medium::Audio { (1, 48) } else { (0, 90) }
}
