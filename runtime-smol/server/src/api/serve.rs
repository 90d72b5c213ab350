//! The HTTP server: one thread, bounded connections, with timeouts.

use std::cell::Cell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use anabranch_core::http;
use anabranch_core::location::Located;
use anabranch_core::policy::one_client;
use anabranch_host::AcceptErrors;
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use smol::channel::Receiver;
use smol::future::{FutureExt, or, pending, poll_fn, yield_now};
use smol::io::{AsyncRead, AsyncWrite};
use smol::{Async, LocalExecutor, Task, Timer};
use smol_hyper::rt::FuturesIo;
use tracing::{debug, error};

use super::cluster::{TooMany, locate};
use super::context::Context;
use super::reply::Reply;
use super::routes;
use super::settings::ApiSettings;
use crate::web::WebCall;

/// The most bytes of a request's head.
const HEAD: usize = 16 << 10;
/// The most fields of a request's head.
const FIELDS: usize = 64;

/// Limits of connections and times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    connections: usize,
    header: Duration,
    idle: Duration,
}

impl Bounds {
    pub(super) fn new(settings: &ApiSettings) -> Self {
        Bounds { connections: settings.connections, header: settings.header_timeout.0, idle: settings.idle_timeout.0 }
    }
}

/// A connection that is being served; dropping it ends it.
struct Served {
    client: IpAddr,
    seen: Rc<Seen>,
    task: Task<()>,
}

impl Served {
    fn new(address: IpAddr, seen: Rc<Seen>, task: Task<()>) -> Self {
        Served { client: one_client(address), seen, task }
    }
}

/// What is known about a connection.
struct Seen {
    /// When it last made a request, or was accepted.
    newest: Cell<Instant>,
    /// Since when a request's head is on the way. A new connection has to send one at once.
    head_since: Cell<Option<Instant>>,
    /// Whether one of its requests was allowed.
    is_operator: Cell<bool>,
}

impl Seen {
    fn new(now: Instant) -> Rc<Self> {
        Rc::new(Seen { newest: Cell::new(now), head_since: Cell::new(Some(now)), is_operator: Cell::new(false) })
    }

    /// When the connection ends unless it sends more.
    fn deadline(&self, bounds: &Bounds) -> Instant {
        let idle = self.newest.get() + bounds.idle;
        self.head_since.get().map_or(idle, |since| idle.min(since + bounds.header))
    }
}

