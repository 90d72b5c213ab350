use std::sync::Arc;

use bytes::Bytes;

use super::lane::{Waiting, micros};
use super::segment::{Init, Part, Period, Segment, Span};
use super::segmenter::{AUDIO_TRACK, VIDEO_TRACK};
use crate::flv::Slices;
use crate::fmp4::{self, FragmentOptions, Sample, Track};
use crate::mpegts::{self, Muxer, Unit};

/// Bytes of a piece that is worth a place in a list.
const LONG_PIECE: usize = 64 << 10;

/// The segment that is being made. Its last part is still open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) number: u64,
    pub(super) publication: u64,
    pub(super) discontinuity: bool,
    /// Milliseconds since 1970 at its start.
    pub(super) wall: u64,
    /// Microseconds of the stream's time: where it begins, where the part that is open begins, and where both end so far.
    pub(super) start: u64,
    pub(super) part_start: u64,
    pub(super) end: u64,
    /// True if the pictures decide where it is cut; false without pictures.
    pub(super) clock_is_video: bool,
    /// Known once the first part is complete.
    pub(super) init: Option<Arc<Init>>,
    pub(super) parts: Vec<Part>,
    /// The samples of the part that is open, of the video and the audio track.
    samples: [Vec<(Sample, Slices)>; 2],
    /// True if decoding can start at the first sample of the part that is open; `None` while it has none.
    independent: Option<bool>,
    /// False once the configuration of the audio has changed: what comes then belongs into the next segment.
    pub(super) takes_audio: bool,
    pub(super) bytes: usize,
}

impl Open {
    pub(super) fn new(number: u64, publication: u64, start: u64, wall: u64, clock_is_video: bool) -> Self {
        Open {
            number,
            publication,
            discontinuity: false,
            wall,
            start,
            part_start: start,
            end: start,
            clock_is_video,
            init: None,
            parts: Vec::new(),
            samples: [Vec::new(), Vec::new()],
            independent: None,
            takes_audio: true,
            bytes: 0,
        }
    }

    pub(super) fn has_samples(&self) -> bool {
        !self.parts.is_empty() || self.part_has_samples()
    }

    pub(super) fn part_has_samples(&self) -> bool {
        self.independent.is_some()
    }

    /// True if the part that is open has samples of the track.
    pub(super) fn has_track(&self, track: u32) -> bool {
        self.samples[index(track)].iter().any(|(sample, _)| sample.track == track)
    }

    /// Adds a sample of the track that decides about cuts. It ends at `end`, in microseconds.
    pub(super) fn add_clock(&mut self, track: u32, waiting: Waiting, duration: u32, end: u64) {
        self.independent.get_or_insert(waiting.key);
        self.end = self.end.max(end);
        self.add(track, waiting, duration);
    }

    pub(super) fn add(&mut self, track: u32, waiting: Waiting, duration: u32) {
        let Waiting { decode_time, composition, key, payload } = waiting;
        self.bytes += held(&payload);
        let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let sample = Sample { track, decode_time, composition, duration, size, key };
        self.samples[index(track)].push((sample, payload));
    }

    /// Takes out the sound of the part that is open from `start` on, in microseconds, if pictures decide about cuts.
    pub(super) fn take_sound_from(&mut self, start: u64, scale: u32) -> Vec<(Sample, Slices)> {
        let [_, sound] = &mut self.samples;
        if !self.clock_is_video {
            return Vec::new();
        }
        let first = sound.partition_point(|(sample, _)| micros(sample.decode_time, scale) < start);
        let taken = sound.split_off(first);
        self.bytes -= taken.iter().map(|(_, payload)| held(payload)).sum::<usize>().min(self.bytes);
        taken
    }

    /// Puts sound that was taken out into the part that is open.
    pub(super) fn put_sound(&mut self, sound: Vec<(Sample, Slices)>) {
        self.bytes += sound.iter().map(|(_, payload)| held(payload)).sum::<usize>();
        self.samples[1].extend(sound);
    }

    /// The last sample of the part before goes on in the part that is open, until `end`.
    pub(super) fn go_on_until(&mut self, end: u64) {
        self.independent = Some(!self.clock_is_video);
        self.end = end;
    }

    /// Ends the part that is open. `tracks` are those of the init segment.
    pub(super) fn close_part(&mut self, tracks: &[&Track], writer: &mut Writer, name: impl FnOnce() -> String) {
        let samples = std::mem::take(&mut self.samples);
        let Some(independent) = self.independent.take() else {
            return;
        };
        let known = |sample: &Sample| tracks.iter().any(|track| track.id == sample.track);
        let samples: Vec<_> = samples.into_iter().flatten().filter(|(sample, _)| known(sample)).collect();
        let pictures = samples.iter().filter(|(sample, _)| sample.track == VIDEO_TRACK).count() as u64;
        let (pieces, samples) = writer.write(tracks, samples, self.part_start);
        let pieces = joined(&pieces);
        let bytes = pieces.iter().map(Bytes::len).sum();
        let (name, duration) = (name().into(), self.end - self.part_start);
        self.parts.push(Part { name, pieces, bytes, samples, duration, independent, pictures });
        self.part_start = self.end;
        self.bytes = self.parts.iter().map(Part::held).sum();
    }

