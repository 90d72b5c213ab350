//! Publishers: which one gets a name, when its players are woken, and how it ends.

use super::*;
use crate::pacing::Pacing;

#[test]
fn a_name_that_is_taken_is_refused_until_it_is_free() {
    let mut harness = Harness::new();
    let mut first = harness.publisher("cam");
    let mut second = harness.client();
    second.send(&harness, &[peer::create_stream(2.0), peer::publish(1, "cam")].concat());
    assert_eq!(second.receive(&harness), ["3/0 _result 2 1", "5/1 onStatus 0 NetStream.Publish.BadName"]);
    assert_eq!((second.actions(), second.closed.is_none()), (vec![], true), "never attached; lingers");
    harness.pass(Duration::from_secs(3));
    second.conn.handle_timeout(harness.now);
    second.poll(&harness);
    let report = second.closed.expect("closed");
    assert_eq!(report.close.reason, CloseReason::Rejected("NetStream.Publish.BadName"));
    // The first publisher does not notice.
    first.send(&harness, &headers());
    assert!(first.closed.is_none());
    first.send(&harness, &peer::command("closeStream", 0.0, 1, &[]));
    assert_eq!(harness.publisher("cam").actions(), ["attach publisher of live/cam"]);
}

#[test]
fn names_that_cannot_be_are_refused() {
    let harness = Harness::new();
    let mut client = harness.client();
    client.send(&harness, &peer::play(0, "a\u{1}b"));
    assert_eq!(client.receive(&harness), ["5/1 onStatus 0 NetStream.Play.StreamNotFound"]);
    let mut client = harness.client();
    client.send(&harness, &peer::publish(0, ".."));
    assert_eq!(client.receive(&harness), ["5/1 onStatus 0 NetStream.Publish.BadName"]);
    assert!(harness.server.hub().streams().is_empty());
}

#[test]
fn wakes_follow_the_merge_window() {
    let mut harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.actions();
    publisher.send(&harness, &peer::video(0, &peer::inter_frame(0)));
    assert_eq!(publisher.actions(), [""; 0], "there are no players to wake");
    harness.pass(Duration::from_millis(40));
    let _player = harness.player("cam");
    for time in [0, 40, 80] {
        publisher.send(&harness, &peer::video(time, &peer::inter_frame(1)));
        assert_eq!(publisher.actions(), ["wake"], "a picture leaves at once");
        harness.pass(Duration::from_millis(40));
    }
    harness.pass(Duration::from_millis(5));
    publisher.send(&harness, &peer::audio(125, &peer::audio_frame(1)));
    assert_eq!(publisher.actions(), [""; 0], "a picture is overdue, and sound waits for it");
    assert_eq!(publisher.deadline(), Some(harness.now + Pacing::default().merge_window));
    harness.pass(Duration::from_millis(5));
    publisher.send(&harness, &peer::video(130, &peer::inter_frame(2)));
    assert_eq!(publisher.actions(), ["wake"], "and it takes the sound along");
    harness.pass(Duration::from_millis(30));
    publisher.send(&harness, &peer::audio(160, &peer::audio_frame(2)));
    assert_eq!(publisher.actions(), [""; 0]);
    harness.pass(Pacing::default().merge_window);
    publisher.poll(&harness);
    assert_eq!(publisher.actions(), ["wake"], "nothing came: it leaves alone");
}

#[test]
fn attached_and_detached_come_in_pairs() {
    let harness = Harness::new();
    let mut client = harness.publisher("one");
    client.send(&harness, &peer::publish(1, "two"));
    client.send(&harness, &peer::command("FCUnpublish", 7.0, 0, &[Value::from("two")]));
    client.send(&harness, &peer::play(1, "three"));
    client.send(&harness, &peer::command("closeStream", 0.0, 1, &[]));
    assert_eq!(
        client.actions(),
        [
            "attach publisher of live/one",
            "detach publisher",
            "wake",
            "attach publisher of live/two",
            "detach publisher",
            "wake",
            "attach player of live/three",
            "subscribe",
            "unsubscribe",
            "detach player",
        ]
    );
    client.send(&harness, &peer::publish(1, "four"));
    client.disconnect(&harness);
    assert_eq!(client.actions(), ["attach publisher of live/four", "detach publisher", "wake"]);
    assert!(harness.server.hub().streams().is_empty());
}

#[test]
fn a_connection_that_is_dropped_frees_its_name() {
    let harness = Harness::new();
    let publisher = harness.publisher("cam");
    drop(publisher);
    assert!(harness.server.hub().streams().is_empty());
}

/// Media of a second stream with its own message stream goes to that stream.
#[test]
fn one_connection_publishes_two_streams() {
    let harness = Harness::new();
    let mut publisher = harness.client();
    publisher.send(&harness, &[peer::create_stream(2.0), peer::create_stream(3.0)].concat());
    publisher.send(&harness, &[peer::publish(1, "one"), peer::publish(2, "two")].concat());
    let streams: Vec<(Role, &str)> = publisher.conn.streams().map(|(role, key)| (role, key.stream())).collect();
    assert_eq!(streams, [(Role::Publisher, "one"), (Role::Publisher, "two")]);
    for (message_stream_id, number) in [(1, 1), (2, 2)] {
        let frame = peer::audio_frame(number);
        let mut bytes = message_header(4, 0, frame.len() as u32, AUDIO, message_stream_id).to_vec();
        bytes.extend(frame);
        publisher.send(&harness, &bytes);
    }
    for (name, number) in [("one", 1), ("two", 2)] {
        let received = harness.player(name).receive(&harness);
        assert_eq!(received.last(), Some(&format!("audio frame {number} on 1 at 0")));
    }
}

