//! Signs URLs by which a stream may be published or played, with the secret in the configuration.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anabranch_core::policy::{Action, Secret, sign};
use clap::{Arg, ArgMatches, Command};

use crate::settings::Loaded;
use crate::settings::values::Time;
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
        .split_once('/')
        .filter(|(app, stream)| !app.is_empty() && !stream.is_empty())
        .ok_or_else(|| format!("{path:?} names no stream: write APP/STREAM, such as live/cam"))?;
    let secret = secret(loaded, text(VHOST))?;
    let valid = matches.get_one::<Time>(VALID).and_then(|time| time.limit()).ok_or("it must end some time")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock is before 1970")?;
    let expires = now.saturating_add(valid).as_secs();
    println!("{path}?expires={expires}&token={}", sign(&secret, action, app, stream, expires));
    Ok(ExitCode::SUCCESS)
}

/// The first: that is the one to sign with while others run out.
fn secret(loaded: &Loaded, vhost: Option<&str>) -> Result<Secret, String> {
    let secrets = match vhost {
        None => &loaded.settings.defaults.token.secrets,
        Some(name) => {
            let mut vhosts = loaded.settings.vhost.iter();
            let vhost = vhosts.find(|vhost| vhost.name == name || vhost.aliases.iter().any(|alias| alias == name));
            &vhost.ok_or_else(|| format!("there is no virtual host {name:?}"))?.settings.token.secrets
        }
    };
    let first =
        secrets.first().ok_or("there is no secret to sign with: set defaults.token.secrets, or the virtual host's")?;
    Secret::new(&first.0).map_err(|error| error.to_string())
}
