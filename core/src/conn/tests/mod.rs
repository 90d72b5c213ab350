//! Publishers and players end to end, in memory: what each receives, and which actions the adapter gets.

mod announced;
mod applications;
mod asking;
mod batches;
mod claiming;
mod ending;
mod measuring;
mod playing;
mod publishing;
mod reading;
mod reconfiguring;
mod refusals;
mod remarks;
mod rules;
mod web;

use std::time::Duration;

use bytes::Buf;

use super::*;
use crate::amf::{Object, Value};
use crate::chunk::message_header;
use crate::message::{Control, MessageType, UserControl};
use crate::pacing::Sockets;
use crate::session::tests::peer::{self, ServerOutput};
use crate::session::{self, DueKind, TimeoutKind, WrongConnection};
use crate::source::Gap;

const AUDIO: u8 = MessageType::AUDIO;

/// More deadlines than any test here needs.
const MOST_TURNS: u32 = 10_000;

/// The values of a real adapter.
const SOCKETS: Sockets =
    Sockets { unread_bytes: 32 << 10, early_reads: &[Duration::from_millis(2), Duration::from_micros(500)] };

/// A server, its clock, and the moment it began.
#[derive(Debug)]
struct Harness {
    server: Core,
    now: Instant,
}

impl Harness {
    fn new() -> Self {
        Harness::with(Config::default())
    }

    fn with(config: Config) -> Self {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let now = Instant::now();
        Harness { server: Core::with_sockets(config, [3; 32], SOCKETS), now }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// A client that has connected and received the answer.
    fn client(&self) -> Client {
        self.client_from(None, Object::default().with("app", "live").with("tcUrl", "rtmp://127.0.0.1/live"))
    }

    /// A client of this address, with this `connect` object.
    fn client_from(&self, peer: Option<SocketAddr>, connect: Object) -> Client {
        let mut client = Client::new(self, peer);
        client.send(self, &[peer::handshake(), peer::connect_with(connect)].concat());
        client.received = client.receive(self);
        client
    }

    /// A client that has sent `publish`, and received the answer.
    fn asks_to_publish(&self, name: &str) -> Client {
        let mut client = self.client();
        client.send(self, &[peer::create_stream(2.0), peer::publish(1, name)].concat());
        client.received = client.receive(self);
        client
    }

    fn publisher(&self, name: &str) -> Client {
        let client = self.asks_to_publish(name);
        assert!(contains(&client.received, "NetStream.Publish.Start"), "{:?}", client.received);
        client
    }

    /// A player that has received all up to the sample access notice.
    fn player(&self, name: &str) -> Client {
        let mut client = self.client();
        client.send(self, &[peer::create_stream(2.0), peer::play(1, name)].concat());
        client
    }
}

/// One connection with its client, which receives what is queued when a test calls for it.
#[derive(Debug)]
struct Client {
    conn: Conn,
    server_output: ServerOutput,
    /// The actions that the adapter got: `attach`, `detach`, `wake`.
    actions: Vec<String>,
    /// The questions and notices for the back end.
    asked: Vec<Ask>,
    notices: Vec<Notice>,
    /// The unknown hosts of its attachments.
    hosts: Vec<Option<String>>,
    /// What an operator wants to know.
    remarks: Vec<Remark>,
    /// The answer to `connect`, or to `publish`.
    received: Vec<String>,
    closed: Option<Report>,
    wait: Option<session::Wait>,
}

impl Client {
    /// A new connection.
    fn new(harness: &Harness, peer: Option<SocketAddr>) -> Self {
        Client {
            conn: match peer {
                Some(peer) => harness.server.connect_from(harness.now, peer),
                None => harness.server.connect(harness.now),
            },
            server_output: ServerOutput::new(),
            actions: Vec::new(),
            asked: Vec::new(),
            notices: Vec::new(),
            hosts: Vec::new(),
            remarks: Vec::new(),
            received: Vec::new(),
            closed: None,
            wait: None,
        }
    }

    fn send(&mut self, harness: &Harness, bytes: &[u8]) {
        self.conn.handle_input(harness.now, bytes);
        self.poll(harness);
    }

