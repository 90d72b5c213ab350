mod elsewhere;
mod switching;

use std::time::{Duration, Instant};

use super::super::{
    BackupRules, Conflict, Hub, HubConfig, NotAdmitted, Player, Publisher, PullEnd, StandbyEvent, Superseded, Switched,
};
use crate::flv::FrameClass;
use crate::message::{Message, MessageType, Payload};
use crate::policy::{Counted, Limits, Refusal};
use crate::source::{Frame, FrameKind, Timestamps};
use crate::split_mix::split_mix;
use crate::url::{DEFAULT_VHOST, StreamKey};

/// The time between two steps, in milliseconds: an encoder sends a picture in every second step, and sound in each.
const STEP: u64 = 20;
const AFTER: u64 = 2_000;

pub(in crate::hub) fn key() -> StreamKey {
    StreamKey::new(DEFAULT_VHOST, "live", "cam").expect("a good name")
}

/// An encoder. The last byte of all that it sends is its number.
pub(in crate::hub) struct Encoder {
    pub(in crate::hub) publisher: Publisher,
    number: u8,
    /// Its timestamp at the beginning of the test.
    base: u32,
    /// Pictures in a GOP, and which picture of all is a key frame.
    gop: u64,
    phase: u64,
    headers_sent: bool,
    /// What it sends.
    pictures: bool,
    pub(in crate::hub) keys: bool,
    sound: bool,
    pub(in crate::hub) frozen: bool,
    codec: u8,
    /// How many milliseconds its sound is behind its pictures.
    behind: u32,
}

pub(in crate::hub) struct Rig {
    pub(in crate::hub) hub: Hub,
    start: Instant,
    /// Milliseconds since the start.
    time: u64,
    player: Player,
    pub(in crate::hub) got: Vec<Got>,
    pub(in crate::hub) ends: Vec<PullEnd>,
}

/// A frame at the player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) struct Got {
    /// When it came.
    at: u64,
    kind: FrameKind,
    class: FrameClass,
    time: u32,
    pub(in crate::hub) from: u8,
}

impl Encoder {
    fn step(&mut self, time: u64, now: Instant) -> Result<(), Superseded> {
        if self.frozen {
            return Ok(());
        }
        let timestamp = self.base.wrapping_add(time as u32);
        let message = |type_id, body: &[u8]| {
            let payload = Payload::from(body);
            Message { chunk_stream: 6, timestamp, type_id, message_stream_id: 1, payload }
        };
        let number = self.number;
        if !std::mem::replace(&mut self.headers_sent, true) {
            if self.pictures {
                let header = [0x10 | self.codec, 0, 0, 0, 0, 1, 66, 0, 30, 0xFF, number];
                self.publisher.push(now, message(MessageType::VIDEO, &header))?;
            }
            if self.sound {
                self.publisher.push(now, message(MessageType::AUDIO, &[0xAF, 0, 0x12, 0x10, number]))?;
            }
        }
        if self.pictures && time.is_multiple_of(2 * STEP) {
            let is_key = self.keys && (time / (2 * STEP)) % self.gop == self.phase % self.gop;
            let tag = if is_key { 0x10 } else { 0x20 } | self.codec;
            self.publisher.push(now, message(MessageType::VIDEO, &[tag, 1, 0, 0, 0, 9, number]))?;
        }
        if self.sound {
            let timestamp = timestamp.wrapping_sub(self.behind);
            let message = Message { timestamp, ..message(MessageType::AUDIO, &[0xAF, 1, 7, number]) };
            self.publisher.push(now, message)?;
        }
        Ok(())
    }
}

impl Rig {
    pub(in crate::hub) fn new(rules: BackupRules) -> Self {
        Rig::with(HubConfig { backup: rules, ..HubConfig::default() })
    }

    pub(in crate::hub) fn with(config: HubConfig) -> Self {
        let hub = Hub::new(config);
        #[allow(clippy::disallowed_methods)] // any instant will do: core only compares
        let start = Instant::now();
        let player = hub.admit_player(&key(), &Limits::NONE).expect("no limit");
        Rig { hub, start, time: 0, player, got: Vec::new(), ends: Vec::new() }
    }

