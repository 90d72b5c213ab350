//! The life of a player.

use std::time::Duration;

use anabranch_core::amf::Value;
use anabranch_core::message::{Control, MessageType, UserControl};

use crate::conformance::Target;
use crate::conformance::media::{audio_frame, gop_lines, header_lines, inter_frame, key_frame, long};
use crate::peer::{ScriptedClient, codes, has_line};

cases![
    reset_start_and_sample_access_come_in_this_order,
    a_player_waits_for_its_publisher_and_gets_all_of_it,
    a_player_is_told_when_its_publisher_is_gone_for_good with SHORT_GRACE,
    a_player_is_told_of_the_end_of_a_publisher_that_sent_nothing_for_it with SHORT_GRACE,
    a_player_that_was_told_is_told_of_the_next_publisher with SHORT_GRACE,
    a_publisher_that_comes_back_in_time_goes_unnoticed,
    a_player_that_comes_after_the_end_waits_without_a_notice with SHORT_GRACE,
    a_paused_player_gets_nothing,
    a_player_that_resumes_starts_at_the_newest_key_frame,
    pause_raw_is_a_pause,
    a_player_may_turn_audio_off_and_on,
    a_player_may_turn_video_off_and_on,
    seeking_is_told_and_changes_nothing,
    a_player_gets_as_much_as_it_asked_for,
    a_player_that_was_stopped_may_play_again,
    close_stream_stops_the_media_and_leaves_the_connection,
    delete_stream_stops_the_media_and_leaves_the_connection,
    a_second_play_on_a_stream_replaces_the_first,
    one_connection_plays_a_stream_twice,
    the_buffer_length_is_taken_and_not_answered,
    pings_are_answered_with_their_own_number,
    pings_are_answered_while_media_flows,
    acknowledgements_of_a_player_are_taken,
    the_server_pings_its_players with OFTEN_PINGED,
    players_of_different_streams_get_their_own,
    a_player_that_stops_leaves_the_others_alone,
    a_player_that_hangs_up_harms_no_other_client,
    controls_on_streams_that_do_not_play_are_ignored,
];

setups! {
    SHORT_GRACE = |config| config.defaults.unpublish_grace = Duration::from_millis(200);
    OFTEN_PINGED = |config| config.defaults.session.timeouts.ping = Duration::from_millis(150);
}

fn flag(client: &mut ScriptedClient, name: &str, on: bool) {
    client.command(name, 0.0, 1, &[on.into(), 0.0.into()]);
}

/// A publisher with headers and a group of pictures out, and a player that has got them.
fn running(target: &Target) -> (ScriptedClient, ScriptedClient) {
    let mut player = ScriptedClient::player(target, &target.name);
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.headers();
    publisher.gop(0, 1);
    assert_eq!(player.receive(6), [header_lines(0), gop_lines(0, 1)].concat());
    (player, publisher)
}

fn reset_start_and_sample_access_come_in_this_order(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.create_stream(2.0);
    client.play(1, &target.name);
    assert_eq!(
        client.receive(5),
        [
            "3/0 _result 2 1",
            "StreamBegin(1)",
            "5/1 onStatus 0 NetStream.Play.Reset",
            "5/1 onStatus 0 NetStream.Play.Start",
            "data |RtmpSampleAccess on 1 at 0",
        ]
    );
    client.assert_quiet();
}

fn a_player_waits_for_its_publisher_and_gets_all_of_it(target: &Target) {
    let (mut player, mut publisher) = running(target);
    publisher.gop(80, 2);
    assert_eq!(player.receive(3), gop_lines(80, 2));
    player.assert_quiet();
}

fn a_player_is_told_when_its_publisher_is_gone_for_good(target: &Target) {
    let (mut player, publisher) = running(target);
    let start = std::time::Instant::now();
    drop(publisher);
    assert_eq!(player.receive(2), ["StreamEof(1)", "5/1 onStatus 0 NetStream.Play.UnpublishNotify"]);
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    player.assert_quiet();
}

