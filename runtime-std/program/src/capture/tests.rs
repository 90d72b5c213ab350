use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use anabranch_core::capture::{Capture, End};
use anabranch_core::conn::{Config, Core, Output};
use anabranch_core::session::CloseReason;

use super::*;
use crate::config_of_header;

const TIMEOUT: Duration = Duration::from_secs(60);
/// Where all connections come from.
const ARRIVING: Arriving = Arriving { peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4000), is_proxy: false };

/// A folder that goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        Folder(env::temp_dir().join(format!("anabranch-capture-{}-{number}", process::id())))
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Connects, sends `bytes` after C0 and hangs up.
fn connect(server: &Core, captures: &CaptureFolder, bytes: usize) -> bool {
    let Some(tap) = captures.tap(ARRIVING) else {
        return false;
    };
    let now = Instant::now();
    let mut conn = server.connect_captured(now, None, tap);
    conn.handle_input(now, &[3]);
    for _ in 0..bytes / 100 {
        conn.handle_input(now, &[0; 100]);
        let _ = conn.poll(now);
    }
    conn.handle_disconnect(now, CloseReason::PeerClosed);
    while !matches!(conn.poll(now), Output::Closed(_)) {}
    true
}

fn header() -> String {
    crate::Options::of_header("program").unwrap().header("program")
}

#[test]
fn each_connection_has_a_file_of_its_owner_that_replays() {
    let folder = Folder::new();
    let captures = CaptureFolder::start(&folder.0, CaptureLimits::default(), &header()).unwrap();
    let server = Core::new(Config::default(), [1; 32]);
    assert!(connect(&server, &captures, 1600) && connect(&server, &captures, 200));
    captures.flush(TIMEOUT);
    let files = folder.files();
    assert_eq!(files.len(), 2);
    for (file, name) in files.iter().zip(["conn-1-", "conn-2-"]) {
        assert!(file.file_name().unwrap().to_str().unwrap().starts_with(name));
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        let mut text = Vec::new();
        assert_eq!(replay(file, false, config_of_header, &mut text), Ok(true));
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("captured by program: connection "), "{text}");
        assert!(text.contains("closed: the client closed the connection (peer_closed) in phase handshake"), "{text}");
        assert!(text.ends_with("same actions and bytes as captured\n"), "{text}");
    }
}

#[test]
fn a_connection_that_sends_too_much_has_a_file_that_says_so() {
    let folder = Folder::new();
    let limits = CaptureLimits { bytes: 2000, ..CaptureLimits::default() };
    let captures = CaptureFolder::start(&folder.0, limits, &header()).unwrap();
    connect(&Core::new(Config::default(), [1; 32]), &captures, 3000);
    captures.flush(TIMEOUT);
    let file = &folder.files()[0];
    assert!(fs::metadata(file).unwrap().len() < 2100);
    let mut text = Vec::new();
    assert_eq!(replay(file, true, config_of_header, &mut text), Ok(true));
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("the capture ends here: the limit of 2000 bytes for one connection was reached"), "{text}");
}

#[test]
fn what_the_disk_cannot_take_ends_the_capture_and_nothing_waits() {
    let folder = Folder::new();
    let limits = CaptureLimits { waiting: 400, ..CaptureLimits::default() };
    let captures = CaptureFolder::start(&folder.0, limits, &header()).unwrap();
    let now = Instant::now();
    let server = Core::new(Config::default(), [1; 32]);
    let mut conn = server.connect_captured(now, None, captures.tap(ARRIVING).unwrap());
    // More at once than may ever wait.
    conn.handle_input(now, &[3; 1000]);
    drop(conn);
    captures.flush(TIMEOUT);
    let capture = Capture::parse(fs::read(&folder.files()[0]).unwrap()).unwrap();
    assert_eq!(*capture.end(), End::Stopped("the disk was too slow".into()));
}

#[test]
fn no_more_files_are_begun_than_there_may_be() {
    let folder = Folder::new();
    let limits = CaptureLimits { files: 2, ..CaptureLimits::default() };
    let captures = CaptureFolder::start(&folder.0, limits, &header()).unwrap();
    let server = Core::new(Config::default(), [1; 32]);
    assert!(connect(&server, &captures, 0));
    captures.flush(TIMEOUT);
    // Those of an earlier server count.
    let captures = CaptureFolder::start(&folder.0, limits, &header()).unwrap();
    let server = Core::new(Config::default(), [2; 32]);
    let _ = server.connect(Instant::now());
    assert!(connect(&server, &captures, 0));
    assert!(!connect(&server, &captures, 0) && !connect(&server, &captures, 0));
    captures.flush(TIMEOUT);
    assert_eq!(folder.files().len(), 2);
}

#[test]
fn what_is_no_capture_cannot_be_replayed() {
    let folder = Folder::new();
    fs::create_dir_all(&folder.0).unwrap();
    let file = folder.0.join("x");
    fs::write(&file, "hello").unwrap();
    let error = replay(&file, false, config_of_header, &mut Vec::new()).unwrap_err();
    assert!(error.contains("this file is not a capture"), "{error}");
    assert!(replay(&folder.0.join("y"), false, config_of_header, &mut Vec::new()).is_err());
}

#[test]
fn connections_to_come_have_the_header_of_now() {
    let folder = Folder::new();
    let captures = CaptureFolder::start(&folder.0, CaptureLimits::default(), &header()).unwrap();
    let server = Core::new(Config::default(), [1; 32]);
    assert!(connect(&server, &captures, 200));
    captures.set_header("program\n--chunk-size=4096");
    assert!(connect(&server, &captures, 200));
    captures.flush(TIMEOUT);
    let headers: Vec<_> = folder.files().iter().map(|file| Capture::parse(fs::read(file).unwrap()).unwrap()).collect();
    assert_eq!(headers[0].header(), header());
    assert_eq!(headers[1].header(), "program\n--chunk-size=4096");
}