    pub(in crate::hub) fn admit(&self) -> Result<Publisher, NotAdmitted> {
        self.hub.admit_publisher(self.now(), &key(), "", Conflict::Backup, &Limits::NONE)
    }

    /// An encoder with 25 pictures a second and a key frame each second.
    pub(in crate::hub) fn encoder(&self, number: u8, base: u32) -> Encoder {
        self.encoder_of(self.admit().expect("there is a place"), number, base)
    }

    pub(in crate::hub) fn encoder_of(&self, mut publisher: Publisher, number: u8, base: u32) -> Encoder {
        publisher.held_by(number.into(), None);
        publisher.begun(self.now());
        Encoder {
            publisher,
            number,
            base,
            gop: 25,
            phase: u64::from(number) * 7,
            headers_sent: false,
            pictures: true,
            keys: true,
            sound: true,
            frozen: false,
            codec: 7,
            behind: 0,
        }
    }

    pub(in crate::hub) fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.time)
    }

    /// Lets the encoders send for a time, in which none is superseded.
    pub(in crate::hub) fn run(&mut self, milliseconds: u64, encoders: &mut [&mut Encoder]) {
        for _ in 0..milliseconds / STEP {
            for encoder in &mut *encoders {
                let number = encoder.number;
                encoder.step(self.time, self.now()).unwrap_or_else(|_| panic!("{number} has a place"));
            }
            self.pull();
            self.time += STEP;
        }
    }

    pub(in crate::hub) fn pull(&mut self) {
        let (at, got) = (self.time, &mut self.got);
        let pulled = self.player.pull(|frame: &Frame| {
            let from = frame.payload().last().copied().unwrap_or_default();
            let (kind, class, time) = (frame.kind(), frame.class(), frame.timestamp());
            got.push(Got { at, kind, class, time, from });
            true
        });
        self.ends.push(pulled.end);
    }

    /// Asserts that times rise within each medium, strictly for pictures; that no gap between pictures is longer; that
    /// each encoder begins with its own headers and a key frame; and that the player was never told of an end.
    #[track_caller]
    pub(in crate::hub) fn check(&self, longest: u64) {
        self.rises();
        let pictures: Vec<_> = self.coded(FrameKind::Video).collect();
        for pair in pictures.windows(2) {
            assert!(pair[1].at - pair[0].at <= longest, "{pair:?}");
            if pair[0].from != pair[1].from {
                assert_eq!(pair[1].class, FrameClass::KeyFrame, "{pair:?}");
            }
        }
        let mut header = None;
        for got in self.got.iter().filter(|got| got.kind == FrameKind::Video) {
            if got.class == FrameClass::SequenceHeader {
                header = Some(got.from);
            } else {
                assert_eq!(header, Some(got.from), "{got:?}");
            }
        }
        let begun = self.ends.iter().position(|end| *end == PullEnd::Pending).expect("there was a publisher");
        assert!(self.ends[begun..].iter().all(|end| *end == PullEnd::Pending));
    }

    #[track_caller]
    pub(in crate::hub) fn rises(&self) {
        for kind in [FrameKind::Video, FrameKind::Audio] {
            let coded: Vec<_> = self.coded(kind).collect();
            for pair in coded.windows(2) {
                let step = pair[1].time.wrapping_sub(pair[0].time) as i32;
                assert!(step > 0 || step == 0 && kind == FrameKind::Audio, "{pair:?}");
            }
        }
    }

    /// Asserts that the stream's time is still the real time, up to this many milliseconds.
    #[track_caller]
    pub(in crate::hub) fn keeps_time(&self, base: u32, most: u64) {
        for got in self.got.iter().filter(|got| got.class.is_coded()) {
            let off = i64::from(got.time.wrapping_sub(base) as i32) - got.at as i64;
            // What came in a burst was sent up to a GOP before.
            assert!(off <= most as i64, "{got:?} is {off} ms off");
        }
        let last = self.got.last().expect("it got frames");
        let off = i64::from(last.time.wrapping_sub(base) as i32) - last.at as i64;
        assert!(off.unsigned_abs() <= most, "{last:?} is {off} ms off");
    }

    pub(in crate::hub) fn coded(&self, kind: FrameKind) -> impl Iterator<Item = Got> {
        self.got.iter().copied().filter(move |got| got.kind == kind && got.class.is_coded())
    }

    pub(in crate::hub) fn last_from(&self) -> u8 {
        self.coded(FrameKind::Video).last().expect("a picture").from
    }
}

