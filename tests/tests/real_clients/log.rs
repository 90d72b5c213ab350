//! Both programs write the same lines.

use anabranch_core::message::Message;
use anabranch_tests::program::{Program, Runtime};

/// What one program writes about a player that waits, a publisher, a client that is refused, and their ends: without
/// the times, and with `#` for each number.
fn evening(runtime: Runtime) -> Vec<String> {
    let server = Program::start(runtime, &[]);
    let player = server.player("cam");
    server.wait_line("conn 1 waits for ");
    let mut publisher = server.publisher("cam");
    publisher.send(Message::video(0, vec![0x17, 1, 0, 0, 0]));
    server.wait_line("conn 1 gets ");
    let mut second = server.visitor();
    second.publish("cam").expect_err("the name is taken");
    second.drop_connection();
    server.wait_line("conn 3 closed: ");
    publisher.drop_connection();
    server.wait_line("conn 2 closed: ");
    player.close();
    server.wait_line("conn 1 closed: ");
    server.process.terminate();
    server.process.wait_success(anabranch_tests::TIMEOUT);
    let log = server.process.stderr();
    // `anabranch` says why it stops: it can drain, the other program cannot.
    let is_same = |line: &&String| !line.contains("INFO stopping");
    let lines = log.iter().skip_while(|line| !line.contains("conn 1 opened")).filter(is_same);
    lines.map(|line| without_numbers(line.split_once(' ').map_or("", |(_, rest)| rest.trim_start()))).collect()
}

fn without_numbers(line: &str) -> String {
    let mut out = String::new();
    for c in line.chars() {
        match (c.is_ascii_digit(), out.ends_with('#')) {
            (true, true) => {}
            (true, false) => out.push('#'),
            (false, _) => out.push(c),
        }
    }
    out
}

#[test]
fn both_programs_write_the_same_lines() {
    let [smol, std] = [Runtime::Smol, Runtime::Std].map(evening);
    assert_eq!(smol, std);
    for told in ["opened", "waits for live/cam", "name_taken", "abrupt end", "orderly end", "stopped"] {
        assert!(smol.iter().any(|line| line.contains(told)), "{told}: {smol:#?}");
    }
}
