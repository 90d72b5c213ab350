//! Serves streams in segments: HTTP Live Streaming and MPEG-DASH over all streams of a server.
//!
//! A [`Packager`] has a [`Segmenter`] for each stream that is viewed so, which follows the stream's log like a player. It
//! takes requests, and returns [`Effect`]s: answers, and what else is to be done. It has no clock and no connections.
//!
//! - [`Target::of`] says whether a request is for it, [`Packager::request`] takes it. The caller's ticket comes back with
//!   the answer, at once or later: a request may wait for a part, for a first segment, or for a publisher.
//! - A playlist is for viewers. [`Effect::View`] asks for a [viewer](crate::conn::Core::view), and
//!   [`granted`](Packager::granted) or [`refused`](Packager::refused) says what became of it. The session that begins then
//!   serves later requests without a question, until it is silent for three target durations. If a back end was asked, or
//!   the address has parameters, the answer leads to an address with the number of the session; otherwise requests from one
//!   address, program and page are one session, and playlists have one address for all, so that caches can keep them.
//! - Segments have names that cannot be guessed, and need no session.
//! - [`wake`](Packager::wake) says that a stream has something new, [`turn`](Packager::turn) takes it, and looks at times.

mod answers;
mod channel;
mod clock;
mod ids;
mod qualities;
mod sessions;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::hls::{self, Complete, Mode, NameKey, PlaylistRequest, Segmenter, SegmenterStats, Shortage};
use crate::http::{self, Answer, Container, LivePath, Request, SegmentPath, encoded};
use crate::hub::{Hub, StreamId};
use crate::policy::{Limits, Questions};
use crate::url::StreamKey;
use answers::Reply;
use channel::{Channel, Waiting, Wanted};
use clock::Clock;
use ids::{Ids, SessionId};
use qualities::{ChannelKey, Qualities};
use sessions::{Origin, Query, Sessions, Stage};

/// Requests that may wait at the same time, half of them of one address. More are answered with 503.
pub const MOST_WAITING: u32 = 32_768;
/// Sessions that one address may have, so that it does not take all places of players.
pub const MOST_OF_ADDRESS: usize = 4096;
/// How often times are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long a segmenter goes on that nothing asks for.
const IDLE: Duration = Duration::from_secs(30);
/// When a session is over, in target durations without a request.
const SILENCE: u32 = 3;
/// The target duration before it is settled.
const LONGEST_TARGET: u32 = 10;

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// For limits of time.
    pub now: Instant,
    /// Milliseconds since 1970.
    pub wall: u64,
}

/// What tells requests from each other.
pub trait Ticket {
    /// True if the client has gone, so that no answer reaches it.
    fn is_gone(&self) -> bool;
}

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The playlist or manifest of a stream.
    Playlist(LivePath),
    /// A segment, a part of one, or an init segment.
    Segment(SegmentPath),
}

impl Target {
    /// What a request is for, if it is for segments or lists of them.
    pub fn of(request: &Request) -> Option<Self> {
        let playlist = LivePath::of(request).filter(|path| path.container.is_playlist());
        playlist.map(Target::Playlist).or_else(|| SegmentPath::of(request).map(Target::Segment))
    }
}

/// What is to be done.
#[derive(Debug)]
pub enum Effect<T> {
    /// Answer the request of this ticket.
    Answer(T, Answer),
    /// Make a viewer, and say what became of it.
    View(Box<View>),
    /// The viewer of this session leaves.
    Leave(u64),
    /// A stream is followed from now on: [`wake`](Packager::wake) is to be called for it, and once at once.
    Follow(StreamId),
    /// It is followed no more.
    Unfollow(StreamId),
    /// A segment is complete. Only if [they are told](Packager::tell_segments).
    Complete(StreamKey, Box<Complete>),
    /// The segments of a stream have too little room. Told once for each publication.
    Short(StreamKey, Shortage),
}

/// A client that asks for a stream in segments.
#[derive(Debug, Clone)]
pub struct View {
    /// The number of its session.
    pub session: u64,
    /// Its address, as far as it is known.
    pub client: Option<SocketAddr>,
    /// What it asks for, without the parameters that are for the packager.
    pub request: Request,
    /// The stream.
    pub path: LivePath,
}

