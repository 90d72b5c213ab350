use std::fmt;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anabranch_core::conn::{Action, Attachment, Report};
use tracing::{debug, info};
use tracing_subscriber::EnvFilter;

use crate::log_queue::LogQueue;

/// Bytes of log lines that may wait to be written: some thousands of lines.
const CAPACITY: usize = 1 << 20;
/// How long the end of the program waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);
/// Lines about what a connection is; a client can publish and play anew as often as it likes.
const ATTACH_LINES: u32 = 10;
/// Characters shown of a client's own name, which may be as long as the client likes.
const AGENT_LENGTH: usize = 64;

/// The running log. When it goes, at the end of the program, it waits a moment for its last lines to be written.
#[derive(Debug)]
#[must_use = "the last lines are lost without it"]
pub struct Log {
    queue: LogQueue,
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.flush(LAST_LINES);
    }
}

/// Starts the log, on standard error. Logging never blocks and never fails: a thread of its own writes the lines, and
/// while standard error takes none, those that do not fit into a queue are dropped and counted.
///
/// # Errors
/// A filter that cannot be read, or no thread for the log, in words for a person.
pub fn init_log(filter: &str) -> Result<Log, String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log filter {filter:?}: {error}"))?;
    let queue = LogQueue::start(io::stderr(), CAPACITY).map_err(|error| format!("no thread for the log: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(queue.clone())
        // It would tell of them on standard error, and panic where that cannot be written.
        .log_internal_errors(false)
        .init();
    Ok(Log { queue })
}

/// The lines that a connection leaves in the log: opened, identified, closed.
#[derive(Debug)]
pub struct Lines {
    id: u64,
    /// How often it attached to a stream.
    attached: AtomicU32,
}

impl Lines {
    /// The connection is open. `id` is in each of its lines.
    pub fn opened(id: u64, peer: SocketAddr) -> Self {
        // An IPv4 peer on a socket for both families is shown as what it is.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        info!("conn {id} opened from {peer}");
        Lines { id, attached: AtomicU32::new(0) }
    }

    /// The connection does something for which there is a line.
    pub fn action(&self, action: &Action) {
        let id = self.id;
        match action {
            Action::Attach(attachment) => {
                let line = Identified(attachment);
                match self.attached.fetch_add(1, Ordering::Relaxed) {
                    ..ATTACH_LINES => info!("conn {id} is {line}"),
                    ATTACH_LINES => {
                        info!("conn {id} goes on like that; from here its lines are at debug level");
                        debug!("conn {id} is {line}");
                    }
                    _ => debug!("conn {id} is {line}"),
                }
            }
            Action::Detach { role, .. } => debug!("conn {id} is no longer {role}"),
            Action::Subscribe(_) | Action::Unsubscribe(_) | Action::Wake(_) | Action::Ask(_) | Action::Tell(_) => {}
        }
    }

    /// The connection is closed.
    pub fn closed(&self, report: &Report) {
        info!("conn {} closed: {report}", self.id);
    }
}

/// What a connection is and by whom.
struct Identified<'a>(&'a Attachment);

impl fmt::Display for Identified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attachment { client, agent, .. } = self.0;
        let client = client.map_or("rtmp-play", |client| client.name());
        let agent = agent.as_deref().unwrap_or_default();
        let (shown, cut) = match agent.char_indices().nth(AGENT_LENGTH) {
            Some((end, _)) => (&agent[..end], "..."),
            None => (agent, ""),
        };
        write!(f, "{}, {client} \"{}{cut}\"", self.0, shown.escape_debug())
    }
}
