//! Rules belong to the stream's virtual host. For any settings of two hosts, a stream of one host behaves the same for
//! a client that connects to that host and for a client that connects to the other host and names the first by
//! `?vhost=`.

#[path = "support/client.rs"]
mod client;
mod support;

use std::time::{Duration, Instant};

use anabranch_core::amf::{Object, Value};
use anabranch_core::bandwidth::BandwidthConfig;
use anabranch_core::chunk::Leniency;
use anabranch_core::command::Command;
use anabranch_core::conn::{Action, Asks, Config, Core, Output, Subject, Verdict, VhostConfig};
use anabranch_core::message::{Message, MessageType};
use anabranch_core::policy::{self, Rate, Refer, Secret, Token, TokenScope, Vhost, Vhosts, sign};
use anabranch_core::url::StreamKey;
use client::Client;
use proptest::prelude::*;
use support::any_instant;

/// The host of the stream, and the other host that a client may connect to.
const HERE: &str = "here.example";
const THERE: &str = "there.example";

const SETTINGS: [fn(&mut VhostConfig); 32] = [
    |host| host.session.chunk_size = 128,
    |host| host.session.window = 5_000,
    |host| host.session.bandwidth_done = true,
    |host| host.session.leniency = Leniency::Strict,
    |host| host.session.limits.chunks.message = 2_000,
    |host| host.session.limits.chunks.streams = 3,
    |host| host.session.limits.chunks.partial = 3_000,
    |host| host.session.limits.command = 300,
    |host| host.session.limits.metadata = 100,
    |host| host.session.limits.amf.values = 5,
    |host| host.session.limits.streams = 2,
    |host| host.session.timeouts.identify = Duration::from_secs(2),
    |host| host.session.timeouts.first_message = Duration::from_secs(3),
    |host| host.session.timeouts.next_message = Duration::from_secs(2),
    |host| host.session.timeouts.ping = Duration::from_secs(1),
    |host| host.session.timeouts.wait_for_stream = Duration::from_secs(4),
    |host| host.source.bytes = 5_000,
    |host| host.idle_publisher = Some(Duration::from_secs(3)),
    |host| host.unpublish_grace = Duration::ZERO,
    |host| host.high_water = 1,
    |host| host.security = "deny publish all".parse().expect("a rule"),
    |host| host.security = "deny play all".parse().expect("a rule"),
    |host| host.refer = Refer { all: vec!["good.example".parse().expect("a host")], ..Refer::default() },
    |host| host.token = Some(Token { secrets: vec![secret()], required_for: TokenScope::Both }),
    |host| host.limits.connections = Some(0),
    |host| host.limits.publishers = Some(0),
    |host| host.limits.players = Some(0),
    |host| host.limits.publisher_rate = Some(Rate { bytes_per_second: 1_000, window: Duration::from_secs(2) }),
    |host| host.limits.questions = Some(0),
    |host| host.asks.connect = true,
    |host| (host.asks.publish, host.asks.play) = (true, true),
    |host| host.bandwidth_check = Some(BandwidthConfig::default()),
];

fn secret() -> Secret {
    Secret::new("the secret that both of them have").expect("it is long enough")
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A video frame of this many bytes, on one of the chunk streams.
    Picture(usize, u8),
    Metadata(usize),
    Call(usize),
    CreateStream,
    Wait(u64),
    /// A chunk stream starts with a header that inherits without an earlier message.
    OddChunk,
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop::sample::select(vec![10, 500, 1_500, 2_500, 6_000]);
    prop_oneof![
        6 => (bytes, 5u8..9).prop_map(|(bytes, chunk_stream)| Step::Picture(bytes, chunk_stream)),
        1 => prop::sample::select(vec![20, 200]).prop_map(Step::Metadata),
        1 => prop::sample::select(vec![20, 400]).prop_map(Step::Call),
        1 => Just(Step::CreateStream),
        3 => prop::sample::select(vec![100, 1_100, 2_100, 4_100]).prop_map(Step::Wait),
        1 => Just(Step::OddChunk),
        1 => Just(Step::Stop),
    ]
}

fn host(settings: &[usize]) -> VhostConfig {
    let asks = Asks { timeout: Duration::from_secs(1), ..Asks::default() };
    let mut host = VhostConfig { asks, ..VhostConfig::default() };
    settings.iter().for_each(|setting| SETTINGS[*setting](&mut host));
    host
}

