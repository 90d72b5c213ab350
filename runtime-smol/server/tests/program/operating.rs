//! The subcommands with which operators look at a running server: `top`, `health`, `doctor`; and the list of the
//! connections that ended last.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use anabranch_core::message::Message;
use anabranch_tests::program::{Ended, Launch, Program, free_address};
use anabranch_tests::{Folder, TIMEOUT, wait_for};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value as Json;

use super::{launch, start_with_api};

/// What a terminal gets when a program takes the whole screen, and when it gives it back.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

fn program() -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_anabranch"))
}

fn run(arguments: &[&str]) -> Ended {
    program().args(arguments).run()
}

fn url(program: &Program) -> String {
    format!("http://{}", program.api())
}

/// Waits until so many connections have ended, and returns the list of them.
fn wait_closes(server: &Program, count: u64) -> Json {
    wait_for("the end of connections", TIMEOUT, || {
        let answer = server.ask_with("GET", "/api/v1/closes?count=200", &[("authorization", "Bearer secret")]);
        let list = answer.json();
        (list["total"].as_u64() >= Some(count)).then_some(list)
    })
}

fn key_frame(timestamp: u32) -> Message {
    let mut body = vec![0x17, 1, 0, 0, 0];
    body.resize(5000, 7);
    Message::video(timestamp, body)
}

#[test]
fn connections_that_ended_are_listed_with_their_reasons() {
    let server = start_with_api("");
    let publisher = server.publisher("cam");
    let mut refused = server.visitor();
    refused.publish("cam").expect_err("the name is taken");
    drop(refused);
    wait_closes(&server, 1);
    drop(publisher);
    let list = wait_closes(&server, 2);
    let [newest, oldest] = [&list["closes"][0], &list["closes"][1]];
    assert_eq!((&newest["role"], &newest["ip"]), (&"publisher".into(), &"127.0.0.1".into()));
    assert!(newest["stream"].as_str().is_some_and(|stream| stream.ends_with("live/cam")), "{newest}");
    assert_eq!((&oldest["role"], &oldest["stream"]), (&"".into(), &"live/cam".into()), "what it asked for");
    assert_eq!((&oldest["request"], &oldest["code"]), (&"publish".into(), &"name_taken".into()));
    assert_eq!((&newest["request"], &newest["code"]), (&"".into(), &"".into()));
    for close in [newest, oldest] {
        assert!(close["reason"].as_str().is_some_and(|reason| !reason.is_empty()) && close["words"] != "", "{close}");
        assert!(
            close["time_ms"].as_u64() > Some(1_700_000_000_000) && close["recv_bytes"].as_u64() > Some(3000),
            "{close}"
        );
    }
    assert_eq!(server.get("/api/v1/closes?start=1&count=5")["closes"].as_array().map(Vec::len), Some(1));
    assert_eq!(server.ask("GET", "/api/v1/closes?count=x").status, 400);
}

/// Connections that send nothing cannot displace those that operators ask for.
#[test]
fn the_list_of_ended_connections_is_bounded_and_keeps_clients() {
    let server = start_with_api("");
    drop(server.publisher("cam"));
    wait_closes(&server, 1);
    for _ in 0..60 {
        drop(std::net::TcpStream::connect(server.address()).expect("it listens"));
    }
    let total = wait_for("the end of all", TIMEOUT, || {
        let list = server.get("/api/v1/closes?count=1000");
        let is_there =
            list["closes"].as_array().is_some_and(|closes| closes.iter().any(|close| close["role"] == "publisher"));
        let total = list["total"].as_u64().unwrap_or_default();
        assert!(total == 0 || is_there, "{list}");
        (server.get("/api/v1/summaries")["data"]["system"]["conn_srs"] == 0 && total >= 29).then_some(total)
    });
    assert_eq!(total, 29);
}

