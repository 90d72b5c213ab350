//! Streams from and to other servers: when a push or a pull exists, to which server, and what happens when that fails.
//!
//! A *relay* is one push or one pull, which goes on over many connections. A *target* is where a push goes, an *origin*
//! is where a pull comes from. An *attempt* is one try to reach one address. An *uplink* is one connection that this
//! server opened to another server.
//!
//! ```text
//!  hub ──changes──▶ Relays (one per server) ──Order──▶ driver: Resolve, Connect, Abort, Answer, Close, Poll, Wake, Remark
//!                     ▲   ▲                              │ runtime: look up names, connect, TLS
//!                     │   └── resolved / connected / failed ◀┘
//!                     └── Uplink (one for each connection; the adapter serves it like any Conn)
//! ```
//!
//! # The driver
//! A server has one driver: a task or thread that polls [`Relays`] until it gets [`Order::Wait`], does each [`Order`] on
//! the way, and then waits for that time, for the waker that it gave to [`Relays::set_waker`], or for an answer to one of
//! its orders. `resolved`, `connected` and `failed` may be called from any thread; the waker is called if `poll` has
//! something to do after them.
//!
//! A server without pushes and edges has no orders, and `poll` returns `Wait(None)` until the configuration changes.
//!
//! # Uplinks
//! [`Relays::connected`] returns an [`Uplink`] for the connection that an adapter has made. The adapter serves it like a
//! [`Conn`](crate::conn::Conn): it has the same calls, and [`AnyConn`](crate::conn::AnyConn) is either of both. It never
//! gets a [`Share`](crate::conn::Share): it is polled when its stream is woken.
//!
//! # Purity
//! As in all of core, nothing here has a socket, a clock or randomness other than seeds, so many servers with links
//! between them run in one simulator.

mod attempt;
mod audience;
mod claims;
mod config;
mod desk;
mod directory;
mod goals;
mod lookups;
mod moves;
mod order;
mod plan;
mod pull;
mod push;
mod recent;
#[allow(clippy::module_inception)] // one relay, among all that the module has
mod relay;
mod relays;
mod remark;
mod room;
mod rules;
mod slow_path;
mod snapshot;
mod state;
mod template;
mod tree;
mod uplink;

pub use config::{Backoff, Edge, Forward};
pub use order::{AttemptId, Failure, Order};
pub(crate) use plan::TraverseFacts;
pub(crate) use relays::Ticket;
pub use relays::{NotAdded, Relays};
pub use remark::{EndedBecause, RelayEvent, Remark};
pub(crate) use rules::{HostRules, Rules, StreamRules, client_limits};
pub use snapshot::{RelayError, RelayId, RelayKind, RelaySnapshot, RelayState, TargetSource};
pub use template::{Origin, OriginError, PushTarget, Template, TemplateError};
pub(crate) use tree::{Seat, Served};
pub(crate) use uplink::STATE;
pub use uplink::{Uplink, UplinkAction, UplinkOutput, UplinkReport};

#[cfg(test)]
mod tests;
