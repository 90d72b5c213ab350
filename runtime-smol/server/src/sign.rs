//! Signs URLs for publishing or playing a stream, with the secret in the configuration.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anabranch_core::policy::{Action, Secret, sign};
use anabranch_core::url::{DEFAULT_VHOST, Params, StreamKey, discover};
use clap::{Arg, ArgMatches, Command};

use crate::settings::Loaded;
use crate::settings::values::Time;
use crate::settings::vhost::Vhost;
use crate::settings::written::Written;

/// The subcommand, and its arguments.
pub(crate) const SIGN: &str = "sign";
const ACTION: &str = "action";
const STREAM: &str = "stream";
const VALID: &str = "valid";
const VHOST: &str = "vhost";

/// The subcommand, without the option for the configuration file.
pub(crate) fn command() -> Command {
    let action = Arg::new(ACTION).required(true).value_parser(["publish", "play"]).help("What the URL permits");
    let stream = Arg::new(STREAM)
        .value_name("STREAM")
        .required(true)
        .help("The stream: APP/STREAM such as live/cam, or its URL such as rtmp://example.com/live/cam");
    let valid = Arg::new(VALID)
        .long(VALID)
        .value_name("TIME")
        .default_value("24h")
        .value_parser(Time::read)
        .help("How long the URL is valid from now on, such as 90s, 30m or 24h");
    let vhost = Arg::new(VHOST)
        .long(VHOST)
        .value_name("NAME")
        .help("The virtual host, if there are any. Default: the one that a URL leads to");
    Command::new(SIGN)
        .about("Sign the URL of a stream with the secret in the configuration (token.secrets)")
        .args([action, stream, valid, vhost])
}

/// Prints what it was given with the parameters that sign it: a URL, or the path that follows the server's address.
///
/// # Errors
/// There is no secret or no such virtual host, the time is not valid, or the server would not accept the URL.
pub(crate) fn run(matches: &ArgMatches, loaded: &Loaded) -> Result<ExitCode, String> {
    let text = |name| matches.get_one::<String>(name).map(String::as_str);
    let action = if text(ACTION) == Some("publish") { Action::Publish } else { Action::Play };
    let valid = matches
        .get_one::<Time>(VALID)
        .and_then(|time| time.limit())
        .ok_or("a signed URL needs an end: --valid cannot be never")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock is before 1970")?;
    let expires = now.saturating_add(valid).as_secs();
    if expires <= now.as_secs() {
        return Err("the URL would have expired before it can be used".to_owned());
    }
    println!("{}", signed(loaded, action, text(STREAM).unwrap_or_default(), text(VHOST), expires)?);
    Ok(ExitCode::SUCCESS)
}

fn signed(
    loaded: &Loaded,
    action: Action,
    written: &str,
    vhost_option: Option<&str>,
    expires: u64,
) -> Result<String, String> {
    let Unsigned { front, path, query, host } = Unsigned::read(written)?;
    let (app, stream) = names(path)?;
    let params = Params::parse(query).map_err(|error| format!("the parameters of {written:?}: {error}"))?;
    if ["expires", "token"].iter().any(|name| params.raw(name).is_some()) {
        return Err(format!("{written:?} has expires or token already: write it without them"));
    }
    // In a server without virtual hosts all names are the same.
    let host = host.filter(|_| !loaded.settings.vhost.is_empty());
    let vhost = match (vhost_option, &host) {
        // A host name that no virtual host has belongs to the default one, if there is one.
        (None, Some(host)) => vhost(loaded, Some(host)).or_else(|error| vhost(loaded, None).map_err(|_| error))?,
        (option, _) => vhost(loaded, option)?,
    };
    // The server compares names in lower case, except for the default virtual host's.
    let name = vhost.map(|vhost| &*vhost.name).filter(|name| !name.eq_ignore_ascii_case(DEFAULT_VHOST));
    let name = name.map_or_else(|| DEFAULT_VHOST.to_owned(), str::to_ascii_lowercase);
    let key =
        StreamKey::new(&name, app, stream).map_err(|error| format!("{path:?} is not the name of a stream: {error}"))?;
    let secret = secret(loaded, vhost, &key)?;
    // The parameter names the virtual host, so that any address of the server can be used. A URL leads there already.
    let is_named = name == DEFAULT_VHOST || (vhost_option.is_none() && host.is_some());
    let named = if is_named { String::new() } else { format!("vhost={name}&") };
    let own = if query.is_empty() { String::new() } else { format!("{query}&") };
    let query = format!("{own}{named}expires={expires}&token={}", sign(&secret, action, &key, expires));
    is_understood(app, stream, &query)?;
    Ok(format!("{front}{path}?{query}"))
}

