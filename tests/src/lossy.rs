use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How often its threads look whether it is over.
const LOOK: Duration = Duration::from_millis(50);

/// A way for datagrams that loses some of them, in both directions. Clients are told its address instead of the server's. It
/// ends with the value.
#[derive(Debug)]
pub struct Lossy {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Lossy {
    /// To a server that listens there; so many of 1,000 are lost, by a seed.
    ///
    /// # Panics
    /// If there is no port for it.
    pub fn to(server: SocketAddr, lost: u64, seed: u64) -> Self {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
        front.set_read_timeout(Some(LOOK)).expect("a socket has timeouts");
        let address = front.local_addr().expect("it has an address");
        let is_over = Arc::new(AtomicBool::new(false));
        let (front, over) = (Arc::new(front), is_over.clone());
        let mut dice = Dice { state: seed, lost };
        thread::spawn(move || {
            let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
            let mut buffer = vec![0; 65_536];
            while !over.load(Ordering::Acquire) {
                let Ok((length, client)) = front.recv_from(&mut buffer) else { continue };
                if dice.loses() {
                    continue;
                }
                let back = backs.entry(client).or_insert_with(|| {
                    let back = Arc::new(connected(server).expect("some port is free"));
                    let own = Dice { state: seed ^ u64::from(client.port()), lost };
                    let (from, to, over) = (back.clone(), front.clone(), over.clone());
                    thread::spawn(move || carry(&from, &to, client, own, &over));
                    back
                });
                // As networks do, it says nothing of what it cannot deliver.
                let _ = back.send(&buffer[..length]);
            }
        });
        Lossy { address, is_over }
    }

    /// Where clients send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

/// A port of UDP that was free a moment ago.
///
/// # Panics
/// If there is none.
pub fn free_udp_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    socket.local_addr().expect("it has an address").port()
}

fn connected(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

/// What the server sends to a client.
fn carry(from: &UdpSocket, to: &UdpSocket, client: SocketAddr, mut dice: Dice, over: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    while !over.load(Ordering::Acquire) {
        let Ok(length) = from.recv(&mut buffer) else { continue };
        if !dice.loses() {
            let _ = to.send_to(&buffer[..length], client);
        }
    }
}

/// Decides what is lost (SplitMix64).
#[derive(Debug)]
struct Dice {
    state: u64,
    lost: u64,
}

impl Dice {
    fn loses(&mut self) -> bool {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % 1000 < self.lost
    }
}
