//! The program, started for a test, and clients of it.
#![allow(dead_code)] // not every test needs all of it

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::client::{
    Client, ClientConfig, ClientOutput as Said, CloseReason, Destination, Event, PlayOptions, StreamHandle,
};
use anabranch_core::command::PublishType;
use anabranch_core::message::{Message, MessageType};
use bytes::Buf;
use serde_json::Value;

/// How long a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until there is something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The running program; killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) rtmp: SocketAddr,
    pub(crate) api: SocketAddr,
}

/// A configuration file with the given text.
fn configuration(text: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("api-{}-{number}.toml", std::process::id()));
    fs::write(&path, text).expect("the target directory can be written");
    path
}

fn command(settings: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
    command.args(["--listen", "127.0.0.1:0", "--threads", "2", "--config"]).arg(configuration(settings));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// What the program writes to its log, line by line, until it has written this.
pub(crate) fn log_until(settings: &str, words: &str) -> (Program, String) {
    let mut child = command(settings).stderr(Stdio::piped()).spawn().expect("the program starts");
    let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let listening = |line: String| line.trim().strip_prefix("listening on")?.trim().parse().ok();
    let rtmp = stdout.lines().map_while(Result::ok).find_map(listening);
    let Some(rtmp) = rtmp else {
        panic!("it does not listen");
    };
    // From here it is ended, whatever happens.
    let program = Program { child, rtmp, api: rtmp };
    let line = stderr.lines().map_while(Result::ok).find(|line| line.contains(words));
    (program, line.unwrap_or_else(|| panic!("it does not write {words}")))
}

/// Runs the program until it ends by itself, as it does where it refuses to start.
pub(crate) fn run_to_end(settings: &str) -> Output {
    let mut child = command(settings).stderr(Stdio::piped()).spawn().expect("the program starts");
    wait_for("the end of the program", || child.try_wait().expect("it is our child"));
    child.wait_with_output().expect("it is our child")
}

impl Program {
    /// With the API on a free port, and these settings of the section `api`.
    pub(crate) fn start(settings: &str) -> Self {
        Program::start_with(&format!("[api]\nlisten = '127.0.0.1:0'\n{settings}"))
    }

    pub(crate) fn start_with(settings: &str) -> Self {
        Program::start_with_options(settings, &[])
    }

    pub(crate) fn start_with_options(settings: &str, options: &[&str]) -> Self {
        let mut child = command(settings).args(options).stderr(Stdio::null()).spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (mut rtmp, mut api) = (None, None);
        for line in stdout.lines().map_while(Result::ok) {
            if let Some(address) = line.trim().strip_prefix("listening on") {
                rtmp = address.trim().parse().ok();
            }
            if let Some(url) = line.trim().strip_prefix("API") {
                api = url.trim().strip_prefix("http://").and_then(|url| url.split('/').next()?.parse().ok());
                break;
            }
        }
        let (rtmp, api) = rtmp.zip(api).expect("the program shows its addresses");
        Program { child, rtmp, api }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.api)
    }

    /// A request without credentials: status, headers and body.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Answer {
        self.ask_with(method, path, &[])
    }

    pub(crate) fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        let agent: ureq::Agent = config.build().into();
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let mut response = agent.run(request).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        Answer {
            status: response.status().as_u16(),
            kind: header("content-type"),
            allow: header("allow"),
            challenge: header("www-authenticate"),
            body: response.body_mut().read_to_string().expect("a body"),
        }
    }

    /// The JSON of an answer that is well.
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// The value of a series of `/metrics`, written as there.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = self.ask("GET", "/metrics").body;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(value.parse().expect("a number"))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// A client of the app `live`.
    pub(crate) fn client(&self) -> RtmpClient {
        RtmpClient::to(&format!("rtmp://{}/live", self.rtmp), self.rtmp)
    }

    pub(crate) fn publish(&self, name: &str) -> RtmpClient {
        let mut client = self.client();
        client.stream = Some(client.client.publish(name, PublishType::Live).expect("it may be asked"));
        client.until("the grant", |event| matches!(event, Event::Publishing { .. }));
        client
    }

    pub(crate) fn play(&self, name: &str) -> RtmpClient {
        let mut client = self.client();
        client.stream = Some(client.client.play(name, PlayOptions::default()).expect("it may be asked"));
        client.until("the grant", |event| matches!(event, Event::Playing { .. }));
        client
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) allow: String,
    pub(crate) challenge: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// An RTMP client that counts.