#[track_caller]
pub(in crate::hub) fn switched(encoder: &mut Encoder) -> Switched {
    let events = encoder.publisher.take_events();
    let mut switches = events.iter().rev().filter_map(|event| match event {
        StandbyEvent::OnAir { because, .. } => Some(*because),
        StandbyEvent::Ready { .. } => None,
    });
    switches.next().unwrap_or_else(|| panic!("it is not on air: {events:?}"))
}

#[test]
fn a_backup_takes_over_at_once_when_the_first_publisher_leaves() {
    for base in [0, 40_000, i32::MAX as u32 - 3_000, u32::MAX - 3_000] {
        let mut rig = Rig::new(BackupRules::default());
        let mut first = rig.encoder(1, base);
        rig.run(1_000, &mut [&mut first]);
        let mut second = rig.encoder(2, 77);
        assert!(second.publisher.stands_by());
        rig.run(3_000, &mut [&mut first, &mut second]);
        assert_eq!(rig.last_from(), 1);
        assert!(first.publisher.end(rig.now()).is_published, "the stream goes on");
        rig.pull();
        assert_eq!(rig.last_from(), 2, "what it kept is there at once");
        rig.run(3_000, &mut [&mut second]);
        rig.check(2 * STEP);
        rig.keeps_time(base, 60);
        assert_eq!(switched(&mut second), Switched::Lost);
        assert!(!second.publisher.stands_by());
        assert!(!second.publisher.end(rig.now()).is_published);
        rig.pull();
        assert!(matches!(rig.ends.last(), Some(PullEnd::Ended(Some(_)))));
    }
}

#[test]
fn a_backup_takes_over_when_the_first_publisher_stalls_and_the_first_stands_by_then() {
    let mut rig = Rig::new(BackupRules::default());
    let mut first = rig.encoder(1, 5_000);
    let mut second = rig.encoder(2, 0);
    rig.run(4_000, &mut [&mut first, &mut second]);
    first.frozen = true;
    rig.run(4_000, &mut [&mut first, &mut second]);
    assert_eq!(switched(&mut second), Switched::Stalled);
    rig.check(AFTER + 2 * STEP);
    assert_eq!(rig.last_from(), 2);
    // It comes back with all that it could not send.
    first.frozen = false;
    rig.run(20_000, &mut [&mut first, &mut second]);
    assert!(first.publisher.stands_by() && !first.publisher.is_superseded());
    assert_eq!(rig.last_from(), 2, "it does not return");
    rig.keeps_time(5_000, 60);
    assert!(second.publisher.end(rig.now()).is_published);
    rig.run(1_000, &mut [&mut first]);
    assert_eq!((switched(&mut first), rig.last_from()), (Switched::Lost, 1));
    rig.check(AFTER + 2 * STEP);
    rig.keeps_time(5_000, 100);
    let streams = rig.hub.streams();
    assert_eq!((streams[0].switches, streams[0].published), (2, true));
}

#[test]
fn a_publisher_that_stood_by_and_is_on_air_again_without_having_noticed_goes_on() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 0));
    rig.run(2_000, &mut [&mut first, &mut second]);
    first.frozen = true;
    rig.run(3_000, &mut [&mut first, &mut second]);
    assert_eq!(rig.last_from(), 2);
    drop(second);
    rig.run(1_000, &mut [&mut first]);
    first.frozen = false;
    rig.run(2_000, &mut [&mut first]);
    assert_eq!((switched(&mut first), rig.last_from()), (Switched::Lost, 1));
    rig.rises();
}

#[test]
fn a_backup_takes_over_when_only_the_pictures_stall() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 0));
    rig.run(3_000, &mut [&mut first, &mut second]);
    first.pictures = false;
    rig.run(3_000, &mut [&mut first, &mut second]);
    assert_eq!((switched(&mut second), rig.last_from()), (Switched::Stalled, 2));
    rig.check(AFTER + 2 * STEP);
}

