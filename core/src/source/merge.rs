use std::time::{Duration, Instant};

use super::{Frame, FrameKind};
use crate::flow::after;

/// How long frames may wait for company before players are woken.
///
/// A wake-up costs a write call per player, so frames that leave together are cheaper. Sound waits for the next picture
/// if that is expected within the window, else it leaves at once: whoever would leave alone anyway gains nothing by
/// waiting. Without pictures, sound waits for sound in the same way. A picture leaves at once, unless one left less than
/// a window ago: so a window below the frame interval costs pictures no latency, and a larger one bounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeWindow(pub Duration);

impl Default for MergeWindow {
    fn default() -> Self {
        MergeWindow(Duration::from_millis(20))
    }
}

/// When to wake a stream's players.
#[derive(Debug, Default)]
pub struct Flush {
    due: Option<Instant>,
    /// True if a video frame is among those that wait.
    video_waits: bool,
    /// When players were last woken for a video frame.
    last_video: Option<Instant>,
    video: Rhythm,
    sound: Rhythm,
}

/// How frames of one kind follow each other.
#[derive(Debug, Default)]
struct Rhythm {
    last: Option<Instant>,
    timestamp: u32,
    /// A mean in which what is long ago counts little. By timestamps: frames may be noticed several at once.
    interval: Option<Duration>,
}

/// Milliseconds. Frames that are further apart have no rhythm, or their timestamps jumped.
const LONGEST_INTERVAL: u32 = 2000;

impl Rhythm {
    fn note(&mut self, now: Instant, timestamp: u32) {
        let since = timestamp.wrapping_sub(std::mem::replace(&mut self.timestamp, timestamp));
        // What does not rise says nothing.
        if self.last.replace(now).is_some() && (1..=LONGEST_INTERVAL).contains(&since) {
            let interval = Duration::from_millis(u64::from(since));
            self.interval = Some(self.interval.map_or(interval, |mean| (mean * 3 + interval) / 4));
        }
    }

    /// When the next one is expected, if there is a rhythm yet. What is overdue may come at any moment.
    fn next(&self) -> Option<Instant> {
        self.last?.checked_add(self.interval?)
    }
}

impl Flush {
    /// Notes a frame that was pushed.
    pub fn pushed(&mut self, now: Instant, window: MergeWindow, frame: &Frame) {
        let is_video = frame.kind() == FrameKind::Video;
        // The time of a header or of data is often void.
        if frame.class().is_coded() && frame.kind() != FrameKind::Data {
            let rhythm = if is_video { &mut self.video } else { &mut self.sound };
            rhythm.note(now, frame.timestamp());
        }
        let due = if is_video {
            self.last_video.map_or(now, |last| now.max(after(last, window.0)))
        } else {
            let company = if self.video.last.is_some() { &self.video } else { &self.sound };
            let end = after(now, window.0);
            let waits = company.next().is_some_and(|next| next <= end);
            // Pictures that come more than once a window leave at its end, whenever the sound was noticed.
            let pictures = self.next_picture(window).filter(|next| *next > now);
            if waits { pictures.map_or(end, |next| next.min(end)) } else { now }
        };
        self.video_waits |= is_video;
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// When players must be woken, if frames wait.
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// The time before which nothing leaves, as long as frames follow each other as they did. `None` if something may leave
    /// at once.
    pub fn quiet_until(&self, window: MergeWindow) -> Option<Instant> {
        if self.video.last.is_none() {
            return self.due;
        }
        let picture = self.next_picture(window)?;
        Some(self.due.map_or(picture, |due| due.min(picture)))
    }

    /// When pictures may leave next, where they come more than once a window and so wait for its end.
    fn next_picture(&self, window: MergeWindow) -> Option<Instant> {
        self.video.interval.filter(|interval| *interval <= window.0)?;
        Some(after(self.last_video?, window.0))
    }

    /// True once when the time has come: wake the players.
    pub fn take_due(&mut self, now: Instant) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            self.pass(now);
        }
        due
    }

    /// What waits has left, or there is nobody for whom it would.
    pub fn pass(&mut self, now: Instant) {
        self.due = None;
        // Only video opens a window: audio that left alone delays no video.
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
        let message = Message { chunk_stream: 6, timestamp, type_id, stream_id: 1, payload };
        Frame::encode(message, WireFormat { chunk_size: 128 })
    }

    /// Pushes frames at the given milliseconds and returns the times at which players are woken.
    fn wakes(window: u64, frames: &[(u64, u8)]) -> Vec<u64> {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let window = MergeWindow(Duration::from_millis(window));
        let (mut flush, mut woken) = (Flush::default(), Vec::new());
        let mut frames = frames.iter().peekable();
        for ms in 0..1000 {
            while let Some((_, type_id)) = frames.next_if(|(time, _)| *time == ms) {
                flush.pushed(at(ms), window, &frame(*type_id, ms as u32));
            }
            if flush.take_due(at(ms)) {
                woken.push(ms);
            }
        }
        woken
    }

    const A: u8 = MessageType::AUDIO;
    const V: u8 = MessageType::VIDEO;

    #[test]
    fn sound_rides_with_the_next_picture_if_that_comes_within_the_window() {
        let frames = [(0, V), (10, A), (33, V), (34, A), (57, A), (66, V), (89, A), (99, V), (100, A)];
        // Before there is a rhythm, and where the picture comes too late anyway, it leaves at once.
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
    fn sound_that_left_alone_delays_no_picture() {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let start = Instant::now();
        let window = MergeWindow(Duration::from_millis(350));
        let mut flush = Flush::default();
        assert_eq!(flush.deadline(), None);
        flush.pushed(start, window, &frame(A, 0));
        assert_eq!(flush.deadline(), Some(start), "nobody knows that there will be company");
        flush.take_due(start);
        flush.pushed(start + window.0, window, &frame(A, 350));
        let end = start + window.0 * 2;
        assert_eq!(flush.deadline(), Some(end));
        assert!(!flush.take_due(start) && flush.take_due(end) && !flush.take_due(end));
        flush.pushed(end, window, &frame(V, 700));
        assert_eq!(flush.deadline(), Some(end), "no picture left before it");
    }
}
