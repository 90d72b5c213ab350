//! The remotes: browsers and encoders, and the network between them and the server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anabranch_rtc::desk::Role;
use anabranch_rtc::peer::Datagram;

use super::camera::{Camera, Recording, Sound};
use super::plain::SILENCE;
use super::remote::{Leaving, Remote, Stage, Weather, path_of, server_address};
use super::viewing::Terms;
use super::wire::{FromPeer, FromServer, binding, binding_answer};
use super::{RtcSim, What};
use crate::ClientId;

/// How long a viewer may be without pictures that it was too slow for: two groups, and the ways.
const SKIPPING: Duration = Duration::from_secs(5);

impl RtcSim {
    /// A viewer comes that plays a stream, such as `live/cam`.
    pub fn play(&mut self, stream: &str, weather: Weather) -> ClientId {
        self.come(Role::Player, stream, weather)
    }

    /// A publisher comes by WHIP.
    pub fn whip(&mut self, stream: &str, camera: Camera, weather: Weather) -> ClientId {
        let id = self.come(Role::Publisher, stream, weather);
        self.remotes[id.index()].camera = Some(camera);
        id
    }

    fn come(&mut self, role: Role, stream: &str, weather: Weather) -> ClientId {
        let index = self.remotes.len();
        let rng = self.rng.fork(0x7265_6d6f << 32 | index as u64);
        self.remotes.push(Remote::new(role, stream, weather, rng, self.now));
        self.places.insert(path_of(index, 0), index);
        self.schedule(index);
        ClientId(index)
    }

    /// A peer leaves.
    pub fn leave(&mut self, id: ClientId, how: Leaving) {
        let index = id.index();
        match (how, self.remotes[index].stage) {
            (_, Stage::Over) => return,
            (Leaving::Silent, _) => self.remotes[index].is_silent = true,
            (Leaving::Bye, Stage::Connected) => self.send(index, FromPeer::Bye.encode()),
            (_, Stage::Binding | Stage::Greeting | Stage::Connected) => self.delete(index),
            (_, Stage::Away(_) | Stage::Asking) => {}
        }
        let remote = &mut self.remotes[index];
        remote.is_gone.store(true, Ordering::Relaxed);
        remote.stage = Stage::Over;
        self.end_recording(index);
        self.settle();
    }

    fn end_recording(&mut self, index: usize) {
        if let Some(recording) = self.remotes[index].recording.take() {
            self.archive[recording.publication].until = Some(self.now);
        }
    }

    /// A peer has another address from now on, as a phone that leaves the house.
    pub fn move_away(&mut self, id: ClientId, moves: u16) {
        let index = id.index();
        self.remotes[index].moves = moves;
        self.places.insert(path_of(index, moves), index);
        self.remotes[index].hurry(self.now);
        self.schedule(index);
    }

    /// A viewer tells that it has lost so many packets of a hundred: too many means that it goes on at a key frame.
    pub fn report_loss(&mut self, id: ClientId, percent: u32) {
        let index = id.index();
        if self.remotes[index].stage == Stage::Connected {
            let now = self.now;
            let remote = &mut self.remotes[index];
            // It takes until the key frame after the one that it hears of.
            (remote.viewing.may_skip, remote.troubled) = (Some(now + SKIPPING), Some(now));
            self.send(index, FromPeer::Loss(percent).encode());
        }
    }

    /// A viewer asks for a key frame.
    pub fn ask_for_key(&mut self, id: ClientId) {
        if self.remotes[id.index()].stage == Stage::Connected {
            self.send(id.index(), FromPeer::WantsKey.encode());
        }
    }

    /// A stranger sends these bytes from an address where nothing is.
    pub fn forge(&mut self, bytes: &[u8]) {
        let path = path_of(0x00F0_0000 | self.rng.within(0..=0xFFFF), 9_999);
        self.receive(path, bytes);
        self.settle();
    }

