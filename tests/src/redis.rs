//! Redis as tests of a cluster need it: one on a free port without files, its Sentinels, and a link in front of it that can
//! be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::program::{Process, free_address};
use crate::{Folder, TIMEOUT, wait_for};

/// A `redis-server` on loopback. It keeps nothing on the disk, and ends with the value.
#[derive(Debug)]
pub struct Redis {
    process: Option<Process>,
    address: SocketAddr,
    options: Vec<String>,
    /// The options of `redis-cli`, such as the password.
    client: Vec<String>,
    folder: Folder,
}

impl Redis {
    /// Starts one.
    ///
    /// # Panics
    /// If it does not come up.
    #[allow(clippy::new_without_default)] // it starts a program
    pub fn new() -> Self {
        Redis::with(&[], &[])
    }

    /// Starts one with these options as well, in which `PORT` stands for its port; `client` are those that `redis-cli` needs
    /// to reach it.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn with(options: &[&str], client: &[&str]) -> Self {
        let owned = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let mut redis = Redis {
            process: None,
            address: free_address(),
            options: owned(options),
            client: owned(client),
            folder: Folder::new(),
        };
        redis.start();
        redis
    }

    /// Starts it again, after [`kill`](Self::kill). It has no data then.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(&mut self) {
        let port = self.address.port().to_string();
        let folder = self.folder.path().display().to_string();
        // A later option of the same name replaces an earlier one.
        let mut words = vec!["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        words.extend(["--dir", &folder, "--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"]);
        let options: Vec<_> = self.options.iter().map(|option| option.replace("PORT", &port)).collect();
        words.extend(options.iter().map(String::as_str));
        let process = Process::start("redis-server", words);
        process.wait_for("Redis on its port", || self.try_command(&["PING"]).filter(|said| said == "PONG"));
        self.process = Some(process);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL for servers.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Has it do a command; what it answers.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn command(&self, words: &[&str]) -> String {
        self.try_command(words).unwrap_or_else(|| panic!("Redis does not answer {words:?}"))
    }

    /// The same; `None` if it does not answer. A Sentinel that makes it a replica ends its connections.
    pub fn try_command(&self, words: &[&str]) -> Option<String> {
        command(self.address, &self.client, words)
    }

    /// Ends it at once.
    ///
    /// # Panics
    /// If it does not end.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
            process.wait_exit(TIMEOUT);
        }
    }

    /// Stops its process, until [`resume`](Self::resume). It still accepts connections, as far as the system does that for it.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        if let Some(process) = &self.process {
            process.signal(name);
        }
    }
}

fn command(address: SocketAddr, options: &[String], words: &[&str]) -> Option<String> {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut command = Command::new("redis-cli");
    command.args(["-h", &host, "-p", &port, "--no-auth-warning"]).args(options).args(words);
    let output = command.output().unwrap_or_else(|error| panic!("redis-cli: {error} (tests/run installs it)"));
    let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    output.status.success().then_some(said)
}

/// Three Sentinels of one master.
#[derive(Debug)]
pub struct Sentinels {
    _processes: Vec<Process>,
    addresses: Vec<SocketAddr>,
    _folder: Folder,
}

impl Sentinels {
    /// The name of the master.
    pub const MASTER: &str = "anabranch-tests";

