//! Requests that wait for a verdict of the back end.

use super::*;
use crate::cluster::{ClusterConfig, DirectoryOrder, PullSigner, SignedPull};
use crate::relay::Order;

fn asking(asks: Asks) -> Harness {
    Harness::with(VhostConfig { asks, ..VhostConfig::default() }.into())
}

#[test]
fn an_edge_asks_upstream_first_and_tells_only_of_what_it_asked_for_itself() {
    let asks = Asks { traverse: true, publish: true, ..Asks::default() };
    let harness = Harness::with(VhostConfig { asks, ..VhostConfig::default() }.into());
    let mut publisher = harness.asks_to_publish("cam?k=v");
    let upstream = publisher.asked[0].subject.clone();
    assert!(matches!(&upstream, Subject::Traverse(facts) if facts.params == "?k=v"), "{upstream:?}");
    assert!(!contains(&publisher.answer(&harness, Verdict::Allow), "Publish.Start"), "nothing is granted yet");
    let own = publisher.asked[1].subject.clone();
    assert!(matches!(own, Subject::Publish(_)), "{own:?}");
    assert!(contains(&publisher.answer(&harness, Verdict::Allow), "Publish.Start"));
    publisher.actions();
    publisher.disconnect(&harness);
    assert_eq!(publisher.actions(), ["detach publisher", "wake", "tell"]);

    let mut refused = harness.asks_to_publish("cam");
    assert!(contains(&refused.answer(&harness, Verdict::Deny("not yours".to_owned())), "NetStream.Publish.Denied"));
    refused.actions();
    refused.disconnect(&harness);
    assert_eq!(refused.actions(), [""; 0], "a question upstream is no promise to tell");
}

#[test]
fn a_verdict_for_a_connection_that_is_over_grants_nothing() {
    for (verdict, end) in [
        (Some(Verdict::Allow), ["tell"].as_slice()),
        (Some(Verdict::Deny("no".to_owned())), &[]),
        (Some(Verdict::Unanswered("later".to_owned())), &[]),
        (Some(Verdict::Redirect("rtmp://other/live/cam".to_owned())), &[]),
        (None, &["tell"]),
    ] {
        let mut harness = asking(Asks { publish: true, ..Asks::default() });
        let mut publisher = harness.asks_to_publish("cam");
        publisher.actions();
        let id = publisher.asked[0].id;
        publisher.conn.handle_disconnect(harness.now, CloseReason::PeerClosed);
        match &verdict {
            Some(verdict) => publisher.conn.answer(harness.now, id, verdict.clone()),
            None => {
                harness.pass(Duration::from_secs(10));
                publisher.conn.handle_timeout(harness.now);
            }
        }
        publisher.poll(&harness);
        assert_eq!(publisher.actions(), end, "{verdict:?}: never attached, and told of unless it was refused");
        assert!(harness.server.hub().streams().is_empty());
    }
}

/// Each request for which a verdict is needed, with different values.
#[test]
fn what_is_denied_says_so_in_the_requests_own_words() {
    let deny = |words: &str| Verdict::Deny(words.to_owned());
    let harness = asking(Asks { connect: true, ..Asks::default() });
    let mut client = harness.client();
    assert!(contains(&client.answer(&harness, deny("no")), "_error 1 NetConnection.Connect.Rejected"));
    let harness = asking(Asks { play: true, ..Asks::default() });
    let mut player = harness.player("cam");
    assert!(!contains(&player.receive(&harness), "Play.Start"));
    assert!(contains(&player.answer(&harness, deny("no")), "NetStream.Play.Failed"));
    assert!(harness.server.hub().streams().is_empty());
}

