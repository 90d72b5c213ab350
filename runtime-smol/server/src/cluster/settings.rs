use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs};

use anabranch_core::cluster::{ClusterConfig, Member};
use anabranch_core::location;
use anabranch_program::Fault;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::advertise::Advertise;
use super::record::{LONGEST_NODE, is_name};
use super::redis_url::RedisUrl;
use crate::settings::values::{Secret, Time};
use crate::settings::written::Of;

/// The shortest secret: a program that knows it can pull any stream.
const SHORTEST_SECRET: usize = 16;
/// The longest that is taken from the directory.
pub(super) const LONGEST_SECRET: usize = 256;
/// The longest prefix of keys.
const LONGEST_PREFIX: usize = 64;

/// Several servers as one: a Redis that all of them use says which server has which stream. It is a directory only: no
/// media passes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-restart" = true))]
pub(crate) struct ClusterSettings {
    /// The Redis: "redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]", "rediss://..." with TLS, or its Sentinels:
    /// "redis-sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]/MASTER[/DATABASE]", with TLS "rediss-sentinel://...".
    /// Several hosts are tried in turn. Version 5 or newer. "" for a server that stands alone.
    pub(crate) redis: Of<RedisUrl>,
    /// Where the other servers reach this one: "rtmp://HOST[:PORT]" or "rtmps://HOST[:PORT]". No two servers have the same.
    pub(crate) advertise: String,
    /// The server's id, different for each server and the same after a restart; "" for host and port of `advertise`.
    pub(crate) node: String,
    /// How long a name is held in the Redis without being renewed: so long a server that crashed keeps its streams' names.
    /// All servers have the same. With Sentinels at least 5s, because they take 2 to 3 s to replace a Redis.
    #[schemars(extend("x-minimum" = "3s", "x-maximum" = "60s"))]
    pub(crate) ttl: Time,
    /// What happens while the Redis does not answer. "serve": new publishers are accepted, and the one whose name another
    /// server has got meanwhile is closed later. "refuse": new publishers are refused, those that publish go on. "strict":
    /// as "refuse", and publishers are closed before another server can get their names.
    pub(crate) on_loss: OnLoss,
    /// What the keys in the Redis begin with. Clusters that share a Redis need different ones.
    pub(crate) prefix: String,
    /// The secret with which servers of the cluster prove to each other that they belong to it; "" for a random one that is
    /// kept in the Redis.
    pub(crate) secret: Secret,
    /// Whether a Redis that has lost its data gives out no new names for one `ttl`, until the servers have renewed theirs.
    /// It also delays the first publishers of a new cluster, unless `on_loss` is "serve".
    pub(crate) hold: bool,
    /// Whether clients can reach the servers of the cluster where `advertise` says. Then edges of SRS that play a stream of
    /// another server are sent there; other players get it through this server, as they do not follow redirects. When the
    /// server drains, clients that understand reconnect requests are sent to the server with the fewest clients.
    pub(crate) redirect: bool,
    /// To how many servers of the cluster this one sends a stream before it sends others that want it to one of these, which
    /// then give it to them. 0 for any number: then each server gets a stream from the one where it is published.
    #[schemars(range(max = 1000))]
    pub(crate) children: usize,
    /// Over how many connections between servers a stream comes at most; 1 if each server gets it from the one where it is
    /// published. Where this ends, servers send a stream to more than `children` others. All servers have the same.
    #[schemars(range(min = 1, max = 8))]
    pub(crate) depth: u8,
    /// Whether `/api/v1/clusters`, which edges and origins of SRS ask where a stream is, needs no credentials.
    pub(crate) srs_lookup: bool,
    /// The file of CA certificates in PEM for the certificate of the Redis; "" for the system's.
    pub(crate) ca_file: PathBuf,
    /// The server's own certificate in PEM, for a Redis that demands one (`tls-auth-clients yes`, its default); "" for none.
    pub(crate) certificate: PathBuf,
    /// The private key of that certificate in PEM.
    pub(crate) key: PathBuf,
    /// The user of the Sentinels, if they have a list of users.
    pub(crate) sentinel_user: String,
    /// The password of the Sentinels; "" for none. The one in `redis` is for the Redis.
    pub(crate) sentinel_password: Secret,
}

/// What happens while the Redis does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnLoss {
    #[default]
    Serve,
    Refuse,
    Strict,
}

impl From<OnLoss> for location::OnLoss {
    fn from(on_loss: OnLoss) -> Self {
        match on_loss {
            OnLoss::Serve => location::OnLoss::Serve,
            OnLoss::Refuse => location::OnLoss::Refuse,
            OnLoss::Strict => location::OnLoss::Strict,
        }
    }
}

impl fmt::Display for OnLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnLoss::Serve => "serve",
            OnLoss::Refuse => "refuse",
            OnLoss::Strict => "strict",
        })
    }
}

