//! Splitting a connection's bytes at any places has no effect: the events, the output and the end are the same.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::conn::{self, Conn, Core};
use anabranch_core::session::{CloseReason, Session, SessionConfig, SessionEvent, SessionOutput};
use bytes::Buf;
use proptest::prelude::*;
use support::recorded::{self, Recorded};

/// Three of the connections end with an error, after valid messages.
fn connections() -> Vec<Recorded> {
    let mut all = recorded::connections();
    // A format without a message to inherit from, a chunk size of 0, a message that is too long; then more bytes.
    for tail in [
        &[0xc9, 1, 2, 3][..],
        &[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9],
        &[5, 0, 0, 0, 0x20, 0, 0, 20, 0, 0, 0, 0, 9, 9],
    ] {
        let mut broken = all[0].clone();
        broken.name += " with a broken end";
        broken.bytes.extend_from_slice(tail);
        all.push(broken);
    }
    all
}

/// Acknowledgements become due, and reading stops at requests: neither may depend on the split.
fn session_config() -> SessionConfig {
    let mut config = SessionConfig { window: 5000, ..SessionConfig::default() };
    config.limits.chunks.message = 1 << 20;
    config
}

/// The observable behaviour of one session.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    events: Vec<String>,
    outbound: Vec<u8>,
}

fn run_session<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Trace {
    let now = support::any_instant();
    let mut session = Session::new(Arc::new(session_config()), [7; 32], now);
    let mut trace = Trace { events: Vec::new(), outbound: Vec::new() };
    for piece in pieces {
        let _ = session.handle_input(now, piece);
        if settle_session(&mut session, &mut trace) {
            return trace;
        }
    }
    session.handle_disconnect(now, CloseReason::PeerClosed);
    assert!(settle_session(&mut session, &mut trace), "a disconnect ends a session");
    trace
}

/// True once the session is closed.
fn settle_session(session: &mut Session, trace: &mut Trace) -> bool {
    loop {
        let output = session.poll_output();
        // Besides events, only the end is compared: what an open session waits for depends on the split.
        if !matches!(output, SessionOutput::Wait(_)) {
            trace.events.push(format!("{output:?}"));
        }
        let wrote = drain(session.outbound(), &mut trace.outbound);
        match output {
            SessionOutput::Event(SessionEvent::Connect(request)) => session.accept(request),
            SessionOutput::Event(SessionEvent::Publish(request)) => session.accept(request),
            SessionOutput::Event(SessionEvent::Play(request)) => session.accept(request),
            SessionOutput::Event(_) => {}
            SessionOutput::Wait(_) if !wrote => return false,
            SessionOutput::Wait(_) => {}
            SessionOutput::Closed(_) => return true,
        }
    }
}

/// Writes all output; true if there was any.
fn drain(outbound: &mut anabranch_core::session::Outbound, into: &mut Vec<u8>) -> bool {
    let waiting = outbound.remaining();
    into.extend_from_slice(&outbound.copy_to_bytes(waiting));
    waiting > 0
}

/// The same for a connection with its hub: the actions for the adapter, and the bytes for a player of the stream.
fn run_conn<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Trace, Vec<u8>) {
    let now = support::any_instant();
    let config = conn::Config::from(conn::VhostConfig { session: session_config(), ..conn::VhostConfig::default() });
    let server = Core::new(config, [9; 32]);
    let mut conn = server.connect(now);
    let mut trace = Trace { events: Vec::new(), outbound: Vec::new() };
    for piece in pieces {
        conn.handle_input(now, piece);
        if settle_conn(&mut conn, now, &mut trace) {
            return (trace, Vec::new());
        }
    }
    let played = play(&server, now);
    conn.handle_disconnect(now, CloseReason::PeerClosed);
    assert!(settle_conn(&mut conn, now, &mut trace), "a disconnect ends a connection");
    (trace, played)
}

/// True once the connection is closed.
fn settle_conn(conn: &mut Conn, now: Instant, trace: &mut Trace) -> bool {
    loop {
        let output = conn.poll(now);
        let wrote = drain(conn.outbound(), &mut trace.outbound);
        match output {
            // Frames that arrive in one piece cause one wake-up. Wake-ups concern timing, so they are not compared.
            conn::Output::Action(conn::Action::Wake(_)) => {}
            conn::Output::Action(action) => trace.events.push(format!("{action:?}")),
            conn::Output::Wait(_) if !wrote => return false,
            conn::Output::Wait(_) => {}
            conn::Output::Closed(mut report) => {
                // Bytes after the end, in the same piece, are counted as received.
                report.received = 0;
                trace.events.push(format!("{report:?}"));
                return true;
            }
        }
    }
}

