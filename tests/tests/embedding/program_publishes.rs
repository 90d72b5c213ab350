use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::conn::{LocalError, VhostConfig};
use anabranch_core::hub::Conflict;
use anabranch_core::message::Message;
use anabranch_host::{Over, Serve, Update};
use anabranch_tests::embedded::Embedded;
use anabranch_tests::media::{Clip, TagKind, assert_same_media, tags};
use anabranch_tests::program::Process;
use anabranch_tests::{Folder, TIMEOUT, wait_for};

anabranch_tests::on_both_libraries!(
    what_the_program_publishes_is_played_by_a_client,
    frames_that_wait_for_the_merge_window_are_sent_in_time,
    a_name_has_one_publisher_wherever_it_is,
    a_publication_ends_with_its_value_and_with_the_server,
);

const CLIP: Clip = Clip { picture: "testsrc2=size=320x180:rate=30", seconds: 4, gop: 300, megabits: None };

/// A key frame without content.
fn key_frame(timestamp: u32) -> Message {
    Message::video(timestamp, [0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65].as_slice())
}

fn what_the_program_publishes_is_played_by_a_client<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| builder.config(VhostConfig::default()));
    let (folder, clip) = (Folder::new(), CLIP.file());
    let received = folder.file("received.flv");
    let (url, file) = (server.url("live/made"), received.to_str().expect("UTF-8").to_owned());
    let player = Process::start("rtmpdump", ["--live", "--quiet", "--rtmp", &url, "--flv", &file]);
    let mut publication = server.handle.publish("live/made").expect("the name is free");
    wait_for("player", TIMEOUT, || (publication.players() == 1).then_some(()));
    let sent = tags(&clip);
    for tag in sent.clone() {
        let message = match tag.kind {
            TagKind::Audio => Message::audio(tag.timestamp, tag.body),
            TagKind::Video => Message::video(tag.timestamp, tag.body),
            TagKind::Data => Message::data(tag.timestamp, tag.body),
        };
        publication.push(message).expect("it is published");
    }
    // Not before the player got all of it: a stream that ended before the player looked would not exist for it.
    let given = || server.handle.connections().iter().any(|info| info.stats.frames_out >= sent.len() as u64);
    wait_for("frames on their way", TIMEOUT, || given().then_some(()));
    drop(publication);
    // The player gets the end of the stream after the grace period.
    player.wait_exit(TIMEOUT);
    assert_same_media(&clip, &received);
    server.stop();
}

fn frames_that_wait_for_the_merge_window_are_sent_in_time<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| builder);
    let mut publication = server.handle.publish("live/radio").expect("the name is free");
    let mut subscription = server.handle.subscribe("live/radio").expect("the program may play");
    let start = Instant::now();
    for round in 0..20_u8 {
        // Audio waits up to the merge window for video; nothing more is pushed during that time.
        publication.push(Message::audio(u32::from(round) * 20, [0x2f, round].as_slice())).expect("it is published");
        let Some(Update::Frame(frame)) = subscription.recv_timeout(TIMEOUT) else {
            panic!("frame {round} never came");
        };
        assert_eq!(*frame.payload(), [0x2f, round]);
    }
    assert!(start.elapsed() < TIMEOUT);
    server.stop();
}

fn a_name_has_one_publisher_wherever_it_is<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| {
        builder.config(VhostConfig { conflict: Conflict::Reject, ..VhostConfig::default() })
    });
    let clip = CLIP.file();
    let input = ["-re", "-i", clip.to_str().expect("UTF-8")];
    let publisher = server.ffmpeg_publishes("live/cam", &input);
    let mut subscription = server.handle.subscribe("live/cam").expect("the program may play");
    assert!(matches!(subscription.recv_timeout(TIMEOUT), Some(Update::Frame(_))));
    assert!(matches!(server.handle.publish("live/cam"), Err(LocalError::Busy(_))));
    publisher.kill();
    // The name is free as soon as the server notices that the connection is gone.
    let mut publication = wait_for("free name", TIMEOUT, || server.handle.publish("live/cam").ok());
    let refused = server.ffmpeg_publishes("live/cam", &input);
    let (status, _) = refused.wait_exit(TIMEOUT);
    assert!(!status.success(), "a second publisher is refused");
    publication.push(key_frame(0)).expect("the first goes on");
    server.stop();
}

fn a_publication_ends_with_its_value_and_with_the_server<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| builder);
    let mut subscription = server.handle.subscribe("live/cam").expect("the program may play");
    for round in 0..3 {
        let mut publication = server.handle.publish("live/cam").expect("the one before has ended");
        publication.push(key_frame(round)).expect("it is published");
        assert!(matches!(subscription.recv_timeout(TIMEOUT), Some(Update::Frame(_))), "round {round}");
        drop(publication);
        assert!(matches!(subscription.recv_timeout(TIMEOUT), Some(Update::Ended)), "round {round}");
    }
    let mut publication = server.handle.publish("live/other").expect("the name is free");
    assert!(server.handle.publish("live/..").is_err());
    let handle = server.handle.clone();
    let waiting = thread::spawn(move || subscription.recv());
    server.stop();
    assert!(waiting.join().expect("it does not panic").is_none(), "a server that stops ends every subscription");
    assert_eq!(publication.push(key_frame(0)), Err(Over::Stopped));
    drop(publication);
    assert!(handle.stats().streams.is_empty(), "nothing is left");
    assert!(handle.stats().age < Duration::from_secs(3600));
}
