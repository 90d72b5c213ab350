//! What the program learns of streams with two publishers.

use std::sync::mpsc::channel;
use std::time::Duration;

use anabranch_core::client::{ClientEvent, StreamHandle};
use anabranch_core::command::PublishType;
use anabranch_core::conn::VhostConfig;
use anabranch_core::hub::{BackupRules, Conflict};
use anabranch_core::message::Message;
use anabranch_host::Serve;
use anabranch_tests::TIMEOUT;
use anabranch_tests::embedded::Embedded;
use anabranch_tests::peer::Driver;

anabranch_tests::on_both_libraries!(a_publisher_that_stood_by_begins_a_publication_when_the_one_before_has_ended);

fn publishes(server: &Embedded) -> (Driver, StreamHandle) {
    let mut driver = Driver::to(&server.url("live/cam"));
    let stream = driver.client.publish("cam", PublishType::Live).expect("it may ask");
    driver.wait_event("a stream", |event| matches!(event, ClientEvent::Publishing { .. }).then_some(()));
    (driver, stream)
}

fn key_frame() -> Message {
    Message::video(0, [0x17, 1, 0, 0, 0, 9].as_slice())
}

fn a_publisher_that_stood_by_begins_a_publication_when_the_one_before_has_ended<S: Serve + Send + 'static>() {
    // A publisher that has sent nothing is silent at once.
    let backup = BackupRules { after: Duration::ZERO, ..BackupRules::default() };
    let config = VhostConfig { conflict: Conflict::Backup, backup, ..VhostConfig::default() };
    let server = Embedded::start::<S>(|builder| builder.config(config));
    let (news, heard) = channel();
    let ends = news.clone();
    server.handle.on_publish(move |start| {
        let client = start.client.as_ref().expect("a client publishes");
        news.send(Some(client.connection)).expect("the test goes on");
    });
    server.handle.on_unpublish(move |_| ends.send(None).expect("the test goes on"));
    let next = || heard.recv_timeout(TIMEOUT).expect("the program is told");

    let (mut first, stream) = publishes(&server);
    let first_connection = next().expect("it begins");
    first.client.send_message(stream, key_frame()).expect("it is published");
    first.flush();
    // It stands by, and has sent nothing.
    let (mut second, stream) = publishes(&server);
    first.close();
    assert_eq!(next(), None, "a publication of a silent publisher");
    second.client.send_message(stream, key_frame()).expect("it is published");
    second.flush();
    let second_connection = next().expect("it begins");
    assert_ne!(first_connection, second_connection);
    second.close();
    assert_eq!(next(), None);
    server.stop();
    assert!(heard.try_recv().is_err(), "nothing is told twice");
}
