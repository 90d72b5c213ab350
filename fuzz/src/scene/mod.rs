//! A server with several connections that do anything in any order, an adapter that does what the core asks for, and a
//! virtual clock. After each operation all invariants are checked.

mod archive;
mod bounds;
mod client;
mod listener;
mod operation;
mod questions;
mod reconfigure;
mod viewer;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anabranch_core::capture::Tap;
use anabranch_core::chunk::MAX_HEADER;
use anabranch_core::conn::{Action, Batches, Conn, Core, Output, Report, Role, Verdict};
use anabranch_core::hub::StreamId;
use anabranch_core::session::{CloseReason, Wait};
use arbitrary::{Arbitrary, Unstructured};
use bytes::Buf;

use crate::time::any_instant;
use archive::Archive;
use bounds::Bounds;
use client::Client;
use operation::{Command, Decision, Kind, Operation, Setup};
use questions::Questions;
use viewer::Viewer;

/// Most operations of one input: fewer are enough to show a fault.
const MOST: usize = 250;

/// Clients at a time.
const CLIENTS: usize = 5;

/// Polls of one connection in a row before it is said to spin.
const POLLS: usize = 10_000;

/// What was last written to several, kept to be offered again.

/// A setup and operations.
pub fn run(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let Ok(setup) = Setup::arbitrary(&mut input) else {
        return;
    };
    // For people: what happens in this input.
    let tell = std::env::var_os("TELL").is_some();
    if tell {
        eprintln!("{setup:?}");
    }
    let mut world = World::new(setup);
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        let Ok(operation) = Operation::arbitrary(&mut input) else {
            break;
        };
        if tell {
            eprintln!("{operation:?}");
        }
        world.apply(operation);
        world.settle();
        world.check();
    }
    world.end();
}

/// A client with its connection.
struct Slot {
    conn: Conn,
    client: Client,
    viewer: Viewer,
    wait: Wait,
    /// When it was last given input.
    fed: Option<Instant>,
    /// Whether the client takes at once what the server has for it.
    greedy: bool,
    publishes: Vec<StreamId>,
    plays: Vec<StreamId>,
    subscribed: Vec<StreamId>,
    questions: Questions,
    /// To be polled.
    woken: bool,
    /// Whether to check after its next turn that it may stay under the settings in force.
    late: bool,
    /// True once it may not.
    refused: bool,
}

/// A tap that takes so many records, and is over then.
#[derive(Debug)]
struct Records {
    left: u32,
}

impl Tap for Records {
    fn record(&mut self, _: &[u8]) {
        self.left = self.left.saturating_sub(1);
    }

    fn is_over(&self) -> bool {
        self.left == 0
    }
}

struct World {
    now: Instant,
    setup: Setup,
    server: Core,
    rude: bool,
    slots: [Option<Slot>; CLIENTS],
    archive: Archive,
    /// What was last written to several.
    batches: Batches,
    held: bool,
    clients: u32,
    bounds: Bounds,
}

impl World {
    fn new(setup: Setup) -> Self {
        let config = setup.config();
        let mut archive = Archive::default();
        archive.expect(&config);
        World {
            now: any_instant(),
            bounds: Bounds::of(&config),
            server: Core::new(config, [3; 32]),
            rude: setup.rude,
            setup,
            slots: [const { None }; CLIENTS],
            archive,
            batches: Batches::default(),
            held: false,
            clients: 0,
        }
    }

