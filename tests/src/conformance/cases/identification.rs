//! Every kind of client, by the order of its commands, and the notices that it waits for.

use anabranch_core::amf::{Object, Value};
use anabranch_core::message::{Control, MessageType, UserControl};

use crate::conformance::Target;
use crate::conformance::media::{audio_frame, gop_lines};
use crate::peer::{ScriptedClient, has_line};

cases![
    fmle_publishes,
    fmle_may_leave_out_release_stream,
    haivision_publishes,
    flash_publishes,
    obs_publishes_with_a_bandwidth_check_between,
    gstreamer_publishes_with_transaction_0_and_deletes_by_name,
    publish_without_create_stream_means_stream_1,
    publish_on_stream_0_means_the_only_one_there_is,
    record_and_append_are_published_like_live,
    a_publish_without_its_type_is_live,
    ffmpeg_plays,
    rtmpdump_plays,
    play_without_create_stream_means_stream_1,
    play_on_stream_0_means_the_only_one_there_is,
    play_on_a_message_stream_that_was_not_created_fails,
    play2_is_a_play,
    play_that_keeps_what_is_queued_is_not_reset,
    one_connection_plays_several_streams,
    one_connection_publishes_several_streams,
    one_connection_publishes_and_plays,
    a_stream_changes_from_playing_to_publishing,
    all_of_a_publishers_commands_may_come_in_one_write,
];

fn call(client: &mut ScriptedClient, name: &str, transaction: f64, target: &Target) {
    client.command(name, transaction, 0, &[target.name.as_str().into()]);
}

/// What is published arrives at a player.
fn assert_relays(target: &Target, publisher: &mut ScriptedClient) {
    let mut player = ScriptedClient::player(target, &target.name);
    publisher.headers();
    publisher.gop(0, 1);
    player.receive_until("video frame 1 on 1 at 40");
}

fn fmle_publishes(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    call(&mut client, "releaseStream", 2.0, target);
    call(&mut client, "FCPublish", 3.0, target);
    client.create_stream(4.0);
    client.publish(1, &target.name);
    assert_eq!(
        client.receive(6),
        [
            "3/0 _result 2",
            "3/0 _result 3",
            "3/0 _result 4 1",
            "5/1 onFCPublish 3 NetStream.Publish.Start",
            "StreamBegin(1)",
            "5/1 onStatus 0 NetStream.Publish.Start",
        ]
    );
    assert_relays(target, &mut client);
    call(&mut client, "FCUnpublish", 6.0, target);
    assert_eq!(
        client.receive(3),
        [
            "5/1 onFCUnpublish 0 NetStream.Unpublish.Success",
            "3/0 _result 6",
            "5/1 onStatus 0 NetStream.Unpublish.Success",
        ]
    );
    client.command("deleteStream", 7.0, 0, &[1.0.into()]);
    client.assert_quiet();
}

fn fmle_may_leave_out_release_stream(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    call(&mut client, "FCPublish", 2.0, target);
    client.create_stream(3.0);
    client.publish(1, &target.name);
    let received = client.receive_until("onStatus");
    assert_eq!(received[..3], ["3/0 _result 2", "3/0 _result 3 1", "5/1 onFCPublish 2 NetStream.Publish.Start"]);
    assert_relays(target, &mut client);
}

fn haivision_publishes(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.create_stream(2.0);
    call(&mut client, "FCPublish", 3.0, target);
    client.publish(1, &target.name);
    assert_eq!(
        client.receive(5),
        [
            "3/0 _result 2 1",
            "3/0 _result 3",
            "5/1 onFCPublish 3 NetStream.Publish.Start",
            "StreamBegin(1)",
            "5/1 onStatus 0 NetStream.Publish.Start",
        ]
    );
    assert_relays(target, &mut client);
}

fn flash_publishes(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.create_stream(2.0);
    client.publish(1, &target.name);
    assert_eq!(client.receive(3), ["3/0 _result 2 1", "StreamBegin(1)", "5/1 onStatus 0 NetStream.Publish.Start"]);
    client.assert_quiet();
    assert_relays(target, &mut client);
}

fn obs_publishes_with_a_bandwidth_check_between(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.control(&Control::WindowAckSize(2_500_000));
    client.set_chunk_size(4096);
    call(&mut client, "releaseStream", 2.0, target);
    call(&mut client, "FCPublish", 3.0, target);
    client.create_stream(4.0);
    client.command("_checkbw", 5.0, 0, &[]);
    client.publish(1, &target.name);
    let received = client.receive_until("5/1 onStatus");
    assert_eq!(received[3..5], ["3/0 _result 5", "3/0 onBWDone 0"], "{received:?}");
    assert_relays(target, &mut client);
}

