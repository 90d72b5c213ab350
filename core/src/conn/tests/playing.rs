//! What players get, and what they do not get.

use super::*;
use crate::policy::{Vhost, Vhosts};

#[test]
fn a_late_joiner_starts_with_headers_and_the_newest_key_frame() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    assert_eq!(publisher.actions(), ["attach publisher of live/cam"]);
    publisher.send(&harness, &[headers(), gop(0, 1), gop(80, 2)].concat());
    let mut player = harness.player("cam?token=1");
    assert_eq!(player.actions(), ["attach player of live/cam", "subscribe"], "the query is no part of the name");
    assert_eq!(
        player.receive(&harness)[PLAY_REPLIES..],
        [
            "data onMetaData on 1 at 0",
            "video header 255 on 1 at 80",
            "audio header 16 on 1 at 80",
            "video key 2 on 1 at 80",
            "audio frame 2 on 1 at 90",
            "video frame 2 on 1 at 120",
        ]
    );
    publisher.send(&harness, &peer::video(160, &peer::inter_frame(3)));
    assert_eq!(player.receive(&harness), ["video frame 3 on 1 at 160"]);
}

#[test]
fn a_player_that_came_first_waits_for_its_publisher() {
    let harness = Harness::new();
    let mut player = harness.player("cam");
    assert_eq!(player.receive(&harness).len(), PLAY_REPLIES);
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let received = player.receive(&harness);
    assert_eq!(
        received[..4],
        [
            "data onMetaData on 1 at 0",
            "video header 255 on 1 at 0",
            "audio header 16 on 1 at 0",
            "video key 1 on 1 at 0"
        ]
    );
    assert_eq!(received.len(), 6, "it was never told that the stream was over: no notice is due");
}

#[test]
fn a_publisher_may_come_back_within_the_grace_period() {
    let mut harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let mut player = harness.player("cam");
    player.receive(&harness);
    publisher.actions();
    publisher.disconnect(&harness);
    assert_eq!(publisher.actions(), ["detach publisher", "wake"], "players have something to learn");
    assert_eq!(publisher.closed.as_ref().map(|report| report.close.reason.clone()), Some(CloseReason::PeerClosed));
    assert_eq!(player.receive(&harness), [""; 0]);

    // Back in time: no player gets a message, and timestamps go on.
    harness.pass(Duration::from_secs(9));
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 2)].concat());
    let received = player.receive(&harness);
    assert_eq!(received[3], "video key 2 on 1 at 9040", "9 s after the last frame at 40");

    // Not in time: one message reports the end, one the return.
    publisher.disconnect(&harness);
    player.receive(&harness);
    player.run(&mut harness, Duration::from_millis(9999));
    assert!(!player.receive(&harness).iter().any(|line| line.contains("Notify")));
    player.run(&mut harness, Duration::from_millis(1));
    assert_eq!(player.receive(&harness), ["StreamEof(1)", "5/1 onStatus 0 NetStream.Play.UnpublishNotify"]);
    harness.pass(Duration::from_secs(10));
    player.conn.handle_timeout(harness.now);
    let pings = player.receive(&harness);
    assert!(!pings.iter().any(|line| line.contains("Notify")), "{pings:?}");
    let mut publisher = harness.publisher("cam");
    assert_eq!(player.receive(&harness), ["StreamBegin(1)", "5/1 onStatus 0 NetStream.Play.PublishNotify"]);
    publisher.send(&harness, &[headers(), gop(0, 3)].concat());
    assert_eq!(player.receive(&harness).len(), 6);
    assert_eq!(player.conn.inner().stats.missed(), Gap::default(), "it was never slow");
}

#[test]
fn a_paused_player_gets_nothing_and_resumes_at_the_newest_key_frame() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let mut player = harness.player("cam");
    player.receive(&harness);
    player.send(&harness, &peer::command("pause", 0.0, 1, &[true.into(), 0.0.into()]));
    player.receive(&harness);
    publisher.send(&harness, &[gop(80, 2), gop(160, 3)].concat());
    assert_eq!(player.receive(&harness), [""; 0]);
    player.send(&harness, &peer::command("pause", 0.0, 1, &[false.into(), 0.0.into()]));
    let received = player.receive(&harness);
    assert_eq!(received[..2], ["5/1 onStatus 0 NetStream.Unpause.Notify", "StreamBegin(1)"]);
    assert_eq!(received[5..], ["video key 3 on 1 at 160", "audio frame 3 on 1 at 170", "video frame 3 on 1 at 200"]);
    player.disconnect(&harness);
    assert_eq!(player.closed.map(|report| report.missed.frames), Some(3), "the second group of pictures");
}

