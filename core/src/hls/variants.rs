use std::fmt::Write as _;

use super::Segmenter;
use super::playlist::quoted;
use super::segment::Segment;

/// One quality of a multivariant playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Address of its media playlist.
    pub uri: String,
    /// What it is like.
    pub info: VariantInfo,
    /// Group of [`AudioRendition`]s that belongs to it; `None` if its sound is in its segments.
    pub audio: Option<String>,
}

/// What a media playlist is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantInfo {
    /// Highest rate of a segment, in bits a second.
    pub bandwidth: u64,
    /// Rate of all segments, in bits a second.
    pub average_bandwidth: u64,
    /// Codecs, separated by commas.
    pub codecs: String,
    /// Width and height in pixels.
    pub resolution: Option<(u16, u16)>,
    /// Pictures in a thousand seconds.
    pub frame_rate: Option<u64>,
}

impl VariantInfo {
    /// The same with sound from one of these separate playlists: it has the codecs of all, and the highest rates.
    #[must_use]
    pub fn with_sounds(mut self, sounds: &[VariantInfo]) -> Self {
        self.bandwidth += sounds.iter().map(|sound| sound.bandwidth).max().unwrap_or_default();
        self.average_bandwidth += sounds.iter().map(|sound| sound.average_bandwidth).max().unwrap_or_default();
        for codec in sounds.iter().flat_map(|sound| sound.codecs.split(',')) {
            if !codec.is_empty() && self.codecs.split(',').all(|known| known != codec) {
                self.codecs = format!("{},{codec}", self.codecs);
            }
        }
        self
    }
}

/// A track of sound that is in a separate playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioRendition {
    /// Its group; a variant names it.
    pub group: String,
    /// Its name for users.
    pub name: String,
    /// Address of its media playlist; `None` if it is in the segments of the variants.
    pub uri: Option<String>,
    /// True for the one that plays if the user does not choose.
    pub default: bool,
}

/// Writes a multivariant playlist (draft-pantos-hls-rfc8216bis §4.4.6). Quotes and line ends in names are left out.
pub fn multivariant(variants: &[Variant], audio: &[AudioRendition]) -> String {
    let mut out = "#EXTM3U\n#EXT-X-VERSION:6\n".to_owned();
    // Writing to a string does not fail.
    for rendition in audio {
        let AudioRendition { group, name, uri, default } = rendition;
        let (group, name) = (quoted(group), quoted(name));
        let default = if *default { "YES" } else { "NO" };
        let _ = write!(
            out,
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{group}\",NAME=\"{name}\",DEFAULT={default},AUTOSELECT=YES"
        );
        if let Some(uri) = uri {
            let _ = write!(out, ",URI=\"{}\"", quoted(uri));
        }
        out.push('\n');
    }
    for Variant { uri, info, audio } in variants {
        let VariantInfo { bandwidth, average_bandwidth, codecs, resolution, frame_rate } = info;
        let codecs = quoted(codecs);
        let _ = write!(
            out,
            "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},AVERAGE-BANDWIDTH={average_bandwidth},CODECS=\"{codecs}\""
        );
        if let Some((width, height)) = resolution {
            let _ = write!(out, ",RESOLUTION={width}x{height}");
        }
        if let Some(rate) = frame_rate {
            let _ = write!(out, ",FRAME-RATE={}.{:03}", rate / 1000, rate % 1000);
        }
        if let Some(group) = audio {
            let _ = write!(out, ",AUDIO=\"{}\"", quoted(group));
        }
        let _ = writeln!(out, "\n{}", quoted(uri));
    }
    out
}

impl Segmenter {
    /// What the playlist is like, for the multivariant playlist; `None` before the first segment.
    pub fn info(&self) -> Option<VariantInfo> {
        let init = self.newest_init()?;
        let rate = |bytes: usize, duration: u64| bytes as u64 * 8 * 1_000_000 / duration.max(1);
        let segments = || self.listed.iter().filter(|segment| segment.duration > 0);
        // Too short a segment says nothing about a rate.
        let long = || segments().filter(|segment| segment.duration >= 500_000);
        let peak = long().map(|segment| rate(segment.bytes(), segment.duration)).max();
        let (bytes, duration) = segments()
            .fold((0, 0), |(bytes, duration), segment| (bytes + segment.bytes(), duration + segment.duration));
        let average = rate(bytes, duration);
        let pictures: u64 = segments().map(Segment::pictures).sum();
        Some(VariantInfo {
            bandwidth: peak.unwrap_or(average).max(average).max(1),
            average_bandwidth: average.max(1),
            codecs: init.codecs.clone(),
            resolution: init.size,
            frame_rate: Some(pictures * 1_000_000_000 / duration.max(1)).filter(|rate| *rate > 0),
        })
    }
}
