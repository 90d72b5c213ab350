use super::*;
use crate::amf::{Object, Value};
use crate::command::reply;
use crate::message::PeerBandwidthLimit;

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text.split_whitespace().collect::<String>()).expect("hex")
}

#[test]
fn a_connection_opens_with_handshake_windows_chunk_size_and_result() {
    let mut link = Link::new(SessionConfig::default());
    assert_eq!(link.session.phase(), Phase::Handshake);
    let hello = peer::handshake();
    link.send(&hello[..1537]);
    assert_eq!(link.session.outbound().len(), 3073, "S0 S1 S2 do not wait for C2");
    link.send(&hello[1537..]);
    assert_eq!(link.session.phase(), Phase::Connect);
    link.take();
    link.send(&peer::connect());
    assert!(link.take().is_empty(), "nothing is sent before the request is granted");
    link.accept_connect();
    assert_eq!(link.session.phase(), Phase::Connected);
    let bytes = link.take();
    let opening = hex("02 000000 000004 05 00000000 002625a0
                       02 000000 000005 06 00000000 002625a0 02
                       02 000000 000004 01 00000000 0000ea60");
    assert_eq!(bytes[..opening.len()], opening);
    let result = &bytes[opening.len()..];
    assert_eq!(result[..8], [3, 0, 0, 0, 0, ((result.len() - 12) >> 8) as u8, (result.len() - 12) as u8, 20]);
    assert_eq!(result[12..], reply::connect_result(1.0, 0.0).encode());
    assert_eq!(
        link.wait(),
        Wait { due: link.wait().due, read: Some(Read { most: 1 << 20, from: None }), ..Wait::default() }
    );
}

#[test]
fn the_object_encoding_and_the_capabilities_are_the_clients() {
    let mut link = Link::new(SessionConfig::default());
    link.send(&peer::handshake());
    let object = Object::default().with("app", "live").with("objectEncoding", 3.0).with("capsEx", 1.0);
    link.send(&peer::connect_with(object));
    link.take();
    link.accept_connect();
    let bytes = link.take();
    assert!(bytes.ends_with(&reply::connect_result(1.0, 3.0).encode()));
    assert!(link.session.capabilities().is_some_and(|capabilities| capabilities.has(Capabilities::RECONNECT)));
}

#[test]
fn replies_are_the_bytes_that_servers_send() {
    let mut link = Link::connected();
    link.send(&peer::command("releaseStream", 2.0, 0, &["cam".into()]));
    link.send(&peer::create_stream(4.0));
    link.send(&peer::command("FCUnsubscribe", 9.0, 0, &[]));
    let expected = hex("03 000000 000014 14 00000000 02 0007 5f726573756c74 00 4000000000000000 05
                        03 000000 00001d 14 00000000 02 0007 5f726573756c74 00 4010000000000000 05 00 3ff0000000000000
                        03 000000 000014 14 00000000 02 0007 5f726573756c74 00 4022000000000000 05");
    assert_eq!(link.take(), expected);
    link.send(&peer::play(1, "cam"));
    link.accept_play();
    let bytes = link.take();
    assert!(bytes.starts_with(&hex("02 000000 000006 04 00000000 0000 00000001")), "StreamBegin(1) first");
    let access = hex("05 000000 000018 12 01000000 02 0011 7c52746d7053616d706c65416363657373 01 01 01 01");
    assert!(bytes.ends_with(&access), "sample access last");
}

#[test]
fn fmle_publishes() {
    let mut link = Link::connected();
    link.send(&peer::command("releaseStream", 2.0, 0, &["cam".into()]));
    link.send(&peer::command("FCPublish", 3.0, 0, &["cam".into()]));
    link.send(&peer::create_stream(4.0));
    link.send(&peer::publish(1, "cam"));
    assert_eq!(link.accept_publish(), ClientKind::Fmle);
    assert_eq!(
        link.receive(),
        [
            "3/0 _result 2",
            "3/0 _result 3",
            "3/0 _result 4 1",
            "5/1 onFCPublish 3 NetStream.Publish.Start",
            "StreamBegin(1)",
            "5/1 onStatus 0 NetStream.Publish.Start",
        ]
    );
    assert_eq!(link.session.phase(), Phase::Publishing);
    link.send(&peer::command("FCUnpublish", 6.0, 0, &["cam".into()]));
    assert_eq!(link.events(), ["Unpublish { message_stream_id: 1 }"]);
    assert_eq!(
        link.receive(),
        [
            "5/1 onFCUnpublish 0 NetStream.Unpublish.Success",
            "3/0 _result 6",
            "5/1 onStatus 0 NetStream.Unpublish.Success",
        ]
    );
    link.send(&peer::command("deleteStream", 7.0, 0, &[1.0.into()]));
    assert_eq!(
        (link.events().len(), link.receive().len()),
        (0, 0),
        "it had ended already, and deleteStream has no answer"
    );
    link.send(&peer::command("FCUnpublish", 8.0, 0, &["cam".into()]));
    assert_eq!(link.receive(), ["3/0 _result 8"], "a client may wait for it even so");
}

#[test]
fn haivision_and_flash_publish() {
    let mut link = Link::connected();
    link.send(&peer::create_stream(2.0));
    link.send(&peer::command("FCPublish", 3.0, 0, &["cam".into()]));
    link.send(&peer::publish(1, "cam"));
    assert_eq!(link.accept_publish(), ClientKind::Haivision);
    let received = link.receive();
    assert_eq!(received[..2], ["3/0 _result 2 1", "3/0 _result 3"]);
    assert_eq!(received[2], "5/1 onFCPublish 3 NetStream.Publish.Start");

    let mut link = Link::connected();
    link.send(&peer::create_stream(2.0));
    link.send(&peer::publish(1, "cam"));
    assert_eq!(link.accept_publish(), ClientKind::Flash);
    assert_eq!(
        link.receive(),
        ["3/0 _result 2 1", "StreamBegin(1)", "5/1 onStatus 0 NetStream.Publish.Start"],
        "no onFCPublish to clients that did not ask"
    );
}

/// GStreamer's rtmp2sink: transaction 0 in every command, and a name where deleteStream needs a number.
#[test]
fn a_publisher_with_transaction_0_hears_no_results() {
    let mut link = Link::connected();
    link.send(&peer::command("releaseStream", 0.0, 0, &["cam".into()]));
    link.send(&peer::command("FCPublish", 0.0, 0, &["cam".into()]));
    link.send(&peer::create_stream(2.0));
    link.send(&peer::command("publish", 0.0, 1, &["cam".into(), "live".into()]));
    link.accept_publish();
    let received = link.receive();
    assert_eq!(received[0], "3/0 _result 2 1");
    assert_eq!(received[1], "5/1 onFCPublish 0 NetStream.Publish.Start");
    link.send(&peer::command("deleteStream", 0.0, 0, &["cam".into()]));
    assert_eq!(link.events(), ["Unpublish { message_stream_id: 1 }"]);
    assert_eq!(link.receive().len(), 0);
}

#[test]
fn a_player_plays() {
    let mut link = Link::connected();
    link.send(&peer::create_stream(2.0));
    link.send(&peer::command("getStreamLength", 3.0, 0, &["cam".into()]));
    link.send(&peer::play(1, "cam"));
    let SessionEvent::Play(request) = link.event() else { panic!("a play") };
    assert_eq!((request.message_stream_id(), request.arguments().name.as_str()), (1, "cam"));
    assert!(link.wait().read.is_none(), "nothing further is read before the answer");
    link.session.accept(request);
    assert_eq!(
        link.receive(),
        [
            "3/0 _result 2 1",
            "3/0 _result 3 0",
            "StreamBegin(1)",
            "5/1 onStatus 0 NetStream.Play.Reset",
            "5/1 onStatus 0 NetStream.Play.Start",
            "data |RtmpSampleAccess on 1 at 0",
        ]
    );
    assert_eq!(link.session.phase(), Phase::Playing);
    assert!(link.wait().source && link.wait().read.is_some());
    link.send(&peer::command("deleteStream", 5.0, 0, &[1.0.into()]));
    assert_eq!(link.events(), ["Stop { message_stream_id: 1 }"]);
    assert!(!link.wait().source);
}

#[test]
fn a_player_without_create_stream_gets_the_first_one() {
    for message_stream_id in [0, 1] {
        let mut link = Link::connected();
        link.send(&peer::play(message_stream_id, "cam"));
        link.accept_play();
        assert_eq!(link.receive()[0], "StreamBegin(1)");
        link.send(&peer::create_stream(7.0));
        assert_eq!(link.receive(), ["3/0 _result 7 2"], "the first is taken");
    }
    // A stream that was not created cannot be meant.
    let mut link = Link::connected();
    link.send(&peer::play(9, "cam"));
    assert_eq!(link.receive(), ["3/0 _error 4 NetConnection.Call.Failed"]);
}

#[test]
fn play_on_stream_0_means_the_only_one_there_is() {
    let mut link = Link::connected();
    link.send(&peer::create_stream(2.0));
    link.send(&peer::play(0, "cam"));
    link.accept_play();
    assert_eq!(link.receive()[1], "StreamBegin(1)");
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    let mut link = Link::new(SessionConfig::default());
    let mut all = peer::handshake();
    all.extend(peer::connect());
    all.extend(peer::create_stream(2.0));
    all.extend(peer::command("FCSubscribe", 3.0, 0, &["cam".into()]));
    all.extend(peer::play(1, "cam"));
    all.extend(peer::control(&Control::User(UserControl::PingRequest(77))));
    link.send(&all);
    link.receive();
    assert!(link.session.endpoint.unparsed() > 0, "what follows connect waits for its answer");
    link.accept_connect();
    link.accept_play();
    let _ = link.wait();
    assert_eq!(
        link.receive()[4..],
        [
            "3/0 _result 2 1",
            "3/0 _result 3",
            "3/0 onFCSubscribe 0 NetStream.Play.Start",
            "StreamBegin(1)",
            "5/1 onStatus 0 NetStream.Play.Reset",
            "5/1 onStatus 0 NetStream.Play.Start",
            "data |RtmpSampleAccess on 1 at 0",
            "PingResponse(77)",
        ]
    );
    assert!(link.session.endpoint.unparsed() == 0);
}

#[test]
fn a_stream_that_was_closed_can_be_published_again() {
    let mut link = Link::publishing(SessionConfig::default());
    link.send(&peer::video(0, peer::VIDEO_HEADER));
    link.send(&peer::command("closeStream", 0.0, 1, &[]));
    link.send(&peer::video(5, peer::VIDEO_HEADER));
    assert_eq!(link.events(), ["video header 255 on 1 at 0", "Unpublish { message_stream_id: 1 }"]);
    assert_eq!(link.receive(), ["5/1 onStatus 0 NetStream.Unpublish.Success"]);
    assert_eq!(link.session.counters().stray_media, 1, "media outside a publication goes nowhere, and is counted");
    assert_eq!(link.session.phase(), Phase::Connected);
    link.send(&peer::publish(1, "other"));
    let SessionEvent::Publish(request) = link.event() else { panic!("a publish") };
    assert_eq!(request.name(), "other");
    link.session.accept(request);
    link.send(&peer::audio(9, peer::AUDIO_HEADER));
    assert_eq!(link.events(), ["audio header 16 on 1 at 9"]);
}

#[test]
fn a_second_publish_on_a_stream_ends_the_first() {
    let mut link = Link::publishing(SessionConfig::default());
    link.send(&peer::publish(1, "other"));
    assert!(matches!(link.event(), SessionEvent::Unpublish { message_stream_id: 1 }));
    link.accept_publish();
    assert_eq!(link.session.phase(), Phase::Publishing);
}

#[test]
fn stream_ids_count_up_and_the_second_works_as_the_first() {
    let mut link = Link::connected();
    link.send(&peer::create_stream(2.0));
    link.send(&peer::create_stream(3.0));
    link.send(&peer::publish(2, "two"));
    link.accept_publish();
    let received = link.receive();
    assert_eq!(received[..2], ["3/0 _result 2 1", "3/0 _result 3 2"]);
    assert_eq!(received[2..], ["StreamBegin(2)", "5/2 onStatus 0 NetStream.Publish.Start"]);
    link.send(&peer::message(MessageType::AUDIO, 5, 2, &peer::audio_frame(1)));
    // Data with message stream 0 can only mean the one stream that is published.
    link.send(&peer::metadata(6, 0));
    assert_eq!(link.events(), ["audio frame 1 on 2 at 5", "data onMetaData on 2 at 6"]);
    link.send(&peer::command("deleteStream", 0.0, 0, &[2.0.into()]));
    assert_eq!(link.events(), ["Unpublish { message_stream_id: 2 }"]);
    link.send(&peer::create_stream(4.0));
    assert_eq!(link.receive(), ["3/0 _result 4 2"], "a deleted id is free again");
}

#[test]
fn a_stream_that_is_not_there_is_not_taken_for_another() {
    let mut link = Link::connected();
    link.send(&peer::create_stream(2.0));
    link.send(&peer::publish(7, "cam"));
    assert_eq!(link.receive(), ["3/0 _result 2 1", "3/0 _error 5 NetConnection.Call.Failed"]);
    assert_eq!((link.events().len(), link.session.phase()), (0, Phase::Connected));
}

/// GStreamer's rtmp2sink sends the name of the stream in place of its number.
#[test]
fn delete_stream_without_a_number_ends_all() {
    let mut link = Link::connected();
    for message_stream_id in [1, 2] {
        link.send(&peer::create_stream(2.0));
        link.send(&peer::publish(message_stream_id, "cam"));
        link.accept_publish();
    }
    link.receive();
    link.send(&peer::command("deleteStream", 0.0, 0, &["cam".into()]));
    assert_eq!(link.events(), ["Unpublish { message_stream_id: 1 }", "Unpublish { message_stream_id: 2 }"]);
    assert_eq!(link.session.phase(), Phase::Connected);
    link.send(&peer::create_stream(3.0));
    assert_eq!(link.receive(), ["3/0 _result 3 1"], "their ids are free again");
}

#[test]
fn streams_are_bounded() {
    let mut config = SessionConfig::default();
    config.limits.streams = 2;
    let mut link = Link::connected_with(config);
    for transaction in [2.0, 3.0, 4.0] {
        link.send(&peer::create_stream(transaction));
    }
    assert_eq!(link.receive(), ["3/0 _result 2 1", "3/0 _result 3 2", "3/0 _error 4 NetConnection.Call.Failed"]);
}

#[test]
fn players_pause_seek_and_choose_tracks() {
    let mut link = Link::playing();
    link.send(&peer::command("pause", 0.0, 1, &[true.into(), 0.0.into()]));
    assert_eq!(link.events(), ["Pause { message_stream_id: 1, paused: true }"]);
    assert_eq!(link.receive(), ["5/1 onStatus 0 NetStream.Pause.Notify", "StreamEof(1)"]);
    link.send(&peer::command("pause", 0.0, 1, &[false.into(), 0.0.into()]));
    assert_eq!(link.events(), ["Pause { message_stream_id: 1, paused: false }"]);
    assert_eq!(link.receive(), ["5/1 onStatus 0 NetStream.Unpause.Notify", "StreamBegin(1)"]);
    link.send(&peer::command("seek", 0.0, 1, &[1000.0.into()]));
    assert_eq!(link.receive(), ["5/1 onStatus 0 NetStream.Seek.Notify"]);
    link.send(&peer::command("receiveVideo", 0.0, 1, &[false.into()]));
    link.send(&peer::command("receiveAudio", 0.0, 1, &[true.into()]));
    assert_eq!(
        link.events(),
        [
            "Receive { message_stream_id: 1, track: Video, on: false }",
            "Receive { message_stream_id: 1, track: Audio, on: true }"
        ]
    );
    assert_eq!(link.receive(), ["5/1 onStatus 0 NetStream.Seek.Notify", "5/1 onStatus 0 NetStream.Play.Start"]);
    link.send(&peer::command("closeStream", 0.0, 1, &[]));
    assert_eq!(link.events(), ["Stop { message_stream_id: 1 }"]);
    link.send(&peer::command("pause", 0.0, 1, &[true.into()]));
    assert_eq!((link.events().len(), link.receive().len()), (0, 0), "there is nothing to pause");
}

#[test]
fn a_bandwidth_check_is_over_at_once() {
    let mut link = Link::connected();
    link.send(&peer::command("_checkbw", 9.0, 0, &[]));
    assert_eq!(link.receive(), ["3/0 _result 9", "3/0 onBWDone 0"]);
}

#[test]
fn unknown_calls_fail_and_notices_are_ignored() {
    let mut link = Link::connected();
    link.send(&peer::command("getMovLen", 9.0, 0, &[]));
    link.send(&peer::command("getMovLen", 0.0, 0, &[]));
    link.send(&peer::command("onStatus", 3.0, 0, &[]));
    link.send(&peer::connect());
    assert_eq!(link.receive(), ["3/0 _error 9 NetConnection.Call.Failed"]);
    assert_eq!(link.session.counters().ignored_messages, 2, "the notice and the second connect");
    // Once connected, a command that is not AMF has no effect.
    link.send(&peer::message(MessageType::COMMAND_AMF0, 0, 0, &[0xff]));
    link.send(&peer::message(99, 0, 0, &[1]));
    let counters = link.session.counters();
    assert_eq!((counters.unreadable_messages, counters.ignored_messages), (1, 3));
    assert_eq!(link.closed(), None);
}

#[test]
fn commands_of_type_17_are_heard_and_answered_as_type_20() {
    let mut link = Link::connected();
    for selector in [&[0][..], &[]] {
        let body = [selector, &Command::new("createStream", 2.0, Value::Null).encode()].concat();
        link.send(&peer::message(MessageType::COMMAND_AMF3, 0, 0, &body));
    }
    assert_eq!(link.receive(), ["3/0 _result 2 1", "3/0 _result 2 2"]);
}

#[test]
fn media_and_data_become_events() {
    let mut link = Link::publishing(SessionConfig::default());
    link.send(&peer::metadata(0, 1));
    link.send(&peer::data(1, 1, &["@clearDataFrame".into(), "onMetaData".into()]));
    link.send(&peer::data(2, 1, &["onTextData".into(), Value::Null]));
    link.send(&peer::message(MessageType::DATA_AMF3, 3, 1, &[0, 2, 0, 1, b'x']));
    link.send(&peer::message(MessageType::DATA_AMF0, 4, 1, &[1, 2, 3, 4]));
    assert_eq!(
        link.events(),
        [
            "data onMetaData on 1 at 0",
            "ClearMetadata { message_stream_id: 1 }",
            "data onTextData on 1 at 2",
            "data x on 1 at 3",
        ]
    );
    assert_eq!(link.session.counters().unreadable_messages, 1);
}

#[test]
fn aggregates_come_apart() {
    let mut body = Vec::new();
    for (type_id, timestamp, payload) in [
        (9, 500, peer::key_frame(1)),
        (8, 520, peer::audio_frame(2)),
        (19, 530, vec![0]),
        (18, 535, b"\x02\x00\x06onText\x05".to_vec()),
        (9, 540, peer::inter_frame(3)),
    ] {
        crate::flv::tag::write_tag(type_id, timestamp, &payload, &mut body).expect("short");
    }
    let mut link = Link::publishing(SessionConfig::default());
    link.send(&peer::message(MessageType::AGGREGATE, 1000, 1, &body));
    let parts = [
        "video key 1 on 1 at 1000",
        "audio frame 2 on 1 at 1020",
        "data onText on 1 at 1035",
        "video frame 3 on 1 at 1040",
    ];
    assert_eq!(link.events(), parts);
    assert_eq!(link.session.counters().ignored_messages, 1);
    // On stream 0 the aggregate and its parts can only mean the one stream that exists.
    link.send(&peer::message(MessageType::AGGREGATE, 1000, 0, &body));
    assert_eq!(link.events(), parts);
}

#[test]
fn parts_of_an_aggregate_that_cannot_be_read_are_skipped_and_counted() {
    let mut body = Vec::new();
    for (type_id, timestamp, payload) in [
        (8, 0, peer::audio_frame(1)),
        (22, 10, vec![0; 30]),
        (9, 20, peer::key_frame(2)),
        (22, 30, vec![]),
        (8, 40, peer::audio_frame(3)),
    ] {
        crate::flv::tag::write_tag(type_id, timestamp, &payload, &mut body).expect("short");
    }
    body.extend_from_slice(&[8, 0, 0]);
    let mut link = Link::publishing(SessionConfig::default());
    link.send(&peer::message(MessageType::AGGREGATE, 0, 1, &body));
    assert_eq!(link.events(), ["audio frame 1 on 1 at 0", "video key 2 on 1 at 20", "audio frame 3 on 1 at 40"]);
    assert_eq!(link.session.counters().unreadable_messages, 3);
}

#[test]
fn what_needs_no_answer_gets_none() {
    let mut link = Link::connected();
    for control in [
        Control::Acknowledgement(5),
        Control::SetPeerBandwidth { window: 5, limit: PeerBandwidthLimit::Hard },
        Control::User(UserControl::SetBufferLength { message_stream_id: 1, milliseconds: 300 }),
        Control::User(UserControl::PingResponse(1)),
    ] {
        link.send(&peer::control(&control));
    }
    assert_eq!((link.receive().len(), link.session.counters()), (0, SessionCounters::default()));
    link.send(&peer::control(&Control::User(UserControl::StreamDry(1))));
    assert_eq!(link.session.counters().ignored_events, 1);
    link.send(&peer::control(&Control::User(UserControl::PingRequest(12345))));
    assert_eq!(link.receive(), ["PingResponse(12345)"]);
}

#[test]
fn a_publisher_says_whether_to_record() {
    for (word, expected) in [
        ("live", crate::command::PublishType::Live),
        ("record", crate::command::PublishType::Record),
        ("append", crate::command::PublishType::Append),
    ] {
        let mut link = Link::connected();
        link.send(&peer::create_stream(2.0));
        link.send(&peer::command("publish", 5.0, 1, &["cam".into(), word.into()]));
        let SessionEvent::Publish(request) = link.event() else { panic!("it publishes") };
        assert_eq!((request.publish_type(), request.name(), request.message_stream_id()), (expected, "cam", 1));
        link.session.accept(request);
    }
}
