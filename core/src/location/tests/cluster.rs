//! Servers, their links to a directory, and everything that fails between them, in virtual time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::*;
use super::directory::{Directory, Notice};

/// What is on its way.
#[derive(Debug, Clone)]
enum Message {
    /// To the directory, from this connection of the server.
    Request(usize, u64, RequestId, Request),
    Reply(usize, u64, RequestId, Reply),
    Notice(usize, Notice),
    Opened(usize, u64),
}

/// One server, and what it believes.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) location: Location,
    pub(super) node: Arc<str>,
    /// Counts its connections; messages of earlier ones are lost.
    connection: u64,
    is_open: bool,
    /// The link drops everything.
    pub(super) is_cut: bool,
    /// Claims and questions without an answer, with their begin.
    pub(super) claims: BTreeMap<ClaimId, (Arc<str>, Instant)>,
    pub(super) finds: BTreeMap<FindId, Instant>,
    /// What it publishes: the claim of each name, and its lease.
    pub(super) published: BTreeMap<Arc<str>, (ClaimId, Option<u64>)>,
    /// Publishers of lost names, and when they will have stopped.
    stopping: Vec<(Instant, Arc<str>, ClaimId)>,
    pub(super) events: Vec<Event>,
}

#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) now: Instant,
    pub(super) config: LocationConfig,
    pub(super) directory: Directory,
    /// The directory's process is stopped: what is sent to it waits.
    pub(super) is_paused: bool,
    /// Nothing listens where the directory was.
    pub(super) is_down: bool,
    pub(super) servers: Vec<Server>,
    /// The longest time that a message takes.
    pub(super) delay: Duration,
    /// How long a server takes to stop a publisher.
    pub(super) stop: Duration,
    /// Notices are lost.
    pub(super) is_deaf: bool,
    pub(super) requests: usize,
    random: u64,
    sent: u64,
    under_way: BTreeMap<(Instant, u64), Message>,
    /// When the newest message of each server's connection arrives in each direction: they keep their order.
    newest: BTreeMap<(usize, u64, bool), Instant>,
    held: Vec<Message>,
}

impl Cluster {
    pub(super) fn new(count: usize, on_loss: OnLoss, seed: u64) -> Self {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let now = Instant::now() + Duration::from_secs(1000);
        let config = LocationConfig { on_loss, ..LocationConfig::new("".into()) };
        let mut cluster = Cluster {
            now,
            directory: Directory::new(config.ttl, now),
            config,
            is_paused: false,
            is_down: false,
            servers: Vec::new(),
            delay: Duration::from_millis(1),
            stop: Duration::ZERO,
            is_deaf: false,
            requests: 0,
            random: seed,
            sent: 0,
            under_way: BTreeMap::new(),
            newest: BTreeMap::new(),
            held: Vec::new(),
        };
        for index in 0..count {
            let server = cluster.server(index);
            cluster.servers.push(server);
        }
        cluster
    }

    /// A cluster whose servers have a connection.
    pub(super) fn connected(count: usize, on_loss: OnLoss) -> Self {
        let mut cluster = Cluster::new(count, on_loss, 7);
        cluster.pass(Duration::from_millis(100));
        assert!(cluster.servers.iter().all(|server| server.location.is_connected()));
        cluster
    }

