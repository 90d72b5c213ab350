use std::time::Instant;

use super::{FrameKind, Timeline};

/// How far, in milliseconds, a publisher's time may have gone beyond the end of the publisher before until frames out
/// of order are no longer compared with that end.
const LONGEST: i64 = 600_000;

/// Turns the time of a publisher that stood by into that of the stream that it took over.
///
/// Its own [`Timeline`] goes on, so all that this knows of jumps and of delayed frames stays true; the bridge adds one
/// offset. No frame gets a time before the end of the publisher before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bridge {
    offset: u32,
    /// The end of the publisher before, while frames may lie before it.
    floor: Option<u32>,
}

/// How the time of a publisher goes on after a switch.
#[derive(Debug)]
pub(crate) enum Bridged {
    /// Its timeline goes on, with this bridge.
    Kept(Bridge),
    /// It has sent no media yet, and gets this timeline.
    Resumed(Box<Timeline>),
}

impl Bridge {
    /// The bridge from a publisher's own time to that of the stream. Of both, the time of the last coded frame and when
    /// that came are given: they are the same distance apart as the arrivals. `furthest` is the highest time in the
    /// stream.
    pub(super) fn new(own: (u32, Instant), stream: (u32, Instant), furthest: u32) -> Self {
        let later = milliseconds(own.1.saturating_duration_since(stream.1));
        let earlier = milliseconds(stream.1.saturating_duration_since(own.1));
        let time = stream.0.wrapping_add(later).wrapping_sub(earlier);
        Bridge { offset: time.wrapping_sub(own.0), floor: Some(furthest) }
    }

    /// True if a frame with this time lies after the publisher before.
    pub(super) fn is_past(&self, time: u32) -> bool {
        self.floor.is_none_or(|floor| step(floor, time.wrapping_add(self.offset)) > 0)
    }

    /// The stream's time for a frame. Coded pictures that lie before the end of the publisher before follow it a
    /// millisecond apart: decoders need them, and players want rising times.
    pub(crate) fn map(&mut self, time: u32, kind: FrameKind, coded: bool) -> u32 {
        let time = time.wrapping_add(self.offset);
        let Some(floor) = self.floor else {
            return time;
        };
        let past = step(floor, time);
        if past > LONGEST {
            self.floor = None;
        }
        if past > 0 {
            return time;
        }
        if coded && kind == FrameKind::Video {
            let next = floor.wrapping_add(1);
            self.floor = Some(next);
            return next;
        }
        floor
    }
}

fn milliseconds(time: std::time::Duration) -> u32 {
    time.as_millis().min(i32::MAX as u128) as u32
}

/// Milliseconds from `earlier` to `later`, as a signed number.
fn step(earlier: u32, later: u32) -> i64 {
    i64::from(later.wrapping_sub(earlier) as i32)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn clock() -> Instant {
        #[allow(clippy::disallowed_methods)] // any instant will do: core only compares
        Instant::now()
    }

    #[test]
    fn the_time_goes_on_by_the_real_time_between_the_publishers_also_across_the_wrap() {
        for end in [5_000, i32::MAX as u32 - 10, u32::MAX - 10] {
            for own in [0, 77, 3_000_000_000] {
                let start = clock();
                let mut bridge = Bridge::new((own, start + Duration::from_millis(40)), (end, start), end);
                assert_eq!(bridge.map(own, FrameKind::Video, true), end.wrapping_add(40));
                assert_eq!(bridge.map(own.wrapping_add(33), FrameKind::Audio, true), end.wrapping_add(73));
            }
        }
    }

    #[test]
    fn pictures_from_before_the_end_follow_it_and_rise() {
        let start = clock();
        let mut bridge = Bridge::new((1_000, start), (9_000, start), 9_000);
        let times: Vec<_> = (0..4).map(|n| bridge.map(880 + n * 40, FrameKind::Video, true)).collect();
        assert_eq!(times, [9_001, 9_002, 9_003, 9_004]);
        assert_eq!(bridge.map(1_001, FrameKind::Audio, true), 9_004, "sound does not go back either");
        assert_eq!(bridge.map(1_040, FrameKind::Video, true), 9_040);
    }

    #[test]
    fn a_stream_that_goes_on_for_weeks_is_not_held_at_the_end_of_the_publisher_before() {
        let start = clock();
        let mut bridge = Bridge::new((0, start), (0, start), 0);
        let times = (0..100).map(|n: u32| n.wrapping_mul(1 << 26));
        for time in times.skip(1) {
            assert_eq!(bridge.map(time, FrameKind::Video, true), time);
        }
    }
}
