//! Pushes: every state and every failure of a target.

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

/// The same with a target that waits for ever for its publisher.
fn patient_pair() -> (Net, usize, usize) {
    let mut net = Net::new();
    let source = net.server(forwards(&["rtmp://10.0.0.2/copy/{stream}"]));
    let mut config = VhostConfig::default();
    config.session.timeouts.next_message = 3600 * SECOND;
    let sink = net.server(config);
    (net, source, sink)
}

#[test]
fn a_published_stream_is_live_at_its_target_and_says_goodbye() {
    let (mut net, source, sink) = pair();
    let publisher = net.publisher(source, "live/cam");
    net.run(SECOND);
    assert_eq!(net.states(source), [RelayState::Live]);
    let relay = net.list(source).remove(0);
    assert_eq!(&*relay.target, "rtmp://10.0.0.2:1935/copy/cam?***");
    assert_eq!((relay.connects, relay.failures, relay.kind), (1, 0, RelayKind::Push));
    let player = net.player(sink, "copy/cam");
    net.stream(publisher, 1, 3);
    let heard = net.heard(player);
    assert_eq!(heard.times(), [1000, 1010, 1040, 2000, 2010, 2040, 3000, 3010, 3040]);
    assert_eq!(heard.counts(peer::VIDEO_HEADER), 1);
    assert!(net.list(source)[0].frames_out > 9);
    net.leave(publisher);
    net.run(SECOND);
    assert!(net.list(source).is_empty() && net.uplinks(source).is_empty());
    assert!(net.servers[sink].core.hub().streams().iter().all(|stream| !stream.published));
    assert_eq!(net.remarks(source), ["connecting", "live", "ended"]);
    let report = net.reports.remove(0);
    assert_eq!(report.close.reason, ClientCloseReason::Closed);
    assert!(!report.to_string().contains("abcdef"), "{report}");
}

#[test]
fn a_target_that_refuses_is_never_live_and_waits_for_long() {
    let (mut net, source, sink) = pair();
    let other = net.publisher(sink, "copy/cam");
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 10);
    let relay = net.list(source).remove(0);
    assert_eq!((relay.state, relay.connects), (RelayState::Refused, 0));
    let error = relay.last_error.expect("it failed");
    assert_eq!((error.code.as_str(), error.is_lasting), ("NetStream.Publish.BadName", true));
    assert!(relay.next_try.expect("it tries again") > net.now + 30 * SECOND);
    assert_eq!(relay.attempts, 1, "the next attempt would be refused, too");
    net.leave(other);
    net.stream(publisher, 10, 61);
    assert_eq!(net.states(source), [RelayState::Live]);
    assert_eq!(net.remarks(source), ["connecting", "failed", "live"]);
}

#[test]
fn attempts_come_less_and_less_often_until_a_target_is_there() {
    let (mut net, source, sink) = pair();
    net.kill(sink);
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 100);
    let relay = net.list(source).remove(0);
    assert_eq!(relay.state, RelayState::Waiting);
    assert!(
        (6..=9).contains(&relay.attempts),
        "1, 2, 4, 8, 16, 30, 30 s apart, less up to a quarter: {}",
        relay.attempts
    );
    assert_eq!(relay.last_error.expect("it failed").name, "connect");
    net.revive(sink, VhostConfig::default());
    net.stream(publisher, 100, 31);
    let relay = net.list(source).remove(0);
    assert_eq!((relay.state, relay.failures), (RelayState::Live, 0));
}

#[test]
fn a_target_that_never_answers_or_does_not_exist_is_given_up_in_time() {
    for host in [Some(Host::Mute), Some(Host::BlackHole), None] {
        let (mut net, source, sink) = pair();
        net.kill(sink);
        if let Some(host) = host {
            net.hosts.insert(net.address_of(sink), host);
        }
        let publisher = net.publisher(source, "live/cam");
        net.stream(publisher, 0, 4);
        let expected = if host.is_some() { RelayState::Connecting } else { RelayState::Waiting };
        assert_eq!(net.states(source), [expected], "it is not live before an answer");
        net.stream(publisher, 4, 2);
        assert!(net.list(source)[0].last_error.is_some());
        net.leave(publisher);
        net.run(5 * SECOND);
        assert!(net.list(source).is_empty() && net.uplinks(source).is_empty() && net.opening.is_empty());
    }
}

