use std::io::{self, IsTerminal};
use std::net::SocketAddr;

use anabranch_core::conn::{Action, Attachment, Report};
use tracing::{debug, info};
use tracing_subscriber::EnvFilter;

/// Starts the log, on standard error.
///
/// # Errors
/// A filter that cannot be read, in words for a person.
pub fn init_log(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log filter {filter:?}: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    Ok(())
}

/// The lines that a connection leaves in the log: opened, identified, closed.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    id: u64,
}

impl Lines {
    /// The connection is open. `id` is in each of its lines.
    pub fn opened(id: u64, peer: SocketAddr) -> Self {
        // An IPv4 peer on a socket for both families is shown as what it is.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        info!("conn {id} opened from {peer}");
        Lines { id }
    }

    /// The connection does something for which there is a line.
    pub fn action(&self, action: &Action) {
        let id = self.id;
        match action {
            Action::Attach(attachment) => {
                let Attachment { client, agent, .. } = attachment;
                let client = client.map_or("rtmp-play", |client| client.name());
                let agent = agent.as_deref().unwrap_or_default().escape_debug();
                info!("conn {id} is {attachment}, {client} \"{agent}\"");
            }
            Action::Detach { role, .. } => debug!("conn {id} is no longer {role}"),
            Action::Wake(_) | Action::Ask(_) | Action::Tell(_) => {}
        }
    }

    /// The connection is closed.
    pub fn closed(&self, report: &Report) {
        info!("conn {} closed: {report}", self.id);
    }
}
