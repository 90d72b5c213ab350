//! Names that are claimed in the directory of a cluster before they are published.

use super::*;
use crate::cluster::{ClaimNumber, ClusterConfig, DirectoryOrder};
use crate::location::{ClaimError, OnLoss};
use crate::relay::Order;

fn member(on_loss: OnLoss) -> Harness {
    member_with(on_loss, Asks::default())
}

fn member_with(on_loss: OnLoss, asks: Asks) -> Harness {
    let cluster = ClusterConfig { on_loss, ..ClusterConfig::default() };
    let config = VhostConfig { asks, ..VhostConfig::default() };
    Harness::with(Config { cluster: Some(cluster), ..config.into() })
}

/// What the server wants of the directory.
fn wanted(harness: &Harness) -> Vec<DirectoryOrder> {
    let mut orders = Vec::new();
    loop {
        match harness.server.relays().poll_directory() {
            DirectoryOrder::Wait => return orders,
            order => orders.push(order),
        }
    }
}

/// The one claim that it wants now.
fn claim(harness: &Harness) -> ClaimNumber {
    match wanted(harness)[..] {
        [DirectoryOrder::Claim { claim, .. }] => claim,
        ref other => panic!("{other:?}"),
    }
}

fn is_released(harness: &Harness, claim: ClaimNumber) -> bool {
    wanted(harness).contains(&DirectoryOrder::Release(claim))
}

/// Hands the client what the relays order for it.
fn obey(harness: &Harness, client: &mut Client) -> Vec<String> {
    loop {
        match harness.server.relays().poll(harness.now) {
            Order::Answer { ask, verdict, .. } => client.conn.answer(harness.now, ask, verdict),
            Order::LoseName { key, .. } => client.conn.lose_name(&key),
            Order::Wait(_) => return client.receive(harness),
            _ => {}
        }
    }
}

/// Has the directory answer the claim.
fn answer(harness: &Harness, client: &mut Client, outcome: Result<Option<u64>, ClaimError>) -> ClaimNumber {
    let claim = claim(harness);
    harness.server.relays().claimed(claim, outcome);
    client.received = obey(harness, client);
    claim
}

#[test]
fn a_name_that_is_lost_ends_only_the_stream_that_has_it() {
    let harness = member(OnLoss::Serve);
    let mut client = harness.asks_to_publish("a");
    let first = answer(&harness, &mut client, Ok(Some(1)));
    client.send(&harness, &[peer::create_stream(3.0), peer::publish(2, "b")].concat());
    let second = answer(&harness, &mut client, Ok(Some(2)));
    let relays = harness.server.relays();
    relays.lost("__defaultVhost__/live/a");
    assert!(!is_released(&harness, first), "it publishes until it is told");
    let told = obey(&harness, &mut client);
    assert!(contains(&told, "5/1 onStatus 0 NetStream.Publish.BadName"), "{told:?}");
    assert!(client.closed.is_none());
    let hub = harness.server.hub();
    let publishes = |name: &str| hub.standing(&name.parse().expect("a name")).publication.is_some();
    assert!(!publishes("live/a") && publishes("live/b"));
    assert!(is_released(&harness, first));
    // What is lost is not what it publishes by now.
    client.conn.lose_name(&"live/a".parse().expect("a name"));
    client.poll(&harness);
    assert!(publishes("live/b") && client.closed.is_none());
    relays.lost("__defaultVhost__/live/b");
    obey(&harness, &mut client);
    client.disconnect(&harness);
    assert_eq!(client.closed.map(|report| report.close.reason), Some(CloseReason::LeaseLost), "nothing is left");
    assert!(is_released(&harness, second));
}

