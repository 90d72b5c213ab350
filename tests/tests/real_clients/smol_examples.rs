//! The examples of the smol library, the programs that an embedder writes first, with real clients.

use std::time::{Duration, Instant};

use anabranch_core::client::ClientEvent;
use anabranch_core::flv::FrameClass;
use anabranch_host::{Listen, Update};
use anabranch_smol::Server;
use anabranch_tests::embedded::Embedded;
use anabranch_tests::media::{self, Clip, Publication, Tag, TagKind, assert_same_media, media_tags};
use anabranch_tests::peer::tag_of;
use anabranch_tests::program::{Example, Launch, Process};
use anabranch_tests::{Folder, TIMEOUT, wait_for};

use super::SHORT;

const FILM: Clip = Clip { picture: "testsrc2=size=320x180:rate=25", seconds: 2, gop: 25, megabits: None };
/// One group of pictures that is long enough for a server to go and come back.
const LONG_GOP: Clip = Clip { picture: "testsrc2=size=320x180:rate=30", seconds: 40, gop: 1200, megabits: None };

#[test]
fn the_token_example_lets_in_clients_that_have_the_token() {
    let folder = Folder::new();
    let lines = "# what a token permits\n\npublish live/cam of-the-encoder\nplay live/cam of-players\n";
    let table = folder.write("tokens", lines);
    let server = Launch::example_with(Example::Tokens, [&table]).start();
    let dumped = folder.file("rtmpdump.flv");
    let player = server.rtmpdump("live/cam?token=of-players", &dumped);
    server.wait_line(" may play live/cam");
    let publisher = Publication::at_once(&server, "live/cam?token=of-the-encoder", &SHORT, &folder);
    publisher.process.wait_success(TIMEOUT);
    player.wait_success(TIMEOUT);
    assert_same_media(&publisher.sent, &dumped);
    server.wait_line("live/cam is over");

    for name in ["cam", "cam?token=", "cam?token=of-players", "other?token=of-the-encoder"] {
        let rejection = server.visitor().publish(name).expect_err(name);
        assert!(rejection.description.contains("token"), "{name}: {rejection:?}");
    }
    assert!(server.visitor().play("cam?token=of-the-encoder").is_err());
    assert_eq!(server.lines(" may not publish live/cam").len(), 3);
}

#[test]
fn the_token_example_says_which_line_it_cannot_read() {
    let folder = Folder::new();
    let table = folder.write("tokens", "publish live/cam token\nplay live/cam\n");
    let program = Process::start(Example::Tokens.binary(), [&table]);
    let (status, _) = program.wait_exit(TIMEOUT);
    assert!(!status.success());
    assert_eq!(program.lines_with("line 2: write publish or play, a stream and a token").len(), 1);
}

#[test]
fn the_file_example_publishes_its_file_again_and_again_at_its_pace() {
    let file = FILM.file();
    let film = media_tags(&file);
    let server = Launch::example_with(Example::File, [file.as_os_str(), "live/film".as_ref()]).start();
    let mut player = server.player("film");
    let start = Instant::now();
    let mut played: Vec<Tag> = Vec::new();
    // A little more than two rounds.
    while played.last().is_none_or(|tag| tag.timestamp < played[0].timestamp + 4500) {
        let tag = player.wait_event("a frame", |event| match event {
            ClientEvent::Media { message, .. } => Some(tag_of(&message)),
            _ => None,
        });
        if tag.kind != TagKind::Data {
            played.push(tag);
        }
    }
    // It began with a group of pictures of a second that was there already.
    let least = Duration::from_millis(4500 - 1000);
    assert!(start.elapsed() >= least, "{:?} for 4.5 s of film", start.elapsed());
    for kind in [TagKind::Video, TagKind::Audio] {
        let of_kind =
            |tags: &[Tag]| tags.iter().filter(|tag| tag.kind == kind && !tag.is_header()).cloned().collect::<Vec<_>>();
        let (film, played) = (of_kind(&film), of_kind(&played));
        let from = |first| film.iter().cycle().skip(first).zip(&played).all(|(film, played)| film.body == played.body);
        assert!((0..film.len()).any(from), "{kind:?} is not round after round of the film");
        assert!(played.windows(2).all(|pair| pair[0].timestamp <= pair[1].timestamp), "{kind:?} goes back in time");
    }
    // A player of the street gets over the seam, too.
    let url = server.url("live/film");
    let ffmpeg = Process::start("ffmpeg", ["-nostdin", "-loglevel", "error", "-i", &url, "-t", "4", "-f", "null", "-"]);
    ffmpeg.wait_success(TIMEOUT);
    assert_eq!(ffmpeg.stderr(), Vec::<String>::new());
}

