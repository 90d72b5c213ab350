//! How connections end, and what is told of them.

use super::*;

#[test]
fn frames_are_counted_on_their_way_in_and_out() {
    let site = Site::new();
    let mut publisher = site.publisher("cam");
    let mut player = site.client();
    player.say(&site, &[peer::create_stream(2.0), peer::play(1, "cam")].concat());
    let mut deaf = site.player("cam");
    deaf.say(&site, &peer::command("receiveAudio", 0.0, 1, &[false.into()]));
    publisher.say(&site, &[headers(), gop(0, 1)].concat());
    player.poll(&site);
    deaf.poll(&site);
    let [sent, got, less] = [&publisher, &player, &deaf].map(|client| client.conn.stats().snapshot(site.now));
    assert!(sent.frames_in > 3 && sent.frames_out == 0, "{sent:?}");
    assert_eq!((got.frames_in, got.frames_out), (0, sent.frames_in));
    deaf.disconnect(&site);
    let unwanted = deaf.closed.expect("over").left_out.unwanted;
    assert!(unwanted > 0);
    assert_eq!(less.frames_out + unwanted, sent.frames_in, "what was left out was not sent");
}

#[test]
fn a_server_that_goes_down_tells_its_players() {
    let site = Site::new();
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &[headers(), gop(0, 1)].concat());
    let mut player = site.player("cam");
    player.hear(&site);
    publisher.say(&site, &gop(80, 2));
    player.conn.shutdown();
    assert_eq!(
        player.hear(&site),
        ["StreamEof(1)", "5/1 onStatus 0 NetStream.Play.UnpublishNotify"],
        "and no media after"
    );
    player.disconnect(&site);
    assert_eq!(player.closed.map(|report| report.close.reason), Some(CloseReason::Shutdown));
}

#[test]
fn the_report_tells_the_life_of_a_connection() {
    let mut site = Site::new();
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &peer::control(&Control::User(UserControl::StreamDry(1))));
    site.pass(Duration::from_millis(1500));
    // A header that inherits from nothing, then bytes that nobody reads any more.
    let before = publisher.conn.session().received();
    publisher.say(&site, &[0xc9, 1, 2, 3]);
    publisher.hear(&site);
    let report = publisher.closed.clone().expect("closed");
    assert_eq!((report.received, report.close.offset), (before + 4, before + 1));
    assert_eq!((report.duration, report.ignored.ignored_events), (Duration::from_millis(1500), 1));
    let line = report.to_string();
    assert!(line.contains("(chunk_error) in phase publishing at byte"), "{line}");
}

#[test]
fn a_refused_peer_that_floods_is_not_listened_to() {
    let site = Site::new();
    let _publisher = site.publisher("cam");
    let mut second = site.client();
    second.say(&site, &[peer::create_stream(2.0), peer::publish(1, "cam")].concat());
    second.hear(&site);
    assert!(second.closed.is_none(), "it is given time to hear why");
    for _ in 0..5 {
        second.say(&site, &[0; 64 << 10]);
    }
    let report = second.closed.expect("closed at once");
    assert_eq!(report.close.reason.name(), "rejected");
    assert!(report.received > 5 * (64 << 10), "what was thrown away counts as received");
}

#[test]
fn whatever_a_player_does_not_get_is_in_its_report() {
    let config = VhostConfig { high_water: 2000, ..VhostConfig::default() };
    let mut site = Site::with(config.into());
    let mut publisher = site.publisher("cam");
    let mut player = site.player("cam");
    player.hear(&site);
    player.say(&site, &peer::command("receiveAudio", 0.0, 1, &[false.into()]));
    publisher.say(&site, &[headers(), gop(0, 1), peer::video(45, &[0x17, 1]), peer::video(46, &[0x17, 1])].concat());
    site.pass(Duration::from_millis(50));
    publisher.poll(&site);
    player.hear(&site);
    for number in 2..100u8 {
        publisher.say(&site, &gop(u32::from(number) * 100, number));
        site.pass(Duration::from_millis(100));
        publisher.poll(&site);
        player.poll(&site);
    }
    let lag = player.conn.stats().snapshot(site.now).lag;
    player.disconnect(&site);
    publisher.disconnect(&site);
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
    assert!(report.to_string().contains("2 malformed messages"), "{report}");
}

#[test]
fn draining_lets_players_finish_and_closes_the_rest() {
    let mut site = Site::new();
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &gop(0, 1));
    site.pass(Duration::from_millis(50));
    publisher.poll(&site);
    let mut player = site.player("cam");
    player.hear(&site);
    site.server.drain();
    let deadline = site.now + Duration::from_secs(5);
    publisher.conn.drain(deadline, None);
    player.conn.drain(deadline, None);
    let mut newcomer = site.client();
    newcomer.say(&site, &[peer::create_stream(2.0), peer::publish(1, "other")].concat());
    assert!(said(&newcomer.hear(&site), "NetStream.Publish.Denied"));
    publisher.say(&site, &gop(1000, 2));
    site.pass(Duration::from_millis(50));
    publisher.poll(&site);
    let heard = player.hear(&site);
    assert!(said(&heard, "NetStream.Play.UnpublishNotify"), "at the next key frame: {heard:?}");
    assert!(publisher.closed.is_none(), "the publisher goes on until the deadline");
    site.pass(Duration::from_secs(5));
    publisher.conn.handle_timeout(site.now);
    publisher.hear(&site);
    publisher.poll(&site);
    assert_eq!(publisher.closed.expect("over").close.reason.name(), "shutdown");
}

