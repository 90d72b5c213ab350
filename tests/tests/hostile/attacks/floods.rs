//! More of everything than any client needs.

use anabranch_core::chunk::message_header;
use anabranch_core::message::{Control, MessageType, UserControl};
use anabranch_tests::peer::{ScriptedClient, Wire};

use super::Attackers::Of;
use super::{Case, LONG, Memory, assert_hangs_up, call, connect, hello, key_frame, publisher};
use crate::arena::Arena;

/// How attackers leave.
const GONE: &[&str] = &["peer_closed", "peer_lost"];

pub(crate) static CASES: &[Case] = &[
    Case::new(
        "pings_without_end",
        "SessionLimits::replies 64 KiB",
        Of(4, 8),
        Memory::MoreOnThreads(4, 512, 512),
        GONE,
        |arena| {
            arena.each(|target, _| {
                let mut client = ScriptedClient::connected(target);
                for round in 0..20_u32 {
                    let mut flood = Vec::new();
                    for number in 0..1000 {
                        Control::User(UserControl::PingRequest(round * 1000 + number)).write(128, &mut flood);
                    }
                    client.send_bytes(&flood);
                    client.receive_until(&format!("PingResponse({})", round * 1000 + 999));
                }
            });
        },
    ),
    Case::new(
        "commands_without_end",
        "SessionLimits::replies 64 KiB, streams 16, events 512",
        Of(4, 8),
        Memory::MoreOnThreads(4, 512, 512),
        GONE,
        |arena| {
            arena.each(|target, _| {
                let mut client = ScriptedClient::player(target, &target.name);
                let round = [
                    call("createStream", 9.0, 0, &[]),
                    call("pause", 0.0, 1, &[true.into(), 0.0.into()]),
                    call("pause", 0.0, 1, &[false.into(), 0.0.into()]),
                    call("receiveVideo", 0.0, 1, &[false.into()]),
                    call("receiveVideo", 0.0, 1, &[true.into()]),
                    call("seek", 0.0, 1, &[1000.0.into()]),
                    call("releaseStream", 3.0, 0, &["x".into()]),
                    call("FCPublish", 4.0, 0, &["x".into()]),
                    call("FCSubscribe", 5.0, 0, &["x".into()]),
                    call("_checkbw", 6.0, 0, &[]),
                    call("nobodyKnowsThisOne", 7.0, 0, &[]),
                ];
                for _ in 0..30 {
                    client.send_bytes(&round.concat().repeat(20));
                    client.receive_pending();
                }
            });
        },
    ),
    Case::new(
        "empty_messages_by_the_hundred_thousand",
        "SessionLimits::events 512, SourceLimits::frames 16384",
        Of(6, 12),
        Memory::Of(8, 12 << 10),
        GONE,
        |arena| {
            arena.each(|target, _| {
                let mut publisher = publisher(target);
                publisher.send_bytes(&message_header(7, 0, 0, MessageType::VIDEO, 1));
                // A byte each: a format 3 chunk that begins and ends a message without a body.
                publisher.wire().write_until_blocked(&[0xc7; 260_000], LONG);
                // All are acted on before the end is seen.
                publisher.wire().shut_down_writing();
                assert_hangs_up(publisher.wire());
            });
        },
    ),
    Case::new(
        "chunk_sizes_and_windows_that_change_all_the_time",
        "windows are no smaller than 4 KiB",
        Of(4, 8),
        Memory::MoreOnThreads(4, 1536, 1600),
        GONE,
        |arena| {
            arena.each(|target, _| {
                let mut client = publisher(target);
                for number in 0..2000_u32 {
                    client.set_chunk_size(1 + number % 200);
                    client.control(&Control::WindowAckSize(number % 3));
                    client.control(&Control::Abort(6));
                    client.video(number, &key_frame(500));
                }
                client.receive_pending();
            });
        },
    ),
    Case::new(
        "publish_and_play_flapping",
        "a stream that no client uses is removed at once",
        Of(4, 8),
        Memory::MoreOnThreads(8, 512, 512),
        GONE,
        |arena| {
            arena.each(|target, number| {
                // Two publishers and two players for each name, which come and go on the same stream.
                let name = arena.target.named(&format!("flapping{}", number / 2));
                let mut client = ScriptedClient::connected(target);
                client.create_stream(2.0);
                client.receive(1);
                for round in 0..200_u32 {
                    if (round as usize + number).is_multiple_of(2) {
                        client.play(1, &name);
                        client.receive_until("NetStream.Play.Start");
                    } else {
                        // Its own name, so that no publisher is refused.
                        client.publish(1, &target.name);
                        client.receive_until("NetStream.Publish.Start");
                        client.video(round, &key_frame(200));
                    }
                    match round % 3 {
                        0 => client.command("closeStream", 0.0, 1, &[]),
                        1 => {
                            client.command("deleteStream", 0.0, 0, &[1.0.into()]);
                            client.create_stream(2.0);
                            client.receive_until("_result 2 1");
                        }
                        // The next request ends what there is.
                        _ => {}
                    }
                }
            });
        },
    ),
    Case::new(
        "a_thousand_streams_on_one_connection",
        "SessionLimits::streams 16",
        Of(10, 20),
        Memory::MoreOnThreads(4, 128, 192),
        GONE,
        |arena| {
            arena.each(|target, _| {
                let mut client = ScriptedClient::connected(target);
                let mut refused = 0;
                for number in 1..=1000 {
                    client.send_bytes(&call("createStream", f64::from(number), 0, &[]));
                    client.send_bytes(&call(
                        "play",
                        5.0,
                        number,
                        &[target.named(&format!("nothing{number}")).as_str().into()],
                    ));
                    if number % 100 == 0 {
                        refused += client.receive_pending().iter().filter(|line| line.contains("_error")).count();
                    }
                }
                assert_eq!(refused, 2 * (1000 - 16), "sixteen streams and no more");
            });
        },
    ),
    Case::new(
        "names_by_the_thousand",
        "a stream that no client uses is removed at once",
        Of(4, 8),
        Memory::MoreOnThreads(8, 256, 320),
        GONE,
        |arena| {
            let rounds = if arena.attackers > 4 { 2000 } else { 500 };
            arena.each(|target, _| {
                let mut client = ScriptedClient::connected(target);
                client.create_stream(2.0);
                client.receive(1);
                let long = "n".repeat(800);
                for number in 0..rounds {
                    // Each play leaves the stream before.
                    client.play(1, &target.named(&format!("{long}{number}")));
                    if number % 50 == 0 {
                        client.receive_pending();
                    }
                }
                client.receive_pending();
            });
        },
    ),
    Case::new(
        "what_fills_the_log",
        "10 lines a connection, 64 characters of its name",
        Of(5, 20),
        Memory::MoreOnThreads(8, 128, 192),
        GONE,
        what_fills_the_log,
    ),
];

fn what_fills_the_log(arena: &Arena) {
    let agent = "\u{1}\n\u{1b}[31m".repeat(500);
    arena.each(|target, number| {
        let mut wire = Wire::dial(target);
        wire.write(&[hello(), connect(&agent), call("createStream", 2.0, 0, &[])].concat());
        let mut plays = Vec::new();
        for play in 0..500 {
            plays.extend(call("play", 0.0, 1, &[format!("log{number}-{play}").as_str().into()]));
        }
        wire.write_until_blocked(&plays, LONG);
        // Whatever was said is acted on before the end is seen.
        wire.shut_down_writing();
        wire.receive_for(LONG);
    });
    let lines = arena.lines_with(" is player of ");
    let of_attackers: Vec<&String> = lines.iter().filter(|line| line.contains("/log")).collect();
    assert_eq!(of_attackers.len(), 10 * arena.attackers);
    assert!(of_attackers.iter().all(|line| line.len() < 700), "{of_attackers:?}");
}
