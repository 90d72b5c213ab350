use std::time::{Duration, Instant};

use anabranch_core::amf::Value;
use anabranch_core::command::Command;
use anabranch_core::conn::{Action, Config, Conn, Core, Output, Report};
use anabranch_core::handshake::ClientHandshakeKind;
use anabranch_core::message::Message;
use anabranch_core::session::{CloseReason, Wait};
use bytes::Buf;

use super::{Peer, Rng, command_in, status_code};

/// Rounds of exchanged bytes after which client and server are said to spin.
const ROUNDS: u32 = 1000;

/// One client and one connection, without a link between them: for tests of what is sent, not of when.
#[derive(Debug)]
pub struct Pair {
    /// The client, to send with.
    pub client: Peer,
    /// The connection.
    pub conn: Conn,
    server: Core,
    now: Instant,
    wait: Wait,
    messages: Vec<Message>,
    actions: Vec<Action>,
    report: Option<Report>,
}

impl Pair {
    /// A connection to a server with default settings; nothing is sent yet.
    pub fn new(seed: u64) -> Self {
        let server = Core::new(Config::default(), Rng::new(seed).seed());
        Pair::on(&server, seed, Instant::now())
    }

    /// One more connection to a server.
    pub fn on(server: &Core, seed: u64, now: Instant) -> Self {
        let mut rng = Rng::new(seed);
        let kind = rng.pick(&[ClientHandshakeKind::Simple, ClientHandshakeKind::Digest]);
        Pair {
            client: Peer::new(rng.seed(), kind),
            conn: server.connect(now),
            server: server.clone(),
            now,
            wait: Wait::default(),
            messages: Vec::new(),
            actions: Vec::new(),
            report: None,
        }
    }

    /// Shakes hands, connects to an application and creates message stream 1.
    pub fn connected(mut self, app: &str) -> Self {
        self.drive();
        self.client.connect(app);
        self.drive();
        self.call("createStream", 0, &[]);
        self
    }

    /// Sends a command without a command object, and runs until nothing more follows from it.
    pub fn call(&mut self, name: &str, message_stream_id: u32, arguments: &[Value]) -> &mut Self {
        self.client.call(name, message_stream_id, Value::Null, arguments);
        self.drive();
        self
    }

    /// Passes bytes both ways until neither side has any.
    ///
    /// # Panics
    /// If that never happens, or the client cannot read what it got.
    pub fn drive(&mut self) {
        for _ in 0..ROUNDS {
            let sent = std::mem::take(self.client.out());
            if !sent.is_empty() && self.report.is_none() {
                self.conn.handle_input(self.now, &sent);
            }
            let answer = self.drain();
            if answer.is_empty() && self.client.out().is_empty() {
                return;
            }
            let messages = self.client.read(&answer).expect("the client can read what it gets");
            self.messages.extend(messages);
            if self.report.is_some() {
                return;
            }
        }
        panic!("client and server never come to rest");
    }

    /// Lets time pass, and handles every deadline on the way.
    pub fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.drive();
        while self.report.is_none()
            && let Some(deadline) = self.wait.deadline().filter(|deadline| *deadline <= end)
        {
            assert!(deadline > self.now, "a deadline that passed must not come back");
            self.now = deadline;
            self.conn.handle_timeout(deadline);
            self.drive();
        }
        self.now = end;
    }

    /// The client closes its socket.
    pub fn hang_up(&mut self) {
        self.conn.handle_disconnect(self.now, CloseReason::PeerClosed);
        self.drive();
    }

    /// All messages that the client got.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// All commands that the client got.
    pub fn commands(&self) -> Vec<Command> {
        self.messages.iter().filter_map(command_in).collect()
    }

    /// Codes of all notices and refusals that the client got.
    pub fn statuses(&self) -> Vec<String> {
        self.commands().iter().filter_map(status_code).map(str::to_owned).collect()
    }

    /// The actions that the adapter was asked for.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// What the connection waits for.
    pub fn wait(&self) -> Wait {
        self.wait
    }

    /// How it ended, once it has.
    pub fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// The server, for its list of streams or one more connection.
    pub fn server(&self) -> &Core {
        &self.server
    }

    /// The time it is.
    pub fn now(&self) -> Instant {
        self.now
    }

    fn drain(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.report.is_none() {
            match self.conn.poll(self.now) {
                Output::Action(action) => self.actions.push(action),
                Output::Wait(wait) => {
                    self.wait = wait;
                    if !wait.write {
                        break;
                    }
                    let outbound = self.conn.outbound();
                    let count = outbound.remaining();
                    bytes.extend_from_slice(&outbound.copy_to_bytes(count));
                }
                Output::Closed(report) => self.report = Some(report),
            }
        }
        bytes
    }
}