    fn apply(&mut self, operation: Operation) {
        use Operation as O;
        match operation {
            O::Connect { client } => {
                if self.connect(client) {
                    self.slot(client, |slot, _| slot.client.hello());
                }
            }
            O::ConnectSilently { client } => _ = self.connect(client),
            O::Publish { client, on, host, stream, multitrack } => {
                self.identify(client, on, host, multitrack, &Command::Publish(stream));
            }
            O::Play { client, on, host, stream, multitrack } => {
                self.identify(client, on, host, multitrack, &Command::Play { stream, duration: None });
            }
            O::Pause { client, on, paused } => {
                for paused in paused.map_or(vec![true, false], |paused| vec![paused]) {
                    self.slot(client, |slot, _| slot.client.call(1 + on % 2, 1, &Command::Pause(paused)));
                }
            }
            O::Leave { client, on } => {
                self.slot(client, |slot, _| slot.client.call(0, 1, &Command::DeleteStream(Some(1 + on % 2))));
            }
            O::Command { client, on, transaction, command } => {
                self.slot(client, |slot, _| slot.client.call(on % 4, transaction, &command));
            }
            O::Media { client, on, kind, later, filler } => {
                self.slot(client, |slot, archive| slot.client.media(1 + on % 2, kind, later, filler, archive));
            }
            O::Control { client, type_id, word, second } => {
                self.slot(client, |slot, _| slot.client.control(type_id, word, second));
            }
            O::Raw { client, bytes } => {
                self.archive.forged = true;
                self.slot(client, |slot, _| slot.client.unsent.extend(&bytes));
            }
            O::Partly { client, bytes } => {
                let now = self.now;
                let rude = self.rude;
                self.slot(client, |slot, archive| slot.send(now, usize::from(bytes), rude, archive));
            }
            O::Write { client, bytes } => {
                self.slot(client, |slot, archive| slot.write(usize::from(bytes), archive));
            }
            O::WriteAll { client } => self.slot(client, |slot, archive| slot.write(usize::MAX, archive)),
            O::Greedy { client, greedy } => self.slot(client, |slot, _| slot.greedy = greedy),
            O::Pass { milliseconds } => self.now += Duration::from_millis(u64::from(milliseconds)),
            O::PassToDeadline => {
                let deadlines = self.slots.iter().flatten().filter_map(|slot| slot.wait.deadline());
                self.now = deadlines.min().map_or(self.now, |deadline| deadline.max(self.now));
            }
            O::Answer { client, question, verdict } => self.answer(client, question, &verdict),
            O::Disconnect { client, broken } => {
                let reason = if broken { CloseReason::PeerLost("reset".into()) } else { CloseReason::PeerClosed };
                let now = self.now;
                self.slot(client, |slot, _| slot.conn.handle_disconnect(now, reason));
            }
            O::Close { client } => self.slot(client, |slot, _| slot.conn.close(CloseReason::Closed("enough"))),
            O::Shutdown { client } => self.slot(client, |slot, _| slot.conn.shutdown()),
            O::Forget { client } => {
                self.slots[usize::from(client) % CLIENTS] = None;
                // An adapter that drops a connection that publishes has the players woken.
                self.wake_all();
            }
            O::Reconnect { client } => {
                self.slot(client, |slot, _| _ = slot.conn.request_reconnect(Some("rtmp://b/live"), "go"));
            }
            // These two have no separate operation, so that older inputs keep their meaning.
            O::Drain { client, milliseconds } if milliseconds % 16 == 15 => {
                self.server.stop_draining();
                self.slot(client, |slot, _| slot.conn.stop_draining());
            }
            O::Drain { client, milliseconds } if milliseconds % 16 == 14 => {
                let (now, tap) = (self.now, Box::new(Records { left: 40 }));
                self.slot(client, |slot, _| _ = slot.conn.capture(now, tap));
            }
            O::Drain { client, milliseconds } => {
                let deadline = self.now + Duration::from_millis(u64::from(milliseconds));
                self.slot(client, |slot, _| slot.conn.drain(deadline, None));
            }
            O::DrainServer => self.server.drain(),
            O::Hold { hold } => self.held = hold,
            O::Lend { client, kind, publisher } => self.lend(client, kind, publisher),
            O::Reconfigure(change) => self.reconfigure(&change),
        }
    }

    fn slot(&mut self, client: u8, act: impl FnOnce(&mut Slot, &mut Archive)) {
        self.archive.pass(self.now);
        if let Some(slot) = &mut self.slots[usize::from(client) % CLIENTS] {
            act(slot, &mut self.archive);
            slot.woken = true;
        }
    }

