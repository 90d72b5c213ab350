//! Two encoders for one stream, over sockets: the one on air is killed, frozen or unplugged.

mod cluster;
mod fallback;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anabranch_core::client::ClientEvent;
use anabranch_tests::backend::{Backend, yes};
use anabranch_tests::media::{Clip, Tag, TagKind, ffmpeg_publishes, tags};
use anabranch_tests::peer::{Driver, tag_of};
use anabranch_tests::program::{Process, Program};
use anabranch_tests::redis::Cable;
use anabranch_tests::{Folder, TIMEOUT, wait_for};

use crate::launch;

/// A picture every 40 ms, and a key frame each second.
const CLIP: Clip = Clip { picture: "testsrc2=size=320x240:rate=25", seconds: 120, gop: 25, megabits: None };
const GOP: u32 = 1_000;
const AFTER: u32 = 1_500;
/// What the machine may take for all that this test does at once, in milliseconds.
const SLACK: u32 = 1_500;
const BACKUP: &str = "publish.conflict = 'backup'\npublish.backup_after = '1500ms'\n";

fn encoder(url: &str) -> Process {
    let file = CLIP.file();
    ffmpeg_publishes(url, &["-re", "-i", file.to_str().expect("paths of tests are UTF-8")])
}

/// A player that keeps what it gets, on one connection.
struct Viewer {
    over: Arc<AtomicBool>,
    tags: Arc<Mutex<Vec<Tag>>>,
    thread: Option<JoinHandle<()>>,
}

impl Viewer {
    fn start(program: &Program) -> Self {
        let driver: Driver = program.player("cam");
        Viewer::of(driver)
    }

    fn of(mut driver: Driver) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let tags: Arc<Mutex<Vec<Tag>>> = Arc::default();
        let (ends, kept) = (over.clone(), tags.clone());
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                match driver.event() {
                    Some(ClientEvent::Media { message, .. }) => kept.lock().unwrap().push(tag_of(&message)),
                    Some(ClientEvent::Ended { reason, .. }) => panic!("the player was told of an end: {reason:?}"),
                    Some(_) => {}
                    None => thread::sleep(Duration::from_millis(5)),
                }
                assert!(driver.closed().is_none(), "the connection of the player has ended: {:?}", driver.closed());
            }
        });
        Viewer { over, tags, thread: Some(thread) }
    }

    fn pictures(&self) -> usize {
        self.tags.lock().unwrap().iter().filter(|tag| tag.is_picture()).count()
    }

    /// Waits until it has got so many more pictures.
    fn wait(&self, more: usize) {
        let wanted = self.pictures() + more;
        wait_for(&format!("{wanted} pictures"), TIMEOUT, || (self.pictures() >= wanted).then_some(()));
    }

    /// Asserts that times rise and that no gap is longer. Returns the longest gap between pictures.
    fn check(mut self, longest: u32) -> u32 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().expect("it is joined once").join().expect("the player was served to its end");
        assert_rising(&self.tags.lock().unwrap(), longest)
    }
}

#[track_caller]
fn assert_rising(tags: &[Tag], longest: u32) -> u32 {
    let mut most = 0;
    for kind in [TagKind::Video, TagKind::Audio] {
        let coded: Vec<_> = tags.iter().filter(|tag| tag.kind == kind && !tag.is_header()).collect();
        assert!(coded.len() > 50, "{} frames", coded.len());
        for pair in coded.windows(2) {
            let step = i64::from(pair[1].timestamp) - i64::from(pair[0].timestamp);
            assert!(step >= 0, "{} after {}", pair[1].timestamp, pair[0].timestamp);
            if kind == TagKind::Video {
                most = most.max(step as u32);
            }
        }
    }
    assert!(most <= longest, "a gap of {most} ms");
    most
}

/// The program with two encoders, of which the second stands by, and a player that has the stream.
fn with_two(settings: &str) -> (Program, Process, Process, Viewer) {
    let program = launch().settings(&format!("[api]\nlisten = '127.0.0.1:0'\n[defaults]\n{BACKUP}{settings}")).start();
    let first = encoder(&program.url("live/cam"));
    program.wait_line("is publisher of live/cam");
    let second = encoder(&program.url("live/cam"));
    program.wait_line("is backup of live/cam");
    program.wait_line("is ready as backup of live/cam");
    let viewer = Viewer::start(&program);
    viewer.wait(50);
    (program, first, second, viewer)
}

#[test]
fn a_backup_is_on_air_at_once_when_the_encoder_is_killed() {
    let (program, first, _second, viewer) = with_two("");
    let streams = program.get("/api/v1/streams");
    let publish = &streams["streams"][0]["publish"];
    assert!(publish["active"] == true && publish["backup"].as_str().is_some_and(|id| !id.is_empty()), "{publish}");
    let clients = program.get("/api/v1/clients");
    let roles: Vec<_> =
        clients["clients"].as_array().expect("a list").iter().map(|one| &one["streams"][0]["role"]).collect();
    assert_eq!(roles, ["publisher", "backup", "player"], "{clients}");
    first.kill();
    program.wait_line("is on air with live/cam, which conn");
    viewer.wait(50);
    viewer.check(SLACK);
    let streams = program.get("/api/v1/streams");
    let publish = &streams["streams"][0]["publish"];
    assert_eq!((&publish["backup"], &publish["switches"]), (&"".into(), &1.into()), "{publish}");
    assert_eq!(
        program.metric("anabranch_stream_switches_total{vhost=\"__defaultVhost__\",app=\"live\",stream=\"cam\"}"),
        Some(1.0)
    );
}

