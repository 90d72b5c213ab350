//! What a publisher sends, and what of it players get: all of it, to the byte.

use anabranch_core::amf::{Object, Value, amf0};
use anabranch_core::flv::tag::write_tag;
use anabranch_core::message::{Control, Message, MessageType};

use crate::conformance::Target;
use crate::conformance::media::{
    AUDIO_HEADER, VIDEO_HEADER, audio_frame, gop_lines, header_lines, inter_frame, key_frame, long, metadata,
};
use crate::peer::ScriptedClient;

cases![
    set_data_frame_is_taken_off_and_the_metadata_relayed,
    metadata_without_set_data_frame_is_relayed_as_it_is,
    metadata_of_type_15_reaches_players_as_type_18,
    cleared_metadata_is_not_for_later_players,
    metadata_sent_again_replaces_the_old_for_later_players,
    other_data_is_relayed_and_not_kept,
    data_that_is_no_amf_is_dropped_and_the_rest_goes_on,
    a_late_player_starts_with_headers_at_the_newest_key_frame,
    a_late_player_gets_the_newest_headers,
    a_late_player_waits_for_the_next_key_frame with NEXT_KEY_FRAME,
    pictures_before_the_first_key_frame_are_not_sent,
    audio_alone_is_relayed_from_where_a_player_came,
    payloads_of_all_lengths_arrive_to_the_byte,
    a_frame_of_a_megabyte_arrives_to_the_byte,
    a_frame_longer_than_a_chunk_is_cut_by_the_chunk_size with SMALL_CHUNKS,
    players_on_other_message_streams_get_the_same_bytes,
    chunks_of_audio_between_chunks_of_video_are_put_apart,
    the_chunk_size_may_change_between_messages,
    the_chunk_size_may_change_within_a_message,
    chunks_of_one_byte_are_put_together,
    headers_of_all_formats_are_read,
    chunk_streams_of_two_and_three_bytes_are_read,
    extended_timestamps_repeated_in_every_chunk_are_read,
    extended_timestamps_sent_once_are_read,
    extended_timestamps_are_written_to_players,
    time_goes_on_over_the_wrap,
    a_jump_in_time_is_bridged,
    timestamps_pass_as_they_are_where_that_is_wanted with PASS,
    aggregates_come_apart,
    unknown_codecs_arrive_to_the_byte,
    enhanced_video_arrives_to_the_byte_and_starts_late_players,
    enhanced_audio_arrives_to_the_byte,
    multitrack_messages_go_whole_to_players_that_understand_them,
    other_players_get_the_default_track_in_plain_form,
    multitrack_messages_go_to_all_players_if_configured with MULTITRACK,
    empty_messages_do_no_harm,
    repeated_headers_are_left_out_where_that_is_wanted with REDUCED,
    every_player_of_many_gets_all_of_it,
];

setups! {
    NEXT_KEY_FRAME = |config| config.defaults.start_rule = anabranch_core::source::StartRule::NextKeyFrame;
    SMALL_CHUNKS = |config| config.defaults.session.chunk_size = 1000;
    PASS = |config| config.defaults.timestamps = anabranch_core::source::Timestamps::Pass;
    MULTITRACK = |config| config.defaults.multitrack_to_all = true;
    REDUCED = |config| config.defaults.reduce_sequence_headers = true;
}

/// A player and a publisher, in this order.
fn pair(target: &Target) -> (ScriptedClient, ScriptedClient) {
    (ScriptedClient::player(target, &target.name), ScriptedClient::publisher(target, &target.name))
}

fn encoded(values: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    for value in values {
        amf0::encode(value, &mut body);
    }
    body
}

fn assert_is(message: &Message, type_id: u8, timestamp: u32, body: &[u8]) {
    assert_eq!((message.type_id, message.timestamp, message.message_stream_id), (type_id, timestamp, 1));
    assert!(message.payload[..] == body[..], "{} bytes came, {} were sent", message.payload.len(), body.len());
}

