//! A pass in a URL replaces the rules, limits and questions that are for clients, for one action on one stream from
//! loopback. Without it, and with any other pass, they hold.

#[path = "support/client.rs"]
mod client;
mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anabranch_core::amf::{Object, Value};
use anabranch_core::capture::{Capture, Tap, file_header};
use anabranch_core::command::Command;
use anabranch_core::conn::{Action, Asks, Config, Conn, Core, VhostConfig};
use anabranch_core::message::MessageType;
use anabranch_core::policy::{self, PASS, Rate, Refer, Secret, Token, TokenScope, Vhost, Vhosts};
use anabranch_core::replay;
use anabranch_core::url::StreamKey;
use client::Client;
use support::any_instant;

const HERE: &str = "here.example";
const LOOPBACK: &str = "127.0.0.1:4000";
const UNIX: u64 = 1_000;

/// What keeps clients out, or has a back end asked about them.
const RULES: [fn(&mut VhostConfig); 13] = [
    |_| {},
    |host| host.security = "deny publish all".parse().expect("a rule"),
    |host| host.security = "deny play all".parse().expect("a rule"),
    |host| host.security = "allow play 192.0.2.0/24".parse().expect("a rule"),
    |host| host.refer = Refer { all: vec!["good.example".parse().expect("a host")], ..Refer::default() },
    |host| {
        let secret = Secret::new("a long random secret of your own").expect("it is long enough");
        host.token = Some(Token { secrets: vec![secret], required_for: TokenScope::Both });
    },
    |host| host.limits.connections = Some(0),
    |host| host.limits.publishers = Some(0),
    |host| (host.limits.players, host.limits.stream_players) = (Some(0), Some(0)),
    |host| host.limits.streams = Some(0),
    |host| host.limits.questions = Some(0),
    |host| host.asks = Asks { connect: true, publish: true, play: true, traverse: true, ..Asks::default() },
    |host| host.limits.publisher_rate = Some(Rate { bytes_per_second: 1, window: Duration::from_secs(1) }),
];

fn config(host: VhostConfig) -> Config {
    let vhosts = Vhosts::new([Vhost::new(HERE, host)]).expect("one name");
    Config { vhosts, ..Config::default() }
}

fn server(host: VhostConfig, now: Instant) -> Core {
    let server = Core::new(config(host), [7; 32]);
    server.set_clock(now, UNIX);
    server
}

fn key(stream: &str) -> StreamKey {
    StreamKey::new(HERE, "live", stream).expect("a name")
}

/// A client that asks for a stream at this address, with this pass in the URL of `connect`.
fn ask(conn: Conn, now: Instant, action: policy::Action, stream: &str, pass: &str) -> Client {
    let mut client = Client::on(conn, now);
    let query = if pass.is_empty() { String::new() } else { format!("&{PASS}={pass}") };
    let app = format!("live?vhost={HERE}{query}");
    let object = Object::default().with("app", app.as_str()).with("tcUrl", format!("rtmp://127.0.0.1/{app}").as_str());
    client.call(now, 0, &Command::new("connect", 1.0, Value::Object(object)));
    client.call(now, 0, &Command::new("createStream", 2.0, Value::Null));
    client.call(now, 1, &Command::new(action.as_str(), 0.0, Value::Null).with(stream));
    client
}

fn is_granted(client: &mut Client) -> bool {
    client.take_words().iter().any(|word| word.ends_with("Publish.Start") || word.ends_with("Play.Start"))
}

fn asks(client: &Client) -> usize {
    client.actions.iter().filter(|action| matches!(action, Action::Ask(_) | Action::Notify(_))).count()
}

