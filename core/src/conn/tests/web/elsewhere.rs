//! Clients by WebRTC, which have no connection: publishers, and players that get packets.

use super::*;
use crate::hub::Conflict;
use crate::message::Message;
use crate::policy::Rate;
use crate::session::{Outcome, WebRtcFault};

/// A request, and the application and stream that it is for.
fn post(target: &str) -> http::Request {
    let text = format!("POST {target} HTTP/1.1\r\nHost: tv.example:8080\r\nUser-Agent: OBS\r\n\r\n");
    let mut reader = http::RequestReader::new(http::Limits::default());
    reader.read(&mut text.as_bytes()).expect("it is legal").expect("it is whole")
}

fn offering(harness: &Harness, query: &str) -> Browser {
    let peer = Some("192.0.2.7:5000".parse().expect("an address"));
    let request = post(&format!("/live/cam/whip{query}"));
    let mut publisher = Browser::new(harness);
    publisher.conn = harness.server.offer(harness.now, peer, &request, "live", "cam");
    publisher.poll(harness);
    publisher
}

fn viewing(harness: &Harness) -> Browser {
    let mut viewer = Browser::new(harness);
    let request = post("/rtc/v1/whep/?app=live&stream=cam");
    viewer.conn = harness.server.view(harness.now, None, &request, "live", "cam", Delivery::WebRtc);
    viewer.poll(harness);
    viewer
}

fn granted(harness: &Harness, query: &str) -> Browser {
    let mut publisher = offering(harness, query);
    assert_eq!(publisher.conn.take_admission(), Some(Admission::Granted));
    publisher
}

impl Browser {
    fn publish(&mut self, harness: &Harness, message: Message) {
        self.conn.publish_media(harness.now, message);
        self.poll(harness);
    }

    /// The status of its refusal; then it is gone.
    fn refusal(&mut self, harness: &Harness) -> (u16, bool) {
        let Some(Admission::Refused(answer)) = self.conn.take_admission() else { panic!("it is not refused") };
        self.conn.handle_disconnect(harness.now, CloseReason::PeerClosed);
        self.poll(harness);
        assert!(self.closed.is_some());
        (answer.status, answer.has_field("Retry-After"))
    }
}

fn picture(time: u32) -> Message {
    Message::video(time, peer::key_frame(1).as_slice())
}

#[test]
fn what_is_offered_is_published_as_by_rtmp_and_its_bytes_count() {
    let harness = Harness::new();
    let mut publisher = granted(&harness, "");
    assert_eq!(publisher.actions, ["attach publisher of live/cam, from 192.0.2.7:5000"]);
    assert_eq!(publisher.conn.take_admission(), None);
    let mut player = harness.player("cam");
    publisher.publish(&harness, Message::video(0, peer::VIDEO_HEADER));
    publisher.publish(&harness, picture(40));
    let received = player.receive(&harness);
    assert!(contains(&received, "video"), "{received:?}");
    let sent = (peer::VIDEO_HEADER.len() + peer::key_frame(1).len()) as u64;
    let stats = publisher.conn.stats().snapshot(harness.now);
    assert_eq!((stats.bytes_in, stats.frames_in), (sent, 2));
    let facts = publisher.conn.facts();
    assert_eq!((facts.delivery, facts.app.as_str()), (Delivery::WebRtc, "live"));
    assert_eq!((facts.tc_url.as_deref(), facts.agent.as_deref()), (Some("http://tv.example:8080/live"), Some("OBS")));
    assert_eq!(publisher.conn.session().manner().name(), "rtc-publish");
    publisher.conn.leave(harness.now);
    publisher.poll(&harness);
    let report = publisher.closed.expect("it has left");
    assert_eq!((report.role, report.received, report.close.outcome()), (Some(Role::Publisher), sent, Outcome::Orderly));
    assert!(harness.server.hub().standing(&"live/cam".parse().expect("a name")).publication.is_none());
}