impl Default for ClusterSettings {
    fn default() -> Self {
        ClusterSettings {
            redis: Of(RedisUrl::default()),
            advertise: String::new(),
            node: String::new(),
            ttl: Time(Duration::from_secs(10)),
            on_loss: OnLoss::default(),
            prefix: "ab:".to_owned(),
            secret: Secret::default(),
            hold: true,
            redirect: false,
            children: ClusterConfig::default().children,
            depth: ClusterConfig::default().depth,
            srs_lookup: false,
            ca_file: PathBuf::new(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            sentinel_user: String::new(),
            sentinel_password: Secret::default(),
        }
    }
}

impl ClusterSettings {
    /// True if the server belongs to a cluster.
    pub(crate) fn is_on(&self) -> bool {
        self.redis.0.place().is_some()
    }

    /// What core knows of it.
    pub(crate) fn core(&self) -> Option<ClusterConfig> {
        let (redirect, children, depth) = (self.redirect, self.children, self.depth);
        // A server whose address cannot be used does not start.
        let member = self
            .advertised()
            .ok()
            .map(|address| Member { node: self.node(&address).into(), address: address.to_string().into() });
        let (member, on_loss, recheck) = (member.unwrap_or_default(), self.on_loss.into(), self.ttl.0);
        self.is_on().then_some(ClusterConfig { redirect, member, children, depth, on_loss, recheck })
    }

    /// How the server calls itself in URLs of its sessions; empty if it belongs to no cluster.
    #[cfg(feature = "webrtc")]
    pub(crate) fn node_name(&self) -> String {
        let address = self.advertised().ok().filter(|_| self.is_on());
        address.map(|address| self.node(&address)).unwrap_or_default()
    }

    /// How many servers get a stream from the one where it is published, before one sends it to more than `children`; `None`
    /// if that has no limit.
    pub(crate) fn reach(&self) -> Option<u64> {
        let (mut tier, mut all) = (1_u64, 0_u64);
        for _ in 0..self.depth {
            tier = tier.saturating_mul(self.children as u64);
            all = all.saturating_add(tier);
        }
        (self.children > 0).then_some(all)
    }

    /// True if only programs on this machine reach the server, and the Redis is on another.
    pub(crate) fn is_loopback_only(&self) -> bool {
        let is_here = |host: &str| Advertise { tls: false, host: host.to_owned(), port: 1 }.is_loopback();
        let redis_is_here = self.redis.0.place().is_some_and(|place| place.hosts.iter().all(|(host, _)| is_here(host)));
        self.advertised().is_ok_and(|address| address.is_loopback()) && !redis_is_here
    }

    /// Where other servers reach this one.
    ///
    /// # Errors
    /// No other server can reach it there.
    pub(crate) fn advertised(&self) -> Result<Advertise, Fault> {
        let cure = "set it to the address of this machine in the network of the servers, such as \
                    advertise = \"rtmp://10.0.0.7:1935\"";
        if self.advertise.is_empty() {
            return Err(Fault::new("the server does not say where the others reach it", cure));
        }
        let shown = &self.advertise;
        let address: Advertise =
            shown.parse().map_err(|words| Fault::new(format!("{shown:?} cannot be used: {words}"), cure))?;
        match address.unreachable() {
            Some(words) => Err(Fault::new(format!("{} {words}", address.host), cure)),
            None => Ok(address),
        }
    }

    /// The server's id. The address is unique in a working cluster, and stays the same, so it needs no file to keep it.
    pub(crate) fn node(&self, address: &Advertise) -> String {
        if self.node.is_empty() { address.authority() } else { self.node.clone() }
    }

    /// All that keeps the server from starting, each with its key.
    pub(crate) fn faults(&self) -> Vec<(&'static str, Fault)> {
        let mut faults = Vec::new();
        if !self.is_on() {
            return faults;
        }
        if let Err(fault) = self.advertised() {
            faults.push(("advertise", fault));
        }
        if !is_name(&self.node) {
            let words = format!("the id has more than {LONGEST_NODE} bytes, or blanks");
            faults.push(("node", Fault::new(words, "choose a short name such as \"edge-7\"")));
        }
        let prefix = &self.prefix;
        if prefix.len() > LONGEST_PREFIX || prefix.chars().any(|c| !c.is_ascii_graphic() || matches!(c, '{' | '}')) {
            let words = format!("the prefix has more than {LONGEST_PREFIX} bytes, or blanks, braces or other letters");
            faults.push(("prefix", Fault::new(words, "choose a short one such as \"ab:\"")));
        }
        if !self.secret.0.is_empty() && self.secret.0.len() < SHORTEST_SECRET {
            let words = format!("the secret has less than {SHORTEST_SECRET} bytes");
            let cure = "choose a random one (openssl rand -hex 32), or \"\" for one that the servers choose themselves";
            faults.push(("secret", Fault::new(words, cure)));
        }
        if let Err((key, words)) = self.tls() {
            faults.push((key, Fault::new(words, "name a readable file in PEM, or \"\"")));
        }
        faults
    }