/// Sends a message and finds it again at the player.
fn passes(publisher: &mut ScriptedClient, player: &mut ScriptedClient, type_id: u8, timestamp: u32, body: &[u8]) {
    publisher.send(6, timestamp, type_id, 1, body);
    assert_is(&player.message(), type_id, timestamp, body);
}

/// What the next player is sent up to the answer to two pings.
fn joins(target: &Target) -> Vec<String> {
    ScriptedClient::player(target, &target.name).receive_pending()
}

/// The player has begun: all that comes is sent on.
fn begin(publisher: &mut ScriptedClient, player: &mut ScriptedClient) {
    publisher.video(0, &key_frame(0));
    assert_eq!(player.receive(1), ["video key 0 on 1 at 0"]);
}

fn set_data_frame_is_taken_off_and_the_metadata_relayed(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    begin(&mut publisher, &mut player);
    let [name, object] = metadata();
    let body = encoded(&[name.clone(), object.clone()]);
    publisher.data(&["@setDataFrame".into(), name, object]);
    assert_is(&player.message(), MessageType::DATA_AMF0, 0, &body);
    publisher.gop(80, 1);
    publisher.receive_pending();
    let mut late = ScriptedClient::player(target, &target.name);
    assert_is(&late.message(), MessageType::DATA_AMF0, 0, &body);
}

fn metadata_without_set_data_frame_is_relayed_as_it_is(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    begin(&mut publisher, &mut player);
    let object = Object::new()
        .with("width", 64.0)
        .with("encoder", "of my own")
        .with("list", Value::StrictArray(vec![1.0.into(), true.into(), Value::Null]))
        .with("videocodecid", Value::Object(Object::new().with("a", "b")));
    let body = encoded(&["onMetaData".into(), Value::Object(object)]);
    passes(&mut publisher, &mut player, MessageType::DATA_AMF0, 0, &body);
}

fn metadata_of_type_15_reaches_players_as_type_18(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    begin(&mut publisher, &mut player);
    let body = encoded(&metadata());
    let set = [&[0], &encoded(&["@setDataFrame".into()])[..], &body].concat();
    for sent in [&set[..], &[&[0], &body[..]].concat(), &body] {
        publisher.send(5, 0, MessageType::DATA_AMF3, 1, sent);
        assert_is(&player.message(), MessageType::DATA_AMF0, 0, &body);
    }
}

fn cleared_metadata_is_not_for_later_players(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.headers();
    publisher.data(&["@clearDataFrame".into(), "onMetaData".into()]);
    publisher.gop(0, 1);
    publisher.receive_pending();
    assert_eq!(joins(target), [&header_lines(0)[1..], &gop_lines(0, 1)].concat());
}

fn metadata_sent_again_replaces_the_old_for_later_players(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.headers();
    let newer = encoded(&["onMetaData".into(), Value::EcmaArray(Object::new().with("width", 128.0))]);
    publisher.send(5, 0, MessageType::DATA_AMF0, 1, &newer);
    publisher.gop(0, 1);
    publisher.receive_pending();
    let mut player = ScriptedClient::player(target, &target.name);
    assert_is(&player.message(), MessageType::DATA_AMF0, 0, &newer);
    assert_eq!(player.receive_pending(), [&header_lines(0)[1..], &gop_lines(0, 1)].concat());
}

fn other_data_is_relayed_and_not_kept(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    begin(&mut publisher, &mut player);
    let cue = encoded(&["onCuePoint".into(), Value::Object(Object::new().with("name", "advert"))]);
    passes(&mut publisher, &mut player, MessageType::DATA_AMF0, 0, &cue);
    publisher.gop(80, 1);
    publisher.receive_pending();
    assert_eq!(joins(target), gop_lines(80, 1));
}

