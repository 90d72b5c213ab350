//! Encoders as they are: key frames without a mark, rare ones, or none; media that arrive apart, at once, or for a time
//! only. That each frame keeps its time and its place is checked of every frame that a player gets.

use std::time::Duration;

use anabranch_sim::{Encoder, Marks, Media, Rng, Sim, Track};

const SECOND: Duration = Duration::from_secs(1);
/// What a player waits for a key frame, and some time for links and for frames that are a second apart.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Players come one after the other; each has what the encoder sends when its timeout is over.
fn all_players_get_what_is_sent(seed: u64, encoder: &Encoder) {
    let mut rng = Rng::new(seed);
    let mut net = Sim::new(seed);
    net.publish_with("live", "cam", encoder.clone());
    for _ in 0..3 {
        net.run_for(Duration::from_millis(rng.within(0..=4_000) as u64));
        let from = net.elapsed() + SECOND;
        let player = net.play("live", "cam");
        net.run_for(TIMEOUT);
        let time = from..from + TIMEOUT - SECOND;
        let playback = net.client(player).playback().expect("it plays");
        let has = |wanted: fn(Media) -> bool| playback.frames().iter().any(|frame| wanted(frame.media));
        if encoder.sends(Track::Audio, time.clone()) {
            assert!(has(Media::is_coded), "seed {seed}: nothing came in {time:?} of {encoder:?}");
        }
        if encoder.sends(Track::Video, time.clone()) {
            assert!(has(Media::is_picture), "seed {seed}: no picture came in {time:?} of {encoder:?}");
        }
    }
}

#[test]
fn every_player_has_sound_or_picture_soon_whatever_the_encoder_does() {
    for seed in 0..60 {
        all_players_get_what_is_sent(seed, &Encoder::odd(&mut Rng::new(seed)));
    }
}

#[test]
fn streams_of_each_kind_are_seen_and_heard() {
    let silent = |track, from, to| vec![(track, SECOND * from..SECOND * to)];
    let kinds = [
        Encoder { marks: Marks::Inside, ..Encoder::small() },
        Encoder { marks: Marks::None, ..Encoder::small() },
        Encoder { marks: Marks::Until(SECOND), ..Encoder::small() },
        Encoder { silences: silent(Track::Video, 2, 600), ..Encoder::small() },
        Encoder { silences: silent(Track::Audio, 2, 6), ..Encoder::small() },
        Encoder { end_of_sequence: Some(SECOND * 2), ..Encoder::small() },
        Encoder { reorder: true, gop: 600, ..Encoder::small() },
    ];
    for (seed, encoder) in (0..).zip(&kinds) {
        all_players_get_what_is_sent(seed, encoder);
    }
}

#[test]
fn skews_of_up_to_ten_seconds_and_jumps_either_way_pass() {
    for seconds in [1u32, 3, 10] {
        for track in [Track::Audio, Track::Video] {
            let late = |late| if late == track { SECOND * seconds } else { Duration::ZERO };
            let encoder =
                Encoder { video_late: late(Track::Video), audio_late: late(Track::Audio), ..Encoder::small() };
            let mut net = Sim::new(u64::from(seconds));
            let player = net.play("live", "cam");
            net.publish_with("live", "cam", Encoder { first_timestamp: u32::MAX - 5_000, ..encoder.clone() });
            net.run_for(SECOND * 25);
            assert!(net.client(player).playback().expect("it plays").count(Media::Sound) > 300);
            assert!(net.client(player).playback().expect("it plays").count(Media::Inter) > 150);
            // With a jump ahead and one back.
            let jumps = vec![(SECOND * 15, 90_000_000), (SECOND * 30, 5)];
            net.publish_with("live", "other", Encoder { jumps, ..encoder });
            let player = net.play("live", "other");
            net.run_for(SECOND * 45);
            assert!(net.client(player).playback().expect("it plays").count(Media::Sound) > 600);
        }
    }
}
