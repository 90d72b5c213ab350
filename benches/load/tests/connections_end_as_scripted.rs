//! What a peer sees of connections that fall silent, are reset or are closed.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::client::ClientConfig;
use anabranch_load::client_pool::{ClientPool, End, Id, Measuring, Next, PoolEvent, Role, Scenario, Spec, Tally};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Opens one connection that may send some bytes, and ends it in one way when they are sent.
struct Once {
    address: SocketAddr,
    allowance: u64,
    how: End,
    seen: Vec<PoolEvent>,
    deadline: Instant,
}

impl Scenario for Once {
    fn on_event(&mut self, pool: &mut ClientPool, id: Id, tag: u64, event: PoolEvent) {
        assert_eq!(tag, 7);
        if event == PoolEvent::Silent {
            pool.end(id, self.how);
        }
        self.seen.push(event);
    }

    fn next_step(&mut self, pool: &mut ClientPool, now: Instant) -> Next {
        assert!(now < self.deadline, "{:?}", self.seen);
        if self.seen.is_empty() && pool.is_empty() {
            pool.open(Spec {
                tag: 7,
                address: self.address,
                tls: None,
                config: Arc::new(ClientConfig::default()),
                name: "cam".into(),
                stream: 0,
                role: Role::Play { counts_only: false },
                send_at_most: Some(self.allowance),
                receive_buffer: None,
            });
        }
        if !self.seen.is_empty() && pool.is_empty() { Next::Over } else { Next::At(self.deadline) }
    }
}

/// What came, and how the connection ended, as the peer has it; and which events the scenario got.
fn end(allowance: u64, how: End) -> (usize, io::Result<()>, Vec<PoolEvent>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let peer = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("it connects");
        socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        let (mut count, mut piece) = (0, [0; 512]);
        loop {
            match socket.read(&mut piece) {
                Ok(0) => return (count, Ok(())),
                Ok(more) => count += more,
                Err(error) => return (count, Err(error)),
            }
        }
    });
    let (tally, measuring) = (Arc::new(Tally::default()), Arc::new(Measuring::default()));
    let pool = ClientPool::new(1, tally.clone(), measuring).expect("an event queue");
    let mut once = Once { address, allowance, how, seen: Vec::new(), deadline: Instant::now() + TIMEOUT };
    pool.run(&mut once).expect("it runs");
    assert_eq!(tally.opened.read(), 1);
    let (count, ended) = peer.join().expect("the peer");
    (count, ended, once.seen)
}

#[test]
fn a_closed_connection_has_sent_exactly_what_it_may() {
    for allowance in [1, 700, 1536] {
        let (count, ended, seen) = end(allowance, End::Close);
        assert_eq!((count as u64, ended.is_ok()), (allowance, true));
        assert_eq!(seen, [PoolEvent::Silent, PoolEvent::Ended]);
    }
}

#[test]
fn a_reset_connection_is_reset() {
    let (count, ended, seen) = end(700, End::Reset);
    // What was not read yet may be lost with it.
    assert!(count <= 700);
    assert_eq!(ended.expect_err("it is reset").kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(seen, [PoolEvent::Silent, PoolEvent::Ended]);
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let pool = ClientPool::new(1, Arc::default(), Arc::default()).expect("an event queue");
    let deadline = Instant::now() + TIMEOUT;
    let mut once = Once { address, allowance: 1, how: End::Close, seen: Vec::new(), deadline };
    pool.run(&mut once).expect("it runs");
    assert_eq!(once.seen, [PoolEvent::Lost("not connected: connection refused".into())]);
}