#[test]
fn a_pass_replaces_every_rule_and_no_back_end_is_asked() {
    for (number, rule) in RULES.into_iter().enumerate() {
        let mut host = VhostConfig { idle_publisher: Some(Duration::from_secs(1)), ..VhostConfig::default() };
        rule(&mut host);
        let now = any_instant();
        let server = server(host, now);
        for action in [policy::Action::Publish, policy::Action::Play] {
            let issued = server.passes().issue(action, &key("cam"));
            let pass = issued.text();
            let conn = server.connect_from(now, LOOPBACK.parse().expect("an address"));
            let mut client = ask(conn, now, action, "cam", pass);
            assert!(is_granted(&mut client), "rule {number}, {action}");
            assert_eq!(asks(&client), 0, "rule {number}, {action}");
            let attached = client.actions.iter().find_map(|action| match action {
                Action::Attach(attachment) => Some(attachment.by_pass),
                _ => None,
            });
            assert_eq!(attached, Some(true));
            let counts = server.vhosts().remove(0);
            assert_eq!((counts.connections, counts.publishers, counts.players), (0, 0, 0), "it does not count");
            // Limits of the rate and of the time without players are for clients, and it stays after a reload.
            client.message(now, MessageType::VIDEO, 1, 0, &[0x17; 20_000]);
            client.conn.reconfigured();
            client.conn.handle_timeout(now + Duration::from_secs(5));
            client.serve(now + Duration::from_secs(5));
            assert!(client.report.is_none(), "rule {number}, {action}: {:?}", client.report);
        }
    }
}

#[test]
fn a_pass_that_does_not_fit_refuses_whatever_the_rules_say() {
    use policy::Action::{Play, Publish};
    let now = any_instant();
    let server = server(VhostConfig::default(), now);
    let issued = [Play, Publish].map(|action| server.passes().issue(action, &key("cam")));
    let [play, publish] = issued.each_ref().map(|issued| issued.text().to_owned());
    let late = server.passes().issue(Play, &key("cam")).text().to_owned();
    let other_server = Core::new(Config::default(), [8; 32]);
    let of_other = other_server.passes().issue(Play, &key("cam"));
    let other = of_other.text().to_owned();
    for (address, action, stream, pass, fits) in [
        (LOOPBACK, Play, "cam", play.as_str(), true),
        ("[::1]:4000", Play, "cam", play.as_str(), true),
        ("[::ffff:127.0.0.2]:4000", Play, "cam", play.as_str(), true),
        ("192.0.2.1:4000", Play, "cam", play.as_str(), false),
        (LOOPBACK, Publish, "cam", play.as_str(), false),
        (LOOPBACK, Play, "door", play.as_str(), false),
        (LOOPBACK, Play, "cam", publish.as_str(), false),
        (LOOPBACK, Play, "cam", late.as_str(), false),
        (LOOPBACK, Play, "cam", other.as_str(), false),
        (LOOPBACK, Play, "cam", "1-2-3", false),
        (LOOPBACK, Play, "cam", "", true),
    ] {
        let conn = server.connect_from(now, address.parse().expect("an address"));
        let mut client = ask(conn, now, action, stream, pass);
        assert_eq!(is_granted(&mut client), fits, "{address} {action} {stream} {pass}");
        let refused = client.actions.iter().find_map(|action| match action {
            Action::Remark(anabranch_core::conn::Remark::Refused(refused)) => Some(refused.code),
            _ => None,
        });
        assert_eq!(refused, (!fits).then_some("pass_invalid"), "{address} {action} {stream} {pass}");
    }
    // An address that is not known is not on loopback.
    assert!(!is_granted(&mut ask(server.connect(now), now, Play, "cam", &play)));
}

#[test]
fn a_name_that_is_taken_stays_taken_and_a_draining_server_grants_nothing() {
    let now = any_instant();
    let server =
        server(VhostConfig { conflict: anabranch_core::hub::Conflict::TakeOver, ..VhostConfig::default() }, now);
    let issued = server.passes().issue(policy::Action::Publish, &key("cam"));
    let pass = issued.text();
    let conn = || server.connect_from(now, LOOPBACK.parse().expect("an address"));
    let mut first = ask(conn(), now, policy::Action::Publish, "cam", pass);
    assert!(is_granted(&mut first));
    let mut second = ask(conn(), now, policy::Action::Publish, "cam", pass);
    assert!(second.take_words().iter().any(|word| word.ends_with("BadName")));
    drop(first);
    server.drain();
    let other = server.passes().issue(policy::Action::Publish, &key("door"));
    assert!(!is_granted(&mut ask(conn(), now, policy::Action::Publish, "door", other.text())));
}

