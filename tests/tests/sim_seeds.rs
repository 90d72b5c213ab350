//! Equal seeds, equal runs; and more than a thousand random scenes in which nothing may ever go wrong.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use anabranch_core::conn::{Asks, Config, Verdict, VhostConfig};
use anabranch_core::hub::Conflict;
use anabranch_core::policy::{Action, Limits, Rate, Secret, Token, TokenScope, Vhost, Vhosts, sign};
use anabranch_core::source::{MergeWindow, SourceLimits, StartRule, Timestamps};
use anabranch_tests::sim::{ClientId, Digest, Encoder, Media, Reply, Rng, Route, Sim};

const HOSTS: [&str; 4] = ["a.example", "b.example", "c.example", "off.example"];
const UNIX: u64 = 1_767_225_600;

fn milliseconds(rng: &mut Rng, choices: &[u64]) -> Duration {
    Duration::from_millis(rng.pick(choices))
}

fn secret() -> Secret {
    Secret::new("the secret of all these scenes").expect("it is long enough")
}

/// Every setting at random, all of them small, so that every bound is met.
fn settings(rng: &mut Rng) -> VhostConfig {
    let mut config = VhostConfig {
        source: SourceLimits {
            bytes: rng.pick(&[3_000, 20_000, 60_000, 1 << 20]),
            frames: rng.pick(&[20, 200, 16_384]),
            milliseconds: rng.pick(&[500, 2_000, 10_000]),
            ..SourceLimits::default()
        },
        start_rule: rng.pick(&[
            StartRule::default(),
            StartRule::default(),
            StartRule::NextKeyFrame,
            StartRule::NewestKeyFrame { bytes: 5_000, milliseconds: 600, frames: 20 },
        ]),
        timestamps: rng.pick(&[Timestamps::Monotonic, Timestamps::Monotonic, Timestamps::Monotonic, Timestamps::Pass]),
        reduce_sequence_headers: rng.once_in(2),
        merge_window: MergeWindow(milliseconds(rng, &[0, 30, 350])),
        conflict: rng.pick(&[Conflict::Reject, Conflict::TakeOver]),
        unpublish_grace: milliseconds(rng, &[0, 500, 2_000]),
        idle_publisher: rng.once_in(5).then(|| milliseconds(rng, &[500, 3_000])),
        max_gap: rng.once_in(4).then(|| milliseconds(rng, &[500, 3_000])),
        high_water: rng.pick(&[1, 4 << 10, 64 << 10]),
        token: rng.once_in(6).then(|| Token { secrets: vec![secret()], required_for: TokenScope::Publish }),
        asks: asks(rng),
        ..VhostConfig::default()
    };
    if rng.once_in(6) {
        let one_of = |rng: &mut Rng| rng.once_in(3).then(|| rng.within(1..=4) as u32);
        config.limits = Limits {
            connections: one_of(rng),
            publishers: one_of(rng),
            players: one_of(rng),
            stream_players: one_of(rng),
            streams: one_of(rng),
            publisher_rate: rng.once_in(3).then(|| Rate::new(rng.within(500..=10_000) as u64)),
        };
    }
    if rng.once_in(6) {
        config.security = "deny publish 10.6.6.6; deny play 10.7.7.7".parse().expect("the rules are good");
    }
    config.session.chunk_size = rng.pick(&[128, 4096, 60_000]);
    config.session.window = rng.pick(&[5_000, 2_500_000]);
    config.session.timeouts.write = Duration::from_secs(rng.pick(&[2, 30]));
    config.session.timeouts.next_message = Duration::from_secs(rng.pick(&[2, 10]));
    config.session.timeouts.ping = Duration::from_secs(rng.pick(&[1, 30]));
    config
}

fn asks(rng: &mut Rng) -> Asks {
    let wanted = rng.once_in(2);
    Asks {
        connect: wanted && rng.once_in(2),
        publish: wanted && rng.once_in(2),
        play: wanted && rng.once_in(2),
        traverse: wanted && rng.once_in(4),
        timeout: milliseconds(rng, &[100, 600, 10_000]),
        allow_on_timeout: rng.once_in(2),
    }
}

