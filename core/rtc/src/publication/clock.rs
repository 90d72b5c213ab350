use std::time::{Duration, Instant};

use crate::peer::{Medium, Unit};

/// A time that differs from when its unit came by more than this belongs to a new beginning of its track.
const LONGEST_JUMP: i64 = 2_000_000;
/// What the tracks may be apart, as the reports of the sender tell it. More is no delay of an encoder, but an error.
const MOST_APART: i64 = 5_000_000;
/// Pictures are moved towards their place by one part in this many of the time that passes.
const PACE: i64 = 10;

/// Puts the tracks of a publisher on one clock. Each track has a clock that begins anywhere.
///
/// A track begins at the time when its first unit came. Once reports tell how the clocks of the tracks belong together,
/// pictures are moved until they fit the sound, slowly, so that no player sees it. Sound keeps its pace, because a jump
/// could be heard.
///
/// All times are in microseconds.
#[derive(Debug, Default)]
pub(super) struct Clock {
    start: Option<Instant>,
    video: Option<Track>,
    audio: Option<Track>,
}

#[derive(Debug)]
struct Track {
    /// What is added to its times.
    offset: i64,
    /// What is to be added to get the time of the sender's common clock.
    to_sender: Option<i64>,
    /// The last unit: by the clock of the track, and when it came.
    last: i64,
    last_came: i64,
}

impl Clock {
    /// The time of a unit in milliseconds, from the first unit of all on.
    pub(super) fn time(&mut self, medium: Medium, unit: &Unit) -> u64 {
        let start = *self.start.get_or_insert(unit.arrived);
        let came = micros(unit.arrived.saturating_duration_since(start));
        let time = micros(unit.time);
        let (this, other) = match medium {
            Medium::Video => (&mut self.video, &self.audio),
            Medium::Audio => (&mut self.audio, &self.video),
        };
        let track = this.get_or_insert(Track { offset: came - time, to_sender: None, last: time, last_came: came });
        let (passed, passed_here) = (time - track.last, came - track.last_came);
        if (passed - passed_here).abs() > LONGEST_JUMP {
            track.offset += passed_here - passed;
        }
        (track.last, track.last_came) = (time, came);
        if let Some(sender) = unit.sender_time {
            track.to_sender = Some(micros(sender) - time);
        }
        if let (Medium::Video, Some(audio)) = (medium, other)
            && let (Some(mine), Some(its)) = (track.to_sender, audio.to_sender)
        {
            let wrong = audio.offset.saturating_add(mine.saturating_sub(its)).saturating_sub(track.offset);
            if wrong.abs() <= MOST_APART {
                let most = passed.clamp(0, LONGEST_JUMP) / PACE;
                track.offset += wrong.clamp(-most, most);
            }
        }
        u64::try_from(time.saturating_add(track.offset) / 1000).unwrap_or(0)
    }
}

/// Far less than the whole range, so that sums of some of them fit.
fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 8)
}
