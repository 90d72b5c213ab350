//! A publisher, a server and a player without socket, thread or clock:
//! `cargo run -p anabranch-core --example relay -- IN.flv OUT.flv`.
//!
//! Publishes an FLV file through one connection, plays it through another, and writes the messages that the player
//! receives into a second file. Time is virtual: it jumps to the next event, so that an hour of film takes a moment,
//! timeouts included. Both clients use parts of this crate that are useful without its server.

// This program does what core must not do: files and printing. It reads the clock once, as the origin of virtual time.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::error::Error;
use std::time::{Duration, Instant};
use std::{env, fs};

use anabranch_core::amf::{self, Object, Value, amf0};
use anabranch_core::bytes::Buf;
use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency, write_message};
use anabranch_core::command::Command;
use anabranch_core::conn::{Action, Config, Conn, Core, Output};
use anabranch_core::flv::{self, Tags, tag};
use anabranch_core::handshake;
use anabranch_core::message::{Control, Message, MessageType, UserControl};
use anabranch_core::session::CloseReason;

/// The chunk size of the clients, in bytes.
const CHUNK_SIZE: u32 = 4096;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [input, output] = &arguments[..] else {
        return Err("usage: relay IN.flv OUT.flv".into());
    };
    let film = read_flv(&fs::read(input)?)?;
    let played = relay(&film)?;
    fs::write(output, write_flv(&played)?)?;
    println!("published {} messages, played {}", film.len(), played.len());
    Ok(())
}

/// Audio, video or data: a tag in a file, or a message on the wire.
struct Tag {
    type_id: u8,
    /// Milliseconds.
    timestamp: u32,
    body: Vec<u8>,
}

/// Publishes the film. Returns the messages of a player that connects before the publisher.
fn relay(film: &[Tag]) -> Result<Vec<Tag>> {
    let server = Core::new(Config::default(), [7; 32]);
    let start = Instant::now();
    let mut player = Client::connect(&server, start)?;
    let stream = player.create_stream(start)?;
    player.call(start, stream, &Command::new("play", 0.0, Value::Null).with("film"))?;
    player.take_status("NetStream.Play.Start")?;

    let mut publisher = Client::connect(&server, start)?;
    let stream = publisher.create_stream(start)?;
    publisher.call(start, stream, &Command::new("publish", 0.0, Value::Null).with("film").with("live"))?;
    publisher.take_status("NetStream.Publish.Start")?;

    let mut world = World { now: start, publisher, player };
    for tag in film {
        world.run_until(start + Duration::from_millis(tag.timestamp.into()))?;
        let mut body = Vec::new();
        if tag.type_id == MessageType::DATA_AMF0 {
            // With this prefix, later players get the metadata, too.
            amf0::encode(&"@setDataFrame".into(), &mut body);
        }
        body.extend_from_slice(&tag.body);
        world.publisher.send(world.now, stream, tag.type_id, tag.timestamp, &body)?;
        world.fan_out()?;
    }
    world.publisher.conn.handle_disconnect(world.now, CloseReason::PeerClosed);
    world.publisher.serve(world.now)?;
    world.fan_out()?;
    // The publisher could return, so the player gets the end of the stream after ten seconds of virtual time.
    while !world.player.is_at_the_end {
        let due = world.player.deadline.ok_or("the player waits for nothing")?;
        world.run_until(due)?;
    }
    Ok(world.player.media)
}

/// The publisher, the player, and the virtual time.
struct World {
    now: Instant,
    publisher: Client,
    player: Client,
}

impl World {
    /// Lets time pass. Deadlines in between are handled in their order.
    fn run_until(&mut self, end: Instant) -> Result<()> {
        loop {
            let due = [self.publisher.deadline, self.player.deadline].into_iter().flatten().min();
            let Some(due) = due.filter(|due| *due <= end) else {
                self.now = self.now.max(end);
                return Ok(());
            };
            self.now = self.now.max(due);
            for client in [&mut self.publisher, &mut self.player] {
                if client.deadline.is_some_and(|deadline| deadline <= self.now) {
                    client.conn.handle_timeout(self.now);
                    client.serve(self.now)?;
                }
            }
            self.fan_out()?;
        }
    }

    /// Polls all players of the stream, if the publisher's connection has woken them.
    fn fan_out(&mut self) -> Result<()> {
        if std::mem::take(&mut self.publisher.wakes) { self.player.serve(self.now) } else { Ok(()) }
    }
}

/// A client, and the server's end of its connection.
struct Client {
    conn: Conn,
    /// The deadline of the server's end.
    deadline: Option<Instant>,
    /// True if the connection has woken the players of its stream.
    wakes: bool,
    handshake: handshake::ClientHandshake,
    reader: ChunkReader,
    /// Messages that the client has received and not used yet.
    commands: Vec<Command>,
    media: Vec<Tag>,
    /// True after the client has received the end of the stream.
    is_at_the_end: bool,
}

