//! A backup publisher at another server of the cluster than the one that has the name.

use super::cluster::SECOND;
use super::*;
use crate::hub::{BackupRules, Conflict};
use crate::location::OnLoss;
use crate::url::DEFAULT_VHOST;

const CAM: &str = "live/cam";
const AFTER: u32 = 2_000;
/// An eighth of the limit, so that a backup at the same server is the first, and what a step of these tests takes.
const LATER: u32 = AFTER / 8 + 200;
const GOP: u32 = 1_000;

fn config() -> VhostConfig {
    VhostConfig { conflict: Conflict::Backup, backup: BackupRules::default(), ..VhostConfig::default() }
}

/// Three servers, with encoders that send at the same time.
struct Rig {
    net: Net,
    servers: [usize; 3],
    /// Encoders that send, each with the number that its frames have.
    encoders: Vec<(u64, u8)>,
    time: u32,
    viewer: u64,
}

impl Rig {
    fn new(on_loss: OnLoss) -> Self {
        let mut net = Net::new();
        let servers = [(); 3].map(|()| net.member(config(), on_loss));
        net.run(SECOND);
        let viewer = net.player(servers[2], CAM);
        Rig { net, servers, encoders: Vec::new(), time: 0, viewer }
    }

    /// An encoder that is granted its name, or a place as backup.
    fn encoder(&mut self, server: usize, number: u8) -> u64 {
        let end = self.net.encoder(self.servers[server], CAM).expect("there is a place");
        self.encoders.push((end, number));
        end
    }

    /// The encoder sends nothing any more.
    fn freeze(&mut self, end: u64) {
        self.encoders.retain(|(known, _)| *known != end);
    }

    fn leave(&mut self, end: u64) {
        self.freeze(end);
        self.net.leave(end);
    }

    /// Lets all encoders send for a time, a key frame each second.
    fn run(&mut self, milliseconds: u32) {
        for _ in 0..milliseconds / 100 {
            for (end, number) in self.encoders.clone() {
                let is_key = self.time % GOP == u32::from(number) * 100 % GOP;
                let body = if is_key { peer::key_frame(number) } else { peer::inter_frame(number) };
                self.net.send(end, Message::video(self.time, &body[..]));
                self.net.send(end, Message::audio(self.time, &peer::audio_frame(number)[..]));
            }
            self.net.run(Duration::from_millis(100));
            self.time += 100;
        }
    }

    fn owners(&self) -> Vec<usize> {
        let is_owner = |server: &usize| {
            let is_alive = self.net.hosts.contains_key(&self.net.address_of(self.servers[*server]));
            is_alive && !self.net.cluster(self.servers[*server]).names.is_empty()
        };
        (0..3).filter(is_owner).collect()
    }

    /// Runs, and looks after each step that no two servers have the name.
    fn run_strictly(&mut self, milliseconds: u32) {
        for _ in 0..milliseconds / 100 {
            self.run(100);
            assert!(self.owners().len() <= 1, "{:?}", self.owners());
        }
    }

    fn publishers(&self, server: usize) -> usize {
        self.net.servers[self.servers[server]].core.hub().counts(DEFAULT_VHOST).publishers
    }

    /// The number of the encoder whose frame the viewer got last.
    fn last(&self) -> u8 {
        let heard = self.net.heard(self.viewer);
        let pictures = heard.media.iter().rev().filter_map(|(_, body)| {
            (0..10).find(|number| *body == peer::key_frame(*number) || *body == peer::inter_frame(*number))
        });
        pictures.into_iter().next().expect("a picture")
    }

    /// Asserts that the viewer stayed, that times rose, and that no gap was longer.
    #[track_caller]
    fn check(&self, longest: u32) {
        let heard = self.net.heard(self.viewer);
        assert!(heard.closed.is_none() && !heard.has("ended"), "{:?}", heard.events);
        let times = heard.times();
        assert!(times.is_sorted(), "{times:?}");
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().expect("it got frames");
        assert!(gap <= longest, "a gap of {gap} ms");
    }

