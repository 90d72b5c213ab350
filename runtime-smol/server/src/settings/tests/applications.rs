//! Applications: settings for some streams of a virtual host.

use anabranch_core::url::StreamKey;

use super::*;

const TEXT: &str = "\
[defaults.limits]
players = 3
publishers = 4
[defaults.play]
max_gap = \"1s\"
[defaults.hooks]
on_play = [\"http://defaults.example/\"]
[[defaults.application]]
streams = [\"ingest/*\"]
limits.players = 0
[[defaults.application]]
streams = [\"live/*\"]
play.max_gap = \"7s\"
[[vhost]]
name = \"A.example\"
limits.players = 5
[[vhost.application]]
streams = [\"live/vip*\", \"vip/*\"]
hooks.on_play = [{ url = \"http://vip.example/\", form = \"nginx-rtmp\" }]
[[vhost.application]]
streams = [\"live/*\"]
play.high_water = 9
[[vhost]]
name = \"b.example\"
";

fn config<'a>(loaded: &'a Loaded, vhost: &str, path: &str) -> &'a VhostConfig {
    let host = loaded
        .config
        .vhosts
        .iter()
        .find(|host| host.name == vhost)
        .map_or(&loaded.config.defaults, |host| &host.settings);
    host.applications.of(&key(vhost, path)).map_or(host, |application| &application.settings)
}

fn key(vhost: &str, path: &str) -> StreamKey {
    let (app, stream) = path.split_once('/').unwrap();
    StreamKey::new(vhost, app, stream).unwrap()
}

#[test]
fn what_an_application_does_not_set_is_as_in_its_virtual_host() {
    let loaded = read(TEXT);
    let of = |vhost, path| {
        let config = config(&loaded, vhost, path);
        let gap = config.max_gap.map(|gap| gap.as_secs());
        (config.limits.players, config.limits.publishers, gap, config.high_water)
    };
    let usual = 64 << 10;
    for (vhost, path, expected) in [
        // The applications of the virtual host come first.
        ("a.example", "live/vip1", (Some(5), Some(4), Some(1), usual)),
        ("a.example", "vip/cam", (Some(5), Some(4), Some(1), usual)),
        ("a.example", "live/cam", (Some(5), Some(4), Some(1), 9)),
        // Then those of the defaults, with the other settings of the virtual host.
        ("a.example", "ingest/cam", (Some(0), Some(4), Some(1), usual)),
        ("a.example", "other/cam", (Some(5), Some(4), Some(1), usual)),
        ("b.example", "live/cam", (Some(3), Some(4), Some(7), usual)),
        ("b.example", "ingest/cam", (Some(0), Some(4), Some(1), usual)),
        ("b.example", "other/cam", (Some(3), Some(4), Some(1), usual)),
    ] {
        assert_eq!(of(vhost, path), expected, "{vhost}/{path}");
    }
    let names: Vec<Vec<String>> = loaded
        .config
        .vhosts
        .iter()
        .map(|host| host.settings.applications.iter().map(anabranch_core::policy::Application::name).collect())
        .collect();
    // That of the defaults for live/* is the virtual host's own in one of them.
    assert_eq!(names, [vec!["live/vip*, vip/*", "live/*", "ingest/*"], vec!["ingest/*", "live/*"]]);
    assert_eq!(loaded.config.defaults.applications.iter().len(), 2);
}

#[test]
fn each_part_of_the_program_finds_the_settings_of_a_stream() {
    let loaded = read(TEXT);
    let hooks = loaded.of_streams(|settings| &settings.hooks);
    let url = |vhost, path| hooks.stream(&key(vhost, path)).all_urls().next().unwrap().to_string();
    assert_eq!(url("a.example", "live/vip1"), "http://vip.example/");
    assert_eq!(url("a.example", "live/cam"), "http://defaults.example/");
    assert_eq!(url("elsewhere.example", "live/cam"), "http://defaults.example/");
    assert_eq!(hooks.vhost("a.example").all_urls().next().unwrap().to_string(), "http://defaults.example/");
    // The defaults with two applications, the first host with three, the second with two.
    assert_eq!(hooks.iter().count(), 3 + 4 + 3);
}

#[test]
fn what_is_in_force_is_shown_and_read_again_with_each_place() {
    let loaded = read(TEXT);
    let shown = loaded.show();
    same(&read(&shown).config, &loaded.config);
    let line =
        |text: &str| shown.lines().find(|line| line.starts_with(text)).unwrap_or_else(|| panic!("{text}\n{shown}"));
    assert!(line("[[vhost.application]]").ends_with("# f.toml:17:1"), "{shown}");
    assert!(line("on_play = [{").ends_with("# f.toml:19:7"), "{shown}");
    let changed = read(&TEXT.replace("max_gap = \"7s\"", "max_gap = \"8s\""));
    assert_eq!(loaded.changes(&changed), ["defaults.application[1].play.max_gap"]);
    // A capture has the applications with what a replay needs.
    let header = loaded.capture_header("anabranch 1.0");
    assert!(header.contains("form = \"nginx-rtmp\""), "{header}");
    let replayed = of_capture(&header).unwrap();
    assert_eq!(format!("{:?}", replayed.vhosts), format!("{:?}", loaded.config.vhosts));
    let ruled = read(
        "[[defaults.application]]\nstreams = ['a/*']\nsecurity.rules = ['deny play all']\ntoken.required_for = 'nothing'",
    );
    let replayed = of_capture(&ruled.capture_header("anabranch 1.0")).unwrap();
    let application = replayed.defaults.applications.iter().next().expect("its streams are known");
    assert!(application.settings.security.rules.is_empty(), "a capture has the decisions");
}

#[test]
fn variables_can_set_applications() {
    let loaded = sources(&[
        ("ANABRANCH__DEFAULTS__APPLICATION__0__STREAMS", "live/*,vip/*"),
        ("ANABRANCH__DEFAULTS__APPLICATION__0__LIMITS__PLAYERS", "7"),
        ("ANABRANCH__DEFAULTS__APPLICATION__0__HOOKS__ON_PLAY", "[{url = 'http://h/', form = 'nginx-rtmp'}]"),
    ])
    .load_text("", "")
    .unwrap();
    let application = loaded.config.defaults.applications.iter().next().unwrap();
    assert_eq!((application.name().as_str(), application.settings.limits.players), ("live/*, vip/*", Some(7)));
    assert!(application.settings.asks.play && !loaded.config.defaults.asks.play);
}

#[test]
fn what_an_application_cannot_have_is_refused_with_the_reason() {
    let application = |text: &str| wrong(&format!("[[defaults.application]]\nstreams = [\"live/*\"]\n{text}"));
    for (text, expected) in [
        (
            "session.chunk_size = 4096",
            "session: cannot be set for an application: the server needs it when a client connects",
        ),
        ("timeouts.connect = \"1s\"", "timeouts.connect: cannot be set for an application: it ends before"),
        ("timeouts.identify = \"1s\"", "timeouts.identify: cannot be set for an application: it runs while"),
        (
            "limits.connections = 7",
            "limits.connections: cannot be set for an application: connections are counted before",
        ),
        (
            "limits.questions = 7",
            "limits.questions: cannot be set for an application: the clients of a virtual host share",
        ),
        ("hooks.on_connect = []", "hooks.on_connect: cannot be set for an application: the server calls it when"),
        (
            "hooks.on_close = []",
            "hooks.on_close: cannot be set for an application: the server calls it for a connection",
        ),
        ("bandwidth_check.enabled = true", "bandwidth_check: cannot be set for an application: a bandwidth check"),
        (
            "bounds.amf_before_connect = {}",
            "bounds.amf_before_connect: cannot be set for an application: it holds before",
        ),
        ("name = \"a\"", "name: cannot be set for an application: names are those of virtual hosts"),
        ("application = []", "application: cannot be set for an application: an application cannot have applications"),
        ("limits.playrs = 7", "limits.playrs: unknown key; did you mean players?"),
        ("inherited = true", "inherited: unknown key"),
    ] {
        let problems = application(text);
        assert!(
            problems.contains(&format!("f.toml:3:1: defaults.application[0].{expected}"))
                || problems.contains(&format!(
                    "f.toml:3:{}: defaults.application[0].{expected}",
                    text.find('.').map_or(1, |at| at + 2)
                )),
            "{problems}"
        );
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
    let problems = sources(&[("ANABRANCH__DEFAULTS__APPLICATION__0__LIMITS__CONNECTIONS", "7")]).load_text("", "");
    let problems = problems.unwrap_err().to_string();
    assert!(problems.contains("connections are counted before"), "{problems}");
}

#[test]
fn mistakes_in_applications_have_their_places() {
    for (text, expected) in [
        (
            "[[defaults.application]]\nlimits.players = 7\n",
            "f.toml:1:1: defaults.application[0]: missing field `streams`",
        ),
        (
            "[[defaults.application]]\nstreams = []\n",
            "f.toml:2:1: defaults.application[0].streams: an application needs at least one pattern",
        ),
        (
            "[[defaults.application]]\nstreams = ['live']\n",
            "f.toml:2:12: defaults.application[0].streams[0]: the pattern \"live\" matches no stream",
        ),
        (
            "[[defaults.application]]\nstreams = ['live/*']\n[[defaults.application]]\nstreams = ['live/*']\n",
            "f.toml:4:1: defaults.application[1].streams: an application before this one has the same streams",
        ),
        (
            "[[defaults.application]]\nstreams = ['live/*']\nlimits.players = 'many'\n[[vhost]]\nname = 'a'\n",
            "f.toml:3:8: defaults.application[0].limits.players: \"many\" is not a number",
        ),
        (
            "[[vhost]]\nname = 'a'\n[[vhost.application]]\nstreams = ['live/*']\ntoken.required_for = 'play'\n",
            "vhost[0].application[0].token.secrets: a signed URL is required, but there is no secret to sign with",
        ),
        ("[defaults.application]\nstreams = ['live/*']\n", "f.toml:1:11: defaults.application: invalid type: map"),
        ("[defaults]\napplication = [3]\n", "f.toml:2:16: defaults.application[0]: "),
    ] {
        let problems = wrong(text);
        assert!(problems.contains(expected), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
    // In a virtual host without secrets, a rule of the defaults cannot hold.
    let text = format!(
        "[[vhost]]\nname = 'a'\ntoken.secrets = []\n[[vhost.application]]\nstreams = ['x/*']\n[defaults.token]\nsecrets = ['{SECRET}']\n\
         [[defaults.application]]\nstreams = ['live/*']\ntoken.required_for = 'play'\n"
    );
    let problems = wrong(&text);
    assert!(problems.contains(": defaults.application[0].token.secrets: a signed URL is required"), "{problems}");
}

#[test]
fn there_may_be_many_applications_and_not_any_number() {
    let vhosts = |count: usize| (0..count).map(|number| format!("[[vhost]]\nname = 'h{number}'\n")).collect::<String>();
    let applications = |count: usize| -> String {
        (0..count).map(|number| format!("[[defaults.application]]\nstreams = ['a{number}/*']\n")).collect()
    };
    assert_eq!(read(&applications(200)).config.defaults.applications.iter().len(), 200);
    let problems = wrong(&(applications(500) + &vhosts(20)));
    assert!(
        problems.contains("f.toml:1:12: defaults.application: there are 10500 applications, the most is 10000"),
        "{problems}"
    );
}
