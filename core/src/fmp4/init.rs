use super::boxes::{put_u16, put_u32, put_zeros, write_box, write_full_box};
use super::{AudioConfig, Fmp4Error, VIDEO_TIMESCALE, VideoConfig};

/// A track of an init segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Its number, 1 or more: each track of a stream has its own.
    pub id: u32,
    /// Its codec.
    pub config: TrackConfig,
}

impl Track {
    /// Units a second of the track's times: [`VIDEO_TIMESCALE`], or the sample rate.
    pub fn timescale(&self) -> u32 {
        match &self.config {
            TrackConfig::Video(_) => VIDEO_TIMESCALE,
            TrackConfig::Audio(audio) => audio.sample_rate().max(1),
        }
    }
}

/// The configuration of a decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrackConfig {
    /// Of a video decoder.
    Video(VideoConfig),
    /// Of an audio decoder.
    Audio(AudioConfig),
}

impl TrackConfig {
    /// The codec for `codecs=` of MIME types and `CODECS` of playlists.
    pub fn codec_string(&self) -> String {
        match self {
            TrackConfig::Video(video) => video.codec_string(),
            TrackConfig::Audio(audio) => audio.codec_string(),
        }
    }

    /// True for video.
    pub fn is_video(&self) -> bool {
        matches!(self, TrackConfig::Video(_))
    }
}

impl From<VideoConfig> for TrackConfig {
    fn from(config: VideoConfig) -> Self {
        TrackConfig::Video(config)
    }
}

impl From<AudioConfig> for TrackConfig {
    fn from(config: AudioConfig) -> Self {
        TrackConfig::Audio(config)
    }
}

/// The MIME type of the tracks together, for `Content-Type` and a browser's `SourceBuffer`:
/// `video/mp4; codecs="avc1.64001f,mp4a.40.2"`.
pub fn mime_type(tracks: &[&Track]) -> String {
    let kind = if tracks.iter().any(|track| track.config.is_video()) { "video" } else { "audio" };
    let codecs: Vec<_> = tracks.iter().map(|track| track.config.codec_string()).collect();
    format!("{kind}/mp4; codecs=\"{}\"", codecs.join(","))
}

/// Writes an init segment: `ftyp`, and a `moov` that announces fragments (ISO/IEC 14496-12 §4.3, §8.2).
///
/// # Errors
///
/// No track, or one number for two.
pub fn write_init(tracks: &[&Track], out: &mut Vec<u8>) -> Result<(), Fmp4Error> {
    write_with(tracks, |_| {}, out)
}

/// [`write_init`] with more boxes at the start of `mvex`.
pub(super) fn write_with(
    tracks: &[&Track],
    more: impl FnOnce(&mut Vec<u8>),
    out: &mut Vec<u8>,
) -> Result<(), Fmp4Error> {
    let next = tracks.iter().map(|track| track.id).max().ok_or(Fmp4Error::Empty)?.saturating_add(1);
    for (index, track) in tracks.iter().enumerate() {
        if track.id == 0 || tracks[..index].iter().any(|earlier| earlier.id == track.id) {
            return Err(Fmp4Error::BadTrack(track.id));
        }
    }
    write_box(out, b"ftyp", |out| {
        out.extend_from_slice(b"iso6");
        put_u32(out, 0);
        out.extend_from_slice(b"iso5iso6mp41");
    });
    write_box(out, b"moov", |out| {
        write_full_box(out, b"mvhd", 0, 0, |out| {
            put_zeros(out, 8); // creation and modification
            put_u32(out, 1000);
            put_u32(out, 0); // duration: not known
            put_u32(out, 0x0001_0000); // rate
            put_u16(out, 0x0100); // volume
            put_zeros(out, 10);
            put_matrix(out);
            put_zeros(out, 24);
            put_u32(out, next);
        });
        for track in tracks {
            write_box(out, b"trak", |out| write_track(track, out));
        }
        write_box(out, b"mvex", |out| {
            more(out);
            for track in tracks {
                write_full_box(out, b"trex", 0, 0, |out| {
                    put_u32(out, track.id);
                    put_u32(out, 1); // sample description
                    put_zeros(out, 12); // no defaults for duration, size and flags
                });
            }
        });
    });
    Ok(())
}

fn write_track(track: &Track, out: &mut Vec<u8>) {
    let is_video = track.config.is_video();
    let (width, height) = match &track.config {
        TrackConfig::Video(video) => video.size().unwrap_or_default(),
        TrackConfig::Audio(_) => (0, 0),
    };
    // Enabled, and part of the presentation.
    write_full_box(out, b"tkhd", 0, 3, |out| {
        put_zeros(out, 8);
        put_u32(out, track.id);
        put_zeros(out, 4 + 4 + 8); // duration: not known
        put_u16(out, 0); // layer
        put_u16(out, if is_video { 0 } else { 1 }); // alternate group
        put_u16(out, if is_video { 0 } else { 0x0100 }); // volume
        put_u16(out, 0);
        put_matrix(out);
        put_u32(out, u32::from(width) << 16);
        put_u32(out, u32::from(height) << 16);
    });
    write_box(out, b"mdia", |out| {
        write_full_box(out, b"mdhd", 0, 0, |out| {
            put_zeros(out, 8);
            put_u32(out, track.timescale());
            put_u32(out, 0);
            put_u16(out, 0x55C4); // language: und
            put_u16(out, 0);
        });
        write_full_box(out, b"hdlr", 0, 0, |out| {
            put_u32(out, 0);
            out.extend_from_slice(if is_video { b"vide" } else { b"soun" });
            put_zeros(out, 12);
            out.extend_from_slice(if is_video { b"video\0" } else { b"audio\0" });
        });
        write_box(out, b"minf", |out| {
            if is_video {
                write_full_box(out, b"vmhd", 0, 1, |out| put_zeros(out, 8));
            } else {
                write_full_box(out, b"smhd", 0, 0, |out| put_zeros(out, 4));
            }
            write_box(out, b"dinf", |out| {
                write_full_box(out, b"dref", 0, 0, |out| {
                    put_u32(out, 1);
                    write_full_box(out, b"url ", 0, 1, |_| {}); // the media is in this file
                });
            });
            write_box(out, b"stbl", |out| {
                write_full_box(out, b"stsd", 0, 0, |out| {
                    put_u32(out, 1);
                    match &track.config {
                        TrackConfig::Video(video) => video.write_entry(out),
                        TrackConfig::Audio(audio) => audio.write_entry(out),
                    }
                });
                // The samples are in fragments: these tables are empty.
                write_full_box(out, b"stts", 0, 0, |out| put_u32(out, 0));
                write_full_box(out, b"stsc", 0, 0, |out| put_u32(out, 0));
                write_full_box(out, b"stsz", 0, 0, |out| put_zeros(out, 8));
                write_full_box(out, b"stco", 0, 0, |out| put_u32(out, 0));
            });
        });
    });
}

/// The matrix that changes nothing.
fn put_matrix(out: &mut Vec<u8>) {
    for value in [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000] {
        put_u32(out, value);
    }
}
