use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use anabranch_tests::{TIMEOUT, wait_for};
use serde_json::{Value, json};

/// OBS Studio's control connection: obs-websocket 5 without a password.
#[derive(Debug)]
pub(crate) struct ObsControl {
    socket: BufReader<TcpStream>,
}

impl ObsControl {
    /// Connects to an OBS that may still be starting.
    pub(crate) fn connect(port: u16) -> Self {
        let socket = wait_for("control port of OBS", TIMEOUT, || TcpStream::connect(("127.0.0.1", port)).ok());
        socket.set_read_timeout(Some(TIMEOUT)).expect("a socket has timeouts");
        let mut control = ObsControl { socket: BufReader::new(socket) };
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Protocol: obswebsocket.json\r\n\r\n";
        control.socket.get_mut().write_all(request.as_bytes()).expect("OBS listens");
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(control.socket.read_line(&mut line).expect("OBS answers") > 0, "OBS has closed its control port");
        }
        control.receive();
        control.send(&json!({"op": 1, "d": {"rpcVersion": 1, "eventSubscriptions": 0}}));
        control.receive();
        control
    }

    /// Makes a request; returns its data.
    ///
    /// # Panics
    /// If OBS refuses.
    pub(crate) fn request(&mut self, name: &str) -> Value {
        self.send(&json!({"op": 6, "d": {"requestType": name, "requestId": name}}));
        let mut answer = self.receive();
        assert_eq!(answer["d"]["requestStatus"]["result"], true, "{name}: {answer}");
        answer["d"]["responseData"].take()
    }

    /// One text frame; the mask that RFC 6455 §5.3 demands may be zero.
    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("requests are short");
        let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat();
        self.socket.get_mut().write_all(&frame).expect("OBS listens");
    }

    fn receive(&mut self) -> Value {
        let [_, length] = self.read();
        let length = match length {
            126 => usize::from(u16::from_be_bytes(self.read())),
            127 => usize::try_from(u64::from_be_bytes(self.read())).expect("a frame fits into memory"),
            length => usize::from(length),
        };
        let mut text = vec![0; length];
        self.socket.read_exact(&mut text).expect("OBS answers");
        serde_json::from_slice(&text).expect("OBS speaks JSON")
    }

    fn read<const LENGTH: usize>(&mut self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        self.socket.read_exact(&mut bytes).expect("OBS answers");
        bytes
    }
}
