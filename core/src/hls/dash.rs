use std::fmt::Write as _;

use super::names::Named;
use super::playlist::DateTime;
use super::segment::Segment;
use super::{Container, Segmenter};

impl Segmenter {
    /// The manifest of MPEG-DASH (ISO/IEC 23009-1) over the same segments: a period for each stretch without
    /// discontinuity, with picture and sound in one representation. `now` is the time in milliseconds since 1970. `None`
    /// before the first segment, and for transport streams.
    pub fn manifest(&self, now: u64) -> Option<String> {
        if self.config.container != Container::Fmp4 {
            return None;
        }
        let (first, last, target) = (self.listed.front()?, self.listed.back()?, self.target?);
        let info = self.info()?;
        let total: u64 = self.listed.iter().map(|segment| segment.duration).sum();
        let mut out = String::with_capacity(2048);
        let kind = if self.ended { "static" } else { "dynamic" };
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
             <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" \
             type=\"{kind}\" minBufferTime=\"PT{target}S\" publishTime=\"{}\"",
            DateTime(now)
        );
        if self.ended {
            let end = (last.wall - first.wall.min(last.wall)) * 1000 + last.duration;
            let _ = write!(out, " mediaPresentationDuration=\"{}\"", Seconds(end));
        } else {
            let _ = write!(
                out,
                " availabilityStartTime=\"{}\" minimumUpdatePeriod=\"PT{target}S\" timeShiftBufferDepth=\"{}\" \
                 suggestedPresentationDelay=\"PT{}S\"",
                DateTime(0),
                Seconds(total),
                3 * target
            );
        }
        out.push_str(">\n");
        let segments: Vec<&Segment> = self.listed.iter().collect();
        for period in segments.chunk_by(|_, next| !next.discontinuity) {
            self.write_period(period, info.bandwidth, first, &mut out);
        }
        if !self.ended {
            let _ =
                writeln!(out, "<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:direct:2014\" value=\"{}\"/>", DateTime(now));
        }
        out.push_str("</MPD>\n");
        Some(out)
    }

    fn write_period(&self, period: &[&Segment], bandwidth: u64, oldest: &Segment, out: &mut String) {
        let Some(first) = period.first() else {
            return;
        };
        // Times of a live manifest count from 1970, those of one that has ended from its start.
        let base = if self.ended { oldest.wall } else { 0 };
        let start = first.wall.saturating_sub(base);
        let init = self.names.name(first.init.publication, Named::Init(first.init.number), "mp4");
        let kind = if first.init.has_video { "video" } else { "audio" };
        let size = first.init.size.map(|(width, height)| format!(" width=\"{width}\" height=\"{height}\""));
        let _ = write!(
            out,
            "<Period id=\"{number}\" start=\"{start}\">\n\
             <AdaptationSet contentType=\"{kind}\" mimeType=\"{kind}/mp4\" segmentAlignment=\"true\">\n\
             <Representation id=\"0\" codecs=\"{codecs}\" bandwidth=\"{bandwidth}\"{size}>\n\
             <SegmentTemplate timescale=\"1000000\" initialization=\"{folder}{init}\" \
             media=\"{folder}d$Time$-{template}.m4s\" presentationTimeOffset=\"{time}\">\n\
             <SegmentTimeline>\n",
            folder = self.names.folder(),
            number = first.number,
            start = Seconds(start * 1000),
            codecs = first.init.codecs,
            size = size.unwrap_or_default(),
            template = self.names.template(),
            time = first.start,
        );
        for segment in period {
            let _ = writeln!(out, "<S t=\"{}\" d=\"{}\"/>", segment.start, segment.duration);
        }
        out.push_str("</SegmentTimeline>\n</SegmentTemplate>\n</Representation>\n</AdaptationSet>\n</Period>\n");
    }
}

/// Microseconds as a duration of XML Schema.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PT{}.{:06}S", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