fn data_that_is_no_amf_is_dropped_and_the_rest_goes_on(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    begin(&mut publisher, &mut player);
    // What FFmpeg makes of a timecode track, nothing at all, a value cut off, and a name too long for FFmpeg players.
    let long_name = encoded(&["h".repeat(64).as_str().into()]);
    for body in [&[0, 0, 3, 0xe8][..], &[], &[2, 0, 1, b'x', 0, 1], &long_name] {
        publisher.send(5, 0, MessageType::DATA_AMF0, 1, body);
    }
    publisher.audio(5, &audio_frame(1));
    assert_eq!(player.receive(1), ["audio frame 1 on 1 at 5"]);
}

fn a_late_player_starts_with_headers_at_the_newest_key_frame(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.headers();
    publisher.gop(0, 1);
    publisher.gop(80, 2);
    publisher.receive_pending();
    assert_eq!(joins(target), [header_lines(80), gop_lines(80, 2)].concat());
}

fn a_late_player_gets_the_newest_headers(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.headers();
    publisher.gop(0, 1);
    publisher.video(80, &[0x17, 0, 0, 0, 0, 2, 7]);
    publisher.audio(80, &[0xaf, 0, 0x13, 8]);
    publisher.gop(80, 2);
    publisher.receive_pending();
    let [metadata, ..] = header_lines(80);
    let headers = ["video header 7 on 1 at 80".to_owned(), "audio header 8 on 1 at 80".to_owned()];
    assert_eq!(joins(target), [&[metadata][..], &headers, &gop_lines(80, 2)].concat());
}

fn a_late_player_waits_for_the_next_key_frame(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.headers();
    publisher.gop(0, 1);
    publisher.receive_pending();
    let mut player = ScriptedClient::player(target, &target.name);
    player.assert_quiet();
    publisher.video(60, &inter_frame(1));
    publisher.gop(80, 2);
    assert_eq!(player.receive(6), [header_lines(80), gop_lines(80, 2)].concat());
}

fn pictures_before_the_first_key_frame_are_not_sent(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    publisher.video(0, &inter_frame(1));
    publisher.video(40, &inter_frame(2));
    publisher.gop(80, 3);
    assert_eq!(player.receive(3), gop_lines(80, 3));
}

fn audio_alone_is_relayed_from_where_a_player_came(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    publisher.audio(0, AUDIO_HEADER);
    for number in 1..5 {
        publisher.audio(u32::from(number) * 20, &audio_frame(number));
    }
    publisher.receive_pending();
    let mut player = ScriptedClient::player(target, &target.name);
    assert_eq!(player.receive_pending(), ["audio header 16 on 1 at 80", "audio frame 4 on 1 at 80"]);
    publisher.audio(100, &audio_frame(5));
    assert_eq!(player.receive(1), ["audio frame 5 on 1 at 100"]);
}

fn payloads_of_all_lengths_arrive_to_the_byte(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    begin(&mut publisher, &mut player);
    for (number, length) in
        [5, 6, 127, 128, 129, 255, 256, 257, 384, 4095, 4096, 4097, 59_999, 60_000, 60_001, 65_535, 65_536, 120_000]
            .into_iter()
            .enumerate()
    {
        let timestamp = number as u32 * 40;
        passes(&mut publisher, &mut player, MessageType::VIDEO, timestamp, &long(&[0x27, 1, 0, 0, 0], length));
        passes(&mut publisher, &mut player, MessageType::AUDIO, timestamp, &long(&[0xaf, 1], length));
    }
}

fn a_frame_of_a_megabyte_arrives_to_the_byte(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    publisher.set_chunk_size(65_536);
    passes(&mut publisher, &mut player, MessageType::VIDEO, 0, &long(&[0x17, 1, 0, 0, 0], 1 << 20));
    passes(&mut publisher, &mut player, MessageType::VIDEO, 40, &long(&[0x27, 1, 0, 0, 0], 3_000_000));
}