#[test]
fn times_may_be_for_ever() {
    let mut config = VhostConfig::default();
    let timeouts = &mut config.session.timeouts;
    // The first message has its time, so that the timer for the next one is looked at.
    for time in [&mut timeouts.connect, &mut timeouts.identify, &mut timeouts.next_message, &mut timeouts.write] {
        *time = Duration::MAX;
    }
    (timeouts.ping, timeouts.linger) = (Duration::MAX, Duration::MAX);
    (config.unpublish_grace, config.merge_window) = (Duration::MAX, crate::source::MergeWindow(Duration::MAX));
    config.idle_publisher = Some(Duration::MAX);
    let mut site = Site::with(config.into());
    let mut player = site.player("cam");
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &peer::message(AUDIO, 0, 1, &peer::audio_frame(1)));
    publisher.run(&mut site, Duration::from_secs(86_400));
    player.run(&mut site, Duration::from_secs(86_400));
    assert!(publisher.closed.is_none() && player.closed.is_none());
    publisher.conn.shutdown();
    publisher.poll(&site);
}

#[test]
fn an_adapter_may_close_a_connection_and_bytes_taken_are_counted() {
    let site = Site::new();
    let mut client = site.client();
    let sent = client.conn.stats().snapshot(site.now).bytes_out;
    assert!(sent > 3073, "handshake and the answer to connect: {sent}");
    client.conn.close(CloseReason::Closed("as asked"));
    client.hear(&site);
    let report = client.closed.expect("over");
    assert_eq!((report.close.reason, report.sent), (CloseReason::Closed("as asked"), sent));
}

/// Nothing is told that did not happen.
#[test]
fn the_report_of_a_connection_that_missed_nothing_is_short() {
    let site = Site::new();
    let mut client = site.client();
    client.disconnect(&site);
    let report = client.closed.expect("over");
    assert_eq!((report.missed, report.unsent, report.role), (Gap::default(), Gap::default(), None));
    let Report { close, received, sent, .. } = &report;
    let expected = format!(
        "{} (peer_closed) in phase {} at byte {received}; received {received} bytes, sent {sent} bytes in 0.000 s",
        close.reason, close.phase
    );
    assert_eq!(report.to_string(), expected);
}

/// What each of a connection's players was not given is added up.
#[test]
fn frames_that_were_not_for_a_player_are_in_its_report_by_reason() {
    let site = Site::new();
    let mut publisher = site.publisher("cam");
    let mut player = site.client();
    player.say(&site, &[peer::create_stream(2.0), peer::create_stream(3.0)].concat());
    player.say(&site, &[peer::play(1, "cam"), peer::play(2, "cam")].concat());
    let inter = |time| peer::video(time, &peer::inter_frame(1));
    publisher.say(&site, &[peer::audio(0, &peer::audio_frame(1)), inter(1), inter(2), inter(3)].concat());
    publisher.say(&site, &gop(4, 1));
    // A frame of AV1 on track 1 alone, which a player must have said that it understands.
    publisher.say(&site, &peer::video(50, &[b"\x96\x01av01\x01".as_slice(), &[1, 2, 3, 4]].concat()));
    player.hear(&site);
    player.disconnect(&site);
    let report = player.closed.expect("over");
    assert_eq!(report.left_out, LeftOut { unwanted: 0, multitrack: 2, undecodable: 6 }, "{report}");
    let line = report.to_string();
    assert!(line.ends_with("; 2 frames of other tracks; 6 frames before a key frame"), "{line}");
}

#[test]
fn a_player_that_knows_its_stream_is_over_is_not_told_again_when_the_server_goes_down() {
    let mut site = Site::new();
    let mut publisher = site.publisher("cam");
    publisher.say(&site, &[headers(), gop(0, 1)].concat());
    let mut player = site.player("cam");
    assert_eq!(player.conn.start(), site.now);
    player.hear(&site);
    publisher.disconnect(&site);
    player.hear(&site);
    player.run(&mut site, Duration::from_secs(10));
    assert!(said(&player.hear(&site), "NetStream.Play.UnpublishNotify"));
    player.conn.shutdown();
    assert_eq!(player.hear(&site), [""; 0]);
    player.disconnect(&site);
    assert_eq!(player.closed.expect("over").close.reason, CloseReason::Shutdown);
}

#[test]
fn every_byte_that_is_taken_is_counted_once() {
    let site = Site::new();
    let mut client = site.client();
    for _ in 0..3 {
        client.say(&site, &peer::control(&Control::User(UserControl::PingRequest(1))));
        client.hear(&site);
        let written = client.conn.outbound().written();
        assert_eq!(client.conn.stats().snapshot(site.now).bytes_out, written);
    }
}

#[test]
fn a_connection_given_up_in_the_midst_of_its_work_leaves_nothing_behind() {
    let mut site = Site::new();
    let (mut publisher, mut player) = (site.publisher("cam"), site.player("cam"));
    publisher.say(&site, &peer::video(0, &peer::key_frame(1)));
    player.hear(&site);
    let streams = publisher.conn.abandon();
    assert_eq!(streams.len(), 1, "its players are to be woken");
    player.hear(&site);
    player.run(&mut site, VhostConfig::default().unpublish_grace);
    assert!(player.hear(&site).iter().any(|line| line.contains("Play.UnpublishNotify")));
    let mut successor = site.publisher("cam");
    assert_eq!(successor.actions(), ["attach publisher of /live/cam", "wake"], "the name is free");
    assert_eq!(player.hear(&site), ["StreamBegin(1)", "5/1 onStatus 0 NetStream.Play.PublishNotify"], "told at once");
    assert_eq!(player.conn.abandon(), []);
    assert_eq!(site.server.hub().streams()[0].players, 0);
}
