use super::{FlvError, FourCC, take};

/// Most tracks read from one message: a track id is one byte, so more cannot be distinct.
pub const MAX_TRACKS: usize = 256;

/// How a multitrack message lays out its tracks (Enhanced RTMP v2, `AvMultitrackType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultitrackKind {
    /// 0: one track to the end of the message.
    OneTrack,
    /// 1: several tracks of one codec.
    ManyTracks,
    /// 2: several tracks, each with its codec.
    ManyTracksManyCodecs,
    /// A reserved layout, kept unchanged; its tracks cannot be read.
    Unknown(u8),
}

/// The unparsed tracks of a multitrack message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Multitrack<'a> {
    /// The layout.
    pub kind: MultitrackKind,
    /// The codec of all tracks; `None` if each track names its own, and in unknown layouts.
    pub fourcc: Option<FourCC>,
    /// Everything after the layout byte and the common FourCC.
    pub bytes: &'a [u8],
}

crate::shown::debug_with_bytes!(Multitrack<'_> { kind, fourcc; bytes });

impl<'a> Multitrack<'a> {
    /// Reads the bytes after the packet type `Multitrack`. Also returns the packet type of the tracks.
    pub(super) fn read(multitrack_packet_type: u8, bytes: &'a [u8]) -> Result<(Self, u8), FlvError> {
        let (types, rest) = take::byte(bytes, "multitrack type")?;
        let packet_type = types & 0x0F;
        if packet_type == multitrack_packet_type {
            return Err(FlvError::NestedMultitrack);
        }
        let kind = match types >> 4 {
            0 => MultitrackKind::OneTrack,
            1 => MultitrackKind::ManyTracks,
            2 => MultitrackKind::ManyTracksManyCodecs,
            other => MultitrackKind::Unknown(other),
        };
        let (fourcc, bytes) = match kind {
            MultitrackKind::OneTrack | MultitrackKind::ManyTracks => {
                let (fourcc, rest) = take::fourcc(rest)?;
                (Some(fourcc), rest)
            }
            MultitrackKind::ManyTracksManyCodecs | MultitrackKind::Unknown(_) => (None, rest),
        };
        Ok((Self { kind, fourcc, bytes }, packet_type))
    }

    /// The tracks in the order of the message.
    ///
    /// A track that is longer than the rest of the message yields an error and ends the iteration.
    pub fn tracks(&self) -> RawTracks<'a> {
        RawTracks { multitrack: *self, read: 0 }
    }
}

/// One track of a multitrack message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawTrack<'a> {
    /// Track id: a name, without order. Audio and video ids are separate.
    pub id: u8,
    /// Codec.
    pub fourcc: FourCC,
    /// The body of the track, including the composition time if the codec has one.
    pub payload: &'a [u8],
}

crate::shown::debug_with_bytes!(RawTrack<'_> { id, fourcc; payload });

/// Iterator over the tracks of a multitrack message. At most [`MAX_TRACKS`] tracks, then an error.
#[derive(Clone, Debug)]
pub struct RawTracks<'a> {
    multitrack: Multitrack<'a>,
    read: usize,
}

impl<'a> RawTracks<'a> {
    fn read_next(&mut self) -> Result<Option<RawTrack<'a>>, FlvError> {
        let bytes = self.multitrack.bytes;
        let (fourcc, rest) = match (self.multitrack.kind, self.multitrack.fourcc) {
            (MultitrackKind::OneTrack, Some(fourcc)) => {
                if self.read > 0 {
                    return Ok(None);
                }
                let (id, payload) = take::byte(bytes, "track id")?;
                self.multitrack.bytes = &[];
                return Ok(Some(RawTrack { id, fourcc, payload }));
            }
            (MultitrackKind::ManyTracks, Some(fourcc)) => (fourcc, bytes),
            (MultitrackKind::ManyTracksManyCodecs, _) => match take::fourcc(bytes) {
                Ok(codec) => codec,
                Err(_) => return Ok(None),
            },
            _ => return Ok(None),
        };
        // If fewer bytes than a track header are left, they are padding.
        let Some((&[id, a, b, c], rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        if self.read >= MAX_TRACKS {
            return Err(FlvError::TooManyTracks { limit: MAX_TRACKS });
        }
        let size = usize::try_from(take::u24([a, b, c])).unwrap_or(usize::MAX);
        let Some((payload, rest)) = rest.split_at_checked(size) else {
            return Err(FlvError::TrackTooLong { track: id, size, left: rest.len() });
        };
        self.multitrack.bytes = rest;
        Ok(Some(RawTrack { id, fourcc, payload }))
    }

    /// Makes every further call return `None`.
    pub(super) fn stop(&mut self) {
        self.multitrack.kind = MultitrackKind::Unknown(0xFF);
    }
}

impl<'a> Iterator for RawTracks<'a> {
    type Item = Result<RawTrack<'a>, FlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.read_next().transpose();
        match &item {
            Some(Ok(_)) => self.read += 1,
            Some(Err(_)) | None => self.stop(),
        }
        item
    }
}

impl std::iter::FusedIterator for RawTracks<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracks(bytes: &[u8]) -> Vec<Result<RawTrack<'_>, FlvError>> {
        Multitrack::read(6, bytes).unwrap().0.tracks().collect()
    }

    #[test]
    fn tracks_before_a_bad_size_are_kept() {
        let read = tracks(b"\x11av01\x00\x00\x00\x01A\x07\x00\x00\x09BC");
        let first = RawTrack { id: 0, fourcc: FourCC::AV01, payload: b"A" };
        let error = FlvError::TrackTooLong { track: 7, size: 9, left: 2 };
        assert_eq!(read, [Ok(first), Err(error)]);
    }

    #[test]
    fn bytes_too_few_for_a_track_header_are_padding() {
        assert_eq!(tracks(b"\x11av01\x00\x00\x00\x01A\x07\x00\x00").len(), 1);
        assert_eq!(tracks(b"\x21av01\x00\x00\x00\x01Avp09\x07\x00\x00").len(), 1);
    }

    #[test]
    fn one_track_needs_its_id() {
        assert!(matches!(tracks(b"\x01av01")[..], [Err(FlvError::Truncated { .. })]));
    }

    #[test]
    fn an_unknown_layout_has_no_tracks() {
        let (multitrack, packet_type) = Multitrack::read(6, b"\x31abc").unwrap();
        assert_eq!(multitrack.kind, MultitrackKind::Unknown(3));
        assert_eq!((packet_type, multitrack.bytes), (1, b"abc".as_slice()));
        assert_eq!(multitrack.tracks().next(), None);
    }

    #[test]
    fn tracks_are_limited() {
        let mut bytes = b"\x11av01".to_vec();
        bytes.extend([1, 0, 0, 0].repeat(MAX_TRACKS + 50));
        let read = tracks(&bytes);
        assert_eq!(read.len(), MAX_TRACKS + 1);
        assert_eq!(read.last(), Some(&Err(FlvError::TooManyTracks { limit: MAX_TRACKS })));
    }
}