#[test]
fn a_publisher_whose_connection_breaks_ends_with_the_reason() {
    for (fault, outcome) in [
        (WebRtcFault::NotConnected, Outcome::Failed),
        (WebRtcFault::Silent, Outcome::Lost),
        (WebRtcFault::Broken, Outcome::Failed),
        (WebRtcFault::Bug, Outcome::Closed),
    ] {
        let harness = Harness::new();
        let mut publisher = granted(&harness, "");
        publisher.conn.handle_disconnect(harness.now, CloseReason::WebRtc(fault));
        publisher.poll(&harness);
        let close = publisher.closed.expect("it is gone").close;
        assert_eq!((close.reason.clone(), close.outcome()), (CloseReason::WebRtc(fault), outcome));
    }
}

#[test]
fn a_publisher_without_media_ends_as_one_by_rtmp() {
    let mut harness = Harness::new();
    let timeouts = session::SessionTimeouts::default();
    let mut publisher = granted(&harness, "");
    publisher.run(&mut harness, timeouts.first_message);
    assert!(matches!(publisher.conn.take_admission(), Some(Admission::Refused(_))));
    publisher.run(&mut harness, Duration::from_secs(60));
    assert_eq!(publisher.reason(), "first_message_timeout");
    let mut publisher = granted(&harness, "");
    for second in 0..30 {
        publisher.publish(&harness, picture(second * 1000));
        publisher.run(&mut harness, Duration::from_secs(1));
        assert_eq!(publisher.reason(), "open");
    }
    publisher.run(&mut harness, timeouts.next_message + Duration::from_secs(60));
    assert_eq!(publisher.reason(), "next_message_timeout");
}

#[test]
fn an_offer_is_refused_with_the_status_that_says_why() {
    type Change = fn(&mut VhostConfig);
    let cases: [(Change, (u16, bool), &str); 6] = [
        (|config| config.security = "deny publish all".parse().expect("a rule"), (403, false), "security_denied"),
        (
            |config| config.token = Some(Token { secrets: vec![secret()], required_for: TokenScope::Publish }),
            (401, false),
            "token_missing",
        ),
        (
            |config| config.refer = Refer { publish: vec!["a.example".parse().expect("a host")], ..Refer::default() },
            (403, false),
            "refer_denied",
        ),
        (|config| config.limits = Limits { publishers: Some(0), ..Limits::default() }, (503, true), "limit_publishers"),
        (
            |config| config.limits = Limits { connections: Some(0), ..Limits::default() },
            (503, true),
            "limit_connections",
        ),
        (|_| {}, (409, false), "name_taken"),
    ];
    for (change, status, code) in cases {
        let mut config = VhostConfig::default();
        change(&mut config);
        let harness = Harness::with(config.into());
        let holder = (code == "name_taken").then(|| harness.publisher("cam"));
        let mut publisher = offering(&harness, "");
        assert_eq!(publisher.refusal(&harness), status, "{code}");
        assert_eq!(publisher.closed.expect("it is over").refused, Some(code));
        drop(holder);
    }
}

#[test]
fn a_back_end_is_asked_about_an_offer_and_told_of_its_end() {
    let asks = Asks { publish: true, ..Asks::default() };
    let harness = Harness::with(VhostConfig { asks, ..VhostConfig::default() }.into());
    for (verdict, status) in [
        (Verdict::Deny("no".to_owned()), 403),
        (Verdict::Unanswered("no".to_owned()), 503),
        (Verdict::Redirect("https://other.example/live/cam/whip".to_owned()), 307),
        (Verdict::Redirect("rtmp://other.example/live/cam".to_owned()), 403),
    ] {
        let mut publisher = offering(&harness, "?a=b");
        let ask = publisher.asked.pop().expect("it asks");
        assert_eq!(ask.client.delivery, Delivery::WebRtc);
        let Subject::Publish(facts) = &ask.subject else { panic!("{:?}", ask.subject) };
        assert_eq!((facts.key.to_string().as_str(), facts.params.as_str()), ("live/cam", "?a=b"));
        assert_eq!(publisher.conn.take_admission(), None);
        publisher.conn.answer(harness.now, ask.id, verdict);
        publisher.poll(&harness);
        assert_eq!(publisher.refusal(&harness).0, status);
        assert_eq!(publisher.notices, 0);
    }
    let mut publisher = offering(&harness, "");
    let ask = publisher.asked.pop().expect("it asks");
    publisher.conn.answer(harness.now, ask.id, Verdict::Rename("other".to_owned()));
    publisher.poll(&harness);
    assert_eq!(publisher.conn.take_admission(), Some(Admission::Granted));
    assert_eq!(publisher.conn.streams().next().map(|(_, key)| key.to_string()), Some("live/other".to_owned()));
    publisher.conn.leave(harness.now);
    publisher.poll(&harness);
    assert_eq!(publisher.notices, 1);
}

