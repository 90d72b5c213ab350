mod times;

use std::rc::{Rc, Weak};

use super::*;
use crate::hub::{HubConfig, Publisher};
use crate::message::{Message, MessageType, Payload};
use crate::url::DEFAULT_VHOST;

const AVC: &str = "0164001effe1001a6764001eacd940a02fea4c0440000003004000000c83c58b658001000668ebe3cb22c0fdf8f800";
/// Some day in 2026, in milliseconds.
const WALL: u64 = 1_790_000_000_000;

/// The number of a request, and its client.
#[derive(Debug)]
struct Number(u32, Weak<()>);

impl Ticket for Number {
    fn is_gone(&self) -> bool {
        self.1.strong_count() == 0
    }
}

/// A server with one stream, in virtual time, whose viewers are all granted what they ask for.
struct Server {
    hub: Hub,
    packager: Packager<Number>,
    publisher: Option<Publisher>,
    start: Instant,
    /// Milliseconds since the start.
    time: u64,
    /// By how much the wall clock was set, and how late frames come, in milliseconds.
    set: i64,
    late: u64,
    /// Milliseconds between key frames.
    group: u64,
    settings: hls::Settings,
    web: http::Settings,
    /// True if a back end is asked.
    asks: bool,
    refuses: Option<Answer>,
    answers: HashMap<u32, Answer>,
    /// What clients have until they go.
    clients: HashMap<u32, Rc<()>>,
    viewers: Vec<u64>,
    left: Vec<u64>,
    complete: Vec<Complete>,
    short: Vec<Shortage>,
    last: u32,
}

fn key() -> StreamKey {
    StreamKey::new(DEFAULT_VHOST, "live", "cam").expect("a good name")
}

fn start() -> Instant {
    #[allow(clippy::disallowed_methods)] // any instant will do; nothing else reads the clock
    Instant::now()
}

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    hex::decode(hexadecimal).expect("hexadecimal digits")
}

impl Server {
    fn new(config: hls::Config) -> Self {
        let hub = Hub::new(HubConfig::default());
        Server {
            packager: Packager::new(hub.clone(), [7; 32]),
            hub,
            publisher: None,
            start: start(),
            time: 0,
            set: 0,
            late: 0,
            group: 2000,
            settings: hls::Settings { mode: Mode::OnDemand, config, ..hls::Settings::default() },
            web: http::Settings::default(),
            asks: false,
            refuses: None,
            answers: HashMap::new(),
            clients: HashMap::new(),
            viewers: Vec::new(),
            left: Vec::new(),
            complete: Vec::new(),
            short: Vec::new(),
            last: 0,
        }
    }

    fn now(&self) -> Time {
        Time {
            now: self.start + Duration::from_millis(self.time),
            wall: (WALL + self.time).saturating_add_signed(self.set),
        }
    }

    fn publish(&mut self) {
        let mut publisher = self.hub.publish(&key()).expect("it is free");
        let now = self.now().now;
        let header = [&[0x17, 0, 0, 0, 0][..], &bytes_of(AVC)].concat();
        let messages = [(MessageType::VIDEO, header), (MessageType::AUDIO, vec![0xaf, 0, 0x12, 0x10])];
        for (type_id, body) in messages {
            publisher.push(now, message(type_id, 0, &body)).expect("it has the name");
        }
        self.publisher = Some(publisher);
        self.packager.publishes(self.now(), &key(), &self.settings);
        self.act();
    }

    fn unpublish(&mut self) {
        let now = self.now().now;
        let publisher = self.publisher.take().expect("it publishes");
        let stream = publisher.stream_id();
        publisher.end(now);
        self.packager.wake(stream);
        self.turn();
    }

