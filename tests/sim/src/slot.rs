use std::collections::BTreeSet;
use std::time::Instant;

use anabranch_core::conn::{Action, Batches, Conn, Notice, Output, Report, Verdict};
use anabranch_core::hub::StreamId;
use anabranch_core::session::{CloseReason, Wait};
use bytes::Buf;

use super::back_end::Questions;
use super::link::Delivery;
use super::{Client, DelayedReads, Link, Sim};

/// Actions from one call after which the connection is said to spin.
const ACTIONS_AT_ONCE: u32 = 10_000;

/// A client with its link and its connection in the server.
#[derive(Debug)]
pub(super) struct Slot {
    /// `None` once the connection has ended.
    pub(super) conn: Option<Conn>,
    pub(super) wait: Wait,
    pub(super) report: Option<Report>,
    /// Attached as publisher or player.
    pub(super) publishes: Vec<StreamId>,
    pub(super) plays: BTreeSet<StreamId>,
    /// Of the streams it publishes, those that another publisher took over.
    pub(super) superseded: Vec<StreamId>,
    pub(super) questions: Questions,
    pub(super) notices: Vec<Notice>,
    pub(super) client: Client,
    pub(super) link: Link,
    /// True while it is in the list of slots to serve.
    pub(super) woken: bool,
    /// When its next turn is, and whether that may have changed.
    pub(super) scheduled: Option<Instant>,
    pub(super) touched: bool,
    /// Nothing is read before this time.
    next_read: Option<Instant>,
    /// The latest time of its end, if it may not stay under the settings in force.
    pub(super) must_end: Option<Instant>,
    pub(super) outbound: usize,
    pub(super) most_outbound: usize,
}

impl Slot {
    pub(super) fn new(conn: Option<Conn>, client: Client, link: Link) -> Self {
        Slot {
            conn,
            wait: Wait::default(),
            report: None,
            publishes: Vec::new(),
            plays: BTreeSet::new(),
            superseded: Vec::new(),
            questions: Questions::default(),
            notices: Vec::new(),
            client,
            link,
            woken: false,
            scheduled: None,
            touched: false,
            next_read: None,
            must_end: None,
            outbound: 0,
            most_outbound: 0,
        }
    }

    /// When something happens next.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let deadline = self.conn.as_ref().and(self.wait.deadline());
        let input = self.link.up.ready().filter(|_| self.conn.is_some() && self.wait.read.is_some());
        let input = input.map(|ready| self.next_read.map_or(ready, |next| next.max(ready)));
        let output = (self.client.has_output() && self.link.up.room() > 0).then_some(now);
        let verdict = self.questions.next().filter(|_| self.conn.is_some());
        let times = [deadline, input, output, verdict, self.link.down.ready(), self.client.due()];
        times.into_iter().flatten().min().map(|time| time.max(now))
    }

    /// Bytes sent on this connection so far, including queued bytes.
    fn offset(&mut self) -> u64 {
        self.conn.as_mut().map_or(u64::MAX, |conn| {
            let outbound = conn.outbound();
            outbound.written() + outbound.len() as u64
        })
    }
}

/// What an adapter does, with links in place of sockets.
impl Sim {
    /// Runs everything that is due for one client and its connection.
    pub(super) fn turn(&mut self, index: usize) {
        let now = self.now;
        self.touch(index);
        let mut taken = 0;
        while let Slot { conn: Some(conn), wait, link, next_read, .. } = &mut self.slots[index] {
            if wait.read.is_none() || next_read.is_some_and(|next| next > now) {
                break;
            }
            match link.up.read(now) {
                Some(Delivery::Bytes(bytes)) => {
                    self.digest.word(index as u64);
                    self.digest.bytes(&bytes);
                    taken += bytes.len();
                    conn.handle_input(now, &bytes);
                    self.serve(index);
                }
                Some(Delivery::End) => self.disconnect(index, CloseReason::PeerClosed),
                None => break,
            }
        }
        self.rest(index, taken);
        self.answer(index);
        let offset = self.slots[index].offset();
        if let Slot { conn: Some(conn), wait, questions, .. } = &mut self.slots[index]
            && wait.deadline().is_some_and(|deadline| deadline <= now)
        {
            questions.expire(now, offset);
            conn.handle_timeout(now);
            self.serve(index);
        }
        self.check_questions(index);
        self.deliver(index);
        let slot = &mut self.slots[index];
        if !slot.client.closed {
            slot.client.tick(now, &mut self.archive);
        }
        self.flush(index);
        self.settle();
    }

