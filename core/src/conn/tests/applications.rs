//! Settings for some streams of a virtual host, and streams that a back end gives another name.

use super::*;
use crate::command::Command;
use crate::hub::Conflict;
use crate::policy::{self, Application, Applications, Limits, Refer, Secret, Security, Token, TokenScope};
use crate::url::DEFAULT_VHOST;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn rules(text: &str) -> Security {
    text.parse().expect("rules")
}

fn one(pattern: &str, settings: VhostConfig) -> Application<VhostConfig> {
    Application { streams: vec![pattern.parse().expect("a pattern")], settings }
}

/// What an application has other than its server.
type Change = fn(&mut VhostConfig);

/// A server with these applications, for which each changes the settings of the server.
fn config(base: &VhostConfig, changes: &[(&str, Change)]) -> Config {
    let applications = changes.iter().map(|(pattern, change)| {
        let mut settings = base.clone();
        change(&mut settings);
        one(pattern, settings)
    });
    VhostConfig { applications: Applications::new(applications), ..base.clone() }.into()
}

/// A client of an app that has asked for a stream.
fn wants(harness: &Harness, peer: &str, app: &str, page: &str, request: &[u8]) -> Client {
    let tc_url = format!("rtmp://h/{app}");
    let object = Object::default().with("app", app).with("tcUrl", tc_url.as_str()).with("pageUrl", page);
    let mut client = harness.client_from(Some(address(peer)), object);
    client.send(harness, &[&peer::create_stream(2.0), request].concat());
    client.received = receive(&mut client, harness);
    client
}

fn publishes(harness: &Harness, app: &str, name: &str) -> Client {
    wants(harness, "192.0.2.1:1", app, "", &peer::publish(1, name))
}

fn plays(harness: &Harness, app: &str, name: &str) -> Client {
    wants(harness, "192.0.2.1:1", app, "", &peer::play(1, name))
}

/// What a client receives, with the words of refusals.
fn receive(client: &mut Client, harness: &Harness) -> Vec<String> {
    let messages = client.messages(harness);
    messages.iter().map(|message| format!("{} {}", peer::line(message), description(message))).collect()
}

fn description(message: &crate::message::Message) -> String {
    let command = Command::parse(message.type_id, &message.payload, &crate::amf::Limits::default());
    let object = command.ok().and_then(|command| command.arguments.into_iter().next());
    match object
        .as_ref()
        .and_then(|value| if let Value::Object(object) = value { object.get("description") } else { None })
    {
        Some(Value::String(text)) => text.to_string_lossy().into_owned(),
        _ => String::new(),
    }
}

fn answer(client: &mut Client, harness: &Harness, verdict: Verdict) -> Vec<String> {
    let ask = client.asked.last().expect("something was asked");
    client.conn.answer(harness.now, ask.id, verdict);
    receive(client, harness)
}

const STARTED: &str = "NetStream.Publish.Start";
const PLAYED: &str = "NetStream.Play.Start";

#[test]
fn each_stream_has_the_rules_of_its_application() {
    let base = VhostConfig { security: rules("deny publish all; deny play all"), ..VhostConfig::default() };
    let harness = Harness::with(config(
        &base,
        &[
            ("ingest/door", |settings| settings.security = rules("deny publish all")),
            ("ingest/*", |settings| settings.security = rules("allow publish 192.0.2.0/24; deny play all")),
            ("web/*", |settings| {
                settings.security = Security::default();
                settings.refer = Refer { play: vec!["example.com".parse().expect("a host")], ..Refer::default() };
            }),
            ("signed/*", |settings| {
                settings.security = Security::default();
                let secrets = vec![Secret::new("a secret of this application").expect("long enough")];
                settings.token = Some(Token { secrets, required_for: TokenScope::Both });
            }),
        ],
    ));
    let (good, bad) = ("192.0.2.1:1", "198.51.100.1:1");
    for (peer, app, page, publish, name, words) in [
        (good, "other", "", true, "cam", "your address may not publish"),
        (good, "other", "", false, "cam", "your address may not play"),
        (good, "ingest", "", true, "cam", STARTED),
        (bad, "ingest", "", true, "cam2", "your address is not among those that may publish"),
        (good, "ingest", "", false, "cam", "your address may not play"),
        // The first that matches holds.
        (good, "ingest", "", true, "door", "your address may not publish"),
        (good, "ingest", "", false, "door", PLAYED),
        (bad, "web", "", true, "cam", STARTED),
        (bad, "web", "", false, "cam", "web page may not play"),
        (bad, "web", "http://www.example.com/x", false, "cam", PLAYED),
        (good, "signed", "", true, "cam", "the URL must be signed"),
    ] {
        let request = if publish { peer::publish(1, name) } else { peer::play(1, name) };
        let client = wants(&harness, peer, app, page, &request);
        assert!(contains(&client.received, words), "{app}/{name} {publish}: {:?}", client.received);
    }
}

