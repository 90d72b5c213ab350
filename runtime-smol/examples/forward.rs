//! A server that forwards one of its streams to another server, as long as it is published:
//! `cargo run -p anabranch-smol --example forward -- STREAM rtmp://OTHER/APP/STREAM [ADDRESS]`.
//!
//! `ffmpeg ... -f flv rtmp://127.0.0.1/live/cam` publishes the stream here, and this program publishes it there. A
//! connection that fails is made again, after a pause that doubles each time; the stream then resumes at its newest key
//! frame. If the other server takes less than the stream brings, whole groups of pictures are left out.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind::{Interrupted, WouldBlock};
use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, thread};

use anabranch_smol::core::bytes::Buf;
use anabranch_smol::core::client::{Client, ClientCloseReason, ClientConfig, ClientEvent, ClientOutput, Destination};
use anabranch_smol::core::command::PublishType;
use anabranch_smol::core::session::Wait;
use anabranch_smol::core::url::Scheme;
use anabranch_smol::{Handle, Server, Subscription, Update, random_seed};

/// The pause before the second attempt; it doubles with each further one.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A connection that has published for so long was a success: the next pause is the shortest.
const SUCCESS: Duration = Duration::from_secs(30);
/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the loop waits for a frame before it looks at the socket.
const TICK: Duration = Duration::from_millis(10);
/// Bytes that may wait for the socket. Beyond that, frames are left in the stream, which drops old ones.
const HIGH_WATER: usize = 1 << 20;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let (Some(stream), Some(target)) = (arguments.next(), arguments.next()) else {
        return Err("usage: forward STREAM rtmp://OTHER/APP/STREAM [ADDRESS]".into());
    };
    let address = arguments.next().unwrap_or_else(|| "1935".into());
    let target = Destination::parse(&target)?;

    let server = Server::builder().listen(address.parse()?).build()?;
    for address in server.addresses() {
        println!("listening on {address}");
    }
    let handle = server.handle();
    handle.subscribe(&stream)?; // an invalid name is an error here
    thread::spawn(move || forward(&handle, &stream, &target));
    server.run();
    Ok(())
}

/// How a connection ended that was not refused and did not fail.
enum Done {
    /// The stream has no publisher any more.
    StreamEnded,
    /// The other server sends us to another place.
    Move(Destination),
}

/// Makes one connection after the other, until the server stops.
fn forward(handle: &Handle, stream: &str, target: &Destination) {
    let mut pause = SHORTEST_PAUSE;
    let mut to = target.clone();
    // A new subscription begins with the headers and the newest key frame. It also does after a connection that failed.
    while let Some(mut frames) = live(handle, stream) {
        println!("forwarding {stream} to {}", Shown(&to));
        let begun = Instant::now();
        match connect(&to).and_then(|socket| publish(handle, &mut frames, socket, &to)) {
            Ok(Done::StreamEnded) => {
                println!("{stream} has ended");
                (pause, to) = (SHORTEST_PAUSE, target.clone());
                continue;
            }
            Ok(Done::Move(destination)) => {
                println!("the other server sends us to {}", Shown(&destination));
                to = destination;
            }
            Err(error) => {
                println!("cannot forward {stream}: {error}");
                to = target.clone();
            }
        }
        if begun.elapsed() >= SUCCESS {
            pause = SHORTEST_PAUSE;
        }
        println!("trying again in {pause:?}");
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits until the stream has a publisher. `None`: the server stops.
fn live(handle: &Handle, stream: &str) -> Option<Subscription> {
    let mut frames = handle.subscribe(stream).ok()?;
    while !frames.is_live() {
        // Also returns at the end of an earlier publication.
        frames.recv()?;
        frames = handle.subscribe(stream).ok()?;
    }
    Some(frames)
}

fn connect(to: &Destination) -> Result<TcpStream> {
    if *to.scheme() != Scheme::Rtmp {
        return Err("this program has no TLS: use rtmp://".into());
    }
    let mut error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (to.host(), to.port()).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                socket.set_nonblocking(true)?; // the loop waits for frames, not for the socket
                return Ok(socket);
            }
            Err(failed) => error = failed,
        }
    }
    Err(error.into())
}