fn a_frame_longer_than_a_chunk_is_cut_by_the_chunk_size(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    let body = long(&[0x17, 1, 0, 0, 0], 2500);
    publisher.video(0x0001_0203, &body);
    let wire = player.wire().read_exact(12 + 1000 + 1 + 1000 + 1 + 500);
    assert_eq!(wire[1..12], [1, 2, 3, 0, 9, 0xc4, 9, 1, 0, 0, 0], "a full header, for message stream 1");
    let chunk_stream = wire[0];
    assert!((3..64).contains(&chunk_stream), "{chunk_stream}");
    for (at, range) in [(1012, 0..1000), (2013, 1000..2000)] {
        assert_eq!(wire[at], 0xc0 | chunk_stream);
        assert!(wire[at - 1000..at] == body[range]);
    }
    assert!(wire[2014..] == body[2000..]);
}

fn players_on_other_message_streams_get_the_same_bytes(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut player = ScriptedClient::connected(target);
    player.create_stream(2.0);
    player.create_stream(3.0);
    player.play(2, &target.name);
    player.receive_until("|RtmpSampleAccess");
    let body = long(&[0x17, 1, 0, 0, 0], 130_000);
    publisher.video(0x0100_0000, &body);
    let message = player.message();
    assert_eq!((message.message_stream_id, message.timestamp), (2, 0x0100_0000));
    assert!(message.payload[..] == body[..]);
}

/// Cut by 128, the size it starts with: 12 bytes of header, then a byte before each further chunk.
fn chunks_of(client: &mut ScriptedClient, chunk_stream: u8, timestamp: u32, type_id: u8, body: &[u8]) -> Vec<Vec<u8>> {
    let bytes = client.encode(chunk_stream, timestamp, type_id, 1, body);
    let (first, rest) = bytes.split_at(bytes.len().min(12 + 128));
    std::iter::once(first).chain(rest.chunks(1 + 128)).map(<[u8]>::to_vec).collect()
}

fn chunks_of_audio_between_chunks_of_video_are_put_apart(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    let (video, audio) = (long(&[0x17, 1, 0, 0, 0], 700), long(&[0xaf, 1], 500));
    let video_chunks = chunks_of(&mut publisher, 6, 0, MessageType::VIDEO, &video);
    let audio_chunks = chunks_of(&mut publisher, 4, 10, MessageType::AUDIO, &audio);
    assert_eq!((video_chunks.len(), audio_chunks.len()), (6, 4));
    for (number, chunk) in video_chunks.iter().enumerate() {
        publisher.send_bytes(chunk);
        if let Some(chunk) = audio_chunks.get(number) {
            publisher.send_bytes(chunk);
        }
    }
    // The audio was whole first; a player that waits for video gets what came before its first key frame.
    let messages = [player.message(), player.message()];
    assert_is(&messages[0], MessageType::AUDIO, 10, &audio);
    assert_is(&messages[1], MessageType::VIDEO, 0, &video);
}

fn the_chunk_size_may_change_between_messages(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    begin(&mut publisher, &mut player);
    for (number, size) in [4096, 1, 128, 65_536, 129, 0x7fff_ffff, 60_000].into_iter().enumerate() {
        publisher.set_chunk_size(size);
        let body = long(&[0x27, 1, 0, 0, 0], 5000);
        passes(&mut publisher, &mut player, MessageType::VIDEO, number as u32 * 40, &body);
    }
}

fn the_chunk_size_may_change_within_a_message(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    let body = long(&[0x17, 1, 0, 0, 0], 1000);
    let chunks = chunks_of(&mut publisher, 6, 0, MessageType::VIDEO, &body);
    publisher.send_bytes(&chunks[..3].concat());
    publisher.control(&Control::SetChunkSize(500));
    let rest = &body[3 * 128..];
    publisher.send_bytes(&[&[0xc6], &rest[..500], &[0xc6], &rest[500..]].concat());
    assert_is(&player.message(), MessageType::VIDEO, 0, &body);
}

