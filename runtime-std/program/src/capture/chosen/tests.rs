use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process;
use std::sync::atomic::AtomicU32;

use anabranch_core::capture::Capture;
use anabranch_core::conn::{Config, Core, Output};
use anabranch_core::session::CloseReason;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        Folder(env::temp_dir().join(format!("anabranch-chosen-{}-{number}", process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn captures(folder: &Folder) -> ChosenCaptures {
    let captures = ChosenCaptures::new(ChosenFolder {
        folder: folder.0.clone(),
        files: 5,
        bytes: 1 << 20,
        waiting: 1 << 20,
        header: crate::Options::of_header("program").unwrap().header("program"),
    });
    captures.shared.prepare().unwrap();
    captures
}

/// As [`ChosenCaptures::begin`], without a server whose connections are open.
fn begin(captures: &ChosenCaptures, choice: CaptureChoice, limits: ChosenLimits) -> u64 {
    let mut state = captures.shared.state();
    state.last += 1;
    let number = state.last;
    let until = Instant::now() + limits.time;
    let begun = SystemTime::now();
    state.running.push(Running { number, choice, limits, begun, until, files: Vec::new(), ended: None });
    captures.shared.count_waiting(&state);
    number
}

const LIMITS: ChosenLimits = ChosenLimits { bytes: 1 << 20, time: Duration::from_secs(600), connections: 2 };

fn from(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), 4000)
}

fn key(stream: &str) -> StreamKey {
    StreamKey::new("v", "live", stream).unwrap()
}

/// Opens a connection that is captured if the captures say so, and sends some bytes.
fn connect(captures: &ChosenCaptures, peer: SocketAddr) -> Option<anabranch_core::conn::Conn> {
    let tap = captures.tap(Arriving { peer, is_proxy: false })?;
    let now = Instant::now();
    let server = Core::new(Config::default(), [1; 32]);
    let mut conn = server.connect_captured(now, Some(peer), tap);
    conn.handle_input(now, &[3; 2000]);
    while !matches!(conn.poll(now), Output::Wait(_)) {}
    Some(conn)
}

fn hang_up(mut conn: anabranch_core::conn::Conn) {
    let now = Instant::now();
    conn.handle_disconnect(now, CloseReason::PeerClosed);
    while !matches!(conn.poll(now), Output::Closed(_)) {}
}

#[test]
fn clients_of_a_network_are_captured_from_their_first_byte_and_no_others() {
    let folder = Folder::new();
    let captures = captures(&folder);
    assert!(connect(&captures, from(1)).is_none(), "nothing is to be captured");
    let number = begin(&captures, CaptureChoice::Network("192.0.2.1".parse().unwrap()), LIMITS);
    assert!(connect(&captures, from(2)).is_none());
    hang_up(connect(&captures, from(1)).unwrap());
    captures.flush(PATIENCE);
    let view = captures.find(number).unwrap();
    let [file] = &view.files[..] else { panic!("{view:?}") };
    assert_eq!((file.from_start, &file.end), (true, &Some(FileEnd::Closed)));
    let bytes = fs::read(&file.path).unwrap();
    assert_eq!(file.bytes, bytes.len() as u64);
    assert!(Capture::parse(bytes).unwrap().joined().is_none());
    // The second is the last; then the capture has ended.
    let conn = connect(&captures, from(1)).unwrap();
    assert!(connect(&captures, from(1)).is_none());
    assert_eq!(captures.running(), 1);
    hang_up(conn);
    let view = captures.find(number).unwrap();
    assert_eq!((captures.running(), view.ended), (0, Some("connection_closed")));
    assert_eq!((captures.tally().open(), captures.tally().begun()), (0, 2));
}

/// The records from before are kept until the client names its stream.
#[test]
fn clients_of_a_stream_are_captured_from_their_first_byte_and_no_others() {
    let folder = Folder::new();
    let captures = captures(&folder);
    let choice = CaptureChoice::Stream { key: key("cam"), role: Some(Role::Publisher) };
    let number = begin(&captures, choice, LIMITS);
    let tap = || captures.tap(Arriving { peer: from(1), is_proxy: false }).unwrap();
    let opening = Opening { connection: 7, seed: [0; 32], peer: None, unix_time: None };
    let records = |tap: &mut Box<dyn Tap>| {
        tap.opened(&opening);
        tap.record(&[1; 100]);
    };
    let (mut publisher, mut player, mut other) = (tap(), tap(), tap());
    for tap in [&mut publisher, &mut player, &mut other] {
        records(tap);
        assert!(!tap.is_over());
    }
    assert_eq!(captures.shared.undecided.load(Ordering::Relaxed), 300);
    player.names(&key("cam"), false);
    other.names(&key("other"), true);
    publisher.names(&key("cam"), true);
    assert!(player.is_over() && other.is_over() && !publisher.is_over());
    assert_eq!(captures.shared.undecided.load(Ordering::Relaxed), 0);
    publisher.record(&[2; 10]);
    drop(publisher);
    captures.flush(PATIENCE);
    let file = &captures.find(number).unwrap().files[0];
    let bytes = fs::read(&file.path).unwrap();
    assert!(bytes.ends_with(&[&[1; 100][..], &[2; 10]].concat()), "all of it, in order");
    assert_eq!(file.connection, 7);
}

#[test]
fn what_is_kept_of_connections_that_name_no_stream_is_bounded() {
    let folder = Folder::new();
    let captures = captures(&folder);
    begin(&captures, CaptureChoice::Stream { key: key("cam"), role: None }, LIMITS);
    let record = vec![0; UNDECIDED / 4];
    let mut taps = Vec::new();
    for _ in 0..200 {
        let mut tap = captures.tap(Arriving { peer: from(1), is_proxy: false }).unwrap();
        (0..4).for_each(|_| tap.record(&record));
        taps.push(tap);
        assert!(captures.shared.undecided.load(Ordering::Relaxed) <= ALL_UNDECIDED);
    }
    assert!(taps.last().unwrap().is_over(), "there was no room for it");
    taps[0].record(&record);
    assert!(taps[0].is_over(), "it was too much for one");
    taps.clear();
    assert_eq!(captures.shared.undecided.load(Ordering::Relaxed), 0);
}

#[test]
fn a_capture_ends_when_it_is_told_to_or_its_time_is_over_and_the_file_says_so() {
    let folder = Folder::new();
    let captures = captures(&folder);
    let network = || CaptureChoice::Network("192.0.2.0/24".parse().unwrap());
    for why in ["ended through the API", "time was over"] {
        let timed = why == "time was over";
        let time = if timed { Duration::from_millis(20) } else { LIMITS.time };
        let number = begin(&captures, network(), ChosenLimits { time, ..LIMITS });
        let conn = connect(&captures, from(1));
        if timed {
            captures.shared.watch(&mut captures.shared.state()).unwrap();
            let start = Instant::now();
            while captures.running() > 0 {
                assert!(start.elapsed() < PATIENCE, "it does not end");
                thread::yield_now();
            }
        } else {
            let mut conn = conn.unwrap();
            captures.end(number).unwrap();
            // What comes later is not captured any more.
            conn.handle_input(Instant::now(), &[0; 100]);
        }
        captures.flush(PATIENCE);
        for file in captures.find(number).unwrap().files {
            let capture = Capture::parse(fs::read(&file.path).unwrap()).unwrap();
            assert!(matches!(capture.end(), anabranch_core::capture::End::Stopped(words) if words.contains(why)));
        }
    }
    assert!(captures.end(99).is_none());
    assert!(captures.tap(Arriving { peer: from(1), is_proxy: false }).is_none());
}

#[test]
fn a_file_that_cannot_be_written_says_why_and_the_connection_goes_on() {
    let folder = Folder::new();
    let captures = captures(&folder);
    let number = begin(&captures, CaptureChoice::Network("192.0.2.0/24".parse().unwrap()), LIMITS);
    // The folder is gone.
    fs::remove_dir_all(&folder.0).unwrap();
    let conn = connect(&captures, from(1)).unwrap();
    let start = Instant::now();
    let end = loop {
        if let Some(end) = captures.find(number).unwrap().files[0].end.clone() {
            break end;
        }
        assert!(start.elapsed() < PATIENCE, "it says nothing");
        thread::yield_now();
    };
    assert_eq!(end.name(), "disk_failed");
    assert_eq!(captures.tally().ended().find(|(name, _)| *name == "disk_failed"), Some(("disk_failed", 1)));
    hang_up(conn);
}
