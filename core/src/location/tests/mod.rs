mod cluster;
pub(crate) mod directory;
mod failures;
mod random;
mod rules;

use super::{Owner, Reply, Request, Session, Taking};
