use std::fmt::Write as _;

use super::names::{NANOSECONDS, Named, TEMPLATE_SCALE};
use super::playlist::DateTime;
use super::segment::{Period, Segment};
use super::{Container, Segmenter};

impl Segmenter {
    /// The manifest of MPEG-DASH (ISO/IEC 23009-1) over the same segments: a period for each stretch without
    /// discontinuity, with picture and sound in one representation. `now` is the time in milliseconds since 1970. `None`
    /// before the first segment, and for transport streams.
    pub fn manifest(&self, now: u64) -> Option<String> {
        if self.config.container != Container::Fmp4 {
            return None;
        }
        let (last, target) = (self.listed.back()?, self.target?);
        let info = self.info()?;
        let total: u64 = self.listed.iter().map(|segment| segment.duration).sum();
        let end = last.period.wall * 1000 + (last.start + last.duration).saturating_sub(last.period.start);
        // The time of the manifest's last change.
        let published = self.hold_until.filter(|_| self.ended).unwrap_or(end / 1000);
        let mut out = String::with_capacity(2048);
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
             <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" \
             type=\"dynamic\" minBufferTime=\"PT{target}S\" publishTime=\"{}\" availabilityStartTime=\"{}\" \
             timeShiftBufferDepth=\"{}\" suggestedPresentationDelay=\"PT{}S\"",
            DateTime(published),
            DateTime(0),
            Seconds(total),
            3 * target
        );
        // A manifest that has ended stays what it was, and has an end instead of updates: its times stay valid.
        let _ = if self.ended {
            write!(out, " mediaPresentationDuration=\"{}\"", Seconds(end))
        } else {
            write!(out, " minimumUpdatePeriod=\"PT{target}S\"")
        };
        out.push_str(">\n");
        let segments: Vec<&Segment> = self.listed.iter().collect();
        for period in segments.chunk_by(|segment, next| segment.period == next.period) {
            self.write_period(period, info.bandwidth, &mut out);
        }
        if !self.ended {
            let _ =
                writeln!(out, "<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:direct:2014\" value=\"{}\"/>", DateTime(now));
        }
        out.push_str("</MPD>\n");
        Some(out)
    }

    fn write_period(&self, period: &[&Segment], bandwidth: u64, out: &mut String) {
        let Some(first) = period.first() else {
            return;
        };
        // Players know periods by their numbers: number and start stay when the oldest segments are not listed any more.
        let Period { number, start, wall } = first.period;
        let init = self.names.name(first.init.publication, Named::Init(first.init.number), "mp4");
        let kind = if first.init.has_video { "video" } else { "audio" };
        let size = first.init.size.map(|(width, height)| format!(" width=\"{width}\" height=\"{height}\""));
        let _ = write!(
            out,
            "<Period id=\"{number}\" start=\"{start}\">\n\
             <AdaptationSet contentType=\"{kind}\" mimeType=\"{kind}/mp4\" segmentAlignment=\"true\">\n\
             <Representation id=\"0\" codecs=\"{codecs}\" bandwidth=\"{bandwidth}\"{size}>\n\
             <SegmentTemplate timescale=\"{TEMPLATE_SCALE}\" initialization=\"{folder}{init}\" \
             media=\"{folder}d$Time$-{template}.m4s\" presentationTimeOffset=\"{time}\">\n\
             <SegmentTimeline>\n",
            folder = self.names.folder(),
            start = Seconds(wall * 1000),
            codecs = first.init.codecs,
            size = size.unwrap_or_default(),
            template = self.names.template(first.publication),
            time = start * NANOSECONDS,
        );
        for segment in period {
            let (time, duration) = (self.template_time(segment), segment.duration * NANOSECONDS);
            let _ = writeln!(out, "<S t=\"{time}\" d=\"{duration}\"/>");
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