    fn server(&mut self, index: usize) -> Server {
        let node: Arc<str> = format!("node-{index}").into();
        let config = LocationConfig { node: node.clone(), ..self.config.clone() };
        Server {
            location: Location::new(config, self.random(), self.now),
            node,
            connection: 0,
            is_open: false,
            is_cut: false,
            claims: BTreeMap::new(),
            finds: BTreeMap::new(),
            published: BTreeMap::new(),
            stopping: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The server dies and begins again with nothing.
    pub(super) fn crash(&mut self, index: usize) {
        let connection = self.servers[index].connection;
        let is_cut = self.servers[index].is_cut;
        self.servers[index] = Server { connection: connection + 1, is_cut, ..self.server(index) };
    }

    pub(super) fn random(&mut self) -> u64 {
        split_mix(&mut self.random)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.random() >> 33) as usize % limit
    }

    pub(super) fn claim(&mut self, index: usize, name: &str, conflict: Conflict) -> ClaimId {
        let name: Arc<str> = name.into();
        let server = &mut self.servers[index];
        let claim = server.location.claim(self.now, &name, conflict);
        server.claims.insert(claim, (name, self.now));
        self.run_server(index);
        claim
    }

    pub(super) fn find(&mut self, index: usize, name: &str) -> FindId {
        let server = &mut self.servers[index];
        let find = server.location.find(self.now, &name.into());
        server.finds.insert(find, self.now);
        self.run_server(index);
        find
    }

    /// The stream ends.
    pub(super) fn unpublish(&mut self, index: usize, name: &str) {
        if let Some((claim, _)) = self.servers[index].published.remove(name) {
            self.servers[index].location.release(self.now, claim);
            self.run_server(index);
        }
    }

    /// The answer to a question, asked until it comes.
    pub(super) fn ask(&mut self, index: usize, name: &str) -> Located {
        let find = self.find(index, name);
        let is_it = |event: &Event| match event {
            Event::Located { find: of, located } if *of == find => Some(located.clone()),
            _ => None,
        };
        let end = self.now + self.config.answer_limit + Duration::from_millis(1);
        loop {
            if let Some(located) = self.servers[index].events.iter().find_map(is_it) {
                return located;
            }
            assert!(self.now < end, "a question has its answer in time");
            self.step(end);
        }
    }

    /// Has the claim decided: the error, or nothing.
    pub(super) fn outcome(&mut self, index: usize, claim: ClaimId) -> Result<Option<u64>, ClaimError> {
        let is_it = |event: &Event| match event {
            Event::Granted { claim: of, fencing } if *of == claim => Some(Ok(*fencing)),
            Event::Refused { claim: of, error } if *of == claim => Some(Err(error.clone())),
            _ => None,
        };
        let end = self.now + self.config.answer_limit + Duration::from_millis(1);
        loop {
            if let Some(outcome) = self.servers[index].events.iter().find_map(is_it) {
                return outcome;
            }
            assert!(self.now < end, "a claim is decided in time");
            self.step(end);
        }
    }

    pub(super) fn publish(&mut self, index: usize, name: &str) -> Result<Option<u64>, ClaimError> {
        let claim = self.claim(index, name, Conflict::Refuse);
        self.outcome(index, claim)
    }

    /// The servers that publish a name.
    pub(super) fn owners(&self, name: &str) -> Vec<usize> {
        let publishes = |server: &Server| server.published.contains_key(name);
        (0..self.servers.len()).filter(|index| publishes(&self.servers[*index])).collect()
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Goes on to the next thing that happens, at most to `end`. False at the end.
    pub(super) fn step(&mut self, end: Instant) -> bool {
        let mut next = end;
        for index in 0..self.servers.len() {
            if let Some(wait) = self.run_server(index) {
                next = next.min(wait.max(self.now));
            }
            next = self.servers[index].stopping.iter().map(|(at, ..)| *at).fold(next, Instant::min);
        }
        if let Some(((at, _), _)) = self.under_way.first_key_value() {
            next = next.min(*at);
        }
        self.now = next;
        while let Some(entry) = self.under_way.first_entry()
            && entry.key().0 <= self.now
        {
            let message = entry.remove();
            self.deliver(message);
        }
        for index in 0..self.servers.len() {
            self.servers[index].stop(self.now);
            self.run_server(index);
        }
        self.now < end
    }

    /// Has a server do what it has to do. When it is to be called again.
    fn run_server(&mut self, index: usize) -> Option<Instant> {
        loop {
            let server = &mut self.servers[index];
            match server.location.poll(self.now) {
                Output::Connect => {
                    server.connection += 1;
                    let connection = server.connection;
                    if self.is_down {
                        server.location.handle_disconnected(self.now);
                    } else {
                        self.send(index, connection, true, Message::Opened(index, connection));
                    }
                }
                Output::Disconnect => {
                    server.connection += 1;
                    server.is_open = false;
                }
                Output::Ask(id, request) => {
                    let connection = server.connection;
                    self.send(index, connection, true, Message::Request(index, connection, id, request));
                }
                Output::Event(event) => server.take(event, self.now, &self.config, self.stop),
                Output::Wait(until) => return until,
            }
        }
    }

    fn send(&mut self, index: usize, connection: u64, to_directory: bool, message: Message) {
        if self.servers[index].is_cut {
            return;
        }
        let most = self.delay.as_micros() as usize;
        let delay = Duration::from_micros(self.below(most) as u64 + 1);
        let newest = self.newest.entry((index, connection, to_directory)).or_insert(self.now);
        *newest = (self.now + delay).max(*newest);
        let at = *newest;
        self.sent += 1;
        self.under_way.insert((at, self.sent), message);
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Request(..) if self.is_down => {}
            Message::Request(..) if self.is_paused => self.held.push(message),
            Message::Request(index, connection, id, request) => {
                // What an earlier connection has sent is done, too: it was in the directory's buffers.
                self.requests += 1;
                let node = self.servers[index].node.clone();
                let address = format!("rtmp://{node}");
                let (reply, notice) = self.directory.apply(self.now, (&node, &address), &request);
                self.send(index, connection, false, Message::Reply(index, connection, id, reply));
                if let Some(notice) = notice.filter(|_| !self.is_deaf) {
                    for other in 0..self.servers.len() {
                        let connection = self.servers[other].connection;
                        self.send(other, connection, false, Message::Notice(other, notice.clone()));
                    }
                }
            }
            Message::Reply(index, connection, id, reply) => {
                let server = &mut self.servers[index];
                if server.connection == connection && !server.is_cut {
                    server.location.handle_reply(self.now, id, reply);
                }
            }
            Message::Notice(index, notice) => {
                let server = &mut self.servers[index];
                if server.is_open && !server.is_cut {
                    server.location.handle_notice(self.now, &notice.name, &notice.node, notice.fencing);
                }
            }
            // The system accepts connections for a process that is stopped.
            Message::Opened(index, connection) => {
                let server = &mut self.servers[index];
                if server.connection == connection && !server.is_cut {
                    server.is_open = true;
                    server.location.handle_connected(self.now);
                }
            }
        }
    }

    /// The directory's process goes on.
    pub(super) fn resume(&mut self) {
        self.is_paused = false;
        for message in std::mem::take(&mut self.held) {
            self.deliver(message);
        }
    }

    /// The directory's process dies: its connections are reset.
    pub(super) fn kill_directory(&mut self) {
        self.is_down = true;
        self.is_paused = false;
        self.held.clear();
        for server in &mut self.servers {
            server.connection += 1;
            server.is_open = false;
            if !server.is_cut {
                server.location.handle_disconnected(self.now);
            }
        }
    }

    /// All that was published ends, and nothing is left anywhere.
    pub(super) fn end(&mut self) {
        self.is_down = false;
        self.resume();
        for index in 0..self.servers.len() {
            self.servers[index].is_cut = false;
            for name in self.servers[index].published.keys().cloned().collect::<Vec<_>>() {
                self.unpublish(index, &name);
            }
        }
        self.pass(self.config.ttl * 3);
        assert_eq!(self.directory.len(self.now), 0, "the directory is empty");
        for server in &self.servers {
            assert!(server.claims.is_empty() && server.finds.is_empty(), "{server:?}");
            assert_eq!(server.location.leases(), (0, 0));
            assert!(server.location.is_connected());
            // The renewal of its record, at most.
            assert!(server.location.timers.len() + server.location.outstanding() <= 1, "{server:?}");
        }
    }
}

impl Server {
    /// How often it has opened a connection, or given one up.
    pub(super) fn attempts(&self) -> u64 {
        self.connection
    }

