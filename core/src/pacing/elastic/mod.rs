//! How much longer frames wait on threads that have much to do.
//!
//! A write to a player costs much more than a byte in it. So a thread that writes to many players saves time if it
//! writes less often, and frames wait longer for that. The adapter tells what its threads spend their time with
//! ([`ThreadLoad`]); the rule gives each thread's wish for each stream; the longest wish is in force ([`StreamPace`]),
//! between [`Pacing::merge_window`] and [`Pacing::merge_window_max`]. The publisher asks for it with each frame.
//!
//! The rule does not watch how full a thread is and correct the window by that, which would swing. It computes the
//! window from what a sweep takes, which grows less than the window: so it is there after some steps, and stays.

mod load;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

pub use load::ThreadLoad;

use super::Pacing;

/// How long the frames of one stream wait now. Its publisher and the threads that write to its players share it.
#[derive(Debug)]
pub struct StreamPace {
    /// Identifies the stream among those of a server.
    number: u64,
    /// The settings of the publisher on air, in microseconds.
    configured: AtomicU32,
    longest: AtomicU32,
    /// The longest wish, in microseconds; zero if there is none.
    wished: AtomicU32,
    /// The wish of each thread that has one.
    wishes: Mutex<Vec<(u64, Duration)>>,
}

impl StreamPace {
    fn new(number: u64, pacing: &Pacing) -> Self {
        let pace = StreamPace {
            number,
            configured: AtomicU32::new(0),
            longest: AtomicU32::new(0),
            wished: AtomicU32::new(0),
            wishes: Mutex::default(),
        };
        pace.limit(pacing, true);
        pace
    }

    /// How long frames wait now, by the settings of the publisher on air.
    pub fn window(&self) -> Duration {
        let (configured, longest) = self.limits();
        self.between(configured, longest)
    }

    /// The publisher on air has these settings. If it is not elastic, its frames wait as configured.
    pub(crate) fn limit(&self, pacing: &Pacing, is_elastic: bool) {
        let configured = micros(pacing.merge_window);
        let is_elastic = is_elastic && configured > 0;
        let longest = if is_elastic { micros(pacing.merge_window_max).max(configured) } else { configured };
        self.configured.store(configured, Ordering::Relaxed);
        self.longest.store(longest, Ordering::Relaxed);
    }

    /// How long frames wait now, by these settings.
    pub(crate) fn window_by(&self, pacing: &Pacing) -> Duration {
        if self.wished.load(Ordering::Relaxed) == 0 || pacing.merge_window.is_zero() {
            return pacing.merge_window;
        }
        self.between(pacing.merge_window, pacing.merge_window_max.max(pacing.merge_window))
    }

    fn between(&self, configured: Duration, longest: Duration) -> Duration {
        Duration::from_micros(self.wished.load(Ordering::Relaxed).into()).clamp(configured, longest)
    }

    /// The window as configured, and the longest one.
    fn limits(&self) -> (Duration, Duration) {
        let configured = Duration::from_micros(self.configured.load(Ordering::Relaxed).into());
        let longest = Duration::from_micros(self.longest.load(Ordering::Relaxed).into());
        // Another thread may be about to change both.
        (configured, longest.max(configured))
    }

    /// A thread wants frames to wait so long, or has no wish any more.
    fn wish(&self, thread: u64, wish: Option<Duration>) {
        let mut wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        wishes.retain(|(other, _)| *other != thread);
        wishes.extend(wish.map(|wish| (thread, wish)));
        let longest = wishes.iter().map(|(_, wish)| *wish).max().unwrap_or_default();
        self.wished.store(micros(longest), Ordering::Relaxed);
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// The paces of all streams of a server, and what its threads do.
#[derive(Debug, Default)]
pub(crate) struct Paces {
    streams: Mutex<HashMap<u64, Weak<StreamPace>>>,
    threads: Mutex<Threads>,
}

#[derive(Debug, Default)]
struct Threads {
    last: u64,
    listed: Vec<Weak<Mutex<Measured>>>,
}

/// What a thread spent its time with when it last looked.
#[derive(Debug)]
struct Measured {
    at: Instant,
    share: ThreadShare,
}

/// What a thread spends its time with, as parts of 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ThreadShare {
    /// All that it does.
    pub busy: f64,
    /// Writing new frames to players.
    pub sweeping: f64,
}

/// A thread that measured nothing for so long has had nothing to do.
const IDLE_AFTER: Duration = Duration::from_secs(1);

impl Paces {
    pub(crate) fn add(&self, number: u64, pacing: &Pacing) -> Arc<StreamPace> {
        let pace = Arc::new(StreamPace::new(number, pacing));
        self.streams().insert(number, Arc::downgrade(&pace));
        pace
    }

    /// For a publisher that stands by: no thread writes to its players, since it has none.
    pub(crate) fn apart(number: u64, pacing: &Pacing) -> Arc<StreamPace> {
        Arc::new(StreamPace::new(number, pacing))
    }

    /// The stream is gone.
    pub(crate) fn remove(&self, pace: &Arc<StreamPace>) {
        let mut streams = self.streams();
        if streams.get(&pace.number).is_some_and(|known| Weak::as_ptr(known) == Arc::as_ptr(pace)) {
            streams.remove(&pace.number);
        }
    }

    pub(crate) fn of(&self, number: u64) -> Option<Arc<StreamPace>> {
        self.streams().get(&number)?.upgrade()
    }

    #[cfg(test)]
    pub(crate) fn known(&self) -> usize {
        self.streams().len()
    }

    pub(crate) fn thread(&self, now: Instant) -> ThreadLoad {
        let mut threads = self.threads();
        threads.last += 1;
        let measured = Arc::new(Mutex::new(Measured { at: now, share: ThreadShare::default() }));
        threads.listed.retain(|thread| thread.strong_count() > 0);
        threads.listed.push(Arc::downgrade(&measured));
        ThreadLoad::new(now, threads.last, Some(measured))
    }

    pub(crate) fn unlisted_thread(&self, now: Instant) -> ThreadLoad {
        let mut threads = self.threads();
        threads.last += 1;
        ThreadLoad::new(now, threads.last, None)
    }

    pub(crate) fn shares(&self, now: Instant) -> Vec<ThreadShare> {
        let listed: Vec<_> = self.threads().listed.iter().filter_map(Weak::upgrade).collect();
        let share = |measured: &Arc<Mutex<Measured>>| {
            let measured = measured.lock().unwrap_or_else(PoisonError::into_inner);
            let is_idle = now.saturating_duration_since(measured.at) > IDLE_AFTER;
            if is_idle { ThreadShare::default() } else { measured.share }
        };
        listed.iter().map(share).collect()
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<u64, Weak<StreamPace>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