    fn poll(&mut self, harness: &Harness) {
        loop {
            match self.conn.poll(harness.now) {
                Output::Action(Action::Attach(attachment)) => {
                    self.actions.push(format!("attach {attachment}"));
                    self.hosts.push(attachment.unknown_host);
                }
                Output::Action(Action::Detach { role, .. }) => self.actions.push(format!("detach {role}")),
                Output::Action(Action::Subscribe(_)) => self.actions.push("subscribe".into()),
                Output::Action(Action::Unsubscribe(_)) => self.actions.push("unsubscribe".into()),
                Output::Action(Action::Wake(_)) => self.actions.push("wake".into()),
                Output::Action(Action::Finish) => self.actions.push("finish".into()),
                Output::Action(Action::Request(asked)) => {
                    self.actions.push(format!("request {}", asked.request.target()));
                }
                Output::Action(Action::Ask(ask)) => {
                    self.actions.push("ask".into());
                    self.asked.push(*ask);
                }
                Output::Action(Action::Remark(remark)) => self.remarks.push(remark),
                Output::Action(Action::Notify(notice)) => {
                    self.actions.push("tell".into());
                    self.notices.push(*notice);
                }
                Output::Wait(wait) => {
                    assert_eq!(wait.write, self.conn.outbound().has_remaining(), "it wants to write what there is");
                    self.wait = Some(wait);
                    return;
                }
                Output::Closed(report) => {
                    self.closed = Some(report);
                    return;
                }
            }
        }
    }

    /// All that is sent until nothing more comes.
    fn messages(&mut self, harness: &Harness) -> Vec<crate::message::Message> {
        let mut messages = Vec::new();
        loop {
            self.poll(harness);
            let waiting = self.conn.outbound().remaining();
            if waiting == 0 {
                return messages;
            }
            let bytes = self.conn.outbound().copy_to_bytes(waiting);
            messages.extend(self.server_output.messages(&bytes));
        }
    }

    fn receive(&mut self, harness: &Harness) -> Vec<String> {
        self.messages(harness).iter().map(peer::line).collect()
    }

    /// Answers the last question; returns what the client then receives.
    fn answer(&mut self, harness: &Harness, verdict: Verdict) -> Vec<String> {
        let ask = self.asked.last().expect("something was asked");
        self.conn.answer(harness.now, ask.id, verdict);
        self.receive(harness)
    }

    /// Until when reading may wait.
    fn reads_from(&self) -> Option<Instant> {
        self.wait.and_then(|wait| wait.read?.from)
    }

    /// The most that is read at once.
    fn reads_most(&self) -> usize {
        self.wait.and_then(|wait| wait.read).expect("it reads").most
    }

    /// When the connection is due.
    fn deadline(&self) -> Option<Instant> {
        self.wait.and_then(|wait| wait.deadline())
    }

    fn actions(&mut self) -> Vec<String> {
        std::mem::take(&mut self.actions)
    }

    /// Lets time pass like an adapter that calls this connection only at its deadlines, and writes nothing.
    fn run(&mut self, harness: &mut Harness, time: Duration) {
        let end = harness.now + time;
        for turn in 0.. {
            let (None, Some(deadline)) = (&self.closed, self.deadline().filter(|deadline| *deadline <= end)) else {
                break;
            };
            assert!(turn < MOST_TURNS, "it asks for a timeout and does nothing then");
            harness.now = harness.now.max(deadline);
            self.conn.handle_timeout(harness.now);
            self.poll(harness);
        }
        harness.now = end;
    }

    fn disconnect(&mut self, harness: &Harness) {
        self.conn.handle_disconnect(harness.now, CloseReason::PeerClosed);
        self.poll(harness);
    }
}

/// Metadata and headers.
fn headers() -> Vec<u8> {
    [peer::metadata(0, 1), peer::video(0, peer::VIDEO_HEADER), peer::audio(0, peer::AUDIO_HEADER)].concat()
}

fn gop(time: u32, number: u8) -> Vec<u8> {
    [
        peer::video(time, &peer::key_frame(number)),
        peer::audio(time + 10, &peer::audio_frame(number)),
        peer::video(time + 40, &peer::inter_frame(number)),
    ]
    .concat()
}

const PLAY_REPLIES: usize = 5;

fn contains(received: &[String], word: &str) -> bool {
    received.iter().any(|line| line.contains(word))
}
