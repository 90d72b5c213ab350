//! What a client says to a scripted server, and what it makes of the answers.

use std::time::Duration;

use bytes::Buf;

use super::*;
use crate::amf::{Limits, Object, Value, amf0};
use crate::chunk::ChunkLimits;
use crate::command::{Capabilities, PublishType, reply};
use crate::message::{MessageType, PeerBandwidthLimit, UserControl};
use crate::session::tests::peer::{self, ServerOutput, line};
use crate::source::{Frame, WireFormat};

/// A client with a server on the other end that says what the test says.
#[derive(Debug)]
struct Link {
    client: Client,
    /// What the client has said behind its handshake.
    unheard: Vec<u8>,
    server_output: ServerOutput,
    /// Events that came while time passed.
    events: Vec<ClientEvent>,
    now: Instant,
}

impl Link {
    fn new(config: ClientConfig) -> Self {
        #[allow(clippy::disallowed_methods)] // the one clock of the tests, read once a test
        let now = Instant::now();
        let client = Client::new(Arc::new(config), [5; 32], now);
        Link { client, unheard: Vec::new(), server_output: ServerOutput::after_handshake(), events: Vec::new(), now }
    }

    /// `connect` is sent.
    fn shaken(config: ClientConfig) -> Self {
        let mut link = Link::new(config);
        link.shake_hands();
        link
    }

    fn shake_hands(&mut self) {
        let (mut host, mut answer) = (handshake::ServerHandshake::new([6; 32], 0), Vec::new());
        let _ = host.read(&take(&mut self.client), &mut answer).expect("a legal handshake");
        self.send(&answer);
        let sent = take(&mut self.client);
        let progress = host.read(&sent, &mut answer).expect("a legal handshake");
        assert_eq!(progress.status, Handshake::Done);
        self.unheard = sent[progress.consumed..].to_vec();
    }

    fn connected() -> Self {
        Link::connected_with(config())
    }

    fn connected_with(config: ClientConfig) -> Self {
        let mut link = Link::shaken(config);
        assert_eq!(link.received(), ["3/0 connect 1"]);
        link.command(0, &reply::connect_result(1.0, 0.0));
        assert!(matches!(link.event(), ClientEvent::Connected(_)));
        assert_eq!(link.received(), ["WindowAckSize(2500000)", "SetChunkSize(60000)"]);
        link
    }

    fn publishing() -> (Self, StreamHandle) {
        let mut link = Link::connected();
        let stream = link.client.publish("cam?k=v", PublishType::Live).expect("a stream");
        link.command(0, &reply::create_stream_result(4.0, 1));
        link.status(1, Level::Status, "NetStream.Publish.Start");
        assert!(matches!(link.event(), ClientEvent::Publishing { stream: started } if started == stream));
        link.received();
        (link, stream)
    }

    fn playing() -> (Self, StreamHandle) {
        Link::playing_with(config())
    }

    fn playing_with(config: ClientConfig) -> (Self, StreamHandle) {
        let mut link = Link::connected_with(config);
        let stream = link.client.play("cam", PlayOptions::default()).expect("a stream");
        link.command(0, &reply::create_stream_result(2.0, 1));
        link.status(1, Level::Status, "NetStream.Play.Start");
        assert!(matches!(link.event(), ClientEvent::Playing { stream: started } if started == stream));
        link.received();
        (link, stream)
    }

    fn send(&mut self, bytes: &[u8]) {
        // The error, if any, shows in Closed.
        let _ = self.client.handle_input(self.now, bytes);
    }

    fn command(&mut self, message_stream_id: u32, command: &Command) {
        self.send(&peer::message(MessageType::COMMAND_AMF0, 0, message_stream_id, &command.encode()));
    }

    fn status(&mut self, message_stream_id: u32, level: Level, code: &str) {
        self.command(message_stream_id, &reply::on_status(level, code, "In words."));
    }

    /// What the client has said since the last time.
    fn received(&mut self) -> Vec<String> {
        let mut sent = std::mem::take(&mut self.unheard);
        sent.extend(take(&mut self.client));
        self.server_output.lines(&sent)
    }

