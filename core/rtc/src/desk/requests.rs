//! Requests by HTTP.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::flv::{AudioCodec, Codec, VideoCodec};
use anabranch_core::http::{self, Answer, Request};
use anabranch_core::packager::{Ticket, Time};
use anabranch_core::url::StreamKey;

use super::answers::{self, Reply};
use super::names::hex;
use super::publishing::Publishing;
use super::qualities;
use super::rooms::PEERS;
use super::session::{Kind, Offer, Open, Session, Stage, Turn};
use super::viewer::Viewer;
use super::{Desk, Effect, LOOK, Opening, Role, SessionId, Settings};
use crate::engine::{Candidates, Credentials, Purpose};
use crate::peer::{Gone, Medium};
use crate::signal::{Fragment, SessionName, SignalError, SrsCall, Target, offer, with_bearer, without_names};

/// Bytes that all offers without an answer may have.
const MOST_OFFERED: usize = 32 << 20;
/// Addresses that an answer tells.
const MOST_CANDIDATES: usize = 16;

/// Offers whose turn has not come.
#[derive(Debug, Default)]
pub(super) struct Lobby {
    waiting: VecDeque<SessionId>,
    /// When the next one may be answered.
    free_at: Option<Instant>,
    /// Bytes of all offers that have no answer.
    pub(super) bytes: usize,
}

impl Lobby {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.free_at.filter(|_| !self.waiting.is_empty())
    }

    pub(super) fn forget(&mut self, number: SessionId) {
        self.waiting.retain(|waiting| *waiting != number);
    }

    /// True if one may be answered now. A quarter of a second's number may be answered at once.
    fn try_enter(&mut self, now: Instant, most: u32) -> bool {
        let each = Duration::from_secs(1) / most.max(1);
        let earliest = now.checked_sub(Duration::from_millis(250)).unwrap_or(now);
        let free_at = self.free_at.map_or(earliest, |free_at| free_at.max(earliest));
        if free_at > now {
            return false;
        }
        self.free_at = Some(free_at + each);
        true
    }
}

/// What an offer is for.
struct Wanted {
    role: Role,
    app: String,
    stream: String,
    query: Option<String>,
    text: String,
}

impl<T: Ticket> Desk<T> {
    /// A client asks for something. `client` is its address, `local` the one that its request reached.
    #[expect(clippy::too_many_arguments, reason = "they are what a request is")]
    pub fn request(
        &mut self,
        time: Time,
        target: Target,
        request: &Request,
        client: Option<SocketAddr>,
        local: Option<SocketAddr>,
        settings: &http::Settings,
        ticket: T,
    ) {
        let now = self.at(time);
        let mut reply = Reply::new(ticket, request, settings);
        let longest = settings.answer.saturating_sub(LOOK * 4);
        let wait = settings.wait.min(longest);
        let query = request.query().map(str::to_owned);
        let wanted = match target {
            Target::Session { id } => return self.session_request(now, &id, request, reply),
            Target::Whip { app, stream } => self.endpoint(request, Role::Publisher, app, stream),
            Target::Whep { app, stream } => self.endpoint(request, Role::Player, app, stream),
            Target::Srs { publishes } => {
                reply.is_srs = true;
                let role = if publishes { Role::Publisher } else { Role::Player };
                self.srs_call(request, role)
            }
        };
        let wanted = wanted.map(|wanted| Wanted {
            query: wanted.query.or_else(|| query.map(|query| without_names(&query))),
            ..wanted
        });
        match wanted {
            Ok(wanted) => self.offer(now, wanted, request, client, local, wait, reply),
            Err(answer) => self.effects.push_back(reply.give(answer)),
        }
    }

    /// What is said to an endpoint: an offer, or the answer to anything else.
    fn endpoint(&mut self, request: &Request, role: Role, app: String, stream: String) -> Result<Wanted, Answer> {
        match request.method() {
            "POST" => {}
            "OPTIONS" => return Err(answers::endpoint_options()),
            "GET" | "HEAD" => {
                return Err(Answer::new(200).with("Content-Type", answers::SDP).with("Accept-Post", answers::SDP));
            }
            _ => return Err(answers::not_for_endpoint()),
        }
        if !answers::has_type(request, answers::SDP) {
            return Err(answers::not_sdp());
        }
        let text = self.readable(request.body())?;
        Ok(Wanted { role, app, stream, query: None, text })
    }

