//! Reads media playlists, and checks every rule of low-latency HLS that a series of them must keep
//! (draft-pantos-hls-rfc8216bis, and what Apple's players ask beyond it).

use std::collections::BTreeMap;

/// A media playlist. Durations are microseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Playlist {
    pub(crate) version: u32,
    pub(crate) target: u64,
    pub(crate) part_target: Option<u64>,
    pub(crate) can_block: bool,
    pub(crate) part_hold_back: Option<u64>,
    pub(crate) can_skip_until: Option<u64>,
    pub(crate) media_sequence: u64,
    pub(crate) discontinuity_sequence: u64,
    pub(crate) independent_segments: bool,
    pub(crate) skipped: u64,
    pub(crate) segments: Vec<Segment>,
    /// The segment that has parts, and is not complete.
    pub(crate) open: Option<Segment>,
    pub(crate) hint: Option<String>,
    pub(crate) ended: bool,
}

/// A segment of a playlist.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Segment {
    pub(crate) uri: String,
    pub(crate) duration: u64,
    pub(crate) discontinuity: bool,
    pub(crate) map: Option<String>,
    /// Milliseconds of the day and its date.
    pub(crate) date_time: Option<String>,
    pub(crate) parts: Vec<Part>,
}

/// A part of a segment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    pub(crate) uri: String,
    pub(crate) duration: u64,
    pub(crate) independent: bool,
}

fn micros(text: &str) -> u64 {
    let (seconds, rest) = text.split_once('.').unwrap_or((text, ""));
    assert!(rest.len() <= 6, "{text}");
    seconds.parse::<u64>().unwrap() * 1_000_000 + format!("{rest:0<6}").parse::<u64>().unwrap()
}

/// Attributes: values with quotes may hold commas.
fn attributes(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').expect("an attribute has a value");
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"').expect("a quote ends");
                (value, after.strip_prefix(',').unwrap_or(after))
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        assert!(found.insert(name.to_owned(), value.to_owned()).is_none(), "{name} is there twice");
        rest = after;
    }
    found
}

impl Playlist {
    /// Reads a playlist. Panics at a line that is not known or is in the wrong place.
    pub(crate) fn parse(text: &str) -> Playlist {
        let mut playlist = Playlist::default();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("#EXTM3U"));
        let mut segment = Segment::default();
        let mut map = None;
        let mut extinf = None;
        let mut once = Vec::new();
        for line in lines {
            assert!(!playlist.ended, "nothing follows the end");
            let Some(tag) = line.strip_prefix('#') else {
                segment.uri = line.to_owned();
                segment.duration = extinf.take().expect("an address follows its duration");
                segment.map.clone_from(&map);
                playlist.segments.push(std::mem::take(&mut segment));
                continue;
            };
            assert!(extinf.is_none(), "an address follows its duration");
            let (tag, value) = tag.split_once(':').unwrap_or((tag, ""));
            if !matches!(
                tag,
                "EXT-X-DISCONTINUITY"
                    | "EXT-X-MAP"
                    | "EXT-X-PROGRAM-DATE-TIME"
                    | "EXT-X-PART"
                    | "EXTINF"
                    | "EXT-X-RENDITION-REPORT"
            ) {
                assert!(!once.contains(&tag.to_owned()), "{tag} is there once");
                once.push(tag.to_owned());
            }
            match tag {
                "EXT-X-VERSION" => playlist.version = value.parse().unwrap(),
                "EXT-X-TARGETDURATION" => playlist.target = value.parse().unwrap(),
                "EXT-X-MEDIA-SEQUENCE" => playlist.media_sequence = value.parse().unwrap(),
                "EXT-X-DISCONTINUITY-SEQUENCE" => playlist.discontinuity_sequence = value.parse().unwrap(),
                "EXT-X-INDEPENDENT-SEGMENTS" => playlist.independent_segments = true,
                "EXT-X-SERVER-CONTROL" => {
                    let attributes = attributes(value);
                    playlist.can_block = attributes.get("CAN-BLOCK-RELOAD").is_some_and(|value| value == "YES");
                    playlist.part_hold_back = attributes.get("PART-HOLD-BACK").map(|value| micros(value));
                    playlist.can_skip_until = attributes.get("CAN-SKIP-UNTIL").map(|value| micros(value));
                }
                "EXT-X-PART-INF" => playlist.part_target = Some(micros(&attributes(value)["PART-TARGET"])),
                "EXT-X-SKIP" => {
                    assert!(playlist.segments.is_empty() && segment == Segment::default());
                    playlist.skipped = attributes(value)["SKIPPED-SEGMENTS"].parse().unwrap();
                    assert!(playlist.skipped > 0);
                }
                "EXT-X-DISCONTINUITY" => {
                    assert!(segment.parts.is_empty() && !segment.discontinuity);
                    segment.discontinuity = true;
                }
                "EXT-X-MAP" => {
                    assert!(segment.parts.is_empty());
                    map = Some(attributes(value)["URI"].clone());
                }
                "EXT-X-PROGRAM-DATE-TIME" => {
                    assert!(segment.parts.is_empty() && segment.date_time.is_none());
                    segment.date_time = Some(value.to_owned());
                }
                "EXT-X-PART" => {
                    let attributes = attributes(value);
                    segment.parts.push(Part {
                        uri: attributes["URI"].clone(),
                        duration: micros(&attributes["DURATION"]),
                        independent: attributes.get("INDEPENDENT").is_some_and(|value| value == "YES"),
                    });
                }
                "EXTINF" => extinf = Some(micros(value.strip_suffix(',').unwrap())),
                "EXT-X-PRELOAD-HINT" => {
                    let attributes = attributes(value);
                    assert_eq!(attributes["TYPE"], "PART");
                    playlist.hint = Some(attributes["URI"].clone());
                }
                "EXT-X-RENDITION-REPORT" => drop(attributes(value)),
                "EXT-X-ENDLIST" => playlist.ended = true,
                other => panic!("unknown tag {other}"),
            }
        }
        let announced = Segment { discontinuity: true, ..Segment::default() };
        if segment != Segment::default() && (segment != announced || playlist.ended) {
            assert!(
                !segment.parts.is_empty(),
                "what follows the last segment are parts, or the discontinuity of what comes"
            );
            segment.map = map;
            playlist.open = Some(segment);
        }
        playlist
    }

    /// All segments with their numbers, the incomplete one last.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (u64, &Segment)> {
        (self.media_sequence + self.skipped..).zip(self.segments.iter().chain(&self.open))
    }
}

