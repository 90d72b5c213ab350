//! What a program's surroundings may do to it: a log that cannot be written or that is not read, empty variables.

use std::io::Read;
use std::process::ExitStatus;

use anabranch_tests::TIMEOUT;
use anabranch_tests::peer::{Wire, opening};
use anabranch_tests::program::{Launch, Program, free_address};

/// A line for each connection, also for those that come to nothing by the hundred.
const ALL: &str = "info,anabranch_host::before_connect=debug";

fn launch() -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_anabranch-std"))
}

/// Opens a connection and shakes hands as far as the server's answer.
fn assert_answers(program: &Program) {
    let mut wire = Wire::dial(program.address());
    wire.write(&opening::c0_c1());
    wire.read_exact(opening::ANSWER_LENGTH);
}

/// Asks it to end and waits until it has.
fn stop(program: &Program) -> ExitStatus {
    program.process.terminate();
    program.process.wait_exit(TIMEOUT).0
}

/// What servers with log files get when these are rotated.
#[test]
fn signals_of_other_servers_do_not_end_it() {
    let program = launch().on_a_free_port().start();
    for (count, signal) in [(1, "USR1"), (2, "USR2")] {
        program.process.signal(signal);
        program.wait_lines("SIGUSR1 and SIGUSR2 have no effect", count);
    }
    assert_answers(&program);
    assert!(stop(&program).success());
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_whose_output_cannot_be_written_serves_and_stops() {
    for redirections in ["2>/dev/full", ">/dev/full", ">/dev/full 2>&1", ">&- 2>&-"] {
        let program = launch().redirected(redirections).start_at(free_address());
        assert_answers(&program);
        assert_answers(&program);
        let status = stop(&program);
        assert!(status.success(), "{redirections}: {status}");
    }
}

#[test]
fn a_program_whose_log_is_not_read_serves_and_stops() {
    let (mut unread, log) = std::io::pipe().unwrap();
    let program = launch().on_a_free_port().args(["--log", ALL]).log_to(log).start();
    // Each connection leaves some hundred bytes in the log, a pipe takes 64 KiB.
    for _ in 0..1000 {
        assert_answers(&program);
    }
    assert!(stop(&program).success());
    let mut written = Vec::new();
    unread.read_to_end(&mut written).unwrap();
    assert!(written.len() >= 60 << 10, "{} bytes do not fill the pipe", written.len());
}

#[test]
fn the_last_lines_are_written() {
    let program = launch().on_a_free_port().start();
    assert_answers(&program);
    assert!(stop(&program).success());
    let last = program.process.stderr().pop().expect("a log");
    assert!(last.ends_with(" stopped"), "{last}");
}

#[test]
fn variables_that_are_empty_are_not_set_and_switches_take_many_words() {
    let help = launch().arg("--help").run().stdout;
    let names = || help.split("[env: ").skip(1).filter_map(|rest| rest.split('=').next());
    assert!(names().any(|name| name == "ANABRANCH_LISTEN") && names().any(|name| name == "ANABRANCH_STRICT_CHUNKS"));
    // It reads all options, and then a filter that it cannot read ends it.
    let refusal = |variables: &mut dyn Iterator<Item = (&str, &str)>| {
        let launch = variables.fold(launch(), |launch, (name, value)| launch.env(name, value));
        launch.args(["--log", "module=loud"]).run().stderr
    };
    let accepted = |stderr: &str| stderr.contains("log filter \"module=loud\"");
    let stderr = refusal(&mut names().map(|name| (name, "")));
    assert!(accepted(&stderr), "{stderr}");
    for word in ["1", "0", "yes", "off", "true"] {
        let stderr = refusal(&mut [("ANABRANCH_STRICT_CHUNKS", word)].into_iter());
        assert!(accepted(&stderr), "{word}: {stderr}");
    }
    let stderr = refusal(&mut [("ANABRANCH_STRICT_CHUNKS", "perhaps")].into_iter());
    assert!(stderr.contains("--strict-chunks"), "{stderr}");
}

/// What `check` names does not start, and what it passes does.
#[test]
fn check_and_the_start_agree() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let both = format!("{taken},{taken}");
    for (arguments, variable, words) in [
        (&["--log", "verbose"][..], None, "the levels are error, warn, info, debug, trace, off; did you mean debug?"),
        (&[][..], Some(("ANABRANCH_LOG", "loud")), "--log or ANABRANCH_LOG: log filter \"loud\""),
        (&["--capture", "/proc/captures"], None, "the folder /proc/captures cannot be made in /proc: "),
        (&["--listen", "192.0.2.1:1"], None, "this machine has no such address"),
        (&["--listen", &both], None, "listens there already: remove one of the two"),
        (&[], Some(("ANABRANCH_LISTN", "1")), "did you mean ANABRANCH_LISTEN?"),
    ] {
        for command in [&["check"][..], &[]] {
            let mut launch = launch().args(command).args(arguments);
            if !arguments.contains(&"--listen") {
                launch = launch.on_a_free_port();
            }
            let launch = variable.into_iter().fold(launch, |launch, (name, value)| launch.env(name, value));
            let ended = launch.run();
            assert!(!ended.status.success() && ended.stderr.contains(words), "{arguments:?}: {}", ended.stderr);
        }
    }
    // A port in use may be the running server's, and other variables may be the operator's.
    let ended = launch().args(["check", "--listen", &taken]).env("ANABRANCH_IMAGE", "x").run();
    assert!(ended.status.success() && ended.stdout.contains("The options are valid."), "{}", ended.stderr);
    let warnings: Vec<_> = ended.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert!(warnings.len() == 2 && ended.stderr.contains(&taken), "{warnings:?}");
    let program = launch().on_a_free_port().env("ANABRANCH_IMAGE", "x").start();
    program.process.wait_line("environment variable ANABRANCH_IMAGE: ");
}

#[test]
fn names_in_the_log_are_explained() {
    let ended = launch().args(["explain", "name_taken"]).run();
    assert!(ended.status.success() && ended.stdout.contains("To do: "), "{}", ended.stdout);
    let ended = launch().args(["explain", "name_takn"]).run();
    assert!(!ended.status.success() && ended.stderr.contains("did you mean name_taken"), "{}", ended.stderr);
    assert!(launch().arg("explain").run().stdout.contains("NetStream.Publish.BadName"));
}
