use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use redis_protocol::resp2::types::OwnedFrame as Frame;
use rustls::ClientConfig;
use smol::Timer;
use smol::future::FutureExt as _;

use super::link::{Link, LinkError};
use super::redis_url::{Place, host_and_port};
use super::replies::{self, error_of};
use super::scripts::Script;

/// How the directory is reached.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    pub(super) place: Place,
    /// The user and the password of the Sentinels; empty if they want none.
    pub(super) sentinel_user: String,
    pub(super) sentinel_password: String,
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// The name that Redis shows for the connection (`CLIENT LIST`).
    pub(super) name: String,
    /// How long one host may take.
    pub(super) limit: Duration,
}

/// A connection on which requests can be sent.
#[derive(Debug)]
pub(super) struct Dialed {
    pub(super) link: Link,
    /// The host that was reached, which a certificate must name.
    pub(super) host: String,
    pub(super) address: SocketAddr,
    /// The names of the scripts there, in the order of [`Script::ALL`]; empty if the user may not load scripts.
    pub(super) scripts: Vec<String>,
}

/// Why the directory was not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DialError {
    pub(crate) reason: DialReason,
    /// The host and what it said.
    pub(crate) words: String,
}

/// The kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialReason {
    /// The host's name is not known.
    Name,
    /// No connection, or it broke.
    Connection,
    /// TLS: the certificate, or no TLS there.
    Tls,
    /// No reply in time.
    Silent,
    /// User or password are wrong, or missing.
    Password,
    /// What answers is no Redis, or one that cannot be used now.
    Unfit,
    /// The Redis is a replica, so nothing can be written there.
    Replica,
    /// The Sentinels know no master of that name.
    NoMaster,
}

