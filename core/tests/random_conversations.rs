//! For any input of a client, legal or not: the split of its bytes and the interleaving of its messages have no effect,
//! and the session's events are consistent.

#[path = "support/conversation.rs"]
mod conversation;
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anabranch_core::amf::Limits;
use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency};
use anabranch_core::command::Command;
use anabranch_core::message::{Control, Message};
use anabranch_core::session::{CloseReason, Phase, Rejection, Session, SessionConfig, SessionEvent, SessionOutput};
use bytes::Buf;
use conversation::{Said, UNUSED_CHUNK_STREAM, conversations, plainly, transaction};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use support::chunk_writer::{ChunkWriter, Extension, IdForm, Outgoing, Style};
use support::recorded;

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Publishing,
    Playing,
}

/// A session, and its expected state according to its events.
struct Run {
    session: Session,
    now: Instant,
    /// The answers to requests, in order and repeated from the start; false refuses.
    answers: Vec<bool>,
    requests: usize,
    connected: bool,
    streams: BTreeMap<u32, Activity>,
    events: Vec<String>,
    outbound: Vec<u8>,
    /// A request was refused, or the client broke the protocol: the session ignores further input.
    over: bool,
    closed: Option<Phase>,
}

impl Run {
    fn new(answers: &[bool]) -> Self {
        let now = support::any_instant();
        let mut config = SessionConfig { window: 5000, ..SessionConfig::default() };
        config.limits.command = 1_000;
        config.limits.streams = 3;
        let mut run = Run {
            session: Session::new(Arc::new(config), [7; 32], now),
            now,
            answers: answers.to_vec(),
            requests: 0,
            connected: false,
            streams: BTreeMap::new(),
            events: Vec::new(),
            outbound: Vec::new(),
            over: false,
            closed: None,
        };
        let mut hello = recorded::simple_hello();
        hello.resize(hello.len() + 1536, 0);
        run.feed(&hello);
        run
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.over |= self.session.handle_input(self.now, bytes).is_err();
        self.settle();
    }

    /// The peer disconnects.
    fn end(&mut self) {
        self.session.handle_disconnect(self.now, CloseReason::PeerClosed);
        self.settle();
        assert!(self.closed.is_some(), "a disconnect ends a session");
    }

    fn phase(&self) -> Phase {
        let any = |activity| self.streams.values().any(|stream| *stream == activity);
        match self.connected {
            _ if any(Activity::Publishing) => Phase::Publishing,
            _ if any(Activity::Playing) => Phase::Playing,
            true => Phase::Connected,
            false => Phase::Connect,
        }
    }

    fn settle(&mut self) {
        while self.closed.is_none() {
            let output = self.session.poll_output();
            let waiting = self.session.outbound().remaining();
            self.outbound.extend_from_slice(&self.session.outbound().copy_to_bytes(waiting));
            match output {
                SessionOutput::Event(event) => self.take(event),
                SessionOutput::Wait(_) if waiting > 0 => {}
                SessionOutput::Wait(wait) => {
                    assert!(wait.read.is_some() && !wait.write, "the session waits only for the peer: {wait:?}");
                    assert!(wait.deadline().is_some());
                    return;
                }
                SessionOutput::Closed(close) => {
                    self.over = true;
                    self.events.push(format!("{:?} while {:?}", close.reason, close.phase));
                    self.closed = Some(close.phase);
                }
            }
        }
    }

    /// Takes an event and answers it if it is a request. Fails if it is inconsistent with earlier events.
    fn take(&mut self, event: SessionEvent) {
        self.events.push(format!("{event:?}"));
        let activity = |id: u32| self.streams.get(&id).copied();
        match event {
            SessionEvent::Connect(request) => {
                assert!(!self.connected, "one connect a connection");
                if self.answer() {
                    self.connected = true;
                    self.session.accept(request);
                } else {
                    self.session.reject(request, &Rejection::connect_rejected("no"));
                }
            }
            SessionEvent::Publish(request) => {
                let id = request.message_stream_id();
                assert!(self.connected && (1..=3).contains(&id) && activity(id).is_none());
                if self.answer() {
                    self.streams.insert(id, Activity::Publishing);
                    self.session.accept(request);
                } else {
                    self.session.reject(request, &Rejection::publish_denied("no"));
                }
            }
            SessionEvent::Play(request) => {
                let id = request.message_stream_id();
                assert!(self.connected && (1..=3).contains(&id) && activity(id).is_none());
                if self.answer() {
                    self.streams.insert(id, Activity::Playing);
                    self.session.accept(request);
                } else {
                    self.session.reject(request, &Rejection::play_denied("no"));
                }
            }
            SessionEvent::Media(message) => {
                assert_eq!(activity(message.message_stream_id), Some(Activity::Publishing));
                assert!([8, 9, 18].contains(&message.type_id), "type {}", message.type_id);
            }
            SessionEvent::ClearMetadata { message_stream_id } => {
                assert_eq!(activity(message_stream_id), Some(Activity::Publishing));
            }
            SessionEvent::Unpublish { message_stream_id } => {
                assert_eq!(self.streams.remove(&message_stream_id), Some(Activity::Publishing));
            }
            SessionEvent::Stop { message_stream_id } => {
                assert_eq!(self.streams.remove(&message_stream_id), Some(Activity::Playing));
            }
            SessionEvent::Pause { message_stream_id, .. } | SessionEvent::Receive { message_stream_id, .. } => {
                assert_eq!(activity(message_stream_id), Some(Activity::Playing));
            }
            SessionEvent::Measured { .. } => panic!("nothing is measured here"),
            SessionEvent::Request(_) => panic!("nothing speaks HTTP here"),
        }
    }