#[test]
fn a_target_that_does_not_read_lags_within_bounds_and_resumes_at_a_key_frame() {
    let (mut net, source, sink) = patient_pair();
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 2);
    net.freeze_peers(source, true);
    let big = |number: u8| [&[0x17, 1, 0, 0, 0][..], &vec![number; 40_000]].concat();
    for second in 2..22 {
        net.send(publisher, Message::video(second * 1000, &big(second as u8)[..]));
        net.run(SECOND);
    }
    let relay = net.list(source).remove(0);
    assert_eq!(relay.state, RelayState::Lagging);
    let waiting: usize = net.uplinks(source).iter().map(|uplink| uplink.client().config().limits.outbound).sum();
    assert!(waiting > 0 && relay.lag > 0);
    net.freeze_peers(source, false);
    let player = net.player(sink, "copy/cam");
    for second in 22..40 {
        net.send(publisher, Message::video(second * 1000, &big(second as u8)[..]));
        net.run(SECOND);
    }
    assert_eq!(net.states(source), [RelayState::Live]);
    let times = net.heard(player).times();
    assert!(times.is_sorted() && times.last() == Some(&39_000), "{times:?}");
    let remarks = net.remarks(source);
    assert_eq!(remarks, ["connecting", "live", "lagging", "keeps_up"]);
}

#[test]
fn a_target_that_stops_reading_for_good_is_given_up_and_tried_again() {
    let (mut net, source, _) = patient_pair();
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 2);
    net.freeze_peers(source, true);
    let big = [&[0x17, 1, 0, 0, 0][..], &vec![7; 100_000]].concat();
    // A stall is found at the fourth check, each a quarter of the limit of 30 s after the one before.
    for second in 2..60 {
        net.send(publisher, Message::video(second * 1000, &big[..]));
        net.run(SECOND);
    }
    let relay = net.list(source).remove(0);
    assert!(relay.attempts >= 2, "{relay:?}");
    assert_eq!(net.reports[0].close.reason.name(), "write_timeout");
}

#[test]
fn a_target_that_dies_and_comes_back_gets_headers_and_a_key_frame_first() {
    let (mut net, source, sink) = pair();
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 12);
    net.kill(sink);
    net.stream(publisher, 12, 1);
    assert_eq!(net.states(source), [RelayState::Waiting]);
    net.revive(sink, VhostConfig::default());
    let player = net.player(sink, "copy/cam");
    net.stream(publisher, 13, 3);
    let heard = net.heard(player);
    let first = heard.media.iter().position(|(_, body)| is_coded(body)).expect("media came");
    let headers: Vec<_> = heard.media[..first].iter().map(|(_, body)| body.as_slice()).collect();
    assert!(headers.contains(&peer::VIDEO_HEADER) && headers.contains(&peer::AUDIO_HEADER), "{headers:?}");
    assert_eq!(heard.media[first].1[0], 0x17, "a key frame");
    let remarks = net.remarks(source);
    assert!(remarks.join(" ").starts_with("connecting live failed connecting"), "{remarks:?}");
    assert_eq!(remarks.last().map(String::as_str), Some("live"));
}

#[test]
fn a_dead_target_touches_neither_the_publisher_nor_the_other_targets() {
    let mut net = Net::new();
    let urls = ["rtmp://10.0.0.9/a/{stream}", "rtmp://nowhere.example/b/{stream}", "rtmp://10.0.0.8/c/{stream}"];
    let source = net.server(forwards(&[&urls[..], &["rtmp://10.0.0.2/copy/{stream}"]].concat()));
    let sink = net.server(VhostConfig::default());
    net.hosts.insert(address("10.0.0.8:1935"), Host::BlackHole);
    let publisher = net.publisher(source, "live/cam");
    let player = net.player(sink, "copy/cam");
    net.stream(publisher, 0, 20);
    assert_eq!(net.heard(player).times().len(), 60, "nothing is lost");
    let states = net.states(source);
    assert_eq!(states[3], RelayState::Live);
    assert!(!states[..3].contains(&RelayState::Live), "{states:?}");
    assert!(net.heard(publisher).closed.is_none());
}

