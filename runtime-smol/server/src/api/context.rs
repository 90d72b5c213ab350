use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anabranch_host::Handle;
use serde_json::Value;

use super::captures::Capturing;
use super::guard::Guard;
use super::machine::CpuMeter;
use super::metrics::Ledger;
use super::settings::ApiSettings;
use crate::cluster::Directory;
use crate::hooks::HttpHooks;
use crate::identity::Identity;
use crate::record::Recorder;
use crate::run::Runner;
use crate::segments::Outlets;
use crate::settings::ShownValue;
use crate::web::Pages;

/// Reads the configuration again. Returns what has changed, or why the old configuration stays in force.
pub(crate) type Reload = Arc<dyn Fn() -> Result<Value, String> + Send + Sync>;

/// Shows the configuration in force, each value with its origin.
pub(crate) type InForce = Arc<dyn Fn() -> Vec<ShownValue> + Send + Sync>;

/// The program's other parts, for their metrics.
#[derive(Debug, Clone)]
pub(crate) struct Workers {
    pub(crate) hooks: HttpHooks,
    pub(crate) recorder: Recorder,
    pub(crate) outlets: Outlets,
    pub(crate) runner: Runner,
    pub(crate) captures: Capturing,
    /// The directory of streams, if the server belongs to a cluster.
    pub(crate) directory: Option<Directory>,
    /// Whether servers of SRS may ask where a stream is without credentials.
    pub(crate) srs_lookup: bool,
}

/// The state from which all answers are made.
pub(super) struct Context {
    pub(super) handle: Handle,
    pub(super) reload: Option<Reload>,
    pub(super) in_force: Option<InForce>,
    pub(super) workers: Workers,
    pub(super) guard: Guard,
    pub(super) pages: Pages,
    pub(super) srs_lookup: bool,
    pub(super) identity: Identity,
    pub(super) pid: String,
    /// Unix time of the start, in seconds.
    pub(super) start: f64,
    pub(super) cpu: RefCell<CpuMeter>,
    pub(super) ledger: RefCell<Ledger>,
}

impl Context {
    pub(super) fn new(
        settings: &ApiSettings,
        identity: Identity,
        handle: Handle,
        reload: Option<Reload>,
        in_force: Option<InForce>,
        workers: Workers,
        pages: Pages,
    ) -> Self {
        Context {
            handle,
            reload,
            in_force,
            srs_lookup: workers.srs_lookup,
            workers,
            guard: Guard::new(settings),
            pages,
            identity,
            pid: std::process::id().to_string(),
            start: unix_time().as_secs_f64(),
            cpu: RefCell::default(),
            ledger: RefCell::new(Ledger::new(settings.metrics_streams)),
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// The time since 1970.
pub(super) fn unix_time() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The time since 1970 in milliseconds.
pub(super) fn now_ms() -> u64 {
    milliseconds(SystemTime::now())
}

/// A time in milliseconds since 1970.
pub(super) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