    fn answer(&mut self) -> bool {
        let answer = self.answers[self.requests % self.answers.len()];
        self.requests += 1;
        self.over |= !answer;
        answer
    }

    /// The session's messages since the last call, except acknowledgements, because those count bytes.
    fn received(&mut self, server_output: &mut ServerOutput) -> Vec<Message> {
        let mut messages = server_output.messages(&std::mem::take(&mut self.outbound));
        messages.retain(|message| message.type_id != 3);
        messages
    }
}

/// Reads the session's output.
struct ServerOutput {
    handshake: usize,
    reader: ChunkReader,
}

impl ServerOutput {
    fn new() -> Self {
        ServerOutput { handshake: 3073, reader: ChunkReader::new(ChunkLimits::default(), Leniency::Strict) }
    }

    fn messages(&mut self, bytes: &[u8]) -> Vec<Message> {
        let skipped = self.handshake.min(bytes.len());
        self.handshake -= skipped;
        let mut rest = &bytes[skipped..];
        let mut messages = Vec::new();
        while let Some(message) = self.reader.read(&mut rest).expect("the server writes legal chunks") {
            if let Ok(Some(Control::SetChunkSize(size))) = Control::parse(message.type_id, &message.payload) {
                self.reader.set_chunk_size(size).expect("not zero");
            }
            messages.push(message);
        }
        messages
    }
}

/// What the writer does before the next chunk of the current message.
#[derive(Debug, Clone, Copy)]
enum Aside {
    Nothing,
    /// A chunk of a message this many places later, but never its last chunk.
    Early(usize),
    /// A message that is begun and aborted.
    FalseStart,
}

fn asides() -> impl Strategy<Value = Vec<(Aside, Style)>> {
    let aside = prop_oneof![
        3 => Just(Aside::Nothing),
        4 => (1usize..5).prop_map(Aside::Early),
        1 => Just(Aside::FalseStart),
    ];
    let id = prop::sample::select(vec![IdForm::Shortest, IdForm::Longest]);
    let extension = prop::sample::select(vec![Extension::Repeat, Extension::Absolute, Extension::Omit]);
    let style = (0u8..4, id, extension).prop_map(|(format, id, extension)| Style { format, id, extension });
    prop::collection::vec((aside, style), 1..40)
}

/// The same messages, completed in the same order, with their chunks in any order and form.
fn interleaved(said: &[Said], asides: &[(Aside, Style)]) -> Vec<u8> {
    let messages: Vec<Option<Outgoing>> = said.iter().enumerate().map(|(index, said)| said.message(index)).collect();
    let (mut out, mut writer) = (Vec::new(), ChunkWriter::new(128));
    let mut asides = asides.iter().copied().cycle();
    for (index, said) in said.iter().enumerate() {
        let Some(message) = &messages[index] else {
            if let Said::SetChunkSize(size) = said {
                writer.set_chunk_size(&mut out, *size);
            }
            continue;
        };
        let id = message.chunk_stream;
        loop {
            let (aside, style) = asides.next().expect("they go around");
            match aside {
                Aside::Nothing => {}
                Aside::FalseStart => {
                    let junk = Outgoing { chunk_stream: UNUSED_CHUNK_STREAM, body: vec![3; 200], ..message.clone() };
                    if writer.takes_more_than_one_chunk(&junk) && !writer.is_open(2) {
                        writer.begin(&mut out, junk, style);
                        writer.abort(&mut out, UNUSED_CHUNK_STREAM);
                    }
                }
                Aside::Early(places) => {
                    let between = &messages[index..(index + places).min(messages.len())];
                    let later = messages.get(index + places).and_then(Option::as_ref);
                    // Chunk stream 2 stays free for control messages, and messages of one chunk stream keep their
                    // order.
                    let is_free = |later: &&Outgoing| {
                        let same = |other: &Outgoing| other.chunk_stream == later.chunk_stream;
                        later.chunk_stream != 2 && !between.iter().flatten().any(same)
                    };
                    if let Some(later) = later.filter(is_free).filter(|later| writer.takes_more_than_one_chunk(later)) {
                        if writer.is_open(later.chunk_stream) {
                            writer.proceed(&mut out, later.chunk_stream, style);
                        } else {
                            writer.begin(&mut out, later.clone(), style);
                        }
                    }
                }
            }
            let complete = if writer.is_open(id) {
                writer.proceed(&mut out, id, style)
            } else {
                writer.begin(&mut out, message.clone(), style)
            };
            if complete {
                break;
            }
        }
    }
    out
}

