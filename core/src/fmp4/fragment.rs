use super::Fmp4Error;
use super::boxes::{patch, put_u32, put_u64, write_box, write_full_box};

/// A coded frame of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Number of its track.
    pub track: u32,
    /// When it is decoded, in units of its track ([`ticks`](super::ticks)).
    pub decode_time: u64,
    /// From decoding to presentation, in units of its track. It may be negative.
    pub composition: i32,
    /// How long it lasts, in units of its track: until the next sample of its track is decoded. Browsers stop at a
    /// sample that is too short, and play over one that is too long.
    pub duration: u32,
    /// Bytes of its payload.
    pub size: u32,
    /// True if decoding can start at it: key frames, and all audio.
    pub key: bool,
}

/// What may come before a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FragmentOptions {
    /// Begin with the box `styp`, as segments of HLS and DASH do.
    pub segment: bool,
    /// The time at which a sample was produced, as a box `prft`.
    pub reference_time: Option<ReferenceTime>,
}

/// A producer reference time (ISO/IEC 14496-12 §8.16.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferenceTime {
    /// Number of the track whose time it gives.
    pub track: u32,
    /// The time of the wall clock, as an NTP timestamp: seconds since 1900 and their 2^32nd parts.
    pub ntp: u64,
    /// The decoding time at that moment, in units of the track.
    pub decode_time: u64,
}

/// Flags of `tfhd`: offsets count from `moof`; there are no samples.
const BASE_IS_MOOF: u32 = 0x0002_0000;
const DURATION_IS_EMPTY: u32 = 0x0001_0000;
/// `sample_depends_on`: not on others.
const KEY: u32 = 0x0200_0000;
/// `sample_depends_on`: on others; and `sample_is_non_sync_sample`.
const DELTA: u32 = 0x0101_0000;

/// Writes what comes before the payloads of a fragment: `moof`, and the head of `mdat` (ISO/IEC 14496-12 §8.8).
///
/// The payloads follow in the order of `samples`. Samples of different tracks may alternate, but each change of the
/// track takes at least 20 bytes, so a long fragment is shorter with its tracks one after the other. Samples of one
/// track are in the order of decoding; the decoding time of the first one counts, and those of the others follow from
/// the durations.
///
/// # Errors
///
/// No sample, or 4 GiB of payload.
pub fn write_fragment_head(
    sequence: u32,
    samples: &[Sample],
    options: &FragmentOptions,
    out: &mut Vec<u8>,
) -> Result<(), Fmp4Error> {
    if samples.is_empty() {
        return Err(Fmp4Error::Empty);
    }
    let size = samples.iter().map(|sample| u64::from(sample.size)).sum::<u64>() + 8;
    let size = u32::try_from(size).map_err(|_| Fmp4Error::TooLarge)?;
    if options.segment {
        write_segment_type(out);
    }
    if let Some(reference) = options.reference_time {
        // Flags 24: the time is that of the encoder's output, as near as it is known.
        write_full_box(out, b"prft", 1, 24, |out| {
            put_u32(out, reference.track);
            put_u64(out, reference.ntp);
            put_u64(out, reference.decode_time);
        });
    }
    let start = out.len();
    // Places of the runs' data offsets, each with the bytes of payload before the run.
    let mut places = Vec::new();
    write_box(out, b"moof", |out| {
        write_full_box(out, b"mfhd", 0, 0, |out| put_u32(out, sequence));
        for (index, first) in samples.iter().enumerate() {
            if samples[..index].iter().rev().all(|earlier| earlier.track != first.track) {
                write_box(out, b"traf", |out| write_track(first, samples, out, &mut places));
            }
        }
    });
    let head = u32::try_from(out.len() - start + 8).map_err(|_| Fmp4Error::TooLarge)?;
    for (place, before) in places {
        patch(out, place, head.saturating_add(before));
    }
    put_u32(out, size);
    out.extend_from_slice(b"mdat");
    Ok(())
}

fn write_segment_type(out: &mut Vec<u8>) {
    write_box(out, b"styp", |out| {
        out.extend_from_slice(b"msdh");
        put_u32(out, 0);
        out.extend_from_slice(b"msdhmsix");
    });
}

