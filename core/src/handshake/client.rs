//! The client's side: sends C0 C1 C2, reads S0 S1 S2.

use std::fmt;

use super::{
    HandshakeError, Kind, Packet, Progress, SIMPLE, Status, VERSION,
    digest::{self, Scheme, Signer},
    error::check_version,
    filler, gather, hello,
};
use crate::shown::Shown;

/// The version in the C1 of a digest handshake: 128.0.7.2, as in Flash Player. Any value except zero
/// is possible.
const DIGEST_VERSION: [u8; 4] = [0x80, 0, 7, 2];

/// The scheme of our own C1: Flash Media Server accepts no other, and FFmpeg sends it.
const SCHEME: Scheme = Scheme::DigestFirst;

/// The form of handshake that a client requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientHandshakeKind {
    /// The form of the specification. Every known server accepts it.
    Simple,
    /// With digests, which Flash Media Server requires. A server that knows only the simple form treats
    /// the digest as random bytes, and the handshake succeeds in the simple form.
    Digest,
}

/// The result of the check of S2.
///
/// For information only: the S2 of some servers is neither, and clients accept it (librtmp only logs
/// a warning).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum S2Check {
    /// S2 is an echo of C1. Bytes 0 to 7 are not compared: RTMP 1.0 §5.2.4 lets the server write a time
    /// there.
    Echo,
    /// S2 carries the server's signature of our C1's digest.
    Signature,
    /// Neither an echo nor a signature.
    Mismatch,
}

/// The client's side of one handshake.
///
/// Any split of the input gives the same output. C2 is written as soon as S1 is complete, as RTMP 1.0
/// §5.2.1 allows. The handshake is done when S2 is complete. An error is final: later calls return it
/// again.
#[derive(Debug)]
pub struct ClientHandshake {
    seed: [u8; 32],
    epoch_ms: u32,
    asked: ClientHandshakeKind,
    answered: Option<Kind>,
    s2: Option<S2Check>,
    state: State,
}

enum State {
    Start,
    S0,
    S1 { held: Vec<u8> },
    S2 { held: Vec<u8> },
    Done,
    Failed(HandshakeError),
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Start => f.write_str("Start"),
            State::S0 => f.write_str("S0"),
            State::S1 { held } => f.debug_tuple("S1").field(&Shown(held)).finish(),
            State::S2 { held } => f.debug_tuple("S2").field(&Shown(held)).finish(),
            State::Done => f.write_str("Done"),
            State::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl ClientHandshake {
    /// A handshake that has not sent C0 yet.
    ///
    /// `seed` determines all filler; use another one for each connection. `epoch_ms` is this side's
    /// clock in milliseconds, from any origin; C1 contains it (RTMP 1.0 §5.2.3).
    #[must_use]
    pub fn new(seed: [u8; 32], epoch_ms: u32, kind: ClientHandshakeKind) -> Self {
        Self { seed, epoch_ms, asked: kind, answered: None, s2: None, state: State::Start }
    }

    /// Appends C0 C1, 1537 bytes, to `out`. Only the first call has an effect.
    pub fn start(&mut self, out: &mut Vec<u8>) {
        if matches!(self.state, State::Start) {
            out.push(VERSION);
            out.extend_from_slice(&self.c1());
            self.state = State::S0;
        }
    }

    /// Takes bytes from the server and appends C2, 1536 bytes, to `out` when S1 is complete.
    ///
    /// Does not consume bytes after S2. After the end, calls consume no bytes. If
    /// [`start`](Self::start) was not called, C0 C1 are appended first.
    ///
    /// # Errors
    ///
    /// The first byte shows that the server does not speak plain RTMP.
    pub fn read(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        let mut rest = input;
        let status = loop {
            match &mut self.state {
                State::Start => self.start(out),
                State::S0 => {
                    let Some((&version, after)) = rest.split_first() else {
                        break Status::NeedMore;
                    };
                    rest = after;
                    self.state = match check_version(version) {
                        Ok(()) => State::S1 { held: Vec::new() },
                        Err(error) => State::Failed(error),
                    };
                }
                State::S1 { held } => {
                    let Some(s1) = gather(held, &mut rest) else {
                        break Status::NeedMore;
                    };
                    self.answered = Some(self.answer(&s1, out));
                    self.state = State::S2 { held: Vec::new() };
                }
                State::S2 { held } => {
                    let Some(s2) = gather(held, &mut rest) else {
                        break Status::NeedMore;
                    };
                    self.s2 = Some(self.check(&s2));
                    self.state = State::Done;
                }
                State::Done => break Status::Done,
                State::Failed(error) => return Err(*error),
            }
        };
        Ok(Progress { consumed: input.len() - rest.len(), status })
    }

    /// The form of the server's answer; known when S1 is complete.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.answered
    }

    /// The result of the check of S2; known when the handshake is done. The caller decides whether to
    /// continue after a [`Mismatch`](S2Check::Mismatch).
    #[must_use]
    pub fn s2(&self) -> Option<S2Check> {
        self.s2
    }

    /// Our C1. It is computed from the seed each time, so that it need not be kept until S2 is complete.
    fn c1(&self) -> Packet {
        let filler = filler::packet(&self.seed, "C1");
        match self.asked {
            ClientHandshakeKind::Simple => hello(filler, self.epoch_ms, SIMPLE),
            ClientHandshakeKind::Digest => {
                let mut c1 = hello(filler, self.epoch_ms, DIGEST_VERSION);
                digest::sign(Signer::Client, SCHEME, &mut c1);
                c1
            }
        }
    }

    fn answer(&self, s1: &Packet, out: &mut Vec<u8>) -> Kind {
        // A server that was not asked for digests expects the echo, even if its S1 seems to carry a digest.
        let signed = match self.asked {
            ClientHandshakeKind::Simple => None,
            ClientHandshakeKind::Digest => digest::find(Signer::Server, s1),
        };
        match signed {
            None => {
                out.extend_from_slice(s1);
                Kind::Simple
            }
            Some((scheme, s1_digest)) => {
                let c2 = digest::signed_answer(Signer::Client, &s1_digest, filler::packet(&self.seed, "C2"));
                out.extend_from_slice(&c2);
                Kind::Digest { scheme }
            }
        }
    }

    fn check(&self, s2: &Packet) -> S2Check {
        let c1 = self.c1();
        if s2[8..] == c1[8..] {
            return S2Check::Echo;
        }
        match digest::find(Signer::Client, &c1) {
            Some((_, c1_digest)) if digest::is_signed(Signer::Server, &c1_digest, s2) => S2Check::Signature,
            _ => S2Check::Mismatch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{MAX_BUFFERED, PACKET_LENGTH},
        *,
    };

    #[test]
    fn a_client_is_small_and_holds_one_packet_at_most() {
        assert!(size_of::<ClientHandshake>() <= 72, "{} bytes", size_of::<ClientHandshake>());

        let mut client = ClientHandshake::new([0; 32], 0, ClientHandshakeKind::Simple);
        let mut out = Vec::new();
        let mut peak = 0;
        for index in 0..1 + 2 * PACKET_LENGTH {
            let _ = client.read(&[VERSION], &mut out).expect("S0 is 3");
            let held = match &client.state {
                State::S1 { held } | State::S2 { held } => held.capacity(),
                State::Start | State::S0 | State::Done | State::Failed(_) => 0,
            };
            peak = peak.max(held);
            if index % PACKET_LENGTH == 0 {
                assert_eq!(held, 0, "byte {index} ends a packet");
            }
        }
        assert!(matches!(client.state, State::Done));
        assert!((1..=MAX_BUFFERED).contains(&peak), "{peak}");
    }
}