    fn event(&mut self) -> ClientEvent {
        if !self.events.is_empty() {
            return self.events.remove(0);
        }
        match self.client.poll_output() {
            ClientOutput::Event(event) => event,
            other => panic!("no event but {other:?}"),
        }
    }

    fn no_event(&mut self) -> Wait {
        assert!(self.events.is_empty(), "{:?}", self.events);
        match self.client.poll_output() {
            ClientOutput::Wait(wait) => wait,
            other => panic!("nothing to wait for but {other:?}"),
        }
    }

    fn closed(&mut self) -> ClientClose {
        take(&mut self.client);
        match self.client.poll_output() {
            ClientOutput::Closed(close) => close,
            other => panic!("not closed but {other:?}"),
        }
    }

    /// Lets time pass, with a timeout at every deadline that comes due; what is written is taken.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            take(&mut self.client);
            let deadline = match self.client.poll_output() {
                ClientOutput::Event(event) => {
                    self.events.push(event);
                    continue;
                }
                ClientOutput::Wait(Wait { due: Some(due), .. }) if due.at <= end => due.at,
                ClientOutput::Wait(_) | ClientOutput::Closed(_) => break,
            };
            assert!(deadline > self.now, "a deadline that passed must not come back");
            self.now = deadline;
            self.client.handle_timeout(deadline);
        }
        self.now = end;
    }
}

use crate::command::reply::Level;

fn config() -> ClientConfig {
    ClientConfig::to(&Destination::parse("rtmp://origin.example/live/cam").expect("a URL"))
}

fn take(client: &mut Client) -> Vec<u8> {
    let count = client.outbound().remaining();
    client.outbound().copy_to_bytes(count).to_vec()
}

#[test]
fn a_client_is_small() {
    assert!(size_of::<Client>() <= 720, "{} bytes", size_of::<Client>());
    let link = Link::connected();
    assert!(!matches!(link.client.endpoint.state, State::Handshake(_)), "the handshake is dropped");
}

#[test]
fn connect_names_the_client_and_the_url() {
    let mut link = Link::shaken(ClientConfig { arguments: vec!["secret".into()], ..config() });
    let messages = link.server_output.messages(&link.unheard);
    let command = Command::parse(20, &messages[0].payload, &Limits::default()).expect("AMF");
    let object = command.object.as_object().expect("an object");
    assert_eq!(object.get("app"), Some(&"live".into()));
    assert_eq!(object.get("tcUrl"), Some(&"rtmp://origin.example:1935/live".into()));
    assert_eq!(command.arguments, ["secret".into()]);
    let info = crate::command::ConnectInfo::from_command(&command);
    assert!(info.capabilities.has(Capabilities::RECONNECT | Capabilities::MULTITRACK | Capabilities::MOD_EX));
}

