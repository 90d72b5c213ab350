//! The HTTP API and the metrics: figures for consoles and dashboards, and commands to a running server.
//!
//! The API has its own thread, so that slow requests do not affect the workers. They share only short locks of
//! connections.

mod answers;
mod captures;
mod cluster;
mod context;
mod forwards;
mod guard;
mod health;
mod hooks;
mod listing;
mod machine;
mod metrics;
mod openapi;
mod recordings;
mod reply;
mod routes;
mod rtc;
mod runs;
mod serve;
mod settings;
mod shapes;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use anabranch_host::{Handle, listen};
use smol::Async;
use smol::channel::Receiver;
use tracing::warn;

pub(crate) use captures::Capturing;
use context::Context;
pub(crate) use context::{InForce, Reload, Workers};
use serve::Bounds;
pub(crate) use settings::ApiSettings;

use crate::identity::Identity;
use crate::web::{Media, Pages, WebCall};

/// The entrances for HTTP of the server, which are not the API's.
#[derive(Debug, Default)]
pub(crate) struct Entrances {
    /// Requests for the API that came in there.
    pub(crate) calls: Option<Receiver<WebCall>>,
    /// Where streams are played.
    pub(crate) media: Option<Media>,
    /// Whether there is a page for calls.
    pub(crate) has_rooms: bool,
}

/// Serves the API until the process ends, unless it is off. Returns its address.
///
/// # Errors
/// The configured address cannot be listened on, or the settings are not valid or not safe.
pub(crate) fn start(
    settings: &ApiSettings,
    identity: Identity,
    handle: Handle,
    reload: Option<Reload>,
    in_force: Option<InForce>,
    workers: Workers,
    entrances: Entrances,
) -> Result<Option<SocketAddr>, String> {
    settings.check().map_err(|(_, fault)| fault.to_string())?;
    let listener = open(settings)?;
    let address = listener.as_ref().map(|(_, address)| *address);
    if listener.is_none() && entrances.calls.is_none() {
        return Ok(None);
    }
    let (bounds, site_settings) = (Bounds::new(settings), settings.clone());
    let serve = move || {
        let Entrances { calls, media, has_rooms } = entrances;
        let pages = Pages::new(media, has_rooms);
        let context = Context::new(&site_settings, identity, handle, reload, in_force, workers, pages);
        serve::run(listener.as_ref().map(|(listener, _)| listener), calls.as_ref(), context, bounds);
    };
    let thread = thread::Builder::new().name("api".to_owned()).spawn(serve);
    thread.map_err(|error| format!("cannot start a thread for the API: {error}"))?;
    Ok(address)
}

/// Listens, unless the API is off, or its default port is taken.
fn open(settings: &ApiSettings) -> Result<Option<(Async<TcpListener>, SocketAddr)>, String> {
    let Some(place) = settings.place() else {
        return Ok(None);
    };
    let failed = |error: io::Error| format!("the API cannot listen on {place}: {error}");
    let listener = match listen(place) {
        Err(error) if settings.is_optional() => {
            let error = failed(error);
            warn!(event = "api_off", error = %error, "{error}; the server runs without API and metrics");
            return Ok(None);
        }
        listener => listener.map_err(failed)?,
    };
    let address = listener.local_addr().map_err(failed)?;
    Ok(Some((Async::new(listener).map_err(failed)?, address)))
}
