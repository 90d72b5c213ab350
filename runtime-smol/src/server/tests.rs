use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use smol::future::yield_now;

use super::*;
use crate::worker::LONGEST_TURN;

/// The executor itself would let its tasks run two hundred turns.
const TURNS: usize = 10;

#[test]
fn tasks_that_always_have_more_to_do_do_not_keep_the_thread_from_its_sockets_and_timers() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = Server::builder().threads(NonZero::<usize>::MIN).listener(listener).build().expect("a server");
    let Server { shared, mut arriving, listeners: _listening, .. } = server;
    let mut socket = mio::net::TcpStream::connect(address).expect("a connection");
    let (running, over) = bounded::<()>(1);
    let arriving = arriving.pop().expect("a thread");
    let reactor = Reactor::new().expect("an event queue");
    let thread_waker = reactor.thread_waker().expect("a waker");
    let beginning = Beginning { number: 0, reactor, thread_waker, arriving, over };
    let turns = Rc::new(Cell::new(0));
    beginning.run(&shared, |local| {
        let busy = turns.clone();
        local.spawn(async move {
            loop {
                busy.set(busy.get() + 1);
                thread::sleep(2 * LONGEST_TURN);
                yield_now().await;
            }
        });
        let slot = local.reactor().register(&mut socket).expect("a slot");
        let due = Instant::now() + LONGEST_TURN;
        let waiting = local.clone();
        local.spawn(async move {
            poll_fn(|context| {
                if due <= Instant::now() {
                    return Poll::Ready(());
                }
                waiting.reactor().park(slot, context.waker(), Some(due));
                Poll::Pending
            })
            .await;
            drop(running);
        });
    });
    assert!(turns.get() < TURNS, "{} turns before the timer was seen", turns.get());
}
