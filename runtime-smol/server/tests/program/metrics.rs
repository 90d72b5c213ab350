//! The metrics of the running program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use anabranch_core::client::Destination;
use anabranch_load::{LoadOptions, load};
use anabranch_tests::media::frames::{audio, audio_header, video, video_header};
use anabranch_tests::peer::{Driver, WebPlayer};
use anabranch_tests::program::Program;
use anabranch_tests::{TIMEOUT, wait_for};

use crate::{launch, start_with_api};

/// Metadata and the sequence headers of sound and picture.
const HEADERS: f64 = 3.0;

/// An exposition in the text format, read strictly.
#[derive(Debug, Default)]
struct Exposition {
    /// Name to type.
    types: BTreeMap<String, String>,
    /// Name and labels as written, to value.
    series: BTreeMap<String, f64>,
}

impl Exposition {
    fn of(program: &Program) -> Self {
        let answer = program.ask("GET", "/metrics");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.kind, "text/plain; version=0.0.4; charset=utf-8");
        Exposition::read(&answer.body)
    }

    fn read(text: &str) -> Self {
        let mut found = Exposition::default();
        let (mut helped, mut family) = (String::new(), String::new());
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, words) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                assert!(is_name(name) && words.len() > 3, "{line}");
                helped = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                assert_eq!(name, helped, "the help comes first: {line}");
                let known = matches!(kind, "gauge" | "histogram") || (kind == "counter" && name.ends_with("_total"));
                assert!(known, "{line}");
                assert!(found.types.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
                family = name.to_owned();
            } else {
                let name = line.split(['{', ' ']).next().unwrap_or_default();
                let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|part| name == format!("{family}{part}"));
                let histogram = found.types.get(&family).is_some_and(|kind| kind == "histogram");
                assert!(if histogram { of_histogram } else { name == family }, "outside its family: {line}");
                let rest = labels_end(&line[name.len()..]).unwrap_or_else(|| panic!("labels: {line}"));
                let value: f64 =
                    rest.strip_prefix(' ').and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{line}"));
                assert!(value.is_finite() && value >= 0.0, "{line}");
                let series = &line[..line.len() - rest.len()];
                assert!(found.series.insert(series.to_owned(), value).is_none(), "twice: {line}");
            }
        }
        found
    }

    fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.series))
    }

    fn stream(&self, name: &str, stream: &str) -> f64 {
        self.value(&format!("{name}{{vhost=\"__defaultVhost__\",app=\"live\",stream=\"{stream}\"}}"))
    }

    fn others(&self, name: &str) -> f64 {
        self.value(&format!("{name}{{vhost=\"\",app=\"\",stream=\"other\"}}"))
    }

    fn counters(&self) -> impl Iterator<Item = (&String, f64)> {
        let is_counter = |series: &str| series.split('{').next().is_some_and(|name| name.ends_with("_total"));
        self.series.iter().filter(move |(series, _)| is_counter(series)).map(|(series, value)| (series, *value))
    }
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// What follows `{name="value",...}`, if that is well written; all of it where there is none.
fn labels_end(text: &str) -> Option<&str> {
    let Some(mut rest) = text.strip_prefix('{') else {
        return Some(text);
    };
    loop {
        let (name, value) = rest.split_once("=\"")?;
        if !is_name(name) {
            return None;
        }
        let mut letters = value.char_indices();
        let end = loop {
            match letters.next()? {
                (place, '"') => break place,
                (_, '\\') => _ = letters.next().filter(|(_, letter)| matches!(letter, '\\' | '"' | 'n'))?,
                _ => {}
            }
        };
        rest = &value[end + 1..];
        if let Some(after) = rest.strip_prefix('}') {
            return Some(after);
        }
        rest = rest.strip_prefix(',')?;
    }
}

/// Has clients take what has come until there is nothing more to be counted.
fn settle(program: &Program, clients: &mut [&mut Driver]) -> Exposition {
    wait_for("the same numbers on both sides", TIMEOUT, || {
        clients.iter_mut().for_each(|client| _ = client.step());
        let found = Exposition::of(program);
        let (read, written) =
            clients.iter().fold((0, 0), |sum, client| (sum.0 + client.received, sum.1 + client.written));
        let agree = found.value("srs_send_bytes_total") == read as f64
            && found.value("srs_receive_bytes_total") == written as f64;
        agree.then_some(found)
    })
}