fn chunks_of_one_byte_are_put_together(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    publisher.set_chunk_size(1);
    passes(&mut publisher, &mut player, MessageType::VIDEO, 0, &long(&[0x17, 1, 0, 0, 0], 3000));
}

fn headers_of_all_formats_are_read(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    let frame = |number: u8| [0x17, 1, 0, 0, 0, number];
    let inter = |number: u8| [0x27, 1, 0, 0, 0, number];
    // Format 0 at 1000, format 1 with a delta of 40 and another length, format 2 with 20, format 3 with 20 again.
    publisher.send_bytes(&[&[0x06, 0, 3, 0xe8, 0, 0, 6, 9, 1, 0, 0, 0], &frame(1)[..]].concat());
    publisher.send_bytes(&[&[0x46, 0, 0, 40, 0, 0, 7, 9], &inter(0)[..], &[2]].concat());
    publisher.send_bytes(&[&[0x86, 0, 0, 20], &inter(0)[..], &[3]].concat());
    publisher.send_bytes(&[&[0xc6], &inter(0)[..], &[4]].concat());
    assert_eq!(
        player.receive(4),
        [
            "video key 1 on 1 at 1000",
            "video frame 2 on 1 at 1040",
            "video frame 3 on 1 at 1060",
            "video frame 4 on 1 at 1080",
        ]
    );
}

fn chunk_streams_of_two_and_three_bytes_are_read(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    let body = long(&[0x17, 1, 0, 0, 0], 300);
    for (number, basic) in [&[0u8, 0][..], &[0, 255], &[1, 0, 0], &[1, 255, 255]].into_iter().enumerate() {
        let timestamp = number as u8 * 40;
        let next: Vec<u8> = [&[basic[0] | 0xc0], &basic[1..]].concat();
        let header = [basic, &[0, 0, timestamp, 0, 1, 44, 9, 1, 0, 0, 0]].concat();
        publisher.send_bytes(&[&header, &body[..128], &next, &body[128..256], &next, &body[256..]].concat());
        assert_is(&player.message(), MessageType::VIDEO, u32::from(timestamp), &body);
    }
}

fn extended(target: &Target, repeated: bool) {
    let (mut player, mut publisher) = pair(target);
    let time = 0x0123_4567_u32.to_be_bytes();
    let body = long(&[0x17, 1, 0, 0, 0], 300);
    let again: &[u8] = if repeated { &time } else { &[] };
    let header = [&[0x06, 0xff, 0xff, 0xff, 0, 1, 44, 9, 1, 0, 0, 0], &time[..]].concat();
    let first = [&header, &body[..128], &[0xc6], again, &body[128..256], &[0xc6], again, &body[256..]].concat();
    publisher.send_bytes(&first);
    assert_is(&player.message(), MessageType::VIDEO, 0x0123_4567, &body);
    // And goes on from there with a delta.
    publisher.send_bytes(&[&[0x46, 0, 0, 40, 0, 0, 6, 9], &inter_frame(2)[..]].concat());
    assert_eq!(player.receive(1), [format!("video frame 2 on 1 at {}", 0x0123_4567 + 40)]);
}

fn extended_timestamps_repeated_in_every_chunk_are_read(target: &Target) {
    extended(target, true);
}

/// OBS before 2024 and other users of old librtmp.
fn extended_timestamps_sent_once_are_read(target: &Target) {
    extended(target, false);
}

fn extended_timestamps_are_written_to_players(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    for (number, timestamp) in [0x00ff_fffe_u32, 0x00ff_ffff, 0x0100_0000].into_iter().enumerate() {
        publisher.video(timestamp, &key_frame(number as u8));
        assert_eq!(player.receive(1), [format!("video key {number} on 1 at {timestamp}")]);
    }
}

fn time_goes_on_over_the_wrap(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    publisher.gop(u32::MAX - 39, 1);
    publisher.gop(20, 2);
    let received = player.receive(6);
    assert_eq!(received[0], format!("video key 1 on 1 at {}", u32::MAX - 39));
    assert_eq!(received[2], "video frame 1 on 1 at 0");
    assert_eq!(received[3..], gop_lines(20, 2));
}

