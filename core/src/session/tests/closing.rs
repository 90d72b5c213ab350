//! How connections end: by timeouts, errors, refusals, and the peer.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn timeout(kind: TimeoutKind) -> CloseReason {
    CloseReason::Timeout(kind)
}

fn close(reason: CloseReason, phase: Phase, offset: u64) -> Option<Close> {
    Some(Close { reason, phase, offset, told: String::new() })
}

#[test]
fn handshake_and_connect_have_one_time_limit() {
    let mut link = Link::new(SessionConfig::default());
    link.pass(9 * SECOND);
    assert_eq!(link.closed(), None);
    link.send(&peer::handshake()[..100]);
    link.pass(SECOND);
    assert_eq!(link.closed(), close(timeout(TimeoutKind::Connect), Phase::Handshake, 100));

    let mut link = Link::new(SessionConfig::default());
    link.send(&peer::handshake());
    link.receive();
    link.pass(10 * SECOND);
    assert_eq!(link.closed(), close(timeout(TimeoutKind::Connect), Phase::Connect, 3073));
}

#[test]
fn a_request_dropped_unanswered_times_out() {
    let mut link = Link::new(SessionConfig::default());
    link.send(&peer::handshake());
    link.send(&peer::connect());
    link.receive();
    drop(link.event());
    link.pass(10 * SECOND);
    assert_eq!(link.closed().map(|close| close.reason), Some(timeout(TimeoutKind::Connect)));

    let mut link = Link::connected();
    link.send(&peer::create_stream(2.0));
    link.send(&peer::play(1, "cam"));
    link.receive();
    drop(link.event());
    link.pass(30 * SECOND);
    assert_eq!(link.closed().map(|close| close.reason), Some(timeout(TimeoutKind::Identify)));
}

#[test]
fn a_client_must_make_a_request_in_time_and_again_after_it_stopped() {
    let mut link = Link::connected();
    link.pass(29 * SECOND);
    assert_eq!(link.closed(), None);
    link.pass(SECOND);
    assert_eq!(
        link.closed().map(|close| (close.reason, close.phase)),
        Some((timeout(TimeoutKind::Identify), Phase::Connected))
    );

    let mut link = Link::playing();
    link.pass(300 * SECOND);
    assert_eq!(link.closed(), None, "a player may wait without limit");
    link.send(&peer::command("closeStream", 0.0, 1, &[]));
    assert_eq!(link.events().len(), 1);
    link.pass(30 * SECOND);
    assert_eq!(link.closed().map(|close| close.reason), Some(timeout(TimeoutKind::Identify)));
}

#[test]
fn a_publisher_must_send_within_its_times() {
    let mut link = Link::publishing(SessionConfig::default());
    link.pass(19 * SECOND);
    assert_eq!(link.closed(), None);
    link.pass(SECOND);
    let first = (timeout(TimeoutKind::FirstMessage), Phase::Publishing);
    assert_eq!(link.closed().map(|close| (close.reason, close.phase)), Some(first));

    let mut link = Link::publishing(SessionConfig::default());
    for _ in 0..10 {
        link.pass(9 * SECOND);
        link.send(&peer::audio(0, peer::AUDIO_HEADER));
        assert_eq!(link.events().len(), 1);
    }
    let last = link.seconds();
    link.pass(9 * SECOND);
    assert_eq!(link.closed(), None);
    // Pings and acknowledgements are not media: they do not count.
    link.send(&peer::control(&Control::Acknowledgement(1)));
    link.pass(SECOND);
    assert_eq!(link.seconds() - last, 10);
    assert_eq!(link.closed().map(|close| close.reason), Some(timeout(TimeoutKind::NextMessage)));
}

#[test]
fn a_publisher_whose_bytes_are_not_read_is_not_silent() {
    let mut link = Link::publishing(SessionConfig::default());
    link.send(&peer::video(0, &peer::key_frame(1)));
    link.events();
    // A question about another stream is open: what arrives before the answer is not parsed.
    link.send(&peer::create_stream(3.0));
    link.send(&peer::publish(2, "second"));
    let SessionEvent::Publish(request) = link.event() else { panic!("a question") };
    let limit = SessionConfig::default().timeouts.next_message;
    let still = Duration::from_secs(1);
    link.pass(limit - still);
    assert!(link.wait().read.is_none());
    link.session.accept(request);
    // What the publisher sent is in the socket when the timeout is due.
    link.pass(still);
    assert_eq!(link.closed(), None);
    link.send(&peer::video(40, &peer::inter_frame(2)));
    assert_eq!(link.events().len(), 1);
    // From here on, silence counts.
    link.pass(limit * 3);
    assert_eq!(link.closed().map(|close| close.reason), Some(timeout(TimeoutKind::NextMessage)));
}