    fn srs_call(&mut self, request: &Request, role: Role) -> Result<Wanted, Answer> {
        match request.method() {
            "POST" => {}
            "OPTIONS" => return Err(answers::endpoint_options()),
            _ => return Err(answers::not_for_endpoint()),
        }
        if request.body().len() > self.settings.longest_offer {
            return Err(answers::too_long(self.settings.longest_offer));
        }
        let Some(SrsCall { app, stream, query, offer }) = SrsCall::parse(request.body()) else {
            self.stats.bad_offers += 1;
            return Err(Answer::text(400, "the body must be JSON with streamurl and sdp"));
        };
        let text = self.readable(offer.as_bytes())?;
        Ok(Wanted { role, app, stream, query: Some(query.unwrap_or_default()), text })
    }

    /// An offer that is short enough, and may be one.
    fn readable(&mut self, body: &[u8]) -> Result<String, Answer> {
        if body.len() > self.settings.longest_offer {
            return Err(answers::too_long(self.settings.longest_offer));
        }
        let text = std::str::from_utf8(body).ok().filter(|text| text.trim_start().starts_with("v=0"));
        text.map(str::to_owned).ok_or_else(|| {
            self.stats.bad_offers += 1;
            Answer::text(400, "the body is no session description")
        })
    }

    #[expect(clippy::too_many_arguments, reason = "they are what an offer is")]
    fn offer(
        &mut self,
        now: Instant,
        wanted: Wanted,
        request: &Request,
        client: Option<SocketAddr>,
        local: Option<SocketAddr>,
        wait: Duration,
        reply: Reply<T>,
    ) {
        let Wanted { role, app, stream, query, text } = wanted;
        let bytes = self.lobby.bytes + text.len();
        if self.sessions.len() >= self.settings.most_peers || bytes > MOST_OFFERED {
            self.stats.too_many += 1;
            return self.effects.push_back(reply.give(answers::too_many("too many clients by WebRTC")));
        }
        if self.lobby.waiting.len() >= self.settings.most_joins as usize {
            self.stats.too_many += 1;
            return self.effects.push_back(reply.give(answers::too_many("too many clients at once")));
        }
        if role == Role::Publisher && self.has_no_rooms(&app) {
            return self.effects.push_back(reply.give(answers::no_rooms()));
        }
        // Before it is granted: a publisher that cannot be answered must not take the place of another one.
        if let Err(error) = self.peers.check(&text, role == Role::Publisher) {
            self.stats.bad_offers += 1;
            return self.effects.push_back(reply.give(refusal(&error, &text, role, None, None)));
        }
        self.lobby.bytes = bytes;
        self.last_session += 1;
        let number = self.last_session;
        let named = self.names.next();
        let session = Session {
            role,
            begun: now,
            name: SessionName::new(&self.settings.node, number, named.secret),
            stage: Stage::Asking(Box::new(Offer {
                reply,
                text,
                local,
                named,
                wait,
                until: now + wait,
                turn: Turn::None,
            })),
        };
        self.sessions.insert(number, session);
        let request = with_bearer(request, query.as_deref());
        let opening = Box::new(Opening { session: number, role, client, request, app, stream });
        self.effects.push_back(Effect::Open(opening));
        self.look_again(now);
    }

    /// Answers those whose turn has come.
    pub(super) fn admit(&mut self, now: Instant) {
        while !self.lobby.waiting.is_empty() && self.lobby.try_enter(now, self.settings.most_joins) {
            let Some(number) = self.lobby.waiting.pop_front() else { return };
            let Some(Session { role, stage: Stage::Waiting(offer, _), .. }) = self.sessions.get_mut(&number) else {
                continue;
            };
            offer.turn = Turn::Come;
            match role {
                Role::Publisher => self.answer(now, number, None, None),
                Role::Player => self.try_answer(now, number),
            }
        }
    }

