use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use anabranch_core::conn::{Action, Attachment, Report};
use tracing::{debug, info};

/// Lines about what a connection is; a client can publish and play anew as often as it likes.
const ATTACH_LINES: u32 = 10;
/// Characters shown of a client's own name, which may be as long as the client likes.
const AGENT_LENGTH: usize = 64;

/// The lines that a connection leaves in the log: opened, identified, closed. Each has its number as the field `conn`.
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
        info!(conn = id, "conn {id} opened from {peer}");
        Lines { id, attached: AtomicU32::new(0) }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The connection does something for which there is a line.
    pub fn action(&self, action: &Action) {
        let id = self.id;
        match action {
            Action::Attach(attachment) => {
                let line = Identified(attachment);
                match self.attached.fetch_add(1, Ordering::Relaxed) {
                    ..ATTACH_LINES => info!(conn = id, "conn {id} is {line}"),
                    ATTACH_LINES => {
                        info!(conn = id, "conn {id} goes on like that; from here its lines are at debug level");
                        debug!(conn = id, "conn {id} is {line}");
                    }
                    _ => debug!(conn = id, "conn {id} is {line}"),
                }
            }
            Action::Detach { role, .. } => debug!(conn = id, "conn {id} is no longer {role}"),
            Action::Subscribe(_) | Action::Unsubscribe(_) | Action::Wake(_) | Action::Ask(_) | Action::Tell(_) => {}
        }
    }

    /// The connection is closed.
    pub fn closed(&self, report: &Report) {
        info!(conn = self.id, "conn {} closed: {report}", self.id);
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
