//! Scripts of clients that are not available on a test machine, written from published descriptions.
//!
//! Each script names its source. The bytes are written for this test from that source; none is a recording.

#[path = "support/client.rs"]
mod client;
mod support;

use std::time::Instant;

use anabranch_core::amf::{Object, Value, amf0, amf3};
use anabranch_core::chunk::write_message;
use anabranch_core::command::Command;
use anabranch_core::conn::{Action, Config, Core, Role, VhostConfig};
use anabranch_core::message::{Message, MessageType};
use anabranch_core::session::ClientKind;
use anabranch_core::source::Timestamps;
use client::Client;

const KEY_FRAME: [u8; 6] = [0x17, 1, 0, 0, 0, 0x65];

fn server() -> (Core, Instant) {
    (Core::new(Config::default(), [5; 32]), support::any_instant())
}

fn command(name: &str, transaction: f64) -> Command {
    Command::new(name, transaction, Value::Null)
}

/// A player of live/cam, to check the messages that arrive from a publisher.
fn player(server: &Core, now: Instant) -> Client {
    let mut player = Client::connected(server, now);
    player.call(now, 0, &command("createStream", 2.0));
    player.call(now, 1, &command("play", 0.0).with("cam"));
    player.messages.clear();
    player
}

fn media(player: &mut Client, now: Instant) -> Vec<Message> {
    player.serve(now);
    let media = std::mem::take(&mut player.messages).into_iter();
    media.filter(|message| [MessageType::AUDIO, MessageType::VIDEO].contains(&message.type_id)).collect()
}

fn kind(client: &Client) -> Option<ClientKind> {
    client.actions.iter().find_map(|action| match action {
        Action::Attach(attachment) if attachment.role == Role::Publisher => attachment.client,
        _ => None,
    })
}

/// Flash Media Live Encoder 3: digest handshake, releaseStream and FCPublish before createStream, strict about
/// onFCPublish; audio of equal size as format 3 chunks, which add the last delta again.
#[test]
fn flash_media_live_encoder() {
    let (server, now) = server();
    let mut player = player(&server, now);
    let mut encoder = Client::connected(&server, now);
    encoder.call(now, 0, &command("releaseStream", 2.0).with("cam"));
    encoder.call(now, 0, &command("FCPublish", 3.0).with("cam"));
    encoder.call(now, 0, &command("createStream", 4.0));
    assert_eq!(encoder.take_words(), ["_result", "_result", "_result"]);
    encoder.call(now, 1, &command("publish", 5.0).with("cam").with("live"));
    assert_eq!(encoder.take_words(), ["onFCPublish", "NetStream.Publish.Start"]);
    assert_eq!(kind(&encoder), Some(ClientKind::Fmle));

    let mut bytes = Vec::new();
    write_message(&mut bytes, 128, 4, 26, MessageType::AUDIO, 1, &[0xaf, 1, 7]);
    bytes.extend_from_slice(&[0xc4, 0xaf, 1, 8]);
    encoder.send(now, &bytes);
    let times: Vec<u32> = media(&mut player, later(now)).iter().map(|message| message.timestamp).collect();
    assert_eq!(times, [26, 52]);

    encoder.call(now, 0, &command("FCUnpublish", 6.0).with("cam"));
    assert_eq!(encoder.take_words(), ["onFCUnpublish", "_result", "NetStream.Unpublish.Success"]);
    encoder.call(now, 0, &command("deleteStream", 7.0).with(1.0));
    // The same connection publishes once more.
    encoder.call(now, 0, &command("releaseStream", 8.0).with("cam"));
    encoder.call(now, 0, &command("FCPublish", 9.0).with("cam"));
    encoder.call(now, 0, &command("createStream", 10.0));
    encoder.take_commands();
    encoder.call(now, 1, &command("publish", 11.0).with("cam").with("live"));
    assert_eq!(encoder.take_words(), ["onFCPublish", "NetStream.Publish.Start"]);
}

/// Haivision KB and Makito: `_checkbw` unasked, createStream first, then FCPublish
/// (github.com/ossrs/srs, issues on Haivision encoders).
#[test]
fn haivision_encoder() {
    let (server, now) = server();
    let mut encoder = Client::connected(&server, now);
    encoder.call(now, 0, &command("_checkbw", 2.0));
    assert_eq!(encoder.take_words(), ["_result", "onBWDone"]);
    encoder.call(now, 0, &command("createStream", 3.0));
    encoder.call(now, 0, &command("FCPublish", 4.0).with("cam"));
    assert_eq!(encoder.take_words(), ["_result", "_result"]);
    encoder.call(now, 1, &command("publish", 5.0).with("cam").with("live"));
    assert_eq!(encoder.take_words(), ["onFCPublish", "NetStream.Publish.Start"]);
    assert_eq!(kind(&encoder), Some(ClientKind::Haivision));
}

