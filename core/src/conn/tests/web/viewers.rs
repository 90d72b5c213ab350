//! Viewers of streams in segments, which have no connection.

use super::*;

#[test]
fn a_draining_server_ends_viewers_at_once_and_says_that_they_may_ask_again() {
    let harness = Harness::new();
    let text = "GET /live/cam.m3u8 HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut reader = http::RequestReader::new(http::Limits::default());
    let request = reader.read(&mut text.as_bytes()).expect("it is legal").expect("it is whole");
    let path = http::LivePath::of(&request).expect("it is a stream");
    let mut viewer = Browser::new(&harness);
    viewer.conn = harness.server.view(harness.now, None, &request, &path.app, &path.stream, Delivery::Hls);
    viewer.poll(&harness);
    assert_eq!(viewer.conn.take_admission(), Some(Admission::Granted));
    viewer.poll(&harness);
    harness.server.drain();
    viewer.conn.drain(harness.now + Duration::from_secs(60), None);
    viewer.poll(&harness);
    let Some(Admission::Refused(answer)) = viewer.conn.take_admission() else { panic!("it goes on") };
    assert_eq!(answer.status, 503);
    assert!(answer.has_field("Retry-After"));
    viewer.conn.handle_disconnect(harness.now, CloseReason::PeerClosed);
    viewer.poll(&harness);
    assert_eq!(viewer.reason(), "drained");
}