#[test]
fn the_format_is_strict_and_the_names_are_good() {
    let program = start_with_api("");
    let names = ["cam", "we\"ird\\name", "a,b={}", "größe 漢字"];
    let mut publishers: Vec<_> = names.iter().map(|name| program.publisher(name)).collect();
    for publisher in &mut publishers {
        publisher.send(video_header());
        publisher.send(video(0, true, 10));
    }
    let _player = program.player("cam");
    let text = program.ask("GET", "/metrics").body;
    let found = Exposition::read(&text);
    assert_eq!(found.value("srs_streams"), 4.0);
    wait_for("all frames", TIMEOUT, || {
        let found = Exposition::of(&program);
        let weird =
            r#"anabranch_stream_frames_total{vhost="__defaultVhost__",app="live",stream="we\"ird\\name",kind="video"}"#;
        (found.series.get(weird) == Some(&1.0)).then_some(())
    });
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds", "process_max_fds"] {
        assert!(found.value(name) > 0.0, "{name}");
    }
}

#[test]
fn the_numbers_are_those_that_clients_count() {
    let program = start_with_api("");
    let mut publisher = program.publisher("cam");
    let mut player = program.player("cam");
    publisher.send(video_header());
    publisher.send(audio_header());
    for number in 0..20 {
        publisher.send(video(number * 40, number % 10 == 0, 1000));
        publisher.send(audio(number * 40));
    }
    wait_for("all frames", TIMEOUT, || {
        publisher.step();
        player.step();
        (player.frames == 42).then_some(())
    });
    let found = settle(&program, &mut [&mut publisher, &mut player]);
    assert_eq!(found.value("anabranch_received_frames_total"), 42.0);
    assert_eq!(found.value("anabranch_sent_frames_total"), 42.0);
    assert_eq!(found.value("anabranch_dropped_frames_total"), 0.0);
    assert_eq!(found.value("srs_clients"), 2.0);
    assert_eq!(found.value("srs_clients_total"), 2.0);
    assert_eq!((found.value("anabranch_publishers"), found.value("anabranch_players")), (1.0, 1.0));
    for (kind, count) in [("video", 20.0), ("audio", 20.0)] {
        let series = format!(
            "anabranch_stream_frames_total{{vhost=\"__defaultVhost__\",app=\"live\",stream=\"cam\",kind=\"{kind}\"}}"
        );
        assert_eq!(found.value(&series), count);
    }
    assert_eq!(found.stream("anabranch_stream_key_frames_total", "cam"), 2.0);
    assert_eq!(found.stream("anabranch_stream_players", "cam"), 1.0);
    assert_eq!(found.stream("anabranch_stream_live", "cam"), 1.0);
    assert_eq!(found.stream("anabranch_stream_sent_bytes_total", "cam"), player.received as f64);
    assert_eq!(found.stream("anabranch_stream_sent_frames_total", "cam"), 42.0);
    assert_eq!(found.others("anabranch_stream_sent_bytes_total"), 0.0);

    // Clients that have left still count.
    drop(publisher);
    drop(player);
    let after = wait_for("their end", TIMEOUT, || {
        let after = Exposition::of(&program);
        (after.value("anabranch_connections") == 0.0).then_some(after)
    });
    assert_eq!(after.value("srs_receive_bytes_total"), found.value("srs_receive_bytes_total"));
    assert!(after.value("srs_send_bytes_total") >= found.value("srs_send_bytes_total"));
    assert_eq!(after.value("anabranch_received_frames_total"), 42.0);
    assert_eq!(after.value("anabranch_connections_accepted_total"), 2.0);
    let closed: f64 = after
        .counters()
        .filter(|(series, _)| series.starts_with("anabranch_connections_closed"))
        .map(|(_, value)| value)
        .sum();
    assert_eq!(closed, 2.0);
    assert!(!after.series.keys().any(|series| series.contains("stream=\"cam\"")), "it has no series any more");
}

