//! The life of a publication: its beginning, its ends, and which client may have the name next.

use anabranch_core::message::{Message, MessageType};

use crate::conformance::Target;
use crate::conformance::media::{audio_frame, gop_lines, header_lines, key_frame};
use crate::peer::{ScriptedClient, has_line};
use crate::sim::command_in;

cases![
    publish_start_names_the_stream,
    a_second_publisher_is_told_bad_name_and_closed,
    the_first_publisher_does_not_notice_a_second,
    the_name_is_free_after_the_publisher_hung_up,
    the_name_is_free_after_a_reset,
    the_name_is_free_after_a_protocol_error,
    fc_unpublish_ends_the_publication_and_says_so,
    fc_unpublish_by_another_name_means_the_one_publication,
    fc_unpublish_of_nothing_is_answered,
    close_stream_ends_the_publication_and_says_so,
    delete_stream_ends_the_publication_without_a_word,
    after_each_end_the_same_connection_publishes_again,
    a_second_publish_on_a_stream_ends_the_first,
    media_after_the_end_goes_nowhere,
    media_on_a_stream_that_does_not_publish_goes_nowhere,
    media_on_message_stream_0_belongs_to_the_one_publication,
    a_new_publisher_goes_on_where_the_last_ended_in_time,
    half_closing_ends_the_publication,
    names_in_any_script_are_names,
    a_publisher_hears_acknowledgements_by_the_window_that_was_announced with SMALL_WINDOW,
    a_publisher_hears_acknowledgements_by_its_own_window,
];

setups! {
    SMALL_WINDOW = |config| config.defaults.session.window = 100_000;
}

fn tries_to_publish(target: &Target, name: &str) -> ScriptedClient {
    let mut client = ScriptedClient::connected(target);
    client.create_stream(2.0);
    client.publish(1, name);
    assert_eq!(client.receive(1), ["3/0 _result 2 1"]);
    client
}

/// The name is taken until the server has noticed that its publisher is gone: tried until it is free.
fn becomes_free(target: &Target, name: &str) -> ScriptedClient {
    let start = std::time::Instant::now();
    loop {
        let mut client = tries_to_publish(target, name);
        let received = client.receive_until("NetStream.Publish");
        if has_line(&received, "NetStream.Publish.Start") {
            return client;
        }
        assert!(start.elapsed() < crate::peer::TIMEOUT, "{name} stays taken");
    }
}

fn publish_start_names_the_stream(target: &Target) {
    let mut client = tries_to_publish(target, &target.name);
    assert_eq!(client.receive(1), ["StreamBegin(1)"]);
    let message: Message = client.message();
    assert_eq!((message.message_stream_id, message.type_id, message.timestamp), (1, MessageType::COMMAND_AMF0, 0));
    let command = command_in(&message).expect("onStatus");
    let information = command.arguments[0].as_object().expect("information");
    let text = |key: &str| information.get(key).and_then(|value| value.as_str()).unwrap_or_default();
    assert_eq!((text("level"), text("code")), ("status", "NetStream.Publish.Start"));
    assert!(text("description").contains(&target.name), "{information:?}");
}

fn a_second_publisher_is_told_bad_name_and_closed(target: &Target) {
    let _first = ScriptedClient::publisher(target, &target.name);
    let mut second = tries_to_publish(target, &target.name);
    assert_eq!(second.receive(1), ["5/1 onStatus 0 NetStream.Publish.BadName"]);
    assert_eq!(second.assert_closed(), [""; 0]);
}

fn the_first_publisher_does_not_notice_a_second(target: &Target) {
    let mut first = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    first.gop(0, 1);
    tries_to_publish(target, &target.name).receive_until("NetStream.Publish.BadName");
    first.gop(80, 2);
    first.assert_quiet();
    assert_eq!(player.receive(6), [gop_lines(0, 1), gop_lines(80, 2)].concat());
}

fn the_name_is_free_after_the_publisher_hung_up(target: &Target) {
    drop(ScriptedClient::publisher(target, &target.name));
    becomes_free(target, &target.name);
}

