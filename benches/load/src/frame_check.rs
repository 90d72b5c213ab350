use std::time::{Duration, Instant};

use anabranch_core::message::{Message, MessageType};

use crate::clock;
use crate::media::{Class, Kind, Stamp};

/// One frame in so many is compared byte by byte; key frames always are.
const SAMPLE: u32 = 16;

/// What a player checks of what it gets.
#[derive(Debug)]
pub(crate) struct FrameCheck {
    stream: u32,
    run: Option<u32>,
    video_header: bool,
    /// True from a stream's first key frame on.
    begun: bool,
    next: [Option<u32>; 2],
}

/// What came of one message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckedFrame {
    /// Frames that were left out before this one.
    pub(crate) gap: u64,
    /// From its sending; `None` if it was sent on another machine.
    pub(crate) latency: Option<Duration>,
    /// The first key frame.
    pub(crate) first: bool,
    /// What must not be.
    pub(crate) error: Option<&'static str>,
}

impl FrameCheck {
    /// A player of the stream of this number.
    pub(crate) fn new(stream: u32) -> Self {
        FrameCheck { stream, run: None, video_header: false, begun: false, next: [None; 2] }
    }

    /// True once there was a key frame.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Looks at one message that came whole at `now`.
    pub(crate) fn look(&mut self, message: &Message, now: Instant) -> CheckedFrame {
        let kind = match message.type_id {
            MessageType::AUDIO => Kind::Audio,
            MessageType::VIDEO => Kind::Video,
            _ => return CheckedFrame::default(),
        };
        let body = &message.payload[..];
        let class = Class::of(kind, body);
        let mut seen = CheckedFrame::default();
        if class == Class::Header {
            self.video_header |= kind == Kind::Video;
            return seen;
        }
        let stamp = Stamp::read(kind, body);
        if let Some(stamp) = stamp
            && self.run != Some(stamp.run)
        {
            // Another publisher: starts again, with headers if they differ.
            let before = self.run.replace(stamp.run);
            self.next = [None; 2];
            if before.is_some_and(|before| before > stamp.run) {
                seen.error = Some("old publisher after the new one");
            }
        }
        let slot = &mut self.next[kind as usize];
        let missed = stamp.and_then(|stamp| Some(i64::from(stamp.number) - i64::from((*slot)?)));
        if kind == Kind::Video && class == Class::Inter {
            match (slot.is_some() || (stamp.is_none() && self.begun), missed) {
                (false, _) => seen.error = Some("video begins without a key frame"),
                (true, Some(1..)) => seen.error = Some("no key frame after a gap"),
                (true, _) => {}
            }
        }
        if kind == Kind::Video && class == Class::Key {
            seen.first = !std::mem::replace(&mut self.begun, true);
            if !self.video_header {
                seen.error = Some("key frame without a sequence header");
            }
        }
        let Some(stamp) = stamp else {
            return seen;
        };
        *slot = Some(stamp.number + 1);
        match missed {
            Some(missed @ 1..) => seen.gap = missed as u64,
            Some(..=-1) => seen.error = Some("frames in the wrong order"),
            _ => {}
        }
        if stamp.stream != self.stream {
            seen.error = Some("frames of another stream");
        }
        let sampled = stamp.number.is_multiple_of(SAMPLE) || (kind == Kind::Video && class == Class::Key);
        if sampled && !stamp.fits(kind, body) {
            seen.error = Some("damaged frames");
        }
        if stamp.clock == clock::id() {
            seen.latency = Some(Duration::from_nanos(clock::nanoseconds(now).saturating_sub(stamp.sent)));
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Feed, MediaOptions};

    /// Just short of two seconds of a stream: metadata, two headers, then frames with key frames at 0 s and 1 s.
    fn messages(stream: u32, run: u32) -> Vec<Message> {
        let options = MediaOptions { gop: Duration::from_secs(1), ..MediaOptions::default() };
        let start = Instant::now();
        let mut messages = Vec::new();
        Feed::new(options, stream, run, start).take_due(start + Duration::from_millis(1999), &mut messages);
        messages
    }

    fn is_video(message: &Message) -> bool {
        message.type_id == MessageType::VIDEO
    }

    fn errors_and_gaps<'a>(
        check: &mut FrameCheck,
        messages: impl IntoIterator<Item = &'a Message>,
    ) -> (Vec<&'static str>, u64) {
        let (now, mut gaps) = (Instant::now(), 0);
        let errors = messages.into_iter().filter_map(|message| {
            let seen = check.look(message, now);
            gaps += seen.gap;
            seen.error
        });
        (errors.collect(), gaps)
    }

