use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::as_play::{RETRY_AFTER, connect_info, folder};
use super::event::{CloseReason, PlayRequest, SessionEvent, TimeoutKind, WebRequest};
use super::forwarded::Forwarded;
use super::state::Change;
use super::streams::Activity;
use super::{Delivery, Session, State};
use crate::command::PlayArguments;
use crate::endpoint::{Cause, DueKind, Error, Timer};
use crate::flv::tag::{FILE_HEADER_LENGTH, write_file_header};
use crate::http::websocket::{self, ClientFrame, FrameReader};
use crate::http::{Answer, CONTINUE, Container, Framing, LivePath, Request, RequestReader, Settings, Upgrade};
use crate::policy::Network;
use crate::source::{Form, Frame, FrameKind, Mp4Tracks, Tracks};
use crate::time_limit::{TimeLimit, deadline_after};

mod answers;
mod elsewhere;

pub use elsewhere::Admission;
use elsewhere::Elsewhere;

/// How long the beginning of a live stream waits for a second medium after the first. Some players go by what the header
/// says of the media, and wait for ever for one that does not come.
const TRACK_WAIT: Duration = Duration::from_secs(1);
/// The longest time between two pings of a WebSocket: proxies close connections that say nothing for a minute.
const LONGEST_PING: Duration = Duration::from_secs(25);
/// The fields of every answer with a live stream.
const LIVE_FIELDS: &str = "Cache-Control: no-store\r\nX-Accel-Buffering: no\r\n";
/// The methods of a live stream.
const METHODS: &str = "GET, HEAD, OPTIONS";

/// Which protocols a connection may speak. Its first bytes decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accepts {
    /// RTMP.
    #[default]
    Rtmp,
    /// HTTP.
    Web,
    /// RTMP or HTTP.
    Either,
}

/// How a connection came in.
#[derive(Debug, Default)]
pub(super) struct Door {
    pub(super) accepts: Accepts,
    /// Those of HTTP, if it accepts that.
    pub(super) settings: Option<Arc<Settings>>,
    /// The networks of proxies that are trusted, if the peer is one of these.
    pub(super) proxies: Option<Arc<[Network]>>,
    /// Seconds after 1970 when it came in, if that is known.
    pub(super) unix: Option<u64>,
}

impl Accepts {
    /// True if HTTP is among them.
    pub fn web(self) -> bool {
        self != Accepts::Rtmp
    }
}

/// A connection that speaks HTTP.
#[derive(Debug)]
pub(super) struct Web {
    settings: Arc<Settings>,
    forwarded: Forwarded,
    reader: RequestReader,
    stage: Stage,
    /// The form of its live stream, once it has asked for one.
    delivery: Delivery,
    /// Requests so far.
    count: u64,
    /// When the last of them was answered, or the connection began.
    since: Instant,
    /// True if the client sends no further request.
    is_last: bool,
    /// True while the server drains: it reads no further request.
    drains: bool,
    /// True once the sending side is over.
    is_finished: bool,
    /// What a client without a socket is told and has not taken yet.
    admission: Option<Admission>,
}

#[derive(Debug)]
enum Stage {
    /// Reads a request; all before it are answered.
    Reading,
    /// The program is to answer the request of this number. `fields` let the page that asked see a refusal.
    Asked { is_head: bool, fields: String },
    /// A live stream is asked for, or sent.
    Live(Box<Live>),
    /// The client has no socket: its media goes another way.
    Elsewhere(Elsewhere),
    /// Nothing more is to be said.
    Over,
}

/// A live stream that a client asked for.
#[derive(Debug)]
struct Live {
    framing: Framing,
    /// True if the client wants the head of the answer alone.
    is_head: bool,
    container: Container,
    /// The name in `play`.
    name: String,
    /// Fields of the answer, whatever it is.
    fields: String,
    /// Fields of the handshake of a WebSocket.
    handshake: String,
    frames: FrameReader,
    beginning: Beginning,
    /// For MP4: what the decoders need.
    mp4: Option<Box<Mp4Tracks>>,
    /// True once the stream has changed to what this answer cannot go on with.
    is_over: bool,
}

/// Whether the head of the answer is sent. It is held back until it is clear what the stream has.
#[derive(Debug)]
enum Beginning {
    Held { frames: Vec<Frame>, bytes: usize, tracks: Tracks },
    Begun(Form),
}