/// The bytes that a player gets at once if it joins now.
fn play(server: &Core, now: Instant) -> Vec<u8> {
    let recorded = recorded::connections().into_iter().find(|recorded| recorded.name == "cap-gst2play simple");
    let mut conn = server.connect(now);
    conn.handle_input(now, &recorded.expect("a recorded player").bytes);
    let mut trace = Trace { events: Vec::new(), outbound: Vec::new() };
    for _ in 0..4 {
        settle_conn(&mut conn, now + Duration::from_millis(1), &mut trace);
    }
    trace.outbound
}

/// Fails with the first difference only, because whole traces are long.
fn compare(name: &str, cut: &Trace, whole: &Trace) {
    for (index, (cut, whole)) in cut.events.iter().zip(&whole.events).enumerate() {
        assert_eq!(cut, whole, "{name}: event {index}");
    }
    assert_eq!(cut.events.len(), whole.events.len(), "{name}: number of events");
    let differs = cut.outbound.iter().zip(&whole.outbound).position(|(a, b)| a != b);
    assert_eq!(differs, None, "{name}: first byte out that differs");
    assert_eq!(cut.outbound.len(), whole.outbound.len(), "{name}: bytes out");
}

/// A session and a connection with its hub, fed in pieces and fed whole.
fn check<'a>(recorded: &Recorded, pieces: impl Iterator<Item = &'a [u8]> + Clone) {
    let name = &recorded.name;
    compare(name, &run_session(pieces.clone()), &run_session(std::iter::once(&recorded.bytes[..])));
    let ((cut, cut_played), (whole, played)) = (run_conn(pieces), run_conn(std::iter::once(&recorded.bytes[..])));
    compare(name, &cut, &whole);
    assert!(cut_played == played, "{name}: a player gets {} bytes and not {}", cut_played.len(), played.len());
}

fn cut<'a>(bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> + Clone {
    let mut rest = bytes;
    sizes.iter().cycle().map_while(move |size| {
        let (piece, after) = rest.split_at(rest.len().min(*size));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[test]
fn byte_by_byte_is_as_good_as_whole() {
    for recorded in connections() {
        check(&recorded, recorded.bytes.chunks(1));
    }
}

/// Checks that the connections compared above do their work: each is identified, closed, and answered.
#[test]
fn the_recorded_connections_come_as_far_as_they_should() {
    for recorded in connections() {
        let name = &recorded.name;
        let trace = run_session(std::iter::once(&recorded.bytes[..]));
        let asked = if recorded.publishes { "Publish(PublishRequest" } else { "Play(PlayRequest" };
        assert!(trace.events.iter().any(|event| event.contains(asked)), "{name}: {:#?}", trace.events);
        let media = trace.events.iter().filter(|event| event.contains("Media(")).count();
        assert_eq!(media > 30, recorded.publishes, "{name}: {media} messages");
        let end = trace.events.last().expect("an end");
        let reason = if name.ends_with("broken end") { "Protocol(" } else { "PeerClosed" };
        assert!(end.starts_with("Closed(") && end.contains(reason), "{name}: {end}");

        let (conn, played) = run_conn(std::iter::once(&recorded.bytes[..]));
        let role = if recorded.publishes { "role: Publisher" } else { "role: Player" };
        assert!(conn.events[0].contains(role), "{name}: {:#?}", conn.events);
        // A client over a limit gets a message and some time to disconnect; other errors close the connection at once.
        let stays = !name.ends_with("broken end") || end.contains("OverLimit");
        let media = played.len() > 3073 + 3000;
        assert_eq!(media, recorded.publishes && stays, "{name}: a player got {} bytes", played.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_cuts_are_as_good_as_none(
        index in 0usize..21,
        sizes in prop::collection::vec(prop_oneof![1usize..20, 1usize..4000], 1..30),
    ) {
        let all = connections();
        prop_assert_eq!(all.len(), 21);
        let recorded = &all[index];
        check(recorded, cut(&recorded.bytes, &sizes));
    }
}
