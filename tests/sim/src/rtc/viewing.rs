use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anabranch_rtc::peer::Medium;

use super::camera::{Publication, digest, label_of};

/// How long packets are waited for before the first one is taken, as they may come out of order.
const AT_FIRST: Duration = Duration::from_millis(250);
/// When a missing packet is asked for again, and when it is given up.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(80);
const GIVE_UP: Duration = Duration::from_millis(1_500);

/// What a viewer has got, and the checks that it is what was sent: each picture from a key frame on, whole, once and in
/// order.
#[derive(Debug)]
pub(super) struct Viewing {
    video: Incoming,
    audio: Incoming,
    /// The packets of the picture that comes.
    units: Vec<Vec<u8>>,
    is_open: bool,
    /// The newest picture, and its time in packets.
    last: Option<(usize, usize, u32)>,
    /// The newest sound.
    sound: Option<(usize, usize)>,
    /// True until a key frame, from which on each picture must come.
    pub(super) waits: bool,
    /// Until when pictures may be missing before a key frame.
    pub(super) may_skip: Option<Instant>,
    /// When the newest picture and the newest sound came.
    pub(super) seen: Option<Instant>,
    pub(super) heard: Option<Instant>,
    pub(super) pictures: u64,
    pub(super) sounds: u64,
    /// Pictures that were not sent, as no other needs them.
    pub(super) left_out: u64,
    /// Pictures missed at a key frame, by a viewer that was too slow.
    pub(super) skipped: u64,
    /// Packets that never came.
    pub(super) lost: u64,
}

/// The time, the marker and the payload of a packet.
type Packet = (u32, bool, Vec<u8>);

/// The packets of a track.
#[derive(Debug, Default)]
struct Incoming {
    /// When the first one is taken.
    from: Option<Instant>,
    next: Option<u64>,
    newest: u64,
    held: BTreeMap<u64, Packet>,
    /// Since when the next one has been missing.
    missing_since: Option<Instant>,
}

impl Incoming {
    fn take(&mut self, now: Instant, number: u64, packet: Packet) {
        self.from.get_or_insert(now + AT_FIRST);
        self.newest = self.newest.max(number);
        if self.next.is_none_or(|next| number >= next) {
            self.held.insert(number, packet);
        }
    }

    /// The next packet in order. The number says how many are missing before it.
    fn pop(&mut self, now: Instant) -> Option<(u64, Packet)> {
        let first = *self.held.first_key_value()?.0;
        let missing = match self.next {
            None if self.from.is_some_and(|from| now < from) => return None,
            None => 0,
            Some(next) => first - next,
        };
        if missing > 0 && now < *self.missing_since.get_or_insert(now) + GIVE_UP {
            return None;
        }
        (self.missing_since, self.next) = (None, Some(first + 1));
        self.held.remove(&first).map(|packet| (missing, packet))
    }

    fn missing(&self) -> Vec<u64> {
        let numbers = self.next.unwrap_or(self.newest)..self.newest;
        numbers.filter(|number| !self.held.contains_key(number)).take(200).collect()
    }
}

impl Default for Viewing {
    fn default() -> Self {
        Viewing {
            video: Incoming::default(),
            audio: Incoming::default(),
            units: Vec::new(),
            is_open: false,
            last: None,
            sound: None,
            waits: true,
            may_skip: None,
            seen: None,
            heard: None,
            pictures: 0,
            sounds: 0,
            left_out: 0,
            skipped: 0,
            lost: 0,
        }
    }
}

/// What a viewer may expect of its stream and its network.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) archive: &'a [Publication],
    pub(super) stream: &'a str,
    /// True if packets may be lost.
    pub(super) is_lossy: bool,
    /// True if its sound is made of AAC.
    pub(super) is_transcoded: bool,
}

impl Viewing {
    /// Another session begins.
    pub(super) fn begin_again(&mut self) {
        let Viewing { pictures, sounds, left_out, skipped, lost, .. } = std::mem::take(self);
        *self = Viewing { pictures, sounds, left_out, skipped, lost, ..Viewing::default() };
    }

