//! Dates, clocks that are set, target durations, and what ends for a while only.

use super::super::channel::OtherTimes;
use super::*;

#[test]
fn dates_stay_what_they_are_when_segments_are_made_again_later() {
    let mut server = Server::new(hls::Config::default());
    server.publish();
    let first = server.ask("/live/cam.m3u8");
    server.run(8000);
    let (_, before) = server.answer(first).expect("there is a segment");
    // The network is slower from now on, and nothing watches for a while.
    (server.time, server.late) = (server.time + 480, 480);
    server.run(60_000);
    assert_eq!(server.packager.stats().segmenters, 0);
    let again = server.ask("/live/cam.m3u8");
    server.run(8000);
    let (_, after) = server.answer(again).expect("there is a segment");
    let phase = |playlist: &str| dates(playlist)[0] % 2000;
    assert_eq!(phase(&after), phase(&before), "{before}\n{after}");
}

#[test]
fn a_wall_clock_that_is_set_ends_no_playlist_and_lowers_no_number() {
    for set in [3_600_000, -3_600_000] {
        let mut server = Server::new(hls::Config::default());
        server.publish();
        let first = server.ask("/live/cam.m3u8");
        server.run(8000);
        assert!(server.answer(first).is_some());
        server.unpublish();
        server.set = set;
        for _ in 0..11 {
            server.time += 5000;
            server.turn();
            let (_, playlist) = server.get("/live/cam.m3u8");
            assert!(!playlist.contains("#EXT-X-ENDLIST"), "{set}: {playlist}");
        }
        server.time += 10_000;
        server.turn();
        let number = |playlist: &str| {
            playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")?.parse::<u64>().ok())
        };
        let (_, playlist) = server.get("/live/cam.m3u8");
        assert!(playlist.contains("#EXT-X-ENDLIST"), "{set}: {playlist}");
        let before = number(&playlist);
        server.run(60_000);
        assert_eq!(server.packager.stats().segmenters, 0);
        server.publish();
        let again = server.ask("/live/cam.m3u8");
        server.time = server.time.next_multiple_of(2000);
        server.run(8000);
        let (_, playlist) = server.answer(again).expect("there is a segment");
        assert!(number(&playlist) > before, "{set}: {playlist}");
    }
}

#[test]
fn a_viewer_without_an_id_that_was_closed_stays_away_for_a_minute_and_one_that_was_turned_away_may_ask_again() {
    for (status, then) in [(403, 403), (503, 200)] {
        let mut server = Server::new(hls::Config::default());
        server.publish();
        let (first, other) = (server.ask("/live/cam.m3u8"), server.ask_from(2, "/live/cam.m3u8"));
        server.run(8000);
        assert!(server.answer(first).is_some() && server.answer(other).is_some());
        server.packager.refused(server.viewers[0], &Answer::text(status, "closed"));
        server.act();
        assert_eq!(server.get("/live/cam.m3u8").0, then);
        let other = server.ask_from(2, "/live/cam.m3u8");
        assert_eq!(server.answer(other).map(|(status, _)| status), Some(200), "others are not concerned");
        for _ in 0..6 {
            server.run(10_000);
            server.ask_from(2, "/live/cam.m3u8");
        }
        assert_eq!(server.get("/live/cam.m3u8").0, 200, "it may begin again later");
    }
}

#[test]
fn a_session_that_a_draining_server_ended_is_asked_about_again() {
    let mut server = Server::new(hls::Config::default());
    server.asks = true;
    server.publish();
    let ticket = server.ask("/live/cam.m3u8");
    let answer = server.answers.remove(&ticket).expect("it is answered at once");
    let location = answer.fields.iter().find(|(name, _)| name == "Location").map(|(_, value)| value.clone());
    let location = format!("/live/{}", location.expect("it leads to the session"));
    server.run(8000);
    server.packager.refused(server.viewers[0], &Answer::text(503, "the server drains"));
    server.act();
    assert_eq!(server.get(&location).0, 302, "it gets another session");
    assert_eq!(server.viewers.len(), 2);
}