#[test]
fn a_stream_published_again_at_once_is_pushed_again() {
    let (mut net, source, sink) = pair();
    for round in 0..20_u64 {
        let publisher = net.publisher(source, "live/cam");
        net.gop(publisher, 0, 1);
        net.run(Duration::from_millis(round * 7 % 50));
        net.leave(publisher);
        net.run(Duration::from_millis(round % 5));
        assert!(net.uplinks(source).len() <= 1, "round {round}");
    }
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 5);
    assert_eq!(net.states(source), [RelayState::Live]);
    assert!(net.servers[sink].core.hub().streams().iter().any(|stream| stream.published));
}

#[test]
fn two_servers_that_push_to_each_other_do_not_go_in_a_circle() {
    let mut net = Net::new();
    let one = net.server(forwards(&["rtmp://10.0.0.2/live/{stream}"]));
    let other = net.server(forwards(&["rtmp://10.0.0.1/live/{stream}"]));
    let publisher = net.publisher(one, "live/cam");
    net.stream(publisher, 0, 3);
    assert_eq!(net.states(one), [RelayState::Live]);
    let back = net.list(other).remove(0);
    assert_eq!(back.state, RelayState::Refused);
    assert!(back.last_error.expect("it failed").words.contains("circle"));
}

#[test]
fn targets_are_added_and_removed_while_the_stream_is_live() {
    let mut net = Net::new();
    let (source, sink) = (net.server(VhostConfig::default()), net.server(VhostConfig::default()));
    let relays = net.servers[source].core.relays().clone();
    let id =
        relays.add_forward(net.now, &key("live/cam"), "rtmp://10.0.0.2/copy/key-of-the-channel").expect("it is new");
    assert_eq!(
        relays.add_forward(net.now, &key("live/cam"), "rtmp://10.0.0.2/copy/key-of-the-channel"),
        Err(NotAdded::Duplicate)
    );
    assert!(matches!(relays.add_forward(net.now, &key("live/cam"), "http://10.0.0.2/a"), Err(NotAdded::Url(_))));
    net.run(SECOND);
    assert_eq!(net.states(source), [RelayState::Idle]);
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 2);
    let relay = net.list(source).remove(0);
    assert_eq!((relay.state, relay.source), (RelayState::Live, TargetSource::Api));
    assert_eq!(&*relay.target, "rtmp://10.0.0.2:1935/copy/***");
    net.leave(publisher);
    net.run(2 * SECOND);
    assert_eq!(net.states(source), [RelayState::Idle], "it stays for the next publication");
    assert!(net.uplinks(source).is_empty());
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 2);
    assert_eq!(net.states(source), [RelayState::Live]);
    assert!(relays.remove_forward(net.now, id));
    net.run(SECOND);
    assert!(net.list(source).is_empty() && net.uplinks(source).is_empty());
    assert!(net.servers[sink].core.hub().streams().is_empty());
    assert!(!relays.remove_forward(net.now, id));
}

#[test]
fn targets_of_a_hook_last_as_long_as_the_publication() {
    let mut net = Net::new();
    let (source, _) = (net.server(VhostConfig::default()), net.server(VhostConfig::default()));
    let relays = net.servers[source].core.relays().clone();
    let urls = ["rtmp://10.0.0.2/a/cam".to_owned(), "rtmp://10.0.0.2/b/cam".to_owned()];
    assert_eq!(relays.forward_to(net.now, &key("live/cam"), &urls).len(), 2, "it is not published");
    let publisher = net.publisher(source, "live/cam");
    assert_eq!(relays.forward_to(net.now, &key("live/cam"), &urls), []);
    net.stream(publisher, 0, 2);
    assert_eq!(net.states(source), [RelayState::Live; 2]);
    let errors = relays.forward_to(net.now, &key("live/cam"), &[urls[1].clone(), "nonsense".to_owned()]);
    assert_eq!(errors.len(), 1);
    net.run(SECOND);
    assert_eq!(net.states(source), [RelayState::Live]);
    net.leave(publisher);
    net.run(SECOND);
    assert!(net.list(source).is_empty());
}

