//! One session of a server without a hub.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::chunk::ChunkLimits;
use anabranch_core::session::{
    CloseReason, ConnectRequest, Due, PlayRequest, PublishRequest, Rejection, Session, SessionConfig, SessionEvent,
    SessionLimits, SessionOutput, Wait,
};
use bytes::Buf;

use crate::cuts::{Cuts, take_byte};
use crate::time::any_instant;

/// A handshake answer, and the longest single answer to any request: names in replies are as long as the peer made
/// them, up to the command limit.
pub(crate) const ONE_REPLY: usize = 3073 + 6 * COMMAND as usize;

/// The longest command in the small configuration, in bytes.
const COMMAND: u32 = 2000;

/// How a session talks in the targets: limits small enough to be reached, or the default ones.
pub(crate) fn config(small: bool) -> SessionConfig {
    let defaults = SessionLimits::default();
    let limits = SessionLimits {
        command: COMMAND,
        events: 32,
        replies: 4000,
        streams: 3,
        chunks: ChunkLimits { message: 100_000, streams: 12, partial: 30_000, eager: 64 },
        ..defaults.clone()
    };
    let limits = if small { limits } else { SessionLimits { command: COMMAND, ..defaults } };
    SessionConfig { window: 5000, bandwidth_done: small, limits, ..SessionConfig::default() }
}

/// How a run goes.
#[derive(Debug, Clone, Copy)]
struct Setup {
    small: bool,
    proxied: bool,
    /// A bit for each of the first requests: whether it is refused.
    refusals: u8,
}

/// C0, a C1 that asks for no digest, and C2: most inputs leave it out, so that they have room for what follows.
pub(crate) fn hello() -> Vec<u8> {
    let mut hello = vec![3];
    hello.resize(1 + 2 * 1536, 0);
    hello
}

/// What comes before the input of a target, by its first byte.
pub(crate) fn pieces_behind<'a>(flags: u8, hello: &'a [u8], pieces: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let hello = (flags & 0x80 == 0).then_some(hello);
    hello.into_iter().chain(pieces.iter().copied()).collect()
}

/// Two bytes of setup, cuts, then what a client sends.
pub fn run(mut input: &[u8]) {
    let flags = take_byte(&mut input);
    let refusals = take_byte(&mut input);
    let setup = Setup { small: flags & 1 != 0, proxied: flags & 2 != 0, refusals };
    let cuts = Cuts::take(&mut input);

    let hello = hello();
    let whole = trace(setup, &pieces_behind(flags, &hello, &[input]), false);
    let pieces = pieces_behind(flags, &hello, &cuts.pieces(input));
    let cut = trace(setup, &pieces, flags & 4 != 0);
    compare(&cut.events, &whole.events);
    assert!(cut.media == whole.media, "the same media");
    assert!(cut.outbound == whole.outbound, "the same bytes out");
    timed(setup, &pieces, flags >> 3 & 15);
}

/// Panics with the first difference only.
pub(crate) fn compare(cut: &[String], whole: &[String]) {
    for (cut, whole) in cut.iter().zip(whole) {
        assert_eq!(cut, whole);
    }
    assert_eq!(cut.len(), whole.len(), "the same number of events");
}

/// All that can be seen of a session.
#[derive(Default)]
struct Trace {
    events: Vec<String>,
    media: Vec<u8>,
    outbound: Vec<u8>,
    requests: u32,
}

enum Asked {
    Connect(ConnectRequest),
    Publish(PublishRequest),
    Play(PlayRequest),
}

impl Asked {
    fn of(event: SessionEvent) -> Option<Asked> {
        match event {
            SessionEvent::Connect(request) => Some(Asked::Connect(request)),
            SessionEvent::Publish(request) => Some(Asked::Publish(request)),
            SessionEvent::Play(request) => Some(Asked::Play(request)),
            _ => None,
        }
    }

    fn answer(self, session: &mut Session, refused: bool) {
        match self {
            Asked::Connect(request) if refused => session.reject(request, &Rejection::connect_rejected("no")),
            Asked::Connect(request) => session.accept(request),
            Asked::Publish(request) if refused => session.reject(request, &Rejection::stream_in_use("it")),
            Asked::Publish(request) => session.accept(request),
            Asked::Play(request) if refused => session.reject(request, &Rejection::redirect("rtmp://b/c".into())),
            Asked::Play(request) => session.accept(request),
        }
    }
}

/// A session at a time that stands still. `late`: requests are answered only when the session has nothing else to say.
fn trace(setup: Setup, pieces: &[&[u8]], late: bool) -> Trace {
    let now = any_instant();
    let mut session = new_session(setup, now);
    let mut trace = Trace::default();
    for piece in pieces {
        let _ = session.handle_input(now, piece);
        if settle(&mut session, setup, &mut trace, late) {
            return trace;
        }
    }
    session.handle_disconnect(now, CloseReason::PeerClosed);
    assert!(settle(&mut session, setup, &mut trace, late), "a disconnect ends a session");
    trace
}

