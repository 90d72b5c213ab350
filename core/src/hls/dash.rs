use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use super::names::Named;
use super::playlist::DateTime;
use super::segment::{Period, Segment, Span};
use super::segmenter::TRACK_EXTENSION;
use super::{Container, Segmenter};
use crate::fmp4::TrackConfig;

/// The manifest of MPEG-DASH, without what differs from one answer to another.
#[derive(Clone, PartialEq, Eq)]
pub struct Manifest {
    head: Bytes,
    periods: Bytes,
    is_live: bool,
    /// Where its newest segment ends, in milliseconds since 1970.
    end: u64,
}

crate::shown::debug_with_bytes!(Manifest { is_live, end; head, periods });

/// By how many milliseconds the clock of players may be ahead of the newest segment's end when that is complete: frames
/// come that late.
const LATE: u64 = 1000;

impl Manifest {
    /// The time that its players are to have, by the time of its segments: the clocks of encoders drift, and the wall
    /// clock may be set. `wall` is what that says, in milliseconds since 1970, and `since` is how long the newest segment
    /// has been complete.
    pub fn clock(&self, wall: u64, since: Duration) -> u64 {
        let least = self.end.saturating_add(since.as_millis() as u64);
        wall.clamp(least, least.saturating_add(LATE))
    }

    /// The whole text, in pieces. `now` is the time in milliseconds since 1970, by which players set their clocks; at
    /// `location` they are to ask for the manifest again.
    pub fn pieces(&self, location: Option<&str>, now: u64) -> Vec<Bytes> {
        let location = location.map(|location| format!("<Location>{}</Location>\n", Escaped(location)).into());
        let clock = format!("<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:direct:2014\" value=\"{}\"/>\n", DateTime(now));
        let clock = self.is_live.then(|| clock.into());
        let pieces = [Some(self.head.clone()), location, Some(self.periods.clone()), clock];
        pieces.into_iter().flatten().chain([Bytes::from_static(b"</MPD>\n")]).collect()
    }

    /// The same, in one.
    pub fn text(&self, location: Option<&str>, now: u64) -> String {
        String::from_utf8_lossy(&self.pieces(location, now).concat()).into_owned()
    }
}

impl Segmenter {
    /// The manifest of MPEG-DASH (ISO/IEC 23009-1) over the same segments: a period for each stretch without
    /// discontinuity, with one set for the pictures and one for the sound. Its times are those of the wall clock, so that
    /// they rise over all periods. `None` before the first segment, and for transport streams.
    ///
    /// It is the same as long as [`manifest_version`](Self::manifest_version) is.
    pub fn manifest(&self) -> Option<Manifest> {
        if self.config.container != Container::Fmp4 {
            return None;
        }
        let segments: Vec<&Segment> = self.in_manifest().collect();
        let (first, last, target) = (*segments.first()?, *segments.last()?, self.target?);
        let since_1970 = |period: Period, time: u64| period.wall * 1000 + time.saturating_sub(period.start);
        let (start, end) = (since_1970(first.period, first.start), since_1970(last.period, last.start + last.duration));
        // The time of the manifest's last change.
        let published = self.hold_until.filter(|_| self.ended).unwrap_or(end / 1000);
        let mut head = String::with_capacity(512);
        // Writing to a string does not fail.
        let _ = write!(
            head,
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
             <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" \
             type=\"dynamic\" minBufferTime=\"PT{target}S\" publishTime=\"{}\" availabilityStartTime=\"{}\" \
             timeShiftBufferDepth=\"{}\" suggestedPresentationDelay=\"PT{}S\"",
            DateTime(published),
            DateTime(0),
            Seconds(end - start),
            3 * target
        );
        // A manifest that has ended stays what it was, and has an end instead of updates: its times stay valid.
        let _ = if self.ended {
            write!(head, " mediaPresentationDuration=\"{}\"", Seconds(end))
        } else {
            // Twice in a segment, so that players with little ahead learn of it in time.
            write!(head, " minimumUpdatePeriod=\"PT{}S\"", target.div_ceil(2))
        };
        head.push_str(">\n");
        let mut periods = String::with_capacity(2048);
        for period in segments.chunk_by(|segment, next| segment.period == next.period) {
            self.write_period(period, last.number, &mut periods);
        }
        Some(Manifest { head: head.into(), periods: periods.into(), is_live: !self.ended, end: end.div_ceil(1000) })
    }

