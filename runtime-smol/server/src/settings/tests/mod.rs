use std::time::Duration;

use anabranch_core::conn::{Config, VhostConfig};
use anabranch_core::hub::Conflict;
use anabranch_program::MemoryLimit;

use super::tree::{Node, Origin, Path, Step};
use super::*;

mod applications;
mod documents;
mod mistakes;

const SECRET: &str = "a long random secret of your own";

/// The values that core and the host get. Other sections have separate tests.
const CORES: [&str; 16] = [
    "server.",
    "tcp.",
    "log.",
    "capture.",
    "defaults.session.",
    "defaults.timeouts.",
    "defaults.play.",
    "defaults.publish.",
    "defaults.cache.",
    "defaults.limits.",
    "defaults.security.",
    "defaults.refer.",
    "defaults.token.",
    "defaults.asks.",
    "defaults.bandwidth_check.",
    "defaults.bounds.",
];

fn sources(variables: &[(&str, &str)]) -> Sources {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Sources { variables: variables.collect(), ..Sources::default() }
}

fn read(text: &str) -> Loaded {
    Sources::default().load_text("f.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn wrong(text: &str) -> String {
    Sources::default().load_text("f.toml", text).expect_err("it is wrong").to_string()
}

fn same(one: &Config, other: &Config) {
    assert_eq!(format!("{one:#?}"), format!("{other:#?}"));
}

#[test]
fn settings_that_are_not_given_have_the_defaults_of_core() {
    let loaded = read("");
    // Except what depends on the machine.
    let memory = MemoryLimit::Auto.bytes();
    same(&loaded.config, &Config { memory, ..Config::default() });
    let tcp = loaded.settings.tcp.options();
    assert_eq!(format!("{tcp:?}"), format!("{:?}", anabranch_host::TcpOptions::default()));
}

/// Every key can be set to a value other than its default, and core or the host gets that value.
#[test]
fn every_key_of_virtual_hosts_means_something() {
    let schema = Schema::inlined();
    let mut leaves = Vec::new();
    collect(schema.root(), &Path::default(), &mut leaves);
    let debug = |config: &Config, settings: &Settings| {
        let Settings { server, tcp, log, capture, defaults, .. } = settings;
        format!("{config:?} {server:?} {tcp:?} {log:?} {capture:?} {:?}", defaults.limits.runs)
    };
    let sections = leaves.iter().filter(|path| CORES.iter().any(|section| path.to_string().starts_with(section)));
    // These depend on another key.
    let base = format!(
        "[defaults.bandwidth_check]\nenabled = true\n[defaults.token]\nsecrets = [\"{SECRET}\"]\n\
         required_for = \"play\"\n[defaults.limits]\npublisher_rate = 5\n"
    );
    let before = read(&base);
    for path in sections {
        let found = others(before.tree.get(path).expect("it has a default")).into_iter().any(|value| {
            let mut tree = before.tree.clone();
            tree.set(path, Node::new(value, &Origin::Default)).unwrap();
            let text = toml::to_string(&tree.value()).unwrap();
            let after = Sources::default().load_text("f.toml", &text);
            after.is_ok_and(|after| debug(&after.config, &after.settings) != debug(&before.config, &before.settings))
        });
        // Its value cannot be shown.
        let secret = matches!(
            path.to_string().as_str(),
            "defaults.bandwidth_check.key"
                | "defaults.token.secrets"
                | "defaults.hls.s3.access_key"
                | "defaults.hls.s3.secret_key"
        );
        assert!(found || secret, "{path} changes nothing");
    }
    assert!(leaves.len() > 70, "{}", leaves.len());
}

/// Other values, one of which fits the key.
fn others(node: &Node) -> Vec<toml::Value> {
    let texts = [
        "11s",
        "7ms",
        "never",
        "1h",
        "11MiB",
        "77",
        "unlimited",
        "7",
        "json",
        "off",
        "pass",
        "takeover",
        "next_key_frame",
        "publish",
        "debug",
        "/tmp/x",
        "mp4",
        "live/holding",
        "0.0.0.0:7",
    ];
    match node.value() {
        toml::Value::Boolean(value) => vec![(!value).into()],
        toml::Value::Integer(value) => vec![(value - 1).into(), (value + 1).into()],
        toml::Value::Array(_) => ["10.0.0.0/8", "example.com", "deny play all", "https://a.example", "7", SECRET]
            .map(|text| toml::Value::Array(vec![text.into()]))
            .to_vec(),
        _ => texts.map(Into::into).to_vec(),
    }
}

fn collect(entry: schema::Entry<'_>, path: &Path, leaves: &mut Vec<Path>) {
    for (key, entry) in entry.keys() {
        let path = path.key(key);
        if entry.is_table() {
            collect(entry, &path, leaves);
        } else {
            leaves.push(path);
        }
    }
}

#[test]
fn each_source_has_the_last_word_over_those_before_it() {
    let file = "[defaults.pacing]\nmerge_window = \"1ms\"\n[defaults.play]\nhigh_water = \"1KiB\"\nmax_gap = \"1s\"\nunpublish_grace = \"1s\"";
    let mut sources = sources(&[
        ("ANABRANCH__DEFAULTS__PACING__MERGE_WINDOW", "2ms"),
        ("ANABRANCH__DEFAULTS__PLAY__HIGH_WATER", "2KiB"),
        ("ANABRANCH__DEFAULTS__PLAY__MAX_GAP", ""),
        ("ANABRANCH_ELSE", "x"),
        ("PATH", "/bin"),
    ]);
    let flag = Origin::Flag("--merge-window".to_owned());
    sources.flags.push((Path::of(&["defaults", "pacing", "merge_window"]), "3ms".into(), flag));
    let loaded = sources.load_text("f.toml", file).unwrap();
    let vhost = &loaded.config.defaults;
    assert_eq!(vhost.pacing.merge_window, Duration::from_millis(3));
    assert_eq!(vhost.high_water, 2048);
    assert_eq!(vhost.max_gap, Some(Duration::from_secs(1)), "an empty variable is none");
    assert_eq!(vhost.session.chunk_size, 60_000);
    let shown = loaded.show();
    let origin = |key: &str| {
        let line = shown.lines().find(|line| line.starts_with(&format!("{key} = "))).expect("it is shown");
        line.split_once("# ").expect("its origin").1.to_owned()
    };
    assert_eq!(origin("merge_window"), "option --merge-window");
    assert_eq!(origin("high_water"), "environment variable ANABRANCH__DEFAULTS__PLAY__HIGH_WATER");
    assert_eq!(origin("max_gap"), "f.toml:5:1");
    assert_eq!(origin("chunk_size"), "default");
}

#[test]
fn variables_are_toml_or_plain_text_and_lists_may_have_commas() {
    let loaded = sources(&[
        ("ANABRANCH__SERVER__LISTEN", "1936,[::1]:7"),
        ("ANABRANCH__SERVER__TRUSTED_PROXIES", "[\"10.0.0.0/8\", \"::1\"]"),
        ("ANABRANCH__LOG__LEVEL", "\"debug\""),
        ("ANABRANCH__TCP__NODELAY", "false"),
        ("ANABRANCH__DEFAULTS__LIMITS__PLAYERS", "7"),
        ("ANABRANCH__DEFAULTS__SESSION__CHUNK_SIZE", "4096"),
        ("ANABRANCH__VHOST__0__NAME", "a"),
        ("ANABRANCH__VHOST__1__NAME", "007"),
        ("ANABRANCH__VHOST__1__PUBLISH__CONFLICT", "takeover"),
    ])
    .load_text("", "")
    .unwrap();
    assert_eq!(loaded.settings.server.listen.len(), 2);
    assert_eq!(loaded.config.trusted_proxies.len(), 2);
    assert_eq!(loaded.settings.log.level, "debug");
    assert!(!loaded.settings.tcp.nodelay);
    assert_eq!(loaded.config.defaults.limits.players, Some(7));
    assert_eq!(loaded.config.defaults.session.chunk_size, 4096);
    let vhosts: Vec<_> = loaded.config.vhosts.iter().map(|vhost| (&*vhost.name, vhost.settings.conflict)).collect();
    assert_eq!(vhosts, [("a", Conflict::Reject), ("007", Conflict::TakeOver)]);
    let names: Vec<_> =
        (0..12).map(|number| (format!("ANABRANCH__VHOST__{number}__NAME"), format!("h{number}"))).collect();
    let twelve = Sources { variables: names, ..Sources::default() }.load_text("", "").unwrap();
    assert_eq!(twelve.config.vhosts.iter().count(), 12, "in the order of their numbers");
    let problems = sources(&[
        ("ANABRANCH__SERVER__LISEN", "1"),
        ("ANABRANCH__VHOST__1__NAME", "a"),
        ("ANABRANCH__LOG__LEVEL__X", "1"),
    ]);
    let problems = problems.load_text("", "").unwrap_err().to_string();
    for words in [
        "ANABRANCH__SERVER__LISEN: server.lisen: unknown key; did you mean listen?",
        "only 0 items before it",
        "log.level.x",
    ] {
        assert!(problems.contains(words), "{words} is not in\n{problems}");
    }
}

#[test]
fn virtual_hosts_have_from_the_defaults_what_they_do_not_set() {
    let loaded = read(
        "[[vhost]]\nname = \"A\"\naliases = [\"w.a\"]\nplay.max_gap = \"2s\"\n[[vhost]]\nname = \"b\"\nenabled = false\n\
         [vhost.limits]\nplayers = \"unlimited\"\n[defaults.limits]\nplayers = 3\npublishers = 4\n\
         [defaults.play]\nmax_gap = \"1s\"\nhigh_water = 9\n",
    );
    let vhosts: Vec<_> = loaded.config.vhosts.iter().collect();
    let [a, b] = &vhosts[..] else { panic!("two") };
    assert_eq!((&*a.name, a.enabled, b.enabled, &a.aliases[..]), ("a", true, false, &["w.a".to_owned()][..]));
    let gap = |vhost: &VhostConfig| vhost.max_gap.map(|gap| gap.as_secs());
    assert_eq!((gap(&a.settings), a.settings.high_water, a.settings.limits.players), (Some(2), 9, Some(3)));
    assert_eq!((gap(&b.settings), b.settings.limits.players, b.settings.limits.publishers), (Some(1), None, Some(4)));
}

#[test]
fn secrets_are_masked_and_the_rest_can_be_read_again() {
    let hidden = SECRET.replace(' ', "");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:7\"]\n[defaults.token]\nsecrets = [\"{SECRET}\"]\nrequired_for = \"both\"\n\
         [defaults.bandwidth_check]\nkey = \"{SECRET}\"\n[[vhost]]\nname = \"a\"\nplay.start_frames = 3\n\
         [vhost.token]\nsecrets = [\"{SECRET}2\"]\n[vhost.hooks]\non_play = [\"http://me:{hidden}@h/x?key={hidden}\"]\n"
    );
    let loaded = read(&text);
    let shown = loaded.show();
    assert!(!shown.contains(SECRET) && shown.contains("secrets = [\"***\"]"), "{shown}");
    assert!(shown.contains("on_play = [\"http://***@h/x?key=***\"]"), "{shown}");
    assert!(!format!("{:?}", loaded.settings).contains(SECRET));
    let again = wrong(&shown);
    assert!(again.lines().all(|line| line.contains("too easy to guess")), "but for the secrets it is right: {again}");
    let plain = text.replace("secrets", "# secrets").replace("required_for", "# required_for");
    let plain = read(&plain);
    same(&read(&plain.show()).config, &plain.config);
    // Captures do not have secrets either, because a replay does not need them.
    let header = loaded.capture_header("anabranch 1.0");
    assert!(header.starts_with("anabranch 1.0\n") && !header.contains(SECRET) && !header.contains("token"), "{header}");
    assert!(!header.contains(&hidden), "{header}");
    let of_capture = of_capture(&header).unwrap();
    assert!(of_capture.vhosts.iter().next().unwrap().settings.asks.play, "but what is asked is known");
    assert_eq!(
        of_capture.vhosts.iter().next().unwrap().settings.start_rule,
        loaded.config.vhosts.iter().next().unwrap().settings.start_rule
    );
    assert!(super::of_capture("anabranch 1.0\nwhat = 3").is_err());
}

