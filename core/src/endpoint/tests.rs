//! What both roles have in common: each test here runs with a server's connection and with a client's connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Buf;

use crate::client::{self, Client, ClientConfig, ClientOutput, Destination, PlayOptions};
use crate::command::Command;
use crate::command::reply::{self, Level};
use crate::handshake::ServerHandshake;
use crate::message::{Control, MessageType, UserControl};
use crate::session::tests::peer::{self, ServerOutput};
use crate::session::{self, Due, Outbound, Session, SessionConfig, SessionOutput, Wait};

const SECOND: Duration = Duration::from_secs(1);

/// The settings that both roles have.
#[derive(Debug, Clone)]
struct Settings {
    window: u32,
    events: usize,
    event_bytes: usize,
    replies: usize,
    inbox: usize,
    silence: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            window: 2_500_000,
            events: 512,
            event_bytes: 4 << 20,
            replies: 64 << 10,
            inbox: 1 << 20,
            silence: Duration::MAX,
        }
    }
}

impl Settings {
    fn session(&self) -> SessionConfig {
        let mut config = SessionConfig { window: self.window, ..SessionConfig::default() };
        let limits = &mut config.limits;
        (limits.events, limits.event_bytes) = (self.events, self.event_bytes);
        (limits.replies, limits.inbox) = (self.replies, self.inbox);
        let timeouts = &mut config.timeouts;
        (timeouts.first_message, timeouts.next_message) = (self.silence, self.silence);
        timeouts.ping = Duration::MAX;
        config
    }

    fn client(&self) -> ClientConfig {
        let to = Destination::parse("rtmp://origin.example/live/cam").expect("a URL");
        let mut config = ClientConfig { window: self.window, ..ClientConfig::to(&to) };
        let limits = &mut config.limits;
        (limits.events, limits.event_bytes) = (self.events, self.event_bytes);
        (limits.replies, limits.inbox) = (self.replies, self.inbox);
        config.timeouts.read = Some(self.silence);
        config
    }
}

/// A connection in either role.
#[derive(Debug)]
enum Role {
    Server(Box<Session>),
    Client(Box<Client>),
}

/// What `poll_output` returned.
#[derive(Debug)]
enum Seen {
    Event,
    Wait(Wait),
    /// The name of the close reason.
    Closed(&'static str),
}

/// A connection in either role that receives media on message stream 1, and a peer that sends what the test gives it.
#[derive(Debug)]
struct Link {
    role: Role,
    server_output: ServerOutput,
    now: Instant,
}

/// Runs a test with each role.
fn both(settings: &Settings, test: impl Fn(Link)) {
    test(Link::server(settings));
    test(Link::client(settings));
}

fn ping(time: u32) -> Vec<u8> {
    peer::control(&Control::User(UserControl::PingRequest(time)))
}

impl Link {
    fn any_instant() -> Instant {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        Instant::now()
    }

    /// The server's role: the peer publishes.
    fn server(settings: &Settings) -> Self {
        let now = Link::any_instant();
        let mut session = Box::new(Session::new(Arc::new(settings.session()), [5; 32], now));
        let mut server_output = ServerOutput::new();
        for said in [peer::handshake(), peer::connect(), peer::create_stream(2.0), peer::publish(1, "cam")] {
            session.handle_input(now, &said).expect("a legal client");
            loop {
                match session.poll_output() {
                    SessionOutput::Event(session::SessionEvent::Connect(request)) => session.accept(request),
                    SessionOutput::Event(session::SessionEvent::Publish(request)) => session.accept(request),
                    SessionOutput::Event(event) => panic!("an unexpected event: {event:?}"),
                    SessionOutput::Wait(_) => break,
                    SessionOutput::Closed(close) => panic!("closed: {close:?}"),
                }
            }
            let waiting = session.outbound().remaining();
            server_output.lines(&session.outbound().copy_to_bytes(waiting));
        }
        Link { role: Role::Server(session), server_output, now }
    }

    /// The client's role: the client plays.
    fn client(settings: &Settings) -> Self {
        let mut link = Link::before_connect_answer(settings);
        let Role::Client(client) = &mut link.role else { panic!("a client") };
        client.play("cam", PlayOptions::default()).expect("a stream");
        link.command(0, &reply::connect_result(1.0, 0.0));
        link.poll_all();
        link.command(0, &reply::create_stream_result(2.0, 1));
        link.command(1, &reply::on_status(Level::Status, "NetStream.Play.Start", "In words."));
        link.poll_all();
        link.receive();
        link
    }

