use std::sync::Arc;

use super::{Frame, FrameKind};
use crate::flv::{self, Codec, HeaderKind};

/// The headers in force at one point of a stream: what a player needs before the frames from there on.
///
/// There is one entry for metadata and, for each track, one for each kind of header. Every key frame keeps such a set,
/// so an entry is small and shares its frame with the other sets.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    entries: Vec<Entry>,
    /// Bytes of the messages, each counted once.
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    slot: Slot,
    codec: Option<Codec>,
    frame: Arc<Frame>,
    /// The sequence has ended. Frames that need the header may still follow: encoders that loop a file or pause do not
    /// send it again.
    ended: bool,
}

/// Bytes of a set without entries, including its reference count and two allocations.
const SET: usize = size_of::<Headers>() + 48;

/// Bytes of an entry of a set.
pub(crate) const HEADER_ENTRY: usize = size_of::<Entry>();

/// How many headers may be in force at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeaderLimits {
    /// Bytes of all header messages.
    pub(super) bytes: usize,
    /// Tracks of each medium in addition to the default track.
    pub(super) tracks: usize,
}

/// What a header frame does to one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HeaderChange {
    slot: Slot,
    codec: Option<Codec>,
    /// False: the track has ended, and its entries are void unless it goes on.
    sets: bool,
}

/// Identifies an entry. Players get the entries in this order.
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
    /// onMetaData, colorInfo, or the channel configuration: these follow the sequence header.
    Metadata,
}

impl HeaderChange {
    /// The entries that the header message `frame` sets or voids, each once: at most 256, one for each track id. They
    /// are not stored with the frame, because a message needs only four bytes to name a track.
    fn all_of(frame: &Frame) -> Vec<HeaderChange> {
        let mut changes: Vec<HeaderChange> = Vec::new();
        let mut places = [None; 256];
        each_change(frame.kind(), &frame.payload(), |change| {
            let place = places[usize::from(change.slot.track)].get_or_insert(changes.len());
            match changes.get_mut(*place) {
                Some(earlier) => *earlier = change,
                None => changes.push(change),
            }
            true
        });
        changes
    }
}

/// True if the message of a header class sets or voids any entry.
pub(super) fn changes_any(kind: FrameKind, body: &[u8]) -> bool {
    let mut any = false;
    each_change(kind, body, |_| {
        any = true;
        false
    });
    any
}

/// Hands the changes that a message makes to `sink` until it returns false.
fn each_change(kind: FrameKind, body: &[u8], mut sink: impl FnMut(HeaderChange) -> bool) {
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
        FrameKind::Video => _ = flv::video_header_slots(body).all(|slot| sink(change(Medium::Video, slot))),
        FrameKind::Audio => _ = flv::audio_header_slots(body).all(|slot| sink(change(Medium::Audio, slot))),
        FrameKind::Data => {
            let slot = Slot { medium: Medium::Data, track: 0, part: Part::Metadata };
            sink(HeaderChange { slot, codec: None, sets: true });
        }
    }
}

