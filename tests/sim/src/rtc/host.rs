//! The server's side: connections of core without sockets, and what the desk wants done.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anabranch_core::conn::{Action, Admission, Conn, Delivery, Output, Role as Part, Verdict};
use anabranch_core::http::{Limits, Request, RequestReader};
use anabranch_core::hub::StreamId;
use anabranch_core::session::CloseReason;
use anabranch_core::url::StreamKey;
use anabranch_rtc::desk::{Effect, Opening, Role, SessionId};
use anabranch_rtc::peer::Path;
use anabranch_rtc::signal::Target;

use super::camera::{Camera, Recording};
use super::peers::needs_work;
use super::remote::{Asked, path_of, server_address};
use super::{RtcSim, What};
use crate::ClientId;

/// Actions from one call after which a connection is said to spin.
const ACTIONS_AT_ONCE: u32 = 10_000;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Which {
    Session(SessionId),
    Source(usize),
}

/// A connection without a socket.
#[derive(Debug)]
pub(super) struct Seat {
    /// `None` while it is served.
    conn: Option<Conn>,
    due: Option<Instant>,
    role: Role,
}

/// A publisher that sends messages of FLV, as one by RTMP.
#[derive(Debug)]
pub(super) struct Source {
    stream: String,
    camera: Camera,
    seat: Option<Seat>,
    recording: Option<Recording>,
    /// True if it publishes again when it was refused.
    is_there: bool,
    /// Until when it sends nothing.
    frozen: Option<Instant>,
    publications: u64,
}

/// A publisher, see [`RtcSim::publish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceId(usize);

impl RtcSim {
    /// A publisher comes that sends messages of FLV.
    pub fn publish(&mut self, stream: &str, camera: Camera) -> SourceId {
        if needs_work(&camera) {
            self.transcoded.insert(stream.to_owned());
        }
        let index = self.sources.len();
        self.sources.push(Source {
            stream: stream.to_owned(),
            camera,
            seat: None,
            recording: None,
            is_there: true,
            frozen: None,
            publications: 0,
        });
        self.connect_source(index);
        SourceId(index)
    }

    /// A publisher leaves: in good order, or its connection breaks.
    pub fn end_source(&mut self, SourceId(index): SourceId, politely: bool) {
        let now = self.now;
        self.sources[index].is_there = false;
        self.end_of_source(index);
        if let Some(conn) = self.sources[index].seat.as_mut().and_then(|seat| seat.conn.as_mut()) {
            if politely {
                conn.leave(now);
            } else {
                conn.handle_disconnect(now, CloseReason::PeerLost("connection reset".into()));
            }
            self.serve(Which::Source(index));
        }
        self.settle();
    }

    /// It publishes again.
    pub fn resume_source(&mut self, SourceId(index): SourceId) {
        if !std::mem::replace(&mut self.sources[index].is_there, true) && self.sources[index].seat.is_none() {
            self.connect_source(index);
        }
    }

    /// It sends nothing for this time.
    pub fn freeze_source(&mut self, SourceId(index): SourceId, time: Duration) {
        self.sources[index].frozen = Some(self.now + time);
    }

    /// True while it publishes, and sends what it should.
    pub(super) fn is_well(&self, stream: &str) -> bool {
        let is_well = |source: &Source| {
            source.stream == stream && source.recording.is_some() && source.frozen.is_none_or(|until| until <= self.now)
        };
        let remote = |remote: &super::Remote| remote.stream == stream && remote.recording.is_some() && remote.is_well();
        self.sources.iter().any(is_well) || self.remotes.iter().any(remote)
    }

    /// When the publisher of a stream last sent nothing for a while: until then.
    pub(super) fn thawed(&self, stream: &str) -> Option<Instant> {
        self.sources.iter().filter(|source| source.stream == stream).filter_map(|source| source.frozen).max()
    }

