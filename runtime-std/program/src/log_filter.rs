//! Limits what other crates may log.

use tracing_subscriber::filter::LevelFilter;

/// What the names of our own crates begin with.
const OURS: &str = "anabranch";
/// Other crates are logged up to this level by a level without a name.
const OTHERS: LevelFilter = LevelFilter::INFO;

/// The filter as it is applied: a level without a name is for this server's crates, and for other crates at most
/// `info`. Other crates are logged at `debug` if they are named, and never at `trace`: there HTTP clients and TLS write
/// complete requests, with the credentials of hooks.
///
/// # Errors
/// The filter names another crate at `trace`; the error is for people.
pub(crate) fn bounded(filter: &str) -> Result<String, String> {
    // Of two directives for one name the last counts: so those with a name come after those made of a bare level.
    let (mut bare, mut named) = (Vec::new(), Vec::new());
    for directive in filter.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        if let Ok(level) = directive.parse::<LevelFilter>() {
            bare.push(level.min(OTHERS).to_string());
            bare.push(format!("{OURS}={level}"));
            continue;
        }
        let (target, level) = directive.rsplit_once('=').unwrap_or((directive, "trace"));
        if !target.starts_with(OURS) && level.parse().is_ok_and(|level: LevelFilter| level == LevelFilter::TRACE) {
            return Err(format!(
                "log filter {filter:?}: other crates are not logged at trace, where they write credentials; write \
                 {target}=debug"
            ));
        }
        named.push(directive.to_owned());
    }
    bare.append(&mut named);
    Ok(bare.join(","))
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
        for filter in ["ureq=trace", "info,ureq_proto::util=TRACE", "rustls", "hyper=5", "[span]=trace"] {
            let error = bounded(filter).unwrap_err();
            assert!(error.contains("credentials") && error.contains("=debug"), "{error}");
        }
    }
}
