//! The HTTP server: one thread, bounded connections, bounded patience.

use std::cell::Cell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anabranch_host::AcceptErrors;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use smol::future::{FutureExt, or, yield_now};
use smol::{Async, LocalExecutor, Task, Timer};
use smol_hyper::rt::{FuturesIo, SmolTimer};
use tracing::{debug, error};

use super::reply::Reply;
use super::routes;
use super::settings::ApiSettings;
use super::site::Site;

/// Bytes of a request's head.
const HEAD: usize = 16 << 10;
/// Fields of a request's head.
const FIELDS: usize = 64;

/// How much of everything there may be.
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
    /// When it last made a request.
    newest: Rc<Cell<Instant>>,
    task: Task<()>,
}

/// Serves for ever.
pub(super) fn run(listener: &Async<TcpListener>, site: Site, bounds: Bounds) {
    let site = Rc::new(site);
    let serve = || {
        let executor = LocalExecutor::new();
        smol::block_on(executor.run(accept(&executor, listener, &site, bounds)));
    };
    // Connections contain their panics; one from elsewhere costs the connections that are open, and not the API.
    while catch_unwind(AssertUnwindSafe(serve)).is_err() {
        error!("what accepts connections of the API panicked, which is a bug; it begins anew");
    }
}

async fn accept(executor: &LocalExecutor<'_>, listener: &Async<TcpListener>, site: &Rc<Site>, bounds: Bounds) {
    let mut errors = AcceptErrors::default();
    let mut served: HashMap<u64, Served> = HashMap::new();
    for number in 0.. {
        match listener.accept().await {
            Ok((socket, _)) => {
                served.retain(|_, served| !served.task.is_finished());
                if served.len() >= bounds.connections {
                    // Somebody who opens connections and asks nothing must not keep out those who ask.
                    let idlest = served.iter().min_by_key(|(_, served)| served.newest.get()).map(|(number, _)| *number);
                    idlest.and_then(|idlest| served.remove(&idlest));
                }
                let newest = Rc::new(Cell::new(Instant::now()));
                let task = executor.spawn(serve(socket, site.clone(), newest.clone(), bounds));
                served.insert(number, Served { newest, task });
                // A storm of connections must not hold up those that are there.
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

async fn serve(socket: Async<TcpStream>, site: Rc<Site>, newest: Rc<Cell<Instant>>, bounds: Bounds) {
    let asked = newest.clone();
    let service = service_fn(move |request: Request<_>| {
        asked.set(Instant::now());
        let response = answer(&site, request).into_response();
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(SmolTimer::new())
        .header_read_timeout(bounds.header)
        .max_headers(FIELDS)
        .max_buf_size(HEAD)
        .serve_connection(FuturesIo::new(socket), service);
    let connection = async {
        if let Err(error) = connection.await {
            debug!("a connection to the API broke: {error}");
        }
    };
    // Whoever reads nothing of an answer, or sends a body without end, makes no new request either.
    let idle = async {
        while newest.get().elapsed() < bounds.idle {
            Timer::at(newest.get() + bounds.idle).await;
        }
    };
    if AssertUnwindSafe(or(connection, idle)).catch_unwind().await.is_err() {
        error!("what serves a connection of the API panicked, which is a bug");
    }
}

/// Nothing that is sent as a body means anything: it is not read.
fn answer(site: &Site, request: Request<hyper::body::Incoming>) -> Reply {
    let (request, _) = request.into_parts();
    catch_unwind(AssertUnwindSafe(|| routes::answer(site, &request))).unwrap_or_else(|_| {
        error!("what answers {} {} of the API panicked, which is a bug", request.method, request.uri.path());
        Reply::error(StatusCode::INTERNAL_SERVER_ERROR, 500, "this is a bug of the server")
    })
}
