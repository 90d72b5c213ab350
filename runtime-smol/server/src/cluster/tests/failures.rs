//! The table of failures.

use std::thread;

use anabranch_tests::redis::{Cable, Redis, Sentinels};

use super::*;

/// Claims the name until the server gets it; when that was.
fn wait_taken(node: &Node, name: &str) -> (Claim, Instant) {
    wait_for("name", TIMEOUT, || match node.claim(name) {
        (claim, Ok(Some(_))) => Some((claim, Instant::now())),
        (_, Ok(None)) => panic!("this server knows that the directory answers"),
        (_, Err(_)) => None,
    })
}

#[test]
fn a_server_starts_and_serves_without_a_redis() {
    let mut redis = Redis::new();
    redis.kill();
    let a = Node::start("a", settings(&redis.url()));
    let refusing = Node::start("b", refuse(settings(&redis.url())));
    a.wait_error("refused");
    let start = Instant::now();
    let (_claim, answer) = a.claim("v/live/cam");
    assert_eq!(answer, Ok(None));
    assert_eq!(refusing.claim("v/live/cam").1, Err(ClaimError::NoAnswer));
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert_eq!(a.find("v/live/other"), Located::Unknown);
    redis.start();
    a.wait_event("lease", |event| matches!(event, Event::Registered { .. }));
    a.wait_confirmed(1);
    wait_for("refusal", TIMEOUT, || {
        (refusing.claim("v/live/cam").1 == Err(ClaimError::Held("a".into()))).then_some(())
    });
}

#[test]
fn names_are_back_after_the_redis_was_killed() {
    let mut redis = Redis::new();
    let held = ClusterSettings { hold: true, ..settings(&redis.url()) };
    // The hold of the first start is over once a refusing server gets a name.
    let b = Node::connected("b", refuse(held.clone()));
    let (first, _) = wait_taken(&b, "v/live/first");
    drop(first);
    let a = Node::connected("a", held);
    let names = names(50);
    let claims = a.take_all(&names);
    redis.kill();
    a.wait_state(false);
    // Streams go on, one more is served, and what was known is known.
    let (_new, answer) = a.claim("v/live/new");
    assert_eq!(answer, Ok(None));
    assert_eq!(a.find(&names[0]), Located::Here);
    redis.start();
    for name in &names {
        // The owner has not been there yet, or is there: none gets it.
        assert!(b.claim(name).1.is_err(), "{name}");
    }
    a.wait_confirmed(51);
    b.wait_state(true);
    assert_eq!((count(&redis), a.lost()), (51, Vec::new()));
    assert_eq!(b.claim(&names[7]).1, Err(ClaimError::Held("a".into())));
    drop(claims);
}

#[test]
fn a_redis_that_is_stopped_for_three_seconds_takes_nothing() {
    let redis = Redis::new();
    let settings = ClusterSettings { ttl: Time(Duration::from_secs(10)), ..settings(&redis.url()) };
    let [a, b] = ["a", "b"].map(|id| Node::connected(id, settings.clone()));
    let names = names(20);
    let _claims = a.take_all(&names);
    redis.pause();
    let start = Instant::now();
    let (_during, answer) = a.claim("v/live/during");
    assert_eq!(answer, Ok(None), "the limit for an answer is one second");
    wait_for("three seconds", TIMEOUT, || (start.elapsed() > Duration::from_secs(3)).then_some(()));
    redis.resume();
    a.wait_confirmed(21);
    assert_eq!(a.lost(), []);
    for name in &names {
        assert_eq!(b.claim(name).1, Err(ClaimError::Held("a".into())), "{name}");
    }
}

#[test]
fn a_redis_that_says_nothing_is_given_up_and_reached_again() {
    let redis = Redis::new();
    let a = Node::connected("a", settings(&redis.url()));
    let _claim = a.take("v/live/cam");
    redis.pause();
    // The system accepts connections for a stopped process, so only replies count.
    a.wait_error("no reply");
    redis.resume();
    a.wait_confirmed(1);
    assert_eq!(a.lost(), []);
    assert!(a.directory.tally().lost() > 0);
}

#[test]
fn a_paused_and_a_slow_redis_delay_answers_only() {
    let redis = Redis::new();
    let a = Node::connected("a", settings(&redis.url()));
    let refusing = Node::connected("b", refuse(settings(&redis.url())));
    let _claim = a.take("v/live/cam");
    redis.command(&["CLIENT", "PAUSE", "1500", "ALL"]);
    let (_paused, answer) = a.claim("v/live/paused");
    assert_eq!(answer, Ok(None));
    a.wait_confirmed(2);
    thread::scope(|scope| {
        scope.spawn(|| redis.command(&["DEBUG", "SLEEP", "2"]));
        // The limit for an answer is one second; before the sleep begins, claims are granted.
        let refused = wait_for("refusal", TIMEOUT, || refusing.claim("v/live/slow").1.err());
        assert_eq!(refused, ClaimError::NoAnswer);
    });
    a.wait_confirmed(2);
    assert_eq!(a.lost(), []);
    // The late answer to the refused claim gave no lease that stays.
    let (_slow, _) = wait_taken(&refusing, "v/live/slow");
}