#[test]
fn a_publisher_without_a_token_takes_nothing_over() {
    let harness =
        Harness::with(VhostConfig { conflict: crate::hub::Conflict::TakeOver, ..VhostConfig::default() }.into());
    let _first = harness.publisher("cam");
    let mut second = harness.client();
    second.send(&harness, &[peer::create_stream(2.0), peer::publish(1, "cam")].concat());
    assert!(contains(&second.receive(&harness), "NetStream.Publish.BadName"));
}

#[test]
fn a_takeover_needs_no_free_place_under_the_limit() {
    let limits = crate::policy::Limits { publishers: Some(1), ..Default::default() };
    let conflict = crate::hub::Conflict::TakeOver;
    let harness = Harness::with(VhostConfig { conflict, limits, ..VhostConfig::default() }.into());
    let _frozen = harness.publisher("cam?token=t");
    let mut second = harness.client();
    second.send(&harness, &[peer::create_stream(2.0), peer::publish(1, "cam?token=t")].concat());
    assert!(contains(&second.receive(&harness), "NetStream.Publish.Start"));
}

#[test]
fn a_publisher_without_players_is_closed_and_one_with_players_stays() {
    let config = VhostConfig { idle_publisher: Some(Duration::from_secs(8)), ..VhostConfig::default() };
    let mut harness = Harness::with(config.into());
    let mut lonely = harness.publisher("lonely");
    let mut played = harness.publisher("played");
    let player = harness.player("played");
    let started = harness.now;
    for second in 1..=9u32 {
        for publisher in [&mut lonely, &mut played] {
            publisher.send(&harness, &peer::audio(second * 1000, &peer::audio_frame(1)));
            publisher.receive(&harness);
        }
        lonely.run(&mut harness, Duration::from_millis(500));
        played.run(&mut harness, Duration::from_millis(500));
        lonely.receive(&harness);
        played.receive(&harness);
        let elapsed = harness.now - started;
        assert_eq!(lonely.closed.is_some(), elapsed > Duration::from_secs(8), "after {elapsed:?}");
    }
    assert_eq!(lonely.closed.map(|report| report.close.reason), Some(CloseReason::Idle));
    assert!(played.closed.is_none());
    drop(player);
}

/// The server checks four times during the limit, and counts from the check that found no player.
#[test]
fn a_publisher_whose_last_player_left_has_its_time_from_then_on() {
    let limit = Duration::from_secs(8);
    let config = VhostConfig { idle_publisher: Some(limit), ..VhostConfig::default() };
    let mut harness = Harness::with(config.into());
    let mut publisher = harness.publisher("cam");
    let mut player = Some(harness.player("cam"));
    let started = harness.now;
    let mut closed = None;
    for second in 1..30u32 {
        publisher.send(&harness, &peer::audio(second * 1000, &peer::audio_frame(1)));
        // More checks than it asked for change nothing.
        publisher.conn.handle_timeout(harness.now);
        publisher.receive(&harness);
        publisher.run(&mut harness, Duration::from_secs(1));
        publisher.receive(&harness);
        let elapsed = harness.now - started;
        if elapsed == Duration::from_secs(11) {
            player = None;
        }
        if publisher.closed.is_some() {
            closed = Some(elapsed);
            break;
        }
    }
    assert!(player.is_none(), "it was played for 11 s");
    assert_eq!(closed, Some(Duration::from_secs(20)), "seen without players at 12 s");
}

#[test]
fn metadata_that_its_publisher_withdrew_is_not_given_to_new_players() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    publisher.send(&harness, &peer::data(40, 1, &["@clearDataFrame".into(), "onMetaData".into()]));
    publisher.send(&harness, &gop(80, 2));
    let received = harness.player("cam").receive(&harness);
    assert_eq!(received[PLAY_REPLIES..][..2], ["video header 255 on 1 at 80", "audio header 16 on 1 at 80"]);
}

/// A late check does not count, because players may have come before it; after several late checks they count.
#[test]
fn a_publisher_without_players_is_closed_by_a_server_that_is_always_late_too() {
    let limit = Duration::from_secs(8);
    let config = VhostConfig { idle_publisher: Some(limit), ..VhostConfig::default() };
    let mut harness = Harness::with(config.into());
    let mut publisher = harness.publisher("cam");
    let mut looks = 0;
    while publisher.closed.is_none() && looks < 20 {
        harness.pass(limit * 2);
        publisher.send(&harness, &peer::video(looks, &peer::key_frame(1)));
        publisher.conn.handle_timeout(harness.now);
        publisher.poll(&harness);
        looks += 1;
    }
    assert_eq!(publisher.closed.expect("it is over").close.reason, CloseReason::Idle);
    assert!((2..10).contains(&looks), "{looks}");
}