/// The parts of what is to be signed, as they were written.
struct Unsigned<'a> {
    /// Scheme and address of a URL with the slash after them; nothing for APP/STREAM.
    front: &'a str,
    /// APP/STREAM.
    path: &'a str,
    /// The parameters, without the question mark.
    query: &'a str,
    /// The name of the virtual host that a URL leads to.
    host: Option<String>,
}

impl<'a> Unsigned<'a> {
    fn read(written: &'a str) -> Result<Self, String> {
        let (place, query) = written.split_once('?').unwrap_or((written, ""));
        let Some((scheme, rest)) = place.split_once("://") else {
            let first = place.split('/').next().unwrap_or_default();
            let is_port = |(_, port): (&str, &str)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            if first.rsplit_once(':').is_some_and(is_port) {
                return Err(format!("{written:?} begins with an address: write rtmp://{written}"));
            }
            return Ok(Unsigned { front: "", path: written, query: "", host: None });
        };
        let problem = |error: &dyn Display| format!("{written:?} is not the URL of a stream: {error}");
        if !["rtmp", "rtmps"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
            return Err(problem(&"it must begin with rtmp:// or rtmps://"));
        }
        let (_, path) = rest.split_once('/').ok_or_else(|| problem(&"it has no path"))?;
        let target = discover(Some(written), None, "").map_err(|error| problem(&error))?;
        let front = &place[..place.len() - path.len()];
        Ok(Unsigned { front, path, query, host: Some(target.vhost().to_owned()) })
    }
}

/// App and stream of a path, if the server reads the path as exactly these.
fn names(path: &str) -> Result<(&str, &str), String> {
    let example = "write APP/STREAM, such as live/cam";
    let (app, stream) =
        path.rsplit_once('/').ok_or_else(|| format!("{path:?} is not the name of a stream: {example}"))?;
    let key = discover(Some(&format!("rtmp://host/{path}")), None, "");
    let key = key.map_err(|error| format!("{path:?} is not the name of a stream ({error}): {example}"))?;
    if (key.app(), key.stream()) == (app, stream) && key.params().is_empty() {
        return Ok((app, stream));
    }
    Err(format!("the server reads {path:?} as {:?}: {example}", format!("{}/{}", key.app(), key.stream())))
}

/// Checks that the server reads the URL correctly, wherever the client splits it into app and stream.
fn is_understood(app: &str, stream: &str, query: &str) -> Result<(), String> {
    let token = Params::parse(query).ok().and_then(|params| params.raw("token").map(str::to_owned));
    let cuts = [(app.to_owned(), format!("{stream}?{query}")), (format!("{app}/{stream}?{query}"), String::new())];
    for (app_sent, name) in cuts {
        let read = discover(Some(&format!("rtmp://host/{app_sent}")), Some(&app_sent), &name);
        let read = read.map_err(|error| format!("the server would refuse the URL: {error}"))?;
        if (read.app(), read.stream()) != (app, stream) || read.params().raw("token") != token.as_deref() {
            return Err(format!("the server would read the URL as {read}"));
        }
    }
    Ok(())
}

/// The virtual host that the URL is for: the signature includes its name.
fn vhost<'a>(loaded: &'a Loaded, name: Option<&str>) -> Result<Option<&'a Vhost>, String> {
    let vhosts = &loaded.settings.vhost;
    let find = |name: &str| {
        let known = |known: &String| known.eq_ignore_ascii_case(name);
        vhosts.iter().find(|vhost| known(&vhost.name) || vhost.aliases.iter().any(known))
    };
    let Some(name) = name else {
        return match find(DEFAULT_VHOST) {
            None if !vhosts.is_empty() => {
                Err("a URL is valid in one virtual host only: name it with --vhost".to_owned())
            }
            vhost => Ok(vhost),
        };
    };
    find(name).map(Some).ok_or_else(|| format!("there is no virtual host {name:?}"))
}