impl Web {
    pub(super) fn new(settings: Arc<Settings>, forwarded: Forwarded, since: Instant) -> Self {
        let reader = RequestReader::new(settings.limits);
        Web {
            settings,
            forwarded,
            reader,
            stage: Stage::Reading,
            delivery: Delivery::Rtmp,
            count: 0,
            since,
            is_last: false,
            drains: false,
            is_finished: false,
            admission: None,
        }
    }

    /// Bytes of a request that is not whole.
    pub(super) fn unfinished(&self) -> usize {
        self.reader.held()
    }

    /// Fields of the answer that let the page of this request read it.
    fn fields(&self, request: &Request) -> String {
        self.settings.fields(request)
    }

    fn live(&mut self) -> Option<&mut Live> {
        if let Stage::Live(live) = &mut self.stage { Some(live) } else { None }
    }
}

/// A connection by HTTP. Its live streams are plays: a request becomes a `connect` and a `play`, and what a `play` is
/// answered becomes an answer.
impl Session {
    /// True if the peer speaks HTTP.
    pub fn is_web(&self) -> bool {
        self.web.is_some()
    }

    /// How the client gets what it plays.
    pub fn delivery(&self) -> Delivery {
        self.web.as_deref().map_or(Delivery::Rtmp, |web| web.delivery)
    }

    /// True if it is there for requests by HTTP, and plays no live stream.
    pub(crate) fn asks_by_web(&self) -> bool {
        let asks = match self.web.as_deref() {
            Some(web) => !matches!(web.stage, Stage::Live(_) | Stage::Elsewhere(_)),
            None => self.door.accepts == Accepts::Web,
        };
        asks && !self.is_closing()
    }

    /// Since when it waits for a request by HTTP, if it does.
    pub(crate) fn asks_since(&self) -> Option<Instant> {
        match self.web.as_deref() {
            Some(web) => Some(web.since).filter(|_| matches!(web.stage, Stage::Reading)),
            None => Some(self.start),
        }
        .filter(|_| self.asks_by_web())
    }

    /// True if the first bytes are those of HTTP. A prefix of a proxy begins with `P`, too.
    pub(super) fn begins_web(&mut self, input: &[u8]) -> bool {
        let Some((&first, rest)) = input.split_first() else {
            return false;
        };
        let is_letter = first.is_ascii_uppercase();
        if !self.door.accepts.web() {
            return false;
        }
        match &self.endpoint.state {
            State::Handshake(handshake) if handshake.is_new() => is_letter || self.door.accepts == Accepts::Web,
            State::ProxyHeader { preface, .. } => match (preface.held(), first) {
                (0, b'P') => rest.first().is_some_and(|second| *second != b'R'),
                (0, _) => is_letter,
                (1, second) => preface.begins_with(b'P') && second != b'R',
                _ => false,
            },
            _ => false,
        }
    }

    /// From now on the peer speaks HTTP.
    ///
    /// # Errors
    /// The beginning that was taken for the prefix of a proxy is none of HTTP.
    pub(super) fn begin_web(&mut self) -> Result<(), Error> {
        let held = if let State::ProxyHeader { preface, .. } = &self.endpoint.state { preface.held() } else { 0 };
        if !self.endpoint.state.change(Change::WebBegun) {
            return Ok(());
        }
        self.endpoint.speak_no_chunks();
        let forwarded = Forwarded::new(self.client_address, self.door.proxies.take());
        let settings = self.door.settings.clone().unwrap_or_default();
        let mut web = Box::new(Web::new(settings, forwarded, self.start));
        if held > 0 {
            web.reader.read(&mut &b"P"[..])?;
        }
        self.web = Some(web);
        Ok(())
    }

    /// Takes bytes of requests, or what a client sends while it gets a live stream.
    pub(super) fn read_web(&mut self, input: &mut &[u8]) -> Result<(), Error> {
        let now = self.endpoint.now;
        let Some(web) = &mut self.web else {
            return Ok(());
        };
        match &mut web.stage {
            Stage::Reading => {
                let had_begun = web.reader.has_begun();
                let request = web.reader.read(input)?;
                if web.reader.take_awaited() {
                    self.endpoint.outbound.push_answer(Bytes::from_static(CONTINUE));
                }
                if !had_begun && web.reader.has_begun() && web.count > 0 {
                    self.endpoint.timers.limit(Timer::Setup, TimeLimit::new(now, self.config.timeouts.connect));
                }
                if let Some(request) = request {
                    self.take_request(request);
                }
            }
            Stage::Live(live) if live.framing == Framing::Messages => {
                let frame = live.frames.read(input)?;
                let has_begun = matches!(live.beginning, Beginning::Begun(_));
                match frame {
                    Some(ClientFrame::Ping(pong)) if has_begun => self.endpoint.queue(Cause::Peer, pong),
                    Some(ClientFrame::Close(close)) => {
                        if has_begun {
                            self.endpoint.queue(Cause::Own, close);
                        }
                        web.stage = Stage::Over;
                        self.close(CloseReason::PeerClosed);
                    }
                    Some(ClientFrame::Ping(_)) | None => {}
                }
            }
            // The head of the answer says that it is the last one.
            Stage::Live(_) | Stage::Elsewhere(_) | Stage::Over => *input = &[],
            // While a request waits for its answer nothing is parsed.
            Stage::Asked { .. } => {
                debug_assert!(false, "it is parsed before it is answered");
                *input = &[];
            }
        }
        Ok(())
    }