#[test]
fn one_table_is_printed_plain_and_no_name_of_a_client_reaches_the_terminal() {
    let server = start_with_api("token = 'secret'");
    let mut publisher = server.publisher("cam");
    publisher.send(key_frame(0));
    // A player may wait for any name that a stream can have.
    let mut hostile = server.visitor();
    let _ = hostile.play("\u{9b}31m\u{202e}x");
    drop(server.player("gone"));
    while !wait_closes(&server, 1).to_string().contains("live/gone") {}
    let shown = |arguments: &[&str]| {
        let Ended { status, stdout, stderr } = run(&[&["top", "--once", "--api", &url(&server)], arguments].concat());
        (status.success(), stdout, stderr)
    };
    let (done, table, error) = shown(&["--token", "secret"]);
    assert!(done, "{error}");
    for words in ["anabranch ", "connections ", "STREAM", "live/cam", "LAST CLOSES", "player", "peer_"] {
        assert!(table.contains(words), "{words} is not in\n{table}");
    }
    assert!(!table.chars().any(|c| c.is_control() && c != '\n') && !table.contains('\u{202e}'), "{table:?}");
    // Without the token, with a wrong one, and where no server is.
    for (arguments, words) in [(&[][..], "wants credentials"), (&["--token", "other"], "wants credentials")] {
        let (done, table, error) = shown(arguments);
        assert!(!done && table.is_empty() && error.contains(words), "{error}");
    }
    let nowhere = run(&["top", "--once", "--api", &free_address().to_string()]);
    assert!(!nowhere.status.success() && nowhere.stderr.contains("does not answer"), "{}", nowhere.stderr);
}

/// A program on a terminal of 80 columns.
struct OnTerminal {
    child: Child,
    /// The side of the user.
    keyboard: File,
    terminal: File,
    before: Termios,
    shown: Arc<Mutex<String>>,
}

