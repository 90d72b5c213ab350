use std::sync::atomic::{AtomicU64, Ordering};

use anabranch_core::message::MessageType;

use super::Target;
use super::media::{AUDIO_HEADER, VIDEO_HEADER, long};
use crate::peer::ScriptedClient;

/// A publisher and a player on a separate stream; all that is sent arrives, to the byte.
pub fn assert_healthy(target: &Target) {
    // Never a name of which the last pair may not be gone yet.
    static PAIRS: AtomicU64 = AtomicU64::new(0);
    let name = target.named(&format!("healthy{}", PAIRS.fetch_add(1, Ordering::Relaxed)));
    let mut player = ScriptedClient::player(target, &name);
    let mut publisher = ScriptedClient::publisher(target, &name);
    let frames = [
        (MessageType::VIDEO, 0, VIDEO_HEADER.to_vec()),
        (MessageType::AUDIO, 0, AUDIO_HEADER.to_vec()),
        (MessageType::VIDEO, 0, long(&[0x17, 1], 5000)),
        (MessageType::AUDIO, 10, long(&[0xaf, 1], 300)),
        (MessageType::VIDEO, 40, long(&[0x27, 1], 1000)),
    ];
    for (type_id, timestamp, body) in &frames {
        publisher.send(if *type_id == MessageType::VIDEO { 6 } else { 4 }, *timestamp, *type_id, 1, body);
    }
    for (type_id, timestamp, body) in &frames {
        let message = player.message();
        assert_eq!((message.type_id, message.timestamp), (*type_id, *timestamp), "of a healthy pair");
        assert!(message.payload[..] == body[..], "a healthy pair gets other bytes");
    }
}
