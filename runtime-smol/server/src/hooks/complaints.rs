use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// The least time between two log lines about one endpoint.
const BETWEEN: Duration = Duration::from_secs(1);

/// Logs problems with an endpoint: the first at once, then at most one line a second with the number of lines left out,
/// so that a dead back end does not fill a disk.
#[derive(Debug)]
pub(super) struct Complaints {
    about: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    untold: u64,
}

impl Complaints {
    pub(super) fn new(about: String) -> Self {
        Complaints { about, state: Mutex::default() }
    }

    pub(super) fn add(&self, what: &str) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < BETWEEN) {
            state.untold += 1;
            return;
        }
        state.last = Some(now);
        let untold = std::mem::take(&mut state.untold);
        drop(state);
        let about = &self.about;
        let more = if untold > 0 { format!("; {untold} more problems since the last line") } else { String::new() };
        warn!(event = "hook_failed", url = %about, error = %what, more = untold, "hook {about}: {what}{more}");
    }
}