#[test]
fn a_backup_is_on_air_when_the_encoder_is_frozen_and_the_encoder_returns_when_it_goes_on() {
    let backend = Backend::start(|_| yes());
    let hooks =
        ["on_publish", "on_unpublish", "on_switch"].map(|name| format!("hooks.{name} = ['{}']\n", backend.url("/")));
    let (program, first, _second, viewer) = with_two(&format!("publish.backup_return = true\n{}", hooks.concat()));
    first.signal("STOP");
    program.wait_line("has stalled");
    viewer.wait(50);
    first.signal("CONT");
    program.wait_line("is on air again with live/cam");
    viewer.wait(50);
    viewer.check(AFTER + GOP + SLACK);
    let is_switch = |action: &str| action == "on_switch";
    let calls = backend.wait(|calls| calls.iter().filter(|call| is_switch(call.action())).count() == 2);
    let switches: Vec<_> =
        calls.iter().filter(|call| is_switch(call.action())).map(|call| call.text("reason")).collect();
    assert_eq!(switches, ["stalled", "returned"]);
    let asked = calls.iter().filter(|call| call.action() == "on_publish").count();
    assert_eq!(asked, 2, "each encoder is asked about once");
    assert!(calls.iter().all(|call| call.action() != "on_unpublish"));
}

#[test]
fn ffmpeg_plays_and_records_through_a_switch_and_a_third_encoder_is_refused() {
    let folder = Folder::new();
    let record = format!("record.streams = ['*']\nrecord.folder = {:?}\nrecord.min_free = 0\n", folder.path());
    let (program, first, second, viewer) = with_two(&record);
    let played = folder.file("played.flv");
    let player = program.ffmpeg("live/cam", &played);
    program.wait_players("live/cam", 2);
    let third = encoder(&program.url("live/cam"));
    program.wait_line("is refused (name_taken");
    drop(third);
    viewer.wait(75);
    first.kill();
    program.wait_line("is on air with live/cam");
    viewer.wait(75);
    assert!(player.is_running());
    second.kill();
    player.wait_exit(TIMEOUT);
    assert_rising(&tags(&played), SLACK);
}

/// A separate network, with one address at each side.
struct Network {
    name: String,
    link: String,
    server: String,
}

impl Network {
    /// None if this machine does not allow it.
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id() % 60_000;
        let (name, link) = (format!("anabranch-{id}-{number}"), format!("ab{id}x{number}"));
        if !sh(&format!("ip netns add {name}")) {
            return None;
        }
        let prefix = format!("10.{}.{}", 200 + id / 256 % 50, id % 256);
        let made = sh(&format!(
            "ip link add {link} type veth peer name eth0 netns {name} && ip addr add {prefix}.1/24 dev {link} && \
             ip link set {link} up && ip -n {name} addr add {prefix}.2/24 dev eth0 && ip -n {name} link set eth0 up"
        ));
        assert!(made, "a network with two ends");
        Some(Network { server: format!("{prefix}.1"), name, link })
    }

    fn unplug(&self) {
        assert!(sh(&format!("ip link set {} down", self.link)));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        sh(&format!("ip link del {}; ip netns del {}", self.link, self.name));
    }
}

/// What the encoder reaches the server by, and can be unplugged.
enum Between {
    Network(Network, SocketAddr),
    /// Where the system allows no networks, as without root: a link that carries nothing any more.
    Cable(Cable),
}

impl Between {
    fn encoder_and(server: SocketAddr) -> Self {
        match Network::new() {
            Some(network) => {
                let address = network.server.parse().expect("an address");
                Between::Network(network, SocketAddr::new(address, server.port()))
            }
            None => Between::Cable(Cable::to((Ipv4Addr::LOCALHOST, server.port()).into())),
        }
    }

    /// Where the encoder reaches the server.
    fn address(&self) -> SocketAddr {
        match self {
            Between::Network(_, address) => *address,
            Between::Cable(cable) => cable.address(),
        }
    }

    fn start_ffmpeg(&self, arguments: &[&str]) -> Process {
        match self {
            Between::Network(network, _) => {
                Process::start("ip", ["netns", "exec", &network.name, "ffmpeg"].iter().chain(arguments))
            }
            Between::Cable(_) => Process::start("ffmpeg", arguments),
        }
    }

    fn unplug(&self) {
        match self {
            Between::Network(network, _) => network.unplug(),
            Between::Cable(cable) => cable.cut(true),
        }
    }
}

fn sh(commands: &str) -> bool {
    Command::new("sh").args(["-c", commands]).status().is_ok_and(|status| status.success())
}

#[test]
fn a_backup_is_on_air_when_the_encoder_is_unplugged_and_the_encoder_may_come_back() {
    let settings = format!("[defaults]\n{BACKUP}");
    let program = anabranch_tests::program::Launch::new(env!("CARGO_BIN_EXE_anabranch"))
        .args(["--listen", "0.0.0.0:0", "--threads", "2"])
        .settings(&settings)
        .start();
    let between = Between::encoder_and(program.address());
    let url = format!("rtmp://{}/live/cam", between.address());
    let file = CLIP.file();
    let input =
        ["-nostdin", "-loglevel", "warning", "-re", "-i", file.to_str().expect("UTF-8"), "-c", "copy", "-f", "flv"];
    let first = between.start_ffmpeg(&[&input[..], &[&url]].concat());
    program.wait_line("is publisher of live/cam");
    let _second = encoder(&program.url("live/cam"));
    program.wait_line("is ready as backup of live/cam");
    let viewer = Viewer::start(&program);
    viewer.wait(50);
    between.unplug();
    program.wait_line("has stalled");
    viewer.wait(75);
    // Its old connection is still open, and gives its place to the new one.
    let _again = encoder(&program.url("live/cam"));
    program.wait_lines("is ready as backup of live/cam", 2);
    viewer.wait(25);
    viewer.check(AFTER + GOP + SLACK);
    first.kill();
}