#[test]
fn segments_without_room_are_told_once_for_each_publication() {
    for (bytes, told) in [(64 << 20, 0), (60 << 10, 2)] {
        let mut server = Server::new(hls::Config { bytes, ..hls::Config::default() });
        server.settings.mode = Mode::Always;
        for _ in 0..2 {
            server.publish();
            server.time = server.time.next_multiple_of(2000);
            server.run(60_000);
            server.unpublish();
        }
        assert_eq!(server.short.len(), told, "{:?}", server.short);
        for Shortage { segments, window, bytes: most, needed } in server.short {
            assert!(segments <= 8 && window == 8 && most == bytes && needed > bytes, "{segments} {needed}");
        }
    }
}

#[test]
fn the_target_duration_is_that_of_the_groups_that_the_stream_has_had_and_not_of_a_short_one() {
    let mut server = Server::new(hls::Config::default());
    server.group = 8000;
    server.publish();
    server.run(25_200);
    // Cuts of scenes.
    server.group = 1200;
    let ticket = server.ask("/live/cam.m3u8");
    server.run(6000);
    server.group = 8000;
    server.run(20_000);
    let cuts = server.packager.stats().segmented.forced_cuts;
    server.run(40_000);
    let (_, first) = server.answer(ticket).expect("there is a segment");
    assert!(first.contains("#EXT-X-TARGETDURATION:8\n"), "{first}");
    assert!(first.contains("#EXTINF:1.2"), "it is not waited for: {first}");
    assert_eq!(server.packager.stats().segmented.forced_cuts, cuts, "no group is cut");
}

/// The clock of a manifest and the end of its newest segment, in milliseconds of the day.
fn clock_and_end(manifest: &str) -> (u64, u64) {
    let clock = manifest.split_once("utc:direct:2014\" value=\"").expect("it has a clock").1;
    let number = |range: std::ops::Range<usize>| clock[range].parse::<u64>().expect("a number");
    let clock = ((number(11..13) * 60 + number(14..16)) * 60 + number(17..19)) * 1000 + number(20..23);
    let sound = manifest.find(" contentType=\"audio\"").expect("there is sound");
    let newest = manifest[..sound].rsplit_once("<S t=\"").expect("there are pictures").1;
    let numbers: Vec<u64> = newest.split('"').step_by(2).take(2).filter_map(|text| text.parse().ok()).collect();
    (clock, numbers.iter().sum::<u64>() / 90 % 86_400_000)
}

#[test]
fn the_clock_of_a_manifest_follows_its_segments_if_an_encoder_drifts_or_the_wall_clock_is_set() {
    let check = |server: &mut Server| {
        let (status, manifest) = server.get("/live/cam.mpd");
        assert_eq!(status, 200);
        let (clock, end) = clock_and_end(&manifest);
        assert!(clock + 1 >= end, "its newest segment is there by its clock: {clock} {end}");
        // A segment is complete when the next one has begun, and frames may be late.
        assert!(clock < end + 4000 + 1200, "it is not far ahead: {clock} {end}");
    };
    for set in [0, -3_600_000, 3_600_000] {
        let mut server = Server::new(hls::Config::default());
        server.settings.mode = Mode::Always;
        server.time = 20_000;
        server.publish();
        server.run(20_000);
        check(&mut server);
        server.set = set;
        for _ in 0..10 {
            server.run(2000);
            check(&mut server);
        }
    }
    // An encoder whose clock is fast.
    let mut server = Server::new(hls::Config::default());
    server.settings.mode = Mode::Always;
    (server.time, server.late) = (20_000, 10_000);
    server.publish();
    server.run(20_000);
    while server.late > 0 {
        server.late -= 40;
        server.run(400);
        check(&mut server);
    }
}

#[test]
fn a_quality_that_is_pulled_from_its_last_key_frame_on_is_dated_by_what_it_is_made_from() {
    let source = hls::Moment { timestamp: 100_000, media: 100_000, wall: WALL };
    let others = OtherTimes { zero: None, same: Vec::new(), source: Some((source, 5000)) };
    // Its newest frame is two seconds behind, and the key frame 8.3 s before that one.
    let moment = others.first(1, 89_700, 98_000, WALL - 8300);
    assert_eq!((moment.timestamp, moment.wall), (89_700, WALL - 10_300));
    // The timestamps are others.
    assert_eq!(others.first(1, 9_700, 18_000, WALL - 8300).wall, WALL - 8300);
}
