//! Looks up the addresses of a back end's name.
//!
//! A look-up by the system may take any time. ureq's own resolver starts a thread for each look-up, and panics if the
//! system starts none. An endpoint has one name, so one thread looks it up for all calls that need it, and each call
//! waits no longer than its timeout.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// The largest number of a name's addresses that are tried.
const ADDRESSES: usize = 16;

/// Looks up the name in one URL. Dropping it ends its thread.
#[derive(Debug)]
pub(super) struct Names {
    of: Of,
}

#[derive(Debug)]
enum Of {
    /// The host is an address.
    Address(SocketAddr),
    Name(Arc<Lookup>),
}

struct Lookup {
    /// Host and port.
    name: String,
    find: Box<Find>,
    state: Mutex<State>,
    asked: Condvar,
    answered: Condvar,
}

/// Asks the system.
type Find = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

#[derive(Debug)]
struct State {
    /// Numbers of look-ups that were requested and that are done.
    asked: u64,
    answered: u64,
    /// The result of the last one.
    found: Result<Vec<SocketAddr>, (ErrorKind, String)>,
    over: bool,
}

impl Names {
    /// The resolver for calls to this URL.
    ///
    /// # Errors
    /// The system starts no thread, or the URL has no host.
    pub(super) fn of(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("hooks: {error}"))?;
        let (scheme, authority) = uri.scheme().zip(uri.authority()).ok_or("hooks: a URL without a host")?;
        let name = DefaultResolver::host_and_port(scheme, authority).ok_or("hooks: a URL without a port")?;
        if let Some(address) = literal(&name) {
            return Ok(Names { of: Of::Address(address) });
        }
        Names::looked_up(name, Box::new(|name| name.to_socket_addrs().map(Iterator::collect)))
            .map_err(|error| format!("hooks: cannot start a thread to look up a name: {error}"))
    }

    fn looked_up(name: String, find: Box<Find>) -> io::Result<Self> {
        let state = State { asked: 0, answered: 0, found: Ok(Vec::new()), over: false };
        let (asked, answered) = (Condvar::new(), Condvar::new());
        let lookup = Arc::new(Lookup { name, find, state: Mutex::new(state), asked, answered });
        let its_lookup = lookup.clone();
        thread::Builder::new().name("hook-name".to_owned()).spawn(move || its_lookup.run())?;
        Ok(Names { of: Of::Name(lookup) })
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        if let Of::Name(lookup) = &self.of {
            lookup.state().over = true;
            lookup.asked.notify_one();
        }
    }
}

impl Resolver for Names {
    fn resolve(&self, _: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let found = match &self.of {
            Of::Address(address) => vec![*address],
            Of::Name(lookup) => lookup.wait(*timeout.after, || Error::Timeout(timeout.reason))?,
        };
        let mut addresses = self.empty();
        found.into_iter().take(ADDRESSES).for_each(|address| addresses.push(address));
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

impl Lookup {
    /// Waits for the result of the look-up under way, or begins one.
    fn wait(&self, time: std::time::Duration, late: impl Fn() -> Error) -> Result<Vec<SocketAddr>, Error> {
        let mut state = self.state();
        if state.asked == state.answered {
            state.asked += 1;
            self.asked.notify_one();
        }
        let mine = state.asked;
        let waited = self.answered.wait_timeout_while(state, time, |state| state.answered < mine);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.answered < mine {
            return Err(late());
        }
        state.found.clone().map_err(|(kind, words)| Error::Io(io::Error::new(kind, words)))
    }

    fn run(&self) {
        let mut state = self.state();
        loop {
            let waited = self.asked.wait_while(state, |state| state.asked == state.answered && !state.over);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            if state.over {
                return;
            }
            let asked = state.asked;
            drop(state);
            let found = catch_unwind(AssertUnwindSafe(|| (self.find)(&self.name)));
            let found = found.unwrap_or_else(|_| Err(io::Error::other("looking up its name panicked")));
            state = self.state();
            state.found = found.map_err(|error| (error.kind(), error.to_string()));
            state.answered = asked;
            self.answered.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The text as an address with a port, if it is one.
fn literal(name: &str) -> Option<SocketAddr> {
    let (host, port) = name.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some(SocketAddr::new(host.parse::<IpAddr>().ok()?, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn lookup(names: &Names) -> Arc<Lookup> {
        match &names.of {
            Of::Name(lookup) => lookup.clone(),
            Of::Address(address) => panic!("{address}"),
        }
    }

    #[test]
    fn an_address_is_not_looked_up_and_a_name_has_a_thread() {
        for (url, address) in [
            ("http://127.0.0.1:8085/x", "127.0.0.1:8085"),
            ("https://127.0.0.1", "127.0.0.1:443"),
            ("http://[::1]:1/", "[::1]:1"),
            ("http://user@[::1]/", "[::1]:80"),
        ] {
            let names = Names::of(url).unwrap();
            assert!(matches!(names.of, Of::Address(found) if found.to_string() == address), "{url}: {names:?}");
        }
        let names = Names::of("http://localhost:5/").unwrap();
        let found = lookup(&names).wait(TIMEOUT, || Error::HostNotFound).unwrap();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback() && address.port() == 5));
        assert!(Names::of("nothing").is_err());
    }

    #[test]
    fn a_call_that_waits_for_a_slow_answer_waits_no_longer_than_it_may() {
        let (open, gate) = channel::<()>();
        let (gate, known) = (Mutex::new(gate), Arc::new(Mutex::new(true)));
        let knows = known.clone();
        let find = move |_: &str| {
            let _ = gate.lock().unwrap().recv();
            let found = vec![([127, 0, 0, 1], 80).into()];
            if *knows.lock().unwrap() { Ok(found) } else { Err(io::Error::other("no such name")) }
        };
        let names = Names::looked_up("back.end:80".to_owned(), Box::new(find)).unwrap();
        let lookup = lookup(&names);
        let start = Instant::now();
        let late = || Error::HostNotFound;
        assert!(matches!(lookup.wait(Duration::from_millis(20), late), Err(Error::HostNotFound)));
        assert!(start.elapsed() >= Duration::from_millis(20));
        let waiting = lookup.clone();
        let other = thread::spawn(move || waiting.wait(TIMEOUT, || Error::HostNotFound));
        drop(open);
        assert_eq!(other.join().unwrap().unwrap().len(), 1);
        *known.lock().unwrap() = false;
        let error = lookup.wait(TIMEOUT, late).unwrap_err();
        assert!(error.to_string().contains("no such name"), "{error}");
    }

    #[test]
    fn a_look_up_that_panics_is_an_error_and_the_next_one_works() {
        let find = {
            let calls = Mutex::new(0);
            move |_: &str| {
                let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
                *calls += 1;
                assert!(*calls > 1, "the first panics");
                Ok(vec![([127, 0, 0, 1], 80).into()])
            }
        };
        let names = Names::looked_up("back.end:80".to_owned(), Box::new(find)).unwrap();
        let lookup = lookup(&names);
        assert!(lookup.wait(TIMEOUT, || Error::HostNotFound).is_err());
        assert!(lookup.wait(TIMEOUT, || Error::HostNotFound).is_ok());
        drop(names);
        // Its thread ends and drops its reference; the test's is the last.
        let start = Instant::now();
        while Arc::strong_count(&lookup) > 1 {
            assert!(start.elapsed() < TIMEOUT);
            thread::yield_now();
        }
    }
}
