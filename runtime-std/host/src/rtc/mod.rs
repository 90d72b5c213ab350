//! Drives WebRTC: a thread that has the sockets of UDP and TCP and the desk of all peers.
//!
//! Requests come from the threads of their connections by a queue, which never makes them wait. So do the answers of rules and
//! hooks, which are those of connections of core without a socket ([`Viewer`]). The thread alone works with the desk, so it
//! holds no lock meanwhile. It begins with the first request, and ends with the server.

mod inbox;
mod interfaces;
mod lines;
mod sound;
mod tcp;
mod udp;
mod worker;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anabranch_core::conn::Core;
use anabranch_core::http::{Answer, Request};
use anabranch_core::hub::StreamId;
use anabranch_rtc::desk::{DeskStats, SessionView, Settings};
use anabranch_rtc::signal::Target;
use anabranch_rtc::sound as transcoding;
use tracing::warn;

use crate::handle::Control;
use crate::viewer::{Granted, Keeper};
use crate::viewers::Viewers;
use crate::web::Reply;
use crate::{Listen, WebListen, listen};
use inbox::{Asked, Inbox, Input};
use sound::Sound;

/// Sessions of another desk than the present one, after one has failed, have other numbers in these bits.
const DESK_SHIFT: u32 = 48;

/// How a server serves WebRTC.
#[derive(Debug, Clone, Default)]
pub struct RtcOptions {
    /// Where it takes datagrams of UDP. `auto` is [`RTC_PORT`](Self::RTC_PORT) of every address, if it is free.
    pub listen: WebListen,
    /// Where it takes connections of TCP that carry datagrams (ICE over TCP), for peers whose networks let no UDP through.
    pub tcp_listen: Vec<Listen>,
    /// All else. The server itself sets what its sockets are bound to, and the addresses of the
    /// interfaces.
    pub settings: Settings,
    /// How the sound of streams is put into Opus.
    pub sound: transcoding::Settings,
}

impl RtcOptions {
    /// The port of `auto`, as SRS has it.
    pub const RTC_PORT: u16 = 8000;

    /// Opens the sockets. `Ok(None)`: there are none, because it is off, or the port of `auto` is taken, which the log says.
    ///
    /// # Errors
    /// An address that cannot be listened on, which the error names.
    pub fn bind(self) -> io::Result<Option<RtcSockets>> {
        self.bind_beside(&[])
    }

    /// The same; `auto` is at these addresses, if there are any.
    pub(crate) fn bind_beside(self, web: &[Listen]) -> io::Result<Option<RtcSockets>> {
        let mut udp = Vec::new();
        match &self.listen {
            WebListen::Off => return Ok(None),
            WebListen::Auto => {
                let beside = web.iter().map(|address| match address {
                    Listen::Any(_) => Listen::Any(Self::RTC_PORT),
                    Listen::One(address) => Listen::One(SocketAddr::new(address.ip(), Self::RTC_PORT)),
                });
                let mut addresses: Vec<_> = beside.collect();
                if addresses.is_empty() || addresses.contains(&Listen::Any(Self::RTC_PORT)) {
                    addresses = vec![Listen::Any(Self::RTC_PORT)];
                }
                addresses.dedup();
                for address in addresses {
                    match udp::bind(address) {
                        Ok(socket) => udp.push(socket),
                        Err(error) => {
                            let error = named(address, "UDP", &error);
                            warn!(event = "not_listening", error = %error, "{error}; the server runs without WebRTC");
                            return Ok(None);
                        }
                    }
                }
            }
            WebListen::At(addresses) => {
                for address in addresses {
                    udp.push(udp::bind(*address).map_err(|error| named(*address, "UDP", &error))?);
                }
            }
        }
        let mut tcp = Vec::new();
        for address in &self.tcp_listen {
            tcp.push(listen(*address).map_err(|error| named(*address, "TCP", &error))?);
        }
        let addresses = RtcAddresses {
            udp: udp.iter().map(UdpSocket::local_addr).collect::<io::Result<_>>()?,
            tcp: tcp.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?,
        };
        Ok(Some(RtcSockets { udp, tcp, addresses, settings: self.settings, sound: self.sound }))
    }
}