#[test]
fn a_capture_has_the_settings_of_connections_by_http() {
    let text =
        "[web]\nlisten = \"off\"\nwait = \"3s\"\nidle_timeout = \"7s\"\nallow_origins = [\"https://a.example\"]\n";
    let loaded = read(text);
    let of_capture = of_capture(&loaded.capture_header("anabranch 1.0")).unwrap();
    assert_eq!(of_capture.web, loaded.config.web);
    assert_eq!(of_capture.web.wait, Duration::from_secs(3));
    let odd = wrong("[web]\nwait = \"3s\"\nallow_origins = [\"https://a.example/\"]\n");
    assert!(odd.contains("allow_origins") && odd.contains("without a path"), "{odd}");
}

#[test]
fn captures_of_before_have_keys_under_their_old_names() {
    let header = "anabranch 1.0\n[defaults.play]\nmerge_window = \"7ms\"\nhigh_water = \"1KiB\"\n[[vhost]]\nname = \"a\"\n\
                  [vhost.play]\nmerge_window = \"9ms\"\n[[vhost]]\nname = \"b\"\n";
    let config = super::of_capture(header).unwrap();
    let windows: Vec<_> = config.vhosts.iter().map(|vhost| vhost.settings.pacing.merge_window).collect();
    assert_eq!(windows, [Duration::from_millis(9), Duration::from_millis(7)]);
    assert_eq!((config.defaults.pacing.merge_window, config.defaults.high_water), (Duration::from_millis(7), 1024));
    assert!(
        wrong("[defaults.play]\nmerge_window = \"7ms\"").contains("merge_window: unknown key"),
        "a file has them not"
    );
}

