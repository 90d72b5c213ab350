use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::flv::VideoCodec;
use anabranch_core::message::MessageType;
use anabranch_rtc::rtp::VideoPacketizer;
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use nix::time::ClockId;

use crate::media::{Feed, MediaOptions};

/// Header of RTP, and extensions as the server has them.
const HEADER: usize = 12 + 16;
/// The tag of the encryption.
const TAG: usize = 16;
/// Equal datagrams that the system takes at once.
const MOST_SEGMENTS: usize = 64;

/// The loop: sockets that count, and a key for each.
#[derive(Debug)]
pub struct Bare {
    socket: UdpSocket,
    viewers: Vec<Receiving>,
    media: MediaOptions,
    segments: bool,
}

#[derive(Debug)]
struct Receiving {
    socket: UdpSocket,
    address: SockaddrStorage,
    key: LessSafeKey,
    number: u64,
}

/// What it took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BareCost {
    /// Seconds of CPU of the thread that encrypts and sends.
    pub cpu: f64,
    /// Seconds of these for the encryption.
    pub encryption: f64,
    /// Bytes of datagrams that were sent.
    pub bytes: u64,
    /// Bytes that came.
    pub received: u64,
}

impl BareCost {
    /// Seconds of CPU for each GB (10^9 bytes).
    pub fn per_gigabyte(&self) -> f64 {
        self.cpu / (self.bytes.max(1) as f64 / 1e9)
    }
}

impl Bare {
    /// For so many viewers. With `segments` the system cuts one large datagram into those of a picture.
    ///
    /// # Errors
    /// The system gives no sockets.
    pub fn new(viewers: u32, media: &MediaOptions, segments: bool) -> io::Result<Bare> {
        let any = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let mut secret = [0; 16];
        let viewers = (0..viewers).map(|number| {
            let socket = any()?;
            socket.set_nonblocking(true)?;
            let address = SockaddrStorage::from(socket.local_addr()?);
            secret[..4].copy_from_slice(&number.to_be_bytes());
            let key = UnboundKey::new(&AES_128_GCM, &secret).map_err(io::Error::other)?;
            Ok(Receiving { socket, address, key: LessSafeKey::new(key), number: 0 })
        });
        let viewers = viewers.collect::<io::Result<_>>()?;
        // Only pictures: sound is a small part.
        let media = MediaOptions { audio: 0, metadata: false, ..media.clone() };
        Ok(Bare { socket: any()?, viewers, media, segments })
    }

    /// Sends for so long.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn run(mut self, duration: Duration) -> io::Result<BareCost> {
        let (is_over, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sockets = self.viewers.iter().map(|viewer| viewer.socket.try_clone()).collect::<io::Result<Vec<_>>>()?;
        let (over, count) = (is_over.clone(), received.clone());
        let counting =
            thread::Builder::new().name("bare-viewers".to_owned()).spawn(move || receive(sockets, &over, &count))?;
        let start = Instant::now();
        let mut feed = Feed::new(self.media.clone(), 0, 0, start);
        let (mut messages, mut packetizer) = (Vec::new(), None);
        let (mut bytes, mut encryption, mut buffer) = (0, Duration::ZERO, Vec::new());
        let began = thread_time()?;
        while start.elapsed() < duration {
            thread::sleep(feed.due().saturating_duration_since(Instant::now()));
            feed.take_due(Instant::now(), &mut messages);
            for message in messages.drain(..).filter(|message| message.type_id == MessageType::VIDEO) {
                let body = message.payload.to_vec();
                if body[1] == 0 {
                    packetizer = VideoPacketizer::new(VideoCodec::Avc, &body[5..]).ok();
                    continue;
                }
                let Some(packetizer) = &mut packetizer else { continue };
                let picture = bytes::Bytes::copy_from_slice(&body[5..]);
                let packets = packetizer.packetize(&picture.into(), body[0] == 0x17).map_err(io::Error::other)?;
                for viewer in &mut self.viewers {
                    buffer.clear();
                    let before = Instant::now();
                    let sizes = viewer.encrypt(&packets.payloads, message.timestamp, &mut buffer)?;
                    encryption += before.elapsed();
                    bytes += buffer.len() as u64;
                    send(&self.socket, &viewer.address, &buffer, &sizes, self.segments)?;
                }
            }
        }
        let cpu = thread_time()? - began;
        // What is on its way comes.
        thread::sleep(Duration::from_millis(200));
        is_over.store(true, Ordering::Relaxed);
        counting.join().map_err(|_| io::Error::other("the counting thread panicked"))??;
        let received = received.load(Ordering::Relaxed);
        Ok(BareCost { cpu: cpu.as_secs_f64(), encryption: encryption.as_secs_f64(), bytes, received })
    }
}