/// The back end gets all that is known of the client, and a notice at the end.
#[test]
fn a_question_names_the_client_and_the_end_of_what_was_allowed_is_told_once() {
    let mut harness = asking(Asks { connect: true, play: true, ..Asks::default() });
    let address = "192.0.2.7:50000".parse().expect("an address");
    let object = [
        ("app", "live?token=t"),
        ("tcUrl", "rtmp://127.0.0.1/live?k=1"),
        ("pageUrl", "http://page/"),
        ("swfUrl", "http://swf/"),
        ("flashVer", "LNX 9"),
    ];
    let object = object.iter().fold(Object::default(), |object, (name, value)| object.with(*name, *value));
    let mut client = harness.client_from(Some(address), object);
    let ask = client.asked[0].clone();
    let expected = ClientFacts {
        connection: client.conn.id(),
        address: Some(address),
        vhost: crate::url::DEFAULT_VHOST.to_owned(),
        app: "live".to_owned(),
        params: "?k=1&token=t".to_owned(),
        tc_url: Some("rtmp://127.0.0.1/live?k=1".to_owned()),
        page_url: Some("http://page/".to_owned()),
        swf_url: Some("http://swf/".to_owned()),
        agent: Some("LNX 9".to_owned()),
        delivery: session::Delivery::Rtmp,
        arguments: vec![],
    };
    assert_eq!((&ask.subject, &ask.client), (&Subject::Connect, &expected));
    assert_eq!(ask.deadline, harness.now + Duration::from_secs(10));
    assert!(client.wait.expect("it waits").read.is_none(), "nothing more is read before the answer");
    // The number of another question has no effect.
    client.conn.answer(harness.now, AskId(ask.id.0 + 1), Verdict::Allow);
    assert_eq!(client.receive(&harness), [""; 0]);
    assert!(contains(&client.answer(&harness, Verdict::Allow), "NetConnection.Connect.Success"));
    client.send(&harness, &[peer::create_stream(2.0), peer::play(1, "cam")].concat());
    assert_ne!(client.asked[1].id, ask.id);
    assert!(contains(&client.answer(&harness, Verdict::Allow), "NetStream.Play.Start"));
    assert!(client.notices.is_empty(), "it is not over");
    harness.pass(Duration::from_secs(2));
    client.disconnect(&harness);
    let report = client.closed.clone().expect("over");
    let [play, connect] = client.notices.as_slice() else { panic!("each is notices of once: {:?}", client.notices) };
    assert!(matches!(&play.subject, Subject::Play(facts) if facts.key.stream() == "cam"), "{play:?}");
    assert_eq!((&play.client, &play.closed), (&expected, &None));
    let closed = Closed {
        reason: CloseReason::PeerClosed,
        received: report.received,
        sent: report.sent,
        duration: Duration::from_secs(2),
        refused: None,
    };
    assert_eq!((&connect.subject, &connect.closed), (&Subject::Connect, &Some(closed)));
}

#[test]
fn a_connection_that_ends_while_its_connect_is_asked_about_has_a_notice_with_its_totals() {
    let mut harness = asking(Asks { connect: true, ..Asks::default() });
    let mut client = harness.client();
    harness.pass(Duration::from_secs(1));
    client.disconnect(&harness);
    let [notice] = client.notices.as_slice() else { panic!("notices once: {:?}", client.notices) };
    let report = client.closed.expect("over");
    let closed = notice.closed.clone().expect("the connection is over");
    assert_eq!(closed.reason, CloseReason::Rejected("NetConnection.Connect.Rejected"));
    assert_eq!((closed.received, closed.sent), (report.received, report.sent));
    assert_eq!(closed.duration, Duration::from_secs(1));
}

#[test]
fn silence_refuses_or_grants_as_is_configured_and_not_before_its_time() {
    for allow_on_timeout in [false, true] {
        let mut harness = asking(Asks { publish: true, allow_on_timeout, ..Asks::default() });
        let mut publisher = harness.asks_to_publish("cam");
        publisher.run(&mut harness, Duration::from_millis(9999));
        assert_eq!(publisher.receive(&harness), [""; 0]);
        publisher.run(&mut harness, Duration::from_millis(1));
        let received = publisher.receive(&harness);
        let code = if allow_on_timeout { "NetStream.Publish.Start" } else { "NetStream.Publish.Denied" };
        assert!(contains(&received, code), "{received:?}");
        // A request without an answer is followed by a notice; what was granted is not over yet.
        assert_eq!(publisher.notices.len(), usize::from(!allow_on_timeout));
        publisher.disconnect(&harness);
        assert_eq!(publisher.notices.len(), 1);
    }
}

