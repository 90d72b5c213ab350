//! What is read when: acknowledgements, requests that wait for their answer, peers that make the server queue bytes.

use super::*;
use crate::endpoint::READ_MESSAGES;
use crate::source::WireFormat;

/// A ping request, which makes the server queue 18 bytes.
fn ping(time: u32) -> Vec<u8> {
    peer::control(&Control::User(UserControl::PingRequest(time)))
}

#[test]
fn what_comes_while_a_request_waits_is_kept_and_read_after_the_answer() {
    let mut config = SessionConfig::default();
    config.limits.inbox = 1000;
    let mut link = Link::connected_with(config);
    link.send(&peer::create_stream(2.0));
    link.send(&peer::publish(1, "cam"));
    link.send(&peer::audio(7, &peer::audio_frame(1)));
    let SessionEvent::Publish(request) = link.event() else { panic!("a publish") };
    link.send(&peer::audio(8, &peer::audio_frame(2)));
    assert!(link.wait().read.is_none(), "no more is welcome, and no media becomes an event");
    link.session.accept(request);
    assert_eq!(link.events(), ["audio frame 1 on 1 at 7", "audio frame 2 on 1 at 8"]);
    assert!(link.wait().read.is_some());
}

/// Kept bytes that were parsed make room for as many new ones.
#[test]
fn only_bytes_still_to_be_parsed_count_as_kept() {
    let mut config = SessionConfig::default();
    config.limits.inbox = 400;
    let mut link = Link::connected_with(config);
    link.send(&peer::play(0, "cam"));
    let kept = [ping(1), ping(2), peer::play(1, "door"), ping(3)].concat();
    link.send(&kept);
    link.accept_play();
    // The second play waits: everything before it is parsed, and one ping is left.
    let SessionEvent::Stop { message_stream_id: 1 } = link.event() else { panic!("the first has ended") };
    let SessionEvent::Play(request) = link.event() else { panic!("the second play") };
    let room = 400 - ping(3).len();
    assert_eq!(link.session.handle_input(link.now, &vec![0; room]), Ok(()));
    assert_eq!(link.session.handle_input(link.now, &[0]), Err(Error::InboxOverLimit { limit: 400 }));
    drop(request);
}

#[test]
fn an_adapter_that_reads_on_all_the_same_reaches_a_limit() {
    let mut config = SessionConfig::default();
    config.limits.inbox = 1000;
    let mut link = Link::connected_with(config);
    link.send(&peer::play(0, "cam"));
    let before = link.session.endpoint.ack.parsed();
    link.send(&[0; 600]);
    assert_eq!(link.session.handle_input(link.now, &[0; 400]), Ok(()));
    assert_eq!(link.session.handle_input(link.now, &[0; 1]), Err(Error::InboxOverLimit { limit: 1000 }));
    assert!((link.session.endpoint.unparsed() == 0), "a connection that has ended holds nothing");
    let SessionEvent::Play(request) = link.event() else { panic!("the play is still an event") };
    link.session.accept(request);
    let end = link.closed().expect("closed");
    assert_eq!((end.reason.name(), end.offset), ("inbox_over_limit", before));
}

/// 15 bytes a part, a hundred thousand parts a message: each part would be an event.
#[test]
fn an_aggregate_makes_no_more_events_than_may_wait() {
    let mut body = Vec::new();
    for _ in 0..1000 {
        crate::flv::tag::write_tag(8, 0, &[], &mut body).expect("short");
    }
    let mut config = SessionConfig::default();
    config.limits.events = 100;
    let mut link = Link::publishing(config);
    link.send(&peer::message(MessageType::AGGREGATE, 0, 1, &body));
    assert_eq!(link.session.endpoint.events_waiting(), 100);
    assert_eq!(link.session.counters().unreadable_messages, 900, "each one that is lost counts");
}

#[test]
fn frames_for_another_message_stream_read_the_same() {
    let body: Vec<u8> = [0x17, 1, 0, 0, 0].into_iter().chain(0..200).collect();
    let message = Message {
        chunk_stream: 6,
        timestamp: 0x0100_0000,
        type_id: MessageType::VIDEO,
        message_stream_id: 1,
        payload: body.as_slice().into(),
    };
    let config = SessionConfig { chunk_size: 150, ..SessionConfig::default() };
    let frame = Frame::encode(message, WireFormat { chunk_size: config.chunk_size });
    let mut link = Link::connected_with(config);
    for message_stream_id in [1, 2, 0x0102_0304] {
        link.session.send_frame(message_stream_id, &frame);
        let bytes = link.take();
        let messages = link.server_output.messages(&bytes);
        assert_eq!(messages.len(), 1);
        assert_eq!((messages[0].message_stream_id, messages[0].timestamp), (message_stream_id, 0x0100_0000));
        assert_eq!(messages[0].payload[..], body[..]);
    }
}

#[test]
fn a_client_that_sends_messages_of_one_byte_is_read_in_small_pieces_until_it_stops() {
    let mut link = Link::publishing(SessionConfig::default());
    let frames: Vec<u8> = (0..40).flat_map(|time| peer::audio(time, &[0xaf; 100])).collect();
    link.send(&frames);
    while let SessionOutput::Event(_) = link.session.poll_output() {}
    assert_eq!(link.wait().read.expect("it reads").most, 1 << 20, "ordinary media: as much as may have to be kept");
    // A header, then a chunk that begins and ends a message without a body for each byte.
    let header = crate::chunk::message_header(7, 0, 0, MessageType::VIDEO, 1);
    link.send(&[&header[..], &[0xc7; 60_000]].concat());
    while let SessionOutput::Event(_) = link.session.poll_output() {}
    assert_eq!(link.wait().read.expect("it reads").most, READ_BEFORE_CONNECT);
    link.send(&peer::audio(50, &[0xaf; 2000]));
    while let SessionOutput::Event(_) = link.session.poll_output() {}
    assert_eq!(link.wait().read.expect("it reads").most, 1 << 20);
    // Ten bytes a message: five hundred of them.
    let short: Vec<u8> = (0..1000).flat_map(|_| [&[0x47, 0, 0, 0, 0, 0, 1, 9][..], &[0xff]].concat()).collect();
    link.send(&short);
    while let SessionOutput::Event(_) = link.session.poll_output() {}
    assert_eq!(link.wait().read.expect("it reads").most, 9 * READ_MESSAGES as usize);
}
