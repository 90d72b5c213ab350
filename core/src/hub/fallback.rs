//! What plays while a stream has no publisher.
//!
//! A fallback is no publisher: it counts nowhere, relays do not see it, and only clients get it. It begins when a client
//! plays a name or waits for it, and nothing publishes it; its driver looks for that at each name that [changed](Hub::wants).
//! A publisher that comes stands by until it has something that players can begin at, and the fallback is superseded then.

use std::collections::BTreeSet;
use std::task::Waker;

use super::{Busy, Entry, Holds, Hub, Joins, Publisher};
use crate::url::StreamKey;

impl Hub {
    /// Collects from now on the names of which a driver of fallbacks must look again, and wakes it at each.
    pub fn collect_wants(&self, waker: Waker) {
        self.wants.set_waker(waker);
        self.wants.collect(true);
        let mut all = self.keys();
        all.retain(|key| self.wants_fallback(key));
        for key in all {
            self.wants.changed(&key);
        }
    }

    /// The names that changed since the last call.
    pub fn wants(&self) -> BTreeSet<StreamKey> {
        self.wants.take()
    }

    /// True if a client plays the stream or waits for it, and nothing publishes it.
    pub fn wants_fallback(&self, key: &StreamKey) -> bool {
        self.registry().streams.get(key).is_some_and(|entry| entry.holder.is_none() && entry.clients > 0)
    }

    /// How many clients play a stream or wait for it.
    pub fn clients(&self, key: &StreamKey) -> usize {
        self.registry().streams.get(key).map_or(0, |entry| entry.clients)
    }

    /// Begins to publish the fallback of a stream. It is superseded by the first publisher that has a key frame.
    ///
    /// # Errors
    /// The stream has a publisher, or its fallback plays already.
    pub fn publish_fallback(&self, key: &StreamKey) -> Result<Publisher, Busy> {
        self.begin(key, "", Holds::Fallback, Joins::Alone, |registry| {
            let holder = registry.streams.get(key).and_then(|entry: &Entry| entry.holder.as_ref());
            holder.map_or(Ok(()), |_| Err(Busy))
        })
    }

    /// A name has changed, for relays and for fallbacks. Called without any lock of the hub.
    pub(super) fn changed(&self, key: &StreamKey) {
        self.changes.changed(key);
        self.wants.changed(key);
    }
}

#[cfg(test)]
mod tests {
    use super::super::backup::tests::{Rig, key, switched};
    use super::super::{BackupRules, Conflict, Counts, NotAdmitted, PullEnd, Switched};
    use super::*;
    use crate::policy::Limits;
    use crate::source::FrameKind;
    use crate::url::DEFAULT_VHOST;

    /// The number of the encoder that is the fallback.
    const FALLBACK: u8 = 9;

    fn rig() -> Rig {
        Rig::new(BackupRules::default())
    }

    #[test]
    fn a_fallback_plays_until_the_publisher_has_a_key_frame_and_again_when_it_has_left() {
        let mut rig = rig();
        assert!(rig.hub.wants_fallback(&key()));
        let mut program = rig.hub.follow(&key());
        let mut fallback = rig.encoder_of(rig.hub.publish_fallback(&key()).expect("it has no publisher"), FALLBACK, 0);
        assert!(rig.hub.publish_fallback(&key()).is_err(), "it plays already");
        rig.run(3_000, &mut [&mut fallback]);
        assert_eq!(rig.last_from(), FALLBACK);
        let stream = rig.hub.streams().remove(0);
        assert!(stream.fallback && !stream.published && stream.publisher.is_none());
        assert_eq!(rig.hub.counts(DEFAULT_VHOST), Counts { streams: 1, publishers: 0, players: 1 });
        assert!(rig.hub.is_free(&key()).is_ok() && rig.hub.standing(&key()).publication.is_none());
        let pulled = program.pull(|frame| panic!("the program gets {frame:?}"));
        assert_eq!((pulled.end, program.is_live()), (PullEnd::Ended(None), false));

        let mut publisher = rig.encoder(1, 700_000);
        publisher.keys = false;
        assert!(!publisher.publisher.began_as_backup() && program.is_live(), "it publishes, and stands by for none");
        assert!(rig.hub.streams()[0].published && rig.hub.standing(&key()).publication.is_some());
        rig.run(500, &mut [&mut fallback, &mut publisher]);
        assert_eq!(rig.last_from(), FALLBACK);
        let pulled = program.pull(|frame| panic!("the program gets {frame:?}"));
        assert_eq!(pulled.end, PullEnd::Ended(None));
        publisher.keys = true;
        for _ in 0..60 {
            rig.run(20, &mut [&mut publisher]);
            if rig.last_from() == 1 {
                break;
            }
            rig.run(0, &mut [&mut fallback]);
        }
        assert_eq!(rig.last_from(), 1);
        assert!(fallback.publisher.is_superseded() && publisher.publisher.take_events().is_empty());
        assert!(!rig.hub.streams()[0].fallback);
        drop(fallback);
        rig.run(2_000, &mut [&mut publisher]);
        let mut times = Vec::new();
        program.pull(|frame| {
            times.push(frame.payload().last().copied());
            true
        });
        assert!(times.iter().all(|from| *from == Some(1)) && times.len() > 100, "{times:?}");

        assert!(!publisher.publisher.end(rig.now()).is_published);
        assert!(rig.hub.wants_fallback(&key()));
        let mut again = rig.encoder_of(rig.hub.publish_fallback(&key()).expect("it is free"), FALLBACK, 0);
        rig.run(2_000, &mut [&mut again]);
        assert_eq!(rig.last_from(), FALLBACK);
        rig.rises();
        rig.keeps_time(0, 100);
    }