#[test]
fn a_publisher_that_loses_its_name_is_told_that() {
    let harness = Harness::with(VhostConfig { conflict: Conflict::TakeOver, ..VhostConfig::default() }.into());
    let mut first = granted(&harness, "?token=x");
    first.publish(&harness, picture(0));
    let second = granted(&harness, "?token=x");
    first.publish(&harness, picture(40));
    assert_eq!(first.refusal(&harness), (409, false));
    assert_eq!(first.reason(), "taken_over");
    // By RTMP, too.
    let mut second = second;
    let third = harness.publisher("cam?token=x");
    second.publish(&harness, picture(80));
    assert_eq!(second.refusal(&harness), (409, false));
    let fourth = granted(&harness, "?token=x");
    drop((third, fourth));
}

#[test]
fn a_client_that_the_server_closes_is_not_to_come_again() {
    let harness = Harness::new();
    let mut clients = [granted(&harness, ""), viewing(&harness)];
    assert_eq!(clients[1].conn.take_admission(), Some(Admission::Granted));
    for client in &mut clients {
        client.conn.close(CloseReason::Closed("closed by order"));
        client.poll(&harness);
        assert_eq!(client.refusal(&harness), (403, false));
        assert_eq!(client.reason(), "closed");
    }
}

#[test]
fn a_draining_server_refuses_offers_and_gives_publishers_time() {
    let mut harness = Harness::new();
    let mut publisher = granted(&harness, "");
    publisher.publish(&harness, picture(0));
    let mut viewer = viewing(&harness);
    viewer.conn.take_admission();
    harness.server.drain();
    for client in [&mut publisher, &mut viewer] {
        client.conn.drain(harness.now + Duration::from_secs(5), None);
        client.poll(&harness);
    }
    assert_eq!(viewer.refusal(&harness), (503, true), "its page asks another server");
    assert_eq!(viewer.reason(), "drained");
    assert_eq!(offering(&harness, "").refusal(&harness), (503, true));
    publisher.run(&mut harness, Duration::from_secs(4));
    assert_eq!(publisher.conn.take_admission(), None, "players by RTMP come to the end of their GOPs");
    publisher.run(&mut harness, Duration::from_secs(1));
    assert_eq!(publisher.refusal(&harness), (503, true));
    assert_eq!(publisher.reason(), "drained");
}

#[test]
fn a_publisher_that_sends_more_than_its_rate_is_closed() {
    let rate = Rate { bytes_per_second: 100, window: Duration::from_secs(1) };
    let limits = Limits { publisher_rate: Some(rate), ..Limits::default() };
    let harness = Harness::with(VhostConfig { limits, ..VhostConfig::default() }.into());
    let mut publisher = granted(&harness, "");
    publisher.publish(&harness, Message::video(0, [0x17, 1].repeat(500)));
    publisher.refusal(&harness);
    assert_eq!(publisher.reason(), "limit_bitrate");
}

#[test]
fn a_message_over_the_limit_ends_the_publisher() {
    let mut config = VhostConfig::default();
    config.session.limits.chunks.message = 100;
    let harness = Harness::with(config.into());
    let mut publisher = granted(&harness, "");
    publisher.publish(&harness, Message::video(0, vec![0x17; 101]));
    publisher.refusal(&harness);
    assert_eq!(publisher.reason(), "message_over_limit");
}