    fn take_request(&mut self, request: Request) {
        let Some(web) = &mut self.web else {
            return;
        };
        web.count += 1;
        web.is_last |= !request.keeps_alive();
        self.client_address = web.forwarded.client_of(&request);
        match LivePath::of(&request) {
            Some(path) if !path.container.is_playlist() => self.take_live(&request, path),
            _ => {
                let (id, is_head) = (web.count, request.method() == "HEAD");
                // Nothing that the program has is for pages of others.
                let is_own = LivePath::is_private(request.path());
                let fields = if is_own { String::new() } else { web.fields(&request) };
                web.stage = Stage::Asked { is_head, fields };
                let time = web.settings.answer;
                self.endpoint.timers.limit(Timer::Setup, TimeLimit::new(self.endpoint.now, time));
                self.ask(Change::AnswerAsked, SessionEvent::Request(Box::new(WebRequest { id, request })));
            }
        }
    }

    fn take_live(&mut self, request: &Request, path: LivePath) {
        let Some(web) = &mut self.web else {
            return;
        };
        let mut fields = web.fields(request);
        let upgrade = request.upgrade();
        let refused = match (request.method(), &upgrade) {
            ("GET", Upgrade::None | Upgrade::WebSocket { .. }) | ("HEAD", _) => None,
            ("GET", Upgrade::OtherVersion) => {
                fields += "Upgrade: websocket\r\nConnection: Upgrade\r\n";
                Some(Answer::text(426, "only version 13 of WebSocket is spoken").with("Sec-WebSocket-Version", "13"))
            }
            ("GET", Upgrade::Malformed) => Some(Answer::text(400, "the key of the WebSocket is missing or malformed")),
            ("OPTIONS", _) => Some(Answer::preflight(METHODS)),
            _ => Some(Answer::text(405, "a live stream can only be got").with("Allow", METHODS)),
        };
        if let Some(answer) = refused {
            return self.queue_answer(&answer, &fields, false);
        }
        let (framing, handshake) = match upgrade {
            Upgrade::WebSocket { accept, protocol } => {
                let mut lines = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ".to_owned();
                lines += &accept;
                lines += "\r\n";
                if let Some(protocol) = protocol {
                    // Writing to a string does not fail.
                    _ = write!(lines, "Sec-WebSocket-Protocol: {protocol}\r\n");
                }
                (Framing::Messages, lines)
            }
            _ if request.is_http_1_1() => (Framing::Chunks, String::new()),
            _ => (Framing::UntilClose, String::new()),
        };
        let mut info = connect_info(request, &path.app, folder(request), web.forwarded.is_believed());
        info.is_page_denied = framing == Framing::Messages && !web.settings.admits(request);
        web.delivery = Delivery::of(path.container, framing);
        let live = Live {
            framing,
            is_head: request.method() == "HEAD",
            container: path.container,
            name: path.stream,
            fields,
            handshake,
            frames: FrameReader::default(),
            beginning: Beginning::Held { frames: Vec::new(), bytes: 0, tracks: Tracks::default() },
            mp4: (path.container == Container::Mp4).then(Box::default),
            is_over: false,
        };
        web.stage = Stage::Live(Box::new(live));
        web.is_last = true;
        self.endpoint.timers.limit(Timer::Setup, TimeLimit::new(self.endpoint.now, self.config.timeouts.connect));
        let request = super::ConnectRequest { transaction: 1.0, info: Box::new(info) };
        self.ask(Change::ConnectAsked, SessionEvent::Connect(request));
    }

