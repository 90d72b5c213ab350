//! Players that are slow, stall or never read: they lose whole groups of pictures, and the server loses nothing.

use std::time::Duration;

use anabranch_core::conn::{Config, VhostConfig};
use anabranch_core::session::{CloseReason, TimeoutKind};
use anabranch_core::source::SourceLimits;
use anabranch_sim::{Encoder, Media, Sim};

const SECOND: Duration = Duration::from_secs(1);

/// Streams are kept for three seconds.
fn short_log() -> Config {
    let source = SourceLimits { milliseconds: 3_000, ..SourceLimits::default() };
    Config::from(VhostConfig { source, ..VhostConfig::default() })
}

#[test]
fn a_slow_player_skips_to_key_frames_and_every_frame_it_missed_is_counted() {
    let mut net = Sim::with_config(1, short_log());
    net.publish("live", "cam");
    let slow = net.play("live", "cam");
    // A little more than half of what the stream needs.
    net.link(slow).down.bandwidth(40_000).buffer(16 << 10);
    net.run_for(SECOND * 60);
    let playback = net.player(slow);
    assert!(playback.resumptions() > 3, "{} resumptions", playback.resumptions());
    assert!(playback.count(Media::VideoHeader) as u32 > playback.resumptions(), "headers come with each");
    assert!(playback.count(Media::Key) > 20, "it still sees something");

    // A link that is suddenly fast: the player gets to the present and leaves, so that both counts are complete.
    net.link(slow).down.bandwidth(10_000_000);
    net.run_for(SECOND * 5);
    net.stop(slow);
    net.run_for(SECOND);
    let (skipped, missed) = (net.player(slow).skipped(), net.report(slow).expect("it ended").missed);
    assert!(skipped.frames > 500, "{skipped:?}");
    assert_eq!((missed.frames, missed.bytes), (skipped.frames, skipped.bytes));
    assert!((10_000..60_000).contains(&missed.milliseconds), "{missed:?}");
}

#[test]
fn fast_players_do_not_notice_the_slow_one() {
    let run = |slow: bool| {
        let mut net = Sim::with_config(2, short_log());
        net.publish("live", "cam");
        let fast = [net.play("live", "cam"), net.play("live", "cam")];
        if slow {
            let slow = net.play("live", "cam");
            net.link(slow).down.bandwidth(20_000).buffer(4 << 10);
            let dead = net.play("live", "cam");
            net.run_for(SECOND);
            net.link(dead).down.stall();
            net.run_for(SECOND * 29);
            assert!(net.player(slow).resumptions() > 1);
        } else {
            net.run_for(SECOND * 30);
        }
        let frames = fast.map(|player| net.player(player).frames().to_vec());
        frames.map(|frames| frames.iter().map(|f| (f.number, f.timestamp, net.since_start(f.at))).collect::<Vec<_>>())
    };
    let [alone, accompanied] = [run(false), run(true)];
    assert!(alone[0].len() > 2_000);
    assert!(alone == accompanied, "the same frames at the same times");
}

#[test]
fn a_player_that_never_reads_costs_little_and_is_closed_for_it() {
    let mut net = Sim::new(3);
    net.publish("live", "cam");
    let player = net.play("live", "cam");
    let fine = net.play("live", "cam");
    net.run_for(SECOND * 12);
    let stalled = net.elapsed();
    net.link(player).down.stall();
    net.run_until(SECOND * 100, |net| !net.is_open(player));

    let report = net.report(player).expect("it is closed");
    assert_eq!(report.close.reason, CloseReason::Timeout(TimeoutKind::Write));
    let timeouts = net.server().config().defaults.session.timeouts.clone();
    // Its link takes a little more before it is full. The timer looks once in its period, then it says good bye.
    let (least, most) = (timeouts.write, timeouts.write * 2 + timeouts.linger + SECOND * 5);
    let took = net.elapsed() - stalled;
    assert!(took >= least && took <= most, "closed after {took:?}");
    assert!(net.most_outbound(player) <= net.server().config().defaults.high_water + 20_000 + 1_000);
    assert!(net.is_open(fine) && net.player(fine).skipped().frames == 0);
}

