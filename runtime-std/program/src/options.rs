use std::env;
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use anabranch_core::chunk::Leniency;
use anabranch_core::conn::Config;
use anabranch_core::hub::Conflict;
use anabranch_core::policy::Network;
use anabranch_core::source::Timestamps;
use anabranch_host::{Listen, TcpOptions, WebListen};
use clap::builder::{BoolishValueParser, Resettable};
use clap::{ArgAction, Args, Command, FromArgMatches, ValueEnum, value_parser};

use crate::{CaptureFolder, CaptureLimits, LogFormat, MemoryLimit, ShownAddresses};

/// Options that every server program has. Each can also be set by the environment variable shown with it.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// An address to listen on: PORT or ADDRESS:PORT, with an IPv6 address in brackets; may be given several times
    #[arg(
        long,
        short,
        value_name = "ADDRESS",
        default_value = "1935",
        env = "ANABRANCH_LISTEN",
        value_delimiter = ','
    )]
    pub listen: Vec<Listen>,

    /// Where to serve HTTP: PORT or ADDRESS:PORT, with commas between several; "auto" is port 8080 of all addresses if
    /// that is free; "off" for nowhere
    #[arg(long, value_name = "ADDRESS", default_value = "auto", env = "ANABRANCH_WEB")]
    pub web: WebListen,

    /// Where to serve WebRTC, by UDP: PORT or ADDRESS:PORT, with commas between several; "auto" is port 8000 of all
    /// addresses if that is free; "off" for nowhere
    #[arg(long, value_name = "ADDRESS", default_value = "auto", env = "ANABRANCH_RTC")]
    pub rtc: WebListen,

    /// The chunk size that the server sends with, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 60_000, env = "ANABRANCH_CHUNK_SIZE",
          value_parser = value_parser!(u32).range(128..=65_536))]
    pub chunk_size: u32,

    /// How long frames may wait so that several are sent with one write, in milliseconds: more saves CPU time, less
    /// saves latency
    #[arg(long, value_name = "MS", default_value_t = 20, env = "ANABRANCH_MERGE_WINDOW",
          value_parser = parse_milliseconds)]
    pub merge_window: u64,

    /// How long frames may wait while the server is busy, in milliseconds: a thread that spends more than half its time
    /// on writing to players lets frames of its large streams wait longer, up to this. No more than --merge-window,
    /// or with --merge-window 0: never
    #[arg(long, value_name = "MS", default_value_t = 150, env = "ANABRANCH_MERGE_WINDOW_MAX",
          value_parser = parse_milliseconds)]
    pub merge_window_max: u64,

    /// How long players wait for a lost publisher to come back before the server tells them that the stream is over, in
    /// seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, env = "ANABRANCH_UNPUBLISH_GRACE",
          value_parser = value_parser!(u64).range(0..=86_400))]
    pub unpublish_grace: u64,

    /// How long a player may wait while its stream has no publisher, in seconds; 0 for no limit. Then the server sends
    /// StreamNotFound and closes the connection
    #[arg(long, value_name = "SECONDS", default_value_t = 600, env = "ANABRANCH_WAIT_FOR_STREAM",
          value_parser = value_parser!(u64).range(0..=31_536_000))]
    pub wait_for_stream: u64,

    /// What happens when a client wants to publish a name that already has a publisher
    #[arg(long, value_name = "RULE", default_value = "reject", env = "ANABRANCH_ON_CONFLICT")]
    pub on_conflict: OnConflict,

    /// What the server does with publishers' timestamps
    #[arg(long, value_name = "MODE", default_value = "monotonic", env = "ANABRANCH_TIMESTAMPS")]
    pub timestamps: TimestampMode,

    /// Memory for the recent frames of one stream, in MiB; a whole GOP must fit, so that players can start at once
    #[arg(long, value_name = "MIB", default_value_t = 32, env = "ANABRANCH_STREAM_MEMORY",
          value_parser = value_parser!(u64).range(1..=4096))]
    pub stream_memory: u64,

    /// Memory for the recent frames of all streams together, in MiB; "auto" is half of what this process may use. When
    /// it is nearly used up, streams that hold more than an equal share drop frames
    #[arg(long, value_name = "MIB", default_value = "auto", env = "ANABRANCH_MEMORY")]
    pub memory: MemoryLimit,

    /// A proxy that may send the client's address in front of the handshake (PROXY protocol 1 and 2, SRS's proxy
    /// header): an address or network such as 10.0.0.0/8; may be given several times
    #[arg(long, value_name = "NETWORK", env = "ANABRANCH_TRUSTED_PROXY", value_delimiter = ',')]
    pub trusted_proxy: Vec<Network>,

    /// Send multitrack messages to all players, not only to those that announce that they understand them (FFmpeg 7.1
    /// and later understand them but do not announce it)
    #[arg(long, env = "ANABRANCH_MULTITRACK_TO_ALL", value_parser = BoolishValueParser::new())]
    pub multitrack_to_all: bool,

    /// Refuse a chunk stream whose first chunk has a compressed header (format 1, 2 or 3), as the specification says;
    /// librtmp sends such chunks
    #[arg(long, env = "ANABRANCH_STRICT_CHUNKS", value_parser = BoolishValueParser::new())]
    pub strict_chunks: bool,

    /// Send onBWDone after connect, as Flash Media Server does
    #[arg(long, env = "ANABRANCH_BANDWIDTH_DONE", value_parser = BoolishValueParser::new())]
    pub bandwidth_done: bool,

    /// Whether small writes are sent at once (TCP_NODELAY): on or off
    #[arg(long, value_name = "SWITCH", default_value = "on", env = "ANABRANCH_TCP_NODELAY",
          action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub tcp_nodelay: bool,

    /// Idle time after which the system checks whether the peer is still there, in seconds; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 60, env = "ANABRANCH_TCP_KEEPALIVE",
          value_parser = value_parser!(u64).range(0..=32_767))]
    pub tcp_keepalive: u64,

    /// How long sent data may stay unacknowledged before the system closes the connection (TCP_USER_TIMEOUT), in
    /// milliseconds; 0 for the system's own limit
    #[arg(long, value_name = "MS", default_value_t = 0, env = "ANABRANCH_TCP_USER_TIMEOUT",
          value_parser = value_parser!(u64).range(0..=86_400_000))]
    pub tcp_user_timeout: u64,

    /// How many unsent bytes a socket may hold and still count as writable (TCP_NOTSENT_LOWAT); 0 for the system's own
    /// limit. With less, slow players skip frames sooner, and the server wakes up more often
    #[arg(long, value_name = "BYTES", default_value_t = 131_072, env = "ANABRANCH_TCP_NOTSENT_LOWAT")]
    pub tcp_notsent_lowat: u32,

    /// Capture each connection into a file in this folder, for `replay`. The files hold everything that clients send,
    /// including stream keys and media
    #[arg(long, value_name = "DIR", env = "ANABRANCH_CAPTURE")]
    pub capture: Option<PathBuf>,

    /// The size at which the capture of one connection ends, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, env = "ANABRANCH_CAPTURE_LIMIT",
          value_parser = value_parser!(u64).range(1..=65_536))]
    pub capture_limit: u64,

    /// The largest number of files in that folder; at this number no new file is begun
    #[arg(long, value_name = "COUNT", default_value_t = 1000, env = "ANABRANCH_CAPTURE_FILES",
          value_parser = value_parser!(u64).range(1..))]
    pub capture_files: u64,

    /// What to log: error, warn, info, debug or trace, or a level for each module as in anabranch_smol=debug
    #[arg(long, value_name = "FILTER", default_value = "info", env = "ANABRANCH_LOG")]
    pub log: String,

    /// The format of the log: lines for people, or one JSON object a line for programs
    #[arg(long, value_name = "FORMAT", default_value = "text", env = "ANABRANCH_LOG_FORMAT")]
    pub log_format: LogFormat,

    /// How much of clients' addresses the log shows: all, the network (24 bits of an IPv4 address, 48 bits of an IPv6
    /// address), or nothing
    #[arg(long, value_name = "PART", default_value = "full", env = "ANABRANCH_LOG_ADDRESSES")]
    pub log_addresses: ShownAddresses,
}

