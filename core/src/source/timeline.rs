use std::time::Instant;

/// Maps a publisher's timestamps to those of the stream, so that players see a rising time across publishers.
///
/// The first publisher of a stream passes through unchanged. One that comes after another is moved so that its first
/// message lies as far behind the last one of its predecessor as in real time: audio and video keep their distance,
/// and no player sees time go back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timeline {
    offset: u32,
    /// Where the predecessor ended; taken by the first message.
    resume: Option<(u32, Instant)>,
}

impl Timeline {
    /// A stream without a past: timestamps pass unchanged.
    pub fn new() -> Self {
        Timeline::default()
    }

    /// A stream whose last message had `timestamp` and came at `time`.
    pub fn resuming(timestamp: u32, time: Instant) -> Self {
        Timeline { offset: 0, resume: Some((timestamp, time)) }
    }

    /// The stream's timestamp for a message of the publisher with `timestamp`, in milliseconds modulo 2^32.
    pub fn map(&mut self, now: Instant, timestamp: u32) -> u32 {
        if let Some((last, time)) = self.resume.take() {
            let pause = now.saturating_duration_since(time).as_millis().clamp(1, 0x7fff_ffff) as u32;
            self.offset = last.wrapping_add(pause).wrapping_sub(timestamp);
        }
        timestamp.wrapping_add(self.offset)
    }
}
