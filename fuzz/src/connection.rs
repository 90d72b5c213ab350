//! One connection of a server with its hub.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anabranch_core::bandwidth::BandwidthConfig;
use anabranch_core::conn::{Action, Asks, Config, Conn, Core, Output, Subject, Verdict, VhostConfig};
use anabranch_core::hub::Conflict;
use anabranch_core::policy::{Secret, Token, TokenScope, Vhost, Vhosts};
use anabranch_core::session::CloseReason;
use anabranch_core::url::DEFAULT_VHOST;
use bytes::Buf;

use crate::cuts::{Cuts, take_byte};
use crate::session::{self, ONE_REPLY, compare, hello, pieces_behind};
use crate::time::any_instant;

const HIGH_WATER: usize = 20_000;
/// The longest message that the small configuration takes, in bytes.
const MESSAGE: usize = 100_000;

/// What a player says after its handshake to play `/live/cam` of the default host.
fn player_hello() -> Vec<u8> {
    use anabranch_core::amf::{Object, Value};
    use anabranch_core::chunk::write_message;
    use anabranch_core::command::Command;
    use anabranch_core::message::MessageType;

    let mut hello = hello();
    let app = Object::default().with("app", "live").with("tcUrl", "rtmp://127.0.0.1/live");
    let commands = [
        (0, Command::new("connect", 1.0, Value::Object(app))),
        (0, Command::new("createStream", 2.0, Value::Null)),
        (1, Command::new("play", 3.0, Value::Null).with("cam")),
    ];
    for (message_stream_id, command) in commands {
        write_message(&mut hello, 128, 3, 0, MessageType::COMMAND_AMF0, message_stream_id, &command.encode());
    }
    hello
}

/// A byte for the configuration, a byte for verdicts, cuts, then what a client sends.
pub fn run(mut input: &[u8]) {
    let flags = take_byte(&mut input);
    let verdicts = take_byte(&mut input);
    let cuts = Cuts::take(&mut input);
    let hello = hello();
    let pieces = pieces_behind(flags, &hello, &cuts.pieces(input));
    let (cut, cut_played) = trace(flags, verdicts, &pieces);
    let (whole, played) = trace(flags, verdicts, &pieces_behind(flags, &hello, &[input]));
    compare(&cut.events, &whole.events);
    assert!(cut.outbound == whole.outbound, "the same bytes out");
    assert!(cut_played == played, "a player gets the same");
    timed(flags, verdicts, &pieces);
}

fn server(flags: u8, measuring: bool) -> Core {
    let asks = flags & 1 != 0;
    let token =
        Token { secrets: vec![Secret::new("0123456789abcdef").expect("long enough")], required_for: TokenScope::Both };
    let defaults = VhostConfig {
        session: session::config(true),
        high_water: HIGH_WATER,
        conflict: if flags & 2 != 0 { Conflict::TakeOver } else { Conflict::Reject },
        asks: Asks { connect: asks, publish: asks, play: asks, traverse: flags & 4 != 0, ..Asks::default() },
        reduce_sequence_headers: flags & 8 != 0,
        token: (flags & 16 != 0).then_some(token),
        ..VhostConfig::default()
    };
    let mut config = Config { defaults, ..Config::default() };
    if flags & 32 != 0 {
        let other =
            VhostConfig { bandwidth_check: measuring.then(BandwidthConfig::default), ..config.defaults.clone() };
        let vhosts = [Vhost::new(DEFAULT_VHOST, config.defaults.clone()), Vhost::new("other", other)];
        config.vhosts = Vhosts::new(vhosts).expect("two names");
    }
    if flags & 64 != 0 {
        config.trusted_proxies = vec!["192.0.2.0/24".parse().expect("a network")];
    }
    Core::new(config, [9; 32])
}

fn connect(server: &Core, now: Instant) -> Conn {
    server.connect_from(now, SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 50_000)))
}

#[derive(Default)]
struct Trace {
    events: Vec<String>,
    outbound: Vec<u8>,
    asked: u32,
}

impl Trace {
    fn verdict(&mut self, verdicts: u8) -> Verdict {
        self.asked += 1;
        match verdicts >> (self.asked % 4 * 2) & 3 {
            0 => Verdict::Allow,
            // A name that is also that of an app.
            1 => Verdict::Rename("live".to_owned()),
            2 => Verdict::Deny("no".to_owned()),
            _ => Verdict::Redirect("rtmp://elsewhere/live".to_owned()),
        }
    }
}

/// A connection at a time that stands still, and what a player of `/live/cam` gets at its end.
fn trace(flags: u8, verdicts: u8, pieces: &[&[u8]]) -> (Trace, Vec<u8>) {
    let now = any_instant();
    // A bandwidth check lasts a while: time must pass for it.
    let server = server(flags, false);
    let mut conn = connect(&server, now);
    let mut trace = Trace::default();
    for piece in pieces {
        conn.handle_input(now, piece);
        if settle(&mut conn, now, verdicts, &mut trace) {
            check_end(&server, &trace);
            return (trace, Vec::new());
        }
    }
    let mut player = server.connect(now);
    let mut played = Trace::default();
    player.handle_input(now, &player_hello());
    settle(&mut player, now + Duration::from_millis(1), 0, &mut played);
    drop(player);
    conn.handle_disconnect(now, CloseReason::PeerClosed);
    assert!(settle(&mut conn, now, verdicts, &mut trace), "a disconnect ends a connection");
    check_end(&server, &trace);
    (trace, played.outbound)
}