fn the_name_is_free_after_a_reset(target: &Target) {
    let mut first = ScriptedClient::publisher(target, &target.name);
    first.gop(0, 1);
    first.into_wire().reset();
    becomes_free(target, &target.name);
}

fn the_name_is_free_after_a_protocol_error(target: &Target) {
    let mut first = ScriptedClient::publisher(target, &target.name);
    // A header that inherits from nothing.
    first.send_bytes(&[0xc9, 1, 2, 3]);
    first.assert_closed();
    becomes_free(target, &target.name);
}

fn fc_unpublish_ends_the_publication_and_says_so(target: &Target) {
    let mut client = ScriptedClient::publisher(target, &target.name);
    client.command("FCUnpublish", 6.0, 0, &[target.name.as_str().into()]);
    assert_eq!(
        client.receive(3),
        [
            "5/1 onFCUnpublish 0 NetStream.Unpublish.Success",
            "3/0 _result 6",
            "5/1 onStatus 0 NetStream.Unpublish.Success",
        ]
    );
    let _next = ScriptedClient::publisher(target, &target.name);
}

fn fc_unpublish_by_another_name_means_the_one_publication(target: &Target) {
    let mut client = ScriptedClient::publisher(target, &target.name);
    client.command("FCUnpublish", 6.0, 0, &["quite another".into()]);
    client.receive_until("5/1 onStatus 0 NetStream.Unpublish.Success");
    let _next = ScriptedClient::publisher(target, &target.name);
}

fn fc_unpublish_of_nothing_is_answered(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.command("FCUnpublish", 6.0, 0, &[target.name.as_str().into()]);
    assert_eq!(client.receive(1), ["3/0 _result 6"]);
    client.assert_quiet();
}

fn close_stream_ends_the_publication_and_says_so(target: &Target) {
    let mut client = ScriptedClient::publisher(target, &target.name);
    client.command("closeStream", 0.0, 1, &[]);
    assert_eq!(client.receive(1), ["5/1 onStatus 0 NetStream.Unpublish.Success"]);
    let _next = ScriptedClient::publisher(target, &target.name);
}

fn delete_stream_ends_the_publication_without_a_word(target: &Target) {
    let mut client = ScriptedClient::publisher(target, &target.name);
    client.command("deleteStream", 6.0, 0, &[1.0.into()]);
    client.assert_quiet();
    let _next = ScriptedClient::publisher(target, &target.name);
}

fn after_each_end_the_same_connection_publishes_again(target: &Target) {
    let mut client = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    client.headers();
    client.gop(0, 1);
    player.receive_until("video frame 1");
    for (number, (call, arguments)) in (2..).zip([
        ("FCUnpublish", vec![target.name.as_str().into()]),
        ("closeStream", vec![]),
        ("deleteStream", vec![1.0.into()]),
    ]) {
        client.command(call, 0.0, if call == "closeStream" { 1 } else { 0 }, &arguments);
        client.receive_pending();
        client.publish(1, &target.name);
        client.receive_until("NetStream.Publish.Start");
        client.headers();
        client.gop(0, number);
        let received = player.receive_until(&format!("video frame {number}"));
        assert_eq!(
            received.len(),
            6,
            "headers again, a group of pictures, no notice within the grace period: {received:?}"
        );
    }
}

fn a_second_publish_on_a_stream_ends_the_first(target: &Target) {
    let mut client = ScriptedClient::publisher(target, &target.name);
    client.publish(1, &target.named("other"));
    client.receive_until("NetStream.Publish.Start");
    let _next = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.named("other"));
    client.audio(0, &audio_frame(3));
    assert_eq!(player.receive(1), ["audio frame 3 on 1 at 0"]);
}

fn media_after_the_end_goes_nowhere(target: &Target) {
    let mut client = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    client.command("closeStream", 0.0, 1, &[]);
    client.headers();
    client.gop(0, 1);
    client.receive_pending();
    player.assert_quiet();
    client.publish(1, &target.name);
    client.receive_until("NetStream.Publish.Start");
    client.gop(0, 2);
    assert_eq!(player.receive(3), gop_lines(0, 2));
}

