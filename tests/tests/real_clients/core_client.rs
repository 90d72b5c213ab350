//! Core's own client on real sockets: against both servers and against nginx-rtmp.

use anabranch_core::client::{ClientCloseReason, ClientEvent, PlayOptions, StreamHandle};
use anabranch_core::command::PublishType;
use anabranch_tests::media::{
    Clip, Publication, Tag, TagKind, assert_same_packets, assert_same_tags, media_tags, tags,
};
use anabranch_tests::peer::{Driver, tag_of};
use anabranch_tests::program::{Nginx, Program, Runtime};
use anabranch_tests::{Folder, TIMEOUT, wait_for};

use crate::SHORT;

anabranch_tests::on_both_programs!(
    what_it_publishes_arrives_at_it_and_at_ffmpeg,
    what_ffmpeg_publishes_arrives_at_it,
    the_client_gets_refusals
);

/// With frames longer than a chunk of 4096 bytes, and some that are longer than one of 60000.
const LARGE: Clip =
    Clip { picture: "testsrc2=size=1280x720:rate=30,noise=alls=60:allf=t", seconds: 3, gop: 300, megabits: Some(20) };

/// Messages that may be on their way before the publisher waits for the player.
const AHEAD: usize = 50;

fn publish(url: &str, name: &str) -> (Driver, StreamHandle) {
    let mut driver = Driver::to(url);
    let stream = driver.client.publish(name, PublishType::Live).expect("a new connection has room");
    driver.wait_event("start of publishing", |event| matches!(event, ClientEvent::Publishing { .. }).then_some(()));
    (driver, stream)
}

fn play(url: &str, name: &str) -> Driver {
    let mut driver = Driver::to(url);
    let _ = driver.client.play(name, PlayOptions::default()).expect("a new connection has room");
    driver.wait_event("start of playing", |event| matches!(event, ClientEvent::Playing { .. }).then_some(()));
    driver
}

/// Takes what has come for a player; true once its stream has ended.
fn collect(player: &mut Driver, got: &mut Vec<Tag>) -> bool {
    let mut ended = false;
    while let Some(event) = player.event() {
        match event {
            ClientEvent::Media { message, .. } => got.push(tag_of(&message)),
            ClientEvent::Ended { .. } => ended = true,
            _ => {}
        }
    }
    ended
}

fn media_count(tags: &[Tag]) -> usize {
    tags.iter().filter(|tag| tag.kind != TagKind::Data).count()
}

/// Publishes all tags with one client while another plays; what that one got.
fn relay(publisher: &mut Driver, stream: StreamHandle, player: &mut Driver, sent: &[Tag]) -> Vec<Tag> {
    let mut got = Vec::new();
    let mut passed = 0;
    for tag in sent {
        publisher.send_tag(stream, tag);
        publisher.flush();
        passed += usize::from(tag.kind != TagKind::Data);
        wait_for("frames that were sent", TIMEOUT, || {
            collect(player, &mut got);
            assert!(player.closed().is_none(), "{:?}", player.closed());
            (media_count(&got) + AHEAD >= passed).then_some(())
        });
    }
    let (last, media) = (sent.last().expect("a clip has tags"), media_count(sent));
    wait_for("last frame", TIMEOUT, || {
        publisher.step();
        collect(player, &mut got);
        (media_count(&got) >= media && got.last() == Some(last)).then_some(())
    });
    got
}

fn what_it_publishes_arrives_at_it_and_at_ffmpeg(runtime: Runtime) {
    let server = Program::start(runtime, &["--unpublish-grace", "1"]);
    for clip in [SHORT, LARGE] {
        let file = clip.file();
        let sent = tags(&file);
        let name = format!("cam{}?key=secret", clip.seconds);
        let url = server.url(&format!("live/{name}"));
        let ffprobe = server.ffprobe(&format!("live/cam{}", clip.seconds));
        server.wait_players(&format!("live/cam{}", clip.seconds), 1);
        let mut player = play(&url, &name);
        let (mut publisher, stream) = publish(&url, &name);
        let got = relay(&mut publisher, stream, &mut player, &sent);
        assert_eq!(publisher.close().reason, ClientCloseReason::Closed);
        assert_same_tags(&sent, &got);
        let metadata = |tags: &[Tag]| tags.iter().find(|tag| tag.kind == TagKind::Data).map(|tag| tag.body.clone());
        assert_eq!(metadata(&got), metadata(&sent));
        wait_for("end of the stream", TIMEOUT, || collect(&mut player, &mut Vec::new()).then_some(()));
        player.close();
        ffprobe.wait_success(TIMEOUT);
        assert_same_packets(&file, &ffprobe);
    }
    server.stop();
}

