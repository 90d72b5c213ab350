//! What is started, with which arguments, environment and files, and how often.

use std::fs;

use anabranch_tests::media::ffmpeg_publishes;
use anabranch_tests::program::Launch;
use anabranch_tests::{Folder, TIMEOUT, wait_for};

use super::{entry, processes, runs, script, server, start, wait_file, wait_processes, wait_runs};
use crate::launch;
use crate::record::media;

/// The limits leave no room for a client more, and `live/*` matches what ffmpeg publishes, too.
#[test]
fn ffmpeg_publishes_back_and_its_stream_starts_nothing() {
    let folder = Folder::new();
    let clip = media::clip(folder.path(), 6);
    let command = "'ffmpeg', '-nostdin', '-loglevel', 'warning', '-i', '{input}', '-c', 'copy', '-f', 'flv', \
                   '{output:{stream}_copy}'";
    let limits = "[defaults.limits]\nconnections = 2\npublishers = 1\nplayers = 1\n";
    let server = start(&format!("{limits}{}", entry(command, "name = 'copy'")));
    let clip = clip.to_str().unwrap();
    let encoder = ffmpeg_publishes(&server.url("live/cam"), &["-re", "-stream_loop", "-1", "-i", clip]);
    server.wait_publishers("live/cam_copy", 1);
    let mut player = server.player("cam_copy");
    wait_for("pictures of what ffmpeg publishes", TIMEOUT, || {
        player.step();
        (player.pictures > 60).then_some(())
    });
    let list = runs(&server);
    let [run] = &list[..] else { panic!("{list:?}") };
    assert_eq!((&run["key"], &run["state"], &run["name"]), (&"live/cam".into(), &"running".into(), &"copy".into()));
    assert_eq!((&run["starts"], &run["restarts"]), (&1.into(), &0.into()));
    assert!(run["pid"].as_u64() > Some(1) && run["since_ms"].as_u64() > Some(1_700_000_000_000), "{run}");
    assert_eq!(server.metric("anabranch_runs"), Some(1.0));
    encoder.terminate();
    wait_runs(&server, "end of all programs", <[_]>::is_empty);
    server.wait_line("copy of live/cam has ended ");
    assert_eq!(server.lines("copy runs for ").len(), 1);
    wait_for("end of what ffmpeg publishes", TIMEOUT, || {
        let streams = server.get("/api/v1/streams");
        let all = streams["streams"].as_array().unwrap();
        all.iter().all(|stream| stream["publish"]["active"] == false).then_some(())
    });
    assert!(server.process.stderr().iter().all(|line| !line.contains("anabranch_pass=1")), "a pass is in the log");
}

#[test]
fn a_program_gets_the_environment_and_the_files_that_are_named_and_nothing_else() {
    let folder = Folder::new();
    let file = |name: &str| folder.file(name).to_str().unwrap().to_owned();
    let (environ, files, limit) = (file("environ"), file("files"), file("limit"));
    let more =
        "inherit = ['LANG_OF_TEST', 'NOT_THERE']\nfolder = '/'\n[defaults.run.environment]\nKEY = 's3cret of {stream}'";
    let list = "import os, sys; names = os.listdir('/proc/self/fd'); \
                open(sys.argv[1] + '.new', 'w').write(str(sorted(map(int, names)))); \
                os.rename(sys.argv[1] + '.new', sys.argv[1])";
    let settings = [
        entry(&format!("'cp', '/proc/self/environ', '{environ}'"), more),
        entry(&format!("'python3', '-c', \"{list}\", '{files}'"), "restart = 'never'"),
        entry(
            &script("ulimit -n > \"$1.new\"; pwd >> \"$1.new\"; mv \"$1.new\" \"$1\"", &format!("'{limit}'")),
            "folder = '/'",
        ),
    ];
    let server = launch()
        .settings(&format!("[api]\nlisten = '127.0.0.1:0'\n{}", settings.concat()))
        .env("LANG_OF_TEST", "C.UTF-8")
        .env("SECRET_OF_TEST", "s3cret")
        .behind("exec 7</dev/null 9>/dev/null; ulimit -S -n 900")
        .start();
    let _publisher = server.publisher("cam");
    server.wait_lines("cp of live/cam has ended with code 0", 1);
    let environment = fs::read_to_string(&environ).unwrap();
    let mut environment: Vec<_> = environment.split_terminator('\0').collect();
    environment.sort_unstable();
    let path = format!("PATH={}", std::env::var("PATH").unwrap());
    assert_eq!(environment, ["KEY=s3cret of cam", "LANG_OF_TEST=C.UTF-8", &path]);
    // The last one is the folder that is being listed.
    assert_eq!(wait_file(files.as_ref()), "[0, 1, 2, 3]");
    let limit = wait_file(limit.as_ref());
    assert!(limit == "1024\n/\n" || limit == "900\n/\n", "{limit:?}");
    assert!(server.process.stderr().iter().all(|line| !line.contains("s3cret")));
}

