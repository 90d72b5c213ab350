use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::application::Application;
use super::{Config, VhostConfig};
use crate::bandwidth::{Gate, TooSoon};
use crate::cluster::ClusterConfig;
use crate::hub::{self, Hub};
use crate::policy::{Applications, Counted, Limits, Questions, Refusal, Resolved, Vhosts};
use crate::relay;
use crate::url::{DEFAULT_VHOST, StreamKey};

/// A virtual host in use.
#[derive(Debug)]
pub(super) struct VirtualHost {
    pub(super) name: String,
    /// The settings of its connections, and of its streams that are in no application.
    pub(super) own: Arc<Application>,
    applications: Applications<Arc<Application>>,
    counts: Arc<Counts>,
}

/// What is counted of a virtual host; the counts stay when its settings change. The hub counts streams, publishers and
/// players.
#[derive(Debug)]
pub(super) struct Counts {
    connections: AtomicUsize,
    questions: Mutex<Questions>,
    /// The time between bandwidth checks.
    gate: Mutex<Gate>,
}

/// Counts as one of the connections of a virtual host until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit(Arc<Counts>);

/// Counts as one of its open questions until it is dropped.
#[derive(Debug)]
pub(super) struct QuestionPermit {
    counts: Arc<Counts>,
    address: Option<IpAddr>,
}

impl QuestionPermit {
    /// Counts one more question, asked about a client at this address.
    ///
    /// # Errors
    /// The limit of questions is reached, that of all or that of this address.
    pub(super) fn new(counts: &Arc<Counts>, address: Option<IpAddr>, limits: &Limits) -> Result<Self, Refusal> {
        counts.questions().try_add(address, limits)?;
        Ok(QuestionPermit { counts: counts.clone(), address })
    }
}

impl Counts {
    fn new(config: &VhostConfig) -> Self {
        let gate = Mutex::new(Gate::new(interval(config)));
        Counts { connections: AtomicUsize::new(0), questions: Mutex::default(), gate }
    }

