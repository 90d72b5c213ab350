use std::time::{Duration, Instant};

use crate::source::{Frame, FrameKind};
use crate::time_limit::deadline_after;

/// When to wake the players of one stream.
///
/// A wake-up costs one write call per player, so frames that leave together cost less. Audio waits for the next picture
/// if that is expected within the merge window; otherwise it leaves at once, because it would leave alone in any case.
/// Without pictures, audio waits for audio in the same way. A picture leaves at once, unless another one left less than
/// a window ago: so a window shorter than the frame interval adds no latency to pictures, and a longer window limits
/// their latency to its length.
///
/// When a stream falls [quiet](QUIET), its players are woken once more. What was written to them without polling them is
/// missing in their statistics until then.
///
/// The window is an argument of each call: the rules also hold if it changes from frame to frame.
#[derive(Debug, Default)]
pub(crate) struct WakeTimer {
    /// When players must be woken for the frames that wait.
    due: Option<Instant>,
    /// When the stream is quiet, if players were woken for frames and none came since.
    quiet: Option<Instant>,
    /// True if a picture is among the waiting frames.
    video_waits: bool,
    /// When players were last woken for a picture.
    last_video: Option<Instant>,
    video: FrameInterval,
    audio: FrameInterval,
}

/// How long after a wake-up a stream is quiet. Longer than the interval of audio and of nearly all pictures, so that
/// streams that go on cost no further wake-up; short for a person that watches the statistics.
const QUIET: Duration = Duration::from_secs(1);

/// The time between two frames of one kind.
#[derive(Debug, Default)]
struct FrameInterval {
    /// When the last frame was pushed, and its timestamp.
    last: Option<Instant>,
    timestamp: u32,
    /// A mean with a small weight for old frames. Measured by timestamps, because one read may bring several frames.
    mean: Option<Duration>,
}

/// Milliseconds. Frames further apart than this have no regular interval, or their timestamps jumped.
const LONGEST_INTERVAL: u32 = 2000;

impl FrameInterval {
    fn note(&mut self, now: Instant, timestamp: u32) {
        let since = timestamp.wrapping_sub(std::mem::replace(&mut self.timestamp, timestamp));
        // Timestamps that do not increase give no interval.
        if self.last.replace(now).is_some() && (1..=LONGEST_INTERVAL).contains(&since) {
            let interval = Duration::from_millis(u64::from(since));
            self.mean = Some(self.mean.map_or(interval, |mean| (mean * 3 + interval) / 4));
        }
    }

    /// When the next frame is expected, if the interval is known. An overdue frame may come at any moment.
    fn next(&self) -> Option<Instant> {
        self.last?.checked_add(self.mean?)
    }
}

impl WakeTimer {
    /// Notes a frame that was pushed.
    pub(crate) fn pushed(&mut self, now: Instant, window: Duration, frame: &Frame) {
        let is_video = frame.kind() == FrameKind::Video;
        // Headers and data often have no valid time.
        if frame.class().is_coded() && frame.kind() != FrameKind::Data {
            let interval = if is_video { &mut self.video } else { &mut self.audio };
            interval.note(now, frame.timestamp());
        }
        let due = if is_video {
            self.last_video.map_or(now, |last| now.max(deadline_after(last, window)))
        } else {
            let awaited = if self.video.last.is_some() { &self.video } else { &self.audio };
            let end = deadline_after(now, window);
            let waits = awaited.next().is_some_and(|next| next <= end);
            // Pictures that come more than once a window leave at its end, whenever the sound was read.
            let pictures = self.next_video_wake(window).filter(|next| *next > now);
            if waits { pictures.map_or(end, |next| next.min(end)) } else { now }
        };
        self.video_waits |= is_video;
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
        self.quiet = None;
    }

