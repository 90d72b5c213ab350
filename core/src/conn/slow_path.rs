use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::allowance::Allowance;
use super::asking::Asking;
use super::capturing::returned;
use super::enter::Entered;
use super::grant::Pending;
use super::player::Playing;
use super::publisher::Publishing;
use super::vhost::{ConnectionPermit, VirtualHost};
use super::{Action, Closed, Core, LeftOut, Output, Remark, Report, Role, Subject};
use crate::amf::Value;
use crate::bandwidth::BandwidthCheck;
use crate::capture::{Call, Capturing};
use crate::cluster::SignedPull;
use crate::command::{Capabilities, ConnectInfo};
use crate::hub::{HeldBy, StreamId};
use crate::message::Message;
use crate::policy;
use crate::pool::{FREE, Portion};
use crate::relay::Seat;
use crate::session::{self, CloseReason, Due, DueKind, Phase, Rejection, Session, TimeoutKind};
use crate::source::Gap;
use crate::stats::ConnStats;
use crate::url::{self, StreamKey, TcUrl};

/// A connection with all that belongs to it: all that calls and polls work on.
#[derive(Debug)]
// The fields that a batch touches come first.
#[repr(C)]
pub(super) struct SlowPath {
    pub(super) stats: ConnStats,
    pub(super) id: u64,
    pub(super) session: Session,
    /// The client's address, as far as it is known.
    pub(super) peer: Option<SocketAddr>,
    pub(super) server: Core,
    pub(super) vhost: Arc<VirtualHost>,
    pub(super) client: Option<Box<Client>>,
    /// A request that waits for a verdict of the back end.
    pub(super) pending: Option<Box<Pending>>,
    /// The bandwidth check, if the connection was made for one.
    pub(super) check: Option<Box<BandwidthCheck>>,
    pub(super) publishing: Vec<Publishing>,
    pub(super) playing: Vec<Playing>,
    /// What the connection may send while it publishes.
    pub(super) allowance: Allowance,
    /// The other virtual hosts that it has entered.
    pub(super) entered: Vec<Entered>,
    /// The applications whose settings apply to the session, in the order of their ids; empty if only those of its
    /// virtual host apply.
    pub(super) goes_by: Vec<Arc<str>>,
    pub(super) actions: VecDeque<Action>,
    /// What the adapter gets as [`Action::Remark`] before all else. Nothing depends on them, so that captures do not have
    /// them.
    pub(super) remarks: Vec<Remark>,
    /// True if remarks of a publisher that has left come before the action that says that it has.
    pub(super) told_before: bool,
    /// An action or the end, while the remarks before it go out.
    pub(super) delayed: Option<Box<Output>>,
    /// What ended publishers and players of this connection add to the report.
    pub(super) past: Past,
    /// Bytes that a client without a socket has sent and got.
    pub(super) carried: Carried,
    pub(super) start: Instant,
    /// When a draining server closes the connection.
    pub(super) drained: Option<Instant>,
    /// Records what happens, or replays what was recorded.
    pub(super) capturing: Option<Box<Capturing>>,
    /// That it is counted as a connection by HTTP that plays nothing.
    pub(super) asking: Option<Asking>,
    /// Its share in the memory for unfinished messages.
    pub(super) unfinished: Portion,
    /// Its share in the memory for frames that only queues and shares hold, because their streams dropped them.
    pub(super) kept: Portion,
}

#[derive(Debug, Default)]
pub(super) struct Past {
    pub(super) role: Option<Role>,
    /// The code of the rule that refused a request.
    pub(super) refused: Option<&'static str>,
    pub(super) unsent: Gap,
    pub(super) left_out: LeftOut,
    pub(super) malformed: u64,
}

/// Bytes that go another way than through the connection.
#[derive(Debug, Default)]
pub(super) struct Carried {
    received: u64,
    sent: u64,
}

/// The content of `connect`, and its result.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) urls: url::Connect,
    pub(super) tc_url: Option<String>,
    pub(super) page_url: Option<String>,
    pub(super) swf_url: Option<String>,
    pub(super) agent: Option<String>,
    pub(super) arguments: Vec<Value>,
    /// If it is a relay of another server: the servers that its stream has come by.
    pub(super) relayed: Option<Box<str>>,
    /// True if the back end was asked and has not refused: it gets a notice of the end.
    pub(super) asked: bool,
    /// Counts it as a connection of its virtual host, once `connect` is granted.
    pub(super) permit: Option<ConnectionPermit>,
    /// The number of the pass that permits it, or that the signature of a pull does: it does not count as a connection of
    /// its virtual host.
    pub(super) by_pass: Option<u64>,
    /// The passes that it uses.
    pub(super) passes: Vec<policy::Use>,
    /// What it pulls, if it is a server of the same cluster.
    pub(super) pull: Option<Pulling>,
}

