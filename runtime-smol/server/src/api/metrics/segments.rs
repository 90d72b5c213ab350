//! The metrics of HLS and DASH.

use std::fmt;

use anabranch_core::hls::SegmenterStats;
use anabranch_core::packager::PackagerStats;

use super::Writer;

pub(super) fn encode(stats: &PackagerStats, writer: &mut Writer<'_>) -> fmt::Result {
    let SegmenterStats { segments, forced_cuts, short_parts, gaps, left_out, dropped } = stats.segmented;
    writer.gauge("anabranch_segmenters", "Streams that are segmented", stats.segmenters as u64)?;
    writer.gauge("anabranch_segment_sessions", "Viewers of segments", stats.sessions as u64)?;
    writer.gauge("anabranch_segment_requests_waiting", "Requests for segments that wait", stats.waiting as u64)?;
    writer.gauge("anabranch_segment_memory_bytes", "Memory that all segments hold", stats.bytes as u64)?;
    let counters = [
        ("anabranch_segment_requests", "Requests for playlists and segments", stats.requests),
        ("anabranch_segment_requests_too_many", "Requests refused because too many wait", stats.too_many),
        ("anabranch_segment_sessions_begun", "Viewers of segments that asked", stats.viewed),
        ("anabranch_segments_complete", "Segments that were completed", segments),
        ("anabranch_segments_forced_cuts", "Segments cut within a GOP", forced_cuts),
        ("anabranch_segments_short_parts", "Parts far shorter than their target duration", short_parts),
        ("anabranch_segments_gaps", "Times at which frames were missing in segments", gaps),
        ("anabranch_segments_left_out_frames", "Frames that are in no segment", left_out),
        ("anabranch_segments_dropped", "Segments dropped early because of a limit of memory", dropped),
    ];
    counters.into_iter().try_for_each(|(name, words, count)| writer.counter(name, words, count))
}
