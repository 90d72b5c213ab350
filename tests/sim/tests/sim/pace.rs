//! Connections that are read as late as the core allows give players the same.

use std::time::Duration;

use anabranch_core::conn::VhostConfig;
use anabranch_core::pacing::Pacing;
use anabranch_sim::{ClientId, DelayedReads, Encoder, Sim};

const SECONDS: u64 = 20;

/// A coded frame that a player got.
type Got = (usize, usize, u32);

/// A stream of the small encoder with players from the beginning and one that comes later, and a stream without
/// players. Returns what each player got, and in how many steps.
fn played(delayed_reads: DelayedReads, window: u64) -> (Vec<Vec<Got>>, u64, Sim, ClientId) {
    let pacing = Pacing { merge_window: Duration::from_millis(window), ..Pacing::default() };
    let config = VhostConfig { pacing, ..VhostConfig::default() };
    let mut net = Sim::with_config(3, config.into());
    net.delay_reads(delayed_reads);
    let encoder = net.publish_with("live", "cam", Encoder::small());
    net.publish_with("live", "nobody", Encoder::small());
    let mut players: Vec<_> = (0..3).map(|_| net.play("live", "cam")).collect();
    net.run_for(Duration::from_secs(SECONDS / 2));
    players.push(net.play("live", "cam"));
    net.run_for(Duration::from_secs(SECONDS / 2));
    net.mute(encoder, true);
    // All that was sent arrives.
    net.run_for(Duration::from_secs(2));
    let coded = players.iter().map(|player| net.player(*player).coded()).collect();
    (coded, net.steps(), net, encoder)
}

#[test]
fn players_get_the_same_whether_or_not_reads_are_delayed() {
    for window in [30, 350, 1_000] {
        let (at_once, _, _, _) = played(DelayedReads::None, window);
        let (later, _, net, encoder) = played(DelayedReads::All, window);
        // Players that are there from the beginning get every frame, at its time.
        assert!(net.sent(encoder).len() > 300, "{}", net.sent(encoder).len());
        for (at_once, later) in at_once[..3].iter().zip(&later) {
            assert!(at_once.len() > 300, "{} frames", at_once.len());
            assert_eq!(at_once, later, "window {window}");
        }
        // A player that comes later begins at a key frame, and misses nothing from there on.
        let (whole, joined) = (&later[0], &later[3]);
        assert!(joined.len() > 100, "{} frames", joined.len());
        assert_eq!(whole[whole.len() - joined.len()..], joined[..], "window {window}");
    }
}

/// Otherwise the test above shows nothing.
#[test]
fn reading_later_is_another_run() {
    assert!(played(DelayedReads::All, 350).1 < played(DelayedReads::None, 350).1);
}
