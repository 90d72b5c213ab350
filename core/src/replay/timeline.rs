use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Moment, What};
use crate::amf::{self, Object, Value, amf0};
use crate::capture::{Joined, Opening};
use crate::chunk::{ChunkLimits, ChunkReader, Leniency, StreamState};
use crate::command::Command;
use crate::conn::Config;
use crate::flv::{self, FrameClass};
use crate::handshake::{self, Status};
use crate::message::{Control, Message, MessageType, UserControl};
use crate::preface::{Preface, Prefaced};
use crate::session::Phase;

/// S0, S1 and S2.
const SERVER_HANDSHAKE: usize = 1 + 2 * handshake::PACKET_LENGTH;
/// How many media messages of a run are shown one by one before the others are summed up.
const SHOWN: u64 = 2;
/// Characters of a string, properties of an object and values of an array that are shown.
const STRING: usize = 80;
const ENTRIES: usize = 12;
const DEPTH: usize = 3;

/// Writes what [`run`](super::run) shows as a readable timeline of the connection, line by line.
#[derive(Debug)]
pub struct Timeline {
    /// Every message gets its own line, and wake-ups and deadlines do as well.
    all: bool,
    input: Input,
    output: Output,
    phase: Phase,
    run: Option<Run>,
}

#[derive(Debug)]
struct Input {
    preface: Option<Preface>,
    handshake: Option<handshake::ServerHandshake>,
    reader: Reader,
}

#[derive(Debug)]
struct Output {
    /// Bytes of the handshake still to come.
    handshake: usize,
    reader: Reader,
}

/// The chunk stream of one direction.
#[derive(Debug)]
struct Reader {
    /// `None` once it cannot be read any more.
    reader: Option<ChunkReader>,
    /// The chunk streams whose next message began before the capture.
    begun: Vec<u32>,
}

/// Media messages one after another in one direction.
#[derive(Debug)]
struct Run {
    arrow: &'static str,
    at: Duration,
    messages: u64,
    /// The messages that got no line.
    summed: Sum,
}

#[derive(Debug, Default)]
struct Sum {
    audio: u64,
    video: u64,
    key_frames: u64,
    bytes: u64,
    timestamps: Option<(u32, u32)>,
}

const FROM_CLIENT: &str = "-->";
const TO_CLIENT: &str = "<--";
const HERE: &str = "   ";

impl Timeline {
    /// A timeline of the connection with this opening, at a server with this configuration. With `all` it shows
    /// everything; otherwise runs of media messages are summed up.
    pub fn new(opening: &Opening, config: &Config, all: bool) -> Self {
        let trusted =
            opening.peer.is_some_and(|peer| config.trusted_proxies.iter().any(|network| network.contains(peer.ip())));
        Timeline {
            all,
            input: Input {
                preface: trusted.then(Preface::default),
                handshake: Some(handshake::ServerHandshake::new(opening.seed, 0)),
                reader: Reader::new(),
            },
            output: Output { handshake: SERVER_HANDSHAKE, reader: Reader::new() },
            phase: Phase::Handshake,
            run: None,
        }
    }

    /// A timeline of a connection whose capture began in its middle.
    pub fn joined(joined: &Joined, all: bool) -> Self {
        let limits = limits();
        let reader = ChunkReader::resume(limits, Leniency::Lenient, &joined.input);
        let begun = |stream: &StreamState| stream.partial.as_ref().map(|_| stream.id);
        let begun = joined.input.streams.iter().filter_map(begun).collect();
        let mut output = ChunkReader::new(limits, Leniency::Lenient);
        let known = output.set_chunk_size(joined.chunk_size).is_ok();
        Timeline {
            all,
            input: Input { preface: None, handshake: None, reader: Reader { reader, begun } },
            output: Output { handshake: 0, reader: Reader { reader: known.then_some(output), begun: Vec::new() } },
            phase: joined.phase,
            run: None,
        }
    }

    /// Takes the next moment and hands complete lines to `line`.
    pub fn take(&mut self, moment: &Moment<'_>, line: &mut dyn FnMut(&str)) {
        let at = moment.at;
        match moment.what {
            What::Input(bytes) => self.read_input(at, bytes, line),
            What::Output(bytes) => self.read_output(at, bytes, line),
            What::Call { routine: true, .. } | What::Action { routine: true, .. } if !self.all => {}
            What::Call { words, .. } | What::Event(words) => self.line(at, HERE, words, line),
            What::Ruled(None) => self.line(at, HERE, "granted", line),
            What::Ruled(Some(words)) => self.line(at, HERE, &format!("refused: {words}"), line),
            What::Action { words, .. } => self.line(at, HERE, &format!("action: {words}"), line),
            What::Closed(words) => self.line(at, HERE, &format!("closed: {words}"), line),
        }
        if moment.phase != self.phase {
            self.phase = moment.phase;
            self.line(at, HERE, &format!("phase: {}", moment.phase), line);
        }
    }

