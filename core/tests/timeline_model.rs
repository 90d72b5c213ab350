//! The timestamps for players, against a model that knows the facts that a timeline must detect: the jumps of an
//! encoder's clock, and the frames from before a jump.

mod support;

use std::time::{Duration, Instant};

use FrameKind::{Audio, Video};
use anabranch_core::source::{FrameKind, Timeline, Timestamps};
use proptest::prelude::*;

/// The time between two origins of an encoder's clock, in milliseconds: much longer than a run, and all origins differ
/// modulo 2^32.
const APART: i64 = 1 << 28;

/// The next frame or event of a publisher.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A frame after this many milliseconds, with a timestamp that differs by `jitter` from the clock.
    Frame { after: u64, kind: FrameKind, jitter: i64 },
    /// A header or data, with any time.
    Uncoded(FrameKind, u32),
    /// A frame from before the last jump.
    Straggler { kind: FrameKind, jitter: i64 },
    /// The clock continues from another origin.
    Jump,
}

fn kinds() -> impl Strategy<Value = FrameKind> {
    prop::sample::select(vec![Audio, Video])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let after = prop_oneof![12 => 0u64..60, 1 => 2_500u64..20_000];
    let jitter = || -200i64..200;
    let step = prop_oneof![
        20 => (after, kinds(), jitter()).prop_map(|(after, kind, jitter)| Step::Frame { after, kind, jitter }),
        2 => (prop::sample::select(vec![Audio, Video, FrameKind::Data]), any::<u32>())
            .prop_map(|(kind, time)| Step::Uncoded(kind, time)),
        3 => (kinds(), jitter()).prop_map(|(kind, jitter)| Step::Straggler { kind, jitter }),
        1 => Just(Step::Jump),
    ];
    prop::collection::vec(step, 1..150)
}

/// A part of the publisher's time without a jump. Times do not wrap here.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    /// The publisher's clock at `begins`.
    origin: i64,
    /// The start of this part, in milliseconds of the run.
    begins: i64,
    /// Added to the publisher's time to get stream time; `None` before the first frame.
    offset: Option<i64>,
}

impl Stretch {
    fn sent_at(&self, now: i64, jitter: i64) -> i64 {
        self.origin + now - self.begins + jitter
    }
}

/// The expected time of the stream.
struct Model {
    /// The newest time of the stream; `arrived` is the arrival of the last coded frame.
    newest: Option<i64>,
    arrived: i64,
    /// The end of the previous publication.
    floor: Option<i64>,
    last: i64,
    /// The newest time of audio and of video, and the arrival of its last frame.
    media: [Option<(i64, i64)>; 2],
}

impl Model {
    /// The current time of the stream: it advances with real time, and two frames across a jump never have the same
    /// time.
    fn continuation(&self, now: i64) -> i64 {
        self.newest.unwrap_or(0) + (now - self.arrived).max(1)
    }

    /// The time at which a medium continues after a jump: the stream's current time, or the medium's own time if that
    /// is later, or earlier by more than a second.
    fn continuation_of(&self, medium: usize, now: i64) -> i64 {
        let present = self.continuation(now);
        let own = self.media[medium].map_or(present, |(newest, came)| newest + (now - came).max(1));
        if (0..=1_000).contains(&(present - own)) { present } else { own }
    }

    fn coded(&mut self, stretch: &mut Stretch, kind: FrameKind, now: i64, sent: i64) -> i64 {
        let medium = usize::from(kind == Video);
        let jumps = stretch.offset.is_none();
        let first = self.newest.map_or(0, |_| self.continuation_of(medium, now) - sent);
        let mapped = sent + *stretch.offset.get_or_insert(first);
        let mapped = self.floor.map_or(mapped, |floor| floor.max(mapped));
        self.last = mapped;
        let newest = self.media[medium].filter(|_| !jumps).map_or(mapped, |(newest, _)| newest.max(mapped));
        self.media[medium] = Some((newest, now));
        self.newest = Some(self.newest.map_or(mapped, |newest| newest.max(mapped)));
        self.arrived = now;
        mapped
    }
}

fn wrapped(time: i64) -> u32 {
    time.rem_euclid(1 << 32) as u32
}

