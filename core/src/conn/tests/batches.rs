//! One write of the same bytes to many players, without polling each.

use super::*;

impl Client {
    /// Writes the next bytes for this client, at most as many as its socket takes. Returns what the client receives.
    fn write_batch(&mut self, harness: &Harness, most: usize) -> Vec<String> {
        let mut batches = Batches::default();
        let share = batches.share(&mut self.conn).expect("there is something new");
        let bytes = share.bytes().clone();
        let count = bytes.len().min(most);
        let goes_on = self.wrote(harness, share, count);
        assert_eq!(goes_on, count == bytes.len());
        assert!(batches.share(&mut self.conn).is_none(), "nothing comes twice");
        self.server_output.lines(&bytes[..count])
    }

    fn batch(&mut self, harness: &Harness) -> Vec<String> {
        self.write_batch(harness, usize::MAX)
    }

    /// Begins to write the next bytes for it.
    fn share(&mut self) -> Option<Share> {
        Batches::default().share(&mut self.conn)
    }

    fn wrote(&mut self, harness: &Harness, share: Share, count: usize) -> bool {
        self.conn.wrote(harness.now, share, count).expect("it is its own")
    }
}

/// A publisher that has sent a GOP and players that have received it.
fn served<const N: usize>() -> (Harness, Client, [Client; N]) {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let players = [(); N].map(|()| {
        let mut player = harness.player("cam");
        player.receive(&harness);
        player
    });
    (harness, publisher, players)
}

#[test]
fn a_batch_says_what_a_poll_says() {
    let (mut harness, mut publisher, [mut polled, mut batched, mut other]) = served();
    for round in 1..20_u8 {
        harness.pass(Duration::from_millis(40));
        let time = 80 * u32::from(round);
        publisher.send(
            &harness,
            &if round % 5 == 0 { gop(time, round) } else { peer::video(time, &peer::inter_frame(round)) },
        );
        let expected = polled.receive(&harness);
        assert!(!expected.is_empty());
        assert_eq!(batched.batch(&harness), expected);
        // The next bytes for one player are for all at its place.
        other.receive(&harness);
        assert!(batched.share().is_none(), "nothing is left");
    }
    batched.poll(&harness);
    assert_eq!(batched.receive(&harness), Vec::<String>::new());
    let [one, two] = [&polled, &batched].map(|client| client.conn.stats().snapshot(harness.now));
    assert_eq!((one.bytes_out, one.frames_out, one.lag), (two.bytes_out, two.frames_out, two.lag));
    let [one, two] = [polled, batched].map(|mut client| {
        client.disconnect(&harness);
        client.closed.expect("it is over")
    });
    assert_eq!((one.sent, one.missed, one.unsent), (two.sent, two.missed, two.unsent));
}

// Otherwise the last frames before a pause are missing in the statistics as long as the pause lasts.
#[test]
fn what_was_written_before_a_stream_fell_quiet_is_counted() {
    let (mut harness, mut publisher, [mut player]) = served();
    let counted = |player: &Client, harness: &Harness| player.conn.stats().snapshot(harness.now).frames_out;
    let before = counted(&player, &harness);
    publisher.send(&harness, &gop(80, 2));
    assert_eq!(player.batch(&harness).len(), 3);
    assert_eq!(counted(&player, &harness), before, "the connection was not polled");
    publisher.run(&mut harness, Duration::from_millis(999));
    publisher.actions.clear();
    publisher.run(&mut harness, Duration::from_secs(8));
    assert_eq!(publisher.actions, ["wake"], "once");
    assert!(player.share().is_none(), "so it is polled");
    player.poll(&harness);
    assert_eq!(counted(&player, &harness), before + 3);
}