    /// A client that has sent `connect`.
    fn before_connect_answer(settings: &Settings) -> Self {
        let now = Link::any_instant();
        let client = Box::new(Client::new(Arc::new(settings.client()), [5; 32], now));
        let mut link = Link { role: Role::Client(client), server_output: ServerOutput::after_handshake(), now };
        let (mut host, mut answer) = (ServerHandshake::new([6; 32], 0), Vec::new());
        let _ = host.read(&link.take(), &mut answer).expect("a legal handshake");
        link.send(&answer);
        let sent = link.take();
        let progress = host.read(&sent, &mut answer).expect("a legal handshake");
        link.server_output.lines(&sent[progress.consumed..]);
        link
    }

    fn send(&mut self, bytes: &[u8]) {
        // An error shows in `Closed`.
        let _ = match &mut self.role {
            Role::Server(session) => session.handle_input(self.now, bytes),
            Role::Client(client) => client.handle_input(self.now, bytes),
        };
    }

    fn command(&mut self, message_stream_id: u32, command: &Command) {
        self.send(&peer::message(MessageType::COMMAND_AMF0, 0, message_stream_id, &command.encode()));
    }

    fn outbound(&mut self) -> &mut Outbound {
        match &mut self.role {
            Role::Server(session) => session.outbound(),
            Role::Client(client) => client.outbound(),
        }
    }

    fn take(&mut self) -> Vec<u8> {
        let waiting = self.outbound().remaining();
        self.outbound().copy_to_bytes(waiting).to_vec()
    }

    fn receive(&mut self) -> Vec<String> {
        let bytes = self.take();
        self.server_output.lines(&bytes)
    }

    fn poll(&mut self) -> Seen {
        match &mut self.role {
            Role::Server(session) => match session.poll_output() {
                SessionOutput::Event(_) => Seen::Event,
                SessionOutput::Wait(wait) => Seen::Wait(wait),
                SessionOutput::Closed(close) => Seen::Closed(close.reason.name()),
            },
            Role::Client(client) => match client.poll_output() {
                ClientOutput::Event(_) => Seen::Event,
                ClientOutput::Wait(wait) => Seen::Wait(wait),
                ClientOutput::Closed(close) => Seen::Closed(close.reason.name()),
            },
        }
    }

    /// How many events there are.
    fn poll_all(&mut self) -> usize {
        let mut events = 0;
        while let Seen::Event = self.poll() {
            events += 1;
        }
        events
    }

    fn wait(&mut self) -> Wait {
        match self.poll() {
            Seen::Wait(wait) => wait,
            other => panic!("nothing to wait for but {other:?} in {:?}", self.role),
        }
    }

    /// The close reason, if the connection has ended.
    fn closed(&mut self) -> Option<&'static str> {
        match self.poll() {
            Seen::Closed(reason) => Some(reason),
            Seen::Wait(_) => None,
            Seen::Event => panic!("an unexpected event in {:?}", self.role),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        match &mut self.role {
            Role::Server(session) => session.handle_timeout(now),
            Role::Client(client) => client.handle_timeout(now),
        }
    }

    /// The connection breaks.
    fn lose(&mut self) {
        match &mut self.role {
            Role::Server(session) => {
                session.handle_disconnect(self.now, session::CloseReason::PeerLost("reset".into()));
            }
            Role::Client(client) => {
                client.handle_disconnect(self.now, client::ClientCloseReason::PeerLost("reset".into()));
            }
        }
    }

    /// Closes from our side, while bytes are queued.
    fn close(&mut self) {
        self.send(&ping(1));
        self.end();
        assert!(!self.outbound().is_empty());
    }

    fn end(&mut self) {
        match &mut self.role {
            Role::Server(session) => session.close(session::CloseReason::Shutdown),
            Role::Client(client) => client.close(),
        }
    }

    fn given_up(&self) -> u64 {
        match &self.role {
            Role::Server(session) => session.given_up(),
            Role::Client(client) => client.given_up(),
        }
    }