    /// Media of so many milliseconds, 25 pictures a second, and time passes as well.
    fn run(&mut self, milliseconds: u64) {
        let end = self.time + milliseconds;
        while self.time < end {
            let (time, now) = ((self.time - self.late) as u32, self.now().now);
            if let Some(publisher) = &mut self.publisher {
                let first = if u64::from(time).is_multiple_of(self.group) { 0x17 } else { 0x27 };
                let picture = message(MessageType::VIDEO, time, &[first, 1, 0, 0, 0, 0, 0, 0, 1, 9]);
                publisher.push(now, picture).expect("it has the name");
                for offset in [0, 20] {
                    let sound = message(MessageType::AUDIO, time + offset, &[0xaf, 1, 7]);
                    publisher.push(now, sound).expect("it has the name");
                }
                self.packager.wake(publisher.stream_id());
            }
            self.turn();
            self.time += 40;
        }
    }

    fn turn(&mut self) {
        self.packager.turn(self.now());
        self.act();
    }

    fn act(&mut self) {
        while let Some(effect) = self.packager.poll() {
            match effect {
                Effect::Answer(Number(ticket, _), answer) => {
                    assert!(self.answers.insert(ticket, answer).is_none(), "one answer for each request");
                }
                Effect::View(view) => {
                    self.viewers.push(view.session);
                    match &self.refuses {
                        Some(answer) => self.packager.refused(view.session, answer),
                        None => self.packager.granted(self.now(), view.session, &key(), &self.settings, self.asks),
                    }
                }
                Effect::Leave(session) => self.left.push(session),
                Effect::Follow(stream) => _ = self.packager.wake(stream),
                Effect::Unfollow(_) => {}
                Effect::Complete(_, complete) => self.complete.push(*complete),
                Effect::Short(_, shortage) => self.short.push(shortage),
            }
        }
    }

    fn ask_from(&mut self, client: u8, target: &str) -> u32 {
        let text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut reader = http::RequestReader::new(http::Limits::default());
        let request = reader.read(&mut text.as_bytes()).expect("it is legal").expect("it is whole");
        let target = Target::of(&request).expect("it is for segments");
        self.last += 1;
        let address = SocketAddr::from(([10, 0, 0, client], 5000));
        let ticket = self.ticket(self.last);
        self.packager.request(self.now(), target, &request, Some(address), &self.web, ticket);
        self.act();
        self.last
    }

    fn ticket(&mut self, number: u32) -> Number {
        let client = Rc::new(());
        let ticket = Number(number, Rc::downgrade(&client));
        self.clients.insert(number, client);
        ticket
    }

    fn hang_up(&mut self, ticket: u32) {
        self.clients.remove(&ticket);
    }

    fn ask(&mut self, target: &str) -> u32 {
        self.ask_from(1, target)
    }

    fn answer(&mut self, ticket: u32) -> Option<(u16, String)> {
        let answer = self.answers.remove(&ticket)?;
        let body: Vec<u8> = answer.pieces().flat_map(|piece| piece.to_vec()).collect();
        Some((answer.status, String::from_utf8_lossy(&body).into_owned()))
    }

    fn get(&mut self, target: &str) -> (u16, String) {
        let ticket = self.ask(target);
        self.answer(ticket).expect("it is answered at once")
    }
}

fn message(type_id: u8, timestamp: u32, body: &[u8]) -> Message {
    Message { chunk_stream: 6, timestamp, type_id, message_stream_id: 1, payload: Payload::from(body) }
}

fn uris(playlist: &str) -> Vec<String> {
    let lines = playlist.lines().filter(|line| !line.is_empty());
    let uri = |line: &str| match line.split_once("URI=\"") {
        Some((_, rest)) => rest.split_once('"').map(|(uri, _)| uri.to_owned()),
        None => (!line.starts_with('#')).then(|| line.to_owned()),
    };
    lines.filter_map(uri).collect()
}