    /// False if that client has a connection already.
    fn connect(&mut self, client: u8) -> bool {
        let slot = &mut self.slots[usize::from(client) % CLIENTS];
        if slot.is_some() {
            return false;
        }
        self.clients += 1;
        let conn = match self.setup.proxied {
            true => self.server.connect_from(self.now, SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 50_000))),
            false => self.server.connect(self.now),
        };
        *slot = Some(Slot {
            conn,
            client: Client::new(self.clients, self.bounds.header_bytes),
            viewer: Viewer::new(self.bounds.promise),
            fed: None,
            wait: Wait::default(),
            greedy: true,
            publishes: Vec::new(),
            plays: Vec::new(),
            subscribed: Vec::new(),
            questions: Questions::default(),
            woken: true,
            late: false,
            refused: false,
        });
        true
    }

    fn identify(&mut self, client: u8, on: u8, host: u8, multitrack: bool, command: &Command) {
        let fresh = self.connect(client);
        self.slot(client, |slot, _| {
            if fresh {
                slot.client.hello();
                slot.client.call(0, 1, &Command::Connect { host, multitrack });
                slot.client.call(0, 1, &Command::CreateStream);
            }
            if on % 2 != 0 {
                slot.client.call(0, 1, &Command::CreateStream);
            }
            slot.client.call(1 + on % 2, 1, command);
        });
    }

    fn answer(&mut self, client: u8, question: u8, verdict: &Decision) {
        let verdict = match verdict {
            Decision::Allow => Verdict::Allow,
            Decision::Deny => Verdict::Deny("no".to_owned()),
            Decision::Redirect => Verdict::Redirect("rtmp://elsewhere/live/cam".to_owned()),
            Decision::Rename => Verdict::Rename("screen".to_owned()),
        };
        let now = self.now;
        self.slot(client, |slot, _| {
            if let Some(id) = slot.questions.answer(question, &verdict) {
                slot.conn.answer(now, id, verdict);
                // The first word counts.
                slot.conn.answer(now, id, Verdict::Allow);
            }
        });
    }

    /// The adapter writes without holding the connection, while a publisher goes on.
    fn lend(&mut self, client: u8, kind: Kind, publisher: u8) {
        let Some(slot) = &mut self.slots[usize::from(client) % CLIENTS] else {
            return;
        };
        slot.viewer.look(&mut slot.conn, &self.archive);
        let Some(mut lent) = slot.conn.outbound().lend() else {
            return self.share(client, kind, publisher);
        };
        let bytes = lent.copy_to_bytes(lent.remaining() / 2);
        slot.viewer.take(&bytes);
        if usize::from(publisher) % CLIENTS != usize::from(client) % CLIENTS {
            self.slot(publisher, |slot, archive| slot.client.media(1, kind, 20, 100, archive));
            let now = self.now;
            let rude = self.rude;
            self.slot(publisher, |slot, archive| slot.send(now, usize::MAX, rude, archive));
        }
        self.slot(client, |slot, _| slot.conn.outbound().restore(lent).expect("it is its own"));
    }

    /// The same with what others are sent as well: its client and a publisher go on while half of it is written.
    fn share(&mut self, client: u8, kind: Kind, publisher: u8) {
        let Some(slot) = &mut self.slots[usize::from(client) % CLIENTS] else {
            return;
        };
        let Some(share) = Batches::default().share(&mut slot.conn) else {
            return;
        };
        let bytes = share.bytes().slice(..share.bytes().len() / 2);
        slot.viewer.pass(&bytes, &self.archive);
        let (now, rude) = (self.now, self.rude);
        if usize::from(publisher) % CLIENTS != usize::from(client) % CLIENTS {
            self.slot(publisher, |slot, archive| slot.client.media(1, kind, 20, 100, archive));
            self.slot(publisher, |slot, archive| slot.send(now, usize::MAX, rude, archive));
        }
        self.slot(client, |slot, archive| {
            slot.send(now, usize::MAX, rude, archive);
            assert!(!slot.conn.wrote(now, share, bytes.len()).expect("it is its own"), "it was called");
        });
    }

    fn wake_all(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            slot.woken = true;
        }
    }

    /// Does what an adapter does until nothing is left to do at this time.
    fn settle(&mut self) {
        if self.held {
            return;
        }
        for round in 0.. {
            assert!(round < 1000, "the connections never come to rest");
            let mut any = false;
            for index in 0..CLIENTS {
                any |= self.serve(index);
            }
            if !any {
                return self.check_rest();
            }
        }
    }

    /// Gives a connection its turn; false if there was nothing to do.
    fn serve(&mut self, index: usize) -> bool {
        let served = self.turn(index);
        let Some(slot) = self.slots[index].as_mut().filter(|slot| slot.late) else {
            return served;
        };
        (slot.late, slot.woken) = (false, true);
        slot.look(&self.server.config(), self.held);
        true
    }

    fn turn(&mut self, index: usize) -> bool {
        let now = self.now;
        self.archive.pass(now);
        let Some(slot) = &mut self.slots[index] else {
            return false;
        };
        let due = slot.wait.deadline().is_some_and(|deadline| deadline <= now);
        let input = !slot.client.unsent.is_empty() && (slot.wait.read.is_some() || self.rude);
        if !slot.woken && !due && !input {
            return false;
        }
        slot.woken = false;
        if !due && !input && index % 2 == 0 && slot.write_batch(now, &mut self.batches, &self.archive) {
            return true;
        }
        if due {
            slot.questions.expire(now);
            slot.conn.handle_timeout(now);
        }
        if input {
            slot.send(now, 4096, self.rude, &mut self.archive);
        }
        let mut times_due = 0;
        for poll in 0.. {
            assert!(poll < POLLS, "a connection never comes to wait");
            let Some(slot) = &mut self.slots[index] else {
                return true;
            };
            let output = slot.conn.poll(now);
            slot.viewer.look(&mut slot.conn, &self.archive);
            match output {
                Output::Action(action) => self.act(index, action),
                Output::Wait(wait) => {
                    slot.wait = wait;
                    self.check_wait(index);
                    let Some(slot) = &mut self.slots[index] else {
                        return true;
                    };
                    if wait.write && slot.greedy && poll < 500 {
                        slot.write(usize::MAX, &mut self.archive);
                        continue;
                    }
                    if wait.deadline().is_some_and(|deadline| deadline <= now) {
                        times_due += 1;
                        assert!(times_due < 5, "the deadline does not move: {:?}", slot.conn);
                        slot.questions.expire(now);
                        slot.conn.handle_timeout(now);
                        continue;
                    }
                    return true;
                }
                Output::Closed(report) => {
                    self.finish(index, &report);
                    return true;
                }
            }
        }
        true
    }

    fn act(&mut self, index: usize, action: Action) {
        let Some(slot) = &mut self.slots[index] else {
            return;
        };
        match action {
            Action::Attach(attachment) => {
                assert!(!slot.questions.is_open(), "attached before the verdict: {attachment}");
                match attachment.role {
                    Role::Publisher => slot.publishes.push(attachment.stream),
                    Role::Player if slot.plays.contains(&attachment.stream) => {}
                    Role::Player => slot.plays.push(attachment.stream),
                }
            }
            Action::Detach { role, stream, .. } => {
                let list = if role == Role::Publisher { &mut slot.publishes } else { &mut slot.plays };
                let at = list.iter().position(|attached| *attached == stream);
                list.swap_remove(at.expect("a connection that is detached was attached"));
            }
            Action::Subscribe(stream) => {
                assert!(!slot.subscribed.contains(&stream), "subscribed twice");
                slot.subscribed.push(stream);
            }
            Action::Unsubscribe(stream) => {
                let at = slot.subscribed.iter().position(|subscribed| *subscribed == stream);
                slot.subscribed.swap_remove(at.expect("a connection that is unsubscribed was subscribed"));
            }
            Action::Ask(ask) => {
                slot.questions.ask(*ask);
                // The verdict came after the deadline: silence has decided already.
                slot.questions.expire(self.now);
            }
            Action::Notify(notice) => slot.questions.on_notice(&notice),
            Action::Remark(_) | Action::Finish | Action::Request(_) => {}
            Action::Wake(stream) => {
                for slot in self.slots.iter_mut().flatten().filter(|slot| slot.subscribed.contains(&stream)) {
                    slot.woken = true;
                }
            }
        }
    }

    /// All work is done: another turn without a wake-up brings nothing. So every connection with something to get was
    /// woken.
    fn check_rest(&mut self) {
        let (now, window) = (self.now, self.bounds.merge_window);
        self.archive.pass(now);
        // Frames may wait for company.
        if self.slots.iter().flatten().any(|slot| slot.fed.is_some_and(|fed| now < fed + window)) {
            return;
        }
        for slot in self.slots.iter_mut().flatten() {
            let frames = slot.viewer.frames();
            let output = slot.conn.poll(now);
            slot.viewer.look(&mut slot.conn, &self.archive);
            let Output::Wait(wait) = output else {
                panic!("a connection was not woken and says {output:?}");
            };
            assert_eq!(slot.viewer.frames(), frames, "a player with a new frame was not woken");
            // That a stream is published again may be said before its first frame, and need not.
            slot.woken |= wait != slot.wait;
            slot.wait = wait;
        }
    }

    fn check_wait(&mut self, index: usize) {
        let longest = self.longest_message();
        let Some(slot) = &mut self.slots[index] else {
            return;
        };
        let waiting = slot.conn.outbound().len();
        assert_eq!(slot.wait.write, slot.conn.outbound().has_remaining());
        assert!(waiting <= self.bounds.queue + longest, "{waiting} bytes wait, over {} + {longest}", self.bounds.queue);
    }

    /// What the longest frame of any publisher takes on the wire.
    fn longest_message(&self) -> usize {
        let body = self.archive.longest;
        body + MAX_HEADER + (body / self.bounds.chunk_size + 1) * 5
    }

    fn finish(&mut self, index: usize, report: &Report) {
        let Some(mut slot) = self.slots[index].take() else {
            return;
        };
        assert!(
            slot.publishes.is_empty() && slot.plays.is_empty() && slot.subscribed.is_empty(),
            "still attached after the end"
        );
        slot.questions.check_end();
        let refused = matches!(report.close.reason, CloseReason::Refused(_));
        assert!(refused || !slot.refused, "a connection that may not stay ends with {report}");
        assert!(slot.conn.outbound().is_empty());
        assert!(!report.to_string().is_empty() && !report.close.reason.name().is_empty());
        let stats = slot.conn.stats().snapshot(self.now);
        assert_eq!((stats.bytes_in, report.received), (slot.client.bytes, slot.client.bytes), "bytes came");
        assert_eq!(stats.bytes_out, report.sent);
        assert_eq!(stats.dropped.frames, report.missed.frames, "{stats:?} {report:?}");
        slot.viewer.check_end(report, stats.frames_out, self.archive.forged);
        if !slot.client.other_window {
            slot.viewer.check_acknowledged(report);
        }
        // Over is over, whatever comes.
        slot.conn.handle_input(self.now, &[3; 100]);
        slot.conn.handle_timeout(self.now);
        slot.conn.shutdown();
        assert!(matches!(slot.conn.poll(self.now), Output::Closed(_)), "it goes on after its end");
        assert!(slot.conn.outbound().is_empty());
    }

    /// What must hold at every moment.
    fn check(&self) {
        // A log may be over its bound by its newest frame alone, which has a plain form beside it at most.
        let log = self.bounds.log.max(2 * self.longest_message() + 2 * MAX_HEADER);
        let streams = self.server.hub().streams();
        let memory = self.server.hub().memory();
        assert!(memory.held <= memory.limit, "{memory:?}");
        for stream in &streams {
            assert!(stream.published || stream.players > 0, "{} is listed and unused", stream.key);
            assert!(stream.log_bytes <= log, "{} bytes in the log of {}", stream.log_bytes, stream.key);
            assert!(stream.held_bytes >= stream.log_bytes, "{} bytes held by {}", stream.held_bytes, stream.key);
            let used = |role: Role| {
                let all = self.slots.iter().flatten().flat_map(|slot| slot.conn.streams());
                all.filter(|used| *used == (role, &stream.key)).count()
            };
            assert_eq!(stream.players, used(Role::Player), "players of {}", stream.key);
            let publishers = used(Role::Publisher);
            assert!(!stream.published || publishers > 0 || self.held, "{} has no publisher", stream.key);
            if self.bounds.exclusive {
                assert!(publishers <= usize::from(stream.published), "{} has {publishers} publishers", stream.key);
            }
        }
        if self.held {
            return;
        }
        self.check_counts();
        for slot in self.slots.iter().flatten() {
            // What is queued for it is still written, for a while.
            let ends = slot.wait.write && slot.wait.deadline().is_some();
            assert!(!slot.refused || ends, "a connection that may not stay has ended, or is ending: {:?}", slot.conn);
            // One connection may play a stream more than once; the adapter knows it once.
            let mut plays = Vec::new();
            for (_, key) in slot.conn.streams().filter(|(role, _)| *role == Role::Player) {
                let stream = streams.iter().find(|stream| stream.key == *key).expect("what is played is there");
                if !plays.contains(&stream.id) {
                    plays.push(stream.id);
                }
            }
            let sorted = |list: &[StreamId]| {
                let mut list = list.to_vec();
                list.sort_unstable();
                list
            };
            plays.sort_unstable();
            assert_eq!(sorted(&slot.plays), plays, "attached to what it plays");
            assert_eq!(sorted(&slot.subscribed), plays, "subscribed to what it plays");
            let publishes = slot.conn.streams().filter(|(role, _)| *role == Role::Publisher).count();
            assert_eq!(slot.publishes.len(), publishes, "attached to what it publishes");
        }
    }

    /// All connections end in various ways, and nothing is left.
    fn end(&mut self) {
        self.held = false;
        self.wake_all();
        self.settle();
        self.check();
        for index in 0..CLIENTS {
            if let Some(slot) = &mut self.slots[index] {
                slot.conn.handle_disconnect(self.now, CloseReason::PeerClosed);
                slot.woken = true;
                self.serve(index);
                assert!(self.slots[index].is_none(), "a disconnect ends a connection");
            }
        }
        assert!(self.server.hub().streams().is_empty(), "a stream is left");
        for vhost in self.server.vhosts() {
            let counts = [vhost.connections, vhost.publishers, vhost.players, vhost.streams, vhost.questions];
            assert_eq!(counts, [0; 5], "{} counts on", vhost.name);
        }
    }
}

