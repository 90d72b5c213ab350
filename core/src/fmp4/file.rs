use super::boxes::{put_u16, put_u32, put_u64, put_zeros, write_box, write_full_box};
use super::init::write_with;
use super::{Fmp4Error, Track};

/// Bytes that a file reserves for its index: the box `sidx` with [`MOST`] entries.
const RESERVED: usize = 24 << 10;
/// The most entries of an index. Of more fragments, every second one is left out, repeatedly if necessary.
const MOST: usize = 2000;
/// Bytes of the box `mehd`, which has the length of a file.
const LENGTH: usize = 20;
/// Bytes of the head of a box: its size and its type.
const HEAD: usize = 8;

/// What a file of fragments begins with: where its length and its index belong, and the units of its tracks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHead {
    length_at: u64,
    index_at: u64,
    /// Number and units a second of each track. The index is that of the first one.
    tracks: Vec<(u32, u32)>,
}

/// Bytes to be written over those of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Overwrite {
    /// The place in the file.
    pub at: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

crate::shown::debug_with_bytes!(Overwrite { at; bytes });

/// What the index of a file needs of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The presentation time of the first sample of the file's first track, in its units; `None` if it has none.
    pub start: Option<u64>,
    /// Where the last of these samples ends.
    pub end: u64,
    /// True if decoding of this track can start at the fragment.
    pub key: bool,
    /// Where the last sample of any track ends, in milliseconds.
    pub milliseconds: u64,
}

/// Writes the beginning of a file: an init segment, and room for a length and an index. Fragments follow.
///
/// The file can be played at once, and as far as it goes. At its end [`FileIndex::finish`] tells what to write over the
/// room.
///
/// # Errors
///
/// Those of [`write_init`](super::write_init).
pub fn write_file_head(tracks: &[&Track], out: &mut Vec<u8>) -> Result<FileHead, Fmp4Error> {
    let start = out.len();
    let mut length_at = 0;
    write_with(
        tracks,
        |out| {
            length_at = out.len() - start;
            write_box(out, b"free", |out| put_zeros(out, LENGTH - HEAD));
        },
        out,
    )?;
    // At a multiple of eight, the head of the index is in one page, so that it is written as a whole or not at all.
    let rest = (out.len() - start) % HEAD;
    if rest > 0 {
        write_box(out, b"free", |out| put_zeros(out, HEAD - rest));
    }
    let index_at = out.len() - start;
    write_box(out, b"free", |out| put_zeros(out, RESERVED - HEAD));
    let tracks = tracks.iter().map(|track| (track.id, track.timescale())).collect();
    Ok(FileHead { length_at: length_at as u64, index_at: index_at as u64, tracks })
}

impl FileHead {
    /// Reads what [`write_file_head`] wrote: all bytes before the first fragment, with or without length and index.
    /// `None` if it is something else.
    pub fn read(bytes: &[u8]) -> Option<FileHead> {
        let (mut at, mut found, mut moov) = (0, Vec::new(), None);
        for (kind, body) in Boxes(bytes) {
            found.push((kind, at));
            if &kind == b"moov" {
                moov = Some((at + HEAD, body));
            }
            at += HEAD + body.len();
        }
        let index_at = bytes.len().checked_sub(RESERVED).filter(|_| at == bytes.len())?;
        let is_room = |(kind, at): &([u8; 4], usize)| *at == index_at && (kind == b"free" || kind == b"sidx");
        if !found.iter().any(is_room) || found.first()?.0 != *b"ftyp" {
            return None;
        }
        let (moov_at, moov) = moov?;
        let mut tracks = Vec::new();
        let (mut at, mut length_at) = (moov_at, None);
        for (kind, body) in Boxes(moov) {
            if &kind == b"trak" {
                let id = number(find(body, b"tkhd")?, 12)?;
                tracks.push((id, number(find(find(body, b"mdia")?, b"mdhd")?, 12)?.max(1)));
            } else if &kind == b"mvex" {
                let (kind, room) = Boxes(body).next()?;
                let is_room = (&kind == b"free" || &kind == b"mehd") && room.len() == LENGTH - HEAD;
                length_at = is_room.then_some(at + HEAD);
            }
            at += HEAD + body.len();
        }
        let length_at = length_at.filter(|_| !tracks.is_empty())? as u64;
        Some(FileHead { length_at, index_at: index_at as u64, tracks })
    }

