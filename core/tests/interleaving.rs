//! Messages cut into chunks and interleaved on any chunk streams, with every header a legal writer may use, decode as
//! if they had been sent one after the other.

mod support;

use std::collections::VecDeque;

use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency};
use anabranch_core::message::Message;
use proptest::prelude::*;
use support::chunk_writer::{ChunkWriter, Extension, IdForm, Outgoing, Style};

/// Ids with every form of the basic header.
const CHUNK_STREAMS: [u32; 8] = [3, 4, 63, 64, 319, 320, 365, 65_599];

/// The time of a message relative to the previous one on its chunk stream.
#[derive(Debug, Clone, Copy)]
enum Time {
    After(u32),
    At(u32),
}

/// The writer's next step.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The next chunk of the chunk stream selected by this number.
    Chunk(usize, Style),
    SetChunkSize(u32),
    Abort(usize),
}

fn times() -> impl Strategy<Value = Time> {
    prop_oneof![
        4 => (0u32..50).prop_map(Time::After),
        1 => Just(Time::After(0xff_fffe)),
        1 => Just(Time::After(0xff_ffff)),
        1 => Just(Time::After(0x0100_0000)),
        1 => (1u32..100).prop_map(|back| Time::After(back.wrapping_neg())),
        1 => any::<u32>().prop_map(Time::At),
    ]
}

fn messages() -> impl Strategy<Value = Vec<(usize, Time, u8, u32, Vec<u8>)>> {
    let body = prop_oneof![
        1 => Just(Vec::new()),
        3 => (0usize..12).prop_flat_map(|length| prop::collection::vec(any::<u8>(), length)),
        // Few different lengths, so that formats 2 and 3 occur; bytes that look like headers and timestamps.
        3 => (prop::sample::select(vec![20usize, 128, 129, 300]), prop::sample::select(vec![0u8, 0xc3, 0xff, 1]))
            .prop_map(|(length, byte)| vec![byte; length]),
        1 => prop::collection::vec(any::<u8>(), 0..700),
    ];
    let type_id = prop::sample::select(vec![8u8, 9, 18, 20, 22, 0, 255]);
    let message_stream_id = prop_oneof![4 => Just(1u32), 1 => Just(0), 1 => any::<u32>()];
    prop::collection::vec((0..CHUNK_STREAMS.len(), times(), type_id, message_stream_id, body), 1..25)
}

fn styles() -> impl Strategy<Value = Style> {
    let id = prop::sample::select(vec![IdForm::Shortest, IdForm::Longest]);
    let extension = prop::sample::select(vec![Extension::Repeat, Extension::Absolute, Extension::Omit]);
    (0u8..4, id, extension).prop_map(|(format, id, extension)| Style { format, id, extension })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (any::<usize>(), styles()).prop_map(|(pick, style)| Step::Chunk(pick, style)),
        1 => prop::sample::select(vec![1u32, 2, 5, 64, 128, 4096, 0x7fff_ffff]).prop_map(Step::SetChunkSize),
        1 => any::<usize>().prop_map(Step::Abort),
    ];
    prop::collection::vec(step, 1..120)
}

/// The bytes, and the messages in the order of their last chunks.
#[allow(clippy::type_complexity)] // the type that `messages` returns
fn write(messages: Vec<(usize, Time, u8, u32, Vec<u8>)>, steps: &[Step]) -> (Vec<u8>, Vec<Outgoing>) {
    let mut queues: Vec<VecDeque<Outgoing>> = vec![VecDeque::new(); CHUNK_STREAMS.len()];
    let mut clocks = [0u32; CHUNK_STREAMS.len()];
    for (index, time, type_id, message_stream_id, body) in messages {
        clocks[index] = match time {
            Time::After(delta) => clocks[index].wrapping_add(delta),
            Time::At(time) => time,
        };
        let chunk_stream = CHUNK_STREAMS[index];
        queues[index].push_back(Outgoing { chunk_stream, timestamp: clocks[index], type_id, message_stream_id, body });
    }
    let (mut out, mut complete, mut writer) = (Vec::new(), Vec::new(), ChunkWriter::new(128));
    let mut steps = steps.iter();
    loop {
        let busy: Vec<usize> = (0..queues.len()).filter(|&index| !queues[index].is_empty()).collect();
        if busy.is_empty() {
            return (out, complete);
        }
        // After the last step, the rest is written in the plain style.
        match steps.next().copied().unwrap_or(Step::Chunk(0, Style::PLAIN)) {
            Step::Chunk(pick, style) => {
                let index = busy[pick % busy.len()];
                let id = CHUNK_STREAMS[index];
                let message = queues[index].front().expect("it was busy").clone();
                let whole = if writer.is_open(id) {
                    writer.proceed(&mut out, id, style)
                } else {
                    writer.begin(&mut out, message, style)
                };
                if whole {
                    complete.extend(queues[index].pop_front());
                }
            }
            Step::SetChunkSize(size) => {
                writer.set_chunk_size(&mut out, size);
                complete.push(support::chunk_writer::control(1, size));
            }
            Step::Abort(pick) => {
                let open = writer.open();
                // Aborting an idle or unknown chunk stream must have no effect.
                let id = open.get(pick % (open.len() + 1)).copied().unwrap_or(40);
                if writer.is_open(id) {
                    let index = CHUNK_STREAMS.iter().position(|known| *known == id).expect("one of ours");
                    queues[index].pop_front();
                }
                writer.abort(&mut out, id);
                complete.push(support::chunk_writer::control(2, id));
            }
        }
    }
}