#[test]
fn video_turned_on_again_comes_from_the_next_key_frame() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let mut player = harness.player("cam");
    player.receive(&harness);
    player.send(&harness, &peer::command("receiveVideo", 0.0, 1, &[false.into()]));
    publisher.send(&harness, &[gop(80, 2), peer::video(130, peer::VIDEO_HEADER)].concat());
    assert_eq!(
        player.receive(&harness),
        ["audio frame 2 on 1 at 90", "video header 255 on 1 at 130"],
        "headers always come"
    );
    player.send(&harness, &peer::command("receiveVideo", 0.0, 1, &[true.into()]));
    publisher.send(&harness, &[peer::video(140, &peer::inter_frame(3)), gop(160, 4)].concat());
    let received = player.receive(&harness);
    assert_eq!(received[2..], ["video key 4 on 1 at 160", "audio frame 4 on 1 at 170", "video frame 4 on 1 at 200"]);
    player.send(&harness, &peer::command("receiveAudio", 0.0, 1, &[false.into()]));
    publisher.send(&harness, &gop(240, 5));
    assert_eq!(player.receive(&harness), ["video key 5 on 1 at 240", "video frame 5 on 1 at 280"]);
}

#[test]
fn video_turned_on_again_comes_without_a_key_frame_if_none_comes_for_too_long() {
    let mut harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let mut player = harness.player("cam");
    player.receive(&harness);
    player.send(&harness, &peer::command("receiveVideo", 0.0, 1, &[false.into()]));
    player.send(&harness, &peer::command("receiveVideo", 0.0, 1, &[true.into()]));
    player.receive(&harness);
    publisher.send(&harness, &peer::video(80, &peer::inter_frame(2)));
    assert_eq!(player.receive(&harness), [""; 0]);
    harness.pass(Duration::from_secs(12));
    publisher.send(&harness, &peer::video(12_080, &peer::inter_frame(3)));
    assert_eq!(player.receive(&harness), ["video frame 3 on 1 at 12080"]);
}

#[test]
fn a_player_on_message_stream_2_gets_the_same_bodies() {
    let mut config = Config::default();
    config.defaults.session.chunk_size = 128;
    let harness = Harness::with(config);
    let mut publisher = harness.publisher("cam");
    let body = [peer::key_frame(1), (0..250).collect()].concat();
    publisher.send(&harness, &[headers(), peer::video(0x0100_0000, &body)].concat());
    let mut player = harness.client();
    player.send(&harness, &[peer::create_stream(2.0), peer::create_stream(3.0), peer::play(2, "cam")].concat());
    let messages = player.messages(&harness);
    let frames: Vec<_> = messages.iter().filter(|message| message.type_id == MessageType::VIDEO).collect();
    assert_eq!(frames.len(), 2);
    assert!(frames.iter().all(|frame| frame.message_stream_id == 2 && frame.timestamp == 0x0100_0000));
    assert_eq!((&frames[0].payload[..], &frames[1].payload[..]), (peer::VIDEO_HEADER, &body[..]));
}

#[test]
fn one_connection_plays_a_stream_twice_and_is_attached_until_both_end() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let mut player = harness.client();
    player.send(&harness, &[peer::create_stream(2.0), peer::create_stream(3.0)].concat());
    player.send(&harness, &[peer::play(1, "cam"), peer::play(2, "cam")].concat());
    let received = player.receive(&harness);
    for message_stream_id in [1, 2] {
        assert!(received.contains(&format!("video key 1 on {message_stream_id} at 0")), "{received:?}");
    }
    player.actions();
    player.send(&harness, &peer::command("deleteStream", 0.0, 0, &[1.0.into()]));
    assert_eq!(player.actions(), [""; 0]);
    player.send(&harness, &peer::command("deleteStream", 0.0, 0, &[2.0.into()]));
    assert_eq!(player.actions(), ["unsubscribe", "detach player"]);
}