    /// How the server speaks TLS with the Redis, if it does.
    ///
    /// # Errors
    /// A file cannot be used: its key and why.
    pub(super) fn tls(&self) -> Result<Option<Arc<ClientConfig>>, (&'static str, String)> {
        if !self.redis.0.place().is_some_and(|place| place.tls) {
            return Ok(None);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| ("redis", error.to_string()))?;
        let builder = if self.ca_file.as_os_str().is_empty() {
            builder
                .with_platform_verifier()
                .map_err(|error| ("ca_file", format!("the system's certificates: {error}")))?
        } else {
            builder.with_root_certificates(roots(&self.ca_file).map_err(|words| ("ca_file", words))?)
        };
        let config = match (self.certificate.as_os_str().is_empty(), self.key.as_os_str().is_empty()) {
            (true, true) => builder.with_no_client_auth(),
            (true, false) => return Err(("certificate", "there is a key and no certificate".to_owned())),
            (false, true) => return Err(("key", "there is a certificate and no key".to_owned())),
            (false, false) => {
                let chain = certificates(&self.certificate).map_err(|words| ("certificate", words))?;
                let key = PrivateKeyDer::from_pem_slice(&read(&self.key).map_err(|words| ("key", words))?);
                let key = key.map_err(|error| ("key", format!("{}: {error}", self.key.display())))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| ("certificate", error.to_string()))?
            }
        };
        Ok(Some(Arc::new(config)))
    }

    /// The Redis without password, for the operator.
    pub(crate) fn shown(&self) -> String {
        self.redis.0.place().map_or_else(String::new, super::redis_url::Place::shown)
    }

    /// The same with this Redis.
    #[cfg(test)]
    pub(super) fn with_redis(mut self, url: &str) -> Self {
        self.redis = Of(url.parse().expect("a URL"));
        self
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(file)?;
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let list = list.map_err(|error| format!("{}: {error}", file.display()))?;
    if list.is_empty() { Err(format!("{} has no certificate", file.display())) } else { Ok(list) }
}

fn roots(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| format!("a certificate in {} cannot be used: {error}", file.display()))?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(advertise: &str) -> ClusterSettings {
        let settings = ClusterSettings { advertise: advertise.to_owned(), ..ClusterSettings::default() };
        settings.with_redis("redis://127.0.0.1")
    }

    fn faults(settings: &ClusterSettings) -> Vec<&'static str> {
        settings.faults().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn core_knows_how_the_server_calls_itself() {
        let settings = ClusterSettings { children: 3, ..settings("rtmp://10.0.0.7") };
        let config = settings.core().unwrap();
        assert_eq!((&*config.member.node, &*config.member.address), ("10.0.0.7:1935", "rtmp://10.0.0.7:1935"));
        assert_eq!((config.children, config.depth), (3, 3));
        assert_eq!(ClusterSettings::default().core(), None);
        assert_eq!((ClusterSettings::default().reach(), settings.reach()), (Some(584), Some(39)));
        assert_eq!(ClusterSettings { children: 0, ..settings }.reach(), None);
    }

    #[test]
    fn a_server_without_a_redis_needs_nothing() {
        assert_eq!(faults(&ClusterSettings::default()), [""; 0]);
        assert!(!ClusterSettings::default().is_on());
    }

    #[test]
    fn the_id_is_where_the_server_is_reached() {
        let mut settings = settings("rtmp://10.0.0.7");
        let address = settings.advertised().unwrap();
        assert_eq!(settings.node(&address), "10.0.0.7:1935");
        settings.node = "edge-7".to_owned();
        assert_eq!(settings.node(&address), "edge-7");
        assert_eq!(faults(&settings), [""; 0]);
    }

    #[test]
    fn what_cannot_work_is_said_with_its_key_and_cure() {
        for address in ["", "0.0.0.0:1935", "rtmp://0.0.0.0:1935", "rtmp://[::]", "rtmp://h/live"] {
            let found = settings(address).faults();
            assert_eq!(found.len(), 1, "{address}");
            assert_eq!(
                (found[0].0, found[0].1.cure.contains("rtmp://10.0.0.7:1935")),
                ("advertise", true),
                "{address}"
            );
        }
        let base = settings("rtmp://h");
        assert_eq!(faults(&ClusterSettings { node: "a b".to_owned(), ..base.clone() }), ["node"]);
        assert_eq!(faults(&ClusterSettings { prefix: "{a}".to_owned(), ..base.clone() }), ["prefix"]);
        assert_eq!(faults(&ClusterSettings { secret: Secret("short".to_owned()), ..base.clone() }), ["secret"]);
        let tls = base.with_redis("rediss://h");
        assert_eq!(faults(&ClusterSettings { ca_file: "/nowhere.pem".into(), ..tls.clone() }), ["ca_file"]);
        assert_eq!(faults(&ClusterSettings { key: "/nowhere.pem".into(), ..tls.clone() }), ["certificate"]);
        assert_eq!(faults(&ClusterSettings { certificate: "/nowhere.pem".into(), ..tls }), ["key"]);
    }
}
