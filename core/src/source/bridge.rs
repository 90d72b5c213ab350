use std::time::Instant;

use super::{FrameKind, Timeline};

/// How far, in milliseconds, a publisher's time may have gone beyond the end of the publisher before until frames out
/// of order are no longer compared with that end.
const LONGEST: i64 = 600_000;

/// Turns the time of a publisher that stood by into that of the stream that it took over.
///
/// Its own [`Timeline`] goes on, so all that this knows of jumps and of delayed frames stays true; the bridge adds one
/// offset. No frame gets a time before the end of its medium of the publisher before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bridge {
    offset: u32,
    /// Where the medium of the publisher before ended, while frames may lie before that.
    floors: Floors,
}

/// A time for sound, and one for all else.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Floors {
    pub(super) sound: Option<u32>,
    pub(super) rest: Option<u32>,
}

impl Floors {
    pub(super) fn of(&mut self, kind: FrameKind) -> &mut Option<u32> {
        if kind == FrameKind::Audio { &mut self.sound } else { &mut self.rest }
    }

    /// A coded frame has this time.
    pub(super) fn raise(&mut self, kind: FrameKind, time: u32) {
        let floor = self.of(kind);
        if floor.is_none_or(|floor| step(floor, time) > 0) {
            *floor = Some(time);
        }
    }
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
    /// The bridge from a publisher's own time to that of the stream. Of both, the highest time of a coded frame and when
    /// that came are given: they are the same distance apart as the arrivals. `floors` are the ends of the stream's media; a
    /// medium that it had not begins after the other one.
    pub(super) fn new(own: (u32, Instant), stream: (u32, Instant), floors: Floors) -> Self {
        let later = milliseconds(own.1.saturating_duration_since(stream.1));
        let earlier = milliseconds(stream.1.saturating_duration_since(own.1));
        let time = stream.0.wrapping_add(later).wrapping_sub(earlier);
        let [sound, rest] = [floors.sound, floors.rest].map(|floor| floor.or(Some(stream.0)));
        Bridge { offset: time.wrapping_sub(own.0), floors: Floors { sound, rest } }
    }

    /// True if a frame with this time lies after the publisher before.
    pub(super) fn is_past(&mut self, time: u32, kind: FrameKind) -> bool {
        let time = time.wrapping_add(self.offset);
        self.floors.of(kind).is_none_or(|floor| step(floor, time) > 0)
    }

    /// The stream's time for a frame. Coded pictures that lie before the end of the publisher before follow it a
    /// millisecond apart: decoders need them, and players want rising times.
    pub(crate) fn map(&mut self, time: u32, kind: FrameKind, coded: bool) -> u32 {
        let time = time.wrapping_add(self.offset);
        let end = self.floors.of(kind);
        let Some(floor) = *end else {
            return time;
        };
        let past = step(floor, time);
        if past > LONGEST {
            *end = None;
        }
        if past > 0 {
            return time;
        }
        if coded && kind == FrameKind::Video {
            let next = floor.wrapping_add(1);
            *end = Some(next);
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
                let mut bridge = Bridge::new((own, start + Duration::from_millis(40)), (end, start), Floors::default());
                assert_eq!(bridge.map(own, FrameKind::Video, true), end.wrapping_add(40));
                assert_eq!(bridge.map(own.wrapping_add(33), FrameKind::Audio, true), end.wrapping_add(73));
            }
        }
    }

    #[test]
    fn pictures_from_before_the_end_follow_it_and_rise() {
        let start = clock();
        let mut bridge = Bridge::new((1_000, start), (9_000, start), Floors::default());
        let times: Vec<_> = (0..4).map(|n| bridge.map(880 + n * 40, FrameKind::Video, true)).collect();
        assert_eq!(times, [9_001, 9_002, 9_003, 9_004]);
        assert_eq!(bridge.map(990, FrameKind::Audio, true), 9_000, "sound does not go back either");
        assert_eq!(bridge.map(1_001, FrameKind::Audio, true), 9_001);
        assert_eq!(bridge.map(1_040, FrameKind::Video, true), 9_040);
    }

    #[test]
    fn sound_that_is_behind_its_pictures_stays_behind_them() {
        let start = clock();
        let floors = Floors { sound: Some(4_000), rest: Some(9_000) };
        let mut bridge = Bridge::new((1_000, start), (9_000, start), floors);
        assert!(
            bridge.is_past(1_020_u32.wrapping_sub(5_000), FrameKind::Audio)
                && !bridge.is_past(1_000_u32.wrapping_sub(5_000), FrameKind::Audio)
        );
        assert_eq!(bridge.map(1_020_u32.wrapping_sub(5_000), FrameKind::Audio, true), 4_020);
        assert_eq!(bridge.map(1_040, FrameKind::Video, true), 9_040);
    }

    #[test]
    fn a_stream_that_goes_on_for_weeks_is_not_held_at_the_end_of_the_publisher_before() {
        let start = clock();
        let mut bridge = Bridge::new((0, start), (0, start), Floors::default());
        let times = (0..100).map(|n: u32| n.wrapping_mul(1 << 26));
        for time in times.skip(1) {
            assert_eq!(bridge.map(time, FrameKind::Video, true), time);
        }
    }
}
