use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use anabranch_core::conn::Config;
use anabranch_core::hub::{Gave, Relief};
use anabranch_core::policy::Limits;
use anabranch_core::url::shortened;
use anabranch_host::Handle;
use rustix::process::{Resource, getrlimit};
use tracing::{info, warn};

use crate::MemoryLimit;

/// How often the server checks whether streams gave memory up.
const STEP: Duration = Duration::from_secs(1);

/// Logs what streams give up because all of them together take too much memory, until the process ends.
///
/// # Errors
/// The system cannot start the thread.
pub fn watch_memory(handle: Handle) -> io::Result<()> {
    let watch = move || {
        loop {
            thread::sleep(STEP);
            for relief in handle.take_reliefs() {
                let Relief { key, held, given, gave } = &relief;
                warn!(
                    event = "memory_given",
                    vhost = &*shortened(key.vhost()),
                    app = &*shortened(key.app()),
                    stream = &*shortened(key.stream()),
                    held,
                    given,
                    what = name(*gave),
                    "{}",
                    Told(&relief)
                );
            }
        }
    };
    thread::Builder::new().name("anabranch-memory".to_owned()).spawn(watch).map(drop)
}

fn name(gave: Gave) -> &'static str {
    match gave {
        Gave::Past => "past",
        Gave::Log => "log",
        Gave::Headers => "headers",
    }
}

/// The log line of a [`Relief`].
struct Told<'a>(&'a Relief);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Relief { key, held, given, gave } = self.0;
        let what = match gave {
            Gave::Past => "the frames before its newest key frame; players that are behind miss them",
            Gave::Log => "all of its recent frames; new players wait for its next key frame",
            Gave::Headers => "the headers in force; new players do not get them",
        };
        let (held, given) = (held >> 10, given >> 10);
        let why = "all streams together hold too much memory";
        write!(f, "stream {} held {held} KiB and dropped {given} KiB, {what}: {why}", key.shown())
    }
}

/// The limits that keep clients from taking all resources of the machine, as a log line.
#[derive(Debug, Clone, Copy)]
pub struct Protection<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// Where the memory of streams comes from.
    pub memory: MemoryLimit,
}

impl Protection<'_> {
    /// Writes it into the log.
    pub fn log(&self) {
        let Protection { config, memory } = self;
        let Limits { connections, publishers, players, streams, .. } = config.defaults.limits;
        info!(
            event = "limits",
            memory = config.memory,
            memory_from = memory.reason(),
            vhosts = config.vhosts.iter().count(),
            connections,
            publishers,
            players,
            streams,
            open_files = open_files(),
            "{self}"
        );
    }
}

impl fmt::Display for Protection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Protection { config, memory } = self;
        write!(f, "streams may take {} MiB of memory ({})", config.memory >> 20, memory.reason())?;
        match config.vhosts.is_empty() {
            true => write!(f, "; at most {}", Counts(&config.defaults.limits))?,
            false => {
                for vhost in config.vhosts.iter() {
                    write!(f, "; in {} at most {}", vhost.name, Counts(&vhost.settings.limits))?;
                }
            }
        }
        match open_files() {
            Some(files) => write!(f, "; {files} open files"),
            None => Ok(()),
        }
    }
}

/// Limits as text.
struct Counts<'a>(&'a Limits);

impl fmt::Display for Counts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limits { connections, publishers, players, streams, .. } = self.0;
        let counts =
            [(connections, "connections"), (publishers, "publishers"), (players, "players"), (streams, "streams")];
        for (index, (most, what)) in counts.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match most {
                Some(most) => write!(f, "{comma}{most} {what}")?,
                None => write!(f, "{comma}any number of {what}")?,
            }
        }
        Ok(())
    }
}

/// Files that this process may open; `None` if any number.
fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use anabranch_core::url::StreamKey;

    use super::*;

    #[test]
    fn a_relief_is_told_with_what_it_means() {
        let key = StreamKey::new("__defaultVhost__", "live", "cam").expect("a name");
        let relief = Relief { key, held: 5 << 20, given: 4 << 20, gave: Gave::Log };
        let text = Told(&relief).to_string();
        assert!(text.contains("live/cam held 5120 KiB and dropped 4096 KiB, all of its recent frames"), "{text}");
    }

    #[test]
    fn the_protections_of_the_process_are_logged_in_one_line() {
        let mut config = Config { memory: 7 << 20, ..Config::default() };
        config.defaults.limits.players = None;
        let text = Protection { config: &config, memory: MemoryLimit::Bytes(7 << 20) }.to_string();
        let expected = "streams may take 7 MiB of memory (as configured); at most 30000 connections, 4000 publishers, \
                        any number of players, 8000 streams";
        assert!(text.starts_with(expected), "{text}");
    }
}