/// The timeouts of `connect` and of the next request are for the client, and it has sent its request.
#[test]
fn a_back_end_may_take_its_whole_time_whatever_is_left_of_the_clients() {
    let timeout = Duration::from_secs(60);
    let asks = Asks { connect: true, publish: true, timeout, allow_on_timeout: true, ..Asks::default() };
    let mut harness = asking(asks);
    let address = "192.0.2.7:50000".parse().expect("an address");
    let object = Object::default().with("app", "live").with("tcUrl", "rtmp://127.0.0.1/live");
    let mut client = harness.client_from(Some(address), object);
    client.run(&mut harness, Duration::from_secs(59));
    assert_eq!(client.receive(&harness), [""; 0]);
    client.run(&mut harness, Duration::from_secs(1));
    assert!(contains(&client.receive(&harness), "NetConnection.Connect.Success"));
    client.send(&harness, &[peer::create_stream(2.0), peer::publish(1, "cam")].concat());
    // It handles the pings that it gets while it waits.
    let received = [20, 20, 20].map(|seconds| {
        client.run(&mut harness, Duration::from_secs(seconds));
        contains(&client.receive(&harness), "NetStream.Publish.Start")
    });
    assert_eq!(received, [false, false, true]);
}

#[test]
fn a_server_that_drains_grants_nothing_it_was_still_asking_about() {
    let harness = asking(Asks { publish: true, ..Asks::default() });
    let mut publisher = harness.asks_to_publish("cam");
    publisher.actions();
    harness.server.drain();
    assert!(contains(&publisher.answer(&harness, Verdict::Allow), "NetStream.Publish.Denied"));
    assert_eq!(publisher.actions(), ["tell"], "it was allowed, and nothing came of it");
    assert!(harness.server.hub().streams().is_empty());

    let harness = asking(Asks { play: true, ..Asks::default() });
    let mut player = harness.player("cam");
    player.actions();
    harness.server.drain();
    assert!(contains(&player.answer(&harness, Verdict::Allow), "NetStream.Play.Failed"));
    assert_eq!(player.actions(), ["tell"], "likewise");
    assert!(harness.server.hub().streams().is_empty());

    // Without a question there is no notice.
    let harness = asking(Asks { traverse: true, ..Asks::default() });
    let mut publisher = harness.asks_to_publish("cam");
    publisher.actions();
    harness.server.drain();
    assert!(contains(&publisher.answer(&harness, Verdict::Allow), "NetStream.Publish.Denied"));
    assert_eq!(publisher.actions(), [""; 0]);
}

/// The publisher that it was to take over from is gone when the verdict comes, and a third one has the name.
#[test]
fn a_name_that_was_taken_while_it_was_asked_about_is_refused() {
    let config = VhostConfig {
        asks: Asks { publish: true, ..Asks::default() },
        conflict: crate::hub::Conflict::TakeOver,
        ..VhostConfig::default()
    };
    let harness = Harness::with(config.into());
    let mut first = harness.asks_to_publish("cam?token=one");
    assert!(contains(&first.answer(&harness, Verdict::Allow), "NetStream.Publish.Start"));
    let mut second = harness.asks_to_publish("cam?token=one");
    first.disconnect(&harness);
    let mut third = harness.asks_to_publish("cam?token=two");
    assert!(contains(&third.answer(&harness, Verdict::Allow), "NetStream.Publish.Start"));
    second.actions();
    assert!(contains(&second.answer(&harness, Verdict::Allow), "NetStream.Publish.BadName"));
    assert_eq!(second.actions(), ["tell"]);
    third.send(&harness, &headers());
    third.receive(&harness);
    assert!(third.closed.is_none(), "the third goes on");
}

/// A client that sent `publish` and was closed before the next poll gets nothing, and no question is asked about it.
#[test]
fn a_request_that_was_not_handled_before_the_end_does_nothing() {
    for asks in [Asks::default(), Asks { publish: true, play: true, ..Asks::default() }] {
        for request in [peer::publish(1, "cam"), peer::play(1, "cam")] {
            let harness = asking(asks.clone());
            let mut client = harness.client();
            client.send(&harness, &peer::create_stream(2.0));
            client.conn.handle_input(harness.now, &request);
            client.conn.close(CloseReason::Closed("as asked"));
            client.receive(&harness);
            assert_eq!(client.actions(), [""; 0]);
            assert!(client.closed.is_some() && harness.server.hub().streams().is_empty());
        }
    }
}