/// True once the connection is closed.
fn settle(conn: &mut Conn, now: Instant, verdicts: u8, trace: &mut Trace) -> bool {
    loop {
        let output = conn.poll(now);
        let left = conn.outbound().remaining();
        trace.outbound.extend_from_slice(&conn.outbound().copy_to_bytes(left));
        match output {
            // Frames that come in one piece leave with one wake-up: wakes are about when, not about what.
            Output::Action(
                Action::Wake(_) | Action::Subscribe(_) | Action::Unsubscribe(_) | Action::Finish | Action::Request(_),
            ) => {}
            Output::Action(Action::Ask(ask)) => {
                trace.events.push(format!("ask {:?} of {:?}", ask.subject, ask.client));
                let verdict = trace.verdict(verdicts);
                conn.answer(now, ask.id, verdict);
            }
            Output::Action(Action::Notify(mut notice)) => {
                // What came behind the end in the same piece is counted all the same.
                if let Some(closed) = &mut notice.closed {
                    closed.received = 0;
                }
                trace.events.push(format!("tell {notice:?}"));
            }
            Output::Action(action) => trace.events.push(format!("{action:?}")),
            Output::Wait(_) if left > 0 => {}
            Output::Wait(_) => return false,
            Output::Closed(mut report) => {
                report.received = 0;
                trace.events.push(format!("{report:?}"));
                return true;
            }
        }
    }
}

fn check_end(server: &Core, trace: &Trace) {
    assert!(server.hub().streams().is_empty(), "a connection that is over holds nothing");
    for vhost in server.vhosts() {
        let counts = [vhost.connections, vhost.publishers, vhost.players, vhost.streams, vhost.questions];
        assert_eq!(counts, [0; 5], "nothing is counted any more");
    }
    let count = |start: &str| trace.events.iter().filter(|event| event.starts_with(start)).count();
    assert_eq!(count("Attach("), count("Detach "), "each attached connection is detached");
}

/// The same input while time passes and writes are partial, with a bandwidth check where there is one.
fn timed(flags: u8, verdicts: u8, pieces: &[&[u8]]) {
    let mut now = any_instant();
    let server = server(flags, true);
    let mut conn = connect(&server, now);
    let mut asked = Vec::new();
    let (mut attached, mut open) = (0i32, 0i32);
    // Media up to the mark, one frame and the headers over it, and replies; or a packet of a bandwidth check.
    let bound = HIGH_WATER + 2 * MESSAGE + 4096 + ONE_REPLY;
    let silence = std::iter::repeat_n(&[][..], 40);
    for (turn, piece) in pieces.iter().copied().chain(silence).enumerate() {
        if !piece.is_empty() {
            conn.handle_input(now, piece);
        }
        now += Duration::from_millis(u64::from(verdicts) * (turn as u64 % 5) * 10);
        conn.handle_timeout(now);
        let mut due = 0;
        for step in 0.. {
            assert!(step < 5000, "a poll without end");
            match conn.poll(now) {
                Output::Action(Action::Attach(_) | Action::Subscribe(_)) => attached += 1,
                Output::Action(Action::Detach { .. } | Action::Unsubscribe(_)) => attached -= 1,
                Output::Action(Action::Wake(_) | Action::Remark(_) | Action::Finish | Action::Request(_)) => {}
                Output::Action(Action::Ask(ask)) => {
                    open += i32::from(!matches!(ask.subject, Subject::Traverse(_)));
                    asked.push(*ask);
                }
                Output::Action(Action::Notify(_)) => open -= 1,
                Output::Wait(wait) => {
                    let left = conn.outbound().len();
                    assert!(left <= bound, "{left} bytes wait");
                    assert_eq!(wait.write, left > 0);
                    // Half of it is written, and sometimes not even that.
                    if left > 0 && turn % 3 != 0 && step < 100 {
                        conn.outbound().advance(left.div_ceil(2));
                        continue;
                    }
                    if wait.deadline().is_some_and(|deadline| deadline <= now) {
                        due += 1;
                        assert!(due < 4, "the deadline does not move");
                        conn.handle_timeout(now);
                        continue;
                    }
                    match asked.pop() {
                        Some(ask) if turn % 2 == 0 => conn.answer(now, ask.id, Verdict::Allow),
                        still => {
                            asked.extend(still);
                            break;
                        }
                    }
                }
                Output::Closed(_) => {
                    assert_eq!((attached, open), (0, 0), "all is paired");
                    assert!(server.hub().streams().is_empty());
                    return;
                }
            }
        }
    }
    drop(conn);
    assert!(server.hub().streams().is_empty(), "a connection that is gone holds nothing");
}
