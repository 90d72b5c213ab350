//! For any input bytes: no panic, no hang, and no growth beyond the limits.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency};
use anabranch_core::conn::{self, Action, Conn, Core};
use anabranch_core::message::{Control, SharedObject, data};
use anabranch_core::session::{CloseReason, Phase, Session, SessionConfig, SessionEvent, SessionLimits, SessionOutput};
use bytes::Buf;
use support::mutation::{Random, mutate};
use support::recorded::{self, Recorded};

/// Small limits, so that the tests reach them.
fn config() -> SessionConfig {
    let limits = SessionLimits {
        chunks: ChunkLimits { message: 100_000, streams: 12, partial: 30_000, eager: 64 },
        command: 2000,
        events: 32,
        replies: 4000,
        inbox: 20_000,
        ..SessionLimits::default()
    };
    SessionConfig { window: 5000, limits, ..SessionConfig::default() }
}

/// A handshake answer, and the longest answer to one request: replies contain names of the peer, which may be as long
/// as the command limit.
const ONE_REPLY: usize = 3073 + 6 * 2000;

/// Runs each case with its number, and reports which case failed.
fn each_case(cases: u64, mut case: impl FnMut(&mut Random, u64)) {
    for number in 0..cases {
        let run = catch_unwind(AssertUnwindSafe(|| case(&mut Random::new(number), number)));
        assert!(run.is_ok(), "case {number} failed");
    }
}

/// A damaged connection. Most keep an undamaged handshake, or few would get past it.
fn damaged(random: &mut Random, recorded: &[Recorded]) -> Vec<u8> {
    let base = &recorded[random.below(recorded.len())];
    let other = &recorded[random.below(recorded.len())];
    let mut bytes = base.bytes.clone();
    let from = if random.below(16) == 0 { 0 } else { base.handshake };
    mutate(random, &mut bytes, from, &other.bytes[other.handshake..]);
    bytes
}

/// Passes `bytes` in pieces of random sizes.
fn in_pieces(random: &mut Random, bytes: &[u8], mut take: impl FnMut(&[u8], &mut Random)) {
    let most = 1 + random.below(6000);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((1 + random.below(most)).min(rest.len()));
        take(piece, random);
        rest = after;
    }
}

/// The phase the session ended in.
fn drive_session(random: &mut Random, bytes: &[u8], now: Instant) -> Phase {
    let config = config();
    let limits = config.limits.clone();
    let mut session = Session::new(Arc::new(config), [1; 32], now);
    let mut time = now;
    let mut requests = Vec::new();
    in_pieces(random, bytes, |piece, random| {
        time += Duration::from_millis(random.next() % 200);
        let _ = session.handle_input(time, piece);
        if random.below(4) == 0 {
            session.handle_timeout(time);
        }
        // An adapter may delay polls, writes and answers.
        if random.below(3) == 0 {
            return;
        }
        for _ in 0..10_000 {
            let output = session.poll_output();
            match output {
                SessionOutput::Event(SessionEvent::Connect(request)) => session.accept(request),
                SessionOutput::Event(SessionEvent::Publish(request)) if random.below(3) > 0 => session.accept(request),
                SessionOutput::Event(SessionEvent::Publish(request)) => requests.push(request),
                SessionOutput::Event(SessionEvent::Play(request)) => session.accept(request),
                SessionOutput::Event(_) => {}
                SessionOutput::Wait(_) | SessionOutput::Closed(_) => {
                    if random.below(2) == 0 {
                        let waiting = session.outbound().len();
                        session.outbound().advance(waiting);
                    }
                    let answer = if random.below(2) == 0 { requests.pop() } else { None };
                    match answer {
                        Some(request) => session.accept(request),
                        None => break,
                    }
                }
            }
            let waiting = session.outbound().len();
            assert!(waiting <= limits.replies + ONE_REPLY, "{waiting} bytes of replies");
        }
    });
    session.handle_disconnect(time, CloseReason::PeerClosed);
    let mut events = 0;
    loop {
        if let SessionOutput::Closed(close) = session.poll_output() {
            return close.phase;
        }
        events += 1;
        // The limit, and the events of one last message: an aggregate can add as many again, a command a few.
        assert!(events <= 2 * limits.events + 32, "events do not end");
    }
}

#[test]
fn damaged_connections_do_not_harm_a_session() {
    let recorded = recorded::connections();
    let now = support::any_instant();
    let mut far = 0;
    each_case(5000, |random, _| {
        let bytes = damaged(random, &recorded);
        far += u32::from(matches!(drive_session(random, &bytes, now), Phase::Publishing | Phase::Playing));
    });
    // The test proves little if the damage always ends a connection at its first command.
    assert!(far > 1000, "only {far} of the connections came to publish or play");
}

