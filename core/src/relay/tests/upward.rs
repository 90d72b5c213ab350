//! Publishing at an edge: the origin decides, and its loss is bridged.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn edge(origins: &[&str]) -> VhostConfig {
    let origins = origins.iter().map(|origin| origin.parse().expect("an origin")).collect();
    VhostConfig { edge: Some(Edge::of(origins)), ..VhostConfig::default() }
}

#[test]
fn a_publisher_is_granted_when_an_origin_has_granted_it_and_local_players_get_it_here() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let edge = net.server(edge(&["10.0.0.9", "10.0.0.1"]));
    let publisher = net.publisher(edge, "live/cam");
    assert!(net.heard(publisher).has("publishing"));
    let (here, there) = (net.player(edge, "live/cam"), net.player(origin, "live/cam"));
    net.stream(publisher, 0, 3);
    for player in [here, there] {
        assert_eq!(net.heard(player).times().len(), 9);
    }
    let relays = net.list(edge);
    assert_eq!((relays.len(), relays[0].kind, relays[0].state), (1, RelayKind::Upward, RelayState::Live));
    net.leave(publisher);
    net.run(SECOND);
    assert!(net.list(edge).iter().all(|relay| relay.kind == RelayKind::Pull));
    assert!(net.servers[origin].core.hub().streams().iter().all(|stream| !stream.published));
}

#[test]
fn the_refusal_of_the_origin_is_passed_on_in_its_words() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let edge = net.server(edge(&["10.0.0.1"]));
    net.publisher(origin, "live/cam");
    let refused = net.client(edge, "live/cam", true);
    net.run(SECOND);
    let heard = net.heard(refused);
    let words = "rejected NetStream.Publish.BadName: Stream cam is already being published.";
    assert!(heard.events.contains(&words.to_owned()), "{:?}", heard.events);
    assert!(net.list(edge).is_empty() && net.uplinks(edge).is_empty());
    assert!(net.servers[edge].core.hub().streams().is_empty());
    // The name is free for the next one.
    let publisher = net.publisher(edge, "live/other");
    assert!(net.heard(publisher).has("publishing"));
}

#[test]
fn without_an_origin_a_publisher_is_refused_in_time_and_says_why() {
    for host in [Some(Host::Mute), Some(Host::BlackHole), None] {
        let mut net = Net::new();
        let edge = net.server(edge(&["10.0.0.9"]));
        if let Some(host) = host {
            net.hosts.insert(address("10.0.0.9:1935"), host);
        }
        let client = net.client(edge, "live/cam", true);
        net.run(4 * SECOND);
        assert!(!net.heard(client).has("publishing"));
        net.run(3 * SECOND);
        let heard = net.heard(client);
        assert!(heard.has("NetStream.Publish.Denied") && heard.has("no origin"), "{:?}", heard.events);
        assert!(net.list(edge).is_empty() && net.uplinks(edge).is_empty() && net.opening.is_empty());
    }
}

#[test]
fn the_encoder_is_kept_over_the_loss_of_an_origin() {
    let mut net = Net::new();
    let (one, other) = (net.server(VhostConfig::default()), net.server(VhostConfig::default()));
    let edge = net.server(edge(&["10.0.0.1", "10.0.0.2"]));
    let publisher = net.publisher(edge, "live/cam");
    let (local, far) = (net.player(edge, "live/cam"), net.player(other, "live/cam"));
    net.stream(publisher, 0, 4);
    assert!(net.heard(far).times().is_empty(), "one origin has the stream");
    net.kill(one);
    net.stream(publisher, 4, 4);
    assert!(net.heard(publisher).closed.is_none());
    assert_eq!(net.heard(local).times().len(), 24, "local players lose nothing");
    let heard = net.heard(far);
    assert!(heard.times().len() >= 9 && heard.counts(peer::VIDEO_HEADER) >= 1, "{:?}", heard.times());
}

#[test]
fn an_encoder_is_not_kept_for_ever() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let edge = net.server(edge(&["10.0.0.1"]));
    let publisher = net.publisher(edge, "live/cam");
    net.stream(publisher, 0, 2);
    net.kill(origin);
    net.stream(publisher, 2, 28);
    assert!(net.heard(publisher).closed.is_none());
    net.run(5 * SECOND);
    assert!(net.heard(publisher).closed.is_some());
    assert_eq!(net.servers[edge].ended, [CloseReason::OriginLost]);
    assert!(net.list(edge).is_empty());
}

#[test]
fn an_encoder_that_comes_back_at_once_is_granted_and_one_that_takes_over_goes_on() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let edge = net.server(VhostConfig { conflict: crate::hub::Conflict::TakeOver, ..edge(&["10.0.0.1"]) });
    let first = net.publisher(edge, "live/cam?token=abcdef");
    let player = net.player(origin, "live/cam");
    net.stream(first, 0, 2);
    let second = net.publisher(edge, "live/cam?token=abcdef");
    assert!(net.heard(second).has("publishing"), "{:?}", net.heard(second).events);
    net.stream(second, 0, 2);
    assert_eq!((net.states(edge), net.uplinks(edge).len()), (vec![RelayState::Live], 1));
    assert_eq!(net.heard(player).times().len(), 12);
    net.leave(second);
    net.run(LATENCY);
    let third = net.publisher(edge, "live/cam?token=abcdef");
    assert!(net.heard(third).has("publishing"), "{:?}", net.heard(third).events);
    net.stream(third, 0, 2);
    assert!(net.heard(player).times().is_sorted() && net.heard(player).times().len() == 18);
}

