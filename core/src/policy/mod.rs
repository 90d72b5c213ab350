//! Who may do what, as data.
//!
//! | to say | there is | asked at |
//! |---|---|---|
//! | which addresses may publish or play | [`Security`] | `publish`, `play` |
//! | which pages a client may come from | [`Refer`] | `publish`, `play` |
//! | that a URL must be signed, and until when it holds | [`Token`], made with [`sign`] | `publish`, `play` |
//! | how many there may be, and how fast | [`Limits`]; [`Questions`] and [`RateMeter`] count what the [hub](crate::hub) does not | all of them |
//! | which host names are whose | [`Vhosts`] | `connect` |
//!
//! Each part is checked alone, knows nothing of the others and holds no connection: a check takes facts and returns a
//! [`Refusal`], the one answer they all give, or nothing. [`conn::VhostConfig`](crate::conn::VhostConfig) puts them
//! together for a virtual host, and [`conn::Conn`](crate::conn::Conn) asks them in that order. Whoever wants to decide
//! by other means has questions to the outside, see [`conn::Asks`](crate::conn::Asks).

mod action;
mod limits;
mod network;
mod questions;
mod rate;
mod refer;
mod refusal;
mod security;
mod token;
mod verdict;
mod vhost;

pub use action::Action;
pub use limits::{Counted, Limits};
pub use network::{Network, NetworkError};
pub use questions::{DEFAULT_QUESTIONS, Questions, one_client};
pub use rate::{DEFAULT_WINDOW, Rate, RateMeter};
pub use refer::{HostPattern, HostPatternError, Refer};
pub use refusal::Refusal;
pub use security::{Effect, Rule, RuleError, Security, Who};
pub use token::{MIN_SECRET_LEN, Secret, SecretError, Token, TokenScope, sign};
pub use verdict::Verdict;
pub use vhost::{Resolved, Vhost, VhostError, Vhosts};