#[test]
fn the_first_request_waits_for_the_first_segment_and_all_that_the_playlist_lists_can_be_got() {
    let mut server = Server::new(hls::Config::default());
    server.publish();
    server.run(400);
    let first = server.ask("/live/cam.m3u8");
    server.run(1000);
    assert_eq!(server.answer(first), None, "there is no segment yet");
    server.run(6000);
    let (status, playlist) = server.answer(first).expect("there is one now");
    assert_eq!(status, 200, "{playlist}");
    let (_, playlist) = server.get("/live/cam.m3u8");
    let found = uris(&playlist);
    assert!(found.len() > 4 && found.iter().all(|uri| uri.starts_with("cam/")), "{playlist}");
    let hint = found.last().expect("it hints at a part").clone();
    for uri in &found {
        let ticket = server.ask(&format!("/live/{uri}"));
        let answer = server.answer(ticket);
        assert_eq!(answer.is_none(), *uri == hint, "{uri}: {answer:?}");
        if let Some((status, body)) = answer {
            assert!(status == 200 && !body.is_empty(), "{uri}");
        } else {
            server.run(600);
            assert_eq!(server.answer(ticket).map(|(status, _)| status), Some(200), "the part that was hinted at");
        }
    }
    assert_eq!(server.get("/live/cam/1-00000000000000000000000000000000.m4s").0, 404);
    assert_eq!(server.viewers.len(), 1, "it is one session");
}

#[test]
fn a_request_for_what_comes_next_waits_for_it_and_one_that_is_too_far_ahead_is_refused() {
    let mut server = Server::new(hls::Config::default());
    server.publish();
    let first = server.ask("/live/cam.m3u8");
    server.run(9000);
    let (_, playlist) = server.answer(first).expect("there is a segment");
    let start: u64 = playlist
        .lines()
        .find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")?.parse().ok())
        .expect("it has a number");
    let (_, playlist) = server.get("/live/cam.m3u8");
    let next = start + playlist.matches("#EXTINF").count() as u64;
    let whole = server.ask(&format!("/live/cam.m3u8?_HLS_msn={next}"));
    let part = server.ask(&format!("/live/cam.m3u8?_HLS_msn={}&_HLS_part=0&_HLS_skip=YES", next + 1));
    server.run(200);
    assert_eq!((server.answer(whole), server.answer(part)), (None, None));
    assert_eq!(server.packager.stats().waiting, 2);
    server.run(5000);
    let (status, playlist) = server.answer(whole).expect("the segment is there");
    assert!(status == 200 && playlist.contains(&format!("cam/{next}-")), "{playlist}");
    assert_eq!(server.answer(part).map(|(status, _)| status), Some(200));
    assert_eq!(server.get(&format!("/live/cam.m3u8?_HLS_msn={}", next + 9)).0, 400);
    assert_eq!(server.get("/live/cam.m3u8?_HLS_part=1").0, 400);
    assert_eq!(server.get(&format!("/live/cam.m3u8?_HLS_msn={start}")).0, 200, "an old number gets the playlist");
    // The publisher stalls: the answer to what does not come says so.
    let stuck = server.ask(&format!("/live/cam.m3u8?_HLS_msn={}", next + 2));
    for _ in 0..60 {
        server.time += 250;
        server.turn();
    }
    assert_eq!(server.answer(stuck).map(|(status, _)| status), Some(503));
    assert_eq!(server.packager.stats().waiting, 0);
}

#[test]
fn a_request_for_what_does_not_come_waits_for_three_target_durations() {
    let mut server = Server::new(hls::Config { target: Some(1), ..hls::Config::default() });
    server.publish();
    let first = server.ask("/live/cam.m3u8");
    server.run(8000);
    let (_, playlist) = server.answer(first).expect("there is a segment");
    let start = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")?.parse::<u64>().ok());
    let (_, playlist) = server.get("/live/cam.m3u8");
    let next = start.expect("it has a number") + playlist.matches("#EXTINF").count() as u64;
    let stuck = server.ask(&format!("/live/cam.m3u8?_HLS_msn={next}"));
    for step in 0..13 {
        assert!(step > 11 || server.answer(stuck).is_none());
        server.time += 250;
        server.turn();
    }
    assert_eq!(server.answer(stuck).map(|(status, _)| status), Some(503));
}

