use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anabranch_core::message::{Message, MessageType};

use crate::Digest;
use crate::media::{Archive, Media, origin};

/// What a player got on its present connection, and the checks that it is what an encoder sent: bit-exact, from a key
/// frame on, each frame after the headers that belong to it, in rising time.
///
/// A relay that connects again begins at a key frame that the player may have had: so frames may repeat from a key
/// frame on, with later timestamps. Nothing else may come twice.
#[derive(Debug, Default)]
pub(super) struct Viewing {
    /// The last message.
    pub(super) place: Option<(usize, usize)>,
    /// When the last frame came, and the first one on this connection.
    pub(super) last: Option<Instant>,
    pub(super) first: Option<Instant>,
    /// The first frame of all connections.
    pub(super) first_ever: Option<Instant>,
    headers: [Option<(usize, usize)>; 3],
    picture: Option<(usize, usize)>,
    /// The latest timestamps of video and audio.
    times: [Option<u32>; 2],
    /// Coded frames on all connections.
    pub(super) frames: u64,
    /// The publications in the order in which they came, on all connections.
    pub(super) order: Vec<usize>,
    /// Those of them, by their places there, that may have been on air before the one in front of them.
    pub(super) outdated: BTreeSet<usize>,
    /// How many of them there were before this connection.
    before: usize,
    /// True until there is sound, and a picture, of the newest publication.
    is_unheard: bool,
    is_unseen: bool,
    /// The latencies of frames, if they are measured, and the longest time without a frame meanwhile.
    pub(super) latencies: Vec<Duration>,
    pub(super) longest: Duration,
}

/// Frames of one publication that a player did not get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Skipped {
    pub(super) origin: usize,
    pub(super) frames: usize,
    /// True if they are what is not kept of a publisher that stood by. It sends its pictures since the newest key frame, and
    /// no sound of that time. If it has no key frame, because it stands by only since it was on air itself, it sends sound at
    /// once, and pictures from its next key frame on.
    pub(super) is_unkept: bool,
}

impl Viewing {
    /// A new connection.
    pub(super) fn begin(&mut self) {
        let Viewing { frames, first_ever, order, outdated, latencies, longest, .. } = std::mem::take(self);
        let before = order.len();
        *self = Viewing { frames, first_ever, order, outdated, before, latencies, longest, ..Viewing::default() };
    }

    /// Its server has lost touch with the one that has the stream: what it begins with there may be what was on air before.
    pub(super) fn begins_at_lost_server(&mut self) {
        if self.order.len() == self.before + 1 {
            self.outdated.insert(self.before);
        }
    }

    /// Takes a message; the error says what is wrong with it.
    pub(super) fn media(
        &mut self,
        now: Instant,
        message: &Message,
        archive: &Archive,
    ) -> Result<Option<Skipped>, String> {
        if message.type_id == MessageType::DATA_AMF0 && message.payload.starts_with(b"\x02\x00\x11|RtmpSampleAccess") {
            return Ok(None);
        }
        let from = origin(&message.payload).ok_or_else(|| format!("{message:?} comes from no encoder"))?;
        let sent = archive.message(from).ok_or_else(|| format!("{from:?} was never sent"))?;
        let media = sent.media;
        let mut digest = Digest::default();
        digest.bytes(&message.payload);
        if sent.digest != digest || media.type_id() != message.type_id {
            return Err(format!("{media:?} {from:?} is not as it was sent"));
        }
        if media.is_header() {
            self.headers[media.slot()] = Some(from);
            return Ok(None);
        }
        let track = if media.is_picture() { Media::VideoHeader } else { Media::AudioHeader };
        for header in [Media::Metadata, track] {
            let due = sent.headers[header.slot()].map(|number| (from.0, number));
            let had = self.headers[header.slot()];
            if due.is_some() && had != due {
                return Err(format!("{media:?} {from:?} needs {header:?} {due:?} and came after {had:?}"));
            }
        }
        if media.is_picture() {
            let reference = sent.reference.map(|number| (from.0, number));
            if media == Media::Inter && reference != self.picture {
                return Err(format!("picture {from:?} came after {:?}, not {reference:?}", self.picture));
            }
            self.picture = Some(from);
        }
        let time = &mut self.times[usize::from(media == Media::Sound)];
        if time.is_some_and(|last| message.timestamp.wrapping_sub(last) > u32::MAX / 2) {
            return Err(format!("{media:?} {from:?} goes back in time from {time:?} to {}", message.timestamp));
        }
        *time = Some(message.timestamp);
        self.longest = self.longest.max(self.last.map_or(Duration::ZERO, |last| now - last));
        self.last = Some(now);
        self.first.get_or_insert(now);
        self.first_ever.get_or_insert(now);
        self.frames += 1;
        if self.order.last() != Some(&from.0) {
            self.order.push(from.0);
            (self.is_unheard, self.is_unseen) = (true, true);
        }
        self.advance(from, media, archive)
    }

    fn advance(&mut self, from: (usize, usize), media: Media, archive: &Archive) -> Result<Option<Skipped>, String> {
        let (unheard, unseen) = (self.is_unheard, self.is_unseen);
        self.is_unheard &= media != Media::Sound;
        self.is_unseen &= !media.is_picture();
        let Some((origin, last)) = self.place.replace(from).filter(|(origin, _)| *origin == from.0) else {
            return Ok(None);
        };
        if from.1 <= last {
            let begins = media == Media::Key;
            return if begins { Ok(None) } else { Err(format!("{media:?} {from:?} came after {last}")) };
        }
        let missed = archive.between(origin, last + 1..from.1).filter(|(_, sent)| sent.media.is_coded());
        let (sounds, pictures): (Vec<_>, Vec<_>) = missed.partition(|(_, sent)| sent.media == Media::Sound);
        let is_unkept = (sounds.is_empty() || unheard) && (pictures.is_empty() || unseen);
        let frames = sounds.len() + pictures.len();
        Ok((frames > 0).then_some(Skipped { origin, frames, is_unkept }))
    }
}
