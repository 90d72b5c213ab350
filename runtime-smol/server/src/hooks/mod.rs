//! HTTP hooks: the server asks a back end about clients and sends it notices, with the calls that SRS makes, or those of
//! nginx-rtmp.
//!
//! Nothing here blocks a connection. A question or a notice becomes a job in the queue of its client ([`order`]). The
//! threads of each URL ([`endpoint`]) make the calls of the first job in each queue; each URL has its own limits. An
//! `Answer` then gives the verdict to the connection.

mod body;
mod complaints;
mod endpoint;
mod fields;
mod health;
mod names;
mod order;
mod probe;
mod reply;
mod settings;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use anabranch_core::conn::{Ask, ClientFacts, Notice, StreamFacts, Subject, Verdict};
use anabranch_host::{Answer, Handle, Hooks, PublishStart, SwitchNotice};
use tracing::warn;

use body::{Bodies, Event};
use complaints::About;
use endpoint::{Endpoint, EndpointKey, Sort};
pub(crate) use health::UrlState;
use order::{Job, Kind, Order, Targets, apart, on_failure};
pub(crate) use probe::{Probe, probe};
pub(crate) use settings::HookSettings;
use settings::{Form, MARGIN};
use tally::Lost;
pub(crate) use tally::{BUCKETS, Tally};

use crate::identity::Identity;
use crate::record::RecordedFile;
use crate::segments::StoredSegment;
use crate::settings::OfStreams;

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
    routes: RwLock<OfStreams<Arc<Route>>>,
    order: Arc<Order>,
}

/// The URLs that are called for some streams, or for the connections of a virtual host.
#[derive(Default)]
struct Route {
    settings: HookSettings,
    endpoints: HashMap<Event, Vec<Arc<Endpoint>>>,
}

impl HttpHooks {
    /// Hooks with these settings.
    ///
    /// # Errors
    /// Certificates cannot be read, or the system starts no thread.
    pub(crate) fn new(identity: Identity, settings: &OfStreams<HookSettings>) -> Result<Self, String> {
        let inner = Inner { identity, routes: RwLock::default(), order: Arc::default() };
        let hooks = HttpHooks { inner: Arc::new(inner) };
        hooks.update(settings)?;
        Ok(hooks)
    }

