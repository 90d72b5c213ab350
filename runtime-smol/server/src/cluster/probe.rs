//! Looks at the directory without a server that uses it, for `check` and `doctor`.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use anabranch_program::Fault;
use smol::future::FutureExt as _;
use smol::{Timer, block_on};

use super::clock;
use super::dial::{Dial, Dialed};
use super::replies::{self, error_of};
use super::settings::ClusterSettings;

/// How long one host of the directory may take, and the server's own address.
const LIMIT: Duration = Duration::from_secs(2);
/// The oldest version that can run the scripts.
const OLDEST: u64 = 5;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    /// What the directory is, in words, or why it cannot be used.
    pub(crate) directory: Option<Result<String, Fault>>,
    /// What will make trouble later.
    pub(crate) warnings: Vec<Fault>,
    /// Whether the advertised address is reached from here.
    pub(crate) advertise: Option<Result<String, Fault>>,
}

/// Asks the directory of these settings for its version and its rights, and connects to the advertised address. Nothing is
/// written there.
pub(crate) fn probe(settings: &ClusterSettings) -> Probe {
    let mut probe = Probe::default();
    let Some(place) = settings.redis.0.place() else {
        return probe;
    };
    // Files that cannot be used are found elsewhere.
    if let Ok(tls) = settings.tls() {
        let dial = Dial {
            place: place.clone(),
            sentinel_user: settings.sentinel_user.clone(),
            sentinel_password: settings.sentinel_password.0.clone(),
            tls,
            name: "anabranch-doctor".to_owned(),
            limit: LIMIT,
        };
        probe.directory = Some(block_on(look(&dial, settings, &mut probe.warnings)));
    }
    if let Ok(address) = settings.advertised() {
        let start = Instant::now();
        let addresses = (address.host.as_str(), address.port).to_socket_addrs();
        let connected = addresses.and_then(|mut addresses| {
            let first = addresses.next().ok_or(std::io::ErrorKind::NotFound)?;
            TcpStream::connect_timeout(&first, LIMIT)
        });
        probe.advertise = Some(match connected {
            Ok(_) => Ok(format!("{address} takes connections from this machine ({} ms)", start.elapsed().as_millis())),
            Err(error) => Err(Fault::new(
                format!("{address} is not reached from this machine: {error}"),
                "start the server, and see that the others reach it there; otherwise correct cluster.advertise",
            )),
        });
    }
    probe
}

async fn look(dial: &Dial, settings: &ClusterSettings, warnings: &mut Vec<Fault>) -> Result<String, Fault> {
    let start = Instant::now();
    let opened = dial.open(0).await;
    let Dialed { mut link, address, scripts, .. } =
        opened.map_err(|error| Fault::new(error.words.clone(), error.reason.cure()))?;
    let took = start.elapsed().as_millis();
    let fault = |words: String, cure: &str| Fault::new(format!("{address}: {words}"), cure);
    let rights =
        "give the user the commands of its keys, EVAL, EVALSHA, SCRIPT LOAD, SUBSCRIBE and PUBLISH (ACL SETUSER)";
    let asked = Instant::now();
    link.send(&["INFO"]);
    let key = settings.prefix.clone() + "doctor";
    link.send(&["EVAL", "local time = redis.call('TIME') redis.call('GET', KEYS[1]) return time", "1", &key]);
    let answers = async { Ok((link.reply().await?, link.reply().await?)) };
    let late = async {
        Timer::after(LIMIT).await;
        Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
    };
    let answers: Result<_, super::link::LinkError> = answers.or(late).await;
    let (now, waited) = (clock::now(), asked.elapsed());
    let (info, ran) = answers.map_err(|error| fault(error.to_string(), "look whether the Redis is overloaded"))?;
    if let Some(words) = error_of(&ran) {
        return Err(fault(format!("it does not run scripts: {words}"), rights));
    }
    let time =
        replies::time(&ran).map_err(|error| fault(error.words().to_owned(), "see which program answers there"))?;
    warnings.extend(clock::fault(time, now, waited));
    if scripts.is_empty() {
        warnings.push(fault("the user may not load scripts, so each request carries its script".to_owned(), rights));
    }
    let info = replies::text(&info).unwrap_or_default();
    let value = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let version = value("redis_version").unwrap_or("unknown");
    if version.split('.').next().and_then(|major| major.parse::<u64>().ok()).is_some_and(|major| major < OLDEST) {
        let words = format!("it is Redis {version}, which cannot run the scripts");
        return Err(fault(words, "use version 5 or newer"));
    }
    let policy = value("maxmemory_policy").unwrap_or("noeviction");
    if value("maxmemory").is_some_and(|most| most != "0") && policy != "noeviction" {
        let words =
            format!("it removes keys when its memory is full (maxmemory-policy {policy}), names of live streams, too");
        warnings.push(fault(words, "set maxmemory-policy noeviction, or use a separate Redis"));
    }
    if dial.place.password.is_none() && settings.secret.0.is_empty() && !address.ip().is_loopback() {
        let words = "it has no password, and keeps the secret of the cluster: all machines that reach it can read that";
        warnings.push(fault(words.to_owned(), "set a password (requirepass, or a user), or cluster.secret"));
    }
    Ok(format!("Redis {version} at {address} answers in {took} ms and runs the scripts"))
}