/// Numbers for metrics. Those of the first group go up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PackagerStats {
    /// Streams that are segmented.
    pub segmenters: usize,
    /// Sessions of viewers.
    pub sessions: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Bytes that all segments take.
    pub bytes: usize,
    /// Segments, forced cuts, short parts, gaps, frames left out and segments dropped of all segmenters so far.
    pub segmented: SegmenterStats,
    /// Sessions that have begun.
    pub viewed: u64,
    /// Requests so far.
    pub requests: u64,
    /// Requests that were refused because too many wait.
    pub too_many: u64,
}

/// The segments of all streams of a server. `T` is what tells requests from each other.
#[derive(Debug)]
pub struct Packager<T> {
    hub: Hub,
    clock: Clock,
    key: NameKey,
    ids: Ids,
    /// For what requests of one session have in common.
    origin_key: [u8; 32],
    most_of_address: usize,
    channels: HashMap<ChannelKey, Channel<T>>,
    /// The channels by the streams that they follow.
    fed: HashMap<StreamId, Vec<ChannelKey>>,
    /// The channels by application and stream: virtual hosts may have the same.
    places: BTreeMap<(String, String), Vec<ChannelKey>>,
    /// The qualities of streams that have several.
    qualities: HashMap<StreamKey, Qualities>,
    sessions: Sessions<T>,
    /// Streams that have something new.
    news: BTreeSet<StreamId>,
    effects: VecDeque<Effect<T>>,
    next_look: Option<Instant>,
    tells_segments: bool,
    /// Bytes that all segments may take.
    most_bytes: usize,
    /// Requests that wait, by address.
    waiting: Questions,
    most_waiting: Limits,
    /// What segmenters that are gone have counted.
    past: SegmenterStats,
    requests: u64,
    too_many: u64,
}

impl<T: Ticket> Packager<T> {
    /// A packager for the streams of `hub`. All names and ids come from `seed`.
    pub fn new(hub: Hub, seed: [u8; 32]) -> Self {
        Packager {
            hub,
            clock: Clock::default(),
            key: NameKey::new(ids::derived(&seed, b"names of segments")),
            ids: Ids::new(ids::derived(&seed, b"sessions of viewers")),
            origin_key: ids::derived(&seed, b"origins of requests"),
            most_of_address: MOST_OF_ADDRESS,
            channels: HashMap::new(),
            fed: HashMap::new(),
            places: BTreeMap::new(),
            qualities: HashMap::new(),
            sessions: Sessions::default(),
            news: BTreeSet::new(),
            effects: VecDeque::new(),
            next_look: None,
            tells_segments: false,
            most_bytes: usize::MAX,
            waiting: Questions::default(),
            most_waiting: Limits { questions: Some(MOST_WAITING), ..Limits::default() },
            past: SegmenterStats::default(),
            requests: 0,
            too_many: 0,
        }
    }

    /// All segments together may take about so many bytes: streams that take most give up their oldest segments.
    pub fn limit_memory(&mut self, bytes: usize) {
        self.most_bytes = bytes;
    }

    /// From now on complete segments are told as [`Effect::Complete`].
    pub fn tell_segments(&mut self) {
        self.tells_segments = true;
    }

    /// What is to be done, one at a time.
    pub fn poll(&mut self) -> Option<Effect<T>> {
        self.effects.pop_front()
    }

