//! The playlist of what is stored of one stream.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use time::UtcDateTime;

use super::Segment;

/// A segment that is stored.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    init: Option<String>,
    duration: Duration,
    /// Milliseconds since 1970 at its start.
    wall: u64,
    discontinuity: bool,
}

/// The segments of one stream that are stored: those of its playlist, and those that were in it.
#[derive(Debug, Default)]
pub(super) struct Listing {
    entries: VecDeque<Entry>,
    /// Entries that are no longer listed, with the time at which they are removed.
    retired: VecDeque<(Instant, Entry)>,
    /// Sequence number of the first entry.
    first: Option<u64>,
    discontinuity_sequence: u64,
    /// True if a segment is missing before the next one.
    breaks: bool,
    /// The target duration in seconds. It never falls.
    target: u64,
    is_over: bool,
    /// Init segments that are stored.
    inits: Vec<String>,
}

impl Listing {
    /// True if the init segment is not stored yet.
    pub(super) fn lacks(&self, init: &str) -> bool {
        !self.inits.iter().any(|known| known == init)
    }

    /// An init segment is stored.
    pub(super) fn note_init(&mut self, init: &str) {
        self.inits.push(init.to_owned());
    }

    /// A segment is stored. The oldest ones leave the playlist, and stay for `keep` more than it lasts.
    pub(super) fn add(&mut self, segment: &Segment, window: usize, keep: Duration, now: Instant) {
        if self.is_over {
            // Players of the old playlist have stopped: what comes is a new one, with higher numbers.
            self.discontinuity_sequence += 1;
            self.retire(0, keep, now);
            self.is_over = false;
        }
        // Segments follow each other by their places in the list, so a number that is missing is not skipped. After a
        // restart the numbers, which come from the clock, are higher.
        let first = self.first.get_or_insert(segment.number);
        if self.entries.is_empty() {
            *first = segment.number.max(*first);
            self.discontinuity_sequence = self.discontinuity_sequence.max(*first);
        }
        self.target = self.target.max(segment.target.into());
        let discontinuity = segment.discontinuity | std::mem::take(&mut self.breaks);
        self.entries.push_back(Entry {
            name: segment.name.clone(),
            init: segment.init.as_ref().map(|(name, _)| name.clone()),
            duration: segment.duration,
            wall: segment.wall,
            discontinuity: discontinuity && !self.entries.is_empty(),
        });
        self.retire(window.max(3), keep, now);
    }

    /// Files that an earlier run of the server has left are removed at that time.
    pub(super) fn adopt(&mut self, names: Vec<String>, due: Instant) {
        let entry = |name| Entry { name, init: None, duration: Duration::ZERO, wall: 0, discontinuity: false };
        self.retired.extend(names.into_iter().map(|name| (due, entry(name))));
    }

    /// A segment could not be stored: what follows does not go on from what is there.
    pub(super) fn miss(&mut self) {
        self.breaks = true;
    }

    /// No more segments come.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    fn retire(&mut self, most: usize, keep: Duration, now: Instant) {
        while self.entries.len() > most {
            let listed: Duration = self.entries.iter().map(|entry| entry.duration).sum();
            let Some(entry) = self.entries.pop_front() else { return };
            self.first = self.first.map(|first| first + 1);
            // The entry that is first now may begin with a discontinuity, which is no longer in the list then.
            self.discontinuity_sequence += u64::from(entry.discontinuity);
            self.retired.push_back((now + listed + keep, entry));
        }
    }

    /// When the next file is to be removed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.retired.front().map(|(due, _)| *due)
    }

    /// The names of what is to be removed now.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<String> {
        let mut names = Vec::new();
        while self.due().is_some_and(|due| due <= now)
            && let Some((_, entry)) = self.retired.pop_front()
        {
            names.push(entry.name);
        }
        if !names.is_empty() {
            let used: Vec<_> = self.entries.iter().chain(self.retired.iter().map(|(_, entry)| entry)).collect();
            let inits = std::mem::take(&mut self.inits).into_iter();
            let (stay, go): (Vec<_>, Vec<_>) =
                inits.partition(|init| used.iter().any(|entry| entry.init.as_ref() == Some(init)));
            self.inits = stay;
            names.extend(go);
        }
        names
    }

    /// True if nothing of it is left.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.retired.is_empty()
    }

    /// After its end: takes all that is listed off the list, so that it is removed later.
    pub(super) fn close(&mut self, keep: Duration, now: Instant) {
        self.retire(0, keep, now);
    }

    /// The playlist. Names are in `folder`, which is encoded for a URL.
    pub(super) fn text(&self, folder: &str) -> String {
        let version = if self.entries.iter().any(|entry| entry.init.is_some()) { 7 } else { 3 };
        let mut out = String::with_capacity(256 + self.entries.len() * 160);
        let _ = write!(
            out,
            "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:{}\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:{}\n",
            self.target,
            self.first.unwrap_or(0),
            self.discontinuity_sequence
        );
        let mut map = None;
        for entry in &self.entries {
            if entry.discontinuity {
                out.push_str("#EXT-X-DISCONTINUITY\n");
            }
            if let Some(init) = entry.init.as_ref().filter(|init| map != Some(*init)) {
                let _ = writeln!(out, "#EXT-X-MAP:URI=\"{folder}/{init}\"");
                map = Some(init);
            }
            let micros = entry.duration.as_micros();
            let _ = writeln!(
                out,
                "#EXT-X-PROGRAM-DATE-TIME:{}\n#EXTINF:{}.{:06},\n{folder}/{}",
                date_time(entry.wall),
                micros / 1_000_000,
                micros % 1_000_000,
                entry.name
            );
        }
        if self.is_over {
            out.push_str("#EXT-X-ENDLIST\n");
        }
        out
    }
}

