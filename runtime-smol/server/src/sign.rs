//! Signs URLs for publishing or playing a stream, with the secret in the configuration.

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
    let stream = Arg::new(STREAM).value_name("APP/STREAM").required(true).help("The stream, such as live/cam");
    let valid = Arg::new(VALID)
        .long(VALID)
        .value_name("TIME")
        .default_value("24h")
        .value_parser(Time::read)
        .help("How long the URL is valid from now on, such as 90s, 30m or 24h");
    let vhost = Arg::new(VHOST).long(VHOST).value_name("NAME").help("The virtual host, if there are any");
    Command::new(SIGN)
        .about("Sign the URL of a stream with the secret in the configuration (token.secrets)")
        .args([action, stream, valid, vhost])
}

/// Prints the path and the parameters that follow the server's address.
///
/// # Errors
/// There is no secret or no such virtual host, the time is not valid, or the server would not accept the URL.
pub(crate) fn run(matches: &ArgMatches, loaded: &Loaded) -> Result<ExitCode, String> {
    let text = |name| matches.get_one::<String>(name).map(String::as_str);
    let action = if text(ACTION) == Some("publish") { Action::Publish } else { Action::Play };
    let path = text(STREAM).unwrap_or_default();
    let (app, stream) = names(path)?;
    let vhost = vhost(loaded, text(VHOST))?;
    let secret = secret(loaded, vhost)?;
    let valid = matches
        .get_one::<Time>(VALID)
        .and_then(|time| time.limit())
        .ok_or("a signed URL needs an end: --valid cannot be never")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock is before 1970")?;
    let expires = now.saturating_add(valid).as_secs();
    if expires <= now.as_secs() {
        return Err("the URL would have expired before it can be used".to_owned());
    }
    // The server compares names in lower case, except for the default virtual host's.
    let host = vhost.map(|vhost| &*vhost.name).filter(|name| !name.eq_ignore_ascii_case(DEFAULT_VHOST));
    let host = host.map_or_else(|| DEFAULT_VHOST.to_owned(), str::to_ascii_lowercase);
    let key =
        StreamKey::new(&host, app, stream).map_err(|error| format!("{path:?} is not the name of a stream: {error}"))?;
    // The parameter names the virtual host, so that any address of the server can be used.
    let named = if host == DEFAULT_VHOST { String::new() } else { format!("vhost={host}&") };
    let query = format!("{named}expires={expires}&token={}", sign(&secret, action, &key, expires));
    is_understood(app, stream, &query)?;
    println!("{path}?{query}");
    Ok(ExitCode::SUCCESS)
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

/// The first secret. Further ones are only for URLs that are already signed.
fn secret(loaded: &Loaded, vhost: Option<&Vhost>) -> Result<Secret, String> {
    let settings = vhost.map_or(&loaded.settings.defaults, |vhost| &vhost.settings);
    let first = settings
        .token
        .secrets
        .first()
        .ok_or("there is no secret to sign with: set defaults.token.secrets, or the virtual host's")?;
    Secret::new(&first.0).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
