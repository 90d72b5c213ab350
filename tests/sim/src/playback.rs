use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::time::Instant;

use anabranch_core::message::{Message, MessageType};
use anabranch_core::source::Gap;

use super::Digest;
use super::media::{Archive, Media, Sent, origin};

/// What a player got, and the checks that it is what was sent: bit-exact, in order, from a key frame on, each frame
/// after the headers that its encoder sent last before it.
#[derive(Debug, Default)]
pub struct Playback {
    frames: Vec<Received>,
    received: u64,
    /// True if only the newest are kept.
    newest_only: bool,
    faults: Vec<String>,
    skipped: Gap,
    resumptions: u32,
    /// The newest header of each kind, by [`Media::slot`].
    headers: [Option<(usize, usize)>; 3],
    /// Headers since the last coded frame that came for a start, not in their place.
    announced: Vec<(usize, usize)>,
    /// The last message in the order of sending.
    place: Option<(usize, usize)>,
    last_picture: Option<(usize, usize)>,
    /// The latest timestamps of video and audio, and the period of the publisher's clock that they are from.
    furthest: [Option<(u32, u32)>; 2],
    /// The latest timestamps of earlier publishers.
    floor: Option<u32>,
    /// Which client publishes, and what was added to its timestamps in each period of its clock.
    offsets: (usize, BTreeMap<u32, u32>),
    /// The difference between the stream's time and the publisher's clock without jumps.
    shift: Option<u32>,
    /// True once a picture came since the player began, or began again.
    begun: bool,
    /// True if timestamps must come as they were sent.
    absolute: bool,
    /// Publishers that were followed by another.
    left: HashSet<usize>,
    /// Tracks that the player turned off, or does not yet get again.
    audio: Wanted,
    video: Wanted,
}

/// How far, in milliseconds, a jump of a publisher's clock may move the stream's time: frames after it may have
/// travelled longer than those before it.
const BRIDGED: u32 = 20_000;

/// How far, in milliseconds, a medium may step back at a jump of the publisher's clock: it continues with the other
/// medium.
const JUMPS_BACK: u32 = 1_000;

/// How many messages a player that keeps the newest only keeps.
const FRAMES: usize = 1024;

/// What a player asked for of one track.
#[derive(Debug, Default)]
struct Wanted {
    off: bool,
    /// Requests to turn it on that the server has not answered.
    unanswered: u32,
    /// True while frames may be missing because of it.
    excused: bool,
}

impl Wanted {
    fn ask(&mut self, on: bool) {
        self.off = !on;
        self.unanswered += u32::from(on);
        self.excused = true;
    }

    fn is_steady(&self) -> bool {
        !self.off && self.unanswered == 0
    }
}

/// One message of an encoder that a player got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// What it is.
    pub media: Media,
    /// The timestamp that it came with, in milliseconds.
    pub timestamp: u32,
    /// Index of the client that sent it; for a client's further streams, see
    /// [`Sim::also_publish`](super::Sim::also_publish).
    pub publisher: usize,
    /// Its number among that publisher's messages; of a repeated header, the first one's.
    pub number: usize,
    /// When it came.
    pub at: Instant,
}

impl Playback {
    /// All that came, headers included; of a simulation that [keeps the newest only](super::Sim::keep_newest_only) simulation, the newest.
    pub fn frames(&self) -> &[Received] {
        &self.frames
    }

    /// How many messages came, headers included.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Origin, number and timestamp of all coded frames: what to compare between players.
    pub fn coded(&self) -> Vec<(usize, usize, u32)> {
        let coded = self.frames.iter().filter(|frame| !frame.media.is_header());
        coded.map(|frame| (frame.publisher, frame.number, frame.timestamp)).collect()
    }

    /// How many messages of this kind came.
    pub fn count(&self, media: Media) -> usize {
        self.frames.iter().filter(|frame| frame.media == media).count()
    }

    /// True if there is video and the first frame is a key frame.
    pub fn first_video_is_key(&self) -> bool {
        let mut pictures = self.frames.iter().filter(|frame| frame.media.is_picture());
        pictures.next().is_some_and(|frame| frame.media == Media::Key)
    }

    /// What was wrong with what came, as text. A simulation fails at the first such error.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// What an encoder sent between two frames that came, and that did not come: frames, and bytes for a server that
    /// sends each frame in one chunk. Does not include what is lost between one publisher and the next.
    pub fn skipped(&self) -> Gap {
        self.skipped
    }

    /// How often something was skipped.
    pub fn resumptions(&self) -> u32 {
        self.resumptions
    }

    pub(super) fn new(absolute: bool) -> Self {
        Playback { absolute, ..Playback::default() }
    }

    pub(super) fn keep_newest_only(self) -> Self {
        Playback { newest_only: true, ..self }
    }

    /// The player turns a track on or off.
    pub(super) fn receive(&mut self, track: Media, on: bool) {
        self.wanted(track).ask(on);
    }

    /// The server has turned a track on.
    pub(super) fn turned_on(&mut self, track: Media) {
        let wanted = self.wanted(track);
        wanted.unanswered = wanted.unanswered.saturating_sub(1);
    }

