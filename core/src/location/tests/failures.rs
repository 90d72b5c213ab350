//! What a directory does that fails, row by row.

use std::time::Duration;

use super::super::*;
use super::cluster::Cluster;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn without_a_directory_a_server_serves_alone_and_registers_later() {
    let mut cluster = Cluster::new(2, OnLoss::Serve, 7);
    cluster.is_down = true;
    assert_eq!(cluster.publish(0, "live/cam"), Ok(None));
    assert_eq!(cluster.ask(1, "live/cam"), Located::Unknown);
    assert_eq!(cluster.servers[0].location.leases(), (1, 1));
    cluster.pass(SECOND * 60);
    cluster.is_down = false;
    cluster.pass(SECOND * 3);
    assert_eq!(cluster.servers[0].location.leases(), (1, 0));
    assert!(matches!(cluster.ask(1, "live/cam"), Located::At { stale: false, .. }));
    cluster.end();
}

#[test]
fn without_a_directory_new_names_are_refused_if_that_is_set() {
    for on_loss in [OnLoss::Refuse, OnLoss::Strict] {
        let mut cluster = Cluster::new(1, on_loss, 7);
        cluster.is_down = true;
        assert_eq!(cluster.publish(0, "live/cam"), Err(ClaimError::NoAnswer));
        cluster.is_down = false;
        cluster.end();
    }
}

#[test]
fn a_directory_that_dies_ends_no_stream() {
    for on_loss in [OnLoss::Serve, OnLoss::Refuse] {
        let mut cluster = Cluster::connected(2, on_loss);
        cluster.publish(0, "live/cam").expect("it is free");
        let Located::At { owner, .. } = cluster.ask(1, "live/cam") else { panic!("it is on node 0") };
        cluster.kill_directory();
        cluster.pass(SECOND * 60);
        assert_eq!(cluster.owners("live/cam"), [0]);
        assert_eq!(cluster.ask(1, "live/cam"), Located::At { owner, stale: true });
        cluster.directory.flush();
        cluster.is_down = false;
        cluster.pass(SECOND * 3);
        assert_eq!(cluster.owners("live/cam"), [0]);
        assert!(matches!(cluster.ask(1, "live/cam"), Located::At { stale: false, .. }));
        cluster.end();
    }
}

#[test]
fn strict_servers_stop_before_the_directory_gives_the_name_away() {
    let mut cluster = Cluster::connected(2, OnLoss::Strict);
    cluster.publish(0, "live/cam").expect("it is free");
    cluster.servers[0].is_cut = true;
    let end = cluster.now + cluster.config.ttl * 3;
    let mut taken = None;
    while cluster.now < end {
        cluster.pass(SECOND / 10);
        if taken.is_none() && cluster.publish(1, "live/cam").is_ok() {
            taken = Some(cluster.now);
        }
        assert!(cluster.owners("live/cam").len() <= 1);
    }
    assert!(taken.is_some() && cluster.owners("live/cam") == [1]);
    let lost = Event::Lost { name: "live/cam".into(), reason: LostReason::Expired };
    assert!(cluster.servers[0].events.contains(&lost));
    cluster.end();
}

#[test]
fn serving_servers_agree_a_third_of_the_time_to_live_after_the_link_heals() {
    let mut cluster = Cluster::connected(2, OnLoss::Serve);
    cluster.publish(0, "live/cam").expect("it is free");
    cluster.servers[0].is_cut = true;
    cluster.pass(cluster.config.ttl * 2);
    assert!(cluster.publish(1, "live/cam").is_ok());
    assert_eq!(cluster.owners("live/cam"), [0, 1]);
    cluster.servers[0].is_cut = false;
    cluster.pass(cluster.config.ttl / 3);
    assert_eq!(cluster.owners("live/cam"), [1], "the one that the directory knows");
    cluster.end();
}

#[test]
fn a_directory_that_forgets_everything_gives_no_name_of_a_running_stream_away() {
    for on_loss in [OnLoss::Serve, OnLoss::Refuse, OnLoss::Strict] {
        let mut cluster = Cluster::connected(2, on_loss);
        for index in 0..100 {
            cluster.publish(0, &format!("live/{index}")).expect("it is free");
        }
        cluster.directory.flush();
        let end = cluster.now + cluster.config.ttl * 2;
        let back = cluster.now + cluster.config.ttl / 3 * 11 / 10 + SECOND;
        while cluster.now < end {
            let name = format!("live/{}", cluster.below(100));
            let outcome = cluster.publish(1, &name);
            if cluster.now > back {
                assert_eq!(cluster.directory.len(cluster.now), 100);
                assert_eq!(outcome, Err(ClaimError::Held("node-0".into())));
            }
            cluster.pass(SECOND / 5);
        }
        for index in 0..100 {
            assert_eq!(cluster.owners(&format!("live/{index}")), [0], "{on_loss:?}");
        }
        cluster.end();
    }
}

#[test]
fn a_new_name_waits_for_a_directory_that_has_just_begun() {
    let mut cluster = Cluster::connected(2, OnLoss::Refuse);
    cluster.directory.flush();
    assert_eq!(cluster.publish(0, "live/cam"), Err(ClaimError::Hold));
    cluster.pass(cluster.config.ttl - SECOND / 2);
    assert!(matches!(cluster.publish(0, "live/cam"), Ok(Some(_))), "the rest of the hold is waited for");
    cluster.end();
}