/// A socket that notes when the head of a request begins. hyper has a time limit for heads, but it begins with the end
/// of the request before, so it would be the limit of idle connections, too. A head that begins in the same read as the
/// end of the one before has the time of an idle connection.
struct Watched {
    socket: Async<TcpStream>,
    seen: Rc<Seen>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
        if matches!(read, Poll::Ready(Ok(_))) && self.seen.head_since.get().is_none() {
            self.seen.head_since.set(Some(Instant::now()));
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}

/// All connections that are being served.
#[derive(Default)]
struct Connections {
    served: HashMap<u64, Served>,
}

impl Connections {
    /// Makes room for one more of at most so many connections. Clients that open connections without a valid request
    /// must not keep operators out, however fast they connect. So a new connection replaces one without a valid
    /// request: of the client that has most of them, the one that is idle for longest. Connections of operators (with a
    /// valid request) are kept, except when they take more than three quarters of the places: a quarter is for new
    /// connections.
    fn make_room(&mut self, most: usize) {
        self.served.retain(|_, served| !served.task.is_finished());
        if self.served.len() < most {
            return;
        }
        let operators = self.served.values().filter(|served| served.seen.is_operator.get()).count();
        let of_operators = operators > most - most.div_ceil(4);
        let candidates = || self.served.iter().filter(|(_, served)| served.seen.is_operator.get() == of_operators);
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        candidates().for_each(|(_, served)| *counts.entry(served.client).or_default() += 1);
        let greatest = counts.values().max().copied();
        let of_greatest = candidates().filter(|(_, served)| counts.get(&served.client).copied() == greatest);
        let idlest = of_greatest.min_by_key(|(_, served)| served.seen.newest.get()).map(|(number, _)| *number);
        idlest.and_then(|idlest| self.served.remove(&idlest));
    }
}

/// Serves until the process ends: connections, and requests that come in by the entrances for HTTP.
pub(super) fn run(
    listener: Option<&Async<TcpListener>>,
    calls: Option<&Receiver<WebCall>>,
    context: Context,
    bounds: Bounds,
) {
    let context = Rc::new(context);
    let serve = || {
        let executor = LocalExecutor::new();
        let accept = async {
            match listener {
                Some(listener) => accept(&executor, listener, &context, bounds).await,
                None => pending().await,
            }
        };
        let take = async {
            match calls {
                Some(calls) => take(&executor, calls, &context).await,
                None => pending().await,
            }
        };
        smol::block_on(executor.run(or(accept, take)));
    };
    // Each connection catches its own panics. A panic from elsewhere closes the open connections, but the API goes on.
    while catch_unwind(AssertUnwindSafe(serve)).is_err() {
        error!(event = "bug", "accepting connections of the API panicked, which is a bug; the API starts again");
    }
}

async fn accept(executor: &LocalExecutor<'_>, listener: &Async<TcpListener>, context: &Rc<Context>, bounds: Bounds) {
    let mut errors = AcceptErrors::default();
    let mut connections = Connections::default();
    for number in 0.. {
        match listener.accept().await {
            Ok((socket, client)) => {
                connections.make_room(bounds.connections);
                let seen = Seen::new(Instant::now());
                let task = executor.spawn(serve(socket, context.clone(), seen.clone(), bounds));
                connections.served.insert(number, Served::new(client.ip(), seen, task));
                // Many new connections must not delay the others.
                yield_now().await;
            }
            Err(error) => {
                if let Some(pause) = errors.pause(&error) {
                    Timer::after(pause).await;
                }
            }
        }
    }
}

/// Answers requests that come in elsewhere. An entrance has at most one of each of its connections here.
async fn take(executor: &LocalExecutor<'_>, calls: &Receiver<WebCall>, context: &Rc<Context>) {
    while let Ok(WebCall { request, reply }) = calls.recv().await {
        let context = context.clone();
        let answer = async move {
            let Some(request) = parts(&request) else {
                reply.give(Reply::error(StatusCode::BAD_REQUEST, 400, "the request is not valid").into_answer());
                return;
            };
            let located = locate(&context, &request).await;
            reply.give(answer(&context, &request, located).into_answer());
        };
        executor.spawn(answer).detach();
    }
    // No entrance is left.
    pending::<()>().await;
}

/// A request as the routes know it.
fn parts(request: &http::Request) -> Option<Parts> {
    let builder = Request::builder().method(request.method()).uri(request.target());
    let builder = request.fields().fold(builder, |builder, (name, value)| builder.header(name, value));
    builder.body(()).ok().map(|request| request.into_parts().0)
}

async fn serve(socket: Async<TcpStream>, context: Rc<Context>, seen: Rc<Seen>, bounds: Bounds) {
    let asked = seen.clone();
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        asked.newest.set(Instant::now());
        asked.head_since.set(None);
        let (context, asked) = (context.clone(), asked.clone());
        async move {
            // No route has a request body, so it is not read.
            let (request, _) = request.into_parts();
            let located = locate(&context, &request).await;
            if context.guard.admits(&request) {
                asked.is_operator.set(true);
            }
            Ok::<_, Infallible>(answer(&context, &request, located).into_response())
        }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None::<Duration>)
        .max_headers(FIELDS)
        .max_buf_size(HEAD)
        .serve_connection(FuturesIo::new(Watched { socket, seen: seen.clone() }), service);
    let connection = async {
        if let Err(error) = connection.await {
            debug!(event = "api_connection", error = %error, "a connection to the API failed: {error}");
        }
    };
    // This also ends connections that do not read the answer or send an endless body: they make no new request.
    let mut due = seen.deadline(&bounds);
    let mut timer = Timer::at(due);
    // `or` polls this after each read, which may have changed the deadline.
    let late = poll_fn(|cx| {
        let new = seen.deadline(&bounds);
        if new != due {
            due = new;
            timer.set_at(due);
        }
        Pin::new(&mut timer).poll(cx).map(drop)
    });
    if AssertUnwindSafe(or(connection, late)).catch_unwind().await.is_err() {
        error!(event = "bug", "serving a connection of the API panicked, which is a bug");
    }
}

/// Answers a request.
fn answer(context: &Context, request: &Parts, located: Option<Result<Located, TooMany>>) -> Reply {
    catch_unwind(AssertUnwindSafe(|| routes::answer(context, request, located))).unwrap_or_else(|_| {
        let (method, path) = (&request.method, request.uri.path());
        error!(event = "bug", method = %method, path, "answering {method} {path} of the API panicked, which is a bug");
        Reply::error(StatusCode::INTERNAL_SERVER_ERROR, 500, "internal error: this is a bug of the server")
    })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[test]
    fn a_client_with_many_addresses_of_ipv6_takes_its_own_places() {
        let executor = LocalExecutor::new();
        let mut connections = Connections::default();
        let begun = Instant::now();
        let served = |number: u64, address: &str| {
            let seen = Seen::new(begun + Duration::from_millis(number));
            Served::new(address.parse().unwrap(), seen, executor.spawn(pending()))
        };
        // A new connection whose request is on the way.
        connections.served.insert(0, served(0, "2001:db8:1::1"));
        for number in 1..100 {
            connections.make_room(8);
            connections.served.insert(number, served(number, &format!("2001:db8::{number:x}")));
        }
        assert!(connections.served.len() == 8 && connections.served.contains_key(&0));
    }
}