    /// Lower limits close no connection that is already counted.
    fn reconfigure(&self, config: &VhostConfig) {
        self.gate().set_interval(interval(config));
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn interval(config: &VhostConfig) -> Duration {
    config.bandwidth_check.as_ref().map_or(Duration::ZERO, |check| check.interval)
}

impl VirtualHost {
    fn new(name: &str, config: &VhostConfig, hub: &Hub, counts: Option<Arc<Counts>>) -> Arc<Self> {
        let counts = match counts {
            Some(counts) => {
                counts.reconfigure(config);
                counts
            }
            None => Arc::new(Counts::new(config)),
        };
        let applications =
            config.applications.map(|one| Arc::new(Application::new(name, one, &config.limits, hub, &counts)));
        let own = Arc::new(Application::rest(name, config, hub, &counts));
        Arc::new(VirtualHost { name: name.to_owned(), own, applications, counts })
    }

    /// The settings of its connections.
    pub(super) fn config(&self) -> &VhostConfig {
        &self.own.config
    }

    /// The settings of a stream: those of the first application that matches its name, or its own.
    pub(super) fn application(&self, stream: &StreamKey) -> &Arc<Application> {
        self.applications.of(stream).map_or(&self.own, |application| &application.settings)
    }

    /// Whether a bandwidth check may be made now.
    pub(super) fn admit_check(&self, now: Instant) -> Result<(), TooSoon> {
        self.counts.gate().admit(now)
    }

    /// Whether the limit allows one more connection.
    ///
    /// # Errors
    /// The limit of connections is reached.
    pub(super) fn check_connections(&self) -> Result<(), Refusal> {
        self.config().limits.check(Counted::Connections, self.counts.connections.load(Ordering::Relaxed))
    }

    /// Counts one more connection.
    ///
    /// # Errors
    /// The limit of connections is reached.
    pub(super) fn enter(&self) -> Result<ConnectionPermit, Refusal> {
        let limits = &self.config().limits;
        let one_more = |present: usize| limits.check(Counted::Connections, present).ok().map(|()| present + 1);
        let connections = &self.counts.connections;
        match connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(ConnectionPermit(self.counts.clone())),
            Err(_) => Err(Refusal::Limit(Counted::Connections)),
        }
    }

    fn snapshot(&self, enabled: bool) -> VhostSnapshot {
        let hub = &self.own.hub;
        let counts = hub.counts(&self.name);
        let groups = hub.groups(&self.name);
        let application = |one: &Arc<Application>| {
            let hub::Counts { streams, publishers, players } = groups.get(&one.name).copied().unwrap_or_default();
            ApplicationSnapshot { name: one.name.clone(), publishers, players, streams }
        };
        VhostSnapshot {
            name: self.name.clone(),
            enabled,
            connections: self.counts.connections.load(Ordering::Relaxed),
            publishers: counts.publishers,
            players: counts.players,
            streams: counts.streams,
            questions: self.counts.questions().open(),
            applications: self.applications.iter().map(|one| application(&one.settings)).collect(),
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for QuestionPermit {
    fn drop(&mut self) {
        self.counts.questions().remove(self.address);
    }
}

/// All virtual hosts of a server, or the only one of a server without virtual hosts.
#[derive(Debug)]
pub(super) struct VirtualHosts {
    vhosts: Vhosts<Arc<VirtualHost>>,
    /// For connections whose host is not known yet.
    pub(super) defaults: Arc<VirtualHost>,
    /// Removed virtual hosts whose counts are still in use: by connections that have not yet looked whether they may
    /// stay, or that still get their final messages. A later reload may bring such a host back.
    gone: Vec<(String, Weak<Counts>)>,
}

/// What is counted of a virtual host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VhostSnapshot {
    /// Its name.
    pub name: String,
    /// Whether clients may connect to it.
    pub enabled: bool,
    /// Connections whose `connect` was granted, or that came from another virtual host.
    pub connections: usize,
    /// Publishers.
    pub publishers: usize,
    /// Players.
    pub players: usize,
    /// Streams, including those of the program.
    pub streams: usize,
    /// Requests that wait for a verdict of the back end.
    pub questions: usize,
    /// Its applications, in their order. Their counts are part of its own.
    pub applications: Vec<ApplicationSnapshot>,
}

/// What is counted of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationSnapshot {
    /// The patterns of its streams, such as `ingest/*, upload/*`.
    pub name: Arc<str>,
    /// Publishers.
    pub publishers: usize,
    /// Players.
    pub players: usize,
    /// Streams, including those of the program.
    pub streams: usize,
}

impl VirtualHosts {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<VirtualHost>> {
        let listed = self.vhosts.iter().map(|vhost| &vhost.settings);
        listed.chain(self.vhosts.is_empty().then_some(&self.defaults))
    }

    /// What relays know of them.
    pub(super) fn relay_rules(&self, cluster: Option<&ClusterConfig>) -> relay::Rules {
        let in_cluster = cluster.is_some();
        let host = |vhost: &Arc<VirtualHost>| {
            let applications = vhost.applications.map(|one| one.settings.relay_rules(in_cluster));
            (vhost.name.clone(), relay::HostRules { own: vhost.own.relay_rules(in_cluster), applications })
        };
        let enabled = self.vhosts.iter().filter(|vhost| vhost.enabled).map(|vhost| &vhost.settings);
        relay::Rules::new(enabled.chain(self.vhosts.is_empty().then_some(&self.defaults)).map(host), cluster.cloned())
    }

    /// The counts of each, in the order of the configuration.
    pub(super) fn snapshots(&self) -> Vec<VhostSnapshot> {
        let listed = self.vhosts.iter().map(|vhost| vhost.settings.snapshot(vhost.enabled));
        listed.chain(self.vhosts.is_empty().then(|| self.defaults.snapshot(true))).collect()
    }

    pub(super) fn new(config: &Config, hub: &Hub) -> Self {
        VirtualHosts::build(config, hub, |_| None)
    }

    /// The virtual hosts of other settings. One that stays, or comes back, keeps its counts.
    pub(super) fn reconfigured(&self, config: &Config, hub: &Hub) -> Self {
        let here = self.iter().map(|vhost| (vhost.name.clone(), Arc::downgrade(&vhost.counts)));
        let before: Vec<_> = here.chain(self.gone.iter().cloned()).collect();
        let counts =
            |name: &str| before.iter().find(|(known, _)| known == name).and_then(|(_, counts)| counts.upgrade());
        let mut vhosts = VirtualHosts::build(config, hub, counts);
        let is_gone = |name: &str| vhosts.iter().all(|vhost| vhost.name != name);
        let gone = before.into_iter().filter(|(name, counts)| counts.strong_count() > 0 && is_gone(name));
        vhosts.gone = gone.collect();
        vhosts
    }

    fn build(config: &Config, hub: &Hub, before: impl Fn(&str) -> Option<Arc<Counts>>) -> Self {
        let hub = &hub.with_yielding_relays(config.cluster.is_some());
        // If there are virtual hosts, no connection is counted in the defaults.
        let alone = if config.vhosts.is_empty() { before(DEFAULT_VHOST) } else { None };
        VirtualHosts {
            vhosts: config.vhosts.map(|vhost| VirtualHost::new(&vhost.name, &vhost.settings, hub, before(&vhost.name))),
            defaults: VirtualHost::new(DEFAULT_VHOST, &config.defaults, hub, alone),
            gone: Vec::new(),
        }
    }

    /// The virtual host of this name, if its clients may stay.
    ///
    /// # Errors
    /// There is none, or it is disabled.
    pub(super) fn named(&self, name: &str) -> Result<Arc<VirtualHost>, Refusal> {
        let vhost = self.resolve(name)?;
        if vhost.name == name { Ok(vhost) } else { Err(Refusal::VhostUnknown) }
    }

    /// Whether the default virtual host takes this host name because none has it, and there are others.
    pub(super) fn is_unknown(&self, host: &str) -> bool {
        self.vhosts.iter().len() > 1 && matches!(self.vhosts.resolve(host), Resolved::Default(..))
    }

    /// The virtual host of a host name.
    pub(super) fn resolve(&self, host: &str) -> Result<Arc<VirtualHost>, Refusal> {
        if self.vhosts.is_empty() {
            return Ok(self.defaults.clone());
        }
        self.vhosts.resolve(host).accepted().map(|(_, vhost)| vhost.clone())
    }
}
