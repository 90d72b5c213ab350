//! One connection of a client, against any server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::amf::{Object, Value};
use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency};
use anabranch_core::client::{
    Client, ClientCloseReason, ClientConfig, ClientEvent, ClientLimits, ClientOutput, Destination, PlayOptions,
    StreamHandle,
};
use anabranch_core::command::PublishType;
use anabranch_core::handshake::ClientHandshakeKind;
use anabranch_core::message::{Control, Message, MessageType, Payload};
use bytes::Buf;

use crate::cuts::{Cuts, take_byte};
use crate::session::{compare, hello, pieces_behind};
use crate::time::any_instant;

/// The longest command in the small configuration, in bytes.
const COMMAND: u32 = 2000;

/// The longest answer to one request of the server, and to all that one message of its may ask for, in bytes.
const ONE_REPLY: usize = 3073 + 6 * COMMAND as usize;

/// Bytes of C0, C1 and C2.
const HANDSHAKE: usize = 1 + 2 * 1536;

/// A byte of setup, a byte for what the client is to do, cuts, then what a server sends.
pub fn run(mut input: &[u8]) {
    let flags = take_byte(&mut input);
    let wishes = take_byte(&mut input);
    let cuts = Cuts::take(&mut input);
    let hello = hello();
    let pieces = pieces_behind(flags, &hello, &cuts.pieces(input));
    let whole = trace(flags, wishes, &pieces_behind(flags, &hello, &[input]));
    let cut = trace(flags, wishes, &pieces);
    compare(&cut.events, &whole.events);
    assert!(cut.media == whole.media, "the same media");
    assert!(cut.outbound == whole.outbound, "the same bytes out");
    check_chunks(&whole.outbound);
    timed(flags, wishes, &pieces);
}

fn config(flags: u8) -> ClientConfig {
    let destination = Destination::parse("rtmp://example.org/live/cam").expect("a URL");
    let defaults = ClientLimits::default();
    let small = ClientLimits {
        chunks: ChunkLimits { message: 100_000, streams: 12, partial: 30_000, eager: 64 },
        streams: 3,
        calls: 5,
        events: 16,
        event_bytes: 20_000,
        replies: 4000,
        outbound: 10_000,
        ..defaults.clone()
    };
    let limits = if flags & 1 != 0 { small } else { defaults };
    ClientConfig {
        handshake: if flags & 2 != 0 { ClientHandshakeKind::Digest } else { ClientHandshakeKind::Simple },
        leniency: if flags & 4 != 0 { Leniency::Strict } else { Leniency::Lenient },
        window: 5000,
        chunk_size: 4096,
        limits: ClientLimits { command: COMMAND, ..limits },
        ..ClientConfig::to(&destination)
    }
}

/// Asks for what the bits of `wishes` say.
fn wish(client: &mut Client, wishes: u8) -> Vec<StreamHandle> {
    let mut streams = Vec::new();
    if wishes & 1 != 0 {
        streams.extend(client.publish("cam?token=1", PublishType::Live));
    }
    if wishes & 2 != 0 {
        let options = PlayOptions { ask_length: wishes & 4 != 0, ..PlayOptions::default() };
        streams.extend(client.play("cam", options));
    }
    if wishes & 8 != 0 {
        streams.extend(client.play("screen", PlayOptions::default()));
    }
    streams
}

/// All that can be seen of a client.
#[derive(Default)]
struct Trace {
    events: Vec<String>,
    media: Vec<u8>,
    outbound: Vec<u8>,
}

/// A client at a time that stands still.
fn trace(flags: u8, wishes: u8, pieces: &[&[u8]]) -> Trace {
    let now = any_instant();
    let mut client = Client::new(Arc::new(config(flags)), [4; 32], now);
    wish(&mut client, wishes);
    let mut trace = Trace::default();
    for piece in pieces {
        let _ = client.handle_input(now, piece);
        if settle(&mut client, &mut trace) {
            return trace;
        }
    }
    client.handle_disconnect(now, ClientCloseReason::PeerClosed);
    assert!(settle(&mut client, &mut trace), "a disconnect ends a client");
    trace
}

/// True once the client is closed.
fn settle(client: &mut Client, trace: &mut Trace) -> bool {
    loop {
        let output = client.poll_output();
        let left = client.outbound().remaining();
        trace.outbound.extend_from_slice(&client.outbound().copy_to_bytes(left));
        match output {
            ClientOutput::Event(ClientEvent::Media { stream, message }) => {
                assert!(matches!(message.type_id, MessageType::AUDIO | MessageType::VIDEO | MessageType::DATA_AMF0));
                trace.events.push(format!("{stream:?} {} {}", message.type_id, message.timestamp));
                trace.media.extend_from_slice(&message.payload);
            }
            ClientOutput::Event(event) => trace.events.push(format!("{event:?}")),
            ClientOutput::Wait(wait) if left == 0 && !wait.write => return false,
            ClientOutput::Wait(_) => {}
            ClientOutput::Closed(close) => {
                trace.events.push(format!("{close:?}"));
                return true;
            }
        }
    }
}

