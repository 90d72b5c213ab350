//! Manifests of DASH over the same streams.

use super::*;

/// The value of an attribute.
fn attribute(text: &str, name: &str) -> String {
    text.split_once(&format!("{name}=\"")).unwrap().1.split_once('"').unwrap().0.to_owned()
}

fn manifest(stream: &Stream) -> String {
    stream.segmenter.manifest().unwrap().text(None, stream.now)
}

#[test]
fn periods_of_a_manifest_keep_their_number_and_start_and_it_changes_with_the_playlist_only() {
    let mut stream = Stream::new(Config::default());
    let mut periods = BTreeMap::new();
    let mut texts = BTreeSet::new();
    for publication in 0..3 {
        stream.begin();
        for second in 0..60 {
            play(&mut stream, publication * 90_000 + second * 1000, steady(1, 30));
            let Some(manifest) = stream.segmenter.manifest() else { continue };
            let text = manifest.text(None, stream.now);
            assert!(text.contains("</Period>\n<UTCTiming "), "{text}");
            texts.insert((stream.segmenter.manifest_version(), manifest.text(None, 0)));
            for period in text.split("<Period ").skip(1) {
                let facts = [attribute(period, "start"), attribute(period, "presentationTimeOffset")];
                let known = periods.entry(attribute(period, "id")).or_insert_with(|| facts.clone());
                assert_eq!(*known, facts);
            }
        }
        stream.end();
        stream.now += 30_000;
    }
    assert_eq!(periods.len(), 3);
    let segments = stream.segmenter.stats().segments as usize;
    assert!(texts.len() <= segments, "{} of {segments}", texts.len());
    let versions: BTreeSet<_> = texts.iter().map(|(version, _)| version).collect();
    assert_eq!(versions.len(), texts.len(), "the text of a version is always the same");
    let due = stream.segmenter.deadline().unwrap();
    assert!(stream.segmenter.handle_timeout(due));
    let ended = manifest(&stream);
    assert!(ended.contains(" mediaPresentationDuration=") && !ended.contains("minimumUpdatePeriod"));
    assert!(!ended.contains("<UTCTiming"), "it is not read again");
    for period in ended.split("<Period ").skip(1) {
        assert_eq!(periods[&attribute(period, "id")][0], attribute(period, "start"));
    }
}

/// The name of a segment in a manifest, its time, and its duration.
type Entry = (String, u64, u64);

/// What a manifest lists: the name of the init segment, and the segments of each set.
fn sets(manifest: &str) -> Vec<(String, Vec<Entry>)> {
    let sets = manifest.split("<AdaptationSet ").skip(1).map(|set| {
        let media = attribute(set, "media");
        let entries = set.split("<S ").skip(1).map(|entry| {
            let [time, duration]: [u64; 2] = ["t", "d"].map(|name| attribute(entry, name).parse().unwrap());
            (media.replace("$Time$", &time.to_string()), time, duration)
        });
        (attribute(set, "initialization"), entries.collect())
    });
    sets.collect()
}

#[test]
fn names_of_a_manifest_hold_for_what_it_lists_and_later_segments_need_a_viewer() {
    let streams = [1, 2].map(|key| {
        let mut stream = Stream::new(Config::default());
        stream.segmenter = Segmenter::new(Config::default(), NameKey::new([key; 32]), b"live/cam", NOW);
        stream.begin();
        play(&mut stream, 0, steady(30, 60));
        stream
    });
    let [mut stream, other] = streams;
    let first = manifest(&stream);
    play(&mut stream, 30_000, steady(10, 60));
    let second = manifest(&stream);
    for (old, new) in sets(&first).iter().zip(sets(&second)) {
        assert!(old.1.iter().all(|(name, ..)| matches!(stream.segmenter.find(name), Found::Media(_))), "it was listed");
        let later: Vec<_> = new.1.iter().filter(|(_, time, _)| !old.1.iter().any(|(_, old, _)| old == time)).collect();
        assert!(later.len() >= 2);
        let of_old = |time: u64| old.1[0].0.replace(&old.1[0].1.to_string(), &time.to_string());
        for (name, time, _) in &later {
            let Found::Media(media) = stream.segmenter.find(name) else { panic!("{name} is listed") };
            assert_eq!(stream.segmenter.find(&of_old(*time)), Found::ForViewers(media));
            assert_eq!(other.segmenter.find(name), Found::Missing, "another key");
        }
        let (_, time, duration) = later.last().unwrap();
        assert_eq!(stream.segmenter.find(&of_old(time + duration)), Found::Next);
        assert_eq!(stream.segmenter.find(&of_old(time + duration + 1)), Found::Missing);
        let forged = later[0].0.replace('-', "0-");
        assert_eq!(stream.segmenter.find(&forged), Found::Missing, "the number belongs to the bits");
    }
}

