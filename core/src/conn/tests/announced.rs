//! Sound that only players get that have announced its codec.

use super::*;
use crate::message::Message;
use crate::session::ClientKind;
use crate::source::BY_WEBRTC;

/// Metadata, and headers of H.264 and Opus, of a publisher by WebRTC or one by RTMP.
fn opening(by_webrtc: bool) -> Vec<u8> {
    let about = Object::default().with("audiocodecid", 1_332_770_163.0).with("videocodecid", 7.0);
    let about = if by_webrtc { about.with(BY_WEBRTC, true) } else { about };
    let metadata = ["@setDataFrame".into(), "onMetaData".into(), Value::EcmaArray(about)];
    [peer::data(0, 1, &metadata), peer::video(0, peer::VIDEO_HEADER), peer::audio(0, b"\x90OpusOpusHead")].concat()
}

fn opus(time: u32, number: u8) -> Vec<u8> {
    peer::audio(time, &[b"\x91Opus".as_slice(), &[number]].concat())
}

fn media(time: u32, number: u8) -> Vec<u8> {
    [peer::video(time, &peer::key_frame(number)), opus(time, number), opus(time + 20, number)].concat()
}

/// A player that has announced this in its `connect`.
fn player(harness: &Harness, announced: Object) -> Client {
    let connect = announced.with("app", "live").with("tcUrl", "rtmp://127.0.0.1/live");
    let mut client = harness.client_from(None, connect);
    client.send(harness, &[peer::create_stream(2.0), peer::play(1, "cam")].concat());
    client
}

fn map(key: &str, codec: &str) -> Object {
    Object::default().with(key, Value::Object(Object::default().with(codec, 1.0)))
}

fn of_type(messages: &[Message], type_id: u8) -> usize {
    messages.iter().filter(|message| message.type_id == type_id).count()
}

fn promises_sound(messages: &[Message]) -> bool {
    messages.iter().any(|message| message.payload.windows(12).any(|name| name == b"audiocodecid"))
}

#[test]
fn players_that_have_not_announced_opus_get_the_picture_of_a_stream_by_webrtc() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[opening(true), media(0, 1)].concat());
    let list = |codec: &str| Object::default().with("fourCcList", Value::StrictArray(vec![codec.into()]));
    for (announced, sound) in [
        (Object::default(), 0),
        (list("hvc1"), 0),
        (map("videoFourCcInfoMap", "*"), 0),
        (map("audioFourCcInfoMap", "mp4a"), 0),
        (list("*"), 3),
        (list("Opus"), 3),
        (map("audioFourCcInfoMap", "Opus"), 3),
        (map("audioFourCcInfoMap", "*"), 3),
    ] {
        let mut client = player(&harness, announced.clone());
        let mut messages = client.messages(&harness);
        assert_eq!(of_type(&messages, AUDIO), sound, "{announced:?}");
        assert_eq!(of_type(&messages, MessageType::VIDEO), 2);
        assert_eq!(promises_sound(&messages), sound > 0, "some players wait for what is promised");
        publisher.send(&harness, &media(80, 2));
        client.poll(&harness);
        messages = client.messages(&harness);
        assert_eq!(of_type(&messages, AUDIO), sound.min(2));
        let said = client.remarks.iter().filter(|remark| matches!(remark, Remark::NoSound(_))).count();
        assert_eq!(said, usize::from(sound == 0), "once");
        client.disconnect(&harness);
        let report = client.closed.expect("it is over");
        assert_eq!(report.left_out.unannounced, if sound == 0 { 5 } else { 0 }, "{report}");
        assert_eq!(report.to_string().contains("5 frames of sound in a codec"), sound == 0, "{report}");
        // The next one begins with what this one began with.
        publisher.disconnect(&harness);
        publisher = harness.publisher("cam");
        publisher.send(&harness, &[opening(true), media(0, 1)].concat());
    }
}

#[test]
fn opus_that_a_publisher_by_rtmp_has_chosen_goes_to_all() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[opening(false), media(0, 1)].concat());
    let mut client = player(&harness, Object::default());
    let messages = client.messages(&harness);
    assert_eq!(of_type(&messages, AUDIO), 3);
    assert!(promises_sound(&messages));
    assert!(client.remarks.is_empty());
}

#[test]
fn sound_that_all_play_goes_to_all_whoever_publishes() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[opening(true), peer::audio(0, peer::AUDIO_HEADER), gop(0, 1)].concat());
    let mut client = player(&harness, Object::default());
    assert_eq!(of_type(&client.messages(&harness), AUDIO), 2, "AAC");
    assert_eq!(publisher.conn.session().manner(), ClientKind::Flash);
}

#[test]
fn batches_are_shared_by_those_that_get_the_same() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[opening(true), media(0, 1)].concat());
    let mut silent = [player(&harness, Object::default()), player(&harness, Object::default())];
    let mut hears = player(&harness, map("audioFourCcInfoMap", "*"));
    for client in silent.iter_mut().chain([&mut hears]) {
        client.receive(&harness);
    }
    // Pictures are for all.
    publisher.send(&harness, &peer::video(40, &peer::inter_frame(2)));
    let mut batches = Batches::default();
    let shares: Vec<_> = silent
        .iter_mut()
        .chain([&mut hears])
        .map(|client| {
            let share = batches.share(&mut client.conn).expect("it is for all");
            let bytes = share.bytes().clone();
            let count = bytes.len();
            client.conn.wrote(harness.now, share, count).expect("it is its own");
            client.server_output.lines(&bytes);
            bytes
        })
        .collect();
    assert!(shares.iter().all(|bytes| bytes.as_ptr() == shares[0].as_ptr()), "one batch");
    // Sound is not.
    publisher.send(&harness, &[opus(60, 3), peer::video(80, &peer::inter_frame(4))].concat());
    let mut batches = Batches::default();
    for client in &mut silent {
        assert!(batches.share(&mut client.conn).is_none());
        assert_eq!(client.receive(&harness), ["video frame 4 on 1 at 80"]);
    }
    let share = batches.share(&mut hears.conn).expect("it takes all");
    assert_eq!(hears.server_output.lines(share.bytes()), ["audio frame 3 on 1 at 60", "video frame 4 on 1 at 80"]);
}