/// What the client says are legal chunks, to the last byte of each message.
fn check_chunks(outbound: &[u8]) {
    let mut reader = ChunkReader::new(ChunkLimits::default(), Leniency::Strict);
    let mut rest = outbound.get(HANDSHAKE..).unwrap_or_default();
    while let Some(message) = reader.read(&mut rest).expect("our own chunks are legal") {
        if let Ok(Some(Control::SetChunkSize(size))) = Control::parse(message.type_id, &message.payload) {
            reader.set_chunk_size(size).expect("not zero");
        }
    }
    assert!(reader.is_idle());
}

/// The same input while time passes, writes are partial, and the client does what its user wants meanwhile.
fn timed(flags: u8, wishes: u8, pieces: &[&[u8]]) {
    let mut now = any_instant();
    let config = Arc::new(config(flags));
    let mut client = Client::new(config.clone(), [4; 32], now);
    let mut streams = wish(&mut client, wishes);
    let limits = &config.limits;
    let message = 1000;
    // Replies, media with the message that went over the bound, and our own requests: few, and each answered or given
    // up before the next.
    let bound = limits.replies.max(4096) + limits.outbound + 2 * message + ONE_REPLY + 20_000;
    let mut outbound = Vec::new();
    let silence = std::iter::repeat_n(&[][..], 12);
    for (turn, piece) in pieces.iter().copied().chain(silence).enumerate() {
        now += Duration::from_millis(u64::from(wishes >> 4) * (turn as u64 % 7) * 40);
        if !piece.is_empty() {
            let _ = client.handle_input(now, piece);
        }
        if turn % 3 == 2 {
            act(&mut client, &mut streams, wishes, turn);
        }
        let mut due = 0;
        for step in 0.. {
            assert!(step < 20_000, "a poll without end");
            match client.poll_output() {
                ClientOutput::Event(ClientEvent::Publishing { stream }) => {
                    let payload = Payload::from(&vec![0x17; message][..]);
                    let type_id = MessageType::VIDEO;
                    let message = Message { chunk_stream: 6, timestamp: 40, type_id, message_stream_id: 0, payload };
                    for _ in 0..turn % 20 {
                        // Too much, or over already: it says so.
                        let _ = client.send_message(stream, message.clone());
                    }
                }
                ClientOutput::Event(_) => {}
                ClientOutput::Wait(wait) => {
                    let left = client.outbound().len();
                    assert!(left <= bound, "{left} bytes wait");
                    assert_eq!(wait.write, left > 0);
                    if left > 0 && turn % 2 == 0 {
                        outbound.extend_from_slice(&client.outbound().copy_to_bytes(left.div_ceil(2)));
                        continue;
                    }
                    if wait.deadline().is_some_and(|deadline| deadline <= now) {
                        due += 1;
                        assert!(due < 4, "the deadline does not move");
                        client.handle_timeout(now);
                        continue;
                    }
                    break;
                }
                ClientOutput::Closed(close) => {
                    assert!(client.outbound().is_empty() && !close.reason.name().is_empty());
                    assert!(client.publish("late", PublishType::Live).is_err(), "over is over");
                    return;
                }
            }
        }
    }
    client.close();
    end(client, now);
}

fn act(client: &mut Client, streams: &mut Vec<StreamHandle>, wishes: u8, turn: usize) {
    match (usize::from(wishes) + turn) % 5 {
        0 => streams.extend(client.play("cam", PlayOptions::default())),
        1 => {
            if let Some(stream) = streams.pop() {
                client.stop(stream);
                client.stop(stream);
            }
        }
        2 => {
            if let Some(stream) = streams.first() {
                client.pause(*stream, turn % 2 == 0, 10);
            }
        }
        3 => _ = client.call("hello", Value::Null, &[Value::Object(Object::default())]),
        _ => streams.extend(client.publish("cam", PublishType::Live)),
    }
}

/// A client that takes its leave is gone when the time for that is over.
fn end(mut client: Client, mut now: Instant) {
    for _ in 0..10 {
        match client.poll_output() {
            ClientOutput::Event(_) => {}
            ClientOutput::Wait(wait) => {
                now = now.max(wait.deadline().expect("a closing client waits for its end"));
                client.handle_timeout(now);
            }
            ClientOutput::Closed(_) => return,
        }
    }
    let mut events = 0;
    while !matches!(client.poll_output(), ClientOutput::Closed(_)) {
        events += 1;
        assert!(events < 20_000, "events do not end");
    }
}
