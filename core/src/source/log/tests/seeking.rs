//! Players that seek a start: the start that they find counts what they missed, once.

use super::*;

/// Reads up to `Pending` or `Ended`. Returns the frames as words, and the gap of each start.
fn read_gaps(source: &Source, cursor: &mut Cursor) -> (Vec<String>, Vec<Gap>) {
    let (mut words, mut gaps) = (Vec::new(), Vec::new());
    loop {
        match source.next(cursor) {
            Next::Start(start) => gaps.push(start.gap),
            Next::Frame(frame) => words.push(word(frame)),
            Next::Pending | Next::Ended => return (words, gaps),
        }
    }
}

fn missed(frames: u64, milliseconds: u64) -> Gap {
    Gap { frames, bytes: frames * (HEADER + 6), milliseconds }
}

#[test]
fn a_player_that_falls_behind_twice_misses_each_frame_once() {
    let (mut source, now) = live(SourceLimits { frames: 2, ..SourceLimits::default() });
    source.push(now, key(0, 1));
    let mut cursor = source.join();
    assert_eq!(read_gaps(&source, &mut cursor), (vec!["K1@0".into()], vec![Gap::default()]));
    // The log drops its place. There is no start, and while it seeks, the log drops everything that it held then.
    push_all(&mut source, now, [inter(40, 2), inter(80, 3), inter(120, 4)]);
    assert_eq!(read_gaps(&source, &mut cursor), (vec![], vec![]));
    assert!(cursor.place().is_none());
    push_all(&mut source, now, [inter(160, 5), inter(200, 6), inter(240, 7)]);
    assert_eq!(read_gaps(&source, &mut cursor), (vec![], vec![]));
    assert_eq!(source.unsent(&cursor), missed(6, 240));
    source.restart(&mut cursor);
    source.push(now, key(280, 8));
    assert_eq!(read_gaps(&source, &mut cursor), (vec!["K8@280".into()], vec![missed(6, 280)]));
    assert_eq!(source.unsent(&cursor), Gap::default());
    // The second gap counts from there.
    push_all(&mut source, now, [inter(320, 9), inter(360, 10), inter(400, 11), key(440, 12)]);
    assert_eq!(read_gaps(&source, &mut cursor), (vec!["K12@440".into()], vec![missed(3, 160)]));
}

#[test]
fn a_player_that_joins_and_leaves_while_it_seeks_has_missed_nothing() {
    let (mut source, now) = live(SourceLimits { frames: 2, ..SourceLimits::default() });
    let mut cursor = source.join();
    push_all(&mut source, now, [inter(0, 1), inter(40, 2), inter(80, 3)]);
    assert_eq!(read_gaps(&source, &mut cursor), (vec![], vec![]));
    source.restart(&mut cursor);
    source.begin();
    push_all(&mut source, now, [inter(120, 4), inter(160, 5), inter(200, 6)]);
    assert_eq!(read_gaps(&source, &mut cursor), (vec![], vec![]));
    assert!(cursor.place().is_none());
    assert_eq!((source.unsent(&cursor), source.behind(&cursor)), (Gap::default(), 0));
}

#[test]
fn a_player_that_leaves_while_it_seeks_was_not_sent_what_came_since_its_place() {
    let (mut source, now) = live(SourceLimits { frames: 2, ..SourceLimits::default() });
    source.push(now, key(0, 1));
    let mut cursor = source.join();
    read_gaps(&source, &mut cursor);
    push_all(&mut source, now, [inter(40, 2), inter(80, 3), inter(120, 4)]);
    assert_eq!(read_gaps(&source, &mut cursor), (vec![], vec![]), "no start counts it");
    assert_eq!(source.unsent(&cursor), missed(3, 120));
}

#[test]
fn what_a_player_misses_of_publishers_that_come_while_it_seeks_is_counted_once() {
    let (mut source, now) = live(SourceLimits { frames: 2, ..SourceLimits::default() });
    source.push(now, key(0, 1));
    let mut cursor = source.join();
    read_gaps(&source, &mut cursor);
    push_all(&mut source, now, [inter(40, 2), inter(80, 3), inter(120, 4)]);
    assert_eq!(read_gaps(&source, &mut cursor), (vec![], vec![]));
    // One publisher without a start, during which it reads; and one that comes and goes between two reads.
    source.begin();
    push_all(&mut source, now, [inter(160, 5), inter(200, 6)]);
    assert_eq!(read_gaps(&source, &mut cursor), (vec![], vec![]));
    source.restart(&mut cursor);
    source.begin();
    source.push(now, key(240, 7));
    source.end(now);
    source.begin();
    push_all(&mut source, now, [video_header(280, 8), key(280, 9), inter(320, 10)]);
    // It missed six frames of the publishers before, up to the time of the last. The header is sent at the start.
    let expected = (vec!["K9@280".into(), "v10@320".into()], vec![missed(6, 240)]);
    assert_eq!(read_gaps(&source, &mut cursor), expected);
    source.begin();
    source.push(now, key(360, 11));
    assert_eq!(read_gaps(&source, &mut cursor), (vec!["K11@360".into()], vec![Gap::default()]));
}
