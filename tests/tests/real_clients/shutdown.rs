use std::time::{Duration, Instant};

use anabranch_tests::clients::{Clip, Folder, PATIENCE, Publication, Runtime, Server, media_tags};

on_both_runtimes!(sigterm_ends_server_and_players_in_good_order);

fn sigterm_ends_server_and_players_in_good_order(runtime: Runtime) {
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
    server.process.terminate();
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
