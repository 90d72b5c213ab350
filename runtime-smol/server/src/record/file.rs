use std::fs::File;
use std::io::{self, SeekFrom};
use std::time::Duration;

use anabranch_core::amf::{Limits, Object, Value, amf0};
use anabranch_core::flv::tag;
use anabranch_core::message::MessageType;

use super::output::{Output, Target};

/// The length of the first tag's body, the metadata. It reserves room for the length and the index, which are known
/// only at the end.
pub(super) const RESERVED: usize = 48 << 10;
/// The marker of a long string in AMF 0.
const LONG_STRING: u8 = 0x0C;
/// The size of a page: a process that is killed has written a page completely or not at all.
const PAGE: usize = 4096;
/// How many bytes of the encoder's own metadata are kept.
const PROPERTIES: usize = 2048;
/// The largest number of key frames in the index. Of more, every second one is removed, repeatedly if necessary.
const INDEX: usize = 2000;

/// What timestamps may go back, and what they may jump ahead, in milliseconds, before they count as set. An encoder may
/// pause for a while and go on, and sound may come some seconds after its pictures.
const STEP_BACK: i32 = 5000;
const STEP_AHEAD: i32 = 60_000;

/// An FLV file that grows. It can always be played up to the last tag that was written, even if the process is killed.
///
/// The metadata is at the front, and is written again at the end with length and index. While the file grows, all of
/// the metadata is in the file's first page, followed by a long filler. At the end the filler's bytes are written
/// first, then that page.
#[derive(Debug)]
pub(super) struct FlvFile<F = File> {
    out: Output<F>,
    properties: Object,
    audio: bool,
    video: bool,
    clock: Clock,
    index: Index,
}

/// The time in the file: it begins at 0 and does not wrap, unlike the stream's timestamps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    last: Option<u32>,
    now: i64,
    latest: u64,
    /// True if time goes on when timestamps were set.
    is_steady: bool,
}

impl Clock {
    /// A clock whose time goes on when timestamps were set, back by more than [`STEP_BACK`] or ahead by more than
    /// [`STEP_AHEAD`]: for files whose frames last until the next.
    pub(super) fn steady() -> Self {
        Clock { is_steady: true, ..Clock::default() }
    }

    /// The time of a frame with that timestamp.
    pub(super) fn at(&mut self, timestamp: u32) -> u64 {
        let last = self.last.replace(timestamp).unwrap_or(timestamp);
        // Forwards or backwards, whichever is the smaller step.
        let step = timestamp.wrapping_sub(last).cast_signed();
        if self.is_steady && !(-STEP_BACK..=STEP_AHEAD).contains(&step) {
            self.now = self.now.max(i64::try_from(self.latest).unwrap_or(i64::MAX));
        } else {
            self.now += i64::from(step);
        }
        // Audio may be a little earlier than the first frame.
        let now = u64::try_from(self.now).unwrap_or_default();
        self.latest = self.latest.max(now);
        now
    }

    /// The latest time.
    pub(super) fn latest(&self) -> u64 {
        self.latest
    }

    /// The latest time if a frame with that timestamp came.
    pub(super) fn duration_with(mut self, timestamp: u32) -> u64 {
        self.at(timestamp);
        self.latest
    }
}

/// The key frames: the time in milliseconds and the offset of the tag.
#[derive(Debug)]
struct Index {
    entries: Vec<(u64, u64)>,
    /// The index has one of so many key frames.
    stride: usize,
    seen: usize,
}

impl Index {
    fn add(&mut self, time: u64, position: u64) {
        if self.seen.is_multiple_of(self.stride) {
            self.entries.push((time, position));
        }
        self.seen += 1;
        if self.entries.len() > INDEX {
            self.thin();
        }
    }

    fn thin(&mut self) {
        let mut keep = false;
        self.entries.retain(|_| {
            keep = !keep;
            keep
        });
        self.stride *= 2;
    }
}

impl FlvFile<()> {
    /// The state of an existing file without the file itself, for `repair`. `metadata` is the body of an `onMetaData`.
    pub(super) fn found(metadata: &[u8]) -> Self {
        FlvFile {
            out: Output::new((), 0),
            properties: properties(metadata),
            audio: false,
            video: false,
            clock: Clock::default(),
            index: Index { entries: Vec::new(), stride: 1, seen: 0 },
        }
    }

    /// Adds the file itself, to be written from there on.
    pub(super) fn of<F>(self, file: F, written: u64) -> FlvFile<F> {
        let FlvFile { out: _, properties, audio, video, clock, index } = self;
        FlvFile { out: Output::new(file, written), properties, audio, video, clock, index }
    }
}

