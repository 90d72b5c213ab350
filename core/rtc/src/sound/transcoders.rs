use std::collections::HashMap;

use super::{Settings, SoundError, Transcoder, begin};
use crate::desk::{OpusPacket, SoundJob};

/// The work of one thread on the sound of any number of streams.
#[derive(Debug, Default)]
pub struct Transcoders {
    settings: Settings,
    works: HashMap<u64, Work>,
}

/// What came of a step in the work on the sound of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The number of the work.
    pub job: u64,
    /// The packets. After an error nothing comes any more.
    pub made: Result<Vec<OpusPacket>, SoundError>,
    /// See [`Transcoder::remark`]: said once, as soon as it is known.
    pub remark: Option<&'static str>,
}

#[derive(Debug)]
struct Work {
    transcoder: Box<dyn Transcoder>,
    has_said: bool,
}

impl Transcoders {
    /// None yet. The settings are those of all.
    pub fn new(settings: Settings) -> Self {
        Self { settings, works: HashMap::new() }
    }

    /// Takes a step. None if nothing came of it.
    pub fn take(&mut self, step: SoundJob) -> Option<Done> {
        match step {
            SoundJob::Begin { job, config } => match begin(&config, self.settings) {
                Ok(transcoder) => {
                    let mut work = Work { transcoder, has_said: false };
                    let remark = work.remark();
                    self.works.insert(job, work);
                    remark.is_some().then_some(Done { job, made: Ok(Vec::new()), remark })
                }
                Err(error) => Some(Done { job, made: Err(error), remark: None }),
            },
            SoundJob::Frame { job, time, data } => {
                let work = self.works.get_mut(&job)?;
                let made = work.transcoder.push(time, &data);
                let remark = work.remark();
                if made.is_err() {
                    self.works.remove(&job);
                }
                let is_nothing = remark.is_none() && made.as_ref().is_ok_and(Vec::is_empty);
                (!is_nothing).then_some(Done { job, made, remark })
            }
            SoundJob::End { job } => {
                self.works.remove(&job);
                None
            }
        }
    }

    /// How many streams are worked on.
    pub fn len(&self) -> usize {
        self.works.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.works.is_empty()
    }
}

impl Work {
    fn remark(&mut self) -> Option<&'static str> {
        let remark = self.transcoder.remark().filter(|_| !self.has_said);
        self.has_said |= remark.is_some();
        remark
    }
}
