use bytes::{Bytes, BytesMut};

use super::{Frame, FrameKind, Mp4};
use crate::flv::tag::{TAG_HEADER_LENGTH, TagHeader};
use crate::http::Framing;

/// The form in which a player gets frames. All players of one form at a place get the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// As messages of RTMP.
    Rtmp,
    /// As tags of FLV.
    Flv(Framing),
    /// As fragments of MP4.
    Mp4(Mp4),
}

/// Bytes of the back pointer after a tag.
const BACK_POINTER: usize = 4;

impl Frame {
    /// Bytes of its tag in FLV, with the back pointer.
    pub(crate) fn flv_length(&self) -> usize {
        TAG_HEADER_LENGTH + self.body_length() + BACK_POINTER
    }

    /// Its tag in FLV, between what the framing has before and after a piece. The payload is shared.
    pub(crate) fn flv_tag(&self, before: &[u8], after: &[u8], mut sink: impl FnMut(Bytes)) {
        let (header, back_pointer) = self.flv_ends();
        sink([before, &header].concat().into());
        self.body_pieces(0..usize::MAX, &mut sink);
        sink([&back_pointer, after].concat().into());
    }

    /// For a player that has its beginning: metadata in which the promises of media have names that no player reads, of the
    /// same length. What has begun without a medium cannot take what says that there is one. `None` if it has none.
    pub(crate) fn without_promise(&self) -> Option<Frame> {
        if self.kind() != FrameKind::Data || !self.is_header() {
            return None;
        }
        let mut body = self.payload().to_vec();
        let found = ANNOUNCED.map(|(has, _)| value_of(&body, has).map(|end| end - (has.len() - NAME_AT)));
        for at in found.into_iter().flatten() {
            body[at] = body[at].to_ascii_uppercase();
        }
        found.iter().any(Option::is_some).then(|| self.with_body(&body))
    }

    fn flv_ends(&self) -> ([u8; TAG_HEADER_LENGTH], [u8; BACK_POINTER]) {
        // Messages are no longer than tags can be: both lengths have 24 bits.
        let size = self.body_length() as u32;
        let type_id = self.kind().type_id();
        let header = TagHeader { type_id, encrypted: false, size, timestamp: self.timestamp() };
        (header.encode(), (size + TAG_HEADER_LENGTH as u32).to_be_bytes())
    }
}

/// These frames as one piece of the body of a live stream in FLV: one copy for all players.
pub(super) fn flv(frames: &[Frame], framing: Framing) -> Bytes {
    let length = frames.iter().map(Frame::flv_length).sum();
    let (before, after) = (framing.before(length), framing.after());
    let mut out = BytesMut::with_capacity(before.bytes().len() + length + after.len());
    out.extend_from_slice(before.bytes());
    for frame in frames {
        let neutral = frame.without_promise();
        let frame = neutral.as_ref().unwrap_or(frame);
        let (header, back_pointer) = frame.flv_ends();
        out.extend_from_slice(&header);
        frame.body_slices(|slice| out.extend_from_slice(slice));
        out.extend_from_slice(&back_pointer);
    }
    out.extend_from_slice(after);
    out.freeze()
}

/// What a stream seems to have, by the frames so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tracks {
    pub(crate) audio: bool,
    pub(crate) video: bool,
    /// What the metadata says, if it says it.
    announced: [Option<bool>; 2],
    /// True once all headers in force have come, because a frame has come.
    has_frames: bool,
}

impl Tracks {
    pub(crate) fn note(&mut self, frame: &Frame) {
        self.has_frames |= !frame.is_header();
        match frame.kind() {
            FrameKind::Audio => self.audio |= frame.is_header() || !needs_header(&frame.payload()),
            FrameKind::Video => self.video = true,
            FrameKind::Data if frame.is_header() => {
                let body = frame.payload();
                self.announced = ANNOUNCED.map(|(has, codec)| announced(&body, has, codec));
            }
            FrameKind::Data => {}
        }
    }

