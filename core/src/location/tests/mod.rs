mod cluster;
mod directory;
mod failures;
mod random;
mod rules;
