use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use anabranch_core::client::{Client, StreamHandle};
use bytes::Buf;
use socket2::SockRef;

use super::link::Link;
use super::web::WebClient;
use crate::frame_check::FrameCheck;
use crate::media::Feed;

/// Pieces handed to one write call.
const SLICES: usize = 64;

/// One connection of a pool.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) tag: u64,
    pub(super) link: Link,
    pub(super) speaker: Speaker,
    pub(super) part: Part,
    pub(super) opened: Instant,
    pub(super) connecting: bool,
    /// True once it has sent all that it may.
    pub(super) silent: bool,
    /// False while it lets what comes pile up in its socket.
    pub(super) reads: bool,
    /// Bytes that may still be sent.
    pub(super) allowance: Option<u64>,
    /// Its entry in the list of timers that counts.
    pub(super) timer: Option<Instant>,
    pub(super) is_up: bool,
}

/// The protocol that it speaks.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // members are in boxes
pub(super) enum Speaker {
    Rtmp { client: Client, stream: StreamHandle },
    Web(WebClient),
}

impl Speaker {
    /// Its client, if it speaks RTMP.
    pub(super) fn rtmp(&mut self) -> Option<&mut Client> {
        match self {
            Speaker::Rtmp { client, .. } => Some(client),
            Speaker::Web(_) => None,
        }
    }

    fn has_nothing_to_send(&mut self) -> bool {
        match self {
            Speaker::Rtmp { client, .. } => client.outbound().is_empty(),
            Speaker::Web(client) => client.outbound().is_empty(),
        }
    }
}

/// What it is there for.
#[derive(Debug)]
pub(super) enum Part {
    /// Sends, once it may.
    Publisher {
        feed: Box<Feed>,
        granted: bool,
        /// True once a picture could not be sent, until the next key frame: what lies between could not be decoded.
        behind: bool,
        /// From the grant to the first frame.
        delay: Duration,
    },
    Player {
        check: FrameCheck,
        /// Counts bytes only, once it has seen a key frame.
        counts_only: bool,
    },
}

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// All, or as much as the socket takes now.
    Enough,
    /// All that it may ever send.
    Allowance,
}

impl Member {
    /// Writes what the socket takes, and counts it in `total`.
    pub(super) fn write(&mut self, total: &mut u64) -> io::Result<Written> {
        if !self.connecting {
            self.link.flush()?;
        }
        while !self.connecting && !self.silent {
            let allowed = self.allowance.map_or(usize::MAX, |allowed| usize::try_from(allowed).unwrap_or(usize::MAX));
            if self.speaker.has_nothing_to_send() {
                break;
            }
            if allowed == 0 {
                return Ok(Written::Allowance);
            }
            let result = match &mut self.speaker {
                Speaker::Rtmp { client, .. } => {
                    let outbound = client.outbound();
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    if allowed < usize::MAX {
                        let chunk = outbound.chunk();
                        self.link.write(&[IoSlice::new(&chunk[..allowed.min(chunk.len())])])
                    } else {
                        let count = outbound.chunks_vectored(&mut slices);
                        self.link.write(&slices[..count])
                    }
                }
                Speaker::Web(client) => {
                    let rest = client.outbound();
                    self.link.write(&[IoSlice::new(&rest[..allowed.min(rest.len())])])
                }
            };
            match result {
                Ok(count) => {
                    match &mut self.speaker {
                        Speaker::Rtmp { client, .. } => client.outbound().advance(count),
                        Speaker::Web(client) => client.advance(count),
                    }
                    *total += count as u64;
                    if let Some(allowed) = &mut self.allowance {
                        *allowed -= count as u64;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Written::Enough)
    }

    /// When it wants to be looked at, given the client's own deadline.
    pub(super) fn next_time(&self, deadline: Option<Instant>) -> Option<Instant> {
        let frame = match &self.part {
            Part::Publisher { feed, granted: true, .. } => Some(feed.due()),
            _ => None,
        };
        let web = if let Speaker::Web(client) = &self.speaker { client.due() } else { None };
        deadline.into_iter().chain(web).chain(frame).min()
    }

    /// Makes the system send a reset when the socket is closed.
    pub(super) fn reset_at_close(&self) {
        // Where that fails the connection is gone already.
        let _ = SockRef::from(&self.link.socket).set_linger(Some(Duration::ZERO));
    }
}
