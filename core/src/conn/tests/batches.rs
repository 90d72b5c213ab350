//! What is written to many players at once, without polling each.

use super::*;

impl Client {
    /// Writes what `giver` is sent next, as far as this client takes it and its socket so many bytes. What is heard.
    fn write_batch(&mut self, harness: &Harness, giver: &Conn, most: usize) -> Vec<String> {
        let batch = giver.next_batch().expect("there is something new");
        let count = batch.bytes().len().min(most);
        let share = self.conn.share(&batch).expect("it takes the batch");
        let goes_on = self.conn.wrote(harness.now, share, count);
        assert_eq!(goes_on, count == batch.bytes().len());
        let heard = self.ear.lines(&batch.bytes()[..count]);
        assert!(!self.conn.takes(&batch), "nothing comes twice");
        heard
    }

    fn batch(&mut self, harness: &Harness) -> Vec<String> {
        let giver = &self.conn.next_batch().expect("there is something new");
        let share = self.conn.share(giver).expect("it takes the batch");
        assert!(self.conn.wrote(harness.now, share, giver.bytes().len()));
        self.ear.lines(giver.bytes())
    }
}

/// A publisher that has sent a GOP and players that have heard it.
fn served<const N: usize>() -> (Harness, Client, [Client; N]) {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.say(&harness, &[headers(), gop(0, 1)].concat());
    let players = [(); N].map(|()| {
        let mut player = harness.player("cam");
        player.hear(&harness);
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
        publisher.say(
            &harness,
            &if round % 5 == 0 { gop(time, round) } else { peer::video(time, &peer::inter_frame(round)) },
        );
        let expected = polled.hear(&harness);
        assert!(!expected.is_empty());
        assert_eq!(batched.batch(&harness), expected);
        // What one is sent next is for all at its place.
        other.hear(&harness);
        assert!(batched.conn.next_batch().is_none(), "nothing is left");
    }
    batched.poll(&harness);
    assert_eq!(batched.hear(&harness), Vec::<String>::new());
    let [one, two] = [&polled, &batched].map(|client| client.conn.stats().snapshot(harness.now));
    assert_eq!((one.bytes_out, one.frames_out, one.lag), (two.bytes_out, two.frames_out, two.lag));
    let [one, two] = [polled, batched].map(|mut client| {
        client.disconnect(&harness);
        client.closed.expect("it is over")
    });
    assert_eq!((one.sent, one.missed, one.unsent), (two.sent, two.missed, two.unsent));
}

#[test]
fn what_a_socket_does_not_take_of_a_batch_waits_in_the_queue() {
    let length = {
        let (harness, mut publisher, [player]) = served();
        publisher.say(&harness, &gop(80, 2));
        player.conn.next_batch().expect("there is something new").bytes().len()
    };
    for most in 0..=length {
        let (harness, mut publisher, [giver, mut player]) = served();
        publisher.say(&harness, &gop(80, 2));
        let mut heard = player.write_batch(&harness, &giver.conn, most);
        publisher.say(&harness, &gop(160, 3));
        heard.extend(player.hear(&harness));
        let expected = ["key 2 on 1 at 80", "frame 2 on 1 at 90", "frame 2 on 1 at 120", "key 3 on 1 at 160"];
        for (heard, expected) in heard.iter().zip(expected) {
            assert!(heard.ends_with(expected), "{most} bytes: {heard}");
        }
        assert_eq!(heard.len(), 6, "{most} bytes: {heard:?}");
        let snapshot = player.conn.stats().snapshot(harness.now);
        assert_eq!(snapshot.bytes_out, player.conn.outbound().written());
    }
}

#[test]
fn who_is_to_be_polled_takes_no_batch() {
    // Called since it was polled.
    let (mut harness, mut publisher, [mut player, other]) = served();
    publisher.say(&harness, &gop(80, 2));
    let batch = other.conn.next_batch().expect("there is something new");
    assert!(player.conn.takes(&batch));
    player.conn.handle_input(harness.now, &[]);
    assert!(!player.conn.takes(&batch) && player.conn.next_batch().is_none());
    player.hear(&harness);
    assert!(!player.conn.takes(&batch), "it is further now");
    // With something queued.
    publisher.say(&harness, &gop(160, 3));
    player.poll(&harness);
    assert!(player.conn.next_batch().is_none());
    player.hear(&harness);
    // Whose publisher is gone, or another.
    publisher.disconnect(&harness);
    assert!(player.conn.next_batch().is_none());
    let mut publisher = harness.publisher("cam");
    publisher.say(&harness, &[headers(), gop(0, 4)].concat());
    assert!(player.conn.next_batch().is_none(), "headers are to come first");
    player.hear(&harness);
    publisher.say(&harness, &gop(80, 5));
    assert_eq!(player.batch(&harness).len(), 3);
    // Who wants less than all.
    for wish in [
        ("pause", Value::Boolean(true)),
        ("receiveAudio", Value::Boolean(false)),
        ("receiveVideo", Value::Boolean(false)),
    ] {
        let mut player = harness.player("cam");
        player.hear(&harness);
        player.say(&harness, &peer::command(wish.0, 0.0, 1, &[wish.1, Value::Number(0.0)]));
        player.hear(&harness);
        publisher.say(&harness, &gop(160, 6));
        assert!(player.conn.next_batch().is_none(), "{}", wish.0);
    }
    // Who leaves after this GOP.
    let mut player = harness.player("cam");
    player.hear(&harness);
    player.conn.drain(harness.now + Duration::from_secs(9), None);
    player.hear(&harness);
    publisher.say(&harness, &peer::video(200, &peer::inter_frame(7)));
    assert!(player.conn.next_batch().is_none());
    // Who is on another message stream, or plays two.
    let mut player = harness.client();
    player.say(&harness, &[peer::create_stream(2.0), peer::create_stream(3.0), peer::play(2, "cam")].concat());
    player.hear(&harness);
    publisher.say(&harness, &gop(240, 8));
    assert!(player.conn.next_batch().is_none());
    player.say(&harness, &peer::play(1, "cam"));
    player.hear(&harness);
    publisher.say(&harness, &gop(320, 9));
    assert!(player.conn.next_batch().is_none());
    harness.pass(Duration::from_millis(1));
    assert_eq!(player.hear(&harness).len(), 6, "three for each");
}

#[test]
fn a_player_that_has_not_begun_waits_for_its_poll() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    let mut player = harness.player("cam");
    player.hear(&harness);
    publisher.say(&harness, &[headers(), gop(0, 1)].concat());
    assert!(player.conn.next_batch().is_none());
    player.hear(&harness);
    publisher.say(&harness, &gop(80, 2));
    assert_eq!(player.batch(&harness).len(), 3);
}