/// Options of programs whose runtime has a number of threads.
#[derive(Debug, Clone, Args)]
pub struct ThreadOptions {
    /// Threads that serve connections; one for each core if not given
    #[arg(long, value_name = "COUNT", env = "ANABRANCH_THREADS", value_parser = parse_threads)]
    pub threads: Option<NonZero<usize>>,
}

/// The values of `--on-conflict`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OnConflict {
    /// The new client is refused.
    Reject,
    /// The new client takes over if its URL has the same token parameter, and is refused otherwise.
    Takeover,
    /// The new client stands by, and takes over when the old one is lost or sends nothing for 2 s.
    Backup,
}

/// The values of `--timestamps`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum TimestampMode {
    /// The server corrects them so that they rise steadily.
    Monotonic,
    /// The server passes them on as they are.
    Pass,
}

impl Options {
    /// Adds these options to a program. Call this before setting its description: clap sets this type's description.
    pub fn command(program: Command) -> Command {
        ignore_empty_variables(Options::augment_args(program))
    }

    /// The server configuration that these options mean.
    pub fn config(&self) -> Config {
        let mut config = Config::default();
        config.defaults.session.chunk_size = self.chunk_size;
        config.defaults.session.bandwidth_done = self.bandwidth_done;
        if self.strict_chunks {
            config.defaults.session.leniency = Leniency::Strict;
        }
        config.defaults.conflict = match self.on_conflict {
            OnConflict::Reject => Conflict::Reject,
            OnConflict::Takeover => Conflict::TakeOver,
            OnConflict::Backup => Conflict::Backup,
        };
        config.defaults.timestamps = match self.timestamps {
            TimestampMode::Monotonic => Timestamps::Monotonic,
            TimestampMode::Pass => Timestamps::Pass,
        };
        config.trusted_proxies.clone_from(&self.trusted_proxy);
        config.defaults.multitrack_to_all = self.multitrack_to_all;
        config.defaults.pacing.merge_window = Duration::from_millis(self.merge_window);
        config.defaults.pacing.merge_window_max = Duration::from_millis(self.merge_window_max);
        config.defaults.unpublish_grace = Duration::from_secs(self.unpublish_grace);
        config.defaults.session.timeouts.wait_for_stream = match self.wait_for_stream {
            0 => Duration::MAX,
            seconds => Duration::from_secs(seconds),
        };
        config.defaults.source.bytes = usize::try_from(self.stream_memory << 20).unwrap_or(usize::MAX);
        config.memory = self.memory.bytes();
        config
    }

