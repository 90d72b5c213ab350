//! Limits what other crates may log.

use tracing_subscriber::filter::LevelFilter;

/// What the names of our own crates begin with.
const OURS: &str = "anabranch";
/// The crates of this server that log.
const OUR_CRATES: [&str; 6] =
    ["anabranch", "anabranch_core", "anabranch_host", "anabranch_program", "anabranch_smol", "anabranch_std"];
/// Other crates that log something.
const OTHER_CRATES: [&str; 9] =
    ["async_io", "hyper", "mio", "polling", "rustls", "rustls_platform_verifier", "tracing", "ureq", "ureq_proto"];
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
/// Other crates are logged up to this level by a level without a name.
const OTHERS: LevelFilter = LevelFilter::INFO;

/// The filter as it is applied: a level without a name is for this server's crates, and for other crates at most
/// `info`. Other crates are logged at `debug` if they are named, and never at `trace`: there HTTP clients and TLS write
/// complete requests, with the credentials of hooks.
///
/// # Errors
/// A word is neither a level nor a crate, or another crate is named at `trace`; the error is for people.
pub(crate) fn bounded(filter: &str) -> Result<String, String> {
    // Of two directives for one name the last counts: so those with a name come after those made of a bare level.
    let (mut bare, mut named) = (Vec::new(), Vec::new());
    let wrong = |words: String| Err(format!("log filter {filter:?}: {words}"));
    for directive in filter.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        if let Ok(level) = directive.parse::<LevelFilter>() {
            bare.push(level.min(OTHERS).to_string());
            bare.push(format!("{OURS}={level}"));
            continue;
        }
        let (target, level) = match directive.rsplit_once('=') {
            Some((target, level)) => (target, level),
            // A word alone is more often meant as a level than as a crate.
            None if !is_crate(directive) => return wrong(no_level(directive)),
            None => (directive, "trace"),
        };
        // An empty text would be a level, too.
        let parsed = level.parse::<LevelFilter>().ok().filter(|_| !level.is_empty());
        let Some(level) = parsed else {
            return wrong(no_level(level));
        };
        if !is_crate(target) {
            return wrong(format!("no crate of this program is named {target:?}; those that log are {}", crates()));
        }
        if !target.starts_with(OURS) && level == LevelFilter::TRACE {
            return wrong(format!(
                "other crates are not logged at trace, where they write credentials; write {target}=debug"
            ));
        }
        named.push(directive.to_owned());
    }
    bare.append(&mut named);
    Ok(bare.join(","))
}

/// Whether the target is a crate that may log, or a module of one.
fn is_crate(target: &str) -> bool {
    let name = target.split("::").next().unwrap_or(target);
    OUR_CRATES.contains(&name) || OTHER_CRATES.contains(&name)
}

fn crates() -> String {
    [&OUR_CRATES[..], &OTHER_CRATES[..]].concat().join(", ")
}

/// The words about a text that is no level.
fn no_level(text: &str) -> String {
    let likeness = |level: &&&str| strsim::jaro_winkler(level, &text.to_ascii_lowercase());
    let nearest = LEVELS.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    let meant = match text.to_ascii_lowercase().as_str() {
        // Words of other servers.
        "verbose" | "all" => Some("debug"),
        "notice" | "normal" => Some("info"),
        "fatal" | "critical" | "crit" | "emerg" | "alert" => Some("error"),
        "none" | "quiet" | "silent" => Some("off"),
        _ => nearest.filter(|level| likeness(level) > 0.75).copied(),
    };
    let meant = meant.map_or_else(String::new, |level| format!("; did you mean {level}?"));
    format!("{text:?} is no level; the levels are {}{meant}", LEVELS.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_without_a_name_are_of_this_server() {
        for (filter, applied) in [
            ("info", "info,anabranch=info"),
            ("warn", "warn,anabranch=warn"),
            ("off", "off,anabranch=off"),
            ("debug", "info,anabranch=debug"),
            ("trace", "info,anabranch=trace"),
            ("TRACE", "info,anabranch=trace"),
            ("5", "info,anabranch=trace"),
            (" trace , ureq=debug", "info,anabranch=trace,ureq=debug"),
            ("info,anabranch_smol=trace", "info,anabranch=info,anabranch_smol=trace"),
            ("anabranch=debug,info", "info,anabranch=info,anabranch=debug"),
            ("anabranch_smol", "anabranch_smol"),
            ("", ""),
        ] {
            assert_eq!(bounded(filter).as_deref(), Ok(applied), "{filter}");
        }
    }

    #[test]
    fn no_other_crate_is_logged_at_trace() {
        for filter in ["ureq=trace", "info,ureq_proto::util=TRACE", "rustls", "hyper=5"] {
            let error = bounded(filter).unwrap_err();
            assert!(error.contains("credentials") && error.contains("=debug"), "{error}");
        }
    }

    #[test]
    fn a_word_that_is_neither_level_nor_crate_is_an_error_with_the_levels() {
        for (filter, words) in [
            (
                "verbose",
                "\"verbose\" is no level; the levels are error, warn, info, debug, trace, off; did you mean debug?",
            ),
            ("notice", "did you mean info?"),
            ("wran", "did you mean warn?"),
            ("info,verbose", "\"verbose\" is no level"),
            ("anabranch_smol=loud", "\"loud\" is no level"),
            ("anabranch_smol=", "\"\" is no level"),
            ("a=b=c", "\"c\" is no level"),
            (
                "anabranch_smoll=debug",
                "no crate of this program is named \"anabranch_smoll\"; those that log are anabranch, ",
            ),
            ("module=debug", "no crate of this program is named \"module\""),
            ("[span]=trace", "no crate of this program is named \"[span]\""),
        ] {
            let error = bounded(filter).unwrap_err();
            assert!(error.starts_with(&format!("log filter {filter:?}: ")) && error.contains(words), "{error}");
        }
    }

    /// A filter for a crate that no program has would be silence.
    #[test]
    fn other_crates_are_those_that_the_programs_are_built_of() {
        let lock = include_str!("../../../Cargo.lock");
        for name in OTHER_CRATES {
            let is_package = |name: &str| lock.contains(&format!("name = \"{name}\"\n"));
            assert!(is_package(name) || is_package(&name.replace('_', "-")), "{name}");
        }
    }
}
