//! The conformance suite on every runtime, over loopback. It prints a table of its results.

#[path = "../../core/examples/polling/server.rs"]
mod polling_server;

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::thread;

use anabranch_core::conn::Config;
use anabranch_host::Serve;
use anabranch_tests::conformance::{self, Running, Runtime};

static RUNTIMES: &[Runtime] = &[
    Runtime { name: "smol", start: library::<anabranch_smol::Server> },
    Runtime { name: "std", start: library::<anabranch_std::Server> },
    Runtime { name: "polling", start: example },
];

fn main() -> ExitCode {
    conformance::main(RUNTIMES)
}

fn library<S: Serve + Send + 'static>(config: Config) -> Running {
    let local = "127.0.0.1:0".parse().expect("an address");
    let server = S::builder().config(config).listen(local).build().expect("the server can be built");
    let (address, handle) = (server.addresses()[0], server.handle());
    let thread = thread::spawn(move || server.run());
    let stop = move || {
        handle.stop();
        // One that panicked was noted when it did.
        let _ = thread.join();
    };
    Running { address, stop: Box::new(stop) }
}

/// The event loop of core's examples.
fn example(config: Config) -> Running {
    let server = polling_server::Server::bind((Ipv4Addr::LOCALHOST, 0), config).expect("the server can be built");
    let (address, stopper) = (server.address(), server.stopper());
    let thread = thread::spawn(move || server.run());
    let stop = move || {
        stopper.stop();
        let _ = thread.join();
    };
    Running { address, stop: Box::new(stop) }
}
