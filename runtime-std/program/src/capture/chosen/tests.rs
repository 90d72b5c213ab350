use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use anabranch_core::capture::{Capture, Opening};
use anabranch_core::conn::{Accepts, Config, Core, Output};
use anabranch_core::session::CloseReason;

use super::tap::{ALL_UNDECIDED, UNDECIDED};
use super::*;

const TIMEOUT: Duration = Duration::from_secs(60);

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
        min_free: 0,
        bytes: 1 << 20,
        waiting: 1 << 20,
        header: crate::Options::of_header("program").unwrap().header("program"),
    });
    captures.shared.prepare().unwrap();
    captures
}

/// As [`ChosenCaptures::begin`], without a server whose connections are open.
fn begin(captures: &ChosenCaptures, choice: CaptureChoice, limits: ChosenLimits) -> u64 {
    captures.shared.begin(choice, limits).unwrap()
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
    // One server, whose connections have different numbers.
    static SERVER: LazyLock<Core> = LazyLock::new(|| Core::new(Config::default(), [1; 32]));
    let mut conn = SERVER.connect_captured(now, Some(peer), tap);
    conn.handle_input(now, &[3; 2000]);
    while !matches!(conn.poll(now), Output::Wait(_)) {}
    Some(conn)
}

/// Waits until the first file of a capture has ended.
fn wait_end(captures: &ChosenCaptures, number: u64) -> FileEnd {
    let start = Instant::now();
    loop {
        if let Some(end) = captures.find(number).unwrap().files[0].end.clone() {
            return end;
        }
        assert!(start.elapsed() < TIMEOUT, "it says nothing");
        thread::yield_now();
    }
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
    captures.flush(TIMEOUT);
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
    let opening = Opening { connection: 7, seed: [0; 32], peer: None, accepts: Accepts::Rtmp, unix_time: None };
    let records = |tap: &mut Box<dyn Tap>| {
        tap.opened(&opening);
        tap.record(&[1; 100]);
    };
    let (mut publisher, mut player, mut other) = (tap(), tap(), tap());
    for tap in [&mut publisher, &mut player, &mut other] {
        records(tap);
        assert!(!tap.is_over());
    }
    assert_eq!(captures.shared.undecided(), 300);
    player.names(&key("cam"), false);
    other.names(&key("other"), true);
    publisher.names(&key("cam"), true);
    assert!(player.is_over() && other.is_over() && !publisher.is_over());
    assert_eq!(captures.shared.undecided(), 0);
    publisher.record(&[2; 10]);
    drop(publisher);
    captures.flush(TIMEOUT);
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
        assert!(captures.shared.undecided() <= ALL_UNDECIDED);
    }
    assert!(taps.last().unwrap().is_over(), "there was no room for it");
    taps[0].record(&record);
    assert!(taps[0].is_over(), "it was too much for one");
    taps.clear();
    assert_eq!(captures.shared.undecided(), 0);
}

#[test]
fn a_capture_ends_when_it_is_told_to_or_its_time_is_over_and_the_file_says_so() {
    let folder = Folder::new();
    let captures = captures(&folder);
    let network = || CaptureChoice::Network("192.0.2.0/24".parse().unwrap());
    for why in ["ended through the API", "time was over"] {
        let number = begin(&captures, network(), LIMITS);
        let mut conn = connect(&captures, from(1)).unwrap();
        if why == "time was over" {
            captures.shared.let_time_pass(number);
            let start = Instant::now();
            while captures.running() > 0 {
                assert!(start.elapsed() < TIMEOUT, "it does not end");
                thread::yield_now();
            }
            wait_end(&captures, number);
        } else {
            captures.end(number).unwrap();
        }
        // What comes later is not captured any more.
        conn.handle_input(Instant::now(), &[0; 100]);
        captures.flush(TIMEOUT);
        let files = captures.find(number).unwrap().files;
        assert_eq!(files.len(), 1, "{why}");
        let capture = Capture::parse(fs::read(&files[0].path).unwrap()).unwrap();
        assert!(matches!(capture.end(), anabranch_core::capture::End::Stopped(words) if words.contains(why)));
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
    let end = wait_end(&captures, number);
    assert_eq!(end.name(), "disk_failed");
    assert_eq!(captures.tally().ended().find(|(name, _)| *name == "disk_failed"), Some(("disk_failed", 1)));
    hang_up(conn);
}

/// A capture counts each file that it begins, and not only those that were there when it began.
#[test]
fn no_capture_begins_more_files_than_there_may_be() {
    let folder = Folder::new();
    let captures = captures(&folder);
    let limits = ChosenLimits { connections: 100, ..LIMITS };
    let number = begin(&captures, CaptureChoice::Network("192.0.2.0/24".parse().unwrap()), limits);
    let mut conns: Vec<_> = (0..5).map(|_| connect(&captures, from(1)).unwrap()).collect();
    drop(connect(&captures, from(1)));
    captures.flush(TIMEOUT);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 5, "the folder is full");
    assert!(connect(&captures, from(1)).is_none(), "and the capture takes no more");
    // Those that are written are complete, then the capture ends.
    assert_eq!(captures.running(), 1);
    conns.drain(..).for_each(hang_up);
    let view = captures.find(number).unwrap();
    assert_eq!((captures.running(), view.ended, view.files.len()), (0, Some("file_limit"), 5));
    assert!(view.files.iter().all(|file| file.end == Some(FileEnd::Closed)));
}