#[test]
fn names_that_clients_choose_stay_one_argument_and_become_no_option() {
    let folder = Folder::new();
    let out = folder.file("arguments");
    let write = "printf '%s\\n' \"$#\" \"$@\" > \"$0.new\"; mv \"$0.new\" \"$0\"";
    let command =
        format!("'sh', '-c', '''{write}''', '{}', '{{stream}}', 'x={{stream}}', '{{stream_file}}'", out.display());
    let server = server(&command, "name = 'echo'\nrestart = 'never'");
    for (name, file) in [
        ("a b", "a~20b"),
        ("it's \"x\"", "it~27s~20~22x~22"),
        ("a;touch $(y) `z`", "a~3Btouch~20~24~28y~29~20~60z~60"),
        ("{vhost}", "~7Bvhost~7D"),
        ("*", "~2A"),
    ] {
        let _ = fs::remove_file(&out);
        let publisher = server.publisher(name);
        assert_eq!(wait_file(&out), format!("3\n{name}\nx={name}\n{file}\n"));
        drop(publisher);
        wait_runs(&server, "end of the program", <[_]>::is_empty);
    }
    let _ = fs::remove_file(&out);
    let _publisher = server.publisher("-rf");
    let line = server.wait_line("echo is not started for live/-rf: ").text;
    assert!(line.contains("would be an option"), "{line}");
    let list = runs(&server);
    assert_eq!((&list[0]["state"], &list[0]["last_result"]), (&"over".into(), &"refused".into()), "{list:?}");
    assert!(!out.exists());
    // A line end cannot come into the log, or a script, by a name.
    assert!(!server.visitor().is_granted(true, "a\nb"));
}

/// Values of the environment, and keys in URLs. The system ends programs before the server if memory runs out.
#[test]
fn secrets_stay_out_of_the_log_and_the_server_outlives_programs() {
    let words = "echo \"$KEY $1 $2\"; echo own $(cat /proc/self/oom_score_adj)";
    let arguments = "'rtmp://127.0.0.1:9/live/abcd-efgh-1234', 'x/{environment:KEY}'";
    let server = server(
        &script(words, arguments),
        "restart = 'never'\n[defaults.run.environment]\nKEY = 'sekret-value'\nSHORT = 'own'",
    );
    let _publisher = server.publisher("cam");
    server.wait_line("sh of live/cam: *** rtmp://127.0.0.1:9/live/*** x/***");
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse::<i32>().unwrap();
    server.wait_line(&format!("sh of live/cam: own {}", (own + 500).min(1000)));
    assert!(server.process.stderr().iter().all(|line| !line.contains("sekret")));
}

/// Two servers that push to each other would start programs of each other's outputs without end.
#[test]
fn what_another_server_pushes_starts_only_what_is_for_such_streams() {
    let mark = "7040003";
    let plain = entry(&format!("'sleep', '{mark}.1'"), "name = 'plain'");
    let target = start(&format!("{plain}{}", entry(&format!("'sleep', '{mark}.2'"), "name = 'all'\nrelayed = true")));
    let forward =
        format!("[[defaults.forward]]\nto = 'rtmp://{}/live/{{stream}}'\nstreams = ['live/*']\n", target.address());
    let source = start(&forward);
    let publisher = source.publisher("cam");
    target.wait_line("all runs for live/cam ");
    let list = runs(&target);
    assert_eq!((list.len(), &list[0]["name"]), (1, &"all".into()), "{list:?}");
    drop(publisher);
    wait_processes(mark, 0);
}

#[test]
fn a_program_that_ends_at_once_is_started_again_ever_later() {
    let server = server("'false'", "restart_after = '200ms'\nrestart_most = '400ms'");
    let publisher = server.publisher("cam");
    let lines = server.wait_lines("false of live/cam has ended with code 1; it is started again in ", 3);
    assert_eq!(lines.len(), 3);
    let list = wait_runs(&server, "a restart", |runs| runs[0]["restarts"].as_u64() >= Some(2));
    assert_eq!(list.len(), 1);
    let list = wait_runs(&server, "a wait", |runs| runs[0]["state"] == "waiting");
    assert_eq!((&list[0]["why"], &list[0]["last_result"]), (&"restart".into(), &"failure".into()), "{list:?}");
    assert!(server.metric("anabranch_run_restarts_total") >= Some(2.0));
    assert!(server.metric("anabranch_run_exits_total{result=\"failure\"}") >= Some(3.0));
    drop(publisher);
    wait_runs(&server, "end of the program", <[_]>::is_empty);
}

