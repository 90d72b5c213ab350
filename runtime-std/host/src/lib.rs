//! What the Anabranch servers of all runtimes share: the builder, the list of connections, hooks, handles, streams that
//! the program itself publishes and plays, listening sockets, and log lines for `tracing`.
//!
//! The crates of the runtimes re-export what their users need, core included. Options of a command line, the writer of the log,
//! signals and files of captures are in `anabranch-program`.

#![forbid(unsafe_code)]

mod accept;
mod addresses;
mod before_connect;
mod builder;
mod captures;
mod carrier;
mod closes;
mod drain;
mod driver;
mod entrance;
pub mod events;
mod fallback;
mod files;
mod handle;
mod hooks;
mod host;
mod in_order;
mod lines;
mod listen;
mod local;
#[cfg(feature = "tls")]
mod outbound_tls;
mod publications;
#[cfg(feature = "webrtc")]
mod rtc;
mod segments;
mod serve;
mod sockets;
mod totals;
mod uplinks;
mod viewer;
mod viewers;
mod web;

pub use anabranch_core as core;
#[cfg(feature = "webrtc")]
pub use anabranch_rtc as webrtc;

pub use accept::{AcceptErrors, interrupt_accept};
pub use addresses::LogAddresses;
pub use builder::{Builder, Setup};
pub use captures::{Arriving, Captures};
pub use carrier::Carrier;
pub use closes::Closed;
pub use drain::{Drain, LeavesToStop};
pub use driver::{Pause, drive};
pub use entrance::Entrance;
pub use fallback::check_fallback;
pub use files::{connections_within, raise_file_limit};
pub use handle::{Alive, CaptureError, ConnectionInfo, Handle, Runtime, Stats};
pub use hooks::{Answer, Hooks, SwitchNotice};
pub use host::{CUT, FINAL_MESSAGES_WAIT, Host, Link, give_up};
pub use lines::Lines;
pub use listen::{Listen, TcpOptions, WebListen, can_listen, listen, tune};
pub use local::{Over, Publication, Subscription, Update};
#[cfg(feature = "tls")]
pub use outbound_tls::{client_tls, tls_failure};
pub use publications::{PublishStart, PublishingClient};
#[cfg(feature = "webrtc")]
pub use rtc::{RtcAddresses, RtcOptions, RtcSession, RtcSockets, RtcStats};
pub use serve::Serve;
pub use sockets::SOCKETS;
pub use totals::{FormTotals, Totals, UplinkTotals};
pub use uplinks::{AnyLines, UplinkLines};
pub use web::{Reply, Web};

/// Thirty-two random bytes, for [`Core::new`](anabranch_core::conn::Core::new) and
/// [`Client::new`](anabranch_core::client::Client::new).
///
/// # Panics
/// If the system gives no random bytes; the server would not be secure without them.
pub fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the system gives random bytes");
    seed
}
