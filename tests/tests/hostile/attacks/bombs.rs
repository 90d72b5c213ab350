//! Sizes, numbers and depths that are announced or sent.

use anabranch_core::amf::{Object, Value};
use anabranch_core::chunk::message_header;
use anabranch_core::flv::tag::write_tag;
use anabranch_core::message::MessageType;
use anabranch_core::session::SessionLimits;
use anabranch_tests::conformance::Target;
use anabranch_tests::peer::{End, ScriptedClient, Wire};
use anabranch_tests::sim::Rng;

use super::Attackers::Of;
use super::{Case, LONG, Memory, assert_hangs_up, body, call, connect, encoded, key_frame, publisher};
use crate::arena::Arena;

/// How attackers leave.
const GONE: &[&str] = &["peer_closed", "peer_lost"];

pub(crate) static CASES: &[Case] = &[
    Case::new(
        "messages_before_the_handshake_ends",
        "the handshake takes 1536 bytes as C2, whatever they are",
        Of(20, 100),
        Memory::MoreOnThreads(4, 16, 64),
        &["chunk_error", "command_error", "control_error"],
        |arena| {
            arena.each(|target, _| {
                let mut wire = Wire::dial(target);
                let words = [connect("early"), call("createStream", 2.0, 0, &[])].concat().repeat(20);
                wire.write(&[&[3][..], &[0; 1536], &words].concat());
                assert_hangs_up(&mut wire);
            });
        },
    ),
    Case::new(
        "long_messages_announced_before_connect",
        "SessionLimits::chunks_before_connect.message 40 KiB",
        Of(50, 200),
        Memory::MoreOnThreads(4, 16, 64),
        &["chunk_error"],
        |arena| {
            arena.each(|target, _| {
                let mut client = ScriptedClient::open(target);
                client.send_bytes(&message_header(3, 0, 0x00ff_ffff, MessageType::COMMAND_AMF0, 0));
                assert_hangs_up(client.wire());
            });
        },
    ),
    Case::new(
        "half_a_connect_of_the_longest_length",
        "SessionLimits::chunks_before_connect.partial 40 KiB, timeouts.connect 10 s",
        Of(50, 200),
        // What the budget of one before connect says, and what two threads each come to.
        Memory::MoreOnThreads(8, 72, 160),
        &["connect_timeout"],
        |arena| {
            arena.each(|target, _| {
                let mut client = ScriptedClient::open(target);
                let bytes = client.encode(
                    3,
                    0,
                    MessageType::COMMAND_AMF0,
                    0,
                    &vec![2; SessionLimits::LONGEST_CONNECT as usize],
                );
                client.send_bytes(&bytes[..bytes.len() - 1]);
                assert_hangs_up(client.wire());
            });
        },
    ),
    Case::new(
        "many_chunk_streams_before_connect",
        "SessionLimits::chunks_before_connect.streams 8",
        Of(50, 200),
        Memory::MoreOnThreads(4, 16, 64),
        &["chunk_error"],
        |arena| arena.each(|target, _| open_chunk_streams(ScriptedClient::open(target))),
    ),
    Case::new(
        "thousands_of_chunk_streams",
        "ChunkLimits::streams 64",
        Of(50, 200),
        Memory::MoreOnThreads(4, 32, 96),
        &["chunk_error"],
        |arena| arena.each(|target, _| open_chunk_streams(ScriptedClient::connected(target))),
    ),
    Case::new(
        "half_messages_of_megabytes",
        "ChunkLimits::partial 24 MiB",
        Of(3, 10),
        // Buffers that grow are twice as large for a moment, and one grows at a time.
        Memory::Of(8, 40 << 10),
        &["chunk_error"],
        |arena| {
            arena.each(|target, _| {
                let mut client = publisher(target);
                client.set_chunk_size(0x7fff_ffff);
                let body = vec![0x27; 7 << 20];
                for chunk_stream in 10..16 {
                    // One chunk is all of a message: what is missing holds up the next, so each is cut short by a new
                    // size.
                    client.set_chunk_size(7 << 20);
                    client.send_bytes(&message_header(chunk_stream, 0, 8 << 20, MessageType::VIDEO, 1));
                    if client.wire().write_until_blocked(&body, LONG) < body.len() {
                        break;
                    }
                }
                assert_hangs_up(client.wire());
            });
        },
    ),
    Case::new(
        "messages_of_sixteen_megabytes",
        "ChunkLimits::message 16 MiB, SourceLimits::bytes 32 MiB",
        Of(2, 8),
        // The log of the stream, a message that comes in a buffer that grows, and one that is cut for the wire.
        Memory::Of(8, 96 << 10),
        GONE,
        |arena| {
            // What the first round leaves to the allocator serves the second.
            for _ in 0..2 {
                arena.each(|target, _| {
                    let mut client = publisher(target);
                    client.set_chunk_size(1 << 20);
                    let bytes = client.encode(6, 0, MessageType::VIDEO, 1, &key_frame(0x00ff_ffff));
                    for _ in 0..4 {
                        client.wire().write_until_blocked(&bytes, LONG);
                    }
                    let wire = client.wire();
                    wire.shut_down_writing();
                    assert_hangs_up(wire);
                });
                arena.resident_when_gone();
            }
        },
    ),
    Case::new("a_chunk_size_of_1", "work is linear in the bytes read", Of(4, 8), Memory::Of(16, 1024), GONE, |arena| {
        arena.each(|target, _| {
            let mut client = publisher(target);
            client.set_chunk_size(1);
            for time in 0..3 {
                client.video(time, &key_frame(60_000));
            }
            client.receive_pending();
        });
    }),
    Case::new(
        "a_chunk_size_of_2147483647",
        "ChunkLimits::message 16 MiB",
        Of(4, 8),
        Memory::Of(16, 8 << 10),
        GONE,
        |arena| {
            arena.each(|target, _| {
                let mut client = publisher(target);
                client.set_chunk_size(0x7fff_ffff);
                for time in 0..10 {
                    client.video(time, &key_frame(300_000));
                }
                client.receive_pending();
            });
        },
    ),
    Case::new(
        "amf_deep_and_wide",
        "amf::Limits::depth 32, values 4096; SessionLimits::command 1 MiB",
        Of(4, 8),
        // What is no AMF that could be read is not relayed; the rest is in the log of the stream.
        Memory::Of(16, 40 << 10),
        GONE,
        amf_deep_and_wide,
    ),
    Case::new(
        "deep_amf_in_connect",
        "SessionLimits::amf_before_connect: depth 16, 128 values",
        Of(20, 100),
        Memory::MoreOnThreads(4, 64, 128),
        &["command_error"],
        |arena| {
            arena.each(|target, number| {
                let mut client = ScriptedClient::open(target);
                let body = if number % 2 == 0 { nested("connect", 500) } else { billions("connect") };
                client.send(3, 0, MessageType::COMMAND_AMF0, 0, &body);
                assert_hangs_up(client.wire());
            });
        },
    ),
    Case::new(
        "commands_of_two_megabytes",
        "SessionLimits::command 1 MiB",
        Of(4, 16),
        Memory::Of(8, 6 << 10),
        &["message_over_limit"],
        |arena| {
            arena.each(|target, _| {
                let mut client = ScriptedClient::connected(target);
                client.set_chunk_size(1 << 20);
                let bytes = client.encode(3, 0, MessageType::COMMAND_AMF0, 0, &vec![2; 2 << 20]);
                client.wire().write_until_blocked(&bytes, LONG);
                assert_hangs_up(client.wire());
            });
        },
    ),
    Case::new(
        "names_of_65535_bytes",
        "url::MAX_NAME_LEN 9 KiB; chunks_before_connect.message 40 KiB",
        Of(10, 50),
        Memory::MoreOnThreads(8, 600, 700),
        &["rejected", "chunk_error", "peer_closed", "peer_lost"],
        names_of_65535_bytes,
    ),
    Case::new(
        "metadata_of_a_megabyte_again_and_again",
        "SourceLimits::header_bytes 1 MiB, bytes 32 MiB",
        Of(1, 3),
        Memory::Of(16, 64 << 10),
        GONE,
        |arena| {
            arena.each(|target, _| {
                let _players: Vec<ScriptedClient> =
                    (0..3).map(|_| ScriptedClient::player(target, &target.name)).collect();
                let mut publisher = publisher(target);
                publisher.set_chunk_size(1 << 20);
                let text = "x".repeat(60_000);
                for number in 0..60 {
                    let mut object = Object::new().with("number", f64::from(number));
                    for key in 0..8 {
                        object =
                            object.with(format!("{key}{}", "k".repeat(60_000 * (key % 2))).as_str(), text.as_str());
                    }
                    publisher.data(&["@setDataFrame".into(), "onMetaData".into(), Value::EcmaArray(object)]);
                    publisher.video(number as u32 * 40, &key_frame(100));
                }
                publisher.receive_pending();
            });
        },
    ),
    Case::new(
        "a_new_sequence_header_before_every_key_frame",
        "SourceLimits::header_bytes 1 MiB, bytes 32 MiB",
        Of(1, 3),
        Memory::Of(16, 64 << 10),
        GONE,
        |arena| {
            arena.each(|target, _| {
                let mut publisher = publisher(target);
                publisher.set_chunk_size(1 << 20);
                for number in 0..1500_u32 {
                    let mut header = vec![0x17, 0, 0, 0, 0, 1, 100, 0, 31, 0xff];
                    header.resize(20_000, number as u8);
                    publisher.video(number * 40, &header);
                    publisher.audio(number * 40, &[0xaf, 0, 0x12, 0x10, number as u8]);
                    publisher.video(number * 40, &key_frame(100));
                }
                publisher.receive_pending();
            });
        },
    ),
    Case::new(
        "timestamps_going_wild",
        "SourceLimits::milliseconds 10 s, frames 16384, whatever the times are",
        Of(2, 8),
        Memory::Of(8, 16 << 10),
        GONE,
        |arena| {
            arena.each(|target, number| {
                let mut player = ScriptedClient::player(target, &target.name);
                let mut publisher = publisher(target);
                let mut bytes = [0; 4];
                let mut random = Rng::new(number as u64);
                for round in 0..40 {
                    for _ in 0..50 {
                        random.fill(&mut bytes);
                        let time = u32::from_be_bytes(bytes);
                        publisher.video(if time % 7 == 0 { u32::MAX } else { time }, &key_frame(200));
                    }
                    publisher.video(0, &[0x17, 1, 0, 0, 0, round]);
                    player.receive_until(&format!("video key {round} "));
                }
            });
        },
    ),
    Case::new(
        "aggregates_of_tens_of_thousands_of_parts",
        "SessionLimits::events 512",
        Of(2, 4),
        Memory::Of(16, 16 << 10),
        GONE,
        aggregates,
    ),
    Case::new(
        "one_byte_a_write",
        "the chunk reader holds a header and a message, however they are cut",
        Of(4, 16),
        Memory::MoreOnThreads(8, 128, 192),
        GONE,
        |arena| {
            arena.each(|target, _| {
                let mut publisher = publisher(target);
                let bytes = publisher.encode(6, 0x0100_0000, MessageType::VIDEO, 1, &key_frame(20_000));
                for byte in bytes {
                    publisher.wire().write(&[byte]);
                }
                publisher.receive_pending();
            });
        },
    ),
    Case::new(
        "noise_after_connect",
        "ChunkLimits",
        Of(20, 200),
        Memory::MoreOnThreads(8, 256, 320),
        &["chunk_error", "control_error", "command_error", "message_over_limit", "peer_closed", "peer_lost"],
        |arena| {
            arena.each(|target, number| {
                let mut wire = ScriptedClient::connected(target).into_wire();
                let mut bytes = vec![0; 200 << (number % 10)];
                Rng::new(number as u64).fill(&mut bytes);
                wire.write_until_blocked(&bytes, LONG);
                wire.shut_down_writing();
                assert_ne!(wire.receive_for(LONG), End::Open);
            });
        },
    ),
];