    /// The `connect` of a live stream is granted: its `play` follows.
    pub(super) fn web_connected(&mut self) {
        if self.is_elsewhere() {
            return self.elsewhere_connected();
        }
        let Some(live) = self.web.as_mut().and_then(|web| web.live()) else {
            return;
        };
        let arguments = PlayArguments { name: live.name.clone(), start: -1.0, duration: -1.0, reset: false };
        if live.framing == Framing::Messages {
            let ping = self.config.timeouts.ping.min(LONGEST_PING);
            self.endpoint.timers.set(Timer::Ping, deadline_after(self.endpoint.now, ping));
        }
        self.endpoint.timers.clear(Timer::Setup);
        self.streams.create(1);
        self.ask(
            Change::StreamAsked,
            SessionEvent::Play(PlayRequest { message_stream_id: Frame::MESSAGE_STREAM_ID, arguments }),
        );
    }

    /// The `play` is granted: its first frame must come in time.
    pub(super) fn web_plays(&mut self) {
        if self.is_elsewhere() {
            return self.elsewhere_begins(Activity::Playing);
        }
        let Some(web) = &mut self.web else {
            return;
        };
        let wait = web.settings.wait;
        if let Some(live) = web.live() {
            self.streams.begin(Frame::MESSAGE_STREAM_ID, Activity::Playing, &live.name);
            self.activity_changed();
            self.endpoint.timers.limit(Timer::Setup, TimeLimit::new(self.endpoint.now, wait));
        }
    }

    /// The form in which frames of this chunk size are to be encoded for it; `None` if they are to be sent one by one.
    pub(crate) fn form(&self, chunk_size: u32) -> Option<Form> {
        match self.web.as_deref() {
            None => (self.chunk_size() == chunk_size).then_some(Form::Rtmp),
            Some(Web { stage: Stage::Live(live), .. }) => match live.beginning {
                Beginning::Begun(form) => Some(form).filter(|_| !live.is_over),
                Beginning::Held { .. } => None,
            },
            Some(_) => None,
        }
    }

    /// Bytes of memory that the queue of media keeps, with what is held back.
    pub(crate) fn media_held(&self) -> usize {
        let held = match self.web.as_deref() {
            Some(Web { stage: Stage::Live(live), .. }) => match &live.beginning {
                Beginning::Held { bytes, .. } => *bytes,
                Beginning::Begun(_) => 0,
            },
            _ => 0,
        };
        self.endpoint.outbound.held() + held
    }

    /// True while frames wait until it is clear what the stream has.
    pub(crate) fn holds_media_back(&self) -> bool {
        self.is_web() && self.media_held() > self.endpoint.outbound.held()
    }

    pub(super) fn send_web_frame(&mut self, frame: &Frame) {
        let now = self.endpoint.now;
        let Some(live) = self.web.as_mut().and_then(|web| web.live()) else {
            return;
        };
        let is_changed = live.mp4.as_mut().is_some_and(|mp4| mp4.note(frame));
        match &mut live.beginning {
            Beginning::Held { frames, bytes, tracks } => {
                if frames.is_empty() {
                    self.endpoint.timers.limit(Timer::Setup, TimeLimit::new(now, TRACK_WAIT));
                }
                tracks.note(frame);
                frames.push(frame.clone());
                *bytes += frame.wire().len();
                if tracks.are_known() && live.mp4.as_ref().is_none_or(|mp4| mp4.is_ready(*tracks, *bytes)) {
                    self.begin_live();
                }
            }
            Beginning::Begun(_) if live.is_over => {}
            Beginning::Begun(Form::Mp4(form)) => {
                let Some(mp4) = &mut live.mp4 else { return };
                let mut init = Vec::new();
                if is_changed {
                    // A file has one init segment; a script that reads a WebSocket can take another one.
                    let changed = mp4.changed(form).filter(|_| live.framing == Framing::Messages);
                    let (Some(changed), Ok((segment, _))) = (changed, mp4.init()) else {
                        live.is_over = true;
                        return;
                    };
                    (*form, init) = (changed, segment);
                }
                let outbound = &mut self.endpoint.outbound;
                mp4.send(form, &init, std::slice::from_ref(frame), |piece| outbound.push(piece));
            }
            Beginning::Begun(_) => {
                let neutral = frame.without_promise();
                let frame = neutral.as_ref().unwrap_or(frame);
                let outbound = &mut self.endpoint.outbound;
                let before = live.framing.before(frame.flv_length());
                frame.flv_tag(before.bytes(), live.framing.after(), |piece| outbound.push(piece));
            }
        }
    }