/// One virtual host for everybody, or several with settings of their own.
fn config(rng: &mut Rng) -> Config {
    let defaults = settings(rng);
    if rng.once_in(2) {
        return defaults.into();
    }
    let mut vhosts: Vec<_> = ["a.example", "b.example", "__defaultVhost__"]
        .into_iter()
        .take(rng.within(2..=3))
        .map(|name| Vhost::new(name, settings(rng)))
        .collect();
    vhosts.push(Vhost { enabled: false, ..Vhost::new("off.example", settings(rng)) });
    Config { defaults, vhosts: Vhosts::new(vhosts).expect("the names are good"), ..Config::default() }
}

fn reply(rng: &mut Rng) -> Reply {
    let after = milliseconds(rng, &[0, 0, 0, 50, 700]);
    match rng.within(0..=14) {
        0 => Reply::deny().after(after),
        1 => Reply::of(Verdict::Redirect("rtmp://other.example/live/a".into())).after(after),
        2 => Reply::never(),
        _ => Reply::allow().after(after),
    }
}

fn encoder(rng: &mut Rng) -> Encoder {
    let mut encoder = Encoder { metadata: !rng.once_in(4), repeat_headers: rng.once_in(4), ..Encoder::small() };
    match rng.within(0..=7) {
        0 => encoder.audio = None,
        1 => encoder.video = None,
        2 => encoder.gop = 200,
        3 => encoder.gop = 1,
        _ => {}
    }
    encoder.first_timestamp = rng.pick(&[0, 0, 0xff_ff00, u32::MAX - 3_000]);
    if rng.once_in(5) {
        let at = milliseconds(rng, &[1_000, 2_000, 4_000]);
        // Far ahead or far back: up to a second back is taken for frames that come out of order.
        encoder.jumps = vec![(at, rng.pick(&[7_000_000, 0x4000_0000, u32::MAX - 100_000]))];
    }
    encoder
}

fn route(rng: &mut Rng) -> Route {
    let route = Route::to(rng.pick(&[HOSTS[0], HOSTS[0], HOSTS[0], HOSTS[1], HOSTS[2], HOSTS[3]]), "live");
    match rng.within(0..=5) {
        0 => route.from_address("10.6.6.6"),
        1 => route.from_address("10.7.7.7"),
        2 => route.from_address("2001:db8::1"),
        _ => route,
    }
}

/// A stream of few, in various words.
fn name(rng: &mut Rng, action: Action) -> String {
    let stream = rng.pick(&["a", "a", "b"]);
    let mut name = match rng.within(0..=3) {
        0 => format!("{stream}?token=x"),
        1 => format!("{stream}?token=y"),
        _ => {
            let token = sign(&secret(), action, "live", stream, UNIX + 5);
            format!("{stream}?expires={}&token={token}", UNIX + 5)
        }
    };
    if rng.once_in(8) {
        name.push_str(&format!("&vhost={}", rng.pick(&HOSTS)));
    }
    name
}