#[test]
fn the_file_example_says_what_is_wrong_with_its_file() {
    let folder = Folder::new();
    let file = folder.write("not.flv", "this is text");
    let program = Process::start(Example::File.binary(), [file.as_os_str(), "live/x".as_ref(), "127.0.0.1:0".as_ref()]);
    let (status, _) = program.wait_exit(TIMEOUT);
    assert!(!status.success());
    assert_eq!(program.lines_with("not an FLV file header").len(), 1);
}

#[test]
fn the_forward_example_hands_on_a_stream_to_its_end() {
    let folder = Folder::new();
    let other = Embedded::start::<Server>(|builder| builder);
    let server = Launch::example_with(Example::Forward, ["live/cam", &other.url("live/copy")]).start();
    let dumped = folder.file("rtmpdump.flv");
    let player = media::rtmpdump(&other.url("live/copy"), &dumped);
    wait_for("player", TIMEOUT, || (other.handle.stats().vhosts[0].players == 1).then_some(()));
    let publisher = Publication::of_clip(&server, "live/cam", &SHORT, &folder);
    server.wait_line("forwarding live/cam to rtmp://");
    publisher.process.wait_success(TIMEOUT);
    server.wait_line("live/cam has ended");
    player.wait_success(TIMEOUT);
    let of_kind = |file, kind| {
        let tags = media_tags(file).into_iter();
        tags.filter(|tag| tag.kind == kind && !tag.is_header() && tag.body.len() > 5).collect::<Vec<_>>()
    };
    assert_eq!(of_kind(&dumped, TagKind::Video), of_kind(&publisher.sent, TagKind::Video));
    // It may begin after the audio before the key frame.
    let (sent, played) = (of_kind(&publisher.sent, TagKind::Audio), of_kind(&dumped, TagKind::Audio));
    assert!(sent.ends_with(&played) && played.len() + 20 > sent.len(), "{} of {}", played.len(), sent.len());
    other.stop();
}

#[test]
fn the_forward_example_connects_again_and_resumes_at_a_key_frame() {
    let folder = Folder::new();
    let other = Embedded::start::<Server>(|builder| builder);
    let address = other.address;
    let server = Launch::example_with(Example::Forward, ["live/cam", &other.url("live/copy")]).start();
    let publisher = Publication::of_clip(&server, "live/cam", &LONG_GOP, &folder);
    let mut copy = other.handle.subscribe("live/copy").expect("a name");
    while !matches!(copy.recv_timeout(TIMEOUT).expect("the copy begins"), Update::Frame(frame) if frame.is_join_point())
    {
    }
    drop(copy);
    // The other server goes, and the pauses between attempts grow.
    other.stop();
    server.wait_line("trying again in 500ms");
    server.wait_line("trying again in 1s");
    let listen = || Server::builder().listen(Listen::One(address)).build().ok();
    let other = Embedded::run(wait_for("the same port", TIMEOUT, listen));
    let mut copy = other.handle.subscribe("live/copy").expect("a name");
    let mut classes = Vec::new();
    while classes.len() < 60 {
        if let Update::Frame(frame) = copy.recv_timeout(TIMEOUT).expect("it connects again") {
            let video = frame.kind() == anabranch_core::source::FrameKind::Video;
            classes.extend(video.then_some(frame.class()));
        }
    }
    // The encoder is in the middle of its only group of pictures: decoders get all of it.
    assert_eq!(classes[..2], [FrameClass::SequenceHeader, FrameClass::KeyFrame]);
    assert!(classes[2..].iter().all(|class| *class == FrameClass::Frame));
    assert!(publisher.process.is_running(), "the encoder noticed nothing");
    other.stop();
}

#[test]
fn the_forward_example_says_why_it_is_refused() {
    let folder = Folder::new();
    let other = Embedded::start::<Server>(|builder| builder);
    let _taken = other.handle.publish("live/copy").expect("the name is free");
    let target = other.url("live/copy?token=secret");
    let server = Launch::example_with(Example::Forward, ["live/cam", &target]).start();
    let _publisher = Publication::of_clip(&server, "live/cam", &SHORT, &folder);
    server.wait_line("cannot forward live/cam: NetStream.Publish.BadName");
    assert!(server.lines("secret").is_empty(), "a token is no text for a log");
    other.stop();
}
