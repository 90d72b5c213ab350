//! What a program's surroundings may do to it: a log that nobody can write or nobody reads, empty variables.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server program; it is killed if its test fails.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    /// Starts it on a port of its own, with redirections as the shell writes them.
    fn start(redirections: &str) -> Self {
        // It may not tell its port, so it is given one that was free a moment ago.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let line = format!("exec \"$0\" --listen {address} {redirections}");
        let child = Command::new("sh")
            .args(["-c", &line, env!("CARGO_BIN_EXE_anabranch-std")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Program { child, address }
    }

    /// Opens a connection and shakes hands as far as the server's answer.
    fn assert_answers(&self) {
        let start = Instant::now();
        let mut socket = loop {
            match TcpStream::connect(self.address) {
                Ok(socket) => break socket,
                Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut c0_c1 = [0; 1537];
        c0_c1[0] = 3;
        socket.write_all(&c0_c1).unwrap();
        socket.read_exact(&mut [0; 1 + 2 * 1536]).expect("the server answers");
    }

    /// Asks it to end and waits until it has.
    fn stop(&mut self) -> ExitStatus {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not stop");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_whose_output_cannot_be_written_serves_and_stops() {
    for redirections in ["2>/dev/full", ">/dev/full", ">/dev/full 2>&1", ">&- 2>&-"] {
        let mut program = Program::start(redirections);
        program.assert_answers();
        program.assert_answers();
        let status = program.stop();
        assert!(status.success(), "{redirections}: {status}");
    }
}

#[test]
fn a_program_whose_log_nobody_reads_serves_and_stops() {
    let mut program = Program::start("");
    // Each connection leaves some hundred bytes in the log, a pipe takes 64 KiB.
    for _ in 0..1000 {
        program.assert_answers();
    }
    assert!(program.stop().success());
}

#[test]
fn the_last_lines_are_written() {
    let mut program = Program::start("");
    program.assert_answers();
    let log = BufReader::new(program.child.stderr.take().unwrap());
    assert!(program.stop().success());
    let last = log.lines().last().expect("a log").unwrap();
    assert!(last.ends_with(" stopped"), "{last}");
}

#[test]
fn variables_that_are_empty_are_not_set_and_switches_take_many_words() {
    let help = Command::new(env!("CARGO_BIN_EXE_anabranch-std")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let names = || help.split("[env: ").skip(1).filter_map(|rest| rest.split('=').next());
    assert!(names().any(|name| name == "ANABRANCH_LISTEN") && names().any(|name| name == "ANABRANCH_STRICT_CHUNKS"));
    // It reads all options, and then a filter that it cannot read ends it.
    let refusal = |variables: &mut dyn Iterator<Item = (&str, &str)>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch-std"));
        let output = command.envs(variables).args(["--log", "module=loud"]).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
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