#[test]
fn a_client_that_leaves_while_it_waits_leaves_nothing_behind() {
    let mut net = Net::new();
    let edge = net.server(edge(&["10.0.0.9"]));
    net.hosts.insert(address("10.0.0.9:1935"), Host::Mute);
    for wait in 0..40 {
        let client = net.client(edge, "live/cam", true);
        net.run(Duration::from_millis(wait));
        net.leave(client);
        net.run(Duration::from_millis(wait / 3));
    }
    net.run(5 * SECOND);
    assert!(net.list(edge).is_empty() && net.uplinks(edge).is_empty() && net.opening.is_empty());
}

#[test]
fn a_pull_of_the_name_ends_when_a_client_publishes_it_here() {
    let mut net = Net::new();
    net.server(VhostConfig::default());
    let edge = net.server(edge(&["10.0.0.1"]));
    let player = net.player(edge, "live/cam");
    net.run(2 * SECOND);
    assert_eq!(net.states(edge), [RelayState::Silent]);
    let publisher = net.publisher(edge, "live/cam");
    net.stream(publisher, 0, 3);
    assert_eq!(net.heard(player).times().len(), 9, "each frame once");
    let kinds: Vec<_> = net.list(edge).iter().map(|relay| relay.kind).collect();
    assert_eq!(kinds, [RelayKind::Upward]);
}

#[test]
fn the_back_end_is_told_of_the_end_of_what_it_allowed_and_the_origin_refused() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let asks = crate::conn::Asks { publish: true, ..Default::default() };
    let edge = net.server(VhostConfig { asks, ..edge(&["10.0.0.1"]) });
    net.publisher(origin, "live/cam");
    let refused = net.client(edge, "live/cam", true);
    net.run(SECOND);
    assert!(net.heard(refused).has("BadName"));
    assert_eq!((net.servers[edge].asked, net.servers[edge].told), (1, 1));
}

#[test]
fn a_token_in_connect_is_shown_to_the_origin_first() {
    for (verdict, granted) in [(Verdict::Allow, true), (Verdict::Deny("wrong token".to_owned()), false)] {
        let mut net = Net::new();
        let asks = crate::conn::Asks { connect: true, ..Default::default() };
        let origin = net.server(VhostConfig { asks, ..VhostConfig::default() });
        net.servers[origin].verdict = verdict;
        let asks = crate::conn::Asks { traverse: true, ..Default::default() };
        let edge = net.server(VhostConfig { asks, ..edge(&["10.0.0.1"]) });
        let mut config = ClientConfig::to(&Destination::parse("rtmp://10.0.0.2/live/cam").expect("a URL"));
        config.tc_url = "rtmp://10.0.0.2/live?token=abcdef".to_owned();
        config.page_url = Some("http://page.example/".to_owned());
        let player = net.client_with(edge, config, "cam", false);
        net.run(SECOND);
        let heard = net.heard(player);
        assert_eq!(heard.has("playing"), granted, "{:?}", heard.events);
        assert!(granted || heard.has("wrong token"), "{:?}", heard.events);
        assert_eq!(net.servers[origin].tc_urls[0], "rtmp://10.0.0.2/live?token=abcdef");
        assert_eq!(net.servers[edge].asked, 0, "the program is not asked");
    }
}

#[test]
fn a_reload_sends_what_is_published_to_the_origins_that_it_names() {
    let mut net = Net::new();
    let [one, other] = [(); 2].map(|()| net.server(VhostConfig::default()));
    let at = net.server(edge(&["10.0.0.1"]));
    let publisher = net.publisher(at, "live/cam");
    let (here, there) = (net.player(at, "live/cam"), net.player(other, "live/cam"));
    net.stream(publisher, 0, 2);
    net.servers[at].core.reconfigure(edge(&["10.0.0.2"]).into());
    net.stream(publisher, 2, 3);
    assert_eq!(net.heard(here).times().len(), 15, "local players lose nothing");
    assert!(net.heard(there).times().len() >= 6, "{:?}", net.heard(there).times());
    assert!(!net.servers[one].core.hub().streams().iter().any(|stream| stream.published));
    // Without origins it stays here, and so do its publisher and players.
    for config in [VhostConfig { edge: None, ..VhostConfig::default() }, edge(&[])] {
        net.servers[at].core.reconfigure(config.into());
        net.stream(publisher, 5, 40);
        assert!(net.list(at).is_empty() && net.heard(publisher).closed.is_none());
    }
    assert!(!net.servers[other].core.hub().streams().iter().any(|stream| stream.published));
}
