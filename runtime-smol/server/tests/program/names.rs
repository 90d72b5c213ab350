//! Names that clients choose, in lines of the log.

use anabranch_core::amf::{Object, Value};
use anabranch_tests::peer::ScriptedClient;

use crate::launch;

/// It looks like a line about a refusal.
const FORGED: &str = "conn 1 from 203.0.113.9:1 is refused (token_missing): x; from 203.0.113.9:1";
const ADDRESS: &str = "203.0.113.9";

/// A line without what is in quotes.
fn unquoted(line: &str) -> String {
    let (mut out, mut is_quoted, mut chars) = (String::new(), false, line.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' if is_quoted => _ = chars.next(),
            '"' => is_quoted = !is_quoted,
            c if !is_quoted => out.push(c),
            _ => {}
        }
    }
    assert!(!is_quoted, "a quote without its end: {line}");
    out
}

#[test]
fn a_name_cannot_look_like_another_part_of_a_line() {
    let program = launch().args(["--log", "debug"]).settings("[api]\nlisten = 'off'\n").start();
    for name in [FORGED.to_owned(), format!("\" {FORGED}"), format!("\\\" {FORGED}")] {
        let object =
            Object::new().with("app", "live").with("tcUrl", "rtmp://h/live").with("flashVer", format!("{name} \""));
        let mut publisher = ScriptedClient::connected_with(program.address(), object.clone());
        publisher.create_stream(2.0);
        publisher.publish(1, &name);
        publisher.receive_until("NetStream.Publish.Start");
        let mut second = ScriptedClient::connected_with(program.address(), object.clone());
        second.create_stream(2.0);
        second.publish(1, &name);
        second.receive_until("NetStream.Publish.BadName");
        let mut player = ScriptedClient::connected_with(program.address(), object);
        player.create_stream(2.0);
        player.play(1, &format!("{name}, or other"));
        player.receive_until("NetStream.Play.Start");
        player.command("closeStream", 0.0, 1, &[Value::Null]);
        publisher.command("FCUnpublish", 0.0, 0, &[Value::Null, name.as_str().into()]);
        publisher.command("closeStream", 0.0, 1, &[Value::Null]);
    }
    program.wait_lines(" is no longer publisher", 3);
    program.wait_lines(" is no longer player", 3);
    // A name of an app, which is refused at `connect`.
    let mut client = ScriptedClient::open(program.address());
    client.connect(Object::new().with("app", format!("{FORGED}/..")).with("tcUrl", "rtmp://h/live"));
    client.receive_until("InvalidApp");
    drop(client);
    program.wait_lines(" closed: ", 10);
    let lines = program.lines(ADDRESS);
    assert!(lines.len() > 20, "{lines:#?}");
    for line in &lines {
        assert!(!unquoted(line).contains(ADDRESS), "{line}");
        // The expression in docs/recipes.md begins like this.
        let (_, line) = line.split_once("Z ").expect("the time is first");
        let from = format!(" from {}:", program.address().ip());
        let is_refusal = line.trim_start().strip_prefix("WARN conn ").and_then(|line| line.split_once(' '));
        let is_refusal = is_refusal.is_some_and(|(_, line)| format!(" {line}").starts_with(&from));
        assert_eq!(is_refusal, line.contains("is refused (name") || line.contains("is refused (url"), "{line}");
    }
    let refused = program.lines("is refused (name_taken, held by conn ");
    assert_eq!(refused.len(), 3, "{refused:#?}");
    program.stop();
}

#[test]
fn long_names_do_not_fill_the_log() {
    for format in ["text", "json"] {
        let program = launch().args(["--log-format", format]).settings("[api]\nlisten = 'off'\n").start();
        let app = "a".repeat(3900);
        let object = Object::new().with("app", app.as_str()).with("tcUrl", format!("rtmp://h/{app}"));
        let name = "n".repeat(3900);
        let mut publisher = ScriptedClient::connected_with(program.address(), object.clone());
        publisher.create_stream(2.0);
        publisher.publish(1, &name);
        publisher.receive_until("NetStream.Publish.Start");
        let mut second = ScriptedClient::connected_with(program.address(), object.clone());
        second.create_stream(2.0);
        second.publish(1, &name);
        second.receive_until("NetStream.Publish.BadName");
        let mut player = ScriptedClient::connected_with(program.address(), object);
        player.create_stream(2.0);
        player.play(1, &format!("{name}2"));
        player.receive_until("NetStream.Play.Start");
        program.wait_lines(" waits for ", 1);
        drop((publisher, second, player));
        program.wait_lines(" closed: ", 3);
        for line in program.lines("conn ") {
            assert!(line.len() < 2500, "{} bytes: {line}", line.len());
        }
        program.stop();
    }
}

/// The expression of the recipe for fail2ban, as an expression of this language.
fn recipe_for_bans() -> regex::Regex {
    let recipes = include_str!("../../../../docs/recipes.md");
    let line = recipes.lines().find_map(|line| line.strip_prefix("failregex = ")).expect("the recipe has one");
    regex::Regex::new(&line.replace("<ADDR>", "(?P<address>[0-9a-fA-F:.]+)")).expect("it is valid")
}

#[test]
fn the_recipe_for_bans_finds_wrong_keys_and_no_client_of_a_back_end_that_is_down() {
    let program = launch()
        .settings(
            "[api]\nlisten = 'off'\n[[vhost]]\nname = 'signed.example'\n[vhost.token]\nrequired_for = 'publish'\n\
             secrets = ['a long random secret']\n[[vhost]]\nname = 'hooks.example'\n[vhost.hooks]\n\
             on_publish = ['http://127.0.0.1:1/x']\n",
        )
        .start();
    let refused = ["cam?vhost=signed.example", "cam?vhost=signed.example&token=0&expires=1", "cam?vhost=hooks.example"];
    for name in refused.iter().chain(&[".."]) {
        let mut client = ScriptedClient::connected_with(
            program.address(),
            Object::new().with("app", "live").with("tcUrl", "rtmp://hooks.example/live"),
        );
        client.create_stream(2.0);
        client.publish(1, name);
        client.receive_until("NetStream.Publish.");
    }
    program.wait_lines(" closed: ", 4);
    let expression = recipe_for_bans();
    let mut codes = Vec::new();
    for line in program.lines("conn ") {
        // As in a file, and as in the journal.
        let found = expression.captures(&line).map(|found| found["address"].to_owned());
        let in_journal = format!("Nov 30 12:00:00 host anabranch[123]: {line}");
        let (_, without_date) = in_journal.split_at("Nov 30 12:00:00 ".len());
        assert_eq!(expression.captures(without_date).map(|found| found["address"].to_owned()), found, "{line}");
        if let Some(address) = found {
            assert_eq!(address, program.address().ip().to_string());
            let (_, code) = line.split_once("is refused (").expect("a refusal");
            codes.push(code.split(')').next().unwrap_or_default().to_owned());
        }
    }
    codes.sort_unstable();
    assert_eq!(codes, ["token_malformed", "token_missing"], "{:#?}", program.lines("is refused"));
    assert_eq!(program.lines("is refused (hook_unanswered)").len(), 1, "{:#?}", program.lines("is refused"));
    program.stop();
}