    fn wanted(&mut self, track: Media) -> &mut Wanted {
        if track == Media::Sound { &mut self.audio } else { &mut self.video }
    }

    pub(super) fn media(&mut self, now: Instant, message: &Message, archive: &Archive) {
        if message.type_id == MessageType::DATA_AMF0 && message.payload.starts_with(b"\x02\x00\x11|RtmpSampleAccess") {
            return;
        }
        let Some(from) = origin(&message.payload) else {
            return self.fault(format!("{message:?} comes from no encoder"));
        };
        let Some(sent) = archive.message(from) else {
            return self.fault(format!("{from:?} was never sent"));
        };
        let media = sent.media;
        let mut digest = Digest::default();
        digest.bytes(&message.payload);
        if sent.digest != digest || media.type_id() != message.type_id {
            return self.fault(format!("{media:?} {from:?} is not as it was sent"));
        }
        let (publisher, number) = from;
        self.received += 1;
        if self.newest_only && self.frames.len() >= 2 * FRAMES {
            self.frames.drain(..FRAMES);
        }
        self.frames.push(Received { media, timestamp: message.timestamp, publisher, number, at: now });
        if self.left.contains(&publisher) {
            return self.fault(format!("{media:?} {from:?} came though another publisher had followed"));
        }
        if media.is_header() {
            self.header(from, media, archive);
            return;
        }
        if media == Media::End {
            return self.advance(from, &[], archive);
        }
        let announced = std::mem::take(&mut self.announced);
        self.begun &= announced.is_empty();
        self.check_headers(from, sent, &announced);
        self.check_picture(from, sent);
        self.check_time(from, message.timestamp, sent);
        self.advance(from, &announced, archive);
    }

    fn header(&mut self, from: (usize, usize), media: Media, archive: &Archive) {
        self.headers[media.slot()] = Some(from);
        // In its place, or repeated because the player starts here.
        if let Some((publisher, last)) = self.place
            && publisher == from.0
            && archive.message((publisher, last + 1)).is_some_and(|next| next.media == media && next.named == from.1)
        {
            self.place = Some((publisher, last + 1));
        } else {
            self.announced.push(from);
        }
    }

    fn check_headers(&mut self, from: (usize, usize), sent: &Sent, announced: &[(usize, usize)]) {
        let media = sent.media;
        // Those of one whose frames were all unwanted may lie before them.
        let own = announced.iter().position(|header| header.0 == from.0).unwrap_or(0);
        if announced[own..].iter().any(|header| header.0 != from.0) {
            self.fault(format!("{media:?} {from:?} came after headers of another publisher"));
        }
        let track = if media.is_picture() { Media::VideoHeader } else { Media::AudioHeader };
        for header in [Media::Metadata, track] {
            let due = sent.headers[header.slot()].map(|number| (from.0, number));
            let had = self.headers[header.slot()];
            if due.is_some() && had != due {
                self.fault(format!("{media:?} {from:?} needs {header:?} {due:?} and came after {had:?}"));
            }
        }
    }

    fn check_picture(&mut self, from: (usize, usize), sent: &Sent) {
        if !sent.media.is_picture() {
            return;
        }
        let reference = sent.reference.map(|number| (from.0, number));
        // If key frames are rare, it begins without one after some time.
        let begins = sent.rarely_key && !self.begun;
        self.begun = true;
        if sent.media == Media::Inter && reference != self.last_picture && !begins {
            self.fault(format!("picture {from:?} came after {:?}, not {reference:?}", self.last_picture));
        }
        self.last_picture = Some(from);
    }

    fn check_time(&mut self, from: (usize, usize), timestamp: u32, sent: &Sent) {
        if self.absolute {
            if timestamp != sent.timestamp {
                self.fault(format!("{from:?} was sent at {} and came at {timestamp}", sent.timestamp));
            }
            return;
        }
        let (publisher, stretch) = (from.0, sent.stretch);
        if self.offsets.0 != publisher {
            self.offsets = (publisher, BTreeMap::new());
            let both = self.furthest.into_iter().flatten().map(|(time, _)| time);
            self.floor = both.reduce(|one, other| if goes_back(one, other) { one } else { other });
        }
        let medium = usize::from(sent.media == Media::Sound);
        if let Some((furthest, before)) = self.furthest[medium]
            && goes_back(furthest.wrapping_sub(sent.back + if before == stretch { 0 } else { JUMPS_BACK }), timestamp)
        {
            self.fault(format!("{from:?} goes back in time from {furthest} to {timestamp}"));
        }
        if let Some(floor) = self.floor.filter(|floor| goes_back(*floor, timestamp)) {
            self.fault(format!("{from:?} is at {timestamp}, before the predecessor's end at {floor}"));
        }
        let furthest = self.furthest[medium].filter(|(last, _)| goes_back(*last, timestamp));
        self.furthest[medium] = furthest.or(Some((timestamp, stretch)));
        let offset = timestamp.wrapping_sub(sent.timestamp);
        let shift = timestamp.wrapping_sub(sent.taken as u32);
        if let Some(before) =
            self.shift.filter(|_| !self.offsets.1.contains_key(&stretch) && !self.offsets.1.is_empty())
            && shift.wrapping_sub(before).cast_signed().unsigned_abs() > BRIDGED
        {
            self.fault(format!("{from:?} after a jump has {shift} added to the time that went by, it was {before}"));
        }
        self.shift = Some(shift);
        let known = *self.offsets.1.entry(stretch).or_insert(offset);
        // What is out of order at the beginning lies at the predecessor's end at the earliest.
        let is_kept_up = self.floor == Some(timestamp) && sent.back > 0;
        if known != offset && !is_kept_up {
            self.fault(format!("{from:?} is shifted by {offset}, frames before it by {known}"));
        }
    }

