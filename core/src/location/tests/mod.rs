mod cluster;
pub(crate) mod directory;
mod failures;
mod random;
mod rules;
