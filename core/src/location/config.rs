use std::sync::Arc;
use std::time::Duration;

/// What a server does about names while the directory does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLoss {
    /// New publishers are accepted on this server alone; the name is claimed when the directory answers again. If another
    /// server has it by then, the publisher here is closed. Two servers can have one name meanwhile.
    #[default]
    Serve,
    /// New publishers are refused; those that publish go on.
    Refuse,
    /// As `Refuse`, and a publisher whose lease could not be renewed is closed before the directory gives the name to
    /// another server. No two servers have one name, unless the directory forgets a lease that it has confirmed.
    Strict,
}

/// How a server uses the directory.
#[derive(Debug, Clone)]
pub struct LocationConfig {
    /// The server's id, different for each server.
    pub node: Arc<str>,
    /// How long a lease holds without being renewed. Default 10 s. A server that dies keeps its names for this long; a
    /// directory with a standby takes 2 to 3 s to replace a dead one, so less than 5 s is too short for it.
    pub ttl: Duration,
    /// How long claims and questions wait for the directory. Default 1 s.
    pub answer_limit: Duration,
    /// What happens while the directory does not answer.
    pub on_loss: OnLoss,
    /// How long it is remembered which server has a stream. Default 1 s.
    pub found: Duration,
    /// How long it is remembered that no server has a stream. Default 250 ms.
    pub not_found: Duration,
    /// Most names whose server is remembered, and most names that are asked for at one time. Default 10,000, about
    /// 300 bytes each.
    pub cached_names: usize,
    /// Most leases. Default 100,000, about 400 bytes each.
    pub leases: usize,
}

impl LocationConfig {
    /// The defaults for the server `node`.
    pub fn new(node: Arc<str>) -> Self {
        LocationConfig {
            node,
            ttl: Duration::from_secs(10),
            answer_limit: Duration::from_secs(1),
            on_loss: OnLoss::default(),
            found: Duration::from_secs(1),
            not_found: Duration::from_millis(250),
            cached_names: 10_000,
            leases: 100_000,
        }
    }

    /// From the sending of a request on: how long the lease may be relied on. The rest covers clocks that run at
    /// different speeds, and the time that the server needs to close its publisher.
    pub(super) fn reliance(&self) -> Duration {
        self.ttl / 5 * 4
    }

    /// From the sending of a request on: when a lease is renewed. Two more attempts fit in before it ends.
    pub(super) fn renewal(&self) -> Duration {
        self.ttl / 3
    }

    /// A connection on which a request has waited this long is given up. A stopped process still accepts connections, so
    /// only replies show that the directory is alive.
    pub(super) fn hang_limit(&self) -> Duration {
        self.renewal().max(self.answer_limit)
    }

    /// The pause before the next attempt to connect: 50 ms, doubled with each failure, at most a fifth of the time to
    /// live.
    pub(super) fn retry_pause(&self, failures: u32) -> Duration {
        let doubled = Duration::from_millis(50).saturating_mul(1 << failures.min(10));
        doubled.min(self.ttl / 5)
    }
}
