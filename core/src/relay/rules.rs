use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Edge, Forward, RelayKind};
use crate::chunk::ChunkLimits;
use crate::client::ClientLimits;
use crate::cluster::ClusterConfig;
use crate::hub::Hub;
use crate::message::data::DataLimits;
use crate::policy::Applications;
use crate::url::StreamKey;

/// What relays know of the configuration: for each virtual host and application, where its streams go to and come from.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    hosts: BTreeMap<String, HostRules>,
    cluster: Option<ClusterConfig>,
}

/// Those of a virtual host.
#[derive(Debug)]
pub(crate) struct HostRules {
    /// Of the streams that no application matches.
    pub(crate) own: Arc<StreamRules>,
    pub(crate) applications: Applications<Arc<StreamRules>>,
}

/// Those of the streams of an application.
#[derive(Debug)]
pub(crate) struct StreamRules {
    /// What identifies the application on the server.
    pub(crate) id: Arc<str>,
    /// Streams that are created through it have the settings of the application.
    pub(crate) hub: Hub,
    pub(crate) forward: Vec<Forward>,
    /// In a cluster, one without origins means that the directory says where a stream is.
    pub(crate) edge: Option<Edge>,
    /// When so many bytes of media are queued for one target, no more are taken from the log.
    pub(crate) high_water: usize,
    /// How streams are cut for the wire.
    pub(crate) chunk_size: u32,
    /// Of data messages that are pulled.
    pub(crate) data: DataLimits,
    /// Of messages that are pulled: those of publishers.
    pub(crate) chunks: ChunkLimits,
}

/// What another server may make an uplink hold. A pull gets media, like a publisher's connection; all others get answers
/// only.
pub(crate) fn client_limits(kind: RelayKind, chunks: ChunkLimits, high_water: usize) -> ClientLimits {
    let outbound = high_water.saturating_mul(2).max(8 << 20);
    let limits = ClientLimits { outbound, streams: 1, calls: 8, ..ClientLimits::default() };
    match kind {
        RelayKind::Pull => {
            let chunks = ChunkLimits { streams: chunks.streams.min(16), eager: 64 << 10, ..chunks };
            ClientLimits { chunks, ..limits }
        }
        RelayKind::Push | RelayKind::Upward | RelayKind::Traverse => ClientLimits {
            chunks: ChunkLimits { message: 256 << 10, partial: 512 << 10, streams: 16, eager: 1024 },
            command: 128 << 10,
            events: 64,
            event_bytes: 256 << 10,
            inbox: 128 << 10,
            ..limits
        },
    }
}

impl Rules {
    pub(crate) fn new(hosts: impl IntoIterator<Item = (String, HostRules)>, cluster: Option<ClusterConfig>) -> Self {
        Rules { hosts: hosts.into_iter().collect(), cluster }
    }

    /// Whether the server belongs to a cluster.
    pub(super) fn cluster(&self) -> Option<&ClusterConfig> {
        self.cluster.as_ref()
    }

    /// Those of a stream; `None` if its virtual host is gone.
    pub(super) fn of(&self, key: &StreamKey) -> Option<&Arc<StreamRules>> {
        let host = self.hosts.get(key.vhost())?;
        Some(host.applications.of(key).map_or(&host.own, |application| &application.settings))
    }

    /// True if the configuration has any target or origin.
    pub(super) fn has_any(&self) -> bool {
        let has = |rules: &Arc<StreamRules>| !rules.forward.is_empty() || rules.edge.is_some();
        self.hosts.values().any(|host| has(&host.own) || host.applications.iter().any(|one| has(&one.settings)))
    }
}
