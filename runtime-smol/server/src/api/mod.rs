//! The HTTP API and the metrics: numbers for consoles and dashboards, and what operators do to a running server.
//!
//! It has a thread of its own, so that no request, however slow, costs the workers anything but a short look at a
//! connection.

mod answers;
mod context;
mod guard;
mod listing;
mod machine;
mod metrics;
mod openapi;
mod reply;
mod routes;
mod serve;
mod settings;
mod shapes;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use anabranch_host::{Handle, Listen, listen};
use smol::Async;
use tracing::warn;

use context::Context;
pub(crate) use context::{Reload, Workers};
use serve::Bounds;
pub(crate) use settings::ApiSettings;
use settings::{DEFAULT, Place};

use crate::identity::Identity;

/// Serves the API, if it is to be served, until the process ends. Returns its address.
///
/// # Errors
/// An address that was asked for cannot be listened on; settings that make no sense or are not safe.
pub(crate) fn start(
    settings: &ApiSettings,
    identity: Identity,
    handle: Handle,
    reload: Option<Reload>,
    workers: Workers,
) -> Result<Option<SocketAddr>, String> {
    let place = match settings.listen.0 {
        Place::Off => return Ok(None),
        Place::At(place) => place,
        Place::Auto => Listen::One(DEFAULT),
    };
    let failed = |error: io::Error| format!("the API cannot listen on {place}: {error}");
    settings.check(match place {
        Listen::One(address) => address,
        Listen::Any(port) => SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port),
    })?;
    let listener = match listen(place) {
        Err(error) if settings.listen.0 == Place::Auto => {
            warn!("{}; the server goes on without API and metrics", failed(error));
            return Ok(None);
        }
        listener => listener.map_err(failed)?,
    };
    let address = listener.local_addr().map_err(failed)?;
    let listener: Async<TcpListener> = Async::new(listener).map_err(failed)?;
    let (bounds, site_settings) = (Bounds::new(settings), settings.clone());
    let serve = move || serve::run(&listener, Context::new(&site_settings, identity, handle, reload, workers), bounds);
    let thread = thread::Builder::new().name("api".to_owned()).spawn(serve);
    thread.map_err(|error| format!("no thread for the API: {error}"))?;
    Ok(Some(address))
}
