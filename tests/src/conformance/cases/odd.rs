//! What firmware, home-made clients and pasted addresses send: served like all other clients.

use anabranch_core::amf::{Object, Value, amf0};
use anabranch_core::command::Command;
use anabranch_core::message::{Message, MessageType};
use anabranch_core::session::SessionLimits;
use anabranch_core::url::MAX_TEXT_LEN;

use crate::conformance::Target;
use crate::conformance::media::{VIDEO_HEADER, gop_lines, key_frame};
use crate::peer::ScriptedClient;

cases![
    a_token_in_the_server_url_may_be_as_long_as_a_url,
    a_stream_key_may_be_a_token,
    a_text_that_is_too_long_is_told,
    a_connect_that_is_too_long_is_told,
    the_index_of_a_file_reaches_players_to_the_byte,
    of_metadata_without_end_the_index_is_left_out,
    a_broken_tc_url_costs_the_virtual_host_only,
    strings_may_end_in_nul,
    a_message_stream_id_may_be_big_endian,
    media_of_two_streams_may_be_big_endian,
    a_number_sign_is_part_of_the_key,
];

/// `rtmp://host/live?jwt=...` of so many bytes.
fn url(length: usize) -> String {
    let head = "rtmp://127.0.0.1/live?jwt=";
    format!("{head}{}", "x".repeat(length - head.len()))
}

/// As OBS and browsers send it: up to four times.
fn everywhere(url: &str) -> Object {
    let app = &url["rtmp://127.0.0.1/".len()..];
    Object::new().with("app", app).with("tcUrl", url).with("swfUrl", url).with("pageUrl", url)
}

fn relays(target: &Target, mut publisher: ScriptedClient, name: &str) {
    let mut player = ScriptedClient::connected(target);
    player.play(0, name);
    player.receive_until("|RtmpSampleAccess");
    publisher.video(0, VIDEO_HEADER);
    publisher.video(0, &key_frame(1));
    player.receive_until("video key 1 on 1 at 0");
}

fn a_token_in_the_server_url_may_be_as_long_as_a_url(target: &Target) {
    for length in [600, 1400, 3000, 6000, MAX_TEXT_LEN] {
        let name = format!("{}{length}", target.name);
        let mut publisher = ScriptedClient::connected_with(target, everywhere(&url(length)));
        publisher.publish(0, &name);
        publisher.receive_until("NetStream.Publish.Start");
        relays(target, publisher, &name);
    }
}

fn a_stream_key_may_be_a_token(target: &Target) {
    for length in [1100, 6000, MAX_TEXT_LEN] {
        let name = format!("{:x<length$}", target.name);
        let mut publisher = ScriptedClient::connected(target);
        publisher.publish(0, &name);
        publisher.receive_until("NetStream.Publish.Start");
        relays(target, publisher, &name);
    }
}

/// The information object of the answer in a message.
fn information(message: &Message) -> Object {
    let command = Command::parse(message.type_id, &message.payload, &anabranch_core::amf::Limits::default());
    match command.expect("a command").arguments.pop() {
        Some(Value::Object(object)) => object,
        other => panic!("no information but {other:?}"),
    }
}

/// It is refused in these words, and closed when it hangs up.
fn is_told(mut client: ScriptedClient, words: &str) {
    let answer = (0..5).map(|_| client.message()).find(|message| message.type_id == MessageType::COMMAND_AMF0);
    let description = information(&answer.expect("an answer")).get("description").cloned();
    let description = description.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    assert!(description.contains(words), "{description}");
    client.wire().shut_down_writing();
    client.assert_closed();
}

fn a_text_that_is_too_long_is_told(target: &Target) {
    let mut client = ScriptedClient::open(target);
    client.connect(Object::new().with("app", "live").with("tcUrl", url(MAX_TEXT_LEN + 1).as_str()));
    is_told(client, "the URL (tcUrl) has 8193 bytes; at most 8192 are allowed");
    let mut client = ScriptedClient::connected(target);
    client.publish(0, &"k".repeat(MAX_TEXT_LEN + 1));
    is_told(client, "the stream key has 8193 bytes; at most 8192 are allowed");
}

fn a_connect_that_is_too_long_is_told(target: &Target) {
    let mut client = ScriptedClient::open(target);
    let object = Object::new().with("app", "live").with("flashVer", "x".repeat(60_000).as_str());
    client.connect(object);
    is_told(
        client,
        &format!("is over the limit of {} (chunks_before_connect.message)", SessionLimits::LONGEST_CONNECT),
    );
}

fn metadata(entries: usize) -> Vec<u8> {
    let numbers = |step: f64| Value::StrictArray((0..entries).map(|n| Value::Number(n as f64 * step)).collect());
    let index = Object::new().with("filepositions", numbers(50_000.0)).with("times", numbers(2.0));
    let object = Object::new().with("width", 64.0).with("keyframes", Value::Object(index)).with("height", 36.0);
    let mut body = Vec::new();
    amf0::encode(&"onMetaData".into(), &mut body);
    amf0::encode(&Value::EcmaArray(object), &mut body);
    body
}

