use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::thread;

use anabranch_core::conn::Config;
use anabranch_host::{Handle, Serve, TcpOptions};
use serde_json::json;
use stats_alloc::INSTRUMENTED_SYSTEM;

use crate::Runtime;

/// Bytes of a stream's log, and bytes that the system may hold back of a player: so few that players that stall for
/// some seconds fall off the log, which would take minutes otherwise.
const LOG: usize = 256 << 10;
const UNSENT: u32 = 16 << 10;

/// The process that is soaked: says its address, and answers each line on standard input with one of numbers. Ends with
/// its input.
pub(crate) fn run(runtime: Runtime) -> ExitCode {
    let result = match runtime {
        Runtime::Smol => serve::<anabranch_smol::Server>(),
        Runtime::Std => serve::<anabranch_std::Server>(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: the server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve<S: Serve + Send + 'static>() -> io::Result<()> {
    let any = "127.0.0.1:0".parse().map_err(io::Error::other)?;
    let mut config = Config::default();
    config.defaults.source.bytes = LOG;
    let tcp = TcpOptions { notsent_lowat: Some(UNSENT), ..TcpOptions::default() };
    let server = S::builder().listen(any).config(config).tcp(tcp).build()?;
    let (addresses, handle) = (server.addresses(), server.handle());
    let thread = thread::spawn(|| server.run());
    print(&json!({ "address": addresses[0].to_string() }))?;
    for line in io::stdin().lock().lines() {
        line?;
        print(&numbers(&handle))?;
    }
    handle.stop();
    thread.join().map_err(|_| io::Error::other("it panicked"))
}

fn numbers(handle: &Handle) -> serde_json::Value {
    let heap = INSTRUMENTED_SYSTEM.stats();
    let stats = handle.stats();
    let published = stats.streams.iter().filter(|stream| stream.published).count();
    let players: usize = stats.streams.iter().map(|stream| stream.players).sum();
    json!({
        "connections": stats.connections,
        "streams": stats.streams.len(),
        "published": published,
        "players": players,
        "heap_bytes": heap.bytes_allocated.wrapping_sub(heap.bytes_deallocated),
        "heap_objects": heap.allocations.wrapping_sub(heap.deallocations),
    })
}

fn print(value: &serde_json::Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}
