//! Viewers of WebRTC, and what encrypting and sending for them costs a machine at least.
//!
//! A viewer offers by WHEP, and connects as a browser does: checks of addresses, DTLS, keys. From then on it counts: it
//! decrypts nothing but what the server reports, goes on with checks and reports, and knows by the numbers of packets what
//! is missing. One viewer in so many reads everything, asks for what was lost, and checks the pictures.
//!
//! [`Bare`] is the loop that servers are compared with: it has a key for each viewer, encrypts the same packets, and sends
//! them with the same system calls to sockets that count. It has nothing else to do.

mod bare;
mod http;
mod report;
mod viewer;
mod viewers;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

pub use bare::{Bare, BareCost};
pub use http::WhepTarget;
pub use report::WebrtcReport;

use crate::media::MediaOptions;
use crate::report::Cost;
use crate::{Histogram, process};
use viewer::Viewer;
use viewers::{Seen, Viewers};

/// What is to be done to a server.
#[derive(Debug, Clone)]
pub struct WebrtcOptions {
    /// Where viewers offer.
    pub target: WhepTarget,
    /// How many there are to be.
    pub viewers: u32,
    /// One in so many reads everything; 0 for none.
    pub read_every: u32,
    /// Offers a second, at most.
    pub ramp: f64,
    /// Offers that wait for their answers at once.
    pub parallel: u32,
    /// How long to wait for the last of them to connect.
    pub timeout: Duration,
    /// How long all are up before it is measured.
    pub warm_up: Duration,
    /// How long to measure then.
    pub duration: Duration,
    /// The server's process on this machine.
    pub server_pid: Option<u32>,
    /// The media of the stream, if the bare loop is to be measured, too.
    pub bare: Option<MediaOptions>,
}

/// How it stands, each second.
#[derive(Debug, Clone, Copy)]
pub struct WebrtcProgress {
    /// Since the beginning.
    pub elapsed: Duration,
    /// Viewers that are connected.
    pub connected: u64,
    /// Viewers that there are to be.
    pub wanted: u64,
    /// Bytes of packets so far.
    pub bytes: u64,
    /// Errors so far.
    pub errors: u64,
}

/// Does it: all viewers join, then it measures, then it measures the bare loop.
///
/// # Errors
/// The address cannot be resolved, the system gives no thread or socket, or the server's process is not there. What goes
/// wrong with single viewers is counted instead.
pub fn watch(options: &WebrtcOptions, mut progress: impl FnMut(&WebrtcProgress)) -> io::Result<WebrtcReport> {
    let server = options.target.resolve()?;
    let cost = || {
        options.server_pid.map(|pid| Ok::<_, io::Error>((process::cpu_seconds(pid)?, process::resident_bytes(pid)?)))
    };
    let idle = cost().transpose()?;
    let seen = Arc::new(Seen::default());
    let is_over = Arc::new(AtomicBool::new(false));
    let (joined, joining) = mpsc::channel();
    let viewers = Viewers::new(seen.clone(), joining)?;
    let over = is_over.clone();
    let counting = thread::Builder::new().name("viewers".to_owned()).spawn(move || viewers.run(&over))?;
    let origin = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let mut joiners = Vec::new();
    for _ in 0..options.parallel.clamp(1, options.viewers.max(1)) {
        let (options, next, seen, joined) = (options.clone(), next.clone(), seen.clone(), joined.clone());
        let join = move || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= u64::from(options.viewers) {
                    return;
                }
                let due = origin + Duration::from_secs_f64(number as f64 / options.ramp.max(0.1));
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let reads = options.read_every > 0 && number.is_multiple_of(u64::from(options.read_every));
                match Viewer::join(&options.target, server, reads) {
                    Ok(viewer) => drop(joined.send(viewer)),
                    Err(error) => seen.fail(&error.to_string()),
                }
            }
        };
        joiners.push(thread::Builder::new().name("joins".to_owned()).spawn(join)?);
    }
    drop(joined);
    let mut told = origin;
    let mut wait_until = |until: Instant, is_done: &dyn Fn() -> bool| {
        while Instant::now() < until && !is_done() {
            thread::sleep(Duration::from_millis(20));
            if told.elapsed() >= Duration::from_secs(1) {
                told = Instant::now();
                progress(&WebrtcProgress {
                    elapsed: origin.elapsed(),
                    connected: seen.connected(),
                    wanted: u64::from(options.viewers),
                    bytes: seen.bytes(),
                    errors: seen.errors(),
                });
            }
        }
    };
    let rise = Duration::from_secs_f64(f64::from(options.viewers) / options.ramp.max(0.1));
    let wanted = u64::from(options.viewers);
    wait_until(origin + rise + options.timeout, &|| seen.connected() + seen.errors() >= wanted);
    let rising = origin.elapsed();
    let up = cost().transpose()?;
    wait_until(Instant::now() + options.warm_up, &|| false);
    let (before, start, bytes, packets) = (cost().transpose()?, Instant::now(), seen.bytes(), seen.packets());
    seen.measure(true);
    wait_until(start + options.duration, &|| false);
    let (after, seconds) = (cost().transpose()?, start.elapsed().as_secs_f64());
    let (bytes, packets) = (seen.bytes() - bytes, seen.packets() - packets);
    seen.measure(false);
    let viewers = seen.connected();
    is_over.store(true, Ordering::Relaxed);
    counting.join().map_err(|_| io::Error::other("the viewers' loop panicked"))??;
    for joiner in joiners {
        joiner.join().map_err(|_| io::Error::other("a joining thread panicked"))?;
    }
    let bare = match &options.bare {
        Some(media) => Some(Bare::new(options.viewers, media, true)?.run(options.duration)?),
        None => None,
    };
    let times = seen.times();
    Ok(WebrtcReport {
        viewers,
        wanted,
        rising: rising.as_secs_f64(),
        join_cpu: idle.zip(up).map(|((idle, _), (up, _))| (up - idle) / viewers.max(1) as f64),
        viewer_bytes: idle
            .zip(after)
            .map(|((_, idle), (_, after))| after.saturating_sub(idle) as f64 / viewers.max(1) as f64),
        seconds,
        bytes,
        packets,
        missing: seen.missing(),
        pictures: seen.pictures(),
        gaps: seen.gaps(),
        latency: times.latency,
        connecting: times.connecting,
        first_packet: times.first_packet,
        errors: seen.names_of_errors(),
        server: before.zip(after).map(|((before, _), (after, resident))| Cost { cpu: after - before, resident }),
        bare,
    })
}

/// Times of viewers.
#[derive(Debug, Clone, Default)]
struct Times {
    connecting: Histogram,
    first_packet: Histogram,
    latency: Histogram,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Any address of this machine from which `server` is reached.
fn local_towards(server: SocketAddr) -> io::Result<std::net::IpAddr> {
    let any: SocketAddr =
        if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(server)?;
    Ok(socket.local_addr()?.ip())
}