fn open_chunk_streams(mut client: ScriptedClient) {
    let mut bytes = Vec::new();
    for id in 0..5000_u16 {
        let [low, high] = id.to_le_bytes();
        bytes.extend_from_slice(&[1, low, high, 0, 0, 0, 0, 0, 1, 99, 0, 0, 0, 0, 0]);
    }
    client.wire().write_until_blocked(&bytes, LONG);
    assert_hangs_up(client.wire());
}

/// A command whose object is nested this deep: an object in an object under the name `a`.
fn nested(name: &str, depth: usize) -> Vec<u8> {
    let mut body = encoded(&[name.into(), 1.0.into()]);
    body.push(3);
    body.extend_from_slice(&[0, 1, b'a', 3].repeat(depth));
    body.extend_from_slice(&[0, 0, 9].repeat(depth + 1));
    body
}

/// A command with a strict array that says it has 4 294 967 295 values.
fn billions(name: &str) -> Vec<u8> {
    let mut body = encoded(&[name.into(), 1.0.into()]);
    body.extend_from_slice(&[10, 0xff, 0xff, 0xff, 0xff, 5, 5, 5]);
    body
}

/// As commands, and as metadata of a publisher, up to the longest that is taken.
fn amf_deep_and_wide(arena: &Arena) {
    let nulls = |count: usize| body("call", 3.0, &[Value::StrictArray(vec![Value::Null; count])]);
    let text = "x".repeat(60_000);
    let bodies = [
        nested("call", 10_000),
        nested("call", 100_000),
        nested("call", 31),
        nulls(4000),
        nulls(1_000_000),
        billions("call"),
        // Objects that begin and never end.
        [encoded(&["call".into(), 1.0.into()]), [3, 0, 1, b'a'].repeat(100_000)].concat(),
        body("call", 3.0, &vec![text.as_str().into(); 16]),
        // A reference to the object that it is in.
        [encoded(&["call".into(), 1.0.into()]), vec![3, 0, 1, b'a', 7, 0, 0, 0, 0, 9]].concat(),
    ];
    arena.each(|target, _| {
        let mut client = publisher(target);
        client.set_chunk_size(1 << 20);
        for body in bodies.iter().cycle().take(10 * bodies.len()) {
            client.send(3, 0, MessageType::COMMAND_AMF0, 0, body);
            client.send(5, 0, MessageType::DATA_AMF0, 1, body);
            client.receive_pending();
        }
    });
}