    /// An operator has the newest session of a peer closed.
    pub fn kick(&mut self, id: ClientId) {
        let session = self.holders.iter().rev().find(|(_, index)| **index == id.index()).map(|(session, _)| *session);
        let Some(seat) = session.and_then(|session| self.seats.get_mut(&session)) else { return };
        self.remotes[id.index()].is_dismissed = true;
        if let Some(conn) = &mut seat.conn {
            conn.close(CloseReason::Closed("kicked"));
        }
        session.into_iter().for_each(|session| self.serve(Which::Session(session)));
        self.settle();
    }

    fn connect_source(&mut self, index: usize) {
        let source = &mut self.sources[index];
        let (app, stream) = source.stream.rsplit_once('/').expect("an application and a stream");
        let text = format!("POST /{}/whip HTTP/1.1\r\nHost: tv.example\r\nContent-Length: 0\r\n\r\n", source.stream);
        let from = SocketAddr::from(([198, 51, 100, 1], 1_024 + index as u16));
        let conn = self.core.offer(self.now, Some(from), &request(&text), app, stream);
        source.seat = Some(Seat { conn: Some(conn), due: None, role: Role::Publisher });
        self.serve(Which::Source(index));
    }

    /// A publisher sends what is due.
    pub(super) fn produce(&mut self, index: usize) {
        let now = self.now;
        let source = &mut self.sources[index];
        if source.recording.is_none() && source.seat.is_none() && source.is_there {
            return self.connect_source(index);
        }
        let Some(recording) = &mut source.recording else { return };
        if let Some(until) = source.frozen.filter(|until| *until > now) {
            recording.skip_to(until);
        }
        if recording.due() <= now {
            let messages: Vec<_> = recording.headers().into_iter().collect();
            let made = recording.produce(now, &mut self.archive);
            let messages = messages.into_iter().chain(made.into_iter().map(|one| one.message()));
            let Some(conn) = source.seat.as_mut().and_then(|seat| seat.conn.as_mut()) else { return };
            messages.for_each(|message| conn.publish_media(now, message));
            let due = recording.due();
            self.later(due, What::Produces(index));
            self.serve(Which::Source(index));
        } else {
            let due = recording.due();
            self.later(due, What::Produces(index));
        }
    }

    fn end_of_source(&mut self, index: usize) {
        if let Some(recording) = self.sources[index].recording.take() {
            self.archive[recording.publication].until = Some(self.now);
        }
    }

    fn seat(&mut self, which: Which) -> Option<&mut Seat> {
        match which {
            Which::Session(session) => self.seats.get_mut(&session),
            Which::Source(index) => self.sources[index].seat.as_mut(),
        }
    }

    pub(super) fn connection_is_due(&mut self, which: Which) {
        let now = self.now;
        let Some(seat) = self.seat(which) else { return };
        seat.due = None;
        if let Some(conn) = &mut seat.conn {
            conn.handle_timeout(now);
        }
        self.serve(which);
    }

    /// Polls a connection until it waits or is over.
    pub(super) fn serve(&mut self, which: Which) {
        let now = self.now;
        let Some(mut conn) = self.seat(which).and_then(|seat| seat.conn.take()) else { return };
        for _ in 0..ACTIONS_AT_ONCE {
            let output = conn.poll(now);
            let admission = conn.take_admission();
            match &admission {
                Some(Admission::Refused(answer)) => {
                    // There is no socket to wait for.
                    conn.handle_disconnect(now, CloseReason::PeerClosed);
                    if let Which::Session(session) = which {
                        self.over(session);
                        self.desk.refused(self.time(), session, answer);
                    }
                }
                Some(Admission::Granted) => {
                    let key = conn.streams().next().map(|(_, key)| key.clone());
                    let key = key.unwrap_or_else(|| self.fail(&format!("{which:?} is granted no stream")));
                    self.granted(which, &key);
                }
                None => {}
            }
            match output {
                Output::Action(action) => self.act(which, &mut conn, action),
                Output::Wait(wait) if admission.is_none() => {
                    let due = wait.deadline();
                    let Some(seat) = self.seat(which) else { return };
                    let before = std::mem::replace(&mut seat.due, due);
                    seat.conn = Some(conn);
                    before.into_iter().for_each(|before| _ = self.dues.remove(&(before, which)));
                    self.dues.extend(due.map(|due| (due, which)));
                    return;
                }
                Output::Wait(_) => {}
                Output::Closed(report) => {
                    self.digest.bytes(report.close.reason.name().as_bytes());
                    return self.closed(which);
                }
            }
        }
        self.fail(&format!("the connection of {which:?} never comes to wait"));
    }

