//! Open files, of which connections are the most: how many there may be, and what is kept for the server's own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// How often to write into the log that connections are turned away.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// One file in so many is the server's own, within these bounds.
const SHARE: u64 = 8;
const FEWEST: u64 = 8;
const MOST: u64 = 512;

/// So many of the files that this process may open are kept for what the server itself opens.
fn reserve(limit: u64) -> u64 {
    (limit / SHARE).clamp(FEWEST, MOST).min(limit / 2)
}

/// Lets this process open as many files as the system allows it (RLIMIT_NOFILE), and says so in the log: many systems
/// begin with 1024, which are few connections.
pub fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = getrlimit(Resource::Nofile).current;
    match (raised, limit) {
        (Err(error), _) => warn!("the limit of open files stays as it is: {error}"),
        (Ok(()), None) => info!("open files are not limited"),
        (Ok(()), Some(limit)) => {
            let from = current.filter(|before| *before < limit).map(|before| format!(", raised from {before}"));
            info!(
                "open files: {limit}{}; the last {} are kept for the API, recordings, hooks and certificates",
                from.unwrap_or_default(),
                reserve(limit)
            );
        }
    }
}

/// Turns connections away when there would be no files left for the server's own: strangers that open all they can must
/// not keep operators out, and end no recording.
#[derive(Debug)]
pub(crate) struct Door {
    /// Numbers from here on are the server's own. The system gives the lowest number that is free, so a connection that gets this
    /// one came when all below it were open.
    closed_from: Option<u64>,
    turned_away: AtomicU64,
    warned: Mutex<Option<Instant>>,
}

impl Door {
    pub(crate) fn new() -> Self {
        Door::of(getrlimit(Resource::Nofile).current)
    }

    fn of(limit: Option<u64>) -> Self {
        let closed_from = limit.map(|limit| limit - reserve(limit));
        Door { closed_from, turned_away: AtomicU64::new(0), warned: Mutex::default() }
    }

    /// Whether a connection with this number may come in.
    pub(crate) fn admits(&self, number: i32) -> bool {
        let number = u64::try_from(number).unwrap_or(0);
        self.closed_from.is_none_or(|most| number < most)
    }

    /// One that may not is closed now.
    pub(crate) fn turn_away(&self) {
        let most = self.closed_from.unwrap_or_default();
        let count = self.turned_away.fetch_add(1, Ordering::Relaxed) + 1;
        if self.warns(Instant::now()) {
            warn!(
                "cannot accept connections: {most} files are open, and the rest is kept for the server's own; {count} turned \
                 away so far (raise the limit of open files, or set limits)"
            );
        }
    }

    /// Whether it is time for another line, which then counts as written.
    fn warns(&self, now: Instant) -> bool {
        // Another thread that is just here writes it.
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
        let (door, now) = (Door::of(Some(40)), Instant::now());
        assert_eq!(
            [0, 1, 9, 10, 11, 20].map(|s| door.warns(now + Duration::from_secs(s))),
            [true, false, false, true, false, true]
        );
    }
}