impl Receiving {
    /// Appends a packet for each payload, and returns their sizes.
    fn encrypt(&mut self, payloads: &[Arc<[u8]>], time: u32, out: &mut Vec<u8>) -> io::Result<Vec<usize>> {
        let mut sizes = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let start = out.len();
            self.number += 1;
            out.extend_from_slice(&[0x90, 96]);
            out.extend_from_slice(&(self.number as u16).to_be_bytes());
            out.extend_from_slice(&time.wrapping_mul(90).to_be_bytes());
            out.extend_from_slice(&[0; HEADER - 8]);
            out.extend_from_slice(payload);
            let mut nonce = [0; NONCE_LEN];
            nonce[4..].copy_from_slice(&self.number.to_be_bytes());
            let (header, content) = out[start..].split_at_mut(HEADER);
            let nonce = Nonce::assume_unique_for_key(nonce);
            let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(&*header), content);
            out.extend_from_slice(tag.map_err(io::Error::other)?.as_ref());
            sizes.push(HEADER + payload.len() + TAG);
        }
        Ok(sizes)
    }
}

/// Sends datagrams of these sizes, those of one size with one call.
fn send(
    socket: &UdpSocket,
    to: &SockaddrStorage,
    mut bytes: &[u8],
    mut sizes: &[usize],
    segments: bool,
) -> io::Result<()> {
    while let Some(&size) = sizes.first() {
        // Equal ones, and one that is shorter behind them.
        let most = if segments { MOST_SEGMENTS } else { 1 };
        let mut count = sizes.iter().take(most).take_while(|other| **other == size).count();
        if count < most && sizes.get(count).is_some_and(|other| *other < size) {
            count += 1;
        }
        let length: usize = sizes[..count].iter().sum();
        let segment = size as u16;
        let control = [ControlMessage::UdpGsoSegments(&segment)];
        let control = if count > 1 { &control[..] } else { &[] };
        match sendmsg(socket.as_raw_fd(), &[IoSlice::new(&bytes[..length])], control, MsgFlags::empty(), Some(to)) {
            // Without room it is lost, as at the server.
            Ok(_) | Err(nix::Error::EAGAIN | nix::Error::ENOBUFS) => {}
            Err(error) => return Err(error.into()),
        }
        (bytes, sizes) = (&bytes[length..], &sizes[count..]);
    }
    Ok(())
}

fn receive(sockets: Vec<UdpSocket>, is_over: &AtomicBool, received: &AtomicU64) -> io::Result<()> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    let mut sockets: Vec<_> = sockets.into_iter().map(mio::net::UdpSocket::from_std).collect();
    for (index, socket) in sockets.iter_mut().enumerate() {
        poll.registry().register(socket, Token(index), Interest::READABLE)?;
    }
    let mut buffer = [0; 2048];
    while !is_over.load(Ordering::Relaxed) {
        match poll.poll(&mut events, Some(Duration::from_millis(50))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            while let Ok((length, _)) = sockets[event.token().0].recv_from(&mut buffer) {
                received.fetch_add(length as u64, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

fn thread_time() -> io::Result<Duration> {
    Ok(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives() {
        let media = MediaOptions { fps: 60.0, gop: Duration::from_millis(100), ..MediaOptions::default() };
        for segments in [false, true] {
            let bare = Bare::new(3, &media, segments).expect("sockets");
            let cost = bare.run(Duration::from_millis(300)).expect("it sends");
            assert!(cost.bytes > 10_000 && cost.received == cost.bytes, "{cost:?}");
            assert!(cost.per_gigabyte() > 0.0 && cost.encryption <= 1.0);
        }
    }
}
