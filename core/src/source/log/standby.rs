//! How a publisher that stands by takes a stream over.
//!
//! It has a separate source, with what it has sent since its newest key frame in the time of its own
//! [`Timeline`]. At the switch the stream begins another publication: the headers in force at that key frame, then all
//! since. The [`Bridge`] makes its time that of the stream. Frames that came before the last one of the publisher before
//! are needed for decoding and are late: pictures follow that frame a millisecond apart, and sound is left out. So the
//! stream goes on in real time. If they are very many, players wait for the next key frame instead.

use std::time::{Duration, Instant};

use super::{Next, Source, duration};
use crate::source::bridge::{Bridge, Bridged};
use crate::source::{Frame, FrameKind, Timestamps};

/// The most pictures that are sent at once at a switch.
const MOST_LATE: usize = 1_000;

impl Source {
    /// When the present publisher's newest coded frame came; `None` before the first.
    pub(crate) fn newest_media(&self) -> Option<Instant> {
        self.begun.and(self.newest_arrival())
    }

    /// True if players could begin at what is in the log: at a key frame, without one if none came for too long, or at
    /// sound if there are no pictures.
    pub(crate) fn has_start(&self) -> bool {
        if self.pictures.is_some() {
            return self.keyless || self.has_key_frame();
        }
        let heard = self.begun.zip(self.newest_arrival()).map(|(begun, last)| last.saturating_duration_since(begun));
        let may_have_pictures = self.headers.has_video() && heard.is_none_or(|time| time < self.start_limits.wait);
        !self.starts.is_empty() && !may_have_pictures
    }

    /// Takes over what is known of a publisher that has sent to another source: its headers, and how far apart its pictures
    /// are.
    pub(crate) fn adopt(&mut self, other: &Source) {
        self.headers = other.headers.clone();
        self.intervals = other.intervals;
    }

    /// True if the newest frame is one to start at.
    pub(crate) fn is_at_start(&self) -> bool {
        let newest = (self.first + self.log.len() as u64).checked_sub(1);
        newest.is_some() && self.starts.back().copied() == newest
    }

    /// True if the present publisher sends pictures, and has sent one in the last `time`. If they are far apart, the time is
    /// twice that between them; one pause is not such a time. While that is not known, the newest picture counts however old
    /// it is.
    pub(crate) fn shows_pictures(&self, now: Instant, time: Duration) -> bool {
        self.picture.is_some_and(|at| {
            let known = self.intervals.into_iter().filter(|interval| *interval > 0).min();
            known.is_none_or(|usual| now.saturating_duration_since(at) < time.max(duration(usual) * 2))
        })
    }

    /// True if the present publisher has sent nothing for `time`, or its pictures have ended while those of `standby` go on.
    /// `since` counts if it has sent nothing at all.
    pub(crate) fn is_stalled(&self, now: Instant, since: Instant, time: Duration, standby: &Source) -> bool {
        if now.saturating_duration_since(self.newest_media().unwrap_or(since)) >= time {
            return true;
        }
        self.picture.is_some() && !self.shows_pictures(now, time) && standby.shows_pictures(now, time)
    }

    /// Begins the publication of a publisher that stood by with this source, and appends what players need of it.
    /// `heard` is when its newest message came.
    pub(crate) fn switch_to(&mut self, standby: &Source, heard: Option<Instant>) -> Bridged {
        let furthest = self.furthest;
        let now = heard.max(self.last.map(|(_, at)| at));
        let resuming = self.begin();
        if self.timestamps == Timestamps::Pass {
            self.append(standby, None, now);
            return Bridged::Kept(Bridge::default());
        }
        let Some(own) = standby.furthest else {
            // It has sent no media yet: its time begins as that of any next publisher.
            let time = furthest.map_or(0, |(time, _)| time);
            for header in standby.headers.iter() {
                self.push_from(header, if header.kind() == FrameKind::Data { 0 } else { time }, now);
            }
            return Bridged::Resumed(Box::new(resuming));
        };
        // The highest times of both, whatever medium they are of: the two media of a publisher may be seconds apart.
        let ends = self.ends;
        let mut bridge = furthest.map_or_else(Bridge::default, |stream| Bridge::new(own, stream, ends));
        let is_past = bridge.is_past(own.0, FrameKind::Video);
        self.append(standby, Some(&mut bridge), now);
        (self.picture, self.intervals) = (standby.picture, standby.intervals);
        // What came before counts from its arrival there, not from the last one.
        if let Some((_, at)) = self.furthest.as_mut().filter(|_| is_past) {
            *at = own.1;
        }
        Bridged::Kept(bridge)
    }

    /// Appends the headers and frames since the newest start of `standby`.
    fn append(&mut self, standby: &Source, mut bridge: Option<&mut Bridge>, now: Option<Instant>) {
        let mut cursor = standby.join();
        standby.restart(&mut cursor);
        let is_long = bridge.as_deref().is_some_and(|bridge| standby.has_late_pictures(bridge));
        loop {
            if is_long {
                break;
            }
            match standby.next(&mut cursor) {
                Next::Start(start) => {
                    let time = match &bridge {
                        Some(bridge) => (**bridge).clone().map(start.timestamp, FrameKind::Video, true),
                        None => start.timestamp,
                    };
                    for header in start.headers.iter() {
                        self.push_from(header, if header.kind() == FrameKind::Data { 0 } else { time }, now);
                    }
                }
                Next::Frame(frame) => {
                    let time = match bridge.as_deref_mut() {
                        // Metadata belongs to no time.
                        _ if frame.kind() == FrameKind::Data && frame.timestamp() == 0 => 0,
                        Some(bridge) if frame.kind() == FrameKind::Audio && frame.class().is_coded() => {
                            if !bridge.is_past(frame.timestamp(), FrameKind::Audio) {
                                continue;
                            }
                            bridge.map(frame.timestamp(), FrameKind::Audio, true)
                        }
                        Some(bridge) => bridge.map(frame.timestamp(), frame.kind(), frame.class().is_coded()),
                        None => frame.timestamp(),
                    };
                    self.push_from(frame, time, now);
                }
                Next::Pending | Next::Ended => break,
            }
        }
        if cursor.place().is_none() {
            for header in standby.headers.iter() {
                let own = standby.last.map_or(header.timestamp(), |(time, _)| time);
                let time = bridge.as_deref_mut().map_or(own, |bridge| bridge.map(own, header.kind(), false));
                self.push_from(header, if header.kind() == FrameKind::Data { 0 } else { time }, now);
            }
        }
    }

    /// True if so many pictures since the newest start lie before the end of the publisher before that the stream would run
    /// ahead of real time: a millisecond for each. Players wait for the next key frame then.
    fn has_late_pictures(&self, bridge: &Bridge) -> bool {
        let Some(start) = self.starts.back().and_then(|start| usize::try_from(start.checked_sub(self.first)?).ok())
        else {
            return false;
        };
        let mut bridge = bridge.clone();
        let pictures =
            self.log.range(start..).map(|entry| &entry.frame).filter(|frame| frame.kind() == FrameKind::Video);
        let late =
            pictures.filter(|frame| frame.class().is_coded() && !bridge.is_past(frame.timestamp(), FrameKind::Video));
        late.count() > MOST_LATE
    }

    fn push_from(&mut self, frame: &Frame, time: u32, now: Option<Instant>) {
        if let Some(now) = now {
            self.push(now, frame.encoded_again(time));
        }
    }
}