    /// Where the first fragment begins.
    pub fn end(&self) -> u64 {
        self.index_at + RESERVED as u64
    }
}

/// Reads the `moof` of a fragment, without the head of its box. `None` if it is damaged, or has none of the file's
/// tracks.
pub fn read_fragment(moof: &[u8], head: &FileHead) -> Option<Fragment> {
    let (first, _) = head.tracks.first()?;
    let mut fragment: Option<Fragment> = None;
    for traf in Boxes(moof).filter(|(kind, _)| kind == b"traf").map(|(_, body)| body) {
        let Runs { track, start, end, key } = read_runs(traf)?;
        let (_, timescale) = head.tracks.iter().find(|(id, _)| *id == track)?;
        let milliseconds = (u128::from(end) * 1000 / u128::from(*timescale)) as u64;
        let found = fragment.get_or_insert(Fragment { start: None, end: 0, key: false, milliseconds });
        found.milliseconds = found.milliseconds.max(milliseconds);
        if track == *first {
            (found.start, found.end, found.key) = (Some(start), end, key);
        }
    }
    fragment
}

/// The samples of one track of a fragment.
struct Runs {
    track: u32,
    /// Presentation of the first one.
    start: u64,
    end: u64,
    key: bool,
}

fn read_runs(traf: &[u8]) -> Option<Runs> {
    let tfhd = find(traf, b"tfhd")?;
    let has = |flag: u32| number(tfhd, 0).is_some_and(|flags| flags & flag != 0);
    let mut at = 8 + if has(1) { 8 } else { 0 } + if has(2) { 4 } else { 0 };
    let mut default = |flag: u32| {
        let value = has(flag).then(|| number(tfhd, at))?;
        at += 4;
        value
    };
    let (duration, _, flags) = (default(8), default(0x10), default(0x20));
    let tfdt = find(traf, b"tfdt")?;
    let decode_time = match tfdt.first()? {
        1 => u64::from(number(tfdt, 4)?) << 32 | u64::from(number(tfdt, 8)?),
        _ => number(tfdt, 4)?.into(),
    };
    let mut runs = Runs { track: number(tfhd, 4)?, start: decode_time, end: decode_time, key: false };
    let mut is_first = true;
    for trun in Boxes(traf).filter(|(kind, _)| kind == b"trun").map(|(_, body)| body) {
        let (fields, count) = (number(trun, 0)?, number(trun, 4)?);
        let has = |flag: u32| fields & flag != 0;
        if !has(0x200) {
            // Without its size a sample takes no room here, so that the count could be any.
            return None;
        }
        let mut at = 8 + if has(1) { 4 } else { 0 };
        let first_flags = has(4).then(|| number(trun, at)).flatten();
        at += if has(4) { 4 } else { 0 };
        for index in 0..count {
            let mut field = |flag: u32| {
                if !has(flag) {
                    return Some(None);
                }
                at += 4;
                number(trun, at - 4).map(Some)
            };
            let (own_duration, _, own_flags, composition) =
                (field(0x100)?, field(0x200)?, field(0x400)?, field(0x800)?);
            if is_first {
                const NOT_SYNC: u32 = 0x0001_0000;
                let flags = own_flags.or(first_flags.filter(|_| index == 0)).or(flags).unwrap_or(0);
                runs.key = flags & NOT_SYNC == 0;
                let composition = i64::from(composition.unwrap_or(0).cast_signed());
                runs.start = decode_time.saturating_add_signed(composition);
                is_first = false;
            }
            runs.end = runs.end.saturating_add(own_duration.or(duration).unwrap_or(0).into());
        }
    }
    (!is_first).then_some(runs)
}