#[test]
fn bytes_left_unread_before_publish_do_not_excuse_silence() {
    let mut link = Link::publishing(SessionConfig::default());
    link.send(&peer::command("closeStream", 0.0, 1, &[]));
    assert_eq!(link.events().len(), 1);
    link.send(&peer::publish(1, "again"));
    let SessionEvent::Publish(request) = link.event() else { panic!("a question") };
    assert!(link.wait().read.is_none(), "nothing is read while the question is open");
    link.session.accept(request);
    link.send(&peer::video(0, &peer::key_frame(1)));
    assert_eq!(link.events().len(), 1);
    link.pass(9 * SECOND);
    assert_eq!(link.closed(), None);
    link.pass(SECOND);
    assert_eq!(link.closed().map(|close| close.reason), Some(timeout(TimeoutKind::NextMessage)));
}

#[test]
fn the_first_message_sets_the_time_for_the_next() {
    let mut link = Link::publishing(SessionConfig::default());
    link.pass(15 * SECOND);
    // It is checked a second before its timeout.
    assert_eq!(link.wait().deadline(), Some(link.now + 4 * SECOND), "for a first message");
    link.send(&peer::audio(0, peer::AUDIO_HEADER));
    assert_eq!(link.events().len(), 1);
    assert_eq!(link.wait().deadline(), Some(link.now + 9 * SECOND));
    let last = link.seconds();
    link.pass(60 * SECOND);
    assert_eq!(link.closed().map(|close| close.reason), Some(timeout(TimeoutKind::NextMessage)));
    assert_eq!(link.seconds() - last, 60);
}

/// The whole process is stopped, and what the peer sends during that time waits in the socket. Then the first thing
/// that the session gets is a timeout that was due long ago.
#[test]
fn a_pause_of_the_process_is_not_counted_as_silence() {
    for (pause, in_use) in [(9, 1), (10, 1), (11, 1), (12, 5), (3600, 9)].map(|(a, b)| (a * SECOND, b * SECOND)) {
        let mut strangers = Link::new(SessionConfig::default());
        strangers.pass(in_use);
        strangers.freeze(pause);
        assert_eq!(strangers.closed(), None, "{pause:?}");
        strangers.send(&[peer::handshake(), peer::connect()].concat());
        assert!(matches!(strangers.event(), SessionEvent::Connect(_)));

        let mut publisher = Link::publishing(SessionConfig::default());
        publisher.pass(in_use);
        publisher.freeze(pause + 10 * SECOND);
        assert_eq!(publisher.closed(), None, "{pause:?} before the first message");
        publisher.send(&peer::video(0, &peer::key_frame(1)));
        assert_eq!(publisher.events().len(), 1);
        publisher.pass(in_use);
        publisher.freeze(pause);
        assert_eq!(publisher.closed(), None, "{pause:?}");
        publisher.send(&peer::video(40, &peer::inter_frame(2)));
        assert_eq!(publisher.events().len(), 1);
        publisher.pass(9 * SECOND);
        assert_eq!(publisher.closed(), None, "{pause:?}");
        publisher.pass(2 * SECOND);
        assert_eq!(publisher.closed().map(|close| close.reason), Some(timeout(TimeoutKind::NextMessage)));

        let mut silent = Link::publishing(SessionConfig::default());
        silent.send(&peer::video(0, &peer::key_frame(1)));
        assert_eq!(silent.events().len(), 1);
        silent.pass(in_use);
        silent.freeze(pause);
        silent.pass(10 * SECOND);
        assert_eq!(silent.closed().map(|close| close.reason), Some(timeout(TimeoutKind::NextMessage)), "{pause:?}");
    }
}

#[test]
fn a_peer_that_took_nothing_while_the_process_was_stopped_has_its_time_to_do_so() {
    let mut link = Link::playing();
    link.session.send_user_control(UserControl::StreamBegin(1));
    link.stall(SECOND);
    link.freeze_full(100 * SECOND);
    assert_eq!(link.closed(), None, "it was not asked");
    link.stall(7 * SECOND);
    assert_eq!(link.closed(), None);
    link.receive();
    link.pass(SECOND);
    assert_eq!(link.closed(), None);
}

