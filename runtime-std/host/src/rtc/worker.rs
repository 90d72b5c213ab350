//! The thread.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::session::{CloseReason, WebRtcFault};
use anabranch_rtc::desk::{Desk, Effect, Remark, Settings, SoundJob};
use anabranch_rtc::engine::{Engines, Identity};
use anabranch_rtc::peer::{Datagram, Gone, Transport};
use mio::{Events, Poll, Token, Waker};
use tracing::error;

use super::inbox::{Asked, Inbox, Input};
use super::tcp::{TcpEvent, TcpSockets};
use super::udp::{Buffers, UdpSockets};
use super::{DESK_SHIFT, RtcStats, lines, unavailable};
use crate::handle::Control;
use crate::segments::time;
use crate::viewer::{Kept, Viewer};
use crate::web::Reply;

const WAKER: Token = Token(0);
const FIRST_SOCKET: usize = 1;
/// Calls that receive datagrams in one turn: some hundreds. What is to be sent does not wait for more.
const RECEIVES: usize = 16;
/// Inputs that are taken in one turn.
const INPUTS: usize = 256;
/// Why a player is closed whose answer was for other codecs than the stream has now.
const OTHER_CODECS: &str = "the stream has other codecs now, and the player is to ask again";
/// How often lists of peers are made, and how often numbers: both look at each peer.
const LIST: Duration = Duration::from_secs(1);
const COUNT: Duration = Duration::from_millis(100);
/// The longest time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What the thread waits for.
#[derive(Debug)]
pub(super) struct Sockets {
    poll: Poll,
    udp: UdpSockets,
    tcp: TcpSockets,
}

impl Sockets {
    pub(super) fn register(
        udp: Vec<UdpSocket>,
        tcp: Vec<TcpListener>,
        inbox: &Inbox,
        now: Instant,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let udp = UdpSockets::register(udp, poll.registry(), FIRST_SOCKET)?;
        let tcp = TcpSockets::register(tcp, poll.registry(), udp.after(FIRST_SOCKET), now)?;
        inbox.wake_by(Waker::new(poll.registry(), WAKER)?);
        Ok(Sockets { poll, udp, tcp })
    }

    fn is_readable(&self) -> bool {
        self.udp.is_readable() || self.tcp.is_readable()
    }

    fn send(&mut self, datagram: &Datagram) {
        match datagram.path.transport {
            Transport::Udp => self.udp.send(self.poll.registry(), datagram),
            Transport::Tcp => self.tcp.send(datagram),
        }
    }
}

/// Serves peers until the server is over.
pub(super) fn run(control: &Weak<dyn Control>, sockets: Sockets) {
    let mut worker = Worker::new(sockets);
    let mut events = Events::with_capacity(256);
    let mut due = Some(Instant::now());
    loop {
        let wait = due.map_or(LOOK, |due| due.saturating_duration_since(Instant::now())).min(LOOK);
        // An interrupted wait is one that is over.
        let _ = worker.sockets.poll.poll(&mut events, Some(wait));
        let Some(server) = control.upgrade() else { return };
        let rtc = server.rtc();
        let is_over = rtc.is_over.load(Ordering::Acquire);
        let turn = catch_unwind(AssertUnwindSafe(|| worker.turn(&server, &events)));
        due = turn.unwrap_or_else(|_| {
            error!(event = "bug", "the thread that serves WebRTC panicked, which is a bug; all its sessions end");
            // What ends there could fail, too.
            let again = catch_unwind(AssertUnwindSafe(|| worker.begin_again(&server)));
            if again.is_err() {
                error!(event = "bug", "ending all sessions of WebRTC panicked as well");
            }
            // A panic that comes again and again takes little time of the machine.
            thread::sleep(LOOK);
            Some(Instant::now())
        });
        let is_last = is_over || server.is_stopping() && rtc.viewers.is_empty();
        if is_last && rtc.inbox.is_empty() {
            rtc.inbox.close().into_iter().for_each(|reply| reply.give(unavailable()));
            return;
        }
    }
}

struct Worker {
    sockets: Sockets,
    buffers: Buffers,
    desk: Option<Desk<Reply>>,
    settings: Arc<Settings>,
    /// The number of the desk.
    number: u64,
    /// Sessions whose peers are connected, and why those are gone whose connections do not know yet.
    connected: HashSet<u64>,
    gone: HashMap<u64, Gone>,
    listed: Option<Instant>,
    counted: Option<Instant>,
}

impl Worker {
    fn new(sockets: Sockets) -> Self {
        Worker {
            sockets,
            buffers: Buffers::new(),
            desk: None,
            settings: Arc::default(),
            number: 0,
            connected: HashSet::new(),
            gone: HashMap::new(),
            listed: None,
            counted: None,
        }
    }