    fn granted(&mut self, which: Which, key: &StreamKey) {
        match which {
            Which::Session(session) => {
                self.sessions.granted(session);
                self.desk.granted(self.time(), session, key);
            }
            Which::Source(index) => {
                let source = &mut self.sources[index];
                source.publications += 1;
                let rng = self.rng.fork(0x736f_7572 << 32 | (index as u64) << 16 | source.publications);
                let (camera, stream) = (source.camera.clone(), source.stream.clone());
                source.recording = Some(Recording::begin(self.now, &stream, camera, rng, &mut self.archive));
                self.later(self.now, What::Produces(index));
            }
        }
    }

    fn act(&mut self, which: Which, conn: &mut Conn, action: Action) {
        match action {
            Action::Subscribe(stream) => _ = self.subscribed.entry(stream).or_default().insert(which),
            Action::Unsubscribe(stream) => {
                if let Some(all) = self.subscribed.get_mut(&stream) {
                    all.remove(&which);
                    if all.is_empty() {
                        self.subscribed.remove(&stream);
                    }
                }
            }
            Action::Wake(stream) => _ = self.woken.insert(stream),
            Action::Ask(ask) => conn.answer(self.now, ask.id, Verdict::Allow),
            Action::Detach { role: Part::Publisher, .. } => {
                if let Which::Source(index) = which {
                    self.end_of_source(index);
                }
            }
            _ => {}
        }
    }

    fn closed(&mut self, which: Which) {
        let due = self.seat(which).and_then(|seat| seat.due.take());
        due.into_iter().for_each(|due| _ = self.dues.remove(&(due, which)));
        match which {
            Which::Session(session) => {
                self.seats.remove(&session);
                self.over(session);
                self.desk.left(self.time(), session);
            }
            Which::Source(index) => {
                self.end_of_source(index);
                self.sources[index].seat = None;
                if self.sources[index].is_there {
                    self.later(self.now + Duration::from_secs(1), What::Produces(index));
                }
            }
        }
    }

    /// Serves all that was woken, and does what the desk wants done.
    pub(super) fn settle(&mut self) {
        loop {
            let mut is_idle = true;
            while let Some(effect) = self.desk.poll() {
                self.obey(effect);
                is_idle = false;
            }
            while let Some(datagram) = self.desk.poll_datagram() {
                self.transmit(datagram);
                is_idle = false;
            }
            if let Some(stream) = self.woken.pop_first() {
                self.wake(stream);
                is_idle = false;
            }
            if is_idle {
                return;
            }
        }
    }

    fn wake(&mut self, stream: StreamId) {
        if self.followed.contains(&stream) {
            self.desk.wake(self.time(), stream);
        }
        // Clients that wait hear of a stream that has no publisher.
        let all = self.subscribed.get(&stream).cloned().unwrap_or_default();
        let key = all.first().and_then(|which| self.key_of(*which));
        if key.is_some_and(|key| self.core.hub().holder(&key).is_none()) {
            all.into_iter().for_each(|which| self.serve(which));
        }
    }

    fn key_of(&mut self, which: Which) -> Option<StreamKey> {
        let conn = self.seat(which)?.conn.as_ref()?;
        conn.streams().next().map(|(_, key)| key.clone())
    }