    /// All leave: nothing is left.
    fn end(mut self) {
        let ends: Vec<u64> = self
            .net
            .ends
            .iter()
            .filter(|(_, end)| matches!(end.what, What::Client { .. }))
            .map(|(id, _)| *id)
            .collect();
        ends.into_iter().for_each(|end| self.net.leave(end));
        self.net.run(60 * SECOND);
        let alive: Vec<_> = self
            .servers
            .into_iter()
            .filter(|server| self.net.hosts.contains_key(&self.net.address_of(*server)))
            .collect();
        self.net.is_idle(&alive);
        for server in alive {
            assert!(self.net.servers[server].core.hub().streams().is_empty());
        }
    }
}

#[test]
fn a_backup_at_another_server_takes_over_from_an_encoder_that_leaves_freezes_or_loses_its_server() {
    for on_loss in [OnLoss::Serve, OnLoss::Strict] {
        for way in ["leaves", "freezes", "dies"] {
            let mut rig = Rig::new(on_loss);
            let first = rig.encoder(0, 1);
            rig.run(1_000);
            rig.encoder(1, 2);
            rig.run(4_000);
            assert_eq!((rig.publishers(0), rig.publishers(1), rig.owners()), (1, 1, vec![0]));
            let streams = rig.net.servers[rig.servers[1]].core.hub().streams();
            assert!(streams[0].backup.is_some(), "{streams:?}");
            assert_eq!(rig.last(), 1);
            match way {
                "leaves" => rig.leave(first),
                "freezes" => rig.freeze(first),
                _ => {
                    rig.freeze(first);
                    rig.net.crash(rig.servers[0]);
                }
            }
            // Of a server that is dead the name is free when its lease has run out, if no two servers may have it.
            let waits = on_loss == OnLoss::Strict && way == "dies";
            let wait = if waits { 11_000 } else { 0 };
            rig.run_strictly(4_000 + wait);
            assert_eq!((rig.last(), rig.owners()), (2, vec![1]), "{on_loss:?}: {way}");
            rig.check(AFTER + LATER + GOP + wait);
            if way == "freezes" {
                let heard = rig.net.heard(first);
                assert!(heard.closed.is_some(), "it has lost the name: {:?}", heard.events);
                // Its next connection stands by at its own server, and the same happens the other way round.
                let again = rig.encoder(0, 3);
                rig.run_strictly(4_000);
                assert_eq!((rig.last(), rig.owners(), rig.publishers(0)), (2, vec![1], 1));
                let second = rig.encoders[0].0;
                rig.leave(second);
                rig.run_strictly(4_000);
                assert_eq!((rig.last(), rig.owners()), (3, vec![0]));
                rig.check(AFTER + LATER + GOP);
                rig.leave(again);
            }
            rig.end();
        }
    }
}

#[test]
fn of_two_backups_at_two_servers_one_has_the_name_and_the_other_stands_by_for_it() {
    for on_loss in [OnLoss::Serve, OnLoss::Strict] {
        let mut rig = Rig::new(on_loss);
        let first = rig.encoder(0, 1);
        let others = [rig.encoder(1, 2), rig.encoder(2, 3)];
        rig.run(4_000);
        rig.freeze(first);
        rig.run_strictly(5_000);
        let [owner] = rig.owners()[..] else { panic!("one has it") };
        assert_eq!((usize::from(rig.last()), rig.publishers(1), rig.publishers(2)), (owner + 1, 1, 1));
        for end in others {
            assert!(rig.net.heard(end).closed.is_none(), "{:?}", rig.net.heard(end).events);
        }
        rig.check(AFTER + LATER + GOP);
        // The other one takes over next.
        rig.leave(others[owner - 1]);
        rig.run_strictly(4_000);
        assert_eq!(rig.owners(), [3 - owner]);
        rig.check(AFTER + LATER + GOP);
        rig.end();
    }
}