/// Publishes on one connection until it ends.
fn publish(handle: &Handle, frames: &mut Subscription, mut socket: TcpStream, to: &Destination) -> Result<Done> {
    let mut client = Client::new(Arc::new(ClientConfig::to(to)), random_seed(), Instant::now());
    let stream = client.publish(to.stream(), PublishType::Live)?;
    let mut buffer = vec![0; 16 << 10];
    let mut publishing = false;
    let mut done = None;
    loop {
        // 1. What the other server did.
        let wait = loop {
            match client.poll_output() {
                ClientOutput::Event(ClientEvent::Publishing { .. }) => publishing = true,
                ClientOutput::Event(ClientEvent::Rejected { rejection, .. }) => match rejection.redirect {
                    Some(redirect) => return Ok(Done::Move(redirect.destination(to.stream())?)),
                    None => return Err(format!("{} {}", rejection.code, rejection.description).into()),
                },
                ClientOutput::Event(ClientEvent::ReconnectRequest { tc_url, .. }) => {
                    let there = tc_url.map(|tc_url| Destination::within(&tc_url, to.stream())).transpose()?;
                    done = Some(Done::Move(there.unwrap_or_else(|| to.clone())));
                    client.close();
                }
                ClientOutput::Event(ClientEvent::Unanswered { .. }) => return Err("no answer to publish".into()),
                ClientOutput::Event(ClientEvent::Ended { .. }) => return Err("the stream was ended there".into()),
                ClientOutput::Event(_) => {}
                ClientOutput::Wait(wait) => break wait,
                ClientOutput::Closed(close) => return done.ok_or_else(|| close.reason.to_string().into()),
            }
        };
        // 2. The socket, as far as it goes without waiting.
        if let Err(error) = exchange(&mut client, &mut socket, &mut buffer, &wait)
            && !matches!(error.kind(), WouldBlock | Interrupted)
        {
            client.handle_disconnect(Instant::now(), ClientCloseReason::PeerLost(error.to_string()));
        }
        client.handle_timeout(Instant::now());
        // 3. Frames, if there is room for them. A pause here is the pause of the loop.
        if !publishing || done.is_some() || client.outbound().len() >= HIGH_WATER {
            thread::sleep(TICK);
            continue;
        }
        let mut next = frames.recv_timeout(TICK);
        if next.is_none() && handle.is_stopping() {
            next = Some(Update::Ended);
        }
        while let Some(update) = next {
            match update {
                Update::Frame(frame) => client.send_frame(stream, &frame)?,
                // The frames that follow begin with the headers and a key frame.
                Update::Missed(gap) => println!("left out {} frames, {} ms", gap.frames, gap.milliseconds),
                Update::Ended => {
                    done = Some(Done::StreamEnded);
                    client.close();
                    break;
                }
            }
            next = if client.outbound().len() < HIGH_WATER { frames.try_recv() } else { None };
        }
    }
}

/// Writes what waits, and reads what has come.
fn exchange(client: &mut Client, socket: &mut TcpStream, buffer: &mut [u8], wait: &Wait) -> io::Result<()> {
    if let Some(read) = wait.read {
        let most = read.most.min(buffer.len());
        match socket.read(&mut buffer[..most]) {
            Ok(0) => client.handle_disconnect(Instant::now(), ClientCloseReason::PeerClosed),
            // An error of the protocol is the reason of the close that the next poll returns.
            Ok(count) => {
                let _ = client.handle_input(Instant::now(), &buffer[..count]);
            }
            Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    while !client.outbound().is_empty() {
        let mut slices = [IoSlice::new(&[]); 64];
        let outbound = client.outbound();
        let count = outbound.chunks_vectored(&mut slices);
        match socket.write_vectored(&slices[..count])? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => outbound.advance(written),
        }
    }
    Ok(())
}

/// A destination without its query: stream keys and tokens do not belong into a log.
struct Shown<'a>(&'a Destination);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = self.0.stream().split('?').next().unwrap_or_default();
        write!(f, "{}/{stream}", self.0.tc_url())
    }
}