    /// True if the turn of an offer has come. Else it waits for it, or is refused.
    fn has_turn(&mut self, now: Instant, number: SessionId) -> bool {
        let Some(Session { role, stage: Stage::Waiting(offer, _), .. }) = self.sessions.get_mut(&number) else {
            return false;
        };
        let most = self.settings.most_joins;
        match offer.turn {
            Turn::Come => true,
            Turn::Awaited => false,
            Turn::None if self.lobby.waiting.is_empty() && self.lobby.try_enter(now, most) => true,
            // A publisher has its place by now.
            Turn::None if *role == Role::Publisher || self.lobby.waiting.len() < most as usize => {
                offer.turn = Turn::Awaited;
                self.lobby.waiting.push_back(number);
                false
            }
            Turn::None => {
                self.stats.too_many += 1;
                if let Some(Session { stage: Stage::Waiting(offer, _), .. }) = self.remove(number) {
                    self.effects.push_back(offer.reply.give(answers::too_many("too many clients at once")));
                    self.effects.push_back(Effect::Leave(number));
                }
                false
            }
        }
    }

    pub(super) fn grant(&mut self, now: Instant, number: SessionId, key: &StreamKey, ends: &[Box<str>]) {
        let Some(session) = self.sessions.remove(&number) else {
            return self.effects.push_back(Effect::Leave(number));
        };
        let Session { role, begun, name, stage: Stage::Asking(mut offer) } = session else {
            self.sessions.insert(number, session);
            return;
        };
        offer.until = now + offer.wait;
        let stage = Stage::Waiting(offer, key.clone());
        self.sessions.insert(number, Session { role, begun, name, stage });
        match role {
            Role::Publisher => match self.enter_room(number, key) {
                Ok(()) => self.answer(now, number, None, None),
                Err(answer) => {
                    if let Some(Session { stage: Stage::Waiting(offer, _), .. }) = self.remove(number) {
                        self.effects.push_back(offer.reply.give(answer));
                        self.effects.push_back(Effect::Leave(number));
                    }
                }
            },
            Role::Player => {
                self.follow(now, key);
                if let Some(stream) = self.streams.get_mut(key) {
                    stream.waiting.insert(number);
                    stream.qualities = qualities::all(key, ends);
                }
                self.look_again(now);
                self.try_answer(now, number);
            }
        }
    }

