//! When one publisher takes over from another, and when it does not.

use super::*;
use crate::hub::RelayFacts;

/// Lets both send sound, and a picture every 5 s, each at its own time.
fn run_slides(rig: &mut Rig, first: &mut Encoder, second: &mut Encoder, pictures: usize) {
    for _ in 0..pictures {
        for shown in [true, false] {
            for step in 0..2 {
                let is_picture = step == 0;
                (first.pictures, second.pictures) = (is_picture && shown, is_picture && !shown);
                rig.run(if is_picture { 2 * STEP } else { 2_500 - 2 * STEP }, &mut [first, second]);
            }
        }
    }
}

#[test]
fn publishers_whose_pictures_are_far_apart_do_not_take_over_from_each_other_again_and_again() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    (first.gop, second.gop) = (1, 1);
    rig.run(2 * STEP, &mut [&mut first, &mut second]);
    (first.pictures, second.pictures) = (false, false);
    rig.run(5_000 - 2 * STEP, &mut [&mut first, &mut second]);
    run_slides(&mut rig, &mut first, &mut second, 4);
    assert_eq!(rig.hub.streams()[0].switches, 0);
    first.frozen = true;
    run_slides(&mut rig, &mut first, &mut second, 1);
    first.frozen = false;
    run_slides(&mut rig, &mut first, &mut second, 8);
    assert_eq!(rig.hub.streams()[0].switches, 1);
    rig.rises();
}

#[test]
fn a_publisher_that_has_sent_one_picture_does_not_stall_by_that_alone() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    first.gop = 1;
    rig.run(2 * STEP, &mut [&mut first, &mut second]);
    first.pictures = false;
    rig.run(4_000, &mut [&mut first, &mut second]);
    assert_eq!(rig.hub.streams()[0].switches, 0);
}

#[test]
fn a_backup_that_is_silent_does_not_take_over_from_a_publisher_that_leaves() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    rig.run(3_000, &mut [&mut first, &mut second]);
    second.frozen = true;
    rig.run(10_000, &mut [&mut first, &mut second]);
    assert!(!first.publisher.end(rig.now()).is_published);
    rig.pull();
    assert!(matches!(rig.ends.last(), Some(PullEnd::Ended(Some(_)))), "players learn that the stream is over");
    assert!(rig.hub.wants_fallback(&key()) && rig.hub.is_free(&key()).is_err());
    assert_eq!(rig.hub.counts(DEFAULT_VHOST).publishers, 1);
    rig.run(1_000, &mut [&mut second]);
    second.frozen = false;
    rig.run(2_000, &mut [&mut second]);
    assert_eq!((switched(&mut second), rig.last_from()), (Switched::Lost, 2));
    rig.rises();
    rig.keeps_time(0, 60);
    assert!(!second.publisher.end(rig.now()).is_published);
    drop(rig.player);
    assert!(rig.hub.streams().is_empty());
}

#[test]
fn a_publisher_that_stood_by_without_having_noticed_tells_that_it_is_on_air_again_before_it_sends() {
    let mut rig = Rig::new(BackupRules { returns: true, ..BackupRules::default() });
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    rig.run(3_000, &mut [&mut first, &mut second]);
    first.frozen = true;
    rig.run(2_500, &mut [&mut first, &mut second]);
    assert_eq!(switched(&mut second), Switched::Stalled);
    first.frozen = false;
    rig.run(4_500, &mut [&mut first, &mut second]);
    let steps = (0..90).find(|_| {
        rig.run(STEP, &mut [&mut first]);
        rig.last_from() == 1
    });
    assert!(steps.is_some() && switched(&mut first) == Switched::Returned);
    assert!(first.publisher.end(rig.now()).is_published);
    assert_eq!(switched(&mut second), Switched::Lost);
}

#[test]
fn a_publisher_that_has_never_sent_anything_does_not_take_over_from_the_one_that_took_over_from_it() {
    let mut rig = Rig::new(BackupRules::default());
    let mut first = rig.encoder(1, 0);
    first.frozen = true;
    let mut second = rig.encoder(2, 900);
    rig.run(3_500, &mut [&mut first, &mut second]);
    assert_eq!(switched(&mut second), Switched::Stalled);
    assert!(!second.publisher.end(rig.now()).is_published);
    first.frozen = false;
    rig.run(2_000, &mut [&mut first]);
    assert_eq!((rig.last_from(), switched(&mut first)), (1, Switched::Lost));
}