/// A connection that goes makes room; the end of the pass leaves those alone that have begun.
#[test]
fn a_pass_is_for_a_few_connections_at_a_time_and_ends_with_its_program() {
    let now = any_instant();
    let server = server(VhostConfig::default(), now);
    let issued = server.passes().issue(policy::Action::Play, &key("cam"));
    let pass = issued.text().to_owned();
    let conn = || server.connect_from(now, LOOPBACK.parse().expect("an address"));
    let mut clients = Vec::new();
    let ask_again = |clients: &mut Vec<Client>| {
        let mut client = ask(conn(), now, policy::Action::Play, "cam", &pass);
        let granted = is_granted(&mut client);
        if granted {
            clients.push(client);
        }
        granted
    };
    let granted = (0..20).filter(|_| ask_again(&mut clients)).count();
    assert_eq!((granted, issued.connections().len()), (8, 8));
    clients.remove(0);
    assert!(ask_again(&mut clients) && !ask_again(&mut clients));
    drop(issued);
    clients.remove(0);
    assert!(!ask_again(&mut clients), "it is over");
    for client in &mut clients {
        client.serve(now);
        assert!(client.report.is_none());
    }
}

/// Back ends, and servers that the stream is pushed to, get the parameters.
#[test]
fn a_pass_leaves_the_server_nowhere() {
    let now = any_instant();
    let server = server(VhostConfig::default(), now);
    for action in [policy::Action::Publish, policy::Action::Play] {
        let issued = server.passes().issue(action, &key("cam"));
        let conn = server.connect_from(now, LOOPBACK.parse().expect("an address"));
        let mut client = ask(conn, now, action, "cam", issued.text());
        assert!(is_granted(&mut client));
        let attached = client.actions.iter().find_map(|action| match action {
            Action::Attach(attachment) => Some(attachment.params.clone()),
            _ => None,
        });
        assert_eq!(attached.as_deref(), Some("?vhost=here.example"));
        let facts = client.conn.facts();
        assert_eq!(
            (facts.params.as_str(), facts.tc_url.as_deref()),
            ("?vhost=here.example", Some("rtmp://127.0.0.1/live?vhost=here.example"))
        );
    }
}

/// A file in memory.
#[derive(Debug, Clone)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Tap for Buffer {
    fn record(&mut self, record: &[u8]) {
        self.0.lock().expect("no panic").extend_from_slice(record);
    }
}

/// A replay has no key to check passes with. The capture has what came of them.
#[test]
fn a_connection_with_a_pass_can_be_replayed() {
    let asking = || VhostConfig {
        asks: Asks { connect: true, publish: true, play: true, ..Asks::default() },
        ..VhostConfig::default()
    };
    for stream in ["cam", "door"] {
        let now = any_instant();
        let server = server(asking(), now);
        let issued = server.passes().issue(policy::Action::Publish, &key("cam"));
        let buffer = Buffer(Arc::new(Mutex::new(file_header("test"))));
        let peer = Some(LOOPBACK.parse().expect("an address"));
        let conn = server.connect_captured(now, peer, Box::new(buffer.clone()));
        let mut client = ask(conn, now, policy::Action::Publish, stream, issued.text());
        assert_eq!(is_granted(&mut client), stream == "cam");
        client.conn.handle_disconnect(now, anabranch_core::session::CloseReason::PeerClosed);
        client.serve(now);
        let file = buffer.0.lock().expect("no panic").clone();
        let capture = Capture::parse(file).expect("a capture");
        let outcome = replay::run(&capture, &config(asking()), any_instant() + Duration::from_secs(9), &mut |_| {});
        assert_eq!(outcome.difference, None, "{stream}");
    }
}