impl Slot {
    /// The client says as much as is asked for and the server wants.
    fn send(&mut self, now: Instant, most: usize, rude: bool, archive: &mut Archive) {
        if self.wait.read.is_none() && !rude {
            return;
        }
        let bytes: Vec<u8> = self.client.unsent.drain(..self.client.unsent.len().min(most)).collect();
        self.client.sent(&bytes, archive);
        self.fed = Some(now);
        self.conn.handle_input(now, &bytes);
        self.woken = true;
    }

    /// Writes what the client is sent like others, as adapters do that serve many; true if that is all.
    fn write_batch(&mut self, now: Instant, batches: &mut Batches, archive: &Archive) -> bool {
        // What was put together for others, some time ago, must be what comes next or be refused.
        let Some(share) = batches.share(&mut self.conn) else {
            // They are kept for more than a turn, and full of what was.
            *batches = Batches::default();
            return false;
        };
        let bytes = share.bytes().clone();
        let bytes = &bytes[..if self.greedy { bytes.len() } else { bytes.len() / 2 }];
        self.viewer.pass(bytes, archive);
        let goes_on = self.conn.wrote(now, share, bytes.len()).expect("it is its own");
        self.viewer.look(&mut self.conn, archive);
        goes_on
    }

    /// The client takes as much as is asked for.
    fn write(&mut self, most: usize, archive: &Archive) {
        self.viewer.look(&mut self.conn, archive);
        let outbound = self.conn.outbound();
        let bytes = outbound.copy_to_bytes(outbound.remaining().min(most));
        self.viewer.take(&bytes);
    }
}
