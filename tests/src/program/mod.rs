//! Programs as processes: started, watched, asked and ended by a test.

mod api;
mod binaries;
mod held;
mod launch;
mod nginx;
mod process;
mod replay;
mod running;

pub use api::Answer;
pub use binaries::{Example, Runtime};
pub(crate) use binaries::{target_folder, target_tmp};
pub use held::Held;
pub use launch::{Ended, Launch};
pub use nginx::Nginx;
pub use process::{Line, Process};
pub use replay::{replay, start_replay};
pub use running::Program;

/// Makes tests of functions that take a [`Runtime`], one for each of the two programs.
#[macro_export]
macro_rules! on_both_programs {
    ($($name:ident),+ $(,)?) => {
        mod on_smol {
            $(#[test] fn $name() { super::$name($crate::program::Runtime::Smol); })+
        }
        mod on_std {
            $(#[test] fn $name() { super::$name($crate::program::Runtime::Std); })+
        }
    };
}

/// An address of this machine where nothing listens. Another program could take it before it is used, but the system
/// gives the same port again only after many others.
///
/// # Panics
/// If the system has no port left.
pub fn free_address() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    listener.local_addr().expect("it has an address")
}