    /// Answers the offer of a client, which may do what it wants.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        number: SessionId,
        video: Option<VideoCodec>,
        sound: Option<AudioCodec>,
    ) {
        if !self.has_turn(now, number) {
            return;
        }
        let Some(Session { stage: Stage::Waiting(offer, _), role, .. }) = self.sessions.get(&number) else { return };
        // Sound that comes later finds its track.
        let audio = matches!(sound, None | Some(AudioCodec::Opus | AudioCodec::Aac));
        let purpose = match role {
            Role::Publisher => Purpose::Publish,
            Role::Player => Purpose::Play { video, audio },
        };
        let candidates = self.candidates(offer.local);
        let accepted = self.peers.accept(now, &offer.text, &purpose, &offer.named.credentials, &candidates);
        let wants_video = offer::media(&offer.text).iter().any(|medium| medium.kind == "video" && medium.is_taken);
        let is_sent = matches!(video, Some(VideoCodec::Avc | VideoCodec::Hevc | VideoCodec::Av1 | VideoCodec::Vp9));
        let accepted = accepted.and_then(|accepted| {
            // A viewer that wants pictures, and has no decoder for them, had better ask for another form of the stream.
            let has_video = accepted.media.contains(&Medium::Video);
            let lacks_video = wants_video && !has_video && video.is_some() && (is_sent || sound.is_none());
            if *role == Role::Player && lacks_video { Err(SignalError::NothingInCommon) } else { Ok(accepted) }
        });
        let Some(Session { role, begun, name, stage: Stage::Waiting(offer, key) }) = self.sessions.remove(&number)
        else {
            return;
        };
        let mut all_qualities = Arc::from([]);
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.waiting.remove(&number);
            all_qualities = stream.qualities.clone();
        }
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                self.stats.bad_offers += 1;
                self.effects.push_back(offer.reply.give(refusal(&error, &offer.text, role, video, sound)));
                self.effects.push_back(Effect::Leave(number));
                return self.leave_stream(&key, number, false);
            }
        };
        let has = |medium| accepted.media.contains(&medium);
        let kind = match role {
            Role::Publisher => Kind::Publisher(Box::new(Publishing::new(&accepted.media))),
            Role::Player => Kind::Viewer(Box::new(Viewer::new(
                video.filter(|_| has(Medium::Video)),
                wants_video,
                has(Medium::Audio),
                offer.named.first_numbers,
                all_qualities,
            ))),
        };
        let etag = format!("\"{}\"", hex(&self.names.bytes()[..8]));
        let answer = match offer.reply.is_srs {
            true => answers::of_srs(&accepted.answer, &name.to_string()),
            false => answers::created(accepted.answer, &name.path(), &etag),
        };
        let credentials = offer.named.credentials;
        let Fragment { name: remote, password, .. } = Fragment::of_description(&offer.text).unwrap_or_default();
        let remote = Credentials { name: remote.unwrap_or_default(), password: password.unwrap_or_default() };
        let open = Open {
            peer: accepted.peer,
            kind,
            key,
            name: credentials.name.clone(),
            remote,
            etag,
            candidates,
            paths: Vec::new(),
            sources: Vec::new(),
            path: None,
            is_connected: false,
            is_closing: false,
            network: crate::peer::Network::default(),
            due: None,
            connect_by: now + self.settings.connect,
            bytes: 0,
            frames_told: 0,
            told: now,
        };
        self.by_name.insert(credentials.name, number);
        if role == Role::Publisher {
            self.publishers.insert(open.key.clone(), number);
        }
        self.sessions.insert(number, Session { role, begun, name, stage: Stage::Open(Box::new(open)) });
        self.stats.answered += 1;
        self.effects.push_back(offer.reply.give(answer));
        self.drain(now, number, None);
    }

    /// Where a peer reaches the server whose request has reached this address.
    fn candidates(&self, local: Option<SocketAddr>) -> Candidates {
        let Settings { candidates, tcp_candidates, listening, tcp_listening, interfaces, .. } = &self.settings;
        let reached = local.map(|local| local.ip().to_canonical()).filter(|address| !address.is_unspecified());
        let addresses: Vec<IpAddr> = reached.into_iter().chain(interfaces.iter().map(IpAddr::to_canonical)).collect();
        let told = |told: &[SocketAddr], sockets: &[SocketAddr]| {
            if told.is_empty() { reached_at(sockets, &addresses) } else { told.to_vec() }
        };
        Candidates { udp: told(candidates, listening), tcp: told(tcp_candidates, tcp_listening) }
    }

    /// What is said to the URL of a session.
    fn session_request(&mut self, now: Instant, id: &str, request: &Request, reply: Reply<T>) {
        if let Some(id) = id.strip_suffix(PEERS) {
            let answer = self.peers_of(id, request);
            return self.effects.push_back(reply.give(answer));
        }
        let name = SessionName::parse(id);
        let known = name.as_ref().and_then(|name| self.sessions.get(&name.number).filter(|known| known.name.is(name)));
        let is_known = known.is_some_and(|known| matches!(known.stage, Stage::Open(_)));
        let answer = match (request.method(), name) {
            ("OPTIONS", _) => answers::session_options(),
            (_, Some(name)) if is_known => match request.method() {
                "DELETE" => {
                    self.tell_sent(name.number);
                    self.close(now, name.number);
                    let why = Gone::Left;
                    self.effects.push_back(Effect::Tell(super::Remark::Gone { session: name.number, why }));
                    self.effects.push_back(Effect::Leave(name.number));
                    Answer::new(200)
                }
                "PATCH" => self.patch(now, name.number, request),
                "GET" | "HEAD" => Answer::new(204),
                _ => answers::not_for_session(),
            },
            (_, Some(name)) if name.node != self.settings.node => {
                Answer::text(404, "the session is one of another server").with("Cache-Control", "no-store")
            }
            _ => answers::no_session(),
        };
        self.effects.push_back(reply.give(answer));
    }

    /// A client has further addresses, or begins again from others (ICE restart).
    fn patch(&mut self, now: Instant, number: SessionId, request: &Request) -> Answer {
        let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) else {
            return answers::no_session();
        };
        if !answers::has_type(request, answers::FRAGMENT) {
            return answers::not_a_fragment();
        }
        let Some(fragment) = Fragment::parse(request.body()) else { return answers::bad_fragment() };
        let restarts = fragment.name.as_ref().is_some_and(|name| *name != open.remote.name);
        let tag = request.field("If-Match").map(str::trim);
        if tag.is_some_and(|tag| tag != "*" && tag != open.etag) {
            return Answer::text(412, "the session has another ETag by now");
        }
        if !restarts {
            // The peer checks the addresses of the server, and the server learns from that where it is.
            return Answer::new(204);
        }
        if tag.is_none() {
            return Answer::text(428, "a restart of ICE needs the field If-Match");
        }
        let Fragment { name: Some(name), password: Some(password), .. } = fragment else {
            return answers::bad_fragment();
        };
        let remote = Credentials { name, password };
        let local = self.names.next().credentials;
        if !open.peer.restart(now, &local, &remote, &open.candidates) {
            return Answer::text(422, "the session cannot begin again: make a new one");
        }
        self.by_name.remove(&open.name);
        self.by_name.insert(local.name.clone(), number);
        open.etag = format!("\"{}\"", hex(&self.names.bytes()[..8]));
        (open.name, open.remote) = (local.name.clone(), remote);
        let answer = answers::restarted(&local, &open.candidates, &open.etag);
        self.drain(now, number, None);
        answer
    }
}