    /// The end: hands over the line of a run that is being summed up.
    pub fn finish(&mut self, line: &mut dyn FnMut(&str)) {
        if let Some(run) = self.run.take() {
            run.sum_up(line);
        }
    }

    fn line(&mut self, at: Duration, arrow: &str, words: &str, line: &mut dyn FnMut(&str)) {
        self.finish(line);
        line(&format!("{} {arrow} {words}", Time(at)));
    }

    fn read_input(&mut self, at: Duration, mut bytes: &[u8], line: &mut dyn FnMut(&str)) {
        if self.all {
            self.line(at, FROM_CLIENT, &format!("{} bytes", bytes.len()), line);
        }
        if let Some(preface) = &mut self.input.preface {
            match preface.read(bytes) {
                Ok(Prefaced::NeedMore) => return,
                Ok(Prefaced::Done { consumed, client }) => {
                    bytes = &bytes[consumed..];
                    let client =
                        client.map_or_else(|| "none".to_owned(), |client| SocketAddr::from(client).to_string());
                    self.input.preface = None;
                    self.line(at, FROM_CLIENT, &format!("proxy header: client {client}"), line);
                }
                Err(error) => return self.line(at, FROM_CLIENT, &format!("unreadable: {error}"), line),
            }
        }
        if let Some(server) = &mut self.input.handshake {
            let known = server.kind().is_some();
            let mut reply = Vec::new();
            let read = server.read(bytes, &mut reply);
            let kind = server.kind();
            match read {
                Ok(progress) => {
                    bytes = &bytes[progress.consumed..];
                    if progress.status == Status::Done {
                        self.input.handshake = None;
                    }
                    if let Some(kind) = kind.filter(|_| !known) {
                        self.line(at, FROM_CLIENT, &format!("handshake: {kind}"), line);
                    }
                    if progress.status == Status::NeedMore {
                        return;
                    }
                }
                Err(error) => {
                    self.input.reader.reader = None;
                    self.input.handshake = None;
                    return self.line(at, FROM_CLIENT, &format!("unreadable: {error}"), line);
                }
            }
        }
        while let Some(read) = self.input.reader.next(&mut bytes) {
            self.message(at, FROM_CLIENT, read, line);
        }
    }

    fn read_output(&mut self, at: Duration, mut bytes: &[u8], line: &mut dyn FnMut(&str)) {
        let skipped = self.output.handshake.min(bytes.len());
        if skipped > 0 {
            self.output.handshake -= skipped;
            bytes = &bytes[skipped..];
            self.line(at, TO_CLIENT, "handshake", line);
        }
        while let Some(read) = self.output.reader.next(&mut bytes) {
            self.message(at, TO_CLIENT, read, line);
        }
    }

    fn message(
        &mut self,
        at: Duration,
        arrow: &'static str,
        read: Result<Message, String>,
        line: &mut dyn FnMut(&str),
    ) {
        let message = match read {
            Ok(message) => message,
            Err(words) => return self.line(at, arrow, &format!("unreadable: {words}"), line),
        };
        if arrow == FROM_CLIENT && self.input.reader.began_before(&message) {
            let words = format!("{} (it began before the capture)", describe_begun(&message));
            return self.line(at, arrow, &words, line);
        }
        match Media::of(&message) {
            Some(media) if !self.all && !media.class.is_header() => self.media(at, arrow, &message, &media, line),
            _ => self.line(at, arrow, &describe(&message), line),
        }
    }