/// Checks a series of playlists of one stream.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    last: Option<Playlist>,
    /// All that was listed: for each segment its address, duration and discontinuity, once it was complete.
    seen: BTreeMap<u64, Segment>,
    /// The parts of each segment.
    parts: BTreeMap<u64, Vec<Part>>,
    /// Whether a part shorter than 85 % of the target is allowed: where frames of different length do not fit.
    pub(crate) allows_short_parts: bool,
    pub(crate) short_parts: u64,
}

impl Checker {
    /// A checker for streams whose frames are of different length, so that parts cannot always be long enough.
    pub(crate) fn lenient() -> Self {
        Checker { allows_short_parts: true, ..Checker::default() }
    }

    /// Checks the next playlist, which was read whole.
    pub(crate) fn check(&mut self, text: &str) -> &Playlist {
        let playlist = Playlist::parse(text);
        assert_eq!(playlist.skipped, 0);
        self.check_promises(&playlist);
        self.check_segments(&playlist);
        self.check_parts(&playlist);
        if let Some(last) = &self.last {
            check_order(last, &playlist);
        }
        self.last.insert(playlist)
    }

    /// The playlist that was checked last.
    pub(crate) fn last_checked(&self) -> &Playlist {
        self.last.as_ref().expect("a playlist was checked")
    }

    /// Checks a playlist with a skip against the whole one of the same moment.
    pub(crate) fn check_skipped(&self, text: &str) {
        let whole = self.last.as_ref().expect("a whole one was checked");
        let mut skipped = Playlist::parse(text);
        let count = skipped.skipped as usize;
        let skipped_duration: u64 = whole.segments[..count].iter().map(|segment| segment.duration).sum();
        let total: u64 = whole.segments.iter().chain(&whole.open).map(length).sum();
        if count > 0 {
            assert!(total - skipped_duration >= whole.can_skip_until.unwrap(), "only what is old is skipped");
        }
        skipped.segments.splice(0..0, whole.segments[..count].iter().cloned());
        skipped.skipped = 0;
        assert_eq!(&skipped, whole);
    }

    fn check_promises(&mut self, playlist: &Playlist) {
        assert!(playlist.target > 0 && playlist.can_block == playlist.part_target.is_some());
        if let Some(part) = playlist.part_target {
            assert!(playlist.version >= 9, "EXT-X-SKIP needs it");
            assert!(playlist.part_hold_back.unwrap() >= 3 * part);
            assert!(playlist.can_skip_until.unwrap() >= 6 * playlist.target * 1_000_000);
            assert!(part <= playlist.target * 1_000_000);
        }
        assert!(!playlist.ended || playlist.hint.is_none());
        if let Some(last) = &self.last {
            assert_eq!((last.target, last.part_target), (playlist.target, playlist.part_target), "they never change");
            assert!(last.independent_segments || !playlist.independent_segments, "a promise does not come back");
        }
    }