    /// When players must be woken: because frames wait, or because the stream has become quiet.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due.or(self.quiet)
    }

    /// The time before which players are not woken, as long as frames keep their intervals. `None` if the next frame may
    /// wake them at once.
    pub(crate) fn no_wake_before(&self, window: Duration) -> Option<Instant> {
        if self.video.last.is_none() {
            return self.due;
        }
        let picture = self.next_video_wake(window)?;
        Some(self.due.map_or(picture, |due| due.min(picture)))
    }

    /// When players are next woken for pictures, if pictures come more than once a window and so wait for its end.
    fn next_video_wake(&self, window: Duration) -> Option<Instant> {
        self.video.mean.filter(|mean| *mean <= window)?;
        Some(deadline_after(self.last_video?, window))
    }

    /// True once when the deadline has come: wake the players.
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        let has_come = self.deadline().is_some_and(|deadline| deadline <= now);
        if has_come {
            let for_frames = self.due.is_some();
            self.clear(now);
            self.quiet = for_frames.then(|| deadline_after(now, QUIET));
        }
        has_come
    }

    /// Clears the waiting frames: players were woken, or there are none.
    pub(crate) fn clear(&mut self, now: Instant) {
        (self.due, self.quiet) = (None, None);
        // Only video starts a window: audio that left alone delays no video.
        if std::mem::take(&mut self.video_waits) {
            self.last_video = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, MessageType, Payload};
    use crate::source::WireFormat;

    fn frame(type_id: u8, timestamp: u32) -> Frame {
        let payload = Payload::from(&[0x27, 1, 0, 0, 0, 1][..]);
        let message = Message { chunk_stream: 6, timestamp, type_id, message_stream_id: 1, payload };
        Frame::encode(message, WireFormat { chunk_size: 128 })
    }

    /// Pushes frames at the given milliseconds and returns the times at which players are woken.
    fn wakes(window: u64, frames: &[(u64, u8)]) -> Vec<u64> {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let window = Duration::from_millis(window);
        let (mut timer, mut woken) = (WakeTimer::default(), Vec::new());
        let mut frames = frames.iter().peekable();
        for ms in 0..1000 {
            while let Some((_, type_id)) = frames.next_if(|(time, _)| *time == ms) {
                timer.pushed(at(ms), window, &frame(*type_id, ms as u32));
            }
            if timer.take_due(at(ms)) {
                woken.push(ms);
            }
        }
        woken
    }

    const A: u8 = MessageType::AUDIO;
    const V: u8 = MessageType::VIDEO;

    #[test]
    fn sound_waits_for_the_next_picture_if_that_comes_within_the_window() {
        let frames = [(0, V), (10, A), (33, V), (34, A), (57, A), (66, V), (89, A), (99, V), (100, A)];
        // Before the interval is known, and where the picture comes too late, it leaves at once.
        assert_eq!(wakes(30, &frames), [0, 10, 33, 34, 66, 99, 100]);
        assert_eq!(
            wakes(9, &frames),
            [0, 10, 33, 34, 66, 89, 99, 100],
            "the picture at 99 is too late for the sound at 89"
        );
        assert_eq!(wakes(40, &frames), [0, 10, 40, 80, 120]);
    }

    #[test]
    fn pictures_that_are_late_are_waited_for_no_longer_than_the_window() {
        let frames = [(0, V), (33, V), (66, V), (90, A), (150, A), (190, V)];
        assert_eq!(wakes(12, &frames), [0, 33, 66, 102, 162, 190]);
    }

    #[test]
    fn sound_alone_waits_for_sound_that_comes_within_the_window() {
        assert_eq!(wakes(30, &[(0, A), (23, A), (46, A), (69, A)]), [0, 53, 99]);
        assert_eq!(wakes(12, &[(0, A), (23, A), (46, A)]), [0, 23, 46]);
    }

    #[test]
    fn a_large_window_bounds_the_wait_of_video() {
        let frames: Vec<_> = (0..20).map(|n| (n * 33, V)).collect();
        assert_eq!(wakes(350, &frames), [0, 350, 700]);
    }

    #[test]
    fn without_a_window_everything_leaves_at_once() {
        assert_eq!(wakes(0, &[(0, V), (5, A), (33, V)]), [0, 5, 33]);
    }

    #[test]
    fn a_stream_that_falls_quiet_has_one_more_wake() {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let start = Instant::now();
        let (mut timer, window) = (WakeTimer::default(), Duration::from_millis(20));
        timer.pushed(start, window, &frame(V, 0));
        assert!(timer.take_due(start));
        assert_eq!(timer.deadline(), Some(start + QUIET));
        assert_eq!(timer.no_wake_before(window), None, "it delays no read");
        let next = start + QUIET / 2;
        timer.pushed(next, window, &frame(V, 500));
        assert_eq!(timer.deadline(), Some(next), "frames count");
        assert!(timer.take_due(next) && !timer.take_due(start + QUIET));
        assert!(timer.take_due(next + QUIET));
        assert_eq!(timer.deadline(), None, "once");
        timer.pushed(next + QUIET, window, &frame(V, 2000));
        timer.take_due(next + QUIET);
        timer.clear(next + QUIET);
        assert_eq!(timer.deadline(), None, "without players there is nothing to count");
    }

    #[test]
    fn sound_that_left_alone_delays_no_picture() {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let start = Instant::now();
        let window = Duration::from_millis(350);
        let mut timer = WakeTimer::default();
        assert_eq!(timer.deadline(), None);
        timer.pushed(start, window, &frame(A, 0));
        assert_eq!(timer.deadline(), Some(start), "that more will come is not known yet");
        timer.take_due(start);
        timer.pushed(start + window, window, &frame(A, 350));
        let end = start + window * 2;
        assert_eq!(timer.deadline(), Some(end));
        assert!(!timer.take_due(start) && timer.take_due(end) && !timer.take_due(end));
        timer.pushed(end, window, &frame(V, 700));
        assert_eq!(timer.deadline(), Some(end), "no picture left before it");
    }
}