    #[test]
    fn a_publisher_that_leaves_before_its_key_frame_leaves_the_fallback_on() {
        let mut rig = rig();
        let mut fallback = rig.encoder_of(rig.hub.publish_fallback(&key()).expect("free"), FALLBACK, 0);
        rig.run(1_000, &mut [&mut fallback]);
        let mut publisher = rig.encoder(1, 0);
        publisher.keys = false;
        rig.run(500, &mut [&mut fallback, &mut publisher]);
        let refused = rig.hub.admit_publisher(rig.now(), &key(), "", Conflict::Reject, &Limits::NONE);
        assert!(matches!(refused, Err(NotAdmitted::Busy(_))), "the name has a publisher");
        publisher.publisher.end(rig.now());
        assert_eq!(rig.hub.counts(DEFAULT_VHOST).publishers, 0);
        assert!(rig.hub.is_free(&key()).is_ok());
        rig.run(2_000, &mut [&mut fallback]);
        assert_eq!(rig.last_from(), FALLBACK);
        rig.check(60);
    }

    #[test]
    fn a_publisher_has_the_stream_at_once_when_its_fallback_ends() {
        let mut rig = rig();
        let mut fallback = rig.encoder_of(rig.hub.publish_fallback(&key()).expect("free"), FALLBACK, 0);
        rig.run(1_000, &mut [&mut fallback]);
        let mut publisher = rig.encoder(1, 0);
        publisher.keys = false;
        rig.run(200, &mut [&mut fallback, &mut publisher]);
        assert!(fallback.publisher.end(rig.now()).is_published);
        publisher.keys = true;
        rig.run(2_000, &mut [&mut publisher]);
        assert_eq!(rig.last_from(), 1);
        rig.rises();
        assert!(rig.ends.iter().skip(1).all(|end| *end == PullEnd::Pending));
    }

    #[test]
    fn a_publisher_that_came_over_a_fallback_may_have_a_backup_and_the_program_takes_the_name() {
        let mut rig = rig();
        let mut fallback = rig.encoder_of(rig.hub.publish_fallback(&key()).expect("free"), FALLBACK, 0);
        rig.run(1_000, &mut [&mut fallback]);
        drop(fallback);
        let fallback = rig.hub.publish_fallback(&key()).expect("free");
        let mut program = rig.encoder_of(rig.hub.publish(&key()).expect("a fallback is no publisher"), 1, 0);
        rig.run(1_500, &mut [&mut program]);
        assert_eq!(rig.last_from(), 1);
        drop((program, fallback));
        let mut first = rig.encoder(2, 0);
        let mut second = rig.encoder(3, 0);
        rig.run(2_000, &mut [&mut first, &mut second]);
        drop(first);
        rig.run(1_000, &mut [&mut second]);
        assert_eq!(rig.last_from(), 3);
        rig.rises();
    }

    #[test]
    fn two_publishers_that_come_together_while_the_fallback_plays_are_one_on_air_and_its_backup() {
        let mut rig = rig();
        let mut fallback = rig.encoder_of(rig.hub.publish_fallback(&key()).expect("free"), FALLBACK, 0);
        rig.run(1_000, &mut [&mut fallback]);
        let (mut first, mut second) = (rig.encoder(1, 0), rig.encoder(2, 0));
        assert!(!first.publisher.began_as_backup() && second.publisher.began_as_backup());
        assert_eq!(rig.hub.counts(DEFAULT_VHOST).publishers, 2);
        rig.run(3_000, &mut [&mut first, &mut second]);
        assert!(rig.last_from() == 1 && fallback.publisher.is_superseded());
        assert!(first.publisher.end(rig.now()).is_published);
        rig.run(1_000, &mut [&mut second]);
        assert_eq!(rig.last_from(), 2);
        rig.rises();
    }