    /// After a read that brought little, the next read waits as long as the core says, or not at all.
    fn rest(&mut self, index: usize, taken: usize) {
        let heeds = match self.delayed_reads {
            DelayedReads::Some => index % 3 == 1,
            DelayedReads::All => true,
            DelayedReads::None => false,
        };
        if let Slot { conn: Some(_), wait, next_read, .. } = &mut self.slots[index]
            && heeds
            && taken > 0
        {
            *next_read = wait.read.and_then(|read| read.from);
        }
    }

    /// Hands the connection the verdicts that are due.
    fn answer(&mut self, index: usize) {
        let now = self.now;
        loop {
            let slot = &mut self.slots[index];
            let offset = slot.offset();
            let Slot { conn: Some(conn), questions, .. } = slot else {
                return;
            };
            let Some((id, verdict)) = questions.take_verdict(now, offset) else {
                return;
            };
            self.digest.word(index as u64);
            conn.answer(now, id, verdict);
            // The first answer counts.
            conn.answer(now, id, Verdict::Deny("never mind".into()));
            conn.answer(now, id, Verdict::Allow);
            self.serve(index);
        }
    }

    /// The client reads what has arrived; the server writes what there is room for now.
    fn deliver(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let (mut room, received) = (false, slot.client.notices().len());
        while let Some(delivery) = slot.link.down.read(self.now) {
            room = true;
            match delivery {
                Delivery::Bytes(bytes) if !slot.client.closed => {
                    slot.client.read(self.now, &bytes, &mut self.archive);
                }
                Delivery::Bytes(_) => {}
                Delivery::End => {
                    slot.client.closed = true;
                    slot.link.up.close(self.now);
                }
            }
        }
        if let Some(fault) = slot.client.fault() {
            let fault = fault.clone();
            self.fail(&format!("client {index}: {fault}"));
        }
        self.check_successes(index, received);
        if room && self.slots[index].wait.write {
            self.serve(index);
        }
    }

    /// No client gets a success status before the verdict.
    fn check_successes(&self, index: usize, received: usize) {
        let slot = &self.slots[index];
        for status in &slot.client.notices()[received..] {
            let success = ["NetConnection.Connect.Success", "NetStream.Publish.Start", "NetStream.Play.Start"];
            if success.contains(&status.code.as_str()) && slot.questions.is_early(status.offset) {
                self.fail(&format!("client {index} gets {} before the verdict", status.code));
            }
        }
    }

    /// The client writes what it has, as far as the link takes it.
    pub(super) fn flush(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.client.closed {
            return;
        }
        let written = slot.link.up.write(self.now, slot.client.out());
        slot.client.out().drain(..written);
    }

    pub(super) fn disconnect(&mut self, index: usize, reason: CloseReason) {
        if let Some(conn) = &mut self.slots[index].conn {
            conn.handle_disconnect(self.now, reason);
            self.serve(index);
        }
    }

    /// Polls a connection until it waits or is over, and writes what it has.
    pub(super) fn serve(&mut self, index: usize) {
        self.touch(index);
        for _ in 0..ACTIONS_AT_ONCE {
            let Some(conn) = &mut self.slots[index].conn else {
                return;
            };
            match conn.poll(self.now) {
                Output::Action(action) => self.act(index, action),
                Output::Wait(wait) => {
                    self.slots[index].wait = wait;
                    self.note_outbound(index);
                    if !wait.write || !self.write(index) {
                        return;
                    }
                }
                Output::Closed(report) => return self.finish(index, report),
            }
        }
        self.fail(&format!("connection {index} never comes to wait"));
    }