#[test]
fn without_a_publisher_a_request_waits_for_a_while_and_gets_404() {
    let mut server = Server::new(hls::Config::default());
    let vain = server.ask("/live/cam.m3u8");
    server.run(9900);
    assert_eq!(server.answer(vain), None);
    server.run(600);
    assert_eq!(server.answer(vain).map(|(status, _)| status), Some(404));
    assert_eq!(server.left, server.viewers, "nothing wants the stream any more");
    server.run(40_000);
    assert_eq!(server.packager.stats(), PackagerStats { viewed: 1, requests: 1, ..PackagerStats::default() });
    assert_eq!(server.packager.deadline(), None, "nothing is left to look at");
    let late = server.ask("/live/cam.m3u8");
    server.run(5000);
    server.publish();
    server.time = server.time.next_multiple_of(2000);
    server.run(8000);
    assert_eq!(server.answer(late).map(|(status, _)| status), Some(200), "a publisher that comes in time is enough");
}

#[test]
fn a_session_begins_with_a_redirect_if_a_back_end_was_asked_or_the_address_has_parameters() {
    for (asks, query) in [(true, ""), (false, "token=abc&"), (true, "vhost=a&token=abc&")] {
        let mut server = Server::new(hls::Config::default());
        server.asks = asks;
        server.publish();
        let ticket = server.ask(&format!("/live/cam.m3u8?{query}_HLS_skip=YES"));
        let answer = server.answers.remove(&ticket).expect("it is answered at once");
        let location = answer.fields.iter().find(|(name, _)| name == "Location").map(|(_, value)| value.clone());
        let location = location.expect("it leads to the session");
        assert_eq!(answer.status, 302);
        let own = query.trim_end_matches('&');
        assert!(location.starts_with(&format!("cam.m3u8?{own}")) && location.contains("s="), "{location}");
        server.run(8000);
        assert_eq!(server.get(&format!("/live/{location}")).0, 200);
        assert_eq!(server.get(&format!("/live/{location}&_HLS_skip=YES")).0, 200);
        assert_eq!(server.viewers.len(), 1, "no further question");
        let other = server.ask(&format!("/live/cam.m3u8?{query}"));
        assert_eq!(server.answer(other).map(|(status, _)| status), Some(302));
        assert_eq!(server.viewers.len(), 2, "another viewer at the same address is another session");
        // The session that was ended by the server gets no more.
        server.packager.refused(server.viewers[0], &Answer::text(403, "closed"));
        assert_eq!(server.get(&format!("/live/{location}")).0, 403);
    }
}

#[test]
fn requests_from_one_client_are_one_session_which_ends_when_it_is_silent() {
    let mut server = Server::new(hls::Config::default());
    server.publish();
    let first = server.ask("/live/cam.m3u8");
    server.run(8000);
    assert_eq!(server.answer(first).map(|(status, _)| status), Some(200));
    for _ in 0..10 {
        server.run(4000);
        assert_eq!(server.get("/live/cam.m3u8").0, 200);
    }
    assert_eq!((server.viewers.len(), server.left.len()), (1, 0));
    let other = server.ask_from(2, "/live/cam.m3u8");
    assert_eq!(server.answer(other).map(|(status, _)| status), Some(200));
    assert_eq!((server.viewers.len(), server.packager.stats().sessions), (2, 2));
    server.run(11_000);
    assert_eq!(server.left.len(), 0, "three target durations are not over");
    server.run(2000);
    assert_eq!((server.left.len(), server.packager.stats().sessions), (2, 0));
    assert_eq!(server.packager.stats().segmenters, 1, "it goes on for a while");
    server.run(40_000);
    assert_eq!(server.packager.stats().segmenters, 0);
    assert!(server.packager.stats().segmented.segments > 10, "what it has counted stays");
}