/// The fragments of a file, for its index and its length.
#[derive(Clone, Debug)]
pub struct FileIndex {
    /// Place in the file, presentation time, and whether decoding can start there.
    entries: Vec<(u64, u64, bool)>,
    end: u64,
    milliseconds: u64,
    /// The index has one of so many fragments that begin with a key frame.
    stride: usize,
    seen: usize,
}

impl Default for FileIndex {
    fn default() -> Self {
        FileIndex { entries: Vec::new(), end: 0, milliseconds: 0, stride: 1, seen: 0 }
    }
}

impl FileIndex {
    /// Notes the fragment whose first byte is at `position` of the file.
    pub fn note(&mut self, position: u64, fragment: &Fragment) {
        self.milliseconds = self.milliseconds.max(fragment.milliseconds);
        if fragment.start.is_some() {
            self.end = self.end.max(fragment.end);
        }
        // Others belong to the entry before.
        if self.entries.is_empty() || fragment.start.is_some() && fragment.key {
            if self.seen.is_multiple_of(self.stride) {
                self.entries.push((position, fragment.start.unwrap_or(0), fragment.key));
            }
            self.seen += 1;
        }
        if self.entries.len() > MOST {
            let mut keep = false;
            self.entries.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
        }
    }

    /// Forgets the fragments from `length` on, because the file ends there.
    pub fn cut(&mut self, length: u64) {
        self.entries.retain(|(position, ..)| *position < length);
    }

    /// What gives a file of `length` bytes its length and index, in the order in which it is to be written. The file can
    /// be played between any two of the steps.
    pub fn finish(&self, head: &FileHead, length: u64) -> Vec<Overwrite> {
        let mut steps = Vec::new();
        let mut replace = |at: u64, new: Vec<u8>, room: usize| {
            // While the box is written, it has a type that players ignore.
            let mut free = (room as u32).to_be_bytes().to_vec();
            free.extend_from_slice(b"free");
            let (start, rest) = new.split_at(HEAD);
            steps.push(Overwrite { at, bytes: free });
            steps.push(Overwrite { at: at + HEAD as u64, bytes: rest.to_vec() });
            steps.push(Overwrite { at, bytes: start.to_vec() });
        };
        if let Some(index) = self.index(head, length) {
            replace(head.index_at, index, RESERVED);
        }
        let mut box_of_length = Vec::new();
        write_full_box(&mut box_of_length, b"mehd", 1, 0, |out| put_u64(out, self.milliseconds));
        replace(head.length_at, box_of_length, LENGTH);
        steps
    }

    /// The box `sidx` (ISO/IEC 14496-12 §8.16.3), and what is left of its room; `None` if there is nothing to list, or a
    /// part has too many bytes.
    fn index(&self, head: &FileHead, length: u64) -> Option<Vec<u8>> {
        let (track, timescale) = *head.tracks.first()?;
        let (_, first, _) = *self.entries.first()?;
        let ends = self.entries.iter().skip(1).map(|(position, start, _)| (*position, *start));
        let mut references = Vec::new();
        for ((position, start, key), (end, next)) in self.entries.iter().zip(ends.chain([(length, self.end)])) {
            let size = u32::try_from(end.checked_sub(*position)?).ok().filter(|size| size >> 31 == 0)?;
            let duration = u32::try_from(next.saturating_sub(*start)).ok()?;
            // SAP of type 1: all that follows it can be decoded.
            references.push((size, duration, if *key { 0x9000_0000 } else { 0 }));
        }
        let used = HEAD + 4 + 4 + 4 + 8 + 8 + 2 + 2 + references.len() * 12;
        let left = RESERVED.checked_sub(used).filter(|left| *left >= HEAD)?;
        let mut out = Vec::with_capacity(RESERVED);
        write_full_box(&mut out, b"sidx", 1, 0, |out| {
            put_u32(out, track);
            put_u32(out, timescale);
            put_u64(out, first);
            put_u64(out, left as u64); // from the end of the box to the first fragment
            put_u16(out, 0);
            put_u16(out, references.len() as u16);
            for (size, duration, access) in references {
                put_u32(out, size);
                put_u32(out, duration);
                put_u32(out, access);
            }
        });
        write_box(&mut out, b"free", |out| put_zeros(out, left - HEAD));
        Some(out)
    }
}

