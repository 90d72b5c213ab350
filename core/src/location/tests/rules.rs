//! What claims and questions are answered while the directory works.

use std::time::Duration;

use super::super::*;
use super::cluster::Cluster;

#[test]
fn one_server_gets_a_name_and_the_others_hear_from_which() {
    let mut cluster = Cluster::connected(3, OnLoss::Serve);
    let first = cluster.publish(0, "live/cam").expect("it is free").expect("it is registered");
    assert_eq!(cluster.publish(1, "live/cam"), Err(ClaimError::Held("node-0".into())));
    assert_eq!(cluster.ask(0, "live/cam"), Located::Here);
    let Located::At { owner, stale: false } = cluster.ask(2, "live/cam") else { panic!("it is on node 0") };
    assert_eq!((&*owner.node, owner.fencing), ("node-0", first));
    assert_eq!(owner.address.as_deref(), Some("rtmp://node-0"));
    assert_eq!(cluster.ask(2, "live/other"), Located::Nowhere);
    cluster.unpublish(0, "live/cam");
    cluster.pass(Duration::from_millis(10));
    let second = cluster.publish(1, "live/cam").expect("it is free again").expect("it is registered");
    assert!(second > first);
    cluster.end();
}

#[test]
fn a_server_that_takes_a_name_has_it_and_the_other_loses_it_at_once() {
    let mut cluster = Cluster::connected(2, OnLoss::Serve);
    let first = cluster.publish(0, "live/cam").expect("it is free");
    let claim = cluster.claim(1, "live/cam", Conflict::Take);
    assert!(cluster.outcome(1, claim).expect("it takes it") > first);
    cluster.pass(Duration::from_millis(10));
    assert_eq!(cluster.owners("live/cam"), [1]);
    let lost = Event::Lost { name: "live/cam".into(), reason: LostReason::Taken("node-1".into()) };
    assert!(cluster.servers[0].events.contains(&lost));
    cluster.end();
}

#[test]
fn a_server_that_drains_gives_its_name_to_the_next_claim() {
    for on_loss in [OnLoss::Serve, OnLoss::Strict] {
        let mut cluster = Cluster::connected(3, on_loss);
        let first = cluster.publish(0, "live/cam").expect("it is free");
        assert!(cluster.publish(1, "live/cam").is_err(), "it does not drain yet");
        let node = cluster.servers[0].node.clone();
        cluster.directory.drains(&node, true);
        // Two servers want it at the same moment: one gets it, and does not lose it to the other.
        let claims = [1, 2].map(|index| (index, cluster.claim(index, "live/cam", Conflict::Refuse)));
        let outcomes = claims.map(|(index, claim)| cluster.outcome(index, claim));
        assert!(outcomes.iter().filter(|outcome| matches!(outcome, Ok(fencing) if *fencing > first)).count() == 1);
        cluster.pass(Duration::from_secs(2));
        assert_eq!(cluster.owners("live/cam").len(), 1);
        let taken = |event: &Event| matches!(event, Event::Lost { .. });
        assert_eq!(cluster.servers[1..].iter().filter(|server| server.events.iter().any(taken)).count(), 0);
        cluster.end();
    }
}

#[test]
fn of_two_servers_that_take_a_name_from_the_same_lease_one_has_it_and_keeps_it() {
    for on_loss in [OnLoss::Serve, OnLoss::Strict] {
        let mut cluster = Cluster::connected(3, on_loss);
        let first = cluster.publish(0, "live/cam").expect("it is free").expect("it is registered");
        let claim = cluster.claim(1, "live/cam", Conflict::TakeFrom(first + 1));
        assert!(cluster.outcome(1, claim).is_err(), "that is another lease");
        let claims = [1, 2].map(|index| (index, cluster.claim(index, "live/cam", Conflict::TakeFrom(first))));
        let outcomes = claims.map(|(index, claim)| cluster.outcome(index, claim).is_ok());
        assert!(outcomes[0] != outcomes[1], "{on_loss:?}: {outcomes:?}");
        cluster.pass(Duration::from_secs(2));
        assert_eq!(cluster.owners("live/cam"), [if outcomes[0] { 1 } else { 2 }], "{on_loss:?}");
        cluster.end();
    }
}