    fn received(&self) -> u64 {
        match &self.role {
            Role::Server(session) => session.received(),
            Role::Client(client) => client.received(),
        }
    }

    /// Bytes that are received but not parsed, because their message is incomplete or waits.
    fn unfinished(&self) -> usize {
        match &self.role {
            Role::Server(session) => session.unfinished_bytes(),
            Role::Client(client) => client.unfinished_bytes(),
        }
    }

    /// Lets time pass: every deadline calls the timeout, and the peer takes all bytes or none.
    fn pass(&mut self, time: Duration, takes: bool) {
        let end = self.now + time;
        for turn in 0.. {
            assert!(turn < 10_000, "it asks for a poll and then does nothing");
            if takes {
                self.take();
            }
            let Seen::Wait(Wait { due: Some(Due { at: deadline, .. }), .. }) = self.poll() else {
                break;
            };
            if deadline > end {
                break;
            }
            self.handle_timeout(self.now.max(deadline));
        }
        self.now = end;
    }

    /// The name of the reason when the peer was silent for too long.
    fn silent(&self) -> &'static str {
        match self.role {
            Role::Server(_) => "next_message_timeout",
            Role::Client(_) => "read_timeout",
        }
    }
}

#[test]
fn a_connection_that_breaks_while_its_queue_is_lent_ends_when_the_queue_is_back() {
    both(&Settings::default(), |mut link| {
        link.send(&ping(1));
        let lent = link.outbound().lend().expect("something waits");
        let count = lent.remaining() as u64;
        assert!(count > 0);
        link.lose();
        link.outbound().restore(lent).expect("the queue is its own");
        assert_eq!(link.closed(), Some("peer_lost"), "at once, in {:?}", link.role);
        assert_eq!(link.given_up(), count);
    });
}

#[test]
fn a_connection_whose_queue_is_lent_when_its_last_time_is_over_ends_when_the_queue_is_back() {
    both(&Settings::default(), |mut link| {
        link.close();
        let end = link.wait().deadline().expect("it has a deadline");
        let lent = link.outbound().lend().expect("something waits");
        link.handle_timeout(end);
        link.outbound().restore(lent).expect("the queue is its own");
        assert!(link.closed().is_some(), "{:?}", link.role);
        assert!(link.given_up() > 0);
    });
}

#[test]
fn a_peer_that_floods_a_closing_connection_is_cut_off() {
    for (bytes, cut_off) in [(256 << 10, false), ((256 << 10) + 1, true)] {
        both(&Settings::default(), |mut link| {
            link.close();
            assert!(link.wait().read.is_some(), "read and thrown away");
            for piece in vec![0; bytes].chunks(64 << 10) {
                link.send(piece);
            }
            assert_eq!(link.outbound().is_empty(), cut_off, "after {bytes} bytes, {:?}", link.role);
            assert_eq!(link.closed().is_some(), cut_off);
        });
    }
}

#[test]
fn a_closing_connection_keeps_nothing_of_what_was_half_received() {
    both(&Settings::default(), |mut link| {
        link.send(&ping(1));
        link.send(&peer::video(0, &[0x27; 100_000])[..50_000]);
        assert!(link.unfinished() > 40_000);
        link.end();
        assert_eq!(link.closed(), None, "the answer is not written yet");
        assert_eq!(link.unfinished(), 0, "{:?}", link.role);
    });
}

#[test]
fn a_bound_of_no_events_lets_one_wait() {
    both(&Settings { events: 1, ..Settings::default() }, |mut link| {
        let media: Vec<u8> = (0..5).flat_map(|time| peer::audio(time, &peer::audio_frame(1))).collect();
        link.send(&media);
        assert_eq!(link.poll_all(), 5, "none is lost");
    });
    // With a limit of none, nothing would ever be parsed.
    let mut session =
        Session::new(Arc::new(Settings { events: 0, ..Settings::default() }.session()), [5; 32], Link::any_instant());
    let start = Link::any_instant();
    session.handle_input(start, &[peer::handshake(), peer::connect()].concat()).expect("a legal client");
    assert!(matches!(session.poll_output(), SessionOutput::Event(session::SessionEvent::Connect(_))), "it goes on");
}

