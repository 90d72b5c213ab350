use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A server of files for browsers: the page of a stranger with a player that is not ours. It ends with the value.
#[derive(Debug)]
pub struct Pages {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Pages {
    /// Serves files, each with its path and its media type.
    ///
    /// # Panics
    /// If there is no port for it.
    pub fn start(files: Vec<(&'static str, &'static str, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
        let address = listener.local_addr().expect("it has an address");
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = thread::spawn(move || {
            for socket in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(socket) = socket {
                    // What a browser gives up is not asked for again.
                    let _ = answer(socket, &files);
                }
            }
        });
        Pages { address, is_over, thread: Some(thread) }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request for each connection. A browser may open one that it does not use.
fn answer(mut socket: TcpStream, files: &[(&str, &str, Vec<u8>)]) -> std::io::Result<()> {
    socket.set_read_timeout(Some(std::time::Duration::from_millis(500)))?;
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match socket.read(&mut buffer)? {
            0 => return Ok(()),
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    let (status, kind, body) = files
        .iter()
        .find(|(known, ..)| *known == path)
        .map_or(("404 Not Found", "text/plain", [].as_slice()), |(_, kind, body)| ("200 OK", *kind, body.as_slice()));
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    socket.write_all(&[head.as_bytes(), body].concat())
}