    /// Writes bytes that other players get too; true if the connection need not be polled.
    pub(super) fn write_batch(&mut self, index: usize, batches: &mut Batches) -> bool {
        let slot = &mut self.slots[index];
        let Some(conn) = &mut slot.conn else {
            return true;
        };
        let Some(share) = batches.share(conn) else {
            return false;
        };
        let written = slot.link.down.write(self.now, share.bytes());
        self.digest.bytes(&share.bytes()[..written]);
        let goes_on = conn.wrote(self.now, share, written).expect("the bytes came from this connection");
        self.touch(index);
        goes_on
    }

    /// Writes until the link is full; true if it took anything, so that the connection is to be polled again.
    fn write(&mut self, index: usize) -> bool {
        let slot = &mut self.slots[index];
        let Some(conn) = &mut slot.conn else {
            return false;
        };
        let outbound = conn.outbound();
        let mut any = false;
        while outbound.has_remaining() {
            let written = slot.link.down.write(self.now, outbound.chunk());
            if written == 0 {
                break;
            }
            self.digest.bytes(&outbound.chunk()[..written]);
            outbound.advance(written);
            any = true;
        }
        any
    }

    fn act(&mut self, index: usize, action: Action) {
        self.digest.word(index as u64);
        self.changed |= !matches!(action, Action::Wake(_));
        match action {
            Action::Attach(attachment) => self.attach(index, &attachment),
            Action::Detach { role, stream, .. } => {
                if !self.detach(index, role, stream) {
                    self.fail(&format!("connection {index} is detached from what it never was attached to"));
                }
            }
            Action::Subscribe(stream) => {
                if !self.subscribed.entry(stream).or_default().insert(index) {
                    self.fail(&format!("connection {index} subscribes to {stream:?} twice"));
                }
            }
            Action::Unsubscribe(stream) => {
                let subscribers = self.subscribed.entry(stream).or_default();
                let known = subscribers.remove(&index);
                if subscribers.is_empty() {
                    self.subscribed.remove(&stream);
                }
                if !known {
                    self.fail(&format!("connection {index} unsubscribes from {stream:?} and never subscribed"));
                }
            }
            Action::Wake(stream) => {
                for index in self.subscribed.get(&stream).into_iter().flatten() {
                    if !std::mem::replace(&mut self.slots[*index].woken, true) {
                        self.woken.push_back(*index);
                    }
                }
            }
            Action::Remark(_) | Action::Finish | Action::Request(_) => {}
            Action::Ask(ask) => {
                let Some(reply) = self.back_end.reply(&ask) else {
                    self.fail(&format!("connection {index} asks, and no question may be asked: {ask:?}"));
                };
                let slot = &mut self.slots[index];
                let offset = slot.offset();
                slot.questions.ask(self.now, *ask, reply, offset);
            }
            Action::Notify(notice) => {
                if let Err(fault) = self.slots[index].questions.on_notice(&notice) {
                    self.fail(&format!("connection {index}: {fault}"));
                }
                self.slots[index].notices.push(*notice);
            }
        }
    }

    fn finish(&mut self, index: usize, report: Report) {
        let now = self.now;
        let slot = &mut self.slots[index];
        self.digest.word(report.sent);
        self.digest.bytes(report.close.reason.name().as_bytes());
        self.digest.word((now - self.start).as_nanos() as u64);
        slot.outbound = 0;
        self.changed = true;
        if let Some(gone) = &mut self.gone {
            gone.push_back((now, index));
        }
        slot.report = Some(report);
        slot.link.up.clear();
        slot.link.down.close(now);
        if let Some(mut conn) = slot.conn.take() {
            // A connection that has ended stays ended.
            conn.handle_input(now, &[3; 100]);
            conn.handle_timeout(now);
            for question in slot.questions.iter() {
                conn.answer(now, question.ask.id, Verdict::Allow);
            }
            let quiet = matches!(conn.poll(now), Output::Closed(_)) && conn.outbound().is_empty();
            if !quiet || !slot.publishes.is_empty() || !slot.plays.is_empty() {
                self.fail(&format!("connection {index} goes on after its end"));
            }
            if let Some(question) = self.slots[index].questions.without_notice() {
                self.fail(&format!("connection {index} has ended without a notice: {question:?}"));
            }
        }
    }
}