impl OnTerminal {
    fn start(arguments: &[&str]) -> Self {
        let user: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&user).expect("it is ours");
        unlockpt(&user).expect("it is ours");
        let name = ptsname(&user, Vec::new()).expect("it has a name");
        let terminal =
            OpenOptions::new().read(true).write(true).open(name.to_str().expect("a path")).expect("it opens");
        tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).expect("a size");
        let before = tcgetattr(&terminal).expect("a terminal");
        let side = || Stdio::from(terminal.try_clone().expect("a copy"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
        command.args(arguments).stdin(side()).stdout(side()).stderr(side()).env("TERM", "xterm");
        let child = command.spawn().expect("it starts");
        let keyboard = File::from(user);
        let mut screen = keyboard.try_clone().expect("a copy");
        let shown = Arc::new(Mutex::new(String::new()));
        let seen = shown.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                seen.lock().expect("no panic").push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        OnTerminal { child, keyboard, terminal, before, shown }
    }

    fn shown(&self) -> String {
        self.shown.lock().expect("no panic").clone()
    }

    fn wait(&self, words: &str) {
        wait_for(words, TIMEOUT, || self.shown().contains(words).then_some(()));
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("it is open");
    }

    /// Waits for the end, after which the terminal must be as before.
    fn end(mut self) -> (bool, String) {
        let status = wait_for("end of the program", TIMEOUT, || self.child.try_wait().expect("a child"));
        self.wait(LEAVE);
        let after = tcgetattr(&self.terminal).expect("a terminal");
        assert_eq!(format!("{after:?}"), format!("{:?}", self.before), "the terminal is as before");
        (status.success(), self.shown())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_terminal_is_as_before_however_top_ends() {
    let server = start_with_api("[defaults.timeouts]\nnext_message = 'never'");
    let mut publisher = server.publisher("cam");
    publisher.send(key_frame(0));
    let url = url(&server);
    let arguments = ["top", "--api", &url, "-n", "1"];
    for key in ["q", "\x03", "\x1b"] {
        let mut top = OnTerminal::start(&arguments);
        top.wait("live/cam");
        assert!(top.shown().contains(ENTER));
        // It sorts by another column, and goes on.
        top.press("p");
        top.wait(">PLAYERS");
        top.press(key);
        let (done, shown) = top.end();
        assert!(done && shown.contains("q quit"), "{shown:?}");
    }
    for signal in ["INT", "TERM", "HUP"] {
        let top = OnTerminal::start(&arguments);
        top.wait("live/cam");
        let kill = Command::new("kill").args([&format!("-{signal}"), &top.child.id().to_string()]).status();
        assert!(kill.is_ok_and(|status| status.success()));
        top.end();
    }
}

#[test]
fn top_reports_a_lost_server_and_asks_again() {
    let address = free_address();
    let settings = format!("api.listen = '{address}'\n[defaults.timeouts]\nfirst_message = 'never'");
    let server = launch().settings(&settings).start();
    let mut top = OnTerminal::start(&["top", "--api", &address.to_string(), "-n", "1"]);
    top.wait("no client publishes");
    server.stop();
    top.wait("lost the server");
    let again = launch().settings(&settings).start();
    let _publisher = again.publisher("back");
    top.wait("live/back");
    top.press("q");
    assert!(top.end().0);
    // A server that is not there at the beginning is an error on the terminal as it is.
    let top = OnTerminal::start(&["top", "--api", &free_address().to_string()]);
    top.wait("does not answer");
    assert!(!top.shown().contains(ENTER));
}

#[test]
fn output_that_is_no_terminal_is_plain_until_the_reader_has_enough() {
    let server = start_with_api("");
    let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
    let mut top =
        command.args(["top", "--api", &url(&server), "-n", "1"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut out = top.stdout.take().expect("a pipe");
    let mut text = String::new();
    while text.matches("STREAM").count() < 2 {
        let mut buffer = [0; 4096];
        let count = out.read(&mut buffer).expect("a pipe");
        assert!(count > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(!text.contains('\x1b'), "{text:?}");
    drop(out);
    let status = wait_for("end of top", TIMEOUT, || top.try_wait().expect("a child"));
    assert!(status.success());
}

#[test]
fn health_tells_by_its_exit_code() {
    let folder = Folder::new();
    let address = free_address();
    let text = format!("server.listen = ['127.0.0.1:0']\n[api]\nlisten = '{address}'\ntoken = 'secret'\n");
    let file = folder.write("a.toml", &text);
    let health = |arguments: &[&str]| {
        let ended = program().arg("health").args(arguments).run();
        (ended.status.code(), format!("{}{}", ended.stdout, ended.stderr))
    };
    let path = file.display().to_string();
    let (code, said) = health(&["--config", &path]);
    assert!(code == Some(1) && said.contains("does not answer"), "{said}");
    let server = program().arg("--config").arg(&file).start();
    assert_eq!(health(&["--config", &path]), (Some(0), "healthy\n".to_owned()));
    assert_eq!(health(&["--config", &path, "--ready"]), (Some(0), "ready\n".to_owned()));
    assert_eq!(health(&["--api", &address.to_string()]).0, Some(0));
    // A file that was broken later, elsewhere, says where the API is all the same.
    folder.write("a.toml", &format!("{text}[defaults.play]\nmax_gap = 7\n"));
    assert_eq!(health(&["--config", &path]).0, Some(0));
    // A server that drains is healthy, and not ready.
    let drained = server.ask_with("POST", "/api/v1/drain?seconds=600", &[("authorization", "Bearer secret")]);
    assert_eq!(drained.status, 200, "{}", drained.body);
    folder.write("a.toml", &text);
    assert_eq!(health(&["--config", &path]).0, Some(0));
    let (code, said) = health(&["--config", &path, "--ready"]);
    assert!(code == Some(1) && said.contains("503"), "{said}");
    // Another program on that port is not a healthy server.
    drop(server);
    let other = TcpListener::bind(address).expect("the port is free again");
    thread::spawn(move || {
        for socket in other.incoming().flatten() {
            let _ = (&socket).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    let (code, said) = health(&["--config", &path]);
    assert!(code == Some(1) && said.contains("hello"), "{said}");
    let off = health(&["--config", &folder.write("off.toml", "api.listen = 'off'").display().to_string()]);
    assert!(off.0 == Some(1) && off.1.contains("the API is off"), "{}", off.1);
}

/// The findings about a subject, as `state: words: cure`.
fn findings(file: &std::path::Path, options: &[&str]) -> (Option<i32>, impl Fn(&str) -> Vec<String>) {
    let ended = program().args(["doctor", "--json"]).arg(file).args(options).run();
    let report: Json = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    let found = move |subject: &str| {
        let all = report["findings"].as_array().expect("a list").iter().filter(|finding| finding["subject"] == subject);
        let text = |finding: &Json, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        all.map(|finding| format!("{}: {}: {}", text(finding, "state"), text(finding, "words"), text(finding, "cure")))
            .collect()
    };
    (ended.status.code(), found)
}

#[test]
fn doctor_looks_at_a_server_that_runs_and_at_one_that_could() {
    let folder = Folder::new();
    let (rtmp, api) = (free_address(), free_address());
    let recordings = folder.file("recordings");
    let text = format!(
        "server.listen = ['{rtmp}']\napi.listen = '{api}'\n[defaults.record]\nstreams = ['live/*']\nfolder = {recordings:?}\nmin_free = '1MiB'\n"
    );
    let file = folder.write("a.toml", &text);
    let (code, found) = findings(&file, &[]);
    assert_eq!(code, Some(0), "{:?}", found("ports"));
    assert!(found("ports").iter().any(|line| line.contains(&format!("ok: {rtmp} is free"))), "{:?}", found("ports"));
    assert!(found("api")[0].contains(&format!("ok: no server answers at http://{api}")), "{:?}", found("api"));
    assert!(found("disk")[0].contains("one stream of 4 Mb/s"), "{:?}", found("disk"));
    for subject in ["limits", "memory", "clock", "network", "kernel", "configuration"] {
        assert!(!found(subject).is_empty(), "{subject}");
    }

    let server = program().arg("--config").arg(&file).start();
    let (code, found) = findings(&file, &[]);
    assert_eq!(code, Some(0), "{:?}", found("ports"));
    let pid = server.process.id();
    let served = format!("is served by a running anabranch, process {pid}");
    assert_eq!(found("ports").iter().filter(|line| line.contains(&served)).count(), 2, "{:?}", found("ports"));
    assert!(found("api")[0].starts_with(&format!("ok: http://{api} answers: version ")), "{:?}", found("api"));
    assert!(found("limits")[0].contains("for the running server"), "{:?}", found("limits"));
    server.stop();

    // Another process has the port.
    let _taken = TcpListener::bind(rtmp).expect("it is free again");
    let (code, found) = findings(&file, &[]);
    assert_eq!(code, Some(1));
    let taken = format!("{rtmp} is taken by process {}", std::process::id());
    assert!(
        found("ports").iter().any(|line| line.starts_with("fault: ") && line.contains(&taken)),
        "{:?}",
        found("ports")
    );
}

#[test]
fn doctor_asks_hooks_in_a_way_that_is_no_event() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut text = String::new();
            let mut buffer = [0; 4096];
            while !text.contains("\r\n\r\n") || (text.starts_with("POST") && !text.ends_with('}')) {
                match socket.read(&mut buffer) {
                    Ok(count @ 1..) => text.push_str(&String::from_utf8_lossy(&buffer[..count])),
                    _ => break,
                }
            }
            let answer = if text.starts_with("POST") { "{\"code\":0}" } else { "" };
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            let _ = socket.write_all(head.as_bytes());
            let _ = sender.send(text);
        }
    });
    let folder = Folder::new();
    let nowhere = free_address();
    let text = format!(
        "server.listen = ['127.0.0.1:0']\napi.listen = 'off'\n[defaults.hooks]\non_play = ['http://{address}/hook?key=s3cret']\n\
         on_stop = ['http://{address}/hook?key=s3cret']\n[[vhost]]\nname = 'v'\nhooks.on_publish = ['http://{nowhere}/']\n"
    );
    let file = folder.write("a.toml", &text);
    let (code, found) = findings(&file, &[]);
    let hooks = found("hooks");
    assert_eq!(code, Some(1));
    assert!(
        hooks.iter().any(|line| line.starts_with(&format!("ok: http://{address}/hook: it answers in "))),
        "{hooks:?}"
    );
    let dead =
        |line: &String| line.starts_with(&format!("fault: http://{nowhere}/: ")) && line.contains("start the back end");
    assert!(hooks.iter().any(dead) && !hooks.iter().any(|line| line.contains("s3cret")), "{hooks:?}");
    let request = requests.recv_timeout(TIMEOUT).expect("it was asked");
    assert!(request.starts_with("OPTIONS /hook?key=s3cret ") && request.contains("anabranch-doctor/"), "{request}");
    assert!(request.ends_with("\r\n\r\n"), "no body: {request}");
    assert!(requests.recv_timeout(Duration::from_millis(1)).is_err(), "each URL once");

    let (_, found) = findings(&file, &["--ask-hooks"]);
    assert!(
        found("hooks").iter().any(|line| line.contains("a question without a client was granted")),
        "{:?}",
        found("hooks")
    );
    let asked: Vec<_> = requests.try_iter().collect();
    assert!(
        asked.len() == 2 && asked[1].starts_with("POST ") && asked[1].contains("\"action\":\"on_doctor\""),
        "{asked:?}"
    );
}
