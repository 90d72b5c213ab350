use std::fmt;

use anabranch_core::conn::{Budget, Config, Scope, VhostConfig};
use anabranch_host::WebListen;

use clap::Command;

use crate::{LogFilter, MemoryLimit, Options, check_addresses, check_folder, unknown_variables};

/// What keeps a server with these options from starting, and what its operator should know.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) faults: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

impl Findings {
    /// Checks what a start needs. `command` has all options of the program. At a start, addresses that other programs
    /// listen on are faults; before that, the server that runs already may be what listens there.
    pub(crate) fn of(options: &Options, command: &Command, is_start: bool) -> Self {
        let mut found = Findings::default();
        let variables: Vec<_> = std::env::vars_os().collect();
        let variables = variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        for variable in unknown_variables(command, &[], variables) {
            found.add(variable.is_fault(), variable.fault().to_string());
        }
        if let Err(words) = LogFilter::check(&options.log) {
            found.add(true, format!("--log or ANABRANCH_LOG: {words}"));
        }
        let addresses: Vec<_> = options.listen.iter().map(|listen| ("another --listen", "RTMP", *listen)).collect();
        for (_, address) in check_addresses(&addresses) {
            found.add(is_start || !address.in_use, format!("--listen or ANABRANCH_LISTEN: {}", address.fault));
        }
        if !cfg!(feature = "webrtc") && matches!(options.rtc, WebListen::At(_)) {
            found
                .add(true, "--rtc or ANABRANCH_RTC: this program was built without WebRTC (feature webrtc)".to_owned());
        }
        if let Some(Err(fault)) = options.capture.as_deref().map(check_folder) {
            found.add(true, format!("--capture or ANABRANCH_CAPTURE: {fault}"));
        }
        found
    }

    fn add(&mut self, is_fault: bool, line: String) {
        if is_fault { self.faults.push(line) } else { self.warnings.push(line) }
    }

    /// Nothing, if the server can start.
    ///
    /// # Errors
    /// All faults, one a line.
    pub(crate) fn or_faults(&self) -> Result<(), String> {
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(format!("the server does not start with these options and this environment\n{}", self.faults.join("\n")))
    }
}

/// The output of `check`: the settings in use, and the most memory that clients can make the server take with them.
pub(crate) struct CheckReport<'a> {
    pub(crate) options: &'a Options,
}

impl fmt::Display for CheckReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The options are valid. These are in force:")?;
        for line in self.options.all_lines() {
            writeln!(f, "  {line}")?;
        }
        let config = self.options.config();
        write!(f, "\n{}", Worst { config: &config, vhost: &config.defaults, memory: self.options.memory })
    }
}

/// The most memory that clients can make the server take with the settings of one virtual host, as text.
#[derive(Debug, Clone, Copy)]
pub struct Worst<'a> {
    /// The settings in force before the virtual host is known.
    pub config: &'a Config,
    /// The virtual host's settings.
    pub vhost: &'a VhostConfig,
    /// Where the memory of streams comes from.
    pub memory: MemoryLimit,
}