    /// A packet has come.
    pub(super) fn packet(
        &mut self,
        now: Instant,
        medium: Medium,
        number: u64,
        time: u32,
        marker: bool,
        payload: &[u8],
    ) {
        let incoming = if medium == Medium::Video { &mut self.video } else { &mut self.audio };
        incoming.take(now, number, (time, marker, payload.to_vec()));
    }

    /// When there may be something to do without a packet.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let of = |incoming: &Incoming| match incoming.next {
            None => incoming.from,
            Some(_) if incoming.held.is_empty() => None,
            Some(_) => Some(now + ASK_AGAIN),
        };
        of(&self.video).into_iter().chain(of(&self.audio)).min()
    }

    /// The pictures' packets that are missing.
    pub(super) fn missing(&self) -> Vec<u64> {
        self.video.missing()
    }

    /// Takes what has come. The error says what is wrong with it.
    pub(super) fn look(&mut self, now: Instant, terms: Terms<'_>) -> Result<(), String> {
        while let Some((missing, (_, _, payload))) = self.audio.pop(now) {
            self.lose(missing, "sound", terms)?;
            if missing > 0 {
                self.sound = None;
            }
            self.sound(now, &payload, terms)?;
        }
        while let Some((missing, (time, marker, payload))) = self.video.pop(now) {
            self.lose(missing, "pictures", terms)?;
            if missing > 0 {
                (self.waits, self.is_open) = (true, false);
                self.units.clear();
            }
            self.payload(&payload)?;
            if marker {
                let units = std::mem::take(&mut self.units);
                self.picture(now, &units, time, terms)?;
            }
        }
        Ok(())
    }

    fn lose(&mut self, missing: u64, of: &str, terms: Terms<'_>) -> Result<(), String> {
        self.lost += missing;
        if missing > 0 && !terms.is_lossy {
            return Err(format!("{missing} packets of its {of} never came"));
        }
        Ok(())
    }

    /// Takes a payload of H.264 (RFC 6184).
    fn payload(&mut self, payload: &[u8]) -> Result<(), String> {
        let (&[first], rest) = payload.split_first_chunk().ok_or("a packet is empty")?;
        match first & 0x1F {
            24 => {
                let mut rest = rest;
                while let Some((length, more)) = rest.split_first_chunk() {
                    let length = usize::from(u16::from_be_bytes(*length));
                    let unit = more.get(..length).ok_or("a unit is cut off")?;
                    self.units.push(unit.to_vec());
                    rest = &more[length..];
                }
            }
            28 => {
                let (&[head], part) = rest.split_first_chunk().ok_or("a part of a unit has no header")?;
                if head & 0x80 != 0 {
                    self.units.push(vec![first & 0xE0 | head & 0x1F]);
                    self.is_open = true;
                }
                // After a loss, there may be the rest of a unit.
                if self.is_open
                    && let Some(unit) = self.units.last_mut()
                {
                    unit.extend_from_slice(part);
                }
                self.is_open &= head & 0x40 == 0;
            }
            1..24 => self.units.push(payload.to_vec()),
            kind => return Err(format!("there is no packet of type {kind}")),
        }
        Ok(())
    }

    /// A picture is whole.
    fn picture(&mut self, now: Instant, units: &[Vec<u8>], time: u32, terms: Terms<'_>) -> Result<(), String> {
        let kind = |unit: &&Vec<u8>| unit[0] & 0x1F;
        let slices = || units.iter().filter(|unit| matches!(kind(unit), 1 | 5));
        let label = slices().next().and_then(|unit| label_of(&unit[1..]));
        let found = label.and_then(|(publication, number, _)| {
            let of = terms.archive.get(publication).filter(|of| of.stream == terms.stream)?;
            Some((publication, number, of, of.pictures.get(number)?))
        });
        let Some((publication, number, of, sent)) = found else {
            // After a loss only a part of it has come.
            return if self.waits { Ok(()) } else { Err(format!("a picture of {label:?} was never sent")) };
        };
        let place = (publication, number);
        if self.waits && !sent.is_key {
            return if terms.is_lossy { Ok(()) } else { Err(format!("it begins at {place:?}, which is no key frame")) };
        }
        if digest(slices().map(Vec::as_slice)) != sent.digest {
            return if self.waits { Ok(()) } else { Err(format!("picture {place:?} is not as it was sent")) };
        }
        if sent.is_key && [7, 8].iter().any(|wanted| !units.iter().any(|unit| kind(&unit) == *wanted)) {
            return Err(format!("key frame {place:?} has no parameters"));
        }
        if let Some((before, last, at)) = self.last {
            if (publication, number) <= (before, last) {
                return Err(format!("picture {place:?} came after {:?}", (before, last)));
            }
            let missed = between(terms, (before, last), place);
            let (unneeded, needed): (Vec<_>, Vec<_>) =
                missed.into_iter().partition(|(publication, sent)| !sent.is_reference && publication.b_frames);
            let may_skip = sent.is_key && self.may_skip.is_some_and(|until| now < until);
            if !needed.is_empty() && !self.waits && !may_skip {
                let count = needed.len();
                return Err(format!("{count} pictures are missing between {:?} and {place:?}", (before, last)));
            }
            self.skipped += needed.len() as u64;
            self.left_out += unneeded.len() as u64;
            let passed = i64::from(time.wrapping_sub(at) as i32);
            if before == publication {
                let due = (sent.shown - of.pictures[last].shown) * 90;
                if (passed - due).abs() > of.tolerance * 90 {
                    return Err(format!("picture {place:?} is shown {passed}/90 ms after {last}, not {due}/90 ms"));
                }
            } else if passed < -90 * 500 {
                return Err(format!("publication {publication} goes back by {passed}/90 ms"));
            }
        }
        self.waits = false;
        self.last = Some((publication, number, time));
        self.pictures += 1;
        self.seen = Some(now);
        Ok(())
    }

    fn sound(&mut self, now: Instant, payload: &[u8], terms: Terms<'_>) -> Result<(), String> {
        let (publication, number, _) = label_of(payload).ok_or("a sound has no label")?;
        let before = self.sound.replace((publication, number));
        (self.sounds, self.heard) = (self.sounds + 1, Some(now));
        if terms.is_transcoded {
            // Each work on it has a number, and so have its packets.
            let goes_on = before.is_none_or(|(work, last)| {
                if work == publication { number == last + 1 } else { publication > work && number == 0 }
            });
            return if goes_on {
                Ok(())
            } else {
                Err(format!("sound {number} of {publication} came after {before:?}"))
            };
        }
        let of = terms.archive.get(publication).filter(|of| of.stream == terms.stream && number < of.sounds);
        if of.is_none() {
            return Err(format!("sound {number} of {publication} was never sent"));
        }
        let goes_on =
            before.is_none_or(
                |(of, last)| {
                    if of == publication { number == last + 1 } else { publication > of && number == 0 }
                },
            );
        if goes_on { Ok(()) } else { Err(format!("sound {:?} came after {before:?}", (publication, number))) }
    }

    /// When what it has got last was sent.
    pub(super) fn newest(&self, archive: &[Publication]) -> Option<Instant> {
        let (publication, number, _) = self.last?;
        Some(archive.get(publication)?.pictures.get(number)?.at)
    }

    /// The publication and the number of its newest picture.
    pub(super) fn place(&self) -> Option<(usize, usize)> {
        self.last.map(|(publication, number, _)| (publication, number))
    }
}

/// The pictures of a stream between two.
fn between<'a>(
    terms: Terms<'a>,
    (before, last): (usize, usize),
    (publication, number): (usize, usize),
) -> Vec<(&'a Publication, &'a super::camera::Picture)> {
    let all = terms.archive.iter().enumerate().take(publication + 1).skip(before);
    let of_stream = all.filter(|(_, of)| of.stream == terms.stream);
    of_stream
        .flat_map(|(index, of)| {
            let from = if index == before { last + 1 } else { 0 };
            let to = if index == publication { number } else { of.pictures.len() };
            of.pictures.get(from..to).unwrap_or_default().iter().map(move |sent| (of, sent))
        })
        .collect()
}
