use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::Poll;

use anabranch_core::policy::canonical;
use anabranch_host::{AcceptErrors, Entrance};
use async_io::Timer;
use mio::net::TcpListener;
use smol::future::yield_now;

use crate::worker::{Arrival, Local, Opened};

/// Connections accepted in a row before other tasks run: many new connections must not delay those that are open.
pub(crate) const ACCEPTS_PER_TURN: usize = 32;

/// Begins to accept from these listeners, on this thread.
///
/// # Panics
/// If the system cannot watch them.
pub(crate) fn begin(local: &Rc<Local>, listeners: Vec<(TcpListener, Entrance)>) {
    for (mut listener, entrance) in listeners {
        let slot = local.reactor().register(&mut listener).expect("a listening socket can be watched");
        local.spawn(run(local.clone(), listener, entrance, slot));
    }
}

/// Accepts connections until the server stops, and gives each to the thread with the fewest connections. No error ends
/// it: a connection may be gone before it is accepted, and if no file descriptor is free, one becomes free later.
async fn run(local: Rc<Local>, listener: TcpListener, entrance: Entrance, slot: usize) {
    let mut errors = AcceptErrors::default();
    let shared = &local.shared;
    loop {
        for _ in 0..ACCEPTS_PER_TURN {
            match listener.accept() {
                Ok((socket, peer)) => {
                    if shared.host.is_stopping() {
                        return;
                    }
                    if !shared.host.admits(socket.as_raw_fd()) {
                        shared.host.turn_away();
                        continue;
                    }
                    let opened = Opened::ByClient(entrance.clone());
                    shared.least_busy().take(Arrival { socket, peer: canonical(peer), opened });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    local.reactor().would_block(slot);
                    poll_fn(|context| {
                        let mut reactor = local.reactor();
                        if reactor.is_readable(slot) {
                            return Poll::Ready(());
                        }
                        reactor.park(slot, context.waker(), None);
                        Poll::Pending
                    })
                    .await;
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
