//! Live streams and other requests by HTTP.

mod elsewhere;
mod mp4;
mod requests;
mod viewers;

use std::sync::Arc;

use super::*;
use crate::flv::Tags;
use crate::http::{self, Answer};
use crate::policy::{Action as Asked, Limits, Refer, Secret, Token, TokenScope, sign};

/// A client that speaks HTTP.
struct Browser {
    conn: Conn,
    /// All bytes that it has received.
    received: Vec<u8>,
    requests: Vec<WebRequest>,
    actions: Vec<String>,
    asked: Vec<Ask>,
    notices: usize,
    closed: Option<Report>,
    wait: Option<session::Wait>,
}

impl Browser {
    fn new(harness: &Harness) -> Self {
        Browser::by(harness, None, Accepts::Web)
    }

    fn by(harness: &Harness, peer: Option<&str>, accepts: Accepts) -> Self {
        let peer = peer.map(|peer| peer.parse().expect("an address"));
        Browser {
            conn: harness.server.connect_by(harness.now, peer, accepts),
            received: Vec::new(),
            requests: Vec::new(),
            actions: Vec::new(),
            asked: Vec::new(),
            notices: 0,
            closed: None,
            wait: None,
        }
    }

    fn asking(harness: &Harness, request: &str) -> Self {
        let mut browser = Browser::new(harness);
        browser.send(harness, request.as_bytes());
        browser
    }

    fn send(&mut self, harness: &Harness, bytes: &[u8]) {
        self.conn.handle_input(harness.now, bytes);
        self.poll(harness);
    }

    /// Does what is to be done, and takes all bytes.
    fn poll(&mut self, harness: &Harness) {
        self.poll_full(harness);
        while self.conn.outbound().has_remaining() {
            let waiting = self.conn.outbound().remaining();
            self.received.extend_from_slice(&self.conn.outbound().copy_to_bytes(waiting));
            self.poll_full(harness);
        }
    }

    /// The same without taking bytes.
    fn poll_full(&mut self, harness: &Harness) {
        while self.closed.is_none() {
            match self.conn.poll(harness.now) {
                Output::Action(Action::Request(asked)) => self.requests.push(*asked),
                Output::Action(Action::Ask(ask)) => self.asked.push(*ask),
                Output::Action(Action::Notify(_)) => self.notices += 1,
                Output::Action(Action::Attach(attachment)) => self.actions.push(format!("attach {attachment}")),
                Output::Action(Action::Finish) => self.actions.push("finish".to_owned()),
                Output::Action(_) => {}
                Output::Wait(wait) => {
                    self.wait = Some(wait);
                    return;
                }
                Output::Closed(report) => self.closed = Some(report),
            }
        }
    }

    /// Lets time pass, and calls the connection at its deadlines.
    fn run(&mut self, harness: &mut Harness, time: Duration) {
        let end = harness.now + time;
        for turn in 0.. {
            let due = self.wait.and_then(|wait| wait.deadline()).filter(|due| *due <= end);
            let (None, Some(due)) = (&self.closed, due) else {
                break;
            };
            assert!(turn < MOST_TURNS, "it asks for a timeout and does nothing then");
            harness.now = harness.now.max(due);
            self.conn.handle_timeout(harness.now);
            self.poll(harness);
        }
        harness.now = end;
    }

    /// The first head of what it has received, and what follows.
    fn answer(&self) -> (String, &[u8]) {
        let end = self.received.windows(4).position(|window| window == b"\r\n\r\n").expect("there is a head") + 4;
        (String::from_utf8(self.received[..end].to_vec()).expect("text"), &self.received[end..])
    }

    fn status(&self) -> u16 {
        if self.received.is_empty() {
            return 0;
        }
        self.answer().0.split(' ').nth(1).expect("a status").parse().expect("a number")
    }

    /// The body of a live stream in chunks, and whether it is complete.
    fn body(&self) -> (Vec<u8>, bool) {
        let (_, mut rest) = self.answer();
        let mut body = Vec::new();
        while !rest.is_empty() {
            let end = rest.windows(2).position(|window| window == b"\r\n").expect("a line");
            let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).expect("text"), 16).expect("a number");
            body.extend_from_slice(&rest[end + 2..end + 2 + length]);
            assert_eq!(rest[end + 2 + length..][..2], *b"\r\n");
            rest = &rest[end + 2 + length + 2..];
            if length == 0 {
                assert!(rest.is_empty(), "nothing follows the end");
                return (body, true);
            }
        }
        (body, false)
    }

    fn tags(&self) -> Vec<String> {
        tags(&self.body().0)
    }

    fn reason(&self) -> &'static str {
        self.closed.as_ref().map_or("open", |report| report.close.reason.name())
    }
}