impl<F> FlvFile<F> {
    /// Notes a tag of the file, and returns its time.
    pub(super) fn note(&mut self, type_id: u8, timestamp: u32, key_frame: bool, position: u64) -> u64 {
        let time = self.clock.at(timestamp);
        if key_frame {
            self.index.add(time, position);
        }
        self.audio |= type_id == MessageType::AUDIO;
        self.video |= type_id == MessageType::VIDEO;
        time
    }

    /// The file's duration in milliseconds if it had a frame with that timestamp.
    pub(super) fn duration_with(&self, timestamp: u32) -> u64 {
        self.clock.duration_with(timestamp)
    }

    /// The duration in milliseconds.
    pub(super) fn duration(&self) -> u64 {
        self.clock.latest
    }
}

impl<F: Target> FlvFile<F> {
    /// Begins an empty file. `metadata` is the body of the encoder's `onMetaData`.
    ///
    /// # Errors
    /// Errors of the system.
    pub(super) fn begin(file: F, metadata: Option<&[u8]>) -> io::Result<Self> {
        let mut begun = FlvFile::found(metadata.unwrap_or_default()).of(file, 0);
        let mut start = Vec::new();
        tag::write_file_header(true, true, &mut start);
        start.extend(begun.reserved(false));
        begun.out.pending = start;
        begun.flush()?;
        Ok(begun)
    }

    /// Appends a message unchanged. Without a timestamp it gets the time of the message before it.
    ///
    /// # Errors
    /// Errors of the system. The file then ends after the last complete tag.
    pub(super) fn push(
        &mut self,
        type_id: u8,
        timestamp: impl Into<Option<u32>>,
        key_frame: bool,
        body: &[u8],
    ) -> io::Result<()> {
        let position = self.length();
        let time = match timestamp.into().or(self.clock.last) {
            Some(timestamp) => self.note(type_id, timestamp, key_frame, position),
            // No message with a timestamp came yet.
            None => 0,
        };
        // The time in the file wraps as RTMP timestamps do. A body too long for FLV is also too long for RTMP.
        let wrapped = u32::try_from(time & u64::from(u32::MAX)).unwrap_or_default();
        let _ = tag::write_tag(type_id, wrapped, body, &mut self.out.pending);
        self.out.flush_much()
    }

    /// Writes the collected tags.
    ///
    /// # Errors
    /// Errors of the system. The file then ends after the last complete tag.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// How long writes took since the last call.
    pub(super) fn take_waited(&mut self) -> Duration {
        self.out.take_waited()
    }

    /// Bytes that are written.
    pub(super) fn written(&self) -> u64 {
        self.out.written()
    }

    /// Bytes, including those that are not written yet.
    pub(super) fn length(&self) -> u64 {
        self.out.length()
    }

    /// Writes the collected tags, and the metadata with length and index.
    ///
    /// # Errors
    /// Errors of the system. The file can be played all the same.
    pub(super) fn finish(mut self) -> io::Result<F> {
        let flushed = self.flush();
        let mut start = Vec::new();
        tag::write_file_header(self.audio, self.video, &mut start);
        start.extend(self.reserved(true));
        let (page, rest) = start.split_at(PAGE);
        let mut file = self.out.into_file();
        file.seek(SeekFrom::Start(PAGE as u64))?;
        file.write_all(rest)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(page)?;
        flushed?;
        file.flush()?;
        Ok(file)
    }

    /// The tag of the metadata. It always has the same length: a long string after the metadata, which players ignore,
    /// fills the rest.
    fn reserved(&mut self, finished: bool) -> Vec<u8> {
        loop {
            let mut body = self.metadata(finished);
            let Some(rest) = RESERVED.checked_sub(body.len() + 5) else {
                if self.index.entries.is_empty() {
                    self.properties = Object::default();
                }
                self.index.thin();
                continue;
            };
            body.push(LONG_STRING);
            body.extend_from_slice(&u32::try_from(rest).unwrap_or_default().to_be_bytes());
            body.resize(RESERVED, b' ');
            let mut out = Vec::new();
            // The body is much shorter than the longest tag, so this cannot fail.
            let _ = tag::write_tag(MessageType::DATA_AMF0, 0, &body, &mut out);
            return out;
        }
    }

