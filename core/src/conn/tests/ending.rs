//! How connections end, and what their reports say.

use super::*;

#[test]
fn frames_are_counted_on_their_way_in_and_out() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    let mut player = harness.client();
    player.send(&harness, &[peer::create_stream(2.0), peer::play(1, "cam")].concat());
    let mut deaf = harness.player("cam");
    deaf.send(&harness, &peer::command("receiveAudio", 0.0, 1, &[false.into()]));
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    player.poll(&harness);
    deaf.poll(&harness);
    let [sent, got, less] = [&publisher, &player, &deaf].map(|client| client.conn.stats().snapshot(harness.now));
    assert!(sent.frames_in > 3 && sent.frames_out == 0, "{sent:?}");
    assert_eq!((got.frames_in, got.frames_out), (0, sent.frames_in));
    deaf.disconnect(&harness);
    let unwanted = deaf.closed.expect("over").left_out.unwanted;
    assert!(unwanted > 0);
    assert_eq!(less.frames_out + unwanted, sent.frames_in, "what was left out was not sent");
}

#[test]
fn a_server_that_stops_sends_a_notice_to_its_players() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let mut player = harness.player("cam");
    player.receive(&harness);
    publisher.send(&harness, &gop(80, 2));
    player.conn.shutdown();
    assert_eq!(
        player.receive(&harness),
        ["StreamEof(1)", "5/1 onStatus 0 NetStream.Play.UnpublishNotify"],
        "and no media after"
    );
    player.disconnect(&harness);
    assert_eq!(player.closed.map(|report| report.close.reason), Some(CloseReason::Shutdown));
}

#[test]
fn the_report_tells_the_life_of_a_connection() {
    let mut harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &peer::control(&Control::User(UserControl::StreamDry(1))));
    harness.pass(Duration::from_millis(1500));
    // A header that inherits from nothing, then bytes that are not read any more.
    let before = publisher.conn.session().received();
    publisher.send(&harness, &[0xc9, 1, 2, 3]);
    publisher.receive(&harness);
    let report = publisher.closed.clone().expect("closed");
    assert_eq!((report.received, report.close.offset), (before + 4, before + 1));
    assert_eq!((report.duration, report.ignored.ignored_events), (Duration::from_millis(1500), 1));
    let line = report.to_string();
    assert!(line.contains("(chunk_error) in phase publishing at byte"), "{line}");
}

#[test]
fn bytes_of_a_refused_peer_that_floods_are_dropped() {
    let harness = Harness::new();
    let _publisher = harness.publisher("cam");
    let mut second = harness.client();
    second.send(&harness, &[peer::create_stream(2.0), peer::publish(1, "cam")].concat());
    second.receive(&harness);
    assert!(second.closed.is_none(), "the client has time to receive the reason");
    for _ in 0..5 {
        second.send(&harness, &[0; 64 << 10]);
    }
    let report = second.closed.expect("closed at once");
    assert_eq!(report.close.reason.name(), "rejected");
    assert!(report.received > 5 * (64 << 10), "what was thrown away counts as received");
}

#[test]
fn whatever_a_player_does_not_get_is_in_its_report() {
    let config = VhostConfig { high_water: 2000, ..VhostConfig::default() };
    let mut harness = Harness::with(config.into());
    let mut publisher = harness.publisher("cam");
    let mut player = harness.player("cam");
    player.receive(&harness);
    player.send(&harness, &peer::command("receiveAudio", 0.0, 1, &[false.into()]));
    publisher
        .send(&harness, &[headers(), gop(0, 1), peer::video(45, &[0x17, 1]), peer::video(46, &[0x17, 1])].concat());
    harness.pass(Duration::from_millis(50));
    publisher.poll(&harness);
    player.receive(&harness);
    for number in 2..100u8 {
        publisher.send(&harness, &gop(u32::from(number) * 100, number));
        harness.pass(Duration::from_millis(100));
        publisher.poll(&harness);
        player.poll(&harness);
    }
    let lag = player.conn.stats().snapshot(harness.now).lag;
    player.disconnect(&harness);
    publisher.disconnect(&harness);
    let report = player.closed.expect("over");
    assert_eq!(report.role, Some(Role::Player));
    assert!(report.unsent.frames > 10 && report.given_up > 0, "{report}");
    assert_eq!(lag, report.unsent.frames, "how far it was behind was there to be read");
    assert!(report.left_out.unwanted > 0, "{report}");
    let Gap { frames, bytes, milliseconds } = report.unsent;
    let words = format!("; unsent {frames} frames, {bytes} bytes, {milliseconds} ms; ");
    assert!(report.to_string().contains(&words), "{report}");
    let report = publisher.closed.expect("over");
    assert_eq!((report.role, report.malformed), (Some(Role::Publisher), 2));
    assert!(report.to_string().contains("2 media messages that cannot be read"), "{report}");
}