/// Why an offer has no answer, for the client.
fn refusal(
    error: &SignalError,
    offer: &str,
    role: Role,
    video: Option<VideoCodec>,
    sound: Option<AudioCodec>,
) -> Answer {
    let status = match error {
        SignalError::BadOffer(_) => 400,
        SignalError::TooManyTracks | SignalError::NothingInCommon => 422,
        SignalError::BadCandidate(_) | SignalError::NoCertificate | SignalError::Bug => 500,
    };
    let mut words = error.to_string();
    if *error == SignalError::NothingInCommon {
        words += &format!(": it has {}", named(&codecs_of(offer)));
        if role == Role::Player && video.is_none() && sound.is_none() {
            words += "; the server sends H.264, HEVC, AV1, VP9 and Opus";
        } else if role == Role::Player {
            let of_stream = [video.map(Codec::from), sound.map(Codec::from)];
            let of_stream: Vec<_> = of_stream.into_iter().flatten().map(|codec| codec.to_string()).collect();
            words += &format!("; the stream has {}", named(&of_stream));
        } else {
            words += "; the server takes H.264, HEVC, AV1, VP9 and Opus";
        }
    }
    Answer::text(status, &words).with("Cache-Control", "no-store")
}

fn named(codecs: &[String]) -> String {
    if codecs.is_empty() { "none".to_owned() } else { codecs.join(", ") }
}

/// The codecs of an offer, each once.
fn codecs_of(offer: &str) -> Vec<String> {
    const MOST: usize = 12;
    let mut codecs: Vec<String> = Vec::new();
    let maps = offer.lines().filter_map(|line| line.strip_prefix("a=rtpmap:"));
    for name in maps.filter_map(|map| map.split_ascii_whitespace().nth(1)?.split('/').next()) {
        let is_plain =
            name.len() <= 20 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if is_plain && codecs.len() < MOST && !codecs.iter().any(|known| known == name) {
            codecs.push(name.to_owned());
        }
    }
    codecs
}

/// Where sockets that are bound to these addresses are reached, on a machine with these addresses.
pub(super) fn reached_at(sockets: &[SocketAddr], addresses: &[IpAddr]) -> Vec<SocketAddr> {
    // Sockets of IPv6 that are bound to no address take IPv4 as well.
    let takes = |socket: &SocketAddr, ip: IpAddr| match socket.ip().to_canonical() {
        bound if bound.is_unspecified() => bound.is_ipv6() || ip.is_ipv4(),
        bound => bound == ip,
    };
    let of_machine = addresses.iter().flat_map(|ip| {
        let sockets = sockets.iter().filter(|socket| takes(socket, *ip));
        sockets.map(|socket| SocketAddr::new(*ip, socket.port()))
    });
    let bound = sockets.iter().map(|socket| SocketAddr::new(socket.ip().to_canonical(), socket.port()));
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in of_machine.chain(bound.filter(|bound| !bound.ip().is_unspecified())) {
        if !found.contains(&address) && found.len() < MOST_CANDIDATES {
            found.push(address);
        }
    }
    found
}
