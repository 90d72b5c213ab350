use std::net::TcpListener;
use std::sync::Arc;

use anabranch_host::AcceptErrors;
use async_io::{Async, Timer};
use smol::future::yield_now;

use crate::connection::Connection;
use crate::server::Shared;

/// Connections accepted in a row before other tasks get a turn: a storm of them must not hold up those that are there.
const ACCEPTS_PER_TURN: usize = 32;

/// Accepts connections for ever. No error ends it: a connection that was gone before it was accepted is nothing, and
/// when there are no more file descriptors there will be some again.
pub(crate) async fn run(shared: Arc<Shared>, listener: Async<TcpListener>) {
    let mut errors = AcceptErrors::default();
    loop {
        for _ in 0..ACCEPTS_PER_TURN {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    if shared.host.is_stopping() {
                        return;
                    }
                    Connection::start(&shared, socket, peer);
                }
                Err(error) => {
                    if let Some(pause) = errors.pause(&error) {
                        Timer::after(pause).await;
                    }
                }
            }
        }
        yield_now().await;
    }
}
