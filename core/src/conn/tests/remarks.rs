//! What an operator learns of clients that are refused, wait or are slow.

use super::*;
use crate::hub::{Conflict, HeldBy, Switched};
use crate::policy::{Limits, Rate, Refusal, Vhost, Vhosts};

fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().expect("an address"))
}

fn at(host: &str) -> Object {
    Object::default().with("app", "live?secret=x").with("tcUrl", format!("rtmp://{host}/live?secret=x"))
}

/// The only remark about a client, which is a refusal.
fn refused(client: &Client) -> &Refused {
    match client.remarks.as_slice() {
        [Remark::Refused(refused)] => refused,
        other => panic!("one refusal: {other:?}"),
    }
}

#[test]
fn a_name_that_is_taken_is_reported_with_the_connection_that_has_it() {
    let harness = Harness::new();
    let mut first = harness.client_from(address("192.0.2.1:1"), at("h"));
    first.send(&harness, &peer::publish(0, "cam"));
    first.receive(&harness);
    assert_eq!(first.remarks, []);
    let mut second = harness.client_from(address("192.0.2.2:2"), at("h"));
    second.send(&harness, &peer::publish(0, "cam?token=secret"));
    let received = second.receive(&harness);
    assert!(contains(&received, "NetStream.Publish.BadName"), "{received:?}");
    let refused = refused(&second);
    assert_eq!(
        (refused.code, refused.request, refused.status),
        ("name_taken", Requested::Publish, "NetStream.Publish.BadName")
    );
    assert_eq!((&*refused.app, &*refused.stream, refused.peer), ("live", "cam", address("192.0.2.2:2")));
    assert_eq!(refused.told, "Stream cam is already being published.");
    let connection = first.conn.id();
    assert_eq!(refused.holder, Some(HeldBy::Client { connection, address: address("192.0.2.1:1") }));
    let text = refused.to_string();
    assert!(
        text.starts_with("refused (name_taken, held by conn 1): publish of live/cam; told: \"Stream cam "),
        "{text}"
    );
    assert!(!text.contains("secret") && !text.contains("192.0.2"), "{text}");
    second.disconnect(&harness);
    let report = second.closed.expect("over");
    assert_eq!((report.refused, &*report.vhost), (Some("name_taken"), "__defaultVhost__"));
    assert_eq!(report.close.outcome(), crate::session::Outcome::Refused);
}

#[test]
fn the_program_itself_may_have_the_name() {
    let harness = Harness::new();
    let _ours = harness.server.publish("live/cam").expect("the name is free");
    let client = harness.asks_to_publish("cam");
    assert_eq!(refused(&client).holder, Some(HeldBy::Program));
}

#[test]
fn every_refusal_names_what_was_asked_for() {
    let limits = Limits { players: Some(0), ..Limits::NONE };
    let vhosts = [
        crate::policy::Vhost::new("known.example", VhostConfig::default()),
        crate::policy::Vhost { enabled: false, ..crate::policy::Vhost::new("off.example", VhostConfig::default()) },
        crate::policy::Vhost::new("full.example", VhostConfig { limits, ..VhostConfig::default() }),
    ];
    let vhosts = crate::policy::Vhosts::new(vhosts).expect("names");
    let harness = Harness::with(Config { vhosts, ..Config::default() });
    let long = "x".repeat(1000);
    for (host, request, code, names) in [
        ("nowhere.example", &[][..], "vhost_unknown", ["nowhere.example", "live", ""]),
        ("off.example", &[], "vhost_disabled", ["off.example", "live", ""]),
        ("full.example", &peer::play(0, "cam?secret=x"), "limit_players", ["full.example", "live", "cam"]),
        ("known.example", &peer::play(0, "..?secret=x"), "name_invalid", ["known.example", "live", ".."]),
        (
            "known.example",
            &peer::publish(0, "cam?vhost=other.example&secret=x"),
            "vhost_unknown",
            ["other.example", "live", "cam"],
        ),
        ("full.example", &peer::play(0, &long), "limit_players", ["full.example", "live", &long]),
    ] {
        let mut client = harness.client_from(None, at(host));
        client.send(&harness, request);
        client.receive(&harness);
        let refused = refused(&client);
        assert_eq!(refused.code, code);
        let shown = [&*refused.vhost, &*refused.app, &*refused.stream];
        let names = names.map(|name| if name.len() > 256 { format!("{}...", &name[..256]) } else { name.to_owned() });
        assert_eq!(shown, names.each_ref().map(String::as_str));
        assert!(!format!("{refused:?}").contains("secret"), "{refused:?}");
        client.disconnect(&harness);
        assert_eq!(client.closed.expect("over").refused, Some(code));
    }
}

