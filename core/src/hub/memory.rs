use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::{Hub, Stream};
use crate::url::StreamKey;

/// How soon a stream that goes on giving is reported again.
const AGAIN: Duration = Duration::from_secs(60);
/// Reports that wait to be taken; further ones are left out.
const REPORTS: usize = 256;

/// The memory that the streams of a hub may take together, and what they take.
#[derive(Debug)]
pub(super) struct Memory {
    limit: AtomicUsize,
    held: AtomicUsize,
    /// Up to where nothing is looked for again, because the last look found nothing more to give.
    tried: AtomicUsize,
    /// One looks at a time.
    looking: Mutex<()>,
    given: AtomicU64,
    logs: AtomicU64,
    reports: Mutex<Vec<Relief>>,
}

/// The memory of all streams of a hub together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySnapshot {
    /// Bytes that they may take.
    pub limit: usize,
    /// Bytes that they take.
    pub held: usize,
    /// Bytes that they gave up so far because there was not enough.
    pub given: u64,
    /// How often one gave up all it had, so that players waited for the next key frame.
    pub logs_given: u64,
}

/// What a stream gave up because all streams together took too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relief {
    /// Its name.
    pub key: StreamKey,
    /// Bytes that it held.
    pub held: usize,
    /// Bytes that it gave.
    pub given: usize,
    /// What it was.
    pub gave: Gave,
}

/// What a stream gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gave {
    /// What lies before its newest key frame: players that fell behind miss it.
    Past,
    /// All recent frames: players that come wait for its next key frame.
    Log,
    /// The headers in force as well: players that come later do not get them.
    Headers,
}

impl Default for Memory {
    /// Any number of bytes.
    fn default() -> Self {
        Memory {
            limit: AtomicUsize::new(usize::MAX),
            held: AtomicUsize::new(0),
            tried: AtomicUsize::new(0),
            looking: Mutex::default(),
            given: AtomicU64::new(0),
            logs: AtomicU64::new(0),
            reports: Mutex::default(),
        }
    }
}

impl Memory {
    /// Something that took `before` bytes takes `after` now.
    pub(super) fn adjust(&self, before: usize, after: usize) {
        if after >= before {
            self.held.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.held.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// True if streams must give.
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

    /// Where streams begin to give. What comes while they do needs room, too.
    fn mark(&self) -> usize {
        self.limit() - self.limit() / 16
    }

    /// Where they stop: so much can come before it has to be looked for again.
    fn target(&self) -> usize {
        self.limit() - self.limit() / 8
    }

    fn reports(&self) -> MutexGuard<'_, Vec<Relief>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// Sets the bytes of memory that all streams together may take, from now on. Default: any number.
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

    /// What streams gave up since this was last asked, for the log: each stream at most once a minute and kind.
    pub fn take_reliefs(&self) -> Vec<Relief> {
        std::mem::take(&mut *self.memory.reports())
    }

    /// Has streams give if all together take too much: those that take more than their share, the largest first. A
    /// share is what each may have so that all fit, where those that take less leave the rest to the others; no stream gives
    /// that is within it. No lock is held that a frame waits for, but that of the stream that gives.
    pub(super) fn relieve(&self, now: Option<Instant>) {
        let memory = &*self.memory;
        if !memory.is_short() {
            return;
        }
        let _one = match memory.looking.try_lock() {
            Ok(one) => one,
            Err(TryLockError::Poisoned(one)) => one.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let mut streams: Vec<(usize, Arc<Stream>)> = {
            let registry = self.registry();
            registry.streams.values().map(|entry| (entry.stream.held(), entry.stream.clone())).collect()
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
        // Where nothing is left to give, it is not looked for with each frame.
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
    /// Bytes of memory that it takes, as far as they are in its log.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Gives up a part of what it holds. Bytes before and after, and whether that is to be told.
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
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let reports = match (*told, now) {
            (Some((kind, time)), Some(now)) => gave > kind || now.saturating_duration_since(time) >= AGAIN,
            (Some(_), None) => false,
            (None, _) => true,
        };
        if reports {
            *told = now.map(|now| (gave, now)).or(*told);
        }
        (before, self.held(), reports)
    }
}

/// The most that each may have so that all together have no more than `target`, of what they have now, the largest first.
fn share(held: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator, target: usize) -> usize {
    let mut left = target;
    let mut others = held.len();
    // Those that have least keep all of it, and leave the rest of an equal part to the others.
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