proptest! {
    #[test]
    fn jumps_are_bridged_and_all_else_passes(
        steps in steps(),
        zero in any::<u32>(),
        predecessor in prop::option::of((any::<u32>(), 0u64..5_000)),
    ) {
        let start = support::any_instant();
        let at = |now: i64| start + Duration::from_millis(now as u64);
        let mut now = 10_000i64;
        let mut model = Model { newest: None, arrived: now, floor: None, last: 0, media: [None; 2] };
        let mut timeline = Timeline::new(Timestamps::Monotonic);
        if let Some((timestamp, ago)) = predecessor {
            let end = Some(i64::from(timestamp));
            // No frame of either kind has a time before the end of the previous publication.
            (model.newest, model.floor) = (end, end);
            model.arrived = now - ago as i64;
            timeline = Timeline::resuming(Timestamps::Monotonic, timestamp, at(model.arrived));
        }
        let mut jumps = 0;
        let mut present = Stretch { origin: zero.into(), begins: now, offset: None };
        // The part before the last jump, the arrival of its last frame, and the arrival of the first frame after the
        // jump: for some time after that, the timeline recognizes stragglers.
        let mut before: Option<(Stretch, i64, i64)> = None;
        // The offset of the last frame.
        let mut last_offset = None;
        for step in steps {
            match step {
                Step::Frame { after, kind, jitter } => {
                    now += after as i64;
                    if present.offset.is_none() && let Some((.., jumped)) = &mut before {
                        *jumped = now;
                    }
                    let sent = present.sent_at(now, jitter);
                    let expected = model.coded(&mut present, kind, now, sent);
                    prop_assert_eq!(timeline.map(at(now), kind, true, wrapped(sent)), wrapped(expected));
                    last_offset = present.offset;
                }
                Step::Straggler { kind, jitter } => {
                    // Long after the jump, a frame with a time from before it would be another jump.
                    if let Some((stretch, last, jumped)) = &mut before
                        && present.offset.is_some()
                        && now - *jumped < 1_900
                        // A frame with a longer delay is a jump.
                        && *jumped - *last < 7_000
                    {
                        let sent = stretch.sent_at(*last, jitter);
                        let expected = model.coded(stretch, kind, now, sent);
                        prop_assert_eq!(timeline.map(at(now), kind, true, wrapped(sent)), wrapped(expected));
                        last_offset = stretch.offset;
                        // The next frame of the new clock would be a jump too, if it came late: it comes here.
                        let sent = present.sent_at(now, 0);
                        let expected = model.coded(&mut present, kind, now, sent);
                        prop_assert_eq!(timeline.map(at(now), kind, true, wrapped(sent)), wrapped(expected));
                        last_offset = present.offset.or(last_offset);
                    }
                }
                Step::Uncoded(kind, sent) => {
                    let mapped = timeline.map(at(now), kind, false, sent);
                    // A header with an unusable time gets the time of the last coded frame, or, before the first one,
                    // the time at which coded frames will begin.
                    let expected = match (last_offset, model.newest) {
                        (Some(_), _) => wrapped(model.last),
                        (None, None) => sent,
                        (None, Some(_)) => wrapped(model.continuation(now)),
                    };
                    let near = last_offset.is_some_and(|offset| {
                        let time = wrapped(i64::from(sent) + offset);
                        (time.wrapping_sub(expected) as i32).abs() < 60_000
                    });
                    prop_assert!(near || mapped == expected, "{mapped}, not {expected}");
                }
                Step::Jump if present.offset.is_some() => {
                    jumps += 1;
                    // Neither the current origin nor the one before it.
                    let origin = i64::from(zero) + APART * (jumps % 15 + 1);
                    before = Some((present, now, now));
                    present = Stretch { origin, begins: now, offset: None };
                }
                Step::Jump => {}
            }
        }
    }

    /// For any input of a publisher, no medium goes back by more than its bound, and each frame moves the stream's time
    /// ahead of real time by at most the bound. Steps back within the bound pass: if timestamps are presentation times,
    /// a picture can have an earlier time than the previous one, and a changed time would show it at the wrong moment.
    #[test]
    fn the_timeline_stays_near_the_clock_for_any_timestamps(
        frames in prop::collection::vec(
            (
                prop_oneof![4 => 0u64..100, 1 => 0u64..10_000],
                kinds(),
                prop_oneof![4 => 0u32..20_000, 2 => any::<u32>(), 1 => (u32::MAX - 2_000)..=u32::MAX],
            ),
            1..100,
        ),
    ) {
        let start = support::any_instant();
        let mut now = 0u64;
        let mut timeline = Timeline::new(Timestamps::Monotonic);
        let (mut newest, mut first, mut furthest) = ([None::<u32>; 2], 0, 0i64);
        for (index, (after, kind, sent)) in frames.into_iter().enumerate() {
            now += after;
            let mapped = timeline.map(start + Duration::from_millis(now), kind, true, sent);
            if index == 0 {
                prop_assert_eq!(mapped, sent, "the first frame keeps its time");
                first = mapped;
            }
            let newest = &mut newest[usize::from(kind == Video)];
            let step = newest.map_or(0, |newest| i64::from(mapped.wrapping_sub(newest) as i32));
            prop_assert!(step >= -10_000, "{step} ms from the newest frame");
            if newest.is_none() || step > 0 {
                *newest = Some(mapped);
            }
            let ahead = i64::from(mapped.wrapping_sub(first) as i32) - now as i64;
            prop_assert!(ahead <= furthest.max(0) + 40_000, "{ahead} ms ahead, {furthest} before");
            furthest = furthest.max(ahead);
        }
    }

    /// An encoder with synchronous audio and video, and frames with any delays: the stream's time is equal to the
    /// encoder's time for each frame.
    #[test]
    fn delays_of_one_medium_change_no_time(
        zero in any::<u32>(),
        skew in -10_000i64..10_000,
        intervals in (
            prop::sample::select(vec![23u64, 46, 500]),
            prop::sample::select(vec![33u64, 40, 1_000, 5_000, 10_000]),
        ),
        // Times at which a medium is held back, and for how long.
        holds in prop::collection::vec((kinds(), 0u64..60_000, 0u64..20_000), 0..4),
        // Times at which it sends no frames.
        silences in prop::collection::vec((kinds(), 0u64..60_000, 0u64..30_000), 0..3),
        reordered in any::<bool>(),
        predecessor in prop::option::of(any::<u32>()),
    ) {
        let start = support::any_instant();
        let mut frames = Vec::new();
        for (kind, interval) in [(Audio, intervals.0), (Video, intervals.1)] {
            let late = if kind == Audio { skew.max(0) } else { (-skew).max(0) } as u64;
            let within = |list: &[(FrameKind, u64, u64)], at: u64| {
                let around = |(of, from, length): &&(FrameKind, u64, u64)| {
                    *of == kind && (*from..*from + *length).contains(&at)
                };
                list.iter().filter(around).map(|(_, from, length)| from + length).max()
            };
            let (mut at, mut released) = (0, 0);
            let mut number = 0u64;
            while at < 90_000 {
                let arrival = within(&holds, at).unwrap_or(at) + late;
                released = arrival.max(released);
                // Of three pictures the last comes first, if timestamps go back at all.
                let reorders = reordered && kind == Video && interval <= 1_000 && number > 0;
                let place = if reorders { number + [0, 2, 0][(number % 3) as usize] - u64::from(number % 3 != 1) } else { number };
                if within(&silences, at).is_none() {
                    frames.push((released, kind, place * interval));
                }
                number += 1;
                at = number * interval;
            }
        }
        frames.sort_by_key(|(arrival, ..)| *arrival);
        let mut timeline = match predecessor {
            Some(end) => Timeline::resuming(Timestamps::Monotonic, end, start),
            None => Timeline::new(Timestamps::Monotonic),
        };
        let mut offset = None;
        for (arrival, kind, clock) in frames {
            let sent = zero.wrapping_add(clock as u32);
            let time = timeline.map(start + Duration::from_millis(arrival), kind, true, sent);
            let end = predecessor.filter(|end| *end == time);
            let added = time.wrapping_sub(sent);
            prop_assert!(
                end.is_some() || *offset.get_or_insert(added) == added,
                "{kind:?} of {clock} that came at {arrival} is off by {}", added.wrapping_sub(offset.unwrap_or(0)) as i32,
            );
        }
    }

    #[test]
    fn absolute_time_passes_whatever_it_is(
        frames in prop::collection::vec((0u64..10_000, kinds(), any::<bool>(), any::<u32>()), 1..50),
    ) {
        let mut now: Instant = support::any_instant();
        let mut timeline = Timeline::resuming(Timestamps::Pass, 77, now);
        for (after, kind, coded, sent) in frames {
            now += Duration::from_millis(after);
            prop_assert_eq!(timeline.map(now, kind, coded, sent), sent);
        }
    }
}