/// Runs the steps against a new server. Returns what happens to the client from its request for the stream on, or
/// `None` if the host that it connects to refuses it.
fn play(
    here: &[usize],
    there: &[usize],
    home: &str,
    publishes: bool,
    signed: Option<&str>,
    steps: &[Step],
) -> Option<Vec<String>> {
    let vhosts = [Vhost::new(HERE, host(here)), Vhost::new(THERE, host(there))];
    let config = Config { vhosts: Vhosts::new(vhosts).expect("two names"), ..Config::default() };
    let (server, start) = (Core::new(config, [6; 32]), any_instant());
    server.set_clock(start, 1_000);
    let mut now = start;
    let stream = format!("live/cam?vhost={HERE}");
    let mut own_publisher = (!publishes).then(|| server.publish(&stream).expect("the name is free"));
    let mut own_player = publishes.then(|| server.play(&stream).expect("the server takes players"));

    let peer = "192.0.2.1:4000".parse().expect("an address");
    let mut visitor = Visitor { client: Client::on(server.connect_from(now, peer), now), heard: Vec::new() };
    let url = format!("rtmp://{home}/live");
    let object =
        Object::default().with("app", "live").with("tcUrl", url.as_str()).with("pageUrl", "http://bad.example/");
    visitor.call(now, 0, &Command::new("connect", 1.0, Value::Object(object)));
    visitor.call(now, 0, &Command::new("createStream", 2.0, Value::Null));
    let connected = !visitor.is_over() && visitor.heard.iter().any(|line| line.contains("_result"));
    if !connected && home == THERE {
        return None;
    }
    // Questions before the request concern only the host that the client connects to.
    visitor.heard.retain(|line| line.starts_with("ask") && line.ends_with(HERE));
    if connected {
        let action = if publishes { policy::Action::Publish } else { policy::Action::Play };
        let token = signed.map(|vhost| {
            let key = StreamKey::new(vhost, "live", "cam").expect("a name");
            format!("&expires=2000&token={}", sign(&secret(), action, &key, 2_000))
        });
        let name = format!("cam?vhost={HERE}{}", token.unwrap_or_default());
        visitor.call(now, 1, &Command::new(action.as_str(), 0.0, Value::Null).with(name.as_str()));
    }
    let mut frames = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        if visitor.is_over() {
            break;
        }
        let timestamp = number as u32 * 40;
        let picture = |bytes: usize| [&[0x17, 1, 0, 0, 0][..], &vec![number as u8; bytes]].concat();
        match *step {
            Step::Picture(bytes, chunk_stream) if publishes => {
                let mut out = Vec::new();
                anabranch_core::chunk::write_message(
                    &mut out,
                    128,
                    chunk_stream,
                    timestamp,
                    MessageType::VIDEO,
                    1,
                    &picture(bytes),
                );
                visitor.client.send(now, &out);
            }
            Step::Picture(bytes, _) => {
                if let Some(publisher) = &mut own_publisher {
                    publisher.push(now, Message::video(timestamp, picture(bytes))).expect("it publishes");
                }
            }
            Step::Metadata(bytes) => {
                let object = Object::default().with("x", "y".repeat(bytes).as_str());
                let mut body = Vec::new();
                for value in [Value::from("@setDataFrame"), Value::from("onMetaData"), Value::Object(object)] {
                    anabranch_core::amf::amf0::encode(&value, &mut body);
                }
                visitor.client.message(now, MessageType::DATA_AMF0, 1, 0, &body);
            }
            Step::Call(bytes) => {
                visitor.call(now, 0, &Command::new("what", 9.0, Value::Null).with("z".repeat(bytes).as_str()));
            }
            Step::CreateStream => visitor.call(now, 0, &Command::new("createStream", 8.0, Value::Null)),
            Step::OddChunk => visitor.client.send(now, &[0x40 | 4, 0, 0, 40, 0, 0, 1, 9, 0]),
            Step::Stop if publishes => visitor.call(now, 1, &Command::new("closeStream", 0.0, Value::Null)),
            Step::Stop => {
                if let Some(publisher) = own_publisher.take() {
                    publisher.end(now);
                }
            }
            Step::Wait(milliseconds) => now = visitor.wait(now, Duration::from_millis(milliseconds)),
        }
        visitor.answer(now);
        if let Some(player) = &mut own_player {
            player.pull(|frame| {
                frames.push(format!("{:?} {} bytes", frame.kind(), frame.payload().len()));
                true
            });
        }
    }
    // The server's messages after the last bytes are read.
    let end = visitor.wait(now, Duration::from_secs(5));
    if let Some(report) = &visitor.client.report {
        let reason = report.close.reason.name();
        let what = if visitor.granted() { format!("closed: {reason}") } else { "refused".to_owned() };
        visitor.heard.push(format!("{what}, {} ms", if visitor.granted() { (end - start).as_millis() } else { 0 }));
    }
    if !visitor.granted() {
        // Which host refuses, and with which text, depends on the time.
        visitor.heard = vec!["refused".to_owned()];
    }
    Some([visitor.heard, frames].concat())
}

struct Visitor {
    client: Client,
    heard: Vec<String>,
}

impl Visitor {
    fn is_over(&self) -> bool {
        self.client.report.is_some() || self.client.conn.session().is_closing()
    }

    fn granted(&self) -> bool {
        self.heard.iter().any(|line| line.ends_with(".Start"))
    }

    fn call(&mut self, now: Instant, on: u32, command: &Command) {
        self.client.call(now, on, command);
        self.answer(now);
    }

