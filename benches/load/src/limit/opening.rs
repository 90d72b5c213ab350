use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use anabranch_core::session::{Session, SessionEvent, SessionOutput};
use bytes::Buf;

/// A player that does not play yet.
#[derive(Debug)]
pub(super) struct Opening {
    session: Session,
}

impl Opening {
    pub(super) fn new(seed: [u8; 32], now: Instant) -> Self {
        Opening { session: Session::new(Arc::default(), seed, now) }
    }

    /// Takes what the player says and answers it. True once it plays and has all answers; what comes after that is not
    /// for a session any more.
    ///
    /// # Errors
    /// It does not speak RTMP, does not want to play, or is gone.
    pub(super) fn handle(&mut self, bytes: &[u8], answers: &mut impl Write) -> io::Result<bool> {
        // The error comes back with the end.
        let _ = self.session.handle_input(Instant::now(), bytes);
        let mut plays = false;
        loop {
            match self.session.poll_output() {
                SessionOutput::Event(SessionEvent::Connect(request)) => self.session.accept(request),
                SessionOutput::Event(SessionEvent::Play(request)) => {
                    self.session.accept(request);
                    plays = true;
                }
                SessionOutput::Event(SessionEvent::Publish(_)) => return Err(io::Error::other("it publishes")),
                SessionOutput::Event(_) => {}
                SessionOutput::Closed(close) => return Err(io::Error::other(close.reason.to_string())),
                SessionOutput::Wait(wait) if wait.write => {
                    let outbound = self.session.outbound();
                    while outbound.has_remaining() {
                        let count = outbound.chunk().len();
                        answers.write_all(outbound.chunk())?;
                        outbound.advance(count);
                    }
                }
                SessionOutput::Wait(_) => return Ok(plays),
            }
        }
    }
}
