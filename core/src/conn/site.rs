use std::sync::{Arc, Mutex, PoisonError};
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
    usage: Mutex<Usage>,
    /// How often the bandwidth check may be made.
    gate: Mutex<Gate>,
}

/// One of what is counted of a site. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Counter {
    site: Arc<Site>,
    counted: Counted,
}

impl Site {
    /// Whether a bandwidth check may be made now.
    pub(super) fn admit_check(&self, now: Instant) -> Result<(), TooSoon> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner).admit(now)
    }

    /// Counts one more.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub(super) fn count(self: &Arc<Self>, counted: Counted) -> Result<Counter, Refusal> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).try_add(counted)?;
        Ok(Counter { site: self.clone(), counted })
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
        let usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
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
        self.site.usage.lock().unwrap_or_else(PoisonError::into_inner).remove(self.counted);
    }
}

/// All virtual hosts of a server, or the one there is without any.
#[derive(Debug)]
pub(super) struct Sites {
    vhosts: Vhosts<Arc<Site>>,
    /// Of connections whose host is not known yet.
    pub(super) defaults: Arc<Site>,
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
        let site = |name: &str, config: &VhostConfig| {
            Arc::new(Site {
                name: name.to_owned(),
                session: Arc::new(config.session.clone()),
                hub: hub.with_config(Arc::new(config.streams())),
                usage: Mutex::new(Usage::new(config.limits)),
                gate: Mutex::new(Gate::new(
                    config.bandwidth_check.as_ref().map_or(Duration::ZERO, |check| check.interval),
                )),
                config: config.clone(),
            })
        };
        Sites {
            vhosts: config.vhosts.map(|vhost| site(&vhost.name, &vhost.settings)),
            defaults: site(DEFAULT_VHOST, &config.defaults),
        }
    }

    /// The site of a host name.
    pub(super) fn resolve(&self, host: &str) -> Result<Arc<Site>, Refusal> {
        if self.vhosts.is_empty() {
            return Ok(self.defaults.clone());
        }
        self.vhosts.resolve(host).accepted().map(|(_, site)| site.clone())
    }
}