#[test]
fn an_application_has_places_within_those_of_its_virtual_host() {
    let limits = Limits { players: Some(3), stream_players: Some(1), ..Limits::default() };
    let base = VhostConfig { limits, ..VhostConfig::default() };
    let harness = Harness::with(config(
        &base,
        &[("live/*", |settings| {
            settings.limits =
                Limits { players: Some(2), publishers: Some(1), stream_players: Some(2), ..settings.limits };
        })],
    ));
    let counts = || {
        let vhost = harness.server.vhosts().remove(0);
        let [application] = &vhost.applications[..] else { panic!("{vhost:?}") };
        assert_eq!(&*application.name, "live/*");
        ([vhost.publishers, vhost.players], [application.publishers, application.players, application.streams])
    };
    let mut publisher = publishes(&harness, "live", "cam");
    assert!(contains(&publishes(&harness, "live", "cam2").received, "too many publishers"));
    let other = publishes(&harness, "other", "cam");
    assert!(contains(&other.received, STARTED), "{:?}", other.received);
    // The application allows a stream more players than the virtual host does.
    let mut players: Vec<_> = (0..2).map(|_| plays(&harness, "live", "cam")).collect();
    assert!(players.iter().all(|player| contains(&player.received, PLAYED)));
    assert!(contains(&plays(&harness, "live", "cam2").received, "too many players"));
    let third = plays(&harness, "other", "cam");
    assert!(contains(&third.received, PLAYED), "{:?}", third.received);
    assert!(contains(&plays(&harness, "other", "cam").received, "too many players"), "the host is full, too");
    assert_eq!(counts(), ([2, 3], [1, 2, 1]));
    publisher.disconnect(&harness);
    players.iter_mut().for_each(|player| player.disconnect(&harness));
    drop((publisher, players));
    assert_eq!(counts(), ([1, 1], [0, 0, 0]));
}

#[test]
fn a_question_is_asked_if_the_application_says_so() {
    let harness = Harness::with(config(
        &VhostConfig::default(),
        &[("live/*", |settings| {
            settings.asks = Asks { publish: true, play: true, ..Asks::default() };
        })],
    ));
    let mut asked = publishes(&harness, "live", "cam");
    assert_eq!(asked.actions(), ["ask"]);
    assert!(contains(&answer(&mut asked, &harness, Verdict::Allow), STARTED));
    let free = publishes(&harness, "other", "cam");
    assert!(contains(&free.received, STARTED), "{:?}", free.received);
}