fn media_on_a_stream_that_does_not_publish_goes_nowhere(target: &Target) {
    let names = [target.named("a"), target.named("b")];
    let mut client = ScriptedClient::connected(target);
    for (message_stream_id, name) in (1..).zip(&names) {
        client.create_stream(2.0);
        client.publish(message_stream_id, name);
        client.receive_until("NetStream.Publish.Start");
    }
    let mut players: Vec<ScriptedClient> = names.iter().map(|name| ScriptedClient::player(target, name)).collect();
    // With two publications it cannot be guessed what is meant.
    client.send(6, 0, MessageType::VIDEO, 9, &key_frame(1));
    client.receive_pending();
    for player in &mut players {
        player.assert_quiet();
    }
}

fn media_on_message_stream_0_belongs_to_the_one_publication(target: &Target) {
    let mut client = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::player(target, &target.name);
    client.send(6, 0, MessageType::VIDEO, 0, &key_frame(1));
    client.send(4, 10, MessageType::AUDIO, 7, &audio_frame(1));
    assert_eq!(player.receive(2), gop_lines(0, 1)[..2]);
}

fn a_new_publisher_goes_on_where_the_last_ended_in_time(target: &Target) {
    let mut first = ScriptedClient::publisher(target, &target.name);
    first.headers();
    first.gop(1000, 1);
    let mut player = ScriptedClient::player(target, &target.name);
    player.receive_until("video frame 1 on 1 at 1040");
    drop(first);
    let mut second = becomes_free(target, &target.name);
    second.headers();
    second.gop(0, 2);
    let received = player.receive(6);
    let time = |line: &String| line.rsplit(' ').next().and_then(|word| word.parse::<u32>().ok()).expect("a time");
    let key = time(&received[3]);
    assert!((1041..60_000).contains(&key), "{received:?}");
    assert_eq!(received[3..], gop_lines(key, 2));
    assert_eq!(received[0], header_lines(0)[0]);
}

fn half_closing_ends_the_publication(target: &Target) {
    let mut first = ScriptedClient::publisher(target, &target.name);
    first.wire().shut_down_writing();
    first.assert_closed();
    becomes_free(target, &target.name);
}

fn names_in_any_script_are_names(target: &Target) {
    for word in ["直播", "камера 1", "v1.2", "v1.3", "a=b", "%20"] {
        let name = target.named(word);
        let mut publisher = ScriptedClient::publisher(target, &name);
        let mut player = ScriptedClient::player(target, &name);
        publisher.audio(3, &audio_frame(1));
        assert_eq!(player.receive(1), ["audio frame 1 on 1 at 3"], "{word}");
    }
}

/// All bytes since the first of the handshake count.
fn a_publisher_hears_acknowledgements_by_the_window_that_was_announced(target: &Target) {
    let mut client = ScriptedClient::publisher(target, &target.name);
    for time in 0..70 {
        client.video(time, &[0x27; 5000]);
    }
    let expected = ["Acknowledgement(100000)", "Acknowledgement(200000)", "Acknowledgement(300000)"];
    assert_eq!(client.receive_pending(), expected);
}

fn a_publisher_hears_acknowledgements_by_its_own_window(target: &Target) {
    use anabranch_core::message::Control;
    let mut client = ScriptedClient::publisher(target, &target.name);
    client.control(&Control::WindowAckSize(10_000));
    client.assert_quiet();
    // From some byte on: each acknowledgement is 10 000 bytes after the one before.
    for time in 0..400 {
        client.audio(time, &[0xaf; 110]);
    }
    let received = client.receive_pending();
    let acknowledged: Vec<u32> = received
        .iter()
        .map(|line| {
            let number = line.strip_prefix("Acknowledgement(").and_then(|rest| rest.strip_suffix(')'));
            number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{line}"))
        })
        .collect();
    assert!(acknowledged.len() >= 4, "{acknowledged:?}");
    assert!(acknowledged.windows(2).all(|pair| pair[1] == pair[0] + 10_000), "{acknowledged:?}");
}