#[test]
fn pictures_that_are_far_apart_are_no_stall() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 0));
    for _ in 0..10 {
        first.pictures = true;
        rig.run(2 * STEP, &mut [&mut first, &mut second]);
        first.pictures = false;
        rig.run(1_960, &mut [&mut first, &mut second]);
    }
    rig.run(1_000, &mut [&mut first, &mut second]);
    assert!(second.publisher.stands_by());
}

#[test]
fn a_stream_ends_when_both_publishers_leave_and_begins_with_the_next() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    rig.run(2_000, &mut [&mut first, &mut second]);
    assert!(first.publisher.end(rig.now()).is_published);
    assert!(!second.publisher.end(rig.now()).is_published);
    rig.pull();
    assert!(matches!(rig.ends.last(), Some(PullEnd::Ended(Some(_)))));
    assert!(rig.hub.is_free(&key()).is_ok());
    let mut third = rig.encoder(3, 0);
    assert!(!third.publisher.stands_by());
    rig.run(2_000, &mut [&mut third]);
    assert_eq!(rig.last_from(), 3);
    rig.rises();
}

#[test]
fn a_backup_that_leaves_first_changes_nothing_and_its_place_is_free() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    rig.run(2_000, &mut [&mut first, &mut second]);
    assert_eq!(rig.hub.counts(DEFAULT_VHOST).publishers, 2);
    assert!(second.publisher.end(rig.now()).is_published, "the stream has its publisher");
    assert_eq!(rig.hub.counts(DEFAULT_VHOST).publishers, 1);
    let mut third = rig.encoder(3, 0);
    rig.run(2_000, &mut [&mut first, &mut third]);
    assert_eq!(rig.last_from(), 1);
    drop(first);
    rig.run(1_000, &mut [&mut third]);
    assert_eq!(rig.last_from(), 3);
    rig.check(2 * STEP);
    drop(third.publisher);
    drop(rig.player);
    assert!(rig.hub.streams().is_empty());
    assert_eq!(rig.hub.memory().held, 0, "what a backup kept is counted and freed");
}

#[test]
fn a_third_publisher_is_refused_unless_the_backup_has_stalled() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    rig.run(1_000, &mut [&mut first, &mut second]);
    assert!(matches!(rig.admit(), Err(NotAdmitted::Busy(_))));
    second.frozen = true;
    rig.run(AFTER + 100, &mut [&mut first, &mut second]);
    let mut third = rig.encoder(3, 0);
    assert!(second.publisher.is_superseded());
    second.frozen = false;
    assert_eq!(second.step(rig.time, rig.now()), Err(Superseded));
    rig.run(1_000, &mut [&mut first, &mut third]);
    drop(second);
    assert!(matches!(rig.admit(), Err(NotAdmitted::Busy(_))), "the third one has the place");
    assert!(first.publisher.end(rig.now()).is_published);
    rig.run(1_000, &mut [&mut third]);
    assert_eq!(rig.last_from(), 3);
    // The same for one that was on air and stalled: its connection may be dead and unnoticed.
    let mut fourth = rig.encoder(4, 0);
    rig.run(1_000, &mut [&mut third, &mut fourth]);
    rig.run(AFTER + 100, &mut [&mut fourth]);
    assert_eq!(rig.last_from(), 4);
    let mut fifth = rig.encoder(5, 0);
    assert_eq!(third.step(rig.time, rig.now()), Err(Superseded));
    rig.run(1_000, &mut [&mut fourth, &mut fifth]);
    rig.rises();
}

#[test]
fn a_backup_that_lost_the_network_with_the_publisher_on_air_gives_its_place_up() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    rig.run(1_000, &mut [&mut first, &mut second]);
    (first.frozen, second.frozen) = (true, true);
    rig.run(AFTER + 100, &mut [&mut first, &mut second]);
    let mut third = rig.encoder(3, 0);
    rig.run(AFTER + 1_000, &mut [&mut first, &mut second, &mut third]);
    assert_eq!(rig.last_from(), 3);
    rig.rises();
}

