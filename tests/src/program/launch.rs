use std::env;
use std::ffi::{OsStr, OsString};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;

use super::{Example, Process, Program, Runtime};
use crate::{Folder, TIMEOUT};

/// Each connection has its lines here, also in a storm.
const LOG: &str = "info,anabranch_host::before_connect=debug";

/// A program that is about to be started: its options, its configuration file, what stands around it.
///
/// Variables of the test's own environment that the programs would read are not passed on.
#[derive(Debug)]
pub struct Launch {
    /// The program, and what runs it: a shell, `prlimit`.
    line: Vec<OsString>,
    options: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    folder: Option<Folder>,
    log: Option<Stdio>,
}

/// What a program did that has ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote there.
    pub stdout: String,
    /// What it wrote there.
    pub stderr: String,
}

impl Launch {
    /// A program by its path, without options: tests of a package find its own at `env!("CARGO_BIN_EXE_name")`.
    pub fn new(program: impl Into<OsString>) -> Self {
        Launch { line: vec![program.into()], options: Vec::new(), variables: Vec::new(), folder: None, log: None }
    }

    /// One of the two servers, built from the present source, on a free port.
    pub fn of(runtime: Runtime) -> Self {
        Launch::new(runtime.binary()).on_a_free_port().args(["--log", LOG])
    }

    /// A server that is one of core's examples, on a free port.
    pub fn example(example: Example) -> Self {
        Launch::example_with(example, [] as [&str; 0])
    }

    /// An example that is a server on a free port, and that wants other arguments before the address.
    pub fn example_with(example: Example, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Launch::new(example.binary()).args(arguments).arg("127.0.0.1:0")
    }

    /// Has it listen on a free port of 127.0.0.1, for RTMP only.
    pub fn on_a_free_port(self) -> Self {
        self.args(["--listen", "127.0.0.1:0", "--web", "off", "--rtc", "off"])
    }

    /// Has it serve HTTP, too, on a free port of 127.0.0.1.
    pub fn with_web(self) -> Self {
        self.with_instead("--web", "127.0.0.1:0")
    }

    /// Has it serve WebRTC, too, with HTTP and UDP on free ports of 127.0.0.1.
    pub fn with_rtc(self) -> Self {
        self.with_rtc_at("127.0.0.1:0")
    }

    /// The same with this address of UDP.
    pub fn with_rtc_at(self, address: &str) -> Self {
        self.with_web().with_instead("--rtc", address)
    }

    /// An option with another value than it has, if it has one.
    fn with_instead(mut self, option: &str, value: &str) -> Self {
        if let Some(at) = self.options.windows(2).position(|pair| pair[0] == option) {
            self.options.drain(at..at + 2);
        }
        self.args([option, value])
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.options.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.options.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Its configuration file, in a folder that goes with the program.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn settings(mut self, text: &str) -> Self {
        let folder = Folder::new();
        let file = folder.write("anabranch.toml", text);
        self.folder = Some(folder);
        self.arg("--config").arg(file)
    }

    /// It may have no more than `files` open files.
    pub fn with_files(mut self, files: u32) -> Self {
        self.line.splice(..0, ["prlimit".into(), format!("--nofile={files}:{files}").into()]);
        self
    }

    /// It may not do what root may do in spite of the rights of files and ports. Without root it may not anyway.
    pub fn without_rights(mut self) -> Self {
        let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
        if is_root {
            let rights = "-dac_override,-dac_read_search,-net_bind_service";
            self.line.splice(..0, ["setpriv".into(), "--bounding-set".into(), rights.into()]);
        }
        self
    }

    /// It is started by a shell after these commands, such as `ulimit -f 16`.
    pub fn behind(self, commands: &str) -> Self {
        self.by_shell(&format!("{commands}; exec \"$0\" \"$@\""))
    }

    /// Its streams go where these redirections of a shell say, such as `2>/dev/full`.
    pub fn redirected(self, redirections: &str) -> Self {
        self.by_shell(&format!("exec \"$0\" \"$@\" {redirections}"))
    }

    fn by_shell(mut self, line: &str) -> Self {
        self.line.splice(..0, ["sh".into(), "-c".into(), line.into()]);
        self
    }

    /// What it writes on stderr goes there, and this process does not read it.
    pub fn log_to(mut self, log: impl Into<Stdio>) -> Self {
        self.log = Some(log.into());
        self
    }

    /// Starts a server, and waits until it says where it listens.
    ///
    /// # Panics
    /// If it does not.
    pub fn start(mut self) -> Program {
        let folder = self.folder.take();
        let process = self.process();
        let address = process.wait_for("address to listen on", || {
            let printed = |line: &String| line.trim().strip_prefix("listening on ")?.trim().parse().ok();
            let logged = |line: &Value| line["listen"][0].as_str()?.parse().ok();
            process.stdout().iter().find_map(printed).or_else(|| process.started().as_ref().and_then(logged))
        });
        Program::new(process, address, folder)
    }

    /// Starts a server that listens at this address and may not be able to say so; waits until it accepts.
    ///
    /// # Panics
    /// If it does not.
    pub fn start_at(mut self, address: SocketAddr) -> Program {
        let folder = self.folder.take();
        let process = self.args(["--listen", &address.to_string()]).process();
        process.wait_for("connection accepted", || TcpStream::connect(address).ok());
        Program::new(process, address, folder)
    }

    /// Runs a program that ends by itself.
    ///
    /// # Panics
    /// If it does not end.
    pub fn run(mut self) -> Ended {
        let _folder = self.folder.take();
        let process = self.process();
        let (status, _) = process.wait_exit(TIMEOUT);
        let (stdout, stderr) = process.written();
        Ended { status, stdout, stderr }
    }

    fn process(self) -> Process {
        let mut command = Command::new(&self.line[0]);
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ANABRANCH_")) {
            command.env_remove(name);
        }
        command.args(&self.line[1..]).args(&self.options).envs(self.variables).stdin(Stdio::null());
        match self.log {
            Some(log) => Process::start_with_log(command, log),
            None => Process::start_command(command),
        }
    }
}