    /// Publishers that have stopped by now.
    fn stop(&mut self, now: Instant) {
        for (_, name, claim) in self.stopping.extract_if(.., |(at, ..)| *at <= now) {
            if self.published.get(&name).is_some_and(|(of, _)| *of == claim) {
                self.published.remove(&name);
                self.location.release(now, claim);
            }
        }
    }

    fn take(&mut self, event: Event, now: Instant, config: &LocationConfig, stop: Duration) {
        let in_time = |begin: Instant| {
            assert!(now <= begin + config.answer_limit, "{event:?} took {:?}", now - begin);
        };
        match &event {
            Event::Granted { claim, fencing } => {
                let (name, begin) = self.claims.remove(claim).expect("it is answered once");
                in_time(begin);
                // One publisher of a name is enough: the first one.
                match self.published.entry(name) {
                    Entry::Occupied(_) => self.location.release(now, *claim),
                    Entry::Vacant(entry) => _ = entry.insert((*claim, *fencing)),
                }
            }
            Event::Refused { claim, .. } => {
                let (_, begin) = self.claims.remove(claim).expect("it is answered once");
                in_time(begin);
            }
            Event::Registered { name, fencing } => {
                let (_, lease) = self.published.get_mut(name).expect("it is published");
                assert!(lease.is_none_or(|lease| lease < *fencing), "fencing numbers rise");
                *lease = Some(*fencing);
            }
            Event::Lost { name, .. } => {
                let (claim, _) = self.published[name];
                self.stopping.push((now + stop, name.clone(), claim));
                if stop.is_zero() {
                    self.stop(now);
                }
            }
            Event::Located { find, .. } => {
                let begin = self.finds.remove(find).expect("it is answered once");
                in_time(begin);
            }
            Event::Changed { .. } => {}
        }
        self.events.push(event);
    }
}
