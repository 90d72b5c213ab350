use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::advertise::split_host;
use crate::settings::values::Secret;
use crate::settings::written::Text;

/// The ports of Redis and of its Sentinels.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// The most hosts of one URL.
const MOST_HOSTS: usize = 32;

/// Where the directory is, as the configuration says it; without text there is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct RedisUrl {
    text: String,
    place: Option<Place>,
}

/// A Redis, or the Sentinels that know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// True for TLS on all connections.
    pub(crate) tls: bool,
    /// Hosts and ports: of the Redis, or of its Sentinels. They are tried in turn.
    pub(crate) hosts: Vec<(String, u16)>,
    /// The name of the master, if the hosts are Sentinels.
    pub(crate) master: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: u32,
}

impl RedisUrl {
    /// The place, if there is one.
    pub(crate) fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }
}

impl Text for RedisUrl {
    const FORM: &'static str = "a URL such as \"redis://:PASSWORD@HOST:6379/0\"";

    fn text(&self) -> String {
        self.text.clone()
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = if text.is_empty() { None } else { Some(read(text)?) };
        Ok(RedisUrl { text: text.to_owned(), place })
    }
}

fn read(text: &str) -> Result<Place, String> {
    // The text may have a password, so no error shows it.
    let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("the text is not {}", RedisUrl::FORM))?;
    let (tls, sentinel) = match scheme {
        "redis" => (false, false),
        "rediss" => (true, false),
        "redis-sentinel" | "redis+sentinel" => (false, true),
        "rediss-sentinel" | "rediss+sentinel" => (true, true),
        _ => return Err("the URL begins with redis://, rediss://, redis-sentinel:// or rediss-sentinel://".to_owned()),
    };
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (credentials, hosts) =
        authority.rsplit_once('@').map_or((None, authority), |(credentials, hosts)| (Some(credentials), hosts));
    let (user, password) = match credentials.map(|text| text.split_once(':').unwrap_or((text, ""))) {
        None => (None, None),
        Some((user, password)) => (decoded(user)?, decoded(password)?.map(Secret)),
    };
    let port = if sentinel { SENTINEL_PORT } else { PORT };
    let hosts: Vec<_> = hosts.split(',').map(|host| split_host(host, port)).collect::<Result<_, _>>()?;
    if hosts.len() > MOST_HOSTS {
        return Err(format!("the URL has {} hosts, the most is {MOST_HOSTS}", hosts.len()));
    }
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let mut master = None;
    if sentinel {
        // The form of Lettuce has the master's name in the query, and only the database in the path.
        master = match query.and_then(|query| query.strip_prefix("sentinelMasterId=")) {
            Some(name) => decoded(name)?,
            None if query.is_some() => return Err("the only parameter of the URL is sentinelMasterId".to_owned()),
            None => parts.next().map(decoded).transpose()?.flatten(),
        };
        if master.is_none() {
            let words = "the URL of Sentinels ends with the name of the master, as in \
                         \"redis-sentinel://HOST:26379,HOST:26379/MASTER\"";
            return Err(words.to_owned());
        }
    } else if query.is_some() {
        return Err("the URL of a Redis has no parameters".to_owned());
    }
    let database = match parts.next() {
        None => 0,
        Some(text) => text.parse().map_err(|_| format!("the database {text:?} is not a number"))?,
    };
    if parts.next().is_some() {
        return Err("the URL has more after the number of the database".to_owned());
    }
    Ok(Place { tls, hosts, master, user, password, database })
}

/// A part of the URL without percent-encoding; `None` if it is empty.
fn decoded(text: &str) -> Result<Option<String>, String> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| "a part of the URL is not UTF-8".to_owned())?;
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

impl Place {
    /// The place for the log, without password.
    pub(crate) fn shown(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(|(host, port)| host_and_port(host, *port)).collect();
        let scheme = match (self.tls, self.master.is_some()) {
            (false, false) => "redis",
            (true, false) => "rediss",
            (false, true) => "redis-sentinel",
            (true, true) => "rediss-sentinel",
        };
        let master = self.master.as_ref().map(|master| format!("{master}/")).unwrap_or_default();
        format!("{scheme}://{}/{master}{}", hosts.join(","), self.database)
    }
}

/// The host with its port, an IPv6 address in brackets.
pub(super) fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// For the log.
impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({})", self.place.as_ref().map(Place::shown).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        text.parse::<RedisUrl>().unwrap().place().unwrap().clone()
    }

    #[test]
    fn the_forms_that_operators_know_are_read() {
        let plain = place("redis://10.0.0.1");
        assert_eq!((plain.hosts, plain.database, plain.tls), (vec![("10.0.0.1".to_owned(), 6379)], 0, false));
        let full = place("rediss://me:p%40ss%2Fword@[::1]:7000,h:7001/3");
        assert_eq!(full.hosts, [("::1".to_owned(), 7000), ("h".to_owned(), 7001)]);
        assert_eq!(
            (full.user.as_deref(), full.password.as_ref().map(|secret| secret.0.as_str())),
            (Some("me"), Some("p@ss/word"))
        );
        assert!(full.tls && full.database == 3 && full.master.is_none());
        let only_password = place("redis://:s3cret@h/");
        assert_eq!((only_password.user, only_password.password), (None, Some(Secret("s3cret".to_owned()))));
        for (text, database) in [
            ("redis-sentinel://a,b:5000/mymaster", 0),
            ("redis+sentinel://a,b:5000/mymaster/2", 2),
            ("redis-sentinel://a,b:5000/2?sentinelMasterId=mymaster", 2),
            ("rediss-sentinel://:p@a,b:5000?sentinelMasterId=mymaster", 0),
        ] {
            let found = place(text);
            assert_eq!((found.master.as_deref(), found.database), (Some("mymaster"), database), "{text}");
            assert_eq!(found.hosts, [("a".to_owned(), 26379), ("b".to_owned(), 5000)], "{text}");
        }
        assert_eq!("".parse::<RedisUrl>().unwrap().place(), None);
    }

    #[test]
    fn what_is_no_place_is_refused_and_passwords_are_not_shown() {
        for (text, words) in [
            ("h:6379", "is not a URL such as"),
            ("http://me:s3cret@h", "begins with redis://"),
            ("redis://me:s3cret@", "no host"),
            ("redis://me:s3cret@h:0", "port"),
            ("redis://me:s3cret@h:x", "port"),
            ("redis://me:s3cret@h/x", "not a number"),
            ("redis://me:s3cret@h/1/2", "more after"),
            ("redis://me:s3cret@h?x=1", "no parameters"),
            ("redis-sentinel://me:s3cret@h", "name of the master"),
            ("redis-sentinel://me:s3cret@h?x=1", "sentinelMasterId"),
            ("redis://me:s3%ffcret@h", "UTF-8"),
        ] {
            let error = text.parse::<RedisUrl>().unwrap_err();
            assert!(error.contains(words) && !error.contains("s3cret"), "{text}: {error}");
        }
        let url: RedisUrl = "redis://me:s3cret@h".parse().unwrap();
        assert_eq!(format!("{url:?}"), "RedisUrl(redis://h:6379/0)");
        assert_eq!(place("redis-sentinel://me:s3cret@[::1]/m").shown(), "redis-sentinel://[::1]:26379/m/0");
    }
}