/// Number of `_result` or `_error` answers to a command; `None` if it depends on more than the command.
fn answers_due(name: &str, connected: bool) -> Option<usize> {
    match name {
        "connect" => Some(usize::from(!connected)),
        _ if !connected => Some(0),
        "publish" | "play" | "play2" => None,
        "createStream" | "releaseStream" | "FCPublish" | "FCUnpublish" | "FCSubscribe" | "FCUnsubscribe"
        | "getStreamLength" | "_checkbw" | "somethingElse" => Some(1),
        _ => Some(0),
    }
}

fn answers() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(prop::bool::weighted(0.95), 1..8)
}

proptest! {
    #[test]
    fn any_cuts_are_as_good_as_none(
        said in conversations(),
        answers in answers(),
        sizes in prop::collection::vec(prop_oneof![1usize..20, 1usize..2000], 1..30),
    ) {
        let bytes = plainly(&said).concat();
        let mut whole = Run::new(&answers);
        whole.feed(&bytes);
        whole.end();
        let mut cut = Run::new(&answers);
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*size));
            if piece.is_empty() {
                break;
            }
            cut.feed(piece);
            rest = after;
        }
        cut.end();
        prop_assert_eq!(cut.events, whole.events);
        prop_assert!(cut.outbound == whole.outbound, "other bytes are sent");
    }

    #[test]
    fn any_interleaving_is_as_good_as_none(said in conversations(), answers in answers(), asides in asides()) {
        let mut plain = Run::new(&answers);
        plain.feed(&plainly(&said).concat());
        plain.end();
        let mut mixed = Run::new(&answers);
        mixed.feed(&interleaved(&said, &asides));
        mixed.end();
        prop_assert_eq!(&mixed.events, &plain.events);
        prop_assert_eq!(mixed.received(&mut ServerOutput::new()), plain.received(&mut ServerOutput::new()));
    }

    #[test]
    fn a_session_is_in_the_phase_its_events_tell_and_answers_once(said in conversations(), answers in answers()) {
        let mut run = Run::new(&answers);
        let mut server_output = ServerOutput::new();
        for (index, (said, bytes)) in said.iter().zip(plainly(&said)).enumerate() {
            let connected = run.connected;
            run.feed(&bytes);
            let commands: Vec<Command> = run
                .received(&mut server_output)
                .iter()
                .filter(|message| message.type_id == 20)
                .map(|message| Command::parse(20, &message.payload, &Limits::default()).expect("AMF"))
                .collect();
            // The end is reported in the phase that was reached.
            prop_assert_eq!(run.closed.unwrap_or(run.session.phase()), run.phase());
            let is_answer = |command: &&Command| command.name == *"_result" || command.name == *"_error";
            let (to_this, to_others): (Vec<&Command>, Vec<&Command>) =
                commands.iter().filter(is_answer).partition(|command| command.transaction == transaction(index));
            // A command that wants no answer gets none, except `connect` and `createStream`.
            prop_assert!(to_others.iter().all(|command| command.transaction == 0.0), "{to_others:?}");
            if let Said::Command { name, answered: true, .. } = said {
                match answers_due(name, connected) {
                    Some(due) if !run.over => prop_assert_eq!(to_this.len(), due, "answers to {}", name),
                    _ => prop_assert!(to_this.len() <= 1, "answers to {}", name),
                }
            }
            if run.over {
                break;
            }
        }
    }
}

/// Enough conversations get beyond their first messages. Otherwise the test above would prove nothing.
#[test]
fn conversations_come_to_publish_and_to_play() {
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..200 {
        let said = conversations().new_tree(&mut runner).expect("no filters").current();
        let mut run = Run::new(&[true]);
        run.feed(&plainly(&said).concat());
        for event in &run.events {
            let name = event.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            *seen.entry(name.to_owned()).or_default() += 1;
        }
    }
    for event in ["Connect", "Publish", "Play", "Media", "ClearMetadata", "Unpublish", "Stop", "Pause", "Receive"] {
        let times = seen.get(event).copied().unwrap_or_default();
        assert!(times >= 5, "{event} came {times} times: {seen:?}");
    }
}
