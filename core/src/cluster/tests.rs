use std::time::Duration;

use super::claims::{Claimed, Lost, PAUSE};
use super::places::AGAIN;
use super::*;
use crate::location::{ClaimError, Located, Owner};
use crate::policy::{AskId, Verdict};

fn key(text: &str) -> StreamKey {
    text.parse().expect("a name")
}

fn start() -> Instant {
    #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
    Instant::now()
}

const RECHECK: Duration = Duration::from_secs(10);

fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    cluster.set_recheck(RECHECK);
    cluster
}

fn orders(cluster: &mut Cluster) -> Vec<DirectoryOrder> {
    let mut orders = Vec::new();
    loop {
        match cluster.next_order() {
            DirectoryOrder::Wait => return orders,
            order => orders.push(order),
        }
    }
}

/// The one question among the orders.
fn question(cluster: &mut Cluster) -> FindNumber {
    let finds: Vec<_> = orders(cluster)
        .into_iter()
        .filter_map(|order| match order {
            DirectoryOrder::Find { find, .. } => Some(find),
            _ => None,
        })
        .collect();
    assert_eq!(finds.len(), 1, "one question");
    finds[0]
}

fn at(node: &str, fencing: u64) -> Located {
    let owner =
        Owner { node: node.into(), fencing, address: Some(format!("rtmp://{node}").into()), is_draining: false };
    Located::At { owner, stale: false }
}

fn claim(cluster: &mut Cluster, connection: u64) -> ClaimNumber {
    cluster.claim(&key("live/cam"), (connection, AskId(connection)), Conflict::Refuse, false)
}

#[test]
fn a_claim_is_decided_once_and_released_once() {
    let mut cluster = cluster();
    let one = claim(&mut cluster, 7);
    let name: Arc<str> = "__defaultVhost__/live/cam".into();
    let expected = DirectoryOrder::Claim { claim: one, name, conflict: Conflict::Refuse };
    assert_eq!(orders(&mut cluster), [expected]);
    assert_eq!(cluster.snapshot(100).waiting, 1);
    assert_eq!(cluster.claimed(one, Ok(Some(5))), Claimed::Verdict(7, AskId(7), Verdict::Allow));
    assert_eq!(cluster.claimed(one, Ok(Some(5))), Claimed::Nothing);
    assert_eq!(cluster.snapshot(100).waiting, 0);
    assert_eq!((cluster.lease(&key("live/cam")), cluster.lease(&key("live/other"))), (Some(5), None));
    cluster.release(one);
    cluster.release(one);
    assert_eq!(orders(&mut cluster), [DirectoryOrder::Release(one)]);
    assert!(cluster.names.is_empty() && cluster.claims.is_empty());
}