#[test]
fn a_client_that_a_rule_ends_is_reported_too() {
    let rate = Rate { bytes_per_second: 100, window: Duration::from_secs(10) };
    let limits = Limits { publisher_rate: Some(rate), ..Limits::NONE };
    let harness = Harness::with(VhostConfig { limits, ..VhostConfig::default() }.into());
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &peer::video(0, &[0x17; 2000]));
    publisher.receive(&harness);
    let its = refused(&publisher);
    assert_eq!((its.code, its.request, &*its.stream), (Refusal::LimitBitrate.code(), Requested::Publish, "cam"));

    let mut player = harness.player("cam");
    player.receive(&harness);
    player.remarks.clear();
    let security = "deny play all".parse().expect("a rule");
    harness.server.reconfigure(VhostConfig { security, ..VhostConfig::default() }.into());
    player.conn.reconfigured();
    player.receive(&harness);
    let its = refused(&player);
    assert_eq!((its.request, &*its.stream, &*its.told), (Requested::Play, "cam", ""), "it gets no words");
}

#[test]
fn a_takeover_is_reported_with_the_connection_before() {
    let harness = Harness::with(VhostConfig { conflict: Conflict::TakeOver, ..VhostConfig::default() }.into());
    let first = harness.publisher("cam?token=same");
    let second = harness.publisher("cam?token=same");
    let key = StreamKey::new(crate::url::DEFAULT_VHOST, "live", "cam").expect("a name");
    let from = HeldBy::Client { connection: first.conn.id(), address: None };
    assert_eq!(second.remarks, [Remark::TookOver { key, from }]);
}

#[test]
fn a_backup_is_granted_and_reported_when_it_is_ready_and_when_it_is_on_air() {
    let mut harness = Harness::with(VhostConfig { conflict: Conflict::Backup, ..VhostConfig::default() }.into());
    let mut first = harness.publisher("cam");
    first.send(&harness, &[headers(), gop(0, 3)].concat());
    let mut player = harness.player("cam");
    player.receive(&harness);
    let mut second = harness.publisher("cam");
    assert_eq!(second.actions(), ["attach backup publisher of live/cam", "wake"]);
    second.send(&harness, &[headers(), gop(0, 3)].concat());
    assert_eq!(second.actions(), [""; 0], "players are not woken for what stands by");
    let key = StreamKey::new(crate::url::DEFAULT_VHOST, "live", "cam").expect("a name");
    let held = |client: &Client| Some(HeldBy::Client { connection: client.conn.id(), address: None });
    let ready = Remark::BackupReady { key: key.clone(), on_air: held(&first) };
    assert_eq!(second.remarks, std::slice::from_ref(&ready));
    harness.pass(Duration::from_millis(40));
    let before = held(&first);
    first.disconnect(&harness);
    let told = player.receive(&harness);
    assert!(told.iter().all(|line| !line.contains("UnpublishNotify") && !line.contains("StreamEOF")), "{told:?}");
    assert!(!told.is_empty(), "it gets the key frame of the backup");
    second.send(&harness, &peer::video(120, &peer::inter_frame(4)));
    let switched = Remark::Switched { key, because: Switched::Lost, before };
    assert_eq!(second.remarks, [ready, switched]);
    assert_eq!(second.actions(), ["wake"]);
    assert!(player.remarks.is_empty(), "{:?}", player.remarks);
}

#[test]
fn a_backup_that_sends_nothing_tells_at_once_that_it_is_on_air_and_also_if_it_leaves_then() {
    use crate::relay::Order;
    for leaves in [false, true] {
        let mut harness = Harness::with(VhostConfig { conflict: Conflict::Backup, ..VhostConfig::default() }.into());
        let mut first = harness.publisher("cam");
        first.send(&harness, &[headers(), gop(0, 3)].concat());
        let mut second = harness.publisher("cam");
        second.send(&harness, &[headers(), gop(0, 3)].concat());
        harness.pass(Duration::from_millis(40));
        first.disconnect(&harness);
        let polled = |order: &Order| *order == Order::Poll { connection: second.conn.id() };
        let orders = std::iter::from_fn(|| Some(harness.server.relays().poll(harness.now)));
        let orders: Vec<_> = orders.take_while(|order| !matches!(order, Order::Wait(_))).collect();
        assert!(orders.iter().any(polled), "{orders:?}");
        if leaves {
            second.disconnect(&harness);
        } else {
            second.poll(&harness);
        }
        let switched = |remark: &Remark| matches!(remark, Remark::Switched { because: Switched::Lost, .. });
        assert_eq!(second.remarks.iter().filter(|remark| switched(remark)).count(), 1, "{:?}", second.remarks);
    }
}

