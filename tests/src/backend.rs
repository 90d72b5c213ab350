//! A back end for hooks as the documentation of SRS and nginx-rtmp describes it: an HTTP server that keeps the calls it
//! gets.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::TIMEOUT;

/// One call, as it came.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub text: String,
    /// The body as JSON; the fields of a form as texts.
    pub body: Value,
    /// Which of the connections it came on, from 0.
    pub connection: usize,
}

impl Call {
    /// A text of the body.
    ///
    /// # Panics
    /// If it has none of this name.
    pub fn text(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_else(|| panic!("{name} is no text: {}", self.text))
    }

    /// What the call is about: `on_publish`, for instance.
    ///
    /// # Panics
    /// If it does not say.
    pub fn action(&self) -> &str {
        self.text("action")
    }

    /// The field of a form; an empty text if there is none of this name.
    pub fn field(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_default()
    }

    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// What is answered: status and body, or `Location` with a status of 300 to 399; `None` breaks the connection off.
pub type Answer = Option<(u16, String)>;

/// A yes.
pub fn yes() -> Answer {
    Some((200, "0".to_owned()))
}

type Handler = Box<dyn Fn(&Call) -> Answer + Send + Sync>;

struct Shared {
    handler: Handler,
    tls: Option<Arc<ServerConfig>>,
    state: Mutex<State>,
    called: Condvar,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    sockets: Vec<TcpStream>,
    over: bool,
}

/// A back end that runs until it is dropped.
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<thread::JoinHandle<()>>,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Backend {
    /// One that answers each call by this.
    ///
    /// # Panics
    /// If there is no port for it.
    pub fn start(handler: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Backend {
        Backend::serve((Ipv4Addr::LOCALHOST, 0).into(), Box::new(handler), None)
    }

    /// The same on HTTPS.
    ///
    /// # Panics
    /// If there is no port for it.
    pub fn with_tls(tls: ServerConfig, handler: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Backend {
        Backend::serve((Ipv4Addr::LOCALHOST, 0).into(), Box::new(handler), Some(Arc::new(tls)))
    }

    /// One where another was.
    ///
    /// # Panics
    /// If the port is taken.
    pub fn start_at(address: SocketAddr, handler: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Backend {
        Backend::serve(address, Box::new(handler), None)
    }

    fn serve(address: SocketAddr, handler: Handler, tls: Option<Arc<ServerConfig>>) -> Backend {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { handler, tls, state: Mutex::default(), called: Condvar::new() });
        let accepting = shared.clone();
        let listener = thread::spawn(move || {
            for (connection, socket) in listener.incoming().enumerate() {
                let socket = socket.unwrap();
                let mut state = accepting.state();
                if state.over {
                    return;
                }
                state.sockets.push(socket.try_clone().unwrap());
                drop(state);
                let shared = accepting.clone();
                thread::spawn(move || shared.connection(socket, connection));
            }
        });
        Backend { address, shared, listener: Some(listener) }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// Waits until there are that many calls, and returns them all.
    ///
    /// # Panics
    /// If they do not come.
    pub fn wait_calls(&self, count: usize) -> Vec<Call> {
        self.wait(|calls| calls.len() >= count)
    }

    /// Waits until `done` says that these are the calls, and returns them all.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait(&self, mut done: impl FnMut(&[Call]) -> bool) -> Vec<Call> {
        let start = Instant::now();
        let mut state = self.shared.state();
        while !done(&state.calls) {
            assert!(start.elapsed() < TIMEOUT, "{:#?}", state.calls.iter().map(|call| &call.text).collect::<Vec<_>>());
            state = self.shared.called.wait_timeout(state, TIMEOUT).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.calls.clone()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let sockets = {
            let mut state = self.shared.state();
            state.over = true;
            std::mem::take(&mut state.sockets)
        };
        // Wakes the listener, which then sees that it is over and gives its port back.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        for socket in sockets {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self, socket: TcpStream, connection: usize) {
        socket.set_nodelay(true).unwrap();
        match &self.tls {
            None => {
                let other = socket.try_clone().unwrap();
                if self.requests(socket, connection) {
                    // The list of sockets has it, too: only this ends it.
                    let _ = other.shutdown(Shutdown::Both);
                }
            }
            Some(tls) => {
                self.requests(StreamOwned::new(ServerConnection::new(tls.clone()).unwrap(), socket), connection);
            }
        }
    }

    /// Returns true if the client wants the connection closed after its request.
    fn requests(&self, mut stream: impl Read + Write, connection: usize) -> bool {
        let mut bytes = Vec::new();
        while let Some(call) = request(&mut stream, &mut bytes, connection) {
            self.state().calls.push(call.clone());
            self.called.notify_all();
            let Some((status, body)) = (self.handler)(&call) else {
                return false;
            };
            let redirects = (300..400).contains(&status);
            let location = if redirects { format!("Location: {body}\r\n") } else { String::new() };
            let body = if redirects { String::new() } else { body };
            let head = format!("HTTP/1.1 {status} X\r\n{location}Content-Length: {}\r\n\r\n", body.len());
            let close = call.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            if stream.write_all(format!("{head}{body}").as_bytes()).and_then(|()| stream.flush()).is_err() {
                return false;
            }
            if close {
                return true;
            }
        }
        false
    }
}

/// The fields of a form. Of two with the same name the last one counts, as in PHP.
fn form(text: &str) -> Value {
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let fields = text.split('&').filter(|field| !field.is_empty());
    let pairs = fields.map(|field| field.split_once('=').unwrap_or((field, "")));
    Value::Object(pairs.map(|(name, value)| (decoded(name), Value::String(decoded(value)))).collect())
}

/// The next request of a connection.
fn request(stream: &mut impl Read, bytes: &mut Vec<u8>, connection: usize) -> Option<Call> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(start) = head.parse(bytes).expect("it is HTTP") {
            let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
            let headers: Vec<_> =
                head.headers.iter().map(|header| (header.name.to_ascii_lowercase(), text(header.value))).collect();
            let length = headers.iter().find(|(name, _)| name == "content-length").expect("a length");
            let end = start + length.1.parse::<usize>().unwrap();
            if bytes.len() >= end {
                let (method, path) = (head.method.unwrap().to_owned(), head.path.unwrap().to_owned());
                let text = text(&bytes[start..end]);
                bytes.drain(..end);
                let is_form =
                    headers.iter().any(|(name, value)| name == "content-type" && value.contains("form-urlencoded"));
                let body = if is_form { form(&text) } else { serde_json::from_str(&text).expect("it is JSON") };
                return Some(Call { method, path, headers, text, body, connection });
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}