#[test]
fn a_client_that_stands_by_asks_again_as_another_claim_until_it_has_the_name_or_leaves() {
    for leaves in [false, true] {
        let (mut cluster, now) = (Cluster::default(), start());
        let one = cluster.claim(&key("live/cam"), (7, AskId(7)), Conflict::Refuse, true);
        let held = || Err(ClaimError::Held("b".into()));
        assert!(matches!(cluster.claimed(one, held()), Claimed::Verdict(7, _, Verdict::Origin { .. })));
        assert!(cluster.stands_by(one) && cluster.names.is_empty());
        cluster.want(now, &key("live/cam"));
        let find = question(&mut cluster);
        cluster.located(now, find, at("b", 5));
        let waits = |lack| Waiting { connection: 7, lack };
        let claims = |cluster: &mut Cluster| {
            let orders = orders(cluster).into_iter().filter_map(|order| match order {
                DirectoryOrder::Claim { claim, conflict, .. } => Some((claim, conflict)),
                _ => None,
            });
            orders.collect::<Vec<_>>()
        };
        let stalled = |seen| waits(Some(Lack::Stalled { seen }));
        cluster.back_up(now, &key("live/cam"), waits(None), true);
        cluster.back_up(now, &key("live/cam"), Waiting { connection: 8, ..stalled(true) }, true);
        assert_eq!(claims(&mut cluster), []);
        cluster.back_up(now, &key("live/cam"), stalled(false), false);
        cluster.back_up(now, &key("live/cam"), stalled(true), true);
        let [(second, Conflict::Refuse)] = claims(&mut cluster)[..] else { panic!("one is asked at a time") };
        assert_eq!(cluster.claimed(one, Ok(Some(6))), Claimed::Nothing, "it is over");
        assert_eq!(cluster.claimed(second, held()), Claimed::Nothing);
        cluster.back_up(now, &key("live/cam"), stalled(true), false);
        assert_eq!(claims(&mut cluster), [], "not at once again");
        cluster.back_up(now + PAUSE, &key("live/cam"), stalled(true), false);
        let [(third, Conflict::TakeFrom(5))] = claims(&mut cluster)[..] else { panic!("the name is taken") };
        assert!(third != second && second != one);
        if leaves {
            cluster.release(one);
            assert_eq!(orders(&mut cluster), [DirectoryOrder::Release(third)]);
            assert_eq!(cluster.claimed(third, Ok(Some(6))), Claimed::Nothing);
        } else {
            assert_eq!(cluster.claimed(third, Ok(Some(6))), Claimed::Name(key("live/cam"), 7));
            assert_eq!(cluster.lease(&key("live/cam")), Some(6));
            assert!(!cluster.stands_by(one));
            let lost = cluster.lost("__defaultVhost__/live/cam").expect("it had the name");
            assert_eq!(lost.connections, [7]);
            assert_eq!(orders(&mut cluster), [], "its client publishes still");
            cluster.release(one);
            assert_eq!(orders(&mut cluster), [DirectoryOrder::Release(third)]);
        }
        assert!(cluster.names.is_empty() && cluster.claims.is_empty());
        assert!(cluster.backups.is_empty() && cluster.attempts.is_empty());
    }
}

#[test]
fn a_client_that_stands_by_has_the_name_when_another_client_of_its_server_gets_it() {
    let (mut cluster, now) = (Cluster::default(), start());
    let one = cluster.claim(&key("live/cam"), (7, AskId(7)), Conflict::Refuse, true);
    cluster.claimed(one, Err(ClaimError::Held("b".into())));
    let other = claim(&mut cluster, 8);
    cluster.claimed(other, Ok(Some(6)));
    orders(&mut cluster);
    cluster.back_up(now, &key("live/cam"), Waiting { connection: 7, lack: None }, true);
    let [DirectoryOrder::Claim { claim, .. }] = orders(&mut cluster)[..] else { panic!("it is claimed for it, too") };
    cluster.claimed(claim, Ok(Some(6)));
    cluster.release(other);
    assert_eq!(cluster.lease(&key("live/cam")), Some(6));
    cluster.release(one);
    assert!(cluster.names.is_empty() && cluster.claims.is_empty() && cluster.backups.is_empty());
}

#[test]
fn a_claim_of_a_client_that_has_left_is_released_whatever_the_answer() {
    let mut cluster = cluster();
    let one = claim(&mut cluster, 7);
    cluster.release(one);
    assert_eq!(cluster.claimed(one, Ok(Some(5))), Claimed::Nothing);
    assert_eq!(orders(&mut cluster)[1..], [DirectoryOrder::Release(one)]);
    assert_eq!(cluster.lease(&key("live/cam")), None);
}

#[test]
fn a_refused_claim_tells_clients_nothing_of_the_other_server() {
    let mut cluster = cluster();
    for (error, is_taken) in [(ClaimError::Held("secret-node".into()), true), (ClaimError::NoAnswer, false)] {
        let one = claim(&mut cluster, 7);
        let Claimed::Verdict(.., verdict) = cluster.claimed(one, Err(error)) else { panic!("it waits") };
        assert!(!format!("{verdict:?}").contains("secret-node"));
        assert_eq!(matches!(verdict, Verdict::Origin { .. }), is_taken, "{verdict:?}");
    }
    assert!(cluster.names.is_empty() && cluster.claims.is_empty());
    let totals = cluster.snapshot(100).totals;
    assert_eq!((totals.held, totals.refused, totals.granted), (1, 1, 0));
}

