//! Who may do what, as data: security rules by address ([`Security`]), by page ([`Refer`]), by signed URL ([`Token`]),
//! virtual hosts ([`Vhosts`]), limits ([`Limits`], [`Usage`], [`RateMeter`]), and the one answer they all give
//! ([`Refusal`]).
//!
//! Each part is checked alone and knows nothing of the others.

mod action;
mod limits;
mod network;
mod rate;
mod refer;
mod refusal;
mod security;
mod token;
mod vhost;

pub use action::Action;
pub use limits::{Counted, Limits, Usage};
pub use network::{Network, NetworkError};
pub use rate::{DEFAULT_WINDOW, Rate, RateMeter};
pub use refer::{HostPattern, HostPatternError, Refer};
pub use refusal::Refusal;
pub use security::{Rule, RuleError, Security, Verdict, Who};
pub use token::{MIN_SECRET_LEN, Secret, SecretError, Token, TokenScope, sign};
pub use vhost::{Resolved, Vhost, VhostError, Vhosts};