#[test]
fn an_offer_by_webrtc_waits_for_its_name_and_ends_with_it() {
    let mut reader = crate::http::RequestReader::new(crate::http::Limits::default());
    let mut text = &b"POST /live/cam/whip HTTP/1.1\r\nHost: h\r\n\r\n"[..];
    let request = reader.read(&mut text).expect("it is legal").expect("it is whole");
    let asking = |harness: &Harness| {
        let mut client = Client::new(harness, None);
        client.conn = harness.server.offer(harness.now, None, &request, "live", "cam");
        client.poll(harness);
        assert_eq!(client.conn.take_admission(), None, "it waits");
        client
    };
    let status = |client: &mut Client| match client.conn.take_admission() {
        Some(Admission::Refused(answer)) => answer.status,
        Some(Admission::Granted) => 201,
        None => 0,
    };
    let harness = member(OnLoss::Serve);
    let mut client = asking(&harness);
    answer(&harness, &mut client, Err(ClaimError::Held("other".into())));
    assert_eq!(status(&mut client), 409);
    let harness = member(OnLoss::Serve);
    let mut client = asking(&harness);
    let claim = answer(&harness, &mut client, Ok(Some(1)));
    assert_eq!(status(&mut client), 201);
    assert!(!is_released(&harness, claim));
    harness.server.relays().lost("__defaultVhost__/live/cam");
    obey(&harness, &mut client);
    assert_eq!(status(&mut client), 503);
    client.disconnect(&harness);
    assert_eq!(client.closed.map(|report| report.close.reason), Some(CloseReason::LeaseLost));
    assert!(is_released(&harness, claim));
}

#[test]
fn a_claim_that_nothing_answers_is_decided_by_the_setting() {
    for on_loss in [OnLoss::Serve, OnLoss::Refuse, OnLoss::Strict] {
        let mut harness = member(on_loss);
        let mut client = harness.asks_to_publish("cam");
        let one = claim(&harness);
        client.run(&mut harness, Duration::from_secs(4));
        client.received = client.receive(&harness);
        let serves = on_loss == OnLoss::Serve;
        assert_eq!(contains(&client.received, "Publish.Start"), serves, "{:?}", client.received);
        assert_eq!(contains(&client.received, "Publish.Denied"), !serves, "{:?}", client.received);
        assert_eq!(is_released(&harness, one), !serves);
        if serves {
            // The directory answers again: another server has the name.
            harness.server.relays().claimed(one, Err(ClaimError::Held("other".into())));
            let told = obey(&harness, &mut client);
            assert!(contains(&told, "NetStream.Publish.BadName"), "{told:?}");
            assert!(is_released(&harness, one));
        }
    }
}

#[test]
fn a_refusal_says_why_the_directory_gives_no_name() {
    let harness = member(OnLoss::Refuse);
    for (error, words) in
        [(ClaimError::Hold, "has just started"), (ClaimError::Full, "as many names"), (ClaimError::NoAnswer, "answer")]
    {
        let mut client = harness.asks_to_publish("cam");
        answer(&harness, &mut client, Err(error));
        let refused = client.remarks.iter().find_map(|remark| match remark {
            Remark::Refused(refused) => Some(refused.clone()),
            _ => None,
        });
        let refused = refused.expect("it is refused");
        assert!(refused.code == "no_directory" && refused.told.contains(words), "{refused:?}");
        wanted(&harness);
    }
}

#[test]
fn a_server_that_drains_claims_nothing_and_withdraws_what_it_has_claimed() {
    let asks = Asks { publish: true, ..Asks::default() };
    for is_asked in [false, true] {
        let harness = member_with(OnLoss::Serve, if is_asked { asks.clone() } else { Asks::default() });
        let mut client = harness.asks_to_publish("cam");
        let claimed = (!is_asked).then(|| claim(&harness));
        harness.server.drain();
        client.conn.drain(harness.now + Duration::from_secs(10), None);
        let received = if is_asked { client.answer(&harness, Verdict::Allow) } else { client.receive(&harness) };
        assert!(contains(&received, "NetStream.Publish.Denied"), "{received:?}");
        match claimed {
            Some(claim) => assert!(is_released(&harness, claim)),
            None => assert!(wanted(&harness).is_empty(), "no server loses the name to one that cannot use it"),
        }
    }
}