    /// Does what there is to do. Returns when there is more.
    fn turn(&mut self, server: &Arc<dyn Control>, events: &Events) -> Option<Instant> {
        let rtc = server.rtc();
        rtc.inbox.looks();
        for event in events {
            let (token, readable, writable) = (event.token(), event.is_readable(), event.is_writable());
            let Sockets { poll, udp, tcp } = &mut self.sockets;
            if token != WAKER && !udp.is_ready(poll.registry(), token, readable, writable) {
                tcp.is_ready(token, readable || event.is_read_closed() || event.is_error(), writable);
            }
        }
        self.configure(server);
        let is_full = self.sockets.udp.is_full();
        self.desk().hold(is_full);
        self.receive(server);
        for _ in 0..INPUTS {
            let Some(input) = rtc.inbox.take() else { break };
            self.input(input);
        }
        self.follow(server);
        for stream in rtc.inbox.take_news() {
            self.desk().wake(time(), stream);
            self.follow(server);
            // Its viewers are told if it is nowhere, or refused elsewhere.
            let waiting = rtc.viewers.waiting_for(stream);
            if waiting.first().is_some_and(|viewer| !viewer.is_live(server.core().hub())) {
                waiting.iter().for_each(|viewer| viewer.serve());
            }
        }
        let now = time();
        rtc.viewers.look(now.now);
        self.desk().turn(now);
        self.follow(server);
        let next_count = self.note(server, now.now);
        if self.sockets.is_readable() || !rtc.inbox.is_empty() {
            return Some(now.now);
        }
        let dues = [self.desk().deadline(), rtc.viewers.next_due(), self.sockets.tcp.deadline(), next_count];
        dues.into_iter().flatten().min()
    }

    fn desk(&mut self) -> &mut Desk<Reply> {
        self.desk.as_mut().expect("it is made before anything else")
    }

    /// Has the present settings, and a desk.
    fn configure(&mut self, server: &Arc<dyn Control>) {
        let settings = server.rtc().settings();
        if let Some(desk) = &mut self.desk {
            if !Arc::ptr_eq(&settings, &self.settings) {
                desk.configure((*settings).clone());
            }
        } else {
            let identity = Identity::new().expect("the library of the encryption makes certificates");
            let peers = Box::new(Engines(identity));
            let hub = server.core().hub().clone();
            self.desk = Some(Desk::new(hub, crate::random_seed(), (*settings).clone(), peers));
        }
        self.settings = settings;
    }