#[test]
fn a_new_encoder_and_the_backup_never_both_have_the_name() {
    for delay in (0..3_000).step_by(300) {
        let mut rig = Rig::new(OnLoss::Serve);
        let first = rig.encoder(0, 1);
        let second = rig.encoder(1, 2);
        rig.run(3_000);
        rig.leave(first);
        rig.run(delay);
        let third = rig.encoder(2, 3);
        rig.run_strictly(4_000);
        let [owner] = rig.owners()[..] else { panic!("one has it after {delay} ms") };
        assert_eq!((usize::from(rig.last()), rig.publishers(1), rig.publishers(2)), (owner + 1, 1, 1));
        for end in [second, third] {
            assert!(rig.net.heard(end).closed.is_none(), "{:?}", rig.net.heard(end).events);
        }
        rig.check(AFTER + LATER + GOP);
        rig.end();
    }
}

#[test]
fn a_backup_at_the_server_of_the_name_comes_before_one_at_another_server() {
    let mut rig = Rig::new(OnLoss::Serve);
    let first = rig.encoder(0, 1);
    rig.encoder(0, 2);
    rig.encoder(1, 3);
    rig.run(4_000);
    rig.freeze(first);
    rig.run(5_000);
    assert_eq!((rig.last(), rig.owners(), rig.publishers(0), rig.publishers(1)), (2, vec![0], 2, 1));
    assert!(rig.net.heard(first).closed.is_none(), "it stands by");
    rig.check(AFTER + 200 + GOP);
    let third = rig.net.publisher(rig.servers[1], CAM);
    rig.run(1_000);
    assert!(rig.net.heard(third).has("NetStream.Publish.BadName"), "one stands by at each server");
    rig.end();
}

#[test]
fn a_backup_that_comes_when_the_encoder_is_frozen_already_gets_the_name_and_a_silent_one_does_not() {
    let mut rig = Rig::new(OnLoss::Serve);
    let first = rig.encoder(0, 1);
    rig.run(3_000);
    rig.freeze(first);
    let second = rig.encoder(1, 2);
    rig.run(5_000);
    assert_eq!((rig.last(), rig.owners()), (2, vec![1]));
    let silent = rig.encoder(0, 3);
    rig.run(2_000);
    rig.freeze(silent);
    rig.run(5_000);
    rig.freeze(second);
    rig.run(6_000);
    assert_eq!(rig.owners(), [1], "what is silent itself takes no name");
    rig.end();
}

#[test]
fn without_the_directory_the_backup_takes_over_only_if_the_server_may_serve_alone() {
    for (on_loss, takes) in [(OnLoss::Serve, true), (OnLoss::Refuse, false), (OnLoss::Strict, false)] {
        let mut rig = Rig::new(on_loss);
        let first = rig.encoder(0, 1);
        rig.encoder(1, 2);
        rig.run(4_000);
        rig.net.kill_directory();
        rig.run(2_000);
        assert_eq!(rig.last(), 1, "streams go on");
        rig.freeze(first);
        rig.run(5_000);
        assert_eq!(rig.publishers(1), 1, "{on_loss:?}");
        let on_air = rig.net.servers[rig.servers[1]].core.hub().streams()[0].switches;
        assert_eq!(on_air == 1, takes, "{on_loss:?}");
        rig.net.directory.is_down = false;
        rig.run(4_000);
        // The other server may have renewed its lease first: the backup is closed then, and connects again.
        let (second, number) = rig.encoders[0];
        if rig.net.heard(second).has("rejected") {
            rig.leave(second);
            rig.encoder(1, number);
        }
        rig.run(5_000);
        assert_eq!((rig.owners(), rig.last()), (vec![1], 2), "{on_loss:?}");
        rig.end();
    }
}

#[test]
fn a_server_that_is_cut_off_from_the_directory_and_the_backup_never_both_have_the_name_in_strict_mode() {
    for cut in [0, 1] {
        let mut rig = Rig::new(OnLoss::Strict);
        let first = rig.encoder(0, 1);
        rig.encoder(1, 2);
        rig.run(4_000);
        rig.net.cut(rig.servers[cut], true);
        rig.run_strictly(20_000);
        let owner = if cut == 0 { 1 } else { 0 };
        assert_eq!((rig.owners(), rig.last()), (vec![owner], owner as u8 + 1), "{cut} is cut off");
        assert_eq!(rig.net.heard(first).closed.is_some(), cut == 0);
        rig.net.cut(rig.servers[cut], false);
        rig.run_strictly(5_000);
        rig.end();
    }
}
