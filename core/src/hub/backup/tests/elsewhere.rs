//! A publisher that stands by for the name of another server.

use super::*;
use crate::cluster::{Lack, Waiting};

/// A rig whose clients publish names that relays pull, with a publisher of a relay and one that waits for the name.
fn pulled() -> (Rig, Encoder, Encoder) {
    let mut rig = Rig::new(BackupRules::default());
    rig.hub = rig.hub.with_yielding_relays(true);
    let relay = pull(&rig);
    let waits = elsewhere(&rig).expect("there is a place");
    let waits = rig.encoder_of(waits, 2, 900);
    (rig, relay, waits)
}

fn pull(rig: &Rig) -> Encoder {
    let publisher = rig.hub.publish_relay(&key(), 1, "192.0.2.1:1935".parse().expect("an address"));
    rig.encoder_of(publisher.expect("no client has it"), 1, 0)
}

fn elsewhere(rig: &Rig) -> Result<Publisher, NotAdmitted> {
    rig.hub.admit_backup_of_elsewhere(rig.now(), &key(), &Limits::NONE)
}

fn lack(rig: &Rig) -> Option<Lack> {
    let waiting = rig.hub.waiting_for_name(rig.now(), &key());
    let Some(Waiting { connection: 2, lack }) = waiting else { panic!("it waits: {waiting:?}") };
    lack
}

#[test]
fn it_stands_by_until_the_name_is_here_and_says_what_is_missing() {
    let (mut rig, mut relay, mut waits) = pulled();
    assert!(waits.publisher.stands_by() && waits.publisher.began_as_backup());
    rig.run(3_000, &mut [&mut relay, &mut waits]);
    assert_eq!((rig.last_from(), lack(&rig)), (1, None));
    assert_eq!(rig.hub.counts(DEFAULT_VHOST).publishers, 1);
    assert!(rig.hub.standing(&key()).publication.is_none(), "nothing is published here");
    let streams = rig.hub.streams();
    assert!(matches!(streams[0].backup, Some(crate::hub::HeldBy::Client { connection: 2, .. })));
    relay.frozen = true;
    rig.run(AFTER, &mut [&mut relay, &mut waits]);
    assert_eq!(lack(&rig), None, "a backup at the other server is the first");
    rig.run(AFTER / 8 + 100, &mut [&mut relay, &mut waits]);
    assert_eq!((lack(&rig), rig.last_from()), (Some(Lack::Stalled { seen: true }), 1));
    assert_eq!(rig.hub.name_is_here(&key(), 7), None, "that is another connection");
    assert!(rig.hub.name_is_here(&key(), 2).is_some());
    assert_eq!(rig.hub.waiting_for_name(rig.now(), &key()), None);
    relay.frozen = false;
    rig.run(500, &mut [&mut waits]);
    assert_eq!(relay.step(rig.time, rig.now()), Err(Superseded));
    drop(relay);
    rig.run(1_000, &mut [&mut waits]);
    assert_eq!((switched(&mut waits), rig.last_from()), (Switched::Stalled, 2));
    rig.check(AFTER + AFTER / 8 + 200);
    rig.keeps_time(0, 60);
    assert!(!waits.publisher.end(rig.now()).is_published);
    drop(rig.player);
    assert!(rig.hub.streams().is_empty());
    assert_eq!(rig.hub.memory().held, 0);
}

#[test]
fn a_pull_that_ends_leaves_it_waiting_and_the_name_puts_it_on_air() {
    let (mut rig, mut relay, mut waits) = pulled();
    rig.run(3_000, &mut [&mut relay, &mut waits]);
    assert!(!relay.publisher.end(rig.now()).is_published, "the name is not this server's");
    assert_eq!(lack(&rig), Some(Lack::Gone));
    assert!(rig.hub.is_free(&key()).is_ok() && rig.hub.standing(&key()).clients == 2, "the stream is still wanted");
    rig.run(1_000, &mut [&mut waits]);
    assert_eq!(rig.last_from(), 1);
    rig.run(AFTER, &mut [&mut waits]);
    assert_eq!(lack(&rig), Some(Lack::Stalled { seen: true }));
    let mut again = pull(&rig);
    rig.run(1_000, &mut [&mut again, &mut waits]);
    assert_eq!((rig.last_from(), lack(&rig)), (1, None), "it came back");
    again.publisher.end(rig.now());
    assert!(rig.hub.name_is_here(&key(), 2).is_some());
    rig.run(1_000, &mut [&mut waits]);
    assert_eq!((switched(&mut waits), rig.last_from()), (Switched::Lost, 2));
    rig.rises();
    rig.keeps_time(0, 60);
}

#[test]
fn one_waits_for_a_name_and_a_silent_one_gives_its_place_up_and_lacks_nothing() {
    let (mut rig, mut relay, mut waits) = pulled();
    rig.run(1_000, &mut [&mut relay, &mut waits]);
    assert!(matches!(elsewhere(&rig), Err(NotAdmitted::Busy(_))));
    waits.frozen = true;
    rig.run(AFTER + 100, &mut [&mut relay, &mut waits]);
    relay.publisher.end(rig.now());
    assert_eq!(lack(&rig), None, "a silent publisher is of no use");
    let _next = elsewhere(&rig).expect("the place is free");
    assert!(waits.publisher.is_superseded());
}

#[test]
fn a_client_that_has_the_name_here_is_on_air_and_the_one_that_waited_stands_by_for_it() {
    let (mut rig, mut relay, mut waits) = pulled();
    rig.run(2_000, &mut [&mut relay, &mut waits]);
    let mut first = rig.encoder(3, 0);
    assert!(!first.publisher.stands_by());
    rig.run(2_000, &mut [&mut first, &mut waits]);
    assert_eq!(rig.last_from(), 3);
    assert_eq!(rig.hub.name_is_here(&key(), 2), None, "it has its claim, too, and the other one is on air");
    assert!(first.publisher.end(rig.now()).is_published);
    rig.run(1_000, &mut [&mut waits]);
    assert_eq!(rig.last_from(), 2);
    rig.rises();
}

#[test]
fn a_fallback_plays_while_it_waits_and_until_it_has_a_key_frame() {
    let (mut rig, mut relay, mut waits) = pulled();
    rig.run(2_000, &mut [&mut relay, &mut waits]);
    relay.publisher.end(rig.now());
    let mut fallback = rig.encoder_of(rig.hub.publish_fallback(&key()).expect("free"), 9, 0);
    rig.run(2_000, &mut [&mut fallback, &mut waits]);
    assert_eq!((rig.last_from(), rig.hub.streams()[0].fallback), (9, true));
    // The pull comes back, and ends again.
    let mut again = pull(&rig);
    rig.run(2_000, &mut [&mut again, &mut waits]);
    assert!(rig.last_from() == 1 && fallback.publisher.is_superseded() && waits.publisher.stands_by());
    again.publisher.end(rig.now());
    drop(fallback);
    let mut fallback = rig.encoder_of(rig.hub.publish_fallback(&key()).expect("free"), 9, 0);
    rig.run(1_000, &mut [&mut fallback, &mut waits]);
    assert_eq!(rig.last_from(), 9);
    assert_eq!(rig.hub.name_is_here(&key(), 2), None);
    rig.run(1_000, &mut [&mut waits]);
    assert_eq!(rig.last_from(), 2);
    assert!(fallback.publisher.is_superseded());
    rig.rises();
}