impl DialReason {
    /// What the operator can do.
    pub(crate) fn cure(self) -> &'static str {
        match self {
            DialReason::Name => {
                "correct the host's name in cluster.redis, or look at this machine's DNS (getent hosts NAME)"
            }
            DialReason::Connection => {
                "start the Redis, or correct host and port in cluster.redis; look at firewalls between"
            }
            DialReason::Tls => {
                "name the authority's certificate in cluster.ca_file; a Redis without TLS is written redis://, one with TLS \
                 rediss://"
            }
            DialReason::Silent => {
                "look whether the Redis is stopped or overloaded, and whether a firewall drops packets to it"
            }
            DialReason::Password => "correct user and password in cluster.redis, as in redis://USER:PASSWORD@HOST",
            DialReason::Unfit => {
                "look at the Redis: it must be version 5 or newer, and the user may run EVAL on the keys"
            }
            DialReason::Replica => {
                "name the master in cluster.redis, or its Sentinels as redis-sentinel://HOST,HOST/MASTER"
            }
            DialReason::NoMaster => {
                "correct the name of the master in cluster.redis (SENTINEL MASTERS lists the names)"
            }
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl DialError {
    fn new(reason: DialReason, at: &str, words: impl fmt::Display) -> Self {
        // Words of a peer: no control characters, and not without end.
        let words: String = words.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
        DialError { reason, words: format!("{at}: {words}") }
    }

    fn of_link(at: &str, error: &LinkError) -> Self {
        let is_tls = matches!(error, LinkError::Io(error) if error.kind() == io::ErrorKind::InvalidData);
        let reason = match error {
            LinkError::Reply(_) => DialReason::Unfit,
            LinkError::Io(_) if is_tls => DialReason::Tls,
            LinkError::Io(_) | LinkError::Closed => DialReason::Connection,
        };
        DialError::new(reason, at, error)
    }

    fn of_reply(at: &str, words: &str) -> Self {
        let code = words.split(' ').next().unwrap_or_default();
        let is_password = matches!(code, "WRONGPASS" | "NOAUTH") || words.contains("AUTH");
        DialError::new(
            if is_password { DialReason::Password } else { DialReason::Unfit },
            at,
            format!("it says {words:?}"),
        )
    }
}

impl Dial {
    /// Connects to the Redis that has the data. `turn` says which host comes first, so that a host that does not answer
    /// does not delay each attempt.
    ///
    /// # Errors
    /// Why the last host could not be used.
    pub(super) async fn open(&self, turn: usize) -> Result<Dialed, DialError> {
        let hosts = &self.place.hosts;
        let mut last = None;
        for index in 0..hosts.len() {
            let Some((host, port)) = hosts.get((turn + index) % hosts.len()) else { continue };
            let at = host_and_port(host, *port);
            let opened = match &self.place.master {
                None => within(self.limit, &at, self.open_redis(host, *port)).await,
                Some(master) => match within(self.limit, &at, self.ask_sentinel(host, *port, master)).await {
                    Ok((host, port)) => {
                        let at = format!("{} (the master that the Sentinel {at} names)", host_and_port(&host, port));
                        within(self.limit, &at, self.open_redis(&host, port)).await
                    }
                    Err(error) => Err(error),
                },
            };
            match opened {
                Ok(dialed) => return Ok(dialed),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| DialError::new(DialReason::Unfit, "cluster.redis", "it names no host")))
    }

    /// Opens one more connection to a Redis that was reached, for notices.
    ///
    /// # Errors
    /// It cannot be reached, or refuses.
    pub(super) async fn open_again(&self, host: &str, address: SocketAddr) -> Result<Link, DialError> {
        let at = address.to_string();
        within(self.limit, &at, async {
            let link = Link::open(address, host, self.tls.as_ref()).await;
            let mut link = link.map_err(|error| DialError::of_link(&at, &LinkError::Io(error)))?;
            self.sign_in(&mut link, &at).await?;
            Ok(link)
        })
        .await
    }

    /// The addresses of the Redis that the Sentinels take for the master now.
    ///
    /// # Errors
    /// No Sentinel answers; or there are none.
    pub(super) async fn master(&self, turn: usize) -> Result<Vec<SocketAddr>, DialError> {
        let (hosts, name) = (&self.place.hosts, self.place.master.as_deref().unwrap_or_default());
        let mut last = None;
        for index in 0..hosts.len() {
            let Some((host, port)) = hosts.get((turn + index) % hosts.len()) else { continue };
            let at = host_and_port(host, *port);
            let asked = async {
                let (host, port) = self.ask_sentinel(host, *port, name).await?;
                resolve(&host, port).await
            };
            match within(self.limit, &at, asked).await {
                Ok(addresses) => return Ok(addresses),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| DialError::new(DialReason::Unfit, "cluster.redis", "it names no Sentinel")))
    }

    async fn connect(&self, host: &str, port: u16) -> Result<(Link, SocketAddr, String), DialError> {
        let at = host_and_port(host, port);
        let mut last = DialError::new(DialReason::Name, &at, "it has no address");
        for address in resolve(host, port).await? {
            match Link::open(address, host, self.tls.as_ref()).await {
                Ok(link) => return Ok((link, address, at)),
                Err(error) => last = DialError::of_link(&at, &LinkError::Io(error)),
            }
        }
        Err(last)
    }

    async fn ask_sentinel(&self, host: &str, port: u16, master: &str) -> Result<(String, u16), DialError> {
        let (mut link, _, at) = self.connect(host, port).await?;
        let failed = |error: LinkError| DialError::of_link(&at, &error);
        authenticate(&mut link, &self.sentinel_user, &self.sentinel_password);
        link.send(&["SENTINEL", "get-master-addr-by-name", master]);
        if !self.sentinel_password.is_empty() {
            let reply = link.reply().await.map_err(failed)?;
            check(&reply, &at)?;
        }
        let reply = link.reply().await.map_err(failed)?;
        check(&reply, &at)?;
        let known = replies::master(&reply).map_err(|error| failed(error.into()))?;
        known.ok_or_else(|| {
            DialError::new(DialReason::NoMaster, &at, format!("the Sentinel knows no master {master:?}"))
        })
    }

    async fn open_redis(&self, host: &str, port: u16) -> Result<Dialed, DialError> {
        let (mut link, address, at) = self.connect(host, port).await?;
        let failed = |error: LinkError| DialError::of_link(&at, &error);
        self.sign_in(&mut link, &at).await?;
        link.send(&["ROLE"]);
        for script in Script::ALL {
            link.send(&["SCRIPT", "LOAD", script.text()]);
        }
        let role = link.reply().await.map_err(failed)?;
        // Users who may not ask for the role learn it from the first write that a replica refuses.
        if replies::first(&role).is_some_and(|role| role != "master") {
            return Err(DialError::new(DialReason::Replica, &at, "the Redis is a replica"));
        }
        let mut scripts = Vec::new();
        for _ in Script::ALL {
            let loaded = link.reply().await.map_err(failed)?;
            scripts.extend(replies::text(&loaded).ok().map(str::to_owned));
        }
        if scripts.len() < Script::ALL.len() {
            scripts.clear();
        }
        Ok(Dialed { link, host: host.to_owned(), address, scripts })
    }

    /// The beginning of each connection to a Redis.
    async fn sign_in(&self, link: &mut Link, at: &str) -> Result<(), DialError> {
        let failed = |error: LinkError| DialError::of_link(at, &error);
        let Place { user, password, database, .. } = &self.place;
        let password = password.as_ref().map_or("", |password| password.0.as_str());
        authenticate(link, user.as_deref().unwrap_or_default(), password);
        let database = database.to_string();
        link.send(&["CLIENT", "SETNAME", &self.name]);
        link.send(&["SELECT", &database]);
        if !password.is_empty() {
            check(&link.reply().await.map_err(failed)?, at)?;
        }
        // A user may be forbidden to name its connection.
        let named = link.reply().await.map_err(failed)?;
        if error_of(&named).is_some_and(|words| words.starts_with("NOAUTH")) {
            check(&named, at)?;
        }
        check(&link.reply().await.map_err(failed)?, at)
    }
}

fn authenticate(link: &mut Link, user: &str, password: &str) {
    match (user, password) {
        (_, "") => {}
        // As all versions take it.
        ("", password) => link.send(&["AUTH", password]),
        (user, password) => link.send(&["AUTH", user, password]),
    }
}

fn check(reply: &Frame, at: &str) -> Result<(), DialError> {
    error_of(reply).map_or(Ok(()), |words| Err(DialError::of_reply(at, words)))
}

/// The addresses of a host.
pub(super) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    smol::net::resolve((host, port)).await.map_err(|error| DialError::new(DialReason::Name, host, error))
}

async fn within<T>(
    limit: Duration,
    at: &str,
    work: impl Future<Output = Result<T, DialError>>,
) -> Result<T, DialError> {
    let late = async {
        Timer::after(limit).await;
        Err(DialError::new(DialReason::Silent, at, format!("no reply within {} ms", limit.as_millis())))
    };
    work.or(late).await
}