/// The tags of a file, one in a line, after its flags.
fn tags(file: &[u8]) -> Vec<String> {
    let tags = Tags::new(file).expect("a file");
    let header = tags.header();
    let flags = format!("audio {} video {}", header.audio, header.video);
    let line = |tag: crate::flv::Tag<'_>| match tag.type_id {
        18 => "metadata".to_owned(),
        kind => format!("{kind} at {}: {}", tag.timestamp, hex::encode(tag.body)),
    };
    [flags].into_iter().chain(tags.map(|tag| line(tag.expect("it is whole")))).collect()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: tv.example:8080\r\n\r\n")
}

pub(super) const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn upgrade(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{UPGRADE}\r\n")
}

fn served() -> (Harness, Client) {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1), gop(80, 2)].concat());
    (harness, publisher)
}

#[test]
fn a_player_by_http_begins_with_headers_and_the_newest_key_frame() {
    let (harness, mut publisher) = served();
    let mut browser = Browser::asking(&harness, &get("/live/cam.flv?a=b"));
    let (head, _) = browser.answer();
    for line in ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Content-Type: video/x-flv", "X-Accel-Buffering: no"]
    {
        assert!(head.contains(&format!("{line}\r\n")), "{head}");
    }
    assert!(head.contains("Cache-Control: no-store\r\n") && head.contains("Connection: close\r\n"), "{head}");
    assert_eq!(browser.actions, ["attach player of live/cam"]);
    let tags = browser.tags();
    assert_eq!(tags[0], "audio true video true");
    let first = [peer::VIDEO_HEADER.to_vec(), peer::AUDIO_HEADER.to_vec(), peer::key_frame(2)];
    let [video, audio, key] = first.map(hex::encode);
    let expected = ["metadata".to_owned(), format!("9 at 80: {video}"), format!("8 at 80: {audio}")];
    assert_eq!(tags[1..4], expected);
    assert_eq!(tags[4], format!("9 at 80: {key}"));
    let before = tags.len();
    publisher.send(&harness, &gop(160, 3));
    browser.poll(&harness);
    assert_eq!(browser.tags().len(), before + 3);
    let report = {
        browser.conn.handle_disconnect(harness.now, CloseReason::PeerClosed);
        browser.poll(&harness);
        browser.closed.expect("it is over")
    };
    assert_eq!((report.role, report.close.phase), (Some(Role::Player), session::Phase::Playing));
    assert_eq!(report.missed, Gap::default());
}

#[test]
fn players_of_one_form_share_a_batch_and_those_of_others_get_the_same_frames() {
    let (harness, mut publisher) = served();
    let mut player = harness.player("cam");
    player.receive(&harness);
    let mut browsers = [get("/live/cam.flv"), get("/live/cam.live.flv"), upgrade("/live/cam.flv")]
        .map(|request| Browser::asking(&harness, &request));
    publisher.send(&harness, &gop(160, 3));
    let mut batches = Batches::default();
    let rtmp = batches.share(&mut player.conn).expect("there is something new");
    let shares = browsers.each_mut().map(|browser| batches.share(&mut browser.conn).expect("there is something new"));
    assert_eq!(player.server_output.lines(rtmp.bytes()).len(), 3);
    let bytes = shares.each_ref().map(|share| share.bytes().clone());
    assert_eq!(bytes[0].as_ptr(), bytes[1].as_ptr(), "it is made once");
    assert_eq!(bytes[2][..1], [0x82], "one message");
    let plain = &bytes[2][2..];
    assert_eq!(bytes[0], [format!("{:x}\r\n", plain.len()).as_bytes(), plain, b"\r\n"].concat());
    for (browser, share) in browsers.iter_mut().zip(shares) {
        let all = share.bytes().clone();
        assert!(browser.conn.wrote(harness.now, share, all.len()).expect("its own"));
        browser.received.extend_from_slice(&all);
    }
    let expected = browsers[0].tags();
    assert_eq!(expected.len(), 1 + 3 + 3 + 3);
    assert_eq!(browsers[1].tags(), expected);
}