    /// True once the stream has changed to what the answer cannot go on with: the client is to ask again.
    pub(crate) fn is_live_over(&self) -> bool {
        matches!(self.web.as_deref(), Some(Web { stage: Stage::Live(live), .. }) if live.is_over)
    }

    /// Sends the head of the answer, the beginning of the file, and what was held back.
    fn begin_live(&mut self) {
        let date = self.date_line();
        let Some(live) = self.web.as_mut().and_then(|web| web.live()) else {
            return;
        };
        let flv = Beginning::Begun(Form::Flv(live.framing));
        let Beginning::Held { frames, tracks, .. } = std::mem::replace(&mut live.beginning, flv) else {
            return;
        };
        self.endpoint.timers.clear(Timer::Setup);
        let Ok(init) = live.mp4.as_ref().map(|mp4| mp4.init()).transpose() else {
            self.queue_last_answer(&Answer::text(406, "MP4 has no form for the codecs of this stream"));
            return self.close_with(CloseReason::Served, String::new());
        };
        let mut head = match live.framing {
            Framing::Messages => format!("HTTP/1.1 101 Switching Protocols\r\n{}", live.handshake),
            Framing::Chunks => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n".to_owned(),
            Framing::UntilClose => "HTTP/1.1 200 OK\r\nConnection: close\r\n".to_owned(),
        };
        if live.framing != Framing::Messages {
            let media_type = init.as_ref().map_or(live.container.media_type(), |(_, media_type)| media_type);
            _ = write!(head, "Content-Type: {media_type}\r\n{LIVE_FIELDS}");
        }
        head += &live.fields;
        head += &date;
        head += "\r\n";
        if live.is_head {
            self.endpoint.outbound.push_answer(head.into());
            if let Some(web) = &mut self.web {
                web.stage = Stage::Over;
            }
            return self.close_with(CloseReason::Served, String::new());
        }
        if let (Some(mp4), Some((init, _))) = (&mut live.mp4, init) {
            let first = frames.iter().find(|frame| frame.class().is_coded()).map_or(0, Frame::timestamp);
            let mut form = mp4.form(live.framing, first);
            let outbound = &mut self.endpoint.outbound;
            outbound.push(head.into());
            mp4.send(&mut form, &init, &frames, |piece| outbound.push(piece));
            live.beginning = Beginning::Begun(Form::Mp4(form));
            return;
        }
        let frames: Vec<Frame> = frames.into_iter().map(|frame| corrected(frame, tracks)).collect();
        let length = FILE_HEADER_LENGTH + frames.iter().map(Frame::flv_length).sum::<usize>();
        let mut out = head.into_bytes();
        out.extend_from_slice(live.framing.before(length).bytes());
        write_file_header(tracks.audio, tracks.video, &mut out);
        let outbound = &mut self.endpoint.outbound;
        outbound.push(out.into());
        frames.iter().for_each(|frame| frame.flv_tag(b"", b"", |piece| outbound.push(piece)));
        outbound.push(Bytes::from_static(live.framing.after()));
    }

    /// The time of [`Timer::Setup`] is over.
    pub(super) fn web_overdue(&mut self) {
        let Some(web) = &mut self.web else {
            return;
        };
        match &web.stage {
            Stage::Reading if web.reader.has_begun() => {
                self.queue_last_answer(&Answer::text(408, "the request was not complete in time"));
                self.close_with(CloseReason::Timeout(TimeoutKind::Connect), String::new());
            }
            Stage::Reading if web.count > 0 => self.close(CloseReason::Served),
            Stage::Asked { .. } => {
                let answer = Answer::text(504, "the program did not answer in time");
                self.answer_web(&answer);
            }
            Stage::Live(live) if matches!(&live.beginning, Beginning::Held { frames, .. } if !frames.is_empty()) => {
                self.begin_live();
            }
            Stage::Live(_) => self.close(CloseReason::Timeout(TimeoutKind::WaitForStream)),
            Stage::Elsewhere(client) => {
                let kind = client.timeout();
                self.close(CloseReason::Timeout(kind));
            }
            Stage::Reading | Stage::Over => self.close(CloseReason::Timeout(TimeoutKind::Connect)),
        }
    }

    /// Keeps the path of a WebSocket alive.
    pub(super) fn web_ping(&mut self) {
        let has_begun =
            |live: &mut Live| live.framing == Framing::Messages && matches!(live.beginning, Beginning::Begun(_));
        if self.web.as_mut().and_then(|web| web.live()).is_some_and(has_begun) {
            self.endpoint.queue(Cause::Own, websocket::ping_frame());
        }
        let ping = self.config.timeouts.ping.min(LONGEST_PING);
        self.endpoint.timers.set(Timer::Ping, deadline_after(self.endpoint.now, ping));
    }