    fn obey(&mut self, effect: Effect<Asked>) {
        self.check_effect(&effect);
        match effect {
            Effect::Answer(mut asked, answer) => {
                asked.is_answered = true;
                self.digest.word(u64::from(answer.status));
                if asked.is_offer {
                    let index = asked.remote;
                    if let Err(what) = self.remotes[index].answered(self.now, &answer) {
                        self.fail(&format!("remote {index}: {what}"));
                    }
                    self.schedule(index);
                } else if answer.status != 200 && answer.status != 404 {
                    self.fail(&format!("a session that is deleted is answered with {answer:?}"));
                }
            }
            Effect::Open(opening) => self.open(*opening),
            Effect::Leave(session) => {
                let now = self.now;
                if let Some(conn) = self.seats.get_mut(&session).and_then(|seat| seat.conn.as_mut()) {
                    conn.leave(now);
                    self.serve(Which::Session(session));
                }
            }
            Effect::Publish(session, message) => {
                let now = self.now;
                if let Some(conn) = self.seats.get_mut(&session).and_then(|seat| seat.conn.as_mut()) {
                    conn.publish_media(now, message);
                    self.serve(Which::Session(session));
                }
            }
            Effect::Follow(stream) => {
                if !self.followed.insert(stream) {
                    self.fail(&format!("{stream:?} is followed twice"));
                }
                self.woken.insert(stream);
            }
            Effect::Unfollow(stream) => {
                if !self.followed.remove(&stream) {
                    self.fail(&format!("{stream:?} was not followed"));
                }
            }
            Effect::Sound(job) => match self.transcoders.take(&job) {
                Ok(made) => made.into_iter().for_each(|(job, packets)| self.desk.sound(self.time(), job, Ok(packets))),
                Err(what) => self.fail(&what),
            },
            Effect::Sent { session, frames, bytes } => {
                let now = self.now;
                if let Some(conn) = self.seats.get_mut(&session).and_then(|seat| seat.conn.as_mut()) {
                    conn.note_sent(now, frames as u32, bytes as usize);
                }
            }
            Effect::Tell(_) => {}
        }
    }

    fn open(&mut self, opening: Opening) {
        let Opening { session, role, client, request, app, stream } = opening;
        let conn = match role {
            Role::Player => self.core.view(self.now, client, &request, &app, &stream, Delivery::WebRtc),
            Role::Publisher => self.core.offer(self.now, client, &request, &app, &stream),
        };
        let at = client.and_then(|remote| {
            let local = server_address();
            let path = Path { transport: anabranch_rtc::peer::Transport::Udp, local, remote };
            self.places.get(&path).copied()
        });
        self.holders.extend(at.map(|index| (session, index)));
        self.seats.insert(session, Seat { conn: Some(conn), due: None, role });
        self.serve(Which::Session(session));
    }

    /// A peer makes a request by HTTP.
    pub(super) fn ask(&mut self, remote: usize, text: &str, is_offer: bool, is_gone: Arc<AtomicBool>) {
        let request = request(text);
        let target =
            Target::of(&request).unwrap_or_else(|| self.fail(&format!("{text:?} is for no part of the server")));
        let client = path_of(remote, self.remotes[remote].moves).remote;
        self.peers.ledger().waiting += 1;
        let (time, settings) = (self.time(), self.settings.clone());
        let ticket = Asked { remote, is_offer, is_gone, is_answered: false, peers: self.peers.clone() };
        self.desk.request(time, target, &request, Some(client), Some(server_address()), &settings, ticket);
        self.settle();
    }

    /// A datagram reaches the server.
    pub(super) fn receive(&mut self, path: Path, bytes: &[u8]) {
        self.digest.bytes(bytes);
        self.note_received(path, bytes);
        let time = self.time();
        self.desk.receive(time, path, bytes);
    }

    /// How many connections there are of peers of this role.
    pub(super) fn seats_of(&self, role: Role) -> usize {
        self.seats.values().filter(|seat| seat.role == role).count()
    }
}

fn request(text: &str) -> Request {
    let mut reader = RequestReader::new(Limits::default());
    reader.read(&mut text.as_bytes()).expect("it is legal").expect("it is whole")
}