fn what_ffmpeg_publishes_arrives_at_it(runtime: Runtime) {
    let folder = Folder::new();
    let server = Program::start(runtime, &["--unpublish-grace", "1"]);
    let mut player = play(&server.url("live/cam"), "cam");
    let publisher = Publication::at_once(&server, "live/cam", &SHORT, &folder);
    let mut got = Vec::new();
    wait_for("end of the stream", TIMEOUT, || collect(&mut player, &mut got).then_some(()));
    publisher.process.wait_success(TIMEOUT);
    assert_same_tags(&media_tags(&publisher.sent), &got);
    server.stop();
    assert_eq!(player.wait_close().reason, ClientCloseReason::PeerClosed);
}

fn the_client_gets_refusals(runtime: Runtime) {
    let server = Program::start(runtime, &[]);
    let url = server.url("live/cam");
    let (publisher, _) = publish(&url, "cam");
    let mut second = Driver::to(&url);
    let stream = second.client.publish("cam", PublishType::Live).expect("a new connection has room");
    let code = second.wait_event("refusal", |event| match event {
        ClientEvent::Rejected { stream: of, rejection } if of == Some(stream) => Some(rejection.code),
        _ => None,
    });
    assert_eq!(code, "NetStream.Publish.BadName");
    assert_eq!(second.wait_close().reason, ClientCloseReason::PeerClosed);
    assert_eq!(publisher.close().reason, ClientCloseReason::Closed);
    server.stop();
}

/// Each kind by itself: nginx keeps the audio header back until the first audio frame.
fn assert_same_of_each_kind(sent: &[Tag], got: &[Tag]) {
    for kind in [TagKind::Audio, TagKind::Video] {
        let [sent, got] =
            [sent, got].map(|tags| tags.iter().filter(|tag| tag.kind == kind).cloned().collect::<Vec<_>>());
        assert_same_tags(&sent, &got);
    }
}

#[test]
fn nginx_takes_what_it_publishes_and_serves_it() {
    let nginx = Nginx::start();
    for clip in [SHORT, LARGE] {
        let sent = tags(&clip.file());
        let name = format!("cam{}", clip.seconds);
        let mut player = play(&nginx.url(&name), &name);
        let (mut publisher, stream) = publish(&nginx.url(&name), &name);
        let got = relay(&mut publisher, stream, &mut player, &sent);
        assert_same_of_each_kind(&sent, &got);
        publisher.client.stop(stream);
        publisher.flush();
        // The name is free again, on the same connection.
        let again = publisher.client.publish(&name, PublishType::Live).expect("there is room");
        publisher.wait_event("start of publishing", |event| match event {
            ClientEvent::Publishing { stream } => (stream == again).then_some(()),
            _ => None,
        });
        assert_eq!(publisher.close().reason, ClientCloseReason::Closed);
        assert_eq!(player.close().reason, ClientCloseReason::Closed);
    }
}

#[test]
fn nginx_serves_it_what_ffmpeg_publishes() {
    let (nginx, folder) = (Nginx::start(), Folder::new());
    let url = nginx.url("cam");
    let mut player = play(&url, "cam");
    let file = SHORT.file();
    let input = ["-re", "-i", file.to_str().expect("paths of tests are UTF-8"), "-map", "0", "-c", "copy"];
    let publisher = Publication::to_url(&url, &input, &folder);
    let mut got = Vec::new();
    publisher.process.wait_for("first frame", || {
        collect(&mut player, &mut got);
        (!got.is_empty()).then_some(())
    });
    // nginx tells players nothing of the end: what was sent is known then.
    let mut ended = false;
    wait_for("all frames", TIMEOUT, || {
        collect(&mut player, &mut got);
        ended |= !publisher.process.is_running();
        let last = media_tags(&publisher.sent).pop();
        (ended && got.iter().rfind(|tag| tag.kind != TagKind::Data) == last.as_ref()).then_some(())
    });
    publisher.process.wait_success(TIMEOUT);
    assert_same_of_each_kind(&media_tags(&publisher.sent), &got);
    assert_eq!(player.close().reason, ClientCloseReason::Closed);
}