fn new_session(setup: Setup, now: Instant) -> Session {
    let new = if setup.proxied { Session::behind_proxy } else { Session::new };
    new(Arc::new(config(setup.small)), [7; 32], now)
}

/// True once the session is closed.
fn settle(session: &mut Session, setup: Setup, trace: &mut Trace, late: bool) -> bool {
    let mut waiting = None;
    loop {
        let output = session.poll_output();
        match &output {
            SessionOutput::Wait(_) => {}
            SessionOutput::Event(SessionEvent::Media(message)) => {
                trace.events.push(format!("{} {} {}", message.type_id, message.timestamp, message.message_stream_id));
                trace.media.extend_from_slice(&message.payload);
            }
            other => trace.events.push(format!("{other:?}")),
        }
        let left = session.outbound().remaining();
        trace.outbound.extend_from_slice(&session.outbound().copy_to_bytes(left));
        let asked = match output {
            SessionOutput::Event(event) => match Asked::of(event) {
                Some(asked) if late => {
                    waiting = Some(asked);
                    continue;
                }
                Some(asked) => asked,
                None => continue,
            },
            SessionOutput::Wait(wait) => match waiting.take() {
                Some(asked) => asked,
                None if left == 0 && !wait.write => return false,
                None => continue,
            },
            SessionOutput::Closed(_) => return true,
        };
        let refused = setup.refusals >> (trace.requests % 8) & 1 != 0;
        trace.requests += 1;
        asked.answer(session, refused);
    }
}

/// The same input while time passes, writes are partial and answers come late: bounds hold, deadlines move, it ends.
fn timed(setup: Setup, pieces: &[&[u8]], pace: u8) {
    let mut now = any_instant();
    let mut session = new_session(setup, now);
    let limits = config(setup.small).limits;
    let bound = limits.replies.max(4096) + ONE_REPLY;
    let mut asked = None;
    let mut turn = 0u32;
    for piece in pieces {
        turn += 1;
        now += Duration::from_millis(u64::from(pace) * u64::from(turn % 7) * 40);
        let _ = session.handle_input(now, piece);
        // Not every adapter polls at once, or answers at once.
        if pace & 1 != 0 && turn % 3 == 0 {
            continue;
        }
        loop {
            let wait = match session.poll_output() {
                SessionOutput::Event(event) => {
                    asked = Asked::of(event).or(asked);
                    continue;
                }
                SessionOutput::Wait(wait) => wait,
                SessionOutput::Closed(_) => return,
            };
            assert!(session.outbound().len() <= bound, "{} bytes of replies", session.outbound().len());
            let left = session.outbound().len();
            session.outbound().advance(if pace & 2 != 0 { left / 2 } else { left });
            if is_due(&wait, now) {
                settle_deadline(&mut session, now);
                continue;
            }
            match asked.take() {
                Some(asked) if pace & 4 == 0 || turn % 2 == 0 => {
                    asked.answer(&mut session, false);
                }
                still => {
                    asked = still;
                    break;
                }
            }
        }
    }
    // Whatever it was in the middle of, silence ends it: a peer that only listens is let play for ever.
    for _ in 0..100 {
        match session.poll_output() {
            SessionOutput::Event(_) => {}
            SessionOutput::Wait(Wait { due: Some(Due { at: deadline, .. }), .. }) => {
                now = now.max(deadline);
                settle_deadline(&mut session, now);
            }
            SessionOutput::Wait(_) => break,
            SessionOutput::Closed(_) => return,
        }
    }
    session.handle_disconnect(now, CloseReason::PeerClosed);
    let mut events = 0;
    while !matches!(session.poll_output(), SessionOutput::Closed(_)) {
        events += 1;
        // The bound, and what one last message may add: an aggregate as many again, a command a few.
        assert!(events <= 2 * limits.events + 16_000, "events do not end");
    }
    session.handle_timeout(now);
    assert!(matches!(session.poll_output(), SessionOutput::Closed(_)), "closed is closed");
}

fn is_due(wait: &Wait, now: Instant) -> bool {
    wait.deadline().is_some_and(|deadline| deadline <= now)
}

/// After a deadline was acted on it lies ahead, or is gone.
fn settle_deadline(session: &mut Session, now: Instant) {
    session.handle_timeout(now);
    if let SessionOutput::Wait(wait) = session.poll_output() {
        assert!(!is_due(&wait, now), "the deadline does not move");
    }
}