#[test]
fn a_backup_that_is_on_air_and_leaves_tells_this_in_that_order() {
    let mut harness = Harness::with(VhostConfig { conflict: Conflict::Backup, ..VhostConfig::default() }.into());
    let [mut first, mut second] = ["cam"; 2].map(|name| harness.publisher(name));
    for client in [&mut first, &mut second] {
        client.send(&harness, &[headers(), gop(0, 3)].concat());
    }
    harness.pass(Duration::from_millis(40));
    first.disconnect(&harness);
    second.conn.handle_disconnect(harness.now, CloseReason::PeerClosed);
    let mut told = Vec::new();
    loop {
        match second.conn.poll(harness.now) {
            Output::Action(Action::Remark(remark)) => told.push(remark.name()),
            Output::Action(Action::Detach { .. }) => told.push("detach"),
            Output::Action(_) => {}
            Output::Wait(wait) => panic!("{wait:?}"),
            Output::Closed(_) => break,
        }
    }
    assert_eq!(told, ["backup_took_over", "detach"]);
}

#[test]
fn a_player_that_waits_is_reported_and_once_more_when_the_stream_begins() {
    let mut harness = Harness::new();
    let mut player = harness.player("cam");
    player.receive(&harness);
    let [Remark::Waits(key)] = player.remarks.as_slice() else { panic!("{:?}", player.remarks) };
    assert_eq!(key.stream(), "cam");
    player.run(&mut harness, Duration::from_secs(3));
    assert_eq!(player.remarks.len(), 1, "{:?}", player.remarks);
    let mut publisher = harness.publisher("cam");
    player.poll(&harness);
    assert_eq!(player.remarks.len(), 1, "the stream has no frame yet");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    player.receive(&harness);
    let [_, Remark::Began { waited, .. }] = player.remarks.as_slice() else { panic!("{:?}", player.remarks) };
    assert_eq!(*waited, Duration::from_secs(3));
    publisher.disconnect(&harness);
    // It takes the notice that the stream is over, and the pings.
    let mut waits = |player: &mut Client, seconds: u64| {
        for _ in 0..seconds {
            player.receive(&harness);
            player.run(&mut harness, Duration::from_secs(1));
        }
        assert!(player.closed.is_none(), "{:?}", player.closed);
    };
    waits(&mut player, 56);
    assert_eq!(player.remarks.len(), 2, "it was reported less than a minute ago: {:?}", player.remarks);
    waits(&mut player, 4);
    let [_, _, Remark::WaitsAgain(again)] = player.remarks.as_slice() else { panic!("{:?}", player.remarks) };
    assert_eq!(again.stream(), "cam");
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    player.receive(&harness);
    let [.., Remark::Began { waited, .. }] = player.remarks.as_slice() else { panic!("{:?}", player.remarks) };
    assert_eq!(*waited, Duration::from_secs(60), "since the publisher left");
    for _ in 0..20 {
        publisher.disconnect(&harness);
        player.receive(&harness);
        publisher = harness.publisher("cam");
        publisher.send(&harness, &[headers(), gop(0, 1)].concat());
        player.receive(&harness);
    }
    assert_eq!(player.remarks.len(), 4, "a publisher that comes and goes has no line for each time");
    publisher.disconnect(&harness);
    let mut late = harness.player("cam");
    late.receive(&harness);
    assert_eq!(late.remarks.len(), 1, "another player waits");
    let publisher = harness.publisher("cam");
    let mut present = harness.player("cam");
    present.receive(&harness);
    assert_eq!(present.remarks, [], "the stream has a publisher");
    drop(publisher);
}

#[test]
fn a_player_that_takes_nothing_is_slow_after_a_while() {
    let mut harness = Harness::with(VhostConfig { high_water: 1000, ..VhostConfig::default() }.into());
    let mut publisher = harness.publisher("cam");
    let mut player = harness.player("cam");
    player.receive(&harness);
    publisher.send(&harness, &headers());
    for number in 0..20 {
        publisher.send(&harness, &gop(u32::from(number) * 100, number));
    }
    player.remarks.clear();
    player.poll(&harness);
    player.run(&mut harness, Duration::from_millis(4900));
    assert_eq!(player.remarks, []);
    player.run(&mut harness, Duration::from_millis(200));
    let [Remark::Slow { missed, behind, .. }] = player.remarks.as_slice() else { panic!("{:?}", player.remarks) };
    assert!(missed.frames == 0 && *behind > 0, "{behind}");
    player.run(&mut harness, Duration::from_secs(10));
    assert_eq!(player.remarks.len(), 1);
    // It takes all, and has missed nothing.
    player.receive(&harness);
    player.run(&mut harness, Duration::from_secs(11));
    let [_, Remark::KeepsUp { missed, .. }] = player.remarks.as_slice() else { panic!("{:?}", player.remarks) };
    assert_eq!(missed.frames, 0);
}