fn a_jump_in_time_is_bridged(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    publisher.gop(1000, 1);
    publisher.gop(500_000, 2);
    publisher.gop(500_080, 3);
    let received = player.receive(9);
    let time = |line: &String| line.rsplit(' ').next().and_then(|word| word.parse::<u32>().ok()).expect("a time");
    let second = time(&received[3]);
    // No further than the clock went.
    assert!((1041..61_000).contains(&second), "{received:?}");
    assert_eq!(received[3..], [gop_lines(second, 2), gop_lines(second + 80, 3)].concat());
}

fn timestamps_pass_as_they_are_where_that_is_wanted(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    for (number, time) in [(1, 1000), (2, 500_000), (3, 20)] {
        publisher.gop(time, number);
        assert_eq!(player.receive(3), gop_lines(time, number));
    }
}

fn aggregates_come_apart(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    let mut body = Vec::new();
    for (type_id, timestamp, payload) in [
        (9, 500, key_frame(1)),
        (8, 520, audio_frame(2)),
        (19, 530, vec![0]),
        (18, 535, encoded(&["onTextData".into()])),
        (9, 540, inter_frame(3)),
    ] {
        write_tag(type_id, timestamp, &payload, &mut body).expect("short");
    }
    publisher.send(6, 1000, MessageType::AGGREGATE, 1, &body);
    assert_eq!(
        player.receive(4),
        [
            "video key 1 on 1 at 1000",
            "audio frame 2 on 1 at 1020",
            "data onTextData on 1 at 1035",
            "video frame 3 on 1 at 1040",
        ]
    );
}

fn unknown_codecs_arrive_to_the_byte(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    // A key frame of codec 14, which is unknown, and audio of codec 15.
    passes(&mut publisher, &mut player, MessageType::VIDEO, 0, &long(&[0x1e, 1], 400));
    passes(&mut publisher, &mut player, MessageType::AUDIO, 10, &long(&[0xf3], 400));
    passes(&mut publisher, &mut player, MessageType::VIDEO, 40, &long(&[0x2e, 1], 400));
}

fn enhanced_video_arrives_to_the_byte_and_starts_late_players(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    for (number, codec) in [b"hvc1", b"av01", b"vp09"].into_iter().enumerate() {
        let time = number as u32 * 80;
        let header = long(&[&[0x90], &codec[..], &[1, 2, 3]].concat(), 40);
        let key = long(&[&[0x91], &codec[..], &[0, 0, 0]].concat(), 500);
        let inter = long(&[&[0xa3], &codec[..]].concat(), 200);
        publisher.video(time, &header);
        passes_after_header(&mut publisher, &mut player, time, &header, &key);
        passes(&mut publisher, &mut player, MessageType::VIDEO, time + 40, &inter);
        let mut late = ScriptedClient::player(target, &target.name);
        for body in [&header, &key, &inter] {
            assert!(late.message().payload[..] == body[..], "{}", String::from_utf8_lossy(codec));
        }
    }
}

/// The header is sent with the key frame behind it to a player that waits, and at once to others.
fn passes_after_header(
    publisher: &mut ScriptedClient,
    player: &mut ScriptedClient,
    time: u32,
    header: &[u8],
    key: &[u8],
) {
    publisher.video(time, key);
    assert_is(&player.message(), MessageType::VIDEO, time, header);
    assert_is(&player.message(), MessageType::VIDEO, time, key);
}

fn enhanced_audio_arrives_to_the_byte(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    begin(&mut publisher, &mut player);
    for (number, codec) in [b"Opus", b"fLaC", b"ac-3"].into_iter().enumerate() {
        let time = number as u32 * 20;
        passes(&mut publisher, &mut player, MessageType::AUDIO, time, &long(&[&[0x90], &codec[..]].concat(), 30));
        passes(&mut publisher, &mut player, MessageType::AUDIO, time, &long(&[&[0x91], &codec[..]].concat(), 300));
    }
}