    /// True if nothing more is to come: both are there, or one is there, with a frame, and the metadata says that there is
    /// no other.
    pub(crate) fn are_known(&self) -> bool {
        let [audio, video] = self.announced;
        match (self.audio, self.video) {
            (true, true) => true,
            (true, false) => self.has_frames && video == Some(false),
            (false, true) => self.has_frames && audio == Some(false),
            (false, false) => false,
        }
    }

    /// Metadata that says which tracks are there, where it says something of that. Some players go by that rather than by
    /// what comes, and wait for ever. `None` if it is right as it is.
    pub(crate) fn corrected(&self, metadata: &[u8]) -> Option<Vec<u8>> {
        let mut corrected = None;
        for ((has, _), there) in ANNOUNCED.into_iter().zip([self.audio, self.video]) {
            if let Some(at) = value_of(metadata, has)
                && metadata[at..].starts_with(&[BOOLEAN, u8::from(!there)])
            {
                corrected.get_or_insert_with(|| metadata.to_vec())[at + 1] = u8::from(there);
            }
        }
        corrected
    }
}

/// The properties of `onMetaData` that say whether there is audio, and video.
const ANNOUNCED: [(&[u8], &[u8]); 2] =
    [(b"\x00\x08hasAudio", b"\x00\x0caudiocodecid"), (b"\x00\x08hasVideo", b"\x00\x0cvideocodecid")];
/// Where the name begins in the text of a property, after its length.
const NAME_AT: usize = 2;
/// The marker of a Boolean in AMF0.
const BOOLEAN: u8 = 1;

/// Whether a frame of audio cannot be played without the header of its codec: AAC.
fn needs_header(body: &[u8]) -> bool {
    match body {
        [first, ..] if first >> 4 == 10 => true,
        // Enhanced RTMP: coded frames of a codec by its name.
        [first, name @ ..] => first >> 4 == 9 && name.starts_with(b"mp4a"),
        [] => false,
    }
}

/// Metadata that names the codec of one medium and not of the other has only that.
fn announced(metadata: &[u8], has: &[u8], codec: &[u8]) -> Option<bool> {
    if let Some(at) = value_of(metadata, has)
        && let Some([BOOLEAN, there]) = metadata.get(at..at + 2)
    {
        return Some(*there != 0);
    }
    if value_of(metadata, codec).is_some() {
        return Some(true);
    }
    let names_other = ANNOUNCED.iter().any(|(_, other)| *other != codec && value_of(metadata, other).is_some());
    names_other.then_some(false)
}