    fn metadata(&self, finished: bool) -> Vec<u8> {
        let mut object = Object::new();
        if finished {
            let seconds = |milliseconds: u64| Value::Number(milliseconds as f64 / 1000.0);
            object.insert("duration", seconds(self.clock.latest));
            object.insert("filesize", Value::Number(self.out.written() as f64));
            object.insert("hasAudio", Value::Boolean(self.audio));
            object.insert("hasVideo", Value::Boolean(self.video));
            object.insert("hasKeyframes", Value::Boolean(!self.index.entries.is_empty()));
            object.insert("lasttimestamp", seconds(self.clock.latest));
        }
        for (name, value) in &self.properties {
            object.insert(name.clone(), value.clone());
        }
        if finished && !self.index.entries.is_empty() {
            let entries = self.index.entries.iter();
            let times = entries.clone().map(|(time, _)| Value::Number(*time as f64 / 1000.0)).collect();
            let positions = entries.map(|(_, position)| Value::Number(*position as f64)).collect();
            let keyframes = Object::new()
                .with("filepositions", Value::StrictArray(positions))
                .with("times", Value::StrictArray(times));
            object.insert("keyframes", Value::Object(keyframes));
        }
        let mut body = Vec::new();
        amf0::Encoder::new(&mut body).string("onMetaData").ecma_array(&object);
        body
    }
}

