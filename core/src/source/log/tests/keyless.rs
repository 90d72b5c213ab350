//! Where players begin if there is no key frame to start at.

use super::*;

/// Pushes a picture and sound every 40 ms, `from` and `to` in milliseconds.
fn run(source: &mut Source, start: Instant, from: u32, to: u32, picture: impl Fn(u32) -> Option<Frame>) {
    for time in (from..to).step_by(40) {
        let now = at(start, time.into());
        if let Some(picture) = picture(time) {
            source.push(now, picture);
        }
        source.push(now, audio(time, (time / 40) as u8));
    }
}

fn first(source: &Source, cursor: &mut Cursor) -> Option<u32> {
    match source.next(cursor) {
        Next::Start(start) => Some(start.timestamp),
        _ => None,
    }
}

#[test]
fn without_any_key_frame_players_begin_after_a_wait_with_all_that_came_during_it() {
    let mut source = Source::new(SourceLimits::default());
    let mut waited = source.join();
    source.begin();
    let start = any_instant();
    push_all(&mut source, start, [video_header(0, 1), audio_header(0, 1)]);
    run(&mut source, start, 0, 3_000, |time| Some(inter(time, 1)));
    assert_eq!(first(&source, &mut waited), None);
    assert!(!source.is_keyless());
    run(&mut source, start, 3_000, 3_040, |time| Some(inter(time, 1)));
    assert!(source.is_keyless());
    let Next::Start(began) = source.next(&mut waited) else { panic!("it has waited long enough") };
    assert!(began.keyless && began.timestamp == 0 && began.headers.iter().count() == 2, "{began:?}");
    let all = read(&source, &mut waited);
    assert_eq!(all.len(), 2 * 76, "pictures and sound from the beginning");
    // A player that joins now begins at once near the newest frame, with pictures.
    run(&mut source, start, 3_040, 60_000, |time| Some(inter(time, 1)));
    let mut late = source.join();
    let began = first(&source, &mut late).expect("at once");
    assert!((58_900..60_000).contains(&began), "{began}");
    assert!(read(&source, &mut late).iter().any(|word| word.starts_with("v1")));
    // With a key frame players start there again.
    run(&mut source, start, 60_000, 60_080, |time| Some(key(time, 2)));
    assert!(!source.is_keyless());
    let mut last = source.join();
    assert_eq!(first(&source, &mut last), Some(60_040));
}

#[test]
fn after_as_many_frames_as_the_log_holds_players_still_begin() {
    let (mut source, start) = live(SourceLimits { frames: 500, ..SourceLimits::default() });
    push_all(&mut source, start, [video_header(0, 1), audio_header(0, 1), key(0, 1)]);
    run(&mut source, start, 40, 40_000, |time| Some(inter(time, 1)));
    let mut late = source.join();
    let began = first(&source, &mut late).expect("the only key frame is gone");
    assert!(began > 38_000, "{began}");
}

#[test]
fn players_start_at_the_newest_sound_if_it_goes_on_without_pictures() {
    let (mut source, start) = live(SourceLimits::default());
    push_all(&mut source, start, [video_header(0, 1), audio_header(0, 1), key(0, 1)]);
    let mut there = source.join();
    assert_eq!(first(&source, &mut there), Some(0));
    run(&mut source, start, 40, 3_000, |time| Some(inter(time, 1)));
    run(&mut source, start, 3_000, 5_000, |_| None);
    assert_eq!(first(&source, &mut source.join()), Some(0), "a pause is not an end");
    run(&mut source, start, 5_000, 300_000, |_| None);
    let mut late = source.join();
    let Next::Start(began) = source.next(&mut late) else { panic!("it begins at once") };
    assert_eq!((began.timestamp, began.keyless, began.headers.iter().count()), (299_960, false, 2));
    // When pictures come again, players wait for a key frame, but only for a while.
    read(&source, &mut late);
    run(&mut source, start, 300_000, 302_960, |time| Some(inter(time, 1)));
    assert!(read(&source, &mut late).iter().all(|word| word.starts_with('a')));
    run(&mut source, start, 302_960, 304_000, |time| Some(inter(time, 1)));
    assert!(read(&source, &mut late).iter().any(|word| word.starts_with("v1")));
}

#[test]
fn pictures_that_are_far_apart_have_not_ended() {
    let (mut source, start) = live(SourceLimits::default());
    push_all(&mut source, start, [video_header(0, 1), audio_header(0, 1), key(0, 1)]);
    run(&mut source, start, 40, 25_000, |time| match time {
        5_000 => Some(key(time, 2)),
        _ => (time % 5_000 == 0).then(|| inter(time, 1)),
    });
    assert_eq!(first(&source, &mut source.join()), Some(5_000));
}

#[test]
fn a_key_frame_that_is_too_old_is_not_started_at() {
    let (mut source, start) = live(SourceLimits::default());
    push_all(&mut source, start, [video_header(0, 1), audio_header(0, 1), key(0, 1)]);
    run(&mut source, start, 40, 60_000, |time| Some(inter(time, 1)));
    assert_eq!(first(&source, &mut source.join()), Some(0));
    run(&mut source, start, 60_000, 64_000, |time| Some(inter(time, 1)));
    let began = first(&source, &mut source.join()).expect("at once");
    assert!(began > 62_000, "{began}");
}