#[test]
fn draining_lets_players_finish_and_closes_the_rest() {
    let mut harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &gop(0, 1));
    harness.pass(Duration::from_millis(50));
    publisher.poll(&harness);
    let mut player = harness.player("cam");
    player.receive(&harness);
    let mut newcomer = harness.client();
    harness.server.drain();
    let deadline = harness.now + Duration::from_secs(5);
    publisher.conn.drain(deadline, None);
    player.conn.drain(deadline, None);
    newcomer.send(&harness, &[peer::create_stream(2.0), peer::publish(1, "other")].concat());
    assert!(contains(&newcomer.receive(&harness), "NetStream.Publish.Denied"), "it connected before");
    let mut late = harness.client();
    assert!(contains(&late.received, "NetConnection.Connect.Rejected"), "{:?}", late.received);
    assert!(late.actions().is_empty(), "no question is asked about it");
    publisher.send(&harness, &gop(1000, 2));
    harness.pass(Duration::from_millis(50));
    publisher.poll(&harness);
    let received = player.receive(&harness);
    assert!(contains(&received, "NetStream.Play.UnpublishNotify"), "at the next key frame: {received:?}");
    player.disconnect(&harness);
    assert_eq!(player.closed.expect("over").close.reason, CloseReason::Drained);
    assert!(publisher.closed.is_none(), "the publisher goes on until the deadline");
    harness.pass(Duration::from_secs(5));
    publisher.conn.handle_timeout(harness.now);
    publisher.receive(&harness);
    publisher.poll(&harness);
    assert_eq!(publisher.closed.expect("over").close.reason.name(), "drained", "the server has not stopped");
}

#[test]
fn a_client_that_is_sent_to_another_server_finds_its_application_there() {
    let harness = Harness::new();
    for (to, expected) in [
        ("rtmp://other.example:1936", "rtmp://other.example:1936/live?token=t"),
        ("rtmp://other.example/backup", "rtmp://other.example/backup"),
    ] {
        let connect = Object::default().with("app", "live?token=t").with("tcUrl", "rtmp://h/live?token=t");
        let mut client = harness.client_from(None, connect.with("capsEx", 1.0));
        client.conn.drain(harness.now + Duration::from_secs(5), Some(to));
        let messages = client.messages(&harness);
        let payloads = messages.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned());
        let asked: Vec<_> = payloads.filter(|text| text.contains("ReconnectRequest")).collect();
        assert!(asked.len() == 1 && asked[0].contains(expected), "{expected}: {asked:?}");
        assert!(!asked[0].contains(&format!("{expected}/")), "{asked:?}");
    }
}

#[test]
fn a_drain_that_is_undone_leaves_nothing_behind() {
    let mut harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &gop(0, 1));
    harness.pass(Duration::from_millis(50));
    publisher.poll(&harness);
    let mut player = harness.player("cam");
    player.receive(&harness);
    harness.server.drain();
    let deadline = harness.now + Duration::from_secs(5);
    publisher.conn.drain(deadline, None);
    player.conn.drain(deadline, None);
    let refused = harness.client();
    assert!(contains(&refused.received, "NetConnection.Connect.Rejected"), "{:?}", refused.received);
    harness.server.stop_draining();
    publisher.conn.stop_draining();
    player.conn.stop_draining();
    assert!(!harness.server.is_draining());
    // The end of the GOP, where the player would have left, and the deadline come and go.
    for number in 2..10 {
        harness.pass(Duration::from_secs(1));
        publisher.send(&harness, &gop(1000 * u32::from(number), number));
        let received = player.receive(&harness);
        assert!(contains(&received, &format!("video key {number} on")), "{received:?}");
        for client in [&mut publisher, &mut player] {
            client.conn.handle_timeout(harness.now);
            client.poll(&harness);
            assert!(client.closed.is_none());
        }
    }
    harness.publisher("other");
}

#[test]
fn times_may_be_for_ever() {
    let mut config = VhostConfig::default();
    let timeouts = &mut config.session.timeouts;
    // The first message is complete in time, so that the timer for the next one is checked.
    for time in [&mut timeouts.connect, &mut timeouts.identify, &mut timeouts.next_message, &mut timeouts.write] {
        *time = Duration::MAX;
    }
    (timeouts.ping, timeouts.linger) = (Duration::MAX, Duration::MAX);
    (config.unpublish_grace, config.pacing.merge_window) = (Duration::MAX, Duration::MAX);
    config.idle_publisher = Some(Duration::MAX);
    let mut harness = Harness::with(config.into());
    let mut player = harness.player("cam");
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &peer::message(AUDIO, 0, 1, &peer::audio_frame(1)));
    publisher.run(&mut harness, Duration::from_secs(86_400));
    player.run(&mut harness, Duration::from_secs(86_400));
    assert!(publisher.closed.is_none() && player.closed.is_none());
    publisher.conn.shutdown();
    publisher.poll(&harness);
}