fn a_player_is_told_of_the_end_of_a_publisher_that_sent_nothing_for_it(target: &Target) {
    for sent in 0..3 {
        let name = format!("{}-{sent}", target.name);
        let mut before = ScriptedClient::player(target, &name);
        let mut publisher = ScriptedClient::publisher(target, &name);
        let mut during = ScriptedClient::player(target, &name);
        match sent {
            0 => {}
            1 => publisher.headers(),
            _ => publisher.send(6, 0, MessageType::VIDEO, 1, &inter_frame(1)),
        }
        publisher.receive_pending();
        drop(publisher);
        for player in [&mut before, &mut during] {
            assert_eq!(player.receive(2), ["StreamEof(1)", "5/1 onStatus 0 NetStream.Play.UnpublishNotify"], "{sent}");
            player.assert_quiet();
        }
    }
}

fn a_player_that_was_told_is_told_of_the_next_publisher(target: &Target) {
    let (mut player, publisher) = running(target);
    drop(publisher);
    player.receive_until("NetStream.Play.UnpublishNotify");
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    assert_eq!(player.receive(2), ["StreamBegin(1)", "5/1 onStatus 0 NetStream.Play.PublishNotify"]);
    publisher.headers();
    publisher.gop(0, 2);
    assert!(has_line(&player.receive(6), "video key 2"));
}

fn a_publisher_that_comes_back_in_time_goes_unnoticed(target: &Target) {
    let (mut player, mut publisher) = running(target);
    publisher.command("closeStream", 0.0, 1, &[]);
    publisher.receive_until("NetStream.Unpublish.Success");
    drop(publisher);
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.headers();
    publisher.gop(0, 2);
    let received = player.receive_until("video frame 2");
    assert_eq!((codes(&received), received.len()), (vec![], 6), "{received:?}");
}

fn a_player_that_comes_after_the_end_waits_without_a_notice(target: &Target) {
    let (mut player, publisher) = running(target);
    drop(publisher);
    player.receive_until("NetStream.Play.UnpublishNotify");
    let mut late = ScriptedClient::player(target, &target.name);
    late.assert_quiet();
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.gop(0, 2);
    assert!(has_line(&late.receive(1), "video key 2"), "it was never told that it was over");
}

fn a_paused_player_gets_nothing(target: &Target) {
    let (mut player, mut publisher) = running(target);
    let mut other = ScriptedClient::player(target, &target.name);
    other.receive(6);
    flag(&mut player, "pause", true);
    assert_eq!(player.receive(2), ["5/1 onStatus 0 NetStream.Pause.Notify", "StreamEof(1)"]);
    publisher.gop(80, 2);
    assert_eq!(other.receive(3), gop_lines(80, 2));
    player.assert_quiet();
}

fn a_player_that_resumes_starts_at_the_newest_key_frame(target: &Target) {
    let (mut player, mut publisher) = running(target);
    flag(&mut player, "pause", true);
    player.receive(2);
    publisher.gop(80, 2);
    publisher.gop(160, 3);
    publisher.receive_pending();
    flag(&mut player, "pause", false);
    let received = player.receive(8);
    assert_eq!(received[..2], ["5/1 onStatus 0 NetStream.Unpause.Notify", "StreamBegin(1)"]);
    assert_eq!(received[2..], [header_lines(160), gop_lines(160, 3)].concat());
}

fn pause_raw_is_a_pause(target: &Target) {
    let (mut player, _publisher) = running(target);
    flag(&mut player, "pauseRaw", true);
    assert_eq!(player.receive(2), ["5/1 onStatus 0 NetStream.Pause.Notify", "StreamEof(1)"]);
}

fn a_player_may_turn_audio_off_and_on(target: &Target) {
    let (mut player, mut publisher) = running(target);
    flag(&mut player, "receiveAudio", false);
    player.assert_quiet();
    publisher.gop(80, 2);
    let [key, audio, frame] = gop_lines(80, 2);
    assert_eq!(player.receive(2), [key, frame]);
    flag(&mut player, "receiveAudio", true);
    assert_eq!(player.receive(2), ["5/1 onStatus 0 NetStream.Seek.Notify", "5/1 onStatus 0 NetStream.Play.Start"]);
    publisher.gop(160, 2);
    assert_eq!(player.receive(3), gop_lines(160, 2), "{audio} was not for it");
}

fn a_player_may_turn_video_off_and_on(target: &Target) {
    let (mut player, mut publisher) = running(target);
    flag(&mut player, "receiveVideo", false);
    player.assert_quiet();
    publisher.gop(80, 2);
    assert_eq!(player.receive(1), ["audio frame 2 on 1 at 90"]);
    publisher.receive_pending();
    flag(&mut player, "receiveVideo", true);
    assert_eq!(player.receive(2), ["5/1 onStatus 0 NetStream.Seek.Notify", "5/1 onStatus 0 NetStream.Play.Start"]);
    // It begins again with a key frame.
    publisher.video(140, &inter_frame(3));
    publisher.gop(160, 4);
    assert_eq!(player.receive(3), gop_lines(160, 4));
}

