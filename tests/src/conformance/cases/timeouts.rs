//! What may take how long. No case ends before the configured time, and each long before it gives up.

use std::time::{Duration, Instant};

use anabranch_core::handshake::PACKET_LENGTH;
use anabranch_core::message::{Control, UserControl};

use crate::conformance::Target;
use crate::conformance::media::{AUDIO_HEADER, audio_frame, long};
use crate::peer::{ScriptedClient, TIMEOUT, Wire, has_line};

cases![
    silence_is_closed_at_the_connect_timeout with CONNECT,
    a_slow_handshake_gets_no_more_time with CONNECT,
    a_handshake_without_connect_is_closed with CONNECT,
    commands_before_connect_give_no_more_time with CONNECT,
    a_client_that_wants_nothing_is_closed with IDENTIFY,
    streams_that_do_nothing_give_no_more_time with IDENTIFY,
    a_client_that_stopped_playing_must_make_its_next_request_in_time with IDENTIFY,
    a_client_that_stopped_publishing_must_make_its_next_request_in_time with IDENTIFY,
    a_player_may_wait_as_long_as_it_likes with IDENTIFY,
    a_player_may_not_wait_for_ever_for_a_stream_without_publisher with WAIT,
    a_paused_player_may_not_either with WAIT,
    a_publisher_must_send_its_first_message_in_time with PUBLISH,
    a_publisher_must_send_the_next_message_in_time with PUBLISH,
    pings_of_a_publisher_are_no_messages with PUBLISH,
    a_publisher_that_sends_is_not_closed with LONG_PUBLISH,
    a_silent_publishers_name_is_free_and_its_players_stay with PUBLISH,
    a_refused_client_that_stays_is_closed_after_the_linger with LINGER,
    a_refused_client_that_leaves_is_closed_at_once with LONG_LINGER,
    a_player_that_takes_nothing_is_given_up with WRITE,
    a_publisher_without_players_is_closed_where_that_is_wanted with IDLE,
    pings_come_in_their_interval_and_need_no_answer with PING,
];

/// Long enough for a few messages to and fro on a machine that has much else to do.
const SHORT: Duration = Duration::from_millis(600);
/// Long enough for a publisher that sends all the time to be late by chance.
const STEADY: Duration = Duration::from_millis(1500);

setups! {
    CONNECT = |config| config.defaults.session.timeouts.connect = SHORT;
    IDENTIFY = |config| {
        config.defaults.session.timeouts.identify = SHORT;
        config.defaults.session.timeouts.ping = SHORT / 2;
    };
    WAIT = |config| config.defaults.session.timeouts.wait_for_stream = SHORT;
    PUBLISH = |config| {
        config.defaults.session.timeouts.first_message = 2 * SHORT;
        config.defaults.session.timeouts.next_message = SHORT;
        config.defaults.unpublish_grace = Duration::from_millis(10);
    };
    LONG_PUBLISH = |config| config.defaults.session.timeouts.next_message = STEADY;
    LINGER = |config| config.defaults.session.timeouts.linger = SHORT;
    LONG_LINGER = |config| config.defaults.session.timeouts.linger = 10 * TIMEOUT;
    WRITE = |config| {
        config.defaults.session.timeouts.write = SHORT;
        config.defaults.session.timeouts.linger = SHORT;
        config.defaults.limits.stream_players = Some(1);
    };
    IDLE = |config| config.defaults.idle_publisher = Some(Duration::from_secs(1));
    PING = |config| config.defaults.session.timeouts.ping = SHORT;
}

/// Closed, and not before `time` had passed since `start`.
fn assert_closed_after(client: &mut ScriptedClient, start: Instant, time: Duration) -> Vec<String> {
    let received = client.assert_closed();
    assert!(start.elapsed() >= time, "after {:?}", start.elapsed());
    received
}

fn silence_is_closed_at_the_connect_timeout(target: &Target) {
    let mut wire = Wire::dial(target);
    wire.assert_closed();
    assert!(wire.opened().elapsed() >= SHORT, "after {:?}", wire.opened().elapsed());
}

/// A byte whenever the server has had time to say something, for ever.
fn a_slow_handshake_gets_no_more_time(target: &Target) {
    let mut wire = Wire::dial(target);
    wire.write(&[3]);
    let end = wire.trickle(&[0; PACKET_LENGTH - 1], SHORT / 20);
    assert!(end < PACKET_LENGTH - 1, "all of C1 was taken");
    assert!(wire.opened().elapsed() >= SHORT, "after {:?}", wire.opened().elapsed());
}