#[test]
fn an_adapter_may_close_a_connection_and_bytes_taken_are_counted() {
    let harness = Harness::new();
    let mut client = harness.client();
    let sent = client.conn.stats().snapshot(harness.now).bytes_out;
    assert!(sent > 3073, "handshake and the answer to connect: {sent}");
    client.conn.close(CloseReason::Closed("as asked"));
    client.receive(&harness);
    let report = client.closed.expect("over");
    assert_eq!((report.close.reason, report.sent), (CloseReason::Closed("as asked"), sent));
}

/// Events that did not happen are not in the report.
#[test]
fn the_report_of_a_connection_that_missed_nothing_is_short() {
    let harness = Harness::new();
    let mut client = harness.client();
    client.disconnect(&harness);
    let report = client.closed.expect("over");
    assert_eq!((report.missed, report.unsent, report.role), (Gap::default(), Gap::default(), None));
    let Report { close, received, sent, .. } = &report;
    let expected = format!(
        "{} (peer_closed) in phase {} at byte {received}; received {received} bytes, sent {sent} bytes in 0.000 s",
        close.reason, close.phase
    );
    assert_eq!(report.to_string(), expected);
}

/// The unsent frames of all players of a connection are added up.
#[test]
fn frames_that_were_not_for_a_player_are_in_its_report_by_reason() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    let mut player = harness.client();
    player.send(&harness, &[peer::create_stream(2.0), peer::create_stream(3.0)].concat());
    player.send(&harness, &[peer::play(1, "cam"), peer::play(2, "cam")].concat());
    let inter = |time| peer::video(time, &peer::inter_frame(1));
    publisher.send(&harness, &[peer::audio(0, &peer::audio_frame(1)), inter(1), inter(2), inter(3)].concat());
    publisher.send(&harness, &gop(4, 1));
    // A frame of AV1 on track 1 only, which a player gets only if it announced support.
    publisher.send(&harness, &peer::video(50, &[b"\x96\x01av01\x01".as_slice(), &[1, 2, 3, 4]].concat()));
    player.receive(&harness);
    player.disconnect(&harness);
    let report = player.closed.expect("over");
    assert_eq!(report.left_out, LeftOut { multitrack: 2, undecodable: 6, ..LeftOut::default() }, "{report}");
    let line = report.to_string();
    let end = "; 2 frames of tracks that the player does not support; 6 frames before the first key frame";
    assert!(line.ends_with(end), "{line}");
}

#[test]
fn a_player_that_knows_its_stream_is_over_is_not_told_again_when_the_server_goes_down() {
    let mut harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let mut player = harness.player("cam");
    assert_eq!(player.conn.start(), harness.now);
    player.receive(&harness);
    publisher.disconnect(&harness);
    player.receive(&harness);
    player.run(&mut harness, Duration::from_secs(10));
    assert!(contains(&player.receive(&harness), "NetStream.Play.UnpublishNotify"));
    player.conn.shutdown();
    assert_eq!(player.receive(&harness), [""; 0]);
    player.disconnect(&harness);
    assert_eq!(player.closed.expect("over").close.reason, CloseReason::Shutdown);
}

#[test]
fn every_byte_that_is_taken_is_counted_once() {
    let harness = Harness::new();
    let mut client = harness.client();
    for _ in 0..3 {
        client.send(&harness, &peer::control(&Control::User(UserControl::PingRequest(1))));
        client.receive(&harness);
        let written = client.conn.outbound().written();
        assert_eq!(client.conn.stats().snapshot(harness.now).bytes_out, written);
    }
}

#[test]
fn a_connection_given_up_in_the_midst_of_its_work_leaves_nothing_behind() {
    let mut harness = Harness::new();
    let (mut publisher, mut player) = (harness.publisher("cam"), harness.player("cam"));
    publisher.send(&harness, &peer::video(0, &peer::key_frame(1)));
    player.receive(&harness);
    let streams = publisher.conn.abandon();
    assert_eq!(streams.len(), 1, "its players are to be woken");
    player.receive(&harness);
    player.run(&mut harness, VhostConfig::default().unpublish_grace);
    assert!(player.receive(&harness).iter().any(|line| line.contains("Play.UnpublishNotify")));
    let mut successor = harness.publisher("cam");
    assert_eq!(successor.actions(), ["attach publisher of live/cam", "wake"], "the name is free");
    assert_eq!(
        player.receive(&harness),
        ["StreamBegin(1)", "5/1 onStatus 0 NetStream.Play.PublishNotify"],
        "told at once"
    );
    assert_eq!(player.conn.abandon(), []);
    assert_eq!(harness.server.hub().streams()[0].players, 0);
}