#[test]
fn a_publisher_that_comes_back_goes_on_and_one_that_does_not_ends_the_playlist() {
    let mut server = Server::new(hls::Config::default());
    server.publish();
    let first = server.ask("/live/cam.m3u8");
    server.run(8000);
    assert!(server.answer(first).is_some());
    server.unpublish();
    server.time += 6000;
    server.turn();
    let (_, before) = server.get("/live/cam.m3u8");
    assert!(!before.contains("#EXT-X-ENDLIST"), "{before}");
    server.publish();
    server.run(8000);
    let (_, after) = server.get("/live/cam.m3u8");
    assert!(after.contains("#EXT-X-DISCONTINUITY\n"), "{after}");
    server.unpublish();
    for _ in 0..61 {
        server.time += 1000;
        server.turn();
        server.get("/live/cam.m3u8");
    }
    let (status, ended) = server.get("/live/cam.m3u8?_HLS_msn=99999999999");
    assert!(status == 200 && ended.contains("#EXT-X-ENDLIST"), "{ended}");
    let new = server.ask_from(2, "/live/cam.m3u8");
    assert_eq!(server.answer(new).map(|(status, _)| status), Some(404), "a new viewer does not get what is over");
    for _ in 0..12 {
        server.time += 1000;
        server.turn();
        server.ask("/live/cam.m3u8");
    }
    assert_eq!(server.packager.stats().bytes, 0, "requests do not keep what is over");
    // A publisher that comes now is seen by those that ask.
    server.publish();
    server.time = server.time.next_multiple_of(2000);
    server.run(8000);
    let (status, again) = server.get("/live/cam.m3u8");
    assert!(status == 200 && !again.contains("#EXT-X-ENDLIST"), "{again}");
    server.unpublish();
    for _ in 0..120 {
        server.time += 1000;
        server.turn();
    }
    assert_eq!(server.packager.stats().segmenters, 0);
    let gone = server.ask("/live/cam.m3u8");
    server.run(11_000);
    assert_eq!(server.answer(gone).map(|(status, _)| status), Some(404));
}

#[test]
fn a_stream_that_is_always_segmented_needs_no_request_and_complete_segments_are_told() {
    let mut server = Server::new(hls::Config::default());
    server.settings.mode = Mode::Always;
    server.packager.tell_segments();
    server.publish();
    server.run(60_000);
    assert_eq!(server.packager.stats().segmenters, 1);
    let numbers: Vec<u64> = server.complete.iter().map(|complete| complete.number).collect();
    assert!(numbers.len() >= 12, "{numbers:?}");
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    let newest = server.complete.last().expect("there are some").clone();
    let (status, _) = server.get(&format!("/live/cam/{}", newest.name));
    assert_eq!(status, 200, "{newest:?}");
    let (init, _) = newest.init.expect("it has an init segment");
    assert_eq!(server.get(&format!("/live/cam/{init}")).0, 200);
    assert_eq!(server.get("/live/cam.mpd").0, 200);
}

#[test]
fn the_dates_of_segments_do_not_depend_on_when_they_were_asked_for() {
    for first in [480, 9480, 9960] {
        let mut server = Server::new(hls::Config::default());
        server.publish();
        server.run(first);
        let ticket = server.ask("/live/cam.m3u8");
        server.run(8000);
        let (_, playlist) = server.answer(ticket).expect("there is a segment");
        // The wall clock was at 20 s of its minute when the stream began. The sound of a picture comes 20 ms before its time.
        assert_eq!(dates(&playlist)[0], 20_000 + first / 2000 * 2000 - 20, "{first}: {playlist}");
    }
}

