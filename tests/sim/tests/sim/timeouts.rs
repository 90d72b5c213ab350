//! Clients that send nothing, or stop sending, are closed in time and with the reason.

use std::time::Duration;

use anabranch_core::conn::VhostConfig;
use anabranch_sim::{ClientId, Pair, Sim};

const SECOND: Duration = Duration::from_secs(1);

/// Waits until the connection is closed; the reason, and how long it took from `since`.
fn closed(net: &mut Sim, client: ClientId, since: Duration) -> (&'static str, Duration) {
    net.run_until(SECOND * 120, |net| !net.is_open(client));
    (net.report(client).expect("it is closed").close.reason.name(), net.elapsed() - since)
}

fn assert_about(took: Duration, expected: Duration) {
    assert!(took >= expected && took < expected + SECOND, "closed after {took:?}, not {expected:?}");
}

#[test]
fn a_client_that_sends_nothing() {
    let mut net = Sim::new(1);
    let silent = net.open_silently();
    let (reason, took) = closed(&mut net, silent, Duration::ZERO);
    assert_eq!(reason, "connect_timeout");
    assert_about(took, net.server().config().defaults.session.timeouts.connect);
    net.run_for(SECOND);
    assert!(net.client(silent).is_closed());
}

#[test]
fn a_handshake_that_never_ends() {
    let mut net = Sim::new(2);
    let slow = net.play("live", "cam");
    net.link(slow).up.bandwidth(20);
    let (reason, took) = closed(&mut net, slow, Duration::ZERO);
    assert_eq!(reason, "connect_timeout");
    assert_about(took, net.server().config().defaults.session.timeouts.connect);
}

#[test]
fn a_client_that_connects_and_asks_for_nothing() {
    let mut net = Sim::new(3);
    let idle = net.idle("live");
    let (reason, took) = closed(&mut net, idle, Duration::ZERO);
    assert_eq!(reason, "identify_timeout");
    assert_about(took, net.server().config().defaults.session.timeouts.identify);
}

#[test]
fn a_publisher_that_stopped_and_stays() {
    let mut net = Sim::new(4);
    let publisher = net.publish("live", "cam");
    net.run_for(SECOND * 50);
    let since = net.elapsed();
    net.stop_and_stay(publisher);
    let (reason, took) = closed(&mut net, publisher, since);
    assert_eq!(reason, "identify_timeout");
    assert_about(took, net.server().config().defaults.session.timeouts.identify);
}

#[test]
fn a_publisher_that_falls_silent_frees_its_name() {
    let mut net = Sim::new(5);
    let publisher = net.publish("live", "cam");
    let player = net.play("live", "cam");
    net.run_for(SECOND * 33);
    let since = net.elapsed();
    net.mute(publisher, true);
    let (reason, took) = closed(&mut net, publisher, since);
    assert_eq!(reason, "next_message_timeout");
    assert_about(took, net.server().config().defaults.session.timeouts.next_message);
    let next = net.publish("live", "cam");
    net.run_for(SECOND * 3);
    assert!(net.client(next).is_running());
    assert!(net.player(player).frames().iter().any(|frame| frame.publisher == next.index()));
}

#[test]
fn a_publisher_that_pauses_shortly_stays() {
    let mut net = Sim::new(6);
    let publisher = net.publish("live", "cam");
    for _ in 0..5 {
        net.run_for(SECOND * 4);
        net.mute(publisher, true);
        net.run_for(SECOND * 8);
        net.mute(publisher, false);
    }
    assert!(net.client(publisher).is_running());
}

#[test]
fn a_player_waits_ten_minutes_for_a_stream_without_publisher() {
    let mut net = Sim::new(7);
    let player = net.play("live", "cam");
    let limit = net.server().config().defaults.session.timeouts.wait_for_stream;
    assert_eq!(limit, SECOND * 600);
    net.run_for(limit - SECOND);
    assert!(net.client(player).is_running());
    net.run_until(SECOND * 700, |net| !net.is_open(player));
    assert_eq!(net.report(player).expect("it is closed").close.reason.name(), "wait_for_stream_timeout");
    // The client may hang up in the time for last words, and what it heard last says why.
    assert!(net.elapsed() >= limit && net.elapsed() < limit + SECOND * 5);
}

#[test]
fn a_player_may_wait_for_ever_where_that_is_wanted_and_is_pinged_meanwhile() {
    let mut config = VhostConfig::default();
    config.session.timeouts.wait_for_stream = Duration::MAX;
    let mut net = Sim::with_config(7, config.into());
    let player = net.play("live", "cam");
    net.run_for(SECOND * 3_600);
    assert!(net.client(player).is_running());
    let hundred_pings = 18 * 100;
    net.close(player);
    net.run_for(SECOND);
    assert!(net.report(player).expect("it ended").sent > hundred_pings);
}

#[test]
fn a_server_that_stops_sends_a_notice_to_all_clients() {
    let mut net = Sim::new(8);
    let publisher = net.publish("live", "cam");
    let player = net.play("live", "cam");
    net.run_for(SECOND * 3);
    net.shutdown();
    net.run_for(SECOND * 4);
    for client in [publisher, player] {
        assert_eq!(net.report(client).expect("it is closed").close.reason.name(), "shutdown");
        assert!(net.client(client).is_closed());
    }
    assert_eq!(net.client(player).statuses().last(), Some(&"NetStream.Play.UnpublishNotify"));
    assert!(net.server().hub().streams().is_empty());
}

#[test]
fn a_pair_without_a_link_keeps_the_same_time() {
    let mut pair = Pair::new(9).connected("live");
    pair.call("play", 1, &["cam".into()]);
    assert_eq!(pair.statuses(), ["NetConnection.Connect.Success", "NetStream.Play.Reset", "NetStream.Play.Start"]);
    pair.call("deleteStream", 0, &[1.0.into()]);
    pair.advance(SECOND * 29);
    assert!(pair.report().is_none());
    pair.advance(SECOND * 2);
    assert_eq!(pair.report().expect("it is closed").close.reason.name(), "identify_timeout");
    // Attached and subscribed, said to wait, then neither.
    assert_eq!(pair.actions().len(), 5);
}