/// Flash Player with objectEncoding 3: commands as type 17, their objects and numbers as AMF3 behind the AVM+ marker,
/// publish without FCPublish, closeStream at the end (RTMP 1.0 §7.1.1, AMF 0 §3.1).
#[test]
fn flash_player_in_amf3() {
    let (server, now) = server();
    let mut player = player(&server, now);
    let mut flash = Client::new(&server, now);
    let app = Object::default().with("app", "live").with("tcUrl", "rtmp://host/live").with("objectEncoding", 3.0);
    flash.call(now, 0, &Command::new("connect", 1.0, Value::Object(app)));
    let result = flash.take_commands().remove(0);
    let information = result.arguments[0].as_object().expect("an information object");
    assert_eq!(information.get("objectEncoding").and_then(Value::as_number), Some(3.0));

    let amf3_call = |flash: &mut Client, message_stream_id, values: &[Value]| {
        let mut body = vec![0];
        for value in values {
            amf0::encode(value, &mut body);
        }
        flash.message(now, MessageType::COMMAND_AMF3, message_stream_id, 0, &body);
    };
    let null = || Value::from(amf3::Value::Null);
    amf3_call(&mut flash, 0, &["createStream".into(), 2.0.into(), null()]);
    assert_eq!(flash.take_words(), ["_result"]);
    let name = amf3::Value::String("cam".into());
    amf3_call(&mut flash, 1, &["publish".into(), 0.0.into(), null(), Value::from(name), "live".into()]);
    assert_eq!(flash.take_words(), ["NetStream.Publish.Start"]);
    assert_eq!(kind(&flash), Some(ClientKind::Flash));

    // Data of type 15: a format byte, then AMF0.
    let mut data = vec![0];
    amf0::encode(&"onMetaData".into(), &mut data);
    amf0::encode(&Value::EcmaArray(Object::default().with("width", 64.0)), &mut data);
    flash.message(now, MessageType::DATA_AMF3, 1, 0, &data);
    flash.message(now, MessageType::VIDEO, 1, 0, &KEY_FRAME);
    player.serve(later(now));
    let kinds: Vec<u8> = player.messages.iter().map(|message| message.type_id).collect();
    assert_eq!(kinds, [MessageType::DATA_AMF0, MessageType::VIDEO], "AMF3 data reaches players as AMF0");

    amf3_call(&mut flash, 1, &["closeStream".into(), 0.0.into(), null()]);
    assert_eq!(flash.take_words(), ["NetStream.Unpublish.Success"]);
    assert!(server.hub().streams().iter().all(|stream| !stream.published));
}

/// DJI drones start with timestamps below zero: a format 1 chunk whose delta is an extended timestamp near 2^32,
/// repeated in its format 3 chunks (github.com/bluenviron/mediamtx, issue 2393 and pull request 2808: a reader that
/// skips it takes its bytes for the video header, "invalid fourCC 4294899479", or for the audio codec 15 of issue
/// 2564).
#[test]
fn dji_drone_with_negative_time() {
    let config = VhostConfig { timestamps: Timestamps::Pass, ..VhostConfig::default() };
    let (server, now) = (Core::new(config.into(), [5; 32]), support::any_instant());
    let mut player = player(&server, now);
    let mut drone = Client::connected(&server, now);
    drone.call(now, 0, &command("createStream", 2.0));
    drone.call(now, 1, &command("publish", 3.0).with("cam"));
    let body: Vec<u8> = KEY_FRAME.iter().copied().chain([9; 200]).collect();
    let length = [0, 0, body.len() as u8];
    let extended = [0xff, 0xff, 0xff, 0x8f];
    let mut bytes = Vec::new();
    write_message(&mut bytes, 128, 6, 100, MessageType::VIDEO, 1, &KEY_FRAME);
    bytes.extend([&[0x46, 0xff, 0xff, 0xff][..], &length, &[MessageType::VIDEO], &extended, &body[..128]].concat());
    bytes.extend([&[0xc6][..], &extended, &body[128..]].concat());
    drone.send(now, &bytes);
    let media = media(&mut player, later(now));
    assert_eq!(media[1].timestamp, 100u32.wrapping_sub(0x71), "113 ms back");
    assert_eq!(media[1].payload[..], body);
    assert!(drone.report.is_none());
}