/// The encoder's properties of the stream that also hold for the file.
fn properties(metadata: &[u8]) -> Object {
    let limits = Limits::default();
    let values = amf0::decode_all(metadata, &limits).unwrap_or_default();
    let Some(object) = values.iter().find_map(Value::as_object) else {
        return Object::default();
    };
    let mut kept = Object::new();
    let mut bytes = 0;
    for (name, value) in object {
        let ours = ["duration", "filesize", "hasAudio", "hasVideo", "hasKeyframes", "lasttimestamp", "keyframes"]
            .map(str::as_bytes);
        let plain = matches!(value, Value::Number(_) | Value::Boolean(_) | Value::String(_));
        let mut encoded = Vec::new();
        amf0::encode(value, &mut encoded);
        let length = 2 + name.as_bytes().len() + encoded.len();
        if plain && !ours.contains(&name.as_bytes()) && bytes + length <= PROPERTIES {
            bytes += length;
            kept.insert(name.clone(), value.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::{Seek, Write};
    use std::rc::Rc;

    use super::*;

    /// A file that can show its content as it was after each page written, as after a kill at that moment.
    #[derive(Clone, Default)]
    struct Disk {
        state: Rc<RefCell<State>>,
    }

    #[derive(Default)]
    struct State {
        bytes: Vec<u8>,
        at: usize,
        /// The contents after each write, if `keeps` is set.
        past: Vec<Vec<u8>>,
        keeps: bool,
        /// Bytes until the disk is full.
        room: Option<usize>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.state.borrow_mut();
            let page = PAGE - state.at % PAGE;
            let mut count = bytes.len().min(page);
            if let Some(room) = &mut state.room {
                count = count.min(*room);
                *room -= count;
                if count == 0 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
            let (at, end) = (state.at, state.at + count);
            if state.bytes.len() < end {
                state.bytes.resize(end, 0);
            }
            state.bytes[at..end].copy_from_slice(&bytes[..count]);
            state.at = end;
            if state.keeps {
                let bytes = state.bytes.clone();
                state.past.push(bytes);
            }
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            let SeekFrom::Start(at) = to else { return Err(io::ErrorKind::Unsupported.into()) };
            self.state.borrow_mut().at = usize::try_from(at).unwrap();
            Ok(at)
        }
    }

    impl Target for Disk {
        fn cut(&mut self, length: u64) -> io::Result<()> {
            self.state.borrow_mut().bytes.truncate(usize::try_from(length).unwrap());
            Ok(())
        }
    }

    /// Type, time and body of all tags. With the flag the last one may be incomplete.
    fn tags(bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
        tag::parse_file_header(bytes).unwrap();
        let mut rest = &bytes[tag::FILE_HEADER_LENGTH..];
        let mut tags = Vec::new();
        while !rest.is_empty() {
            let header = tag::parse_tag_header(rest).unwrap();
            let end = tag::TAG_HEADER_LENGTH + header.size as usize;
            assert_eq!(rest[end..end + 4], (header.size + 11).to_be_bytes(), "the back pointer");
            tags.push((header.type_id, header.timestamp, rest[tag::TAG_HEADER_LENGTH..end].to_vec()));
            rest = &rest[end + 4..];
        }
        tags
    }

    fn metadata(tags: &[(u8, u32, Vec<u8>)]) -> Object {
        let limits = Limits::default();
        let values = amf0::decode_all(&tags[0].2, &limits).unwrap();
        assert_eq!((values.len(), values[0].as_str()), (3, Some("onMetaData")));
        values[1].as_object().unwrap().clone()
    }

    fn numbers(value: Option<&Value>) -> Vec<f64> {
        value.and_then(Value::as_array).unwrap().iter().filter_map(Value::as_number).collect()
    }

    fn encoders_metadata() -> Vec<u8> {
        let mut body = Vec::new();
        let object = Object::new().with("width", 320.0).with("duration", 99.0).with("junk", "x".repeat(5000).as_str());
        amf0::Encoder::new(&mut body).string("onMetaData").ecma_array(&object);
        body
    }

    #[test]
    fn the_index_leads_to_key_frames_however_many_there_are() {
        for count in [0, 1, 5, INDEX as u32, 5000, 20_000] {
            let disk = Disk::default();
            let mut file = FlvFile::begin(disk.clone(), Some(&encoders_metadata())).unwrap();
            for number in 0..count {
                file.push(9, 500 + number * 1000, true, &[0x17, 1]).unwrap();
                file.push(9, 500 + number * 1000 + 40, false, &[0x27, 1]).unwrap();
            }
            file.finish().unwrap();
            let bytes = disk.state.borrow().bytes.clone();
            let tags = tags(&bytes);
            assert_eq!(tags.len(), 1 + 2 * count as usize);
            let object = metadata(&tags);
            assert_eq!(object.get("filesize").and_then(Value::as_number), Some(bytes.len() as f64));
            assert_eq!((object.get("width").and_then(Value::as_number), object.get("junk")), (Some(320.0), None));
            let duration = if count == 0 { 0.0 } else { f64::from(count - 1) + 0.04 };
            assert_eq!(object.get("duration").and_then(Value::as_number), Some(duration));
            let Some(keyframes) = object.get("keyframes").and_then(Value::as_object) else {
                assert_eq!(count, 0);
                continue;
            };
            let (times, positions) = (numbers(keyframes.get("times")), numbers(keyframes.get("filepositions")));
            assert!(
                times.len() == positions.len() && times.len() >= (count as usize).min(INDEX / 2),
                "{}",
                times.len()
            );
            for (time, position) in times.iter().zip(positions) {
                let tag = &bytes[position as usize..];
                let header = tag::parse_tag_header(tag).unwrap();
                assert_eq!((header.type_id, f64::from(header.timestamp) / 1000.0, tag[11]), (9, *time, 0x17));
            }
        }
    }

    #[test]
    fn a_process_that_is_killed_while_it_writes_the_index_leaves_a_good_file() {
        let disk = Disk::default();
        let mut file = FlvFile::begin(disk.clone(), Some(&encoders_metadata())).unwrap();
        for number in 0..1500 {
            file.push(9, number * 1000, true, &[0x17, 1, 2, 3]).unwrap();
        }
        file.flush().unwrap();
        disk.state.borrow_mut().keeps = true;
        file.finish().unwrap();
        let past = disk.state.borrow().past.clone();
        assert!(past.len() > 10, "{}", past.len());
        for bytes in past {
            let tags = tags(&bytes);
            assert_eq!(tags.len(), 1501);
            metadata(&tags);
        }
    }

    #[test]
    fn a_full_disk_leaves_whole_tags() {
        for room in 0..40 {
            let disk = Disk::default();
            let mut file = FlvFile::begin(disk.clone(), None).unwrap();
            file.push(8, 0, false, &[0xAF, 1, 7]).unwrap();
            file.flush().unwrap();
            disk.state.borrow_mut().room = Some(room);
            file.push(8, 23, false, &[0xAF, 1, 8]).unwrap();
            file.push(8, 46, false, &[0xAF, 1, 9]).unwrap();
            let written = file.flush().is_ok();
            assert_eq!(written, room >= 36, "{room}");
            // Overwritten bytes take no new room on the disk.
            disk.state.borrow_mut().room = None;
            file.finish().unwrap();
            let tags = tags(&disk.state.borrow().bytes);
            assert_eq!(tags.len(), if written { 4 } else { 2 }, "{room}");
        }
    }

    #[test]
    fn time_in_the_file_rises_from_0_over_the_wrap() {
        let disk = Disk::default();
        let mut file = FlvFile::begin(disk.clone(), None).unwrap();
        for timestamp in [u32::MAX - 10, u32::MAX - 20, 9, 29] {
            file.push(8, timestamp, false, &[0xAF, 1]).unwrap();
        }
        file.finish().unwrap();
        let times: Vec<_> = tags(&disk.state.borrow().bytes)[1..].iter().map(|tag| tag.1).collect();
        assert_eq!(times, [0, 0, 20, 40]);
    }
}
