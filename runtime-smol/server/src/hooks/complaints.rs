use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// The time between two lines about one endpoint.
const BETWEEN: Duration = Duration::from_secs(1);

/// What goes wrong with an endpoint, as lines in the log: the first at once, then no more than one a second, which says
/// how many there were. A dead back end must not fill a disk.
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
        match untold {
            0 => warn!("hook {about}: {what}"),
            _ => warn!("hook {about}: {what}; {untold} more lines like this since the last"),
        }
    }
}