#[test]
fn a_reload_ends_targets_that_are_gone_and_begins_new_ones() {
    let (mut net, source, sink) = pair();
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 2);
    let config = forwards(&["rtmp://10.0.0.2/other/{stream}"]);
    net.servers[source].core.reconfigure(config.into());
    net.stream(publisher, 2, 2);
    let relay = net.list(source).remove(0);
    assert_eq!((relay.state, &*relay.target), (RelayState::Live, "rtmp://10.0.0.2:1935/other/cam"));
    let names: Vec<_> = net.servers[sink].core.hub().streams().iter().map(|stream| stream.key.to_string()).collect();
    assert_eq!(names, ["other/cam"]);
}

#[test]
fn the_end_of_the_server_ends_all_in_good_order() {
    let (mut net, source, sink) = pair();
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 2);
    let relays = net.servers[source].core.relays().clone();
    relays.close(net.now);
    assert!(!relays.is_over());
    net.run(SECOND);
    assert!(relays.is_over() && net.uplinks(source).is_empty());
    assert!(net.servers[sink].core.hub().streams().is_empty());
    net.stream(publisher, 2, 1);
    assert!(net.list(source).is_empty(), "nothing begins any more");
}

#[test]
fn the_first_address_that_answers_is_used() {
    let mut net = Net::new();
    let source = net.server(forwards(&["rtmp://sink.example/copy/{stream}"]));
    let _ = net.server(VhostConfig::default());
    net.names.insert("sink.example".to_owned(), vec![address("[2001:db8::1]:0"), address("10.0.0.2:0")]);
    net.hosts.insert(address("[2001:db8::1]:1935"), Host::BlackHole);
    let publisher = net.publisher(source, "live/cam");
    net.stream(publisher, 0, 1);
    let relay = net.list(source).remove(0);
    assert_eq!((relay.state, relay.peer), (RelayState::Live, Some(address("10.0.0.2:1935"))));
    assert_eq!(relay.attempts, 1);
    assert!(net.opening.is_empty(), "the other address was given up");
}

#[test]
fn a_codec_that_the_target_does_not_take_is_said_and_nothing_is_sent() {
    use crate::command::Capabilities;
    use crate::command::FourCcSupport;
    use crate::flv::FourCC;
    let mut net = Net::new();
    let source = net.server(VhostConfig::default());
    let publisher = net.client(source, "live/cam", true);
    net.run(SECOND);
    // HEVC by Enhanced RTMP: sequence start, then a key frame.
    net.send(publisher, Message::video(0, &b"\x90hvc1\x01\x02\x03\x04"[..]));
    net.send(publisher, Message::video(0, &b"\x91hvc1\x00\x00\x00\x01\x02"[..]));
    net.run(SECOND);
    let config = net.servers[source].core.config();
    let rules = crate::relay::StreamRules {
        id: "".into(),
        hub: net.servers[source].core.hub().clone(),
        forward: Vec::new(),
        edge: None,
        high_water: config.defaults.high_water,
        chunk_size: 60_000,
        data: crate::message::data::DataLimits { metadata: 1000, other: 1000, amf: Default::default() },
        chunks: Default::default(),
    };
    let mut push = crate::relay::push::Push::new(&Arc::new(rules), &key("live/cam"));
    let only = |codec| Capabilities { video: FourCcSupport::List(vec![codec]), ..Capabilities::default() };
    assert_eq!(push.learn(&only(FourCC::AV01)).as_deref(), Some("the target does not take HEVC"));
    assert_eq!(push.learn(&only(FourCC::HVC1)), None);
    assert_eq!(push.learn(&Capabilities::default()), None, "a peer that announces nothing gets everything");
    assert_eq!(push.left_out(), "multitrack");
}