#[test]
fn what_a_socket_does_not_take_of_a_batch_waits_in_the_queue() {
    let length = {
        let (harness, mut publisher, [mut player]) = served();
        publisher.send(&harness, &gop(80, 2));
        player.share().expect("there is something new").bytes().len()
    };
    for most in 0..=length {
        let (harness, mut publisher, [mut player]) = served();
        publisher.send(&harness, &gop(80, 2));
        let mut received = player.write_batch(&harness, most);
        publisher.send(&harness, &gop(160, 3));
        received.extend(player.receive(&harness));
        let expected = ["key 2 on 1 at 80", "frame 2 on 1 at 90", "frame 2 on 1 at 120", "key 3 on 1 at 160"];
        for (received, expected) in received.iter().zip(expected) {
            assert!(received.ends_with(expected), "{most} bytes: {received}");
        }
        assert_eq!(received.len(), 6, "{most} bytes: {received:?}");
        let snapshot = player.conn.stats().snapshot(harness.now);
        assert_eq!(snapshot.bytes_out, player.conn.outbound().written());
    }
}

#[test]
fn a_connection_that_must_be_polled_takes_no_batch() {
    // Called since the last poll.
    let (mut harness, mut publisher, [mut player, mut other, mut third]) = served();
    publisher.send(&harness, &gop(80, 2));
    let mut batches = Batches::default();
    let [share, thirds] = [&mut other, &mut third].map(|client| batches.share(&mut client.conn).expect("it takes it"));
    assert_eq!(share.bytes().as_ptr(), thirds.bytes().as_ptr(), "it is the same for both");
    player.conn.handle_input(harness.now, &[]);
    assert!(batches.share(&mut player.conn).is_none());
    player.receive(&harness);
    assert!(batches.share(&mut player.conn).is_none(), "it is further now");
    drop((share, thirds));
    // With something queued.
    publisher.send(&harness, &gop(160, 3));
    player.poll(&harness);
    assert!(player.share().is_none());
    player.receive(&harness);
    // The publisher is gone, or there is another one.
    publisher.disconnect(&harness);
    assert!(player.share().is_none());
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 4)].concat());
    assert!(player.share().is_none(), "headers are to come first");
    player.receive(&harness);
    publisher.send(&harness, &gop(80, 5));
    assert_eq!(player.batch(&harness).len(), 3);
    // A player that does not want all frames.
    for wish in [
        ("pause", Value::Boolean(true)),
        ("receiveAudio", Value::Boolean(false)),
        ("receiveVideo", Value::Boolean(false)),
    ] {
        let mut player = harness.player("cam");
        player.receive(&harness);
        player.send(&harness, &peer::command(wish.0, 0.0, 1, &[wish.1, Value::Number(0.0)]));
        player.receive(&harness);
        publisher.send(&harness, &gop(160, 6));
        assert!(player.share().is_none(), "{}", wish.0);
    }
    // A player that leaves after this GOP.
    let mut player = harness.player("cam");
    player.receive(&harness);
    player.conn.drain(harness.now + Duration::from_secs(9), None);
    player.receive(&harness);
    publisher.send(&harness, &peer::video(200, &peer::inter_frame(7)));
    assert!(player.share().is_none());
    // A player on another message stream, or of two streams.
    let mut player = harness.client();
    player.send(&harness, &[peer::create_stream(2.0), peer::create_stream(3.0), peer::play(2, "cam")].concat());
    player.receive(&harness);
    publisher.send(&harness, &gop(240, 8));
    assert!(player.share().is_none());
    player.send(&harness, &peer::play(1, "cam"));
    player.receive(&harness);
    publisher.send(&harness, &gop(320, 9));
    assert!(player.share().is_none());
    harness.pass(Duration::from_millis(1));
    assert_eq!(player.receive(&harness).len(), 6, "three for each");
}

#[test]
fn a_player_that_has_not_begun_waits_for_its_poll() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    let mut player = harness.player("cam");
    player.receive(&harness);
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    assert!(player.share().is_none());
    player.receive(&harness);
    publisher.send(&harness, &gop(80, 2));
    assert_eq!(player.batch(&harness).len(), 3);
}

#[test]
fn sound_without_pictures_comes_in_batches_and_pictures_before_a_key_frame_do_not() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &peer::audio(0, &peer::audio_frame(1)));
    let mut player = harness.player("cam");
    player.receive(&harness);
    publisher.send(&harness, &peer::audio(20, &peer::audio_frame(2)));
    assert_eq!(player.batch(&harness), ["audio frame 2 on 1 at 20"]);
    publisher
        .send(&harness, &[peer::video(40, &peer::inter_frame(3)), peer::audio(40, &peer::audio_frame(3))].concat());
    assert!(player.share().is_none());
    assert_eq!(player.receive(&harness), ["audio frame 3 on 1 at 40"]);
}