#[test]
fn the_bytes_of_events_that_wait_are_bounded() {
    both(&Settings { event_bytes: 4 << 20, inbox: 2 << 20, ..Settings::default() }, |mut link| {
        let mut said = 0;
        while link.unfinished() == 0 {
            link.send(&peer::video(said, &vec![0x27; 1 << 20]));
            said += 1;
            assert!(said < 20, "nothing stops it: {:?}", link.poll_all());
        }
        // The message that exceeded the limit is an event, and the next message is not parsed.
        assert_eq!(said, 5, "4 MiB wait, and one message behind them");
        assert_eq!(link.poll_all(), 5, "none is lost");
        assert!(link.wait().read.is_some());
    });
}

#[test]
fn events_wait_within_their_limit() {
    both(&Settings { events: 10, ..Settings::default() }, |mut link| {
        let frame = peer::audio(0, &peer::audio_frame(1));
        link.send(&frame.repeat(50));
        assert_eq!(link.unfinished(), 40 * frame.len(), "ten events wait");
        assert_eq!(link.poll_all(), 50, "none is lost");
        assert_eq!(link.unfinished(), 0);
    });
}

#[test]
fn input_that_was_not_asked_for_reaches_a_limit() {
    both(&Settings { events: 8, inbox: 3000, ..Settings::default() }, |mut link| {
        link.send(&peer::audio(0, &peer::audio_frame(1)).repeat(8));
        link.send(&[0; 1500]);
        link.send(&[0; 1500]);
        assert_eq!(link.unfinished(), 3000);
        link.send(&[0]);
        assert_eq!(link.unfinished(), 0, "a connection that has ended holds nothing");
        assert_eq!(link.poll_all(), 8, "the messages before it are still events");
        link.pass(4 * SECOND, true);
        assert_eq!(link.closed(), Some("inbox_over_limit"));
    });
}

#[test]
fn a_flood_of_requests_stops_being_read_until_the_replies_are_taken() {
    both(&Settings { replies: 4096, ..Settings::default() }, |mut link| {
        link.send(&(0..800).flat_map(ping).collect::<Vec<u8>>());
        let queued = link.outbound().len();
        assert!((4096..4114).contains(&queued), "{queued} bytes are queued");
        assert!(link.wait().read.is_none(), "and no more is read");
        let mut received = Vec::new();
        for _ in 0..10 {
            received.extend(link.receive());
            link.wait();
        }
        let expected: Vec<String> = (0..800).map(|time| format!("PingResponse({time})")).collect();
        assert_eq!(received, expected, "nothing is lost");
        assert!(link.wait().read.is_some());
    });
}

#[test]
fn acknowledgements_are_sent_at_the_exact_byte() {
    for piece in [1, usize::MAX] {
        both(&Settings { window: 10_000, ..Settings::default() }, |mut link| {
            let mut position = link.received();
            assert!(position < 10_000);
            let media: Vec<u8> = (0..400).flat_map(|time| peer::audio(time, &[0xaf; 100])).collect();
            let end = position + media.len() as u64;
            let mut received = Vec::new();
            for piece in media.chunks(piece.min(media.len())) {
                link.send(piece);
                link.poll_all();
                position += piece.len() as u64;
                received.extend(link.receive().into_iter().map(|line| (position, line)));
            }
            let due = (1..=end / 10_000).map(|count| count * 10_000);
            let at = |due| if piece == 1 { due } else { end };
            let expected: Vec<_> = due.map(|due| (at(due), format!("Acknowledgement({due})"))).collect();
            assert!(expected.len() >= 4);
            assert_eq!(received, expected);
        });
    }
}

#[test]
fn the_peer_sets_its_window_but_not_a_ruinous_one() {
    both(&Settings::default(), |mut link| {
        link.send(&peer::control(&Control::WindowAckSize(1)));
        link.send(&(0..100).flat_map(|time| peer::audio(time, &[0xaf; 100])).collect::<Vec<u8>>());
        assert_eq!(link.poll_all(), 100);
        assert_eq!(link.receive().len() as u64, link.received() / 4096);
    });
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    both(&Settings::default(), |mut link| {
        link.send(&ping(1));
        let queued = link.outbound().len() as u64;
        assert!(link.wait().write);
        link.pass(29 * SECOND, false);
        // A taken byte is progress, and starts the timeout again.
        link.outbound().advance(1);
        link.pass(30 * SECOND, false);
        assert!(link.wait().write);
        link.pass(SECOND, false);
        link.pass(2 * SECOND, false);
        assert!(link.wait().write, "it has ended, and what is queued may still be written");
        link.pass(SECOND, false);
        assert_eq!((link.closed(), link.given_up()), (Some("write_timeout"), queued - 1));
        assert!(link.outbound().is_empty());
    });
}

