//! What holds while the Redis works.

use std::sync::{Barrier, Mutex};
use std::thread;

use anabranch_tests::redis::Redis;

use super::*;

#[test]
fn of_two_servers_that_claim_a_name_at_once_exactly_one_gets_it() {
    let redis = Redis::new();
    let nodes = ["a", "b"].map(|id| Node::connected(id, settings(&redis.url())));
    let names = names(1000);
    let barrier = Barrier::new(2);
    let results = [Mutex::new(Vec::new()), Mutex::new(Vec::new())];
    thread::scope(|scope| {
        for (node, results) in nodes.iter().zip(&results) {
            let (names, barrier) = (&names, &barrier);
            scope.spawn(move || {
                for name in names {
                    barrier.wait();
                    results.lock().unwrap().push(node.claim(name));
                }
            });
        }
    });
    let [a, b] = results.map(|results| results.into_inner().unwrap());
    for (name, ((_, a), (_, b))) in names.iter().zip(a.iter().zip(&b)) {
        match (a, b) {
            (Ok(Some(_)), Err(ClaimError::Held(owner))) => assert_eq!(&**owner, "a", "{name}"),
            (Err(ClaimError::Held(owner)), Ok(Some(_))) => assert_eq!(&**owner, "b", "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(count(&redis), 1000);
    // Each name has one more round: those that gave it free get it again, with a higher number.
    drop(a);
    drop(b);
    wait_for("names that are free again", TIMEOUT, || (count(&redis) == 0).then_some(()));
}

#[test]
fn fencing_numbers_rise_whatever_becomes_of_a_name() {
    let redis = Redis::new();
    let [a, b] = ["a", "b"].map(|id| Node::connected(id, settings(&redis.url())));
    let (claim, first) = a.take("v/live/cam");
    let (taken, answer) = b.claim_as("v/live/cam", Conflict::Take);
    let second = answer.unwrap().unwrap();
    assert!(second > first);
    assert_eq!(a.wait_lost("v/live/cam").1, LostReason::Taken("b".into()));
    drop(claim);
    drop(taken);
    wait_for("name that is free", TIMEOUT, || (count(&redis) == 0).then_some(()));
    let (claim, third) = a.take("v/live/cam");
    assert!(third > second);
    drop(claim);
    redis.command(&["FLUSHALL"]);
    assert!(b.take("v/live/cam").1 > third, "even a Redis that knows nothing any more gives a higher one");
}

#[test]
fn a_stream_is_found_with_the_address_of_its_server() {
    let redis = Redis::new();
    let [a, b] = ["a", "b"].map(|id| Node::connected(id, settings(&redis.url())));
    assert_eq!(b.find("v/live/cam"), Located::Nowhere);
    let (claim, fencing) = a.take("v/live/cam");
    let Located::At { owner, stale } = wait_for("answer that is not remembered", TIMEOUT, || {
        Some(b.find("v/live/cam")).filter(|found| *found != Located::Nowhere)
    }) else {
        panic!("it is at a");
    };
    assert_eq!(
        (&*owner.node, owner.fencing, owner.address.as_deref(), stale),
        ("a", fencing, Some("rtmp://127.0.0.1:1935"), false)
    );
    assert_eq!(a.find("v/live/cam"), Located::Here);
    // The owner does not know the stream any more: what was remembered is forgotten.
    drop(claim);
    wait_for("name that is free", TIMEOUT, || (count(&redis) == 0).then_some(()));
    b.directory.deny(&"v/live/cam".into(), fencing);
    assert_eq!(b.find("v/live/cam"), Located::Nowhere);
}

#[test]
fn a_watched_name_that_changes_hands_is_reported() {
    let redis = Redis::new();
    let [a, b] = ["a", "b"].map(|id| Node::connected(id, settings(&redis.url())));
    let _watch = b.directory.watch(&"v/live/cam".into());
    wait_for("subscription", TIMEOUT, || redis.command(&["PUBSUB", "NUMSUB", "ab:c"]).ends_with('2').then_some(()));
    let _claim = a.take("v/live/cam");
    b.wait_event("change", |event| matches!(event, Event::Changed { name } if &**name == "v/live/cam"));
    assert_eq!(b.owner("v/live/cam").as_deref(), Some("a"));
}

#[test]
fn a_server_that_leaves_gives_its_names_free_at_once() {
    let redis = Redis::new();
    let [a, b] = ["a", "b"].map(|id| Node::connected(id, settings(&redis.url())));
    let names = names(50);
    let claims = a.take_all(&names);
    a.directory.leave(TIMEOUT);
    assert_eq!((count(&redis), redis.command(&["EXISTS", "ab:n:a"]).as_str()), (0, "0"));
    let _taken = b.take_all(&names);
    drop(claims);
    assert_eq!(count(&redis), 50, "and its end takes nothing from others");
}

#[test]
fn a_crashed_server_keeps_its_names_for_the_time_to_live_and_gets_them_back_at_once() {
    let redis = Redis::new();
    let [a, b] = ["a", "b"].map(|id| Node::connected(id, settings(&redis.url())));
    let (_kept, _) = (a.take("v/live/one"), a.take("v/live/two"));
    a.directory.crash();
    assert_eq!(b.claim("v/live/one").1, Err(ClaimError::Held("a".into())));
    // The next run of the same server has other sessions, and is the same server.
    let again = Node::connected("a", settings(&redis.url()));
    let (_one, fencing) = again.take("v/live/one");
    assert!(fencing > 0);
    let start = Instant::now();
    let two = wait_for("name of the crashed server", TIMEOUT, || b.claim("v/live/two").1.ok());
    assert!(two.is_some() && start.elapsed() < TTL + Duration::from_secs(30), "{:?}", start.elapsed());
    // With strict exclusion the earlier run may still have publishers.
    let strict_node = Node::connected("c", strict(settings(&redis.url())));
    let _kept = strict_node.take("v/live/three");
    strict_node.directory.crash();
    let again = Node::connected("c", strict(settings(&redis.url())));
    assert_eq!(again.claim("v/live/three").1, Err(ClaimError::Held("c".into())));
}

#[test]
fn the_directory_knows_the_servers_and_keeps_one_secret() {
    let redis = Redis::new();
    let [a, b] = ["a", "b"].map(|id| Node::connected(id, settings(&redis.url())));
    let nodes = wait_for("both servers", TIMEOUT, || Some(a.directory.view().nodes).filter(|nodes| nodes.len() == 2));
    let mut ids: Vec<_> = nodes.iter().map(|node| node.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(
        (ids, nodes[0].load, nodes[0].version.as_str()),
        (vec!["a", "b"], Load { streams: 1, players: 2 }, "test")
    );
    let secret = |node: &Node| wait_for("secret", TIMEOUT, || node.directory.secret());
    let known = secret(&a);
    assert_eq!((secret(&b), known.len()), (known.clone(), 64));
    // A Redis that has lost its data gets the same again.
    redis.command(&["FLUSHALL"]);
    let restored = wait_for("secret in the Redis", TIMEOUT, || {
        Some(redis.command(&["GET", "ab:secret"])).filter(|secret| !secret.is_empty())
    });
    assert_eq!(restored, &*known);
    let late = Node::connected("c", settings(&redis.url()));
    assert_eq!(secret(&late), known);
    // One in the configuration is not put there.
    let own = ClusterSettings {
        secret: crate::settings::values::Secret("x".repeat(32)),
        prefix: "other:".to_owned(),
        ..settings(&redis.url())
    };
    let own = Node::connected("d", own);
    let _name = own.take("v/live/cam");
    assert_eq!(
        (own.directory.secret().as_deref(), redis.command(&["EXISTS", "other:secret"]).as_str()),
        (Some("x".repeat(32).as_str()), "0")
    );
    assert!(redis.command(&["KEYS", "other:*"]).contains("other:s:{v/live/cam}"));
}

#[test]
fn a_new_set_of_data_gives_out_no_names_for_one_time_to_live() {
    let redis = Redis::new();
    let held = ClusterSettings { hold: true, ..settings(&redis.url()) };
    let refused = Node::connected("a", refuse(held.clone()));
    assert_eq!(refused.claim("v/live/one").1, Err(ClaimError::Hold));
    // A server that serves all the same claims it when the time is over.
    let served = Node::connected("b", held);
    let (_two, answer) = served.claim("v/live/two");
    assert!(answer.is_ok_and(|fencing| fencing.is_none()));
    served.wait_event("lease", |event| matches!(event, Event::Registered { .. }));
    served.wait_confirmed(1);
    assert_eq!(refused.claim("v/live/two").1, Err(ClaimError::Held("b".into())));
    let (_one, fencing) = refused.take("v/live/one");
    assert!(fencing > 0);
}

#[test]
fn the_others_know_of_each_drain_when_it_begins() {
    let redis = Redis::new();
    let node = |id: &str, port: u16| {
        let advertise = format!("rtmp://127.0.0.1:{port}");
        let settings = ClusterSettings { advertise, redirect: true, ..settings(&redis.url()) };
        Node::connected(id, settings)
    };
    let [a, _b, _c] = [node("a", 1), node("b", 2), node("c", 3)];
    wait_for("all servers", TIMEOUT, || (a.directory.view().nodes.len() == 3).then_some(()));
    for round in 0..20 {
        let mut others = a.directory.begin_drain(TIMEOUT);
        assert!(redis.command(&["GET", "ab:n:a"]).contains("\"draining\":true"), "round {round}");
        let next = std::iter::from_fn(|| {
            let next = others.next_server().map(ToString::to_string);
            others.sent();
            next
        });
        let sent: Vec<_> = next.take(4).collect();
        let [one, two] = ["rtmp://127.0.0.1:2", "rtmp://127.0.0.1:3"];
        assert_eq!(sent, [one, two, one, two], "each has as many clients");
        // The next drain begins before the directory has answered that this one is over.
        a.directory.end_drain();
    }
}