fn names_of_65535_bytes(arena: &Arena) {
    let name = "n".repeat(65_535);
    let refused = |mut client: ScriptedClient| {
        // The refusal has the name in it or has not; the connection ends either way.
        assert_hangs_up(client.wire());
    };
    let connected = |target: &Target| {
        let mut client = ScriptedClient::connected(target);
        client.create_stream(2.0);
        client.receive(1);
        client
    };
    arena.each(|target, _| {
        for chunk_size in [128, 1 << 20] {
            let mut client = connected(target);
            client.set_chunk_size(chunk_size);
            client.publish(1, &name);
            refused(client);
            let mut client = connected(target);
            client.set_chunk_size(chunk_size);
            client.play(1, &name);
            refused(client);
        }
        let mut client = ScriptedClient::open(target);
        client.connect(Object::new().with("app", name.as_str()));
        refused(client);
        // Names of calls and of what is announced are not kept.
        let mut client = connected(target);
        for _ in 0..20 {
            client.command("releaseStream", 3.0, 0, &[name.as_str().into()]);
            client.command("FCPublish", 4.0, 0, &[name.as_str().into()]);
            client.command(&name, 5.0, 0, &[name.as_str().into()]);
        }
        client.receive_pending();
    });
}

/// Many parts; and aggregates in aggregates.
fn aggregates(arena: &Arena) {
    let mut parts = Vec::new();
    write_tag(9, 0, &key_frame(10), &mut parts).expect("short");
    for time in 1..60_000 {
        write_tag(8, time, &[0xaf, 1, 7], &mut parts).expect("short");
    }
    let mut nested = vec![0xaf];
    for _ in 0..1000 {
        let mut outer = Vec::new();
        write_tag(22, 0, &nested, &mut outer).expect("shorter than 16 MiB");
        nested = outer;
    }
    arena.each(|target, _| {
        let mut publisher = publisher(target);
        publisher.set_chunk_size(1 << 20);
        for _ in 0..10 {
            publisher.send(6, 0, MessageType::AGGREGATE, 1, &parts);
            publisher.send(6, 0, MessageType::AGGREGATE, 1, &nested);
            publisher.receive_pending();
        }
    });
}
