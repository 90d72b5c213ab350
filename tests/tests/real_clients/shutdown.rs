use std::fs;
use std::time::{Duration, Instant};

use anabranch_tests::clients::{Clip, Folder, PATIENCE, Publication, Runtime, Server, Tag, media_tags};

on_both_runtimes!(sigint_ends_server_and_players_in_good_order);

fn sigint_ends_server_and_players_in_good_order(runtime: Runtime) {
    let clip = Clip { picture: "testsrc2=size=320x180:rate=30", seconds: 30, gop: 30, megabits: None };
    let folder = Folder::new();
    let mut server = Server::start(runtime, &[]);
    let files = ["ffmpeg.flv", "rtmpdump.flv"].map(|name| folder.file(name));
    let mut ffmpeg = server.ffmpeg("live/cam", &files[0]);
    let mut rtmpdump = server.rtmpdump("live/cam", &files[1]);
    let mut waiting = server.rtmpdump("live/nobody", &folder.file("nothing.flv"));
    server.wait_players("live/cam", 2);
    server.wait_players("live/nobody", 1);
    let mut publisher = Publication::of_clip(&server, "live/cam", &clip, &folder);
    for file in &files {
        publisher.process.wait_for("second of the stream", || (media_tags(file).len() > 60).then_some(()));
    }

    let asked = Instant::now();
    server.process.signal("INT");
    let ended = server.process.wait_success(PATIENCE) - asked;
    // It gives players that do not hang up three seconds; these do.
    assert!(ended <= Duration::from_millis(2500), "the server took {ended:?} to stop");
    // For players it is the end of the stream, for the publisher a failure.
    ffmpeg.wait_success(PATIENCE);
    rtmpdump.wait_success(PATIENCE);
    waiting.wait_exit(PATIENCE);
    let (status, _) = publisher.process.wait_exit(PATIENCE);
    assert!(!status.success(), "the publisher did not notice");
}

#[test]
fn sigterm_lets_players_go_on_to_the_end_of_their_gop_and_grants_nobody_anything_new() {
    let clip = Clip { picture: "testsrc2=size=320x180:rate=30", seconds: 30, gop: 30, megabits: None };
    let folder = Folder::new();
    let config = folder.file("anabranch.toml");
    // Longer than the test may take: the server must not wait for it in vain.
    fs::write(&config, "[shutdown]\ndrain = \"1h\"\n").expect("the folder can be written");
    let mut server = Server::start(Runtime::Smol, &["--config", &config.display().to_string()]);
    let file = folder.file("ffmpeg.flv");
    let mut ffmpeg = server.ffmpeg("live/cam", &file);
    server.wait_players("live/cam", 1);
    let mut publisher = Publication::of_clip(&server, "live/cam", &clip, &folder);
    publisher.process.wait_for("second of the stream", || (media_tags(&file).len() > 60).then_some(()));

    server.process.terminate();
    server.process.wait_line("draining: 2 connections");
    ffmpeg.wait_success(PATIENCE);
    let pictures: Vec<_> = media_tags(&file).into_iter().filter(Tag::is_picture).collect();
    assert_eq!(pictures.len() % 30, 0, "whole groups of pictures: {}", pictures.len());
    let mut late = server.ffprobe("live/cam");
    let (status, _) = late.wait_exit(PATIENCE);
    assert!(!status.success() && publisher.process.is_running());
    // The publisher does not know that it could go; the last one who is waited for goes.
    publisher.process.terminate();
    publisher.process.wait_exit(PATIENCE);
    server.process.wait_success(PATIENCE);
}

#[test]
fn what_is_left_when_the_time_for_draining_is_over_is_closed() {
    let folder = Folder::new();
    let config = folder.file("anabranch.toml");
    fs::write(&config, "[shutdown]\ndrain = \"1s\"\n").expect("the folder can be written");
    let mut server = Server::start(Runtime::Smol, &["--config", &config.display().to_string()]);
    let mut waiting = server.rtmpdump("live/nobody", &folder.file("nothing.flv"));
    server.wait_players("live/nobody", 1);
    server.process.terminate();
    server.process.wait_success(PATIENCE);
    waiting.wait_exit(PATIENCE);

    // A second signal does not wait.
    fs::write(&config, "[shutdown]\ndrain = \"1h\"\n").expect("the folder can be written");
    let mut server = Server::start(Runtime::Smol, &["--config", &config.display().to_string()]);
    let mut waiting = server.rtmpdump("live/nobody", &folder.file("nothing.flv"));
    server.wait_players("live/nobody", 1);
    server.process.terminate();
    server.process.wait_line("draining: 1 connections");
    server.process.signal("QUIT");
    server.process.wait_success(PATIENCE);
    waiting.wait_exit(PATIENCE);
}
