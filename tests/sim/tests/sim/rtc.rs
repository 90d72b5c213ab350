//! Viewers and publishers by WebRTC.

use std::time::Duration;

use anabranch_rtc::desk::Settings;
use anabranch_sim::rtc::{Camera, Leaving, RtcSetup, RtcSim, Sound, Weather};

const SECOND: Duration = Duration::from_secs(1);

fn setup(joins: u32) -> RtcSetup {
    RtcSetup { settings: Settings { most_joins: joins, ..Settings::default() }, ..RtcSetup::default() }
}

#[test]
fn three_thousand_viewers_get_each_picture_which_is_put_into_packets_once() {
    let mut net = RtcSim::new(1, setup(4_000));
    let source = net.publish("live/cam", Camera { b_frames: true, group: 7, ..Camera::default() });
    net.run_for(SECOND);
    let mut viewers = Vec::new();
    for number in 0..3_000_u64 {
        let weather = Weather {
            latency: Duration::from_millis(5 + number % 90),
            jitter: Duration::from_millis(number % 3 * 20),
            loss: 0,
        };
        viewers.push(net.play("live/cam", weather));
        if number % 30 == 29 {
            net.run_for(Duration::from_millis(20));
        }
    }
    net.run_for(2 * SECOND);
    assert!(viewers.iter().all(|viewer| net.is_connected(*viewer)));
    // The publisher comes back, and some leave in each way.
    net.end_source(source, false);
    net.run_for(SECOND);
    net.resume_source(source);
    for (number, viewer) in viewers.iter().enumerate().take(600) {
        match number % 4 {
            0 => net.leave(*viewer, Leaving::Delete),
            1 => net.leave(*viewer, Leaving::Bye),
            2 => net.leave(*viewer, Leaving::Silent),
            _ => net.kick(*viewer),
        }
    }
    net.run_for(4 * SECOND);
    net.check_served();
    let (written, made) = net.packets();
    let sent = net.pictures_sent() as u64;
    // At most three packets each, and as much sound.
    assert!(made < sent * 5, "{made} payloads of {sent} pictures");
    assert!(written > made * 1_000, "{written} packets of {made} payloads");
    for viewer in &viewers[600..] {
        let got = net.got(*viewer);
        assert!(got.pictures > 20 && got.left_out > 5 && (got.skipped, got.lost) == (0, 0), "{got:?}");
    }
    for viewer in net.present() {
        net.leave(viewer, Leaving::Delete);
    }
    net.end_source(source, true);
    net.run_for(20 * SECOND);
    net.check_empty();
}

#[test]
fn offers_that_come_at_once_are_answered_one_after_the_other_and_the_others_are_told_to_come_again() {
    let mut net = RtcSim::new(2, setup(40));
    net.publish("live/cam", Camera::default());
    net.run_for(SECOND);
    let viewers: Vec<_> = (0..200).map(|_| net.play("live/cam", Weather::default())).collect();
    net.run_for(SECOND);
    let answered = net.stats().answered;
    assert!((36..=52).contains(&answered), "{answered} were answered in a second");
    let refused = viewers.iter().filter(|viewer| net.statuses(**viewer).contains(&503)).count();
    assert!(refused > 100, "{refused} were refused");
    net.run_for(20 * SECOND);
    assert!(viewers.iter().all(|viewer| net.is_connected(*viewer)), "all come in the end");
}

#[test]
fn pictures_and_sound_keep_together_for_an_hour() {
    for (sound, time) in [(Sound::Opus, 600), (Sound::Aac, 3_600)] {
        let mut net = RtcSim::new(3, setup(100));
        let small = 20..=60;
        let camera = Camera {
            picture: SECOND,
            group: 2,
            key: small.clone(),
            inter: small,
            sound: Some(sound),
            ..Camera::default()
        };
        net.publish("live/cam", camera);
        net.run_for(SECOND);
        let viewer = net.play("live/cam", Weather::default());
        // A drift of over 40 ms would have been found.
        net.run_for(time * SECOND);
        let got = net.got(viewer);
        assert!(got.pictures + 10 > time.into() && got.sounds > u64::from(time) * 16, "{got:?}");
    }
}