#[test]
fn the_settings_of_an_application_apply_to_its_streams_and_their_sessions() {
    let mut harness = Harness::with(config(
        &VhostConfig::default(),
        &[
            ("live/small/*", |settings| {
                settings.source.bytes = 1000;
                settings.session.timeouts.next_message = Duration::from_secs(2);
            }),
            ("live/quick/*", |settings| settings.session.timeouts.next_message = Duration::from_secs(1)),
        ],
    ));
    let frame = [peer::key_frame(1), vec![7; 900]].concat();
    let mut small = publishes(&harness, "live", "small/cam");
    small.send(&harness, &[peer::video(0, &frame), peer::video(40, &frame)].concat());
    let held = harness.server.hub().streams().remove(0);
    assert_eq!(held.group.as_deref(), Some("live/small/*"));
    assert!(held.log_bytes < 1500, "one frame is dropped: {}", held.log_bytes);
    small.run(&mut harness, Duration::from_millis(1500));
    assert!(small.closed.is_none());
    small.run(&mut harness, Duration::from_millis(1000));
    small.receive(&harness);
    let reason = |client: &Client| client.closed.as_ref().map(|report| report.close.reason.name());
    assert_eq!(reason(&small), Some("next_message_timeout"));
    // With streams of two applications, the strictest settings apply.
    let mut both = publishes(&harness, "live", "small/cam");
    both.send(&harness, &[peer::create_stream(3.0), peer::publish(2, "quick/cam"), peer::video(0, &frame)].concat());
    both.run(&mut harness, Duration::from_millis(1500));
    both.receive(&harness);
    assert_eq!(reason(&both), Some("next_message_timeout"));
}

#[test]
fn after_a_reload_streams_are_in_the_application_of_their_name_then() {
    let harness = Harness::with(config(&VhostConfig::default(), &[("a/*", |_| {})]));
    let (mut publisher, mut player) = (publishes(&harness, "a", "cam"), plays(&harness, "a", "cam"));
    let group = || harness.server.hub().streams().remove(0).group;
    assert_eq!(group().as_deref(), Some("a/*"));
    harness.server.reconfigure(config(
        &VhostConfig::default(),
        &[("*/cam", |settings| {
            settings.security = rules("deny play all");
            settings.limits.publishers = Some(0);
        })],
    ));
    for client in [&mut publisher, &mut player] {
        client.conn.reconfigured();
        client.poll(&harness);
    }
    assert_eq!(group().as_deref(), Some("*/cam"));
    let reasons = [&publisher, &player].map(|client| client.closed.as_ref().map(|report| report.close.reason.name()));
    assert_eq!(reasons, [None, Some("security_denied")], "the lower limit closes no publisher");
    let counted = harness.server.vhosts().remove(0).applications.remove(0);
    assert_eq!((counted.publishers, counted.players, counted.streams), (1, 0, 1));
    harness.server.reconfigure(Config::default());
    publisher.conn.reconfigured();
    assert_eq!(group(), None);
    publisher.disconnect(&harness);
    assert!(harness.server.hub().streams().is_empty());
}

/// The back end's notices of the end, with the stream names in them.
fn notices(client: &Client) -> Vec<String> {
    let name = |notice: &Notice| match &notice.subject {
        Subject::Publish(facts) | Subject::Play(facts) => facts.key.path().to_owned(),
        other => format!("{other:?}"),
    };
    client.notices.iter().map(name).collect()
}

fn asking() -> VhostConfig {
    VhostConfig {
        asks: Asks { connect: false, publish: true, play: true, ..Asks::default() },
        ..VhostConfig::default()
    }
}

#[test]
fn a_stream_is_granted_under_the_name_that_the_back_end_gives() {
    let harness = Harness::with(asking().into());
    let mut publisher = publishes(&harness, "live", "secret-key");
    assert!(contains(&answer(&mut publisher, &harness, Verdict::Rename("room/cam".to_owned())), STARTED));
    let names: Vec<_> = harness.server.hub().streams().iter().map(|stream| stream.key.path().to_owned()).collect();
    assert_eq!(names, ["live/room/cam"]);
    let mut player = plays(&harness, "live", "anything");
    assert!(contains(&answer(&mut player, &harness, Verdict::Rename("room/cam".to_owned())), PLAYED));
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    assert!(player.receive(&harness).len() >= 6);
    // The name is taken, by whatever name it is asked for; the back end gets a notice of the end.
    let mut second = publishes(&harness, "live", "other-key");
    assert!(contains(
        &answer(&mut second, &harness, Verdict::Rename("room/cam".to_owned())),
        "NetStream.Publish.BadName"
    ));
    assert_eq!(notices(&second), ["live/other-key"]);
    publisher.disconnect(&harness);
    assert_eq!(notices(&publisher), ["live/secret-key"]);
    assert_eq!((publisher.asked.len(), player.asked.len()), (1, 1), "nothing is asked about the new name");
}