    /// The answer of the program to the request of this number. One that comes too late has no effect.
    pub(crate) fn respond(&mut self, id: u64, answer: &Answer) {
        let is_open = |web: &Web| web.count == id && matches!(web.stage, Stage::Asked { .. });
        if !self.is_closing() && self.web.as_deref().is_some_and(is_open) {
            self.answer_web(answer);
        }
    }

    /// The number of the request that the program is to answer.
    pub(crate) fn open_request(&self) -> Option<u64> {
        self.web.as_deref().filter(|web| matches!(web.stage, Stage::Asked { .. })).map(|web| web.count)
    }

    /// The end is about to be settled: answers what is not answered, and ends a body, in good order if the stream is over.
    /// Returns true if it ended a body: the client need not close first.
    pub(super) fn end_web(&mut self, reason: &CloseReason) -> bool {
        let Some(web) = &mut self.web else {
            return false;
        };
        match reason {
            CloseReason::PeerClosed
            | CloseReason::PeerLost(_)
            | CloseReason::Tls(..)
            | CloseReason::WebRtc(_)
            | CloseReason::MemoryShort => return false,
            _ => {}
        }
        match &web.stage {
            Stage::Elsewhere(_) => {
                self.end_elsewhere(reason);
                false
            }
            Stage::Live(live) if matches!(live.beginning, Beginning::Begun(_)) => {
                let framing = live.framing;
                web.stage = Stage::Over;
                let end = match (framing, reason) {
                    (_, CloseReason::StreamOver) => framing.end(),
                    (Framing::Messages, CloseReason::Drained | CloseReason::Shutdown) => {
                        websocket::close_frame(websocket::GOING_AWAY)
                    }
                    (_, CloseReason::Drained | CloseReason::Shutdown) => framing.end(),
                    (Framing::Messages, _) => websocket::close_frame(websocket::SERVER_ERROR),
                    // The client sees that the body is cut off.
                    _ => Vec::new(),
                };
                self.endpoint.outbound.push(end.into());
                true
            }
            Stage::Live(_) | Stage::Asked { .. } => {
                let answer = match reason {
                    CloseReason::StreamOver | CloseReason::Timeout(TimeoutKind::WaitForStream) => {
                        Answer::text(404, "the stream is not published")
                    }
                    _ => Answer::text(503, "the server cannot answer at present").with("Retry-After", RETRY_AFTER),
                };
                self.queue_last_answer(&answer);
                false
            }
            Stage::Reading | Stage::Over => false,
        }
    }

    /// True once, when all is written and the peer is to close: what it gets has an end then.
    pub(crate) fn finishes(&mut self) -> bool {
        let is_over = self.endpoint.is_lingering() && self.endpoint.outbound.is_idle();
        match &mut self.web {
            Some(web) if is_over => !std::mem::replace(&mut web.is_finished, true),
            _ => false,
        }
    }

    /// What is due at [`Timer::Setup`].
    pub(super) fn web_due(&self) -> DueKind {
        match self.web.as_deref().map(|web| &web.stage) {
            Some(Stage::Live(_)) => DueKind::WaitForStream,
            Some(Stage::Asked { .. }) => DueKind::Verdict,
            _ => DueKind::Connect,
        }
    }

    /// The server drains: no further request is read. Returns true if the connection has none at the moment.
    pub(crate) fn drain_web(&mut self) -> bool {
        let Some(web) = &mut self.web else {
            return false;
        };
        web.drains = true;
        if let Stage::Elsewhere(client) = &web.stage {
            // A player asks again, and may do so at another server. A publisher has until the end of the drain.
            return client.plays();
        }
        matches!(web.stage, Stage::Reading) && web.count > 0 && !web.reader.has_begun()
    }

    /// The server drains no more.
    pub(crate) fn stop_draining_web(&mut self) {
        if let Some(web) = &mut self.web {
            web.drains = false;
        }
    }
}

/// The metadata without a promise that the stream does not keep.
fn corrected(frame: Frame, tracks: Tracks) -> Frame {
    if frame.kind() != FrameKind::Data || !frame.is_header() {
        return frame;
    }
    match tracks.corrected(&frame.payload()) {
        Some(body) => frame.with_body(&body),
        None => frame,
    }
}
