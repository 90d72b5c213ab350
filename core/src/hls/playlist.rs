use std::fmt::Write as _;
use std::sync::Arc;

use super::names::Named;
use super::segment::{Init, Part};
use super::{Container, PlaylistRequest, Segmenter};
use crate::http::calendar;

/// The type of playlists, for `Content-Type`.
pub const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";

/// Where another media playlist of the same multivariant playlist is (`EXT-X-RENDITION-REPORT`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenditionReport {
    /// Its address, relative to this one.
    pub uri: String,
    /// Sequence number of its newest segment or part.
    pub last_segment: u64,
    /// Number of its newest part; `None` without parts.
    pub last_part: Option<u64>,
}

/// What the playlists of a stream's other qualities have got to, as the last lines of a playlist with low latency that has
/// not ended.
pub fn rendition_reports(reports: &[RenditionReport]) -> String {
    let mut out = String::new();
    for RenditionReport { uri, last_segment, last_part } in reports {
        // Writing to a string does not fail.
        let _ = write!(out, "#EXT-X-RENDITION-REPORT:URI=\"{}\",LAST-MSN={last_segment}", quoted(uri));
        if let Some(part) = last_part {
            let _ = write!(out, ",LAST-PART={part}");
        }
        out.push('\n');
    }
    out
}

/// The part of a playlist that clients may skip begins so many target durations before its end.
const SKIP_TARGETS: u64 = 6;
/// Parts are listed of what is at most so many target durations before the end.
const PART_TARGETS: u64 = 3;

impl Segmenter {
    /// The media playlist: whole, or with its old part skipped if `request` asks for that and there is one. `None`
    /// before the first segment.
    ///
    /// It is the same until the [version](Self::version) rises, so a server makes it once for all viewers. Addresses in it
    /// are names in the [folder](Self::in_folder). `reports` are those of the other playlists of the stream.
    pub fn media_playlist(&self, request: &PlaylistRequest, reports: &[RenditionReport]) -> Option<String> {
        let (first, target) = (self.listed.front()?, u64::from(self.target?));
        let is_low_latency = self.part_target.is_some();
        let mut out = String::with_capacity(4096);
        let version = match self.config.container {
            _ if is_low_latency => 9,
            Container::Fmp4 => 7,
            Container::MpegTs => 3,
        };
        line(&mut out, format_args!("#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target}"));
        if let Some(part) = self.part_target {
            let hold_back = Millis(3 * part);
            let skip = target * SKIP_TARGETS;
            line(
                &mut out,
                format_args!(
                    "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={hold_back},CAN-SKIP-UNTIL={skip}.0\n\
                     #EXT-X-PART-INF:PART-TARGET={}",
                    Millis(part)
                ),
            );
        }
        line(&mut out, format_args!("#EXT-X-MEDIA-SEQUENCE:{}", first.number));
        line(&mut out, format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.discontinuity_sequence));
        // Once it is not true any more it stays away.
        if self.all_independent {
            line(&mut out, format_args!("#EXT-X-INDEPENDENT-SEGMENTS"));
        }

        let open: u64 = self.open.iter().flat_map(|open| &open.parts).map(|part| part.duration).sum();
        let total = self.listed.iter().map(|segment| segment.duration).sum::<u64>() + open;
        let second = 1_000_000;
        // Distance of each segment's start from the end.
        let mut to_end = total;
        let mut skipped = 0;
        if request.skip && is_low_latency && !self.ended {
            for segment in &self.listed {
                // A segment is skipped as a whole: its end lies before the boundary.
                if to_end - segment.duration < SKIP_TARGETS * target * second {
                    break;
                }
                to_end -= segment.duration;
                skipped += 1;
            }
            if skipped > 0 {
                line(&mut out, format_args!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}"));
            }
        }
        let mut map: Option<&Arc<Init>> = None;
        for segment in self.listed.iter().skip(skipped) {
            self.write_head(segment.discontinuity, &segment.init, segment.wall, &mut map, &mut out);
            // Parts near the end, by the end of their segment.
            if segment.lists_parts && to_end - segment.duration < PART_TARGETS * target * second && !self.ended {
                self.write_parts(&segment.parts, &mut out);
            }
            let (folder, name) = (self.names.folder(), &segment.name);
            line(&mut out, format_args!("#EXTINF:{},\n{folder}{name}", Micros(segment.duration)));
            to_end -= segment.duration;
        }
        if let Some(open) = &self.open
            && let Some(init) = open.init.as_ref().filter(|_| is_low_latency && !open.parts.is_empty())
        {
            self.write_head(open.discontinuity, init, open.wall, &mut map, &mut out);
            self.write_parts(&open.parts, &mut out);
        }
        // What comes is announced with its discontinuity, also while the publisher is away: hls.js keeps the number that it
        // gives to the next segment. Where no line follows the last segment, it takes that one for the next.
        if is_low_latency && !self.ended && self.next_breaks() {
            line(&mut out, format_args!("#EXT-X-DISCONTINUITY"));
        }
        if let Some(hint) = self.hint() {
            line(&mut out, format_args!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{}{hint}\"", self.names.folder()));
        }
        if is_low_latency && !self.ended {
            out.push_str(&rendition_reports(reports));
        }
        if self.ended {
            line(&mut out, format_args!("#EXT-X-ENDLIST"));
        }
        Some(out)
    }

    /// What other playlists of the stream report about this one, under its address.
    pub fn report(&self, uri: String) -> Option<RenditionReport> {
        let last = self.listed.back().filter(|_| !self.ended)?;
        let parts = |parts: usize| (parts as u64).checked_sub(1).filter(|_| self.part_target.is_some());
        let report = |last_segment, last_part| RenditionReport { uri, last_segment, last_part };
        Some(match &self.open {
            Some(open) if self.part_target.is_some() && !open.parts.is_empty() => {
                report(open.number, parts(open.parts.len()))
            }
            _ => report(last.number, parts(last.parts.len())),
        })
    }

    /// What comes before the first part of a segment.
    fn write_head<'a>(
        &self,
        discontinuity: bool,
        init: &'a Arc<Init>,
        wall: u64,
        map: &mut Option<&'a Arc<Init>>,
        out: &mut String,
    ) {
        if discontinuity {
            line(out, format_args!("#EXT-X-DISCONTINUITY"));
        }
        if self.config.container == Container::Fmp4 && !map.is_some_and(|map| Arc::ptr_eq(map, init)) {
            let name = self.names.name(init.publication, Named::Init(init.number), "mp4");
            line(out, format_args!("#EXT-X-MAP:URI=\"{}{name}\"", self.names.folder()));
        }
        *map = Some(init);
        line(out, format_args!("#EXT-X-PROGRAM-DATE-TIME:{}", DateTime(wall)));
    }

    fn write_parts(&self, parts: &[Part], out: &mut String) {
        for part in parts {
            let name = &part.name;
            let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
            let (duration, folder) = (Micros(part.duration), self.names.folder());
            line(out, format_args!("#EXT-X-PART:DURATION={duration},URI=\"{folder}{name}\"{independent}"));
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}

/// A value of an attribute: quotes and line ends cannot be in it.
pub(super) fn quoted(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '"' | '\r' | '\n')).collect()
}

/// Milliseconds as seconds.
struct Millis(u64);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// Microseconds as seconds.
pub(super) struct Micros(pub(super) u64);

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Milliseconds since 1970 as a date and time of ISO 8601, in UTC.
pub(super) struct DateTime(pub(super) u64);

impl std::fmt::Display for DateTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, rest) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = calendar(days);
        let (hours, minutes, seconds) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", rest % 1000)
    }
}
