//! What a session does when its server asks for it: how each action is sent to the client, and its name in logs.

use super::*;
use crate::amf::{Limits, Object, Value};
use crate::chunk::ChunkError;
use crate::command::{Command, CommandError};
use crate::handshake::HandshakeError;
use crate::http::HttpError;
use crate::message::ControlError;
use crate::policy::Refusal;

/// The information object of the last notice.
fn information(link: &mut Link) -> (u32, Object) {
    let bytes = link.take();
    let messages = link.server_output.messages(&bytes);
    let last = messages.last().expect("a notice");
    let command = Command::parse(last.type_id, &last.payload, &Limits::default()).expect("AMF");
    let information = command.arguments.first().and_then(Value::as_object).expect("an information object");
    (last.message_stream_id, information.clone())
}

fn text(object: &Object, key: &str) -> String {
    object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[test]
fn a_publisher_that_another_follows_is_told_and_closed() {
    let mut link = Link::publishing(SessionConfig::default());
    link.session.take_over(1);
    assert_eq!(link.receive(), ["5/1 onStatus 0 NetStream.Publish.BadName"]);
    assert_eq!(link.closed(), None, "it has a moment to read that");
    link.pass(Duration::from_secs(3));
    let end = link.closed().expect("the moment is over");
    assert_eq!((end.reason, end.phase), (CloseReason::TakenOver, Phase::Publishing));
}

#[test]
fn a_playback_that_is_complete_is_told_once_and_another_may_follow() {
    let mut link = Link::playing();
    assert!(link.wait().source);
    link.session.complete_play(1);
    let complete = ["data onPlayStatus on 1 at 0", "StreamEof(1)", "5/1 onStatus 0 NetStream.Play.Stop"];
    assert_eq!(link.receive(), complete);
    assert_eq!((link.session.phase(), link.wait().source), (Phase::Connected, false));
    link.session.complete_play(1);
    assert_eq!(link.receive(), [""; 0]);
    link.send(&peer::play(1, "door"));
    link.accept_play();
    assert_eq!(link.session.phase(), Phase::Playing);
    // A client that does not play again has as long to send its next request as at first.
    link.session.complete_play(1);
    link.pass(Duration::from_secs(30));
    assert_eq!(link.closed().map(|close| close.reason), Some(CloseReason::Timeout(TimeoutKind::Identify)));
}

#[test]
fn only_a_client_that_supports_it_is_asked_to_reconnect() {
    let mut link = Link::connected();
    assert!(!link.session.request_reconnect(None, "maintenance"));
    assert_eq!(link.receive(), [""; 0]);

    let mut link = Link::new(SessionConfig::default());
    link.send(&peer::handshake());
    link.send(&peer::connect_with(Object::default().with("app", "live").with("capsEx", 1.0)));
    link.accept_connect();
    link.receive();
    assert!(link.session.request_reconnect(Some("rtmp://other/live"), "maintenance"));
    let (message_stream_id, information) = information(&mut link);
    assert_eq!(message_stream_id, 0);
    assert_eq!(text(&information, "code"), "NetConnection.Connect.ReconnectRequest");
    assert_eq!(
        (text(&information, "tcUrl"), text(&information, "description")),
        ("rtmp://other/live".into(), "maintenance".into())
    );
    assert_eq!(link.closed(), None, "it is served until it leaves");
    link.session.close_with_words(CloseReason::Shutdown);
    assert!(link.session.request_reconnect(None, "too late"));
    assert_eq!(link.receive(), [""; 0]);
}

#[test]
fn a_redirect_names_the_other_server_on_the_connections_own_stream() {
    let mut link = Link::connected();
    link.send(&peer::create_stream(2.0));
    link.send(&peer::play(1, "cam"));
    let SessionEvent::Play(request) = link.event() else { panic!("a play") };
    link.session.reject(request, &Rejection::redirect("rtmp://edge/live/cam".into()));
    let (message_stream_id, information) = information(&mut link);
    assert_eq!((message_stream_id, text(&information, "code").as_str()), (0, "NetConnection.Connect.Rejected"));
    let ex = information.get("ex").and_then(Value::as_object).expect("where to");
    assert_eq!(ex.get("code").and_then(Value::as_number), Some(302.0));
    assert_eq!(
        (text(ex, "redirect").as_str(), text(ex, "redirect2").as_str()),
        ("rtmp://edge/live", "rtmp://edge/live/cam")
    );

    // Without a target, the status is about the stream and names no other address.
    let mut link = Link::connected();
    link.send(&peer::play(0, "cam"));
    let SessionEvent::Play(request) = link.event() else { panic!("a play") };
    link.session.reject(request, &Rejection::play_denied("members only"));
    let (message_stream_id, information) = self::information(&mut link);
    assert_eq!((message_stream_id, text(&information, "code").as_str()), (1, "NetStream.Play.Failed"));
    assert_eq!(
        (text(&information, "level").as_str(), text(&information, "description").as_str()),
        ("error", "members only")
    );
    assert_eq!(information.get("ex"), None);
}

#[test]
fn on_bw_done_is_said_where_it_is_wanted() {
    let mut link = Link::new(SessionConfig { bandwidth_done: true, ..SessionConfig::default() });
    link.send(&peer::handshake());
    link.send(&peer::connect());
    link.accept_connect();
    assert_eq!(link.receive().last().map(String::as_str), Some("3/0 onBWDone 0"));
}

#[test]
fn a_proxy_in_front_may_name_the_clients_address() {
    for (header, client) in [("PROXY TCP4 192.0.2.7 192.0.2.1 51000 1935\r\n", Some("192.0.2.7:51000")), ("", None)] {
        let bytes = [header.as_bytes(), &peer::handshake(), &peer::connect()].concat();
        for size in [1, 7, bytes.len()] {
            let mut link = Link::new(SessionConfig::default());
            link.session = Session::behind_proxy(Arc::new(SessionConfig::default()), [5; 32], link.start);
            for piece in bytes.chunks(size) {
                link.send(piece);
            }
            link.accept_connect();
            assert_eq!(link.receive().last().map(String::as_str), Some("3/0 _result 1 NetConnection.Connect.Success"));
            let address = client.map(|client| client.parse().expect("an address"));
            assert_eq!((link.session.client_address(), link.session.received()), (address, bytes.len() as u64));
        }
    }
    // A server without such a proxy does not accept the header.
    let mut link = Link::new(SessionConfig::default());
    link.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 51000 1935\r\n");
    assert!(matches!(link.closed(), Some(Close { reason: CloseReason::Protocol(Error::Handshake(_)), .. })));
    // A damaged header is not interpreted.
    link.session = Session::behind_proxy(Arc::new(SessionConfig::default()), [5; 32], link.start);
    link.send(b"PROXY TCP4 192.0.2.7 nonsense\r\n");
    assert!(matches!(link.closed(), Some(Close { reason: CloseReason::Protocol(Error::Preface(_)), .. })));
}

/// People search logs and metrics for these names.
#[test]
fn reasons_have_names_that_stay_and_words() {
    let protocol = |error: Error| CloseReason::Protocol(error);
    let reasons = [
        (CloseReason::PeerClosed, "peer_closed", "the client closed the connection"),
        (CloseReason::PeerLost("reset".into()), "peer_lost", "connection lost: reset"),
        (CloseReason::Tls(TlsFault::Broken, "no version".into()), "tls_error", "TLS: no version"),
        (CloseReason::Tls(TlsFault::BeginningTooLong, "too long".into()), "tls_beginning_too_long", "TLS: too long"),
        (CloseReason::Tls(TlsFault::WithoutContent, "empty".into()), "tls_without_content", "TLS: empty"),
        (CloseReason::Tls(TlsFault::TooManyBegin, "too many".into()), "tls_too_many_begin", "TLS: too many"),
        (
            CloseReason::WebRtc(WebRtcFault::NotConnected),
            "webrtc_not_connected",
            "the client did not connect by WebRTC in time",
        ),
        (CloseReason::WebRtc(WebRtcFault::Silent), "webrtc_silent", "the client does not answer by WebRTC any more"),
        (CloseReason::WebRtc(WebRtcFault::Broken), "webrtc_error", "the client breaks the protocol of WebRTC"),
        (
            CloseReason::WebRtc(WebRtcFault::Bug),
            "webrtc_bug",
            "the server failed to serve the client by WebRTC, which is a bug",
        ),
        (
            protocol(Error::Preface(crate::preface::PrefaceError::TooLong { length: 9 })),
            "proxy_header_error",
            "protocol error: proxy header of 9 bytes is over the limit",
        ),
        (
            protocol(Error::Chunk(ChunkError::ZeroChunkSize)),
            "chunk_error",
            "protocol error: chunk stream: chunk size 0",
        ),
        (
            protocol(Error::Control(ControlError::ZeroChunkSize)),
            "control_error",
            "protocol error: control message: chunk size 0",
        ),
        (
            protocol(Error::Command(CommandError::NoName)),
            "command_error",
            "protocol error: command: command does not start with its name",
        ),
        (
            protocol(Error::Http(HttpError::BodyTooLong { length: 9, limit: 8 })),
            "http_error",
            "protocol error: HTTP: the body of the request has 9 bytes, over the limit of 8",
        ),
        (CloseReason::Served, "served", "the web client has got what it asked for"),
        (CloseReason::StreamOver, "stream_over", "the stream is over"),
        (
            protocol(Error::MessageOverLimit { type_id: 18, length: 9, limit: 8 }),
            "message_over_limit",
            "protocol error: message of type 18 with 9 bytes is over the limit of 8",
        ),
        (
            protocol(Error::InboxOverLimit { limit: 8 }),
            "inbox_over_limit",
            "protocol error: more than 8 bytes arrived while a request waited for its answer",
        ),
        (
            CloseReason::Timeout(TimeoutKind::Connect),
            "connect_timeout",
            "the client sent no connect, or no request, in time",
        ),
        (
            CloseReason::Timeout(TimeoutKind::Identify),
            "identify_timeout",
            "the client neither published nor played in time",
        ),
        (
            CloseReason::Timeout(TimeoutKind::FirstMessage),
            "first_message_timeout",
            "the publisher sent no media after publish",
        ),
        (CloseReason::Timeout(TimeoutKind::NextMessage), "next_message_timeout", "the publisher stopped sending media"),
        (CloseReason::Timeout(TimeoutKind::Write), "write_timeout", "the client stopped reading"),
        (
            CloseReason::Timeout(TimeoutKind::WaitForStream),
            "wait_for_stream_timeout",
            "the player waited too long for a publisher",
        ),
        (CloseReason::Rejected("NetStream.Publish.BadName"), "rejected", "refused: NetStream.Publish.BadName"),
        (
            CloseReason::Refused(Refusal::LimitBitrate),
            "limit_bitrate",
            "the publisher sends more than its limit allows",
        ),
        (CloseReason::BandwidthChecked, "bandwidth_checked", "the bandwidth check is over"),
        (CloseReason::Idle, "idle_publisher", "no player watched the publisher's stream"),
        (CloseReason::TooSlow, "player_too_slow", "the player was too slow and missed too much"),
        (CloseReason::MemoryShort, "memory_short", "memory was short, and the client took too much of it"),
        (CloseReason::TakenOver, "taken_over", "another publisher took the stream over"),
        (CloseReason::OriginLost, "origin_lost", "no origin takes the stream any more"),
        (CloseReason::LeaseLost, "lease_lost", "another server of the cluster has the name of the stream"),
        (CloseReason::Drained, "drained", "the server drains: the GOP has ended, or the time is over"),
        (CloseReason::Shutdown, "shutdown", "the server stopped"),
        (CloseReason::Closed("as asked"), "closed", "as asked"),
    ];
    for (reason, name, words) in &reasons {
        let (name, words) = (*name, *words);
        assert_eq!((reason.name(), reason.to_string().as_str()), (name, words));
        let known = CloseReason::NAMES.contains(&name) || Refusal::CODES.contains(&name);
        assert!(known, "{name} is in no list");
    }
    let errors = [HandshakeError::Tls].map(|error| protocol(error.into()).name());
    let named: Vec<_> = reasons.iter().map(|(_, name, _)| *name).chain(errors).collect();
    let unused: Vec<_> = CloseReason::NAMES.into_iter().filter(|name| !named.contains(name)).collect();
    assert!(unused.is_empty(), "no reason has these names: {unused:?}");
    let phases = [Phase::Handshake, Phase::Connect, Phase::Connected, Phase::Publishing, Phase::Playing];
    assert_eq!(phases.map(|phase| phase.to_string()), ["handshake", "connect", "connected", "publishing", "playing"]);
    let kinds = [ClientKind::Fmle, ClientKind::Haivision, ClientKind::Flash, ClientKind::WebRtc];
    let names = ["fmle-publish", "haivision-publish", "flash-publish", "rtc-publish"];
    assert_eq!(kinds.map(|kind| kind.to_string()), names);
}
