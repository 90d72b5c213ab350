//! The memory that a thousand players take that never read.

use std::time::Duration;

use anabranch_core::conn::VhostConfig;
use anabranch_sim::{ClientId, Encoder, Rng, Sim};

const SECOND: Duration = Duration::from_secs(1);
const STALLED: usize = 1_000;

/// 4 Mb/s in few messages, so that ten minutes of them pass soon.
fn encoder() -> Encoder {
    Encoder {
        video: Some(Duration::from_millis(250)),
        gop: 8,
        key: 150_000..=250_000,
        inter: 90_000..=140_000,
        audio: None,
        ..Encoder::default()
    }
}

/// Ten minutes with two players that read and so many that do not; what the former got, number, time and moment.
fn watch(stalled: usize) -> Vec<Vec<(usize, u32, Duration)>> {
    let mut config = VhostConfig::default();
    // No client is closed for not reading.
    config.session.timeouts.write = SECOND * 3_600;
    let (high_water, limit) = (config.high_water, config.source.bytes);
    let mut net = Sim::with_config(1, config.into());
    let publisher = net.publish_with("live", "cam", encoder());
    let healthy: [ClientId; 2] = std::array::from_fn(|_| net.play("live", "cam"));
    net.run_for(SECOND * 3);
    let mut rng = Rng::new(1);
    let dead: Vec<_> = (0..stalled)
        .map(|_| {
            let player = net.play("live", "cam");
            net.link(player).buffer(4 << 10);
            player
        })
        .collect();
    net.run_until(SECOND * 3, |net| dead.iter().all(|player| net.client(*player).is_running()));
    for player in &dead {
        net.run_for(Duration::from_micros(rng.within(0..=100) as u64));
        net.link(*player).down.stall();
    }
    let stop = SECOND * 600;
    let mut largest = 0;
    while net.elapsed() < stop {
        net.run_for((SECOND * 20).min(stop - net.elapsed()));
        largest = largest.max(net.sent(publisher).iter().map(|sent| sent.size).max().unwrap_or_default());
        let log: usize = net.server().hub().streams().iter().map(|stream| stream.log_bytes).sum();
        let queued: Vec<_> = dead.iter().map(|player| net.outbound(*player)).collect();
        // A frame may begin below the mark; some bytes for chunk headers and for pings.
        let each = high_water + largest + 2_000;
        assert!(queued.iter().all(|bytes| *bytes <= each), "{:?} bytes for one player", queued.iter().max());
        assert!(queued.iter().all(|bytes| *bytes > 0), "they do not read");
        assert!(log <= limit);
        // Queues share their frames with the log and each other, so this is far above what they take.
        let total = log + queued.iter().sum::<usize>();
        assert!(total <= limit + stalled * each, "{total} bytes in all");
    }
    let sent: usize = net.sent(publisher).iter().map(|sent| sent.size).sum();
    assert!((270_000_000..330_000_000).contains(&sent), "{sent} bytes in ten minutes");
    assert!(dead.iter().all(|player| net.is_open(*player)));
    let got = |player: ClientId| {
        assert_eq!(net.player(player).skipped().frames, 0);
        let frames = net.player(player).frames().iter();
        frames.map(|frame| (frame.number, frame.timestamp, net.since_start(frame.at))).collect()
    };
    healthy.map(got).to_vec()
}

#[test]
fn a_thousand_players_that_never_read_stay_within_their_budget_and_disturb_no_other() {
    let [alone, accompanied] = [watch(0), watch(STALLED)];
    assert!(alone[0].len() > 2_000);
    assert!(alone == accompanied, "the same frames at the same times");
}
