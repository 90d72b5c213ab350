//! A server as a library, in a thread of the test.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

use anabranch_host::{Builder, Handle, Serve};

use crate::media;
use crate::program::Process;

/// Makes tests of functions that are generic over the server, one for each of the two libraries.
#[macro_export]
macro_rules! on_both_libraries {
    ($($name:ident),+ $(,)?) => {
        mod on_smol {
            $(#[test] fn $name() { super::$name::<anabranch_smol::Server>(); })+
        }
        mod on_std {
            $(#[test] fn $name() { super::$name::<anabranch_std::Server>(); })+
        }
    };
}

/// A server that runs in a thread of this process. It is stopped when the value goes.
#[derive(Debug)]
pub struct Embedded {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it is asked and told by.
    pub handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// If it cannot be built.
    pub fn start<S: Serve + Send + 'static>(build: impl FnOnce(Builder<S>) -> Builder<S>) -> Self {
        let builder = S::builder().listen("127.0.0.1:0".parse().expect("an address"));
        Embedded::run(build(builder).build().expect("the server can be built"))
    }

    /// Runs one that is built already.
    pub fn run<S: Serve + Send + 'static>(server: S) -> Self {
        let (address, handle) = (server.addresses()[0], server.handle());
        Embedded { address, handle, thread: Some(thread::spawn(|| server.run())) }
    }

    /// The URL of a stream, written as `app/stream`.
    pub fn url(&self, stream: &str) -> String {
        format!("rtmp://{}/{stream}", self.address)
    }

    /// ffmpeg publishes what it reads from `input`.
    pub fn ffmpeg_publishes(&self, stream: &str, input: &[&str]) -> Process {
        media::ffmpeg_publishes(&self.url(stream), input)
    }

    /// Stops the server and waits for the end of its thread.
    ///
    /// # Panics
    /// If the server has panicked.
    pub fn stop(mut self) {
        let result = self.join();
        assert!(result.is_ok(), "the server panicked");
    }

    /// The same; an error if the server has panicked.
    ///
    /// # Errors
    /// What the panic said.
    pub fn join(&mut self) -> thread::Result<()> {
        self.handle.stop();
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let result = self.join();
        assert!(result.is_ok() || thread::panicking(), "the server panicked");
    }
}
