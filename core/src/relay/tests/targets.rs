//! Targets of pushes: which are used when, and what they may make the server do.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn forwards(urls: &[&str]) -> VhostConfig {
    let forward = urls.iter().map(|url| Forward::new(url.parse().expect("a template"))).collect();
    VhostConfig { forward, ..VhostConfig::default() }
}

/// A server that pushes all its streams to a second one.
fn pair() -> (Net, usize, usize) {
    let mut net = Net::new();
    let source = net.server(forwards(&["rtmp://10.0.0.2/copy/{stream}?secret=abcdef"]));
    let sink = net.server(VhostConfig::default());
    (net, source, sink)
}

#[test]
fn a_target_that_still_has_our_last_publication_is_tried_again_soon() {
    let (mut net, source, sink) = pair();
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 2);
    net.leave(publisher);
    net.run(SECOND / 5);
    // As a target that frees the name late.
    let late = net.publisher(sink, "copy/cam");
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 3);
    let relay = net.list(source).remove(0);
    assert_eq!((relay.state, relay.connects), (RelayState::Waiting, 0));
    assert!((2..=4).contains(&relay.attempts), "{}", relay.attempts);
    net.leave(late);
    net.stream(publisher, 3, 4);
    assert_eq!(net.states(source), [RelayState::Live]);
}

#[test]
fn a_target_that_goes_on_to_refuse_after_our_last_publication_is_tried_seldom_then() {
    let (mut net, source, sink) = pair();
    let mut patient = VhostConfig::default();
    patient.session.timeouts.next_message = 3600 * SECOND;
    net.servers[sink].core.reconfigure(patient.into());
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 1);
    net.leave(publisher);
    net.run(SECOND / 5);
    let _other = net.publisher(sink, "copy/cam");
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 300);
    let relay = net.list(source).remove(0);
    assert_eq!(relay.state, RelayState::Refused);
    assert!((8..=13).contains(&relay.attempts), "{}", relay.attempts);
}

#[test]
fn a_configured_target_that_is_removed_comes_back_with_the_next_publication() {
    let (mut net, source, sink) = pair();
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 2);
    let relays = net.servers[source].core.relays().clone();
    let id = net.list(source)[0].id;
    assert!(relays.remove_forward(net.now, id));
    net.stream(publisher, 2, 3);
    assert!(net.list(source).is_empty());
    net.servers[source].core.reconfigure(forwards(&["rtmp://10.0.0.2/copy/{stream}?secret=abcdef"]).into());
    net.stream(publisher, 5, 1);
    assert!(net.list(source).is_empty(), "also after a reload");
    assert!(net.servers[sink].core.hub().streams().iter().all(|stream| !stream.published));
    net.leave(publisher);
    net.run(SECOND);
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 2);
    assert_eq!(net.states(source), [RelayState::Live]);
}

#[test]
fn a_target_that_asks_for_another_connection_again_and_again_gets_fewer_and_fewer() {
    let (mut net, source, sink) = pair();
    let publisher = net.publisher(source, "live/cam");
    for at in 0..1200 {
        if at % 20 == 0 {
            net.gop(publisher, at * 50, 1);
        }
        let deadline = net.now + 60 * SECOND;
        net.each_conn(sink, |conn| conn.drain(deadline, None));
        net.run(Duration::from_millis(50));
    }
    let attempts = net.list(source)[0].attempts;
    assert!((4..=12).contains(&attempts), "in a minute, with pauses from 1 s to 30 s: {attempts}");
    assert_eq!(net.list(source)[0].failures, 0, "no attempt has failed");
}

#[test]
fn an_origin_that_asks_for_another_connection_again_and_again_gets_fewer_and_fewer() {
    let mut net = Net::new();
    let origin = net.server(VhostConfig::default());
    let edge = Edge::of(vec!["10.0.0.1".parse().expect("an origin")]);
    let edge = net.server(VhostConfig { edge: Some(edge), ..VhostConfig::default() });
    let publisher = net.publisher(origin, "live/cam");
    let player = net.player(edge, "live/cam");
    for at in 0..1200 {
        if at % 20 == 0 {
            net.gop(publisher, at * 50, 1);
        }
        let deadline = net.now + 600 * SECOND;
        net.each_conn(origin, |conn| conn.drain(deadline, None));
        net.run(Duration::from_millis(50));
    }
    let attempts = net.list(edge)[0].attempts;
    assert!((4..=30).contains(&attempts), "{attempts}");
    assert!(net.heard(player).times().len() > 20);
}

#[test]
fn a_redirect_of_a_push_leads_to_targets_only_and_tells_no_secret() {
    // The third server is an origin of the stream's edge, the fourth one is a target of another stream.
    for (to, live) in [("10.0.0.3", false), ("10.0.0.4", false), ("10.0.0.5", true)] {
        let mut net = Net::new();
        let mut config = forwards(&["rtmp://10.0.0.2/copy/{stream}", "rtmp://10.0.0.5/other/{stream}"]);
        let only = Forward {
            streams: vec!["live/other".parse().expect("a pattern")],
            ..Forward::new("rtmp://10.0.0.4/copy/{stream}".parse().expect("a template"))
        };
        config.forward.push(only);
        let origins = Edge { publish: false, ..Edge::of(vec!["10.0.0.3".parse().expect("an origin")]) };
        let source = net.server(VhostConfig { edge: Some(origins), ..config });
        let asks = crate::conn::Asks { publish: true, ..Default::default() };
        let guide = net.server(VhostConfig { asks, ..VhostConfig::default() });
        let others = [2, 3, 4].map(|_| net.server(VhostConfig::default()));
        net.servers[guide].verdict = Verdict::Redirect(format!("rtmp://{to}/copy/cam?key=secret77\u{202e}"));
        let publisher = net.publisher(source, "live/cam");
        net.stream(publisher, 0, 2);
        let relay = net.list(source).remove(0);
        assert_eq!(relay.state == RelayState::Live, live, "{to}: {relay:?}");
        let published = others.iter().filter(|at| {
            net.servers[**at].core.hub().streams().iter().any(|stream| stream.published && stream.key.app() == "copy")
        });
        assert_eq!(published.count(), usize::from(live), "{to}");
        let shown = format!("{:?} {:?}", net.list(source), net.servers[source].remarks);
        assert!(!shown.contains("secret77") && !shown.contains("202e"), "{shown}");
    }
}

