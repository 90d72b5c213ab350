use anabranch_tests::media::{
    Clip, Publication, Tag, TagKind, assert_same_media, assert_same_packets, decoded_sizes, media_tags,
};
use anabranch_tests::program::{Process, Program, Runtime};
use anabranch_tests::{Folder, TIMEOUT};
use std::path::Path;
use std::time::Duration;

anabranch_tests::on_both_programs!(
    players_that_came_first_stay_while_publishers_change,
    a_second_publisher_is_refused_and_the_first_goes_on,
    players_end_well_when_the_publisher_is_gone_for_the_grace_period,
);

const SMALL: Clip = Clip { picture: "testsrc2=size=320x180:rate=30", seconds: 30, gop: 30, megabits: None };
const LARGE: Clip = Clip { picture: "testsrc=size=640x360:rate=30", seconds: 30, gop: 30, megabits: None };

fn players_that_came_first_stay_while_publishers_change(runtime: Runtime) {
    let folder = Folder::new();
    let server = Program::start(runtime, &["--unpublish-grace", "5"]);
    let files = ["ffmpeg.flv", "rtmpdump.flv"].map(|name| folder.file(name));
    let ffmpeg = server.ffmpeg("live/cam", &files[0]);
    let rtmpdump = server.rtmpdump("live/cam", &files[1]);
    server.wait_players("live/cam", 2);

    let first = Publication::of_clip(&server, "live/cam", &SMALL, &folder);
    for file in &files {
        first.process.wait_for("pictures of the first publisher", || (pictures(file) >= 45).then_some(()));
    }
    first.process.kill();
    first.process.wait_exit(TIMEOUT);
    let before = files.each_ref().map(|file| pictures(file));

    let second = Publication::of_clip(&server, "live/cam", &LARGE, &folder);
    server.wait_publishers("live/cam", 2);
    for (file, before) in files.iter().zip(before) {
        second.process.wait_for("pictures of the second publisher", || (pictures(file) >= before + 60).then_some(()));
    }
    assert!(ffmpeg.is_running() && rtmpdump.is_running(), "a player has ended with the first publisher");
    second.process.terminate();
    ffmpeg.wait_success(TIMEOUT);
    rtmpdump.wait_success(TIMEOUT);

    for file in &files {
        assert_eq!(decoded_sizes(file), ["320,180", "640,360"], "{}", file.display());
        assert_times_rise(file);
    }
    server.stop();
}

fn pictures(file: &Path) -> usize {
    media_tags(file).iter().filter(|tag| tag.is_picture()).count()
}

/// Decoding times of a medium never go back, and never jump further than the change of publishers took. The end of a
/// sequence has the time of the last picture, so it may be earlier than sound before it.
fn assert_times_rise(file: &Path) {
    for kind in [Tag::is_picture, |tag: &Tag| tag.kind == TagKind::Audio] {
        let times: Vec<u32> = media_tags(file).iter().filter(|tag| kind(tag)).map(|tag| tag.timestamp).collect();
        assert!(times.len() > 60, "{} packets in {}", times.len(), file.display());
        for pair in times.windows(2) {
            let [earlier, later] = pair else { unreachable!("windows of two") };
            assert!(later >= earlier, "time goes back from {earlier} to {later} in {}", file.display());
            assert!(later - earlier < 20_000, "time jumps from {earlier} to {later} in {}", file.display());
        }
    }
}

fn a_second_publisher_is_refused_and_the_first_goes_on(runtime: Runtime) {
    let clip = Clip { seconds: 8, ..SMALL };
    let folder = Folder::new();
    // Made now, if it is not there yet: the first publisher's time is short.
    let file = LARGE.file();
    let server = Program::start(runtime, &["--unpublish-grace", "1"]);
    let dumped = folder.file("rtmpdump.flv");
    let ffprobe = server.ffprobe("live/cam");
    let rtmpdump = server.rtmpdump("live/cam", &dumped);
    server.wait_players("live/cam", 2);
    let first = Publication::of_clip(&server, "live/cam", &clip, &folder);
    first.process.wait_for("picture", || (pictures(&dumped) >= 30).then_some(()));

    let url = server.url("live/cam");
    let input = ["-nostdin", "-re", "-i", file.to_str().unwrap(), "-c", "copy"];
    let second = Process::start("ffmpeg", input.iter().chain(&["-f", "flv", &url]));
    let (status, _) = second.wait_exit(TIMEOUT);
    assert!(!status.success(), "the second publisher was let in");
    let words = second.stderr().join("\n");
    assert!(words.contains("already being published"), "the second publisher says: {words}");
    server.process.wait_line("NetStream.Publish.BadName (rejected)");
    assert!(first.process.is_running(), "the second publisher came too late to disturb");

    first.process.wait_success(TIMEOUT);
    ffprobe.wait_success(TIMEOUT);
    rtmpdump.wait_success(TIMEOUT);
    assert_same_packets(&first.sent, &ffprobe);
    assert_same_media(&first.sent, &dumped);
    server.stop();
}

fn players_end_well_when_the_publisher_is_gone_for_the_grace_period(runtime: Runtime) {
    let folder = Folder::new();
    let server = Program::start(runtime, &["--unpublish-grace", "2"]);
    let mut ffmpeg = server.ffmpeg_decoding("live/cam");
    let mut rtmpdump = server.rtmpdump("live/cam", &folder.file("rtmpdump.flv"));
    server.wait_players("live/cam", 2);
    let publisher = Publication::at_once(&server, "live/cam", &super::SHORT, &folder);
    publisher.process.wait_success(TIMEOUT);
    let gone = server.process.wait_line(" in phase ").at;

    for player in [&mut ffmpeg, &mut rtmpdump] {
        let ended = player.wait_success(TIMEOUT) - gone;
        assert!(ended > Duration::from_millis(1500), "a player got the notice after {ended:?}, not after 2 s");
    }
    assert_eq!(ffmpeg.stderr(), [""; 0], "ffmpeg complains");
    server.stop();
}
