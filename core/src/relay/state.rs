use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::audience::Audience;
use super::desk::Desk;
use super::plan::{Plan, Times};
use super::relay::Relay;
use super::room::Room;
use super::rules::{Rules, StreamRules};
use super::{
    AttemptId, Backoff, Edge, EndedBecause, Forward, NotAdded, Order, PushTarget, RelayEvent, RelayId, RelayKind,
    Remark, TargetSource,
};
use crate::client::Destination;
use crate::cluster::Cluster;
use crate::hub::{Hub, RelayFacts, Standing};
use crate::policy::PASS;
use crate::url::{Params, StreamKey};

/// The most targets that the API may add.
const API_TARGETS: usize = 1000;
/// The most targets that a hook may give a stream.
pub(super) const HOOK_TARGETS: usize = 32;
/// The longest time for which a name counts as absent.
const LONGEST_ABSENCE: Duration = Duration::from_secs(1);

/// All relays of a server, under one lock. Nothing here is done for each frame.
#[derive(Debug)]
pub(super) struct State {
    hub: Hub,
    pub(super) rules: Rules,
    pub(super) desk: Desk,
    relays: BTreeMap<RelayId, Relay>,
    by_key: HashMap<StreamKey, Vec<RelayId>>,
    timers: BTreeSet<(Instant, RelayId)>,
    /// Names that no origin had, and until when that holds; and the same in the order of these times.
    absent: HashMap<StreamKey, Instant>,
    absences: BTreeSet<(Instant, StreamKey)>,
    room: Room,
    /// Targets of the configuration that were removed for the publication of a stream that has this number.
    removed: HashMap<StreamKey, (u64, Vec<Destination>)>,
    /// Relays for which something happened since they were last looked at.
    touched: BTreeSet<RelayId>,
    /// Names of which the relays must be compared with what there should be.
    unsure: BTreeSet<StreamKey>,
    /// True after new settings: all names are unsure.
    resync: bool,
    last_relay: u64,
    /// What the server has and wants in the directory of its cluster.
    pub(super) cluster: Cluster,
    pub(super) closing: bool,
    /// The targets that the API has added.
    api_targets: usize,
}

impl State {
    pub(super) fn new(hub: Hub, seed: u64) -> Self {
        State {
            hub,
            rules: Rules::default(),
            desk: Desk::new(seed),
            relays: BTreeMap::new(),
            by_key: HashMap::new(),
            timers: BTreeSet::new(),
            absent: HashMap::new(),
            absences: BTreeSet::new(),
            room: Room::default(),
            removed: HashMap::new(),
            touched: BTreeSet::new(),
            unsure: BTreeSet::new(),
            resync: false,
            last_relay: 0,
            cluster: Cluster::default(),
            closing: false,
            api_targets: 0,
        }
    }

    /// Other settings are in force.
    pub(super) fn set_rules(&mut self, rules: Rules) {
        if let Some(cluster) = rules.cluster() {
            self.cluster.set_recheck(cluster.recheck);
        }
        self.rules = rules;
        self.resync = true;
        self.collect();
    }

