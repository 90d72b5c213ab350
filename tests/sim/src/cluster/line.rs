use std::time::Instant;

use anabranch_core::client::{self, ClientCloseReason, ClientEvent, ClientOutput};
use anabranch_core::conn::{Action, AnyConn, AnyOutput, Batches, Ended, Remark, Role, Verdict};
use anabranch_core::session::{CloseReason, Outbound, Wait};
use bytes::Buf;

use super::ClusterSim;
use crate::Link;
use crate::link::{Delivery, Pipe};

/// Actions from one call after which the connection is said to spin.
const ACTIONS_AT_ONCE: u32 = 10_000;

/// A TCP connection: a client's to a server, or a server's to another.
#[derive(Debug)]
pub(super) struct Line {
    /// The servers at its ends; `None` for a client.
    pub(super) hosts: [Option<usize>; 2],
    /// The client that opened it, if a server did not.
    pub(super) client: Option<usize>,
    /// The end that opened it, and the other. `None` once it has closed.
    pub(super) ends: [Option<End>; 2],
    pub(super) link: Link,
    /// True if a machine is gone without a word: what the other end sends is not answered.
    pub(super) is_dark: bool,
    /// True if its end is an error at both ends.
    pub(super) is_broken: bool,
    /// True while an end is in the list of those to serve.
    pub(super) woken: [bool; 2],
    pub(super) scheduled: Option<Instant>,
    pub(super) touched: bool,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct End {
    pub(super) what: What,
    pub(super) wait: Wait,
}

#[derive(Debug)]
pub(super) enum What {
    Conn(Box<AnyConn>),
    Client(Box<client::Client>),
}

impl End {
    pub(super) fn conn(conn: impl Into<AnyConn>) -> Self {
        End { what: What::Conn(Box::new(conn.into())), wait: Wait::default() }
    }

    pub(super) fn client(client: client::Client) -> Self {
        End { what: What::Client(Box::new(client)), wait: Wait::default() }
    }
}

impl Line {
    /// From an end to the other.
    pub(super) fn pipe(&mut self, side: usize) -> &mut Pipe {
        if side == 0 { &mut self.link.up } else { &mut self.link.down }
    }

    /// When something happens next.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let pipes = [&self.link.up, &self.link.down];
        let of_end = |side: usize| {
            let wait = self.ends[side].as_ref()?.wait;
            let input = pipes[1 - side].ready().filter(|_| wait.read.is_some());
            let output = (wait.write && pipes[side].room() > 0).then_some(now);
            [wait.deadline(), input, output].into_iter().flatten().min()
        };
        of_end(0).into_iter().chain(of_end(1)).min().map(|time| time.max(now))
    }

    /// Nothing arrives at either end, until [`resume`](Self::resume).
    pub(super) fn stall(&mut self) {
        self.link.up.stall();
        self.link.down.stall();
    }

    pub(super) fn resume(&mut self) {
        if !self.is_dark {
            self.link.up.resume();
            self.link.down.resume();
        }
    }
}

impl ClusterSim {
    /// Does all that is due on a connection.
    pub(super) fn turn(&mut self, line: usize) {
        self.touch_line(line);
        for side in [1, 0] {
            self.receive(line, side);
            let due = |end: &End| end.wait.deadline().is_some_and(|at| at <= self.now);
            if self.lines[line].ends[side].as_ref().is_some_and(due) {
                let now = self.now;
                match self.lines[line].ends[side].as_mut().map(|end| &mut end.what) {
                    Some(What::Conn(conn)) => conn.handle_timeout(now),
                    Some(What::Client(client)) => client.handle_timeout(now),
                    None => {}
                }
                self.serve(line, side);
            } else if self.lines[line].ends[side].as_ref().is_some_and(|end| end.wait.write) {
                self.serve(line, side);
            }
        }
    }

