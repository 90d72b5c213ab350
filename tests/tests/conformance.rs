//! The conformance suite on every runtime, over loopback. It prints a table of its results.

#[path = "../../core/examples/polling/server.rs"]
mod polling_server;

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::thread;

use anabranch_core::conn::Config;
use anabranch_host::Serve;
use anabranch_tests::conformance::{self, Running, Runtime};
use anabranch_tests::embedded::Embedded;

static RUNTIMES: &[Runtime] = &[
    Runtime { name: "smol", start: library::<anabranch_smol::Server> },
    Runtime { name: "std", start: library::<anabranch_std::Server> },
    Runtime { name: "polling", start: example },
];

fn main() -> ExitCode {
    conformance::main(RUNTIMES)
}

fn library<S: Serve + Send + 'static>(config: Config) -> Running {
    let mut server = Embedded::start::<S>(|builder| builder.config(config));
    let address = server.address;
    // A panic of the server was noted when it happened.
    Running { address, stop: Box::new(move || _ = server.join()) }
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
