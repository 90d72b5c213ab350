//! The thread that puts the sound of streams into another codec: it must not stop the thread of the network.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anabranch_rtc::desk::SoundJob;
use anabranch_rtc::sound::{Done, Settings, SoundError, Transcoders};
use tracing::warn;

/// Frames that may wait: some ten seconds of one stream, or half a second of twenty.
const MOST_WAITING: usize = 512;
/// How often it is told that frames were left out.
const TELL: Duration = Duration::from_secs(60);

/// Does jobs in their order, on its own thread, which runs from the first one to the end.
pub(super) struct Sound {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    settings: Settings,
    done: Box<dyn Fn(Done) + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<SoundJob>,
    frames: usize,
    lost: u64,
    told: Option<Instant>,
    is_over: bool,
}

impl fmt::Debug for Sound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sound").finish_non_exhaustive()
    }
}

impl Sound {
    /// `done` is given what comes of it.
    pub(super) fn new(settings: Settings, done: impl Fn(Done) + Send + Sync + 'static) -> Self {
        let shared = Shared { queue: Mutex::default(), changed: Condvar::new(), settings, done: Box::new(done) };
        Sound { shared: Arc::new(shared), thread: Mutex::default() }
    }

    /// Has this done. A frame is left out if too many wait: what follows has its own times.
    pub(super) fn put(&self, job: SoundJob) {
        let mut queue = self.shared.queue();
        if queue.is_over {
            return;
        }
        if matches!(job, SoundJob::Frame { .. }) {
            if queue.frames >= MOST_WAITING {
                queue.lost += 1;
                return;
            }
            queue.frames += 1;
        }
        let number = number(&job);
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.changed.notify_one();
        if let Err(error) = self.start() {
            (self.shared.done)(failed(number, format!("the system gives no thread for it: {error}")));
        }
    }

    /// Forgets all jobs.
    pub(super) fn clear(&self) {
        let mut queue = self.shared.queue();
        let numbers: Vec<_> = queue.jobs.drain(..).map(|job| number(&job)).collect();
        queue.frames = 0;
        queue.jobs.extend(numbers.into_iter().map(|job| SoundJob::End { job }));
    }

    fn start(&self) -> std::io::Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = self.shared.clone();
            *thread = Some(thread::Builder::new().name("sound".to_owned()).spawn(move || shared.run())?);
        }
        Ok(())
    }
}

impl Drop for Sound {
    fn drop(&mut self) {
        self.shared.queue().is_over = true;
        self.shared.changed.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It catches panics.
        thread.map(JoinHandle::join);
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut transcoders = Transcoders::new(self.settings);
        while let Some(job) = self.next() {
            let number = number(&job);
            match catch_unwind(AssertUnwindSafe(|| transcoders.take(job))) {
                Ok(None) => {}
                Ok(Some(done)) => (self.done)(done),
                Err(_) => {
                    let _ = transcoders.take(SoundJob::End { job: number });
                    (self.done)(failed(number, "a panic".to_owned()));
                }
            }
        }
    }

    /// The next job, as soon as there is one; `None` at the end.
    fn next(&self) -> Option<SoundJob> {
        let mut queue = self.queue();
        loop {
            if queue.is_over {
                return None;
            }
            let now = Instant::now();
            if queue.lost > 0 && queue.told.is_none_or(|told| now > told + TELL) {
                queue.told = Some(now);
                let frames = std::mem::take(&mut queue.lost);
                warn!(
                    event = "sound_behind",
                    frames,
                    "{frames} frames of sound are left out for players by WebRTC: putting them into Opus takes too long"
                );
            }
            if let Some(job) = queue.jobs.pop_front() {
                queue.frames -= usize::from(matches!(job, SoundJob::Frame { .. }));
                return Some(job);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn failed(job: u64, why: String) -> Done {
    Done { job, made: Err(SoundError::Bug(why)), remark: None }
}

fn number(job: &SoundJob) -> u64 {
    match job {
        SoundJob::Begin { job, .. } | SoundJob::Frame { job, .. } | SoundJob::End { job } => *job,
    }
}