#[test]
fn the_files_that_are_written_together_are_bounded() {
    let folder = Folder::new();
    let captures = captures(&folder);
    let settings = lock(&captures.shared.settings).clone();
    captures.set(ChosenFolder { files: 1000, ..settings });
    let limits = ChosenLimits { connections: 200, ..LIMITS };
    let number = begin(&captures, CaptureChoice::Network("192.0.2.0/24".parse().unwrap()), limits);
    let mut conns: Vec<_> = (0..=MOST_OPEN).map(|_| connect(&captures, from(1)).unwrap()).collect();
    let view = captures.find(number).unwrap();
    assert_eq!((view.files.len(), view.left_out.len()), (MOST_OPEN, 1), "{:?}", view.left_out);
    hang_up(conns.swap_remove(0));
    conns.push(connect(&captures, from(1)).unwrap());
    assert_eq!(captures.find(number).unwrap().files.len(), MOST_OPEN + 1, "there is room again");
}

#[test]
fn captures_leave_space_on_the_disk() {
    let folder = Folder::new();
    let captures = captures(&folder);
    let number = begin(&captures, CaptureChoice::Network("192.0.2.0/24".parse().unwrap()), LIMITS);
    let mut conn = connect(&captures, from(1)).unwrap();
    captures.flush(TIMEOUT);
    assert_eq!(captures.find(number).unwrap().files[0].end, None);
    let settings = lock(&captures.shared.settings).clone();
    captures.set(ChosenFolder { min_free: u64::MAX, ..settings });
    assert!(matches!(captures.shared.prepare(), Err(NotBegun::Failed(words)) if words.contains("capture.min_free")));
    // Now a file that is written ends, and a new one does not begin.
    let start = Instant::now();
    while captures.find(number).unwrap().files[0].end.is_none() {
        assert!(start.elapsed() < TIMEOUT, "it goes on");
        // The disk is looked at once a second, when there is something to write.
        conn.handle_input(Instant::now(), &[0]);
        thread::sleep(Duration::from_millis(20));
    }
    let _other = connect(&captures, from(1)).unwrap();
    captures.flush(TIMEOUT);
    let files = captures.find(number).unwrap().files;
    assert_eq!(files.len(), 2);
    for file in &files {
        assert_eq!(file.end.as_ref().map(FileEnd::name), Some("disk_full"), "{file:?}");
    }
    assert!(!files[1].path.exists());
}

/// A connection whose first records wait for the name of its stream can be captured by its number, from its beginning.
#[test]
fn a_connection_that_is_not_decided_yet_can_be_chosen() {
    let folder = Folder::new();
    let captures = captures(&folder);
    begin(&captures, CaptureChoice::Stream { key: key("none"), role: None }, LIMITS);
    let mut conn = connect(&captures, from(1)).unwrap();
    let number = begin(&captures, CaptureChoice::Connection(conn.id()), ChosenLimits { connections: 1, ..LIMITS });
    let pending = captures.shared.pending(conn.id()).expect("its records wait");
    assert!(pending.is_addressed() && pending.begin(&captures.shared, number));
    assert!(!pending.begin(&captures.shared, number), "it is decided");
    conn.handle_input(Instant::now(), &[3; 500]);
    hang_up(conn);
    captures.flush(TIMEOUT);
    let view = captures.find(number).unwrap();
    assert_eq!((view.files.len(), view.ended), (1, Some("connection_closed")));
    let mut text = Vec::new();
    let same = super::super::replay(&view.files[0].path, false, crate::config_of_header, &mut text);
    assert_eq!(same, Ok(true), "{}", String::from_utf8_lossy(&text));
    assert_eq!(captures.shared.undecided(), 0);
}

#[test]
fn what_a_file_has_is_what_counts() {
    let folder = Folder::new();
    let captures = captures(&folder);
    let choice = CaptureChoice::Network("192.0.2.0/24".parse().unwrap());
    let number = begin(&captures, choice, ChosenLimits { bytes: 3000, ..LIMITS });
    let mut conn = connect(&captures, from(1)).unwrap();
    conn.handle_input(Instant::now(), &[3; 2000]);
    captures.flush(TIMEOUT);
    let file = &captures.find(number).unwrap().files[0];
    assert_eq!(file.end, Some(FileEnd::Bytes(3000)));
    let written = fs::metadata(&file.path).unwrap().len();
    // The record that says why it ended has three bytes besides its words, and the length.
    let last = FileEnd::Bytes(3000).words().len() as u64 + 4;
    assert_eq!((file.bytes + last, captures.tally().bytes()), (written, file.bytes));
}

#[test]
fn the_log_shows_the_network_of_a_capture_as_it_shows_addresses() {
    let one = CaptureChoice::Network("203.0.113.7".parse().unwrap());
    assert_eq!(one.logged(LogAddresses::Full), "clients from 203.0.113.7/32");
    assert_eq!(one.logged(LogAddresses::Network), "clients from 203.0.113.0/24");
    assert_eq!(one.logged(LogAddresses::Off), "clients from a network");
    let key =
        StreamKey::new("tv.example", "live", &format!("x, from 203.0.113.9:4{}", "y".repeat(9000))).expect("a name");
    let stream = CaptureChoice::Stream { key: key.clone(), role: Some(Role::Publisher) }.logged(LogAddresses::Full);
    assert_eq!(stream, format!("each publisher of {}", key.shown()));
    assert!(stream.len() < 400 && stream.contains("\"live/x, from"), "{stream}");
}