/// There is no current GOP that it could finish.
#[test]
fn a_play_that_is_granted_to_a_drained_connection_is_over_at_once() {
    let harness = asking(Asks { play: true, ..Asks::default() });
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let mut player = harness.player("cam");
    player.receive(&harness);
    player.conn.drain(harness.now + Duration::from_secs(60), None);
    let received = player.answer(&harness, Verdict::Allow);
    assert!(
        contains(&received, "NetStream.Play.Start") && contains(&received, "NetStream.Play.UnpublishNotify"),
        "{received:?}"
    );
    assert!(!contains(&received, "video key"), "{received:?}");
}

#[test]
fn another_server_of_the_cluster_gets_the_stream_of_a_server_that_drains() {
    let harness = Harness::with(Config { cluster: Some(ClusterConfig::default()), ..Config::default() });
    harness.server.set_clock(harness.now, 1_000_000);
    let relays = harness.server.relays();
    relays.set_cluster_secret(harness.now, "a secret of the cluster");
    let mut publisher = harness.client();
    publisher.send(&harness, &[peer::create_stream(2.0), peer::publish(1, "cam")].concat());
    let DirectoryOrder::Claim { claim, .. } = relays.poll_directory() else { panic!("the name is claimed") };
    relays.claimed(claim, Ok(Some(7)));
    let Order::Answer { ask, verdict, .. } = relays.poll(harness.now) else { panic!("the client is answered") };
    publisher.conn.answer(harness.now, ask, verdict);
    publisher.send(&harness, &[headers(), gop(0, 1)].concat());
    let key = StreamKey::new(crate::url::DEFAULT_VHOST, "live", "cam").expect("a name");
    let (asked, by, avoid) = Default::default();
    let pull = SignedPull { key, fencing: 7, hop: 1, asked, by, avoid };
    let signed = PullSigner::new("a secret of the cluster").sign(&pull, 1_000_000);
    let connect = Object::default().with("app", "live").with("tcUrl", "rtmp://h/live").with("anabranchPull", signed);
    let mut other = harness.client_from(None, connect);
    harness.server.drain();
    other.conn.drain(harness.now + Duration::from_secs(60), None);
    other.send(&harness, &[peer::create_stream(2.0), peer::play(1, "cam")].concat());
    let received = other.receive(&harness);
    assert!(contains(&received, "video key") && !contains(&received, "UnpublishNotify"), "{received:?}");
}

/// No notice follows a question about the server upstream, however the connection ends.
#[test]
fn a_connection_that_ends_while_upstream_is_asked_causes_no_notice() {
    let harness = asking(Asks { traverse: true, publish: true, play: true, ..Asks::default() });
    let mut publisher = harness.asks_to_publish("cam");
    publisher.disconnect(&harness);
    let mut player = harness.player("cam");
    player.disconnect(&harness);
    for client in [&publisher, &player] {
        assert!(matches!(client.asked[0].subject, Subject::Traverse(_)));
        assert!(client.notices.is_empty() && client.closed.is_some());
    }
}

#[test]
fn an_answer_that_came_while_the_process_was_stopped_counts() {
    let mut harness = asking(Asks { publish: true, ..Asks::default() });
    let mut publisher = harness.asks_to_publish("cam");
    // The deadline is long over when the process goes on, and the answer waits in a socket.
    harness.pass(Duration::from_secs(60));
    publisher.conn.handle_timeout(harness.now);
    publisher.poll(&harness);
    assert!(publisher.closed.is_none());
    assert!(contains(&publisher.answer(&harness, Verdict::Allow), "Publish.Start"));

    let mut unanswered = harness.asks_to_publish("other");
    unanswered.run(&mut harness, Duration::from_secs(10));
    assert!(contains(&unanswered.receive(&harness), "NetStream.Publish.Denied"), "silence in time is an answer");
}