    /// Puts these settings in force. Calls under way or waiting keep the settings they have. What core asks about is
    /// set elsewhere: see [`HookSettings::apply`].
    ///
    /// # Errors
    /// Certificates cannot be read, or the system starts no thread; then nothing changes.
    pub(crate) fn update(&self, settings: &OfStreams<HookSettings>) -> Result<(), String> {
        let mut known: Vec<_> =
            self.inner.routes().iter().flat_map(|route| route.endpoints.values().flatten().cloned()).collect();
        // Applications mostly have the hooks of their virtual host.
        let mut routes: Vec<Arc<Route>> = Vec::new();
        let new = settings.try_map(|settings| match routes.iter().find(|route| route.settings == *settings) {
            Some(route) => Ok::<_, String>(route.clone()),
            None => {
                let route = Arc::new(Route::new(settings, &mut known)?);
                routes.push(route.clone());
                Ok(route)
            }
        })?;
        *self.inner.routes.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Waits until all calls are made, at most for `time`. Returns how many are left.
    pub(crate) fn flush(&self, time: Duration) -> usize {
        self.inner.order.wait_until_done(time)
    }

    /// Asks back ends about the targets of streams that clients publish on this server, and pushes the streams there.
    pub(crate) fn start(&self, handle: &Handle) {
        let pushes = handle.clone();
        self.inner.order.on_targets(Targets(Box::new(move |key, urls| {
            for error in pushes.forward_to(key, &urls) {
                let stream = key.shown();
                warn!(event = "forward_refused", stream, error = %error, "a target that on_forward gave for {stream} is left out: {error}");
            }
        })));
        let (hooks, asked) = (self.clone(), handle.clone());
        handle.on_publish(move |start| hooks.published(start, &asked));
    }

    /// A publication begins: asks for its targets. Does not block.
    fn published(&self, start: &PublishStart, handle: &Handle) {
        let Some(client) = &start.client else {
            return;
        };
        let route = self.inner.routes().stream(&start.key).clone();
        if route.endpoints(Event::Forward).is_empty() {
            return;
        }
        let stream = StreamFacts { key: start.key.clone(), params: client.params.clone() };
        let Some(facts) = handle.connection(client.connection).map(|info| info.facts) else {
            return;
        };
        let needs = |form| route.needs(Event::Forward, form);
        let body = Bodies::of_forward(&stream, &facts, &self.inner.identity, needs);
        let vhost = start.key.vhost().to_owned();
        self.inner.notify(&route, apart(client.connection), (Event::Forward, Subject::Publish(stream), vhost), body);
    }

    /// A file of a recording is complete: sends the notice. Does not block.
    pub(crate) fn recorded(&self, file: &RecordedFile) {
        let route = self.inner.routes().stream(&file.key).clone();
        if route.endpoints(Event::Dvr).is_empty() {
            return;
        }
        let stream = StreamFacts { key: file.key.clone(), params: file.publisher.params.clone() };
        let body = Bodies::of_recording(file, &self.inner.identity, |form| route.needs(Event::Dvr, form));
        // Files of the program's own publications have an order, too: no connection has the number 0.
        let connection = file.publisher.connection.unwrap_or(0);
        let vhost = file.key.vhost().to_owned();
        self.inner.notify(&route, connection, (Event::Dvr, Subject::Publish(stream), vhost), body);
    }

    /// A segment is complete.
    pub(crate) fn segment(&self, segment: &StoredSegment) {
        let route = self.inner.routes().stream(&segment.key).clone();
        if route.endpoints(Event::Hls).is_empty() {
            return;
        }
        let stream = StreamFacts { key: segment.key.clone(), params: segment.publisher.params.clone() };
        let body = Bodies::of_segment(segment, &self.inner.identity, |form| route.needs(Event::Hls, form));
        // Segments of the program's own publications have an order, too: no connection has the number 0.
        let connection = segment.publisher.connection.unwrap_or(0);
        let vhost = segment.key.vhost().to_owned();
        self.inner.notify(&route, connection, (Event::Hls, Subject::Publish(stream), vhost), body);
    }

    /// Each URL that is called, with its state, in order.
    pub(crate) fn urls(&self) -> Vec<UrlState> {
        urls(&self.inner.routes())
    }

    /// Counts of calls and failures, for the metrics.
    pub(crate) fn tally(&self) -> &Tally {
        self.inner.order.tally()
    }
}

impl Inner {
    fn routes(&self) -> RwLockReadGuard<'_, OfStreams<Arc<Route>>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The route of a stream, or of a connection to a virtual host.
    fn route(&self, subject: &Subject, client: &ClientFacts) -> Arc<Route> {
        let routes = self.routes();
        match subject {
            Subject::Publish(stream) | Subject::Play(stream) | Subject::Traverse(stream) => routes.stream(&stream.key),
            Subject::Connect => routes.vhost(&client.vhost),
        }
        .clone()
    }
}

impl Route {
    /// Known endpoints are used again: they keep their connections, and share their limits.
    fn new(settings: &HookSettings, known: &mut Vec<Arc<Endpoint>>) -> Result<Self, String> {
        let mut endpoints: HashMap<_, Vec<_>> = HashMap::new();
        for event in Event::ALL {
            for url in settings.urls(event) {
                let key = EndpointKey::new(url, settings)?;
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

    /// Whether a URL of this call gets it in this form.
    fn needs(&self, event: Event, form: Form) -> bool {
        self.endpoints(event).iter().any(|endpoint| endpoint.key().form() == form)
    }
}

/// Each URL as it is shown once, with the calls that it gets and the virtual hosts and applications that make them, in
/// order. A URL may have several endpoints: with other settings, or with another secret, which is not shown.
fn urls(routes: &OfStreams<Arc<Route>>) -> Vec<UrlState> {
    let mut states: BTreeMap<String, UrlState> = BTreeMap::new();
    let mut seen: Vec<&Arc<Endpoint>> = Vec::new();
    for (vhost, application, route) in routes.by_place() {
        for (event, endpoint) in
            route.endpoints.iter().flat_map(|(event, list)| list.iter().map(move |endpoint| (*event, endpoint)))
        {
            let url = endpoint.key().shown();
            if !seen.iter().any(|known| Arc::ptr_eq(known, endpoint)) {
                seen.push(endpoint);
                match states.get_mut(&url) {
                    Some(state) => state.merge(endpoint.state()),
                    None => _ = states.insert(url.clone(), endpoint.state()),
                }
            }
            if let Some(state) = states.get_mut(&url) {
                state.add(event.name(), vhost, application.as_deref());
            }
        }
    }
    states.into_values().collect()
}

impl Hooks for HttpHooks {
    fn ask(&self, ask: Ask, answer: Answer) {
        let Some(event) = Event::asking(&ask.subject) else {
            // Only another server could answer this, and none is configured.
            answer.give(Verdict::Deny("no hook answers this question".to_owned()));
            return;
        };
        let vhost = body::vhost(&ask.subject, &ask.client).to_owned();
        let route = self.inner.route(&ask.subject, &ask.client);
        let endpoints = route.endpoints(event).to_vec();
        if endpoints.is_empty() {
            // Core asks this only so that the notice follows.
            answer.give(Verdict::Allow);
            return;
        }
        let mut places = VecDeque::with_capacity(endpoints.len());
        for endpoint in &endpoints {
            let Some(place) = endpoint.admit(Sort::Question) else {
                self.inner.order.tally().fail_question();
                let about = About::new(event, ask.client.connection, &vhost, &ask.subject);
                endpoint.complain(&about, "too many calls wait; it is not called");
                answer.give(on_failure(route.settings.allow_on_failure));
                return;
            };
            places.push_back(place);
        }
        let deadline = ask.deadline.checked_sub(MARGIN).unwrap_or(ask.deadline).max(Instant::now());
        let allow_on_failure = route.settings.allow_on_failure;
        let kind = Kind::Ask { answer: Some(answer), deadline, allow_on_failure, renamed: None };
        let body = Bodies::of_question(event, &ask, &self.inner.identity, |form| route.needs(event, form));
        self.inner.order.push(ask.client.connection, Job { event, subject: ask.subject, vhost, body, places, kind });
    }

    fn notify(&self, notice: Notice) {
        let Some(event) = Event::telling(&notice.subject) else {
            return;
        };
        let vhost = body::vhost(&notice.subject, &notice.client).to_owned();
        let route = self.inner.route(&notice.subject, &notice.client);
        if route.endpoints(event).is_empty() {
            return;
        }
        let body = Bodies::of_notice(event, &notice, &self.inner.identity, |form| route.needs(event, form));
        self.inner.notify(&route, notice.client.connection, (event, notice.subject, vhost), body);
    }

    fn switched(&self, switch: SwitchNotice) {
        let route = self.inner.routes().stream(&switch.key).clone();
        if route.endpoints(Event::Switch).is_empty() {
            return;
        }
        let body = Bodies::of_switch(&switch, &self.inner.identity, |form| route.needs(Event::Switch, form));
        let SwitchNotice { key, client, .. } = switch;
        let vhost = key.vhost().to_owned();
        let subject = Subject::Publish(StreamFacts { key, params: String::new() });
        self.inner.notify(&route, client.connection, (Event::Switch, subject, vhost), body);
    }
}

impl Inner {
    /// Sends a notice to all URLs of its call that have room for it.
    fn notify(&self, route: &Route, connection: u64, (event, subject, vhost): (Event, Subject, String), body: Bodies) {
        let mut places = VecDeque::new();
        for endpoint in route.endpoints(event) {
            match endpoint.admit(Sort::notice(event, &body.of(endpoint.key().form()))) {
                Some(place) => places.push_back(place),
                None => {
                    self.order.tally().lose(event, Lost::Memory);
                    let about = About::new(event, connection, &vhost, &subject);
                    endpoint.complain(&about, "the memory for notices is used up; the notice is dropped");
                }
            }
        }
        if places.is_empty() {
            return;
        }
        let HookSettings { retries, retry_after, .. } = route.settings;
        let kind = Kind::Notice { retries: retries.min(100), retry_after: retry_after.0, open: 0, targets: None };
        self.order.push(connection, Job { event, subject, vhost, body, places, kind });
    }
}

impl fmt::Debug for HttpHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpHooks").field("identity", &self.inner.identity).finish_non_exhaustive()
    }
}
