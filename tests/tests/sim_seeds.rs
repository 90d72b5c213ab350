//! Equal seeds, equal runs; and hundreds of random scenes in which nothing may ever go wrong.

use std::time::Duration;

use anabranch_core::conn::{Config, VhostConfig};
use anabranch_core::source::{MergeWindow, SourceLimits};
use anabranch_tests::sim::{ClientId, Digest, Encoder, Rng, Sim};

const SEEDS: u64 = 300;

/// Every setting at random, all of them small, so that every bound is met.
fn config(rng: &mut Rng) -> Config {
    let mut config = VhostConfig {
        source: SourceLimits {
            bytes: rng.pick(&[3_000, 20_000, 60_000, 1 << 20]),
            frames: rng.pick(&[20, 200, 16_384]),
            milliseconds: rng.pick(&[500, 2_000, 10_000]),
        },
        merge_window: MergeWindow(Duration::from_millis(rng.pick(&[0, 30, 350]))),
        unpublish_grace: Duration::from_millis(rng.pick(&[0, 500, 2_000])),
        high_water: rng.pick(&[1, 4 << 10, 64 << 10]),
        ..VhostConfig::default()
    };
    config.session.chunk_size = rng.pick(&[128, 4096, 60_000]);
    config.session.window = rng.pick(&[5_000, 2_500_000]);
    config.session.timeouts.write = Duration::from_secs(rng.pick(&[2, 30]));
    config.session.timeouts.next_message = Duration::from_secs(rng.pick(&[2, 10]));
    config.session.timeouts.ping = Duration::from_secs(rng.pick(&[1, 30]));
    config.into()
}

fn encoder(rng: &mut Rng) -> Encoder {
    let mut encoder = Encoder { metadata: !rng.once_in(4), ..Encoder::small() };
    match rng.within(0..=7) {
        0 => encoder.audio = None,
        1 => encoder.video = None,
        2 => encoder.gop = 200,
        3 => encoder.gop = 1,
        _ => {}
    }
    encoder.first_timestamp = rng.pick(&[0, 0, 0xff_ff00, u32::MAX - 3_000]);
    encoder
}

/// Something happens to somebody.
fn disturb(net: &mut Sim, rng: &mut Rng, clients: &mut Vec<ClientId>) {
    let name = rng.pick(&["a", "b"]);
    let anybody = rng.pick(clients);
    let playing = clients.iter().copied().filter(|id| net.client(*id).is_running() && net.sent(*id).is_empty());
    let playing: Vec<_> = playing.collect();
    match rng.within(0..=15) {
        0..=3 if clients.len() < 12 => {
            let encoder = encoder(rng);
            clients.push(net.publish_with("live", name, encoder));
        }
        4..=6 if clients.len() < 12 => {
            let player = net.play("live", name);
            if rng.once_in(3) {
                let bandwidth = rng.within(500..=30_000) as u64;
                let buffer = rng.within(100..=20_000);
                net.link(player).down.bandwidth(bandwidth).buffer(buffer);
            }
            clients.push(player);
        }
        7 => net.kill(anybody),
        8 => net.close(anybody),
        9 => net.stop(anybody),
        10 => net.stop_and_stay(anybody),
        11 => net.stall(anybody, Duration::from_millis(rng.within(1..=5_000) as u64)),
        12 => net.mute(anybody, rng.once_in(2)),
        13 => net.reconfigure(anybody),
        14 => net.link(anybody).down.stall(),
        15 if !playing.is_empty() => {
            let player = rng.pick(&playing);
            let pause = rng.once_in(2);
            net.pause(player, pause);
        }
        _ => {}
    }
}

/// A scene; its fingerprint, and how many messages players got.
fn scene(seed: u64) -> (Digest, usize) {
    let mut rng = Rng::new(seed);
    let mut net = Sim::with_config(seed, config(&mut rng));
    let mut clients = vec![net.publish_with("live", "a", encoder(&mut rng)), net.play("live", "a")];
    for _ in 0..40 {
        net.run_for(Duration::from_millis(rng.within(1..=500) as u64));
        disturb(&mut net, &mut rng, &mut clients);
    }
    if rng.once_in(4) {
        net.shutdown();
        net.run_for(Duration::from_secs(4));
    }
    for client in &clients {
        net.kill(*client);
    }
    net.run_for(Duration::from_secs(1));
    assert!(net.server().hub().streams().is_empty(), "seed {seed}: streams are left over");
    assert!(clients.iter().all(|client| net.report(*client).is_some()), "seed {seed}: connections are left over");
    let mut got = 0;
    for client in clients {
        if let (Some(screen), Some(report)) = (net.client(client).screen(), net.report(client)) {
            got += screen.frames().len();
            let (skipped, missed) = (screen.skipped().frames, report.missed.frames);
            assert!(skipped <= missed, "seed {seed}: {skipped} frames were skipped, {missed} counted");
        }
    }
    (net.digest(), got)
}

#[test]
fn equal_seeds_give_equal_runs_and_others_do_not() {
    let digests: Vec<_> = (0..8).map(|seed| scene(seed).0).collect();
    for (seed, digest) in (0..).zip(&digests) {
        assert_eq!(scene(seed).0, *digest, "seed {seed}");
    }
    for (index, digest) in digests.iter().enumerate() {
        assert!(!digests[..index].contains(digest), "seed {index} is like one before");
    }
}

#[test]
fn whatever_happens_nothing_breaks() {
    let got: usize = (0..SEEDS).map(|seed| scene(seed).1).sum();
    // Scenes in which nobody gets anything prove nothing.
    assert!(got > SEEDS as usize * 300, "{got} messages in {SEEDS} scenes");
}
