use anabranch_tests::media::{Clip, Publication, Tag, decoded_sizes, media_tags, packets};
use anabranch_tests::program::{Program, Runtime};
use anabranch_tests::{Folder, TIMEOUT};

anabranch_tests::on_both_programs!(
    a_live_encoding_plays_everywhere,
    a_player_that_joins_mid_gop_gets_a_key_frame_at_once
);

fn a_live_encoding_plays_everywhere(runtime: Runtime) {
    let folder = Folder::new();
    let server = Program::start(runtime, &["--unpublish-grace", "1"]);
    let picture = ["-re", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=30"];
    let sound =
        ["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", "-t", "8", "-map", "0", "-map", "1"];
    let codecs = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "60", "-c:a", "aac"];
    let input = [&picture[..], &sound, &codecs].concat();
    let publisher = Publication::start(&server, "live/cam", &input, &folder);
    server.wait_publishers("live/cam", 1);

    let dumped = folder.file("rtmpdump.flv");
    let ffmpeg = server.ffmpeg_decoding("live/cam");
    let rtmpdump = server.rtmpdump("live/cam", &dumped);
    let ffprobe = server.ffprobe("live/cam");
    publisher.process.wait_success(TIMEOUT);
    ffmpeg.wait_success(TIMEOUT);
    rtmpdump.wait_success(TIMEOUT);
    ffprobe.wait_success(TIMEOUT);

    assert_eq!(ffmpeg.stderr(), [""; 0], "ffmpeg complains");
    let frames = ffmpeg.stdout().iter().rev().find_map(|line| line.strip_prefix("frame=")?.trim().parse().ok());
    assert!(frames.unwrap_or(0) >= 60, "ffmpeg decoded {frames:?} frames");
    assert_eq!(decoded_sizes(&dumped), ["1280,720"]);
    let packets = packets(&ffprobe);
    for kind in ["video,", "audio,"] {
        let count = packets.iter().filter(|packet| packet.starts_with(kind)).count();
        assert!(count >= 60, "{count} packets of {kind}");
    }
    server.wait_closed_without_loss(4);
    server.stop();
}

fn a_player_that_joins_mid_gop_gets_a_key_frame_at_once(runtime: Runtime) {
    // A player that has to wait for the next key frame waits for almost ten seconds.
    let clip = Clip { picture: "testsrc2=size=640x360:rate=30", seconds: 20, gop: 300, megabits: None };
    let folder = Folder::new();
    let server = Program::start(runtime, &[]);
    let publisher = Publication::of_clip(&server, "live/cam", &clip, &folder);
    let newest = || media_tags(&publisher.sent).last().map_or(0, |tag| tag.timestamp);
    publisher.process.wait_for("second of the stream", || (newest() >= 2000).then_some(()));

    let dumped = folder.file("rtmpdump.flv");
    let rtmpdump = server.rtmpdump("live/cam", &dumped);
    let start = server.wait_players("live/cam", 1).swap_remove(0).at;
    let newest_at_start = newest();
    let first = rtmpdump.wait_for("picture", || media_tags(&dumped).into_iter().find(Tag::is_picture));
    let (waited, waited_of_stream) = (start.elapsed(), newest() - newest_at_start);
    eprintln!("{runtime}: the first picture came {waited:?} and {waited_of_stream} ms of stream after the start");

    assert!(first.is_key_frame(), "the first picture is {:02x?}", &first.body[..2]);
    assert!(waited_of_stream <= 1000, "{waited_of_stream} ms of stream passed before the first picture");
    assert!(newest_at_start < 9000, "the next key frame was too near for the test to mean anything");
    assert!(media_tags(&dumped)[0].is_video_header() || media_tags(&dumped)[1].is_video_header());
}