    fn receive(&mut self, line: usize, side: usize) {
        let now = self.now;
        while self.lines[line].ends[side].as_ref().is_some_and(|end| end.wait.read.is_some()) {
            let Some(delivery) = self.lines[line].pipe(1 - side).read(now) else {
                return;
            };
            let is_broken = self.lines[line].is_broken;
            let Some(end) = &mut self.lines[line].ends[side] else {
                return;
            };
            match (delivery, &mut end.what) {
                (Delivery::Bytes(bytes), What::Conn(conn)) => {
                    self.digest.bytes(&bytes);
                    conn.handle_input(now, &bytes);
                }
                (Delivery::Bytes(bytes), What::Client(client)) => {
                    let taken = client.handle_input(now, &bytes);
                    taken.unwrap_or_else(|error| self.fail(&format!("a client cannot read its server: {error}")));
                }
                (Delivery::End, What::Conn(conn)) if is_broken => {
                    conn.handle_disconnect(now, CloseReason::PeerLost("connection reset".into()));
                }
                (Delivery::End, What::Conn(conn)) => conn.handle_disconnect(now, CloseReason::PeerClosed),
                (Delivery::End, What::Client(client)) => client.handle_disconnect(now, ClientCloseReason::PeerClosed),
            }
            self.serve(line, side);
        }
    }

    /// Serves all connections that were woken, and does what relays want done.
    pub(super) fn settle(&mut self) {
        loop {
            let signals = std::mem::take(&mut *self.signals.lock().expect("no thread panics"));
            let idle = signals.is_empty() && self.woken.is_empty();
            for node in signals {
                self.drive(node);
                self.consult(node);
                self.play_fallbacks(node);
            }
            let Some(node) = self.woken.pop_first() else {
                if idle {
                    return;
                }
                continue;
            };
            let mut batches = Batches::default();
            for (line, side) in std::mem::take(&mut self.nodes[node].woken) {
                self.lines[line].woken[side] = false;
                // Every second connection is served in a batch, like in adapters.
                if line % 2 == 1 || !self.write_batch(line, side, &mut batches) {
                    self.serve(line, side);
                }
            }
        }
    }

    /// Writes bytes that other players get, too; true if the connection need not be polled.
    fn write_batch(&mut self, line: usize, side: usize, batches: &mut Batches) -> bool {
        let now = self.now;
        let lines = &mut self.lines[line];
        let Some(End { what: What::Conn(conn), .. }) = &mut lines.ends[side] else {
            return true;
        };
        let Some(share) = conn.share(batches) else {
            return false;
        };
        let pipe = if side == 0 { &mut lines.link.up } else { &mut lines.link.down };
        let written = pipe.write(now, share.bytes());
        let goes_on = conn.wrote(now, share, written).expect("the bytes came from this connection");
        self.touch_line(line);
        goes_on
    }

    /// Polls an end until it waits or is over, and writes what it has.
    pub(super) fn serve(&mut self, line: usize, side: usize) {
        self.touch_line(line);
        let Some(mut end) = self.lines[line].ends[side].take() else {
            return;
        };
        let is_over = match &mut end.what {
            What::Conn(conn) => self.serve_conn(line, side, conn, &mut end.wait),
            What::Client(client) => self.serve_client(line, client, &mut end.wait),
        };
        if is_over {
            let now = self.now;
            self.lines[line].pipe(1 - side).clear();
            self.lines[line].pipe(side).close(now);
        } else {
            self.lines[line].ends[side] = Some(end);
        }
    }

    fn serve_conn(&mut self, line: usize, side: usize, conn: &mut AnyConn, wait: &mut Wait) -> bool {
        let Some(node) = self.lines[line].hosts[side] else {
            self.fail("a connection of a server is at no server");
        };
        for _ in 0..ACTIONS_AT_ONCE {
            match conn.poll(self.now) {
                AnyOutput::Action(action) => self.act(node, (line, side), conn, action),
                AnyOutput::Wait(next) => {
                    *wait = next;
                    if !next.write || !self.write(line, side, conn.outbound()) {
                        return false;
                    }
                }
                AnyOutput::Closed(ended) => {
                    self.finish(node, line, conn, &ended);
                    return true;
                }
            }
        }
        self.fail(&format!("a connection of server {node} never comes to wait"));
    }

