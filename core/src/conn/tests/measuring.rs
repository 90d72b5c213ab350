//! The bandwidth check.

use super::*;
use crate::message::{Control, PeerBandwidthLimit};

/// A host for the bandwidth check: a client is measured in both directions, gets the result, and is closed; a second
/// check soon after is refused, and so is one without the key.
#[test]
fn a_bandwidth_check_runs_through_and_closes() {
    let check = crate::bandwidth::BandwidthConfig { key: "secret".to_owned(), ..Default::default() };
    let mut harness = Harness::with(VhostConfig { bandwidth_check: Some(check), ..VhostConfig::default() }.into());
    let connect = |harness: &Harness, tc_url: &str| {
        let mut client = Client::new(harness, None);
        let object = Object::default().with("app", "check").with("tcUrl", tc_url);
        client.send(harness, &[peer::handshake(), peer::connect_with(object)].concat());
        client
    };
    let mut stranger = connect(&harness, "rtmp://host/check");
    assert!(contains(&stranger.receive(&harness), "NetConnection.Connect.Rejected"));

    let url = "rtmp://host/check?key=secret";
    let mut client = connect(&harness, url);
    let answers = [
        ("onSrsBandCheckStartPlayBytes", "onSrsBandCheckStartingPlayBytes"),
        ("onSrsBandCheckStopPlayBytes", "onSrsBandCheckStoppedPlayBytes"),
        ("onSrsBandCheckStartPublishBytes", "onSrsBandCheckStartingPublishBytes"),
        ("onSrsBandCheckStopPublishBytes", "onSrsBandCheckStoppedPublishBytes"),
        ("onSrsBandCheckFinished", "finalClientPacket"),
    ];
    let mut received = Vec::new();
    for _ in 0..2000 {
        for line in client.receive(&harness) {
            let answer = answers.iter().find(|(name, _)| line.split(' ').any(|word| word == *name));
            if let Some((name, answer)) = answer {
                received.push(*name);
                client.send(&harness, &peer::command(answer, 0.0, 0, &[]));
            }
        }
        if client.closed.is_some() {
            break;
        }
        harness.pass(Duration::from_millis(20));
        client.conn.handle_timeout(harness.now);
        client.poll(&harness);
    }
    assert_eq!(received, answers.map(|(name, _)| name));
    assert_eq!(client.closed.expect("over").close.reason.name(), "bandwidth_checked");

    let mut again = connect(&harness, url);
    assert!(contains(&again.receive(&harness), "NetConnection.Connect.Rejected"), "not so soon");
    again.disconnect(&harness);
    harness.pass(Duration::from_secs(30));
    let mut later = connect(&harness, url);
    assert!(contains(&later.receive(&harness), "NetConnection.Connect.Success"));
}

/// An upload over the limit is throttled: the connection is not read, and is read again at the time that it returned.
#[test]
fn an_upload_over_the_limit_is_not_read_for_a_moment() {
    let check = crate::bandwidth::BandwidthConfig { limit_kbps: 1000, ..Default::default() };
    let mut harness = Harness::with(VhostConfig { bandwidth_check: Some(check), ..VhostConfig::default() }.into());
    let object = Object::default().with("app", "check").with("tcUrl", "rtmp://host/check?key=");
    let mut client = harness.client_from(None, object);
    client.send(&harness, &peer::command("onSrsBandCheckStartingPlayBytes", 0.0, 0, &[]));
    harness.pass(Duration::from_secs(3));
    assert!(contains(&client.receive(&harness), "onSrsBandCheckStopPlayBytes"));
    client.send(&harness, &peer::command("onSrsBandCheckStoppedPlayBytes", 0.0, 0, &[]));
    assert!(contains(&client.receive(&harness), "onSrsBandCheckStartPublishBytes"));
    client.send(&harness, &peer::command("onSrsBandCheckStartingPublishBytes", 0.0, 0, &[]));
    client.receive(&harness);
    let reads = |client: &Client| client.wait.expect("it waits").read.is_some();
    harness.pass(Duration::from_millis(50));
    client.send(&harness, &peer::message(AUDIO, 0, 0, &[0; 6000]));
    assert!(reads(&client), "6000 bytes in 50 ms are under 1000 kbit/s");
    client.send(&harness, &peer::message(AUDIO, 0, 0, &[0; 6000]));
    assert!(!reads(&client), "and 12000 are not");
    assert_eq!(client.deadline(), Some(harness.now + Duration::from_millis(100)));
    harness.pass(Duration::from_millis(100));
    client.conn.handle_timeout(harness.now);
    client.poll(&harness);
    assert!(reads(&client));
}

/// Control messages keep their meaning while bytes are counted.
#[test]
fn control_messages_are_no_upload() {
    let check = crate::bandwidth::BandwidthConfig { limit_kbps: 1000, ..Default::default() };
    let mut harness = Harness::with(VhostConfig { bandwidth_check: Some(check), ..VhostConfig::default() }.into());
    let object = Object::default().with("app", "check").with("tcUrl", "rtmp://host/check?key=");
    let mut client = harness.client_from(None, object);
    client.send(&harness, &peer::command("onSrsBandCheckStartingPlayBytes", 0.0, 0, &[]));
    harness.pass(Duration::from_secs(3));
    client.receive(&harness);
    for answer in ["onSrsBandCheckStoppedPlayBytes", "onSrsBandCheckStartingPublishBytes"] {
        client.send(&harness, &peer::command(answer, 0.0, 0, &[]));
        client.receive(&harness);
    }
    let bandwidth = peer::control(&Control::SetPeerBandwidth { window: 5000, limit: PeerBandwidthLimit::Dynamic });
    for _ in 0..2000 {
        client.send(&harness, &bandwidth);
    }
    assert!(client.wait.expect("it waits").read.is_some(), "ten kilobytes at once would be too many");
}

/// What is lent counts as waiting: the check queues no more meanwhile, and does not count it as played.
#[test]
fn what_a_writer_has_of_a_check_counts_as_waiting() {
    let check = crate::bandwidth::BandwidthConfig::default();
    let mut harness = Harness::with(VhostConfig { bandwidth_check: Some(check), ..VhostConfig::default() }.into());
    let object = Object::default().with("app", "check").with("tcUrl", "rtmp://host/check?key=");
    let mut client = harness.client_from(None, object);
    client.send(&harness, &peer::command("onSrsBandCheckStartingPlayBytes", 0.0, 0, &[]));
    let mut turn = |client: &mut Client| {
        harness.pass(Duration::from_millis(20));
        client.poll(&harness);
    };
    for _ in 0..20 {
        turn(&mut client);
    }
    let most = crate::bandwidth::MAX_QUEUED;
    let all = client.conn.outbound().len();
    assert!(all <= most && all > most / 2, "{all} bytes");
    let lent = client.conn.outbound().lend().expect("the check sends");
    for _ in 0..20 {
        turn(&mut client);
    }
    client.conn.outbound().restore(lent).expect("it is its own");
    let all = client.conn.outbound().len();
    assert!(all <= most, "{all} bytes");
}
