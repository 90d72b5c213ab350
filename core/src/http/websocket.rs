//! WebSockets (RFC 6455), the server's side: the handshake's proof, the heads of frames to the client, and a reader of the
//! client's frames, which has no use for their data.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::{Head, HttpError};
use crate::shown::{Shown, debug_with_bytes};

/// The opcode of a binary message.
pub const BINARY: u8 = 2;
const TEXT: u8 = 1;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The status of a close in good order.
pub const NORMAL: u16 = 1000;
/// The status of a close because the server goes away.
pub const GOING_AWAY: u16 = 1001;
/// The status of a close because of a frame that may not be.
pub const PROTOCOL_ERROR: u16 = 1002;
/// The status of a close because of a frame that is too long.
pub const TOO_BIG: u16 = 1009;
/// The status of a close because of the server.
pub const SERVER_ERROR: u16 = 1011;

/// Longest frame of a client, in bytes. Players send none at all.
pub const MAX_FRAME: u64 = 64 << 10;
/// Longest control frame (§5.5).
const MAX_CONTROL: u64 = 125;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// `Sec-WebSocket-Accept` for a key; `None` if that does not have 16 bytes in base64 (§4.2.1).
pub fn accept(key: &str) -> Option<String> {
    let key = key.trim();
    STANDARD.decode(key).ok().filter(|nonce| nonce.len() == 16)?;
    let hash = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    Some(STANDARD.encode(hash))
}

/// The head of an unmasked frame that is a whole message (§5.2).
pub fn frame_head(opcode: u8, length: u64) -> Head {
    let first = [FIN | opcode];
    match length {
        0..=125 => Head::new(&[&first, &[length as u8]]),
        126..=0xffff => Head::new(&[&first, &[126], &(length as u16).to_be_bytes()]),
        _ => Head::new(&[&first, &[127], &length.to_be_bytes()]),
    }
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    [frame_head(opcode, payload.len() as u64).bytes(), payload].concat()
}

/// A ping without content.
pub fn ping_frame() -> Vec<u8> {
    frame(PING, &[])
}

/// A close with this status.
pub fn close_frame(status: u16) -> Vec<u8> {
    frame(CLOSE, &status.to_be_bytes())
}

/// What a client's frame asks for.
#[derive(Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// To be answered with these bytes.
    Ping(Vec<u8>),
    /// It closes; to be answered with these bytes.
    Close(Vec<u8>),
}

impl fmt::Debug for ClientFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, answer) = match self {
            ClientFrame::Ping(answer) => ("Ping", answer),
            ClientFrame::Close(answer) => ("Close", answer),
        };
        f.debug_tuple(name).field(&Shown(answer)).finish()
    }
}

/// Reads the frames of a client. The input may be split at any byte. It holds no more than a control frame.
pub struct FrameReader {
    /// The head so far, then the content of a control frame so far.
    held: Vec<u8>,
    state: State,
    /// True within a message of several frames.
    is_fragmented: bool,
}

debug_with_bytes!(FrameReader { state, is_fragmented; held });

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    /// Data that is not kept.
    Data {
        missing: u64,
    },
    Control {
        opcode: u8,
        mask: [u8; 4],
        missing: usize,
    },
}

impl Default for FrameReader {
    fn default() -> Self {
        FrameReader { held: Vec::new(), state: State::Head, is_fragmented: false }
    }
}

impl FrameReader {
    /// Takes bytes from the front of `input`, up to the end of a frame that asks for something.
    ///
    /// # Errors
    /// A frame that the client may not send, or that is too long. Later calls have no meaning.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<ClientFrame>, HttpError> {
        loop {
            match &mut self.state {
                State::Head => {
                    let Some((&byte, after)) = input.split_first() else {
                        return Ok(None);
                    };
                    *input = after;
                    self.held.push(byte);
                    if let Some(state) = self.read_head()? {
                        (self.held, self.state) = (Vec::new(), state);
                    }
                }
                State::Data { missing } => {
                    let taken = (*missing).min(input.len() as u64);
                    *input = &input[taken as usize..];
                    *missing -= taken;
                    if *missing > 0 {
                        return Ok(None);
                    }
                    self.state = State::Head;
                }
                State::Control { opcode, mask, missing } => {
                    let taken = (*missing).min(input.len());
                    self.held.extend_from_slice(&input[..taken]);
                    *input = &input[taken..];
                    *missing -= taken;
                    if *missing > 0 {
                        return Ok(None);
                    }
                    let (opcode, mask) = (*opcode, *mask);
                    self.state = State::Head;
                    let mut content = std::mem::take(&mut self.held);
                    content.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
                    match opcode {
                        PING => return Ok(Some(ClientFrame::Ping(frame(PONG, &content)))),
                        CLOSE if content.len() == 1 => return Err(HttpError::Frame("a close has half a status")),
                        // The status comes back, without the words (§5.5.1).
                        CLOSE => {
                            return Ok(Some(ClientFrame::Close(frame(CLOSE, &content[..content.len().min(2)]))));
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    /// What follows the head, once all of the head is there.
    fn read_head(&mut self) -> Result<Option<State>, HttpError> {
        let [first, rest @ ..] = &self.held[..] else {
            return Ok(None);
        };
        let (is_last, opcode) = (first & FIN != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return Err(HttpError::Frame("an extension is used that was not agreed on"));
        }
        let is_control = match opcode {
            CONTINUATION if !self.is_fragmented => {
                return Err(HttpError::Frame("a message goes on that has not begun"));
            }
            TEXT | BINARY if self.is_fragmented => return Err(HttpError::Frame("a message begins within another")),
            CONTINUATION | TEXT | BINARY => false,
            CLOSE | PING | PONG if !is_last => return Err(HttpError::Frame("a control frame is fragmented")),
            CLOSE | PING | PONG => true,
            _ => return Err(HttpError::Frame("a frame of an unknown kind")),
        };
        let [second, rest @ ..] = rest else {
            return Ok(None);
        };
        if second & MASKED == 0 {
            return Err(HttpError::Frame("a frame is not masked"));
        }
        let short = second & 0x7f;
        let bytes = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((long, mask)) = rest.split_at_checked(bytes) else {
            return Ok(None);
        };
        let long = long.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        let length = if bytes == 0 { u64::from(short) } else { long };
        let least = [0, 126, 0x1_0000][[0, 2, 8].iter().position(|known| *known == bytes).unwrap_or(0)];
        if bytes > 0 && length < least {
            return Err(HttpError::Frame("a length is longer than it has to be"));
        }
        if is_control && length > MAX_CONTROL {
            return Err(HttpError::Frame("a control frame is too long"));
        }
        if length > MAX_FRAME {
            return Err(HttpError::FrameTooLong { length, limit: MAX_FRAME });
        }
        let Ok(mask) = <[u8; 4]>::try_from(mask) else {
            return Ok(None);
        };
        if is_control {
            return Ok(Some(State::Control { opcode, mask, missing: length as usize }));
        }
        self.is_fragmented = !is_last;
        Ok(Some(State::Data { missing: length }))
    }
}