#[test]
fn a_second_publication_has_the_time_of_a_first_message_again() {
    let mut link = Link::publishing(SessionConfig::default());
    link.send(&peer::audio(0, peer::AUDIO_HEADER));
    link.send(&peer::command("closeStream", 0.0, 1, &[]));
    assert_eq!(link.events().len(), 2);
    link.pass(15 * SECOND);
    link.send(&peer::publish(1, "cam"));
    link.accept_publish();
    link.receive();
    link.pass(19 * SECOND);
    assert_eq!(link.closed(), None);
    link.pass(SECOND);
    assert_eq!(link.closed().map(|close| close.reason), Some(timeout(TimeoutKind::FirstMessage)));
}

#[test]
fn a_stream_that_is_played_gives_a_silent_publisher_no_more_time() {
    let mut link = Link::publishing(SessionConfig::default());
    link.pass(15 * SECOND);
    link.send(&peer::create_stream(3.0));
    link.send(&peer::play(2, "other"));
    link.accept_play();
    link.receive();
    link.pass(4 * SECOND);
    assert_eq!(link.closed(), None);
    link.pass(SECOND);
    assert_eq!(link.closed().map(|close| close.reason), Some(timeout(TimeoutKind::FirstMessage)));
}

#[test]
fn a_peer_that_takes_nothing_is_given_up_however_often_it_is_checked() {
    let mut link = Link::playing();
    link.send(&peer::control(&Control::User(UserControl::PingRequest(1))));
    for _ in 0..40 {
        link.stall(SECOND);
    }
    let SessionOutput::Closed(end) = link.session.poll_output() else { panic!("not given up") };
    assert_eq!(end.reason, timeout(TimeoutKind::Write));
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let mut link = Link::playing();
    link.send(&peer::control(&Control::User(UserControl::PingRequest(1))));
    assert!(link.wait().write);
    link.stall(29 * SECOND);
    // A taken byte is progress, and starts the timeout again.
    link.session.outbound().advance(1);
    link.stall(30 * SECOND);
    assert_eq!(link.session.phase(), Phase::Playing);
    assert!(link.wait().source);
    link.stall(SECOND);
    let wait = link.wait();
    assert!(wait.write && !wait.source, "it has ended, and what is queued may still be written");
    link.stall(2 * SECOND);
    assert!(link.wait().write);
    link.stall(SECOND);
    let SessionOutput::Closed(end) = link.session.poll_output() else { panic!("not given up") };
    assert_eq!((end.reason, end.phase), (timeout(TimeoutKind::Write), Phase::Playing));
    assert!(link.session.outbound().is_empty());
}

#[test]
fn pings_go_out_and_answers_are_not_needed() {
    let mut link = Link::playing();
    link.pass(95 * SECOND);
    assert_eq!(link.receive(), ["PingRequest(30000)", "PingRequest(60000)", "PingRequest(90000)"]);
    assert_eq!(link.closed(), None);
}

#[test]
fn a_refused_publish_gets_an_error_status_and_the_connection_lingers() {
    let mut link = Link::connected();
    link.send(&peer::create_stream(2.0));
    link.send(&peer::publish(1, "cam"));
    let SessionEvent::Publish(request) = link.event() else { panic!("a publish") };
    link.session.reject(request, &Rejection::stream_in_use("cam"));
    assert_eq!(link.receive(), ["3/0 _result 2 1", "5/1 onStatus 0 NetStream.Publish.BadName"]);
    // All bytes are written, but the session waits for the peer to close, and reads what it still sends.
    let wait = link.wait();
    assert!(wait.read.is_some() && !wait.write && wait.deadline().is_some());
    link.send(&peer::video(0, peer::VIDEO_HEADER));
    assert_eq!(link.closed(), None);
    link.pass(3 * SECOND);
    let end = link.closed().expect("the peer had its time");
    assert_eq!((end.reason, end.phase), (CloseReason::Rejected("NetStream.Publish.BadName"), Phase::Connected));

    // A peer that closes ends the wait.
    let mut link = Link::connected();
    link.send(&peer::play(0, "cam"));
    let SessionEvent::Play(request) = link.event() else { panic!("a play") };
    link.session.reject(request, &Rejection::bad_play_name("no"));
    assert_eq!(link.receive(), ["5/1 onStatus 0 NetStream.Play.StreamNotFound"]);
    assert_eq!(link.closed(), None);
    link.session.handle_disconnect(link.now, CloseReason::PeerClosed);
    assert_eq!(link.closed().map(|close| close.reason), Some(CloseReason::Rejected("NetStream.Play.StreamNotFound")));
}

