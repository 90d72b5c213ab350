//! How programs end, whatever they do.

use std::time::{Duration, Instant};

use anabranch_tests::program::Program;
use anabranch_tests::{Folder, TIMEOUT, wait_for};

use super::{AT_ONCE, entry, processes, runs, script, server, start, wait_processes, wait_runs, zombies};

/// What a program leaves behind that was started for a stream.
fn publish_and_leave(server: &Program, mark: &str, count: usize) {
    let publisher = server.publisher("cam");
    wait_processes(mark, count);
    drop(publisher);
    wait_processes(mark, 0);
    wait_runs(server, "end of the program", <[_]>::is_empty);
}

#[test]
fn a_program_that_ignores_sigterm_is_killed_after_its_grace() {
    let mark = "7041001";
    let deaf = format!("trap \"\" TERM; while :; do sleep {mark}; done");
    let server = server(&script(&deaf, "'x'"), "name = 'deaf'\ngrace = '500ms'");
    let publisher = server.publisher("cam");
    wait_processes(mark, 2);
    let begin = Instant::now();
    drop(publisher);
    server.wait_line("deaf of live/cam is killed: it has not ended within 0.5 s");
    assert!(begin.elapsed() >= Duration::from_millis(450), "{:?}", begin.elapsed());
    server.wait_line("deaf of live/cam has ended by signal 9");
    wait_processes(mark, 0);
    assert_eq!(server.metric("anabranch_run_exits_total{result=\"killed\"}"), Some(1.0));
}

#[test]
fn what_a_program_has_started_ends_with_it() {
    let mark = "7041002";
    let server = server(&script(&format!("sleep {mark} & sleep {mark} & sleep {mark}; true"), "'x'"), "");
    // The shell has the text among its arguments, too.
    publish_and_leave(&server, mark, 4);
    assert_eq!(zombies(server.process.id()), [""; 0]);
}

#[test]
fn what_a_program_leaves_behind_ends_although_the_program_is_gone() {
    let mark = "7041003";
    let server = server(&script(&format!("trap \"\" TERM; sleep {mark} & exit 0"), "'x'"), "grace = '300ms'");
    let publisher = server.publisher("cam");
    server.wait_line("sh of live/cam has ended with code 0");
    wait_processes(mark, 0);
    let list = runs(&server);
    assert_eq!((&list[0]["state"], &list[0]["last_result"]), (&"over".into(), &"success".into()), "{list:?}");
    drop(publisher);
}

/// A shell dies at once. FFmpeg gives up its file if it gets the signal twice.
#[test]
fn a_program_behind_a_shell_is_asked_to_end_once() {
    let inner = "n=0; trap \"n=\\$((n + 1)); echo TERM \\$n\" TERM; echo ready; while [ $n = 0 ]; do sleep 0.05; done; \
                 for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.05; done; echo done with $n";
    let server = server(&script("sh -c \"$1\" inner; true", &format!("'''{inner}'''")), "");
    let publisher = server.publisher("cam");
    server.wait_line("sh of live/cam: ready");
    drop(publisher);
    server.wait_line("sh of live/cam: TERM 1");
    server.wait_line("sh of live/cam: done with 1");
    wait_runs(&server, "end of the program", <[_]>::is_empty);
    assert_eq!(server.lines("TERM 2").len(), 0);
}

#[test]
fn what_a_program_leaves_behind_is_read_to_its_end_and_its_kill_is_told() {
    let rest = "trap \"\" TERM; (head -c 300000 /dev/zero | tr \"\\\\000\" x; echo; echo last words; \
                while :; do sleep 0.1; done) & exit 0";
    let server = server(&script(rest, "'x'"), "name = 'rest'\ngrace = '2s'");
    let _publisher = server.publisher("cam");
    server.wait_line("rest of live/cam: last words");
    server.wait_line("rest of live/cam is killed, what it left behind: it has not ended within 2 s");
    server.wait_line("rest of live/cam has ended with code 0");
}

#[test]
fn a_program_that_is_started_again_and_again_does_not_fill_the_log() {
    let more = "restart = 'always'\nrestart_after = '100ms'\nrestart_most = '100ms'\nstarts = 1000";
    let server = server("'seq', '100'", more);
    let begin = Instant::now();
    let _publisher = server.publisher("cam");
    server.wait_lines("seq runs for live/cam ", 5);
    let lines = server.lines("seq of live/cam: ").len();
    // A burst of a hundred, ten a second, and the lines of what was left out.
    let left_out = server.lines("lines of output left out").len();
    let most = 100 + 10 * begin.elapsed().as_secs() as usize + 10 + left_out;
    assert!(lines <= most, "{lines} {most}");
}