/// Something happens to somebody.
fn disturb(net: &mut Sim, rng: &mut Rng, clients: &mut Vec<ClientId>) {
    let anybody = rng.pick(clients);
    let playing = clients.iter().copied().filter(|id| net.client(*id).is_running() && net.sent(*id).is_empty());
    let playing: Vec<_> = playing.collect();
    match rng.within(0..=21) {
        0..=3 if clients.len() < 12 => {
            let (route, name, encoder) = (route(rng), name(rng, Action::Publish), encoder(rng));
            clients.push(net.publish_with(route, &name, encoder));
        }
        4..=6 if clients.len() < 12 => {
            let player = net.play(route(rng), &name(rng, Action::Play));
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
        // It hangs, and another one comes in its place.
        15 => {
            net.link(anybody).up.stall();
            clients.push(net.publish_with(Route::to(HOSTS[0], "live"), "a?token=x", encoder(rng)));
        }
        16..=17 => net.also_play(anybody, &name(rng, Action::Play)),
        18 => {
            // A name of its own: a connection does not contend with itself.
            let token = sign(&secret(), Action::Publish, "live", &format!("own{}", anybody.index()), UNIX + 60);
            let name = format!("own{}?expires={}&token={token}", anybody.index(), UNIX + 60);
            if net.client(anybody).streams() < 3 && !net.client(anybody).asks_for(&name) {
                net.also_publish(anybody, &name, encoder(rng));
            }
        }
        19..=20 if !playing.is_empty() => {
            let track = rng.pick(&[Media::Sound, Media::Key]);
            net.receive(rng.pick(&playing), track, rng.once_in(2));
        }
        21 if !playing.is_empty() => {
            let player = rng.pick(&playing);
            let pause = rng.once_in(2);
            net.pause(player, pause);
        }
        _ => {}
    }
}

/// What came of scenes.
#[derive(Debug, Default)]
struct Outcome {
    /// Messages that players got.
    got: usize,
    /// How often connections ended how.
    ends: BTreeMap<&'static str, usize>,
    questions: usize,
    resumptions: u32,
}

/// A scene; its fingerprint.
fn scene(seed: u64, outcome: &mut Outcome) -> Digest {
    let mut rng = Rng::new(seed);
    let mut net = Sim::with_config(seed, config(&mut rng));
    let mut replies = rng.fork(1);
    net.outside(move |_| reply(&mut replies));
    net.set_clock(UNIX);
    let first = Route::to(HOSTS[0], "live");
    let publisher = net.publish_with(&first, &name(&mut rng, Action::Publish), encoder(&mut rng));
    let mut clients = vec![publisher, net.play(&first, "a")];
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
    for client in clients {
        let report = net.report(client);
        let report = report.unwrap_or_else(|| panic!("seed {seed}: connections are left over"));
        *outcome.ends.entry(report.close.reason.name()).or_default() += 1;
        outcome.questions += net.asked(client).len();
        let mut skipped = 0;
        for screen in net.client(client).screens() {
            outcome.got += screen.frames().len();
            outcome.resumptions += screen.resumptions();
            skipped += screen.skipped().frames;
        }
        let missed = report.missed.frames;
        assert!(skipped <= missed, "seed {seed}: {skipped} frames were skipped, {missed} counted");
    }
    net.digest()
}

fn scenes(seeds: Range<u64>) {
    let count = seeds.clone().count();
    let mut outcome = Outcome::default();
    for seed in seeds {
        scene(seed, &mut outcome);
    }
    // Scenes in which nobody gets anything, and nothing goes wrong, prove nothing.
    assert!(outcome.got > count * 150, "{outcome:?}");
    assert!(outcome.questions > count * 2 && outcome.resumptions as usize > count / 5, "{outcome:?}");
    for end in [
        "idle_publisher",
        "limit_bitrate",
        "next_message_timeout",
        "peer_closed",
        "peer_lost",
        "player_too_slow",
        "rejected",
        "shutdown",
        "taken_over",
        "write_timeout",
    ] {
        assert!(outcome.ends.contains_key(end), "nothing ended with {end}: {outcome:?}");
    }
}

#[test]
fn equal_seeds_give_equal_runs_and_others_do_not() {
    let run = |seed| scene(seed, &mut Outcome::default());
    let digests: Vec<_> = (0..8).map(run).collect();
    for (seed, digest) in (0..).zip(&digests) {
        assert_eq!(run(seed), *digest, "seed {seed}");
    }
    for (index, digest) in digests.iter().enumerate() {
        assert!(!digests[..index].contains(digest), "seed {index} is like one before");
    }
}

#[test]
fn whatever_happens_nothing_breaks() {
    scenes(0..1_000);
}

#[test]
fn whatever_else_happens_nothing_breaks() {
    scenes(1_000..2_000);
}