fn seeking_is_told_and_changes_nothing(target: &Target) {
    let (mut player, mut publisher) = running(target);
    player.command("seek", 0.0, 1, &[30_000.0.into()]);
    assert_eq!(player.receive(1), ["5/1 onStatus 0 NetStream.Seek.Notify"]);
    publisher.gop(80, 2);
    assert_eq!(player.receive(3), gop_lines(80, 2));
}

fn a_player_gets_as_much_as_it_asked_for(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.gop(0, 1);
    publisher.receive_pending();
    let mut player = ScriptedClient::connected(target);
    player.command("play", 4.0, 0, &[target.name.as_str().into(), (-1.0).into(), 100.0.into()]);
    player.receive_until("|RtmpSampleAccess");
    assert_eq!(player.receive(3), gop_lines(0, 1));
    publisher.gop(60, 2);
    let received = player.receive(5);
    assert_eq!(received[..2], gop_lines(60, 2)[..2]);
    assert_eq!(received[2..], ["data onPlayStatus on 1 at 0", "StreamEof(1)", "5/1 onStatus 0 NetStream.Play.Stop"]);
    publisher.gop(200, 3);
    publisher.receive_pending();
    player.assert_quiet();
}

fn a_player_that_was_stopped_may_play_again(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::connected(target);
    let arguments: [Value; 3] = [target.name.as_str().into(), (-1.0).into(), 30.0.into()];
    for round in 0..2 {
        player.command("play", 4.0, 0, &arguments);
        player.receive_until("|RtmpSampleAccess");
        publisher.gop(round * 80, 1);
        publisher.receive_pending();
        let received = player.receive_until("NetStream.Play.Stop");
        assert!(has_line(&received, "video key 1"), "{received:?}");
    }
}

fn stops(target: &Target, name: &str, message_stream_id: u32, arguments: &[Value]) {
    let (mut player, mut publisher) = running(target);
    player.command(name, 0.0, message_stream_id, arguments);
    player.assert_quiet();
    publisher.gop(80, 2);
    publisher.receive_pending();
    player.assert_quiet();
    player.play(1, &target.name);
    player.receive_until("|RtmpSampleAccess");
    assert_eq!(player.receive(6), [header_lines(80), gop_lines(80, 2)].concat());
}

fn close_stream_stops_the_media_and_leaves_the_connection(target: &Target) {
    stops(target, "closeStream", 1, &[]);
}

fn delete_stream_stops_the_media_and_leaves_the_connection(target: &Target) {
    stops(target, "deleteStream", 0, &[1.0.into()]);
}

fn a_second_play_on_a_stream_replaces_the_first(target: &Target) {
    let (mut player, mut publisher) = running(target);
    let mut other = ScriptedClient::publisher(target, &target.named("other"));
    other.gop(0, 7);
    other.receive_pending();
    player.play(1, &target.named("other"));
    player.receive_until("|RtmpSampleAccess");
    assert_eq!(player.receive(3), gop_lines(0, 7));
    publisher.gop(80, 2);
    publisher.receive_pending();
    player.assert_quiet();
}

fn one_connection_plays_a_stream_twice(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::connected(target);
    for message_stream_id in [1, 2] {
        player.create_stream(2.0);
        player.play(message_stream_id, &target.name);
        player.receive_until("|RtmpSampleAccess");
    }
    publisher.audio(0, &audio_frame(1));
    let mut received = player.receive(2);
    received.sort_unstable();
    assert_eq!(received, ["audio frame 1 on 1 at 0", "audio frame 1 on 2 at 0"]);
    player.command("deleteStream", 0.0, 0, &[1.0.into()]);
    player.assert_quiet();
    publisher.audio(20, &audio_frame(2));
    assert_eq!(player.receive(1), ["audio frame 2 on 2 at 20"]);
}

fn the_buffer_length_is_taken_and_not_answered(target: &Target) {
    let (mut player, mut publisher) = running(target);
    for (message_stream_id, milliseconds) in [(1, 0), (1, u32::MAX), (0, 100), (77, 100)] {
        player.control(&Control::User(UserControl::SetBufferLength { message_stream_id, milliseconds }));
    }
    player.assert_quiet();
    publisher.gop(80, 2);
    assert_eq!(player.receive(3), gop_lines(80, 2));
}