fn named(address: Listen, protocol: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address} of {protocol} for WebRTC: {error}"))
}

/// Sockets for WebRTC, see [`RtcOptions::bind`].
#[derive(Debug)]
pub struct RtcSockets {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    addresses: RtcAddresses,
    settings: Settings,
    sound: transcoding::Settings,
}

/// Where a server takes datagrams of WebRTC, with the ports that the system chose for port 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RtcAddresses {
    /// By UDP.
    pub udp: Vec<SocketAddr>,
    /// By TCP.
    pub tcp: Vec<SocketAddr>,
}

/// Numbers of WebRTC.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct RtcStats {
    /// What the peers do.
    pub desk: DeskStats,
    /// Connections of TCP that are open.
    pub tcp_connections: usize,
    /// Datagrams of UDP that have come.
    pub received: u64,
    /// Datagrams of UDP that were sent, and their bytes.
    pub sent: u64,
    /// Bytes of them.
    pub sent_bytes: u64,
    /// Calls of the system that sent them: fewer, where it sends several at once.
    pub sends: u64,
    /// Datagrams that were lost here: the system or the peer did not take them in time.
    pub lost: u64,
}

/// A peer.
#[derive(Debug, Clone, PartialEq)]
pub struct RtcSession {
    /// The number of its connection, as in the log and in lists of connections.
    pub connection: u64,
    /// What it is.
    pub view: SessionView,
}

/// WebRTC of one server.
pub(crate) struct Rtc {
    inbox: Arc<Inbox>,
    viewers: Viewers,
    sound: Sound,
    addresses: RtcAddresses,
    /// The sockets, until the thread has them.
    sockets: Mutex<Option<RtcSockets>>,
    settings: Mutex<Arc<Settings>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// True once the thread is to end whatever there is to do.
    is_over: AtomicBool,
    stats: Mutex<RtcStats>,
    sessions: Mutex<Vec<RtcSession>>,
    control: OnceLock<Weak<dyn Control>>,
}