/// A message with one track, in Enhanced RTMP's form of several.
fn one_track(key: bool, track: u8, length: usize) -> Vec<u8> {
    let first = if key { 0x96 } else { 0xa6 };
    long(&[first, 0x01, b'h', b'v', b'c', b'1', track], length)
}

/// A player that announced what it can do.
fn player_with(target: &Target, capabilities: f64) -> ScriptedClient {
    let object = Object::new().with("app", "live").with("tcUrl", "rtmp://127.0.0.1/live").with("capsEx", capabilities);
    let mut player = ScriptedClient::connected_with(target, object);
    player.play(0, &target.name);
    player.receive_until("|RtmpSampleAccess");
    player
}

fn multitrack_messages_go_whole_to_players_that_understand_them(target: &Target) {
    let mut player = player_with(target, 2.0);
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    for (number, track) in [0, 1, 0, 7].into_iter().enumerate() {
        let body = one_track(number == 0, track, 300);
        passes(&mut publisher, &mut player, MessageType::VIDEO, number as u32 * 40, &body);
    }
}

fn other_players_get_the_default_track_in_plain_form(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    for (time, key, track) in [(0, true, 0), (0, true, 1), (40, false, 1), (40, false, 0)] {
        publisher.video(time, &one_track(key, track, 300));
    }
    for (time, key) in [(0, true), (40, false)] {
        let head = [if key { 0x91 } else { 0xa1 }, b'h', b'v', b'c', b'1'];
        let expected = [&head, &one_track(key, 0, 300)[7..]].concat();
        assert_is(&player.message(), MessageType::VIDEO, time, &expected);
    }
    player.assert_quiet();
}

fn multitrack_messages_go_to_all_players_if_configured(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    for (number, track) in [0, 1].into_iter().enumerate() {
        let body = one_track(number == 0, track, 300);
        passes(&mut publisher, &mut player, MessageType::VIDEO, number as u32 * 40, &body);
    }
}

fn empty_messages_do_no_harm(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    begin(&mut publisher, &mut player);
    for type_id in [MessageType::VIDEO, MessageType::DATA_AMF0, MessageType::AGGREGATE, MessageType::COMMAND_AMF0] {
        publisher.send(5, 10, type_id, 1, &[]);
    }
    publisher.audio(20, &[]);
    publisher.gop(80, 1);
    let empty = ["video frame none on 1 at 10".to_owned(), "audio frame none on 1 at 20".to_owned()];
    assert_eq!(player.receive(5), [&empty[..], &gop_lines(80, 1)].concat());
}

fn repeated_headers_are_left_out_where_that_is_wanted(target: &Target) {
    let (mut player, mut publisher) = pair(target);
    publisher.headers();
    publisher.gop(0, 1);
    player.receive(6);
    publisher.video(80, VIDEO_HEADER);
    publisher.audio(80, AUDIO_HEADER);
    publisher.gop(80, 2);
    assert_eq!(player.receive(3), gop_lines(80, 2));
    publisher.video(160, &[0x17, 0, 0, 0, 0, 9, 9]);
    assert_eq!(player.receive(1), ["video header 9 on 1 at 160"]);
}

fn every_player_of_many_gets_all_of_it(target: &Target) {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut players: Vec<ScriptedClient> = (0..20).map(|_| ScriptedClient::player(target, &target.name)).collect();
    publisher.headers();
    for number in 0..10 {
        publisher.gop(u32::from(number) * 80, number);
    }
    for player in &mut players {
        let received = player.receive(33);
        assert_eq!(received[..3], header_lines(0));
        for (number, lines) in received[3..].chunks(3).enumerate() {
            assert_eq!(lines, gop_lines(number as u32 * 80, number as u8));
        }
    }
}
