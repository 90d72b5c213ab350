use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use anabranch_core::conn::{Action, Attachment, Report};
use anabranch_core::session::Phase;
use tracing::{Level, debug, enabled, info, warn};

use crate::strangers::Strangers;

/// Most lines of a connection about what it publishes and plays: a client can begin again as often as it likes.
const ATTACH_LINES: u32 = 10;
/// Characters shown of a client's own name, which may be as long as the client likes.
const AGENT_LENGTH: usize = 64;
/// The target of lines, at debug level, about connections that ended before `connect` while many were opened.
const STRANGERS: &str = "anabranch_host::strangers";

/// Writes the log lines of a connection: opened, identified, closed. Each has the connection's number as the field
/// `conn`.
#[derive(Debug)]
pub struct Lines {
    id: u64,
    peer: SocketAddr,
    /// Whether the first line was written: while many connections are opened, it waits until the client has connected.
    shown: AtomicBool,
    strangers: Arc<Strangers>,
    /// How often it attached to a stream.
    attached: AtomicU32,
}

impl Lines {
    /// The connection is open. `id` is in each of its lines.
    pub(crate) fn opened(id: u64, peer: SocketAddr, strangers: Arc<Strangers>) -> Self {
        // Show an IPv4 peer on a socket for both families as IPv4.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let shown = strangers.show(Instant::now());
        if shown {
            info!(conn = id, "conn {id} opened from {peer}");
        } else {
            debug!(target: STRANGERS, conn = id, "conn {id} opened from {peer}");
        }
        Lines { id, peer, shown: AtomicBool::new(shown), strangers, attached: AtomicU32::new(0) }
    }

    /// Writes the first line, if it was left out so far.
    fn show(&self) {
        // If the target is logged at debug level, the line is in the log already.
        let logged = || enabled!(target: STRANGERS, Level::DEBUG);
        if !self.shown.swap(true, Ordering::Relaxed) && !logged() {
            info!(conn = self.id, "conn {} opened from {}", self.id, self.peer);
        }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Logs an action of the connection, if there is a line for it.
    pub fn action(&self, action: &Action) {
        let id = self.id;
        match action {
            Action::Attach(attachment) => {
                self.show();
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
            Action::Remark(remark) => warn!(conn = id, "conn {id}: {remark}"),
            Action::Subscribe(_) | Action::Unsubscribe(_) | Action::Wake(_) | Action::Ask(_) | Action::Tell(_) => {}
        }
    }

    /// The connection is closed.
    pub fn closed(&self, report: &Report) {
        let id = self.id;
        let came_to_nothing = matches!(report.close.phase, Phase::Handshake | Phase::Connect);
        if came_to_nothing && !self.shown.load(Ordering::Relaxed) {
            self.strangers.leave_out(Instant::now(), self.peer, report.close.reason.name());
            debug!(target: STRANGERS, conn = id, "conn {id} closed: {report}");
            return;
        }
        self.show();
        info!(conn = id, "conn {id} closed: {report}");
    }
}

/// What a connection publishes or plays, and with which program.
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