fn gstreamer_publishes_with_transaction_0_and_deletes_by_name(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    call(&mut client, "releaseStream", 0.0, target);
    call(&mut client, "FCPublish", 0.0, target);
    client.create_stream(2.0);
    client.command("publish", 0.0, 1, &[target.name.as_str().into(), "live".into()]);
    assert_eq!(
        client.receive(4),
        [
            "3/0 _result 2 1",
            "5/1 onFCPublish 0 NetStream.Publish.Start",
            "StreamBegin(1)",
            "5/1 onStatus 0 NetStream.Publish.Start",
        ]
    );
    assert_relays(target, &mut client);
    call(&mut client, "deleteStream", 0.0, target);
    client.assert_quiet();
    // The name is free: another client may have it.
    let _next = ScriptedClient::publisher(target, &target.name);
}

fn publish_without_create_stream_means_stream_1(target: &Target) {
    for message_stream_id in [0, 1] {
        let mut client = ScriptedClient::connected(target);
        client.publish(message_stream_id, &target.named(&message_stream_id.to_string()));
        assert_eq!(client.receive(2), ["StreamBegin(1)", "5/1 onStatus 0 NetStream.Publish.Start"]);
        client.create_stream(7.0);
        assert_eq!(client.receive(1), ["3/0 _result 7 2"], "the first is taken");
    }
}

fn publish_on_stream_0_means_the_only_one_there_is(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.create_stream(2.0);
    client.publish(0, &target.name);
    assert_eq!(client.receive(3)[1..], ["StreamBegin(1)", "5/1 onStatus 0 NetStream.Publish.Start"]);
    assert_relays(target, &mut client);
}

fn record_and_append_are_published_like_live(target: &Target) {
    for word in ["record", "append", "appendWithGap", ""] {
        let mut client = ScriptedClient::connected(target);
        client.command("publish", 2.0, 0, &[target.named(word).as_str().into(), word.into()]);
        client.receive_until("NetStream.Publish.Start");
    }
}

fn a_publish_without_its_type_is_live(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.command("publish", 2.0, 0, &[target.name.as_str().into()]);
    client.receive_until("NetStream.Publish.Start");
    assert_relays(target, &mut client);
}

fn ffmpeg_plays(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.create_stream(2.0);
    call(&mut client, "getStreamLength", 3.0, target);
    client.command("play", 4.0, 1, &[target.name.as_str().into(), (-2000.0).into()]);
    client.control(&Control::User(UserControl::SetBufferLength { message_stream_id: 1, milliseconds: 3000 }));
    assert_eq!(
        client.receive(6),
        [
            "3/0 _result 2 1",
            "3/0 _result 3 0",
            "StreamBegin(1)",
            "5/1 onStatus 0 NetStream.Play.Reset",
            "5/1 onStatus 0 NetStream.Play.Start",
            "data |RtmpSampleAccess on 1 at 0",
        ]
    );
    client.assert_quiet();
}

fn rtmpdump_plays(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.control(&Control::WindowAckSize(2_500_000));
    client.create_stream(2.0);
    client.control(&Control::User(UserControl::SetBufferLength { message_stream_id: 0, milliseconds: 300 }));
    call(&mut client, "FCSubscribe", 3.0, target);
    client.command("play", 4.0, 1, &[target.name.as_str().into(), (-1000.0).into()]);
    client.control(&Control::User(UserControl::SetBufferLength { message_stream_id: 1, milliseconds: 36_000_000 }));
    let received = client.receive_until("|RtmpSampleAccess");
    assert_eq!(
        received[..4],
        ["3/0 _result 2 1", "3/0 _result 3", "3/0 onFCSubscribe 0 NetStream.Play.Start", "StreamBegin(1)"]
    );
}

fn play_without_create_stream_means_stream_1(target: &Target) {
    for message_stream_id in [0, 1] {
        let mut client = ScriptedClient::connected(target);
        client.play(message_stream_id, &target.name);
        assert_eq!(client.receive(1), ["StreamBegin(1)"]);
    }
}

fn play_on_stream_0_means_the_only_one_there_is(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.create_stream(2.0);
    client.play(0, &target.name);
    assert_eq!(client.receive(2), ["3/0 _result 2 1", "StreamBegin(1)"]);
}

fn play_on_a_message_stream_that_was_not_created_fails(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.play(9, &target.name);
    assert_eq!(client.receive(1), ["3/0 _error 4 NetConnection.Call.Failed"]);
    client.play(0, &target.name);
    assert_eq!(client.receive(1), ["StreamBegin(1)"], "the connection goes on");
}