#[test]
fn a_claim_that_takes_takes_also_if_one_that_does_not_is_on_its_way() {
    for on_loss in [OnLoss::Serve, OnLoss::Strict] {
        let mut cluster = Cluster::connected(2, on_loss);
        cluster.pass(cluster.config.ttl * 2);
        cluster.publish(0, "live/cam").expect("it is free");
        let claims = [Conflict::Refuse, Conflict::Take].map(|conflict| cluster.claim(1, "live/cam", conflict));
        assert!(cluster.outcome(1, claims[1]).is_ok(), "{on_loss:?}");
        cluster.pass(Duration::from_millis(10));
        assert_eq!(cluster.owners("live/cam"), [1]);
        cluster.end();
    }
}

#[test]
fn names_that_are_nowhere_push_no_owner_out_of_the_memory() {
    let mut cluster = Cluster::new(2, OnLoss::Serve, 7);
    cluster.config.cached_names = 20;
    cluster.crash(0);
    cluster.crash(1);
    cluster.pass(Duration::from_millis(100));
    cluster.publish(0, "live/cam").expect("it is free");
    assert!(matches!(cluster.ask(1, "live/cam"), Located::At { .. }));
    for number in 0..100 {
        assert_eq!(cluster.ask(1, &format!("live/random{number}")), Located::Nowhere);
    }
    cluster.servers[1].is_cut = true;
    cluster.pass(cluster.config.found * 2);
    assert!(matches!(cluster.ask(1, "live/cam"), Located::At { stale: true, .. }), "while the directory is away");
    cluster.end();
}

#[test]
fn an_answer_that_a_notice_has_overtaken_is_not_remembered() {
    let mut cluster = Cluster::connected(1, OnLoss::Serve);
    let now = cluster.now;
    let (server, name) = (&mut cluster.servers[0].location, "live/cam".into());
    let asks = |server: &mut Location| match server.poll(now) {
        Output::Ask(id, Request::Find { .. }) => id,
        other => panic!("{other:?}"),
    };
    server.find(now, &name);
    let id = asks(server);
    server.handle_notice(now, &name, &"node-2".into(), 9);
    let old = Owner { node: "node-1".into(), fencing: 8, address: None, is_draining: false };
    server.handle_reply(now, id, Reply::Found(Some(old)));
    assert!(matches!(server.poll(now), Output::Event(Event::Located { .. })), "it is what there is");
    server.find(now, &name);
    asks(server);
}

#[test]
fn a_server_that_leaves_with_many_names_tells_each_once() {
    let mut cluster = Cluster::connected(1, OnLoss::Serve);
    let now = cluster.now;
    let server = &mut cluster.servers[0].location;
    let names = (0..1000).map(|number| format!("live/cam{number}").into());
    let claims: Vec<_> = names.map(|name| server.claim(now, &name, Conflict::Refuse)).collect();
    let mut asked = Vec::new();
    while let Output::Ask(id, _) = server.poll(now) {
        asked.push(id);
    }
    asked.into_iter().zip(1..).for_each(|(id, fencing)| server.handle_reply(now, id, Reply::Granted { fencing }));
    // Half of the answers are not taken before the names are released.
    let told = (0..500).filter(|_| matches!(server.poll(now), Output::Event(Event::Granted { .. }))).count();
    claims.into_iter().for_each(|claim| server.release(now, claim));
    let mut outputs = Vec::new();
    loop {
        match server.poll(now) {
            Output::Wait(_) => break,
            output => outputs.push(output),
        }
    }
    let released = outputs.iter().filter(|output| matches!(output, Output::Ask(_, Request::Release { .. }))).count();
    assert_eq!((told, released, outputs.len()), (500, 1000, 1000), "no answer for what is released");
}

#[test]
fn a_lost_notice_is_made_up_for_by_the_renewal() {
    let mut cluster = Cluster::connected(2, OnLoss::Serve);
    cluster.is_deaf = true;
    cluster.publish(0, "live/cam").expect("it is free");
    let claim = cluster.claim(1, "live/cam", Conflict::Take);
    cluster.outcome(1, claim).expect("it takes it");
    assert_eq!(cluster.owners("live/cam"), [0, 1]);
    cluster.pass(cluster.config.ttl * 2 / 5);
    assert_eq!(cluster.owners("live/cam"), [1]);
    cluster.end();
}

#[test]
fn two_claims_in_one_server_are_one_lease_until_both_are_released() {
    let mut cluster = Cluster::connected(2, OnLoss::Serve);
    let [one, two] = [(); 2].map(|()| cluster.claim(0, "live/cam", Conflict::Refuse));
    let fencing = cluster.outcome(0, one).expect("it is free");
    // The server publishes with the first one and releases the second one.
    assert_eq!(cluster.outcome(0, two), Ok(fencing));
    cluster.pass(Duration::from_secs(30));
    assert!(cluster.publish(1, "live/cam").is_err());
    cluster.unpublish(0, "live/cam");
    cluster.pass(Duration::from_millis(10));
    assert!(cluster.publish(1, "live/cam").is_ok());
    cluster.end();
}

