use std::time::Instant;

use anabranch_core::flv::TagReader;
use anabranch_core::message::Message;

use super::hls::HlsClient;

/// Longest head of an answer.
const HEAD: usize = 16 << 10;

/// A ping without content.
const PING: [u8; 2] = [0x89, 0];

/// A client by HTTP.
#[derive(Debug)]
pub(super) enum WebClient {
    Flv(FlvClient),
    Hls(HlsClient),
}

impl WebClient {
    /// What is to be sent now.
    pub(super) fn outbound(&self) -> &[u8] {
        match self {
            WebClient::Flv(client) => &client.request[client.sent..],
            WebClient::Hls(client) => client.outbound(),
        }
    }

    pub(super) fn advance(&mut self, count: usize) {
        match self {
            WebClient::Flv(client) => client.sent += count,
            WebClient::Hls(client) => client.advance(count),
        }
    }

    /// When it wants to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            WebClient::Flv(_) => None,
            WebClient::Hls(client) => client.due(),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let WebClient::Hls(client) = self {
            client.handle_timeout(now);
        }
    }

    /// Takes bytes of the answer.
    pub(super) fn handle_input(
        &mut self,
        now: Instant,
        input: &[u8],
        event: &mut impl FnMut(WebEvent),
    ) -> Result<(), Failure> {
        match self {
            WebClient::Flv(client) => client.handle_input(input, event),
            WebClient::Hls(client) => client.handle_input(now, input, event),
        }
    }
}

/// A client that gets a live stream in FLV, by HTTP or WebSocket.
#[derive(Debug)]
pub(super) struct FlvClient {
    /// What is to be sent of the request.
    request: Vec<u8>,
    sent: usize,
    state: State,
    tags: TagReader,
}

#[derive(Debug)]
enum State {
    /// In the head of the answer.
    Head(Vec<u8>),
    /// In the body as it is.
    Plain,
    /// Before a piece of the body: what has come of its length.
    Length { is_message: bool, held: Vec<u8> },
    /// In a piece of the body that has so many bytes left.
    Piece { is_message: bool, left: u64 },
    /// After a chunk.
    After { left: u8 },
}

/// What the server sent.
pub(super) enum WebEvent {
    /// The answer has a live stream.
    Begun,
    /// A message of it.
    Media(Message),
    /// A segment or a part of one.
    Segment,
}

/// Why a client cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The status of the answer.
    Refused(u16),
    /// The body is complete.
    Over,
    /// What came is none of HTTP and FLV.
    Malformed,
}

impl FlvClient {
    pub(super) fn new(request: String) -> Self {
        FlvClient { request: request.into_bytes(), sent: 0, state: State::Head(Vec::new()), tags: TagReader::default() }
    }

    /// Takes bytes of the answer.
    fn handle_input(&mut self, mut input: &[u8], event: &mut impl FnMut(WebEvent)) -> Result<(), Failure> {
        while !input.is_empty() {
            match &mut self.state {
                State::Head(head) => {
                    let (byte, rest) = (input[0], &input[1..]);
                    input = rest;
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        self.state = after_head(head)?;
                        event(WebEvent::Begun);
                    } else if head.len() > HEAD {
                        return Err(Failure::Malformed);
                    }
                }
                State::Plain => {
                    read_tags(&mut self.tags, input, event)?;
                    return Ok(());
                }
                State::Length { is_message, held } => {
                    held.push(input[0]);
                    input = &input[1..];
                    let is_message = *is_message;
                    if is_message && held[..] == PING {
                        held.clear();
                        continue;
                    }
                    let length = if is_message { message_length(held)? } else { chunk_length(held)? };
                    match length {
                        Some(0) => return Err(Failure::Over),
                        Some(left) => self.state = State::Piece { is_message, left },
                        None => {}
                    }
                }
                State::Piece { is_message, left } => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    let (piece, rest) = input.split_at(count);
                    input = rest;
                    *left -= count as u64;
                    if *left == 0 {
                        self.state = match is_message {
                            true => State::Length { is_message: true, held: Vec::new() },
                            false => State::After { left: 2 },
                        };
                    }
                    read_tags(&mut self.tags, piece, event)?;
                }
                State::After { left } => {
                    input = &input[1..];
                    *left -= 1;
                    if *left == 0 {
                        self.state = State::Length { is_message: false, held: Vec::new() };
                    }
                }
            }
        }
        Ok(())
    }
}