#[test]
fn messages_queued_while_a_batch_is_written_come_after_it() {
    for count in [0, 9, usize::MAX] {
        let (harness, mut publisher, [mut player]) = served();
        publisher.send(&harness, &gop(80, 2));
        let share = player.share().expect("there is something new");
        let count = count.min(share.bytes().len());
        player.conn.handle_input(harness.now, &peer::control(&Control::User(UserControl::PingRequest(7))));
        assert!(player.share().is_none());
        let mut received = player.server_output.lines(&share.bytes()[..count]);
        assert!(!player.wrote(&harness, share, count), "it was called");
        received.extend(player.receive(&harness));
        let at = |what: &str| received.iter().position(|line| line.contains(what)).expect("it is said");
        assert_eq!(received.len(), 4, "{received:?}");
        assert!(count == 0 || at("key 2") < at("PingResponse"), "{received:?}");
        assert_eq!(player.conn.stats().snapshot(harness.now).bytes_out, player.conn.outbound().written());
    }
}

#[test]
fn the_linger_of_a_player_of_batches_begins_with_the_final_messages() {
    let (mut harness, mut publisher, [mut player]) = served();
    let linger = VhostConfig::default().session.timeouts.linger;
    for round in 1..=4 {
        harness.pass(linger / 2);
        publisher.send(&harness, &gop(80 * u32::from(round), round));
        assert!(!player.batch(&harness).is_empty());
    }
    player.conn.shutdown();
    assert!(contains(&player.receive(&harness), "NetStream.Play.UnpublishNotify"));
    assert_eq!(player.deadline(), Some(harness.now + linger));
    player.run(&mut harness, linger / 2);
    assert!(player.closed.is_none(), "the player may still hang up first");
}

#[test]
fn the_rest_of_a_batch_does_not_keep_a_broken_connection_open() {
    let (harness, mut publisher, [mut player]) = served();
    publisher.send(&harness, &gop(80, 2));
    let share = player.share().expect("there is something new");
    player.conn.handle_disconnect(harness.now, CloseReason::PeerClosed);
    assert!(!player.wrote(&harness, share, 9), "it was called");
    player.poll(&harness);
    let report = player.closed.expect("nothing more is written");
    assert!(report.given_up > 0, "the rest of the frame was");
}

#[test]
fn few_places_are_put_together_in_one_turn_and_the_rest_is_polled() {
    let (harness, mut publisher, mut players) = served::<5>();
    // Four are at different places, the last one is where the first is.
    for (index, time) in [(3, 80), (2, 120), (1, 160)] {
        publisher.send(&harness, &peer::video(time, &peer::inter_frame(9)));
        for player in &mut players[1..=index] {
            player.receive(&harness);
        }
    }
    publisher.send(&harness, &peer::video(200, &peer::inter_frame(9)));
    let mut batches = Batches::default();
    let mut frames = Vec::new();
    for player in &mut players {
        let share = batches.share(&mut player.conn);
        frames.push(share.map(|share| {
            let lines = player.server_output.lines(share.bytes()).len();
            let length = share.bytes().len();
            assert!(player.wrote(&harness, share, length));
            lines
        }));
    }
    assert_eq!(frames, [Some(4), Some(1), Some(2), None, Some(4)]);
    assert_eq!(players[3].receive(&harness).len(), 3);
}

/// What a player that gets all frames receives of the second GOP.
const SECOND: [&str; 3] = ["key 2 on 1 at 80", "audio frame 2 on 1 at 90", "frame 2 on 1 at 120"];

fn ends(received: &[String], with: &[&str]) -> bool {
    received.len() == with.len() && received.iter().zip(with).all(|(line, end)| line.ends_with(end))
}