#[test]
fn a_publisher_speaks_as_fmle_does_and_needs_no_on_fc_publish() {
    let mut link = Link::connected();
    let stream = link.client.publish("cam?k=v", PublishType::Live).expect("a stream");
    assert_eq!(
        link.received(),
        [r#"3/0 releaseStream 2 [String("cam?k=v")]"#, r#"3/0 FCPublish 3 [String("cam?k=v")]"#, "3/0 createStream 4"]
    );
    link.command(0, &reply::result(2.0));
    link.command(0, &reply::call_failed(3.0, "No such call."));
    link.command(0, &reply::create_stream_result(4.0, 7));
    assert_eq!(link.received(), [r#"8/7 publish 5 [String("cam?k=v"), String("live")]"#]);
    assert_eq!(link.client.message_stream_id(stream), Some(7));
    link.status(7, Level::Status, "NetStream.Publish.Start");
    assert!(matches!(link.event(), ClientEvent::Publishing { .. }));
    link.client.stop(stream);
    assert_eq!(link.received(), [r#"3/0 FCUnpublish 6 [String("cam?k=v")]"#, "3/0 deleteStream 7 7"]);
    link.status(7, Level::Status, "NetStream.Unpublish.Success");
    assert!(
        matches!(link.event(), ClientEvent::Status { stream: None, .. }),
        "nothing is received of a stream that is gone"
    );
}

#[test]
fn a_player_asks_for_what_its_options_say() {
    let mut link = Link::connected();
    let options = PlayOptions { duration: Some(5000.0), ask_length: true, buffer: 100, ..PlayOptions::default() };
    let stream = link.client.play("cam", options).expect("a stream");
    link.command(0, &reply::create_stream_result(2.0, 1));
    assert_eq!(
        link.received(),
        [
            "3/0 createStream 2",
            r#"8/1 getStreamLength 3 [String("cam")]"#,
            r#"8/1 play 4 [String("cam"), Number(-2000.0), Number(5000.0), Boolean(true)]"#,
            "SetBufferLength { message_stream_id: 1, milliseconds: 100 }"
        ]
    );
    link.command(0, &reply::result(3.0).with(9.5));
    assert!(matches!(link.event(), ClientEvent::Length { stream: of, seconds: 9.5 } if of == stream));
    link.status(1, Level::Status, "NetStream.Play.Reset");
    assert!(matches!(link.event(), ClientEvent::Status { stream: Some(on), .. } if on == stream));
    link.status(1, Level::Status, "NetStream.Play.Start");
    assert!(matches!(link.event(), ClientEvent::Playing { .. }));
}

#[test]
fn requests_made_before_the_connection_is_up_are_sent_then() {
    let mut link = Link::new(config());
    let first = link.client.publish("a", PublishType::Record).expect("a stream");
    let second = link.client.play("b", PlayOptions::default()).expect("a stream");
    let third = link.client.play("c", PlayOptions::default()).expect("a stream");
    link.client.stop(third);
    assert!(first != second && second != third);
    link.shake_hands();
    assert_eq!(link.received(), ["3/0 connect 1"]);
    link.command(0, &reply::connect_result(1.0, 0.0));
    let received = link.received();
    let commands: Vec<_> = received[2..].iter().map(|line| line.split(' ').nth(1).unwrap_or_default()).collect();
    assert_eq!(commands, ["releaseStream", "FCPublish", "createStream", "createStream"]);
}

#[test]
fn a_stream_stopped_too_early_is_deleted_when_it_has_its_id() {
    let mut link = Link::connected();
    let stream = link.client.play("cam", PlayOptions::default()).expect("a stream");
    link.client.stop(stream);
    link.received();
    link.command(0, &reply::create_stream_result(2.0, 3));
    assert_eq!(link.received(), ["3/0 deleteStream 3 3"]);
    link.no_event();
}

#[test]
fn several_streams_share_a_connection() {
    let mut link = Link::connected();
    let a = link.client.play("a", PlayOptions::default()).expect("a stream");
    let b = link.client.play("b", PlayOptions::default()).expect("a stream");
    link.command(0, &reply::create_stream_result(3.0, 2));
    link.command(0, &reply::create_stream_result(2.0, 1));
    link.status(2, Level::Status, "NetStream.Play.Start");
    link.status(1, Level::Status, "NetStream.Play.Start");
    assert!(matches!(link.event(), ClientEvent::Playing { stream } if stream == b));
    assert!(matches!(link.event(), ClientEvent::Playing { stream } if stream == a));
    link.send(&peer::message(MessageType::AUDIO, 5, 2, &peer::audio_frame(1)));
    assert!(matches!(link.event(), ClientEvent::Media { stream, .. } if stream == b));
    link.send(&peer::message(MessageType::AUDIO, 5, 3, &peer::audio_frame(1)));
    link.send(&peer::message(MessageType::AUDIO, 5, 0, &peer::audio_frame(1)));
    link.no_event();
    assert_eq!(link.client.counters().stray_media, 2);
}

#[test]
fn a_message_stream_that_is_given_twice_stays_the_first_ones() {
    let (mut link, first) = Link::publishing();
    let second = link.client.play("b", PlayOptions::default()).expect("a stream");
    link.command(0, &reply::create_stream_result(6.0, 1));
    let ClientEvent::Rejected { stream, rejection } = link.event() else { panic!("it is rejected") };
    assert_eq!((stream, rejection.code.as_str()), (Some(second), ""));
    assert!(rejection.description.contains("message stream 1"), "{rejection:?}");
    let third = link.client.play("c", PlayOptions::default()).expect("a stream");
    link.client.stop(third);
    link.command(0, &reply::create_stream_result(7.0, 1));
    link.no_event();
    assert_eq!(link.received(), ["3/0 createStream 6", "3/0 createStream 7"], "nothing is deleted");
    assert_eq!((link.client.message_stream_id(first), link.client.phase()), (Some(1), Phase::Publishing));
}

#[test]
fn media_comes_as_it_was_sent_and_aggregates_in_parts() {
    let (mut link, _) = Link::playing();
    let tag = |type_id, time, body: &[u8]| {
        let mut tag = vec![type_id, 0, 0, body.len() as u8, 0, 0, time, 0, 0, 0, 0];
        tag.extend_from_slice(body);
        tag.extend_from_slice(&[0, 0, 0, 0]);
        tag
    };
    let parts = [tag(8, 0, &peer::audio_frame(1)), tag(9, 20, &peer::key_frame(2)), tag(8, 40, &[])].concat();
    link.send(&peer::message(MessageType::AGGREGATE, 1000, 1, &parts));
    let mut lines = Vec::new();
    for _ in 0..2 {
        let ClientEvent::Media { message, .. } = link.event() else { panic!("media") };
        lines.push(line(&message));
    }
    assert_eq!(lines, ["audio frame 1 on 1 at 1000", "video key 2 on 1 at 1020"]);
    assert!(matches!(link.event(), ClientEvent::Media { message, .. } if message.payload.is_empty()));

    link.send(&peer::data(7, 1, &["onMetaData".into(), Object::default().with("width", 1.0).into()]));
    let mut selected = vec![0];
    amf0::encode(&Value::from("onCuePoint"), &mut selected);
    link.send(&peer::message(MessageType::DATA_AMF3, 8, 1, &selected));
    link.send(&peer::data(8, 1, &["|RtmpSampleAccess".into(), true.into(), true.into()]));
    for expected in ["data onMetaData on 1 at 7", "data onCuePoint on 1 at 8"] {
        let ClientEvent::Media { message, .. } = link.event() else { panic!("data") };
        assert_eq!(line(&message), expected);
    }
    link.no_event();
}

#[test]
fn an_end_is_told_once_and_a_new_publisher_is_told() {
    let (mut link, stream) = Link::playing();
    link.status(1, Level::Status, "NetStream.Play.UnpublishNotify");
    link.send(&peer::control(&Control::User(UserControl::StreamEof(1))));
    assert!(matches!(link.event(), ClientEvent::Ended { stream: of, reason: EndReason::Unpublished } if of == stream));
    link.no_event();
    link.status(1, Level::Status, "NetStream.Play.PublishNotify");
    assert!(matches!(link.event(), ClientEvent::PublishNotify { .. }));
    link.send(&peer::control(&Control::User(UserControl::StreamEof(1))));
    assert!(matches!(link.event(), ClientEvent::Ended { reason: EndReason::Eof, .. }));
    link.send(&peer::audio(9, &peer::audio_frame(1)));
    assert!(matches!(link.event(), ClientEvent::PublishNotify { .. }), "frames say so, too");
    assert!(matches!(link.event(), ClientEvent::Media { .. }));
    let complete = reply::information(Level::Status, "NetStream.Play.Complete", "");
    link.send(&peer::data(9, 1, &["onPlayStatus".into(), complete.into()]));
    assert!(matches!(link.event(), ClientEvent::Ended { reason: EndReason::Complete, .. }));
}

#[test]
fn a_pause_is_no_end() {
    let (mut link, stream) = Link::playing();
    link.client.pause(stream, true, 70);
    assert_eq!(link.received(), ["8/1 pause 0 [Boolean(true), Number(70.0)]"]);
    link.send(&peer::control(&Control::User(UserControl::StreamEof(1))));
    link.no_event();
    link.client.pause(stream, false, 70);
    link.send(&peer::control(&Control::User(UserControl::StreamBegin(1))));
    link.no_event();
}

#[test]
fn a_refused_connect_closes() {
    let mut link = Link::shaken(config());
    let ex = Object::default().with("code", 302.0).with("redirect", "rtmp://other/live");
    let information = reply::information(Level::Error, "NetConnection.Connect.Rejected", "Elsewhere.").with("ex", ex);
    link.command(0, &reply::connect_error(1.0, information));
    let ClientEvent::Rejected { stream: None, rejection } = link.event() else { panic!("a refusal") };
    let redirect = rejection.redirect.as_ref().expect("a redirect");
    let destination = redirect.destination("cam?a=b").expect("a URL");
    assert_eq!(destination.to_string(), "rtmp://other:1935/live/cam?a=b");
    let close = link.closed();
    assert_eq!(close.reason, ClientCloseReason::Rejected("NetConnection.Connect.Rejected".into()));
    assert_eq!(close.phase, Phase::Connect);
    assert_eq!(link.client.publish("x", PublishType::Live), Err(NotAsked::NotConnected));
}

#[test]
fn a_redirect_of_a_stream_comes_on_the_connection() {
    let mut link = Link::connected();
    let stream = link.client.play("cam", PlayOptions::default()).expect("a stream");
    link.command(0, &reply::create_stream_result(2.0, 1));
    let ex = Object::default().with("code", 302.0).with("redirect2", "rtmp://other:1936/live/cam2");
    let information = reply::information(Level::Error, "NetConnection.Connect.Rejected", "").with("ex", ex);
    link.command(0, &Command::new("onStatus", 0.0, Value::Null).with(information));
    let ClientEvent::Rejected { stream: Some(of), rejection } = link.event() else { panic!("a refusal") };
    assert_eq!(of, stream);
    let destination = rejection.redirect.expect("a redirect").destination("cam").expect("a URL");
    assert_eq!(destination.to_string(), "rtmp://other:1936/live/cam2");
}

#[test]
fn refusals_come_in_every_form_and_end_the_stream_alone() {
    // By notice, by an answer to the call, to createStream, and with what lets one wonder.
    for way in 0..4 {
        let mut link = Link::connected();
        let stream = link.client.play("cam", PlayOptions::default()).expect("a stream");
        if way == 2 {
            link.command(0, &reply::call_failed(2.0, "No."));
        } else {
            link.command(0, &reply::create_stream_result(2.0, 1));
        }
        match way {
            0 => link.status(1, Level::Error, "NetStream.Play.StreamNotFound"),
            1 => link.command(1, &reply::call_failed(3.0, "No.")),
            3 => {
                let information = Object::default().with("code", "NetStream.Play.StreamNotFound");
                link.command(1, &Command::new("onStatus", 0.0, Value::Null).with(information));
            }
            _ => {}
        }
        assert!(matches!(link.event(), ClientEvent::Rejected { stream: Some(of), .. } if of == stream), "way {way}");
        link.no_event();
        assert_eq!(link.client.message_stream_id(stream), None);
        assert!(link.client.play("cam", PlayOptions::default()).is_ok(), "the connection goes on");
    }
}

#[test]
fn a_publisher_that_is_taken_over_gets_an_error_status() {
    let (mut link, stream) = Link::publishing();
    link.status(1, Level::Error, "NetStream.Publish.BadName");
    let ClientEvent::Rejected { stream: Some(of), rejection } = link.event() else { panic!("a refusal") };
    assert_eq!((of, rejection.code.as_str()), (stream, "NetStream.Publish.BadName"));
    let frame = frame(1, 60_000);
    assert_eq!(link.client.send_frame(stream, &frame), Err(NotSent::NotPublishing));
}

#[test]
fn a_reconnect_request_is_resolved() {
    for (sent, expected) in [
        (None, None),
        (Some("//other:1936/live"), Some("rtmp://other:1936/live")),
        (Some("/second?x=y"), Some("rtmp://origin.example/second?x=y")),
        (Some("rtmp://far/live"), Some("rtmp://far/live")),
    ] {
        let mut link = Link::connected();
        link.command(0, &reply::reconnect_request(sent, "The server is about to stop."));
        let ClientEvent::ReconnectRequest { tc_url, description } = link.event() else { panic!("a reconnect request") };
        assert_eq!(tc_url.map(|url| url.to_string()).as_deref(), expected);
        assert_eq!(description, "The server is about to stop.");
    }
    let mut link = Link::connected();
    link.command(0, &reply::reconnect_request(Some("http://web/"), ""));
    assert!(matches!(link.event(), ClientEvent::Status { stream: None, .. }), "no client is sent to another place");
}

#[test]
fn pings_windows_and_bandwidth_checks_are_answered() {
    let mut link = Link::connected();
    link.send(&peer::control(&Control::User(UserControl::PingRequest(77))));
    let limit = PeerBandwidthLimit::Dynamic;
    for window in [2_500_000, 5_000_000, 5_000_000] {
        link.send(&peer::control(&Control::SetPeerBandwidth { window, limit }));
    }
    let soft = PeerBandwidthLimit::Soft;
    link.send(&peer::control(&Control::SetPeerBandwidth { window: 9_000_000, limit: soft }));
    link.command(0, &Command::new("onBWDone", 0.0, Value::Null));
    link.command(0, &Command::new("_onbwcheck", 9.0, Value::Null).with("payload"));
    assert_eq!(link.received(), ["PingResponse(77)", "WindowAckSize(5000000)", "3/0 _result 9 0"]);
    link.no_event();
    link.command(0, &Command::new("makeCoffee", 10.0, Value::Null));
    assert_eq!(link.received(), ["3/0 _error 10 NetConnection.Call.Failed"]);
    assert!(matches!(link.event(), ClientEvent::Call(command) if command.name == "makeCoffee"));
}

#[test]
fn calls_get_their_answers() {
    let mut link = Link::connected();
    let first = link.client.call("a", Value::Null, &[1.0.into()]).expect("a call");
    let second = link.client.call("b", Value::Null, &[]).expect("a call");
    link.command(0, &reply::call_failed(f64::from(second.transaction()), "No."));
    link.command(0, &reply::result(f64::from(first.transaction())).with(4.0));
    link.command(0, &reply::result(f64::from(first.transaction())).with(5.0));
    let ClientEvent::Answer { call, answer: Some(answer) } = link.event() else { panic!("an answer") };
    assert!(call == second && !answer.success);
    let ClientEvent::Answer { call, answer: Some(answer) } = link.event() else { panic!("an answer") };
    assert!(call == first && answer.success && answer.values == [4.0.into()]);
    link.no_event();
    assert_eq!(link.client.counters().ignored_messages, 1);

    let third = link.client.call("c", Value::Null, &[]).expect("a call");
    link.pass(Duration::from_secs(11));
    assert!(matches!(link.event(), ClientEvent::Answer { call, answer: None } if call == third));
}

fn frame(message_stream_id: u32, chunk_size: u32) -> Frame {
    let payload = vec![0x17; 5000].into();
    let message = Message { chunk_stream: 6, timestamp: 9, type_id: MessageType::VIDEO, message_stream_id, payload };
    Frame::encode(message, WireFormat { chunk_size })
}

#[test]
fn a_frame_shares_its_payload() {
    let (mut link, stream) = Link::publishing();
    let frame = frame(1, 60_000);
    link.client.send_frame(stream, &frame).expect("sent");
    assert_eq!(link.client.outbound().chunk().as_ptr(), frame.wire().as_ptr());
    assert_eq!(link.received(), ["video frame 23 on 1 at 9"]);
}

#[test]
fn our_chunk_size_follows_frames_up_and_never_down() {
    let mut link = Link::shaken(ClientConfig { chunk_size: 500, ..config() });
    let stream = link.client.publish("cam", PublishType::Live).expect("a stream");
    link.command(0, &reply::connect_result(1.0, 0.0));
    link.command(0, &reply::create_stream_result(4.0, 1));
    link.status(1, Level::Status, "NetStream.Publish.Start");
    link.received();
    for chunk_size in [400, 1000, 1000, 700] {
        link.client.send_frame(stream, &frame(1, chunk_size)).expect("sent");
    }
    let payload = vec![0x27; 2500].into();
    let message =
        Message { chunk_stream: 9, timestamp: 10, type_id: MessageType::VIDEO, message_stream_id: 9, payload };
    link.client.send_message(stream, message).expect("sent");
    let (frame, message) = ("video frame 23 on 1 at 9", "video frame 39 on 1 at 10");
    assert_eq!(link.received(), [frame, "SetChunkSize(1000)", frame, frame, frame, message]);
}

#[test]
fn metadata_goes_out_as_servers_want_it() {
    let (mut link, stream) = Link::publishing();
    let mut body = Vec::new();
    amf0::encode(&Value::from("onMetaData"), &mut body);
    amf0::encode(&Value::from(Object::default().with("width", 9.0)), &mut body);
    let message = Message {
        chunk_stream: 5,
        timestamp: 3,
        type_id: MessageType::DATA_AMF0,
        message_stream_id: 1,
        payload: body.into(),
    };
    let frame = Frame::encode(message, WireFormat { chunk_size: 60_000 });
    link.client.send_frame(stream, &frame).expect("sent");
    assert_eq!(link.received(), ["data @setDataFrame on 1 at 3"]);
}

#[test]
fn a_full_queue_takes_no_more_media() {
    let mut config = config();
    config.limits.outbound = 12_000;
    let mut link = Link::connected_with(config);
    let stream = link.client.publish("cam", PublishType::Live).expect("a stream");
    assert_eq!(link.client.send_frame(stream, &frame(1, 60_000)), Err(NotSent::NotPublishing), "not yet");
    link.command(0, &reply::create_stream_result(4.0, 1));
    link.status(1, Level::Status, "NetStream.Publish.Start");
    link.received();
    for _ in 0..3 {
        link.client.send_frame(stream, &frame(1, 60_000)).expect("sent");
    }
    assert_eq!(link.client.send_frame(stream, &frame(1, 60_000)), Err(NotSent::Full { waiting: 3 * 5012 }));
    let lent = link.client.outbound().lend().expect("frames wait");
    assert_eq!(link.client.send_frame(stream, &frame(1, 60_000)), Err(NotSent::Full { waiting: 3 * 5012 }));
    link.client.outbound().restore(lent).expect("it is its own");
    link.received();
    assert!(link.client.send_frame(stream, &frame(1, 60_000)).is_ok());
}

#[test]
fn limits_of_streams_and_calls_are_kept() {
    let mut config = config();
    (config.limits.streams, config.limits.calls) = (2, 3);
    let mut link = Link::connected_with(config);
    assert!(link.client.play("a", PlayOptions::default()).is_ok());
    assert!(link.client.play("b", PlayOptions::default()).is_ok());
    assert_eq!(link.client.publish("c", PublishType::Live), Err(NotAsked::TooManyStreams { limit: 2 }));
    assert!(link.client.call("x", Value::Null, &[]).is_ok());
    assert_eq!(link.client.call("y", Value::Null, &[]), Err(NotAsked::TooManyCalls { limit: 3 }));
}

#[test]
fn every_wait_has_an_end() {
    let seconds = Duration::from_secs;
    let mut link = Link::new(config());
    link.pass(seconds(9));
    link.no_event();
    link.pass(seconds(2));
    assert_eq!(link.closed().reason, ClientCloseReason::Timeout(ClientTimeout::Handshake));

    let mut link = Link::shaken(config());
    link.pass(seconds(11));
    assert_eq!(link.closed().reason, ClientCloseReason::Timeout(ClientTimeout::Connect));

    let mut link = Link::connected();
    let created = link.client.play("cam", PlayOptions::default()).expect("a stream");
    link.pass(seconds(11));
    assert!(matches!(link.event(), ClientEvent::Unanswered { stream } if stream == created));
    let asked = link.client.publish("cam", PublishType::Live).expect("a stream");
    link.command(0, &reply::create_stream_result(6.0, 1));
    link.received();
    link.pass(seconds(11));
    assert!(matches!(link.event(), ClientEvent::Unanswered { stream } if stream == asked));
    link.no_event();

    let mut config = config();
    config.timeouts.read = Some(seconds(20));
    let mut link = Link::connected_with(config);
    link.pass(seconds(15));
    link.send(&peer::control(&Control::Acknowledgement(1)));
    link.pass(seconds(15));
    link.no_event();
    link.pass(seconds(6));
    assert_eq!(link.closed().reason, ClientCloseReason::Timeout(ClientTimeout::Read));
}

#[test]
fn the_side_that_closes_sends_its_final_messages_first() {
    let (mut link, stream) = Link::publishing();
    link.client.close();
    assert!(link.no_event().write);
    assert_eq!(link.received(), [r#"3/0 FCUnpublish 6 [String("cam?k=v")]"#, "3/0 deleteStream 7 1"]);
    let close = link.closed();
    assert_eq!((close.reason, close.phase), (ClientCloseReason::Closed, Phase::Publishing));
    assert_eq!(link.client.send_frame(stream, &frame(1, 60_000)), Err(NotSent::NotPublishing));
    link.send(&[9; 100]);
    link.client.handle_timeout(link.now);
    link.closed();
}

#[test]
fn the_end_comes_behind_the_events() {
    let (mut link, _) = Link::playing();
    link.send(&peer::audio(9, &peer::audio_frame(1)));
    link.client.handle_disconnect(link.now, ClientCloseReason::PeerClosed);
    assert!(matches!(link.event(), ClientEvent::Media { .. }));
    assert_eq!(link.closed().reason, ClientCloseReason::PeerClosed);

    let mut link = Link::connected();
    link.command(0, &Command::new("close", 0.0, Value::Null));
    assert_eq!(link.closed().reason, ClientCloseReason::ToldToClose);
}

#[test]
fn errors_name_their_place() {
    let mut link = Link::new(config());
    link.send(b"HTTP/1.1 400 Bad Request");
    let ClientCloseReason::Protocol(Error::Handshake(_)) = link.closed().reason else { panic!("a handshake error") };

    let mut limits = config();
    limits.limits.chunks = ChunkLimits { message: 1000, ..ChunkLimits::default() };
    let mut link = Link::connected_with(limits);
    link.send(&peer::message(MessageType::VIDEO, 0, 1, &[0; 1001]));
    let ClientCloseReason::Protocol(Error::Chunk(_)) = link.closed().reason else { panic!("a chunk error") };

    let mut link = Link::shaken(config());
    link.send(&peer::message(MessageType::COMMAND_AMF0, 0, 0, &[0xff]));
    let ClientCloseReason::Protocol(Error::Command(_)) = link.closed().reason else { panic!("a command error") };
}

/// Logs and metrics are searched by the names.
#[test]
fn reasons_have_names_that_stay_and_words() {
    let reasons = [
        (ClientCloseReason::PeerClosed, "peer_closed", "the server closed the connection"),
        (ClientCloseReason::PeerLost("reset".into()), "peer_lost", "connection lost: reset"),
        (
            ClientCloseReason::Timeout(ClientTimeout::Handshake),
            "handshake_timeout",
            "the server did not complete the handshake in time",
        ),
        (
            ClientCloseReason::Timeout(ClientTimeout::Connect),
            "connect_timeout",
            "the server did not answer connect in time",
        ),
        (ClientCloseReason::Timeout(ClientTimeout::Read), "read_timeout", "the server stopped sending"),
        (ClientCloseReason::Timeout(ClientTimeout::Write), "write_timeout", "the server stopped reading"),
        (ClientCloseReason::ToldToClose, "told_to_close", "the server asked the client to close the connection"),
        (ClientCloseReason::Closed, "closed", "closed"),
    ];
    for (reason, name, words) in reasons {
        assert_eq!((reason.name(), reason.to_string().as_str()), (name, words));
    }
    let error = Error::Chunk(crate::chunk::ChunkError::ZeroChunkSize);
    let expected = (error.name(), format!("protocol error: {error}"));
    let reason = ClientCloseReason::Protocol(error.clone());
    assert_eq!((reason.name(), reason.to_string()), expected);
}
