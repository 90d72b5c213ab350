use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anabranch_core::client::ClientEvent;
use anabranch_core::command::PublishType;
use anabranch_core::conn::VhostConfig;
use anabranch_core::message::Message;
use anabranch_core::source::{FrameKind, SourceLimits};
use anabranch_host::{Serve, Subscription, Update};
use anabranch_tests::TIMEOUT;
use anabranch_tests::embedded::Embedded;
use anabranch_tests::media::{Clip, Tag, TagKind, media_tags};
use anabranch_tests::peer::Driver;

anabranch_tests::on_both_libraries!(
    what_a_client_publishes_is_played_by_the_program,
    a_subscription_that_is_not_fetched_misses_and_says_what,
    subscriptions_wait_in_an_async_runtime_too,
    a_subscription_from_the_publish_callback_misses_nothing,
    the_end_of_a_publisher_is_told_whether_or_not_it_sent_anything,
);

const CLIP: Clip = Clip { picture: "testsrc2=size=320x180:rate=30", seconds: 4, gop: 300, megabits: None };

fn what_a_client_publishes_is_played_by_the_program<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| builder);
    let clip = CLIP.file();
    let mut subscription = server.handle.subscribe("live/cam").expect("the program may play");
    let publisher = server.ffmpeg_publishes("live/cam", &["-i", clip.to_str().expect("UTF-8")]);
    let mut received = Vec::new();
    loop {
        match subscription.recv_timeout(TIMEOUT).expect("the stream goes on to its end") {
            Update::Frame(frame) => {
                let kind = match frame.kind() {
                    FrameKind::Audio => TagKind::Audio,
                    FrameKind::Video => TagKind::Video,
                    FrameKind::Data => TagKind::Data,
                };
                received.push(Tag { kind, timestamp: frame.timestamp(), body: frame.payload().into_owned() });
            }
            Update::Missed(gap) => panic!("{gap:?}"),
            Update::Ended => break,
        }
    }
    publisher.wait_success(TIMEOUT);
    assert_eq!(received.iter().filter(|tag| tag.kind == TagKind::Data).count(), 1, "the metadata");
    received.retain(|tag| tag.kind != TagKind::Data);
    let sent = media_tags(&clip);
    assert_eq!(received.len(), sent.len());
    for (index, (received, sent)) in received.iter().zip(&sent).enumerate() {
        assert!(received.kind == sent.kind && received.body == sent.body, "tag {index}");
    }
    server.stop();
}

fn a_subscription_that_is_not_fetched_misses_and_says_what<S: Serve + Send + 'static>() {
    let source = SourceLimits { frames: 20, ..SourceLimits::default() };
    let server = Embedded::start::<S>(|builder| builder.config(VhostConfig { source, ..VhostConfig::default() }));
    let mut publication = server.handle.publish("live/cam").expect("the name is free");
    let mut subscription = server.handle.subscribe("live/cam").expect("the program may play");
    let picture = |number: u32| {
        let kind = if number.is_multiple_of(10) { 0x17 } else { 0x27 };
        Message::video(number * 40, [&[kind, 1, 0, 0, 0][..], &number.to_be_bytes()].concat())
    };
    publication.push(picture(0)).expect("it is published");
    assert!(matches!(subscription.recv_timeout(TIMEOUT), Some(Update::Frame(_))));
    for number in 1..100 {
        publication.push(picture(number)).expect("it is published");
    }
    let Some(Update::Missed(gap)) = subscription.recv_timeout(TIMEOUT) else {
        panic!("it says that it missed something");
    };
    // From the second picture to the newest key frame, the ninetieth.
    assert_eq!((gap.frames, gap.milliseconds), (89, 90 * 40));
    for number in 90..100_u32 {
        let Some(Update::Frame(frame)) = subscription.recv_timeout(TIMEOUT) else {
            panic!("picture {number} comes");
        };
        assert_eq!(frame.payload()[5..], number.to_be_bytes());
    }
    assert!(subscription.try_recv().is_none());
    assert!(subscription.recv_timeout(Duration::from_millis(1)).is_none(), "nothing more is there");
    server.stop();
}

fn subscriptions_wait_in_an_async_runtime_too<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| builder);
    let mut subscription = server.handle.subscribe("live/cam").expect("the program may play");
    let mut publication = server.handle.publish("live/cam").expect("the name is free");
    let (asked, ask) = smol::channel::bounded(1);
    let player = thread::spawn(move || {
        smol::block_on(async {
            let mut frames = 0;
            loop {
                asked.send(()).await.expect("the test receives");
                match subscription.recv_async().await {
                    Some(Update::Frame(_)) => frames += 1,
                    Some(Update::Ended) => return frames,
                    other => panic!("{other:?}"),
                }
            }
        })
    });
    for number in 0..50 {
        // Not before the player waits, or is about to wait.
        ask.recv_blocking().expect("it asks for each");
        publication.push(Message::video(number * 40, [0x17, 1, 0, 0, 0, 9].as_slice())).expect("it is published");
    }
    ask.recv_blocking().expect("it asks for the end");
    drop(publication);
    assert_eq!(player.join().expect("it does not panic"), 50);
    server.stop();
}

