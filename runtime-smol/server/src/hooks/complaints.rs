use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anabranch_core::conn::Subject;
use anabranch_core::url::{StreamKey, quoted, shortened};
use tracing::warn;

use super::body::Event;
use super::order;

/// The least time between two log lines about one endpoint.
const BETWEEN: Duration = Duration::from_secs(1);

/// The call that a problem is about.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) event: Event,
    /// 0 for a recording of the program's own stream.
    pub(super) connection: u64,
    pub(super) vhost: String,
    /// None for a call about a connection.
    pub(super) stream: Option<StreamKey>,
}

impl About {
    pub(super) fn new(event: Event, connection: u64, vhost: &str, subject: &Subject) -> Self {
        let stream = match subject {
            Subject::Connect => None,
            Subject::Publish(stream) | Subject::Play(stream) | Subject::Traverse(stream) => Some(stream.key.clone()),
        };
        About { event, connection: order::shown(connection), vhost: vhost.to_owned(), stream }
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let About { event, connection, vhost, stream } = self;
        f.write_str(event.name())?;
        if *connection > 0 {
            write!(f, " of conn {connection}")?;
        }
        match stream {
            Some(key) => write!(f, ", {}", key.shown()),
            None => write!(f, ", in virtual host {}", quoted(&shortened(vhost))),
        }
    }
}

/// Logs problems with an endpoint: the first at once, then at most one line a second with the number of lines left out,
/// so that a dead back end does not fill a disk.
#[derive(Debug)]
pub(super) struct Complaints {
    url: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    untold: u64,
}

impl Complaints {
    pub(super) fn new(url: String) -> Self {
        Complaints { url, state: Mutex::default() }
    }

    pub(super) fn add(&self, about: &About, what: &str) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < BETWEEN) {
            state.untold += 1;
            return;
        }
        state.last = Some(now);
        let untold = std::mem::take(&mut state.untold);
        drop(state);
        let url = &self.url;
        let more = if untold > 0 { format!("; {untold} more problems since the last line") } else { String::new() };
        // The back end's answer and the name are texts of others.
        let what = shortened(what);
        let stream = about.stream.as_ref();
        warn!(
            event = "hook_failed",
            url = %url,
            action = about.event.name(),
            conn = Some(about.connection).filter(|connection| *connection > 0),
            vhost = &*shortened(&about.vhost),
            app = stream.map(|key| shortened(key.app())).as_deref(),
            stream = stream.map(|key| shortened(key.stream())).as_deref(),
            error = %what,
            more = Some(untold).filter(|untold| *untold > 0),
            "hook {url} ({about}): {what}{more}"
        );
    }
}