#[test]
fn a_batch_that_is_begun_is_completed() {
    for count in [0, 1, 20, 60] {
        let (harness, mut publisher) = served();
        let mut browser = Browser::asking(&harness, &get("/live/cam.flv"));
        publisher.send(&harness, &gop(160, 3));
        let share = Batches::default().share(&mut browser.conn).expect("there is something new");
        browser.received.extend_from_slice(&share.bytes()[..count]);
        assert!(!browser.conn.wrote(harness.now, share, count).expect("its own"));
        publisher.send(&harness, &gop(240, 4));
        browser.poll(&harness);
        let tags = browser.tags();
        assert_eq!(tags.len(), tags.iter().collect::<std::collections::BTreeSet<_>>().len(), "nothing comes twice");
        assert!(tags.last().expect("the newest").contains("9 at 280"), "{count}: {tags:?}");
    }
}

#[test]
fn the_head_is_held_back_until_the_stream_begins_or_the_time_is_over() {
    let mut harness = Harness::new();
    let mut waiting = Browser::asking(&harness, &get("/live/cam.flv"));
    let mut in_vain = Browser::asking(&harness, &get("/live/other.flv"));
    waiting.run(&mut harness, Duration::from_secs(9));
    assert!(waiting.received.is_empty() && waiting.closed.is_none());
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    waiting.poll(&harness);
    assert_eq!((waiting.status(), waiting.tags().len()), (200, 7));
    in_vain.run(&mut harness, Duration::from_secs(2));
    assert_eq!((in_vain.status(), in_vain.reason()), (404, "wait_for_stream_timeout"));
}

#[test]
fn the_flags_say_what_is_there() {
    let video = [peer::video(0, peer::VIDEO_HEADER), peer::video(0, &peer::key_frame(1))].concat();
    let audio = [peer::audio(0, peer::AUDIO_HEADER), peer::audio(0, &peer::audio_frame(1))].concat();
    // An encoder that announces both, whatever it sends.
    let announced = Object::default().with("hasVideo", true).with("hasAudio", true);
    let announced = [Value::from("@setDataFrame"), "onMetaData".into(), Value::EcmaArray(announced)];
    let announced = peer::data(0, 1, &announced);
    for (media, flags) in [(&video, "audio false video true"), (&audio, "audio true video false")] {
        for (before, announces) in [(true, false), (false, false), (true, true), (false, true)] {
            let sent = &if announces { [&announced[..], media].concat() } else { media.clone() };
            let mut harness = Harness::new();
            let mut publisher = harness.publisher("cam");
            let mut browser = Browser::new(&harness);
            if before {
                publisher.send(&harness, sent);
                harness.pass(Duration::from_secs(5));
                browser.conn = harness.server.connect_by(harness.now, None, Accepts::Web);
            }
            browser.send(&harness, get("/live/cam.flv").as_bytes());
            if !before {
                publisher.send(&harness, sent);
            }
            browser.poll(&harness);
            browser.run(&mut harness, Duration::from_millis(900));
            assert!(browser.received.is_empty(), "another medium may come");
            let next = if flags.starts_with("audio t") {
                peer::audio(1000, &peer::audio_frame(2))
            } else {
                peer::video(1000, &peer::inter_frame(2))
            };
            for _ in 0..30 {
                browser.run(&mut harness, Duration::from_millis(100));
                publisher.send(&harness, &next);
                browser.poll(&harness);
            }
            assert_eq!(browser.tags()[0], flags, "before {before}");
            let body = browser.body().0;
            let promised = |name: &[u8]| {
                body.windows(name.len() + 2).find(|part| part.starts_with(name)).map(|part| part[name.len() + 1])
            };
            let expected = announces.then_some(flags);
            assert_eq!(expected.map(|flags| u8::from(flags.contains("video true"))), promised(b"hasVideo"));
            assert_eq!(expected.map(|flags| u8::from(flags.contains("audio true"))), promised(b"hasAudio"));
        }
    }
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    let mut browser = Browser::asking(&harness, &get("/live/cam.flv"));
    publisher.send(&harness, &[video, audio].concat());
    browser.poll(&harness);
    assert_eq!(browser.tags()[0], "audio true video true");
}

fn refer() -> Refer {
    Refer { play: vec!["a.example".parse().expect("a host")], ..Refer::default() }
}

fn secret() -> Secret {
    Secret::new("0123456789abcdef0123456789abcdef").expect("long enough")
}

