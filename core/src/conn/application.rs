use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use super::VhostConfig;
use super::vhost::{Counts, QuestionPermit};
use crate::hub::{Group, Hub, RelayFacts};
use crate::message::data::DataLimits;
use crate::policy::{self, Limits, Refusal};
use crate::relay::{Edge, StreamRules};
use crate::session::SessionConfig;

/// An application in use: the settings of some streams of a virtual host. Each virtual host has one more, which is for
/// its connections and for the streams that no application matches. It is looked up when a stream is granted; the
/// publisher or player then keeps it, so that frames need no look-up.
#[derive(Debug)]
pub(super) struct Application {
    /// Its patterns; empty for the streams that no application matches.
    pub(super) name: Arc<str>,
    /// What identifies it on the server: the virtual host, and the name.
    pub(super) id: Arc<str>,
    pub(super) config: VhostConfig,
    pub(super) session: Arc<SessionConfig>,
    /// The server's hub; streams that are created through it have these settings, and count in this application.
    pub(super) hub: Hub,
    /// The limits of the whole virtual host, for its publishers, players and streams together.
    pub(super) limits: Limits,
    counts: Arc<Counts>,
}

impl Application {
    /// An application of a virtual host that has these limits and counts.
    pub(super) fn new(
        vhost: &str,
        application: &policy::Application<VhostConfig>,
        limits: &Limits,
        hub: &Hub,
        counts: &Arc<Counts>,
    ) -> Self {
        let (name, config) = (Arc::from(application.name()), &application.settings);
        let group = Group { name: Arc::clone(&name), limits: config.limits };
        let hub = hub.with_group(Some(group));
        // Each stream is limited by its application only: that may allow a stream more than others of the host.
        let limits = Limits { stream_players: config.limits.stream_players, ..*limits };
        Application {
            id: format!("{vhost} {name}").into(),
            limits,
            ..Application::of(vhost, name, config, &hub, counts)
        }
    }

    /// The settings of a virtual host's connections, and of its streams that no application matches.
    pub(super) fn rest(vhost: &str, config: &VhostConfig, hub: &Hub, counts: &Arc<Counts>) -> Self {
        Application::of(vhost, Arc::from(""), config, &hub.with_group(None), counts)
    }

    fn of(vhost: &str, name: Arc<str>, config: &VhostConfig, hub: &Hub, counts: &Arc<Counts>) -> Self {
        // What comes from an origin is the origin's, and no directory says who may publish it.
        let is_edge = config.edge_of_origins().is_some();
        let hub = if is_edge { &hub.with_yielding_relays(false) } else { hub };
        Application {
            name,
            id: vhost.into(),
            session: Arc::new(config.sessions()),
            hub: hub.with_config(Arc::new(config.streams())),
            limits: config.limits,
            counts: counts.clone(),
            // The virtual host has compiled them.
            config: VhostConfig { applications: policy::Applications::default(), ..config.clone() },
        }
    }

    /// What relays know of it.
    pub(super) fn relay_rules(&self, in_cluster: bool) -> Arc<StreamRules> {
        let (config, limits) = (&self.config, &self.session.limits);
        Arc::new(StreamRules {
            id: self.id.clone(),
            hub: self.hub.clone(),
            forward: config.forward.clone(),
            edge: match in_cluster {
                true => Some(config.edge.clone().unwrap_or_else(|| Edge::of(Vec::new()))),
                false => config.edge_of_origins().cloned(),
            },
            high_water: config.high_water,
            chunk_size: config.session.chunk_size,
            data: DataLimits { metadata: limits.metadata as usize, other: limits.command as usize, amf: limits.amf },
            chunks: limits.chunks,
        })
    }

    /// The hub for a client, if relays are to know the client.
    pub(super) fn hub_for(&self, params: &str, relayed: Option<&str>) -> Cow<'_, Hub> {
        if self.config.edge_of_origins().is_none() && self.config.forward.is_empty() && relayed.is_none() {
            return Cow::Borrowed(&self.hub);
        }
        let facts = RelayFacts { params: params.into(), path: relayed.unwrap_or_default().into() };
        Cow::Owned(self.hub.for_client(facts))
    }

    /// Counts one more question of the virtual host, asked about a client at this address.
    ///
    /// # Errors
    /// The limit of questions is reached, that of all or that of this address.
    pub(super) fn question(&self, address: Option<IpAddr>) -> Result<QuestionPermit, Refusal> {
        QuestionPermit::new(&self.counts, address, &self.limits)
    }
}