impl Headers {
    /// The header frames in the order in which a player needs them: metadata, video, audio. A frame that holds several
    /// tracks comes once. Headers of a sequence that has ended are included, because the sequence may go on without
    /// sending them again.
    pub fn iter(&self) -> impl Iterator<Item = &Frame> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| {
            let repeats = self.entries[..index].iter().any(|earlier| Arc::ptr_eq(&earlier.frame, &entry.frame));
            (!repeats).then_some(&*entry.frame)
        })
    }

    /// True if a sequence of the kind has ended and its headers are still kept.
    pub(super) fn has_ended(&self, kind: FrameKind) -> bool {
        self.entries.iter().any(|entry| entry.ended && entry.frame.kind() == kind)
    }

    /// Coded frames follow after the end of their sequence: its headers are in force again.
    pub(super) fn resume(&mut self, kind: FrameKind) {
        self.entries.iter_mut().filter(|entry| entry.frame.kind() == kind).for_each(|entry| entry.ended = false);
    }

    /// True if a message without track id must belong to another track than the default one: it has the codec of such a
    /// track, and not that of the default track. FFmpeg 9 sends the colour metadata of every track without track id.
    pub(super) fn is_of_another_track(&self, frame: &Frame) -> bool {
        let mut changes = HeaderChange::all_of(frame).into_iter();
        let Some(HeaderChange { slot: Slot { medium, track: 0, .. }, codec, .. }) = changes.next() else {
            return false;
        };
        let header = |entry: &&Entry| entry.slot.medium == medium && entry.slot.part == Part::SequenceHeader;
        let default = self.entries.iter().filter(header).find(|entry| entry.slot.track == 0);
        let other = self.entries.iter().filter(header).any(|entry| entry.slot.track != 0 && entry.codec == codec);
        other && default.is_some_and(|default| default.codec != codec)
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Applies a frame, for a reader that follows a stream frame by frame. Headers change what is in force, and coded
    /// frames put the headers of a sequence that had ended in force again. Returns true if the frame is a header that
    /// changes anything.
    pub fn note(&mut self, frame: &Frame) -> bool {
        if !frame.is_header() {
            if frame.class().is_coded() && self.has_ended(frame.kind()) {
                self.resume(frame.kind());
            }
            return false;
        }
        let same = self.have(frame);
        if !same {
            self.apply(frame, HeaderLimits { bytes: 1 << 20, tracks: 16 });
        }
        !same
    }

    /// True if a video sequence header is in force.
    pub fn has_video(&self) -> bool {
        self.entries.iter().any(|entry| entry.slot.medium == Medium::Video && !entry.ended)
    }

    /// Bytes of the header messages, each counted once.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True if every entry that `frame` sets has the same body already.
    pub(super) fn have(&self, frame: &Frame) -> bool {
        // If an equal message is in force for all entries, all of them hold the same frame.
        let mut held: Option<&Arc<Frame>> = None;
        for change in HeaderChange::all_of(frame) {
            match self.entry(change.slot) {
                Some(entry)
                    if change.sets && !entry.ended && held.is_none_or(|held| Arc::ptr_eq(held, &entry.frame)) =>
                {
                    held = Some(&entry.frame);
                }
                _ => return false,
            }
        }
        held.is_some_and(|held| held.payload() == frame.payload())
    }

    /// Applies a header frame. The headers that it replaces are void in any case. Returns false if the new header is
    /// over the limits and is not kept.
    pub(super) fn apply(&mut self, frame: &Frame, limits: HeaderLimits) -> bool {
        let changes = HeaderChange::all_of(frame);
        for change in &changes {
            let slot = change.slot;
            if !change.sets {
                let of_track = |entry: &&mut Entry| (entry.slot.medium, entry.slot.track) == (slot.medium, slot.track);
                self.entries.iter_mut().filter(of_track).for_each(|entry| entry.ended = true);
                continue;
            }
            // The other entries of a sequence that has ended are void with it.
            let is_other = |entry: &Entry| entry.ended || entry.codec != change.codec;
            let whole_track = slot.part == Part::SequenceHeader && self.entry(slot).is_some_and(is_other);
            self.entries.retain(|entry| {
                entry.slot != slot
                    && !(whole_track && (entry.slot.medium, entry.slot.track) == (slot.medium, slot.track))
            });
        }
        self.count_bytes();
        if !changes.iter().any(|change| change.sets) {
            return true;
        }
        let is_too_much = |headers: &Headers| {
            headers.bytes.saturating_add(frame.held_bytes()) > limits.bytes
                || headers.tracks_with(&changes) > limits.tracks
        };
        if is_too_much(self) {
            self.entries.retain(|entry| !entry.ended);
            self.count_bytes();
        }
        if is_too_much(self) {
            return false;
        }
        let shared = Arc::new(frame.clone());
        self.entries.extend(changes.iter().map(|change| Entry {
            slot: change.slot,
            codec: change.codec,
            frame: shared.clone(),
            ended: false,
        }));
        self.entries.sort_unstable_by_key(|entry| entry.slot);
        // A start may keep this set for a long time.
        self.entries.shrink_to_fit();
        self.bytes += frame.held_bytes();
        true
    }

    pub(super) fn clear_metadata(&mut self) {
        self.entries.retain(|entry| entry.slot.medium != Medium::Data);
        self.count_bytes();
    }

    /// Bytes that one set takes, without the messages.
    pub(super) fn structure_bytes(&self) -> usize {
        SET + self.entries.capacity() * size_of::<Entry>()
    }

    fn count_bytes(&mut self) {
        self.bytes = self.iter().map(Frame::held_bytes).sum();
    }

    fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.slot == slot)
    }

    /// How many tracks in addition to the default one the medium would have with these changes.
    fn tracks_with(&self, changes: &[HeaderChange]) -> usize {
        let medium = changes.first().map(|change| change.slot.medium);
        let held = self.entries.iter().map(|entry| entry.slot).filter(|slot| Some(slot.medium) == medium);
        let mut seen = [false; 256];
        for slot in held.chain(changes.iter().map(|change| change.slot)) {
            seen[usize::from(slot.track)] = true;
        }
        seen.iter().skip(1).filter(|seen| **seen).count()
    }
}
