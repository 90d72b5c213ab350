//! One peer: what the server and a browser or encoder say to each other by datagrams.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::flv::Codec;

use crate::desk::stun;
use crate::engine::{Candidates, Credentials};

/// How datagrams travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP, each with its length in front (RFC 4571): the way through firewalls.
    Tcp,
}

/// Two addresses between which datagrams travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// How.
    pub transport: Transport,
    /// The server's address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
}

/// What a peer with this password (`a=ice-pwd` of its offer) answers to a question of the server (RFC 8489, RFC 8445 §7.3), for
/// peers of simulations. `None` if these bytes are no such question. Without the answer, the peer's address gets no more bytes
/// than came from it.
pub fn answer_binding(question: &[u8], password: &str) -> Option<Vec<u8>> {
    stun::answer(question, password)
}

/// Bytes to send.
#[derive(Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Between which addresses.
    pub path: Path,
    /// What.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes on {:?}", self.bytes.len(), self.path)
    }
}

/// A kind of track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Medium {
    /// Pictures. Times of packets are in 1/90,000 s.
    Video,
    /// Sound. Times of packets are in 1/48,000 s.
    Audio,
}

/// A packet for a viewer. All but the payload is the viewer's own.
#[derive(Clone)]
pub struct Packet {
    /// The track.
    pub medium: Medium,
    /// The payload, which viewers share.
    pub payload: Arc<[u8]>,
    /// The number of the packet in its track. The first one is below 65,536, and none is used twice.
    pub number: u64,
    /// The presentation time, modulo 2^32.
    pub time: u32,
    /// When that is, by the clock of the server.
    pub wall: Instant,
    /// True for the last packet of a picture, and for sound after silence.
    pub marker: bool,
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Packet { medium, payload, number, time, marker, .. } = self;
        write!(f, "{medium:?} {number} at {time}, {} bytes, marker: {marker}", payload.len())
    }
}

/// What a publisher has sent: a picture, or the sound of a moment.
#[derive(Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its codec.
    pub codec: Codec,
    /// The coded data: of H.264 and HEVC units with start codes, of the others as it is in files.
    pub data: Arc<[u8]>,
    /// When it is shown, by the clock of its track, from an arbitrary beginning.
    pub time: Duration,
    /// The same by the clock that the sender has for all its tracks, from an arbitrary beginning, once the sender has told
    /// that.
    pub sender_time: Option<Duration>,
    /// When its first packet came.
    pub arrived: Instant,
    /// True if decoding can start at it.
    pub is_key: bool,
    /// False if something was lost before it.
    pub is_contiguous: bool,
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unit { codec, data, time, is_key, is_contiguous, .. } = self;
        let bytes = data.len();
        write!(f, "{codec:?} at {time:?}, {bytes} bytes, is_key: {is_key}, is_contiguous: {is_contiguous}")
    }
}

/// What has happened to a peer.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It is connected: packets reach it.
    Connected,
    /// It wants a key frame.
    WantsKey,
    /// It publishes, and its next pictures need a key frame: another layer of its simulcast is to be taken.
    NeedsKey,
    /// It has sent this.
    Unit(Unit),
    /// What it tells of the network, now and then; without [`Network::estimate`].
    Network(Network),
    /// A viewer believes that it could receive so many bits a second.
    Estimate(u64),
    /// It has left, or does not answer. Nothing comes after this.
    Gone(Gone),
}

/// Why a peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// It has said so.
    Left,
    /// It does not answer any more.
    Silent,
    /// It breaks the protocol.
    Broken,
    /// The part of the server that serves it has failed. That is a bug.
    Bug,
    /// What it plays has changed to what it has no decoder for. It may come again with another offer.
    Changed,
}

/// How the network treats the pictures of a peer, or the sound if that is all: as viewers report it, and of publishers what
/// has come from them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Network {
    /// Time to the peer and back.
    pub round_trip: Option<Duration>,
    /// How much the times of the packets on their way differ (RFC 3550 §6.4.1).
    pub jitter: Option<Duration>,
    /// Part of the packets that was lost of late, 0 to 1.
    pub loss: Option<f32>,
    /// Packets that the receiver has asked for again so far.
    pub nacks: u64,
    /// Key frames that the receiver has asked for so far.
    pub keys_wanted: u64,
    /// Bits a second that a viewer believes it could receive, if it tells (REMB).
    pub estimate: Option<u64>,
}

/// What is next.
#[derive(Debug)]
pub enum Output {
    /// These bytes are to be sent.
    Send(Datagram),
    /// This has happened.
    Event(Event),
    /// Nothing before then, unless something happens.
    Wait(Instant),
}

/// A connection to a peer. After each call but [`poll`](Self::poll) and [`write`](Self::write), `poll` is to be called until
/// it says that the peer waits.
pub trait Peer: Send {
    /// Bytes have come.
    fn receive(&mut self, now: Instant, path: Path, bytes: &[u8]);

    /// The time has come that it waited for.
    fn handle_timeout(&mut self, now: Instant);

    /// Sends a packet of a track that the peer takes. Of a track that it does not take, there is none. After the last one,
    /// [`handle_timeout`](Self::handle_timeout) is to be called.
    fn write(&mut self, now: Instant, packet: Packet);

    /// Asks a publisher for a key frame.
    fn ask_for_key(&mut self, now: Instant);

    /// From now on both sides have other names and passwords (ICE restart). Packets go on where they went until the peer is
    /// found elsewhere. False if that is not possible.
    fn restart(
        &mut self,
        _now: Instant,
        _local: &Credentials,
        _remote: &Credentials,
        _candidates: &Candidates,
    ) -> bool {
        false
    }

    /// Says goodbye.
    fn close(&mut self, now: Instant);

    /// What is next.
    fn poll(&mut self) -> Output;
}