/// Reads pieces like a session: protocol control messages take effect immediately.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Outgoing> {
    let mut reader = ChunkReader::new(ChunkLimits::default(), Leniency::Strict);
    let mut messages = Vec::new();
    for mut piece in pieces {
        while let Some(message) = reader.read(&mut piece).expect("legal chunks") {
            let word = || u32::from_be_bytes(*message.payload.first_chunk().expect("four bytes"));
            match message.type_id {
                1 => reader.set_chunk_size(word()).expect("not zero"),
                2 => reader.abort(word()),
                _ => {}
            }
            messages.push(as_sent(&message));
        }
        assert!(piece.is_empty(), "the reader takes all it is given");
    }
    assert!(reader.is_idle(), "no partial message remains");
    assert_eq!(reader.partial_bytes(), 0);
    messages
}

fn as_sent(message: &Message) -> Outgoing {
    Outgoing {
        chunk_stream: message.chunk_stream,
        timestamp: message.timestamp,
        type_id: message.type_id,
        message_stream_id: message.message_stream_id,
        body: message.payload.to_vec(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_decodes_as_if_sent_one_after_the_other(
        messages in messages(),
        steps in steps(),
        cuts in prop::collection::vec(1usize..40, 1..20),
    ) {
        let (bytes, expected) = write(messages, &steps);
        prop_assert_eq!(&read(std::iter::once(&bytes[..])), &expected);
        prop_assert_eq!(&read(bytes.chunks(1)), &expected);
        let mut rest = &bytes[..];
        let pieces = cuts.iter().cycle().map_while(|cut| {
            let (piece, after) = rest.split_at(rest.len().min(*cut));
            rest = after;
            (!piece.is_empty()).then_some(piece)
        });
        prop_assert_eq!(&read(pieces), &expected);
    }
}

/// The writer uses the forms that the property test is about. Otherwise that test would prove nothing.
#[test]
fn the_writer_uses_the_forms_it_is_asked_for() {
    let style = |format, id, extension| Style { format, id, extension };
    let message = |chunk_stream, timestamp, byte| Outgoing {
        chunk_stream,
        timestamp,
        type_id: 8,
        message_stream_id: 1,
        body: vec![byte; 3],
    };
    let mut writer = ChunkWriter::new(2);
    let mut out = Vec::new();
    let shortest = style(3, IdForm::Shortest, Extension::Omit);
    writer.write(&mut out, message(64, 5, 1), shortest);
    assert_eq!(out, [0, 0, 0, 0, 5, 0, 0, 3, 8, 1, 0, 0, 0, 1, 1, 0xc0, 0, 1]);
    out.clear();
    writer.write(&mut out, message(64, 10, 1), style(3, IdForm::Longest, Extension::Omit));
    assert_eq!(out, [0xc1, 0, 0, 1, 1, 0xc1, 0, 0, 1], "after format 0 the delta is the timestamp");
    out.clear();
    writer.write(&mut out, message(64, 17, 1), shortest);
    assert_eq!(out, [0x80, 0, 0, 0, 7, 1, 1, 0xc0, 0, 1]);
    out.clear();
    let far = 17 + 0x0100_0000;
    writer.write(&mut out, message(64, far, 2), style(2, IdForm::Shortest, Extension::Absolute));
    assert_eq!(out, [0x80, 0, 0xff, 0xff, 0xff, 1, 0, 0, 0, 2, 2, 0xc0, 0, 1, 0, 0, 17, 2]);
    out.clear();
    writer.write(&mut out, message(64, far + 0x0100_0000, 9), shortest);
    assert_eq!(out, [0xc0, 0, 9, 9, 0xc0, 0, 9], "left out: 9 cannot be the timestamp");
    out.clear();
    writer.write(&mut out, message(64, far + 0x0200_0000, 1), shortest);
    assert_eq!(out, [0xc0, 0, 1, 1, 0xc0, 0, 1, 0, 0, 0, 1], "one byte could be the timestamp's first");
}