#[test]
fn a_backup_that_never_sent_media_gives_its_place_up() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    second.frozen = true;
    rig.run(AFTER - 100, &mut [&mut first, &mut second]);
    assert!(matches!(rig.admit(), Err(NotAdmitted::Busy(_))));
    rig.run(200, &mut [&mut first, &mut second]);
    let _third = rig.encoder(3, 0);
    assert!(second.publisher.is_superseded());
}

#[test]
fn a_silence_that_both_share_switches_nothing() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    rig.run(3_000, &mut [&mut first, &mut second]);
    // The server stood still: what both have sent is read now, that of the backup first.
    (first.frozen, second.frozen) = (true, true);
    rig.run(AFTER + 1_000, &mut [&mut first, &mut second]);
    (first.frozen, second.frozen) = (false, false);
    rig.run(3_000, &mut [&mut second, &mut first]);
    assert_eq!(rig.last_from(), 1);
    // The one on air alone stays away afterwards.
    first.frozen = true;
    rig.run(AFTER + 1_100, &mut [&mut second, &mut first]);
    assert_eq!(rig.last_from(), 2);
    rig.rises();
}

#[test]
fn a_backup_without_a_key_frame_takes_nothing_over_from_a_publisher_that_stalls_until_it_has_one() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    second.keys = false;
    rig.run(1_000, &mut [&mut first, &mut second]);
    first.frozen = true;
    // Players begin without one when none has come for 3 s.
    rig.run(1_900, &mut [&mut first, &mut second]);
    assert!(second.publisher.stands_by());
    rig.run(200, &mut [&mut first, &mut second]);
    assert_eq!(rig.last_from(), 1);
    second.keys = true;
    rig.run(1_000, &mut [&mut first, &mut second]);
    assert_eq!((switched(&mut second), rig.last_from()), (Switched::Stalled, 2));
    rig.check(AFTER + 1_100);
}

#[test]
fn a_backup_without_a_key_frame_has_the_stream_when_the_first_publisher_leaves() {
    let mut rig = Rig::new(BackupRules::default());
    let mut first = rig.encoder(1, 40_000);
    rig.run(1_000, &mut [&mut first]);
    let mut second = rig.encoder(2, 900);
    second.keys = false;
    rig.run(200, &mut [&mut first, &mut second]);
    assert!(first.publisher.end(rig.now()).is_published);
    rig.run(400, &mut [&mut second]);
    assert_eq!(rig.last_from(), 1, "players wait for its key frame");
    second.keys = true;
    rig.run(2_000, &mut [&mut second]);
    assert_eq!(rig.last_from(), 2);
    rig.check(1_500);
    rig.keeps_time(40_000, 60);
}

#[test]
fn a_backup_that_has_sent_nothing_has_the_stream_and_its_time_goes_on() {
    for headers in [false, true] {
        let mut rig = Rig::new(BackupRules::default());
        let (mut first, mut second) = (rig.encoder(1, 40_000), rig.encoder(2, 900));
        rig.run(1_000, &mut [&mut first]);
        if headers {
            (second.pictures, second.sound) = (true, false);
            second.keys = false;
            let header = [0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xFF, 2];
            let payload = Payload::from(&header[..]);
            let (type_id, chunk_stream) = (MessageType::VIDEO, 6);
            let message = Message { chunk_stream, timestamp: 0, type_id, message_stream_id: 1, payload };
            second.publisher.push(rig.now(), message).expect("it stands by");
            second.headers_sent = true;
            second.keys = true;
        }
        assert!(first.publisher.end(rig.now()).is_published);
        rig.run(500, &mut []);
        rig.run(2_000, &mut [&mut second]);
        assert_eq!(rig.last_from(), 2);
        rig.check(1_600);
        rig.keeps_time(40_000, 60);
    }
}

#[test]
fn a_backup_with_another_codec_begins_with_its_own_headers() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    second.codec = 12;
    rig.run(3_000, &mut [&mut first, &mut second]);
    drop(first);
    rig.run(1_000, &mut [&mut second]);
    rig.check(2 * STEP);
    assert_eq!(rig.last_from(), 2);
}

