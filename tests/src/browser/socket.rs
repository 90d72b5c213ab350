use std::net::TcpStream;

use serde_json::{Value, json};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

use crate::TIMEOUT;

/// Commands to a browser and its answers, as JSON over a WebSocket. Chromium and Firefox number them in the same way.
#[derive(Debug)]
pub(super) struct Socket {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    last: u64,
    events: Vec<Value>,
}

impl Socket {
    pub(super) fn connect(address: &str) -> Self {
        // A picture of a page is one message.
        let config = WebSocketConfig::default().max_message_size(Some(256 << 20)).max_frame_size(Some(256 << 20));
        let (socket, _) = tungstenite::client::connect_with_config(address, Some(config), 0)
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        if let MaybeTlsStream::Plain(socket) = socket.get_ref() {
            socket.set_read_timeout(Some(TIMEOUT)).expect("a socket has timeouts");
        }
        Socket { socket, last: 0, events: Vec::new() }
    }

    /// Sends a command, and returns its answer: with `result`, or with `error`.
    pub(super) fn ask(&mut self, session: Option<&str>, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = session {
            command["sessionId"] = session.into();
        }
        self.socket.send(Message::text(command.to_string())).unwrap_or_else(|error| panic!("{method}: {error}"));
        loop {
            let message = self.socket.read().unwrap_or_else(|error| panic!("{method}: {error}"));
            let Message::Text(text) = message else { continue };
            let value: Value = serde_json::from_str(&text).expect("browsers send JSON");
            if value["id"] == self.last {
                return value;
            }
            if value.get("method").is_some() {
                self.events.push(value);
            }
        }
    }

    /// The same, for a command that must succeed.
    pub(super) fn tell(&mut self, session: Option<&str>, method: &str, parameters: &Value) -> Value {
        let mut answer = self.ask(session, method, parameters);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// The events that came with the answers so far.
    pub(super) fn events(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.events)
    }
}