#[test]
fn memory_is_bounded_for_a_player_that_comes_and_reads_nothing() {
    let mut net = Sim::new(4);
    net.publish("live", "cam");
    net.run_for(SECOND * 5);
    let player = net.play("live", "cam");
    net.run_until(SECOND, |net| net.client(player).is_running());
    net.link(player).down.stall();
    net.run_until(SECOND * 100, |net| !net.is_open(player));
    assert_eq!(net.report(player).expect("it is closed").close.reason.name(), "write_timeout");
    // Ten seconds of the stream, and the GOP they end in.
    let log = net.server().hub().streams()[0].log_bytes;
    assert!(log < 75_000 * 12, "{log} bytes");
}

#[test]
fn a_stall_shorter_than_the_log_loses_nothing() {
    let mut net = Sim::new(5);
    let publisher = net.publish("live", "cam");
    let player = net.play("live", "cam");
    net.run_for(SECOND * 5);
    net.stall(player, SECOND * 8);
    net.run_for(SECOND * 10);
    assert_eq!(net.player(player).skipped().frames, 0);
    let (got, sent) = (net.player(player).frames().len(), net.sent(publisher).len());
    assert!(sent - got < 20, "{got} of {sent}");
}

#[test]
fn a_stall_longer_than_the_log_is_one_gap() {
    let mut net = Sim::with_config(6, short_log());
    net.publish("live", "cam");
    let player = net.play("live", "cam");
    net.run_for(SECOND * 5);
    net.stall(player, SECOND * 20);
    net.run_for(SECOND * 25);
    net.stop(player);
    net.run_for(SECOND);
    let (skipped, missed) = (net.player(player).skipped(), net.report(player).expect("it ended").missed);
    assert_eq!(net.player(player).resumptions(), 1);
    assert_eq!((missed.frames, missed.bytes), (skipped.frames, skipped.bytes));
}

#[test]
fn a_stall_shorter_than_the_write_timeout_is_survived_whenever_it_begins() {
    for (write, ping) in [(30, 30), (10, 45)] {
        for since in 0..5 {
            let mut config = Config::default();
            config.defaults.session.timeouts.write = SECOND * write;
            config.defaults.session.timeouts.ping = SECOND * ping;
            let mut net = Sim::with_config(7, config);
            net.publish_with("live", "cam", Encoder::small());
            let player = net.play("live", "cam");
            // At some time in the periods of the connection's timers.
            net.run_for(SECOND * 35 + SECOND * since * 7);
            net.link(player).buffer(1 << 10);
            net.stall(player, SECOND * (write - 4));
            net.run_for(SECOND * (write + 5));
            assert!(net.is_open(player), "{write} {ping} {since}: {:?}", net.report(player));
        }
    }
}

#[test]
fn a_pause_shows_the_present_afterwards() {
    let mut net = Sim::new(8);
    net.publish("live", "cam");
    let player = net.play("live", "cam");
    net.run_for(SECOND * 5);
    net.pause(player, true);
    net.run_for(SECOND);
    let frames = net.player(player).frames().len();
    net.run_for(SECOND * 6);
    assert_eq!(net.player(player).frames().len(), frames, "nothing comes in a pause");
    net.pause(player, false);
    net.run_for(SECOND * 2);
    assert_eq!(net.player(player).resumptions(), 1);
    assert!(net.player(player).frames().len() > frames + 50);
    assert!(net.client(player).statuses().contains(&"NetStream.Pause.Notify"));
    assert!(net.client(player).statuses().contains(&"NetStream.Unpause.Notify"));
}

#[test]
fn a_pause_shorter_than_a_group_of_pictures_repeats_nothing() {
    let mut net = Sim::new(9);
    net.publish("live", "cam");
    let player = net.play("live", "cam");
    net.run_for(SECOND * 5 + SECOND / 4);
    net.pause(player, true);
    net.run_for(SECOND / 5);
    net.pause(player, false);
    // A frame that came twice would be a fault.
    net.run_for(SECOND * 3);
    assert!(net.client(player).is_running());
}

#[test]
fn a_publisher_whose_uplink_stalls_loses_frames_at_its_own_end_only() {
    let mut net = Sim::new(10);
    let publisher = net.publish("live", "cam");
    let player = net.play("live", "cam");
    net.run_for(SECOND * 3);
    net.stall(publisher, SECOND * 5);
    net.run_for(SECOND * 10);
    assert!(net.client(publisher).is_running());
    assert_eq!(net.player(player).skipped().frames, 0);
    let (got, sent) = (net.player(player).frames().len(), net.sent(publisher).len());
    assert!(sent - got < 20, "{got} of {sent}");
}