    /// A stranger that knows the name of a session, as it is sent in plain text, but not its password.
    pub fn forge_binding(&mut self, id: ClientId) {
        let name = self.remotes[id.index()].name.clone();
        self.forge(&binding(&name, "0123456789abcdef0123456789abcdef"));
    }

    pub(super) fn schedule(&mut self, index: usize) {
        let now = self.now;
        let remote = &mut self.remotes[index];
        let due = remote.due(now).filter(|_| !remote.is_silent);
        if let Some(due) = due.filter(|due| remote.scheduled.is_none_or(|scheduled| *due < scheduled)) {
            remote.scheduled = Some(due);
            self.later(due.max(now), What::Turn(index));
        }
    }

    pub(super) fn turn_remote(&mut self, index: usize) {
        let now = self.now;
        let remote = &mut self.remotes[index];
        if remote.scheduled.take_if(|scheduled| *scheduled <= now).is_none() {
            // It was scheduled earlier, and had its turn.
            return;
        }
        if remote.is_silent {
            return;
        }
        match remote.stage {
            Stage::Away(at) if at <= now => self.offer(index),
            Stage::Binding | Stage::Greeting | Stage::Connected if now > remote.heard + SILENCE => {
                self.dismissed(index);
            }
            Stage::Binding | Stage::Greeting | Stage::Connected => {
                if remote.is_alive_due(now) {
                    let (stage, bytes) = (remote.stage, binding(&remote.name, &remote.password));
                    self.send(index, bytes);
                    if stage == Stage::Greeting {
                        self.send(index, FromPeer::Hello.encode());
                    }
                }
                self.look_at(index);
                self.record(index);
            }
            _ => {}
        }
        self.schedule(index);
    }

    fn offer(&mut self, index: usize) {
        let remote = &mut self.remotes[index];
        remote.stage = Stage::Asking;
        let (text, is_gone) = (remote.offer(), Arc::clone(&remote.is_gone));
        self.ask(index, &text, true, is_gone);
    }

    fn delete(&mut self, index: usize) {
        let text = format!("DELETE {} HTTP/1.1\r\nHost: tv.example\r\n\r\n", self.remotes[index].url);
        self.ask(index, &text, false, Arc::default());
    }

    /// A peer sends a datagram.
    pub(super) fn send(&mut self, index: usize, bytes: Vec<u8>) {
        if let Some(way) = self.remotes[index].way().filter(|_| !self.remotes[index].is_silent) {
            self.later(self.now + way, What::Arrives(index, self.remotes[index].moves, bytes));
        }
    }

    /// The server sends a datagram.
    pub(super) fn transmit(&mut self, datagram: Datagram) {
        let Datagram { path, bytes } = datagram;
        self.datagrams += 1;
        self.digest.word(bytes.len() as u64);
        self.note_sent(path, bytes.len());
        if path.local != server_address() {
            self.fail(&format!("a datagram leaves from {path:?}"));
        }
        let Some(index) = self.places.get(&path).copied() else { return };
        if let Some(way) = self.remotes[index].way() {
            self.later(self.now + way, What::Reaches(index, bytes));
        }
    }