#[test]
fn what_has_changed_and_what_cannot_change_while_the_server_runs() {
    let before = read("[[vhost]]\nname = \"a\"");
    for (text, changes, fixed) in [
        ("[[vhost]]\nname = \"a\"\n", "", ""),
        ("[[vhost]]\nname = \"a\"\n[defaults.play]\nmax_gap = \"1s\"", "defaults.play.max_gap", ""),
        ("[[vhost]]\nname = \"a\"\nplay.max_gap = \"1s\"", "vhost[0].play.max_gap", ""),
        ("", "vhost", ""),
        ("[[vhost]]\nname = \"a\"\n[server]\nlisten = [\"7\"]", "server.listen", "server.listen"),
        ("[[vhost]]\nname = \"a\"\n[capture]\nfiles = 7", "capture.files", "capture.files"),
        ("[[vhost]]\nname = \"a\"\n[log]\nlevel = \"debug\"\nformat = \"json\"", "log.level log.format", "log.format"),
    ] {
        let after = read(text);
        assert_eq!(before.changes(&after).join(" "), changes, "{text}");
        assert_eq!(before.fixed_changes(&after).join(" "), fixed, "{text}");
        assert_eq!(after.changes(&before).len(), before.changes(&after).len(), "and the other way round");
    }
}

/// Each place in the file is found directly: a search from the beginning would take minutes.
#[test]
fn a_file_of_many_virtual_hosts_is_read_with_each_line_right() {
    let count = 300;
    let vhost = |number: usize| format!("[[vhost]]\nname = \"é{number}\"\n  limits.players = {number}\n");
    let loaded = read(&(1..=count).map(vhost).collect::<String>());
    for (index, vhost) in [0, 1, count - 1].map(|index| (index, format!("vhost[{index}]"))) {
        let path = Path::default().key("vhost").index(index).key("limits").key("players");
        let origin = loaded.tree.get(&path).expect(&vhost).origin().to_string();
        assert_eq!(origin, format!("f.toml:{}:10", index * 3 + 3));
    }
}