    /// Takes one message of a run: the first get their own lines, the others are counted.
    fn media(
        &mut self,
        at: Duration,
        arrow: &'static str,
        message: &Message,
        media: &Media,
        line: &mut dyn FnMut(&str),
    ) {
        if self.run.as_ref().is_some_and(|run| run.arrow != arrow) {
            self.finish(line);
        }
        let run = self.run.get_or_insert_with(|| Run { arrow, at, messages: 0, summed: Sum::default() });
        run.messages += 1;
        run.at = at;
        if run.messages <= SHOWN {
            line(&format!("{} {arrow} {}", Time(at), describe(message)));
            return;
        }
        let sum = &mut run.summed;
        match message.type_id {
            MessageType::AUDIO => sum.audio += 1,
            _ => sum.video += 1,
        }
        sum.key_frames += u64::from(media.class == FrameClass::KeyFrame);
        sum.bytes += message.payload.len() as u64;
        let first = sum.timestamps.map_or(message.timestamp, |(first, _)| first);
        sum.timestamps = Some((first, message.timestamp));
    }
}

impl Run {
    fn sum_up(self, line: &mut dyn FnMut(&str)) {
        let Sum { audio, video, key_frames, bytes, timestamps } = self.summed;
        if let Some((first, last)) = timestamps {
            line(&format!(
                "{} {} ... and {audio} audio, {video} video ({key_frames} key frames), {bytes} bytes, \
                 timestamps {first} to {last}",
                Time(self.at),
                self.arrow
            ));
        }
    }
}

impl Reader {
    /// A reader at the beginning of a connection.
    fn new() -> Self {
        Reader { reader: Some(ChunkReader::new(limits(), Leniency::Lenient)), begun: Vec::new() }
    }

    /// True if the message began before the capture. Asked once for each message.
    fn began_before(&mut self, message: &Message) -> bool {
        let index = self.begun.iter().position(|chunk_stream| *chunk_stream == message.chunk_stream);
        index.map(|index| self.begun.swap_remove(index)).is_some()
    }

    /// The next message; its effect on the chunk stream is applied.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Result<Message, String>> {
        let reader = self.reader.as_mut()?;
        let message = match reader.read(bytes) {
            Ok(message) => message?,
            Err(error) => {
                self.reader = None;
                return Some(Err(error.to_string()));
            }
        };
        let applied = match Control::parse(message.type_id, &message.payload) {
            Ok(Some(Control::SetChunkSize(size))) => reader.set_chunk_size(size).is_ok(),
            Ok(Some(Control::Abort(chunk_stream))) => {
                reader.abort(chunk_stream);
                true
            }
            _ => true,
        };
        if !applied {
            self.reader = None;
        }
        Some(Ok(message))
    }
}

/// What an audio or video message is.
struct Media {
    class: FrameClass,
    codec: String,
    multitrack: bool,
}

impl Media {
    fn of(message: &Message) -> Option<Self> {
        let codec = |codec: Option<String>| codec.unwrap_or_else(|| "no codec".to_owned());
        match message.type_id {
            MessageType::AUDIO => {
                let info = flv::classify_audio(&message.payload);
                let multitrack = info.multitrack;
                Some(Media { class: info.class, codec: codec(info.codec.map(|it| it.to_string())), multitrack })
            }
            MessageType::VIDEO => {
                let info = flv::classify_video(&message.payload);
                let multitrack = info.multitrack;
                Some(Media { class: info.class, codec: codec(info.codec.map(|it| it.to_string())), multitrack })
            }
            _ => None,
        }
    }
}

/// A message of which only the first bytes are known, in words.
fn describe_begun(message: &Message) -> String {
    match message.type_id {
        MessageType::AUDIO | MessageType::VIDEO => describe(message),
        type_id => format!("message of type {type_id}, {} bytes", message.payload.len()),
    }
}

/// Limits that no session exceeds.
fn limits() -> ChunkLimits {
    ChunkLimits { streams: 1024, partial: 64 << 20, ..ChunkLimits::default() }
}