/// Players must have a signed URL.
fn token() -> Token {
    Token { secrets: vec![secret()], required_for: TokenScope::Play }
}

#[test]
fn who_may_not_play_gets_the_status_that_says_why() {
    type Change = fn(&mut VhostConfig);
    let cases: [(Change, u16, &str); 5] = [
        (|_| {}, 200, ""),
        (|config| config.refer = refer(), 403, "refer_denied"),
        (|config| config.token = Some(token()), 401, "token_missing"),
        (|config| config.limits = Limits { players: Some(0), ..Limits::default() }, 503, "limit_players"),
        (|config| config.limits = Limits { connections: Some(1), ..Limits::default() }, 503, "limit_connections"),
    ];
    for (change, status, code) in cases {
        let mut config = VhostConfig::default();
        change(&mut config);
        let harness = Harness::with(config.into());
        let mut publisher = harness.publisher("cam");
        publisher.send(&harness, &[headers(), gop(0, 1)].concat());
        let browser = Browser::asking(&harness, &get("/live/cam.flv"));
        assert_eq!(browser.status(), status, "{code}");
        if status != 200 {
            let (head, body) = browser.answer();
            assert!(head.contains("Connection: close\r\n") && !body.is_empty(), "{head}");
            assert_eq!(browser.conn.inner().past.refused, Some(code));
        }
        assert_eq!(browser.conn.stats().snapshot(harness.now).frames_out > 0, status == 200);
    }
    let (harness, _publisher) = served();
    harness.server.drain();
    let drained = Browser::asking(&harness, &get("/live/cam.flv"));
    assert_eq!(drained.status(), 503);
    assert!(drained.answer().0.contains("Retry-After: 5\r\n"));
}

#[test]
fn a_signed_url_lets_a_player_in() {
    let harness = Harness::with(VhostConfig { token: Some(token()), ..VhostConfig::default() }.into());
    harness.server.set_clock(harness.now, 1000);
    let key = "live/cam".parse().expect("a name");
    let signature = sign(&secret(), Asked::Play, &key, 2000);
    let browser = Browser::asking(&harness, &get(&format!("/live/cam.flv?expires=2000&token={signature}")));
    assert_eq!((browser.status(), browser.actions.len()), (0, 1), "it waits for a publisher");
}

#[test]
fn the_page_of_a_player_is_its_referer() {
    let config = VhostConfig { refer: refer(), ..VhostConfig::default() };
    let harness = Harness::with(config.into());
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let request = "GET /live/cam.flv HTTP/1.1\r\nHost: h\r\nReferer: https://a.example/x\r\nUser-Agent: B/1\r\n\r\n";
    let browser = Browser::asking(&harness, request);
    assert_eq!(browser.status(), 200);
    let facts = browser.conn.facts();
    assert_eq!(facts.page_url.as_deref(), Some("https://a.example/x"));
    assert_eq!((facts.tc_url.as_deref(), facts.agent.as_deref()), (Some("http://h/live"), Some("B/1")));
}

#[test]
fn the_back_end_decides_about_players_by_http() {
    let asks = Asks { play: true, ..Asks::default() };
    let harness = Harness::with(VhostConfig { asks, ..VhostConfig::default() }.into());
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    for (verdict, status, notices) in [
        (Verdict::Allow, 200, 1),
        (Verdict::Deny("not today".to_owned()), 403, 0),
        (Verdict::Redirect("https://b.example/live/cam.flv".to_owned()), 302, 0),
    ] {
        let mut browser = Browser::asking(&harness, &get("/live/cam.flv?token=x"));
        assert!(browser.received.is_empty());
        let ask = browser.asked.pop().expect("it is asked");
        assert!(matches!(&ask.subject, Subject::Play(facts) if facts.params == "?token=x"), "{ask:?}");
        browser.conn.answer(harness.now, ask.id, verdict);
        browser.poll(&harness);
        assert_eq!(browser.status(), status);
        browser.conn.handle_disconnect(harness.now, CloseReason::PeerClosed);
        browser.poll(&harness);
        assert_eq!(browser.notices, notices);
    }
}

