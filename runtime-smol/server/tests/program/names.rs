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
