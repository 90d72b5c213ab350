use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_rtc::desk::{OpusPacket, SoundJob};

use super::camera::label;

/// What a packet of Opus has.
const PACKET: Duration = Duration::from_millis(20);
/// What a frame of AAC has.
const FRAME: Duration = Duration::from_nanos(1_024_000_000_000 / 48_000);
/// A gap that is no rounding of timestamps.
const GAP: Duration = Duration::from_millis(100);

/// Puts no sound into another codec, but keeps the times: packets of 20 ms of frames of 21 ms.
#[derive(Debug, Default)]
pub(super) struct Transcoders {
    works: BTreeMap<u64, Work>,
    begun: usize,
}

#[derive(Debug)]
struct Work {
    number: usize,
    /// The end of what has come, and of what was made.
    taken: Option<Duration>,
    made: Duration,
    packets: usize,
}

impl Transcoders {
    /// Takes a step. Returns the packets that come of it; the error says what is wrong with the step.
    pub(super) fn take(&mut self, job: &SoundJob) -> Result<Option<(u64, Vec<OpusPacket>)>, String> {
        match *job {
            SoundJob::Begin { job, .. } => {
                self.begun += 1;
                let work = Work { number: self.begun, taken: None, made: Duration::ZERO, packets: 0 };
                match self.works.insert(job, work) {
                    None => Ok(None),
                    Some(_) => Err(format!("work {job} on sound begins twice")),
                }
            }
            SoundJob::Frame { job, time, .. } => {
                let work = self.works.get_mut(&job).ok_or_else(|| format!("work {job} on sound has not begun"))?;
                Ok(Some((job, work.frame(time))))
            }
            SoundJob::End { job } => match self.works.remove(&job) {
                Some(_) => Ok(None),
                None => Err(format!("work {job} on sound ends, and has not begun")),
            },
        }
    }

    pub(super) fn len(&self) -> usize {
        self.works.len()
    }
}

impl Work {
    fn frame(&mut self, time: Duration) -> Vec<OpusPacket> {
        let goes_on = self.taken.is_some_and(|taken| time.abs_diff(taken) < GAP);
        if !goes_on {
            (self.taken, self.made) = (Some(time), time);
        }
        let end = self.taken.unwrap_or(time) + FRAME;
        self.taken = Some(end);
        let mut packets = Vec::new();
        while self.made + PACKET <= end {
            let data = label(self.number, self.packets, 0);
            packets.push(OpusPacket { time: self.made, data: data.to_vec().into() });
            (self.made, self.packets) = (self.made + PACKET, self.packets + 1);
        }
        packets
    }
}