#[test]
fn sound_without_pictures_comes_in_batches_and_pictures_before_a_key_frame_do_not() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.say(&harness, &peer::audio(0, &peer::audio_frame(1)));
    let mut player = harness.player("cam");
    player.hear(&harness);
    publisher.say(&harness, &peer::audio(20, &peer::audio_frame(2)));
    assert_eq!(player.batch(&harness), ["audio frame 2 on 1 at 20"]);
    publisher.say(&harness, &[peer::video(40, &peer::inter_frame(3)), peer::audio(40, &peer::audio_frame(3))].concat());
    let batch = player.conn.next_batch().expect("there is something new");
    assert!(!player.conn.takes(&batch));
    assert_eq!(player.hear(&harness), ["audio frame 3 on 1 at 40"]);
}

#[test]
fn what_is_said_while_a_batch_is_written_comes_behind_it() {
    for count in [0, 9, usize::MAX] {
        let (harness, mut publisher, [mut player]) = served();
        publisher.say(&harness, &gop(80, 2));
        let batch = player.conn.next_batch().expect("there is something new");
        let count = count.min(batch.bytes().len());
        let share = player.conn.share(&batch).expect("it takes the batch");
        player.conn.handle_input(harness.now, &peer::control(&Control::User(UserControl::PingRequest(7))));
        assert!(player.conn.share(&batch).is_none());
        let mut heard = player.ear.lines(&share.bytes()[..count]);
        assert!(!player.conn.wrote(harness.now, share, count), "it was called");
        heard.extend(player.hear(&harness));
        let at = |what: &str| heard.iter().position(|line| line.contains(what)).expect("it is said");
        assert_eq!(heard.len(), 4, "{heard:?}");
        assert!(count == 0 || at("key 2") < at("PingResponse"), "{heard:?}");
        assert_eq!(player.conn.stats().snapshot(harness.now).bytes_out, player.conn.outbound().written());
    }
}

#[test]
fn last_words_to_who_is_sent_batches_are_waited_for_from_when_they_are_said() {
    let (mut harness, mut publisher, [mut player]) = served();
    let linger = VhostConfig::default().session.timeouts.linger;
    for round in 1..=4 {
        harness.pass(linger / 2);
        publisher.say(&harness, &gop(80 * u32::from(round), round));
        assert!(!player.batch(&harness).is_empty());
    }
    player.conn.shutdown();
    assert!(said(&player.hear(&harness), "NetStream.Play.UnpublishNotify"));
    assert_eq!(player.deadline(), Some(harness.now + linger));
    player.run(&mut harness, linger / 2);
    assert!(player.closed.is_none(), "the player may still hang up first");
}

#[test]
fn what_is_left_of_a_batch_holds_nobody_whose_connection_broke_meanwhile() {
    let (harness, mut publisher, [mut player]) = served();
    publisher.say(&harness, &gop(80, 2));
    let batch = player.conn.next_batch().expect("there is something new");
    let share = player.conn.share(&batch).expect("it takes the batch");
    player.conn.handle_disconnect(harness.now, CloseReason::PeerClosed);
    assert!(!player.conn.wrote(harness.now, share, 9), "it was called");
    player.poll(&harness);
    let report = player.closed.expect("nothing more is written");
    assert!(report.given_up > 0, "the rest of the frame was");
}

#[test]
fn few_places_are_put_together_in_one_turn_and_the_rest_is_polled() {
    let (harness, mut publisher, mut players) = served::<5>();
    // Four are at places of their own, the last is where the first is.
    for (index, time) in [(3, 80), (2, 120), (1, 160)] {
        publisher.say(&harness, &peer::video(time, &peer::inter_frame(9)));
        for player in &mut players[1..=index] {
            player.hear(&harness);
        }
    }
    publisher.say(&harness, &peer::video(200, &peer::inter_frame(9)));
    let mut batches = Batches::default();
    let mut frames = Vec::new();
    for player in &mut players {
        let share = batches.share(&mut player.conn);
        frames.push(share.map(|share| {
            let lines = player.ear.lines(share.bytes()).len();
            let length = share.bytes().len();
            assert!(player.conn.wrote(harness.now, share, length));
            lines
        }));
    }
    assert_eq!(frames, [Some(4), Some(1), Some(2), None, Some(4)]);
    assert_eq!(players[3].hear(&harness).len(), 3);
}
