use anabranch_tests::media::{Publication, media_tags};
use anabranch_tests::program::{Process, Program, Runtime};
use anabranch_tests::{Folder, TIMEOUT};
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::{fs, iter};

use super::hashes::Hashes;

#[test]
fn what_vlc_records_is_what_was_sent() {
    let folder = Folder::new();
    let server = Program::start(Runtime::Smol, &["--unpublish-grace", "1"]);
    let publisher = Publication::of_clip(&server, "live/cam", &super::LONG, &folder);
    server.wait_publishers("live/cam", 1);
    let recorded = folder.file("vlc/recorded.flv");
    let output = format!("#std{{access=file,mux=flv,dst={}}}", recorded.display());
    let vlc = start(&folder, &["--sout", &output, &server.url("live/cam"), "vlc://quit"]);
    server.wait_players("live/cam", 1);
    vlc.wait_for("five seconds of stream", || (recorded.exists() && media_tags(&recorded).len() >= 300).then_some(()));
    publisher.process.terminate();
    vlc.wait_success(TIMEOUT);

    // VLC takes pictures apart and puts them together again, so what they show is compared, and not the bytes.
    let [sent, received] = [&publisher.sent, &recorded].map(|file| Hashes::of_decoded_file("ffmpeg", file.display()));
    let [sent, mut received] =
        [sent, received].map(|hashes| hashes.of_kind("video").next().cloned().expect("it has pictures"));
    // It keeps its last picture for itself, which others may be made from.
    received.packets.truncate(received.packets.len().saturating_sub(3));
    sent.assert_overlaps(&received, 90);
    let [sent, received] = [&publisher.sent, &recorded].map(|file| Hashes::of_file("ffmpeg", file.display()));
    let [sent, received] = [&sent, &received].map(|hashes| hashes.of_kind("audio").next().expect("it has sound"));
    sent.assert_overlaps(received, 100);
    server.wait_closed_without_loss(2);
    server.stop();
}

#[test]
fn vlc_decodes_and_ends_with_the_stream() {
    let folder = Folder::new();
    let server = Program::start(Runtime::Smol, &["--unpublish-grace", "1"]);
    let publisher = Publication::of_clip(&server, "live/cam", &super::LONG, &folder);
    server.wait_publishers("live/cam", 1);
    let line = ["--vout", "dummy", "--aout", "dummy", "-vv", &server.url("live/cam"), "vlc://quit"];
    let vlc = start(&folder, &line);
    server.wait_players("live/cam", 1);
    vlc.wait_line("Received first picture");
    let start = media_tags(&publisher.sent).len();
    publisher
        .process
        .wait_for("three seconds more", || (media_tags(&publisher.sent).len() > start + 220).then_some(()));
    publisher.process.terminate();
    vlc.wait_success(TIMEOUT);
    for complaint in ["error while decoding", "corrupt", "discontinuity"] {
        assert!(vlc.lines_with(complaint).is_empty(), "VLC says {complaint:?}");
    }
    server.wait_closed_without_loss(2);
    server.stop();
}

/// VLC without a window, which refuses to run as root, so for root as another user.
pub(super) fn start(folder: &Folder, arguments: &[&str]) -> Process {
    let home = folder.file("vlc");
    fs::create_dir(&home).expect("the folder can be written");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).expect("permissions can be changed");
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let mut line: Vec<OsString> = Vec::new();
    if is_root {
        line.extend(["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"].map(OsString::from));
    }
    let mut variable = OsString::from("HOME=");
    variable.push(&home);
    line.extend(["env".into(), variable]);
    line.extend(["vlc", "-I", "dummy", "--no-color"].map(OsString::from));
    let mut line = line.into_iter().chain(arguments.iter().map(OsString::from));
    let program = line.next().expect("there is a program");
    Process::start(program, iter::empty().chain(line))
}