    fn act(&mut self, node: usize, end: (usize, usize), conn: &mut AnyConn, action: Action) {
        let server = &mut self.nodes[node];
        match action {
            Action::Attach(attachment) => {
                if attachment.role == Role::Publisher {
                    server.attached.insert((end.0, attachment.stream), attachment.key.clone());
                    *server.published.entry(attachment.key.clone()).or_default() += 1;
                    self.told_attached(node, end.0, conn.id(), &attachment.key, attachment.backup);
                }
            }
            Action::Detach { role: Role::Publisher, stream, goes_on } => {
                if let Some(key) = server.attached.remove(&(end.0, stream))
                    && let Some(count) = server.published.get_mut(&key)
                {
                    *count -= 1;
                    if *count == 0 {
                        server.published.remove(&key);
                    }
                    self.note_owners(&key);
                    self.told_detached(node, conn.id(), &key, goes_on);
                }
            }
            Action::Subscribe(stream) => {
                server.subscribed.entry(stream).or_default().insert(end);
            }
            Action::Unsubscribe(stream) => {
                if let Some(ends) = server.subscribed.get_mut(&stream) {
                    ends.remove(&end);
                    if ends.is_empty() {
                        server.subscribed.remove(&stream);
                    }
                }
            }
            Action::Wake(stream) => self.wake(node, stream),
            // No line speaks HTTP.
            Action::Request(_) => {}
            Action::Finish => {
                let now = self.now;
                self.lines[end.0].pipe(end.1).close(now);
            }
            Action::Ask(ask) => {
                if let Some(client) = conn.as_client() {
                    client.answer(self.now, ask.id, Verdict::Allow);
                }
            }
            Action::Remark(Remark::Switched { key, before, .. }) => {
                self.told_switched(node, end.0, conn.id(), &key, before);
            }
            Action::Detach { .. } | Action::Notify(_) | Action::Remark(_) => {}
        }
    }

    pub(super) fn wake(&mut self, node: usize, stream: anabranch_core::hub::StreamId) {
        let server = &mut self.nodes[node];
        if !server.fallbacks.is_empty() {
            // One of them may play this stream.
            self.signals.lock().expect("no thread panics").insert(node);
        }
        for end in server.subscribed.get(&stream).into_iter().flatten() {
            if !std::mem::replace(&mut self.lines[end.0].woken[end.1], true) {
                server.woken.push(*end);
                self.woken.insert(node);
            }
        }
    }

    fn finish(&mut self, node: usize, line: usize, conn: &AnyConn, ended: &Ended) {
        let server = &mut self.nodes[node];
        server.conns.remove(&conn.id());
        let reason = match ended {
            Ended::Client(report) => report.close.reason.name(),
            Ended::Uplink(report) => {
                server.uplinks -= 1;
                report.close.reason.name()
            }
        };
        self.digest.bytes(reason.as_bytes());
        self.digest.word((self.now - self.start).as_nanos() as u64);
        *self.ends.entry(reason).or_default() += 1;
        if self.nodes[node].attached.keys().any(|(attached, _)| *attached == line) {
            self.fail(&format!("a connection of server {node} has ended and still publishes"));
        }
    }

    fn serve_client(&mut self, line: usize, client: &mut client::Client, wait: &mut Wait) -> bool {
        let Some(index) = self.lines[line].client else {
            self.fail("a client's connection has no client");
        };
        loop {
            match client.poll_output() {
                ClientOutput::Event(ClientEvent::Media { message, .. }) => self.watch(index, &message),
                ClientOutput::Event(event) => self.react(index, client, &event),
                ClientOutput::Wait(next) => {
                    *wait = next;
                    if !self.write(line, 0, client.outbound()) {
                        return false;
                    }
                }
                ClientOutput::Closed(_) => {
                    self.closed(index, line);
                    return true;
                }
            }
        }
    }

    /// Writes until the link is full; true if it took anything, so that the writer is to be polled again.
    fn write(&mut self, line: usize, side: usize, outbound: &mut Outbound) -> bool {
        let now = self.now;
        let line = &mut self.lines[line];
        // What comes to a closed socket is thrown away.
        let is_lost = line.ends[1 - side].is_none() && !line.is_dark;
        let mut any = false;
        while outbound.has_remaining() {
            let chunk = outbound.chunk();
            let written = if is_lost { chunk.len() } else { line.pipe(side).write(now, chunk) };
            if written == 0 {
                break;
            }
            outbound.advance(written);
            any = true;
        }
        any
    }
}