/// The first secret of the stream. Further ones are only for URLs that are already signed.
fn secret(loaded: &Loaded, vhost: Option<&Vhost>, stream: &StreamKey) -> Result<Secret, String> {
    let vhost = vhost.map_or(&loaded.settings.defaults, |vhost| &vhost.settings);
    let applications = vhost.applications();
    let settings = applications.of(stream).map_or(vhost, |one| &one.settings.1.settings);
    let first = settings.token.secrets.first().ok_or(
        "there is no secret to sign with: set defaults.token.secrets, or those of the virtual host or application",
    )?;
    Secret::new(&first.0).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Sources;

    #[test]
    fn only_what_the_server_reads_as_the_same_stream_is_signed() {
        let long = format!("live/{}", "x".repeat(9000));
        for path in [
            "live/cam?token=x",
            "live//cam",
            "live/../cam",
            "live/cam ",
            " live/cam",
            "live/cam/",
            "/live/cam",
            "live/",
            "cam",
            "",
            "live/a\nb",
            "live/cam\0",
            "live/_definst_/cam",
            "live...vhost...x/cam",
            "'live/cam",
            long.as_str(),
        ] {
            let refused = names(path).and_then(|(app, stream)| is_understood(app, stream, "expires=5&token=6"));
            assert!(refused.is_err(), "{path:?}");
        }
        for path in ["live/cam", "live/room/cam", "live/cam#1", "live/a=b&c", "live/Größe", "live/a b"] {
            let (app, stream) = names(path).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(format!("{app}/{stream}"), path);
            assert_eq!(is_understood(app, stream, "vhost=v&expires=5&token=6"), Ok(()), "{path}");
        }
        assert!(is_understood("live", "cam", "vhost=a b&expires=5&token=6").is_err());
    }

    const SECRET: &str = "a long random secret of your own";
    const EXPIRES: u64 = 1_767_225_600;

    fn loaded(vhosts: &str) -> Loaded {
        let text = format!("[defaults.token]\nrequired_for = 'publish'\nsecrets = ['{SECRET}']\n{vhosts}");
        Sources::default().load_text("f.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn token(vhost: &str) -> String {
        let key = StreamKey::new(vhost, "live", "cam").unwrap();
        sign(&Secret::new(SECRET).unwrap(), Action::Publish, &key, EXPIRES)
    }

    #[test]
    fn a_url_is_signed_as_a_whole() {
        let plain = loaded("");
        let vhosts = "[[vhost]]\nname = 'A.example'\naliases = ['b.example']\n[[vhost]]\nname = '__defaultVhost__'\n";
        let vhosts = loaded(vhosts);
        for (loaded, written, option, vhost, named) in [
            (&plain, "live/cam", None, DEFAULT_VHOST, "?"),
            (&plain, "rtmp://127.0.0.1/live/cam", None, DEFAULT_VHOST, "?"),
            (&plain, "rtmps://user@[::1]:1936/live/cam", None, DEFAULT_VHOST, "?"),
            (&plain, "rtmp://h/live/cam?key=7", None, DEFAULT_VHOST, "&"),
            (&vhosts, "live/cam", None, DEFAULT_VHOST, "?"),
            (&vhosts, "live/cam", Some("b.example"), "a.example", "?vhost=a.example&"),
            (&vhosts, "rtmp://B.example/live/cam", None, "a.example", "?"),
            (&vhosts, "rtmp://other/live/cam", None, DEFAULT_VHOST, "?"),
            (&vhosts, "rtmp://other/live/cam?vhost=b.example", None, "a.example", "&"),
            (&vhosts, "rtmp://other/live/cam", Some("a.example"), "a.example", "?vhost=a.example&"),
        ] {
            let signed = signed(loaded, Action::Publish, written, option, EXPIRES);
            let expected = format!("{written}{named}expires={EXPIRES}&token={}", token(vhost));
            assert_eq!(signed.as_deref(), Ok(&*expected), "{written}");
        }
    }

    #[test]
    fn what_cannot_be_signed_is_told_with_its_cure() {
        let (plain, vhosts) = (loaded(""), loaded("[[vhost]]\nname = 'a.example'\n"));
        for (loaded, written, words) in [
            (&plain, "http://h/live/cam", "must begin with rtmp:// or rtmps://"),
            (&plain, "rtmp://h", "it has no path"),
            (&plain, "rtmp://h/cam", "write APP/STREAM"),
            (&plain, "rtmp://h/live/cam?token=5", "expires or token already"),
            (&plain, "127.0.0.1:1935/live/cam", "write rtmp://127.0.0.1:1935/live/cam"),
            (&vhosts, "rtmp://h/live/cam", "there is no virtual host \"h\""),
            (&vhosts, "live/cam", "name it with --vhost"),
        ] {
            let error = signed(loaded, Action::Publish, written, None, EXPIRES).expect_err(written);
            assert!(error.contains(words), "{written}: {error}");
        }
    }
}