#[test]
fn a_player_that_misses_frames_is_slow_until_it_missed_nothing_for_a_while() {
    let mut config = Config::from(VhostConfig { high_water: 1000, ..VhostConfig::default() });
    config.defaults.source.milliseconds = 100;
    let mut harness = Harness::with(config);
    let mut publisher = harness.publisher("cam");
    let mut player = harness.player("cam");
    player.receive(&harness);
    player.remarks.clear();
    let mut missed_so_far = 0;
    for round in 0..3u8 {
        for number in 0..30 {
            publisher.send(&harness, &gop((u32::from(round) * 30 + u32::from(number)) * 100, number));
            publisher.poll(&harness);
        }
        player.receive(&harness);
        harness.pass(Duration::from_secs(1));
        let missed = player.conn.inner().stats.missed().frames;
        assert!(round == 0 || missed > missed_so_far, "it missed more");
        missed_so_far = missed;
    }
    let slow = |remark: &Remark| matches!(remark, Remark::Slow { missed, .. } if missed.frames > 0);
    assert!(matches!(player.remarks.as_slice(), [one] if slow(one)), "once, while it is slow: {:?}", player.remarks);
    player.run(&mut harness, Duration::from_secs(12));
    let [_, Remark::KeepsUp { missed, time, .. }] = player.remarks.as_slice() else { panic!("{:?}", player.remarks) };
    assert_eq!(missed.frames, missed_so_far);
    assert!(*time >= Duration::from_secs(11), "{time:?}");
}

#[test]
fn a_pause_does_not_make_a_player_slow() {
    let mut config = Config::from(VhostConfig::default());
    config.defaults.source.milliseconds = 100;
    let harness = Harness::with(config);
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let mut player = harness.player("cam");
    player.receive(&harness);
    player.send(&harness, &peer::command("pause", 0.0, 1, &[true.into(), 0.0.into()]));
    for number in 1..30 {
        publisher.send(&harness, &gop(u32::from(number) * 100, number));
    }
    player.send(&harness, &peer::command("pause", 0.0, 1, &[false.into(), 0.0.into()]));
    player.receive(&harness);
    assert!(player.conn.inner().stats.missed().frames > 0);
    assert_eq!(player.remarks, []);
}

#[test]
fn a_host_that_no_virtual_host_has_is_reported() {
    let vhosts = |names: &[&str]| {
        let vhosts = names.iter().map(|name| Vhost::new(*name, VhostConfig::default()));
        Harness::with(Config { vhosts: Vhosts::new(vhosts).expect("names"), ..Config::default() })
    };
    let unknown = |harness: &Harness, host: &str, name: &str| {
        let mut client = harness.client_from(None, at(host));
        client.send(harness, &peer::publish(0, name));
        client.hosts.pop().expect("it publishes")
    };
    let harness = vhosts(&["__defaultVhost__", "tv.example"]);
    assert_eq!(unknown(&harness, "nosuch.example", "a").as_deref(), Some("nosuch.example"));
    assert_eq!(unknown(&harness, "tv.example", "b?vhost=other.example").as_deref(), Some("other.example"));
    for (host, name) in
        [("tv.example", "c"), ("192.0.2.7", "d"), ("[2001:db8::1]", "e"), ("nosuch.example", "f?vhost=tv.example")]
    {
        assert_eq!(unknown(&harness, host, name), None, "{host} {name}");
    }
    assert_eq!(unknown(&vhosts(&["__defaultVhost__"]), "nosuch.example", "a"), None, "all hosts are meant for it");
    assert_eq!(unknown(&vhosts(&[]), "nosuch.example", "a"), None);
    let mut holder = harness.client_from(None, at("nosuch.example"));
    holder.send(&harness, &peer::publish(0, "a"));
    let mut refused_client = harness.client_from(None, at("nosuch.example"));
    refused_client.send(&harness, &peer::publish(0, "a"));
    refused_client.receive(&harness);
    let its = refused(&refused_client);
    assert_eq!(its.unknown_host.as_deref(), Some("nosuch.example"));
    assert_eq!(its.asked().to_string(), "publish of live/a, as there is no virtual host nosuch.example");
}
