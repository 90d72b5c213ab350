use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Instant;

use anabranch_core::conn::WebRequest;
use anabranch_core::http::{Answer, Request};
use anabranch_core::packager::Ticket;
use anabranch_core::policy::canonical;

use crate::host::Link;

/// What the program around the server answers to requests by HTTP that are for no live stream. Without it, or without an
/// entrance for HTTP, it is not called; then the answer is 404.
///
/// The thread that serves the connection makes the call. It must not block, because other connections may wait for this
/// thread: what needs time moves the [`Reply`] to another thread or task. If a call panics, the server closes that client's
/// connection.
///
/// ```
/// use anabranch_host::core::http::{Answer, Request};
/// use anabranch_host::{Reply, Web};
///
/// #[derive(Debug)]
/// struct Hello;
///
/// impl Web for Hello {
///     fn request(&self, request: Request, reply: Reply) {
///         reply.give(match request.path() {
///             "/" => Answer::text(200, "hello"),
///             _ => Answer::text(404, "there is no such page"),
///         });
///     }
/// }
/// ```
pub trait Web: fmt::Debug + Send + Sync + 'static {
    /// A client asks for something. It waits until the reply or the deadline
    /// ([`Settings::answer`](anabranch_core::http::Settings::answer)); other connections do not wait.
    fn request(&self, request: Request, reply: Reply);
}

/// The connection of a request, which the request does not keep open.
trait Asking: Send {
    fn is_gone(&self) -> bool;

    fn local_address(&self) -> Option<SocketAddr>;
}

impl<C: Link> Asking for Weak<C> {
    fn is_gone(&self) -> bool {
        self.strong_count() == 0
    }

    fn local_address(&self) -> Option<SocketAddr> {
        self.upgrade()?.local_address()
    }
}

/// Answers one request, once, from any thread. If it is dropped, the deadline decides. It does not keep the connection
/// open: an answer for a client that is gone has no effect.
#[must_use = "if it is dropped, there is no answer"]
pub struct Reply {
    client: Option<SocketAddr>,
    connection: Box<dyn Asking>,
    deliver: Box<dyn FnOnce(Answer) + Send>,
}

impl Reply {
    /// The reply to a request, and the request.
    pub(crate) fn to<C: Link>(asked: WebRequest, connection: &Arc<C>) -> (Request, Self) {
        let WebRequest { id, request } = asked;
        let mut client = None;
        connection.inspect_client(&mut |conn| client = conn.peer());
        let connection = Arc::downgrade(connection);
        let asking = Box::new(connection.clone());
        let deliver = move |answer: Answer| {
            if let Some(connection) = connection.upgrade() {
                connection.change_client(&mut |conn| conn.respond(Instant::now(), id, &answer));
            }
        };
        (request, Reply { client, connection: asking, deliver: Box::new(deliver) })
    }

    /// The client's address, as far as it is known: the one that a trusted proxy gave, otherwise that of the connection.
    pub fn client(&self) -> Option<SocketAddr> {
        self.client
    }

    /// The address of this server that the client has connected to. Behind a proxy it is the one that the proxy has
    /// connected to. `None` if the connection is gone.
    pub fn local(&self) -> Option<SocketAddr> {
        self.connection.local_address().map(canonical)
    }

    /// Gives the answer. Does not block.
    pub fn give(self, answer: Answer) {
        (self.deliver)(answer);
    }
}

impl Ticket for Reply {
    fn is_gone(&self) -> bool {
        self.connection.is_gone()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("client", &self.client).finish_non_exhaustive()
    }
}