#[test]
fn the_first_publisher_goes_on_air_again_at_its_key_frame_once_it_has_sent_for_a_while() {
    let mut rig = Rig::new(BackupRules { returns: true, ..BackupRules::default() });
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    rig.run(10_000, &mut [&mut first, &mut second]);
    assert_eq!(rig.last_from(), 1, "the second one is not the first");
    // It stalls and comes back.
    first.frozen = true;
    rig.run(3_000, &mut [&mut first, &mut second]);
    first.frozen = false;
    rig.run(4_900, &mut [&mut first, &mut second]);
    assert_eq!(rig.last_from(), 2);
    rig.run(1_200, &mut [&mut first, &mut second]);
    assert_eq!((switched(&mut first), rig.last_from()), (Switched::Returned, 1));
    assert!(second.publisher.stands_by());
    // It leaves, and another connection of it comes.
    drop(first);
    rig.run(2_000, &mut [&mut second]);
    assert_eq!(rig.last_from(), 2);
    let mut again = rig.encoder(3, 0);
    rig.run(4_900, &mut [&mut again, &mut second]);
    assert_eq!(rig.last_from(), 2);
    rig.run(1_200, &mut [&mut again, &mut second]);
    assert_eq!((switched(&mut again), rig.last_from()), (Switched::Returned, 3));
    rig.check(AFTER + 2 * STEP);
    rig.keeps_time(0, 150);
}

#[test]
fn a_first_publisher_that_stalls_again_and_again_does_not_return() {
    let mut rig = Rig::new(BackupRules { returns: true, ..BackupRules::default() });
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    rig.run(2_000, &mut [&mut first, &mut second]);
    for _ in 0..5 {
        first.frozen = true;
        rig.run(2_500, &mut [&mut first, &mut second]);
        first.frozen = false;
        rig.run(3_000, &mut [&mut first, &mut second]);
    }
    assert_eq!(rig.last_from(), 2);
}

#[test]
fn ten_switches_leave_the_time_of_the_stream_with_the_real_time() {
    let mut rig = Rig::new(BackupRules::default());
    let base = u32::MAX - 20_000;
    let mut present = rig.encoder(1, base);
    for number in 2..12 {
        let mut next = rig.encoder(number, u32::from(number) * 0x1000_0000);
        rig.run(3_300, &mut [&mut present, &mut next]);
        drop(present);
        present = next;
    }
    rig.run(1_000, &mut [&mut present]);
    rig.check(2 * STEP);
    rig.keeps_time(base, 60);
    assert_eq!(rig.hub.streams()[0].switches, 10);
}

#[test]
fn streams_of_sound_only_switch_without_a_gap() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    (first.pictures, second.pictures) = (false, false);
    rig.run(5_000, &mut [&mut first, &mut second]);
    drop(first);
    rig.run(1_000, &mut [&mut second]);
    let mut third = rig.encoder(3, 0);
    third.pictures = false;
    rig.run(4_000, &mut [&mut second, &mut third]);
    second.frozen = true;
    rig.run(3_000, &mut [&mut second, &mut third]);
    rig.rises();
    let sound: Vec<_> = rig.coded(FrameKind::Audio).collect();
    assert!(sound.windows(2).all(|pair| pair[1].at - pair[0].at <= AFTER + STEP));
    assert_eq!(sound.last().map(|got| got.from), Some(3));
    rig.keeps_time(0, 60);
}

#[test]
fn absolute_timestamps_pass_unchanged_through_a_switch() {
    let mut rig = Rig::with(HubConfig { timestamps: Timestamps::Pass, ..HubConfig::default() });
    let (mut first, mut second) = (rig.encoder(1, 7_000), rig.encoder(2, 7_000));
    rig.run(3_000, &mut [&mut first, &mut second]);
    drop(first);
    rig.run(1_000, &mut [&mut second]);
    assert!(rig.coded(FrameKind::Video).all(|got| u64::from(got.time) <= 7_000 + got.at));
    let last = rig.coded(FrameKind::Video).last().expect("a picture");
    assert_eq!((u64::from(last.time), last.from), (7_000 + last.at, 2));
}