#[test]
fn no_name_is_stolen_when_all_data_is_lost() {
    let redis = Redis::new();
    let held = ClusterSettings { hold: true, ttl: Time(Duration::from_secs(6)), ..settings(&redis.url()) };
    let b = Node::connected("b", refuse(held.clone()));
    let (first, _) = wait_taken(&b, "v/live/first");
    drop(first);
    let a = Node::connected("a", held);
    let names = names(100);
    let _claims = a.take_all(&names);
    redis.command(&["FLUSHALL"]);
    let start = Instant::now();
    let all_back = wait_for("all names", TIMEOUT, || {
        for name in &names {
            let answer = b.claim(name).1;
            assert!(
                matches!(&answer, Err(ClaimError::Hold)) || answer == Err(ClaimError::Held("a".into())),
                "{answer:?}"
            );
        }
        (count(&redis) == 100).then(Instant::now)
    });
    assert_eq!(a.lost(), []);
    // A third of the time to live, a tenth for jitter, and the moment that a busy machine takes.
    assert!(all_back - start < Duration::from_secs(30), "{:?}", all_back - start);
    assert_eq!(b.owner(&names[99]).as_deref(), Some("a"));
}

#[test]
fn scripts_that_the_redis_has_forgotten_are_sent_again() {
    let redis = Redis::new();
    let a = Node::connected("a", settings(&redis.url()));
    let _one = a.take("v/live/one");
    redis.command(&["SCRIPT", "FLUSH"]);
    let (two, _) = a.take("v/live/two");
    assert_eq!(a.find("v/live/none"), Located::Nowhere);
    drop(two);
    wait_for("released name", TIMEOUT, || (count(&redis) == 1).then_some(()));
    a.wait_confirmed(1);
    assert_eq!((a.directory.tally().lost(), a.lost()), (0, Vec::new()));
}

#[test]
fn an_owner_that_is_cut_off_loses_the_name_when_the_link_is_whole_again() {
    let redis = Redis::new();
    let cable = Cable::to(redis.address());
    let a = Node::connected("a", settings(&format!("redis://{}", cable.address())));
    let b = Node::connected("b", settings(&redis.url()));
    let _claim = a.take("v/live/cam");
    cable.cut(true);
    let (_taken, _) = wait_taken(&b, "v/live/cam");
    assert_eq!((a.lost(), a.find("v/live/cam")), (Vec::new(), Located::Here), "it goes on meanwhile");
    cable.cut(false);
    let healed = Instant::now();
    let (at, reason) = a.wait_lost("v/live/cam");
    assert_eq!(reason, LostReason::Taken("b".into()));
    assert!(at - healed < Duration::from_secs(30), "{:?}", at - healed);
    assert_eq!(b.lost(), []);
}

#[test]
fn with_strict_exclusion_the_owner_ends_before_another_begins() {
    let redis = Redis::new();
    let cable = Cable::to(redis.address());
    let a = Node::connected("a", strict(settings(&format!("redis://{}", cable.address()))));
    let b = Node::connected("b", strict(settings(&redis.url())));
    for round in 0..2 {
        let name = format!("v/live/{round}");
        a.wait_state(true);
        let _claim = a.take(&name);
        cable.cut(true);
        let (_taken, taken) = wait_taken(&b, &name);
        let (lost, reason) = a.wait_lost(&name);
        assert_eq!(reason, LostReason::Expired);
        assert!(lost < taken, "{:?} both had it", lost - taken);
        assert_eq!(a.claim("v/live/new").1, Err(ClaimError::NoAnswer));
        cable.cut(false);
    }
    // A claim that takes asks the owner to yield first.
    a.wait_state(true);
    let (taking, answer) = a.claim_as("v/live/own", Conflict::Take);
    assert!(answer.is_ok());
    drop(taking);
    let kept = a.take("v/live/asked");
    wait_for("subscription", TIMEOUT, || redis.command(&["PUBSUB", "NUMSUB", "ab:c"]).ends_with('2').then_some(()));
    let (stopped, reason, granted) = thread::scope(|scope| {
        let a = &a;
        let stops = scope.spawn(move || {
            let (_, reason) = a.wait_lost("v/live/asked");
            // The publisher takes its time to stop.
            thread::sleep(Duration::from_millis(200));
            let stopped = Instant::now();
            drop(kept);
            (stopped, reason)
        });
        let (_asked, answer) = b.claim_as("v/live/asked", Conflict::Take);
        let granted = Instant::now();
        assert!(answer.is_ok(), "{answer:?}");
        let (stopped, reason) = stops.join().expect("the name is lost");
        (stopped, reason, granted)
    });
    assert!(stopped <= granted && reason == LostReason::Taken("b".into()), "{reason}");
}