#[test]
fn a_refusal_is_the_answer_and_other_methods_are_not_for_playlists() {
    let mut server = Server::new(hls::Config::default());
    server.refuses = Some(Answer::text(401, "no"));
    server.web.origins = http::Origins::Any;
    assert_eq!(server.get("/live/cam.m3u8"), (401, "no\n".to_owned()));
    assert_eq!(server.packager.stats().sessions, 0);
    for (method, status) in [("OPTIONS", 204), ("POST", 405)] {
        let text = format!("{method} /live/cam.m3u8 HTTP/1.1\r\nHost: h\r\nOrigin: https://a\r\n\r\n");
        let mut reader = http::RequestReader::new(http::Limits::default());
        let request = reader.read(&mut text.as_bytes()).expect("it is legal").expect("it is whole");
        let target = Target::of(&request).expect("it is for segments");
        let ticket = server.ticket(9000);
        server.packager.request(server.now(), target, &request, None, &server.web, ticket);
        server.act();
        let answer = server.answers.remove(&9000).expect("it is answered at once");
        assert_eq!(answer.status, status);
        assert!(answer.fields.iter().any(|(name, value)| name == "Access-Control-Allow-Origin" && value == "*"));
    }
}

#[test]
fn requests_of_clients_that_have_gone_are_forgotten_and_their_sessions_end() {
    let mut server = Server::new(hls::Config::default());
    let (gone, stays) = (server.ask("/live/cam.m3u8"), server.ask_from(2, "/live/cam.m3u8"));
    server.run(400);
    server.hang_up(gone);
    server.run(400);
    assert_eq!(server.packager.stats().waiting, 1);
    assert_eq!(server.left, [server.viewers[0]], "nothing of that session waits any more");
    assert!(!server.answers.contains_key(&gone));
    server.publish();
    server.time = server.time.next_multiple_of(2000);
    server.run(6000);
    assert_eq!(server.answer(stays).map(|(status, _)| status), Some(200));
}

#[test]
fn one_address_takes_half_of_the_places_of_requests_that_wait() {
    let mut server = Server::new(hls::Config::default());
    server.packager.most_waiting.questions = Some(20);
    let asked: Vec<_> = (0..30).map(|_| server.ask("/live/cam.m3u8")).collect();
    assert_eq!(server.packager.stats().waiting, 10);
    let refused = asked.iter().filter(|ticket| server.answers.get(ticket).is_some_and(|answer| answer.status == 503));
    assert_eq!(refused.count(), 20);
    let other = server.ask_from(2, "/live/cam.m3u8");
    assert_eq!(server.answer(other), None, "another client has room");
    server.run(11_000);
    assert_eq!(server.packager.stats().waiting, 0);
    assert_eq!(server.answer(other).map(|(status, _)| status), Some(404));
}

#[test]
fn a_session_with_an_id_has_a_few_requests_that_wait() {
    let mut server = Server::new(hls::Config::default());
    server.asks = true;
    let ticket = server.ask("/live/cam.m3u8");
    let answer = server.answers.remove(&ticket).expect("it is answered at once");
    let location = answer.fields.iter().find(|(name, _)| name == "Location").map(|(_, value)| value.clone());
    let location = location.expect("it leads to the session");
    for _ in 0..20 {
        server.ask(&format!("/live/{location}"));
    }
    assert_eq!((server.packager.stats().waiting, server.packager.stats().too_many), (16, 4));
}

#[test]
fn a_session_goes_on_while_another_of_its_requests_waits() {
    let mut server = Server::new(hls::Config::default());
    let first = server.ask("/live/cam.m3u8");
    server.run(9000);
    let second = server.ask("/live/cam.m3u8");
    server.run(2000);
    assert_eq!(server.answer(first).map(|(status, _)| status), Some(404));
    assert!(server.left.is_empty(), "the second request still wants the stream");
    server.publish();
    server.time = server.time.next_multiple_of(2000);
    server.run(6000);
    assert_eq!(server.answer(second).map(|(status, _)| status), Some(200));
    assert_eq!(server.viewers.len(), 1);
}

