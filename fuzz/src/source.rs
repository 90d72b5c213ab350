//! One source and cursors of every speed.
//!
//! The invariants of the design that show here: the log holds as much as its limits allow and no more (2), and what a
//! player does not get is counted (4). And what players rely on: the headers in force and a key frame come first,
//! nothing comes twice.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency};
use anabranch_core::message::{Message, MessageType, Payload};
use anabranch_core::source::{
    Cursor, Frame, FrameKind, Gap, Next, Source, SourceLimits, StartLimits, StartRule, WireFormat,
};
use arbitrary::{Arbitrary, Unstructured};

use crate::time::any_instant;

/// Most operations of one input: what matters shows in fewer.
const MOST: usize = 600;

#[derive(Debug, Arbitrary)]
struct Setup {
    bytes: u16,
    frames: u8,
    milliseconds: u16,
    header_bytes: u8,
    tracks: u8,
    chunk_size: u8,
    next_key_frame: bool,
    bounded_start: Option<(u16, u16, u8)>,
}

#[derive(Debug, Arbitrary)]
enum Operation {
    Push { kind: Kind, later: i16, filler: u16 },
    Next { cursor: u8, most: u8 },
    Join { cursor: u8 },
    Restart { cursor: u8 },
    Begin,
    End,
    Abandon,
    ClearMetadata,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Kind {
    KeyFrame,
    Frame,
    Audio,
    VideoHeader,
    AudioHeader,
    Metadata,
    OtherTrackKeyFrame(u8),
    OtherTrackHeader(u8),
    OtherTrackAudio(u8),
    SequenceEnd,
}

impl Kind {
    fn head(self) -> (u8, Vec<u8>) {
        match self {
            Kind::KeyFrame => (MessageType::VIDEO, vec![0x17, 1, 0, 0, 0]),
            Kind::Frame => (MessageType::VIDEO, vec![0x27, 1, 0, 0, 0]),
            Kind::Audio => (MessageType::AUDIO, vec![0xaf, 1]),
            Kind::VideoHeader => (MessageType::VIDEO, vec![0x17, 0, 0, 0, 0]),
            Kind::AudioHeader => (MessageType::AUDIO, vec![0xaf, 0]),
            Kind::Metadata => (MessageType::DATA_AMF0, b"\x02\0\x0aonMetaData\x08\0\0\0\x01\0\x01a\x02".to_vec()),
            Kind::OtherTrackKeyFrame(track) => (MessageType::VIDEO, [b"\x96\x01hvc1", &[track][..]].concat()),
            Kind::OtherTrackHeader(track) => (MessageType::VIDEO, [b"\x96\x00hvc1", &[track][..]].concat()),
            Kind::OtherTrackAudio(track) => (MessageType::AUDIO, [b"\x95\x01Opus", &[track][..]].concat()),
            Kind::SequenceEnd => (MessageType::VIDEO, vec![0x17, 2, 0, 0, 0]),
        }
    }
}

/// A cursor, and what became of all frames since it began.
struct Reader {
    cursor: Cursor,
    /// Where it began, in frames of the source's life, less what it passed since.
    began: Option<u64>,
    /// Whose frames it reads.
    epoch: Option<u64>,
    delivered: u64,
    missed: Gap,
    /// The number of the last frame it got.
    last: Option<u32>,
    awaits_key: bool,
    /// The numbers of the headers it started with, until its first frame.
    started_with: Option<Vec<u32>>,
}

impl Reader {
    /// Frames it got, missed, or could not have decoded.
    fn passed(&self) -> u64 {
        self.delivered + self.missed.frames + self.cursor.undecodable()
    }
}

struct World {
    now: Instant,
    source: Source,
    limits: SourceLimits,
    format: WireFormat,
    timestamp: u32,
    /// Frames that were pushed, each with its number in its body.
    pushed: u32,
    readers: [Option<Reader>; 4],
    /// The log as it must be: bytes of each frame, and the time of the stream there.
    log: VecDeque<(usize, u32)>,
    /// The time of the newest coded frame.
    coded: Option<u32>,
    /// The headers in force before each frame, by their numbers; `None` where a limit or several tracks have a say.
    headers: Vec<Option<InForce>>,
    in_force: Option<InForce>,
    /// True if the sequence of pictures has ended and not gone on.
    has_ended: bool,
    /// When the publisher's first frame came.
    media_since: Option<Instant>,
}

/// The numbers of the last metadata, video header and audio header.
type InForce = [Option<u32>; 3];

/// A setup and operations.
pub fn run(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let Ok(setup) = Setup::arbitrary(&mut input) else {
        return;
    };
    let limits = SourceLimits {
        bytes: usize::from(setup.bytes),
        frames: usize::from(setup.frames),
        milliseconds: u32::from(setup.milliseconds),
        header_bytes: usize::from(setup.header_bytes) * 4,
        tracks: usize::from(setup.tracks % 4),
    };
    let rule = match (setup.next_key_frame, setup.bounded_start) {
        (true, _) => StartRule::NextKeyFrame,
        (false, None) => StartRule::default(),
        (false, Some((bytes, milliseconds, frames))) => StartRule::NewestKeyFrame {
            bytes: u64::from(bytes),
            milliseconds: u32::from(milliseconds),
            frames: u64::from(frames),
        },
    };
    let mut world = World {
        now: any_instant(),
        source: Source::new(limits).with_start_rule(rule),
        limits,
        format: WireFormat { chunk_size: [128, 200, 4096, 60_000][usize::from(setup.chunk_size % 4)] },
        timestamp: 0,
        pushed: 0,
        readers: [const { None }; 4],
        log: VecDeque::new(),
        coded: None,
        headers: Vec::new(),
        in_force: Some(InForce::default()),
        has_ended: false,
        media_since: None,
    };
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        let Ok(operation) = Operation::arbitrary(&mut input) else {
            break;
        };
        world.apply(operation);
        world.check();
    }
    for index in 0..world.readers.len() {
        world.read(index, usize::MAX);
    }
    world.check();
}

