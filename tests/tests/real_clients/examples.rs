use anabranch_tests::media::{
    Clip, Publication, Tag, assert_same_media, assert_same_packets, decoded_sizes, media_tags, packets, read,
};
use anabranch_tests::peer::opening;
use anabranch_tests::program::{Example, Launch, Process, Program};
use anabranch_tests::{Folder, TIMEOUT};
use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::assert_serves;
use super::leaks::play;

/// Makes tests of functions that take an [`Example`], one for each that is a server.
macro_rules! on_both_examples {
    ($($name:ident),+ $(,)?) => {
        mod blocking {
            $(#[test] fn $name() { super::$name(anabranch_tests::program::Example::Blocking); })+
        }
        mod polling {
            $(#[test] fn $name() { super::$name(anabranch_tests::program::Example::Polling); })+
        }
    };
}

on_both_examples!(
    players_that_came_first_get_every_packet,
    a_player_that_joins_mid_gop_gets_a_key_frame,
    a_killed_publisher_ends_its_players_and_nothing_else,
);

const CLIP: Clip = Clip { picture: "testsrc2=size=640x360:rate=30", seconds: 5, gop: 60, megabits: None };
/// One group of pictures.
const LONG_GOP: Clip = Clip { picture: "testsrc2=size=640x360:rate=30", seconds: 20, gop: 600, megabits: None };

fn players_that_came_first_get_every_packet(example: Example) {
    let folder = Folder::new();
    let server = Program::start_example(example);
    let dumped = folder.file("rtmpdump.flv");
    let ffprobe = server.ffprobe("live/cam");
    let rtmpdump = server.rtmpdump("live/cam", &dumped);
    server.wait_players("live/cam", 2);
    let publisher = Publication::of_clip(&server, "live/cam", &CLIP, &folder);
    publisher.process.wait_success(TIMEOUT);
    ffprobe.wait_success(TIMEOUT);
    rtmpdump.wait_success(TIMEOUT);
    assert!(media_tags(&publisher.sent).iter().filter(|tag| tag.is_picture()).count() >= 30 * 5);
    assert_same_packets(&publisher.sent, &ffprobe);
    assert_same_media(&publisher.sent, &dumped);
    server.wait_closed_without_loss(3);
}

fn a_player_that_joins_mid_gop_gets_a_key_frame(example: Example) {
    let folder = Folder::new();
    let server = Program::start_example(example);
    let publisher = Publication::of_clip(&server, "live/cam", &LONG_GOP, &folder);
    let newest = || media_tags(&publisher.sent).last().map_or(0, |tag| tag.timestamp);
    publisher.process.wait_for("second of the stream", || (newest() >= 2000).then_some(()));
    let dumped = folder.file("rtmpdump.flv");
    let rtmpdump = server.rtmpdump("live/cam", &dumped);
    server.wait_players("live/cam", 1);
    let first = rtmpdump.wait_for("picture", || media_tags(&dumped).into_iter().find(Tag::is_picture));
    // There is one key frame in the clip, and the stream was past it.
    assert!(first.is_key_frame(), "the first picture is {:02x?}", &first.body[..2]);
    assert!(media_tags(&dumped)[..2].iter().any(Tag::is_video_header));
}

fn a_killed_publisher_ends_its_players_and_nothing_else(example: Example) {
    let folder = Folder::new();
    let mut server = Program::start_example(example);
    let dumped = folder.file("rtmpdump.flv");
    let ffprobe = server.ffprobe("live/cam");
    let rtmpdump = server.rtmpdump("live/cam", &dumped);
    server.wait_players("live/cam", 2);
    let publisher = Publication::of_clip(&server, "live/cam", &LONG_GOP, &folder);
    rtmpdump.wait_for("second of the stream", || (media_tags(&dumped).len() > 60).then_some(()));
    publisher.process.kill();
    publisher.process.wait_exit(TIMEOUT);
    ffprobe.wait_success(TIMEOUT);
    rtmpdump.wait_success(TIMEOUT);
    assert!(packets(&ffprobe).len() > 40);
    assert_eq!(decoded_sizes(&dumped), ["640,360"]);
    assert_serves(&mut server);
}

#[test]
fn the_polling_example_says_farewell_when_it_is_stopped() {
    let folder = Folder::new();
    let server = Program::start_example(Example::Polling);
    let files = ["ffmpeg.flv", "rtmpdump.flv"].map(|name| folder.file(name));
    let ffmpeg = server.ffmpeg("live/cam", &files[0]);
    let rtmpdump = server.rtmpdump("live/cam", &files[1]);
    server.wait_players("live/cam", 2);
    let publisher = Publication::of_clip(&server, "live/cam", &LONG_GOP, &folder);
    for file in &files {
        publisher.process.wait_for("second of the stream", || (media_tags(file).len() > 60).then_some(()));
    }
    let asked = Instant::now();
    server.process.terminate();
    let ended = server.process.wait_success(TIMEOUT) - asked;
    // Players that do not hang up have two and a half seconds; these do at once.
    assert!(ended < Duration::from_millis(2500), "it took {ended:?}");
    ffmpeg.wait_success(TIMEOUT);
    rtmpdump.wait_success(TIMEOUT);
    let (status, _) = publisher.process.wait_exit(TIMEOUT);
    assert!(!status.success(), "the publisher did not notice");
}

#[test]
fn the_polling_example_serves_again_after_it_ran_out_of_files() {
    let mut server = Launch::example(Example::Polling).with_files(30).start();
    let sockets: Vec<_> = (0..60).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    server.process.wait_line("cannot accept connections: ");
    drop(sockets);
    assert_serves(&mut server);
    server.stop();
}

#[test]
fn the_polling_example_does_not_wait_for_a_player_that_neither_reads_nor_hangs_up() {
    let folder = Folder::new();
    let server = Program::start_example(Example::Polling);
    let _deaf = play(&server, &opening::player("cam"));
    let other = folder.file("rtmpdump.flv");
    let _other = server.rtmpdump("live/cam", &other);
    server.wait_players("live/cam", 2);
    let picture = "testsrc2=size=960x540:rate=30,noise=alls=60:allf=t";
    let clip = Clip { picture, seconds: 21, gop: 60, megabits: Some(30) };
    let publisher = Publication::of_clip(&server, "live/cam", &clip, &folder);
    let played = || fs::metadata(&other).map_or(0, |file| file.len());
    // More than the sockets of the player that does not read take.
    publisher.process.wait_for("megabytes of the stream", || (played() > 12 << 20).then_some(()));
    let asked = Instant::now();
    server.process.terminate();
    let ended = server.process.wait_success(TIMEOUT) - asked;
    // Two and a half seconds are for clients that do not hang up; the rest is for a busy machine.
    assert!(ended < Duration::from_secs(10), "it took {ended:?}");
}

#[test]
fn the_relay_example_hands_on_what_it_is_given() {
    let folder = Folder::new();
    let (sent, received) = (CLIP.file(), folder.file("received.flv"));
    Process::run(Example::Relay.binary(), [&sent, &received]);
    assert_same_packets(&sent, &read(&received));
    assert_eq!(decoded_sizes(&received), ["640,360"]);
}