    fn check_segments(&mut self, playlist: &Playlist) {
        let complete = playlist.segments.len();
        let mut before: Option<&Segment> = None;
        for (index, (number, segment)) in playlist.numbered().enumerate() {
            assert!(segment.date_time.is_some(), "each has a date and time");
            let names = segment.parts.iter().map(|part| &part.uri).chain([&segment.uri]);
            if names.into_iter().any(|name| name.ends_with(".m4s")) {
                assert!(segment.map.is_some(), "each has an init segment");
            }
            if index < complete {
                let rounded = (segment.duration + 500_000) / 1_000_000;
                assert!(rounded <= playlist.target, "{} over {}", segment.duration, playlist.target);
                let listed = Segment { parts: Vec::new(), ..segment.clone() };
                let known = self.seen.entry(number).or_insert_with(|| listed.clone());
                assert_eq!(*known, listed, "a segment never changes");
            }
            if let Some(before) = before.filter(|_| !segment.discontinuity) {
                let expected = milliseconds(before) * 1000 + length(before);
                let found = milliseconds(segment) * 1000;
                assert!(found.abs_diff(expected) <= 1500, "time goes on with the media: {found} {expected}");
                assert_eq!(before.map, segment.map, "another init segment comes with a discontinuity");
            }
            before = Some(segment);
        }
        let uris: std::collections::BTreeSet<_> = self.seen.values().map(|segment| &segment.uri).collect();
        assert_eq!(uris.len(), self.seen.len(), "each segment has another name");
        if playlist.independent_segments {
            let mut parts = playlist.numbered().filter_map(|(_, segment)| segment.parts.first());
            assert!(parts.all(|part| part.independent));
        }
    }

    fn check_parts(&mut self, playlist: &Playlist) {
        let total: u64 = playlist.segments.iter().chain(&playlist.open).map(length).sum();
        let mut before = 0;
        for (number, segment) in playlist.numbered() {
            let is_open = playlist.open.as_ref().is_some_and(|open| std::ptr::eq(open, segment));
            before += length(segment);
            let Some(target) = playlist.part_target.filter(|_| !playlist.ended) else {
                assert!(segment.parts.is_empty() || playlist.ended);
                continue;
            };
            let first_of_all = !self.parts.contains_key(&number) && segment.parts.is_empty();
            if segment.parts.is_empty() {
                let is_old = total - before >= 3 * playlist.target * 1_000_000;
                assert!(is_old || first_of_all, "parts near the end are listed");
                continue;
            }
            if !is_open {
                assert_eq!(segment.parts.iter().map(|part| part.duration).sum::<u64>(), segment.duration);
            }
            let known = self.parts.entry(number).or_default();
            assert!(segment.parts.starts_with(known), "parts only come: {known:?}\n{:?}", segment.parts);
            if let Some(last) = &self.last
                && let Some(hint) = &last.hint
                && segment.parts.iter().any(|part| part.uri == *hint)
            {
                let newest = last.numbered().last().map(|(number, _)| number).unwrap_or_default();
                assert!(number >= newest, "a hint is about what comes");
            }
            known.clone_from(&segment.parts);
            for (index, part) in segment.parts.iter().enumerate() {
                assert!(part.duration <= target, "{} over {target}", part.duration);
                let is_last = index + 1 == segment.parts.len();
                if part.duration * 100 < target * 85 && !part.independent && !is_last {
                    assert!(self.allows_short_parts, "a part of {} under {target}", part.duration);
                    self.short_parts += 1;
                }
            }
        }
    }
}

/// How long a segment is so far.
fn length(segment: &Segment) -> u64 {
    let parts: u64 = segment.parts.iter().map(|part| part.duration).sum();
    segment.duration.max(parts)
}

/// What must hold from one playlist to the next.
fn check_order(last: &Playlist, next: &Playlist) {
    assert!(!last.ended, "a playlist that has ended is not changed");
    assert!(next.media_sequence >= last.media_sequence, "the sequence never falls");
    let gone = (next.media_sequence - last.media_sequence) as usize;
    let listed: u64 = next.segments.iter().map(|segment| segment.duration).sum();
    assert!(gone == 0 || listed >= 3 * next.target * 1_000_000, "three target durations stay: {listed}");
    assert!(gone <= last.segments.len(), "no segment was never listed");
    let discontinuities = last.segments[..gone].iter().filter(|segment| segment.discontinuity).count() as u64;
    assert_eq!(next.discontinuity_sequence, last.discontinuity_sequence + discontinuities);
    assert!(last.segments.len() - gone <= next.segments.len(), "the end never falls");
    // What was hinted at is what comes, unless the segment ended or the publisher went.
    if let (Some(hint), Some(last_number)) = (&last.hint, last.numbered().last().map(|(number, _)| number)) {
        let parts_then = last.open.as_ref().map_or(0, |open| open.parts.len());
        let number = if last.open.is_some() { last_number } else { last_number + 1 };
        let now = next.numbered().find(|(found, _)| *found == number).map(|(_, segment)| segment);
        if let Some(part) = now.and_then(|segment| segment.parts.get(parts_then))
            && !now.is_some_and(|segment| segment.discontinuity && parts_then == 0)
        {
            assert_eq!(part.uri, *hint, "the hinted name is the later name");
        }
    }
}

/// Milliseconds within the month, which is enough for a test.
fn milliseconds(segment: &Segment) -> u64 {
    let text = segment.date_time.as_deref().expect("checked");
    let number = |range: std::ops::Range<usize>| text[range].parse::<u64>().unwrap();
    assert!(text.ends_with('Z') && text.len() == 24, "{text}");
    (((number(8..10) * 24 + number(11..13)) * 60 + number(14..16)) * 60 + number(17..19)) * 1000 + number(20..23)
}