#[test]
fn a_notice_that_is_lost_costs_a_renewal_and_no_more() {
    let redis = Redis::new();
    let [a, b] = ["a", "b"].map(|id| Node::connected(id, settings(&redis.url())));
    let subscribers = || redis.command(&["PUBSUB", "NUMSUB", "ab:c"]).ends_with('2').then_some(());
    wait_for("subscription", TIMEOUT, subscribers);
    let _claim = a.take("v/live/cam");
    let _watch = a.directory.watch(&"v/live/other".into());
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let (_taken, answer) = b.claim_as("v/live/cam", Conflict::Take);
    assert!(answer.is_ok());
    assert_eq!(a.wait_lost("v/live/cam").1, LostReason::Taken("b".into()));
    // Only the connection for notices was lost, and it is there again.
    wait_for("subscription", TIMEOUT, subscribers);
    assert_eq!(a.directory.tally().lost(), 0);
    let _other = b.take("v/live/other");
    a.wait_event("change", |event| matches!(event, Event::Changed { .. }));
}

#[test]
fn connections_that_are_reset_are_opened_again() {
    let redis = Redis::new();
    let cable = Cable::to(redis.address());
    let a = Node::connected("a", settings(&format!("redis://{}", cable.address())));
    let _claims = a.take_all(&names(10));
    for round in 1..=5 {
        cable.reset();
        wait_for("loss", TIMEOUT, || (a.directory.tally().lost() >= round).then_some(()));
        a.wait_confirmed(10);
    }
    assert_eq!((count(&redis), a.lost()), (10, Vec::new()));
}

#[test]
fn a_hand_made_record_of_a_dead_server_is_not_taken_for_a_live_one() {
    let redis = Redis::new();
    redis.command(&["HSET", "ab:s:{v/live/cam}", "node", "gone", "session", "1", "epoch", "7"]);
    let a = Node::connected("a", settings(&redis.url()));
    let Located::At { owner, .. } = a.find("v/live/cam") else { panic!("the directory has it") };
    assert_eq!((&*owner.node, owner.fencing, owner.address), ("gone", 7, None));
    // Only a claim that takes ends it; and its number is the next.
    assert_eq!(a.claim("v/live/cam").1, Err(ClaimError::Held("gone".into())));
    let (_taken, answer) = a.claim_as("v/live/cam", Conflict::Take);
    assert!(answer.is_ok_and(|fencing| fencing > Some(7)));
}

#[test]
fn sentinels_name_the_next_master() {
    let mut master = Redis::new();
    let at = master.address();
    let replica = Redis::with(&["--replicaof", &at.ip().to_string(), &at.port().to_string()], &[]);
    let sentinels = Sentinels::of(&master);
    let [a, b] = ["a", "b"].map(|id| {
        Node::connected(id, ClusterSettings { ttl: Time(Duration::from_secs(10)), ..settings(&sentinels.url()) })
    });
    let names = names(30);
    let claims = a.take_all(&names);
    wait_for("replication", TIMEOUT, || (count(&replica) == 30).then_some(()));
    assert_eq!(a.directory.state().address, at.to_string());
    master.kill();
    wait_for("the other Redis", TIMEOUT, || {
        (a.directory.state().address == replica.address().to_string()).then_some(())
    });
    a.wait_confirmed(30);
    b.wait_state(true);
    assert_eq!(a.lost(), []);
    for name in &names {
        assert_eq!(b.claim(name).1, Err(ClaimError::Held("a".into())), "{name}");
    }
    // The old one comes back as a replica, and gets its place again without a crash: it still answers as before.
    master.start();
    wait_for("a replica of the new master", TIMEOUT, || {
        let said = master.try_command(&["INFO", "replication"])?;
        (said.contains("role:slave") && said.contains("master_link_status:up")).then_some(())
    });
    wait_for("replication", TIMEOUT, || {
        let keys = master.try_command(&["KEYS", "ab:s:*"])?;
        (keys.lines().count() == 30).then_some(())
    });
    wait_for("Sentinels that fail over", TIMEOUT, || sentinels.fail_over_to(at).then_some(()));
    wait_for("the first Redis", TIMEOUT, || (a.directory.state().address == at.to_string()).then_some(()));
    a.wait_confirmed(30);
    assert_eq!(a.lost(), []);
    drop(claims);
}