#[test]
fn the_queue_of_a_player_that_does_not_take_stays_near_the_high_water_mark() {
    let mut config = Config::from(VhostConfig { high_water: 5000, ..VhostConfig::default() });
    config.defaults.source.bytes = 40_000;
    let harness = Harness::with(config);
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &headers());
    let mut player = harness.player("cam");
    player.receive(&harness);
    let frame = |head: &[u8]| [head, &[7; 1000]].concat();
    for number in 0..200u32 {
        let head = if number % 10 == 0 { peer::key_frame(1) } else { peer::inter_frame(2) };
        publisher.send(&harness, &peer::video(number * 40, &frame(&head)));
        player.poll(&harness);
        let waiting = player.conn.outbound().len();
        assert!(waiting < 5000 + 1018, "{waiting} bytes are queued");
    }
    assert!(player.conn.outbound().len() >= 5000);
    // It reads again: the rest of the queue, then from the newest key frame on.
    let received = player.receive(&harness);
    assert_eq!(received.last().map(String::as_str), Some("video frame 7 on 1 at 7960"));
    assert!(received.contains(&"video key 7 on 1 at 7600".to_owned()), "{received:?}");
    player.disconnect(&harness);
    let missed = player.closed.expect("closed").missed;
    let got = received.iter().filter(|line| line.contains("key") || line.contains("frame")).count() as u64;
    assert_eq!(missed.frames + got, 200, "what it did not get is counted");
    assert!(missed.bytes > missed.frames * 1000 && missed.milliseconds > 6000, "{missed:?}");
}

#[test]
fn a_player_that_takes_nothing_is_watched_from_the_moment_it_is_given_something() {
    let mut config = Config::default();
    config.defaults.session.timeouts.ping = Duration::from_secs(1000);
    let mut harness = Harness::with(config);
    let mut publisher = harness.publisher("cam");
    let mut player = harness.player("cam");
    player.receive(&harness);
    harness.pass(Duration::from_secs(100));
    player.conn.handle_timeout(harness.now);
    player.poll(&harness);
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    player.poll(&harness);
    assert!(!player.conn.outbound().is_empty());
    player.run(&mut harness, Duration::from_secs(29));
    assert_eq!(player.conn.session().phase(), crate::session::Phase::Playing);
    player.run(&mut harness, Duration::from_secs(12));
    let reason = player.closed.map(|report| report.close.reason);
    assert_eq!(reason, Some(CloseReason::Timeout(crate::session::TimeoutKind::Write)), "not only after the next ping");
}

#[test]
fn a_player_gets_as_much_as_it_asked_for() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1), gop(80, 2)].concat());
    let mut player = harness.client();
    let arguments = ["cam".into(), (-1.0).into(), 100.0.into()];
    player.send(&harness, &[peer::create_stream(2.0), peer::command("play", 4.0, 1, &arguments)].concat());
    player.receive(&harness);
    publisher.send(&harness, &gop(160, 3));
    let received = player.receive(&harness);
    assert_eq!(received[..2], ["video key 3 on 1 at 160", "audio frame 3 on 1 at 170"]);
    assert_eq!(received[2..], ["data onPlayStatus on 1 at 0", "StreamEof(1)", "5/1 onStatus 0 NetStream.Play.Stop"]);
    assert_eq!(player.actions(), ["attach player of live/cam", "subscribe", "unsubscribe", "detach player"]);
}

/// A publisher leaves before a player could get a frame: all players that wait for it get a message about its end.
#[test]
fn the_end_of_a_publisher_is_told_whether_or_not_it_had_a_beginning() {
    for sent in [Vec::new(), headers(), peer::video(0, &peer::inter_frame(1))] {
        let mut harness = Harness::new();
        let mut before = harness.player("cam");
        before.receive(&harness);
        let mut publisher = harness.publisher("cam");
        publisher.send(&harness, &sent);
        let mut during = harness.player("cam");
        before.receive(&harness);
        during.receive(&harness);
        publisher.disconnect(&harness);
        let mut after = harness.player("cam");
        after.receive(&harness);
        let mut players = [(&mut before, true), (&mut during, true), (&mut after, false)];
        let mut received = [const { Vec::new() }; 3];
        // A limit is checked more than once.
        for _ in 0..=20 {
            harness.pass(VhostConfig::default().unpublish_grace / 20);
            for ((player, _), received) in players.iter_mut().zip(&mut received) {
                player.conn.handle_timeout(harness.now);
                received.extend(player.receive(&harness));
            }
        }
        for ((player, told), received) in players.into_iter().zip(received) {
            assert_eq!(contains(&received, "NetStream.Play.UnpublishNotify"), told, "{received:?}");
            player.disconnect(&harness);
        }
        assert!(harness.server.hub().streams().is_empty(), "nothing is left");
    }
}

