//! What a session holds stays within its limits after every call, for all input.

use super::support::mutation::{Random, mutate};
use super::support::recorded;
use super::*;
use crate::chunk::ChunkLimits;

/// The commands that make the server queue the most: many bytes of answers for each byte of command.
fn flood(random: &mut Random) -> Vec<u8> {
    let commands = [
        peer::create_stream(2.0),
        peer::command("FCSubscribe", 3.0, 0, &[]),
        peer::command("getMovLen", 3.0, 0, &[]),
        peer::control(&Control::User(UserControl::PingRequest(1))),
        peer::play(1, "cam"),
        peer::publish(2, "cam"),
        peer::command("receiveVideo", 0.0, 1, &[true.into()]),
        peer::command("pause", 0.0, 1, &[true.into()]),
        peer::command("FCUnpublish", 3.0, 0, &["cam".into()]),
        peer::command("deleteStream", 3.0, 0, &[]),
        peer::audio(1, &peer::audio_frame(1)),
    ];
    let mut bytes = [peer::handshake(), peer::connect()].concat();
    for _ in 0..random.below(400) {
        bytes.extend(&commands[random.below(commands.len())]);
    }
    bytes
}

/// Records the highest value seen of each.
fn check(session: &Session, most: &mut [usize; 4]) {
    let limits = &session.config.limits;
    let inbox = session.endpoint.unparsed();
    let (events, replies) = (session.endpoint.events_waiting(), session.endpoint.outbound.replies());
    assert!(inbox <= limits.inbox, "{inbox} bytes in the inbox");
    // The last message before the limit may be an aggregate with this many parts, or end every stream.
    assert!(events <= 2 * limits.events + limits.streams + 1, "{events} events wait");
    // One answer more than fits: the peer chooses the length of names in it.
    let one_reply = 3073 + 4 * limits.command as usize;
    assert!(replies <= limits.replies + one_reply, "{replies} bytes of replies");
    let partial = session.endpoint.reader.partial_bytes();
    assert!(
        partial <= limits.chunks.partial.max(limits.chunks_before_connect.partial),
        "{partial} bytes half received"
    );
    // The answer to the handshake is longer than this limit and does not count towards it.
    let replies = if session.is_connected() { replies } else { 0 };
    for (most, seen) in most.iter_mut().zip([inbox, events, replies, partial]) {
        *most = seen.max(*most);
    }
}

#[test]
fn nothing_grows_past_its_limit() {
    let recorded = recorded::connections();
    let mut config = SessionConfig { window: 5000, ..SessionConfig::default() };
    config.limits.chunks = ChunkLimits { message: 50_000, streams: 12, partial: 4000, eager: 64 };
    config.limits.command = 2000;
    config.limits.events = 16;
    config.limits.replies = 4096;
    config.limits.inbox = 4000;
    let now = support::any_instant();
    let config = Arc::new(config);
    let mut most = [0; 4];
    for seed in 0..1500 {
        let mut random = Random::new(seed);
        let bytes = if seed % 3 == 0 {
            flood(&mut random)
        } else {
            let base = &recorded[random.below(recorded.len())];
            let other = &recorded[random.below(recorded.len())];
            let mut bytes = base.bytes.clone();
            mutate(&mut random, &mut bytes, base.handshake, &other.bytes[other.handshake..]);
            bytes
        };
        let mut session = Session::new(config.clone(), [0; 32], now);
        let piece = 1 + random.below(3000);
        for piece in bytes.chunks(piece) {
            let _ = session.handle_input(now, piece);
            check(&session, &mut most);
            let polls = random.below(30);
            for _ in 0..polls {
                match session.poll_output() {
                    SessionOutput::Event(SessionEvent::Connect(request)) => session.accept(request),
                    SessionOutput::Event(SessionEvent::Publish(request)) => session.accept(request),
                    SessionOutput::Event(SessionEvent::Play(request)) => session.accept(request),
                    SessionOutput::Event(_) => {}
                    SessionOutput::Wait(_) | SessionOutput::Closed(_) if random.below(3) == 0 => {
                        let waiting = session.outbound().len();
                        session.outbound().advance(waiting);
                    }
                    SessionOutput::Wait(_) | SessionOutput::Closed(_) => {}
                }
                check(&session, &mut most);
            }
        }
    }
    // The limits were nearly reached, otherwise the checks above prove nothing.
    // A partial message that reaches its limit is dropped inside the call, so that it is not seen here.
    assert!(most[0] > 3000 && most[1] >= 16 && most[2] >= 2000 && (3800..4000).contains(&most[3]), "{most:?}");
}
