use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

/// How long a scripted client waits for what must come. Nothing takes a tenth of it.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// How the server's side of a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In good order.
    Closed,
    /// By a reset: bytes lay unread when it closed. Cases that flood a server must take it.
    Reset,
    /// Not at all within the time.
    Open,
}

/// A TCP connection whose reads and writes give up in time.
#[derive(Debug)]
pub struct Wire {
    socket: TcpStream,
    opened: Instant,
}

impl Wire {
    /// Connects, and says nothing.
    ///
    /// # Panics
    /// If the server does not accept.
    pub fn dial(server: impl Into<SocketAddr>) -> Self {
        let opened = Instant::now();
        let socket = TcpStream::connect_timeout(&server.into(), TIMEOUT).expect("the server accepts");
        Wire::over(socket, opened)
    }

    /// Connects with room for `bytes` that came and were not read, as little as the system gives: a client that does
    /// not read then soon has a window of zero.
    ///
    /// # Panics
    /// If the server does not accept.
    pub fn dial_narrow(server: impl Into<SocketAddr>, bytes: usize) -> Self {
        let (opened, address) = (Instant::now(), server.into());
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(bytes).expect("a socket option");
        socket.connect_timeout(&address.into(), TIMEOUT).expect("the server accepts");
        Wire::over(socket.into(), opened)
    }

    fn over(socket: TcpStream, opened: Instant) -> Self {
        socket.set_nodelay(true).expect("a socket option");
        socket.set_write_timeout(Some(TIMEOUT)).expect("a socket option");
        Wire { socket, opened }
    }

    /// The same connection, for another thread.
    ///
    /// # Panics
    /// If the system has no file left.
    pub fn again(&self) -> Self {
        Wire { socket: self.socket.try_clone().expect("the system has a file left"), opened: self.opened }
    }

    /// Just before the connection was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Writes all of it. A read notices a server that has hung up.
    pub fn write(&mut self, bytes: &[u8]) {
        match self.socket.write_all(bytes) {
            Ok(()) => {}
            Err(error) if is_hang_up(&error) => {}
            Err(error) => panic!("{} bytes could not be written: {error}", bytes.len()),
        }
    }

    /// Writes until the server takes no more for `time`, or has taken all; how many bytes it took.
    pub fn write_until_blocked(&mut self, bytes: &[u8], time: Duration) -> usize {
        self.socket.set_write_timeout(Some(time)).expect("a socket option");
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            match self.socket.write(rest) {
                Ok(count) => taken += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.socket.set_write_timeout(Some(TIMEOUT)).expect("a socket option");
        taken
    }

    /// Writes again and again, without reading, until the server hangs up.
    ///
    /// # Panics
    /// If it does not for this time.
    pub fn write_until_closed(&mut self, bytes: &[u8], time: Duration) {
        let deadline = Instant::now() + time;
        let mut at = 0;
        self.socket.set_write_timeout(Some(Duration::from_secs(1))).expect("a socket option");
        while Instant::now() < deadline {
            match self.socket.write(&bytes[at..]) {
                Ok(count) => at = (at + count) % bytes.len(),
                Err(error) if is_hang_up(&error) => return,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("writing: {error}"),
            }
        }
        panic!("the server does not hang up in {time:?}");
    }

    /// Writes byte after byte, with so much time after each, until the server hangs up; how many that were.
    pub fn trickle(&mut self, bytes: &[u8], pause: Duration) -> usize {
        for (number, byte) in bytes.iter().enumerate() {
            self.write(&[*byte]);
            if !matches!(self.read_before(Instant::now() + pause, &mut [0]), Err(End::Open)) {
                return number;
            }
        }
        bytes.len()
    }

    /// Reads exactly so many bytes.
    pub fn read_exact(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        let deadline = Instant::now() + TIMEOUT;
        while filled < count {
            match self.read_before(deadline, &mut bytes[filled..]) {
                Ok(read) => filled += read,
                Err(end) => panic!("{end:?} after {filled} of {count} bytes"),
            }
        }
        bytes
    }

    /// Reads to the end; what came, and how it ended.
    pub fn read_to_end(&mut self) -> (Vec<u8>, End) {
        self.read_to_end_in(TIMEOUT)
    }

    /// The same with so much time for it.
    pub fn read_to_end_in(&mut self, time: Duration) -> (Vec<u8>, End) {
        let deadline = Instant::now() + time;
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match self.read_before(deadline, &mut buffer) {
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(end) => return (bytes, end),
            }
        }
    }

    /// Reads for `time` and lets be what comes; how the connection ended meanwhile, if it did.
    pub fn receive_for(&mut self, time: Duration) -> End {
        let deadline = Instant::now() + time;
        let mut buffer = [0; 4096];
        loop {
            if let Err(end) = self.read_before(deadline, &mut buffer) {
                return end;
            }
        }
    }

    /// Reads one byte and takes `time` for it, whatever more there is.
    pub fn read_one_after(&mut self, time: Duration) -> End {
        let start = Instant::now();
        let end = self.read_before(start + time, &mut [0]).err().unwrap_or(End::Open);
        std::thread::sleep(time.saturating_sub(start.elapsed()));
        end
    }

    /// Nothing is said any more, and the connection is closed by the server.
    pub fn assert_closed(&mut self) {
        let (bytes, end) = self.read_to_end();
        assert_eq!((bytes.len(), end != End::Open), (0, true), "{end:?} after {bytes:02x?}");
    }

    /// Reads at least one byte.
    pub(super) fn read_before(&mut self, deadline: Instant, buffer: &mut [u8]) -> Result<usize, End> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(End::Open);
            }
            self.socket.set_read_timeout(Some(left)).expect("a socket option");
            match self.socket.read(buffer) {
                Ok(0) => return Err(End::Closed),
                Ok(count) => return Ok(count),
                Err(error) if is_hang_up(&error) => return Err(End::Reset),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("reading: {error}"),
            }
        }
    }

    /// Says that nothing more will be sent, and reads on.
    pub fn shut_down_writing(&mut self) {
        // One that the server has closed already is as good.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Hangs up with a reset, as a machine does that has lost its memory.
    pub fn reset(self) {
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).expect("a socket option");
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}