    #[test]
    fn a_backup_that_was_silent_tells_that_it_is_on_air_after_the_fallback() {
        for ends_first in [false, true] {
            let mut rig = rig();
            let mut first = rig.encoder(1, 0);
            rig.run(3_000, &mut [&mut first]);
            let mut second = rig.encoder(2, 0);
            // If it has no key frame, it is not on air before the fallback ends.
            (second.frozen, second.keys) = (ends_first, !ends_first);
            rig.run(1_000, &mut [&mut first, &mut second]);
            second.frozen = true;
            rig.run(3_000, &mut [&mut first, &mut second]);
            assert!(!first.publisher.end(rig.now()).is_published);
            let mut fallback = rig.encoder_of(rig.hub.publish_fallback(&key()).expect("free"), FALLBACK, 0);
            rig.run(1_000, &mut [&mut fallback, &mut second]);
            assert_eq!((rig.last_from(), rig.hub.streams()[0].switches), (FALLBACK, 0));
            second.frozen = false;
            if ends_first {
                rig.run(100, &mut [&mut fallback, &mut second]);
                assert_eq!((rig.last_from(), rig.hub.streams()[0].switches), (FALLBACK, 0));
                assert!(fallback.publisher.end(rig.now()).is_published);
                second.keys = true;
            }
            rig.run(2_000, &mut [&mut second]);
            assert_eq!((rig.last_from(), switched(&mut second)), (2, Switched::Lost));
            assert_eq!(rig.hub.streams()[0].switches, 1);
            rig.rises();
        }
    }

    #[test]
    fn a_publisher_that_another_one_has_replaced_before_its_key_frame_leaves_the_stream_to_that_one() {
        let mut rig = rig();
        let mut fallback = rig.encoder_of(rig.hub.publish_fallback(&key()).expect("free"), FALLBACK, 0);
        let mut first = rig.encoder(1, 0);
        first.keys = false;
        rig.run(2_100, &mut [&mut fallback, &mut first]);
        let second = rig.encoder(2, 0);
        assert!(first.publisher.end(rig.now()).is_published);
        assert!(!second.publisher.end(rig.now()).is_published);
    }

    #[test]
    fn a_publisher_that_never_sends_a_key_frame_does_not_keep_others_from_replacing_the_fallback() {
        let mut rig = rig();
        let mut fallback = rig.encoder_of(rig.hub.publish_fallback(&key()).expect("free"), FALLBACK, 0);
        let mut first = rig.encoder(1, 0);
        first.keys = false;
        rig.run(2_100, &mut [&mut fallback, &mut first]);
        let mut second = rig.encoder(2, 0);
        assert!(first.publisher.is_superseded() && !second.publisher.began_as_backup());
        rig.run(100, &mut [&mut fallback]);
        for _ in 0..60 {
            rig.run(20, &mut [&mut second]);
        }
        assert_eq!(rig.last_from(), 2);
        rig.rises();
    }

    #[test]
    fn a_stream_that_a_fallback_plays_is_wanted_from_other_servers() {
        let rig = rig();
        let other = StreamKey::new(DEFAULT_VHOST, "live", "holding").expect("a name");
        let mut player = rig.hub.follow(&other);
        assert_eq!(rig.hub.standing(&other).clients, 0);
        player.want();
        player.want();
        assert_eq!(rig.hub.standing(&other).clients, 1);
        let clients = rig.hub.admit_player(&other, &Limits::NONE).expect("no limit");
        drop(player);
        assert_eq!(rig.hub.standing(&other).clients, 1);
        drop(clients);
        assert!(!rig.hub.wants_fallback(&other));
    }

    #[test]
    fn only_names_that_clients_want_have_a_fallback() {
        let rig = rig();
        let other = StreamKey::new(DEFAULT_VHOST, "live", "other").expect("a name");
        assert!(!rig.hub.wants_fallback(&other));
        let program = rig.hub.play(&other);
        assert!(!rig.hub.wants_fallback(&other), "the program wants none");
        let client = rig.hub.admit_player(&other, &Limits::NONE).expect("no limit");
        assert!(rig.hub.wants_fallback(&other));
        let publisher = rig.hub.publish(&other).expect("free");
        assert!(!rig.hub.wants_fallback(&other));
        drop((publisher, client, program));
        assert!(rig.coded(FrameKind::Video).next().is_none());
    }
}
