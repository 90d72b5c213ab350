//! The thread that puts the sound of streams into another codec: it must not stop the thread of the network.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anabranch_rtc::desk::SoundJob;
use anabranch_rtc::sound::{Done, Settings, SoundError, Transcoders};
use tracing::warn;

/// Frames that may wait, of all streams, and of one: a second or two. Sound that is later is of no use.
const MOST_WAITING: usize = 2048;
const MOST_OF_ONE: usize = 64;
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
    /// Of them those of each stream.
    of_each: HashMap<u64, usize>,
    /// How often all was forgotten.
    forgotten: u64,
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
        let number = number(&job);
        if !queue.put(job) {
            return;
        }
        drop(queue);
        self.shared.changed.notify_one();
        if let Err(error) = self.start() {
            (self.shared.done)(failed(number, format!("the system gives no thread for it: {error}")));
        }
    }

    /// Forgets all jobs, and what they have begun.
    pub(super) fn clear(&self) {
        let mut queue = self.shared.queue();
        queue.jobs.clear();
        queue.of_each.clear();
        (queue.frames, queue.forgotten) = (0, queue.forgotten + 1);
        drop(queue);
        self.shared.changed.notify_one();
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

impl Queue {
    /// False if there is nothing more to do because of this job.
    fn put(&mut self, job: SoundJob) -> bool {
        let waits = match job {
            SoundJob::Begin { .. } => true,
            SoundJob::Frame { job, .. } => self.takes_frame(job),
            SoundJob::End { job } => !self.forget(job),
        };
        if waits {
            self.jobs.push_back(job);
        }
        waits
    }

    /// Counts a frame of this stream. False if too many wait: one stream cannot keep the others from being heard.
    fn takes_frame(&mut self, job: u64) -> bool {
        let of_it = self.of_each.get(&job).copied().unwrap_or_default();
        if self.frames >= MOST_WAITING || of_it >= MOST_OF_ONE {
            self.lost += 1;
            return false;
        }
        self.of_each.insert(job, of_it + 1);
        self.frames += 1;
        true
    }

    /// A job is over. True if it has not begun: nothing is left of it then, however often a stream begins and ends one.
    fn forget(&mut self, job: u64) -> bool {
        if !self.jobs.iter().any(|waiting| matches!(waiting, SoundJob::Begin { job: of, .. } if *of == job)) {
            return false;
        }
        self.jobs.retain(|waiting| number(waiting) != job);
        self.frames -= self.of_each.remove(&job).unwrap_or(0);
        true
    }

    fn take(&mut self) -> Option<SoundJob> {
        let job = self.jobs.pop_front()?;
        if matches!(job, SoundJob::Frame { .. }) {
            self.frames -= 1;
            let number = number(&job);
            if let Entry::Occupied(mut of_it) = self.of_each.entry(number) {
                *of_it.get_mut() -= 1;
                if *of_it.get() == 0 {
                    of_it.remove();
                }
            }
        }
        Some(job)
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let (mut transcoders, mut forgotten) = (Transcoders::new(self.settings), 0);
        while let Some((job, now_forgotten)) = self.next() {
            if std::mem::replace(&mut forgotten, now_forgotten) != now_forgotten {
                transcoders = Transcoders::new(self.settings);
            }
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

    /// The next job, as soon as there is one, and how often all was forgotten before it; `None` at the end.
    fn next(&self) -> Option<(SoundJob, u64)> {
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
            if let Some(job) = queue.take() {
                return Some((job, queue.forgotten));
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

#[cfg(test)]
mod tests {
    use anabranch_core::bytes::Bytes;

    use super::*;

    fn begin(job: u64) -> SoundJob {
        SoundJob::Begin { job, config: Bytes::new() }
    }

    fn frame(job: u64) -> SoundJob {
        SoundJob::Frame { job, time: Duration::ZERO, data: Bytes::new() }
    }

    #[test]
    fn one_stream_leaves_room_for_the_others() {
        let mut queue = Queue::default();
        queue.put(begin(1));
        (0..MOST_OF_ONE * 3).for_each(|_| _ = queue.put(frame(1)));
        assert_eq!((queue.frames, queue.lost), (MOST_OF_ONE, MOST_OF_ONE as u64 * 2));
        queue.put(begin(2));
        queue.put(frame(2));
        assert_eq!(queue.frames, MOST_OF_ONE + 1);
        while queue.take().is_some() {}
        assert!(queue.frames == 0 && queue.of_each.is_empty());
        queue.put(frame(1));
        assert_eq!(queue.frames, 1, "there is room again");
    }

    #[test]
    fn a_stream_that_begins_again_and_again_leaves_nothing_behind() {
        let mut queue = Queue::default();
        queue.put(begin(1));
        assert!(queue.take().is_some(), "the work has begun");
        queue.put(SoundJob::End { job: 1 });
        for job in 2..1000 {
            queue.put(begin(job));
            queue.put(frame(job));
            queue.put(SoundJob::End { job });
        }
        assert_eq!((queue.jobs.len(), queue.frames), (1, 0));
        assert!(matches!(queue.take(), Some(SoundJob::End { job: 1 })), "which ends what has begun");
    }

    #[test]
    fn all_streams_together_have_a_bounded_number_of_frames() {
        let mut queue = Queue::default();
        let streams = (MOST_WAITING / MOST_OF_ONE) as u64;
        for job in 0..streams + 10 {
            queue.put(begin(job));
            (0..MOST_OF_ONE).for_each(|_| _ = queue.put(frame(job)));
        }
        assert_eq!((queue.frames, queue.lost), (MOST_WAITING, 10 * MOST_OF_ONE as u64));
        assert_eq!(queue.of_each.len() as u64, streams, "of what was refused nothing is kept");
        assert!(!queue.put(SoundJob::End { job: 0 }) && queue.put(frame(streams)), "there is room again");
    }
}