#[test]
fn one_address_has_so_many_sessions_and_no_more() {
    let mut server = Server::new(hls::Config::default());
    server.packager.most_of_address = 3;
    server.publish();
    for number in 0..5 {
        server.ask(&format!("/live/cam.m3u8?user={number}"));
    }
    assert_eq!((server.packager.stats().sessions, server.packager.stats().too_many), (3, 2));
    let other = server.ask_from(2, "/live/cam.m3u8?user=9");
    assert_eq!(server.answer(other).map(|(status, _)| status), Some(302), "another client has room");
    server.run(40_000);
    assert_eq!(server.packager.stats().sessions, 0);
    let again = server.ask("/live/cam.m3u8?user=1");
    assert_eq!(server.answer(again).map(|(status, _)| status), Some(302));
}

#[test]
fn a_name_that_nothing_publishes_leaves_nothing_behind() {
    let mut server = Server::new(hls::Config::default());
    let gone = server.ask("/live/cam.m3u8");
    server.hang_up(gone);
    server.run(1000);
    let stats = server.packager.stats();
    assert_eq!((stats.segmenters, stats.sessions, stats.waiting), (0, 0, 0));
}

#[test]
fn the_id_of_a_session_is_good_for_a_few_addresses() {
    let mut server = Server::new(hls::Config::default());
    server.asks = true;
    server.publish();
    let ticket = server.ask("/live/cam.m3u8");
    let answer = server.answers.remove(&ticket).expect("it is answered at once");
    let location = answer.fields.iter().find(|(name, _)| name == "Location").map(|(_, value)| value.clone());
    let location = format!("/live/{}", location.expect("it leads to the session"));
    server.run(8000);
    for (client, status) in [(1, 200), (2, 200), (3, 200), (4, 200), (5, 302), (1, 200)] {
        let ticket = server.ask_from(client, &location);
        assert_eq!(server.answer(ticket).map(|(status, _)| status), Some(status), "client {client}");
    }
    assert_eq!(server.viewers.len(), 2, "the one that is too many is asked about");
}

#[test]
fn a_name_with_a_colon_is_no_scheme_in_the_address_of_a_session() {
    let mut server = Server::new(hls::Config::default());
    let ticket = server.ask("/live/cam:1.m3u8?user=me");
    let answer = server.answers.remove(&ticket).expect("it is answered at once");
    let location = answer.fields.iter().find(|(name, _)| name == "Location").map(|(_, value)| value.clone());
    let location = location.expect("it leads to the session");
    assert!(location.starts_with("./cam:1.m3u8?user=me&s="), "{location}");
}