/// What a player that comes later gets of it.
fn late_metadata(target: &Target, sent: &[u8]) -> Vec<u8> {
    let mut publisher = ScriptedClient::publisher(target, &target.name);
    let mut early = ScriptedClient::player(target, &target.name);
    publisher.set_chunk_size(60_000);
    let prefix = [&[2, 0, 13][..], b"@setDataFrame"].concat();
    publisher.send(5, 0, MessageType::DATA_AMF0, 1, &[&prefix, sent].concat());
    publisher.video(0, VIDEO_HEADER);
    publisher.video(0, &key_frame(1));
    let first = early.message();
    early.receive_until("video key 1");
    let mut late = ScriptedClient::player(target, &target.name);
    let again = late.message();
    assert!(first.type_id == MessageType::DATA_AMF0 && first.payload == again.payload, "both get the same");
    again.payload.to_vec()
}

fn the_index_of_a_file_reaches_players_to_the_byte(target: &Target) {
    let day = metadata(43_200);
    assert!(late_metadata(target, &day) == day);
}

fn of_metadata_without_end_the_index_is_left_out(target: &Target) {
    let mut expected = Vec::new();
    amf0::encode(&"onMetaData".into(), &mut expected);
    let object = Object::new().with("width", 64.0).with("height", 36.0);
    amf0::encode(&Value::EcmaArray(object), &mut expected);
    assert_eq!(late_metadata(target, &metadata(200_000)), expected);
}

fn a_broken_tc_url_costs_the_virtual_host_only(target: &Target) {
    for (index, tc_url) in [
        "rtmp:/live",
        "live",
        "127.0.0.1:1935/live",
        "rtmp:///live",
        "rtmp://h:99999/live",
        "rtmp://h:port/live",
        "rtmp:\\\\h\\live",
        "rtmp://a b/live",
        "http://127.0.0.1/live",
        "(null)",
        "rtmp://[::1/live",
        "rtmp://h/li\u{1}ve",
        "rtmp://../live",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{}{index}", target.name);
        let mut publisher =
            ScriptedClient::connected_with(target, Object::new().with("app", "live").with("tcUrl", tc_url));
        publisher.publish(0, &name);
        publisher.receive_until("NetStream.Publish.Start");
        relays(target, publisher, &name);
    }
}

fn strings_may_end_in_nul(target: &Target) {
    for (index, end) in ["\0", "\0I\u{1}\u{2}", "\0\0\0"].into_iter().enumerate() {
        let name = format!("{}{index}", target.name);
        let object =
            Object::new().with("app", format!("live{end}")).with("tcUrl", format!("rtmp://127.0.0.1/live{end}"));
        let mut publisher = ScriptedClient::connected_with(target, object);
        let arguments = [format!("{name}{end}").as_str().into(), format!("live{end}").as_str().into()];
        publisher.command(&format!("publish{end}"), 5.0, 0, &arguments);
        publisher.receive_until("NetStream.Publish.Start");
        relays(target, publisher, &name);
    }
}

/// 1, written as other numbers in a message header are.
const BIG_ENDIAN: u32 = 0x0100_0000;

fn a_message_stream_id_may_be_big_endian(target: &Target) {
    let mut publisher = ScriptedClient::connected(target);
    publisher.create_stream(2.0);
    publisher.publish(BIG_ENDIAN, &target.name);
    publisher.receive_until("NetStream.Publish.Start");
    let mut player = ScriptedClient::connected(target);
    player.create_stream(2.0);
    player.play(BIG_ENDIAN, &target.name);
    player.receive_until("|RtmpSampleAccess");
    publisher.send(6, 0, MessageType::VIDEO, BIG_ENDIAN, VIDEO_HEADER);
    publisher.send(6, 0, MessageType::VIDEO, BIG_ENDIAN, &key_frame(1));
    player.receive_until("video key 1 on 1 at 0");
    publisher.command("closeStream", 0.0, BIG_ENDIAN, &[]);
    publisher.receive_until("NetStream.Unpublish.Success");
}

fn media_of_two_streams_may_be_big_endian(target: &Target) {
    let names = [format!("{}a", target.name), format!("{}b", target.name)];
    let mut publisher = ScriptedClient::connected(target);
    for (number, name) in (1u8..).zip(&names) {
        publisher.create_stream(2.0);
        publisher.publish(u32::from(number).swap_bytes(), name);
        publisher.receive_until("NetStream.Publish.Start");
    }
    for (number, name) in (1u8..).zip(&names) {
        let mut player = ScriptedClient::player(target, name);
        publisher.send(6, 0, MessageType::VIDEO, u32::from(number).swap_bytes(), VIDEO_HEADER);
        publisher.send(6, 0, MessageType::VIDEO, u32::from(number).swap_bytes(), &key_frame(number));
        player.receive_until(&format!("video key {number} on 1 at 0"));
    }
}

fn a_number_sign_is_part_of_the_key(target: &Target) {
    let [one, two] = [1, 2].map(|number| format!("{}#{number}", target.name));
    let mut first = ScriptedClient::publisher(target, &one);
    let mut second = ScriptedClient::publisher(target, &format!("{two}?token=t"));
    let (mut player, mut other) = (ScriptedClient::player(target, &one), ScriptedClient::player(target, &two));
    first.gop(0, 1);
    second.gop(0, 5);
    assert_eq!(player.receive(3), gop_lines(0, 1));
    assert_eq!(other.receive(3), gop_lines(0, 5));
}