#[test]
fn a_peers_words_are_one_word_of_the_line_and_short() {
    let (mut net, source, sink) = pair();
    let asks = crate::conn::Asks { publish: true, ..Default::default() };
    net.servers[sink].core.reconfigure(VhostConfig { asks, ..VhostConfig::default() }.into());
    let words = format!("no abcdef\nrelay 7: live{}", "x".repeat(5000));
    net.servers[sink].verdict = Verdict::Deny(words);
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 2);
    let error = net.list(source)[0].last_error.clone().expect("it failed");
    assert!(error.words.contains("no *** relay 7") && error.words.len() <= 300, "{error:?}");
    let lines: Vec<String> = net.servers[source].remarks.iter().map(ToString::to_string).collect();
    let line = lines.iter().find(|line| line.contains("failed")).expect("it failed");
    assert!(!line.contains('\n') && line.contains("\"no *** relay 7"), "{line}");
    let report = net.reports[0].to_string();
    assert!(!report.contains('\n') && !report.contains("abcdef"), "{report}");
}

#[test]
fn states_and_counts_say_what_happened() {
    let (mut net, source, sink) = pair();
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 2);
    for round in 0..3 {
        net.kill(sink);
        net.run(SECOND / 2);
        assert_eq!(net.list(source)[0].failures, 1, "round {round}: it was live between");
        net.revive(sink, VhostConfig::default());
        net.stream(publisher, 0, 6 << round);
        let relay = net.list(source).remove(0);
        assert_eq!((relay.state, relay.failures), (RelayState::Live, 0), "round {round}");
    }
    let relay = net.list(source).remove(0);
    assert_eq!(relay.connects, 4);
    net.leave(publisher);
    net.run(LATENCY * 2);
    assert_eq!(net.states(source), [RelayState::Ending]);
    net.run(3 * SECOND);
    assert!(net.list(source).is_empty());
}

#[test]
fn look_ups_are_shared_and_bounded() {
    let mut net = Net::new();
    let urls: Vec<String> = (0..40).map(|number| format!("rtmp://h{number}.example/a/{{stream}}")).collect();
    let both = urls.iter().map(String::as_str).chain(["rtmp://h0.example/b/{stream}", "rtmp://h0.example/c/{stream}"]);
    let source = net.server(forwards(&both.collect::<Vec<_>>()));
    let publisher = net.client(source, "live/cam", true);
    // The driver is this test's own from here on.
    let relays = net.servers[source].core.relays().clone();
    let mut asked: Vec<(AttemptId, String)> = Vec::new();
    for _ in 0..20 {
        net.serve_all();
        loop {
            match relays.poll(net.now) {
                Order::Resolve { attempt, host, .. } => asked.push((attempt, host)),
                Order::Wait(_) => break,
                _ => {}
            }
        }
        net.now += LATENCY;
    }
    assert!(net.heard(publisher).has("publishing"));
    assert_eq!(asked.len(), 16);
    let (first, host) = asked.remove(0);
    assert_eq!(host, "h0.example");
    relays.resolved(net.now, first, vec![address("10.0.0.9:1935")]);
    let mut connects = 0;
    loop {
        match relays.poll(net.now) {
            Order::Resolve { attempt, host, .. } => asked.push((attempt, host)),
            Order::Connect { .. } => connects += 1,
            Order::Wait(_) => break,
            _ => {}
        }
    }
    assert_eq!((asked.len(), connects), (16, 3), "one more begins, and all three of the host go on");
    // Nothing waits for those that go on any more, and they still count.
    relays.close(net.now);
    while !matches!(relays.poll(net.now), Order::Wait(_)) {}
    assert!(relays.is_over());
    for (attempt, _) in asked {
        relays.failed(net.now, attempt, Failure::Resolve("too late".to_owned()));
    }
    assert!(matches!(relays.poll(net.now), Order::Wait(None)));
}

#[test]
fn a_push_that_goes_on_is_not_redirected_to_a_target_that_a_reload_has_removed() {
    let mut net = Net::new();
    let [stays, gone] = [(); 2].map(|()| net.server(VhostConfig::default()));
    let [first, second] = ["rtmp://10.0.0.1/live/{stream}", "rtmp://10.0.0.2/live/{stream}"];
    let source = net.server(forwards(&[first, second]));
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 2);
    net.servers[source].core.reconfigure(forwards(&[first]).into());
    net.stream(publisher, 2, 1);
    net.servers[stays].verdict = Verdict::Redirect("rtmp://10.0.0.2/live/cam".to_owned());
    net.kill(stays);
    let asks = crate::conn::Asks { publish: true, ..Default::default() };
    net.revive(stays, VhostConfig { asks, ..VhostConfig::default() });
    net.stream(publisher, 3, 9);
    assert!(net.servers[stays].asked > 0, "it was asked again");
    assert!(!net.servers[gone].core.hub().streams().iter().any(|stream| stream.published));
    assert_eq!(net.list(source)[0].last_error.clone().expect("it failed").name, "redirect");
}
