//! Captures and drains that the program begins and ends while clients stream, on both runtimes.

use std::sync::{Arc, Mutex};

use anabranch_core::capture::{Capture, Joined, Tap, joined_file_header};
use anabranch_core::conn::{Config, NotCaptured};
use anabranch_core::replay::{self, Timeline};
use anabranch_host::{CaptureError, LeavesToStop, Serve};
use anabranch_tests::embedded::Embedded;
use anabranch_tests::media::frames::{video, video_header};
use anabranch_tests::peer::Driver;
use anabranch_tests::{TIMEOUT, wait_for};

anabranch_tests::on_both_libraries!(
    a_connection_is_captured_while_it_streams,
    a_drain_can_be_undone_unless_the_server_is_to_stop,
);

#[derive(Debug, Clone, Default)]
struct CaptureBuffer(Arc<Mutex<Vec<u8>>>);

impl CaptureBuffer {
    fn timeline(&self) -> String {
        let capture = Capture::parse(self.0.lock().expect("no panic").clone()).expect("a capture");
        let mut timeline = Timeline::joined(capture.joined().expect("it began in the middle"), false);
        let mut text = String::new();
        let mut line = |words: &str| text += &format!("{words}\n");
        let start = std::time::Instant::now();
        replay::run(&capture, &Config::default(), start, &mut |moment| timeline.take(moment, &mut line));
        timeline.finish(&mut line);
        text
    }
}

impl Tap for CaptureBuffer {
    fn joined(&mut self, _: &Joined) {
        *self.0.lock().expect("no panic") = joined_file_header("test");
    }

    fn record(&mut self, record: &[u8]) {
        self.0.lock().expect("no panic").extend_from_slice(record);
    }
}

fn wait_frames(player: &mut Driver, count: u64) {
    wait_for("frames", TIMEOUT, || {
        player.step();
        (player.frames >= count).then_some(())
    });
}

fn a_connection_is_captured_while_it_streams<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| builder);
    let mut publisher = Driver::to(&server.url("live/x"));
    publisher.publish("cam").expect("it may publish");
    let mut player = Driver::to(&server.url("live/x"));
    player.play("cam").expect("it may play");
    publisher.send(video_header());
    publisher.send(video(0, true, 1000));
    wait_frames(&mut player, 2);
    let ids = server.handle.connection_ids();
    let tapes = [CaptureBuffer::default(), CaptureBuffer::default()];
    for (id, capture) in ids.iter().zip(&tapes) {
        server.handle.capture(*id, Box::new(capture.clone())).expect("it streams");
    }
    let again = server.handle.capture(ids[0], Box::new(CaptureBuffer::default()));
    assert_eq!(again, Err(CaptureError::NotNow(NotCaptured::Already)));
    assert_eq!(server.handle.capture(999, Box::new(CaptureBuffer::default())), Err(CaptureError::NoConnection));
    for number in 1..20 {
        publisher.send(video(number * 40, false, 1000));
    }
    wait_frames(&mut player, 21);
    publisher.drop_connection();
    player.drop_connection();
    wait_for("end of all", TIMEOUT, || (server.handle.stats().connections == 0).then_some(()));
    let [of_publisher, of_player] = tapes.map(|capture| capture.timeline());
    assert!(of_publisher.contains("--> video on stream 1: H.264 frame, 1005 bytes at 40 ms"), "{of_publisher}");
    assert!(of_publisher.contains("timestamps 120 to 760") && of_publisher.contains("closed: "), "{of_publisher}");
    assert!(of_player.contains("<-- video on stream 1: H.264 frame, 1005 bytes at 40 ms"), "{of_player}");
    assert!(!of_player.contains("unreadable"), "{of_player}");
    server.stop();
}

fn a_drain_can_be_undone_unless_the_server_is_to_stop<S: Serve + Send + 'static>() {
    let server = Embedded::start::<S>(|builder| builder);
    let client = |name: &str| {
        let mut client = Driver::to(&server.url("live/x"));
        client.publish(name).map(|_| client)
    };
    assert_eq!(server.handle.stop_draining(), Ok(false));
    let _first = client("first").expect("it may publish");
    server.handle.drain(TIMEOUT, None).expect("it does not stop");
    let drain = server.handle.draining().expect("it drains");
    assert!(server.handle.is_leaving() && !drain.to_stop);
    assert!(client("late").is_err());
    wait_for("end of the refused client", TIMEOUT, || (server.handle.stats().connections == 1).then_some(()));
    assert_eq!(server.handle.stop_draining(), Ok(true));
    assert!(!server.handle.is_leaving() && server.handle.draining().is_none());
    let _second = client("second").expect("it may publish again");
    assert_eq!(server.handle.stats().connections, 2);
    server.handle.drain_to_stop(TIMEOUT, None);
    let drain = server.handle.draining();
    // No drain that can be undone follows, and the deadline stays that of the program.
    assert_eq!(server.handle.drain(TIMEOUT * 10, None), Err(LeavesToStop));
    assert_eq!(server.handle.draining(), drain);
    assert_eq!(server.handle.stop_draining(), Err(LeavesToStop));
    assert!(server.handle.is_leaving());
    server.stop();
}
