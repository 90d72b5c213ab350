//! What real encoders send beside what the specification draws: key frames without a mark, or none; media that arrive
//! apart, stop, or come out of order.

use std::time::{Duration, Instant};

use crate::conformance::Target;
use crate::conformance::media::{
    AUDIO_HEADER, VIDEO_HEADER, audio_frame, gop_lines, header_lines, inter_frame, key_frame,
};
use crate::peer::ScriptedClient;

cases![
    a_key_frame_without_a_mark_starts_late_players,
    without_key_frames_players_get_all_that_came_after_a_wait with SHORT_WAIT,
    without_key_frames_late_players_begin_at_once with SHORT_WAIT,
    sound_that_goes_on_without_pictures_starts_late_players_in_the_present with SHORT_WAIT,
    the_end_of_a_sequence_leaves_its_header_in_force,
    times_of_presentation_pass_in_the_order_of_decoding,
    sound_that_arrives_long_after_its_pictures_passes_unchanged,
];

const WAIT: Duration = Duration::from_millis(200);

setups! {
    SHORT_WAIT = |config| config.defaults.start_limits.wait = WAIT;
}

/// An AVC picture whose message says that it is no key frame; the last byte is its number.
fn unmarked(kind: u8, number: u8) -> Vec<u8> {
    vec![0x27, 1, 0, 0, 0, 0, 0, 0, 2, kind, number]
}

fn a_key_frame_without_a_mark_starts_late_players(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.headers();
    for (time, kind) in [(0, 0x65), (40, 0x41), (80, 0x65), (120, 0x41)] {
        publisher.video(time, &unmarked(kind, time as u8));
    }
    publisher.receive_pending();
    let mut player = ScriptedClient::player(target, &target.name);
    assert_eq!(player.receive(3), header_lines(80));
    for (time, kind) in [(80, 0x65), (120, 0x41)] {
        let message = player.message();
        assert_eq!((message.timestamp, message.payload.to_vec()), (time, unmarked(kind, time as u8)));
    }
}

/// Sends pictures that are no key frames, and sound, for so long; gives the time of the next.
fn without_key_frames(publisher: &mut ScriptedClient, lasts: Duration) -> u32 {
    publisher.headers();
    let begun = Instant::now();
    let mut time = 0;
    while begun.elapsed() < lasts {
        publisher.video(time, &inter_frame(1));
        publisher.audio(time, &audio_frame(1));
        publisher.receive_pending();
        std::thread::sleep(Duration::from_millis(20));
        time += 20;
    }
    time
}

fn without_key_frames_players_get_all_that_came_after_a_wait(target: &Target) {
    let mut player = ScriptedClient::player(target, &target.name);
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let end = without_key_frames(&mut publisher, WAIT * 2);
    assert_eq!(player.receive(3), header_lines(0));
    for time in (0..end).step_by(20) {
        assert_eq!(
            player.receive(2),
            [format!("video frame 1 on 1 at {time}"), format!("audio frame 1 on 1 at {time}")]
        );
    }
}

fn without_key_frames_late_players_begin_at_once(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    without_key_frames(&mut publisher, WAIT * 2);
    let mut player = ScriptedClient::player(target, &target.name);
    assert_eq!(player.receive(5)[3..], ["video frame 1 on 1 at 0", "audio frame 1 on 1 at 0"]);
}

fn sound_that_goes_on_without_pictures_starts_late_players_in_the_present(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.headers();
    publisher.gop(0, 1);
    for time in (100..=1_000).step_by(100) {
        publisher.audio(time, &audio_frame(2));
    }
    publisher.receive_pending();
    let mut player = ScriptedClient::player(target, &target.name);
    let received = player.receive(4);
    assert_eq!(received[..3], header_lines(1_000));
    assert_eq!(received[3], "audio frame 2 on 1 at 1000");
}

fn the_end_of_a_sequence_leaves_its_header_in_force(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.headers();
    publisher.gop(0, 1);
    publisher.video(60, &[0x17, 2, 0, 0, 0]);
    publisher.gop(80, 2);
    publisher.receive_pending();
    let mut player = ScriptedClient::player(target, &target.name);
    assert_eq!(player.receive(6), [header_lines(80), gop_lines(80, 2)].concat());
}

fn times_of_presentation_pass_in_the_order_of_decoding(target: &Target) {
    let mut player = ScriptedClient::player(target, &target.name);
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.video(0, VIDEO_HEADER);
    publisher.video(0, &key_frame(1));
    player.receive(2);
    for time in [120, 40, 80, 240, 160, 200] {
        publisher.video(time, &inter_frame(2));
        assert_eq!(player.receive(1), [format!("video frame 2 on 1 at {time}")]);
    }
}

fn sound_that_arrives_long_after_its_pictures_passes_unchanged(target: &Target) {
    let mut player = ScriptedClient::player(target, &target.name);
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.video(0, VIDEO_HEADER);
    publisher.audio(0, AUDIO_HEADER);
    publisher.video(0, &key_frame(1));
    player.receive(3);
    for time in (500..=2_500).step_by(500) {
        publisher.video(time, &inter_frame(2));
        assert_eq!(player.receive(1), [format!("video frame 2 on 1 at {time}")]);
    }
    for time in (0..2_500).step_by(250) {
        publisher.audio(time, &audio_frame(3));
        assert_eq!(player.receive(1), [format!("audio frame 3 on 1 at {time}")]);
    }
}
