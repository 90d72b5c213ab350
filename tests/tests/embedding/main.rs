//! The servers as libraries: built, asked, told and taken part in by the program they are in. Every test runs on both
//! runtimes.

/// Makes tests of functions that are generic over the server, one for each runtime.
macro_rules! on_both_runtimes {
    ($($name:ident),+ $(,)?) => {
        mod on_smol {
            $(#[test] fn $name() { super::$name::<anabranch_smol::Server>(); })+
        }
        mod on_std {
            $(#[test] fn $name() { super::$name::<anabranch_std::Server>(); })+
        }
    };
}

mod crowd;
mod hooks;
mod lifecycle;
mod program_plays;
mod program_publishes;

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

use anabranch_host::{Builder, Handle, Serve};
use anabranch_tests::clients::Process;

/// A server that runs in a thread of this program. It is stopped when the value goes.
struct Running {
    address: SocketAddr,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts one on a port of its own.
    fn start<S: Serve + Send + 'static>(build: impl FnOnce(Builder<S>) -> Builder<S>) -> Self {
        let builder = S::builder().listen("127.0.0.1:0".parse().expect("an address"));
        let server = build(builder).build().expect("the server can be built");
        let (address, handle) = (server.addresses()[0], server.handle());
        Running { address, handle, thread: Some(thread::spawn(|| server.run())) }
    }

    fn url(&self, stream: &str) -> String {
        format!("rtmp://{}/{stream}", self.address)
    }

    /// ffmpeg publishes what it reads from `input`.
    fn ffmpeg_publishes(&self, stream: &str, input: &[&str]) -> Process {
        let url = self.url(stream);
        let before = ["-nostdin", "-loglevel", "warning"];
        let after = ["-map", "0", "-c", "copy", "-f", "flv", &url];
        Process::start("ffmpeg", before.iter().chain(input).chain(&after))
    }

    /// Stops the server and waits for the end of its thread.
    fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            assert!(result.is_ok() || thread::panicking(), "the server panicked");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