fn a_handshake_without_connect_is_closed(target: &Target) {
    let before = Instant::now();
    let mut client = ScriptedClient::open(target);
    assert_eq!(assert_closed_after(&mut client, before, SHORT), [""; 0]);
}

fn commands_before_connect_give_no_more_time(target: &Target) {
    let before = Instant::now();
    let mut client = ScriptedClient::open(target);
    let start = Instant::now();
    while client.is_open() {
        client.command("createStream", 0.0, 0, &[]);
        client.receive_for(SHORT / 20);
        assert!(start.elapsed() < TIMEOUT, "still open");
    }
    assert!(before.elapsed() >= SHORT, "after {:?}", before.elapsed());
}

fn a_client_that_wants_nothing_is_closed(target: &Target) {
    let mut client = ScriptedClient::open(target);
    let before = Instant::now();
    client.connect(anabranch_core::amf::Object::new().with("app", "live"));
    let received = assert_closed_after(&mut client, before, SHORT);
    assert!(has_line(&received, "Connect.Success"), "{received:?}");
}

fn streams_that_do_nothing_give_no_more_time(target: &Target) {
    let mut client = ScriptedClient::open(target);
    let before = Instant::now();
    client.connect(anabranch_core::amf::Object::new().with("app", "live"));
    while client.is_open() {
        client.create_stream(2.0);
        client.command("deleteStream", 0.0, 0, &[1.0.into()]);
        client.receive_for(SHORT / 20);
        assert!(before.elapsed() < TIMEOUT, "still open");
    }
    assert!(before.elapsed() >= SHORT, "after {:?}", before.elapsed());
}

fn a_client_that_stopped_playing_must_make_its_next_request_in_time(target: &Target) {
    let mut client = ScriptedClient::player(target, &target.name);
    // Longer than the timeout: three pings came.
    for _ in 0..3 {
        client.receive_until("PingRequest");
    }
    let before = Instant::now();
    client.command("closeStream", 0.0, 1, &[]);
    assert_closed_after(&mut client, before, SHORT);
}

fn a_client_that_stopped_publishing_must_make_its_next_request_in_time(target: &Target) {
    let mut client = ScriptedClient::publisher(target, &target.name);
    let before = Instant::now();
    client.command("closeStream", 0.0, 1, &[]);
    let received = assert_closed_after(&mut client, before, SHORT);
    assert!(has_line(&received, "NetStream.Unpublish.Success"), "{received:?}");
}

fn a_player_may_wait_as_long_as_it_likes(target: &Target) {
    let before = Instant::now();
    let mut client = ScriptedClient::player(target, &target.name);
    while before.elapsed() < 3 * SHORT {
        client.receive_until("PingRequest");
    }
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.audio(0, &audio_frame(1));
    client.receive_until("audio frame 1");
}

fn a_publisher_must_send_its_first_message_in_time(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    let before = Instant::now();
    client.publish(0, &target.name);
    let received = assert_closed_after(&mut client, before, 2 * SHORT);
    assert!(has_line(&received, "NetStream.Publish.Start"), "{received:?}");
}

fn a_player_may_not_wait_for_ever_for_a_stream_without_publisher(target: &Target) {
    let before = Instant::now();
    let mut client = ScriptedClient::player(target, &target.name);
    let received = assert_closed_after(&mut client, before, SHORT);
    assert!(has_line(&received, "NetStream.Play.StreamNotFound"), "{received:?}");
    // Where there is a publisher there is no such limit, and it begins when they leave.
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.audio(0, AUDIO_HEADER);
    let mut client = ScriptedClient::player(target, &target.name);
    client.receive_for(2 * SHORT);
    assert!(client.is_open());
    let before = Instant::now();
    drop(publisher);
    let received = assert_closed_after(&mut client, before, SHORT);
    assert!(has_line(&received, "NetStream.Play.StreamNotFound"), "{received:?}");
}

fn a_paused_player_may_not_either(target: &Target) {
    let before = Instant::now();
    let mut client = ScriptedClient::player(target, &target.name);
    client.command("pause", 0.0, 1, &[true.into(), 0.0.into()]);
    let received = assert_closed_after(&mut client, before, SHORT);
    assert!(has_line(&received, "NetStream.Play.StreamNotFound"), "{received:?}");
}