fn after_head(head: &[u8]) -> Result<State, Failure> {
    let head = std::str::from_utf8(head).map_err(|_| Failure::Malformed)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(Failure::Malformed)?;
    match status {
        101 => Ok(State::Length { is_message: true, held: Vec::new() }),
        200 if head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked\r\n") => {
            Ok(State::Length { is_message: false, held: Vec::new() })
        }
        200 => Ok(State::Plain),
        status => Err(Failure::Refused(status)),
    }
}

/// The length of a chunk, once its line is there.
fn chunk_length(line: &[u8]) -> Result<Option<u64>, Failure> {
    let Some(digits) = line.strip_suffix(b"\r\n") else {
        return if line.len() > 18 { Err(Failure::Malformed) } else { Ok(None) };
    };
    let digits = std::str::from_utf8(digits).map_err(|_| Failure::Malformed)?;
    u64::from_str_radix(digits, 16).map(Some).map_err(|_| Failure::Malformed)
}

/// The length of a binary message, once its head is there; 0 for a close.
fn message_length(head: &[u8]) -> Result<Option<u64>, Failure> {
    match head {
        [0x88, ..] => Ok(Some(0)),
        [0x82] | [0x89] => Ok(None),
        [0x82, second, rest @ ..] => {
            let wide = match second {
                126 => 2,
                127 => 8,
                length => return Ok(Some(u64::from(*length))),
            };
            let whole = rest.len() == wide;
            Ok(whole.then(|| rest.iter().fold(0, |length, byte| length << 8 | u64::from(*byte))))
        }
        _ => Err(Failure::Malformed),
    }
}

fn read_tags(tags: &mut TagReader, mut piece: &[u8], event: &mut impl FnMut(WebEvent)) -> Result<(), Failure> {
    while let Some(tag) = tags.read(&mut piece).map_err(|_| Failure::Malformed)? {
        event(WebEvent::Media(Message::from(tag)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use anabranch_core::flv::tag;

    use super::*;

    /// A file of three tags.
    fn file() -> Vec<u8> {
        let mut file = Vec::new();
        tag::write_file_header(false, true, &mut file);
        for number in 0..3 {
            tag::write_tag(9, number * 40, &[0x17, 1, 0, 0, 0, number as u8], &mut file).expect("short");
        }
        file
    }

    /// The times of the messages in an answer that comes in pieces of this size, and what ended it.
    fn play(answer: &[u8], size: usize) -> (Vec<u32>, Option<Failure>) {
        let mut client = FlvClient::new(String::new());
        let mut times = Vec::new();
        for piece in answer.chunks(size) {
            let ended = client.handle_input(piece, &mut |event| {
                if let WebEvent::Media(message) = event {
                    times.push(message.timestamp);
                }
            });
            if let Err(failure) = ended {
                return (times, Some(failure));
            }
        }
        (times, None)
    }

    #[test]
    fn the_stream_is_found_in_each_framing_however_it_is_cut() {
        let (file, ok) = (file(), b"HTTP/1.1 200 OK\r\n".as_slice());
        let mut chunks = [ok, b"Transfer-Encoding: chunked\r\n\r\n"].concat();
        let mut messages = b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec();
        for piece in file.chunks(20) {
            chunks.extend(format!("{:x}\r\n", piece.len()).bytes().chain(piece.iter().copied()).chain(*b"\r\n"));
            messages.extend([0x82, piece.len() as u8].iter().chain(piece));
        }
        chunks.extend(b"0\r\n\r\n");
        messages.extend([0x89, 0, 0x88, 2, 3, 0xe8]);
        let long = [b"HTTP/1.1 101 S\r\n\r\n\x82\x7e\0".as_slice(), &[file.len() as u8], &file].concat();
        let plain = [ok, b"\r\n", &file].concat();
        for size in [1, 3, 7, 10_000] {
            assert_eq!(play(&chunks, size), (vec![0, 40, 80], Some(Failure::Over)));
            assert_eq!(play(&messages, size), (vec![0, 40, 80], Some(Failure::Over)));
            assert_eq!(play(&plain, size), (vec![0, 40, 80], None));
            assert_eq!(play(&long, size), (vec![0, 40, 80], None));
        }
    }

    #[test]
    fn a_refusal_and_what_is_no_answer_are_told() {
        assert_eq!(play(b"HTTP/1.1 404 Not Found\r\n\r\n", 5).1, Some(Failure::Refused(404)));
        assert_eq!(play(b"what is this\r\n\r\n", 5).1, Some(Failure::Malformed));
        assert_eq!(play(&[7; HEAD + 10], 500).1, Some(Failure::Malformed));
    }
}