#[test]
fn a_peer_that_took_all_it_was_sent_is_not_checked_for_stalling() {
    both(&Settings::default(), |mut link| {
        let calm = link.wait().deadline();
        link.send(&ping(1));
        assert!(link.wait().deadline() < calm, "whether it takes the answer");
        link.receive();
        assert_eq!(link.wait().deadline(), calm);
    });
}

#[test]
fn only_the_last_moment_is_waited_for_while_closing() {
    both(&Settings::default(), |mut link| {
        link.close();
        assert_eq!(link.wait().deadline(), Some(link.now + 3 * SECOND));
        link.pass(2 * SECOND, false);
        assert_eq!(link.closed(), None);
        link.pass(SECOND, false);
        assert!(link.closed().is_some());
    });
}

#[test]
fn what_was_queued_and_never_written_is_counted_once() {
    both(&Settings::default(), |mut link| {
        link.send(&ping(1));
        let queued = link.outbound().len() as u64;
        link.lose();
        assert_eq!((link.given_up(), link.outbound().len()), (queued, 0));
        link.lose();
        assert_eq!(link.given_up(), queued);
    });
}

#[test]
fn silence_is_given_its_time_and_no_more() {
    both(&Settings { silence: 20 * SECOND, ..Settings::default() }, |mut link| {
        let silent = link.silent();
        for _ in 0..3 {
            link.send(&peer::audio(0, &peer::audio_frame(1)));
            assert_eq!(link.poll_all(), 1);
            link.pass(19 * SECOND, true);
            assert_eq!(link.closed(), None);
        }
        link.pass(SECOND, true);
        assert_eq!(link.closed(), Some(silent));
    });
}

#[test]
fn a_peer_that_is_not_read_is_not_silent() {
    both(&Settings { silence: 20 * SECOND, events: 1, ..Settings::default() }, |mut link| {
        let silent = link.silent();
        // Two events for a program that fetches none for a long time: the peer's bytes are not read during that time.
        link.send(&peer::audio(1, &peer::audio_frame(1)).repeat(2));
        link.handle_timeout(link.now + 30 * SECOND);
        assert_eq!(link.poll_all(), 2);
        assert!(link.wait().read.is_some(), "reads again");
        link.pass(21 * SECOND, true);
        assert_eq!(link.closed(), Some(silent));
    });
}

/// Bytes that were left unread before the silence began do not extend the timeout.
#[test]
fn bytes_left_unread_earlier_do_not_excuse_silence() {
    let settings = Settings { silence: 20 * SECOND, replies: 4096, ..Settings::default() };
    let flood: Vec<u8> = (0..300).flat_map(ping).collect();

    let mut link = Link::before_connect_answer(&settings);
    link.send(&flood);
    assert!(link.wait().read.is_none());
    link.receive();
    link.wait();
    link.receive();
    link.command(0, &reply::connect_result(1.0, 0.0));
    link.poll_all();
    link.pass(20 * SECOND, true);
    assert_eq!(link.closed(), Some("read_timeout"));

    let mut link = Link::server(&settings);
    link.send(&peer::command("closeStream", 0.0, 1, &[]));
    link.poll_all();
    link.receive();
    link.send(&flood);
    assert!(link.wait().read.is_none());
    link.receive();
    link.wait();
    link.receive();
    let Role::Server(session) = &mut link.role else { panic!("a session") };
    session.handle_input(link.now, &peer::publish(1, "again")).expect("a legal client");
    let SessionOutput::Event(session::SessionEvent::Publish(request)) = session.poll_output() else {
        panic!("a publish")
    };
    session.accept(request);
    link.send(&peer::audio(0, &peer::audio_frame(1)));
    link.poll_all();
    link.pass(20 * SECOND, true);
    assert_eq!(link.closed(), Some("next_message_timeout"));
}