#[test]
fn who_publishes_a_lost_name_is_known_and_those_that_wait_go_on_waiting() {
    let mut cluster = cluster();
    let (one, waits) = (claim(&mut cluster, 7), claim(&mut cluster, 8));
    cluster.claimed(one, Ok(None));
    cluster.registered("__defaultVhost__/live/cam", 9);
    assert_eq!(cluster.lease(&key("live/cam")), Some(9));
    let lost = cluster.lost("__defaultVhost__/live/cam").expect("it had the name");
    assert_eq!((lost.key, lost.connections), (key("live/cam"), vec![7]));
    assert!(cluster.lost("__defaultVhost__/live/cam").is_none(), "told once");
    assert_eq!(cluster.lease(&key("live/cam")), None);
    assert!(matches!(cluster.claimed(waits, Err(ClaimError::Held("b".into()))), Claimed::Verdict(8, ..)));
    let released = |orders: &[DirectoryOrder]| orders.contains(&DirectoryOrder::Release(one));
    assert!(!released(&orders(&mut cluster)), "its client publishes still");
    cluster.release(one);
    assert!(released(&orders(&mut cluster)));
    assert!(cluster.names.is_empty() && cluster.claims.is_empty());
}

#[test]
fn a_wanted_name_is_asked_about_until_it_comes_and_again_when_it_stops() {
    let (mut cluster, now) = (cluster(), start());
    let cam = key("live/cam");
    cluster.want(now, &cam);
    cluster.want(now, &cam);
    let find = question(&mut cluster);
    assert_eq!(cluster.located(now, find, Located::Nowhere), Learned::Nothing, "nothing new");
    assert_eq!(cluster.tick(now), Some(now + Duration::from_secs(1)));
    cluster.tick(now + Duration::from_secs(1));
    let find = question(&mut cluster);
    assert_eq!(cluster.located(now, find, at("b", 5)), Learned::Place(cam.clone()));
    assert_eq!(cluster.wants[&cam].place.as_ref().map(|place| place.fencing), Some(5));
    cluster.look(now, &cam, true);
    assert_eq!(cluster.tick(now + Duration::from_secs(9)), Some(now + RECHECK));
    cluster.look(now + Duration::from_secs(9), &cam, true);
    assert!(orders(&mut cluster).is_empty());
    cluster.tick(now + RECHECK);
    let find = question(&mut cluster);
    assert_eq!(cluster.located(now + RECHECK, find, at("b", 5)), Learned::Nothing, "as it was");
    assert_eq!(cluster.tick(now + RECHECK), Some(now + RECHECK * 2), "while it comes, a notice may have been lost");
    cluster.look(now, &cam, false);
    let find = question(&mut cluster);
    assert_eq!(cluster.located(now, find, Located::Unknown), Learned::Nothing, "what was known holds");
    assert!(cluster.place(&cam).is_some());
    cluster.forget(&cam);
    assert!(matches!(orders(&mut cluster)[..], [DirectoryOrder::Unwatch(_)]));
    assert!(cluster.wants.is_empty() && cluster.finds.is_empty());
}

#[test]
fn a_change_while_a_question_is_open_leads_to_another_question() {
    let (mut cluster, now) = (cluster(), start());
    cluster.want(now, &key("live/cam"));
    let find = question(&mut cluster);
    cluster.changed(now, "__defaultVhost__/live/cam");
    cluster.changed(now, "__defaultVhost__/live/cam");
    cluster.changed(now, "no name");
    assert!(orders(&mut cluster).is_empty());
    cluster.located(now, find, Located::Nowhere);
    let find = question(&mut cluster);
    assert_eq!(cluster.located(now, find, at("b", 6)), Learned::Place(key("live/cam")));
}

#[test]
fn a_denial_is_asked_about_once() {
    let (mut cluster, now) = (cluster(), start());
    let cam = key("live/cam");
    cluster.want(now, &cam);
    let find = question(&mut cluster);
    cluster.located(now, find, at("b", 5));
    cluster.denied(now, &cam, 5);
    let find = question(&mut cluster);
    cluster.located(now, find, at("b", 5));
    cluster.denied(now, &cam, 5);
    assert!(orders(&mut cluster).is_empty());
    assert_eq!(cluster.snapshot(100).totals.denied, 1);
}