    /// True if [`poll`](Self::poll) returns something.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// When [`turn`](Self::turn) is due, whatever happens; `None` while there is nothing.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_look
    }

    /// A client asks for something. `client` is its address.
    pub fn request(
        &mut self,
        time: Time,
        target: Target,
        request: &Request,
        client: Option<SocketAddr>,
        settings: &http::Settings,
        ticket: T,
    ) {
        self.requests += 1;
        let time = self.clock.read(time);
        self.look_again(time.now);
        let reply = Reply::new(ticket, request, settings);
        // The answer comes before the connection itself gives one.
        let longest = settings.answer.saturating_sub(LOOK * 4);
        let wait = settings.wait.min(longest);
        match request.method() {
            "GET" | "HEAD" => {}
            "OPTIONS" => return self.effects.push_back(reply.options()),
            _ => return self.effects.push_back(reply.not_allowed()),
        }
        match target {
            Target::Segment(path) => self.segment(time, &path, client, (wait, longest), reply),
            Target::Playlist(path) => self.playlist(time, path, request, client, (wait, longest), reply),
        }
    }

    fn segment(
        &mut self,
        time: Time,
        path: &SegmentPath,
        client: Option<SocketAddr>,
        wait: (Duration, Duration),
        reply: Reply<T>,
    ) {
        let address = client.map(|client| client.ip());
        let keys = self.places.get(&(path.app.clone(), path.stream.clone()));
        for key in keys.into_iter().flatten() {
            let Some(channel) = self.channels.get_mut(key) else { continue };
            match channel.segmenter.find(&path.name) {
                hls::Found::Missing => {}
                hls::Found::Media(media) => {
                    channel.last_request = time.now;
                    let answer = answers::segment(media, channel.max_age());
                    return self.effects.push_back(reply.give(answer));
                }
                hls::Found::ForViewers(media) => {
                    let answer = if self.sessions.has_viewer(&key.stream, address) {
                        answers::segment_for_viewer(media, channel.max_age())
                    } else {
                        answers::for_viewers()
                    };
                    return self.effects.push_back(reply.give(answer));
                }
                found @ (hls::Found::Later | hls::Found::Next) => {
                    let name = path.name.clone();
                    let wanted = if found == hls::Found::Next { Wanted::Next(name) } else { Wanted::Part(name) };
                    let key = key.clone();
                    return self.serve(time, &key, Waiting::new(time.now, wanted, address, wait, reply));
                }
            }
        }
        self.effects.push_back(reply.give(answers::gone("there is no such segment, or it is too old")));
    }

    fn playlist(
        &mut self,
        time: Time,
        path: LivePath,
        request: &Request,
        client: Option<SocketAddr>,
        wait: (Duration, Duration),
        reply: Reply<T>,
    ) {
        let directives = match PlaylistRequest::parse(request.query().unwrap_or_default()) {
            Ok(directives) => directives,
            Err(error) => return self.effects.push_back(reply.give(Answer::text(400, &error.to_string()))),
        };
        let Query { own, session: id, quality } = Query::of(request.query());
        let is_name =
            |name: &String| (1..=4).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        // No quality has that name.
        let quality = quality.map(|name| Some(name).filter(is_name).unwrap_or_else(|| "none".to_owned()));
        let id = id.and_then(|text| SessionId::parse(&text));
        let address = client.map(|client| client.ip());
        let by_id = id.and_then(|id| self.sessions.by_id(id, &path, address));
        if by_id.is_none() && id.is_some_and(|id| self.sessions.was_removed(id)) {
            return self.effects.push_back(reply.give(answers::ended_by_server()));
        }
        let request = request.with_query((!own.is_empty()).then_some(&own));
        let wanted = match path.container {
            Container::Dash => Wanted::Manifest,
            _ => Wanted::Playlist(directives),
        };
        let origin = Origin::of(&request, client, &path, &self.origin_key);
        let file = request.path().rsplit('/').next().unwrap_or_default().to_owned();
        let waiting = Waiting::new(time.now, wanted, address, wait, reply).of_file(file, own, quality);
        if by_id.is_none()
            && let Some((number, id)) = self.sessions.repeated(&origin, path.container)
        {
            // FFmpeg asks for a manifest at its first address each time.
            self.sessions.touch(number, time.now);
            return self.effects.push_back(waiting.reply.give(answers::to_session(
                &waiting.file,
                &waiting.own,
                id,
                None,
            )));
        }
        let known = by_id.or_else(|| self.sessions.by_origin(&origin));
        match known {
            Some(number) => self.serve_session(time, number, waiting),
            None if self.sessions.was_kicked(time.now, &origin) => {
                self.effects.push_back(waiting.reply.give(answers::ended_by_server()));
            }
            None if address.is_some_and(|address| self.sessions.of_client(address) >= self.most_of_address) => {
                self.too_many += 1;
                self.effects.push_back(waiting.reply.give(answers::too_many()));
            }
            None => {
                let number = self.sessions.begin(time.now, origin, waiting);
                self.effects.push_back(Effect::View(Box::new(View { session: number, client, request, path })));
            }
        }
    }

    /// The viewer of a session may view this stream. `asked` is true if a back end was asked about it.
    pub fn granted(&mut self, time: Time, number: u64, key: &StreamKey, settings: &hls::Settings, asked: bool) {
        let time = self.clock.read(time);
        self.look_again(time.now);
        self.channel(time, key, settings);
        let has_ended = |channel: &Channel<T>| channel.segmenter.has_ended();
        if self.channels.get(&ChannelKey::of(key)).is_some_and(has_ended) && !self.is_united_live(time, key) {
            // What has ended is for viewers that saw it live.
            return self.leave(number);
        }
        let Some((wishes, has_own)) = self.sessions.grant(time.now, number, key.clone()) else {
            return self.effects.push_back(Effect::Leave(number));
        };
        if asked || has_own {
            let id = self.ids.next();
            let repeats = wishes.iter().any(Waiting::is_for_manifest);
            self.sessions.name(number, id, repeats);
            for Waiting { reply, file, own, quality, .. } in wishes {
                self.effects.push_back(reply.give(answers::to_session(&file, &own, id, quality.as_deref())));
            }
            return;
        }
        for waiting in wishes {
            self.serve_session(time, number, waiting);
        }
    }

    /// The viewer of a session may not view the stream, or may no longer. `answer` is for what it asked.
    pub fn refused(&mut self, number: u64, answer: &Answer) {
        let is_granted = self.sessions.is_granted(number);
        let mut waiting = Vec::new();
        if is_granted && self.sessions.waits(number) {
            for channel in self.channels.values_mut() {
                waiting.extend(channel.waiting.extract_if(.., |waiting| waiting.session == Some(number)));
            }
            waiting.iter().for_each(|waiting: &Waiting<T>| self.waiting.remove(waiting.address));
        }
        waiting.extend(self.sessions.remove(number, answer.status == 403));
        for Waiting { reply, .. } in waiting {
            self.effects.push_back(reply.give(answer.clone()));
        }
    }

    /// A stream is published: its segments are made from now on, if its settings say so.
    pub fn publishes(&mut self, time: Time, key: &StreamKey, settings: &hls::Settings) {
        if settings.mode == Mode::Always {
            let time = self.clock.read(time);
            self.look_again(time.now);
            self.channel(time, key, settings);
        }
    }

    /// A stream has something new. True if that is of interest here, so that [`turn`](Self::turn) is due.
    pub fn wake(&mut self, stream: StreamId) -> bool {
        self.fed.contains_key(&stream) && self.news.insert(stream)
    }

    /// True if a stream that is followed has a publisher.
    pub fn is_live(&self, stream: StreamId) -> bool {
        let channel = self.fed.get(&stream).and_then(|keys| self.channels.get(keys.first()?));
        channel.is_some_and(Channel::is_live)
    }

    /// Takes what is new of one stream. False if none has anything new. Between calls, what is to be done can be done.
    pub fn take_news(&mut self, time: Time) -> bool {
        let Some(stream) = self.news.pop_first() else { return false };
        let time = self.clock.read(time);
        for key in self.fed.get(&stream).cloned().unwrap_or_default() {
            self.feed(time, &key);
        }
        true
    }

    /// Takes what is new of all streams, and acts on what was due.
    pub fn turn(&mut self, time: Time) {
        while self.take_news(time) {}
        let time = self.clock.read(time);
        if self.next_look.is_some_and(|due| due <= time.now) {
            self.look(time);
        }
    }

    /// Numbers for metrics.
    pub fn stats(&self) -> PackagerStats {
        let mut stats = PackagerStats {
            segmenters: self.channels.len(),
            sessions: self.sessions.len(),
            waiting: self.waiting.open(),
            segmented: self.past,
            viewed: self.sessions.begun(),
            requests: self.requests,
            too_many: self.too_many,
            ..PackagerStats::default()
        };
        for channel in self.channels.values() {
            stats.bytes += channel.segmenter.bytes();
            add(&mut stats.segmented, channel.segmenter.stats());
        }
        stats
    }

    /// The channel of a stream, which begins if there is none.
    fn channel(&mut self, time: Time, stream: &StreamKey, settings: &hls::Settings) {
        // A stream with such a name is a quality itself.
        let is_quality =
            |end: &str| !end.is_empty() && stream.stream().strip_suffix(end).is_some_and(|name| !name.is_empty());
        let is_united = !settings.renditions.is_empty() && !settings.renditions.iter().any(|end| is_quality(end));
        let key = ChannelKey::of(stream);
        if is_united && !self.channels.contains_key(&key) {
            self.expect_qualities(time, stream, &settings.renditions);
        }
        let of = Some(stream).filter(|_| self.qualities.contains_key(stream));
        self.channel_of(time, &key, settings, of);
        if is_united {
            self.unite(time, stream, &settings.renditions);
        }
    }

    /// The same for one of the qualities of the stream `of`.
    fn channel_of(&mut self, time: Time, key: &ChannelKey, settings: &hls::Settings, of: Option<&StreamKey>) {
        if self.channels.contains_key(key) {
            return;
        }
        let stream = &key.stream;
        let player = self.hub.follow_for_clients(stream);
        let config = hls::Config { video: key.video, audio: key.audio, ..settings.config };
        let folder = format!("{}/", encoded(stream.stream()));
        let steady = self.clock.steady(time.now);
        let segmenter = Segmenter::new(config, self.key.clone(), key.text().as_bytes(), steady).in_folder(&folder);
        let fed = self.fed.entry(player.stream_id()).or_default();
        if fed.is_empty() {
            self.effects.push_back(Effect::Follow(player.stream_id()));
        }
        fed.push(key.clone());
        let place = (stream.app().to_owned(), stream.stream().to_owned());
        self.places.entry(place).or_default().push(key.clone());
        let mut channel = Channel::new(time.now, key.clone(), settings.clone(), segmenter, player);
        if let Some(of) = of.cloned().or_else(|| self.listed_by(key)) {
            self.agree(&of, key, &mut channel);
            channel.of = Some(of);
        }
        self.channels.insert(key.clone(), channel);
        self.feed(time, key);
    }

    /// The channels that follow a stream.
    fn fed_by(&self, stream: &StreamKey) -> impl Iterator<Item = &ChannelKey> {
        let id = self.channels.get(&ChannelKey::of(stream)).map(Channel::stream);
        id.and_then(|id| self.fed.get(&id)).into_iter().flatten()
    }

    fn drop_channel(&mut self, key: &ChannelKey) {
        let Some(channel) = self.channels.remove(key) else { return };
        let without = |keys: &mut Vec<ChannelKey>| {
            keys.retain(|other| other != key);
            keys.is_empty()
        };
        if self.fed.get_mut(&channel.stream()).is_some_and(without) {
            self.fed.remove(&channel.stream());
            self.effects.push_back(Effect::Unfollow(channel.stream()));
        }
        let place = (key.stream.app().to_owned(), key.stream.stream().to_owned());
        if self.places.get_mut(&place).is_some_and(without) {
            self.places.remove(&place);
        }
        add(&mut self.past, channel.segmenter.stats());
        for waiting in channel.waiting {
            self.wait_ends(&waiting);
            self.effects.push_back(waiting.reply.give(answers::gone("the stream is not published")));
        }
        if key.has_first_tracks() {
            self.part(&key.stream);
        }
    }

    /// Takes what is new of a stream, and answers what waited for it.
    fn feed(&mut self, time: Time, key: &ChannelKey) {
        let of = self.channels.get(key).and_then(|channel| channel.of.clone());
        let others = of.as_ref().and_then(|of| self.other_times(of, key));
        let Some(channel) = self.channels.get_mut(key) else { return };
        channel.pump(time.now, &self.clock, others.as_ref());
        if let Some(shortage) = channel.segmenter.take_shortage() {
            self.effects.push_back(Effect::Short(key.stream.clone(), shortage));
        }
        if self.tells_segments && key.has_first_tracks() {
            for complete in channel.take_complete() {
                self.effects.push_back(Effect::Complete(key.stream.clone(), Box::new(complete)));
            }
        }
        if let Some(of) = of {
            self.keep_together(time, &of, key);
            // A list of qualities may wait for this one.
            let first = ChannelKey::of(&of);
            let waits = |channel: &Channel<T>| channel.waiting.iter().any(Waiting::is_for_stream);
            let is_changed = first != *key && self.channels.get(key).is_some_and(Channel::is_changed);
            if is_changed && self.channels.get(&first).is_some_and(waits) {
                self.settle(time, &first, true);
            }
        }
        self.settle(time, key, false);
    }

    /// Answers those that wait and can be answered. `all`: looks at their times, too, and forgets clients that have gone.
    fn settle(&mut self, time: Time, key: &ChannelKey, all: bool) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        let has_changed = channel.has_changed();
        if !has_changed && !all {
            return;
        }
        let (has_segments, united) = (channel.segmenter.has_segments(), channel.of.is_some());
        let (mut done, mut left) = (Vec::new(), Vec::new());
        for mut waiting in std::mem::take(&mut channel.waiting) {
            if waiting.reply.is_gone() {
                done.push((waiting, None));
                continue;
            }
            // Without anything new, the decision about one that waits for media stays what it was.
            let decided = has_changed || !waiting.is_there || waiting.viewed.is_some() && united;
            let answer = if decided { self.decide(time, key, &mut waiting) } else { None };
            match answer {
                Some(answer) => done.push((waiting, Some((answer, true)))),
                None if waiting.until <= time.now => {
                    let answer = waiting.overdue();
                    done.push((waiting, Some((answer, has_segments))));
                }
                None => left.push(waiting),
            }
        }
        if let Some(channel) = self.channels.get_mut(key) {
            channel.waiting.append(&mut left);
        }
        let mut in_vain = Vec::new();
        for (waiting, answer) in done {
            self.wait_ends(&waiting);
            match (waiting.session, &answer) {
                (Some(number), Some((_, true))) => self.sessions.touch(number, time.now),
                (Some(number), None) if has_segments => self.sessions.touch(number, time.now),
                (number, _) => in_vain.extend(number),
            }
            if let Some((answer, _)) = answer {
                self.effects.push_back(waiting.reply.give(answer));
            }
        }
        for number in in_vain {
            // Another request of the session may wait longer.
            if !self.sessions.waits(number) && self.sessions.is_granted(number) {
                self.leave(number);
            }
        }
    }

    fn serve_session(&mut self, time: Time, number: u64, mut waiting: Waiting<T>) {
        waiting.session = Some(number);
        waiting.id = self.sessions.id(number);
        match self.sessions.stage(number, time.now) {
            Some(Stage::Asking(wishes)) => {
                if wishes.len() < sessions::MOST_ASKING {
                    wishes.push(waiting);
                } else {
                    self.too_many += 1;
                    self.effects.push_back(waiting.reply.give(answers::too_many()));
                }
            }
            Some(Stage::Granted(key)) => {
                let key = key.clone();
                // The viewer was granted the stream with settings that the channel had.
                match self.chosen(time, &key, waiting.quality.as_deref()) {
                    Some(chosen) => {
                        waiting.viewed = Some(key);
                        self.serve(time, &chosen, waiting);
                    }
                    None => self.effects.push_back(waiting.reply.give(answers::gone("the stream is not published"))),
                }
            }
            None => self.effects.push_back(waiting.reply.give(answers::gone("the stream is not published"))),
        }
    }

    /// Answers a request now, or has it wait.
    fn serve(&mut self, time: Time, key: &ChannelKey, mut waiting: Waiting<T>) {
        if let Some(channel) = self.channels.get_mut(key) {
            channel.last_request = time.now;
        }
        if let Some(answer) = self.decide(time, key, &mut waiting) {
            return self.effects.push_back(waiting.reply.give(answer));
        }
        let Some(channel) = self.channels.get_mut(key) else { return };
        let is_free = self.waiting.try_add(waiting.address, &self.most_waiting).is_ok();
        if is_free && waiting.session.is_none_or(|number| self.sessions.wait_begins(number)) {
            return channel.waiting.push(waiting);
        }
        if is_free {
            self.waiting.remove(waiting.address);
        }
        self.too_many += 1;
        self.effects.push_back(waiting.reply.give(answers::too_many()));
    }

    /// A request waits no more.
    fn wait_ends(&mut self, waiting: &Waiting<T>) {
        self.waiting.remove(waiting.address);
        if let Some(number) = waiting.session {
            self.sessions.wait_ends(number);
        }
    }

    fn leave(&mut self, number: u64) {
        let wishes = self.sessions.remove(number, false);
        for Waiting { reply, .. } in wishes {
            self.effects.push_back(reply.give(answers::gone("the stream is not published")));
        }
        self.effects.push_back(Effect::Leave(number));
    }

    /// Looks at all times.
    fn look(&mut self, time: Time) {
        self.next_look = None;
        let keys: Vec<_> = self.channels.keys().cloned().collect();
        let steady = self.clock.steady(time.now);
        for key in &keys {
            if let Some(channel) = self.channels.get_mut(key) {
                channel.segmenter.handle_timeout(steady);
            }
            self.settle(time, key, true);
            let is_over = self.channels.get(key).is_some_and(|channel| channel.segmenter.is_over(steady));
            // The list of qualities goes on with the others.
            if is_over && !self.is_united_live(time, &key.stream) {
                self.drop_channel(key);
                // A client that asks again is a new viewer, and waits for a publisher.
                for number in self.sessions.of(&key.stream) {
                    self.leave(number);
                }
            }
        }
        let silent = self.sessions.silent(time.now, |key| {
            let target = self.channels.get(&ChannelKey::of(key)).and_then(|channel| channel.segmenter.target());
            Duration::from_secs(u64::from(SILENCE * target.unwrap_or(LONGEST_TARGET)))
        });
        for number in silent {
            self.leave(number);
        }
        for key in keys {
            if let Some(channel) = self.channels.get_mut(&key) {
                // Without viewers, the next publication may have other tracks.
                channel.is_single &= self.sessions.is_viewed(&key.stream);
            }
            let is_over = |channel: &Channel<T>| {
                let of = channel.of.as_ref().is_some_and(|of| self.sessions.is_viewed(of));
                channel.is_over(time.now, of || self.sessions.is_viewed(&key.stream))
            };
            if self.channels.get(&key).is_some_and(is_over) {
                self.drop_channel(&key);
            }
        }
        self.relieve();
        if !self.channels.is_empty() || self.sessions.len() > 0 {
            self.look_again(time.now);
        }
    }

    /// Keeps the limit of all segments.
    fn relieve(&mut self) {
        let mut total: usize = self.channels.values().map(|channel| channel.segmenter.bytes()).sum();
        while total > self.most_bytes {
            let largest = self.channels.values_mut().max_by_key(|channel| channel.segmenter.bytes());
            let Some(Channel { segmenter, .. }) = largest else { return };
            let before = segmenter.bytes();
            if !segmenter.give_up_oldest() {
                return;
            }
            total -= before - segmenter.bytes();
        }
    }

    fn look_again(&mut self, now: Instant) {
        self.next_look.get_or_insert(now + LOOK);
    }
}

fn add(sum: &mut SegmenterStats, more: SegmenterStats) {
    let SegmenterStats { segments, forced_cuts, short_parts, gaps, left_out, dropped } = more;
    sum.segments += segments;
    sum.forced_cuts += forced_cuts;
    sum.short_parts += short_parts;
    sum.gaps += gaps;
    sum.left_out += left_out;
    sum.dropped += dropped;
}

#[cfg(test)]
mod tests;