#[test]
fn a_player_that_comes_after_the_publisher_left_waits_like_one_that_came_before() {
    let mut harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &gop(0, 1));
    harness.pass(Duration::from_millis(50));
    publisher.poll(&harness);
    let mut stayed = harness.player("cam");
    stayed.receive(&harness);
    publisher.disconnect(&harness);
    stayed.poll(&harness);
    stayed.run(&mut harness, VhostConfig::default().unpublish_grace);
    assert!(
        contains(&stayed.receive(&harness), "NetStream.Play.UnpublishNotify"),
        "a player that got frames gets the notice"
    );
    let mut late = harness.player("cam");
    let received = late.receive(&harness);
    assert!(contains(&received, "NetStream.Play.Start"), "{received:?}");
    assert!(!contains(&received, "NetStream.Play.UnpublishNotify"), "{received:?}");
}

#[test]
fn a_player_that_missed_too_much_is_closed_in_the_same_poll() {
    let config = VhostConfig { max_gap: Some(Duration::from_secs(1)), high_water: 1, ..VhostConfig::default() };
    let mut config = Config::from(config);
    config.defaults.source.milliseconds = 100;
    let mut harness = Harness::with(config);
    let mut publisher = harness.publisher("cam");
    let mut player = harness.player("cam");
    player.receive(&harness);
    for number in 0..100u8 {
        publisher.send(&harness, &gop(u32::from(number) * 100, number));
        harness.pass(Duration::from_millis(100));
        publisher.poll(&harness);
        player.poll(&harness);
    }
    player.receive(&harness);
    let report = player.closed.expect("closed without another call");
    assert_eq!(report.close.reason.name(), "player_too_slow");
}

/// If the queue has room for one stream only, each time another stream gets the room.
#[test]
fn the_streams_of_one_connection_take_turns() {
    let harness = Harness::with(VhostConfig { high_water: 1, ..VhostConfig::default() }.into());
    let mut publishers = [harness.publisher("one"), harness.publisher("two")];
    let mut player = harness.client();
    player.send(&harness, &[peer::create_stream(2.0), peer::create_stream(3.0)].concat());
    player.send(&harness, &[peer::play(1, "one"), peer::play(2, "two")].concat());
    player.receive(&harness);
    let streams: Vec<(Role, &str)> = player.conn.streams().map(|(role, key)| (role, key.stream())).collect();
    assert!(streams.contains(&(Role::Player, "one")) && streams.contains(&(Role::Player, "two")), "{streams:?}");
    assert_eq!(streams.len(), 2);
    for publisher in &mut publishers {
        for number in 0..4 {
            publisher.send(&harness, &peer::audio(u32::from(number), &peer::audio_frame(number)));
        }
    }
    let received = player.receive(&harness);
    let of_stream = |line: &String| u8::from(line.contains(" on 1 "));
    let turns: Vec<u8> = received.iter().map(of_stream).collect();
    assert_eq!(turns.len(), 8, "{received:?}");
    assert!(turns.windows(2).all(|pair| pair[0] != pair[1]), "{received:?}");
}

