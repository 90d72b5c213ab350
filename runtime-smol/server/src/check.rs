use std::fmt::{self, Write};

use anabranch_core::conn::{Budget, VhostConfig};
use anabranch_program::Worst;
use anabranch_smol::TLS_CONNECTION_MEMORY;

use crate::cluster;
use crate::settings::{HlsSettings, KEPT_MEMORY, Loaded, SESSION_MEMORY};

/// The output of `check` for a valid configuration: the settings in force, and the memory that clients can make the
/// server hold with them. The output is TOML, with the memory as comments.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) loaded: &'a Loaded,
    /// Warnings about settings that are probably a mistake, one line each.
    pub(crate) advice: Vec<String>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loaded { config, settings, .. } = self.loaded;
        let memory = settings.limits.memory.0;
        writeln!(f, "# The configuration is valid. These settings are in force:\n{}", self.loaded.show())?;
        for line in &self.advice {
            writeln!(f, "# Warning: {line}")?;
        }
        let mut groups: Vec<(Vec<&str>, &VhostConfig, Budget)> = Vec::new();
        for vhost in config.vhosts.iter() {
            let budget = Budget::new(config, &vhost.settings);
            match groups.iter_mut().find(|(.., known)| *known == budget) {
                Some((names, ..)) => names.push(&vhost.name),
                None => groups.push((vec![&vhost.name], &vhost.settings, budget)),
            }
        }
        if groups.is_empty() {
            groups.push((Vec::new(), &config.defaults, Budget::new(config, &config.defaults)));
        }
        for (names, vhost, _) in groups {
            let mut text = String::new();
            if !names.is_empty() {
                writeln!(text, "Virtual hosts with this budget: {}", names.join(", "))?;
            }
            if !vhost.applications.is_empty() {
                let count = vhost.applications.iter().len();
                writeln!(
                    text,
                    "Each line is the largest of the settings of the host and of its applications ({count})"
                )?;
            }
            write!(text, "{}", Worst { config, vhost, memory })?;
            for line in text.lines() {
                writeln!(f, "{}", format!("# {line}").trim_end())?;
            }
            writeln!(f)?;
        }
        write!(f, "{}", Beside(self.loaded))
    }
}

/// The memory of the program's other parts: hooks, recordings, TLS, the directory.
struct Beside<'a>(&'a Loaded);

impl fmt::Display for Beside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loaded { settings, .. } = self.0;
        let (hooks, records) = (self.0.of_streams(|one| &one.hooks), self.0.of_streams(|one| &one.record));
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let (mut urls, mut bytes) = (Vec::new(), 0_u64);
        for hooks in hooks.iter() {
            for url in hooks.all_urls() {
                // The same URL with other settings is a separate endpoint.
                let own = (url, hooks.notice_memory, hooks.queue, hooks.max_in_flight);
                if !urls.contains(&own) {
                    urls.push(own);
                    bytes = bytes.saturating_add(hooks.most_memory(url));
                }
            }
        }
        if !urls.is_empty() {
            let (count, bytes) = (urls.len(), mib(bytes));
            writeln!(f, "# Waiting and running calls to {count} hook URLs: at most {bytes} in all")?;
            writeln!(
                f,
                "#   (hooks.notice_memory, and 50 KiB for each of hooks.queue and hooks.max_in_flight, 150 KiB in nginx-rtmp's form)"
            )?;
        }
        if records.iter().any(|record| !record.streams.is_empty()) {
            writeln!(f, "# Each recorded stream: at most 9.4 MiB and one message, and a file descriptor")?;
            writeln!(
                f,
                "#   (and within limits.memory cache.bytes once more, if a publisher replaces another before all is written)"
            )?;
        }
        if self.0.of_streams(|one| &one.hls).iter().any(HlsSettings::is_stored) {
            writeln!(f, "# Segments that wait for folders, and those that wait for stores: at most 64 MiB each")?;
            writeln!(f, "#   (and eight being sent to stores)")?;
        }
        if self.0.of_streams(|one| &one.run).iter().any(|runs| !runs.is_empty()) {
            let most = settings.limits.runs.0.map_or("any number of".to_owned(), |most| most.to_string());
            writeln!(
                f,
                "# Each running program of [[run]]: at most 0.4 MiB here, and a file descriptor; {most} programs"
            )?;
            writeln!(f, "#   (limits.runs; what the programs need themselves comes in addition)")?;
        }
        if !settings.capture.api_folder.as_os_str().is_empty() && settings.capture.folder.as_os_str().is_empty() {
            writeln!(f, "# While captures run that were begun through the API: at most 48 MiB")?;
            writeln!(f, "#   (32 MiB that wait for the disk, 16 MiB of connections that have not named a stream)")?;
        }
        if settings.rtc.is_on() && settings.web.is_on() {
            let (kib, sessions) = (SESSION_MEMORY >> 10, settings.rtc.sessions);
            let (all, kept) = (mib(SESSION_MEMORY.saturating_mul(sessions as u64)), KEPT_MEMORY >> 20);
            writeln!(f, "# Each session of WebRTC: at most {kib} KiB, so {all} for {sessions} (rtc.sessions)")?;
            writeln!(f, "#   (keys, packets that it may ask for again, packets that wait)")?;
            let by_tcp = if settings.rtc.tcp_listen.is_empty() { "" } else { ", and 64 MiB by TCP (rtc.tcp_listen)" };
            writeln!(f, "# Datagrams of WebRTC that wait for the network: at most 4 MiB for each address{by_tcp}")?;
            writeln!(f, "# Each stream with viewers by WebRTC: at most {kept} MiB more")?;
            writeln!(f, "#   (its packets from the newest key frame on; 1 MiB of these for sound that becomes Opus)")?;
        }
        if settings.tls.is_on() {
            let kib = TLS_CONNECTION_MEMORY >> 10;
            writeln!(f, "# Each connection in TLS, before or after connect: at most {kib} KiB more")?;
            writeln!(f, "#   (its session, a partly received record, content not yet read, records not yet sent)")?;
        }
        if settings.cluster.is_on() {
            let mib = cluster::MOST_MEMORY >> 20;
            writeln!(f, "# The directory of the cluster: at most {mib} MiB, with 100,000 streams of this server")?;
            writeln!(f, "#   (1 KiB for each of them, 300 bytes for each of 10,000 other names, one reply)")?;
            if let Some(servers) = settings.cluster.reach() {
                let (children, depth) = (settings.cluster.children, settings.cluster.depth);
                write!(
                    f,
                    "# The servers of the cluster: {children} get a stream from one server (cluster.children), and "
                )?;
                writeln!(f, "{servers} over {depth} connections (cluster.depth); with more, some send it to more")?;
            }
        }
        Ok(())
    }
}
