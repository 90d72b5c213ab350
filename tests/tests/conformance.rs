//! The conformance suite on every runtime, over loopback. It prints a table of its results.

use std::process::ExitCode;
use std::thread;

use anabranch_core::conn::Config;
use anabranch_host::Serve;
use anabranch_tests::conformance::{self, Running, Runtime};

static RUNTIMES: &[Runtime] = &[
    Runtime { name: "smol", start: library::<anabranch_smol::Server> },
    Runtime { name: "std", start: library::<anabranch_std::Server> },
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