impl fmt::Debug for Rtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rtc").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Rtc {
    /// Without sockets it is off.
    pub(crate) fn new(sockets: Option<RtcSockets>) -> Self {
        let inbox = Arc::new(Inbox::default());
        let for_sound = inbox.clone();
        let addresses = sockets.as_ref().map(|sockets| sockets.addresses.clone()).unwrap_or_default();
        let settings = sockets.as_ref().map(|sockets| sockets.settings.clone()).unwrap_or_default();
        let sound = sockets.as_ref().map(|sockets| sockets.sound).unwrap_or_default();
        let rtc = Rtc {
            inbox,
            viewers: Viewers::default(),
            sound: Sound::new(sound, move |done| for_sound.put(Input::Sound(done))),
            addresses,
            sockets: Mutex::new(sockets),
            settings: Mutex::default(),
            thread: Mutex::default(),
            is_over: AtomicBool::new(false),
            stats: Mutex::default(),
            sessions: Mutex::default(),
            control: OnceLock::new(),
        };
        rtc.configure(settings);
        rtc
    }

    /// The server that it belongs to.
    pub(crate) fn belong_to(&self, control: &Arc<dyn Control>) {
        // A server is made once.
        let _ = self.control.set(Arc::downgrade(control));
    }

    /// A client asks for something.
    pub(crate) fn request(&self, core: &Core, target: Target, request: &Request, reply: Reply) {
        if self.addresses.udp.is_empty() {
            return reply.give(Answer::text(404, "WebRTC is off at this server: its setting is rtc.listen"));
        }
        if !self.start() {
            return reply.give(unavailable());
        }
        let (client, local, settings) = (reply.client(), reply.local(), core.config().web.clone());
        let asked = Asked { target, request: request.clone(), client, local, settings, reply };
        if let Err(asked) = self.inbox.request(Box::new(asked)) {
            asked.reply.give(unavailable());
        }
    }

    /// True for a session of another server of the cluster. The program may pass requests for it on.
    pub(crate) fn is_elsewhere(&self, target: &Target) -> bool {
        let name = target.session().filter(|name| !name.node.is_empty());
        name.is_some_and(|name| name.node != self.settings().node)
    }

    /// From now on peers are served so. The addresses stay.
    pub(crate) fn configure(&self, mut settings: Settings) {
        settings.listening.clone_from(&self.addresses.udp);
        settings.tcp_listening.clone_from(&self.addresses.tcp);
        settings.interfaces = interfaces::addresses();
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self.inbox.wake();
    }

    /// A stream has something new.
    pub(crate) fn wake(&self, stream: StreamId) {
        self.inbox.news(stream);
    }

    /// Has the thread look at what there is.
    pub(crate) fn notify(&self) {
        self.inbox.wake();
    }

    /// Ends the thread, and waits for that. Connections have ended before.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.inbox.close().into_iter().for_each(|reply| reply.give(unavailable()));
        self.inbox.wake();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It may be the thread itself that has the last reference to the server. It catches panics.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
        *self.sockets.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn addresses(&self) -> RtcAddresses {
        self.addresses.clone()
    }

    pub(crate) fn stats(&self) -> RtcStats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All peers, as they were within the last second.
    pub(crate) fn sessions(&self) -> Vec<RtcSession> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn settings(&self) -> Arc<Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_stats(&self, stats: RtcStats) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    fn set_sessions(&self, views: Vec<(u64, SessionView)>) {
        let connections: BTreeMap<_, _> =
            self.viewers.list().into_iter().map(|(session, viewer)| (session, viewer.id())).collect();
        let session =
            |(number, view)| connections.get(&number).map(|connection| RtcSession { connection: *connection, view });
        let sessions = views.into_iter().filter_map(session).collect();
        *self.sessions.lock().unwrap_or_else(PoisonError::into_inner) = sessions;
    }

    /// Starts the thread, if it does not run. False if that is not possible.
    fn start(&self) -> bool {
        let mut thread: MutexGuard<'_, Option<JoinHandle<()>>> =
            self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return true;
        }
        let Some(control) = self.control.get().filter(|_| !self.is_over.load(Ordering::Acquire)) else { return false };
        let Some(sockets) = self.sockets.lock().unwrap_or_else(PoisonError::into_inner).take() else { return false };
        let (control, inbox) = (control.clone(), self.inbox.clone());
        let started = worker::Sockets::register(sockets.udp, sockets.tcp, &inbox, Instant::now()).and_then(|sockets| {
            thread::Builder::new().name("rtc".to_owned()).spawn(move || worker::run(&control, sockets))
        });
        match started {
            Ok(started) => *thread = Some(started),
            Err(error) => warn!(
                event = "no_webrtc",
                error = %error,
                "cannot start the thread that serves WebRTC: {error}; the server runs without"
            ),
        }
        thread.is_some()
    }
}

impl Drop for Rtc {
    fn drop(&mut self) {
        self.end();
    }
}

impl Keeper for Rtc {
    fn look_at(&self, session: u64, due: Instant) {
        self.viewers.look_at(session, due);
        self.inbox.wake();
    }

    fn awaits(&self, session: u64, stream: StreamId) {
        self.viewers.awaits(session, stream);
    }

    fn forgets(&self, session: u64, stream: StreamId) {
        self.viewers.forgets(session, stream);
    }

    fn granted(&self, session: u64, granted: Granted) {
        let qualities = granted.segments.map(|segments| segments.renditions).unwrap_or_default();
        self.inbox.put(Input::Granted(session, granted.key, qualities));
    }

    fn refused(&self, session: u64, answer: &Answer) {
        self.inbox.put(Input::Refused(session, answer.clone()));
    }

    fn left(&self, session: u64) {
        // In this order: the thread ends when there is no viewer and nothing to do, and this is to be done.
        self.inbox.put(Input::Left(session));
        self.viewers.remove(session);
        self.inbox.wake();
    }
}

fn unavailable() -> Answer {
    Answer::text(503, "the server cannot answer at present").with("Retry-After", "1")
}