#[test]
fn a_publisher_that_comes_while_only_a_silent_backup_is_left_is_on_air_at_once() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
    rig.run(3_000, &mut [&mut first, &mut second]);
    second.frozen = true;
    rig.run(AFTER + 100, &mut [&mut first, &mut second]);
    drop(first);
    let mut third = rig.encoder(3, 0);
    assert!(!third.publisher.stands_by());
    rig.run(2_000, &mut [&mut third]);
    second.frozen = false;
    rig.run(2_000, &mut [&mut third, &mut second]);
    assert_eq!(rig.last_from(), 3);
    assert!(second.publisher.stands_by());
    drop(third);
    rig.run(2_000, &mut [&mut second]);
    assert_eq!(rig.last_from(), 2);
    rig.rises();
}

#[test]
fn publishers_that_are_closed_together_do_not_take_over_from_each_other() {
    for held_back in [true, false] {
        let mut rig = Rig::new(BackupRules::default());
        let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 900));
        rig.run(3_000, &mut [&mut first, &mut second]);
        if held_back {
            rig.hub.hold_back(&key());
        }
        assert_eq!(first.publisher.end(rig.now()).is_published, !held_back);
        rig.pull();
        assert_eq!((rig.hub.streams()[0].switches, rig.last_from()), if held_back { (0, 1) } else { (1, 2) });
        assert!(!second.publisher.end(rig.now()).is_published);
        drop(rig.player);
        assert!(rig.hub.streams().is_empty());
    }
}

#[test]
fn sound_that_is_far_behind_its_pictures_stays_there_through_a_switch() {
    let mut rig = Rig::new(BackupRules::default());
    let (mut first, mut second) = (rig.encoder(1, 20_000), rig.encoder(2, 900_000));
    (first.behind, second.behind) = (5_000, 5_000);
    rig.run(10_000, &mut [&mut first, &mut second]);
    assert!(first.publisher.end(rig.now()).is_published);
    rig.pull();
    rig.run(3_000, &mut [&mut second]);
    rig.check(2 * STEP);
    for got in rig.coded(FrameKind::Video).chain(rig.coded(FrameKind::Audio)).filter(|got| got.at >= 10_100) {
        let behind = if got.kind == FrameKind::Audio { 5_000 } else { 0 };
        let off = i64::from(got.time) + behind - 20_000 - got.at as i64;
        assert!(off.unsigned_abs() <= 60, "{got:?} is {off} ms off");
    }
}

#[test]
fn a_gop_of_very_many_pictures_is_not_sent_at_once() {
    for (gop, is_sent) in [(750, true), (2_000, false)] {
        let mut rig = Rig::new(BackupRules::default());
        let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 0));
        (second.gop, second.phase) = (gop, 0);
        rig.run(gop * 2 * STEP - 500, &mut [&mut first, &mut second]);
        drop(first);
        rig.pull();
        assert_eq!(rig.last_from() == 2, is_sent, "{gop} pictures");
        rig.run(2_000, &mut [&mut second]);
        assert_eq!(rig.last_from(), 2);
        rig.check(700);
        rig.keeps_time(0, 900);
    }
}

#[test]
fn the_publication_goes_on_for_relays_when_a_backup_takes_over() {
    let mut rig = Rig::new(BackupRules::default());
    let admit = |params: &str| {
        let facts = RelayFacts { params: params.into(), path: params.into() };
        let hub = rig.hub.for_client(facts);
        hub.admit_publisher(rig.now(), &key(), "", Conflict::Backup, &Limits::NONE).expect("there is a place")
    };
    let [first, second] = ["?key=1", "?key=2"].map(admit);
    let (mut first, mut second) = (rig.encoder_of(first, 1, 0), rig.encoder_of(second, 2, 0));
    let facts = |rig: &Rig| {
        let standing = rig.hub.standing(&key());
        let params = standing.published_by.expect("it has one").params.to_string();
        (standing.publication, params, standing.sent_by.expect("it has one").path.to_string())
    };
    rig.run(2_000, &mut [&mut first, &mut second]);
    let (publication, params, path) = facts(&rig);
    assert_eq!((&*params, &*path), ("?key=1", "?key=1"));
    first.frozen = true;
    rig.run(3_000, &mut [&mut first, &mut second]);
    assert_eq!(facts(&rig), (publication, params.clone(), "?key=2".to_owned()));
    first.frozen = false;
    rig.run(1_000, &mut [&mut first, &mut second]);
    drop(second);
    rig.run(1_000, &mut [&mut first]);
    assert_eq!(facts(&rig), (publication, params, "?key=1".to_owned()));
    drop(first);
    let _next = rig.encoder(3, 0);
    assert_ne!(rig.hub.standing(&key()).publication, publication);
}
