use super::{Frame, FrameKind};
use crate::flv::{self, Codec, HeaderKind};

/// The headers in force at one point of a stream: what a player needs before the frames from there on.
///
/// One entry for metadata and, for each track, one for each kind of header.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    entries: Vec<(Slot, Frame)>,
}

/// What a header frame does to one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeaderChange {
    slot: Slot,
    codec: Option<Codec>,
    /// False: the track has ended, its entries are void.
    sets: bool,
}

/// Names an entry. The order is the order in which a player gets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    medium: Medium,
    track: u8,
    part: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Medium {
    Data,
    Video,
    Audio,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    SequenceHeader,
    /// onMetaData, colorInfo, or the channel configuration: what follows the sequence header.
    Metadata,
}

impl HeaderChange {
    pub(super) fn of(kind: FrameKind, body: &[u8]) -> Box<[HeaderChange]> {
        let change = |medium, slot: flv::HeaderSlot<'_>| HeaderChange {
            slot: Slot {
                medium,
                track: slot.track,
                part: match slot.kind {
                    HeaderKind::Metadata | HeaderKind::MultichannelConfig => Part::Metadata,
                    _ => Part::SequenceHeader,
                },
            },
            codec: Some(slot.codec),
            sets: slot.kind != HeaderKind::SequenceEnd,
        };
        match kind {
            FrameKind::Video => flv::video_header_slots(body).map(|slot| change(Medium::Video, slot)).collect(),
            FrameKind::Audio => flv::audio_header_slots(body).map(|slot| change(Medium::Audio, slot)).collect(),
            FrameKind::Data => {
                let slot = Slot { medium: Medium::Data, track: 0, part: Part::Metadata };
                Box::new([HeaderChange { slot, codec: None, sets: true }])
            }
        }
    }
}

impl Headers {
    /// The header frames in the order a player needs them: metadata, video, audio. A frame that holds several tracks
    /// comes once.
    pub fn iter(&self) -> impl Iterator<Item = &Frame> {
        self.entries.iter().enumerate().filter_map(|(index, (_, frame))| {
            let repeats = self.entries[..index].iter().any(|(_, earlier)| same(earlier, frame));
            (!repeats).then_some(frame)
        })
    }

    /// True if nothing is in force.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// True if a video sequence header is in force.
    pub fn has_video(&self) -> bool {
        self.entries.iter().any(|(slot, _)| slot.medium == Medium::Video)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.iter().map(|frame| frame.wire().len()).sum()
    }

    /// True if every entry that `frame` sets has the same body already.
    pub(super) fn have(&self, frame: &Frame) -> bool {
        frame.changes().iter().all(|change| {
            let entry = self.entries.iter().find(|(slot, _)| *slot == change.slot);
            change.sets && entry.is_some_and(|(_, held)| held.payload() == frame.payload())
        })
    }

    /// Applies a header frame. At most 256 tracks of each medium exist in the format, so this is bounded.
    pub(super) fn apply(&mut self, frame: &Frame) {
        for change in frame.changes() {
            let slot = change.slot;
            let new_codec = change.sets && slot.part == Part::SequenceHeader && !self.has_codec(change);
            if !change.sets || new_codec {
                self.entries.retain(|(entry, _)| (entry.medium, entry.track) != (slot.medium, slot.track));
            }
            if change.sets {
                match self.entries.binary_search_by_key(&slot, |(entry, _)| *entry) {
                    Ok(index) => self.entries[index].1 = frame.clone(),
                    Err(index) => self.entries.insert(index, (slot, frame.clone())),
                }
            }
        }
    }

    pub(super) fn clear_metadata(&mut self) {
        self.entries.retain(|(slot, _)| slot.medium != Medium::Data);
    }

    /// True if the track's sequence header in force has the codec of `change`, or there is none yet.
    fn has_codec(&self, change: &HeaderChange) -> bool {
        let entry = self.entries.iter().find(|(slot, _)| *slot == change.slot);
        entry.is_none_or(|(slot, frame)| {
            frame.changes().iter().any(|earlier| earlier.slot == *slot && earlier.codec == change.codec)
        })
    }
}

fn same(a: &Frame, b: &Frame) -> bool {
    a.wire().as_ptr() == b.wire().as_ptr()
}
