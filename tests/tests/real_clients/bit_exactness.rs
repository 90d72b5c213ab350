use anabranch_tests::media::{Clip, Publication, TagKind, assert_same_media, assert_same_packets, media_tags};
use anabranch_tests::program::{Program, Runtime};
use anabranch_tests::{Folder, TIMEOUT};
use std::fs;

anabranch_tests::on_both_programs!(an_ordinary_stream_arrives_bit_exact, a_stream_of_thirty_megabits_arrives_bit_exact);

const SECONDS: u32 = 21;

fn an_ordinary_stream_arrives_bit_exact(runtime: Runtime) {
    let clip = Clip { picture: "testsrc2=size=1280x720:rate=30", seconds: SECONDS, gop: 60, megabits: None };
    arrives_bit_exact(runtime, &clip);
}

fn a_stream_of_thirty_megabits_arrives_bit_exact(runtime: Runtime) {
    let picture = "testsrc2=size=960x540:rate=30,noise=alls=60:allf=t";
    let clip = Clip { picture, seconds: SECONDS, gop: 60, megabits: Some(30) };
    let bytes = fs::metadata(clip.file()).unwrap().len();
    let megabits = bytes as f64 * 8.0 / f64::from(SECONDS) / 1e6;
    assert!(megabits > 29.0, "the clip has {megabits:.1} Mb/s");
    arrives_bit_exact(runtime, &clip);
}

/// Players that are there from the beginning get every packet as it was sent.
fn arrives_bit_exact(runtime: Runtime, clip: &Clip) {
    let folder = Folder::new();
    let server = Program::start(runtime, &["--unpublish-grace", "1"]);
    let dumped = folder.file("rtmpdump.flv");
    let ffprobe = server.ffprobe("live/cam");
    let rtmpdump = server.rtmpdump("live/cam", &dumped);
    server.wait_players("live/cam", 2);
    let publisher = Publication::of_clip(&server, "live/cam", clip, &folder);
    publisher.process.wait_success(TIMEOUT);
    ffprobe.wait_success(TIMEOUT);
    rtmpdump.wait_success(TIMEOUT);

    let sent = media_tags(&publisher.sent);
    assert!(sent.iter().filter(|tag| tag.is_picture()).count() >= 30 * 20);
    assert!(sent.iter().filter(|tag| tag.kind == TagKind::Audio).count() >= 43 * 20);
    assert_same_packets(&publisher.sent, &ffprobe);
    assert_same_media(&publisher.sent, &dumped);
    server.wait_closed_without_loss(3);
    server.stop();
}
