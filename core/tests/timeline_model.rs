//! The time that players see, against a model that knows what a timeline has to find out: where an encoder's clock
//! jumped, and which frames are from before.

mod support;

use std::time::{Duration, Instant};

use FrameKind::{Audio, Video};
use anabranch_core::source::{FrameKind, Timeline, Timestamps};
use proptest::prelude::*;

/// Between two zeros of an encoder's clock, in milliseconds: far more than a run takes, and all of them lie apart even
/// modulo 2^32.
const APART: i64 = 1 << 28;

/// What comes next of a publisher.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A frame after so many milliseconds, its time that much beside the clock.
    Frame { after: u64, kind: FrameKind, jitter: i64 },
    /// A header or data, with any time.
    Uncoded(FrameKind, u32),
    /// A frame from before the last jump.
    Straggler { kind: FrameKind, jitter: i64 },
    /// From here on time counts from elsewhere.
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

/// A stretch of the publisher's time without a jump, as whoever makes it knows it. Times do not wrap here.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    /// The publisher's clock at `begins`.
    origin: i64,
    /// When, in milliseconds of the run.
    begins: i64,
    /// From the publisher's time to the stream's; `None` before its first frame.
    offset: Option<i64>,
}

impl Stretch {
    fn sent_at(&self, now: i64, jitter: i64) -> i64 {
        self.origin + now - self.begins + jitter
    }
}

/// The stream's time as it should be.
struct Model {
    /// The newest time of the stream, and when a coded frame last came.
    newest: Option<i64>,
    arrived: i64,
    audio: Option<i64>,
    video: Option<i64>,
}

impl Model {
    /// The time of the stream that it is now: real time goes by, and no two frames share a moment across a jump.
    fn continuation(&self, now: i64) -> i64 {
        self.newest.unwrap_or(0) + (now - self.arrived).max(1)
    }

    fn coded(&mut self, stretch: &mut Stretch, now: i64, kind: FrameKind, sent: i64) -> i64 {
        let first = self.newest.map_or(0, |_| self.continuation(now) - sent);
        let mapped = sent + *stretch.offset.get_or_insert(first);
        let latest = if kind == Audio { &mut self.audio } else { &mut self.video };
        let mapped = latest.map_or(mapped, |latest| latest.max(mapped));
        *latest = Some(mapped);
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
        let mut model = Model { newest: None, arrived: now, audio: None, video: None };
        let mut timeline = Timeline::new(Timestamps::Monotonic);
        if let Some((timestamp, ago)) = predecessor {
            let end = Some(i64::from(timestamp));
            // No frame of either kind lies before the predecessor's end.
            (model.newest, model.audio, model.video) = (end, end, end);
            model.arrived = now - ago as i64;
            timeline = Timeline::resuming(Timestamps::Monotonic, timestamp, at(model.arrived));
        }
        let mut jumps = 0;
        let mut present = Stretch { origin: zero.into(), begins: now, offset: None };
        // The one before the last jump, when its last frame came, and when the first one after the jump did: for a
        // while after that stragglers are told.
        let mut before: Option<(Stretch, i64, i64)> = None;
        // The offset of the frame that came last.
        let mut last_offset = None;
        for step in steps {
            match step {
                Step::Frame { after, kind, jitter } => {
                    now += after as i64;
                    if present.offset.is_none() && let Some((.., jumped)) = &mut before {
                        *jumped = now;
                    }
                    let sent = present.sent_at(now, jitter);
                    let expected = model.coded(&mut present, now, kind, sent);
                    prop_assert_eq!(timeline.map(at(now), kind, true, wrapped(sent)), wrapped(expected));
                    last_offset = present.offset;
                }
                Step::Straggler { kind, jitter } => {
                    // Long after the jump a frame that still counts as before would be a jump of its own.
                    if let Some((stretch, last, jumped)) = &mut before
                        && present.offset.is_some()
                        && now - *jumped < 1_900
                    {
                        let sent = stretch.sent_at(*last, jitter);
                        let expected = model.coded(stretch, now, kind, sent);
                        prop_assert_eq!(timeline.map(at(now), kind, true, wrapped(sent)), wrapped(expected));
                        last_offset = stretch.offset;
                        // And so is the way back, if it comes late: it is taken here.
                        let sent = present.sent_at(now, 0);
                        let expected = model.coded(&mut present, now, kind, sent);
                        prop_assert_eq!(timeline.map(at(now), kind, true, wrapped(sent)), wrapped(expected));
                        last_offset = present.offset.or(last_offset);
                    }
                }
                Step::Uncoded(kind, sent) => {
                    let mapped = timeline.map(at(now), kind, false, sent);
                    // A header's time moves with the frames around it; before there are any it begins where they will.
                    let expected = match (last_offset, model.newest) {
                        (Some(offset), _) => wrapped(i64::from(sent) + offset),
                        (None, None) => sent,
                        (None, Some(_)) => wrapped(model.continuation(now)),
                    };
                    prop_assert_eq!(mapped, expected);
                }
                Step::Jump if present.offset.is_some() => {
                    jumps += 1;
                    // Never where it was, nor where it was before that.
                    let origin = i64::from(zero) + APART * (jumps % 15 + 1);
                    before = Some((present, now, now));
                    present = Stretch { origin, begins: now, offset: None };
                }
                Step::Jump => {}
            }
        }
    }

    /// Whatever a publisher sends: no frame lies before the one of its kind before it, and the stream's time is never
    /// further ahead than the real time that went by and three seconds a frame.
    #[test]
    fn whatever_comes_time_does_not_go_back(
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
        let (mut now, mut newest) = (0u64, None::<u32>);
        let mut timeline = Timeline::new(Timestamps::Monotonic);
        let mut latest = [None::<u32>; 2];
        for (index, (after, kind, sent)) in frames.into_iter().enumerate() {
            now += after;
            let mapped = timeline.map(start + Duration::from_millis(now), kind, true, sent);
            if index == 0 {
                prop_assert_eq!(mapped, sent, "the first of all passes as it is");
            }
            let latest = &mut latest[usize::from(kind == Video)];
            prop_assert!(latest.is_none_or(|latest| (mapped.wrapping_sub(latest) as i32) >= 0));
            *latest = Some(mapped);
            let ahead = newest.map_or(0, |newest| i64::from(mapped.wrapping_sub(newest) as i32));
            prop_assert!(ahead <= after as i64 + 3_000, "{ahead} ms ahead after {after} ms");
            if newest.is_none() || ahead > 0 {
                newest = Some(mapped);
            }
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