/// Where the value of a property begins. It is not read in full, so text that looks like the property is taken for it.
fn value_of(metadata: &[u8], property: &[u8]) -> Option<usize> {
    let found = metadata.windows(property.len()).position(|window| window == property)?;
    Some(found + property.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flv::Tags;
    use crate::flv::tag::write_file_header;
    use crate::message::{Message, MessageType, Payload};
    use crate::source::WireFormat;

    fn frame(type_id: u8, timestamp: u32, body: &[u8], chunk_size: u32) -> Frame {
        let payload = Payload::from(body);
        let message = Message { chunk_stream: 6, timestamp, type_id, message_stream_id: 1, payload };
        Frame::encode(message, WireFormat { chunk_size })
    }

    #[test]
    fn frames_become_tags_whatever_their_chunks() {
        let body: Vec<u8> = [0x17, 1, 0, 0, 0].into_iter().chain((0..=255).cycle().take(1000)).collect();
        for (before, after) in [(0, 0), (0, 0x0100_0000), (0x0100_0000, 7), (u32::MAX, u32::MAX)] {
            for chunk_size in [1, 128, 1005, 60_000] {
                let frames = [
                    frame(MessageType::VIDEO, before, &body, chunk_size).at(after),
                    frame(MessageType::AUDIO, before, b"\xaf\x01x", chunk_size).at(after),
                ];
                let mut file = Vec::new();
                write_file_header(true, true, &mut file);
                let header = file.len();
                file.extend_from_slice(&flv(&frames, Framing::UntilClose));
                let tags: Vec<_> = Tags::new(&file).expect("a file").map(|tag| tag.expect("a tag")).collect();
                assert_eq!((tags[0].body, tags[0].timestamp, tags[0].type_id), (&body[..], after, 9));
                assert_eq!((tags[1].body, tags[1].timestamp, tags[1].type_id), (&b"\xaf\x01x"[..], after, 8));
                let mut pieces = Vec::new();
                frames.iter().for_each(|frame| frame.flv_tag(b"", b"", |piece| pieces.extend_from_slice(&piece)));
                assert_eq!(pieces, file[header..]);
                assert_eq!(pieces.len(), frames.iter().map(Frame::flv_length).sum::<usize>());
            }
        }
    }

    #[test]
    fn a_batch_is_one_chunk_or_one_message() {
        let frames = [frame(MessageType::AUDIO, 1, b"\xaf\x01x", 128), frame(MessageType::AUDIO, 2, b"\xaf\x01y", 128)];
        let plain = flv(&frames, Framing::UntilClose);
        assert_eq!(plain.len(), 36);
        assert_eq!(flv(&frames, Framing::Chunks), [&b"24\r\n"[..], &plain, b"\r\n"].concat());
        assert_eq!(flv(&frames, Framing::Messages), [&[0x82, 36][..], &plain].concat());
    }

    #[test]
    fn metadata_says_which_tracks_are_to_come() {
        let metadata = |properties: &[u8]| {
            let body = [b"\x02\x00\x0aonMetaData\x03", properties, b"\x00\x00\x09"].concat();
            frame(MessageType::DATA_AMF0, 0, &body, 128)
        };
        let video = frame(MessageType::VIDEO, 0, &[0x17, 0, 0, 0, 0, 1, 100, 0, 31, 0xff], 128);
        let key = frame(MessageType::VIDEO, 0, &[0x17, 1, 0, 0, 0, 1], 128);
        let codec = |name: &[u8]| [name, b"\x00\x40\x1c\x00\x00\x00\x00\x00\x00"].concat();
        let [audio_codec, video_codec] = ANNOUNCED.map(|(_, name)| codec(name));
        let cases = [
            (Vec::new(), false),
            (b"\x00\x08hasAudio\x01\x00".to_vec(), true),
            (b"\x00\x08hasAudio\x01\x01".to_vec(), false),
            (video_codec.clone(), true),
            ([video_codec, audio_codec].concat(), false),
        ];
        for (properties, known) in cases {
            let mut tracks = Tracks::default();
            tracks.note(&metadata(&properties));
            tracks.note(&video);
            assert!(!tracks.are_known(), "the header of audio may follow");
            tracks.note(&key);
            assert_eq!(tracks.are_known(), known, "{properties:?}");
            tracks.note(&frame(MessageType::AUDIO, 0, b"\xaf\x01x", 128));
            assert!(!tracks.audio, "its header is missing");
            tracks.note(&frame(MessageType::AUDIO, 0, b"\xaf\x00\x12\x10", 128));
            assert!(tracks.are_known());
        }
        let tracks = Tracks { video: true, ..Tracks::default() };
        assert_eq!(
            tracks.corrected(b"a\x00\x08hasAudio\x01\x01b").as_deref(),
            Some(&b"a\x00\x08hasAudio\x01\x00b"[..])
        );
        assert_eq!(tracks.corrected(b"a\x00\x08hasVideo\x01\x01b\x00\x08hasAudio\x01\x00"), None);
        assert_eq!(tracks.corrected(b"\x00\x08hasVideo\x01\x00").as_deref(), Some(&b"\x00\x08hasVideo\x01\x01"[..]));
    }
}