/// A player of two streams is served until both have come to the end of their GOP, each up to its own end.
#[test]
fn a_drained_player_of_two_streams_finishes_each_and_then_goes() {
    let mut harness = Harness::new();
    let mut publishers = [harness.publisher("one"), harness.publisher("two")];
    for publisher in &mut publishers {
        publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    }
    let mut player = harness.client();
    player.send(&harness, &[peer::create_stream(2.0), peer::create_stream(3.0)].concat());
    player.send(&harness, &[peer::play(1, "one"), peer::play(2, "two")].concat());
    player.receive(&harness);
    player.conn.drain(harness.now + Duration::from_secs(60), None);
    publishers[0].send(&harness, &[peer::video(80, &peer::inter_frame(2)), gop(120, 3), gop(200, 4)].concat());
    assert_eq!(player.receive(&harness), ["video frame 2 on 1 at 80"]);
    assert!(player.closed.is_none(), "the other one goes on");
    publishers[0].send(&harness, &gop(280, 5));
    publishers[1].send(&harness, &peer::video(80, &peer::inter_frame(2)));
    assert_eq!(player.receive(&harness), ["video frame 2 on 2 at 80"]);
    publishers[1].send(&harness, &gop(120, 3));
    let received = player.receive(&harness);
    assert!(received.iter().all(|line| !line.contains("video")), "{received:?}");
    assert_eq!(
        received.iter().filter(|line| line.contains("NetStream.Play.UnpublishNotify")).count(),
        2,
        "{received:?}"
    );
    harness.pass(Duration::from_secs(3));
    player.conn.handle_timeout(harness.now);
    player.poll(&harness);
    assert_eq!(player.closed.expect("over").close.reason, CloseReason::Drained);
}

/// Frames are cut for the virtual host of their stream, and the player gets a message with that chunk size.
#[test]
fn a_player_of_two_virtual_hosts_reads_frames_cut_to_each_ones_chunk_size() {
    let host = |chunk_size| {
        let mut config = VhostConfig::default();
        config.session.chunk_size = chunk_size;
        config
    };
    let vhosts = [Vhost::new("a", host(200)), Vhost::new("b", host(5000))];
    let harness = Harness::with(Config { vhosts: Vhosts::new(vhosts).expect("two names"), ..Config::default() });
    let at = |host: &str| {
        let tc_url = format!("rtmp://{host}/live");
        harness.client_from(None, Object::default().with("app", "live").with("tcUrl", tc_url.as_str()))
    };
    let mut publishers = [at("a"), at("b")];
    for publisher in &mut publishers {
        publisher.send(&harness, &[peer::create_stream(2.0), peer::publish(1, "cam")].concat());
    }
    let mut player = at("a");
    player.send(&harness, &[peer::create_stream(2.0), peer::create_stream(3.0)].concat());
    player.send(&harness, &[peer::play(1, "cam"), peer::play(2, "cam?vhost=b")].concat());
    player.receive(&harness);
    for number in 1..4 {
        let body = [peer::key_frame(number), vec![number; 3000]].concat();
        for publisher in &mut publishers {
            publisher.send(&harness, &peer::video(0, &body));
        }
        let messages = player.messages(&harness);
        let frames = messages.iter().filter(|message| message.type_id == MessageType::VIDEO);
        let frames: Vec<(u32, bool)> =
            frames.map(|frame| (frame.message_stream_id, frame.payload[..] == body)).collect();
        assert!(frames.contains(&(1, true)) && frames.contains(&(2, true)) && frames.len() == 2, "{frames:?}");
        let sizes = messages.iter().filter(|message| message.type_id == MessageType::SET_CHUNK_SIZE).count();
        assert!((1..=2).contains(&sizes), "told where it changes: {sizes}");
    }
}

/// A track that is on already goes on unchanged.
#[test]
fn video_that_is_on_and_turned_on_again_has_no_gap() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let mut player = harness.player("cam");
    player.receive(&harness);
    player.send(&harness, &peer::command("receiveVideo", 0.0, 1, &[true.into()]));
    player.receive(&harness);
    publisher.send(&harness, &peer::video(80, &peer::inter_frame(2)));
    assert_eq!(player.receive(&harness), ["video frame 2 on 1 at 80"]);
}

#[test]
fn how_far_a_player_is_behind_shows_as_soon_as_its_queue_is_full() {
    let harness = Harness::with(VhostConfig { high_water: 500, ..VhostConfig::default() }.into());
    let mut publisher = harness.publisher("cam");
    let mut player = harness.player("cam");
    player.receive(&harness);
    publisher.send(&harness, &peer::audio(0, &peer::audio_frame(1)));
    player.poll(&harness);
    let lag = |player: &Client| player.conn.stats().snapshot(harness.now).lag;
    assert_eq!((lag(&player), player.conn.outbound().is_empty()), (0, false), "it has room");
    // Each is 15 bytes with its header.
    let flood: Vec<u8> = (1..=100).flat_map(|time| peer::audio(time, &peer::audio_frame(1))).collect();
    publisher.send(&harness, &flood);
    player.poll(&harness);
    assert_eq!(lag(&player), 101 - 500_u64.div_ceil(15));
    player.receive(&harness);
    assert_eq!(lag(&player), 0);
}