    /// What tells manifests from each other: the numbers of the first and the last segment, and whether it has ended.
    pub fn manifest_version(&self) -> (Option<u64>, Option<u64>, bool) {
        let number = |segment: &Segment| segment.number;
        (self.listed.front().map(number), self.in_manifest().last().map(number), self.ended)
    }

    /// The segments of the manifest: those of the playlist, but for a newest one that ends in the second in which it
    /// begins, such as the rest of a publication. FFmpeg looks for what comes next by whole seconds, and would read that
    /// segment again and again.
    pub(super) fn in_manifest(&self) -> impl Iterator<Item = &Segment> {
        let is_within_a_second = |segment: &Segment, is_video: bool| {
            let scale = segment.init.track(is_video).map(|init| u64::from(init.track.timescale()));
            segment.span(is_video).zip(scale).is_some_and(|(span, scale)| span.start / scale == span.end / scale)
        };
        let is_left_out =
            |segment: &Segment| [true, false].iter().any(|is_video| is_within_a_second(segment, *is_video));
        let count = match self.listed.len() {
            count @ 2.. if self.listed.back().is_some_and(is_left_out) => count - 1,
            count => count,
        };
        self.listed.iter().take(count)
    }

    fn write_period(&self, period: &[&Segment], newest: u64, out: &mut String) {
        let Some(first) = period.first() else {
            return;
        };
        // Players know periods by their numbers: number and start stay when the oldest segments are not listed any more.
        let Period { number, begins, .. } = first.period;
        let _ = writeln!(out, "<Period id=\"{number}\" start=\"{}\">", Seconds(begins * 1000));
        for is_video in [true, false] {
            self.write_set(period, is_video, newest, out);
        }
        out.push_str("</Period>\n");
    }

    /// The pictures of a period, or else its sound, if there is some.
    fn write_set(&self, period: &[&Segment], is_video: bool, newest: u64, out: &mut String) {
        let Some(first) = period.first() else {
            return;
        };
        let Some(track) = first.init.track(is_video).map(|init| &init.track) else {
            return;
        };
        let spans: Vec<Span> = period.iter().filter_map(|segment| segment.span(is_video)).collect();
        if spans.is_empty() {
            return;
        }
        let (scale, codecs) = (u64::from(track.timescale()), track.config.codec_string());
        // What a segment is too short for says nothing about a rate.
        let rate = |span: &Span| {
            let duration = (span.end - span.start).max(scale / 2).max(1);
            (span.bytes as u128 * 8 * u128::from(scale)).div_ceil(duration.into())
        };
        let bandwidth = spans.iter().map(rate).max().unwrap_or_default().max(1);
        let (set, kind, id) = if is_video { (1, "video", 'v') } else { (2, "audio", 'a') };
        let _ = write!(
            out,
            "<AdaptationSet id=\"{set}\" contentType=\"{kind}\" mimeType=\"{kind}/mp4\" segmentAlignment=\"true\">\n\
             <Representation id=\"{id}\" codecs=\"{codecs}\" bandwidth=\"{bandwidth}\"",
        );
        let _ = match &track.config {
            TrackConfig::Video(video) => match video.size() {
                Some((width, height)) => writeln!(out, " width=\"{width}\" height=\"{height}\">"),
                None => writeln!(out, ">"),
            },
            TrackConfig::Audio(audio) => writeln!(
                out,
                " audioSamplingRate=\"{}\">\n<AudioChannelConfiguration \
                 schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" value=\"{}\"/>",
                audio.sample_rate(),
                audio.channels()
            ),
        };
        let init = self.names.name(first.init.publication, Named::TrackInit(first.init.number, is_video), "mp4");
        let _ = writeln!(
            out,
            "<SegmentTemplate timescale=\"{scale}\" initialization=\"{folder}{init}\" \
             media=\"{folder}{media}\" presentationTimeOffset=\"{offset}\">\n<SegmentTimeline>",
            // A dollar in a template is written twice; names of streams have it as `%24`.
            folder = Escaped(self.names.folder()),
            media = self.names.template(is_video, newest, TRACK_EXTENSION),
            offset = u128::from(first.period.begins) * u128::from(scale) / 1000,
        );
        for Span { start, end, .. } in spans {
            let _ = writeln!(out, "<S t=\"{start}\" d=\"{}\"/>", end - start);
        }
        out.push_str("</SegmentTimeline>\n</SegmentTemplate>\n</Representation>\n</AdaptationSet>\n");
    }
}

/// Text in XML.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                // No document can have these.
                c if c.is_control() => {}
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Microseconds as a duration of XML Schema.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PT{}.{:06}S", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