#[test]
fn a_backup_counts_as_publisher() {
    let rig = Rig::new(BackupRules::default());
    let limits = Limits { publishers: Some(1), ..Limits::NONE };
    let admit = || rig.hub.admit_publisher(rig.now(), &key(), "", Conflict::Backup, &limits);
    let _first = admit().expect("it is the first");
    let refused = admit().expect_err("one is the most");
    assert_eq!(refused, NotAdmitted::Refused(Refusal::Limit(Counted::Publishers)));
}

#[test]
fn no_client_stands_by_for_the_program_or_where_names_are_refused() {
    let rig = Rig::new(BackupRules::default());
    let program = rig.hub.publish(&key()).expect("it is free");
    assert!(matches!(rig.admit(), Err(NotAdmitted::Busy(_))));
    drop(program);
    let _first = rig.admit().expect("it is free");
    let refused = rig.hub.admit_publisher(rig.now(), &key(), "", Conflict::Reject, &Limits::NONE);
    assert!(matches!(refused, Err(NotAdmitted::Busy(_))));
    assert!(rig.hub.publish(&key()).is_err());
}

#[test]
fn what_a_backup_keeps_is_no_more_than_its_newest_gop_and_belongs_to_the_memory_of_all_streams() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 0));
    rig.run(20_000, &mut [&mut first, &mut second]);
    let kept = rig.hub.streams()[0].held_bytes;
    rig.run(20_000, &mut [&mut first, &mut second]);
    let later = rig.hub.streams()[0].held_bytes;
    assert!(later <= kept + kept / 8, "{kept} and then {later}");
    assert_eq!(rig.hub.memory().held, later);
    // With next to no memory it keeps nothing, and the stream goes on all the same.
    rig.hub.limit_memory(1_000);
    rig.run(1_000, &mut [&mut first, &mut second]);
    assert!(rig.hub.memory().held < later);
    rig.hub.limit_memory(usize::MAX);
    drop(first);
    rig.run(3_000, &mut [&mut second]);
    assert_eq!(rig.last_from(), 2);
    rig.rises();
}

/// Two encoders that are killed, freeze, lose their pictures and come back at random.
#[test]
fn times_never_fall_and_gaps_are_short_however_encoders_die() {
    for seed in 0..200 {
        let mut state = seed;
        let mut below = move |most: u64| split_mix(&mut state) % most;
        let mut rig = Rig::new(BackupRules { returns: below(2) == 0, ..BackupRules::default() });
        let gop = 5 + below(60);
        let mut encoders: Vec<Encoder> = Vec::new();
        let mut next = 0;
        for _ in 0..7 {
            if encoders.len() < 2 {
                next += 1;
                let mut encoder = rig.encoder(next, below(u64::from(u32::MAX)) as u32);
                (encoder.gop, encoder.phase) = (gop, below(gop));
                encoders.push(encoder);
            }
            // Long enough that both run and have a key frame.
            let time = gop * 2 * STEP + 3_000 + below(100) * STEP;
            rig.run(time, &mut encoders.iter_mut().collect::<Vec<_>>());
            let victim = below(encoders.len() as u64) as usize;
            let is_healthy = |encoder: &Encoder| !encoder.frozen && encoder.pictures;
            let other_is_healthy = encoders.iter().enumerate().all(|(index, one)| index == victim || is_healthy(one));
            match below(4) {
                0 if encoders.len() == 2 && other_is_healthy => {
                    let gone = encoders.remove(victim);
                    gone.publisher.end(rig.now());
                }
                1 if encoders.len() == 2 && other_is_healthy => encoders[victim].frozen = true,
                2 if encoders.len() == 2 && other_is_healthy => encoders[victim].pictures = false,
                _ => {
                    encoders.iter_mut().for_each(|encoder| (encoder.frozen, encoder.pictures) = (false, true));
                }
            }
        }
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rig.check(AFTER + gop * 2 * STEP + 2 * STEP)))
            .unwrap_or_else(|_| panic!("seed {seed}"));
        drop(encoders);
        drop(rig.player);
        assert!(rig.hub.streams().is_empty(), "seed {seed}");
        assert_eq!(rig.hub.memory().held, 0, "seed {seed}");
    }
}