#[test]
fn a_publisher_that_comes_back_in_time_does_not_end_a_player() {
    let (mut harness, mut publisher) = served();
    let mut browser = Browser::asking(&harness, &get("/live/cam.flv"));
    let before = browser.tags().len();
    publisher.disconnect(&harness);
    browser.poll(&harness);
    browser.run(&mut harness, Duration::from_secs(9));
    let mut again = harness.publisher("cam");
    again.send(&harness, &[headers(), gop(0, 5)].concat());
    browser.poll(&harness);
    let tags = browser.tags();
    assert_eq!(tags.len(), before + 6, "headers again");
    let time = |line: &String| line.split([' ', ':']).nth(2).and_then(|time| time.parse::<u32>().ok());
    let times: Vec<u32> = tags[1..].iter().filter(|line| !line.starts_with("meta")).filter_map(time).collect();
    assert!(times[before - 2..].iter().all(|time| *time >= 120), "{times:?}");
    again.disconnect(&harness);
    browser.poll(&harness);
    browser.run(&mut harness, Duration::from_secs(11));
    assert!(browser.body().1, "the body ends in good order");
    assert_eq!(browser.reason(), "stream_over");
    assert_eq!(browser.tags(), tags);
}

#[test]
fn a_client_of_http_1_0_gets_the_stream_up_to_the_end_of_the_connection() {
    let (mut harness, mut publisher) = served();
    let mut browser = Browser::asking(&harness, "GET /live/cam.flv HTTP/1.0\r\n\r\n");
    let (head, body) = browser.answer();
    assert!(!head.contains("chunked"), "{head}");
    assert_eq!(tags(body).len(), 7);
    publisher.disconnect(&harness);
    browser.poll(&harness);
    browser.run(&mut harness, Duration::from_secs(10));
    assert_eq!((browser.reason(), tags(browser.answer().1).len()), ("stream_over", 7));
}

#[test]
fn a_web_socket_gets_messages_pings_and_a_close() {
    let (mut harness, mut publisher) = served();
    let mut browser = Browser::asking(&harness, &upgrade("/live/cam.flv"));
    let (head, body) = browser.answer();
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    assert!(!head.contains("Content-") && !head.contains("close"), "{head}");
    assert_eq!(body[0], 0x82, "a message");
    assert_eq!(&body[2..5], b"FLV");
    let before = browser.received.len();
    browser.run(&mut harness, Duration::from_secs(26));
    assert_eq!(browser.received[before..], [0x89, 0], "a ping");
    browser.send(&harness, &[0x8a, 0x80, 1, 2, 3, 4, 0x82, 0x81, 0, 0, 0, 0, 9, 0x89, 0x81, 1, 1, 1, 1, 7 ^ 1]);
    assert_eq!(browser.received[before + 2..], [0x8a, 1, 7], "a pong");
    publisher.send(&harness, &gop(160, 3));
    browser.poll(&harness);
    let before = browser.received.len();
    browser.send(&harness, &[0x88, 0x82, 0, 0, 0, 0, 3, 0xe8]);
    assert_eq!((&browser.received[before..], browser.reason()), (&[0x88, 2, 3, 0xe8][..], "peer_closed"));

    let mut wrong = Browser::asking(&harness, &upgrade("/live/cam.flv"));
    let before = wrong.received.len();
    wrong.send(&harness, &[0x82, 1, 9]);
    assert_eq!(wrong.received[before..], [0x88, 2, 0x03, 0xea], "1002");
    wrong.run(&mut harness, Duration::from_secs(5));
    assert_eq!(wrong.reason(), "http_error");

    let mut over = Browser::asking(&harness, &upgrade("/live/cam.flv"));
    publisher.disconnect(&harness);
    over.poll(&harness);
    let before = over.received.len();
    over.run(&mut harness, Duration::from_secs(11));
    assert_eq!((&over.received[before..], over.reason()), (&[0x88, 2, 3, 0xe8][..], "stream_over"));
}