/// What a server of the same cluster pulls.
#[derive(Debug)]
pub(super) struct Pulling {
    pub(super) signed: SignedPull,
    /// Its place among those that pull the stream; a replay has none.
    pub(super) seat: Option<Seat>,
}

impl Pulling {
    pub(super) fn new((signed, seat): (SignedPull, Seat)) -> Self {
        Pulling { signed, seat: Some(seat) }
    }

    pub(super) fn replayed(signed: SignedPull) -> Self {
        Pulling { signed, seat: None }
    }
}

impl Client {
    pub(super) fn new(urls: url::Connect, info: &ConnectInfo, by_pass: Option<u64>, pull: Option<Pulling>) -> Self {
        Client {
            urls,
            tc_url: info.tc_url.as_deref().map(policy::url_without_pass),
            page_url: info.page_url.clone(),
            swf_url: info.swf_url.clone(),
            agent: info.flash_ver.clone(),
            arguments: info.arguments.clone(),
            relayed: info.relayed.as_deref().map(Box::from),
            asked: false,
            permit: None,
            by_pass,
            pull,
            passes: Vec::new(),
        }
    }

    /// True for edges of SRS, which say what they are in an argument of `connect`, and which go where a refused `play` sends
    /// them. Other players end with an error there.
    pub(super) fn follows_redirects(&self) -> bool {
        let is_srs = |value: &Value| value.as_object().is_some_and(|object| object.get("srs_server").is_some());
        self.arguments.iter().any(is_srs)
    }
}

impl SlowPath {
    pub(super) fn new(
        id: u64,
        server: Core,
        vhost: Arc<VirtualHost>,
        session: Session,
        peer: Option<SocketAddr>,
        start: Instant,
    ) -> Self {
        let [unfinished, kept] = server.portions();
        SlowPath {
            id,
            session,
            peer,
            server,
            vhost,
            client: None,
            pending: None,
            check: None,
            publishing: Vec::new(),
            playing: Vec::new(),
            allowance: Allowance::default(),
            entered: Vec::new(),

            goes_by: Vec::new(),
            actions: VecDeque::new(),
            remarks: Vec::new(),
            told_before: false,
            delayed: None,
            past: Past::default(),
            carried: Carried::default(),
            start,
            stats: ConnStats::new(start),
            drained: None,
            unfinished,
            kept,
            capturing: None,
            asking: None,
        }
    }

    pub(super) fn handle_input(&mut self, now: Instant, bytes: &[u8]) {
        self.note(now, Call::Input(bytes));
        self.read_input(now, bytes);
        if let (Some(capturing), Some(address)) = (&mut self.capturing, self.session.client_address()) {
            capturing.client_address(address);
        }
        self.count_asking();
        self.stats.received(now, bytes.len());
        let publishes = !self.publishing.is_empty();
        if !self.unfinished.hold(self.session.unfinished_bytes(), publishes) {
            self.close_for_memory();
        }
    }

    /// A publisher without a socket has sent this.
    pub(super) fn publish_media(&mut self, now: Instant, message: Message) {
        let bytes = message.payload.len();
        self.carried.received += bytes as u64;
        self.stats.received(now, bytes);
        self.session.publish_media(now, message);
    }

    /// A player without a socket was sent so much.
    pub(super) fn note_sent(&mut self, now: Instant, frames: u32, bytes: usize) {
        self.carried.sent += bytes as u64;
        self.stats.sent(now, bytes);
        self.stats.queued_frames(now, frames);
    }

    /// Bytes that the client has sent.
    pub(super) fn received(&self) -> u64 {
        self.session.received() + self.carried.received
    }

    /// Bytes that the client was sent.
    pub(super) fn sent(&self) -> u64 {
        self.session.waiting().written() + self.carried.sent
    }

    /// The program answers a request by HTTP.
    pub(super) fn respond(&mut self, now: Instant, id: u64, answer: &crate::http::Answer) {
        let open = self.session.open_request() == Some(id);
        self.note(now, Call::Respond { open, answer });
        self.session.tell_time(now);
        self.session.respond(id, answer);
        self.count_asking();
    }

