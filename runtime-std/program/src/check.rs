use std::fmt;
use std::num::NonZero;

use anabranch_core::conn::{Budget, Config, Scope, VhostConfig};

use crate::{MemoryLimit, Options};

/// The output of `check`: the settings in use, and the most memory that clients can make the server take with them.
pub(crate) struct CheckReport<'a> {
    pub(crate) options: &'a Options,
    pub(crate) threads: Option<NonZero<usize>>,
}

impl fmt::Display for CheckReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The options are valid. These are in force:")?;
        for line in self.options.all_lines() {
            writeln!(f, "  {line}")?;
        }
        if let Some(threads) = self.threads {
            writeln!(f, "  --threads={threads}")?;
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
        for scope in Scope::ALL {
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
        ];
        for (index, (scope, count)) in sum.into_iter().enumerate() {
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
        let unfinished = Size(budget.all_unfinished()).to_string();
        writeln!(
            f,
            "    {unfinished:>14}  partly received messages, and half as much for frames that only players hold"
        )?;
        let rest = [(Scope::Connection, "connection"), (Scope::Publisher, "publisher"), (Scope::Player, "player")];
        for (scope, name) in rest.into_iter().chain([(Scope::Stream, "stream")]) {
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
            Scope::Connection | Scope::Stream => write!(f, "each {}", self.0),
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
        let text = CheckReport { options: &options, threads: NonZero::new(3) }.to_string();
        for words in [
            "--listen=127.0.0.1:1936\n",
            "--stream-memory=5\n",
            "--tcp-keepalive=60\n",
            "--threads=3\n",
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
