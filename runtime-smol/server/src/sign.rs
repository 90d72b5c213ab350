//! Signs URLs by which a stream may be published or played, with the secret in the configuration.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anabranch_core::policy::{Action, Secret, sign};
use anabranch_core::url::{DEFAULT_VHOST, StreamKey};
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

/// The subcommand, without where the configuration is.
pub(crate) fn command() -> Command {
    let action = Arg::new(ACTION).required(true).value_parser(["publish", "play"]).help("What it permits");
    let stream = Arg::new(STREAM).value_name("APP/STREAM").required(true).help("The stream, such as live/cam");
    let valid = Arg::new(VALID)
        .long(VALID)
        .value_name("TIME")
        .default_value("24h")
        .value_parser(Time::read)
        .help("How long it is valid from now on: 90s, 30m, 24h");
    let vhost = Arg::new(VHOST).long(VHOST).value_name("NAME").help("The virtual host, if there are any");
    Command::new(SIGN)
        .about("Sign the URL of a stream with the secret in the configuration (token.secrets)")
        .args([action, stream, valid, vhost])
}

/// Prints the path and the parameters to put behind the server's address.
///
/// # Errors
/// There is no secret, no such virtual host, or no such time.
pub(crate) fn run(matches: &ArgMatches, loaded: &Loaded) -> Result<ExitCode, String> {
    let text = |name| matches.get_one::<String>(name).map(String::as_str);
    let action = if text(ACTION) == Some("publish") { Action::Publish } else { Action::Play };
    let path = text(STREAM).unwrap_or_default();
    let (app, stream) = path
        .rsplit_once('/')
        .filter(|(app, stream)| !app.is_empty() && !stream.is_empty())
        .ok_or_else(|| format!("{path:?} names no stream: write APP/STREAM, such as live/cam"))?;
    let vhost = vhost(loaded, text(VHOST))?;
    let secret = secret(loaded, vhost)?;
    let valid = matches.get_one::<Time>(VALID).and_then(|time| time.limit()).ok_or("it must end some time")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock is before 1970")?;
    let expires = now.saturating_add(valid).as_secs();
    // As the server knows it: in lower case, but for the one of all other names.
    let host = vhost.map(|vhost| &*vhost.name).filter(|name| !name.eq_ignore_ascii_case(DEFAULT_VHOST));
    let host = host.map_or_else(|| DEFAULT_VHOST.to_owned(), str::to_ascii_lowercase);
    let key = StreamKey::new(&host, app, stream).map_err(|error| format!("{path:?} names no stream: {error}"))?;
    println!("{path}?expires={expires}&token={}", sign(&secret, action, &key, expires));
    Ok(ExitCode::SUCCESS)
}

/// The virtual host whose clients are to use the URL: what is signed has its name in it.
fn vhost<'a>(loaded: &'a Loaded, name: Option<&str>) -> Result<Option<&'a Vhost>, String> {
    let vhosts = &loaded.settings.vhost;
    let find = |name: &str| {
        let known = |known: &String| known.eq_ignore_ascii_case(name);
        vhosts.iter().find(|vhost| known(&vhost.name) || vhost.aliases.iter().any(known))
    };
    let Some(name) = name else {
        return match find(DEFAULT_VHOST) {
            None if !vhosts.is_empty() => {
                Err("there are virtual hosts, and a URL is good in one of them: say which with --vhost".to_owned())
            }
            vhost => Ok(vhost),
        };
    };
    find(name).map(Some).ok_or_else(|| format!("there is no virtual host {name:?}"))
}

/// The first: that is the one to sign with while others run out.
fn secret(loaded: &Loaded, vhost: Option<&Vhost>) -> Result<Secret, String> {
    let settings = vhost.map_or(&loaded.settings.defaults, |vhost| &vhost.settings);
    let first = settings
        .token
        .secrets
        .first()
        .ok_or("there is no secret to sign with: set defaults.token.secrets, or the virtual host's")?;
    Secret::new(&first.0).map_err(|error| error.to_string())
}