// Before shares belonged to one connection, this was accepted: one player got the frames twice, the other missed them
// uncounted.
#[test]
fn a_share_that_is_reported_to_another_connection_comes_back() {
    let (harness, mut publisher, [mut one, mut two]) = served();
    // Another server, whose connections have the same numbers.
    let (other_harness, mut other_publisher, [mut namesake]) = served();
    assert_eq!(one.conn.id(), namesake.conn.id());
    publisher.send(&harness, &gop(80, 2));
    other_publisher.send(&other_harness, &gop(80, 2));
    let mut batches = Batches::default();
    let share = batches.share(&mut one.conn).expect("there is something new");
    let length = share.bytes().len();
    let WrongConnection(share) = two.conn.wrote(harness.now, share, length).expect_err("it is of another connection");
    let twos = batches.share(&mut two.conn).expect("nothing was changed");
    let WrongConnection(share) = two.conn.wrote(harness.now, share, 9).expect_err("two writes its own");
    let namesakes = namesake.share().expect("there is something new");
    let WrongConnection(share) = namesake.conn.wrote(harness.now, share, 9).expect_err("it is of another server");
    for (client, share) in [(&mut one, share), (&mut two, twos)] {
        let received = client.server_output.lines(share.bytes());
        assert!(client.wrote(&harness, share, length) && ends(&received, &SECOND), "{received:?}");
        assert!(client.receive(&harness).is_empty());
    }
    assert!(namesake.wrote(&other_harness, namesakes, length));
    assert_eq!(one.conn.stats().snapshot(harness.now).frames_out, two.conn.stats().snapshot(harness.now).frames_out);
}

// Before shares were noted in the connection, its frames were queued a second time.
#[test]
fn a_share_that_is_dropped_is_a_write_that_does_not_end() {
    let (mut harness, mut publisher, [mut player]) = served();
    publisher.send(&harness, &gop(80, 2));
    drop(player.share().expect("there is something new"));
    let written = player.conn.stats().snapshot(harness.now).bytes_out;
    player.poll(&harness);
    assert_eq!(player.wait.expect("it waits").due.map(|due| due.what), Some(DueKind::Write));
    publisher.send(&harness, &gop(160, 3));
    assert_eq!(player.receive(&harness), Vec::<String>::new(), "nothing is written behind it");
    let timeouts = VhostConfig::default().session.timeouts;
    publisher.conn.handle_timeout(harness.now);
    player.run(&mut harness, timeouts.write + timeouts.linger);
    let report = player.closed.expect("the write has taken too long");
    assert_eq!(report.close.reason, CloseReason::Timeout(TimeoutKind::Write));
    assert_eq!((report.sent, report.unsent.frames), (written, 6), "{report:?}");
}

#[test]
fn a_queue_that_is_lent_and_dropped_is_a_write_that_does_not_end() {
    let (mut harness, mut publisher, [mut player]) = served();
    publisher.send(&harness, &gop(80, 2));
    player.poll(&harness);
    let lent = player.conn.outbound().lend().expect("there is something new");
    let length = lent.remaining() as u64;
    drop(lent);
    publisher.send(&harness, &gop(160, 3));
    assert_eq!(player.receive(&harness), Vec::<String>::new(), "nothing is written behind it");
    let timeouts = VhostConfig::default().session.timeouts;
    player.run(&mut harness, timeouts.write + timeouts.linger);
    let report = player.closed.expect("the write has taken too long");
    assert_eq!(report.close.reason, CloseReason::Timeout(TimeoutKind::Write));
    assert_eq!((report.given_up, report.unsent.frames), (length, 3), "{report:?}");
}

#[test]
fn a_write_of_unknown_outcome_ends_with_the_connection() {
    let (harness, mut publisher, [mut player]) = served();
    publisher.send(&harness, &gop(80, 2));
    drop(player.share().expect("there is something new"));
    player.conn.handle_disconnect(harness.now, CloseReason::PeerLost("cancelled".into()));
    player.poll(&harness);
    let report = player.closed.expect("it is over at once");
    assert_eq!(report.unsent.frames, 3);
}

#[test]
fn shares_are_reported_in_any_order_from_any_thread() {
    let (harness, mut publisher, mut players) = served::<3>();
    publisher.send(&harness, &gop(80, 2));
    let mut batches = Batches::default();
    let shares = players.each_mut().map(|player| batches.share(&mut player.conn).expect("there is something new"));
    drop(batches);
    let shares = std::thread::scope(|scope| scope.spawn(|| shares).join()).expect("they may be sent");
    for (player, share) in players.iter_mut().zip(shares).rev() {
        let (received, length) = (player.server_output.lines(share.bytes()), share.bytes().len());
        assert!(player.wrote(&harness, share, length) && ends(&received, &SECOND), "{received:?}");
    }
}