    /// The options that [`config`](Self::config) depends on, one a line, after the line `program`. A replay needs them.
    pub fn header(&self, program: &str) -> String {
        let mut lines = vec![program.to_owned()];
        lines.push(format!("--chunk-size={}", self.chunk_size));
        lines.push(format!("--merge-window={}", self.merge_window));
        lines.push(format!("--merge-window-max={}", self.merge_window_max));
        lines.push(format!("--unpublish-grace={}", self.unpublish_grace));
        lines.push(format!("--wait-for-stream={}", self.wait_for_stream));
        lines.push(format!("--on-conflict={}", name(&self.on_conflict)));
        lines.push(format!("--timestamps={}", name(&self.timestamps)));
        lines.push(format!("--stream-memory={}", self.stream_memory));
        lines.push(format!("--memory={}", self.memory));
        lines.extend(self.trusted_proxy.iter().map(|network| format!("--trusted-proxy={network}")));
        let flags = [
            (self.multitrack_to_all, "--multitrack-to-all"),
            (self.strict_chunks, "--strict-chunks"),
            (self.bandwidth_done, "--bandwidth-done"),
        ];
        lines.extend(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| (*flag).to_owned()));
        lines.join("\n")
    }

    /// All options with their values, one a line.
    pub(crate) fn all_lines(&self) -> Vec<String> {
        let listen = |address: &Listen| match address {
            Listen::Any(port) => format!("--listen={port}"),
            Listen::One(address) => format!("--listen={address}"),
        };
        let mut lines: Vec<_> = self.listen.iter().map(listen).collect();
        lines.push(format!("--web={}", self.web));
        lines.push(format!("--rtc={}", self.rtc));
        lines.extend(self.header("").lines().skip(1).map(str::to_owned));
        lines.push(format!("--tcp-nodelay={}", if self.tcp_nodelay { "on" } else { "off" }));
        lines.push(format!("--tcp-keepalive={}", self.tcp_keepalive));
        lines.push(format!("--tcp-user-timeout={}", self.tcp_user_timeout));
        lines.push(format!("--tcp-notsent-lowat={}", self.tcp_notsent_lowat));
        if let Some(folder) = &self.capture {
            lines.push(format!("--capture={}", folder.display()));
            lines.push(format!("--capture-limit={}", self.capture_limit));
            lines.push(format!("--capture-files={}", self.capture_files));
        }
        lines.push(format!("--log={}", self.log));
        lines.push(format!("--log-format={}", name(&self.log_format)));
        lines.push(format!("--log-addresses={}", name(&self.log_addresses)));
        lines
    }

    /// The options in a capture's header. The environment of this process has no part in them.
    ///
    /// # Errors
    /// Options that this program does not know.
    pub(crate) fn of_header(header: &str) -> Result<Options, String> {
        let command = Options::augment_args(Command::new("header")).mut_args(|option| option.env(Resettable::Reset));
        // The first line stands where the program's name stands on a command line.
        let matches = command.try_get_matches_from(header.lines()).map_err(|error| error.to_string())?;
        Options::from_arg_matches(&matches).map_err(|error| error.to_string())
    }

    /// Where connections are captured, if they are.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn captures(&self, program: &str) -> io::Result<Option<CaptureFolder>> {
        let Some(folder) = &self.capture else {
            return Ok(None);
        };
        let limits =
            CaptureLimits { bytes: self.capture_limit << 20, files: self.capture_files, ..CaptureLimits::default() };
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot capture into {}: {error}", folder.display()))
        };
        CaptureFolder::start(folder, limits, &self.header(program)).map(Some).map_err(named)
    }

    /// How TCP connections are treated.
    pub fn tcp(&self) -> TcpOptions {
        let some = |number: u64| (number > 0).then_some(number);
        TcpOptions {
            nodelay: self.tcp_nodelay,
            keepalive: some(self.tcp_keepalive).map(Duration::from_secs),
            user_timeout: some(self.tcp_user_timeout).map(Duration::from_millis),
            notsent_lowat: (self.tcp_notsent_lowat > 0).then_some(self.tcp_notsent_lowat),
        }
    }
}