    pub(super) fn reaches(&mut self, index: usize, bytes: &[u8]) {
        let now = self.now;
        let remote = &mut self.remotes[index];
        if remote.is_silent || remote.stage == Stage::Over {
            return;
        }
        remote.heard = now;
        if let Some(answer) = binding_answer(bytes) {
            return self.send(index, answer);
        }
        let Some(word) = FromServer::parse(bytes) else {
            self.fail(&format!("remote {index} cannot read {bytes:?}"));
        };
        match word {
            FromServer::Bound if remote.stage == Stage::Binding => {
                remote.stage = Stage::Greeting;
                self.send(index, FromPeer::Hello.encode());
            }
            FromServer::Welcome if remote.stage == Stage::Greeting => self.begin(index),
            FromServer::Bound | FromServer::Welcome => {}
            // Those of a session that is over cannot be read with the keys of the next one.
            FromServer::Packet { .. } if !matches!(remote.stage, Stage::Greeting | Stage::Connected) => {}
            FromServer::Packet { medium, number, time, marker, payload } => {
                if remote.stage == Stage::Greeting {
                    // The welcome is late, or lost.
                    self.begin(index);
                }
                self.remotes[index].viewing.packet(now, medium, number, time, marker, payload);
                self.look_at(index);
            }
            FromServer::WantsKey => {
                if let Some(recording) = &mut remote.recording {
                    recording.make_key();
                }
            }
            FromServer::Bye => {
                self.dismissed(index);
            }
        }
        self.schedule(index);
    }

    /// The server has ended its session, or is not there: it comes again, unless an operator wanted that.
    fn dismissed(&mut self, index: usize) {
        self.end_recording(index);
        let now = self.now;
        let remote = &mut self.remotes[index];
        if remote.is_dismissed {
            remote.stage = Stage::Over;
        } else {
            remote.begin_again(now);
        }
    }

    /// The peer is connected.
    fn begin(&mut self, index: usize) {
        let now = self.now;
        let remote = &mut self.remotes[index];
        (remote.stage, remote.connected) = (Stage::Connected, Some(now));
        if let Some(camera) = remote.camera.clone() {
            let rng = remote.rng.fork(remote.statuses.len() as u64);
            let recording = Recording::begin(now, &remote.stream, camera, rng, &mut self.archive);
            self.archive[recording.publication].tolerance = 20;
            remote.recording = Some(recording);
        }
    }

    /// A publisher by WHIP sends what is due.
    fn record(&mut self, index: usize) {
        let now = self.now;
        let Some(recording) = &mut self.remotes[index].recording else { return };
        let publication = recording.publication;
        let made = recording.produce(now, &mut self.archive);
        for one in made {
            self.send(index, one.datagram(publication));
        }
    }

    fn look_at(&mut self, index: usize) {
        let now = self.now;
        let remote = &mut self.remotes[index];
        let stream = remote.stream.clone();
        let is_transcoded = self.transcoded.contains(&stream);
        let is_lossy = remote.weather.loss > 0;
        let terms = Terms { archive: &self.archive, stream: &stream, is_lossy, is_transcoded };
        if let Err(what) = remote.viewing.look(now, terms) {
            self.fail(&format!("viewer {index} of {stream}: {what}"));
        }
        if is_lossy {
            let missing = remote.viewing.missing();
            if !missing.is_empty() && remote.may_ask(now) {
                self.send(index, FromPeer::Missed(missing).encode());
            }
        }
    }

    /// The peers that have not left.
    pub fn present(&self) -> Vec<ClientId> {
        let is_there = |index: &usize| self.remotes[*index].stage != Stage::Over;
        (0..self.remotes.len()).filter(is_there).map(ClientId).collect()
    }

    /// Since when each stream has had a publisher whose pictures are well, by the archive.
    pub(super) fn newest_picture(&self, stream: &str) -> Option<(Instant, Instant)> {
        let last = self.archive.iter().rev().find(|of| of.stream == stream)?;
        let newest = last.pictures.last()?;
        let thawed = self.thawed(stream).unwrap_or(last.since);
        last.until.is_none().then_some((last.since.max(thawed), newest.at))
    }
}

/// So much may pass from the sending of a picture to its arrival.
pub(super) fn patience(weather: Weather) -> Duration {
    let again = if weather.loss > 0 { Duration::from_secs(3) } else { Duration::ZERO };
    Duration::from_millis(1_200) + (weather.latency + weather.jitter) * 4 + again
}

/// True if the sound of a stream must be put into another codec.
pub(super) fn needs_work(camera: &Camera) -> bool {
    camera.sound == Some(Sound::Aac)
}