#[test]
fn a_stopped_directory_is_noticed_by_its_silence_and_nothing_is_lost() {
    let mut cluster = Cluster::connected(2, OnLoss::Serve);
    cluster.publish(0, "live/cam").expect("it is free");
    cluster.is_paused = true;
    cluster.pass(SECOND * 30);
    assert_eq!(cluster.publish(1, "live/new"), Ok(None));
    assert_eq!(cluster.owners("live/cam"), [0]);
    cluster.resume();
    cluster.pass(SECOND * 12);
    assert_eq!((cluster.owners("live/cam"), cluster.owners("live/new")), (vec![0], vec![1]));
    assert_eq!(cluster.servers[1].location.leases(), (1, 0));
    cluster.end();
}

#[test]
fn a_slow_directory_is_waited_for_no_longer_than_the_limit() {
    let mut cluster = Cluster::connected(1, OnLoss::Serve);
    cluster.is_paused = true;
    let before = cluster.now;
    assert_eq!(cluster.publish(0, "live/cam"), Ok(None));
    assert_eq!(cluster.now - before, cluster.config.answer_limit);
    cluster.pass(SECOND);
    cluster.resume();
    cluster.pass(SECOND / 10);
    assert!(cluster.servers[0].location.is_connected(), "two seconds are no reason to connect again");
    assert_eq!(cluster.servers[0].location.leases(), (1, 0), "the late answer counts");
    cluster.end();
}

#[test]
fn a_server_that_dies_keeps_its_names_for_the_time_to_live_at_most() {
    let mut cluster = Cluster::connected(2, OnLoss::Serve);
    cluster.publish(0, "live/cam").expect("it is free");
    cluster.crash(0);
    let end = cluster.now + cluster.config.ttl + SECOND * 2;
    while cluster.publish(1, "live/cam").is_err() {
        assert!(cluster.now < end);
        cluster.pass(SECOND);
    }
    cluster.end();
}

#[test]
fn a_server_that_restarts_does_not_take_the_leases_of_its_last_run_for_its_own() {
    let mut cluster = Cluster::connected(1, OnLoss::Serve);
    cluster.publish(0, "live/cam").expect("it is free");
    cluster.crash(0);
    cluster.pass(SECOND / 10);
    assert_eq!(cluster.ask(0, "live/cam"), Located::Nowhere);
    assert_eq!(cluster.publish(0, "live/cam"), Err(ClaimError::Held("node-0".into())));
    assert_eq!(cluster.ask(0, "live/cam"), Located::Nowhere, "no server pulls from itself");
    cluster.pass(cluster.config.ttl);
    assert!(cluster.publish(0, "live/cam").is_ok());
    cluster.end();
}

#[test]
fn attempts_to_connect_back_off() {
    let mut cluster = Cluster::new(1, OnLoss::Serve, 7);
    cluster.is_down = true;
    let mut times = Vec::new();
    let end = cluster.now + SECOND * 60;
    while cluster.now < end {
        let before = cluster.servers[0].attempts();
        cluster.step(end);
        if cluster.servers[0].attempts() > before {
            times.push(cluster.now);
        }
    }
    assert!((30..45).contains(&times.len()), "{}", times.len());
    cluster.end();
}

#[test]
fn an_encoder_that_comes_back_while_the_directory_was_away_gets_its_name() {
    for on_loss in [OnLoss::Strict, OnLoss::Serve] {
        let mut cluster = Cluster::connected(1, on_loss);
        // The hold after the directory's begin is over.
        cluster.pass(cluster.config.ttl * 2);
        cluster.publish(0, "live/cam").expect("it is free");
        cluster.kill_directory();
        cluster.unpublish(0, "live/cam");
        let claim = cluster.claim(0, "live/cam", Conflict::Refuse);
        cluster.is_down = false;
        assert!(cluster.outcome(0, claim).is_ok(), "{on_loss:?}");
        cluster.end();
    }
}

#[test]
fn a_directory_that_takes_long_for_many_leases_is_no_dead_one() {
    let mut cluster = Cluster::connected(1, OnLoss::Serve);
    let server = &mut cluster.servers[0].location;
    let begin = cluster.now;
    let mut asked = Vec::new();
    for number in 0..10 {
        server.find(begin, &format!("live/cam{number}").into());
    }
    while let Output::Ask(id, _) = server.poll(begin) {
        asked.push(id);
    }
    assert_eq!(asked.len(), 10);
    let hang = cluster.config.hang_limit();
    // One reply within each limit: the last is five limits late.
    for (number, id) in asked.into_iter().enumerate() {
        let now = begin + hang / 2 * u32::try_from(number + 1).expect("a small number");
        while matches!(server.poll(now), Output::Event(_)) {}
        assert!(server.is_connected(), "reply {number}");
        server.handle_reply(now, id, Reply::Found(None));
    }
    server.find(begin + hang * 5, &"live/late".into());
    while !matches!(server.poll(begin + hang * 6), Output::Wait(_)) {}
    assert!(!server.is_connected(), "silence counts");
}

#[test]
fn a_publisher_that_was_accepted_during_a_hold_is_closed_within_a_third_also_without_a_notice() {
    let mut cluster = Cluster::connected(2, OnLoss::Serve);
    cluster.publish(0, "live/cam").expect("it is free");
    cluster.directory.flush();
    cluster.is_deaf = true;
    assert_eq!(cluster.publish(1, "live/cam"), Ok(None));
    // The owner renews within a third, and the other one claims again in another third.
    cluster.pass(cluster.config.ttl * 2 / 3 * 11 / 10);
    assert_eq!(cluster.owners("live/cam"), [0]);
    assert!(cluster.directory.len(cluster.now) == 1 && cluster.servers[1].location.leases() == (0, 0));
    cluster.end();
}
