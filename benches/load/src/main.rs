//! The program `anabranch-load`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anabranch_core::client::Destination;
use anabranch_core::handshake::ClientHandshakeKind;
use anabranch_load::cipher::CipherCost;
use anabranch_load::limit::Limit;
use anabranch_load::media::MediaOptions;
use anabranch_load::webrtc::{WebrtcOptions, WebrtcProgress, WhepTarget, watch};
use anabranch_load::{Layout, LoadOptions, Progress, WebTarget, load};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::Value;

/// Puts load on an RTMP server: publishes, plays, checks what comes through, and measures what it costs.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Options {
    /// The server: ADDRESS:PORT for the stream live/load, or rtmp://HOST[:PORT]/APP/STREAM, or rtmps; of several streams
    /// each has its number behind the name
    #[arg(required = true)]
    url: Option<String>,
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lets players in, sends all of them the same bytes and does nothing else: what the machine can do at best. Play
    /// it with `--publishers 0`
    Limit {
        /// Where to listen
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1936")]
        listen: SocketAddr,

        /// How long messages wait to leave together, in milliseconds; 0 for one write call for each
        #[arg(long, value_name = "MS", default_value_t = 0)]
        window: u64,

        #[command(flatten)]
        media: MediaArguments,
    },
    /// Encrypts the stream for so many players as TLS does, and sends nothing: what the cipher takes alone
    Cipher {
        /// Players, each with its own key
        #[arg(long, value_name = "COUNT", default_value_t = 500)]
        players: u32,

        /// How long messages wait to leave together, in milliseconds
        #[arg(long, value_name = "MS", default_value_t = 20)]
        window: u64,

        /// How much of the stream, in seconds
        #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
        duration: Duration,

        #[command(flatten)]
        media: MediaArguments,
    },
    /// Viewers of WebRTC, by WHEP; and a bare loop that encrypts and sends the same packets
    Webrtc {
        /// Where they offer: http://HOST[:PORT]/APP/STREAM/whep
        whep: String,

        /// Where the stream is published meanwhile: rtmp://HOST[:PORT]/APP/STREAM. Without it another program publishes
        #[arg(long, value_name = "URL")]
        publish: Option<String>,

        /// Viewers
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        viewers: u32,

        /// One viewer in so many reads everything and checks the pictures; 0 for none
        #[arg(long, value_name = "COUNT", default_value_t = 50)]
        read_every: u32,

        /// Offers a second
        #[arg(long, value_name = "COUNT", default_value_t = 100.0)]
        ramp: f64,

        /// Offers that wait for their answers at once
        #[arg(long, value_name = "COUNT", default_value_t = 4)]
        parallel: u32,

        /// How long to wait for the last of them to connect, in seconds
        #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
        timeout: Duration,

        /// How long to wait before it is measured, once all are up, in seconds
        #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
        warm_up: Duration,

        /// How long to measure, in seconds
        #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
        duration: Duration,

        /// The server's process on this machine, to measure what it costs
        #[arg(long, value_name = "PID")]
        server_pid: Option<u32>,

        /// Leave the bare loop out
        #[arg(long)]
        no_bare: bool,

        #[command(flatten)]
        media: MediaArguments,

        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
struct LoadArguments {
    /// Connections that play
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    players: u32,

    /// Connections that publish, each a separate stream; 0 to play what others publish
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    publishers: u32,

    /// Streams that are played, if more than are published
    #[arg(long, value_name = "COUNT")]
    streams: Option<u32>,

    /// Another server that the streams are played at, such as one that pulls them; given as the first one is. Or an
    /// address by HTTP or WebSocket: http://HOST[:PORT]/APP/STREAM.flv, the same with ws, or
    /// http://HOST[:PORT]/APP/STREAM.m3u8
    #[arg(long, value_name = "URL")]
    play_at: Option<String>,

    /// Players of HTTP Live Streaming get whole segments, and no parts
    #[arg(long)]
    no_parts: bool,

    /// How players are spread over the streams
    #[arg(long, value_name = "HOW", value_enum, default_value = "even")]
    layout: Layout,

    /// Players more, that never read once they play
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    stalled: u32,

    /// Places more, in each of which players connect, play, and leave after their first key frame, over and over
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    churn: u32,

    /// One player in so many on each stream takes all messages apart and checks them; the others count bytes
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    check_every: u32,

    #[command(flatten)]
    media: MediaArguments,

    /// How long to wait before it is measured, once all are up, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    warm_up: Duration,

    /// How long to measure, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    duration: Duration,

    /// Connections opened a second
    #[arg(long, value_name = "COUNT", default_value_t = 500.0)]
    ramp: f64,

    /// Connections that may be on their way to playing at once
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    parallel: u32,

    /// How long to wait for the last of them before measuring without it, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    timeout: Duration,

    /// Threads, each with an event loop
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    threads: u32,

    /// Seed of all that is random
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Form of the handshake
    #[arg(long, value_name = "FORM", value_enum, default_value = "simple")]
    handshake: Handshake,

    /// The server's process on this machine, to measure what it costs
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
}

#[derive(Debug, Args)]
struct MediaArguments {
    /// Video of a publisher, in kb/s
    #[arg(long, value_name = "KBPS", default_value_t = 1000)]
    bitrate: u64,

    /// Frames of video a second
    #[arg(long, value_name = "COUNT", default_value_t = 30.0)]
    fps: f64,

    /// Time between key frames, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    gop: Duration,

    /// Audio of a publisher, in kb/s; 0 for none
    #[arg(long, value_name = "KBPS", default_value_t = 128)]
    audio: u64,

    /// Send no onMetaData
    #[arg(long)]
    no_metadata: bool,
}

#[derive(Debug, Args)]
struct Output {
    /// Write the results as JSON to this file; - for standard output, instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Handshake {
    /// The one of the specification
    Simple,
    /// With digests, as Flash Media Server demands
    Digest,
}

impl MediaArguments {
    fn options(&self) -> MediaOptions {
        MediaOptions {
            bitrate: self.bitrate * 1000,
            fps: self.fps.clamp(0.1, 1000.0),
            gop: self.gop,
            audio: self.audio * 1000,
            metadata: !self.no_metadata,
        }
    }
}

impl LoadArguments {
    fn options(&self, destination: Destination) -> io::Result<LoadOptions> {
        let mut watch_at = self.play_at.as_deref().map(WebTarget::parse).transpose()?.flatten();
        if let Some(target) = &mut watch_at {
            target.uses_parts = !self.no_parts;
        }
        let play_at = self.play_at.as_deref().filter(|_| watch_at.is_none()).map(crate::destination).transpose()?;
        Ok(LoadOptions {
            destination,
            play_at,
            watch_at,
            publishers: self.publishers,
            streams: self.streams,
            players: self.players,
            layout: self.layout,
            stalled: self.stalled,
            churn: self.churn,
            check_every: self.check_every,
            media: self.media.options(),
            warm_up: self.warm_up,
            duration: self.duration,
            ramp: self.ramp,
            parallel: self.parallel,
            timeout: self.timeout,
            threads: self.threads,
            seed: self.seed,
            handshake: match self.handshake {
                Handshake::Simple => ClientHandshakeKind::Simple,
                Handshake::Digest => ClientHandshakeKind::Digest,
            },
            server_pid: self.server_pid,
        })
    }
}

impl Output {
    fn write(&self, table: &str, json: &Value) -> io::Result<()> {
        let json = format!("{json:#}\n");
        match &self.json {
            Some(path) if path.as_os_str() == "-" => return io::stdout().write_all(json.as_bytes()),
            Some(path) => std::fs::write(path, json)?,
            None => {}
        }
        io::stdout().write_all(table.as_bytes())
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("anabranch-load: {error}");
            ExitCode::from(2)
        }
    }
}