    fn advance(&mut self, from: (usize, usize), announced: &[(usize, usize)], archive: &Archive) {
        let (publisher, number) = from;
        if let Some((last_publisher, last)) = self.place {
            if last_publisher == publisher {
                if number <= last {
                    return self.fault(format!("{from:?} came after {last}"));
                }
                self.skip(publisher, last + 1..number, announced, archive);
            } else {
                self.left.insert(last_publisher);
            }
        }
        self.place = Some(from);
        let media = archive.message(from).map(|sent| sent.media);
        self.audio.excused &= !self.audio.is_steady();
        self.video.excused &= !(self.video.is_steady() && media.is_some_and(Media::is_picture));
    }

    /// Counts what was sent in between, without what the player turned off and headers it has.
    fn skip(&mut self, publisher: usize, between: Range<usize>, announced: &[(usize, usize)], archive: &Archive) {
        let mut any = false;
        for (number, sent) in archive.between(publisher, between) {
            let excused = match sent.media {
                Media::Sound => self.audio.excused,
                Media::Key | Media::Inter => self.video.excused,
                _ => sent.is_repeated(number) || announced.contains(&(publisher, number)),
            };
            if !excused {
                any = true;
                self.skipped.frames += 1;
                self.skipped.bytes += 12 + sent.size as u64;
            }
        }
        self.resumptions += u32::from(any);
    }

    pub(super) fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }
}

/// True if `later` lies before `earlier`.
fn goes_back(earlier: u32, later: u32) -> bool {
    later.wrapping_sub(earlier) > u32::MAX / 2
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Rng;
    use crate::media::{Encoder, EncoderState};
    use anabranch_core::message::Payload;

    /// Shows these messages of a second's encoding to a player; returns what is wrong, if anything is.
    fn faults(numbers: &[usize], change: impl Fn(usize, &mut Message)) -> Vec<String> {
        let (mut archive, now) = (Archive::default(), Instant::now());
        let encoder = Encoder { gop: 10, ..Encoder::video_only() };
        let mut encoder_state = EncoderState::new(encoder, 0, Rng::new(1));
        encoder_state.begin(now, &mut archive);
        encoder_state.produce(now + Duration::from_secs(1), false, &mut archive);
        let bodies = archive.take_fresh();
        let mut playback = Playback::default();
        for number in numbers {
            let sent = &archive.of(0)[*number];
            let mut message = Message {
                chunk_stream: 6,
                timestamp: sent.timestamp,
                type_id: sent.media.type_id(),
                message_stream_id: 1,
                payload: Payload::from(bodies[*number].1.clone()),
            };
            change(*number, &mut message);
            playback.media(now, &message, &archive);
        }
        playback.faults().to_vec()
    }

    fn unchanged(_: usize, _: &mut Message) {}

    #[test]
    fn a_playback_is_valid_from_the_beginning_or_from_a_key_frame() {
        assert_eq!(faults(&[0, 1, 2, 3, 4, 5], unchanged), [""; 0]);
        assert_eq!(faults(&[0, 1, 12, 13], unchanged), [""; 0]);
        assert_eq!(faults(&[0, 1, 2, 3, 0, 1, 12, 13], unchanged), [""; 0]);
    }

    #[test]
    fn every_kind_of_damage_shows() {
        let damages: [(&str, &[usize]); 6] = [
            ("no header", &[0, 2, 3]),
            ("no metadata", &[1, 2]),
            ("starts between key frames", &[0, 1, 3]),
            ("a lost frame", &[0, 1, 2, 3, 5]),
            ("a frame twice", &[0, 1, 2, 3, 3]),
            ("frames out of order", &[0, 1, 12, 2]),
        ];
        for (damage, numbers) in damages {
            assert!(!faults(numbers, unchanged).is_empty(), "{damage}");
        }
        let flip = |number: usize, message: &mut Message| {
            if number == 3 {
                let mut body = message.payload.to_vec();
                body[7] ^= 1;
                message.payload = Payload::from(body);
            }
        };
        assert_eq!(faults(&[0, 1, 2, 3], flip).len(), 1);
        let late = |number: usize, message: &mut Message| message.timestamp += u32::from(number > 3) * 7;
        assert_eq!(faults(&[0, 1, 2, 3, 4], late).len(), 1);
        let early = |number: usize, message: &mut Message| message.timestamp /= 1 + u32::from(number > 3);
        assert!(!faults(&[0, 1, 2, 3, 4], early).is_empty());
    }
}