#[test]
fn a_program_that_is_not_there_is_told_before_the_start_and_tried_again() {
    let folder = Folder::new();
    let program = folder.file("later");
    let settings = entry(&format!("'{}'", program.display()), "name = 'later'\nrestart_after = '100ms'");
    let file = folder.write("anabranch.toml", &settings);
    let checked = Launch::new(env!("CARGO_BIN_EXE_anabranch")).arg("check").arg(&file).run();
    assert!(checked.status.success() && checked.stdout.contains("defaults.run[0].command"), "{}", checked.stdout);
    assert!(checked.stdout.contains("install it, or write its path"), "{}", checked.stdout);
    let server = start(&settings);
    let publisher = server.publisher("cam");
    let line = server.wait_line("later is not started for live/cam: ").text;
    assert!(line.contains("No such file") && line.contains("it is started again in "), "{line}");
    assert!(server.metric("anabranch_run_exits_total{result=\"not_started\"}") >= Some(1.0));
    fs::copy(fs::canonicalize("/bin/true").unwrap(), &program).unwrap();
    server.wait_line("later of live/cam has ended with code 0");
    drop(publisher);
}

#[test]
fn wrong_settings_are_refused_with_their_place_and_cure() {
    let folder = Folder::new();
    for (settings, place, words) in [
        (entry("'ffmpeg', '-i', '{inptu}'", ""), "defaults.run[0].command[2]", "{inptu}, which is no variable"),
        (entry("'ffmpeg', '{output}'", ""), "defaults.run[0].command[1]", "{output:{stream}_720p}"),
        (entry("'sh', '-c', 'echo {stream}'", ""), "defaults.run[0].command[2]", "\"$1\""),
        (entry("", ""), "defaults.run[0].command", "needs a program"),
        (entry("'x'", "starts = 0"), "defaults.run[0].starts", "within 1 to 1000"),
        (entry("'x'", "restrt = 'never'"), "defaults.run[0].restrt", "did you mean restart"),
    ] {
        let file = folder.write("anabranch.toml", &settings);
        let checked = Launch::new(env!("CARGO_BIN_EXE_anabranch")).arg("check").arg(&file).run();
        assert!(!checked.status.success(), "{settings}");
        assert!(checked.stderr.contains(place) && checked.stderr.contains(words), "{settings}: {}", checked.stderr);
    }
}

#[test]
fn the_limit_of_programs_lets_others_wait_for_their_turn() {
    let mark = "7040001";
    let server = start(&format!("[limits]\nruns = 2\n{}", entry(&format!("'sleep', '{mark}'"), "")));
    let publishers: Vec<_> = ["a", "b", "c"].into_iter().map(|name| server.publisher(name)).collect();
    let line = server.wait_line("sleep waits to be started for live/c: ").text;
    assert!(line.contains("limits_runs"), "{line}");
    wait_processes(mark, 2);
    assert_eq!(server.metric("anabranch_runs_waiting"), Some(1.0));
    let mut publishers = publishers.into_iter();
    drop(publishers.next());
    server.wait_line("sleep runs for live/c ");
    wait_processes(mark, 2);
    drop(publishers);
    wait_processes(mark, 0);
}

#[test]
fn virtual_hosts_and_applications_have_their_own() {
    let mark = "7040002";
    let run = |place: &str, number: u32| {
        format!("[[{place}.run]]\nstreams = ['*/*']\ncommand = ['sleep', '{mark}.{number}']\n")
    };
    let application = "[[defaults.application]]\nstreams = ['quiet/*']\nrun = []\n";
    let hosts = format!("[[vhost]]\nname = 'a.example'\n{}[[vhost]]\nname = 'b.example'\n", run("vhost", 2));
    let server = start(&format!("{}{application}{hosts}", run("defaults", 1)));
    let mut publishers = Vec::new();
    for path in ["live/cam?vhost=a.example", "live/cam?vhost=b.example", "quiet/cam?vhost=b.example"] {
        let (app, rest) = path.split_once('/').unwrap();
        let mut publisher = anabranch_tests::peer::Driver::at(server.address(), &format!("rtmp://b.example/{app}/x"));
        publisher.publish(rest).unwrap();
        publishers.push(publisher);
    }
    wait_processes(&format!("{mark}.1"), 1);
    wait_processes(&format!("{mark}.2"), 1);
    assert_eq!(runs(&server).len(), 2);
    drop(publishers);
    wait_processes(mark, 0);
    assert!(processes(mark).is_empty());
}