/// The dates of a playlist's segments, in milliseconds of their minute.
fn dates(playlist: &str) -> Vec<u64> {
    let dates = playlist.lines().filter_map(|line| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:"));
    dates.map(|date| date[17..19].parse::<u64>().unwrap() * 1000 + date[20..23].parse::<u64>().unwrap()).collect()
}

/// The names of segments of a manifest.
fn tracks(manifest: &str) -> Vec<String> {
    let value = |text: &str, name: &str| Some(text.split_once(name)?.1.split_once('"')?.0.to_owned());
    let sets = manifest.split("<AdaptationSet ").skip(1);
    let names = sets.flat_map(|set| {
        let media = value(set, "media=\"").expect("it has a template");
        let times: Vec<_> = set.split("<S ").skip(1).filter_map(|entry| value(entry, "t=\"")).collect();
        times.into_iter().map(move |time| media.replace("$Time$", &time))
    });
    names.collect()
}

#[test]
fn names_of_an_old_manifest_are_for_viewers_of_later_segments() {
    let mut server = Server::new(hls::Config::default());
    server.publish();
    let ticket = server.ask("/live/cam.mpd");
    server.run(9000);
    let (_, old) = server.answer(ticket).expect("there is a segment");
    server.run(9000);
    let (_, new) = server.get("/live/cam.mpd");
    let (old, new) = (tracks(&old), tracks(&new));
    let rest = |name: &str| name.split_once('.').expect("it has a number").1.to_owned();
    let time = |name: &str| name.split_once('.').expect("it has a number").0.to_owned();
    let last = new.last().expect("it lists segments");
    let of_old = format!("/live/{}.{}", time(last), rest(&old[0]));
    let cache = |server: &mut Server, client: u8, target: &str| {
        let ticket = server.ask_from(client, target);
        let answer = server.answers.remove(&ticket).expect("it is answered at once");
        let cache = answer.fields.iter().find(|(name, _)| name == "Cache-Control").map(|(_, value)| value.clone());
        (answer.status, cache.expect("it says how long it is good"))
    };
    assert_eq!(cache(&mut server, 2, &format!("/live/{last}")), (200, "public, max-age=32, immutable".to_owned()));
    assert_eq!(cache(&mut server, 1, &of_old), (200, "private, max-age=32".to_owned()), "as FFmpeg asks");
    assert_eq!(cache(&mut server, 2, &of_old), (403, "no-store".to_owned()), "it does not view the stream");
    let viewer = *server.viewers.last().expect("there is one");
    server.packager.refused(viewer, &Answer::text(403, "closed"));
    assert_eq!(cache(&mut server, 1, &of_old).0, 403, "the viewer was ended");
}

#[test]
fn what_comes_next_in_a_manifest_is_waited_for_and_then_missing() {
    let mut server = Server::new(hls::Config::default());
    server.publish();
    let ticket = server.ask("/live/cam.mpd");
    server.run(9000);
    assert!(server.answer(ticket).is_some());
    let (_, manifest) = server.get("/live/cam.mpd");
    let entry = manifest.split("<S ").filter(|entry| entry.contains("d=\"")).last().expect("there are segments");
    let numbers: Vec<u64> = entry.split('"').filter_map(|text| text.parse().ok()).collect();
    let name = tracks(&manifest).pop().expect("there are segments");
    let next = name.replace(&numbers[0].to_string(), &(numbers[0] + numbers[1]).to_string());
    let ticket = server.ask(&format!("/live/{next}"));
    server.run(400);
    assert_eq!(server.answer(ticket), None);
    server.run(4000);
    assert_eq!(server.answer(ticket).map(|(status, _)| status), Some(404));
    assert_eq!(server.get(&format!("/live/{next}")).0, 200, "the segment itself is there");
}

#[test]
fn a_session_of_dash_has_its_address_in_the_manifest_and_goes_on_if_its_first_request_is_repeated() {
    let mut server = Server::new(hls::Config::default());
    server.asks = true;
    server.publish();
    let location = |server: &mut Server, client: u8| {
        let ticket = server.ask_from(client, "/live/cam.mpd?token=a&b=c");
        let answer = server.answers.remove(&ticket).expect("it is answered at once");
        assert_eq!(answer.status, 302);
        let location = answer.fields.iter().find(|(name, _)| name == "Location").map(|(_, value)| value.clone());
        location.expect("it leads to the session")
    };
    let first = location(&mut server, 1);
    server.run(8000);
    let (status, manifest) = server.get(&format!("/live/{first}"));
    assert_eq!(status, 200);
    let address = format!("<Location>{}</Location>", first.replace('&', "&amp;"));
    assert!(manifest.contains(&address), "{manifest}");
    assert_eq!((location(&mut server, 1), server.viewers.len()), (first.clone(), 1), "FFmpeg asks so each time");
    assert_ne!(location(&mut server, 2), first);
    assert_eq!(server.viewers.len(), 2);
    let ticket = server.ask("/live/cam.m3u8?token=a&b=c");
    assert_eq!(server.answer(ticket).map(|(status, _)| status), Some(302));
    assert_eq!(server.viewers.len(), 3, "another viewer of HLS is another session");
    server.packager.refused(server.viewers[0], &Answer::text(403, "closed"));
    assert_eq!(server.get(&format!("/live/{first}")).0, 403);
    assert_eq!(server.get("/live/cam.mpd?token=a&b=c").0, 403, "the player repeats its first request");
    assert_eq!(server.viewers.len(), 3, "no back end is asked");
    location(&mut server, 2);
    for _ in 0..6 {
        server.run(10_000);
    }
    assert_ne!(location(&mut server, 1), first, "it is asked about again later");
}