    /// Ends the part that is open as several, of which none is longer than `longest` microseconds; the first segment, of
    /// which it is known only at its end how long parts are. False if there is a frame that is longer.
    pub(super) fn close_parts(
        &mut self,
        longest: u64,
        tracks: &[&Track],
        writer: &mut Writer,
        name: impl Fn(usize) -> String,
    ) -> bool {
        let scale = |id: u32| tracks.iter().find(|track| track.id == id).map_or(1000, |track| track.timescale());
        let clock = usize::from(!self.clock_is_video);
        let times: Vec<_> = self.samples[clock]
            .iter()
            .map(|(sample, _)| {
                let (start, end) = (sample.decode_time, sample.decode_time + u64::from(sample.duration));
                (micros(start, scale(sample.track)), micros(end, scale(sample.track)))
            })
            .collect();
        if times.iter().any(|(start, end)| end - start > longest) {
            return false;
        }
        let (last, mut first) = (self.end, 0);
        for (index, (start, end)) in times.iter().enumerate() {
            if index == first || end - self.part_start <= longest {
                continue;
            }
            let later = self.samples[clock].split_off(index - first);
            let sound = self.take_sound_from(*start, scale(AUDIO_TRACK));
            self.end = *start;
            let number = self.parts.len();
            self.close_part(tracks, writer, || name(number));
            self.independent = later.first().map(|(sample, _)| sample.key);
            (self.samples[clock], self.end, first) = (later, last, index);
            self.put_sound(sound);
        }
        let number = self.parts.len();
        self.close_part(tracks, writer, || name(number));
        true
    }

    /// The segment, once its last part is closed. `before` is the period of the segment before, and where that ended.
    pub(super) fn into_segment(
        self,
        lists_parts: bool,
        before: Option<(Period, u64)>,
        name: impl FnOnce(u64, u64) -> String,
    ) -> Option<Segment> {
        // Periods do not overlap, also if a clock was set back.
        let wall = before.map_or(self.wall, |(period, end)| self.wall.max(period.wall_at(end)));
        let begins = if before.is_some() { wall } else { 0 };
        let new = Period { number: self.number, start: self.start, wall, begins };
        let period = before.map(|(period, _)| period).filter(|_| !self.discontinuity);
        Some(Segment {
            period: period.unwrap_or(new),
            name: name(self.publication, self.number).into(),
            number: self.number,
            publication: self.publication,
            init: self.init?,
            spans: [VIDEO_TRACK, AUDIO_TRACK].map(|track| Span::of(&self.parts, track)),
            parts: self.parts,
            lists_parts,
            discontinuity: self.discontinuity,
            start: self.start,
            duration: self.end - self.start,
            wall: self.wall,
            longest: 0,
        })
    }
}

/// Bytes of memory that a sample takes: with what is kept of it, so that many without payload are bounded, too.
fn held(payload: &Slices) -> usize {
    payload.len() + payload.iter().count() * size_of::<Bytes>() + size_of::<(Sample, Slices)>()
}

/// Puts pieces together that are short, which are copied once for that: each piece costs something for each viewer. Long
/// ones stay shared with the stream.
fn joined(pieces: &[Bytes]) -> Vec<Bytes> {
    let is_short = |piece: &Bytes| piece.len() < LONG_PIECE;
    let runs = pieces.chunk_by(|piece, next| is_short(piece) && is_short(next));
    runs.map(|run| match run {
        [piece] => piece.clone(),
        run => run.concat().into(),
    })
    .collect()
}

/// The place of a track's samples.
fn index(track: u32) -> usize {
    usize::from(track != VIDEO_TRACK)
}

/// Writes parts in the form of the container.
#[derive(Debug)]
pub(super) enum Writer {
    /// With the number of the next fragment.
    Fmp4(u32),
    /// `None` before the first init segment.
    MpegTs(Option<Muxer>),
}

impl Writer {
    /// A part that begins at `start`, in microseconds. Returns its pieces, and the samples whose payloads they have behind
    /// the first one, so that each track can be had alone.
    fn write(
        &mut self,
        tracks: &[&Track],
        mut samples: Vec<(Sample, Slices)>,
        start: u64,
    ) -> (Vec<Bytes>, Box<[Sample]>) {
        match self {
            Writer::Fmp4(sequence) => {
                *sequence = sequence.wrapping_add(1);
                let list: Vec<Sample> = samples.iter().map(|(sample, _)| *sample).collect();
                let options = FragmentOptions { segment: true, reference_time: None };
                let mut head = Vec::new();
                if let ([], Some(track)) = (&list[..], tracks.first()) {
                    let time = start / 1000 * u64::from(track.timescale()) / 1000;
                    fmp4::write_empty_fragment(*sequence, track.id, time, &mut head);
                    return (vec![head.into()], list.into());
                }
                if fmp4::write_fragment_head(*sequence, &list, &options, &mut head).is_err() {
                    return <_>::default();
                }
                let payloads = samples.iter().flat_map(|(_, payload)| payload.iter()).filter(|piece| !piece.is_empty());
                (std::iter::once(Bytes::from(head)).chain(payloads.cloned()).collect(), list.into())
            }
            Writer::MpegTs(muxer) => {
                let Some(muxer) = muxer else {
                    return <_>::default();
                };
                let scale =
                    |id: u32| tracks.iter().find(|track| track.id == id).map_or(1000, |track| track.timescale());
                samples.sort_by_key(|(sample, _)| micros(sample.decode_time, scale(sample.track)));
                let mut out = Vec::new();
                muxer.write_tables(&mut out);
                for (sample, payload) in &samples {
                    let Some(track) = tracks.iter().position(|track| track.id == sample.track) else { continue };
                    let scale = i128::from(scale(sample.track).max(1));
                    let units = |time: i128| time * i128::from(fmp4::VIDEO_TIMESCALE) / scale;
                    let unit = Unit {
                        track,
                        decode_time: units(sample.decode_time.into()) as u64,
                        composition: units(sample.composition.into()) as i32,
                        key: sample.key,
                    };
                    // A damaged picture is left out: players go on after it.
                    let _: Result<(), mpegts::TsError> = muxer.write(unit, payload, &mut out);
                }
                (vec![out.into()], <_>::default())
            }
        }
    }
}
