//! How the program begins and ends under a service manager, and what it says about itself.

use anabranch_tests::program::{Process, Program, Runtime};
use anabranch_tests::{Folder, TIMEOUT};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use serde_json::Value;

#[test]
fn it_serves_on_a_socket_that_it_inherits_and_tells_the_service_manager() {
    let folder = Folder::new();
    let manager = folder.file("notify");
    let told = UnixDatagram::bind(&manager).expect("the folder can be written");
    told.set_read_timeout(Some(TIMEOUT)).expect("it can be set");
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let address = listener.local_addr().expect("it has one");

    // As systemd does it: the sockets come as files from 3 on, and are meant for the process with that number.
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" --listen 127.0.0.1:1"]);
    command.arg(Runtime::Smol.binary()).env("NOTIFY_SOCKET", &manager).stdin(Stdio::from(OwnedFd::from(listener)));
    let server = Process::start_command(command);
    server.wait_line(&format!("listening on   {address}"));
    let receive = || {
        let mut buffer = [0; 500];
        let length = told.recv(&mut buffer).expect("the server tells");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(receive().trim(), "READY=1");
    let _client = TcpStream::connect(address).expect("it listens");
    server.wait_line("conn 1 opened");

    server.signal("HUP");
    assert!(receive().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(receive().starts_with("READY=1\n"));
    server.signal("INT");
    assert_eq!(receive().trim(), "STOPPING=1");
    server.wait_success(TIMEOUT);
}

#[test]
fn it_says_its_version_with_the_commit() {
    let version = Process::run(Runtime::Smol.binary(), ["--version"]).concat();
    assert!(version.starts_with(&format!("anabranch {}", env!("CARGO_PKG_VERSION"))), "{version}");
    let commit = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    match commit.ok().filter(|output| output.status.success()) {
        Some(commit) => {
            let commit = String::from_utf8_lossy(&commit.stdout).trim().to_owned();
            assert!(version.contains(&format!("({commit})")), "{version} of {commit}");
        }
        None => assert!(!version.contains('('), "{version} without a repository"),
    }
}

#[test]
fn completions_and_the_manual_know_every_option() {
    let help = Process::run(Runtime::Smol.binary(), ["--help"]).join("\n");
    let words = help.split(|byte: char| byte.is_whitespace() || byte == ',');
    let options: Vec<_> = words.filter(|word| word.starts_with("--") && word.len() > 2).collect();
    assert!(options.len() > 10, "{options:?}");
    let manual = Process::run(Runtime::Smol.binary(), ["man"]).join("\n").replace("\\-", "-");
    assert!(manual.contains(".TH anabranch 1"), "{manual}");
    for shell in ["bash", "zsh", "fish"] {
        let completions = Process::run(Runtime::Smol.binary(), ["completions", shell]).join("\n");
        for option in &options {
            let name = option.trim_start_matches("--").trim_end_matches(['.', ')', ';', '`']);
            assert!(completions.contains(name), "{name} in {shell}");
            assert!(manual.contains(name), "{name} in the manual");
        }
    }
}

#[test]
fn where_the_log_is_json_all_that_it_writes_is() {
    for runtime in [Runtime::Smol, Runtime::Std] {
        let server = Program::start(runtime, &["--log-format", "json"]);
        let _client = TcpStream::connect(server.address()).expect("it listens");
        server.wait_line("conn 1 opened");
        server.process.signal("INT");
        server.process.wait_success(TIMEOUT);
        assert_eq!(server.process.stdout(), [""; 0]);
        let lines = server.process.stderr();
        let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        let started = lines.iter().find(|line| line["event"] == "started").expect("it says that it has started");
        assert_eq!(started["listen"], serde_json::json!([server.address().to_string()]));
    }
}
