use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_load::process::{open_files, resident_bytes, threads};
use serde_json::Value;

use crate::Runtime;

/// How long the server has to be done with clients that are gone: it waits 10 s for publishers to come back, 30 s for
/// peers that take nothing, and the machine may be slow.
const TIMEOUT: Duration = Duration::from_secs(90);
const STEP: Duration = Duration::from_millis(100);
/// Steps without any change after which it counts as being at rest: pools let go of idle threads after half a second.
const REST: u32 = 20;

/// The process of the server that is soaked. It ends with this value.
pub(crate) struct Child {
    process: process::Child,
    address: SocketAddr,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// What the server holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vitals {
    pub(crate) connections: u64,
    pub(crate) streams: u64,
    pub(crate) threads: usize,
    pub(crate) files: usize,
    /// Bytes that are allocated, and in how many pieces.
    pub(crate) heap_bytes: u64,
    pub(crate) heap_objects: u64,
    /// Bytes of memory in use by the process, holes between what is allocated included.
    pub(crate) resident: u64,
}

impl Child {
    pub(crate) fn start(runtime: Runtime) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("serve").arg(runtime.name()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io::Error::other("a process without pipes"));
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut child = Child { process, address, input: Some(input), output: BufReader::new(output) };
        let hello = child.receive()?;
        let address = hello["address"].as_str().and_then(|address| address.parse().ok());
        child.address = address.ok_or_else(|| io::Error::other("the server said no address"))?;
        Ok(child)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the server holds once its clients are gone and nothing changes any more, or after the timeout. It
    /// is waited for until it holds no more than `wanted`.
    pub(crate) fn at_rest(&mut self, wanted: Option<&Vitals>) -> io::Result<Vitals> {
        let deadline = Instant::now() + TIMEOUT;
        let (mut last, mut steps) = (self.vitals()?, 0);
        loop {
            let fits = wanted.is_none_or(|wanted| last.threads <= wanted.threads && last.files <= wanted.files);
            let is_empty = last.connections == 0 && last.streams == 0;
            if (is_empty && fits && steps >= REST) || Instant::now() >= deadline {
                return Ok(last);
            }
            thread::sleep(STEP);
            let now = self.vitals()?;
            let counts = |vitals: &Vitals| (vitals.connections, vitals.streams, vitals.threads, vitals.files);
            let unchanged = counts(&now) == counts(&last);
            steps = if unchanged { steps + 1 } else { 0 };
            last = now;
        }
    }

    fn vitals(&mut self) -> io::Result<Vitals> {
        let input = self.input.as_mut().ok_or_else(|| io::Error::other("the server was stopped"))?;
        writeln!(input, "stats")?;
        let numbers = self.receive()?;
        let number =
            |name: &str| numbers[name].as_u64().ok_or_else(|| io::Error::other(format!("the server said no {name}")));
        let pid = self.process.id();
        Ok(Vitals {
            connections: number("connections")?,
            streams: number("streams")?,
            threads: threads(pid)?,
            files: open_files(pid)?,
            heap_bytes: number("heap_bytes")?,
            heap_objects: number("heap_objects")?,
            resident: resident_bytes(pid)?,
        })
    }

    fn receive(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|_| io::Error::other("the server is gone"))
    }

    /// Stops it and waits for its end.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        drop(self.input.take());
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("the server ended with {status}"))) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // After a good end there is nothing left to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