pub(crate) struct RtmpClient {
    pub(crate) client: Client,
    socket: TcpStream,
    stream: Option<StreamHandle>,
    pub(crate) closed: bool,
    /// Bytes on the wire.
    pub(crate) read: u64,
    pub(crate) written: u64,
    /// Audio, video and data messages that came.
    pub(crate) frames: u64,
    /// Video frames among them, headers left out.
    pub(crate) coded: u64,
}

impl RtmpClient {
    fn to(url: &str, address: SocketAddr) -> Self {
        let destination = Destination::parse(&format!("{url}/x")).expect("a URL");
        let socket = TcpStream::connect(address).expect("somebody listens");
        socket.set_nonblocking(true).expect("a socket");
        let client = Client::new(Arc::new(ClientConfig::to(&destination)), [7; 32], Instant::now());
        RtmpClient { client, socket, stream: None, closed: false, read: 0, written: 0, frames: 0, coded: 0 }
    }

    /// Does what can be done without waiting.
    pub(crate) fn step(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match self.client.poll_output() {
                Said::Event(event) => {
                    if let Event::Media { message, .. } = &event {
                        self.frames += 1;
                        let body = message.payload.to_vec();
                        self.coded += u64::from(message.type_id == MessageType::VIDEO && body.get(1) == Some(&1));
                    }
                    events.push(event);
                    continue;
                }
                Said::Closed(_) => {
                    self.closed = true;
                    return events;
                }
                Said::Wait(wait) if wait.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    self.client.handle_timeout(Instant::now());
                }
                Said::Wait(_) => {}
            }
            let mut any = false;
            while self.client.outbound().has_remaining() {
                let outbound = self.client.outbound();
                match self.socket.write(outbound.chunk()) {
                    Ok(count) => {
                        outbound.advance(count);
                        self.written += count as u64;
                        any = true;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => {
                        self.client.handle_disconnect(Instant::now(), CloseReason::PeerLost(error.to_string()));
                        any = true;
                        break;
                    }
                }
            }
            let mut buffer = [0; 16 << 10];
            match self.socket.read(&mut buffer) {
                Ok(0) => {
                    self.client.handle_disconnect(Instant::now(), CloseReason::PeerClosed);
                    any = true;
                }
                Ok(count) => {
                    self.read += count as u64;
                    let _ = self.client.handle_input(Instant::now(), &buffer[..count]);
                    any = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.client.handle_disconnect(Instant::now(), CloseReason::PeerLost(error.to_string()));
                    any = true;
                }
            }
            if !any {
                return events;
            }
        }
    }

    pub(crate) fn until(&mut self, what: &str, mut pick: impl FnMut(&Event) -> bool) {
        wait_for(what, || {
            let found = self.step().iter().any(&mut pick);
            assert!(found || !self.closed, "closed before {what}");
            found.then_some(())
        });
    }

    /// Sends media, and sees that it is written.
    pub(crate) fn send(&mut self, message: Message) {
        self.client.send_message(self.stream.expect("it publishes"), message).expect("it may");
        wait_for("room in the socket", || {
            self.step();
            assert!(!self.closed, "closed");
            (!self.client.outbound().has_remaining()).then_some(())
        });
    }

    /// Waits until the other side has ended the connection.
    pub(crate) fn until_closed(&mut self) {
        wait_for("the end of the connection", || {
            self.step();
            self.closed.then_some(())
        });
    }
}

/// A key frame, or another, of H.264; and its header, of 320x240.
pub(crate) fn video(timestamp: u32, key: bool, length: usize) -> Message {
    let mut body = vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
    body.resize(5 + length, 0x55);
    Message::video(timestamp, body)
}

pub(crate) fn video_header() -> Message {
    // AVCDecoderConfigurationRecord: Baseline, level 1.3; one SPS, one PPS.
    let sps = [
        0x67, 0x42, 0xc0, 0x0d, 0xd9, 0x01, 0x41, 0xfb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03,
        0x03, 0xc0, 0xf1, 0x42, 0xa4, 0x80,
    ];
    let pps = [0x68, 0xcb, 0x83, 0xcb, 0x20];
    let mut body = vec![0x17, 0, 0, 0, 0, 1, 0x42, 0xc0, 0x0d, 0xff, 0xe1, 0, sps.len() as u8];
    body.extend(sps);
    body.extend([1, 0, pps.len() as u8]);
    body.extend(pps);
    Message::video(0, body)
}

/// AAC LC, 44100 Hz, stereo.
pub(crate) fn audio_header() -> Message {
    Message::audio(0, [0xaf, 0, 0x12, 0x10].as_slice())
}

pub(crate) fn audio(timestamp: u32) -> Message {
    Message::audio(timestamp, [0xaf, 1, 1, 2, 3, 4].as_slice())
}