#[test]
fn the_numbers_agree_with_those_of_the_load_tool() {
    let program = start_with_api("");
    let destination = Destination::parse(&format!("rtmp://{}/live/load", program.address())).expect("a URL");
    let options =
        LoadOptions { publishers: 2, players: 6, duration: Duration::from_secs(2), ..LoadOptions::to(destination) };
    let report = load(&options, |_| {}).expect("a load");
    assert_eq!((report.publishers, report.players, report.error_count()), (2, 6, 0), "{:?}", report.errors);
    let found = wait_for("the end of all", TIMEOUT, || {
        let found = Exposition::of(&program);
        (found.value("anabranch_connections") == 0.0).then_some(found)
    });
    assert_eq!(found.value("anabranch_connections_accepted_total"), 8.0);
    assert_eq!(found.value("anabranch_dropped_frames_total"), report.gaps as f64);
    // The tool counts while it measures, the server from the beginning to the end. Each frame goes to three players,
    // and a player that joins late gets headers that its predecessors had.
    let (received, sent) = (found.value("anabranch_received_frames_total"), found.value("anabranch_sent_frames_total"));
    assert!(report.frames > 0 && sent >= report.frames as f64, "{sent} frames sent, {} counted", report.frames);
    assert!(sent <= 3.0 * received + 6.0 * HEADERS, "{sent} frames sent, {received} received");
    assert!(found.value("srs_send_bytes_total") >= report.bytes as f64);
}

#[test]
fn what_a_slow_player_gets_and_what_it_misses_is_all_there_is() {
    const FRAMES: u32 = 400;
    let program = launch().settings("[api]\nlisten = '127.0.0.1:0'").args(["--stream-memory", "1"]).start();
    let mut publisher = program.publisher("cam");
    let mut player = program.player("cam");
    publisher.send(video_header());
    publisher.send(video(0, true, 60_000));
    // What comes before a player has begun is not missed.
    wait_for("the beginning", TIMEOUT, || {
        player.step();
        (player.pictures == 1).then_some(())
    });
    // Far more than sockets hold, while the player reads nothing.
    for number in 1..FRAMES {
        publisher.send(video(number * 40, true, 60_000));
    }
    let (dropped, of_stream) = wait_for("all frames, sent or missed", TIMEOUT, || {
        player.step();
        let found = Exposition::of(&program);
        let dropped = found.value("anabranch_dropped_frames_total");
        let all = dropped + player.pictures as f64 == f64::from(FRAMES);
        all.then(|| (dropped, found.stream("anabranch_stream_dropped_frames_total", "cam")))
    });
    assert!(dropped > 0.0 && player.pictures > 0, "{dropped} and {}", player.pictures);
    assert_eq!(of_stream, dropped);
}

#[test]
fn no_counter_ever_goes_backward() {
    let program = start_with_api("metrics_streams = 2");
    let mut before: BTreeMap<String, f64> = BTreeMap::new();
    let mut look = || {
        let found = Exposition::of(&program);
        for (series, value) in found.counters() {
            let last = before.insert(series.clone(), value).unwrap_or_default();
            assert!(value >= last, "{series} went from {last} to {value}");
        }
        let shown: BTreeSet<_> =
            found.series.keys().filter(|series| series.starts_with("anabranch_stream_live{")).collect();
        assert!(shown.len() <= 3, "two and the others: {shown:?}");
        found
    };
    let mut lasting = program.publisher("lasting");
    lasting.send(video_header());
    for round in 0..6 {
        let mut publishers: Vec<_> = (0..4).map(|number| program.publisher(&format!("{round}-{number}"))).collect();
        let mut player = program.player(&format!("{round}-1"));
        lasting.send(video(round * 40, round % 3 == 0, 500));
        for (number, publisher) in publishers.iter_mut().enumerate() {
            publisher.send(video_header());
            publisher.send(video(0, true, 300 * (1 + (number + round as usize) % 4)));
            look();
        }
        player.step();
        look();
        publishers.truncate(2);
        look();
        drop(player);
        look();
        drop(publishers);
        look();
    }
    let all = wait_for("the end of all but one", TIMEOUT, || {
        let found = look();
        (found.value("anabranch_connections") == 1.0).then_some(found)
    });
    assert_eq!(all.value("anabranch_publishes_total"), 25.0);
    assert_eq!(all.value("anabranch_plays_total"), 6.0);
    assert!(all.others("anabranch_stream_bytes_total") > 0.0, "there were more than two");
}