fn a_subscription_from_the_publish_callback_misses_nothing<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| builder);
    let (begun, beginnings) = channel();
    let handle = server.handle.clone();
    server.handle.on_publish(move |start| begun.send(handle.subscribe_to(&start.key)).expect("the test goes on"));
    let message = |number: u8| Message::video(u32::from(number), [0x17, 1, 0, 0, 0, number].as_slice());
    let hears = |mut subscription: Subscription, number: u8| {
        assert!(subscription.is_live());
        let Some(Update::Frame(frame)) = subscription.recv_timeout(TIMEOUT) else { panic!("no frame") };
        assert_eq!(frame.payload().last(), Some(&number));
        subscription
    };
    let mut publisher = Driver::to(&server.url("live/cam"));
    let stream = publisher.client.publish("cam", PublishType::Live).expect("it may ask");
    publisher.wait_event("a stream", |event| matches!(event, ClientEvent::Publishing { .. }).then_some(()));
    let subscription =
        beginnings.recv_timeout(TIMEOUT).expect("the stream begins before its publisher gets the answer");
    publisher.client.send_message(stream, message(1)).expect("it is published");
    publisher.flush();
    let mut subscription = hears(subscription, 1);
    publisher.close();
    assert!(matches!(subscription.recv_timeout(TIMEOUT), Some(Update::Ended)));
    assert!(!subscription.is_live());
    let mut publication = server.handle.publish("live/own").expect("the name is free");
    publication.push(message(2)).expect("the server runs");
    hears(beginnings.recv_timeout(TIMEOUT).expect("the program's own"), 2);
    server.stop();
}

fn the_end_of_a_publisher_is_told_whether_or_not_it_sent_anything<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| builder);
    let ended = |subscription: &mut Subscription| {
        let update = subscription.recv_timeout(TIMEOUT);
        assert!(matches!(update, Some(Update::Ended)), "{update:?}");
        assert!(subscription.try_recv().is_none(), "once");
    };
    let mut before = server.handle.subscribe("live/cam").expect("the program may play");
    assert!(before.try_recv().is_none());
    let header = Message::video(0, [0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xFF].as_slice());
    let picture = Message::video(40, [0x27, 1, 0, 0, 0, 1].as_slice());
    for messages in [vec![], vec![header.clone()], vec![header, picture]] {
        let mut publisher = Driver::to(&server.url("live/cam"));
        let stream = publisher.client.publish("cam", PublishType::Live).expect("it may ask");
        publisher.wait_event("a stream", |event| matches!(event, ClientEvent::Publishing { .. }).then_some(()));
        let mut during = server.handle.subscribe("live/cam").expect("the program may play");
        for message in messages {
            publisher.client.send_message(stream, message).expect("it is published");
        }
        publisher.flush();
        publisher.close();
        ended(&mut before);
        ended(&mut during);
        let mut after = server.handle.subscribe("live/cam").expect("the program may play");
        assert!(after.try_recv().is_none(), "that was before it came");
    }
    // Two publications began and ended while the subscription did not look.
    for _ in 0..2 {
        drop(server.handle.publish("live/cam").expect("the name is free"));
    }
    ended(&mut before);
    // Frames of a publication that another replaced before they were fetched come, too.
    for number in 0..2 {
        let mut publication = server.handle.publish("live/cam").expect("the name is free");
        publication.push(Message::video(0, [0x17, 1, 0, 0, 0, number].as_slice())).expect("it is published");
    }
    for number in 0..2 {
        let update = before.recv_timeout(TIMEOUT);
        assert!(
            matches!(&update, Some(Update::Frame(frame)) if frame.payload().last() == Some(&number)),
            "{number}: {update:?}"
        );
        let update = before.recv_timeout(TIMEOUT);
        assert!(matches!(update, Some(Update::Ended)), "{number}: {update:?}");
    }
    // The end of one publication comes before the frames of the next.
    drop(server.handle.publish("live/cam").expect("the name is free"));
    let mut publication = server.handle.publish("live/cam").expect("the name is free");
    publication.push(Message::video(0, [0x17, 1, 0, 0, 0, 9].as_slice())).expect("it is published");
    assert!(matches!(before.recv_timeout(TIMEOUT), Some(Update::Ended)));
    assert!(matches!(before.recv_timeout(TIMEOUT), Some(Update::Frame(_))));
    drop((before, publication));
    assert!(server.handle.stats().streams.is_empty(), "nothing is left");
    server.stop();
}