/// The boxes of a container: type and content. One that is cut off ends them.
struct Boxes<'a>(&'a [u8]);

impl<'a> Iterator for Boxes<'a> {
    type Item = ([u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, _) = self.0.split_first_chunk::<8>()?;
        let [s0, s1, s2, s3, kind @ ..] = *head;
        let size = usize::try_from(u32::from_be_bytes([s0, s1, s2, s3])).ok()?;
        let (whole, rest) = self.0.split_at_checked(size.max(HEAD))?;
        self.0 = rest;
        Some((kind, whole.get(HEAD..)?))
    }
}

fn find<'a>(container: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    Boxes(container).find(|(found, _)| found == kind).map(|(_, body)| body)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::super::{AudioConfig, FragmentOptions, Sample, VideoConfig, write_fragment_head};
    use super::*;
    use crate::flv::{AudioCodec, VideoCodec};

    fn tracks() -> [Track; 2] {
        let record = [1, 66, 0, 30, 0xFF, 0xE1, 0, 4, 0x67, 66, 0, 30, 1, 0, 2, 0x68, 1];
        let video = VideoConfig::from_header(VideoCodec::Avc, &record).unwrap();
        let audio = AudioConfig::from_header(AudioCodec::Aac, &[0x12, 0x10]).unwrap();
        [Track { id: 1, config: video.into() }, Track { id: 2, config: audio.into() }]
    }

    fn head(out: &mut Vec<u8>) -> FileHead {
        let tracks = tracks();
        write_file_head(&tracks.each_ref(), out).unwrap()
    }

    fn sample(track: u32, decode_time: u64, duration: u32, key: bool) -> Sample {
        Sample { track, decode_time, composition: 0, duration, size: 10, key }
    }

    /// Appends a fragment of a second; returns what the index needs of it.
    fn append(out: &mut Vec<u8>, head: &FileHead, second: u64, key: bool) -> (u64, Fragment) {
        let at = out.len();
        let video = (0..25).map(|frame| sample(1, second * 90_000 + frame * 3600, 3600, frame == 0 && key));
        let audio = (0..43).map(|frame| sample(2, second * 44_100 + frame * 1024, 1024, true));
        let mut samples: Vec<_> = video.chain(audio).collect();
        samples[0].composition = 900;
        write_fragment_head(1, &samples, &FragmentOptions::default(), out).unwrap();
        let moof = Boxes(&out[at..]).next().unwrap().1.to_vec();
        out.resize(out.len() + samples.len() * 10, 7);
        (at as u64, read_fragment(&moof, head).unwrap())
    }

    fn overwrite(file: &mut [u8], step: &Overwrite) {
        let at = usize::try_from(step.at).unwrap();
        file[at..at + step.bytes.len()].copy_from_slice(&step.bytes);
    }

    fn kinds(file: &[u8]) -> Vec<[u8; 4]> {
        let (mut length, mut kinds) = (0, Vec::new());
        for (kind, body) in Boxes(file) {
            length += HEAD + body.len();
            kinds.push(kind);
        }
        assert_eq!(length, file.len(), "whole boxes only");
        kinds
    }

    #[test]
    fn a_file_consists_of_whole_boxes_after_each_step_of_its_end() {
        let mut file = Vec::new();
        let head = head(&mut file);
        assert_eq!(head.end(), file.len() as u64);
        let mut index = FileIndex::default();
        for second in 0..5 {
            let (at, fragment) = append(&mut file, &head, second, second % 2 == 0);
            assert_eq!(fragment.start, Some(second * 90_000 + 900));
            assert_eq!((fragment.end, fragment.key), ((second + 1) * 90_000, second % 2 == 0));
            index.note(at, &fragment);
        }
        let first = usize::try_from(head.end()).unwrap();
        let media = file[first..].to_vec();
        for step in index.finish(&head, file.len() as u64) {
            overwrite(&mut file, &step);
            kinds(&file);
            assert_eq!(FileHead::read(&file[..first]).as_ref(), Some(&head));
        }
        assert_eq!(file[first..], media);
        let sidx = find(&file, b"sidx").unwrap();
        assert_eq!(sidx[28..32], [0, 0, 0, 3], "one entry for each fragment with a key frame");
        let sizes: u32 = (0..3).map(|entry| number(sidx, 32 + entry * 12).unwrap()).sum();
        assert_eq!(sizes as usize, media.len());
        let durations: Vec<_> = (0..3).map(|entry| number(sidx, 36 + entry * 12).unwrap()).collect();
        assert_eq!(durations, [180_000, 180_000, 89_100]);
        let mvex = find(find(&file, b"moov").unwrap(), b"mvex").unwrap();
        assert_eq!(find(mvex, b"mehd").unwrap()[4..], 5000u64.to_be_bytes());
    }

    #[test]
    fn an_index_stays_within_its_room_however_long_the_file_is() {
        let mut file = Vec::new();
        let head = head(&mut file);
        for count in [0, 1, 2000, 2001, 10_000] {
            let mut index = FileIndex::default();
            for number in 0..count {
                let (start, end) = (number * 90_000, (number + 1) * 90_000);
                let fragment = Fragment { start: Some(start), end, key: true, milliseconds: (number + 1) * 1000 };
                index.note(head.end() + number * 1000, &fragment);
            }
            let room = index.index(&head, head.end() + count * 1000);
            assert_eq!(room.as_ref().map(Vec::len), (count > 0).then_some(RESERVED), "{count}");
            let Some(room) = room else { continue };
            let sidx = find(&room, b"sidx").unwrap();
            let entries = u64::from(number(sidx, 28).unwrap());
            assert!((count.min(1000)..=2000).contains(&entries), "{count}: {entries}");
            let field = |entry: u64, at: usize| u64::from(number(sidx, 32 + at + entry as usize * 12).unwrap());
            assert_eq!((0..entries).map(|entry| field(entry, 0)).sum::<u64>(), count * 1000);
            assert_eq!((0..entries).map(|entry| field(entry, 4)).sum::<u64>(), count * 90_000);
        }
    }

    #[test]
    fn what_was_not_written_is_not_in_the_index() {
        let mut file = Vec::new();
        let head = head(&mut file);
        let mut index = FileIndex::default();
        let places: Vec<_> = (0..3)
            .map(|second| {
                let (at, fragment) = append(&mut file, &head, second, true);
                index.note(at, &fragment);
                at
            })
            .collect();
        index.cut(places[2]);
        let room = index.index(&head, places[2]).unwrap();
        assert_eq!(number(find(&room, b"sidx").unwrap(), 28), Some(2));
    }

    #[test]
    fn other_bytes_are_no_head_and_no_fragment() {
        let mut file = Vec::new();
        let head = head(&mut file);
        let first = file.len();
        append(&mut file, &head, 0, true);
        let moof = Boxes(&file[first..]).next().unwrap().1.to_vec();
        for length in 0..first {
            assert_eq!(FileHead::read(&file[..length]), None, "{length}");
        }
        for length in 0..moof.len() {
            // All before the end of the last run is needed, or the fragment has fewer samples.
            let _ = read_fragment(&moof[..length], &head);
            for value in [0, 0x7F, 0xFF] {
                let mut other = moof.clone();
                other[length] = value;
                let _ = read_fragment(&other, &head);
            }
        }
        let mut plain = Vec::new();
        let tracks = tracks();
        super::super::write_init(&tracks.each_ref(), &mut plain).unwrap();
        assert_eq!(FileHead::read(&plain), None);
    }
}
