//! Whether decoding can start at a coded picture, read from the picture itself.
//!
//! The frame type of a message can be wrong: some encoder boards mark every picture as an inter frame, and one RTMP
//! library gives extended messages the frame type 0.

use super::video::VideoTrack;
use super::{FrameClass, VideoCodec, video};

/// Most NAL units or OBUs that are checked: few come before the first slice.
const MOST_UNITS: usize = 32;
/// Bytes of a NAL unit's length field before the first sequence header; every known encoder uses this size.
const NAL_LENGTH: usize = 4;

/// Parses the pictures of one publisher's default track. A picture that cannot be read is not a key frame.
#[derive(Debug, Clone, Copy)]
pub struct Pictures {
    /// Bytes of the length field before each NAL unit: 1, 2 or 4, or 3, which no specification allows.
    nal_length: usize,
}

impl Default for Pictures {
    fn default() -> Self {
        Pictures { nal_length: NAL_LENGTH }
    }
}

impl Pictures {
    /// Reads a sequence header: it contains the size of the NAL units' length fields.
    pub fn note_header(&mut self, body: &[u8]) {
        let Ok(tag) = video::parse(body) else {
            return;
        };
        if !tag.packet_type.is_sequence_header() {
            return;
        }
        if let Some(length) = tag.tracks().map_while(Result::ok).find(|track| track.id == 0).and_then(nal_length) {
            self.nal_length = length;
        }
    }

    /// True if decoding can start at a coded message of the default track: its first slice belongs to an IDR picture
    /// (AVC) or another random access picture (HEVC, VVC), or its first frame is a key frame (AV1, VP8, VP9). Reads
    /// only the first bytes of a few units.
    pub fn is_key(&self, body: &[u8]) -> bool {
        let Ok(tag) = video::parse(body) else {
            return false;
        };
        if !tag.packet_type.is_coded() {
            return false;
        }
        let track = tag.tracks().map_while(Result::ok).find(|track| track.id == 0);
        track.is_some_and(|track| self.is_key_picture(track.codec, track.payload))
    }

    /// The class from the message's header, or [`FrameClass::KeyFrame`] if its picture is a key frame.
    pub(crate) fn class(&self, marked: FrameClass, body: &[u8]) -> FrameClass {
        if marked == FrameClass::Frame && self.is_key(body) { FrameClass::KeyFrame } else { marked }
    }

    fn is_key_picture(&self, codec: VideoCodec, payload: &[u8]) -> bool {
        match codec {
            // H.264 §7.4.1: slices are 1 to 5, those of an IDR picture 5.
            VideoCodec::Avc => self.first_slice(payload, |unit| match unit.first()? & 0x1F {
                kind @ 1..=5 => Some(kind == 5),
                _ => None,
            }),
            // H.265 §7.4.2.2: slices are 0 to 31, those of IRAP pictures 16 to 23.
            VideoCodec::Hevc => self.first_slice(payload, |unit| match unit.first()? >> 1 & 0x3F {
                kind @ 0..=31 => Some((16..=23).contains(&kind)),
                _ => None,
            }),
            // H.266 §7.4.2.2: slices are 0 to 11, those of IRAP pictures 7 to 9 and 11.
            VideoCodec::Vvc => self.first_slice(payload, |unit| match unit.get(1)? >> 3 {
                kind @ 0..=11 => Some(matches!(kind, 7..=9 | 11)),
                _ => None,
            }),
            VideoCodec::Av1 => is_av1_key(payload).unwrap_or(false),
            // RFC 6386 §9.1: the lowest bit is 0 for a key frame.
            VideoCodec::Vp8 => payload.first().is_some_and(|first| first & 1 == 0),
            VideoCodec::Vp9 => payload.first().is_some_and(|first| is_vp9_key(*first)),
            _ => false,
        }
    }

    /// The result of `rate` for the first NAL unit that it knows.
    fn first_slice(&self, mut payload: &[u8], rate: impl Fn(&[u8]) -> Option<bool>) -> bool {
        for _ in 0..MOST_UNITS {
            let Some((length, rest)) = payload.split_at_checked(self.nal_length) else {
                return false;
            };
            let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            // The length is too large: these are not NAL units in this format, so the picture stays unknown.
            let Some((unit, rest)) = rest.split_at_checked(length) else {
                return false;
            };
            if let Some(key) = rate(unit) {
                return key;
            }
            payload = rest;
        }
        false
    }
}

/// From the configuration record: ISO/IEC 14496-15 §5.3.3.1 (AVC), §8.3.3.1 (HEVC), §11.2.4.2 (VVC).
fn nal_length(track: VideoTrack<'_>) -> Option<usize> {
    let byte = match track.codec {
        VideoCodec::Avc => track.payload.get(4)? & 3,
        VideoCodec::Hevc => track.payload.get(21)? & 3,
        VideoCodec::Vvc => track.payload.first()? >> 1 & 3,
        _ => return None,
    };
    Some(usize::from(byte) + 1)
}

/// AV1 §5.3: a temporal unit of OBUs. Decoding can start at a shown key frame after its sequence header.
fn is_av1_key(mut payload: &[u8]) -> Option<bool> {
    const SEQUENCE_HEADER: u8 = 1;
    const FRAME_HEADER: u8 = 3;
    const FRAME: u8 = 6;
    for _ in 0..MOST_UNITS {
        let (&header, rest) = payload.split_first()?;
        let (kind, extension, sized) = (header >> 3 & 0x0F, header & 4 != 0, header & 2 != 0);
        let rest = rest.get(usize::from(extension)..)?;
        let (size, rest) = if sized { leb128(rest)? } else { (rest.len(), rest) };
        let (unit, rest) = rest.split_at_checked(size)?;
        match kind {
            // Encoders repeat the sequence header at key frames, and only there.
            SEQUENCE_HEADER => return Some(true),
            // show_existing_frame, two bits of frame_type, show_frame.
            FRAME | FRAME_HEADER => return Some(unit.first()? & 0xF0 == 0x10),
            _ => payload = rest,
        }
    }
    None
}