#[test]
fn a_new_name_that_rules_refuse_is_refused() {
    let secret = || Secret::new("a secret of this application").expect("long enough");
    let harness = Harness::with(config(
        &asking(),
        &[
            ("live/denied/*", |settings| settings.security = rules("deny publish all")),
            ("live/page/*", |settings| {
                settings.refer = Refer { all: vec!["example.com".parse().expect("a host")], ..Refer::default() };
            }),
            ("live/full/*", |settings| settings.limits.publishers = Some(0)),
            ("live/signed/*", |settings| {
                let secrets = vec![Secret::new("a secret of this application").expect("long enough")];
                settings.token = Some(Token { secrets, required_for: TokenScope::Both });
            }),
            ("live/taken/*", |settings| settings.conflict = Conflict::TakeOver),
        ],
    ));
    harness.server.set_clock(harness.now, 1000);
    for (name, words) in [
        ("denied/cam", "your address may not publish"),
        ("page/cam", "web page may not publish"),
        ("full/cam", "too many publishers"),
        ("signed/cam", "the URL must be signed"),
        ("", "stream"),
        ("a/..", "stream"),
        ("a\nb", "stream"),
    ] {
        let mut client = publishes(&harness, "live", "key");
        let received = answer(&mut client, &harness, Verdict::Rename(name.to_owned()));
        assert!(contains(&received, words), "{name:?}: {received:?}");
        assert_eq!(notices(&client), ["live/key"], "the back end had granted it");
        client.disconnect(&harness);
    }
    // A URL that is signed for either name is enough.
    for signed in ["key", "signed/cam"] {
        let key = crate::url::StreamKey::new(DEFAULT_VHOST, "live", "key").and_then(|key| key.with_stream(signed));
        let token = policy::sign(&secret(), policy::Action::Publish, &key.expect("a name"), 2000);
        let mut client = publishes(&harness, "live", &format!("key?expires=2000&token={token}"));
        let received = answer(&mut client, &harness, Verdict::Rename("signed/cam".to_owned()));
        assert!(contains(&received, STARTED), "{signed}: {received:?}");
        client.disconnect(&harness);
    }
    // Credentials are those of the application of the new name.
    let mut first = publishes(&harness, "live", "one?token=same");
    assert!(contains(&answer(&mut first, &harness, Verdict::Rename("taken/cam".to_owned())), STARTED));
    let mut second = publishes(&harness, "live", "two?token=same");
    assert!(contains(&answer(&mut second, &harness, Verdict::Rename("taken/cam".to_owned())), STARTED));
}

#[test]
fn a_connect_gets_the_app_that_the_back_end_gives() {
    let asks = Asks { connect: true, ..Asks::default() };
    let harness = Harness::with(VhostConfig { asks, ..VhostConfig::default() }.into());
    let connects = || {
        let object = Object::default().with("app", "trial?x=1").with("tcUrl", "rtmp://h/trial?x=1");
        harness.client_from(None, object)
    };
    let mut client = connects();
    assert!(contains(
        &answer(&mut client, &harness, Verdict::Rename("live/room".to_owned())),
        "NetConnection.Connect.Success"
    ));
    client.send(&harness, &[peer::create_stream(2.0), peer::publish(1, "cam")].concat());
    assert!(contains(&client.receive(&harness), STARTED));
    assert_eq!(harness.server.hub().streams()[0].key.path(), "live/room/cam");
    assert_eq!((client.conn.facts().app.as_str(), client.conn.facts().params.as_str()), ("live/room", "?x=1"));
    for wrong in ["", "/", "a/..", "live?x=1"] {
        let mut client = connects();
        let received = answer(&mut client, &harness, Verdict::Rename(wrong.to_owned()));
        assert!(contains(&received, "NetConnection.Connect.Rejected"), "{wrong:?}: {received:?}");
        assert_eq!(client.notices.len(), 1);
    }
}
