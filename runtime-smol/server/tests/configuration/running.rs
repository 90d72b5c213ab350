//! The program as its operators run it: a process, its log, its file, and RTMP clients on real sockets.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::client::{self, Client, ClientConfig, Destination, Event, PlayOptions, StreamHandle};
use anabranch_core::command::PublishType;
use anabranch_core::message::{Message, MessageType};
use anabranch_core::session::Phase;
use anabranch_core::source::{Frame, WireFormat};
use bytes::Buf;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that goes with the test.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("anabranch-config-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).expect("a file");
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program with nothing of this process's environment that it might listen to.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ANABRANCH"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    command
}

/// What it prints, and whether it calls that a success.
pub(crate) fn run(command: &mut Command) -> (bool, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    (status.success(), text(stdout), text(stderr))
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, its_log) = (BufReader::new(child.stderr.take().expect("its log")).lines(), log.clone());
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| its_log.lock().expect("a log").push(line)));
        let mut banner = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
        let address = banner.find_map(|line| line.rsplit(' ').find_map(|word| word.parse().ok()));
        let address = address.unwrap_or_else(|| panic!("no address, but {:?}", log.lock()));
        Server { child, address, log }
    }

    pub(crate) fn with_file(file: &Path) -> Self {
        Server::start(program().arg("--config").arg(file))
    }

    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().expect("a shell").success());
    }

    /// The lines of the log with these words.
    pub(crate) fn lines(&self, words: &str) -> Vec<String> {
        self.log.lock().expect("a log").iter().filter(|line| line.contains(words)).cloned().collect()
    }

    /// Waits for so many lines with these words, and does something meanwhile.
    pub(crate) fn wait_lines(&self, words: &str, count: usize, mut meanwhile: impl FnMut()) -> Vec<String> {
        let start = Instant::now();
        loop {
            let lines = self.lines(words);
            if lines.len() >= count {
                return lines;
            }
            meanwhile();
            assert!(start.elapsed() < PATIENCE, "no {words:?} {count} times, but {:#?}", self.log.lock());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Reloads, and waits until the log says what came of it.
    pub(crate) fn reload(&self, mut meanwhile: impl FnMut()) -> String {
        let count = self.lines("the configuration was ").len() + 1;
        self.signal("HUP");
        self.wait_lines("the configuration was ", count, &mut meanwhile).pop().expect("a line")
    }

    /// Entries in a folder of its process: threads, open files.
    pub(crate) fn count(&self, of: &str) -> usize {
        fs::read_dir(format!("/proc/{}/{of}", self.child.id())).expect("a process").count()
    }

    pub(crate) fn peer(&self, host: &str) -> Peer {
        Peer::connect(self.address, host)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An RTMP client, which publishes or plays one stream.
#[derive(Debug)]
pub(crate) struct Peer {
    client: Client,
    socket: TcpStream,
    stream: Option<StreamHandle>,
    /// The numbers of the frames that it got.
    pub(crate) frames: Vec<u32>,
    pub(crate) is_closed: bool,
    pub(crate) is_rejected: bool,
    is_granted: bool,
    sent: u32,
}

impl Peer {
    fn connect(address: SocketAddr, host: &str) -> Self {
        let socket = TcpStream::connect(address).expect("somebody listens");
        socket.set_nonblocking(true).expect("a socket");
        let destination = Destination::parse(&format!("rtmp://{host}/live/cam")).expect("a URL");
        let seed = [socket.local_addr().expect("an address").port() as u8; 32];
        let client = Client::new(Arc::new(ClientConfig::to(&destination)), seed, Instant::now());
        let stream = None;
        let mut peer = Peer {
            client,
            socket,
            stream,
            frames: Vec::new(),
            is_closed: false,
            is_rejected: false,
            is_granted: false,
            sent: 0,
        };
        peer.wait(|peer| matches!(peer.client.phase(), Phase::Connected) || peer.is_closed);
        peer
    }

    pub(crate) fn publishes(mut self) -> Self {
        self.stream = Some(self.client.publish("cam", PublishType::Live).expect("it may ask"));
        self.wait(|peer| peer.is_granted || peer.is_rejected || peer.is_closed);
        self
    }

    pub(crate) fn plays(mut self) -> Self {
        self.stream = Some(self.client.play("cam", PlayOptions::default()).expect("it may ask"));
        self.wait(|peer| peer.is_granted || peer.is_rejected || peer.is_closed);
        self
    }

    /// Sends the next frame, a key frame with its number and then some.
    pub(crate) fn send(&mut self) {
        self.sent += 1;
        let mut body = vec![0x17, 1, 0, 0, 0];
        body.extend(self.sent.to_be_bytes());
        body.resize(5000, 7);
        let payload = body.into();
        let message =
            Message { chunk_stream: 6, timestamp: self.sent * 10, type_id: MessageType::VIDEO, stream_id: 1, payload };
        let frame = Frame::encode(message, WireFormat { chunk_size: self.client.config().chunk_size });
        self.client.send_frame(self.stream.expect("it publishes"), &frame).expect("it may send");
        self.step();
    }

    pub(crate) fn sent(&self) -> u32 {
        self.sent
    }

    pub(crate) fn wait(&mut self, until: impl Fn(&Peer) -> bool) {
        let start = Instant::now();
        self.step();
        while !until(self) {
            assert!(start.elapsed() < PATIENCE, "it does not come: {self:?}");
            thread::sleep(Duration::from_millis(1));
            self.step();
        }
    }

    /// Does what can be done without waiting.
    pub(crate) fn step(&mut self) {
        while !self.is_closed {
            let wait = loop {
                match self.client.poll_output() {
                    client::ClientOutput::Event(event) => self.take(&event),
                    client::ClientOutput::Wait(wait) => break wait,
                    client::ClientOutput::Closed(_) => {
                        self.is_closed = true;
                        return;
                    }
                }
            };
            let now = Instant::now();
            if wait.deadline.is_some_and(|deadline| deadline <= now) {
                self.client.handle_timeout(now);
                continue;
            }
            let wrote = wait.write && self.write();
            if !self.read(now) && !wrote {
                return;
            }
        }
    }

    fn write(&mut self) -> bool {
        let outbound = self.client.outbound();
        match self.socket.write(outbound.chunk()) {
            Ok(count) => {
                outbound.advance(count);
                count > 0
            }
            Err(_) => false,
        }
    }

    fn read(&mut self, now: Instant) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.socket.read(&mut buffer) {
            Ok(0) => self.client.handle_disconnect(now, client::CloseReason::PeerClosed),
            Ok(count) => _ = self.client.handle_input(now, &buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => self.client.handle_disconnect(now, client::CloseReason::PeerLost(error.to_string())),
        }
        true
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Publishing { .. } | Event::Playing { .. } => self.is_granted = true,
            Event::Rejected { .. } => self.is_rejected = true,
            Event::Media { message, .. } if message.type_id == MessageType::VIDEO => {
                let body = message.payload.to_vec();
                let number = body.get(5..9).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
                assert_eq!(body.len(), 5000, "a whole frame");
                self.frames.push(number.expect("it has a number"));
            }
            _ => {}
        }
    }
}
