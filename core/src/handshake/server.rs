//! The server's side: reads C0 C1 C2, sends S0 S1 S2.

use std::fmt;

use super::{
    HandshakeError, Kind, PACKET_LENGTH, Packet, Progress, SIMPLE, Status, VERSION,
    digest::{self, Signer},
    error::check_version,
    filler, gather, hello,
};
use crate::shown::Shown;

/// The version in the S1 of a digest answer, in the form of a media server's release: 4.5.0.1.
///
/// Its first byte must be 3 or more. FFmpeg players then assume that S1 contains a digest and S2 a
/// signature, and check both; below 3 they treat the answer as a simple one. For the same reason a
/// simple answer has zeros here: if this version comes with plain filler, FFmpeg players end the
/// connection ("ServerHandshake response validating failed").
const DIGEST_VERSION: [u8; 4] = [4, 5, 0, 1];

/// The server's side of one handshake.
///
/// Any split of the input gives the same output. The answer is written as soon as C1 is complete. An
/// error is final: later calls return it again.
///
/// A version other than zero in bytes 4 to 7 of C1 requests the digest form. If no digest verifies in
/// either scheme, the server answers in the simple form, and such clients work.
///
/// C2 is counted, but neither verified nor stored, because real clients send incorrect ones: FFmpeg
/// publishers send a plain copy of S1 even after a digest answer, signatures of Flash Player and old
/// FFmpeg do not verify, and GStreamer's `rtmp2sink` and `rtmp2src` write their own time into bytes 4
/// to 7 of the echo.
#[derive(Debug)]
pub struct ServerHandshake {
    seed: [u8; 32],
    epoch_ms: u32,
    kind: Option<Kind>,
    state: State,
}

enum State {
    C0,
    C1 { held: Vec<u8> },
    C2 { missing: usize },
    Done,
    Failed(HandshakeError),
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::C0 => f.write_str("C0"),
            State::C1 { held } => f.debug_tuple("C1").field(&Shown(held)).finish(),
            State::C2 { missing } => f.debug_struct("C2").field("missing", missing).finish(),
            State::Done => f.write_str("Done"),
            State::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl ServerHandshake {
    /// A handshake that waits for C0.
    ///
    /// `seed` determines all filler; use another one for each connection. `epoch_ms` is this side's
    /// clock in milliseconds, from any origin; S1 contains it (RTMP 1.0 §5.2.3).
    #[must_use]
    pub fn new(seed: [u8; 32], epoch_ms: u32) -> Self {
        Self { seed, epoch_ms, kind: None, state: State::C0 }
    }

    /// True while it waits for C0.
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.state, State::C0)
    }

    /// Takes bytes from the client and appends S0 S1 S2, 3073 bytes, to `out` when C1 is complete.
    ///
    /// Does not consume bytes after C2. After the end, calls consume no bytes.
    ///
    /// # Errors
    ///
    /// The first byte shows that the client does not speak plain RTMP.
    pub fn read(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        let mut rest = input;
        let status = loop {
            match &mut self.state {
                State::C0 => {
                    let Some((&version, after)) = rest.split_first() else {
                        break Status::NeedMore;
                    };
                    rest = after;
                    self.state = match check_version(version) {
                        Ok(()) => State::C1 { held: Vec::new() },
                        Err(error) => State::Failed(error),
                    };
                }
                State::C1 { held } => {
                    let Some(c1) = gather(held, &mut rest) else {
                        break Status::NeedMore;
                    };
                    self.kind = Some(self.answer(&c1, out));
                    self.state = State::C2 { missing: PACKET_LENGTH };
                }
                State::C2 { missing } => {
                    let Some((_, after)) = rest.split_at_checked(*missing) else {
                        *missing -= rest.len();
                        rest = &[];
                        break Status::NeedMore;
                    };
                    rest = after;
                    self.state = State::Done;
                }
                State::Done => break Status::Done,
                State::Failed(error) => return Err(*error),
            }
        };
        Ok(Progress { consumed: input.len() - rest.len(), status })
    }

    /// The form of the handshake; known when C1 is complete.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    fn answer(&self, c1: &Packet, out: &mut Vec<u8>) -> Kind {
        let asked = if c1[4..8] == SIMPLE { None } else { digest::find(Signer::Client, c1) };
        let s1 = filler::packet(&self.seed, "S1");
        out.reserve(1 + 2 * PACKET_LENGTH);
        out.push(VERSION);
        match asked {
            None => {
                out.extend_from_slice(&hello(s1, self.epoch_ms, SIMPLE));
                // In RTMP 1.0 §5.2.4, bytes 4 to 7 are the time of reading. librtmp, and so OBS, compares
                // all of S2 with its C1 and logs a warning if they differ. An exact echo is right for all
                // clients.
                out.extend_from_slice(c1);
                Kind::Simple
            }
            Some((scheme, c1_digest)) => {
                let mut s1 = hello(s1, self.epoch_ms, DIGEST_VERSION);
                digest::sign(Signer::Server, scheme, &mut s1);
                let s2 = digest::signed_answer(Signer::Server, &c1_digest, filler::packet(&self.seed, "S2"));
                out.extend_from_slice(&s1);
                out.extend_from_slice(&s2);
                Kind::Digest { scheme }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::MAX_BUFFERED, *};

    fn held(server: &ServerHandshake) -> usize {
        match &server.state {
            State::C1 { held } => held.capacity(),
            State::C0 | State::C2 { .. } | State::Done | State::Failed(_) => 0,
        }
    }

    #[test]
    fn a_server_is_small_and_holds_one_packet_at_most() {
        assert!(size_of::<ServerHandshake>() <= 72, "{} bytes", size_of::<ServerHandshake>());

        let mut server = ServerHandshake::new([0; 32], 0);
        let mut out = Vec::new();
        let mut peak = 0;
        for index in 0..1 + 2 * PACKET_LENGTH {
            let status = server.read(&[3], &mut out).expect("version 3").status;
            peak = peak.max(held(&server));
            if index == 0 || index >= PACKET_LENGTH {
                assert_eq!(held(&server), 0, "byte {index}: only a part of C1 needs the heap");
            }
            assert_eq!(status == Status::Done, index == 2 * PACKET_LENGTH);
        }
        assert!((1..=MAX_BUFFERED).contains(&peak), "{peak}");
    }

    #[test]
    fn a_refused_first_byte_holds_nothing_and_stays_refused() {
        let mut server = ServerHandshake::new([0; 32], 0);
        let mut out = Vec::new();
        let hello = [0x16; 4000];
        assert_eq!(server.read(&hello, &mut out), Err(HandshakeError::Tls));
        assert_eq!(held(&server), 0);
        assert_eq!(server.read(&[3; 3073], &mut out), Err(HandshakeError::Tls));
        assert!(out.is_empty());
        assert_eq!(server.kind(), None);
    }
}