/// A value as it is written on the command line.
fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl ThreadOptions {
    /// Adds these options to a program.
    pub fn command(program: Command) -> Command {
        ignore_empty_variables(ThreadOptions::augment_args(program))
    }
}

/// Compose files and unit files leave variables empty for "not set", which no option can mean otherwise.
fn ignore_empty_variables(program: Command) -> Command {
    program.mut_args(|option| {
        let value = option.get_env().and_then(env::var_os);
        if value.is_some_and(|value| value.is_empty()) { option.env(Resettable::Reset) } else { option }
    })
}

fn parse_threads(text: &str) -> Result<NonZero<usize>, String> {
    match text.parse() {
        Ok(threads @ 1..=1024) => NonZero::new(threads).ok_or_else(String::new),
        _ => Err("expected 1 to 1024 threads".to_owned()),
    }
}

/// `350` or `350ms`.
fn parse_milliseconds(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix("ms").unwrap_or(text).trim();
    match number.parse() {
        Ok(milliseconds @ 0..=10_000) => Ok(milliseconds),
        _ => Err("expected 0 to 10000 milliseconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        options: Options,
    }

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        let arguments = std::iter::once(&"program").chain(arguments);
        Program::try_parse_from(arguments).map(|program| program.options).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_needs_to_be_given() {
        let options = parse(&[]).unwrap();
        assert_eq!(options.listen, [Listen::Any(1935)]);
        assert_eq!(options.web, WebListen::Auto);
        assert_eq!(options.rtc, WebListen::Auto);
        assert_eq!(options.config().defaults.pacing, Config::default().defaults.pacing);
        assert_eq!(options.config().defaults.source, Config::default().defaults.source);
        assert_eq!(options.config().defaults.unpublish_grace, Config::default().defaults.unpublish_grace);
        assert_eq!(options.config().defaults.session.chunk_size, Config::default().defaults.session.chunk_size);
    }

    #[test]
    fn the_header_of_a_capture_brings_the_same_configuration() {
        let given = "--chunk-size 4096 --merge-window 0 --merge-window-max 90 --unpublish-grace 3 --on-conflict takeover --timestamps pass \
                     --stream-memory 5 --memory 77 --trusted-proxy 10.0.0.0/8,::1 --multitrack-to-all --strict-chunks \
                     --bandwidth-done";
        let given: Vec<_> = given.split_whitespace().collect();
        for arguments in [&given[..], &[]] {
            let options = parse(arguments).unwrap();
            let again = Options::of_header(&options.header("anabranch 1.0")).unwrap();
            assert_eq!(format!("{:?}", again.config()), format!("{:?}", options.config()));
        }
        assert!(Options::of_header("anabranch 9.0\n--what-is-this").is_err());
    }

    #[test]
    fn several_addresses_and_units() {
        let options = parse(&["--listen", "1936", "--listen", "127.0.0.1:0", "--merge-window", "350ms"]).unwrap();
        assert_eq!(options.listen.len(), 2);
        assert_eq!(options.config().defaults.pacing.merge_window, Duration::from_millis(350));
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_the_range() {
        assert!(parse(&["--chunk-size", "127"]).unwrap_err().contains("128..=65536"));
        assert!(parse(&["--merge-window", "10001"]).unwrap_err().contains("0 to 10000"));
        assert!(parse(&["--listen", "here"]).unwrap_err().contains("127.0.0.1:1935"));
    }
}
