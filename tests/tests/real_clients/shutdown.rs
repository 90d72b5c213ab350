use anabranch_tests::media::{Clip, Publication, Tag, media_tags};
use anabranch_tests::program::{Program, Runtime};
use anabranch_tests::{Folder, TIMEOUT};
use std::fs;
use std::time::{Duration, Instant};

anabranch_tests::on_both_programs!(sigint_ends_server_and_players_in_good_order);

fn sigint_ends_server_and_players_in_good_order(runtime: Runtime) {
    let clip = Clip { picture: "testsrc2=size=320x180:rate=30", seconds: 30, gop: 30, megabits: None };
    let folder = Folder::new();
    let server = Program::start(runtime, &[]);
    let files = ["ffmpeg.flv", "rtmpdump.flv"].map(|name| folder.file(name));
    let ffmpeg = server.ffmpeg("live/cam", &files[0]);
    let rtmpdump = server.rtmpdump("live/cam", &files[1]);
    let waiting = server.rtmpdump("live/nobody", &folder.file("nothing.flv"));
    server.wait_players("live/cam", 2);
    server.wait_players("live/nobody", 1);
    let publisher = Publication::of_clip(&server, "live/cam", &clip, &folder);
    for file in &files {
        publisher.process.wait_for("second of the stream", || (media_tags(file).len() > 60).then_some(()));
    }

    let asked = Instant::now();
    server.process.signal("INT");
    let ended = server.process.wait_success(TIMEOUT) - asked;
    // The server gives players that do not close three seconds; these close.
    assert!(ended <= Duration::from_millis(2500), "the server took {ended:?} to stop");
    // For players it is the end of the stream, for the publisher an error.
    ffmpeg.wait_success(TIMEOUT);
    rtmpdump.wait_success(TIMEOUT);
    waiting.wait_exit(TIMEOUT);
    let (status, _) = publisher.process.wait_exit(TIMEOUT);
    assert!(!status.success(), "the publisher did not notice");
}

#[test]
fn sigterm_lets_players_go_on_to_the_end_of_their_gop_and_grants_no_new_request() {
    let clip = Clip { picture: "testsrc2=size=320x180:rate=30", seconds: 30, gop: 30, megabits: None };
    let folder = Folder::new();
    let config = folder.file("anabranch.toml");
    // Longer than the test may take: the server must not wait for this time.
    fs::write(&config, "[shutdown]\ndrain = \"1h\"\n").expect("the folder can be written");
    let server = Program::start(Runtime::Smol, &["--config", &config.display().to_string()]);
    let file = folder.file("ffmpeg.flv");
    let ffmpeg = server.ffmpeg("live/cam", &file);
    server.wait_players("live/cam", 1);
    let publisher = Publication::of_clip(&server, "live/cam", &clip, &folder);
    publisher.process.wait_for("second of the stream", || (media_tags(&file).len() > 60).then_some(()));

    server.process.terminate();
    server.process.wait_line("draining: 2 connections");
    ffmpeg.wait_success(TIMEOUT);
    let pictures: Vec<_> = media_tags(&file).into_iter().filter(Tag::is_picture).collect();
    assert_eq!(pictures.len() % 30, 0, "whole groups of pictures: {}", pictures.len());
    let late = server.ffprobe("live/cam");
    let (status, _) = late.wait_exit(TIMEOUT);
    assert!(!status.success() && publisher.process.is_running());
    // The publisher does not know that it may disconnect; the last player that is waited for disconnects.
    publisher.process.terminate();
    publisher.process.wait_exit(TIMEOUT);
    server.process.wait_success(TIMEOUT);
}

#[test]
fn what_is_left_when_the_time_for_draining_is_over_is_closed() {
    let folder = Folder::new();
    let config = folder.file("anabranch.toml");
    fs::write(&config, "[shutdown]\ndrain = \"1s\"\n").expect("the folder can be written");
    let server = Program::start(Runtime::Smol, &["--config", &config.display().to_string()]);
    let waiting = server.rtmpdump("live/nobody", &folder.file("nothing.flv"));
    server.wait_players("live/nobody", 1);
    server.process.terminate();
    server.process.wait_success(TIMEOUT);
    waiting.wait_exit(TIMEOUT);

    // A second signal does not wait.
    fs::write(&config, "[shutdown]\ndrain = \"1h\"\n").expect("the folder can be written");
    let server = Program::start(Runtime::Smol, &["--config", &config.display().to_string()]);
    let waiting = server.rtmpdump("live/nobody", &folder.file("nothing.flv"));
    server.wait_players("live/nobody", 1);
    server.process.terminate();
    server.process.wait_line("draining: 1 connections");
    server.process.signal("QUIT");
    server.process.wait_success(TIMEOUT);
    waiting.wait_exit(TIMEOUT);
}