#[test]
fn a_player_by_webrtc_goes_on_if_the_publisher_comes_back_in_time() {
    let mut config = VhostConfig { unpublish_grace: Duration::from_secs(5), ..VhostConfig::default() };
    config.session.timeouts.wait_for_stream = Duration::from_secs(30);
    let mut harness = Harness::with(config.into());
    let mut viewer = viewing(&harness);
    assert_eq!(viewer.conn.take_admission(), Some(Admission::Granted), "it waits for the publisher");
    viewer.run(&mut harness, Duration::from_secs(29));
    let mut publisher = harness.publisher("cam");
    viewer.poll(&harness);
    viewer.run(&mut harness, Duration::from_secs(100));
    assert_eq!(viewer.reason(), "open");
    viewer.conn.note_sent(harness.now, 3, 1000);
    let stats = viewer.conn.stats().snapshot(harness.now);
    assert_eq!((stats.bytes_out, stats.frames_out), (1000, 3));
    publisher.disconnect(&harness);
    viewer.poll(&harness);
    viewer.run(&mut harness, Duration::from_secs(4));
    let mut publisher = harness.publisher("cam");
    viewer.poll(&harness);
    viewer.run(&mut harness, Duration::from_secs(100));
    assert_eq!((viewer.conn.take_admission(), viewer.reason()), (None, "open"));
    publisher.disconnect(&harness);
    viewer.poll(&harness);
    viewer.run(&mut harness, Duration::from_secs(5));
    assert_eq!(viewer.refusal(&harness), (404, false));
    let report = viewer.closed.expect("it is over");
    assert_eq!((report.close.reason.name(), report.role, report.sent), ("stream_over", Some(Role::Player), 1000));
}

#[test]
fn players_by_http_get_opus() {
    let harness = Harness::new();
    let mut publisher = granted(&harness, "");
    let mut body = Vec::new();
    let about = Object::default().with(crate::source::BY_WEBRTC, true).with("audiocodecid", 1.0);
    for value in [Value::from("onMetaData"), Value::EcmaArray(about)] {
        crate::amf::amf0::encode(&value, &mut body);
    }
    publisher.publish(&harness, Message::data(0, body));
    publisher.publish(&harness, Message::video(0, peer::VIDEO_HEADER));
    publisher.publish(&harness, Message::audio(0, b"\x90OpusOpusHead".as_slice()));
    publisher.publish(&harness, picture(0));
    publisher.publish(&harness, Message::audio(20, b"\x91Opus1".as_slice()));
    let browser = Browser::asking(&harness, &get("/live/cam.flv"));
    let tags = browser.tags();
    assert_eq!(tags[0], "audio true video true");
    assert_eq!(tags.iter().filter(|tag| tag.starts_with("8 at")).count(), 2, "{tags:?}");
}

#[test]
fn a_player_by_webrtc_waits_only_so_long_for_a_publisher() {
    let mut config = VhostConfig::default();
    config.session.timeouts.wait_for_stream = Duration::from_secs(30);
    let mut harness = Harness::with(config.into());
    let mut viewer = viewing(&harness);
    viewer.conn.take_admission();
    viewer.run(&mut harness, Duration::from_secs(29));
    assert_eq!(viewer.conn.take_admission(), None);
    viewer.run(&mut harness, Duration::from_secs(1));
    assert_eq!(viewer.refusal(&harness), (404, false));
    assert_eq!(viewer.reason(), "wait_for_stream_timeout");
}

#[test]
fn a_client_by_webrtc_is_not_captured() {
    let harness = Harness::new();
    let mut publisher = granted(&harness, "");
    let error = publisher.conn.capture(harness.now, Box::new(Nothing)).expect_err("there are no bytes");
    assert_eq!(error, NotCaptured::WebRtc);
}

/// A tap that is not used.
#[derive(Debug)]
struct Nothing;

impl Tap for Nothing {
    fn record(&mut self, _: &[u8]) {}
}