    fn close_for_memory(&mut self) {
        if !self.session.is_closing() {
            self.close(CloseReason::MemoryShort);
        }
    }

    /// See [`Conn::has_large_queue`](super::Conn::has_large_queue).
    pub(super) fn has_large_queue(&self) -> bool {
        self.session.waiting().held() > FREE
    }

    /// A queue that is not written, and a share that is out, keep their frames after the stream has dropped them. The
    /// last frame may be large.
    fn hold_kept(&mut self) {
        // Small queues do not ask their streams: that takes the lock that frames wait for.
        let large = self.has_large_queue();
        if large || self.kept.is_any() {
            let only_holder = large && self.playing.iter().any(Playing::outlives_last);
            let held = if only_holder { self.session.waiting().held() } else { 0 };
            if !self.kept.hold(held, false) {
                self.close_for_memory();
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.note(now, Call::Timeout);
        self.session.handle_timeout(now);
        self.check_deadlines(now);
    }

    pub(super) fn handle_disconnect(&mut self, now: Instant, reason: CloseReason) {
        self.note(now, Call::Disconnect(&reason));
        self.session.handle_disconnect(now, reason);
    }

    pub(super) fn close(&mut self, reason: CloseReason) {
        self.note(self.session.now(), Call::Close(&reason));
        self.session.close(reason);
        self.count_asking();
    }

    /// Another server has the name of what it publishes. The stream ends at once, so that players here get it from there;
    /// and the connection, if it has nothing else.
    pub(super) fn lose_name(&mut self, key: &StreamKey) {
        self.note(self.session.now(), Call::LoseName(key));
        if self.session.is_closing() {
            return;
        }
        let rejection = Rejection::bad_publish_name("Another server publishes the stream now.");
        let mut is_lost = false;
        while let Some(publishing) = self.publishing.iter().find(|publishing| publishing.key() == key) {
            let message_stream_id = publishing.message_stream_id();
            self.session.stop_publisher(message_stream_id, &rejection);
            self.stop_publishing(self.session.now(), message_stream_id);
            is_lost = true;
        }
        if is_lost && self.publishing.is_empty() && self.playing.is_empty() && self.pending.is_none() {
            self.session.close_with_words(CloseReason::LeaseLost);
        }
    }

    pub(super) fn shutdown(&mut self) {
        self.note(self.session.now(), Call::Shutdown);
        self.shut_down(CloseReason::Shutdown);
    }

    fn shut_down(&mut self, reason: CloseReason) {
        if self.session.is_closing() {
            return;
        }
        for playing in &mut self.playing {
            playing.tell_unpublished(&mut self.session);
        }
        // The publisher that stands by is shut down, too.
        for publishing in &self.publishing {
            publishing.application().hub.hold_back(publishing.key());
        }
        if self.playing.is_empty() {
            self.session.close(reason);
        } else {
            self.session.close_with_words(reason);
        }
    }

    pub(super) fn poll(&mut self, now: Instant) -> Output {
        if let Some(remark) = self.next_remark() {
            return Output::Action(Action::Remark(remark));
        }
        if let Some(output) = self.delayed.take() {
            return *output;
        }
        self.hold_kept();
        self.end_capture_if_over();
        self.note(now, Call::Poll);
        let output = self.next_output(now);
        if let Some(capturing) = &mut self.capturing {
            capturing.pushed(now, self.session.outbound());
            capturing.returned(now, || returned(self.session.outbound(), &output));
        }
        let is_first = std::mem::take(&mut self.told_before) && !self.remarks.is_empty();
        if matches!(output, Output::Action(_)) && !is_first {
            return output;
        }
        let Some(remark) = self.next_remark() else {
            return output;
        };
        // The next poll works out again what to wait for. Actions and the end come once.
        if !matches!(output, Output::Wait(_)) {
            self.delayed = Some(Box::new(output));
        }
        Output::Action(Action::Remark(remark))
    }

    /// A replay reports nothing: it does not have what other connections do.
    fn next_remark(&mut self) -> Option<Remark> {
        let is_replay = matches!(self.capturing.as_deref(), Some(Capturing::Replay(_)));
        if is_replay {
            self.remarks = Vec::new();
        }
        if self.remarks.is_empty() {
            // Among the actions, since it follows that of the attachment. Captures do not have it.
            while let Some(Action::Remark(Remark::Waits(key))) = self.actions.front() {
                let remark = Remark::Waits(key.clone());
                self.actions.pop_front();
                if !is_replay {
                    return Some(remark);
                }
            }
            return None;
        }
        let first = self.remarks.remove(0);
        if self.remarks.is_empty() {
            self.remarks = Vec::new();
        }
        Some(first)
    }

    fn next_output(&mut self, now: Instant) -> Output {
        // A player may send nothing for a long time: the write timer of what it gets now starts now.
        self.session.tell_time(now);
        self.stats.sent_in_all(now, self.session.outbound().written());
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Output::Action(action);
            }
            match self.session.poll_output() {
                session::SessionOutput::Event(event) => self.react(now, event),
                session::SessionOutput::Wait(mut wait) => {
                    let (closing, holding) = (self.session.is_closing(), self.session.holds_media_back());
                    // A session that closes plays no more, and sends nothing after its final messages.
                    let playing = if wait.source { self.pull(now) } else { None };
                    self.wake_players(now);
                    let check = self.measure(now);
                    // Media was queued just now: poll once more, so that the session sets the timer of the write.
                    let unwatched = !wait.write && self.session.outbound().is_writable();
                    // A rule closed the session just now: poll once more, for what the session waits for now.
                    let closed = self.session.is_closing() != closing;
                    if !closed && self.session.finishes() {
                        return Output::Action(Action::Finish);
                    }
                    // The beginning of an answer is held back from now on, up to a time that the session knows.
                    let held = self.session.holds_media_back() != holding;
                    if unwatched || closed || held || !self.actions.is_empty() {
                        continue;
                    }
                    wait.write = self.session.outbound().is_writable();
                    let publishing = self.publishing.iter().filter_map(Publishing::due);
                    let due = |at: Option<Instant>, what| at.map(|at| Due::new(at, what));
                    let verdict = due(self.pending.as_ref().map(|pending| pending.next_check()), DueKind::Verdict);
                    let check_due = due(check, DueKind::BandwidthCheck);
                    let drained = due(self.drained, DueKind::Drain);
                    let all = [wait.due, playing, verdict, check_due, drained];
                    wait.due = Due::first(all.into_iter().flatten().chain(publishing));
                    wait.read = wait.read.filter(|_| self.check.as_ref().is_none_or(|check| check.wants_input()));
                    if let Some(read) = &mut wait.read {
                        read.from = self.next_read(now);
                    }
                    if self.publishing.is_empty() {
                        self.actions = VecDeque::new();
                    }
                    return Output::Wait(wait);
                }
                session::SessionOutput::Closed(close) => {
                    self.end(now, &close);
                    if self.actions.is_empty() {
                        return Output::Closed(self.report(now, close));
                    }
                }
            }
        }
    }