/// `2026-11-26T10:43:10.000Z`.
fn date_time(milliseconds: u64) -> String {
    let seconds = i64::try_from(milliseconds / 1000).ok();
    let time = seconds.and_then(|seconds| UtcDateTime::from_unix_timestamp(seconds).ok()).unwrap_or(UtcDateTime::MAX);
    let ((year, month, day), (hour, minute, second)) = (time.to_calendar_date(), time.as_hms());
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", milliseconds % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(number: u64, init: &str) -> Segment {
        Segment {
            number,
            name: format!("s{number}.m4s"),
            init: Some((init.to_owned(), Vec::new().into())),
            duration: Duration::from_millis(2000),
            wall: 1_795_689_790_000 + number * 2000,
            target: 2,
            ..Segment::default()
        }
    }

    const KEEP: Duration = Duration::from_secs(60);

    #[test]
    fn a_playlist_has_the_last_segments_and_the_others_go_after_their_time() {
        let mut listing = Listing::default();
        let start = Instant::now();
        for number in 0..10 {
            assert_eq!(listing.lacks("a.mp4"), number == 0);
            if number == 0 {
                listing.note_init("a.mp4");
            }
            listing.add(&segment(100 + number, "a.mp4"), 3, KEEP, start);
        }
        assert_eq!(
            listing.text("cam"),
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:107\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:100\n#EXT-X-MAP:URI=\"cam/a.mp4\"\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-26T10:46:44.000Z\n#EXTINF:2.000000,\ncam/s107.m4s\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-26T10:46:46.000Z\n#EXTINF:2.000000,\ncam/s108.m4s\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-26T10:46:48.000Z\n#EXTINF:2.000000,\ncam/s109.m4s\n"
        );
        assert!(listing.expired(start + KEEP).is_empty(), "a player may have the playlist of before");
        let names = listing.expired(start + KEEP + Duration::from_secs(8));
        assert_eq!(names, (100..107).map(|number| format!("s{number}.m4s")).collect::<Vec<_>>());
        listing.end();
        assert!(listing.text("cam").ends_with("#EXT-X-ENDLIST\n"));
        listing.close(KEEP, start);
        let names = listing.expired(start + KEEP + Duration::from_secs(8));
        assert_eq!(names, ["s107.m4s", "s108.m4s", "s109.m4s", "a.mp4"]);
        assert!(listing.is_empty());
    }

    #[test]
    fn what_is_missing_is_a_discontinuity_and_numbers_never_fall() {
        let mut listing = Listing::default();
        let now = Instant::now();
        let number = |listing: &Listing, tag: &str| -> u64 {
            let text = listing.text("x");
            let line = text.lines().find_map(|line| line.strip_prefix(tag)).unwrap();
            line.parse().unwrap()
        };
        let (mut sequence, mut discontinuities) = (0, 0);
        for (round, number_of_segment) in (1000..1040).enumerate() {
            match round {
                7 => listing.miss(),
                20 => listing.end(),
                _ => listing.add(&segment(number_of_segment, "a"), 4, KEEP, now),
            }
            if round == 8 {
                assert_eq!(listing.text("x").matches("#EXT-X-DISCONTINUITY\n").count(), 1);
            }
            let next = number(&listing, "#EXT-X-MEDIA-SEQUENCE:");
            let next_discontinuity = number(&listing, "#EXT-X-DISCONTINUITY-SEQUENCE:");
            assert!(next >= sequence && next_discontinuity >= discontinuities, "{round}");
            (sequence, discontinuities) = (next, next_discontinuity);
        }
        assert!(discontinuities > 1000, "{discontinuities}");
    }
}