/// Writes a segment without samples: at `time` the last sample of the track goes on, and nothing new comes of any track.
pub fn write_empty_fragment(sequence: u32, track: u32, time: u64, out: &mut Vec<u8>) {
    write_segment_type(out);
    write_box(out, b"moof", |out| {
        write_full_box(out, b"mfhd", 0, 0, |out| put_u32(out, sequence));
        write_box(out, b"traf", |out| {
            write_full_box(out, b"tfhd", 0, BASE_IS_MOOF | DURATION_IS_EMPTY, |out| put_u32(out, track));
            write_full_box(out, b"tfdt", 1, 0, |out| put_u64(out, time));
        });
    });
    write_box(out, b"mdat", |_| {});
}

/// The content of a `traf`: the defaults of the track `first.track`, the time of its first sample, and its runs.
fn write_track(first: &Sample, samples: &[Sample], out: &mut Vec<u8>, places: &mut Vec<(usize, u32)>) {
    const DEFAULT_DURATION: u32 = 8;
    const DEFAULT_FLAGS: u32 = 0x20;
    let own = || samples.iter().filter(|sample| sample.track == first.track);
    let form = Form {
        durations: own().any(|sample| sample.duration != first.duration),
        compositions: own().any(|sample| sample.composition != 0),
        default: if own().all(|sample| sample.key) { KEY } else { DELTA },
    };
    let duration = if form.durations { 0 } else { DEFAULT_DURATION };
    write_full_box(out, b"tfhd", 0, BASE_IS_MOOF | DEFAULT_FLAGS | duration, |out| {
        put_u32(out, first.track);
        if !form.durations {
            put_u32(out, first.duration);
        }
        put_u32(out, form.default);
    });
    write_full_box(out, b"tfdt", 1, 0, |out| put_u64(out, first.decode_time));
    let (mut offset, mut rest) = (0u32, samples);
    while let Some(next) = rest.first() {
        let length = rest.iter().position(|sample| sample.track != next.track).unwrap_or(rest.len());
        let (run, after) = rest.split_at(length);
        if next.track == first.track {
            form.write_run(run, offset, out, places);
        }
        offset = run.iter().fold(offset, |offset, sample| offset.saturating_add(sample.size));
        rest = after;
    }
}

/// What the runs of a track hold of each sample.
struct Form {
    durations: bool,
    compositions: bool,
    /// The flags that `tfhd` gives to samples without their own.
    default: u32,
}

impl Form {
    /// A `trun`. Version 1, so that presentation may come before decoding.
    fn write_run(&self, run: &[Sample], offset: u32, out: &mut Vec<u8>, places: &mut Vec<(usize, u32)>) {
        const DATA_OFFSET: u32 = 1;
        const FIRST_FLAGS: u32 = 4;
        const DURATION: u32 = 0x100;
        const SIZE: u32 = 0x200;
        const FLAGS: u32 = 0x400;
        const COMPOSITION: u32 = 0x800;
        let flags_of = |sample: &Sample| if sample.key { KEY } else { DELTA };
        let has_flags = run.iter().skip(1).any(|sample| flags_of(sample) != self.default);
        let has_first = !has_flags && run.first().is_some_and(|sample| flags_of(sample) != self.default);
        let option = |is_there: bool, flag: u32| if is_there { flag } else { 0 };
        let fields = DATA_OFFSET
            | SIZE
            | option(has_first, FIRST_FLAGS)
            | option(self.durations, DURATION)
            | option(has_flags, FLAGS)
            | option(self.compositions, COMPOSITION);
        write_full_box(out, b"trun", 1, fields, |out| {
            put_u32(out, run.len() as u32);
            places.push((out.len(), offset));
            put_u32(out, 0);
            if let Some(first) = run.first().filter(|_| has_first) {
                put_u32(out, flags_of(first));
            }
            for sample in run {
                if self.durations {
                    put_u32(out, sample.duration);
                }
                put_u32(out, sample.size);
                if has_flags {
                    put_u32(out, flags_of(sample));
                }
                if self.compositions {
                    put_u32(out, sample.composition as u32);
                }
            }
        });
    }
}