#[test]
fn a_manifest_has_pictures_and_sound_in_sets_whose_times_go_on_over_publications() {
    let mut stream = Stream::new(Config { window: 30, ..Config::default() });
    // The third one begins by a clock that was set back.
    for (wall, start) in [(0, 0), (100_000, 5_000), (90_000, 0)] {
        stream.now = NOW + wall;
        stream.begin();
        play(&mut stream, start, steady(20, 60));
        stream.end();
    }
    let manifest = manifest(&stream);
    assert!(manifest.contains("availabilityStartTime=\"1970-01-01T00:00:00.000Z\""));
    assert_eq!(manifest.matches("<Period ").count(), 3);
    let mut ends = BTreeMap::new();
    for (init, segments) in sets(&manifest) {
        let scale = if init.starts_with("iv") { 90_000 } else { 44_100 };
        let bytes = stream.media(&init);
        let moov = &bytes[20..];
        assert_eq!(bytes.windows(4).filter(|four| four == b"trak").count(), 1, "{moov:?}");
        assert!(segments.len() >= 4, "{manifest}");
        for (name, time, duration) in segments {
            let media = stream.media(&name);
            let (mut rest, mut length, mut payload) = (&media[..], 0, 0);
            while !rest.is_empty() {
                match Any::decode(&mut rest).unwrap() {
                    Any::Moof(moof) => {
                        let [traf] = &moof.traf[..] else { panic!("it has one track") };
                        assert_eq!(traf.tfhd.track_id, if scale == 90_000 { 1 } else { 2 });
                        assert_eq!(traf.tfdt.as_ref().unwrap().base_media_decode_time, time + length);
                        for sample in traf.trun.iter().flat_map(|run| &run.samples) {
                            length += u64::from(sample.duration.or(traf.tfhd.default_sample_duration).unwrap());
                            payload += sample.size.unwrap() as usize;
                        }
                    }
                    Any::Mdat(mdat) => {
                        payload -= mdat.data.len();
                        let value = u8::from(scale != 90_000);
                        assert!(mdat.data.iter().all(|byte| *byte == value), "pictures are zeros here, sound ones");
                    }
                    _ => {}
                }
            }
            assert_eq!((length, payload), (duration, 0), "{name}");
            let end = ends.insert(scale, time + duration);
            assert!(end.is_none_or(|end| end <= time && time / scale >= NOW / 1000), "times rise: {end:?} {time}");
        }
    }
    assert_eq!(ends.len(), 2);
}

#[test]
fn a_manifest_does_not_end_with_a_segment_within_one_second() {
    for length in (4000..8000).step_by(100) {
        let mut stream = Stream::new(Config { target: Some(4), ..Config::default() });
        stream.begin();
        play(
            &mut stream,
            0,
            steady(30, 60)
                .chain(steady(8, 60).map(|(time, key)| (30_000 + time, key)))
                .take_while(|(time, _)| *time < 20_000 + length),
        );
        stream.end();
        for (init, segments) in sets(&manifest(&stream)) {
            let scale = if init.starts_with("iv") { 90_000 } else { 44_100 };
            let (name, time, duration) = segments.last().unwrap();
            assert!(time / scale < (time + duration) / scale, "{length}");
            let next = name.replace(&time.to_string(), &(time + duration).to_string());
            assert_eq!(stream.segmenter.find(&next), Found::Next, "{length}");
        }
        stream.begin();
        play(&mut stream, 60_000, steady(20, 60));
        let listed = sets(&manifest(&stream)).iter().step_by(2).map(|(_, segments)| segments.len()).sum::<usize>();
        assert_eq!(
            listed,
            stream.checker.last_checked().segments.iter().filter(|segment| !segment.uri.is_empty()).count()
        );
    }
}

#[test]
fn a_stream_with_one_track_has_one_set() {
    for (config, letter) in
        [(Config { audio: None, ..Config::default() }, 'v'), (Config { video: None, ..Config::default() }, 'a')]
    {
        let mut stream = Stream::new(config);
        stream.begin();
        play(&mut stream, 0, steady(20, 60));
        let sets = sets(&manifest(&stream));
        assert_eq!(sets.len(), 1);
        assert!(sets[0].1.len() > 2 && sets[0].1.iter().all(|(name, ..)| name.starts_with(letter)));
    }
    let mut stream = Stream::new(Config { container: Container::MpegTs, ..Config::default() });
    stream.begin();
    play(&mut stream, 0, steady(20, 60));
    assert_eq!(stream.segmenter.manifest(), None);
}

#[test]
fn the_address_in_a_manifest_is_text_of_xml() {
    let mut stream = Stream::new(Config::default());
    stream.begin();
    play(&mut stream, 0, steady(20, 60));
    let text = stream.segmenter.manifest().unwrap().text(Some("cam.mpd?a=<\"1\">&s=2\n"), stream.now);
    assert!(text.contains(">\n<Location>cam.mpd?a=&lt;&quot;1&quot;&gt;&amp;s=2</Location>\n<Period "), "{text}");
}