fn pings_are_answered_with_their_own_number(target: &Target) {
    let mut player = ScriptedClient::player(target, &target.name);
    for number in [0, 1, 0x0123_4567, u32::MAX] {
        player.control(&Control::User(UserControl::PingRequest(number)));
        assert_eq!(player.receive(1), [format!("PingResponse({number})")]);
    }
}

fn pings_are_answered_while_media_flows(target: &Target) {
    let (mut player, mut publisher) = running(target);
    for round in 1..20 {
        publisher.gop(u32::from(round) * 80, round);
        player.control(&Control::User(UserControl::PingRequest(u32::from(round))));
    }
    let mut received = Vec::new();
    while !(has_line(&received, "PingResponse(19)") && has_line(&received, "video frame 19")) {
        received.extend(player.receive(1));
    }
    let (pings, media): (Vec<_>, Vec<_>) = received.into_iter().partition(|line| line.starts_with("Ping"));
    assert_eq!(pings, (1..20).map(|number| format!("PingResponse({number})")).collect::<Vec<_>>());
    assert_eq!(media, (1..20).flat_map(|round| gop_lines(u32::from(round) * 80, round)).collect::<Vec<_>>());
}

fn acknowledgements_of_a_player_are_taken(target: &Target) {
    let (mut player, mut publisher) = running(target);
    // Too few, too many, back again: nothing depends on it.
    for bytes in [0, 1, u32::MAX, 5] {
        player.control(&Control::Acknowledgement(bytes));
    }
    player.assert_quiet();
    publisher.gop(80, 2);
    assert_eq!(player.receive(3), gop_lines(80, 2));
}

fn the_server_pings_its_players(target: &Target) {
    let mut player = ScriptedClient::player(target, &target.name);
    let pings = player.receive(3);
    let times: Vec<u32> = pings
        .iter()
        .map(|line| {
            let number = line.strip_prefix("PingRequest(").and_then(|rest| rest.strip_suffix(')'));
            number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{line}"))
        })
        .collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 149), "{times:?}");
}

fn players_of_different_streams_get_their_own(target: &Target) {
    let names: Vec<String> = (0..5).map(|number| target.named(&number.to_string())).collect();
    let mut players: Vec<ScriptedClient> = names.iter().map(|name| ScriptedClient::player(target, name)).collect();
    let mut publishers: Vec<ScriptedClient> =
        names.iter().map(|name| ScriptedClient::publisher(target, name)).collect();
    for (number, publisher) in (0..).zip(&mut publishers) {
        publisher.gop(0, number);
    }
    for (number, player) in (0..).zip(&mut players) {
        assert_eq!(player.receive(3), gop_lines(0, number));
        player.assert_quiet();
    }
}

fn a_player_that_stops_leaves_the_others_alone(target: &Target) {
    let (mut player, mut publisher) = running(target);
    let mut leaves = ScriptedClient::player(target, &target.name);
    leaves.receive(6);
    leaves.command("closeStream", 0.0, 1, &[]);
    leaves.receive_pending();
    publisher.gop(80, 2);
    assert_eq!(player.receive(3), gop_lines(80, 2));
    player.assert_quiet();
}

fn a_player_that_hangs_up_harms_no_other_client(target: &Target) {
    let (mut player, mut publisher) = running(target);
    for number in 2..8 {
        let leaves = ScriptedClient::player(target, &target.name);
        publisher.video(u32::from(number) * 80, &long(&[0x17, 1, 0, 0, 0], 30_000));
        if number % 2 == 0 {
            leaves.into_wire().reset();
        } else {
            drop(leaves);
        }
        publisher.video(u32::from(number) * 80 + 40, &key_frame(number));
        player.receive_until(&format!("video key {number}"));
    }
    publisher.assert_quiet();
}

fn controls_on_streams_that_do_not_play_are_ignored(target: &Target) {
    let mut client = ScriptedClient::connected(target);
    client.create_stream(2.0);
    client.receive(1);
    for name in ["pause", "receiveAudio", "receiveVideo", "seek", "closeStream"] {
        client.command(name, 0.0, 1, &[true.into()]);
        client.command(name, 0.0, 9, &[true.into()]);
    }
    client.assert_quiet();
}