#[test]
fn a_claim_that_is_released_before_its_answer_leaves_no_lease() {
    let mut cluster = Cluster::connected(1, OnLoss::Serve);
    for steps in 0..4 {
        let claim = cluster.claim(0, "live/cam", Conflict::Refuse);
        for _ in 0..steps {
            cluster.step(cluster.now + Duration::from_millis(10));
        }
        let now = cluster.now;
        let server = &mut cluster.servers[0];
        server.location.release(now, claim);
        server.claims.clear();
        server.published.clear();
        cluster.pass(Duration::from_millis(100));
        assert_eq!(cluster.directory.len(cluster.now), 0, "after {steps} steps");
    }
    cluster.end();
}

#[test]
fn thousands_that_ask_for_one_name_are_one_request() {
    let mut cluster = Cluster::connected(2, OnLoss::Serve);
    cluster.publish(0, "live/cam").expect("it is free");
    let before = cluster.requests;
    for _ in 0..5000 {
        cluster.find(1, "live/cam");
    }
    cluster.pass(Duration::from_millis(100));
    assert!(cluster.servers[1].finds.is_empty());
    for _ in 0..5000 {
        cluster.find(1, "live/cam");
    }
    assert_eq!(cluster.requests - before, 1);
    cluster.pass(cluster.config.found);
    cluster.ask(1, "live/cam");
    assert!(cluster.requests - before <= 4, "the second question, and records of servers");
    cluster.end();
}

#[test]
fn a_watched_name_that_appears_is_told_at_once() {
    let mut cluster = Cluster::connected(2, OnLoss::Serve);
    assert_eq!(cluster.ask(1, "live/cam"), Located::Nowhere);
    cluster.servers[1].location.watch(&"live/cam".into());
    cluster.publish(0, "live/cam").expect("it is free");
    cluster.pass(Duration::from_millis(10));
    assert!(cluster.servers[1].events.contains(&Event::Changed { name: "live/cam".into() }));
    assert!(matches!(cluster.ask(1, "live/cam"), Located::At { stale: false, .. }));
    cluster.servers[1].location.unwatch(&"live/cam".into());
    cluster.servers[1].events.clear();
    cluster.unpublish(0, "live/cam");
    cluster.publish(0, "live/cam").expect("it is free");
    cluster.pass(Duration::from_millis(10));
    assert!(cluster.servers[1].events.is_empty());
    cluster.end();
}

#[test]
fn what_an_owner_denies_is_asked_for_again() {
    let mut cluster = Cluster::connected(2, OnLoss::Serve);
    let fencing = cluster.publish(0, "live/cam").expect("it is free").expect("it is registered");
    cluster.ask(1, "live/cam");
    let before = cluster.requests;
    cluster.servers[1].location.deny(&"live/cam".into(), fencing - 1);
    cluster.ask(1, "live/cam");
    assert_eq!(cluster.requests, before, "what is known is newer");
    cluster.servers[1].location.deny(&"live/cam".into(), fencing);
    cluster.ask(1, "live/cam");
    assert_eq!(cluster.requests, before + 1);
    cluster.end();
}

#[test]
fn all_tables_have_limits() {
    let mut cluster = Cluster::new(1, OnLoss::Serve, 7);
    cluster.config.cached_names = 10;
    cluster.config.leases = 10;
    cluster.crash(0);
    cluster.pass(Duration::from_millis(100));
    for index in 0..30 {
        cluster.find(0, &format!("live/{index}"));
        cluster.claim(0, &format!("live/{index}"), Conflict::Refuse);
    }
    cluster.pass(Duration::from_millis(100));
    let server = &mut cluster.servers[0];
    let count = |wanted: &Event| {
        server.events.iter().filter(|event| std::mem::discriminant(*event) == std::mem::discriminant(wanted)).count()
    };
    let full = Event::Refused { claim: ClaimId(0), error: ClaimError::Full };
    assert_eq!((server.location.leases().0, count(&full)), (10, 20));
    for index in 0..100 {
        cluster.ask(0, &format!("other/{index}"));
    }
    assert!(cluster.servers[0].location.cache.len() <= 10);
    cluster.end();
}