#[test]
fn a_player_that_resumes_while_a_share_is_out_gets_nothing_twice_and_misses_nothing() {
    for count in [0, 9, usize::MAX] {
        let (harness, mut publisher, [mut player]) = served();
        publisher.send(&harness, &gop(80, 2));
        let share = player.share().expect("there is something new");
        let count = count.min(share.bytes().len());
        let mut received = player.server_output.lines(&share.bytes()[..count]);
        for paused in [true, false] {
            let arguments = [Value::Boolean(paused), Value::Number(0.0)];
            player.conn.handle_input(harness.now, &peer::command("pause", 0.0, 1, &arguments));
        }
        player.poll(&harness);
        assert!(!player.wait.expect("it waits").write);
        assert!(!player.wrote(&harness, share, count));
        received.extend(player.receive(&harness));
        let frames: Vec<_> = received.iter().filter(|line| line.contains(" 2 on 1 at ")).cloned().collect();
        assert!(ends(&frames, &SECOND), "{count}: {received:?}");
        player.disconnect(&harness);
        let report = player.closed.expect("it is over");
        assert_eq!((report.missed.frames, report.unsent.frames), (0, 0), "{count}: {report:?}");
    }
}

#[test]
fn frames_sent_after_the_end_of_playback_do_not_count_as_unsent() {
    for (count, unsent) in [(0, 3), (9, 2), (usize::MAX, 0)] {
        let (harness, mut publisher, [mut player]) = served();
        publisher.send(&harness, &gop(80, 2));
        let share = player.share().expect("there is something new");
        let count = count.min(share.bytes().len());
        player.conn.handle_input(harness.now, &peer::command("closeStream", 0.0, 1, &[]));
        player.poll(&harness);
        assert!(!player.wrote(&harness, share, count));
        player.receive(&harness);
        player.disconnect(&harness);
        let report = player.closed.expect("it is over");
        assert_eq!(report.unsent.frames, unsent, "{count}: {report:?}");
    }
}

#[test]
fn whatever_the_order_of_reports_each_player_gets_each_frame_once() {
    for seed in 1..=60_u64 {
        let mut random = seed;
        let mut below = |limit: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % limit
        };
        let (mut harness, mut publisher, mut players) = served::<4>();
        let mut received: [Vec<String>; 4] = Default::default();
        let (mut batches, mut out, mut expected) = (Batches::default(), Vec::<(usize, Share)>::new(), Vec::new());
        let report =
            |harness: &Harness, player: &mut Client, received: &mut Vec<String>, share: Share, count: usize| {
                received.extend(player.server_output.lines(&share.bytes()[..count]));
                player.wrote(harness, share, count);
            };
        for _ in 0..200 {
            let index = below(players.len());
            match below(6) {
                0 => {
                    let number = expected.len() as u8;
                    let time = 100 + 10 * u32::from(number);
                    publisher.send(&harness, &peer::video(time, &peer::inter_frame(number)));
                    expected.push(format!("video frame {number} on 1 at {time}"));
                    batches = Batches::default();
                }
                1 | 2 => out.extend(batches.share(&mut players[index].conn).map(|share| (index, share))),
                3 if !out.is_empty() => {
                    let (index, share) = out.swap_remove(below(out.len()));
                    let length = share.bytes().len();
                    let count = [0, length, below(length + 1)][below(3)];
                    report(&harness, &mut players[index], &mut received[index], share, count);
                }
                4 => {
                    let ping = peer::control(&Control::User(UserControl::PingRequest(7)));
                    players[index].conn.handle_input(harness.now, &ping);
                    players[index].poll(&harness);
                }
                _ => {
                    received[index].extend(players[index].receive(&harness));
                    harness.pass(Duration::from_millis(1));
                }
            }
        }
        for (index, share) in out.drain(..).rev() {
            let length = share.bytes().len();
            report(&harness, &mut players[index], &mut received[index], share, length);
        }
        for (player, received) in players.iter_mut().zip(&mut received) {
            received.extend(player.receive(&harness));
            received.retain(|line| line.contains("frame"));
            assert_eq!(*received, expected, "seed {seed}");
            let stats = player.conn.stats().snapshot(harness.now);
            assert_eq!(stats.bytes_out, player.conn.outbound().written(), "seed {seed}");
        }
    }
}

