//! HTTP hooks: the server asks a back end about clients and sends it notices, with the calls that SRS makes.
//!
//! Nothing here blocks a connection. A question or a notice becomes a job in the queue of its client ([`order`]). The
//! threads of each URL ([`endpoint`]) make the calls of the first job in each queue; each URL has its own limits. An
//! `Answer` then gives the verdict to the connection.

mod body;
mod complaints;
mod endpoint;
mod health;
mod names;
mod order;
mod probe;
mod reply;
mod settings;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anabranch_core::conn::{Ask, Notice, StreamFacts, Subject, Verdict};
use anabranch_host::{Answer, Hooks};

use body::Event;
use endpoint::{Endpoint, EndpointKey, Sort};
pub(crate) use health::UrlState;
use order::{Job, Kind, Order, on_failure};
pub(crate) use probe::{Probe, probe};
pub(crate) use settings::HookSettings;
use settings::MARGIN;
use tally::Lost;
pub(crate) use tally::{BUCKETS, Tally};

use crate::identity::Identity;
use crate::record::RecordedFile;

/// Checks that the URLs of these settings can be called, as the start does.
///
/// # Errors
/// The file of CA certificates cannot be read or used.
pub(crate) fn check(settings: &HookSettings) -> Result<(), String> {
    settings.all_urls().try_for_each(|url| EndpointKey::new(url, settings)?.check())
}

/// The hooks of all virtual hosts. Clones share the same hooks.
#[derive(Clone)]
pub(crate) struct HttpHooks {
    inner: Arc<Inner>,
}

struct Inner {
    identity: Identity,
    routes: RwLock<Routes>,
    order: Arc<Order>,
}

/// The URLs that are called for each virtual host.
#[derive(Default)]
struct Routes {
    default: Arc<Route>,
    vhosts: HashMap<String, Arc<Route>>,
}

#[derive(Default)]
struct Route {
    settings: HookSettings,
    endpoints: HashMap<Event, Vec<Arc<Endpoint>>>,
}

impl HttpHooks {
    /// Hooks with the settings in `vhosts` for those virtual hosts, and with `default` for all others.
    ///
    /// # Errors
    /// Certificates cannot be read, or the system starts no thread.
    pub(crate) fn new(
        identity: Identity,
        default: &HookSettings,
        vhosts: &HashMap<String, HookSettings>,
    ) -> Result<Self, String> {
        let inner = Inner { identity, routes: RwLock::default(), order: Arc::default() };
        let hooks = HttpHooks { inner: Arc::new(inner) };
        hooks.update(default, vhosts)?;
        Ok(hooks)
    }

    /// Puts these settings in force. Calls under way or waiting keep the settings they have. What core asks about is
    /// set elsewhere: see [`HookSettings::apply`].
    ///
    /// # Errors
    /// Certificates cannot be read, or the system starts no thread; then nothing changes.
    pub(crate) fn update(&self, default: &HookSettings, vhosts: &HashMap<String, HookSettings>) -> Result<(), String> {
        let mut known = self.inner.routes().endpoints();
        let default = Arc::new(Route::new(default, &mut known)?);
        let mut routes = Routes { default, vhosts: HashMap::new() };
        for (name, settings) in vhosts {
            routes.vhosts.insert(name.clone(), Arc::new(Route::new(settings, &mut known)?));
        }
        *self.inner.routes.write().unwrap_or_else(PoisonError::into_inner) = routes;
        Ok(())
    }

    /// Waits until all calls are made, at most for `time`. Returns how many are left.
    pub(crate) fn flush(&self, time: Duration) -> usize {
        self.inner.order.wait_until_done(time)
    }

    /// A file of a recording is complete: sends the notice. Does not block.
    pub(crate) fn recorded(&self, file: &RecordedFile) {
        let route = self.inner.route(file.key.vhost());
        if route.endpoints(Event::Dvr).is_empty() {
            return;
        }
        let stream = StreamFacts { key: file.key.clone(), params: file.publisher.params.clone() };
        let body = body::of_recording(file, &self.inner.identity);
        // Files of the program's own publications have an order, too: no connection has the number 0.
        let connection = file.publisher.connection.unwrap_or(0);
        let vhost = file.key.vhost().to_owned();
        self.inner.notify(&route, connection, (Event::Dvr, Subject::Publish(stream), vhost), body);
    }

    /// Each URL that is called, with its state.
    pub(crate) fn urls(&self) -> Vec<UrlState> {
        self.inner.routes().urls()
    }

    /// Counts of calls and failures, for the metrics.
    pub(crate) fn tally(&self) -> &Tally {
        self.inner.order.tally()
    }
}

impl Inner {
    fn routes(&self) -> std::sync::RwLockReadGuard<'_, Routes> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn route(&self, vhost: &str) -> Arc<Route> {
        let routes = self.routes();
        routes.vhosts.get(vhost).unwrap_or(&routes.default).clone()
    }
}

