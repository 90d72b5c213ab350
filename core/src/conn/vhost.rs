use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{Config, VhostConfig};
use crate::bandwidth::{Gate, TooSoon};
use crate::hub::Hub;
use crate::policy::{Counted, Questions, Refusal, Vhosts};
use crate::session::SessionConfig;
use crate::url::DEFAULT_VHOST;

/// A virtual host in use.
#[derive(Debug)]
pub(super) struct VirtualHost {
    pub(super) name: String,
    pub(super) config: VhostConfig,
    pub(super) session: Arc<SessionConfig>,
    /// The server's hub; streams created through it have this host's settings.
    pub(super) hub: Hub,
    counts: Arc<Counts>,
}

/// What is counted of a virtual host; the counts stay when its settings change. The hub counts streams, publishers and
/// players.
#[derive(Debug)]
struct Counts {
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
    /// Whether a bandwidth check may be made now.
    pub(super) fn admit_check(&self, now: Instant) -> Result<(), TooSoon> {
        self.counts.gate().admit(now)
    }

    /// Whether the limit allows one more connection.
    ///
    /// # Errors
    /// The limit of connections is reached.
    pub(super) fn check_connections(&self) -> Result<(), Refusal> {
        self.config.limits.check(Counted::Connections, self.counts.connections.load(Ordering::Relaxed))
    }

    /// Counts one more connection.
    ///
    /// # Errors
    /// The limit of connections is reached.
    pub(super) fn enter(&self) -> Result<ConnectionPermit, Refusal> {
        let limits = &self.config.limits;
        let one_more = |present: usize| limits.check(Counted::Connections, present).ok().map(|()| present + 1);
        let connections = &self.counts.connections;
        match connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(ConnectionPermit(self.counts.clone())),
            Err(_) => Err(Refusal::Limit(Counted::Connections)),
        }
    }

    /// Counts one more question, asked about a client at this address.
    ///
    /// # Errors
    /// The limit of questions is reached, that of all or that of this address.
    pub(super) fn question(&self, address: Option<IpAddr>) -> Result<QuestionPermit, Refusal> {
        self.counts.questions().try_add(address, &self.config.limits)?;
        Ok(QuestionPermit { counts: self.counts.clone(), address })
    }

    fn snapshot(&self, enabled: bool) -> VhostSnapshot {
        let counts = self.hub.counts(&self.name);
        VhostSnapshot {
            name: self.name.clone(),
            enabled,
            connections: self.counts.connections.load(Ordering::Relaxed),
            publishers: counts.publishers,
            players: counts.players,
            streams: counts.streams,
            questions: self.counts.questions().open(),
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
}

impl VirtualHosts {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<VirtualHost>> {
        let listed = self.vhosts.iter().map(|vhost| &vhost.settings);
        listed.chain(self.vhosts.is_empty().then_some(&self.defaults))
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
        let start = |name: &str, config: &VhostConfig, counts: Option<Arc<Counts>>| {
            let counts = match counts {
                Some(counts) => {
                    counts.reconfigure(config);
                    counts
                }
                None => Arc::new(Counts::new(config)),
            };
            Arc::new(VirtualHost {
                name: name.to_owned(),
                session: Arc::new(config.sessions()),
                hub: hub.with_config(Arc::new(config.streams())),
                counts,
                config: config.clone(),
            })
        };
        // If there are virtual hosts, no connection is counted in the defaults.
        let alone = if config.vhosts.is_empty() { before(DEFAULT_VHOST) } else { None };
        VirtualHosts {
            vhosts: config.vhosts.map(|vhost| start(&vhost.name, &vhost.settings, before(&vhost.name))),
            defaults: start(DEFAULT_VHOST, &config.defaults, alone),
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

    /// The virtual host of a host name.
    pub(super) fn resolve(&self, host: &str) -> Result<Arc<VirtualHost>, Refusal> {
        if self.vhosts.is_empty() {
            return Ok(self.defaults.clone());
        }
        self.vhosts.resolve(host).accepted().map(|(_, vhost)| vhost.clone())
    }
}