#[test]
fn options_and_other_methods_of_a_live_stream_are_answered_at_once() {
    let (harness, _publisher) = served();
    let mut browser = Browser::new(&harness);
    let mut ask = |method: &str, fields: &str| {
        browser.received.clear();
        browser.send(&harness, format!("{method} /live/cam.flv HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes());
        let (head, body) = browser.answer();
        assert!(body.is_empty() || method == "PUT");
        head
    };
    let options = ask("OPTIONS", "Origin: https://a.example\r\nAccess-Control-Request-Private-Network: true\r\n");
    assert!(options.starts_with("HTTP/1.1 204 No Content\r\n"), "{options}");
    assert!(options.contains("Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"), "{options}");
    assert!(!options.contains("Private-Network"), "{options}");
    assert!(ask("PUT", "").starts_with("HTTP/1.1 405 "));
    assert_eq!(browser.reason(), "open");
}

#[test]
fn pages_of_listed_origins_only() {
    let web =
        http::Settings { origins: http::Origins::Listed(vec!["https://a.example".to_owned()]), ..Default::default() };
    let harness = Harness::with(Config { web: Arc::new(web), ..Config::default() });
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let with = |origin: &str, more: &str| {
        let text = format!("GET /live/cam.flv HTTP/1.1\r\nHost: h\r\nOrigin: {origin}\r\n{more}\r\n");
        Browser::asking(&harness, &text)
    };
    assert!(with("https://a.example", "").answer().0.contains("Access-Control-Allow-Origin: https://a.example\r\n"));
    let other = with("https://b.example", "");
    assert!(other.status() == 200 && !other.answer().0.contains("Allow-Origin"));
    assert_eq!(with("https://a.example", UPGRADE).status(), 101);
    assert_eq!(with("http://h", UPGRADE).status(), 101, "a page of this server");
    let refused = with("https://b.example", UPGRADE);
    assert_eq!((refused.status(), refused.conn.inner().past.refused), (403, Some("page_denied")));
}

#[test]
fn the_program_answers_other_requests_once_in_order_or_too_late() {
    let mut harness = Harness::new();
    let mut browser = Browser::new(&harness);
    browser.send(&harness, [get("/a?b"), get("/c")].concat().as_bytes());
    assert_eq!(browser.requests.len(), 1, "one after the other");
    assert_eq!((browser.requests[0].id, browser.requests[0].request.target()), (1, "/a?b"));
    browser.conn.respond(harness.now, 2, &Answer::text(200, "wrong"));
    browser.conn.respond(harness.now, 1, &Answer::text(200, "one"));
    browser.conn.respond(harness.now, 1, &Answer::text(200, "twice"));
    browser.poll(&harness);
    let text = String::from_utf8(browser.received.clone()).expect("text");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\none\n"), "{text}");
    assert_eq!(browser.requests.len(), 2);
    browser.received.clear();
    browser.run(&mut harness, Duration::from_secs(31));
    assert_eq!(browser.status(), 504);
    browser.conn.respond(harness.now, 2, &Answer::text(200, "late"));
    browser.poll(&harness);
    assert!(browser.answer().1.ends_with(b"the program did not answer in time\n"));
    browser.send(&harness, b"HEAD /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    browser.received.clear();
    browser.conn.respond(harness.now, 3, &Answer::text(404, "no"));
    browser.poll(&harness);
    let (head, body) = browser.answer();
    assert!(head.contains("Content-Length: 3\r\nConnection: close\r\n") && body.is_empty(), "{head}");
    assert_eq!(browser.actions, ["finish"]);
    browser.run(&mut harness, Duration::from_secs(5));
    assert_eq!(browser.reason(), "served");
}

#[test]
fn a_client_that_does_not_read_its_answers_asks_for_no_more() {
    let harness = Harness::new();
    let mut browser = Browser::new(&harness);
    browser.conn.handle_input(harness.now, get("/x").repeat(30).as_bytes());
    browser.poll_full(&harness);
    let mut answered = 0;
    while let Some(asked) = browser.requests.pop() {
        let answer = Answer::new(200).with_body(vec![7; 2000]);
        browser.conn.respond(harness.now, asked.id, &answer);
        browser.poll_full(&harness);
        answered += 1;
    }
    assert_eq!(answered, 3, "they have more than 4 KiB");
    assert!(browser.wait.expect("it waits").read.is_none());
    browser.poll(&harness);
    assert_eq!(browser.requests.len(), 1);
}

#[test]
fn a_request_that_does_not_come_in_time_is_answered_or_not() {
    let mut harness = Harness::new();
    let mut slow = Browser::asking(&harness, "GET / HTT");
    let mut silent = Browser::asking(&harness, "");
    slow.run(&mut harness, Duration::from_secs(11));
    assert_eq!(slow.status(), 408);
    slow.run(&mut harness, Duration::from_secs(5));
    assert_eq!(slow.reason(), "connect_timeout");
    silent.poll(&harness);
    silent.run(&mut harness, Duration::from_secs(1));
    assert_eq!((silent.received.len(), silent.reason()), (0, "connect_timeout"));

    let mut idle = Browser::asking(&harness, &get("/x"));
    idle.conn.respond(harness.now, 1, &Answer::new(204));
    idle.poll(&harness);
    idle.run(&mut harness, Duration::from_secs(59));
    assert_eq!(idle.reason(), "open");
    idle.send(&harness, b"GE");
    idle.run(&mut harness, Duration::from_secs(9));
    assert_eq!(idle.reason(), "open");
    idle.received.clear();
    idle.run(&mut harness, Duration::from_secs(2));
    assert_eq!(idle.status(), 408);

    let mut idle = Browser::asking(&harness, &get("/x"));
    idle.conn.respond(harness.now, 1, &Answer::new(204));
    idle.poll(&harness);
    idle.run(&mut harness, Duration::from_secs(61));
    assert_eq!(idle.reason(), "served");
}

#[test]
fn malformed_requests_are_answered_and_end_the_connection() {
    let mut harness = Harness::new();
    for (text, status) in [
        ("GET / HTTP/1.1\nHost: h\n\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n", 413),
        ("\x03 nothing of HTTP", 400),
    ] {
        let mut browser = Browser::asking(&harness, text);
        assert_eq!(browser.status(), status, "{text:?}");
        browser.send(&harness, get("/x").as_bytes());
        assert!(browser.requests.is_empty());
        browser.run(&mut harness, Duration::from_secs(5));
        assert_eq!(browser.reason(), "http_error");
    }
}

#[test]
fn the_first_bytes_decide_between_http_and_rtmp() {
    let (harness, _publisher) = served();
    for accepts in [Accepts::Web, Accepts::Either] {
        let mut browser = Browser::by(&harness, None, accepts);
        browser.send(&harness, get("/live/cam.flv").as_bytes());
        assert_eq!(browser.status(), 200);
    }
    let mut rtmp = Client::new(&harness, None);
    rtmp.conn = harness.server.connect_by(harness.now, None, Accepts::Either);
    let connect = Object::default().with("app", "live").with("tcUrl", "rtmp://127.0.0.1/live");
    rtmp.send(&harness, &[peer::handshake(), peer::connect_with(connect)].concat());
    assert!(contains(&rtmp.receive(&harness), "_result"));
    let mut refused = Browser::by(&harness, None, Accepts::Rtmp);
    refused.send(&harness, get("/live/cam.flv").as_bytes());
    assert_eq!((refused.received.len(), refused.reason()), (0, "handshake_error"));
}

#[test]
fn a_trusted_proxy_names_the_client_and_others_do_not() {
    let config = Config { trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")], ..Config::default() };
    let harness = Harness::with(config);
    let text = "POST /x HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1, ::ffff:192.0.2.2\r\n\r\n";
    for (peer, accepts, expected) in [
        ("10.0.0.1:5", Accepts::Web, "192.0.2.2:0"),
        ("10.0.0.1:5", Accepts::Either, "192.0.2.2:0"),
        ("203.0.113.1:5", Accepts::Web, "203.0.113.1:5"),
    ] {
        for cut in 0..3 {
            let mut browser = Browser::by(&harness, Some(peer), accepts);
            browser.send(&harness, &text.as_bytes()[..cut]);
            browser.send(&harness, &text.as_bytes()[cut..]);
            assert_eq!(browser.requests.len(), 1, "{peer} {cut}");
            assert_eq!(browser.conn.peer().map(|peer| peer.to_string()).as_deref(), Some(expected), "{cut}");
        }
        let mut behind = Browser::by(&harness, Some("10.0.0.1:5"), accepts);
        behind.send(&harness, b"PROXY TCP4 192.0.2.9 10.0.0.1 7 80\r\n");
        behind.send(&harness, get("/x").as_bytes());
        assert_eq!(behind.conn.peer().map(|peer| peer.to_string()).as_deref(), Some("192.0.2.9:7"));
        assert_eq!(behind.requests.len(), 1);
    }
}

#[test]
fn a_draining_server_ends_players_after_their_group_and_idle_connections_at_once() {
    let (harness, mut publisher) = served();
    let mut player = Browser::asking(&harness, &get("/live/cam.flv"));
    let mut idle = Browser::asking(&harness, &get("/x"));
    idle.conn.respond(harness.now, 1, &Answer::new(204));
    idle.poll(&harness);
    harness.server.drain();
    for browser in [&mut player, &mut idle] {
        browser.conn.drain(harness.now + Duration::from_secs(60), None);
        browser.poll(&harness);
    }
    assert_eq!((idle.reason(), player.reason()), ("drained", "open"));
    publisher.send(&harness, &gop(160, 3));
    player.poll(&harness);
    assert_eq!((player.reason(), player.body().1), ("drained", true));
}

#[test]
fn a_slow_player_by_http_skips_to_a_key_frame() {
    let (mut harness, mut publisher) = served();
    let mut browser = Browser::asking(&harness, &get("/live/cam.flv"));
    let large = |number: u8| [peer::key_frame(number), vec![number; 40_000]].concat();
    for number in 3..13 {
        harness.pass(Duration::from_millis(40));
        publisher.send(&harness, &peer::video(40 * u32::from(number), &large(number)));
        browser.poll_full(&harness);
    }
    assert!(browser.conn.outbound().remaining() < 200_000, "its queue is bounded");
    browser.poll(&harness);
    assert!(browser.tags().len() > 7);
}

#[test]
fn what_a_client_sends_may_be_cut_anywhere() {
    let (harness, _publisher) = served();
    let text = [get("/a").as_bytes(), get("/live/cam.flv").as_bytes(), b"ignored"].concat();
    let whole = |pieces: usize| {
        let mut browser = Browser::new(&harness);
        for piece in text.chunks(pieces) {
            browser.send(&harness, piece);
            if let Some(asked) = browser.requests.pop() {
                browser.conn.respond(harness.now, asked.id, &Answer::text(200, "a"));
                browser.poll(&harness);
            }
        }
        browser.received
    };
    let expected = whole(text.len());
    assert!(expected.len() > 300);
    for pieces in [1, 2, 7, 50] {
        assert_eq!(whole(pieces), expected, "{pieces}");
    }
}

#[test]
fn pages_that_may_play_may_also_read_why_they_may_not() {
    let mut harness = Harness::new();
    let from = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\nOrigin: https://a.example\r\n\r\n");
    let allowed = "Access-Control-Allow-Origin: *\r\n";
    let mut missing = Browser::asking(&harness, &from("/live/cam.flv"));
    missing.run(&mut harness, Duration::from_secs(11));
    assert!(missing.status() == 404 && missing.answer().0.contains(allowed));
    // What the program answers: refusals of what is none of its own.
    for (path, status, may_read) in [
        ("/live/cam.xyz", 404, true),
        ("/live/cam.xyz", 200, false),
        ("/", 404, false),
        ("/api/v1/streams", 401, false),
        ("/assets/x", 404, false),
        ("/live/cam/whep", 404, true),
        ("/rtc/v1/whep/?app=live&stream=cam", 409, true),
        ("/rtc/session/1", 404, true),
    ] {
        let mut browser = Browser::asking(&harness, &from(path));
        browser.conn.respond(harness.now, 1, &Answer::text(status, "words"));
        browser.poll(&harness);
        let (head, _) = browser.answer();
        assert_eq!(head.contains(allowed), may_read, "{path}: {head}");
    }
    let mut own = Browser::asking(&harness, &from("/live/x"));
    own.conn.respond(harness.now, 1, &Answer::text(404, "words").with("access-control-allow-origin", "null"));
    own.poll(&harness);
    assert_eq!(own.answer().0.to_ascii_lowercase().matches("allow-origin").count(), 1);
    let mut late = Browser::asking(&harness, &from("/live/x"));
    late.run(&mut harness, Duration::from_secs(31));
    assert!(late.status() == 504 && late.answer().0.contains(allowed));
}

#[test]
fn how_a_client_gets_a_stream_is_known() {
    let (harness, _publisher) = served();
    for (request, form, kind) in [
        (get("/live/cam.flv"), "http-flv", "flv-play"),
        (upgrade("/live/cam.flv"), "ws-flv", "flv-play"),
        (get("/live/cam.mp4"), "http-mp4", "mp4-play"),
        (upgrade("/live/cam.mp4"), "ws-mp4", "mp4-play"),
    ] {
        let browser = Browser::asking(&harness, &request);
        let delivery = browser.conn.facts().delivery;
        assert_eq!((delivery.name(), delivery.kind()), (form, kind));
    }
    let player = harness.player("cam");
    assert_eq!(player.conn.facts().delivery.to_string(), "rtmp");
}
