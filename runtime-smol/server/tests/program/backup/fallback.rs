//! What plays while a stream has no publisher.

use std::fs;

use anabranch_tests::media::{Clip, tags};
use anabranch_tests::program::Process;
use anabranch_tests::{Folder, TIMEOUT, wait_for};

use super::{SLACK, Viewer, assert_rising, encoder};
use crate::start_with_api;

/// Shorter than the tests, so that it is played several times. Its pictures have another size than those of the encoders.
const LOOP: Clip = Clip { picture: "testsrc2=size=160x120:rate=25", seconds: 2, gop: 25, megabits: None };

/// How many files a folder has, with its folders.
fn files(folder: &Folder) -> usize {
    let list = Process::run("find", [folder.path().to_str().expect("UTF-8"), "-name", "*.flv"]);
    list.len()
}

#[test]
fn a_file_plays_in_a_loop_while_nothing_is_published_and_is_not_recorded() {
    let folder = Folder::new();
    let recordings = folder.file("recordings");
    let program = start_with_api(&format!(
        "[defaults]\nplay.fallback = 'file://{}'\nrecord.streams = ['*']\nrecord.folder = {recordings:?}\nrecord.min_free = 0\n",
        LOOP.file().display()
    ));
    let viewer = Viewer::start(&program);
    // Longer than the file.
    viewer.wait(75);
    program.wait_line("the fallback of live/cam plays");
    let shown = || program.get("/api/v1/streams")["streams"][0]["publish"].clone();
    assert_eq!((&shown()["fallback"], &shown()["active"]), (&true.into(), &false.into()), "{}", shown());
    assert_eq!(files(&folder), 0);
    let played = folder.file("played");
    let player = program.ffmpeg("live/cam", &played);
    program.wait_players("live/cam", 2);
    viewer.wait(50);

    let encoder = encoder(&program.url("live/cam"));
    program.wait_line("the fallback of live/cam does not play any more");
    viewer.wait(50);
    assert_eq!((&shown()["fallback"], &shown()["active"]), (&false.into(), &true.into()), "{}", shown());
    encoder.kill();
    program.wait_lines("the fallback of live/cam plays", 2);
    viewer.wait(50);
    assert_eq!(files(&folder), 1, "what the encoder sent is recorded");
    assert!(player.is_running());
    player.terminate();
    player.wait_exit(TIMEOUT);
    assert_rising(&tags(&played), SLACK);
    viewer.check(SLACK);
    wait_for("the end of the fallback", TIMEOUT, || (program.lines("does not play any more").len() == 2).then_some(()));
    let bytes = fs::metadata(&played).expect("it is there").len();
    assert!(bytes > 10_000, "{bytes} bytes");
}

#[test]
fn another_stream_plays_while_nothing_is_published() {
    let program = start_with_api(
        "[[defaults.application]]\nstreams = ['live/cam']\nplay.fallback = 'live/holding'\nplay.unpublish_grace = '0s'\n",
    );
    let viewer = Viewer::start(&program);
    let _holding = encoder(&program.url("live/holding"));
    program.wait_line("the fallback of live/cam plays");
    viewer.wait(50);
    let encoder = encoder(&program.url("live/cam"));
    program.wait_line("the fallback of live/cam does not play any more");
    viewer.wait(50);
    encoder.kill();
    program.wait_lines("the fallback of live/cam plays", 2);
    viewer.wait(50);
    viewer.check(SLACK);
}