/// One message in words.
fn describe(message: &Message) -> String {
    let Message { type_id, message_stream_id, timestamp, payload, .. } = message;
    let on = if *message_stream_id == 0 { String::new() } else { format!(" on stream {message_stream_id}") };
    if let Some(media) = Media::of(message) {
        let kind = if *type_id == MessageType::AUDIO { "audio" } else { "video" };
        let class = match media.class {
            FrameClass::Empty => "empty",
            FrameClass::SequenceHeader => "sequence header",
            FrameClass::SequenceEnd => "end of sequence",
            FrameClass::Metadata => "metadata",
            FrameClass::MultichannelConfig => "channel layout",
            FrameClass::KeyFrame => "key frame",
            FrameClass::Frame => "frame",
            FrameClass::Command => "command",
            FrameClass::Other => "unknown packet",
            FrameClass::Malformed => "malformed",
        };
        let multitrack = if media.multitrack { ", multitrack" } else { "" };
        return format!("{kind}{on}: {} {class}{multitrack}, {} bytes at {timestamp} ms", media.codec, payload.len());
    }
    match *type_id {
        MessageType::COMMAND_AMF0 | MessageType::COMMAND_AMF3 => {
            match Command::parse(*type_id, payload, &amf::Limits::default()) {
                Ok(command) => {
                    let Command { name, transaction, object, arguments } = command;
                    let mut words = format!("{}({transaction}){on}", name.to_string().escape_debug());
                    for value in std::iter::once(&object).chain(&arguments) {
                        words.push(' ');
                        show_value(value, 0, &mut words);
                    }
                    words
                }
                Err(error) => format!("command{on} that cannot be read: {error}"),
            }
        }
        MessageType::DATA_AMF0 | MessageType::DATA_AMF3 => {
            let body = payload.strip_prefix(&[0]).unwrap_or(payload);
            let mut words = format!("data{on} at {timestamp} ms:");
            match amf0::decode_all(body, &amf::Limits::default()) {
                Ok(values) => {
                    for value in &values {
                        words.push(' ');
                        show_value(value, 0, &mut words);
                    }
                }
                Err(error) => words += &format!(" {} bytes that cannot be read: {error}", payload.len()),
            }
            words
        }
        MessageType::AGGREGATE => format!("aggregate{on}, {} bytes at {timestamp} ms", payload.len()),
        type_id => match Control::parse(type_id, payload) {
            Ok(Some(control)) => control_words(&control),
            Ok(None) => format!("message of type {type_id}{on}, {} bytes", payload.len()),
            Err(error) => format!("control message that cannot be read: {error}"),
        },
    }
}

fn control_words(control: &Control) -> String {
    match control {
        Control::SetChunkSize(size) => format!("chunk size {size}"),
        Control::Abort(chunk_stream) => format!("abort chunk stream {chunk_stream}"),
        Control::Acknowledgement(bytes) => format!("acknowledgement of {bytes} bytes"),
        Control::WindowAckSize(window) => format!("acknowledgement window {window}"),
        Control::SetPeerBandwidth { window, limit } => format!("peer bandwidth {window}, {limit:?}"),
        Control::User(UserControl::SwfVerifyResponse(data)) => format!("SWF verification, {} bytes", data.len()),
        Control::User(UserControl::Unknown { event, data }) => {
            format!("user control of type {event}, {} bytes", data.len())
        }
        Control::User(event) => format!("{event:?}"),
    }
}

/// A value in short: long strings, objects and arrays are cut.
fn show_value(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Number(number) => *out += &number.to_string(),
        Value::Boolean(boolean) => *out += &boolean.to_string(),
        Value::String(text) | Value::XmlDocument(text) => show_text(&text.to_string(), out),
        Value::Object(object) | Value::EcmaArray(object) | Value::TypedObject { object, .. } => {
            show_object(object, depth, out);
        }
        Value::Null => *out += "null",
        Value::Undefined => *out += "undefined",
        Value::Unsupported => *out += "unsupported",
        Value::Date { ms, .. } => *out += &format!("date {ms}"),
        Value::StrictArray(values) => {
            *out += "[";
            for (index, value) in values.iter().take(ENTRIES).enumerate() {
                *out += if index > 0 { ", " } else { "" };
                if depth < DEPTH {
                    show_value(value, depth + 1, out);
                }
            }
            *out += if values.len() > ENTRIES || depth >= DEPTH { ", ...]" } else { "]" };
        }
        Value::Amf3(_) => *out += "AMF3 value",
    }
}

fn show_object(object: &Object, depth: usize, out: &mut String) {
    if depth >= DEPTH {
        *out += "{...}";
        return;
    }
    *out += "{";
    for (index, (key, value)) in object.iter().take(ENTRIES).enumerate() {
        *out += if index > 0 { ", " } else { "" };
        *out += &format!("{}: ", cut(&key.to_string()).escape_debug());
        show_value(value, depth + 1, out);
    }
    *out += if object.len() > ENTRIES { ", ...}" } else { "}" };
}

fn show_text(text: &str, out: &mut String) {
    let shown = cut(text);
    let more = if shown.len() < text.len() { "..." } else { "" };
    *out += &format!("\"{}{more}\"", shown.escape_debug());
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(STRING).map_or(text, |(end, _)| &text[..end])
}

/// Seconds since the connection began.
struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12.6}", self.0.as_secs_f64())
    }
}