impl Client {
    /// A client whose `connect` the server has accepted.
    fn connect(server: &Core, now: Instant) -> Result<Client> {
        let mut client = Client {
            conn: server.connect(now),
            deadline: None,
            wakes: false,
            handshake: handshake::ClientHandshake::new([1; 32], 0, handshake::ClientHandshakeKind::Simple),
            reader: ChunkReader::new(ChunkLimits::default(), Leniency::Lenient),
            commands: Vec::new(),
            media: Vec::new(),
            is_at_the_end: false,
        };
        let mut hello = Vec::new();
        client.handshake.start(&mut hello);
        client.write(now, &hello)?;
        let mut first = Vec::new();
        Control::SetChunkSize(CHUNK_SIZE).write(128, &mut first);
        client.write(now, &first)?;
        let arguments = Object::default().with("app", "live").with("tcUrl", "rtmp://memory/live");
        client.call(now, 0, &Command::new("connect", 1.0, Value::Object(arguments)))?;
        client.take("_result", |_| true)?;
        Ok(client)
    }

    /// Opens a message stream and returns its id.
    fn create_stream(&mut self, now: Instant) -> Result<u32> {
        self.call(now, 0, &Command::new("createStream", 2.0, Value::Null))?;
        let result = self.take("_result", |command| command.transaction == 2.0)?;
        let id = result.arguments.first().and_then(Value::as_number).ok_or("a stream without a number")?;
        Ok(id as u32)
    }

    fn call(&mut self, now: Instant, stream: u32, command: &Command) -> Result<()> {
        self.send(now, stream, MessageType::COMMAND_AMF0, 0, &command.encode())
    }

    fn send(&mut self, now: Instant, stream: u32, type_id: u8, timestamp: u32, body: &[u8]) -> Result<()> {
        let mut bytes = Vec::new();
        write_message(&mut bytes, CHUNK_SIZE, 3, timestamp, type_id, stream, body);
        self.write(now, &bytes)
    }

    /// Passes bytes to the server's end.
    fn write(&mut self, now: Instant, bytes: &[u8]) -> Result<()> {
        self.conn.handle_input(now, bytes);
        self.serve(now)
    }

    /// The loop of every adapter: drain, write, store the deadline. A write is a read of the client here.
    fn serve(&mut self, now: Instant) -> Result<()> {
        loop {
            match self.conn.poll(now) {
                Output::Action(Action::Wake(_)) => self.wakes = true,
                Output::Action(_) => {}
                Output::Wait(wait) if wait.write => {
                    let outbound = self.conn.outbound();
                    let bytes = outbound.copy_to_bytes(outbound.remaining());
                    let answers = self.read(&bytes)?;
                    self.conn.handle_input(now, &answers);
                }
                Output::Wait(wait) => {
                    self.deadline = wait.deadline();
                    return Ok(());
                }
                Output::Closed(_) => {
                    self.deadline = None;
                    return Ok(());
                }
            }
        }
    }

    /// The client's side: reads the server's bytes, and returns the answers that a client must send at once.
    fn read(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut answers = Vec::new();
        let progress = self.handshake.read(bytes, &mut answers)?;
        let mut bytes = &bytes[progress.consumed..];
        while let Some(message) = self.reader.read(&mut bytes)? {
            match Control::parse(message.type_id, &message.payload)? {
                Some(Control::SetChunkSize(size)) => self.reader.set_chunk_size(size)?,
                Some(Control::User(UserControl::PingRequest(time))) => {
                    Control::User(UserControl::PingResponse(time)).write(CHUNK_SIZE, &mut answers);
                }
                Some(Control::User(UserControl::StreamEof(_))) => self.is_at_the_end = true,
                Some(_) => {}
                None => self.keep(&message)?,
            }
        }
        Ok(answers)
    }

    fn keep(&mut self, message: &Message) -> Result<()> {
        match message.type_id {
            type_id @ (MessageType::AUDIO | MessageType::VIDEO | MessageType::DATA_AMF0) => {
                self.media.push(Tag { type_id, timestamp: message.timestamp, body: message.payload.to_vec() });
            }
            MessageType::COMMAND_AMF0 => {
                self.commands.push(Command::parse(message.type_id, &message.payload, &amf::Limits::default())?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes a command that the server must have sent already.
    fn take(&mut self, name: &str, is_it: impl Fn(&Command) -> bool) -> Result<Command> {
        let index = self.commands.iter().position(|command| command.name == *name && is_it(command));
        let index = index.ok_or_else(|| format!("no {name} of that kind among {:?}", self.commands))?;
        Ok(self.commands.remove(index))
    }

    fn take_status(&mut self, code: &str) -> Result<Command> {
        let code_of = |command: &Command| {
            let information = command.arguments.first()?.as_object()?;
            Some(information.get("code")?.as_str()? == code)
        };
        self.take("onStatus", |command| code_of(command) == Some(true))
    }
}

fn read_flv(file: &[u8]) -> Result<Vec<Tag>> {
    let owned = |tag: flv::Tag<'_>| Tag { type_id: tag.type_id, timestamp: tag.timestamp, body: tag.body.to_vec() };
    Ok(Tags::new(file)?.map(|tag| tag.map(owned)).collect::<std::result::Result<_, _>>()?)
}

fn write_flv(tags: &[Tag]) -> Result<Vec<u8>> {
    let has = |type_id| tags.iter().any(|tag| tag.type_id == type_id);
    let mut file = Vec::new();
    tag::write_file_header(has(MessageType::AUDIO), has(MessageType::VIDEO), &mut file);
    for tag in tags {
        tag::write_tag(tag.type_id, tag.timestamp, &tag.body, &mut file)?;
    }
    Ok(file)
}