    /// The back end allows everything. Records the client's messages, except announcements that one host makes at
    /// `connect` and the other when it grants the stream.
    fn answer(&mut self, now: Instant) {
        loop {
            self.client.serve(now);
            let asked = self.client.actions.drain(..).find_map(|action| match action {
                Action::Ask(ask) => Some(*ask),
                _ => None,
            });
            let Some(ask) = asked else { break };
            self.heard.push(match &ask.subject {
                Subject::Connect => format!("ask {}", ask.client.vhost),
                Subject::Publish(facts) | Subject::Play(facts) | Subject::Traverse(facts) => {
                    format!("ask about {}", facts.key)
                }
            });
            self.client.conn.answer(now, ask.id, Verdict::Allow);
        }
        // Only the stream's host matters, not the hosts that the client leaves.
        self.heard.retain(|line| line != &format!("ask {THERE}"));
        for message in std::mem::take(&mut self.client.messages) {
            if message.type_id == MessageType::COMMAND_AMF0 {
                let command =
                    Command::parse(message.type_id, &message.payload, &anabranch_core::amf::Limits::default());
                let command = command.expect("the server's AMF is whole");
                let information = command.arguments.first().and_then(Value::as_object);
                let code = information.and_then(|information| information.get("code")).and_then(Value::as_str);
                let name = command.name.to_string_lossy().into_owned();
                if name != "onBWDone" {
                    self.heard.push(format!("{name} {}", code.unwrap_or_default()));
                }
            } else if matches!(message.type_id, MessageType::VIDEO | MessageType::DATA_AMF0) {
                self.heard.push(format!("{} with {} bytes", message.type_id, message.payload.len()));
            }
        }
    }

    /// Lets time pass until then, or until the connection is over.
    fn wait(&mut self, from: Instant, time: Duration) -> Instant {
        let (end, mut now) = (from + time, from);
        while self.client.report.is_none() {
            let deadline = match self.client.conn.poll(now) {
                Output::Wait(wait) if !wait.write => wait.deadline(),
                Output::Closed(report) => {
                    self.client.report = Some(report);
                    break;
                }
                Output::Action(action) => {
                    self.client.actions.push(action);
                    continue;
                }
                Output::Wait(_) => Some(now),
            };
            self.answer(now);
            match deadline {
                Some(deadline) if deadline <= end => now = now.max(deadline),
                _ => break,
            }
            self.client.conn.handle_timeout(now);
            self.answer(now);
        }
        if self.client.report.is_some() { now } else { end }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_is_the_same_wherever_its_client_connected(
        here in prop::collection::vec(0..SETTINGS.len(), 0..4),
        there in prop::collection::vec(0..SETTINGS.len(), 0..4),
        publishes in any::<bool>(),
        signed in prop::sample::select(vec![None, Some(HERE), Some(HERE), Some(THERE)]),
        steps in prop::collection::vec(step(), 0..25),
    ) {
        let direct = play(&here, &there, HERE, publishes, signed, &steps);
        let crossing = play(&here, &there, THERE, publishes, signed, &steps);
        if let Some(crossing) = crossing {
            prop_assert_eq!(Some(crossing), direct);
        }
    }
}

/// Each setting alone, for either host, so that none is missed by chance.
#[test]
fn each_setting_holds_for_a_client_that_came_from_another_host() {
    let long = [
        Step::Picture(500, 5),
        Step::Metadata(200),
        Step::Call(400),
        Step::CreateStream,
        Step::CreateStream,
        Step::OddChunk,
        Step::Picture(1_500, 6),
        Step::Wait(1_100),
        Step::Picture(2_500, 7),
        Step::Picture(6_000, 8),
        Step::Wait(2_100),
        Step::Stop,
        Step::Wait(4_100),
    ];
    let scripts: [&[Step]; 4] = [&long, &[Step::Wait(4_100)], &[Step::Picture(10, 5), Step::Wait(4_100)], &long[7..]];
    let mut told_apart = 0;
    for setting in 0..SETTINGS.len() {
        for (steps, publishes) in scripts.iter().flat_map(|steps| [(steps, true), (steps, false)]) {
            let plain = play(&[], &[], HERE, publishes, Some(HERE), steps);
            let direct = play(&[setting], &[], HERE, publishes, Some(HERE), steps);
            let crossing = play(&[setting], &[], THERE, publishes, Some(HERE), steps);
            assert_eq!(crossing, direct, "setting {setting}, {steps:?}");
            told_apart += usize::from(direct != plain);
            if let Some(crossing) = play(&[], &[setting], THERE, publishes, Some(HERE), steps) {
                assert_eq!(Some(crossing), plain, "setting {setting} of where it comes from, {steps:?}");
            }
        }
    }
    assert!(told_apart > 40, "{told_apart}: the scripts see what the settings do");
}

#[test]
fn a_signed_url_is_good_in_one_of_two_hosts_with_one_secret() {
    let signs = SETTINGS.iter().position(|set| {
        let mut host = VhostConfig::default();
        set(&mut host);
        host.token.is_some()
    });
    let signs = [signs.expect("one of them")];
    for publishes in [true, false] {
        for (signed, good) in [(HERE, true), (THERE, false)] {
            let heard = play(&signs, &signs, THERE, publishes, Some(signed), &[]).expect("no host refuses it");
            assert_eq!(heard[0] != "refused", good, "{heard:?}");
        }
    }
}
