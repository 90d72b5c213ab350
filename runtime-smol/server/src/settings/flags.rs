use std::num::NonZero;

use anabranch_program::{LogFormat, MemoryLimit, OnConflict, Options, ShownAddresses, TimestampMode};
use clap::ArgMatches;
use clap::parser::ValueSource;
use toml::Value;

use super::tree::{Origin, Path};
use super::written::Text;

/// The options that are given, on the command line or in an option's variable, as values of the configuration. Defaults
/// of options are ignored.
pub(crate) fn flags(
    matches: &ArgMatches,
    options: &Options,
    threads: Option<NonZero<usize>>,
) -> Vec<(Path, Value, Origin)> {
    let mut given = Vec::new();
    for (id, keys, value) in values(options, threads) {
        let flag = format!("--{}", id.replace('_', "-"));
        let origin = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Origin::Flag(flag),
            Some(ValueSource::EnvVariable) => Origin::Variable(format!("ANABRANCH_{}", id.to_ascii_uppercase())),
            _ => continue,
        };
        given.push((Path::of(keys), value, origin));
    }
    given
}

type Keys = &'static [&'static str];

/// Each option with its key. Values get the unit that the option has.
fn values(options: &Options, threads: Option<NonZero<usize>>) -> Vec<(&'static str, Keys, Value)> {
    let list = |texts: &mut dyn Iterator<Item = String>| Value::Array(texts.map(Value::String).collect());
    let time =
        |number: u64, unit: &str| Value::String(if number == 0 { "never".into() } else { format!("{number}{unit}") });
    let number = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let folder = options.capture.as_ref().map_or(String::new(), |folder| folder.display().to_string());
    let lowat = match options.tcp_notsent_lowat {
        0 => "unlimited".to_owned(),
        bytes => bytes.to_string(),
    };
    let memory = match options.memory {
        MemoryLimit::Auto => "auto".to_owned(),
        mib @ MemoryLimit::Bytes(_) => format!("{mib}MiB"),
    };
    vec![
        ("listen", &["server", "listen"], list(&mut options.listen.iter().map(Text::text))),
        ("web", &["web", "listen"], options.web.to_string().into()),
        ("rtc", &["rtc", "listen"], options.rtc.to_string().into()),
        ("threads", &["server", "threads"], threads.map_or("auto".to_owned(), |threads| threads.to_string()).into()),
        (
            "trusted_proxy",
            &["server", "trusted_proxies"],
            list(&mut options.trusted_proxy.iter().map(ToString::to_string)),
        ),
        ("chunk_size", &["defaults", "session", "chunk_size"], number(options.chunk_size.into())),
        ("strict_chunks", &["defaults", "session", "strict_chunks"], options.strict_chunks.into()),
        ("bandwidth_done", &["defaults", "session", "bandwidth_done"], options.bandwidth_done.into()),
        ("merge_window", &["defaults", "pacing", "merge_window"], format!("{}ms", options.merge_window).into()),
        (
            "merge_window_max",
            &["defaults", "pacing", "merge_window_max"],
            format!("{}ms", options.merge_window_max).into(),
        ),
        ("unpublish_grace", &["defaults", "play", "unpublish_grace"], format!("{}s", options.unpublish_grace).into()),
        ("wait_for_stream", &["defaults", "timeouts", "wait_for_stream"], time(options.wait_for_stream, "s")),
        ("multitrack_to_all", &["defaults", "play", "multitrack_to_all"], options.multitrack_to_all.into()),
        (
            "timestamps",
            &["defaults", "play", "timestamps"],
            match options.timestamps {
                TimestampMode::Monotonic => "monotonic".into(),
                TimestampMode::Pass => "pass".into(),
            },
        ),
        (
            "on_conflict",
            &["defaults", "publish", "conflict"],
            match options.on_conflict {
                OnConflict::Reject => "reject".into(),
                OnConflict::Takeover => "takeover".into(),
                OnConflict::Backup => "backup".into(),
            },
        ),
        ("stream_memory", &["defaults", "cache", "bytes"], format!("{}MiB", options.stream_memory).into()),
        ("memory", &["limits", "memory"], memory.into()),
        ("tcp_nodelay", &["tcp", "nodelay"], options.tcp_nodelay.into()),
        ("tcp_keepalive", &["tcp", "keepalive"], time(options.tcp_keepalive, "s")),
        ("tcp_user_timeout", &["tcp", "user_timeout"], time(options.tcp_user_timeout, "ms")),
        ("tcp_notsent_lowat", &["tcp", "notsent_lowat"], lowat.into()),
        ("capture", &["capture", "folder"], folder.into()),
        ("capture_limit", &["capture", "file_size"], format!("{}MiB", options.capture_limit).into()),
        ("capture_files", &["capture", "files"], number(options.capture_files)),
        ("log", &["log", "level"], options.log.clone().into()),
        (
            "log_format",
            &["log", "format"],
            match options.log_format {
                LogFormat::Text => "text".into(),
                LogFormat::Json => "json".into(),
            },
        ),
        (
            "log_addresses",
            &["log", "addresses"],
            match options.log_addresses {
                ShownAddresses::Full => "full".into(),
                ShownAddresses::Network => "network".into(),
                ShownAddresses::Off => "off".into(),
            },
        ),
    ]
}