#[test]
fn damaged_connections_do_not_harm_a_server() {
    let recorded = recorded::connections();
    let now = support::any_instant();
    let config =
        conn::Config::from(conn::VhostConfig { session: config(), high_water: 20_000, ..conn::VhostConfig::default() });
    let server = Core::new(config, [2; 32]);
    let mut attached = 0i64;
    each_case(1500, |random, number| {
        // Two connections at once, so that one plays what the other publishes.
        let mut pair: Vec<Conn> = vec![server.connect(now), server.connect(now)];
        let inputs = [damaged(random, &recorded), damaged(random, &recorded)];
        for (conn, bytes) in pair.iter_mut().zip(&inputs) {
            in_pieces(random, bytes, |piece, random| {
                conn.handle_input(now, piece);
                settle(conn, now, random, &mut attached);
            });
        }
        for conn in &mut pair {
            conn.handle_disconnect(now, CloseReason::PeerClosed);
            settle(conn, now, random, &mut attached);
        }
        drop(pair);
        assert_eq!(attached, 0, "case {number} left something attached");
        assert!(server.hub().streams().is_empty(), "case {number} left a stream behind");
    });
}

fn settle(conn: &mut Conn, now: Instant, random: &mut Random, attached: &mut i64) {
    for _ in 0..10_000 {
        match conn.poll(now) {
            conn::Output::Action(Action::Attach(_) | Action::Subscribe(_)) => *attached += 1,
            conn::Output::Action(Action::Detach { .. } | Action::Unsubscribe(_)) => *attached -= 1,
            conn::Output::Action(
                Action::Wake(_)
                | Action::Finish
                | Action::Request(_)
                | Action::Ask(_)
                | Action::Notify(_)
                | Action::Remark(_),
            ) => {}
            conn::Output::Wait(_) | conn::Output::Closed(_) => {
                let waiting = conn.outbound().len();
                // Media up to the high-water mark, one more frame and the headers, and replies.
                assert!(waiting <= 20_000 + 2 * 100_000 + 4000 + ONE_REPLY, "{waiting} bytes wait");
                if random.below(2) == 0 {
                    conn.outbound().advance(waiting);
                }
                return;
            }
        }
    }
    panic!("a poll without end");
}

#[test]
fn random_bytes_do_not_harm_a_session() {
    let now = support::any_instant();
    let hello = recorded::simple_hello();
    each_case(1500, |random, _| {
        let mut bytes = if random.below(8) == 0 { Vec::new() } else { [&hello[..], &[0; 1536]].concat() };
        let noise = random.below(3000);
        bytes.extend(random.bytes(noise));
        drive_session(random, &bytes, now);
    });
}

#[test]
fn random_bytes_do_not_harm_the_chunk_reader() {
    each_case(4000, |random, _| {
        let limits = ChunkLimits { message: 1 << random.below(24), streams: 6, partial: 2000, eager: 100 };
        let leniency = if random.below(2) == 0 { Leniency::Lenient } else { Leniency::Strict };
        let mut reader = ChunkReader::new(limits, leniency);
        let length = random.below(2000);
        let mut bytes = random.bytes(length);
        // Ids and formats repeat, or the reader would refuse nearly every second chunk.
        for byte in bytes.iter_mut().step_by(1 + random.below(20)) {
            *byte &= 0b0100_0011;
        }
        in_pieces(random, &bytes, |mut piece, random| {
            while let Ok(Some(message)) = reader.read(&mut piece) {
                assert!(message.payload.len() <= limits.message as usize);
                match random.below(8) {
                    0 => reader.set_chunk_size(1 + random.next() as u32 % 300).expect("not zero"),
                    1 => reader.abort(random.below(5) as u32),
                    _ => {}
                }
            }
            // A message longer than the input is never complete, and its bytes are counted.
            assert!(reader.partial_bytes() <= limits.partial + 1, "{} bytes", reader.partial_bytes());
        });
    });
}

#[test]
fn random_bodies_do_not_harm_the_message_parsers() {
    let amf = anabranch_core::amf::Limits::default();
    let limits = data::DataLimits { metadata: 1 << 20, other: 1 << 20, amf };
    each_case(3000, |random, _| {
        let length = random.below(60);
        let mut body = random.bytes(length);
        if random.below(2) == 0 {
            body.splice(0..0, *b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x01\x00\x01a");
        }
        for type_id in 0..=22 {
            let _ = Control::parse(type_id, &body);
        }
        let _ = SharedObject::parse(&body);
        if let data::PublisherData::Metadata { body: mended, .. } = data::from_publisher(18, &body, &limits) {
            // Reading relayed data again must give the same data.
            let again = data::from_publisher(18, &mended, &limits);
            assert_eq!(again, data::PublisherData::Metadata { body: mended, shortened: false });
        }
    });
}
