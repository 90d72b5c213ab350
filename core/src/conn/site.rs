use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{Config, VhostConfig};
use crate::bandwidth::{Gate, TooSoon};
use crate::hub::Hub;
use crate::policy::{Counted, Refusal, Usage, Vhosts};
use crate::session::SessionConfig;
use crate::url::{DEFAULT_VHOST, StreamKey};

/// A virtual host at work.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) name: String,
    pub(super) config: VhostConfig,
    pub(super) session: Arc<SessionConfig>,
    /// The server's hub; streams created through it have this host's settings.
    pub(super) hub: Hub,
    counts: Arc<Counts>,
}

/// What is counted of a virtual host, whatever its settings come to be.
#[derive(Debug)]
struct Counts {
    usage: Mutex<Usage>,
    /// How often the bandwidth check may be made.
    gate: Mutex<Gate>,
}

/// One of what is counted of a site. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Counter {
    counts: Arc<Counts>,
    counted: Counted,
}

impl Counts {
    fn new(config: &VhostConfig) -> Self {
        let (usage, gate) = (Usage::new(config.limits), Gate::new(interval(config)));
        Counts { usage: Mutex::new(usage), gate: Mutex::new(gate) }
    }

    /// Who is there stays, whatever the limits are now.
    fn reconfigure(&self, config: &VhostConfig) {
        self.usage().set_limits(config.limits);
        self.gate().set_interval(interval(config));
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn interval(config: &VhostConfig) -> Duration {
    config.bandwidth_check.as_ref().map_or(Duration::ZERO, |check| check.interval)
}

impl Site {
    /// Whether a bandwidth check may be made now.
    pub(super) fn admit_check(&self, now: Instant) -> Result<(), TooSoon> {
        self.counts.gate().admit(now)
    }

    /// Counts one more.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub(super) fn count(&self, counted: Counted) -> Result<Counter, Refusal> {
        self.counts.usage().try_add(counted)?;
        Ok(Counter { counts: self.counts.clone(), counted })
    }

    /// Whether there may be this stream, beside the others of this virtual host.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub(super) fn check_streams(&self, key: &StreamKey) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        // Counting takes a look at each of them.
        limits.streams.map_or(Ok(()), |_| limits.check(Counted::Streams, self.hub.streams_beside(key)))
    }
}

impl Site {
    pub(super) fn snapshot(&self) -> VhostSnapshot {
        let usage = self.counts.usage();
        VhostSnapshot {
            name: self.name.clone(),
            connections: usage.present(Counted::Connections),
            publishers: usage.present(Counted::Publishers),
            players: usage.present(Counted::Players),
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.counts.usage().remove(self.counted);
    }
}

/// All virtual hosts of a server, or the one there is without any.
#[derive(Debug)]
pub(super) struct Sites {
    vhosts: Vhosts<Arc<Site>>,
    /// Of connections whose host is not known yet.
    pub(super) defaults: Arc<Site>,
    /// Those of before, as long as somebody is counted in them: who has not looked yet whether it may stay, or is told
    /// its last words. They may be back before it is gone.
    gone: Vec<(String, Weak<Counts>)>,
}

/// What is counted of a virtual host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VhostSnapshot {
    /// Its name.
    pub name: String,
    /// Connections that are past `connect`.
    pub connections: usize,
    /// Publishers.
    pub publishers: usize,
    /// Players.
    pub players: usize,
}

impl Sites {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Site>> {
        let listed = self.vhosts.iter().map(|vhost| &vhost.settings);
        listed.chain(self.vhosts.is_empty().then_some(&self.defaults))
    }

    pub(super) fn new(config: &Config, hub: &Hub) -> Self {
        Sites::build(config, hub, |_| None)
    }

    /// Those of other settings. A virtual host that stays, or is back, has its counts from before.
    pub(super) fn reconfigured(&self, config: &Config, hub: &Hub) -> Self {
        let here = self.iter().map(|site| (site.name.clone(), Arc::downgrade(&site.counts)));
        let before: Vec<_> = here.chain(self.gone.iter().cloned()).collect();
        let counts =
            |name: &str| before.iter().find(|(known, _)| known == name).and_then(|(_, counts)| counts.upgrade());
        let mut sites = Sites::build(config, hub, counts);
        let is_gone = |name: &str| sites.iter().all(|site| site.name != name);
        let gone = before.into_iter().filter(|(name, counts)| counts.strong_count() > 0 && is_gone(name));
        sites.gone = gone.collect();
        sites
    }

    fn build(config: &Config, hub: &Hub, before: impl Fn(&str) -> Option<Arc<Counts>>) -> Self {
        let site = |name: &str, config: &VhostConfig, counts: Option<Arc<Counts>>| {
            let counts = match counts {
                Some(counts) => {
                    counts.reconfigure(config);
                    counts
                }
                None => Arc::new(Counts::new(config)),
            };
            Arc::new(Site {
                name: name.to_owned(),
                session: Arc::new(config.sessions()),
                hub: hub.with_config(Arc::new(config.streams())),
                counts,
                config: config.clone(),
            })
        };
        // Beside virtual hosts the defaults are nobody's, and count nothing.
        let alone = if config.vhosts.is_empty() { before(DEFAULT_VHOST) } else { None };
        Sites {
            vhosts: config.vhosts.map(|vhost| site(&vhost.name, &vhost.settings, before(&vhost.name))),
            defaults: site(DEFAULT_VHOST, &config.defaults, alone),
            gone: Vec::new(),
        }
    }

    /// The site that is called this, if clients of it may stay.
    ///
    /// # Errors
    /// There is none, or it is disabled.
    pub(super) fn named(&self, name: &str) -> Result<Arc<Site>, Refusal> {
        let site = self.resolve(name)?;
        if site.name == name { Ok(site) } else { Err(Refusal::VhostUnknown) }
    }

    /// The site of a host name.
    pub(super) fn resolve(&self, host: &str) -> Result<Arc<Site>, Refusal> {
        if self.vhosts.is_empty() {
            return Ok(self.defaults.clone());
        }
        self.vhosts.resolve(host).accepted().map(|(_, site)| site.clone())
    }
}
