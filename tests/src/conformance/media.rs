use crate::peer::ScriptedClient;
use anabranch_core::amf::{Object, Value};

/// The bodies that a publisher of H.264 and AAC sends.
pub(super) const VIDEO_HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1, 100, 0, 31, 0xff];
pub(super) const AUDIO_HEADER: &[u8] = &[0xaf, 0, 0x12, 0x10];

pub(super) fn key_frame(number: u8) -> Vec<u8> {
    vec![0x17, 1, 0, 0, 0, number]
}

pub(super) fn inter_frame(number: u8) -> Vec<u8> {
    vec![0x27, 1, 0, 0, 0, number]
}

pub(super) fn audio_frame(number: u8) -> Vec<u8> {
    vec![0xaf, 1, number]
}

/// A body of `length` bytes that begins with `head` and goes on with all byte values in turn.
pub(super) fn long(head: &[u8], length: usize) -> Vec<u8> {
    head.iter().copied().chain((0..=255).cycle()).take(length).collect()
}

pub(super) fn metadata() -> [Value; 2] {
    ["onMetaData".into(), Value::EcmaArray(Object::new().with("width", 64.0))]
}

impl ScriptedClient {
    /// Sends metadata and both headers.
    pub(super) fn headers(&mut self) {
        let [name, object] = metadata();
        self.data(&["@setDataFrame".into(), name, object]);
        self.video(0, VIDEO_HEADER);
        self.audio(0, AUDIO_HEADER);
    }

    /// Sends a key frame, a sound and a picture: three messages with this number.
    pub(super) fn gop(&mut self, time: u32, number: u8) {
        self.video(time, &key_frame(number));
        self.audio(time.wrapping_add(10), &audio_frame(number));
        self.video(time.wrapping_add(40), &inter_frame(number));
    }
}

/// What a player is sent of [`ScriptedClient::headers`] in front of a key frame at `time`.
pub(super) fn header_lines(time: u32) -> [String; 3] {
    [
        "data onMetaData on 1 at 0".to_owned(),
        format!("video header 255 on 1 at {time}"),
        format!("audio header 16 on 1 at {time}"),
    ]
}

/// What a player is sent of [`ScriptedClient::gop`].
pub(super) fn gop_lines(time: u32, number: u8) -> [String; 3] {
    [
        format!("video key {number} on 1 at {time}"),
        format!("audio frame {number} on 1 at {}", time.wrapping_add(10)),
        format!("video frame {number} on 1 at {}", time.wrapping_add(40)),
    ]
}