// Until shares were counted, a player that stalled with one kept a batch outside all limits.
#[test]
fn a_share_that_is_out_counts_as_a_queue() {
    let config = Config { memory: 2 << 20, ..Config::default() };
    let mut harness = Harness::with(config);
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let mut player = harness.player("cam");
    player.receive(&harness);
    let mut picture = peer::inter_frame(9);
    picture.resize(200 << 10, 9);
    let mut push = |harness: &mut Harness, time: u32| {
        harness.pass(Duration::from_millis(40));
        publisher.send(harness, &peer::video(time, &picture));
    };
    assert!(!player.conn.has_large_queue());
    push(&mut harness, 80);
    push(&mut harness, 120);
    let share = player.share().expect("there is something new");
    assert!(player.conn.has_large_queue(), "before it is called");
    player.poll(&harness);
    assert!(player.conn.has_large_queue() && player.closed.is_none(), "the stream has the frames as well");
    for time in 4..20 {
        push(&mut harness, 40 * time);
    }
    player.poll(&harness);
    assert!(player.conn.session().is_closing());
    assert!(!player.wrote(&harness, share, 0), "it is reported in any case");
    player.poll(&harness);
    assert_eq!(player.closed.expect("it is over").close.reason, CloseReason::MemoryShort);
}

// Until they were counted, a peer could cause twice as many replies.
#[test]
fn replies_that_are_lent_count_among_the_replies() {
    let harness = Harness::new();
    let mut client = harness.client();
    let limit = VhostConfig::default().session.limits.replies;
    let ping = peer::control(&Control::User(UserControl::PingRequest(1)));
    let reads = |client: &Client| client.wait.expect("it waits").read.is_some();
    while reads(&client) {
        client.send(&harness, &ping);
    }
    let all = client.conn.outbound().len();
    let lent = client.conn.outbound().lend().expect("replies wait");
    client.poll(&harness);
    assert!(!reads(&client), "they still wait");
    client.send(&harness, &ping.repeat(10));
    client.conn.outbound().restore(lent).expect("it is its own");
    client.poll(&harness);
    assert!(all >= limit && client.conn.outbound().len() == all, "{all} bytes with a limit of {limit}");
    client.receive(&harness);
    assert!(reads(&client));
}

// Until batches had the number of their stream, the second player was sent the first server's media.
#[test]
fn batches_are_not_mixed_between_servers() {
    let (harness, mut publisher, [mut one]) = served();
    let (other_harness, mut other_publisher, [mut two]) = served();
    publisher.send(&harness, &gop(80, 2));
    other_publisher.send(&other_harness, &gop(80, 7));
    let mut batches = Batches::default();
    let shares = [&mut one, &mut two].map(|client| {
        let share = batches.share(&mut client.conn).expect("there is something new");
        (client.server_output.lines(share.bytes()), share)
    });
    for ((received, _share), number) in shares.iter().zip([2, 7]) {
        assert!(received[0].contains(&format!("key {number} ")), "{received:?}");
    }
}

#[test]
fn a_player_that_is_polled_at_a_wake_during_a_write_gets_the_end_of_the_stream() {
    let (mut harness, mut publisher, [mut player]) = served();
    publisher.send(&harness, &gop(80, 2));
    let share = player.share().expect("there is something new");
    publisher.disconnect(&harness);
    player.poll(&harness);
    let due = player.wait.expect("it waits").due.map(|due| due.what);
    assert_eq!(due, Some(DueKind::Write), "the write timeout began with the poll");
    let length = share.bytes().len();
    assert!(!player.wrote(&harness, share, length), "it is to be polled");
    player.poll(&harness);
    player.run(&mut harness, VhostConfig::default().unpublish_grace);
    assert!(contains(&player.receive(&harness), "NetStream.Play.UnpublishNotify"));
}
