//! The configuration of the running program: where it comes from, what is said about it, and how it changes.

mod checking;
mod reloading;
mod running;