    /// Starts three that watch `master`, and waits until they know each other and its replica.
    ///
    /// # Panics
    /// If they do not come up.
    pub fn of(master: &Redis) -> Self {
        let folder = Folder::new();
        let addresses: Vec<_> = (0..3).map(|_| free_address()).collect();
        let at = master.address();
        let processes = addresses.iter().enumerate().map(|(index, address)| {
            let name = Sentinels::MASTER;
            let text = format!(
                "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor {name} {} {} 2\n\
                 sentinel down-after-milliseconds {name} 1000\nsentinel failover-timeout {name} 5000\n",
                address.port(),
                folder.path().display(),
                at.ip(),
                at.port(),
            );
            let file = folder.write(&format!("sentinel-{index}.conf"), &text);
            Process::start("redis-sentinel", [file])
        });
        let processes: Vec<_> = processes.collect();
        let sentinels = Sentinels { _processes: processes, addresses, _folder: folder };
        for address in &sentinels.addresses {
            wait_for("Sentinels that know all", TIMEOUT, || {
                let said = command(*address, &[], &["SENTINEL", "MASTER", Sentinels::MASTER])?;
                let lines: Vec<_> = said.lines().collect();
                let is = |name: &str, number: &str| value(&lines, name) == Some(number);
                (is("num-other-sentinels", "2") && is("num-slaves", "1")).then_some(())
            });
        }
        sentinels
    }

    /// The URL for servers.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        format!("redis-sentinel://{}/{}", hosts.join(","), Sentinels::MASTER)
    }

    /// Has them make this replica the master, which is no crash. True once it is for all of them: call it until then.
    ///
    /// It asks only once each of them has seen the replica as one. One that has not, because the replica was the master
    /// before, would turn it back after the replacement.
    pub fn fail_over_to(&self, replica: SocketAddr) -> bool {
        let port = replica.port().to_string();
        if self.each_says(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Sentinels::MASTER], |lines| lines.contains(&&*port))
        {
            return true;
        }
        let seen = self.each_says(&["SENTINEL", "REPLICAS", Sentinels::MASTER], |lines| {
            lines.contains(&&*port)
                && value(lines, "role-reported") == Some("slave")
                && value(lines, "flags") == Some("slave")
        });
        if seen {
            // One that is in progress, or cannot begin yet, is an error.
            let _ = command(self.addresses[0], &[], &["SENTINEL", "FAILOVER", Sentinels::MASTER]);
        }
        false
    }

    /// Whether the answer of each of them to these words has this.
    fn each_says(&self, words: &[&str], has: impl Fn(&[&str]) -> bool) -> bool {
        self.addresses
            .iter()
            .all(|address| command(*address, &[], words).is_some_and(|said| has(&said.lines().collect::<Vec<_>>())))
    }
}

/// The value after this name in an answer of names and values.
fn value<'a>(lines: &[&'a str], name: &str) -> Option<&'a str> {
    let place = lines.iter().position(|line| *line == name)?;
    lines.get(place + 1).copied()
}

/// A link to a server that can be cut like a cable: nothing passes any more, and no end is told.
#[derive(Debug)]
pub struct Cable {
    address: SocketAddr,
    state: Arc<CableState>,
}

#[derive(Debug, Default)]
struct CableState {
    is_cut: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

impl Cable {
    /// A link to this address.
    ///
    /// # Panics
    /// If the system has no port left.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let address = listener.local_addr().expect("it has an address");
        let state = Arc::new(CableState::default());
        let shared = state.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || shared.carry(near, target));
            }
        });
        Cable { address, state }
    }

    /// The near end.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts it, or mends it. What was on the way while it was cut arrives later, as after a partition.
    pub fn cut(&self, is_cut: bool) {
        self.state.is_cut.store(is_cut, Ordering::SeqCst);
    }

    /// Resets all connections.
    pub fn reset(&self) {
        for socket in self.state.sockets.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl CableState {
    fn carry(self: &Arc<Self>, near: TcpStream, target: SocketAddr) {
        self.wait();
        let Ok(far) = TcpStream::connect(target) else { return };
        let copies = [&near, &far].map(|socket| socket.try_clone().expect("sockets can be shared"));
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).extend(copies);
        let [near_back, far_back] = [&near, &far].map(|socket| socket.try_clone().expect("sockets can be shared"));
        let back = self.clone();
        thread::spawn(move || back.pass(far_back, near_back));
        self.pass(near, far);
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            self.wait();
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        self.wait();
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }

    /// Waits until the link is whole.
    fn wait(&self) {
        while self.is_cut.load(Ordering::SeqCst) {
            thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}
