use anabranch_tests::media::{Publication, TagKind, assert_same_media, assert_same_packets, media_tags};
use anabranch_tests::program::{Process, Program, Runtime};
use anabranch_tests::{Folder, TIMEOUT};
use std::path::Path;

anabranch_tests::on_both_programs!(
    what_rtmpsink_publishes_arrives_bit_exact,
    what_rtmp2sink_publishes_arrives_bit_exact,
    rtmpsrc_plays_bit_exact,
    rtmp2src_plays_bit_exact,
);

fn what_rtmpsink_publishes_arrives_bit_exact(runtime: Runtime) {
    publishes(runtime, "rtmpsink");
}

fn what_rtmp2sink_publishes_arrives_bit_exact(runtime: Runtime) {
    publishes(runtime, "rtmp2sink");
}

fn rtmpsrc_plays_bit_exact(runtime: Runtime) {
    // It connects again when its stream ends, so it would run forever.
    plays(runtime, "rtmpsrc", |server, player| {
        server.wait_players("live/cam", 2);
        player.kill();
    });
}

fn rtmp2src_plays_bit_exact(runtime: Runtime) {
    plays(runtime, "rtmp2src", |_, player| {
        player.wait_success(TIMEOUT);
    });
}

/// Five seconds of video and audio, also written into a file.
fn publishes(runtime: Runtime, sink: &str) {
    let folder = Folder::new();
    let server = Program::start(runtime, &["--unpublish-grace", "1"]);
    let (sent, dumped) = (folder.file("sent.flv"), folder.file("rtmpdump.flv"));
    let ffprobe = server.ffprobe("live/cam");
    let rtmpdump = server.rtmpdump("live/cam", &dumped);
    server.wait_players("live/cam", 2);
    let publisher = gst_launch(&format!(
        "flvmux name=mux streamable=true ! tee name=both \
         both. ! queue ! {sink} location={} both. ! queue ! filesink location={} \
         videotestsrc num-buffers=150 is-live=true ! video/x-raw,width=320,height=180,framerate=30/1 \
         ! x264enc tune=zerolatency key-int-max=30 ! h264parse ! mux. \
         audiotestsrc num-buffers=215 is-live=true samplesperbuffer=1024 ! audio/x-raw,rate=44100,channels=1 \
         ! voaacenc ! aacparse ! mux.",
        server.url("live/cam"),
        sent.display()
    ));
    publisher.wait_success(TIMEOUT);
    ffprobe.wait_success(TIMEOUT);
    rtmpdump.wait_success(TIMEOUT);
    assert_has_media(&sent);
    assert_same_media(&sent, &dumped);
    assert_same_packets(&sent, &ffprobe);
    server.stop();
}

fn plays(runtime: Runtime, source: &str, end: impl Fn(&mut Program, &mut Process)) {
    let folder = Folder::new();
    let mut server = Program::start(runtime, &["--unpublish-grace", "1"]);
    let received = folder.file("received.flv");
    let (url, file) = (server.url("live/cam"), received.display());
    let mut player = gst_launch(&format!("{source} location={url} ! filesink buffer-mode=unbuffered location={file}"));
    server.wait_players("live/cam", 1);
    let publisher = Publication::at_once(&server, "live/cam", &super::SHORT, &folder);
    publisher.process.wait_success(TIMEOUT);
    end(&mut server, &mut player);
    assert_has_media(&publisher.sent);
    assert_same_media(&publisher.sent, &received);
    server.stop();
}

fn assert_has_media(file: &Path) {
    let tags = media_tags(file);
    assert!(tags.iter().filter(|tag| tag.is_picture()).count() >= 100);
    assert!(tags.iter().filter(|tag| tag.kind == TagKind::Audio).count() >= 100);
}

fn gst_launch(pipeline: &str) -> Process {
    Process::start("gst-launch-1.0", ["-e"].into_iter().chain(pipeline.split_whitespace()))
}