    #[test]
    fn a_whole_stream_is_fine_and_so_is_one_from_the_second_key_frame_on_and_another_publisher() {
        let all = messages(1, 1);
        let mut check = FrameCheck::new(1);
        assert_eq!(errors_and_gaps(&mut check, &all), (vec![], 0));
        assert_eq!(errors_and_gaps(&mut check, &messages(1, 2)), (vec![], 0));
        let second =
            all.iter().rposition(|message| is_video(message) && message.payload[0] == 0x17).expect("it is there");
        let late = all[..3].iter().chain(&all[second..]);
        assert_eq!(errors_and_gaps(&mut FrameCheck::new(1), late), (vec![], 0));
    }

    #[test]
    fn frames_left_out_are_counted_and_must_end_before_a_key_frame() {
        let mut all = messages(1, 1);
        let second =
            all.iter().rposition(|message| is_video(message) && message.payload[0] == 0x17).expect("it is there");
        let cut = all.splice(second - 10..second, []).count() as u64;
        assert_eq!(errors_and_gaps(&mut FrameCheck::new(1), &all), (vec![], cut));
        let inter = all.iter().rposition(is_video).expect("there are some") - 8;
        let inter = all[..inter].iter().rposition(is_video).expect("there are some");
        all.remove(inter);
        assert_eq!(errors_and_gaps(&mut FrameCheck::new(1), &all), (vec!["no key frame after a gap"], cut + 1));
    }

    #[test]
    fn errors_in_received_media_are_found() {
        let all = messages(1, 2);
        let has = |check: &mut FrameCheck, messages: &[Message], error| {
            let (errors, _) = errors_and_gaps(check, messages);
            assert!(errors.contains(&error), "{error} is not among {errors:?}");
        };
        has(&mut FrameCheck::new(1), &all[3..], "key frame without a sequence header");
        has(&mut FrameCheck::new(1), &all[5..], "video begins without a key frame");
        has(&mut FrameCheck::new(2), &all, "frames of another stream");
        let mut check = FrameCheck::new(1);
        assert_eq!(errors_and_gaps(&mut check, &all), (vec![], 0));
        has(&mut check, &all, "frames in the wrong order");
        has(&mut check, &messages(1, 1), "old publisher after the new one");
        let mut damaged = all.clone();
        let mut body = damaged[3].payload.to_vec();
        body[500] ^= 1;
        damaged[3].payload = body.into();
        has(&mut FrameCheck::new(1), &damaged, "damaged frames");
    }

    #[test]
    fn the_first_key_frame_and_the_time_on_the_way_are_told() {
        let (all, now) = (messages(1, 1), Instant::now());
        let mut check = FrameCheck::new(1);
        let later = now + Duration::from_secs(5);
        let seen: Vec<_> = all[..5].iter().map(|message| check.look(message, later)).collect();
        assert_eq!(seen.iter().map(|seen| seen.first).collect::<Vec<_>>(), [false, false, false, true, false]);
        // They were sent just short of two seconds from now.
        assert_eq!(seen[3].latency.map(|latency| latency.as_secs()), Some(3));
        assert!(check.has_begun());
    }
}