#[test]
fn players_are_counted_and_listed_by_form() {
    let program = launch().with_web().settings("[api]\nlisten = '127.0.0.1:0'\n").start();
    let mut publisher = program.publisher("cam");
    publisher.send(video_header());
    publisher.send(audio_header());
    for number in 0..4 {
        publisher.send(video(number * 40, number == 0, 1000));
        publisher.send(audio(number * 40));
    }
    publisher.step();
    program.wait_publishers("live/cam", 1);
    let player = program.player("cam");
    let mut viewers: Vec<WebPlayer> = Vec::new();
    for path in ["/live/cam.flv", "/live/cam.mp4"] {
        viewers.push(WebPlayer::get(program.web(), path));
        viewers.push(WebPlayer::web_socket(program.web(), path));
    }
    for (viewer, status) in viewers.iter_mut().zip([200, 101].into_iter().cycle()) {
        assert_eq!(viewer.status(), status);
    }
    let value = |found: &Exposition, name: &str, form: &str| found.value(&format!("{name}{{form=\"{form}\"}}"));
    let forms = ["rtmp", "http-flv", "ws-flv", "http-mp4", "ws-mp4"];
    let found = Exposition::of(&program);
    for form in forms {
        assert_eq!(value(&found, "anabranch_form_players", form), 1.0, "{form}");
        assert!(value(&found, "anabranch_form_send_bytes_total", form) > 0.0, "{form}");
    }
    let clients = program.get("/api/v1/clients");
    let listed = clients["clients"].as_array().expect("a list");
    let mut listed: Vec<_> = listed.iter().map(|one| (one["form"].as_str(), one["type"].as_str())).collect();
    listed.sort_unstable();
    let kinds = ["mp4-play", "flv-play", "rtmp-play", "flv-play", "mp4-play"];
    let expected = ["http-mp4", "http-flv", "rtmp", "ws-flv", "ws-mp4"];
    for (form, kind) in expected.into_iter().zip(kinds) {
        assert!(listed.contains(&(Some(form), Some(kind))), "{form}: {listed:?}");
    }
    assert_eq!((listed.len(), listed[0].0), (6, Some("")), "the publisher plays nothing: {listed:?}");
    drop((viewers, player));
    wait_for("their end", TIMEOUT, || {
        let after = Exposition::of(&program);
        let players: f64 = forms.iter().map(|form| value(&after, "anabranch_form_players", form)).sum();
        let bytes = |found: &Exposition, form: &str| value(found, "anabranch_form_send_bytes_total", form);
        assert!(forms.iter().all(|form| bytes(&after, form) >= bytes(&found, form)), "what was sent still counts");
        (players == 0.0).then_some(())
    });
}

/// Settings of the parts whose metrics are there only while they are used. Nothing answers on either port.
const OF_ALL_PARTS: &str = "[cluster]
redis = 'redis://127.0.0.1:1'
advertise = 'rtmp://10.0.0.7'
[[defaults.forward]]
to = 'rtmp://127.0.0.1:1/live/{stream}'
";

#[test]
fn dashboard_and_guide_show_what_there_is() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/grafana.json");
    let text = fs::read_to_string(path).expect("the dashboard is in docs");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let mut named = BTreeSet::new();
    let mut expressions = 0;
    collect(&dashboard, &mut |expression: &str| {
        expressions += 1;
        let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        named.extend(
            words
                .filter(|word| ["srs_", "anabranch_", "process_"].iter().any(|prefix| word.starts_with(prefix)))
                .map(str::to_owned),
        );
    });
    assert!(expressions >= 10 && named.len() >= 12, "{named:?}");
    let program = start_with_api(OF_ALL_PARTS);
    let mut publisher = program.publisher("cam");
    publisher.send(video_header());
    drop(program.visitor());
    let found = wait_for("a connection that has ended", TIMEOUT, || {
        let found = Exposition::of(&program);
        found.series.keys().any(|series| series.starts_with("anabranch_connections_closed_total{")).then_some(found)
    });
    for name in &named {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        assert!(found.types.contains_key(name) || found.types.contains_key(family), "{name} is not there");
    }
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md");
    let guide = fs::read_to_string(guide).expect("the guide is in docs");
    for name in found.types.keys().filter(|name| !name.starts_with("process_")) {
        assert!(
            guide.contains(&format!("`{name}`")) || guide.contains(&format!("`{name}{{")),
            "{name} is not in the guide"
        );
    }
}

/// All expressions of a dashboard, and the queries of its variables.
fn collect(value: &serde_json::Value, found: &mut impl FnMut(&str)) {
    match value {
        serde_json::Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if name == "expr" || name == "query" || name == "definition" => found(text),
                    _ => collect(value, found),
                }
            }
        }
        _ => {}
    }
}
