//! Equal seeds, equal runs; and more than a thousand random scenes in which nothing may ever go wrong.

use std::collections::BTreeMap;
use std::ops::Range;

use anabranch_sim::scene::{Kind, Outcome, Scene, Shape};

fn scene(seed: u64) -> Outcome {
    Scene::new(seed, &Shape::of(Kind::Random)).play()
}

fn scenes(seeds: Range<u64>) {
    let count = seeds.clone().count();
    let (mut received, mut questions, mut resumptions) = (0, 0, 0);
    let mut ends = BTreeMap::<_, usize>::new();
    for seed in seeds {
        let outcome = scene(seed);
        received += outcome.received;
        questions += outcome.questions;
        resumptions += outcome.resumptions as usize;
        for (end, times) in outcome.ends {
            *ends.entry(end).or_default() += times;
        }
    }
    // Scenes in which no player gets anything, and nothing goes wrong, prove nothing. Encoders that hold media back or
    // send few pictures give players less than regular ones, of which each scene had 150 frames at least.
    assert!(received > count as u64 * 130, "{received} frames were received");
    assert!(questions > count * 2, "{questions} questions were asked");
    assert!(resumptions > count / 5, "{resumptions} players missed something and went on");
    for end in [
        "idle_publisher",
        "limit_bitrate",
        "next_message_timeout",
        "peer_closed",
        "peer_lost",
        "player_too_slow",
        "rejected",
        "security_denied",
        "shutdown",
        "taken_over",
        "vhost_disabled",
        "vhost_unknown",
        "write_timeout",
    ] {
        assert!(ends.contains_key(end), "nothing ended with {end}: {ends:?}");
    }
}

#[test]
fn equal_seeds_give_equal_runs_and_others_do_not() {
    let digests: Vec<_> = (0..8).map(|seed| scene(seed).digest).collect();
    for (seed, digest) in (0..).zip(&digests) {
        assert_eq!(scene(seed).digest, *digest, "seed {seed}");
    }
    for (index, digest) in digests.iter().enumerate() {
        assert!(!digests[..index].contains(digest), "seed {index} is like one before");
    }
}

#[test]
fn the_first_thousand_scenes_pass_all_checks() {
    scenes(0..1_000);
}

#[test]
fn the_second_thousand_scenes_pass_all_checks() {
    scenes(1_000..2_000);
}