/// AV1 §4.10.5.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, bytes.get(index + 1..)?));
        }
    }
    None
}

/// VP9 §6.2: frame_marker, two bits of profile, a reserved bit in profile 3, show_existing_frame, frame_type.
fn is_vp9_key(first: u8) -> bool {
    let profile_3 = first & 0x30 == 0x30;
    let bits = if profile_3 { first << 1 } else { first };
    first >> 6 == 2 && bits & 0x0C == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(length: usize, units: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for unit in units {
            out.extend_from_slice(&(unit.len() as u32).to_be_bytes()[4 - length..]);
            out.extend_from_slice(unit);
        }
        out
    }

    fn avc(units: &[u8]) -> Vec<u8> {
        [&[0x27, 1, 0, 0, 0], units].concat()
    }

    #[test]
    fn the_first_slice_says_what_the_picture_is() {
        let pictures = Pictures::default();
        let (sei, sps, aud): (&[u8], &[u8], &[u8]) = (&[6, 5, 1], &[0x67, 1, 2, 3], &[9, 0xF0]);
        assert!(pictures.is_key(&avc(&units(4, &[aud, sei, sps, &[0x65, 1]]))));
        assert!(!pictures.is_key(&avc(&units(4, &[aud, sei, &[0x41, 1], &[0x65, 1]]))), "the first one counts");
        assert!(!pictures.is_key(&avc(&units(4, &[sei, sps]))), "no slice at all");
        assert!(!pictures.is_key(&[0x27, 0, 0, 0, 0, 0, 0, 0, 1, 0x65]), "no coded message");
        let many: Vec<&[u8]> = (0..MOST_UNITS).map(|_| sei).chain([&[0x65, 1][..]]).collect();
        assert!(!pictures.is_key(&avc(&units(4, &many))), "too many units before the slice");
    }

    #[test]
    fn the_sequence_header_says_how_long_lengths_are() {
        for length in [1, 2, 4] {
            let mut pictures = Pictures::default();
            pictures.note_header(&[0x17, 0, 0, 0, 0, 1, 100, 0, 31, 0xFC | (length as u8 - 1), 0xE1]);
            assert!(pictures.is_key(&avc(&units(length, &[&[6, 1], &[0x65, 1]]))), "{length}");
            assert!(!pictures.is_key(&avc(&units(length, &[&[6, 1], &[0x41, 1]]))), "{length}");
        }
    }

    #[test]
    fn extended_messages_without_a_frame_type_are_looked_into() {
        let pictures = Pictures::default();
        let cases: [(&[u8; 4], &[u8], &[u8]); 3] =
            [(b"hvc1", &[0x26, 1], &[0x02, 1]), (b"vvc1", &[0, 0x39], &[0, 0x01]), (b"avc1", &[0x65], &[0x41])];
        for (fourcc, key, inter) in cases {
            for (unit, expected) in [(key, true), (inter, false)] {
                // CodedFramesX, and CodedFrames with a composition time.
                let plain = [&[0x83], &fourcc[..], &units(4, &[unit])].concat();
                let timed = [&[0x81], &fourcc[..], &[0, 0, 0], &units(4, &[unit])].concat();
                assert_eq!((pictures.is_key(&plain), pictures.is_key(&timed)), (expected, expected), "{fourcc:?}");
            }
        }
        let av1 = |obus: &[u8]| pictures.is_key(&[b"\x81av01", obus].concat());
        assert!(av1(&[0x12, 0, 0x0A, 2, 0, 0, 0x32, 1, 0x10]), "delimiter, sequence header, frame");
        assert!(av1(&[0x12, 0, 0x32, 1, 0x10]), "a key frame that is shown");
        assert!(!av1(&[0x12, 0, 0x32, 1, 0x30]) && !av1(&[0x12, 0]) && !av1(&[0x32]) && !av1(&[]));
        assert!(!av1(&[0x32, 1, 0x00]), "one that is not shown");
        assert!(pictures.is_key(b"\x81vp08\x10") && !pictures.is_key(b"\x81vp08\x11"));
        assert!(pictures.is_key(b"\x81vp09\x82") && !pictures.is_key(b"\x81vp09\x86"));
        assert!(pictures.is_key(b"\x81vp09\xB0") && !pictures.is_key(b"\x81vp09\xB2"));
    }

    #[test]
    fn of_a_multitrack_message_the_default_track_counts() {
        let pictures = Pictures::default();
        let message = |first: u8, second: u8| {
            let mut body = b"\x86\x11avc1".to_vec();
            for (track, kind) in [(0u8, first), (1, second)] {
                let payload = units(4, &[&[kind, 1]]);
                let timed = [&[0, 0, 0][..], &payload].concat();
                body.push(track);
                body.extend_from_slice(&(timed.len() as u32).to_be_bytes()[1..]);
                body.extend_from_slice(&timed);
            }
            body
        };
        assert!(pictures.is_key(&message(0x65, 0x41)));
        assert!(!pictures.is_key(&message(0x41, 0x65)));
    }
}
