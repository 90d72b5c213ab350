//! Sixty days on one publisher and one player connection, with more than nine gigabytes in each direction: timestamps
//! continue past 2^32 ms, acknowledgements continue past 2^32 bytes, memory stays constant.

#[path = "support/client.rs"]
mod client;
mod support;

use std::time::Duration;

use anabranch_core::amf::Value;
use anabranch_core::chunk::write_message;
use anabranch_core::command::Command;
use anabranch_core::conn::{Config, Core};
use anabranch_core::message::{Control, MessageType};
use client::Client;

const DAY: u64 = 86_400;
const DAYS: u64 = 60;
/// Seconds between two video messages. The messages are large enough for nine gigabytes in total.
const INTERVAL: u64 = 8;
const BODY: usize = 15_000;
const START: u32 = 0x7f00_0000;

#[test]
fn sixty_days_keep_time_rising_acknowledgements_right_and_memory_flat() {
    let mut config = Config::default();
    config.defaults.session.timeouts.next_message = Duration::from_secs(INTERVAL * 2);
    config.defaults.source.bytes = 4 << 20;
    let server = Core::new(config, [1; 32]);
    let mut now = support::any_instant();
    let mut publisher = Client::connected(&server, now);
    let mut player = Client::connected(&server, now);
    for (client, verb) in [(&mut publisher, "publish"), (&mut player, "play")] {
        client.call(now, 0, &Command::new("createStream", 2.0, Value::Null));
        client.call(now, 1, &Command::new(verb, 3.0, Value::Null).with("cam"));
        client.messages.clear();
    }
    let mut size = Vec::new();
    Control::SetChunkSize(1 << 20).write(128, &mut size);
    publisher.send(now, &size);

    let body = {
        let mut body = vec![0x17, 1, 0, 0, 0];
        body.resize(BODY, 0x55);
        body
    };
    let window = 2_500_000u64;
    let (mut acknowledged, mut bytes) = (0u64, Vec::new());
    for step in 0..DAYS * DAY / INTERVAL {
        now += Duration::from_secs(INTERVAL);
        let timestamp = START.wrapping_add((step * INTERVAL * 1000) as u32);
        bytes.clear();
        write_message(&mut bytes, 1 << 20, 6, timestamp, MessageType::VIDEO, 1, &body);
        publisher.conn.handle_timeout(now);
        publisher.send(now, &bytes);
        player.conn.handle_timeout(now);
        player.serve(now);

        let mut media = player.messages.drain(..).filter(|message| message.type_id == MessageType::VIDEO);
        let frame = media.next().expect("one frame a step");
        assert_eq!((frame.timestamp, frame.payload.len()), (timestamp, BODY), "step {step}");
        assert!(media.next().is_none());
        for message in publisher.messages.drain(..) {
            if let Ok(Some(Control::Acknowledgement(bytes))) = Control::parse(message.type_id, &message.payload) {
                acknowledged += window;
                assert_eq!(bytes, acknowledged as u32, "step {step}");
            }
        }
        assert!(publisher.sent - acknowledged < window, "an acknowledgement is due at step {step}");
        let stream = &server.hub().streams()[0];
        assert!(stream.log_bytes <= 4 << 20, "the log holds {} bytes", stream.log_bytes);
        assert_eq!(player.conn.outbound().len(), 0);
    }
    let milliseconds = DAYS * DAY * 1000;
    assert!(u64::from(START) + milliseconds > 1 << 32, "the clock wrapped");
    assert!(publisher.sent > 9_000_000_000 && player.received > 9_000_000_000);
}