impl Routes {
    /// Each endpoint once, with the calls that it gets and the virtual hosts that make them, in the order of the URLs.
    fn urls(&self) -> Vec<UrlState> {
        let mut found: Vec<(Arc<Endpoint>, UrlState)> = Vec::new();
        let all = ("", &self.default);
        let vhosts = self.vhosts.iter().map(|(name, route)| (name.as_str(), route));
        for (vhost, route) in vhosts.chain([all]) {
            for (event, endpoint) in
                route.endpoints.iter().flat_map(|(event, list)| list.iter().map(move |endpoint| (*event, endpoint)))
            {
                let index = found.iter().position(|(known, _)| Arc::ptr_eq(known, endpoint)).unwrap_or_else(|| {
                    found.push((endpoint.clone(), endpoint.state()));
                    found.len() - 1
                });
                if let Some((_, state)) = found.get_mut(index) {
                    state.add(event.name(), vhost);
                }
            }
        }
        let mut states: Vec<_> = found.into_iter().map(|(_, state)| state).collect();
        states.sort_by(|a, b| (&a.url, &a.calls).cmp(&(&b.url, &b.calls)));
        states
    }

    fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        let routes = self.vhosts.values().chain([&self.default]);
        routes.flat_map(|route| route.endpoints.values().flatten().cloned()).collect()
    }
}

impl Route {
    /// Known endpoints are used again: they keep their connections, and share their limits.
    fn new(settings: &HookSettings, known: &mut Vec<Arc<Endpoint>>) -> Result<Self, String> {
        let mut endpoints: HashMap<_, Vec<_>> = HashMap::new();
        for event in Event::ALL {
            for url in settings.urls(event) {
                let key = EndpointKey::new(&url.0, settings)?;
                let endpoint = match known.iter().find(|endpoint| *endpoint.key() == key) {
                    Some(endpoint) => endpoint.clone(),
                    None => {
                        let endpoint = Arc::new(Endpoint::new(key)?);
                        known.push(endpoint.clone());
                        endpoint
                    }
                };
                endpoints.entry(event).or_default().push(endpoint);
            }
        }
        Ok(Route { settings: settings.clone(), endpoints })
    }

    fn endpoints(&self, event: Event) -> &[Arc<Endpoint>] {
        self.endpoints.get(&event).map_or(&[], Vec::as_slice)
    }
}

impl Hooks for HttpHooks {
    fn ask(&self, ask: Ask, answer: Answer) {
        let Some(event) = Event::asking(&ask.subject) else {
            // Only another server could answer this, and none is configured.
            answer.give(Verdict::Deny("no hook answers this question".to_owned()));
            return;
        };
        let vhost = body::vhost(&ask.subject, &ask.client).to_owned();
        let route = self.inner.route(&vhost);
        let endpoints = route.endpoints(event).to_vec();
        if endpoints.is_empty() {
            // Core asks this only so that the notice follows.
            answer.give(Verdict::Allow);
            return;
        }
        let mut places = VecDeque::with_capacity(endpoints.len());
        for endpoint in &endpoints {
            let Some(place) = endpoint.admit(Sort::Question) else {
                self.inner.order.tally().leave_unanswered();
                endpoint.complain(&format!("too many calls wait; {} is not called", event.name()));
                answer.give(on_failure(route.settings.allow_on_failure));
                return;
            };
            places.push_back(place);
        }
        let deadline = ask.deadline.checked_sub(MARGIN).unwrap_or(ask.deadline).max(Instant::now());
        let kind = Kind::Ask { answer: Some(answer), deadline, allow_on_failure: route.settings.allow_on_failure };
        let body = body::of_question(event, &ask, &self.inner.identity).into();
        self.inner.order.push(ask.client.connection, Job { event, subject: ask.subject, vhost, body, places, kind });
    }

    fn tell(&self, notice: Notice) {
        let Some(event) = Event::telling(&notice.subject) else {
            return;
        };
        let vhost = body::vhost(&notice.subject, &notice.client).to_owned();
        let route = self.inner.route(&vhost);
        if route.endpoints(event).is_empty() {
            return;
        }
        let body = body::of_notice(event, &notice, &self.inner.identity);
        self.inner.notify(&route, notice.client.connection, (event, notice.subject, vhost), body);
    }
}

impl Inner {
    /// Sends a notice to all URLs of its call that have room for it.
    fn notify(&self, route: &Route, connection: u64, (event, subject, vhost): (Event, Subject, String), body: String) {
        let body: Arc<str> = body.into();
        let sort = Sort::notice(event, &body);
        let mut places = VecDeque::new();
        for endpoint in route.endpoints(event) {
            match endpoint.admit(sort) {
                Some(place) => places.push_back(place),
                None => {
                    self.order.tally().lose(event, Lost::Memory);
                    endpoint.complain(&format!("the memory for notices is used up; {} is dropped", event.name()));
                }
            }
        }
        if places.is_empty() {
            return;
        }
        let HookSettings { retries, retry_after, .. } = route.settings;
        let kind = Kind::Tell { retries: retries.min(100), retry_after: retry_after.0, open: 0 };
        self.order.push(connection, Job { event, subject, vhost, body, places, kind });
    }
}

impl fmt::Debug for HttpHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpHooks").field("identity", &self.inner.identity).finish_non_exhaustive()
    }
}