/// Fails if there were errors.
fn run(options: &Options) -> io::Result<ExitCode> {
    if let Some(Command::Limit { listen, window, media }) = &options.command {
        let limit = Limit::bind(*listen, &media.options(), Duration::from_millis(*window))?;
        eprintln!("process {} sends to all clients that play from {}", std::process::id(), limit.address()?);
        limit.run(&AtomicBool::new(false))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(Command::Cipher { players, window, duration, media }) = &options.command {
        let window = Duration::from_millis(*window);
        let cost = CipherCost::measure(&media.options(), window, *players, *duration)?;
        println!("{:#}", cost.to_json());
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(Command::Webrtc { .. }) = &options.command {
        return run_webrtc(options);
    }
    let destination = destination(options.url.as_deref().unwrap_or_default())?;
    let quiet = options.output.quiet;
    let report = load(&options.load.options(destination)?, |progress| {
        if !quiet {
            eprintln!("{}", line(progress));
        }
    })?;
    options.output.write(&report.to_string(), &report.to_json())?;
    Ok(if report.error_count() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_webrtc(options: &Options) -> io::Result<ExitCode> {
    let Some(Command::Webrtc {
        whep,
        publish,
        viewers,
        read_every,
        ramp,
        parallel,
        timeout,
        warm_up,
        duration,
        server_pid,
        no_bare,
        media,
        output,
    }) = &options.command
    else {
        return Ok(ExitCode::FAILURE);
    };
    if let Some(url) = publish {
        // It ends with the program.
        let hours = Duration::from_secs(24 * 3600);
        let load_options =
            LoadOptions { players: 0, media: media.options(), duration: hours, ..LoadOptions::to(destination(url)?) };
        let publishing = move || match load(&load_options, |_| {}) {
            Ok(_) => {}
            Err(error) => eprintln!("anabranch-load: the publisher: {error}"),
        };
        std::thread::Builder::new().name("publisher".to_owned()).spawn(publishing)?;
        std::thread::sleep(Duration::from_secs(1));
    }
    let webrtc = WebrtcOptions {
        target: WhepTarget::parse(whep)?,
        viewers: *viewers,
        read_every: *read_every,
        ramp: *ramp,
        parallel: *parallel,
        timeout: *timeout,
        warm_up: *warm_up,
        duration: *duration,
        server_pid: *server_pid,
        bare: (!no_bare).then(|| media.options()),
    };
    let report = watch(&webrtc, |progress| {
        if !output.quiet {
            let WebrtcProgress { elapsed, connected, wanted, bytes, errors } = progress;
            let megabytes = *bytes as f64 / 1e6;
            eprintln!("{:4} s {connected}/{wanted} viewers, {megabytes:.1} MB, {errors} errors", elapsed.as_secs());
        }
    })?;
    output.write(&report.to_string(), &report.to_json())?;
    Ok(if report.error_count() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(progress: &Progress) -> String {
    let Progress { publishers, players, wanted, churned, gaps, errors, .. } = progress;
    let (seconds, megabits) = (progress.elapsed.as_secs(), progress.bits_per_second / 1e6);
    let stage = if progress.measuring { "measuring" } else { "rising" };
    let churned = if *churned > 0 { format!(", {churned} came and left") } else { String::new() };
    format!(
        "{seconds:4} s {stage:9} {publishers} publishers, {players}/{wanted} players, {megabits:.1} Mb/s{churned}, \
         {gaps} missing, {errors} errors"
    )
}

fn destination(url: &str) -> io::Result<Destination> {
    let full = if url.contains("://") { url.to_owned() } else { format!("rtmp://{url}/live/load") };
    Destination::parse(&full).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{url}: {error}")))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse().map_err(|_| "expected seconds".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}