#[test]
fn a_strict_server_gives_a_name_up_that_another_takes_before_that_one_has_it() {
    let mut cluster = Cluster::connected(2, OnLoss::Strict);
    cluster.publish(0, "live/cam").expect("it is free");
    let claim = cluster.claim(1, "live/cam", Conflict::Take);
    while cluster.owners("live/cam") != [1] {
        assert!(cluster.owners("live/cam").len() <= 1);
        assert!(cluster.step(cluster.now + cluster.config.answer_limit), "it is granted in time");
    }
    assert!(cluster.outcome(1, claim).is_ok());
    // An owner that does not get the request keeps the name.
    cluster.is_deaf = true;
    let claim = cluster.claim(0, "live/cam", Conflict::Take);
    assert_eq!(cluster.outcome(0, claim), Err(ClaimError::Held("node-1".into())));
    cluster.end();
}

#[test]
fn a_strict_server_gives_a_name_free_when_its_publisher_has_stopped() {
    for drains in [false, true] {
        let mut cluster = Cluster::connected(2, OnLoss::Strict);
        cluster.stop = Duration::from_millis(450);
        cluster.publish(0, "live/cam").expect("it is free");
        let node = cluster.servers[0].node.clone();
        let conflict = if drains { Conflict::Refuse } else { Conflict::Take };
        if drains {
            cluster.directory.drains(&node, true);
        }
        let begin = cluster.now;
        let claim = cluster.claim(1, "live/cam", conflict);
        cluster.pass(Duration::from_millis(100));
        assert_eq!(cluster.publish(0, "live/cam"), Err(ClaimError::Held("node-1".into())), "it is another server's");
        while cluster.owners("live/cam") != [1] {
            assert_eq!(cluster.owners("live/cam").len().max(1), 1, "two publish");
            assert!(cluster.step(cluster.now + cluster.config.answer_limit), "it is granted in time");
        }
        assert!(cluster.outcome(1, claim).is_ok() && cluster.now >= begin + cluster.stop);
        cluster.end();
    }
}

#[test]
fn a_strict_server_that_cannot_stop_its_publisher_holds_the_name_for_the_time_to_live_at_most() {
    let mut cluster = Cluster::connected(2, OnLoss::Strict);
    cluster.publish(0, "live/cam").expect("it is free");
    cluster.stop = cluster.config.ttl * 5;
    let claim = cluster.claim(1, "live/cam", Conflict::Take);
    assert_eq!(cluster.outcome(1, claim), Err(ClaimError::Held("node-0".into())));
    let end = cluster.now + cluster.config.ttl + Duration::from_secs(1);
    while cluster.publish(1, "live/cam").is_err() {
        assert!(cluster.now < end);
        cluster.pass(Duration::from_millis(100));
    }
    cluster.pass(cluster.config.ttl * 5);
    assert_eq!(cluster.owners("live/cam"), [1]);
    cluster.end();
}

#[test]
fn a_server_that_drains_takes_no_name() {
    for on_loss in [OnLoss::Serve, OnLoss::Strict] {
        for conflict in [Conflict::Refuse, Conflict::Take] {
            let mut cluster = Cluster::connected(2, on_loss);
            cluster.publish(0, "live/cam").expect("it is free");
            let node = cluster.servers[0].node.clone();
            cluster.directory.drains(&node, true);
            cluster.servers[1].location.set_draining(true);
            let claim = cluster.claim(1, "live/cam", conflict);
            assert_eq!(cluster.outcome(1, claim), Err(ClaimError::Held(node)), "{on_loss:?} {conflict:?}");
            cluster.servers[1].location.set_draining(false);
            let claim = cluster.claim(1, "live/cam", conflict);
            assert!(cluster.outcome(1, claim).is_ok(), "{on_loss:?} {conflict:?}");
            cluster.end();
        }
    }
}

#[test]
fn names_that_anyone_makes_up_are_not_remembered() {
    let mut cluster = Cluster::connected(2, OnLoss::Serve);
    cluster.publish(0, "live/cam").expect("it is free");
    let now = cluster.now;
    let names = ["live/cam", "live/none"];
    for name in names {
        let find = cluster.servers[1].location.find_for_anyone(now, &name.into());
        cluster.servers[1].finds.insert(find, now);
    }
    cluster.pass(Duration::from_millis(10));
    assert!(cluster.servers[1].finds.is_empty(), "both are answered");
    assert_eq!(cluster.servers[1].location.cache.len(), 1, "the one that a server has");
    assert_eq!(cluster.ask(1, "live/none"), Located::Nowhere);
    assert_eq!(cluster.servers[1].location.cache.len(), 2, "one that this server needs");
    cluster.end();
}
