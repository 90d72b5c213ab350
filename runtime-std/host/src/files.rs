//! The limit of open files, most of which are connections, and the file descriptors kept for the server's own files.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// How often to write into the log that connections are turned away.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// One in eight file descriptors is kept for the server's own files, within these bounds.
const SHARE: u64 = 8;
const FEWEST: u64 = 8;
const MOST: u64 = 512;

/// How many of the file descriptors of this process are kept for files that the server itself opens.
fn reserve(limit: u64) -> u64 {
    (limit / SHARE).clamp(FEWEST, MOST).min(limit / 2)
}

/// How many connections a process with that limit of open files serves.
pub fn connections_within(limit: u64) -> u64 {
    limit - reserve(limit)
}

/// Raises this process's limit of open files (RLIMIT_NOFILE) as far as the system allows, and logs it: on many systems
/// the limit is 1024 at first, too few for many connections.
pub fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = getrlimit(Resource::Nofile).current;
    match (raised, limit) {
        (Err(error), _) => {
            warn!(event = "file_limit", error = %error, "the limit of open files stays as it is: {error}");
        }
        (Ok(()), None) => info!(event = "file_limit", "open files are not limited"),
        (Ok(()), Some(limit)) => {
            let from = current.filter(|before| *before < limit).map(|before| format!(", raised from {before}"));
            let (from, reserve) = (from.unwrap_or_default(), reserve(limit));
            info!(
                event = "file_limit",
                limit,
                reserve,
                "open files: {limit}{from}; the last {reserve} are kept for the API, recordings, hooks and certificates"
            );
        }
    }
}

/// Turns connections away when only the file descriptors for the server's own files are left: clients that open as many
/// connections as they can must not lock operators out or end recordings.
#[derive(Debug)]
pub(crate) struct Door {
    /// Numbers from here on are kept for the server's own files. The system gives the lowest free number, so a
    /// connection gets this number only if all lower ones are open.
    closed_from: Option<u64>,
    turned_away: AtomicU64,
    warned: Mutex<Option<Instant>>,
}

impl Door {
    pub(crate) fn new() -> Self {
        Door::of(getrlimit(Resource::Nofile).current)
    }

    fn of(limit: Option<u64>) -> Self {
        let closed_from = limit.map(connections_within);
        Door { closed_from, turned_away: AtomicU64::new(0), warned: Mutex::default() }
    }

    /// Whether a connection with this number is admitted.
    pub(crate) fn admits(&self, number: i32) -> bool {
        let number = u64::try_from(number).unwrap_or(0);
        self.closed_from.is_none_or(|most| number < most)
    }

    /// Three quarters of the connections that are admitted.
    pub(crate) fn share(&self) -> usize {
        self.closed_from.and_then(|most| usize::try_from(most / 4 * 3).ok()).unwrap_or(usize::MAX)
    }

    /// Counts and logs a connection that is not admitted; the caller closes it.
    pub(crate) fn turn_away(&self) {
        let most = self.closed_from.unwrap_or_default();
        let count = self.turned_away.fetch_add(1, Ordering::Relaxed) + 1;
        if self.warns(Instant::now()) {
            warn!(
                event = "turned_away",
                files = most,
                connections = count,
                "cannot accept connections: {most} files are open, and the rest is kept for the API, recordings, hooks \
                 and certificates; {count} connections turned away so far (raise the limit of open files, or set \
                 limits)"
            );
        }
    }

    /// Whether it is time for another line, which then counts as written.
    fn warns(&self, now: Instant) -> bool {
        // If another thread holds the lock, that thread writes the line.
        let Ok(mut warned) = self.warned.try_lock() else {
            return false;
        };
        let warns = warned.is_none_or(|at| now.saturating_duration_since(at) >= WARN_INTERVAL);
        if warns {
            *warned = Some(now);
        }
        warns
    }

    /// How many were turned away.
    pub(crate) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_the_servers_own() {
        for (limit, open) in [(40, 32), (1024, 896), (20_000, 19_488), (1 << 20, (1 << 20) - 512), (10, 5)] {
            let door = Door::of(Some(limit));
            assert!(door.admits(3) && door.admits(open - 1), "{limit}");
            assert!(!door.admits(open) && !door.admits(open + 1), "{limit}");
            door.turn_away();
            assert_eq!(door.turned_away(), 1);
        }
        assert!(Door::of(None).admits(i32::MAX));
        assert_eq!([Door::of(Some(1024)), Door::of(None)].map(|door| door.share()), [672, usize::MAX]);
        let (door, now) = (Door::of(Some(40)), Instant::now());
        assert_eq!(
            [0, 1, 9, 10, 11, 20].map(|s| door.warns(now + Duration::from_secs(s))),
            [true, false, false, true, false, true]
        );
    }
}