/// The time that a player waits for a publisher.
const WAIT: Duration = Duration::from_secs(600);

fn reason(client: &Client) -> Option<&'static str> {
    client.closed.as_ref().map(|report| report.close.reason.name())
}

#[test]
fn waiting_for_a_stream_without_publisher_has_an_end() {
    for paused in [false, true] {
        let mut harness = Harness::new();
        let mut player = harness.player("cam");
        if paused {
            player.send(&harness, &peer::command("pause", 0.0, 1, &[true.into(), 0.0.into()]));
        }
        player.receive(&harness);
        let start = harness.now;
        // It receives pings while it waits, and handles them.
        let last = start + WAIT - Duration::from_secs(1);
        while harness.now < last {
            let step = Duration::from_secs(10).min(last - harness.now);
            player.run(&mut harness, step);
            assert!(player.receive(&harness).iter().all(|line| line.contains("Ping")));
        }
        assert_eq!(reason(&player), None);
        player.actions();
        player.run(&mut harness, Duration::from_secs(1));
        let received = player.receive(&harness);
        assert!(contains(&received, "NetStream.Play.StreamNotFound"), "{received:?}");
        assert_eq!(player.actions(), ["unsubscribe", "detach player"]);
        player.run(&mut harness, Duration::from_secs(4));
        assert_eq!(reason(&player), Some("wait_for_stream_timeout"), "paused: {paused}");
        assert_eq!(harness.server.hub().streams().len(), 0, "nothing is left of it");
    }
}

#[test]
fn a_publisher_that_comes_in_time_ends_the_waiting_and_one_that_goes_begins_it() {
    let mut harness = Harness::new();
    let mut player = harness.player("cam");
    let pass = |player: &mut Client, harness: &mut Harness, seconds: u64| {
        for _ in 0..seconds / 10 {
            player.run(harness, Duration::from_secs(10));
            player.receive(harness);
        }
    };
    pass(&mut player, &mut harness, 590);
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &gop(0, 1));
    player.receive(&harness);
    pass(&mut player, &mut harness, 1200);
    assert_eq!(reason(&player), None, "it is published, even if nothing comes");
    publisher.disconnect(&harness);
    player.receive(&harness);
    pass(&mut player, &mut harness, 590);
    assert_eq!(reason(&player), None);
    pass(&mut player, &mut harness, 20);
    assert_eq!(reason(&player), Some("wait_for_stream_timeout"));
}

#[test]
fn a_connection_that_does_something_else_only_loses_the_player() {
    let mut harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &gop(0, 1));
    let mut player = harness.player("cam");
    player.send(&harness, &peer::create_stream(5.0));
    player.receive(&harness);
    player.send(&harness, &peer::play(2, "nothing"));
    player.receive(&harness);
    let mut received = Vec::new();
    for _ in 0..61 {
        player.run(&mut harness, Duration::from_secs(10));
        received.extend(player.receive(&harness));
    }
    assert!(contains(&received, "NetStream.Play.StreamNotFound"), "{received:?}");
    assert_eq!(reason(&player), None);
    publisher.send(&harness, &gop(40, 1));
    assert!(!player.receive(&harness).is_empty(), "the other stream goes on");
}

#[test]
fn a_publisher_that_waits_to_be_accepted_after_a_pause_comes_before_the_end_of_its_grace() {
    let mut harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &gop(0, 1));
    let mut player = harness.player("cam");
    player.receive(&harness);
    publisher.disconnect(&harness);
    player.poll(&harness);
    player.run(&mut harness, Duration::from_secs(1));
    // The process was stopped, and goes on long after the grace time is over.
    harness.pass(Duration::from_secs(100));
    player.conn.handle_timeout(harness.now);
    assert!(!contains(&player.receive(&harness), "NetStream.Play.UnpublishNotify"));
    let mut back = harness.publisher("cam");
    back.send(&harness, &gop(40, 1));
    player.run(&mut harness, Duration::from_secs(60));
    assert!(!contains(&player.receive(&harness), "NetStream.Play.UnpublishNotify"), "it went on");
}