#[test]
fn a_program_that_floods_its_output_fills_no_log_and_ends() {
    let mark = "7041004";
    let server = server(&format!("'yes', '{mark} {}'", "x".repeat(3000)), "log_lines = 5");
    let mut publisher = server.publisher("cam");
    server.wait_line("yes of live/cam: ");
    server.wait_line(" lines of output left out");
    // The server does its work meanwhile.
    for number in 0..20 {
        publisher.step();
        drop(server.publisher(&format!("other{number}")));
    }
    let begin = Instant::now();
    let lines = server.lines("yes of live/cam: ").len();
    drop(publisher);
    wait_processes(mark, 0);
    server.wait_line("yes of live/cam has ended by signal 15");
    let all = server.lines("yes of live/cam: ").len();
    assert!(lines <= 50 + 300 && all - lines <= 50 + 5 * begin.elapsed().as_secs() as usize, "{lines} {all}");
    let longest = server.process.stderr().iter().map(String::len).max().unwrap();
    assert!(longest < 2000, "{longest}");
}

#[test]
fn twenty_publications_in_a_row_leave_no_process() {
    let mark = "7041005";
    let settings = entry(&script(&format!("sleep {mark} & sleep {mark}"), "'x'"), "starts = 1000");
    let server = start(&settings);
    let publisher = server.publisher("cam");
    server.wait_line("sh runs for live/cam ");
    let most = (server.open_files(), server.threads());
    drop(publisher);
    for number in 0..20 {
        let publisher = server.publisher("cam");
        if number % 2 == 0 {
            server.wait_lines("sh runs for live/cam ", 2);
        }
        drop(publisher);
    }
    wait_runs(&server, "end of all programs", <[_]>::is_empty);
    wait_processes(mark, 0);
    assert_eq!(zombies(server.process.id()), [""; 0]);
    // The pipe and the thread of the one that ran are gone, too, and the connection of its publisher.
    wait_for("fewer files and threads than with one program", TIMEOUT, || {
        (server.open_files() < most.0 && server.threads() < most.1).then_some(())
    });
}

#[test]
fn a_reload_ends_what_it_removes_and_starts_what_it_adds() {
    let folder = Folder::new();
    let entry_of = |number: u32| entry(&format!("'sleep', '7041006.{number}'"), "");
    let file = folder.write("anabranch.toml", &(AT_ONCE.to_owned() + &entry_of(1) + &entry_of(2)));
    let server = crate::launch().arg("--config").arg(&file).start();
    let mut publisher = server.publisher("cam");
    let stays = wait_processes("7041006.2", 1);
    wait_processes("7041006.1", 1);
    folder.write("anabranch.toml", &(AT_ONCE.to_owned() + &entry_of(2) + &entry_of(3)));
    let line = server.reload(|| _ = publisher.step());
    assert!(line.contains("was read"), "{line}");
    wait_processes("7041006.1", 0);
    wait_processes("7041006.3", 1);
    assert_eq!(processes("7041006.2"), stays, "it goes on");
    folder.write("anabranch.toml", "");
    server.reload(|| _ = publisher.step());
    wait_processes("7041006", 0);
}

#[test]
fn a_drain_ends_programs_and_its_end_starts_them_again() {
    let mark = "7041007";
    let server = server(&format!("'sleep', '{mark}'"), "");
    let _publisher = server.publisher("cam");
    let first = wait_processes(mark, 1);
    assert_eq!(server.ask("POST", "/api/v1/drain?seconds=600").status, 200);
    wait_processes(mark, 0);
    assert_eq!(server.ask("DELETE", "/api/v1/drain").status, 200);
    assert_ne!(wait_processes(mark, 1), first);
}

#[test]
fn a_server_that_stops_ends_its_programs_also_those_that_do_not_want_to() {
    let (mark, deaf) = ("7041008", "7041009");
    let ignores = script(&format!("trap \"\" TERM; while :; do sleep {deaf}; done"), "'x'");
    let settings = entry(&format!("'sleep', '{mark}'"), "") + &entry(&ignores, "grace = '300ms'");
    let server = start(&format!("[shutdown]\ndrain = '0s'\n{settings}"));
    let _publisher = server.publisher("cam");
    wait_processes(mark, 1);
    wait_processes(deaf, 2);
    server.process.terminate();
    server.process.wait_success(TIMEOUT);
    assert_eq!((processes(mark), processes(deaf)), (vec![], vec![]), "when the server has ended they have");
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_that_is_killed_takes_its_programs_along() {
    let mark = "7041010";
    let server = server(&format!("'sleep', '{mark}'"), "");
    let _publisher = server.publisher("cam");
    wait_processes(mark, 1);
    server.process.kill();
    wait_processes(mark, 0);
}