#[test]
fn a_player_that_follows_redirects_is_sent_with_its_own_parameters() {
    let (mut cluster, now) = (cluster(), start());
    let here = key("live/cam");
    let there = StreamKey::new("tv.example", "live", "cam").expect("a name");
    for (key, params, located, expected) in [
        (&here, "", at("b", 5), Some("rtmp://b/live/cam")),
        (&here, "?token=1", at("b", 5), Some("rtmp://b/live/cam?token=1")),
        (&there, "?token=1", at("b", 5), Some("rtmp://b/live/cam?token=1&vhost=tv.example")),
        (&there, "?vhost=tv.example", at("b", 5), Some("rtmp://b/live/cam?vhost=tv.example")),
        (&here, "", Located::Here, None),
        (&here, "", Located::Unknown, None),
    ] {
        cluster.guide(key, 7, AskId(1), params);
        let find = question(&mut cluster);
        let verdict = expected.map_or(Verdict::Allow, |url| Verdict::Redirect(url.to_owned()));
        assert_eq!(cluster.located(now, find, located), Learned::Verdict(7, AskId(1), verdict));
    }
    assert!(cluster.finds.is_empty());
}

#[test]
fn a_client_that_was_accepted_without_an_answer_is_closed_if_another_server_has_the_name() {
    let mut cluster = cluster();
    let (one, two) = (claim(&mut cluster, 7), claim(&mut cluster, 8));
    [one, two].into_iter().for_each(|claim| cluster.accept(claim));
    assert_eq!((cluster.lease(&key("live/cam")), cluster.snapshot(100).names), (None, vec![(key("live/cam"), None)]));
    assert_eq!(cluster.claimed(two, Ok(Some(5))), Claimed::Nothing);
    assert_eq!(cluster.lease(&key("live/cam")), Some(5));
    let lost = Lost { key: key("live/cam"), connections: vec![7] };
    assert_eq!(cluster.claimed(one, Err(ClaimError::Held("b".into()))), Claimed::Lost(lost));
    let lost = cluster.lost("__defaultVhost__/live/cam").expect("the other one publishes it");
    assert_eq!(lost.connections, [8]);
    [one, two].into_iter().for_each(|claim| cluster.release(claim));
    assert!(cluster.names.is_empty() && cluster.claims.is_empty());
    let totals = cluster.snapshot(100).totals;
    assert_eq!((totals.granted, totals.unconfirmed, totals.lost), (2, 2, 2));
}

#[test]
fn a_name_that_is_nowhere_is_asked_about_less_and_less_often() {
    let (mut cluster, start) = (cluster(), start());
    let cam = key("live/cam");
    cluster.want(start, &cam);
    let mut now = start;
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let find = question(&mut cluster);
        cluster.located(now, find, Located::Nowhere);
        let next = cluster.tick(now).expect("it is asked about again");
        pauses.push((next - now).as_secs());
        now = next;
        cluster.tick(now);
    }
    assert_eq!(pauses, [1, 2, 4, 4, 4]);
    let find = question(&mut cluster);
    cluster.located(now, find, at("b", 5));
    assert_eq!(cluster.tick(now), Some(now + AGAIN), "one that a server has comes soon");
    cluster.changed(now, "__defaultVhost__/live/cam");
    question(&mut cluster);
}

#[test]
fn a_question_that_nothing_answers_is_asked_again_after_a_while() {
    let (mut cluster, now) = (cluster(), start());
    let cam = key("live/cam");
    cluster.want(now, &cam);
    let first = question(&mut cluster);
    let next = cluster.tick(now).expect("it is asked again");
    assert!(next > now + AGAIN);
    assert!(cluster.tick(next).is_some_and(|after| after > next), "no driver turns without end");
    let second = question(&mut cluster);
    assert_eq!(cluster.located(next, first, at("b", 5)), Learned::Nothing, "it is too late");
    assert_eq!(cluster.located(next, second, at("b", 5)), Learned::Place(cam.clone()));
    cluster.forget(&cam);
    assert!(cluster.looks.is_empty() && cluster.finds.is_empty() && cluster.tick(next).is_none());
}

#[test]
fn a_list_of_names_has_a_limit() {
    let mut cluster = cluster();
    for number in 0..10 {
        let one = cluster.claim(&key(&format!("live/{number}")), (number, AskId(number)), Conflict::Refuse, false);
        cluster.claimed(one, Ok(Some(number)));
    }
    let names: Vec<_> = cluster.snapshot(3).names.into_iter().map(|(key, _)| key.stream().to_owned()).collect();
    assert_eq!(names, ["0", "1", "2"]);
}