impl World {
    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Push { kind, later, filler } => self.push(kind, later, filler),
            Operation::Next { cursor, most } => self.read(usize::from(cursor % 4), usize::from(most)),
            Operation::Join { cursor } => {
                self.readers[usize::from(cursor % 4)] = Some(Reader {
                    cursor: self.source.join(),
                    began: None,
                    epoch: None,
                    delivered: 0,
                    missed: Gap::default(),
                    last: None,
                    awaits_key: true,
                    started_with: None,
                });
            }
            Operation::Restart { cursor } => {
                if let Some(reader) = &mut self.readers[usize::from(cursor % 4)]
                    && self.source.has_newer_start(&reader.cursor)
                {
                    self.source.restart(&mut reader.cursor);
                }
            }
            Operation::Begin => {
                self.source.begin();
                self.log.clear();
                self.in_force = Some(InForce::default());
                (self.has_ended, self.media_since) = (false, None);
            }
            Operation::End => self.source.end(self.now),
            Operation::Abandon => self.source.abandon(),
            Operation::ClearMetadata => {
                self.source.clear_metadata();
                self.set_header(0, None);
            }
        }
    }

    fn push(&mut self, kind: Kind, later: i16, filler: u16) {
        self.now += Duration::from_millis(u64::from(later.unsigned_abs()) % 1000);
        self.timestamp = self.timestamp.wrapping_add_signed(i32::from(later));
        let (type_id, mut body) = kind.head();
        // In metadata it is a string.
        if type_id == MessageType::DATA_AMF0 {
            body.extend_from_slice(&[0, 4]);
        }
        body.extend_from_slice(&self.pushed.to_be_bytes());
        match type_id {
            MessageType::DATA_AMF0 => body.extend_from_slice(&[0, 0, 9]),
            _ => body.resize(body.len() + usize::from(filler % 700), 0x55),
        }
        let timestamp = self.timestamp;
        let message =
            Message { chunk_stream: 6, timestamp, type_id, message_stream_id: 1, payload: Payload::from(&body[..]) };
        let frame = Frame::encode(message, self.format);

        let mut reader = ChunkReader::new(ChunkLimits::default(), Leniency::Strict);
        reader.set_chunk_size(self.format.chunk_size).expect("not zero");
        let mut rest = &frame.wire()[..];
        let read = reader.read(&mut rest).expect("our own chunks are legal").expect("a whole message");
        assert!(rest.is_empty());
        assert_eq!((read.timestamp, read.type_id, &read.payload[..]), (timestamp, type_id, &body[..]));

        self.media_since.get_or_insert(self.now);
        self.headers.push(self.in_force);
        self.note(kind);
        if frame.class().is_coded() {
            self.coded = Some(timestamp);
        }
        let time = self.coded.unwrap_or(timestamp);
        let (before, unkept) = (self.source.log_bytes(), self.source.stats().unkept_headers);
        let held = self.source.held_bytes();
        self.source.push(self.now, frame);
        self.pushed += 1;
        if self.source.stats().unkept_headers > unkept {
            self.in_force = None;
        }
        self.check_log(before, held, time);
    }

    /// What a frame does to the headers in force.
    fn note(&mut self, kind: Kind) {
        match kind {
            Kind::Metadata => self.set_header(0, Some(self.pushed)),
            Kind::VideoHeader => self.set_header(1, Some(self.pushed)),
            Kind::AudioHeader => self.set_header(2, Some(self.pushed)),
            Kind::OtherTrackHeader(_) => self.in_force = None,
            _ => {}
        }
        // What has ended is the first to go where headers are too large together.
        match kind {
            Kind::SequenceEnd => self.has_ended = true,
            Kind::Metadata | Kind::AudioHeader if self.has_ended => self.in_force = None,
            Kind::VideoHeader | Kind::KeyFrame | Kind::Frame | Kind::OtherTrackKeyFrame(_) => self.has_ended = false,
            _ => {}
        }
    }

    fn set_header(&mut self, index: usize, number: Option<u32>) {
        if let Some(headers) = &mut self.in_force {
            headers[index] = number;
        }
    }

    /// After a frame came to a log of so many bytes, in a source that held so many: no frame was dropped that there is
    /// room for.
    fn check_log(&mut self, before: usize, held: usize, time: u32) {
        let dropped = (self.log.len() + 1).checked_sub(self.source.log_frames()).expect("no frame comes twice");
        let gone: Vec<_> = self.log.drain(..dropped).collect();
        let bytes = self.source.log_bytes() + gone.iter().map(|(bytes, _)| bytes).sum::<usize>() - before;
        self.log.push_back((bytes, time));
        if let Some((bytes, then)) = gone.last() {
            let age = time.wrapping_sub(*then);
            let old = age > self.limits.milliseconds && age < 1 << 31;
            let over = self.source.log_bytes() + bytes > self.limits.bytes || self.log.len() + 1 > self.limits.frames;
            // What is remembered of headers at starts is bounded, too; no set of them takes more than 2 KiB.
            let over = over || held + (2 << 10) > 64 << 10;
            assert!(old || over, "a frame of {bytes} bytes and {age} ms is dropped from a log that has room");
        }
    }

    fn read(&mut self, index: usize, most: usize) {
        let Some(reader) = &mut self.readers[index] else {
            return;
        };
        for _ in 0..most {
            match self.source.next(&mut reader.cursor) {
                Next::Start(start) => {
                    let head = self.source.stats().frames;
                    // Without one it begins where none came for as long as players wait.
                    reader.awaits_key = !start.keyless;
                    let waited = self.media_since.map_or(Duration::ZERO, |since| self.now - since);
                    assert!(!start.keyless || waited >= StartLimits::default().wait, "after {waited:?}");
                    reader.missed.add(start.gap);
                    if reader.began.is_none() {
                        assert_eq!(start.gap, Gap::default(), "nothing is missed before the first start");
                    }
                    if reader.epoch.replace(self.source.epoch()) != Some(self.source.epoch()) {
                        // Frames from before the first possible start do not count as missed.
                        let began = head - self.source.unsent(&reader.cursor).frames - reader.passed();
                        assert!(reader.began.is_none_or(|before| before <= began), "more missed than there was");
                        reader.began = Some(began);
                    }
                    assert!(start.headers.bytes() <= self.limits.header_bytes);
                    let headers: Vec<Frame> = start.frames().collect();
                    assert!(headers.iter().all(Frame::is_header));
                    reader.started_with = Some(headers.iter().map(number).collect());
                }
                Next::Frame(frame) => {
                    reader.delivered += 1;
                    if frame.kind() == FrameKind::Video && frame.class().is_coded() && reader.awaits_key {
                        assert!(frame.is_join_point(), "a player begins with a key frame");
                        reader.awaits_key = false;
                    }
                    let number = number(frame);
                    assert!(reader.last.is_none_or(|last| last < number), "{number} after {:?}", reader.last);
                    assert!(number < self.pushed);
                    if let Some(headers) = reader.started_with.take()
                        && let Some(in_force) = self.headers[number as usize]
                    {
                        let expected: Vec<u32> = in_force.into_iter().flatten().collect();
                        assert_eq!(headers, expected, "the headers in force before frame {number}");
                    }
                    reader.last = Some(number);
                }
                Next::Pending => {
                    assert!(self.source.is_live());
                    break;
                }
                Next::Ended => {
                    assert!(!self.source.is_live());
                    break;
                }
            }
        }
    }

    fn check(&self) {
        let source = &self.source;
        // The largest frame, and the plain form of its default track.
        let newest = 2000;
        assert!(source.log_bytes() <= self.limits.bytes.max(newest), "{} bytes", source.log_bytes());
        assert!(source.held_bytes() >= source.log_bytes());
        assert!(source.log_frames() <= self.limits.frames.max(1), "{} frames", source.log_frames());
        assert!(source.headers().bytes() <= self.limits.header_bytes);
        assert_eq!(source.stats().frames, u64::from(self.pushed));
        for reader in self.readers.iter().flatten() {
            let unsent = source.unsent(&reader.cursor).frames;
            match reader.began {
                None => assert_eq!(unsent, 0, "a player that has not begun misses nothing"),
                Some(began) => {
                    assert_eq!(began + reader.passed() + unsent, u64::from(self.pushed), "each frame is accounted for");
                }
            }
            assert!(source.behind(&reader.cursor) <= source.log_frames() as u64 || reader.began.is_some());
        }
    }
}

/// The number in the body of a frame.
fn number(frame: &Frame) -> u32 {
    let body = frame.payload();
    let at = match (frame.kind(), body[0]) {
        (FrameKind::Data, _) => 24,
        (_, 0x96 | 0x95) => 7,
        (FrameKind::Video, _) => 5,
        (FrameKind::Audio, _) => 2,
    };
    body[at..].first_chunk().copied().map(u32::from_be_bytes).expect("each frame has a number")
}
