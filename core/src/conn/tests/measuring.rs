//! The bandwidth check.

use super::*;
use crate::message::{Control, PeerBandwidthLimit};

/// A host for the bandwidth check: measured in both directions, told the result, closed; not twice in a row, and not
/// without the key.
#[test]
fn a_bandwidth_check_runs_through_and_closes() {
    let check = crate::bandwidth::BandwidthConfig { key: "secret".to_owned(), ..Default::default() };
    let mut site = Site::with(VhostConfig { bandwidth_check: Some(check), ..VhostConfig::default() }.into());
    let connect = |site: &Site, tc_url: &str| {
        let mut client = Client::new(site, None);
        let object = Object::default().with("app", "check").with("tcUrl", tc_url);
        client.say(site, &[peer::handshake(), peer::connect_with(object)].concat());
        client
    };
    let mut stranger = connect(&site, "rtmp://host/check");
    assert!(said(&stranger.hear(&site), "NetConnection.Connect.Rejected"));

    let url = "rtmp://host/check?key=secret";
    let mut client = connect(&site, url);
    let answers = [
        ("onSrsBandCheckStartPlayBytes", "onSrsBandCheckStartingPlayBytes"),
        ("onSrsBandCheckStopPlayBytes", "onSrsBandCheckStoppedPlayBytes"),
        ("onSrsBandCheckStartPublishBytes", "onSrsBandCheckStartingPublishBytes"),
        ("onSrsBandCheckStopPublishBytes", "onSrsBandCheckStoppedPublishBytes"),
        ("onSrsBandCheckFinished", "finalClientPacket"),
    ];
    let mut heard = Vec::new();
    for _ in 0..2000 {
        for line in client.hear(&site) {
            let answer = answers.iter().find(|(name, _)| line.split(' ').any(|word| word == *name));
            if let Some((name, answer)) = answer {
                heard.push(*name);
                client.say(&site, &peer::command(answer, 0.0, 0, &[]));
            }
        }
        if client.closed.is_some() {
            break;
        }
        site.pass(Duration::from_millis(20));
        client.conn.handle_timeout(site.now);
        client.poll(&site);
    }
    assert_eq!(heard, answers.map(|(name, _)| name));
    assert_eq!(client.closed.expect("over").close.reason.name(), "bandwidth_checked");

    let mut again = connect(&site, url);
    assert!(said(&again.hear(&site), "NetConnection.Connect.Rejected"), "not so soon");
    again.disconnect(&site);
    site.pass(Duration::from_secs(30));
    let mut later = connect(&site, url);
    assert!(said(&later.hear(&site), "NetConnection.Connect.Success"));
}

/// Upload over the limit is throttled by not being read, and read again when the connection said it would be.
#[test]
fn an_upload_over_the_limit_is_not_read_for_a_moment() {
    let check = crate::bandwidth::BandwidthConfig { limit_kbps: 1000, ..Default::default() };
    let mut site = Site::with(VhostConfig { bandwidth_check: Some(check), ..VhostConfig::default() }.into());
    let object = Object::default().with("app", "check").with("tcUrl", "rtmp://host/check?key=");
    let mut client = site.client_from(None, object);
    client.say(&site, &peer::command("onSrsBandCheckStartingPlayBytes", 0.0, 0, &[]));
    site.pass(Duration::from_secs(3));
    assert!(said(&client.hear(&site), "onSrsBandCheckStopPlayBytes"));
    client.say(&site, &peer::command("onSrsBandCheckStoppedPlayBytes", 0.0, 0, &[]));
    assert!(said(&client.hear(&site), "onSrsBandCheckStartPublishBytes"));
    client.say(&site, &peer::command("onSrsBandCheckStartingPublishBytes", 0.0, 0, &[]));
    client.hear(&site);
    let reads = |client: &Client| client.wait.expect("it waits").read;
    site.pass(Duration::from_millis(50));
    client.say(&site, &peer::message(AUDIO, 0, 0, &[0; 6000]));
    assert!(reads(&client), "6000 bytes in 50 ms are under 1000 kbit/s");
    client.say(&site, &peer::message(AUDIO, 0, 0, &[0; 6000]));
    assert!(!reads(&client), "and 12000 are not");
    assert_eq!(client.deadline(), Some(site.now + Duration::from_millis(100)));
    site.pass(Duration::from_millis(100));
    client.conn.handle_timeout(site.now);
    client.poll(&site);
    assert!(reads(&client));
}

/// Control messages keep their meaning while bytes are counted.
#[test]
fn control_messages_are_no_upload() {
    let check = crate::bandwidth::BandwidthConfig { limit_kbps: 1000, ..Default::default() };
    let mut site = Site::with(VhostConfig { bandwidth_check: Some(check), ..VhostConfig::default() }.into());
    let object = Object::default().with("app", "check").with("tcUrl", "rtmp://host/check?key=");
    let mut client = site.client_from(None, object);
    client.say(&site, &peer::command("onSrsBandCheckStartingPlayBytes", 0.0, 0, &[]));
    site.pass(Duration::from_secs(3));
    client.hear(&site);
    for answer in ["onSrsBandCheckStoppedPlayBytes", "onSrsBandCheckStartingPublishBytes"] {
        client.say(&site, &peer::command(answer, 0.0, 0, &[]));
        client.hear(&site);
    }
    let bandwidth = peer::control(&Control::SetPeerBandwidth { window: 5000, limit: PeerBandwidthLimit::Dynamic });
    for _ in 0..2000 {
        client.say(&site, &bandwidth);
    }
    assert!(client.wait.expect("it waits").read, "ten kilobytes at once would be too many");
}