    fn receive(&mut self, server: &Arc<dyn Control>) {
        for _ in 0..RECEIVES {
            if !self.sockets.udp.is_readable() {
                break;
            }
            let (now, Some(desk)) = (time(), &mut self.desk) else { return };
            self.sockets.udp.receive(&mut self.buffers, |path, bytes| _ = desk.receive(now, path, bytes));
            self.follow(server);
        }
        let (now, Some(desk)) = (time(), &mut self.desk) else { return };
        let Sockets { poll, tcp, .. } = &mut self.sockets;
        let take = |event: TcpEvent<'_>| match event {
            TcpEvent::Datagram(path, bytes) => desk.receive(now, path, bytes),
            TcpEvent::Over(path) => {
                desk.disconnected(now, path);
                true
            }
        };
        tcp.receive(now.now, poll.registry(), self.buffers.whole(), |number| server.admits(number), take);
        self.follow(server);
        let (now, Some(desk)) = (time(), &mut self.desk) else { return };
        let Sockets { poll, tcp, .. } = &mut self.sockets;
        tcp.look(now.now, poll.registry(), |event| {
            if let TcpEvent::Over(path) = event {
                desk.disconnected(now, path);
            }
            true
        });
    }

    fn input(&mut self, input: Input) {
        let (now, number) = (time(), self.number);
        // What another desk has begun is over.
        let own = |session: u64| (session >> DESK_SHIFT == number).then_some(session & ((1 << DESK_SHIFT) - 1));
        let Some(desk) = &mut self.desk else { return };
        match input {
            Input::Request(asked) => {
                let Asked { target, request, client, local, settings, reply } = *asked;
                desk.request(now, target, &request, client, local, &settings, reply);
            }
            Input::Granted(session, key, qualities) => {
                if let Some(session) = own(session) {
                    desk.granted_with(now, session, &key, &qualities);
                }
            }
            Input::Refused(session, answer) => {
                if let Some(session) = own(session) {
                    desk.refused(now, session, &answer);
                }
            }
            Input::Left(session) => {
                self.connected.remove(&session);
                self.gone.remove(&session);
                if let Some(session) = own(session) {
                    desk.left(now, session);
                }
            }
            Input::Sound(done) => {
                if let Some(job) = own(done.job) {
                    done.remark.into_iter().for_each(|how| desk.sound_lacks(job, how));
                    desk.sound(now, job, done.made.map_err(|error| error.to_string()));
                }
            }
        }
    }

    /// Does what the desk wants done, and sends what it has to send.
    fn follow(&mut self, server: &Arc<dyn Control>) {
        loop {
            let mut is_done = true;
            while let Some(effect) = self.desk().poll() {
                self.act(server, effect);
                is_done = false;
            }
            while let Some(datagram) = self.desk().poll_datagram() {
                self.sockets.send(&datagram);
                is_done = false;
                // What viewers do not get now they get once there is room, or they go on at a key frame.
                let is_full = self.sockets.udp.is_full();
                self.desk().hold(is_full);
            }
            if is_done {
                break;
            }
        }
        self.sockets.udp.flush(self.sockets.poll.registry());
    }

    fn act(&mut self, server: &Arc<dyn Control>, effect: Effect<Reply>) {
        let rtc = server.rtc();
        let of_desk = self.number << DESK_SHIFT;
        match effect {
            Effect::Answer(reply, answer) => reply.give(answer),
            Effect::Open(opening) => {
                let session = opening.session | of_desk;
                let viewer = Viewer::open(server, session, Kept::ByRtc, server.open_peer(&opening));
                rtc.viewers.insert(session, viewer.clone());
                viewer.serve();
            }
            Effect::Leave(session) => {
                let session = session | of_desk;
                let is_connected = self.connected.contains(&session);
                let gone = self.gone.remove(&session);
                let Some(viewer) = rtc.viewers.get(session) else { return };
                let fault = match gone {
                    Some(Gone::Changed) => return viewer.leave(CloseReason::Closed(OTHER_CODECS)),
                    None | Some(Gone::Left) => return viewer.say_goodbye(),
                    Some(Gone::Bug) => WebRtcFault::Bug,
                    Some(_) if !is_connected => WebRtcFault::NotConnected,
                    Some(Gone::Silent) => WebRtcFault::Silent,
                    Some(Gone::Broken) => WebRtcFault::Broken,
                };
                viewer.leave(CloseReason::WebRtc(fault));
            }
            Effect::Publish(session, message) => {
                if let Some(viewer) = rtc.viewers.get(session | of_desk) {
                    viewer.publish(message);
                }
            }
            Effect::Follow(stream) => rtc.inbox.follow(stream),
            Effect::Unfollow(stream) => rtc.inbox.unfollow(stream),
            Effect::Sound(job) => rtc.sound.put(match job {
                SoundJob::Begin { job, config } => SoundJob::Begin { job: job | of_desk, config },
                SoundJob::Frame { job, time, data } => SoundJob::Frame { job: job | of_desk, time, data },
                SoundJob::End { job } => SoundJob::End { job: job | of_desk },
            }),
            Effect::Sent { session, frames, bytes } => {
                if let Some(viewer) = rtc.viewers.get(session | of_desk) {
                    viewer.note_sent(frames, bytes);
                }
            }
            Effect::Tell(remark) => self.tell(server, &remark),
        }
    }

    fn tell(&mut self, server: &Arc<dyn Control>, remark: &Remark) {
        let session = match remark {
            Remark::Connected { session, .. } | Remark::Gone { session, .. } | Remark::Skipped { session, .. } => {
                Some(session | self.number << DESK_SHIFT)
            }
            _ => None,
        };
        match (remark, session) {
            (Remark::Connected { .. }, Some(session)) => _ = self.connected.insert(session),
            (Remark::Gone { why, .. }, Some(session)) => _ = self.gone.insert(session, *why),
            _ => {}
        }
        let viewer = session.and_then(|session| server.rtc().viewers.get(session));
        if viewer.is_none() {
            session.iter().for_each(|session| _ = self.gone.remove(session));
        }
        let addresses = server.shown_addresses();
        lines::tell(remark, viewer.map(|viewer| viewer.id()), |address| addresses.shown(address));
    }

    /// Notes numbers and lists for others, now and then. Returns when it is to do so next.
    fn note(&mut self, server: &Arc<dyn Control>, now: Instant) -> Option<Instant> {
        if let Some(next) = self.counted.map(|counted| counted + COUNT).filter(|next| now < *next) {
            return Some(next);
        }
        self.counted = Some(now);
        let (rtc, desk) = (server.rtc(), self.desk().stats());
        let (counts, tcp) = (self.sockets.udp.counts, &self.sockets.tcp);
        rtc.set_stats(RtcStats {
            desk,
            tcp_connections: tcp.len(),
            received: counts.received,
            sent: counts.sent,
            sent_bytes: counts.sent_bytes,
            sends: counts.sends,
            lost: counts.lost + tcp.lost,
        });
        if self.listed.is_none_or(|listed| now >= listed + LIST) {
            self.listed = Some(now);
            let of_desk = self.number << DESK_SHIFT;
            let views = self.desk().sessions().into_iter().map(|view| (view.session | of_desk, view)).collect();
            rtc.set_sessions(views);
        }
        None
    }

    /// After a panic: what was under way ends, and another desk begins.
    fn begin_again(&mut self, server: &Arc<dyn Control>) {
        let rtc = server.rtc();
        // A panic of the desk may come again when it is dropped.
        let before = self.desk.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(before)));
        self.number += 1;
        self.connected.clear();
        self.gone.clear();
        rtc.inbox.unfollow_all();
        rtc.sound.clear();
        for (_, viewer) in rtc.viewers.list() {
            viewer.leave(CloseReason::WebRtc(WebRtcFault::Bug));
        }
    }
}