#[test]
fn a_client_that_floods_after_its_refusal_is_cut_off() {
    for (bytes, cut_off) in [(256 << 10, false), ((256 << 10) + 5, true)] {
        let mut link = Link::connected();
        link.send(&[peer::create_stream(2.0), peer::publish(1, "cam")].concat());
        let SessionEvent::Publish(request) = link.event() else { panic!("no publish") };
        link.session.reject(request, &Rejection::publish_denied("no"));
        link.send(&vec![0; bytes]);
        // The messages for the peer are still queued, and are dropped with the connection.
        assert_eq!(link.session.outbound().is_empty(), cut_off, "after {bytes} bytes");
    }
}

#[test]
fn a_refused_connect_gets_its_windows_and_an_error() {
    let mut link = Link::new(SessionConfig::default());
    link.send(&peer::handshake());
    link.send(&peer::connect());
    link.send(&peer::create_stream(2.0));
    let SessionEvent::Connect(request) = link.event() else { panic!("a connect") };
    link.session.reject(request, &Rejection::invalid_app("no such app"));
    let received = link.receive();
    assert_eq!(received.len(), 4, "{received:?}");
    assert_eq!(received[3], "3/0 _error 1 NetConnection.Connect.InvalidApp");
    link.pass(3 * SECOND);
    let end = link.closed().expect("closed");
    assert_eq!((end.reason, end.phase), (CloseReason::Rejected("NetConnection.Connect.InvalidApp"), Phase::Connect));
}

#[test]
fn errors_close_with_their_place() {
    let cases: [(&[u8], Error); 3] = [
        (&[0xc9, 7, 7], crate::chunk::ChunkError::FreshStream { chunk_stream: 9, format: 3 }.into()),
        (&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7], crate::message::ControlError::ZeroChunkSize.into()),
        (
            &[2, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 7, 7],
            crate::message::ControlError::Short { type_id: 3, length: 0 }.into(),
        ),
    ];
    for (bytes, error) in cases {
        let mut link = Link::connected();
        let before = link.session.received();
        assert_eq!(link.session.handle_input(link.now, bytes), Err(error.clone()));
        // The two bytes after the fault do not count.
        let offset = before + bytes.len() as u64 - 2;
        assert_eq!(link.closed(), close(CloseReason::Protocol(error), Phase::Connected, offset));
        assert_eq!(link.session.handle_input(link.now, b"more"), Ok(()), "it has ended: input is ignored");
    }
    let mut link = Link::new(SessionConfig::default());
    link.send(b"GET / HTTP/1.1\r\n\r\n");
    let end = link.closed().expect("closed");
    assert!(matches!(end.reason, CloseReason::Protocol(Error::Handshake(_))), "{end:?}");
    assert_eq!((end.phase, end.offset, end.reason.name()), (Phase::Handshake, 0, "handshake_error"));
}

#[test]
fn a_connect_that_cannot_be_read_ends_it() {
    let mut link = Link::new(SessionConfig::default());
    link.send(&peer::handshake());
    link.receive();
    link.send(&peer::message(MessageType::COMMAND_AMF0, 0, 0, &[5, 5]));
    let end = link.closed().expect("closed");
    assert_eq!(end.reason, CloseReason::Protocol(crate::command::CommandError::NoName.into()));
}

#[test]
fn commands_and_data_have_a_limit_and_media_has_not() {
    let mut config = SessionConfig::default();
    config.limits.command = 400;
    let mut link = Link::publishing(config);
    link.send(&peer::video(0, &[0x17; 5000]));
    assert_eq!(link.events().len(), 1);
    link.send(&peer::data(0, 1, &["x".into(), "x".repeat(393).as_str().into()]));
    assert_eq!(link.events().len(), 1, "400 bytes may be");
    // A data message that is too long is dropped and counted; the stream continues.
    link.send(&peer::data(0, 1, &["x".into(), "x".repeat(450).as_str().into()]));
    assert_eq!((link.events().len(), link.closed()), (0, None));
    assert_eq!(link.session.counters().unreadable_messages, 1);
    link.receive();
    link.send(&peer::command("publish", 2.0, 1, &["x".repeat(450).as_str().into()]));
    let told = "message of type 20 with 473 bytes is over the limit of 400 (command)";
    assert_eq!(link.receive(), ["5/1 onStatus 0 NetStream.Publish.Denied"]);
    link.pass(3 * SECOND);
    let end = link.closed().expect("closed");
    let error = Error::MessageOverLimit { type_id: 20, length: 473, limit: 400 };
    assert_eq!((end.reason, end.told.as_str()), (CloseReason::Protocol(error), told));
}