/// Wirecast publishes a second time on the same message stream just before it unpublishes
/// (github.com/arut/nginx-rtmp-module, issue 789).
#[test]
fn wirecast_publishes_twice() {
    let (server, now) = server();
    let mut wirecast = Client::connected(&server, now);
    wirecast.call(now, 0, &command("releaseStream", 2.0).with("cam"));
    wirecast.call(now, 0, &command("FCPublish", 3.0).with("cam"));
    wirecast.call(now, 0, &command("createStream", 4.0));
    wirecast.call(now, 1, &command("publish", 5.0).with("cam").with("live"));
    wirecast.take_commands();
    wirecast.call(now, 1, &command("publish", 6.0).with("cam").with("live"));
    assert_eq!(wirecast.take_words(), ["NetStream.Publish.Start"]);
    let streams = server.hub().streams();
    assert!(streams.len() == 1 && streams[0].published);
    wirecast.call(now, 0, &command("FCUnpublish", 7.0).with("cam"));
    assert_eq!(wirecast.take_words(), ["onFCUnpublish", "_result", "NetStream.Unpublish.Success"]);
    assert!(server.hub().streams().is_empty());
    let attached = wirecast.actions.iter().filter(|action| matches!(action, Action::Attach(_))).count();
    let detached = wirecast.actions.iter().filter(|action| matches!(action, Action::Detach { .. })).count();
    assert_eq!((attached, detached), (2, 2));
}

/// Phones that send media right behind `publish`, without waiting for Publish.Start, all in one segment.
#[test]
fn impatient_phone() {
    let (server, now) = server();
    let mut player = player(&server, now);
    let mut phone = Client::connected(&server, now);
    let mut bytes = Vec::new();
    let calls = [
        (0, command("releaseStream", 2.0).with("cam")),
        (0, command("FCPublish", 3.0).with("cam")),
        (0, command("createStream", 4.0)),
        (1, command("publish", 5.0).with("cam").with("live")),
    ];
    for (message_stream_id, call) in &calls {
        write_message(&mut bytes, 128, 3, 0, MessageType::COMMAND_AMF0, *message_stream_id, &call.encode());
    }
    write_message(&mut bytes, 128, 6, 0, MessageType::VIDEO, 1, &KEY_FRAME);
    phone.send(now, &bytes);
    assert_eq!(phone.take_words(), ["_result", "_result", "_result", "onFCPublish", "NetStream.Publish.Start"]);
    assert_eq!(media(&mut player, later(now)).len(), 1);
}

/// Livestream Studio 6 and several hardware encoders need the transaction id of their FCPublish in onFCPublish
/// (github.com/ossrs/srs, issue on Livestream Studio).
#[test]
fn hardware_that_matches_on_fc_publish() {
    let (server, now) = server();
    let mut encoder = Client::connected(&server, now);
    encoder.call(now, 0, &command("FCPublish", 33.0).with("cam"));
    encoder.call(now, 0, &command("createStream", 34.0));
    encoder.call(now, 1, &command("publish", 35.0).with("cam"));
    let notice = encoder.take_commands().into_iter().find(|command| command.name == *"onFCPublish");
    assert_eq!(notice.expect("the client gets onFCPublish").transaction, 33.0);
}

/// An old player that skips createStream, and one that creates a second stream and plays on that.
#[test]
fn players_on_unusual_message_streams() {
    let (server, now) = server();
    let mut bare = Client::connected(&server, now);
    bare.call(now, 0, &command("play", 2.0).with("cam"));
    assert_eq!(bare.take_words(), ["NetStream.Play.Reset", "NetStream.Play.Start"]);
    let mut second = Client::connected(&server, now);
    second.call(now, 0, &command("createStream", 2.0));
    second.call(now, 0, &command("createStream", 3.0));
    second.call(now, 2, &command("play", 0.0).with("cam"));
    second.messages.clear();
    let mut encoder = Client::connected(&server, now);
    encoder.call(now, 0, &command("createStream", 2.0));
    encoder.call(now, 1, &command("publish", 3.0).with("cam"));
    encoder.message(now, MessageType::VIDEO, 1, 40, &KEY_FRAME);
    for (player, message_stream_id) in [(&mut bare, 1), (&mut second, 2)] {
        let media = media(player, later(now));
        assert_eq!(media.len(), 1);
        assert_eq!((media[0].message_stream_id, &media[0].payload[..]), (message_stream_id, &KEY_FRAME[..]));
    }
}

/// A time at which the merge window of queued frames has ended.
fn later(now: Instant) -> Instant {
    now + std::time::Duration::from_millis(100)
}