#[test]
fn a_player_that_waits_for_the_next_key_frame_gets_the_newest_when_none_comes() {
    let (source, start) = live(SourceLimits::default());
    let mut source = source.with_start_rule(StartRule::NextKeyFrame);
    push_all(&mut source, start, [video_header(0, 1), audio_header(0, 1), key(0, 1)]);
    run(&mut source, start, 40, 1_000, |time| Some(inter(time, 1)));
    let mut waits = source.join();
    run(&mut source, start, 1_000, 3_800, |time| Some(inter(time, 1)));
    assert_eq!(first(&source, &mut waits), None);
    run(&mut source, start, 3_800, 4_100, |time| Some(inter(time, 1)));
    assert_eq!(first(&source, &mut waits), Some(0));
}

#[test]
fn the_batch_of_a_player_without_a_key_frame_is_made_when_it_may_have_pictures() {
    let mut source = Source::new(SourceLimits::default());
    source.begin();
    let start = any_instant();
    let mut early = source.join();
    push_all(&mut source, start, [audio(0, 1)]);
    read(&source, &mut early);
    run(&mut source, start, 40, 3_040, |time| Some(inter(time, 1)));
    read(&source, &mut early);
    let place = early.place().expect("it has begun");
    source.push(at(start, 3_040), inter(3_040, 1));
    assert!(source.batch(&place, 1 << 20).is_none_or(|batch| !batch.follows(&place)), "it has seen no key frame");
    assert_eq!(read(&source, &mut early), ["v1@3040"]);
    let place = early.place().expect("it has begun");
    source.push(at(start, 3_080), inter(3_080, 1));
    assert!(source.batch(&place, 1 << 20).is_some_and(|batch| batch.follows(&place)));
}

#[test]
fn a_stream_without_key_frames_gives_up_its_past_and_keeps_where_players_begin() {
    let mut source = Source::new(SourceLimits::default());
    source.begin();
    let start = any_instant();
    push_all(&mut source, start, [video_header(0, 1), audio_header(0, 1)]);
    run(&mut source, start, 0, 9_000, |time| Some(inter(time, 1)));
    let mut behind = source.join();
    assert!(first(&source, &mut behind).is_some());
    let before = source.held_bytes();
    source.give_past();
    assert!(source.held_bytes() < before / 4, "{} of {before}", source.held_bytes());
    let mut late = source.join();
    let Next::Start(began) = source.next(&mut late) else { panic!("it begins at once") };
    assert!(began.timestamp >= 7_900 && began.headers.iter().count() == 2, "{began:?}");
    assert!(read(&source, &mut late).len() > 2, "the newest frames are kept");
    // The same without any frames of the past.
    source.keep_past(false);
    run(&mut source, start, 9_000, 20_000, |time| Some(inter(time, 1)));
    assert!((2..=2 * 26).contains(&source.log_frames()), "{}", source.log_frames());
    assert!(first(&source, &mut source.join()).is_some_and(|began| began >= 18_900));
}

#[test]
fn a_stream_without_a_start_can_give_up_its_past_before_the_wait_is_over() {
    let mut source = Source::new(SourceLimits::default());
    source.begin();
    let start = any_instant();
    let mut waits = source.join();
    run(&mut source, start, 0, 2_520, |time| Some(inter(time, 1)));
    source.give_past();
    run(&mut source, start, 2_520, 3_200, |time| Some(inter(time, 1)));
    assert_eq!(first(&source, &mut waits), Some(2_000));
}

proptest::proptest! {
    /// Time passes between frames, and each player reads after each frame.
    #[test]
    fn in_any_run_players_begin_at_the_first_start_or_when_they_have_waited(
        frames in proptest::collection::vec((0u8..8, 0u32..1_200), 1..120),
        joins in proptest::collection::vec(0usize..120, 1..5),
    ) {
        let (mut source, start) = live(SourceLimits::default());
        push_all(&mut source, start, [video_header(0, 1), audio_header(0, 1)]);
        let wait = StartLimits::default().wait;
        let mut time = 0;
        let mut begun = None;
        // For each player that waits: its cursor, when it began to wait, and the first start after that.
        let mut waiting: Vec<(Cursor, Option<u32>)> = Vec::new();
        for (index, (kind, passes)) in frames.into_iter().enumerate() {
            let last = begun.map(|_| time);
            waiting.extend(joins.iter().filter(|join| **join == index).map(|_| (source.join(), last)));
            time += passes;
            let frame = match kind {
                0 => key(time, 1),
                1..5 => inter(time, 1),
                _ => audio(time, 1),
            };
            let is_key = frame.is_join_point();
            source.push(at(start, time.into()), frame);
            let begun = *begun.get_or_insert(time);
            waiting.retain_mut(|(cursor, since)| {
                let waited = duration(time - since.unwrap_or(begun).max(begun));
                match source.next(cursor) {
                    Next::Start(began) => {
                        assert!(!began.keyless || waited >= wait || source.is_keyless(), "{began:?} after {waited:?}");
                        assert!(began.timestamp + 60_000 >= time, "{began:?} at {time}");
                        // From there on it gets all frames, or waits for pictures that can be decoded.
                        let words = read(&source, cursor);
                        assert!(!words.is_empty(), "{began:?} and nothing behind it");
                        false
                    }
                    Next::Pending => {
                        assert!(!is_key && waited < wait, "it waits at {time} after a wait of {waited:?}");
                        true
                    }
                    other => panic!("{other:?}"),
                }
            });
        }
    }
}
