//! Datagrams and times of peers.

use std::time::{Duration, Instant};

use anabranch_core::packager::{Ticket, Time};

use super::session::{Holder, Kind, Open, Session, Stage};
use super::{Desk, Effect, GRAIN, Remark, Role, SessionId, TELL, stun};
use crate::peer::{Event, Gone, Network, Output, Path};

impl<T: Ticket> Desk<T> {
    /// A datagram has come. False if it is for no peer.
    pub fn receive(&mut self, time: Time, path: Path, bytes: &[u8]) -> bool {
        let now = self.at(time);
        if let Some(question) = stun::answered(bytes)
            && let Some(number) = self.questions.get(&question).copied()
            && self.is_proof(number, path, bytes, question)
        {
            self.questions.remove(&question);
            self.prove(now, number, path, bytes.len());
            return true;
        }
        // A name counts more than an address, which a client may use again for another session.
        let named = stun::name_of(bytes).and_then(|name| self.by_name.get(name));
        let Some(number) = named.copied().or_else(|| self.by_path.get(&path).map(|holder| holder.session)) else {
            self.stats.strange += 1;
            return false;
        };
        let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) else { return false };
        if let Some(proof) = open.proof(path) {
            proof.received(bytes.len());
        } else if !open.may_come_from(path) {
            // The library keeps each address that a genuine message came from.
            self.stats.strange += 1;
            return false;
        }
        let seen = open.seen(path);
        open.peer.receive(now, seen, bytes);
        self.drain(now, number, Some((path, bytes.len())));
        self.settle_proof(now, number, path);
        true
    }

    /// True if this is what the peer of a session answers to the server's question on this path.
    fn is_proof(&mut self, number: SessionId, path: Path, bytes: &[u8], question: [u8; 12]) -> bool {
        let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) else { return false };
        let Open { paths, remote, .. } = &mut **open;
        let proof = paths.iter_mut().find(|proof| proof.path == path);
        proof.is_some_and(|proof| proof.is_answer(bytes, question, &remote.password))
    }

    /// A peer has shown that it is at this path, whichever session had it before: a client may use its address again.
    fn prove(&mut self, now: Instant, number: SessionId, path: Path, received: usize) {
        let before = self.by_path.insert(path, Holder { session: number, is_proven: true });
        if let Some(before) = before.filter(|before| before.session != number) {
            self.forget_path(before.session, path);
        }
        if let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number)
            && let Some(proof) = open.proof(path)
        {
            proof.received(received);
        }
        self.settle_proof(now, number, path);
    }

    /// A path is no longer one of this session.
    fn forget_path(&mut self, number: SessionId, path: Path) {
        let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) else { return };
        for proof in open.paths.extract_if(.., |proof| proof.path == path) {
            if let Some(question) = proof.question() {
                self.questions.remove(&question);
            }
        }
    }

    /// Sends what may be sent to a path.
    fn settle_proof(&mut self, now: Instant, number: SessionId, path: Path) {
        let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) else { return };
        let Open { paths, name, remote, bytes, .. } = &mut **open;
        let Some(proof) = paths.iter_mut().find(|proof| proof.path == path) else { return };
        let (names, datagrams) = (&mut self.names, &mut self.datagrams);
        let new_question = || {
            let mut number = [0; 12];
            number.copy_from_slice(&names.bytes()[..12]);
            number
        };
        proof.settle(now, new_question, (name, remote), &mut |datagram| {
            *bytes += datagram.bytes.len() as u64;
            datagrams.push_back(datagram);
        });
        if let Some(question) = proof.question().filter(|_| !proof.is_proven()) {
            self.questions.insert(question, number);
        }
    }

    /// The connection of this path, which was one of TCP, is lost.
    pub fn disconnected(&mut self, time: Time, path: Path) {
        self.at(time);
        if let Some(holder) = self.by_path.remove(&path) {
            self.forget_path(holder.session, path);
        }
    }

    /// Takes what a peer has to say until it waits. `current` is the path that so many bytes have come from.
    pub(super) fn drain(&mut self, now: Instant, number: SessionId, current: Option<(Path, usize)>) {
        let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) else { return };
        let (current, received) = current.unzip();
        let due = loop {
            match open.peer.poll() {
                Output::Send(mut datagram) => {
                    let path = open.real(datagram.path, current);
                    datagram.path = path;
                    // Only a genuine message is answered.
                    let holder = (current == Some(path)).then(|| self.by_path.get(&path).copied());
                    if let Some(holder) = holder.filter(|holder| holder.is_none_or(|holder| holder.session != number)) {
                        if open.proof(path).is_none()
                            && let Some(forgotten) = open.learn(path, received.unwrap_or(0))
                        {
                            if let Some(question) = forgotten.question() {
                                self.questions.remove(&question);
                            }
                            if self.by_path.get(&forgotten.path).is_some_and(|holder| holder.session == number) {
                                self.by_path.remove(&forgotten.path);
                            }
                        }
                        // A client could forge the address of another one, and its session would get what that one sends.
                        let is_proven = open.proof(path).is_some_and(|proof| proof.is_proven());
                        if is_proven || holder.is_none_or(|holder| !holder.is_proven) {
                            self.by_path.insert(path, Holder { session: number, is_proven });
                        }
                    }
                    open.path = Some(path);
                    let Open { paths, bytes, .. } = &mut **open;
                    // What goes to other paths than those that the peer has shown goes nowhere.
                    if let Some(proof) = paths.iter_mut().find(|proof| proof.path == path) {
                        proof.send(datagram, &mut |datagram| {
                            *bytes += datagram.bytes.len() as u64;
                            self.datagrams.push_back(datagram);
                        });
                    }
                }
                Output::Event(event) => self.events.push_back((number, event)),
                Output::Wait(due) => break due,
            }
        };
        let tells = now.saturating_duration_since(open.told) >= TELL;
        if tells {
            open.told = now;
        }
        let due = if open.is_connected { due } else { due.min(open.connect_by) };
        let due = match &open.kind {
            Kind::Viewer(viewer) => viewer.pauses_until.map_or(due, |until| until.min(due)),
            Kind::Publisher(publishing) => publishing.due().map_or(due, |wish| wish.min(due)),
        };
        // What is due already is due at the next moment: a turn must come to its end.
        let due = self.zero.map_or(due, |zero| on_grid(zero, due.max(now + Duration::from_nanos(1))));
        if open.due != Some(due) {
            if let Some(before) = open.due.replace(due) {
                self.dues.remove(&(before, number));
            }
            self.dues.insert((due, number));
        }
        if tells {
            self.tell_sent(number);
        }
        // What an event leads to may be more events: they are acted on here, in order.
        if !std::mem::replace(&mut self.is_acting, true) {
            while let Some((number, event)) = self.events.pop_front() {
                self.event(now, number, event);
            }
            self.is_acting = false;
        }
    }

    fn event(&mut self, now: Instant, number: SessionId, event: Event) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let Stage::Open(open) = &mut session.stage else { return };
        if open.is_closing {
            return;
        }
        match event {
            Event::Connected if !open.is_connected => {
                open.is_connected = true;
                self.stats.connected += 1;
                if let Some(path) = open.path {
                    let (remote, after) = (path.remote, now.saturating_duration_since(session.begun));
                    self.effects.push_back(Effect::Tell(Remark::Connected { session: number, remote, after }));
                }
                match open.kind {
                    Kind::Viewer(_) => self.begin_playing(now, number),
                    Kind::Publisher(_) => self.want_key(now, number),
                }
            }
            Event::Connected => {}
            Event::Unit(unit) => self.published(now, number, &unit),
            Event::WantsKey => {
                self.stats.keys_wanted += 1;
                // Only peers of WebRTC can be asked.
                if let Some(publisher) = self.publishers.get(&open.key).copied() {
                    self.want_key(now, publisher);
                }
            }
            Event::NeedsKey => self.want_key(now, number),
            Event::Network(network) => {
                if session.role == Role::Player {
                    self.stats.nacks += network.nacks.saturating_sub(open.network.nacks);
                }
                open.network = Network { estimate: open.network.estimate, ..network };
                self.judge(now, number, network);
            }
            Event::Estimate(bits) => self.estimated(now, number, bits),
            Event::Gone(why) => self.gone(number, why),
        }
    }

    /// The time of a peer has come, which is not in the list of times any more.
    pub(super) fn peer_is_due(&mut self, now: Instant, number: SessionId) {
        let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) else { return };
        open.due = None;
        if !open.is_connected && open.connect_by <= now {
            self.close(now, number);
            self.effects.push_back(Effect::Tell(Remark::Gone { session: number, why: Gone::Silent }));
            self.effects.push_back(Effect::Leave(number));
            return;
        }
        open.peer.handle_timeout(now);
        self.ask_if_due(now, number);
        self.drain(now, number, None);
        self.enqueue(number);
    }
}

/// The next moment of the grid, so that many peers are due at the same time.
fn on_grid(zero: Instant, due: Instant) -> Instant {
    let since = due.saturating_duration_since(zero).as_nanos();
    let ahead = since.next_multiple_of(GRAIN.as_nanos()).max(GRAIN.as_nanos()) - since;
    due.checked_add(Duration::from_nanos(ahead as u64)).unwrap_or(due)
}
