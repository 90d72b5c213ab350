//! Errors in configuration files, and their places.

use super::*;

#[test]
fn all_mistakes_are_told_at_once_each_with_its_place() {
    let text = "[server]\nlisten = [\"1935\", \"here\"]\nthreds = 3\n[defaults.play]\nmax_gap = 7\n[defaults.pacing]\nmerge_window = \"never\"\n\
                [defaults.session]\nchunk_size = 100\n[[vhost]]\nname = \"a\"\n  play = { strat = 1 }\n[[vhost]]\n\
                token.required_for = \"play\"\nname = \"b\"\n[defaults.cache]\nframes = \"many\"\n";
    let problems = wrong(text);
    let expected = [
        "f.toml:2:19: server.listen[1]: \"here\" is no address to listen on: write 1935, 127.0.0.1:1935 or [::1]:1935",
        "f.toml:3:1: server.threds: unknown key; did you mean threads?",
        "f.toml:5:1: defaults.play.max_gap: \"7\" is not a time, such as \"10s\", \"350ms\", \"5m\", \"1h\" or \"never\"",
        "f.toml:7:1: defaults.pacing.merge_window: \"never\" is not a time of 10s or less, such as \"10s\"",
        "f.toml:9:1: defaults.session.chunk_size: 100 is not within 128 to 65536",
        "f.toml:12:12: vhost[0].play.strat: unknown key; did you mean start?",
        "f.toml:14:1: vhost[1].token.secrets: a signed URL is required, but there is no secret to sign with",
        "f.toml:17:1: defaults.cache.frames: invalid type: string \"many\", expected usize",
    ];
    assert_eq!(problems.lines().collect::<Vec<_>>(), expected, "{problems}");
}

#[test]
fn what_is_no_toml_and_what_does_not_go_together_says_where() {
    assert!(wrong("a = = 3\n[x\n").contains("f.toml:1:5: "));
    assert!(wrong("a = 99999999999999999999999").contains("f.toml:1:1: "));
    assert!(wrong("[[vhost]]\nname = \"a\"\n[[vhost]]\nname = \"A\"").contains("vhost: the name \"A\" is given to"));
    let problems = wrong("[[vhost]]\nenabled = true");
    assert!(problems.contains("f.toml:1:1: vhost[0]: missing field `name`"), "{problems}");
    assert!(wrong("[log]\nlevel = \"a=b=c\"").contains("f.toml:2:1: log.level: log filter \"a=b=c\": "));
    assert!(
        wrong("[defaults.token]\nsecrets = [\"short\"]").contains("f.toml:2:12: defaults.token.secrets[0]: a secret")
    );
    assert!(wrong("server = 3").contains("f.toml:1:1: server: "));
    assert!(wrong("vhost = 3").contains("f.toml:1:1: vhost: "));
    assert!(wrong("[vhost.x]").contains("vhost"));
    assert!(wrong("vhost = [3]").contains("vhost[0]"));
    assert!(wrong("defaults = [3]").contains("defaults"));
    let missing = Sources { file: Some("/does/not/exist".into()), ..Sources::default() };
    assert!(missing.load().unwrap_err().to_string().starts_with("/does/not/exist: "));
}

#[test]
fn a_wrong_time_has_its_bounds_and_an_example() {
    for (line, words) in [
        ("hooks.timeout = 2", "hooks.timeout: \"2\" is not a time from 1ms to 1h, such as \"10s\""),
        ("hooks.timeout = '2h'", "hooks.timeout: \"2h\" is not a time from 1ms to 1h, such as \"10s\""),
        (
            "pacing.merge_window = '1 year'",
            "pacing.merge_window: \"1 year\" is not a time of 10s or less, such as \"10s\"",
        ),
        ("timeouts.connect = '0s'", "timeouts.connect: \"0s\" is not a time of 1ms or more, such as \"10s\""),
        ("play.max_gap = true", "play.max_gap: "),
    ] {
        let problems = wrong(&format!("[defaults]\n{line}"));
        assert_eq!(problems.lines().count(), 1, "{problems}");
        assert!(problems.starts_with("f.toml:2:") && problems.contains(&format!(": defaults.{words}")), "{problems}");
    }
}

/// A file that is cut, doubled or changed is valid or not, but never causes a panic.
#[test]
fn no_file_makes_the_program_panic() {
    let text = format!(
        "{}\n[[vhost]]\nname = \"a\"\nplay = {{ max_gap = \"1s\" }}\n[vhost.security]\nrules = [\"deny play all\"]\n",
        read("").show()
    );
    let mut state = 7_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..400 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=random(4) {
            let (at, end) = (random(bytes.len()), random(bytes.len()));
            match random(4) {
                0 => bytes[at] = b"[]{}=\"'.,#\n \xff-09az"[random(18)],
                1 => drop(bytes.drain(at.min(end)..at.max(end))),
                2 => bytes.truncate(at.max(1)),
                _ => bytes.extend_from_within(at.min(end)..at.max(end)),
            }
            bytes.push(b'\n');
        }
        match Sources::default().load_text("f.toml", &String::from_utf8_lossy(&bytes)) {
            Ok(_) => right += 1,
            Err(problems) => {
                assert!(!problems.to_string().is_empty());
                wrong += 1;
            }
        }
    }
    assert!(right > 0 && wrong > 0, "{right} {wrong}");
}

/// Errors go to the log, and to the client that reloads over HTTP.
#[test]
fn secrets_are_in_no_error_text() {
    for text in [
        "[defaults.token]\nsecrets = 's3cret'",
        "[defaults.hooks]\non_play = 'http://me:s3cret@h/?key=s3cret'",
        "[defaults.hooks]\non_play = ['ftp://me:s3cret@h/?key=s3cret']",
        "[defaults.hooks]\ntimeout = 'http://me:s3cret@h/'",
        "[[vhost]]\nname = 'v'\n[vhost.token]\nsecrets = 's3cret'",
    ] {
        let words = wrong(text);
        assert!(words.contains("***") && !words.contains("s3cret"), "{words}");
    }
}
