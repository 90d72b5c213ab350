use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::cluster::{ClaimNumber, DirectoryOrder, FindNumber};
use anabranch_core::location::{ClaimId, Event, FindId, Location, LocationConfig, Output, Request, RequestId};

use super::ClusterSim;
use super::directory::{Content, DirectoryState, Parcel};
use super::node::address_of;

/// A server's part in the directory: what the program has for it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) location: Location,
    /// Counts its connections to the directory.
    pub(super) connection: u64,
    is_open: bool,
    claims: BTreeMap<ClaimId, ClaimNumber>,
    claim_ids: BTreeMap<ClaimNumber, ClaimId>,
    finds: BTreeMap<FindId, FindNumber>,
    /// When it has something to do.
    pub(super) next: Option<Instant>,
}

/// The id of a server in the directory.
pub(super) fn id_of(node: usize) -> Arc<str> {
    format!("node-{node}").into()
}

impl Session {
    pub(super) fn new(node: usize, config: &LocationConfig, connection: u64, seed: u64, now: Instant) -> Self {
        let config = LocationConfig { node: id_of(node), ..config.clone() };
        Session {
            location: Location::new(config, seed, now),
            connection,
            is_open: false,
            claims: BTreeMap::new(),
            claim_ids: BTreeMap::new(),
            finds: BTreeMap::new(),
            next: Some(now),
        }
    }

    /// True if nothing of any stream is left.
    pub(super) fn is_empty(&self) -> bool {
        let nothing_waits = self.claims.is_empty() && self.claim_ids.is_empty() && self.finds.is_empty();
        // The renewal of its record, at most.
        nothing_waits && self.location.leases() == (0, 0) && self.location.outstanding() <= 1
    }
}

impl ClusterSim {
    /// Does what a server wants of the directory.
    pub(super) fn consult(&mut self, node: usize) {
        let now = self.now;
        self.touch_node(node);
        loop {
            let server = &mut self.nodes[node];
            let (Some(core), Some(session)) = (&server.core, &mut server.session) else {
                return;
            };
            let (relays, location) = (core.relays().clone(), &mut session.location);
            match relays.poll_directory() {
                DirectoryOrder::Claim { claim, name, conflict } => {
                    let id = location.claim(now, &name, conflict);
                    session.claims.insert(id, claim);
                    session.claim_ids.insert(claim, id);
                }
                DirectoryOrder::Release(claim) => {
                    if let Some(id) = session.claim_ids.remove(&claim) {
                        session.claims.remove(&id);
                        location.release(now, id);
                    }
                }
                DirectoryOrder::Find { find, name } => {
                    session.finds.insert(location.find(now, &name), find);
                }
                DirectoryOrder::Watch(name) => location.watch(&name),
                DirectoryOrder::Unwatch(name) => location.unwatch(&name),
                DirectoryOrder::Deny { name, fencing } => location.deny(&name, fencing),
                DirectoryOrder::Wait => match location.poll(now) {
                    Output::Wait(next) => {
                        session.next = next;
                        return;
                    }
                    output => self.follow(node, output),
                },
            }
        }
    }

    fn follow(&mut self, node: usize, output: Output) {
        let now = self.now;
        let Some(session) = &mut self.nodes[node].session else {
            return;
        };
        match output {
            Output::Connect => {
                session.connection += 1;
                let connection = session.connection;
                if self.directory.state == DirectoryState::Down {
                    session.location.handle_disconnected(now);
                } else {
                    self.directory.send(now, Parcel { node, connection, what: Content::Opened });
                    self.touch_directory();
                }
            }
            Output::Disconnect => {
                session.connection += 1;
                session.is_open = false;
            }
            Output::Ask(id, request) => {
                let connection = session.connection;
                self.directory.send(now, Parcel { node, connection, what: Content::Request(id, request) });
                self.touch_directory();
            }
            Output::Event(event) => self.tell(node, event),
            Output::Wait(_) => {}
        }
    }

    /// The server learns what the directory has said.
    fn tell(&mut self, node: usize, event: Event) {
        let now = self.now;
        let server = &mut self.nodes[node];
        let (Some(core), Some(session)) = (&server.core, &mut server.session) else {
            return;
        };
        let relays = core.relays().clone();
        match event {
            Event::Granted { claim, fencing } => {
                if let Some(number) = session.claims.remove(&claim) {
                    relays.claimed(number, Ok(fencing));
                }
            }
            Event::Refused { claim, error } => {
                if let Some(number) = session.claims.remove(&claim) {
                    relays.claimed(number, Err(error));
                }
            }
            Event::Registered { name, fencing } => relays.registered(&name, fencing),
            Event::Lost { name, .. } => {
                *self.remarks.entry("name_lost").or_default() += 1;
                relays.lost(&name);
            }
            Event::Located { find, located } => {
                if let Some(number) = session.finds.remove(&find) {
                    relays.located(now, number, located);
                }
            }
            Event::Changed { name } => relays.changed(now, &name),
        }
    }

    /// What has arrived at the directory, or from it.
    pub(super) fn turn_directory(&mut self) {
        self.touch_directory();
        while let Some(parcel) = self.directory.take_arrived(self.now) {
            self.arrive(parcel);
            self.settle();
        }
    }