fn play2_is_a_play(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.gop(0, 1);
    publisher.assert_quiet();
    let mut client = ScriptedClient::connected(target);
    client.create_stream(2.0);
    let options = Object::new().with("streamName", target.name.as_str()).with("transition", "switch");
    client.command("play2", 3.0, 1, &[Value::Object(options)]);
    let received = client.receive_until("video key 1");
    assert!(has_line(&received, "NetStream.Play.Start"), "{received:?}");
}

fn play_that_keeps_what_is_queued_is_not_reset(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.command("play", 3.0, 0, &[target.name.as_str().into(), (-2.0).into(), (-1.0).into(), false.into()]);
    let received = client.receive_until("|RtmpSampleAccess");
    assert_eq!(received, ["StreamBegin(1)", "5/1 onStatus 0 NetStream.Play.Start", "data |RtmpSampleAccess on 1 at 0"]);
}

fn one_connection_plays_several_streams(target: &Target) {
    let names = [target.named("a"), target.named("b")];
    let mut client = ScriptedClient::connected(target);
    for (message_stream_id, name) in (1..).zip(&names) {
        client.create_stream(2.0);
        client.play(message_stream_id, name);
        client.receive_until("|RtmpSampleAccess");
    }
    for (message_stream_id, name) in (1..).zip(&names) {
        let mut publisher = ScriptedClient::publisher(target, name);
        publisher.audio(5, &audio_frame(message_stream_id));
        assert_eq!(client.receive(1), [format!("audio frame {message_stream_id} on {message_stream_id} at 5")]);
    }
}

fn one_connection_publishes_several_streams(target: &Target) {
    let names = [target.named("a"), target.named("b")];
    let mut client = ScriptedClient::connected(target);
    for (message_stream_id, name) in (1..).zip(&names) {
        client.create_stream(2.0);
        client.publish(message_stream_id, name);
        client.receive_until("NetStream.Publish.Start");
    }
    let mut players: Vec<ScriptedClient> = names.iter().map(|name| ScriptedClient::player(target, name)).collect();
    for message_stream_id in [2, 1] {
        client.send(4, 7, MessageType::AUDIO, message_stream_id, &audio_frame(message_stream_id as u8));
    }
    for (number, player) in (1..).zip(&mut players) {
        assert_eq!(player.receive(1), [format!("audio frame {number} on 1 at 7")]);
        player.assert_quiet();
    }
}

fn one_connection_publishes_and_plays(target: &Target) {
    let mut client = ScriptedClient::publisher(target, &target.name);
    client.create_stream(6.0);
    client.play(2, &target.name);
    client.receive_until("|RtmpSampleAccess");
    client.gop(0, 1);
    assert_eq!(client.receive(3), gop_lines(0, 1).map(|line| line.replace("on 1", "on 2")));
}

fn a_stream_changes_from_playing_to_publishing(target: &Target) {
    let mut client = ScriptedClient::player(target, &target.named("other"));
    client.publish(1, &target.name);
    assert_eq!(client.receive(2), ["StreamBegin(1)", "5/1 onStatus 0 NetStream.Publish.Start"]);
    assert_relays(target, &mut client);
    let mut publisher = ScriptedClient::publisher(target, &target.named("other"));
    publisher.gop(0, 1);
    publisher.assert_quiet();
    client.assert_quiet();
}

fn all_of_a_publishers_commands_may_come_in_one_write(target: &Target) {
    use anabranch_core::command::Command;
    let mut client = ScriptedClient::connected(target);
    let name = || Value::from(target.name.as_str());
    let commands = [
        (0, Command::new("releaseStream", 2.0, Value::Null).with(name())),
        (0, Command::new("FCPublish", 3.0, Value::Null).with(name())),
        (0, Command::new("createStream", 4.0, Value::Null)),
        (1, Command::new("publish", 5.0, Value::Null).with(name()).with("live")),
    ];
    let mut bytes = Vec::new();
    for (message_stream_id, command) in &commands {
        bytes.extend(client.encode(3, 0, MessageType::COMMAND_AMF0, *message_stream_id, &command.encode()));
    }
    bytes.extend(client.encode(4, 5, MessageType::AUDIO, 1, &audio_frame(9)));
    let mut player = ScriptedClient::player(target, &target.name);
    client.send_bytes(&bytes);
    client.receive_until("5/1 onStatus 0 NetStream.Publish.Start");
    assert_eq!(player.receive(1), ["audio frame 9 on 1 at 5"], "what followed publish is kept");
}
