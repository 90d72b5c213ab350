//! Scenes from seeds: servers, streams and failures at random, with what must hold at each moment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::*;
use super::cluster::Cluster;

const NAMES: [&str; 3] = ["live/a", "live/b", "live/c"];
const SECOND: Duration = Duration::from_secs(1);

/// Whether the directory may lose what it has confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forgets {
    Never,
    /// A standby without the newest changes takes over.
    Newest,
}

struct Scene {
    cluster: Cluster,
    forgets: Forgets,
    /// When the directory last lost something that it had confirmed.
    lost: Option<Instant>,
    /// Since when a name has had several publishers.
    double: BTreeMap<&'static str, Instant>,
    /// When the last failure ended.
    healed: Instant,
}

impl Scene {
    fn new(seed: u64, on_loss: OnLoss, forgets: Forgets) -> Self {
        let mut cluster = Cluster::new(3, on_loss, seed);
        cluster.delay = Duration::from_millis(1 + cluster.below(200) as u64);
        let healed = cluster.now;
        Scene { cluster, forgets, lost: None, double: BTreeMap::new(), healed }
    }

    fn act(&mut self) {
        let index = self.cluster.below(3);
        let name = NAMES[self.cluster.below(3)];
        match self.cluster.below(16) {
            act @ 0..=4 if !self.cluster.servers[index].published.contains_key(name) => {
                let conflict = if act == 4 { Conflict::Take } else { Conflict::Refuse };
                self.cluster.claim(index, name, conflict);
            }
            5 => self.cluster.unpublish(index, name),
            6 | 7 => {
                self.cluster.find(index, name);
            }
            8 => self.cluster.servers[index].is_cut = true,
            9 => self.heal(index),
            10 => self.cluster.is_paused = true,
            11 => {
                self.cluster.resume();
                self.healed = self.cluster.now;
            }
            12 => self.cluster.crash(index),
            13 => self.cluster.kill_directory(),
            14 if self.cluster.is_down => {
                self.cluster.is_down = false;
                self.cluster.directory.flush();
                self.healed = self.cluster.now;
            }
            15 if self.forgets == Forgets::Newest => {
                let standby = self.cluster.directory.clone();
                let time = Duration::from_millis(self.cluster.below(1000) as u64);
                self.pass(time);
                self.cluster.directory = standby;
                self.lost = Some(self.cluster.now);
            }
            _ => {}
        }
    }

    fn heal(&mut self, index: usize) {
        if std::mem::take(&mut self.cluster.servers[index].is_cut) {
            self.healed = self.cluster.now;
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.cluster.now + time;
        loop {
            let goes_on = self.cluster.step(end);
            self.check();
            if !goes_on {
                return;
            }
        }
    }

    fn check(&mut self) {
        let config = &self.cluster.config;
        let now = self.cluster.now;
        // The next renewal, the way there and back, and an attempt to connect on the way.
        let a_third = config.ttl / 3 * 11 / 10 + self.cluster.delay * 4;
        for name in NAMES {
            if self.cluster.owners(name).len() < 2 {
                self.double.remove(name);
                continue;
            }
            let since = *self.double.entry(name).or_insert(now);
            if config.on_loss == OnLoss::Strict {
                let lost = self.lost.is_some_and(|lost| now <= lost + config.ttl + a_third);
                assert!(lost, "two servers publish {name}");
                assert!(now - since <= a_third, "for {:?}", now - since);
            }
        }
    }

    /// All links and the directory work from now on.
    fn heal_all(&mut self) {
        for index in 0..3 {
            self.heal(index);
        }
        self.cluster.is_down = false;
        self.cluster.resume();
        self.healed = self.cluster.now;
    }
}

fn play(seed: u64, on_loss: OnLoss, forgets: Forgets) {
    let mut scene = Scene::new(seed, on_loss, forgets);
    if on_loss == OnLoss::Strict {
        // A server that is busy takes its time to stop a publisher.
        scene.cluster.stop = Duration::from_millis(scene.cluster.below(1500) as u64);
    }
    for _ in 0..60 {
        scene.act();
        let time = Duration::from_millis(scene.cluster.below(3000) as u64);
        scene.pass(time);
    }
    scene.heal_all();
    // A connection that hangs is given up after a third, the next one is tried within a fifth, and notices then that
    // another server has the name. A directory without data gives out no names for one time to live.
    let ttl = scene.cluster.config.ttl;
    scene.pass(ttl / 3 + ttl / 5 * 11 / 10 + ttl * 11 / 10 + scene.cluster.delay * 8 + SECOND);
    for name in NAMES {
        let owners = scene.cluster.owners(name);
        assert!(owners.len() <= 1, "{name} is published by {owners:?}");
        let located = scene.cluster.ask(0, name);
        match owners[..] {
            [] => assert!(!matches!(located, Located::Here | Located::Unknown), "{located:?}"),
            [0] => assert_eq!(located, Located::Here),
            [other] => {
                let Located::At { owner, stale: false } = located else { panic!("{located:?}, but it is on {other}") };
                assert_eq!(owner.node, scene.cluster.servers[other].node);
            }
            [..] => unreachable!("at most one"),
        }
    }
    scene.cluster.end();
}

#[test]
fn servers_agree_after_any_failure() {
    for seed in 0..300 {
        for on_loss in [OnLoss::Serve, OnLoss::Refuse] {
            play(seed, on_loss, Forgets::Never);
            play(seed, on_loss, Forgets::Newest);
        }
    }
}

#[test]
fn strict_servers_never_publish_one_name_twice() {
    for seed in 0..600 {
        play(seed, OnLoss::Strict, Forgets::Never);
    }
}

#[test]
fn strict_servers_publish_one_name_twice_for_a_third_at_most_if_the_directory_forgets() {
    for seed in 0..600 {
        play(seed, OnLoss::Strict, Forgets::Newest);
    }
}
