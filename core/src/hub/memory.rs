use std::cmp::Reverse;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::{Entry, Hub, Stream};
use crate::url::StreamKey;

/// How long after a report a stream that goes on giving memory up is reported again.
const AGAIN: Duration = Duration::from_secs(60);
/// Most reports that are kept until they are taken; further ones are dropped.
const REPORTS: usize = 256;

/// The memory that all streams of a hub may take, and what they take.
pub(super) struct Memory {
    limit: AtomicUsize,
    held: AtomicUsize,
    /// Below this many bytes held no further attempt is made: the last one found nothing more to free.
    tried: AtomicUsize,
    /// Held by the one thread that frees memory.
    relieving: Mutex<()>,
    given: AtomicU64,
    logs: AtomicU64,
    reports: Mutex<Vec<Relief>>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("limit", &self.limit).field("held", &self.held).finish_non_exhaustive()
    }
}

/// The memory of all streams of a hub together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySnapshot {
    /// Bytes that the streams may take.
    pub limit: usize,
    /// Bytes that the streams take.
    pub held: usize,
    /// Bytes that the streams gave up so far because the limit was near.
    pub given: u64,
    /// How often a stream gave up its whole log, so that new players waited for the next key frame.
    pub logs_given: u64,
}

/// What a stream gave up because all streams together took too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relief {
    /// The stream's name.
    pub key: StreamKey,
    /// Bytes that it held before.
    pub held: usize,
    /// Bytes that it gave up.
    pub given: usize,
    /// Which part it gave up.
    pub gave: Gave,
}

/// What a stream gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gave {
    /// The frames before its newest key frame: players that fell behind miss them.
    Past,
    /// All frames of its log: new players wait for its next key frame.
    Log,
    /// The headers in force as well: players that join later do not get them.
    Headers,
}

impl Default for Memory {
    /// No limit.
    fn default() -> Self {
        Memory {
            limit: AtomicUsize::new(usize::MAX),
            held: AtomicUsize::new(0),
            tried: AtomicUsize::new(0),
            relieving: Mutex::default(),
            given: AtomicU64::new(0),
            logs: AtomicU64::new(0),
            reports: Mutex::default(),
        }
    }
}

impl Memory {
    /// A stream that took `before` bytes takes `after` bytes now.
    pub(super) fn adjust(&self, before: usize, after: usize) {
        if after >= before {
            self.held.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.held.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// True if streams must give memory up.
    fn is_short(&self) -> bool {
        let held = self.held();
        held > self.mark() && held > self.tried.load(Ordering::Relaxed)
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// The bytes held at which streams begin to give memory up: below the limit, because frames that come while they do
    /// need room, too.
    fn mark(&self) -> usize {
        self.limit() - self.limit() / 16
    }

    /// The bytes held at which they stop. What lies between this and [`mark`](Self::mark) can fill up before the next
    /// attempt.
    fn target(&self) -> usize {
        self.limit() - self.limit() / 8
    }

    fn reports(&self) -> MutexGuard<'_, Vec<Relief>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// Sets the bytes of memory that all streams together may take from now on. Default: no limit.
    pub fn limit_memory(&self, bytes: usize) {
        self.memory.limit.store(bytes, Ordering::Relaxed);
        self.memory.tried.store(0, Ordering::Relaxed);
        self.relieve(None);
    }

    /// The memory that all streams take and may take.
    pub fn memory(&self) -> MemorySnapshot {
        let memory = &self.memory;
        MemorySnapshot {
            limit: memory.limit(),
            held: memory.held(),
            given: memory.given.load(Ordering::Relaxed),
            logs_given: memory.logs.load(Ordering::Relaxed),
        }
    }

    /// What streams gave up since the last call, for log lines: for each stream at most one report a minute, or as soon
    /// as it gives up more than the report before said.
    pub fn take_reliefs(&self) -> Vec<Relief> {
        std::mem::take(&mut *self.memory.reports())
    }

    /// Makes streams give memory up if all together take too much: those that take more than their share, the largest
    /// first. The share is the most that each may have so that all fit; streams that take less leave the rest to the
    /// others. Streams within their share give nothing up. Of the locks that frames wait for, only that of the stream
    /// that gives memory up is held.
    pub(super) fn relieve(&self, now: Option<Instant>) {
        let memory = &*self.memory;
        if !memory.is_short() {
            return;
        }
        let _one = match memory.relieving.try_lock() {
            Ok(one) => one,
            Err(TryLockError::Poisoned(one)) => one.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let mut streams: Vec<(usize, Arc<Stream>)> = {
            let registry = self.registry();
            let standby = |entry: &Entry| Some(entry.reserve.as_ref()?.standby.stream.clone());
            let all = registry.streams.values().flat_map(|entry| [Some(entry.stream.clone()), standby(entry)]);
            all.flatten().map(|stream| (stream.held(), stream)).collect()
        };
        streams.sort_unstable_by_key(|(held, _)| Reverse(*held));
        let target = memory.target();
        let share = share(streams.iter().map(|(held, _)| *held), target);
        for gave in [Gave::Past, Gave::Log, Gave::Headers] {
            for (_, stream) in streams.iter().take_while(|(held, _)| *held > share) {
                if memory.held() <= target {
                    break;
                }
                if stream.held() > share {
                    self.give(stream, gave, now);
                }
            }
        }
        // If nothing is left to free, not every frame tries again.
        let held = memory.held();
        let tried = if held > memory.mark() { held + memory.limit() / 64 } else { 0 };
        memory.tried.store(tried, Ordering::Relaxed);
    }

    fn give(&self, stream: &Stream, gave: Gave, now: Option<Instant>) {
        let (before, after, reports) = stream.give(gave, now);
        let given = before.saturating_sub(after);
        if given == 0 {
            return;
        }
        self.memory.given.fetch_add(given as u64, Ordering::Relaxed);
        if gave == Gave::Log {
            self.memory.logs.fetch_add(1, Ordering::Relaxed);
        }
        let mut waiting = self.memory.reports();
        if reports && waiting.len() < REPORTS {
            waiting.push(Relief { key: stream.key.clone(), held: before, given, gave });
        }
    }
}

impl Stream {
    /// Bytes of memory that the source takes.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Gives up a part of what it holds. Returns the bytes before and after, and whether to report it.
    fn give(&self, gave: Gave, now: Option<Instant>) -> (usize, usize, bool) {
        let mut source = self.source();
        let before = self.held();
        match gave {
            Gave::Past => source.give_past(),
            Gave::Log => source.give_log(),
            Gave::Headers => source.give_headers(),
        }
        self.settle(&source);
        drop(source);
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let reports = match (*reported, now) {
            (Some((kind, time)), Some(now)) => gave > kind || now.saturating_duration_since(time) >= AGAIN,
            (Some(_), None) => false,
            (None, _) => true,
        };
        if reports {
            *reported = now.map(|now| (gave, now)).or(*reported);
        }
        (before, self.held(), reports)
    }
}

/// The most bytes that each stream may have so that all together have no more than `target`. `held` is what each has
/// now, the largest first.
fn share(held: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator, target: usize) -> usize {
    let mut left = target;
    let mut others = held.len();
    // The smallest keep all that they have, and leave the rest of an equal part to the others.
    for held in held.rev() {
        let part = left / others.max(1);
        if held > part {
            return part;
        }
        left -= held;
        others -= 1;
    }
    usize::MAX
}

#[cfg(test)]
mod tests;