    /// Releases all it holds, and sends nothing. Returns the streams it published.
    pub(super) fn abandon(&mut self) -> Vec<StreamId> {
        let streams = self.publishing.iter().map(Publishing::stream).collect();
        self.publishing.clear();
        self.playing.clear();
        self.actions.clear();
        self.entered.clear();
        (self.pending, self.client) = (None, None);
        streams
    }

    /// The client's address: the one that a trusted proxy gave, otherwise that of the TCP connection.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.session.client_address().or(self.peer)
    }

    pub(super) fn request_reconnect(&mut self, tc_url: Option<&str>, description: &str) -> bool {
        self.note(self.session.now(), Call::Reconnect { tc_url, description });
        self.session.request_reconnect(tc_url, description)
    }

    pub(super) fn drain(&mut self, deadline: Instant, tc_url: Option<&str>) {
        self.note(self.session.now(), Call::Drain { deadline, tc_url });
        self.withdraw_claim();
        self.drained = Some(deadline);
        let pull = self.client.as_ref().and_then(|client| client.pull.as_ref());
        // Another server of the cluster goes on until the stream does, which moves with its publisher. If the stream is not
        // published here, it is asked to get it from elsewhere.
        if pull.is_some_and(|pull| pull.signed.hop > 1) {
            self.session.request_reconnect(None, "The server goes; get the stream from its owner.");
        } else if pull.is_none() {
            let tc_url = tc_url.map(|url| self.reconnect_url(url));
            self.session.request_reconnect(tc_url.as_deref(), "The server takes no new clients; connect again.");
            if !self.leaves_late() {
                self.playing.iter_mut().for_each(Playing::finish);
            }
        }
        if self.session.drain_web() {
            self.session.close(CloseReason::Drained);
        }
    }

    /// True if it is another server that pulls, for players that know nothing of the drain. It leaves as soon as another
    /// origin gives it the stream; if there is none, its players have the stream until the drain is over. That an edge is
    /// one is only what it says: a client that says so gains nothing but that time, which publishers have, too.
    pub(super) fn leaves_late(&self) -> bool {
        self.is_signed() || self.relayed().is_some()
    }

    pub(super) fn can_reconnect(&self) -> bool {
        let understands = |capabilities: &Capabilities| capabilities.has(Capabilities::RECONNECT);
        self.session.capabilities().is_some_and(understands) && !self.session.is_closing() && !self.is_signed()
    }

    /// Where the client finds its application if it is sent to `url`, which may be only a server.
    fn reconnect_url<'a>(&self, url: &'a str) -> Cow<'a, str> {
        // Relative references, such as `//HOST/APP`, are left to the client.
        let is_server = TcUrl::parse(url).is_ok_and(|url| url.app().is_empty());
        match &self.client {
            Some(client) if is_server => client.urls.at_server(url, &self.vhost.name).into(),
            _ => url.into(),
        }
    }

    /// True if it is another server of the cluster that pulls a stream.
    pub(super) fn is_signed(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.pull.is_some())
    }

    pub(super) fn stop_draining(&mut self) {
        self.note(self.session.now(), Call::StopDraining);
        self.playing.iter_mut().for_each(Playing::go_on);
        self.session.stop_draining_web();
        self.drained = None;
    }

    /// The streams it publishes and plays at present.
    pub(super) fn streams(&self) -> impl Iterator<Item = (Role, &StreamKey)> {
        let publishes = self.publishing.iter().map(|publishing| (Role::Publisher, publishing.key()));
        publishes.chain(self.playing.iter().map(|playing| (Role::Player, playing.key())))
    }

    /// Acts on what is due outside the session: verdicts that did not come, publishers without players.
    fn check_deadlines(&mut self, now: Instant) {
        self.check_verdict(now);
        if self.drained.take_if(|deadline| *deadline <= now).is_some() {
            self.shut_down(CloseReason::Drained);
        }
        let idle = self.publishing.iter_mut().any(|publishing| publishing.is_idle(now));
        if self.ruled_idle(now, idle) {
            self.session.close(CloseReason::Idle);
        }
    }

    /// Wakes the players of streams whose frames have waited long enough.
    fn wake_players(&mut self, now: Instant) {
        let mut all = std::mem::take(&mut self.publishing);
        for publishing in &mut all {
            if publishing.take_wake(now, self.capturing.is_some()) {
                self.actions.push_back(Action::Wake(publishing.stream()));
            }
            self.remark_events(publishing);
        }
        self.publishing = all;
    }

    /// Tells what has become of a publisher that stands by or stood by. Returns true if that is anything.
    fn remark_events(&mut self, publishing: &mut Publishing) -> bool {
        let events = publishing.take_events();
        let any = !events.is_empty();
        self.remarks.extend(events.into_iter().map(|event| Remark::of_standby(publishing.key(), event)));
        any
    }

    /// Serves every stream that it plays. Returns when to check one of them next.
    fn pull(&mut self, now: Instant) -> Option<Due> {
        let (session, stats) = (&mut self.session, &mut self.stats);
        let queued = session.outbound().len();
        let (mut capturing, remarks) = (self.capturing.as_deref_mut(), &mut self.remarks);
        let pull = |playing: &mut Playing| playing.pull(now, session, stats, capturing.as_deref_mut(), remarks);
        let due = Due::first(self.playing.iter_mut().filter_map(pull));
        // If one connection plays several streams, each gets its turn to be the first. A turn ends when media was
        // queued: while the queue is full, the order stays.
        if self.playing.len() > 1 && self.session.outbound().len() > queued {
            self.playing.rotate_left(1);
        }
        while let Some(complete) = self.playing.iter().find(|playing| playing.is_complete()) {
            let message_stream_id = complete.message_stream_id();
            self.session.complete_play(message_stream_id);
            self.stop_playing(message_stream_id);
        }
        while let Some(waiting) = self.playing.iter().find(|playing| playing.is_in_vain()) {
            let message_stream_id = waiting.message_stream_id();
            let words = format!("{} is not published.", waiting.key().stream());
            self.session.stop_player(message_stream_id, &Rejection::bad_play_name(words));
            self.stop_playing(message_stream_id);
            if self.publishing.is_empty() && self.playing.is_empty() && self.pending.is_none() {
                self.session.close_with_words(CloseReason::Timeout(TimeoutKind::WaitForStream));
            }
        }
        // The answer to a request by HTTP has an end; the client asks again if it wants more.
        if self.session.is_web()
            && let Some(over) = self.playing.iter().find(|playing| playing.is_told() || self.session.is_live_over())
        {
            let message_stream_id = over.message_stream_id();
            self.stop_playing(message_stream_id);
            self.session.close(CloseReason::StreamOver);
        }
        if !self.playing.is_empty() && self.playing.iter().all(Playing::is_finished) {
            self.shut_down(CloseReason::Drained);
        }
        if self.playing.iter().any(Playing::is_too_slow) {
            self.session.close(CloseReason::TooSlow);
        }
        due
    }

    pub(super) fn stop_publishing(&mut self, now: Instant, message_stream_id: u32) {
        if let Some(index) =
            self.publishing.iter().position(|publishing| publishing.message_stream_id() == message_stream_id)
        {
            let mut publishing = self.publishing.swap_remove(index);
            // That it went on air comes before that it has left.
            self.told_before |= self.remark_events(&mut publishing);
            let stream = publishing.stream();
            self.past.role = Some(Role::Publisher);
            self.past.malformed += publishing.malformed();
            let (told, goes_on) = publishing.end(now);
            self.allowance.end(now, &self.publishing);
            // The next one tells that it is on air, and may be silent.
            if let Some(HeldBy::Client { connection, .. }) = goes_on.to_tell {
                self.server.relays().poll_connection(connection);
            }
            self.actions.push_back(Action::Detach { role: Role::Publisher, stream, goes_on: goes_on.is_published });
            self.actions.push_back(Action::Wake(stream));
            self.notify(None, told.map(Subject::Publish), None);
        }
    }

    pub(super) fn stop_playing(&mut self, message_stream_id: u32) {
        if let Some(index) = self.playing.iter().position(|playing| playing.message_stream_id() == message_stream_id) {
            let mut playing = self.playing.swap_remove(index);
            self.past.role.get_or_insert(Role::Player);
            self.past.unsent.add(playing.unsent());
            self.past.left_out.add(playing.left_out());
            let told = playing.take_asked();
            self.detach_player(playing.stream());
            self.notify(None, told.map(Subject::Play), None);
        }
    }

    /// Tells the adapter, unless another message stream of this connection plays the same stream.
    fn detach_player(&mut self, stream: StreamId) {
        if !self.plays(stream) {
            self.actions.push_back(Action::Unsubscribe(stream));
            self.actions.push_back(Action::Detach { role: Role::Player, stream, goes_on: false });
        }
    }

    pub(super) fn plays(&self, stream: StreamId) -> bool {
        self.playing.iter().any(|playing| playing.stream() == stream)
    }

    /// Releases all that the connection holds, and sends notices to the back ends that were asked about it.
    fn end(&mut self, now: Instant, close: &session::Close) {
        self.drop_pending();
        while let Some(publishing) = self.publishing.first() {
            self.stop_publishing(now, publishing.message_stream_id());
        }
        while let Some(playing) = self.playing.first() {
            self.stop_playing(playing.message_stream_id());
        }
        let closed = Closed {
            reason: close.reason.clone(),
            received: self.received(),
            sent: self.sent(),
            duration: now.saturating_duration_since(self.start),
            refused: self.past.refused,
        };
        self.leave_hosts(&closed);
        if self.client.as_mut().is_some_and(|client| std::mem::take(&mut client.asked)) {
            self.notify(None, Some(Subject::Connect), Some(closed));
        }
        self.client = None;
    }

    fn report(&mut self, now: Instant, close: session::Close) -> Report {
        let vhost = match close.phase {
            Phase::Handshake | Phase::Connect => String::new(),
            Phase::Connected | Phase::Publishing | Phase::Playing => self.vhost.name.clone(),
        };
        Report {
            close,
            peer: self.peer(),
            received: self.received(),
            sent: self.sent(),
            duration: now.saturating_duration_since(self.start),
            role: self.past.role,
            vhost,
            refused: self.past.refused,
            missed: self.stats.missed(),
            unsent: self.past.unsent,
            given_up: self.session.given_up(),
            left_out: self.past.left_out,
            malformed: self.past.malformed,
            ignored: self.session.counters(),
        }
    }
}
