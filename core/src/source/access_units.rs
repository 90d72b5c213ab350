use std::ops::Range;

use bytes::Bytes;

use super::{Frame, FrameKind};
use crate::flv::audio::{self, AudioPacketType};
use crate::flv::video::{self, VideoBody};
use crate::flv::{AccessUnit, Codec, FrameClass, Slices};

impl Frame {
    /// Hands the coded data of each of its tracks to `sink`: one for a plain message, several for one with multitrack,
    /// none for headers, commands, metadata and messages that cannot be read.
    ///
    /// Nothing is copied, except of a multitrack message that has several chunks.
    pub fn access_units(&self, mut sink: impl FnMut(AccessUnit)) {
        if !self.class().is_coded() {
            return;
        }
        let (first, is_whole) = self.first_chunk();
        let unit = |codec, track, composition_time, payload| AccessUnit {
            codec,
            track,
            key: self.kind() == FrameKind::Audio || self.class() == FrameClass::KeyFrame,
            timestamp: self.timestamp(),
            nanoseconds: 0,
            composition_time,
            payload,
        };
        // The headers of a plain message end in its first chunk, and its coded data is all the rest.
        let plain = match self.kind() {
            FrameKind::Video => video::parse(first).ok().and_then(|tag| match tag.body {
                VideoBody::Track(track) => {
                    Some((Codec::from(track.codec), track.composition_time, track.payload.len(), tag.mod_ex))
                }
                _ => None,
            }),
            FrameKind::Audio => audio::parse(first).ok().and_then(|tag| match tag.body {
                audio::AudioBody::Track(track) => Some((track.codec.into(), 0, track.payload.len(), tag.mod_ex)),
                _ => None,
            }),
            FrameKind::Data => None,
        };
        if let Some((codec, composition_time, left, mod_ex)) = plain {
            let from = first.len() - left;
            let mut payload = Slices::default();
            self.body_pieces(from..usize::MAX, |piece| payload.push(piece));
            let nanoseconds = mod_ex.timestamp_offset_nanos();
            return sink(AccessUnit { nanoseconds, ..unit(codec, 0, composition_time, payload) });
        }
        let whole: Bytes = if is_whole {
            let mut whole = Bytes::new();
            self.body_pieces(0..usize::MAX, |piece| whole = piece);
            whole
        } else {
            self.payload().into_owned().into()
        };
        match self.kind() {
            FrameKind::Video => {
                let Ok(tag) = video::parse(&whole) else { return };
                let nanoseconds = tag.mod_ex.timestamp_offset_nanos();
                for track in tag.tracks().map_while(Result::ok) {
                    let payload = whole.slice_ref(track.payload).into();
                    let unit = unit(track.codec.into(), track.id, track.composition_time, payload);
                    sink(AccessUnit { nanoseconds, ..unit });
                }
            }
            FrameKind::Audio => {
                let Ok(tag) = audio::parse(&whole) else { return };
                if tag.packet_type != AudioPacketType::CodedFrames {
                    return;
                }
                let nanoseconds = tag.mod_ex.timestamp_offset_nanos();
                for track in tag.tracks().map_while(Result::ok) {
                    let payload = whole.slice_ref(track.payload).into();
                    sink(AccessUnit { nanoseconds, ..unit(track.codec.into(), track.id, 0, payload) });
                }
            }
            FrameKind::Data => {}
        }
    }

    /// Hands the bytes `range` of the message's body to `sink` in pieces, without the headers of its chunks. Nothing is
    /// copied.
    pub fn body_pieces(&self, range: Range<usize>, mut sink: impl FnMut(Bytes)) {
        let mut passed = 0usize;
        self.chunks(|chunk| {
            let start = range.start.clamp(passed, passed + chunk.len()) - passed;
            let end = range.end.clamp(passed, passed + chunk.len()) - passed;
            passed += chunk.len();
            if start < end {
                sink(chunk.slice(start..end));
            }
        });
    }
}