    fn arrive(&mut self, parcel: Parcel) {
        let now = self.now;
        let is_to_directory = matches!(parcel.what, Content::Request(..));
        if self.directory_cuts.contains(&parcel.node)
            || is_to_directory && self.directory.state == DirectoryState::Stopped
        {
            return self.directory.keep(parcel);
        }
        if is_to_directory && self.directory.state == DirectoryState::Down {
            return;
        }
        let Parcel { node, connection, what } = parcel;
        if let Content::Request(id, request) = &what {
            return self.answer(node, connection, *id, request);
        }
        let session = self.nodes[node].session.as_mut().filter(|session| session.connection == connection);
        let Some(session) = session else {
            return;
        };
        match what {
            Content::Request(..) => {}
            Content::Reply(id, reply) => session.location.handle_reply(now, id, reply),
            Content::Notice(notice) => {
                session.location.handle_notice(now, &notice.name, &notice.node, notice.fencing);
            }
            // The system accepts connections for a process that is stopped.
            Content::Opened if self.directory.state == DirectoryState::Down => {
                session.location.handle_disconnected(now);
            }
            Content::Opened => {
                session.is_open = true;
                session.location.handle_connected(now);
            }
        }
        self.consult(node);
    }

    /// The directory answers a request. What an earlier connection has sent, or a server that is gone, is done, too: it
    /// was in the directory's buffers.
    fn answer(&mut self, node: usize, connection: u64, id: RequestId, request: &Request) {
        let (now, address) = (self.now, format!("rtmp://{}", address_of(node)));
        let is_draining = self.nodes[node].drains.is_some();
        let (reply, notice) = self.directory.apply(now, (&id_of(node), &address, is_draining), request);
        self.directory.send(now, Parcel { node, connection, what: Content::Reply(id, reply) });
        let Some(notice) = notice.filter(|_| !self.directory.is_deaf) else {
            return;
        };
        for other in 0..self.nodes.len() {
            if let Some(session) = self.nodes[other].session.as_ref().filter(|session| session.is_open) {
                let (connection, what) = (session.connection, Content::Notice(notice.clone()));
                self.directory.send(now, Parcel { node: other, connection, what });
            }
        }
    }

    /// A server does not reach the directory any more, or again.
    pub fn cut_directory(&mut self, node: usize, is_cut: bool) {
        self.hurt = Some(self.now);
        if is_cut {
            self.directory_cuts.insert(node);
        } else if self.directory_cuts.remove(&node) {
            self.release_held();
        }
    }

    /// The process of the directory is stopped, or goes on.
    pub fn stop_directory(&mut self, is_stopped: bool) {
        self.hurt = Some(self.now);
        match (self.directory.state, is_stopped) {
            (DirectoryState::Up, true) => self.directory.state = DirectoryState::Stopped,
            (DirectoryState::Stopped, false) => {
                self.directory.state = DirectoryState::Up;
                self.release_held();
            }
            _ => {}
        }
    }

    fn release_held(&mut self) {
        let (cuts, is_stopped) = (self.directory_cuts.clone(), self.directory.state == DirectoryState::Stopped);
        let arrives = |parcel: &Parcel| {
            let waits = is_stopped && matches!(parcel.what, Content::Request(..));
            !waits && !cuts.contains(&parcel.node)
        };
        self.directory.release(self.now, arrives);
        self.touch_directory();
    }

    /// The process of the directory is killed: its connections are reset.
    pub fn kill_directory(&mut self) {
        let now = self.now;
        self.hurt = Some(now);
        self.directory.state = DirectoryState::Down;
        self.directory.drop_held();
        for node in 0..self.nodes.len() {
            self.reset_session(node, now);
        }
        self.settle();
    }

    fn reset_session(&mut self, node: usize, now: Instant) {
        let is_cut = self.directory_cuts.contains(&node);
        let Some(session) = self.nodes[node].session.as_mut().filter(|_| !is_cut) else {
            // It learns nothing of that, and gives the connection up.
            return;
        };
        session.connection += 1;
        session.is_open = false;
        session.location.handle_disconnected(now);
        self.consult(node);
    }

    /// The directory is started again, with the data that it had or without.
    pub fn start_directory(&mut self, is_empty: bool) {
        self.hurt = Some(self.now);
        if self.directory.state == DirectoryState::Down {
            self.directory.state = DirectoryState::Up;
            if is_empty {
                self.directory.flush();
            }
        }
    }

    /// All data of the directory is removed.
    pub fn flush_directory(&mut self) {
        self.hurt = Some(self.now);
        self.directory.flush();
    }

    /// A standby takes over, which lacks what the directory confirmed in this last time. Connections are reset.
    pub fn fail_over(&mut self, lacks: Duration) {
        let now = self.now;
        self.hurt = Some(now);
        if self.directory.state != DirectoryState::Up {
            return;
        }
        self.directory.fail_over(now, lacks);
        for node in 0..self.nodes.len() {
            self.reset_session(node, now);
        }
        self.settle();
    }
}