fn a_publisher_must_send_the_next_message_in_time(target: &Target) {
    let mut client = ScriptedClient::publisher(target, &target.name);
    let before = Instant::now();
    client.audio(0, AUDIO_HEADER);
    assert_closed_after(&mut client, before, SHORT);
}

fn pings_of_a_publisher_are_no_messages(target: &Target) {
    let mut client = ScriptedClient::publisher(target, &target.name);
    let before = Instant::now();
    client.audio(0, AUDIO_HEADER);
    while client.is_open() {
        client.control(&Control::User(UserControl::PingResponse(1)));
        client.control(&Control::Acknowledgement(1));
        client.receive_for(SHORT / 20);
        assert!(before.elapsed() < TIMEOUT, "still open");
    }
    assert!(before.elapsed() >= SHORT, "after {:?}", before.elapsed());
}

fn a_publisher_that_sends_is_not_closed(target: &Target) {
    let mut client = ScriptedClient::publisher(target, &target.name);
    let before = Instant::now();
    let mut time = 0;
    while before.elapsed() < 2 * STEADY {
        client.audio(time, &audio_frame(1));
        client.receive_for(STEADY / 100);
        time += 10;
    }
    client.assert_quiet();
}

fn a_silent_publishers_name_is_free_and_its_players_stay(target: &Target) {
    let mut player = ScriptedClient::player(target, &target.name);
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.audio(0, &audio_frame(1));
    player.receive(1);
    publisher.assert_closed();
    assert_eq!(player.receive(2), ["StreamEof(1)", "5/1 onStatus 0 NetStream.Play.UnpublishNotify"]);
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.audio(0, &audio_frame(2));
    assert!(has_line(&player.receive_until("audio frame 2"), "NetStream.Play.PublishNotify"));
}

fn a_refused_client_that_stays_is_closed_after_the_linger(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    let before = Instant::now();
    client.publish(0, "..");
    client.receive_until("NetStream.Publish.BadName");
    assert_eq!(assert_closed_after(&mut client, before, SHORT), [""; 0]);
}

fn a_refused_client_that_leaves_is_closed_at_once(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.publish(0, "..");
    client.receive_until("NetStream.Publish.BadName");
    client.wire().shut_down_writing();
    assert_eq!(client.assert_closed(), [""; 0]);
}

/// That it is gone shows by its place: there is only one.
fn a_player_that_takes_nothing_is_given_up(target: &Target) {
    let _stuck = ScriptedClient::player(target, &target.name);
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.set_chunk_size(1 << 20);
    let before = Instant::now();
    // More than sockets hold.
    let body = long(&[0x17, 1, 0, 0, 0], 500_000);
    for number in 0..40 {
        publisher.video(number * 40, &body);
    }
    loop {
        let mut client = ScriptedClient::connected(target);
        client.play(0, &target.name);
        if has_line(&client.receive_until("NetStream.Play"), "NetStream.Play.Reset") {
            break;
        }
        assert!(before.elapsed() < TIMEOUT, "it still has its place");
    }
    assert!(before.elapsed() >= SHORT, "after {:?}", before.elapsed());
    // The publisher goes on: it gets only acknowledgements.
    let received = publisher.receive_pending();
    assert!(received.iter().all(|line| line.starts_with("Acknowledgement(")), "{received:?}");
}

fn a_publisher_without_players_is_closed_where_that_is_wanted(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    let before = Instant::now();
    client.publish(0, &target.name);
    let mut time = 0;
    while client.is_open() {
        client.audio(time, &audio_frame(1));
        client.receive_for(SHORT / 20);
        assert!(before.elapsed() < TIMEOUT, "still open");
        time += 15;
    }
    assert!(before.elapsed() >= Duration::from_secs(1), "after {:?}", before.elapsed());
}

fn pings_come_in_their_interval_and_need_no_answer(target: &Target) {
    let before = Instant::now();
    // Nobody answers what is read below the client.
    let mut wire = ScriptedClient::player(target, &target.name).into_wire();
    for round in 1..=4 {
        let ping = wire.read_exact(18);
        assert_eq!(ping[..14], [2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 6]);
        assert!(before.elapsed() >= round * SHORT, "ping {round} after {:?}", before.elapsed());
    }
}