    /// The hub tells its changes only while a relay could depend on them.
    fn collect(&self) {
        let needed = self.rules.has_any() || !self.relays.is_empty();
        self.hub.changes().collect(needed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.closing && self.relays.is_empty()
    }

    pub(super) fn close(&mut self, now: Instant) {
        self.closing = true;
        self.unsure.clear();
        for relay in self.relays.values_mut() {
            relay.end(now, EndedBecause::Shutdown, &mut self.desk);
            self.touched.insert(relay.id);
        }
    }

    /// Does all that is due. The orders are at the desk then. Returns when there is more to do.
    pub(super) fn run(&mut self, now: Instant) -> Option<Instant> {
        if std::mem::take(&mut self.resync) {
            let streams = self.hub.keys();
            self.unsure.extend(streams);
            self.unsure.extend(self.by_key.keys().cloned());
        }
        let mut changed = self.hub.changes().take();
        self.unsure.append(&mut changed);
        self.forget_absent(now);
        loop {
            while let Some(id) = self.next_due(now) {
                self.step(now, id);
            }
            let Some(key) = self.unsure.pop_first() else {
                break;
            };
            self.sync(now, &key);
        }
        let asks = self.cluster.tick(now);
        let absent = self.absences.first().map(|(end, _)| *end);
        self.timers.first().map(|(at, _)| *at).into_iter().chain(absent).chain(asks).min()
    }

    fn next_due(&mut self, now: Instant) -> Option<RelayId> {
        if let Some(id) = self.touched.pop_first() {
            return Some(id);
        }
        self.timers.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    fn step(&mut self, now: Instant, id: RelayId) {
        let Some(relay) = self.relays.get_mut(&id) else {
            return;
        };
        if let Some(at) = relay.timer.take() {
            self.timers.remove(&(at, id));
        }
        let was_ending = !relay.is_alive();
        let goes_on = relay.step(now, &mut self.desk);
        // A try that failed may have made room for the next one.
        let goes_on = goes_on && relay.step(now, &mut self.desk);
        if !was_ending && relay.ending == Some(EndedBecause::NoOrigin) && relay.kind() == RelayKind::Pull {
            relay.remark_own(RelayEvent::Absent, &mut self.desk);
            let (key, rules) = (relay.key.clone(), relay.rules.clone());
            self.note_absent(now, &key, rules.edge.as_ref());
        }
        let Some(relay) = self.relays.get_mut(&id) else {
            return;
        };
        if goes_on {
            relay.timer = relay.due();
            if let Some(at) = relay.timer {
                self.timers.insert((at, id));
            }
            if relay.kind() == RelayKind::Pull && relay.is_alive() {
                let (key, comes) = (relay.key.clone(), relay.is_live());
                self.look_for(now, &key, comes);
                self.check_children(&key);
            }
        } else {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: RelayId) {
        let Some(relay) = self.relays.remove(&id) else {
            return;
        };
        if relay.source == TargetSource::Api {
            self.api_targets -= 1;
        }
        if let Some(ids) = self.by_key.get_mut(&relay.key) {
            ids.retain(|known| *known != id);
            if ids.is_empty() {
                self.by_key.remove(&relay.key);
            }
        }
        // All that wait for it are of the same name.
        for other in self.by_key.get(&relay.key).into_iter().flatten() {
            if let Some(other) = self.relays.get_mut(other)
                && other.after == Some(id)
            {
                other.after = None;
                self.touched.insert(other.id);
            }
        }
        self.room.leave(&relay);
        // A successor may have waited for its end.
        if !self.closing {
            self.unsure.insert(relay.key);
        }
        self.collect();
    }

    fn note_absent(&mut self, now: Instant, key: &StreamKey, edge: Option<&Edge>) {
        let time = edge.map_or(LONGEST_ABSENCE, |edge| edge.negative_cache.min(LONGEST_ABSENCE));
        if let Some(before) = self.absent.insert(key.clone(), now + time) {
            self.absences.remove(&(before, key.clone()));
        }
        self.absences.insert((now + time, key.clone()));
        self.tell_absent(key);
    }

    fn tell_absent(&mut self, key: &StreamKey) {
        if let Some(stream) = self.hub.set_absent(key, true) {
            self.desk.orders.push_back(Order::Wake(stream));
        }
    }

    fn forget_absent(&mut self, now: Instant) {
        while self.absences.first().is_some_and(|(end, _)| *end <= now)
            && let Some((_, key)) = self.absences.pop_first()
        {
            self.absent.remove(&key);
            self.hub.set_absent(&key, false);
            self.unsure.insert(key);
        }
    }

    /// Does something with the relay of an attempt, and looks at it with the next poll.
    pub(super) fn with<T>(&mut self, attempt: AttemptId, act: impl FnOnce(&mut Relay, &mut Desk) -> T) -> Option<T> {
        let id = *self.desk.attempts.get(&attempt)?;
        let relay = self.relays.get_mut(&id)?;
        self.touched.insert(id);
        Some(act(relay, &mut self.desk))
    }

    pub(super) fn with_relay<T>(&mut self, id: RelayId, act: impl FnOnce(&mut Relay, &mut Desk) -> T) -> Option<T> {
        let relay = self.relays.get_mut(&id)?;
        self.touched.insert(id);
        Some(act(relay, &mut self.desk))
    }

    pub(super) fn relays(&self) -> impl Iterator<Item = &Relay> {
        self.relays.values()
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The relays of the name are to be compared with what there should be.
    pub(super) fn is_unsure(&mut self, key: StreamKey) {
        self.unsure.insert(key);
    }

    pub(super) fn of_key(&self, key: &StreamKey) -> impl Iterator<Item = &Relay> {
        self.by_key.get(key).into_iter().flatten().filter_map(|id| self.relays.get(id))
    }

    /// Makes the relays of a name those that there should be.
    fn sync(&mut self, now: Instant, key: &StreamKey) {
        if self.closing {
            return;
        }
        let standing = self.hub.standing(key);
        let rules = self.rules.of(key).cloned();
        if let Some(rules) = &rules {
            self.adopt(key, rules);
        }
        self.sync_origins(now, key, rules.as_ref());
        self.sync_pushes(now, key, &standing, rules.as_ref());
        self.sync_pull(now, key, &standing, rules.as_ref());
        self.sync_wants(now, key);
        self.sync_backup(now, key);
        if let Some(connection) = standing.connection {
            self.sync_upwards(key, connection);
        }
    }

    /// The relays of a name go by these rules from now on.
    fn adopt(&mut self, key: &StreamKey, rules: &Arc<StreamRules>) {
        let Some(times) = rules.edge.as_ref().map(times_of_edge) else {
            return;
        };
        for id in self.by_key.get(key).into_iter().flatten() {
            if let Some(relay) = self.relays.get_mut(id).filter(|relay| relay.kind() != RelayKind::Push) {
                self.room.leave(relay);
                relay.rules = rules.clone();
                if relay.is_placed || relay.is_alive() {
                    self.room.enter(relay);
                }
                relay.adopt(times);
            }
        }
    }

    /// What clients publish goes to the origins that the configuration has now, or stays here if there are none.
    fn sync_origins(&mut self, now: Instant, key: &StreamKey, rules: Option<&Arc<StreamRules>>) {
        let edge = rules.and_then(|rules| rules.edge.as_ref()).filter(|edge| edge.publish && !edge.origins.is_empty());
        let of_key = self.of_key(key).filter(|one| one.kind() == RelayKind::Upward && one.is_alive());
        for id in of_key.map(|one| one.id).collect::<Vec<_>>() {
            self.with_relay(id, |relay, desk| relay.publish_at(now, edge, desk));
        }
    }

    /// The client of this connection publishes the stream here. A relay of clients that have lost the name to it ends, if
    /// there is one of that client.
    fn sync_upwards(&mut self, key: &StreamKey, connection: u64) {
        let of_key = self.of_key(key).filter(|one| one.kind() == RelayKind::Upward);
        let ids: Vec<_> = of_key.map(|one| one.id).collect();
        let its = ids.iter().filter(|id| self.relays.get_mut(id).is_some_and(|relay| relay.published_by(connection)));
        if its.count() > 0 {
            for id in ids {
                self.with_relay(id, |relay, _| relay.give_way(connection));
            }
        }
    }

    fn sync_pushes(&mut self, now: Instant, key: &StreamKey, standing: &Standing, rules: Option<&Arc<StreamRules>>) {
        let ids: Vec<RelayId> =
            self.of_key(key).filter(|one| one.kind() == RelayKind::Push && one.is_alive()).map(|one| one.id).collect();
        if self.removed.get(key).is_some_and(|(publication, _)| standing.publication != Some(*publication)) {
            self.removed.remove(key);
        }
        if standing.publication.is_none() {
            for id in ids {
                self.with_relay(id, |relay, desk| match relay.source {
                    TargetSource::Api => relay.rest(now, desk),
                    _ => relay.end(now, EndedBecause::Unpublished, desk),
                });
            }
            return;
        }
        let params = standing.published_by.as_deref().map_or("", |facts| &facts.params);
        let forwards: &[Forward] = rules.map_or(&[], |rules| &rules.forward);
        let mut wanted: Vec<(PushTarget, &Forward)> = Vec::new();
        for forward in forwards.iter().filter(|forward| forward.takes(key)) {
            match forward.to.target(key, params) {
                Ok(target) => {
                    if wanted.iter().all(|(known, _)| known.destination() != target.destination()) {
                        wanted.push((target, forward));
                    }
                }
                Err(error) => self.not_begun(key, RelayKind::Push, error.to_string()),
            }
        }
        for id in ids {
            self.with_relay(id, |relay, desk| {
                if let Some(rules) = rules {
                    relay.rules = rules.clone();
                }
                if relay.source == TargetSource::Configuration {
                    match wanted.iter().find(|(target, _)| relay.goes_to(target.destination())) {
                        Some((_, forward)) => relay.adopt(times_of_forward(forward)),
                        None => return relay.end(now, EndedBecause::Removed, desk),
                    }
                }
                relay.resume(now);
            });
        }
        for (target, forward) in wanted {
            let removed = self.removed.get(key);
            if removed.is_some_and(|(_, removed)| removed.contains(target.destination())) {
                continue;
            }
            // One that still says goodbye holds the name at the target.
            let is_there =
                self.of_key(key).any(|one| one.kind() == RelayKind::Push && one.goes_to(target.destination()));
            if !is_there && let Some(rules) = rules {
                let (plan, times) = (Plan::Push { idle: false }, times_of_forward(forward));
                self.begin(now, key, TargetSource::Configuration, plan, rules.clone(), times, vec![target]);
            }
        }
    }

    fn sync_pull(&mut self, now: Instant, key: &StreamKey, standing: &Standing, rules: Option<&Arc<StreamRules>>) {
        let pull = self.of_key(key).find(|one| one.kind() == RelayKind::Pull);
        let pull = pull.map(|one| (one.id, one.is_alive()));
        let edge = self.pulls_by(rules.and_then(|rules| rules.edge.as_ref()));
        let end = match (edge, standing.publication) {
            (None, _) => Some(EndedBecause::Removed),
            (_, Some(_)) => Some(EndedBecause::Published),
            _ => None,
        };
        let (Some(edge), Some(rules), None) = (edge, rules, end) else {
            if let (Some((id, _)), Some(why)) = (pull, end) {
                self.with_relay(id, |relay, desk| relay.end(now, why, desk));
            }
            return;
        };
        // A client that waits for the origin's verdict publishes next.
        match pull {
            // One that still says goodbye may hold the only place at the origin.
            Some((_, false)) => {}
            Some((id, true)) => {
                let (targets, place) = self.pull_targets(edge, key, None);
                if edge.origins.is_empty() && !targets.is_empty() && !self.place(now, id, edge) {
                    return;
                }
                let wanting = standing.clients + self.cluster.children.count(key);
                self.with_relay(id, |relay, desk| {
                    if edge.origins.is_empty() {
                        relay.go_to(now, targets, place, desk);
                    } else if !relay.has_same_servers(&targets) {
                        return relay.end(now, EndedBecause::Removed, desk);
                    }
                    if let Plan::Pull(audience) = &mut relay.plan {
                        audience.count(now, wanting, edge.linger);
                    }
                });
            }
            None if standing.clients == 0 => {}
            None if self.absent.contains_key(key) => self.tell_absent(key),
            None => {
                let client = standing.wanted_by.clone();
                let (targets, place) = self.pull_targets(edge, key, client.as_ref().map(|client| &*client.facts));
                let is_placed = edge.origins.is_empty() && !targets.is_empty();
                if !self.has_room(now, edge, &rules.id, is_placed) {
                    self.not_begun(key, RelayKind::Pull, format!("there are {} pulls already", edge.pulls));
                    return self.note_absent(now, key, Some(edge));
                }
                let plan = Plan::Pull(Box::new(Audience::new(now, edge, client)));
                let (rules, times) = (rules.clone(), times_of_edge(edge));
                let id = self.begin(now, key, TargetSource::Configuration, plan, rules, times, targets);
                self.with_relay(id, |relay, _| relay.owner = place);
            }
        }
    }

    /// True if there may be one more pull. One that waits for a server that has the stream ends the oldest of these, which
    /// had its time, so that names that no server has keep no other one from being asked about.
    fn has_room(&mut self, now: Instant, edge: &Edge, rules: &Arc<str>, is_placed: bool) -> bool {
        if is_placed || edge.pulls == 0 {
            return self.room.placed(rules) < edge.pulls;
        }
        while self.room.unplaced(rules) >= edge.pulls
            && let Some(oldest) = self.room.oldest_unplaced(rules)
        {
            self.end_absent(now, oldest);
        }
        true
    }

    /// A pull that has waited for a server has one now, and counts among those that have. False if it ends because there are
    /// as many as there may be.
    fn place(&mut self, now: Instant, id: RelayId, edge: &Edge) -> bool {
        let Some(relay) = self.relays.get_mut(&id).filter(|relay| !relay.is_placed) else {
            return true;
        };
        if self.room.placed(&relay.rules.id) >= edge.pulls {
            let key = relay.key.clone();
            self.not_begun(&key, RelayKind::Pull, format!("there are {} pulls already", edge.pulls));
            self.end_absent(now, id);
            return false;
        }
        self.room.leave(relay);
        relay.is_placed = true;
        self.room.enter(relay);
        true
    }

    /// The first frame of a pull has come. Returns false if that is not wanted: another connection was first, or there are as
    /// many pulls as there may be.
    pub(super) fn first_frame(&mut self, now: Instant, attempt: AttemptId) -> bool {
        let id = self.desk.attempts.get(&attempt);
        let Some(relay) = id.and_then(|id| self.relays.get(id)).filter(|relay| relay.is_alive()) else {
            return false;
        };
        let (id, rules) = (relay.id, relay.rules.clone());
        rules.edge.as_ref().is_none_or(|edge| self.place(now, id, edge))
            && self.with(attempt, |relay, desk| relay.first_frame(now, attempt, desk)) == Some(true)
    }

    /// Ends a pull: its players are told that the stream is not there.
    fn end_absent(&mut self, now: Instant, id: RelayId) {
        let ended = self.with_relay(id, |relay, desk| {
            let was_alive = relay.is_alive();
            if was_alive {
                relay.remark_own(RelayEvent::Absent, desk);
                relay.end(now, EndedBecause::NoOrigin, desk);
            }
            was_alive.then(|| (relay.key.clone(), relay.rules.clone()))
        });
        // The goodbye to its servers takes no room.
        if let Some(relay) = self.relays.get(&id).filter(|relay| !relay.is_placed) {
            self.room.leave(relay);
        }
        if let Some((key, rules)) = ended.flatten() {
            self.note_absent(now, &key, rules.edge.as_ref());
        }
    }

    fn not_begun(&mut self, key: &StreamKey, kind: RelayKind, why: String) {
        self.last_relay += 1;
        let event = RelayEvent::NotBegun { why };
        let remark = Remark { id: RelayId(self.last_relay), kind, key: key.clone(), target: "".into(), event };
        self.desk.orders.push_back(Order::Remark(remark));
    }

    #[allow(clippy::too_many_arguments)] // all that makes a relay
    pub(super) fn begin(
        &mut self,
        now: Instant,
        key: &StreamKey,
        source: TargetSource,
        plan: Plan,
        rules: Arc<StreamRules>,
        times: Times,
        targets: Vec<PushTarget>,
    ) -> RelayId {
        self.last_relay += 1;
        let id = RelayId(self.last_relay);
        let mut relay = Relay::new(now, id, key.clone(), source, plan, rules, times, targets);
        relay.comes_after_another(&self.desk);
        self.room.enter(&relay);
        self.relays.insert(id, relay);
        self.by_key.entry(key.clone()).or_default().push(id);
        self.touched.insert(id);
        self.collect();
        id
    }

    /// Ends a push. One of the configuration comes back with the next publication of its stream.
    pub(super) fn remove_target(&mut self, now: Instant, id: RelayId) -> bool {
        let Some(relay) = self.relays.get(&id).filter(|one| one.kind() == RelayKind::Push && one.is_alive()) else {
            return false;
        };
        if relay.source == TargetSource::Configuration
            && let (Some(publication), Some(target)) = (self.hub.standing(&relay.key).publication, relay.destination())
        {
            let (of, targets) = self.removed.entry(relay.key.clone()).or_insert((publication, Vec::new()));
            if *of != publication {
                (*of, *targets) = (publication, Vec::new());
            }
            targets.push(target.clone());
        }
        self.with_relay(id, |relay, desk| relay.end(now, EndedBecause::Removed, desk));
        true
    }

    pub(super) fn add_target(
        &mut self,
        now: Instant,
        key: &StreamKey,
        url: &str,
        source: TargetSource,
    ) -> Result<RelayId, NotAdded> {
        if self.closing {
            return Err(NotAdded::Closed);
        }
        let target = PushTarget::of_url(url, key)?;
        let Some(rules) = self.rules.of(key).cloned() else {
            return Err(NotAdded::NoVhost);
        };
        let same = |one: &&Relay| one.kind() == RelayKind::Push && one.goes_to(target.destination()) && one.is_alive();
        if self.of_key(key).find(same).is_some() {
            return Err(NotAdded::Duplicate);
        }
        if source == TargetSource::Api && self.api_targets >= API_TARGETS {
            return Err(NotAdded::TooMany { limit: API_TARGETS });
        }
        let idle = self.hub.standing(key).publication.is_none();
        if idle && source == TargetSource::Hook {
            return Err(NotAdded::NotPublished);
        }
        self.api_targets += usize::from(source == TargetSource::Api);
        let times = Times {
            connect: Duration::from_secs(5),
            stagger: None,
            backoff: Backoff::default(),
            redirects: REDIRECTS_OF_PUSHES,
        };
        // One that still says goodbye holds the name at the target.
        let same = |one: &&Relay| one.kind() == RelayKind::Push && one.goes_to(target.destination());
        let before = self.of_key(key).filter(same).map(|one| one.id).max();
        let id = self.begin(now, key, source, Plan::Push { idle }, rules, times, vec![target]);
        self.with_relay(id, |relay, _| relay.after = before);
        // The stream may have begun or ended since the look at it, and the hub tells that only while there are relays.
        self.unsure.insert(key.clone());
        Ok(id)
    }

    /// The relay that publishes the name at an origin as this client would.
    pub(super) fn upward_of(&self, key: &StreamKey, client: &RelayFacts) -> Option<RelayId> {
        self.of_key(key).find(|one| one.is_alive() && one.is_upward_of(client)).map(|one| one.id)
    }

    /// The last relay that publishes the name at an origin and says goodbye, if no other one publishes it.
    pub(super) fn last_upward(&self, key: &StreamKey) -> Option<RelayId> {
        let all = self.of_key(key).filter(|one| one.kind() == RelayKind::Upward);
        all.map(|one| (one.is_alive(), one.id)).max().filter(|(is_alive, _)| !is_alive).map(|(_, id)| id)
    }

    pub(super) fn hook_targets(&self, key: &StreamKey) -> Vec<RelayId> {
        let of_hook = |one: &&Relay| one.source == TargetSource::Hook && one.is_alive();
        self.of_key(key).filter(of_hook).map(|one| one.id).collect()
    }
}

const REDIRECTS_OF_PUSHES: u8 = 3;

fn times_of_forward(forward: &Forward) -> Times {
    let (connect, backoff) = (forward.connect_timeout, forward.backoff);
    Times { connect, stagger: None, backoff, redirects: REDIRECTS_OF_PUSHES }
}

pub(super) fn times_of_edge(edge: &Edge) -> Times {
    Times {
        connect: edge.connect_timeout,
        stagger: Some(edge.stagger),
        backoff: edge.backoff,
        redirects: edge.redirects,
    }
}

/// The stream at each origin.
pub(super) fn targets_of(edge: &Edge, key: &StreamKey, client: Option<&RelayFacts>) -> Vec<PushTarget> {
    let params = client.filter(|_| edge.params).map_or("", |facts| &facts.params);
    let params = for_origins(params);
    edge.origins.iter().map(|origin| PushTarget::at_origin(origin, key, &params)).collect()
}

/// The virtual host goes to the origin in the URL of the application, and a pass is for this server only.
fn for_origins(params: &str) -> String {
    let Ok(params) = Params::parse(params) else {
        return String::new();
    };
    let kept = params.iter().filter(|(name, _)| !matches!(*name, "vhost" | "domain" | PASS));
    let pairs: Vec<_> =
        kept.map(|(name, value)| if value.is_empty() { name.to_owned() } else { format!("{name}={value}") }).collect();
    pairs.join("&")
}