impl fmt::Display for Worst<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let budget = Budget::new(self.config, self.vhost);
        writeln!(f, "The most memory that clients can make the server take (an ordinary client takes far less):")?;
        let is_used = |scope: &Scope| *scope != Scope::Relay || budget.count(*scope) != Some(0);
        for scope in Scope::ALL.into_iter().filter(is_used) {
            writeln!(f, "\n  {:<46} {:>12}", Title(scope).to_string(), Size(budget.total(scope)).to_string())?;
            for term in budget.terms().iter().filter(|term| term.scope == scope) {
                writeln!(f, "    {:<44} {:>12}  {}", term.name, Size(term.bytes).to_string(), term.limit)?;
            }
        }
        writeln!(f, "\n  The sum, in which a connection whose connect was granted counts as \"connection\":")?;
        let sum = [
            (Scope::BeforeConnect, "connections before connect"),
            (Scope::Connection, "connections"),
            (Scope::Publisher, "publishers"),
            (Scope::Player, "players"),
            (Scope::Stream, "streams"),
            (Scope::Relay, "pushes and pulls"),
        ];
        for (index, (scope, count)) in sum.into_iter().filter(|(scope, _)| is_used(scope)).enumerate() {
            let plus = if index == 0 { ' ' } else { '+' };
            let most = match (budget.count(scope), scope) {
                (Some(most), _) => format!(", at most {most}"),
                (None, Scope::BeforeConnect) => String::new(),
                (None, _) => ", any number: no limit is set".to_owned(),
            };
            writeln!(f, "    {plus} {:>12} x {count}{most}", Size(budget.total(scope)).to_string())?;
        }
        let streams = Size(budget.all_streams()).to_string();
        writeln!(f, "\n  The sum assumes that all reach their maximum at once. These common limits apply:")?;
        let reason = self.memory.reason();
        writeln!(f, "    {streams:>14}  frames and headers of all streams (limits.memory, {reason})")?;
        if budget.all_segments() > 0 {
            let segments = Size(budget.all_segments()).to_string();
            writeln!(f, "    {segments:>14}  segments of all streams (HLS and DASH)")?;
        }
        let unfinished = Size(budget.all_unfinished()).to_string();
        writeln!(
            f,
            "    {unfinished:>14}  partly received messages, and half as much for frames that only players hold"
        )?;
        let rest = [(Scope::Connection, "connection"), (Scope::Publisher, "publisher"), (Scope::Player, "player")];
        let last = [(Scope::Stream, "stream"), (Scope::Relay, "push or pull")];
        for (scope, name) in rest.into_iter().chain(last).filter(|(scope, _)| is_used(scope)) {
            let each = Size(budget.beside(scope)).to_string();
            let all = budget.count(scope).map(|count| (count, Size(budget.beside(scope).saturating_mul(count))));
            let all = all.map_or_else(String::new, |(count, all)| format!(", {all} for {count}"));
            writeln!(f, "    {each:>14}  for each {name} in addition{all}")?;
        }
        match budget.most(0) {
            Some(most) => writeln!(
                f,
                "  The most that the limits allow at once, without connections before connect: {}.",
                Size(most)
            )?,
            None => writeln!(f, "  There is no total, because not all limits are set.")?,
        }
        let timeout = self.config.defaults.session.timeouts.connect.as_secs();
        write!(
            f,
            "  A connection before connect is closed after {timeout} s. Buffers of the system, stacks of threads and\n  3 MiB for each thread or publisher that writes to players come in addition."
        )
    }
}

struct Title(Scope);

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Scope::BeforeConnect => write!(f, "each {}", self.0),
            Scope::Asked => write!(f, "and {}", self.0),
            Scope::Publisher | Scope::Player => write!(f, "and for each {}", self.0),
            Scope::Connection | Scope::Stream | Scope::Relay => write!(f, "each {}", self.0),
        }
    }
}

/// Bytes in a unit that is easy to read.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        match bytes {
            0..1024 => write!(f, "{bytes} B"),
            1024..0x10_0000 => write!(f, "{:.1} KiB", bytes as f64 / 1024.0),
            0x10_0000..0x4000_0000 => write!(f, "{:.1} MiB", bytes as f64 / 1_048_576.0),
            _ => write!(f, "{:.1} GiB", bytes as f64 / 1_073_741_824.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_settings_terms_and_the_formula() {
        let options = Options::of_header("program\n--stream-memory=5\n--listen=127.0.0.1:1936").unwrap();
        let text = CheckReport { options: &options }.to_string();
        for words in [
            "--listen=127.0.0.1:1936\n",
            "--stream-memory=5\n",
            "--tcp-keepalive=60\n",
            "each connection before connect ",
            "S0 S1 S2 ",
            "and for each player ",
            " x streams",
            "is closed after 10 s",
            "These common limits apply",
            "(limits.memory, auto: half of ",
            "for each player in addition",
        ] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
        // The stream's memory is one of its terms.
        let less = Options::of_header("program\n--stream-memory=1").unwrap().config();
        let total = |config: &anabranch_core::conn::Config| Budget::new(config, &config.defaults).total(Scope::Stream);
        assert!(total(&less) < total(&options.config()) + (5 << 20));
        assert_eq!(Size(1023).to_string(), "1023 B");
        assert_eq!(Size(15 << 10).to_string(), "15.0 KiB");
        assert_eq!(Size(3 << 19).to_string(), "1.5 MiB");
    }
}