#[test]
fn a_client_that_passes_a_limit_is_told_which() {
    let long = SessionLimits::LONGEST_CONNECT + 1;
    let values: Vec<crate::amf::Value> = vec![crate::amf::Value::Null; 200];
    let deep = (0..20).fold(crate::amf::Value::Null, |inner, _| crate::amf::Value::StrictArray(vec![inner]));
    for (bytes, words) in [
        (peer::message(MessageType::COMMAND_AMF0, 0, 0, &vec![0; long as usize]), "(chunks_before_connect.message)"),
        (peer::command("connect", 1.0, 0, &values), "(amf_before_connect.values)"),
        (peer::command("connect", 1.0, 0, &[deep]), "(amf_before_connect.depth)"),
    ] {
        let mut link = Link::new(SessionConfig::default());
        link.send(&peer::handshake());
        link.receive();
        link.send(&bytes);
        let received = link.receive().pop().expect("an answer");
        assert_eq!(received, "3/0 _error 1 NetConnection.Connect.Rejected");
        assert!(link.closed().is_none(), "the client has time to read that");
        link.session.handle_disconnect(link.now, CloseReason::PeerClosed);
        let end = link.closed().expect("closed");
        assert!(end.told.ends_with(words), "{}", end.told);
        assert!(matches!(end.reason, CloseReason::Protocol(_)), "{end:?}");
    }
}

#[test]
fn the_first_reason_stands() {
    let mut link = Link::playing();
    link.session.close(CloseReason::Shutdown);
    link.session.close(CloseReason::Closed("later"));
    link.session.handle_disconnect(link.now, CloseReason::PeerLost("reset".into()));
    assert_eq!(link.closed().map(|close| (close.reason, close.phase)), Some((CloseReason::Shutdown, Phase::Playing)));
}

#[test]
fn what_is_queued_is_written_before_the_end() {
    let mut link = Link::playing();
    link.send(&peer::control(&Control::User(UserControl::PingRequest(4))));
    link.session.close(CloseReason::Shutdown);
    let wait = link.wait();
    assert!(wait.write && wait.deadline().is_some());
    assert_eq!(link.receive(), ["PingResponse(4)"]);
    assert!(link.closed().is_some());
}

/// The report does not depend on how a proxy's header was cut: it ends at the byte that showed the fault.
#[test]
fn a_proxy_header_that_is_none_ends_at_the_same_byte_however_it_is_cut() {
    let now = support::any_instant();
    for (header, end) in [(&b"\r\n\r\nGET / HTTP/1.1"[..], 5), (b"PUT ", 2), (&[0xf3, 9, 9, 1], 3)] {
        for size in 1..=header.len() {
            let mut session = Session::behind_proxy(Arc::default(), [7; 32], now);
            for piece in header.chunks(size) {
                let _ = session.handle_input(now, piece);
            }
            let SessionOutput::Closed(closed) = session.poll_output() else {
                panic!("{header:?} in pieces of {size} is taken for a header");
            };
            assert_eq!((closed.phase, closed.offset), (Phase::Handshake, end), "{header:?} in pieces of {size}");
            assert!(matches!(closed.reason, CloseReason::Protocol(Error::Preface(_))));
        }
    }
}

#[test]
fn no_message_follows_the_final_ones() {
    let mut config = SessionConfig::default();
    config.timeouts.ping = 10 * SECOND;
    let mut link = Link::connected_with(config);
    link.pass(9 * SECOND);
    link.session.tell_time(link.now);
    link.session.close_with_words(CloseReason::Shutdown);
    link.pass(2 * SECOND);
    assert_eq!((link.receive(), link.closed()), (vec![], None), "a ping was due");
    link.pass(SECOND);
    assert_eq!(link.closed().map(|close| close.reason), Some(CloseReason::Shutdown));
}

#[test]
fn an_answer_after_the_end_of_the_connection_sends_nothing() {
    for grant in [true, false] {
        let mut link = Link::connected();
        link.send(&peer::create_stream(2.0));
        link.send(&peer::publish(1, "cam"));
        let SessionEvent::Publish(request) = link.event() else { panic!("a publish") };
        link.receive();
        link.session.close_with_words(CloseReason::Shutdown);
        match grant {
            true => link.session.accept(request),
            false => link.session.reject(request, &Rejection::stream_in_use("cam")),
        }
        assert_eq!(link.receive(), [""; 0]);
        link.pass(3 * SECOND);
        assert_eq!(link.closed().map(|close| close.reason), Some(CloseReason::Shutdown));
    }
}
