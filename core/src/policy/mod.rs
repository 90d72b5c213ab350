//! Rules for what clients may do, as data.
//!
//! | rule | type | checked at |
//! |---|---|---|
//! | which addresses may publish or play | [`Security`] | `publish`, `play` |
//! | which pages a client may come from | [`Refer`] | `publish`, `play` |
//! | that a URL must be signed, and until when it holds | [`Token`], made with [`sign`] | `publish`, `play` |
//! | that a program which the server started has its URL from the server | [`Passes`] | `connect`, `publish`, `play` |
//! | how many there may be, and how fast | [`Limits`]; [`Questions`] and [`RateMeter`] count what the [hub](crate::hub) does not | all of them |
//! | which virtual host a host name belongs to | [`Vhosts`] | `connect` |
//! | which application a stream belongs to, and so which settings it has | [`Applications`], by [`StreamPattern`] | `publish`, `play` |
//!
//! Each rule is checked alone and knows nothing of the other rules or of connections: a check takes facts and returns
//! `Ok` or a [`Refusal`], which all rules share. [`conn::VhostConfig`](crate::conn::VhostConfig) holds the rules of a
//! virtual host, and [`conn::Conn`](crate::conn::Conn) checks those of a stream in the order of the table. A back end can
//! decide as well, see [`conn::Asks`](crate::conn::Asks).

mod action;
mod application;
mod limits;
mod network;
mod pass;
mod pattern;
mod questions;
mod rate;
mod refer;
mod refusal;
mod security;
mod token;
mod verdict;
mod vhost;

pub use action::Action;
pub use application::{Application, Applications};
pub use limits::{Counted, Limits};
pub use network::{Network, NetworkError, canonical};
pub use pass::{Issued, PASS, Passes, without_passes};
pub(crate) use pass::{Use, is_well_formed, url_without_pass, without_pass};
pub use pattern::{MAX_PATTERN_LEN, PatternError, StreamPattern};
pub use questions::{DEFAULT_QUESTIONS, Questions, one_client};
pub use rate::{DEFAULT_WINDOW, Rate, RateMeter};
pub use refer::{HostPattern, HostPatternError, Refer};
pub use refusal::Refusal;
pub use security::{Effect, Rule, RuleError, Security, Who};
pub use token::{MIN_SECRET_LEN, Secret, SecretError, Token, TokenScope, sign};
pub use verdict::{AskId, Verdict};
pub use vhost::{Resolved, Vhost, VhostError, Vhosts};
