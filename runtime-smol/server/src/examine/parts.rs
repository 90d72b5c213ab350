use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anabranch_host::{Listen, WebListen};
use anabranch_program::{Fault, check_addresses, check_folder};

use super::{Finding, Grade, Purpose};
use crate::cluster::{self, ClusterSettings};
use crate::hooks;
use crate::record::free_space;
use crate::relays;
use crate::run::find;
use crate::settings::tree::{Origin, Path, Step};
use crate::settings::vhost::VhostSettings;
use crate::settings::{Loaded, Settings};
use crate::tls::Described;

/// A certificate that has less than this left should have been renewed, unless its whole life is short.
const RENEWED: Duration = Duration::from_secs(14 * 86_400);

/// Collects what is found.
pub(super) struct Found<'a> {
    loaded: &'a Loaded,
    findings: Vec<Finding>,
}

impl<'a> Found<'a> {
    pub(super) fn new(loaded: &'a Loaded) -> Self {
        Found { loaded, findings: Vec::new() }
    }

    /// In the order of the file.
    pub(super) fn sorted(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|finding| match finding.origin {
            Origin::File { line, column, .. } => (line, column),
            _ => (usize::MAX, 0),
        });
        self.findings
    }

    pub(super) fn loaded(&self) -> &'a Loaded {
        self.loaded
    }

    pub(super) fn add(&mut self, grade: Grade, path: Path, fault: Fault) {
        let origin = self.origin(&path);
        let finding = Finding { grade, origin, path, fault };
        // Virtual hosts inherit what is wrong in the defaults.
        let is_known = |known: &Finding| known.origin == finding.origin && known.fault == finding.fault;
        if !self.findings.iter().any(is_known) {
            self.findings.push(finding);
        }
    }

    /// Where the value comes from: what an application does not set comes from its virtual host, and what that does not
    /// set comes from the defaults.
    fn origin(&self, path: &Path) -> Origin {
        let tree = &self.loaded.tree;
        let key = |name: &str| Step::Key(name.to_owned());
        let host = if path.0.first() == Some(&key("vhost")) { 2 } else { 1 };
        let application = if path.0.get(host) == Some(&key("application")) { 2 } else { 0 };
        let (front, rest) = (path.0.iter().take(host), path.0.iter().skip(host + application));
        let of_host = Path(front.chain(rest.clone()).cloned().collect());
        let of_defaults = Path([key("defaults")].iter().chain(rest).cloned().collect());
        let places = [path.clone(), of_host, of_defaults];
        let place = places.iter().find(|place| tree.get(place).is_some()).unwrap_or(path);
        tree.nearest(place).origin().clone()
    }

    /// The addresses of RTMP, RTMPS and the API.
    pub(super) fn addresses(&mut self, purpose: Purpose) {
        let api = &self.loaded.settings.api;
        let of_api = Path::of(&["api", "listen"]);
        for (path, address) in check_addresses(&addresses(&self.loaded.settings, purpose)) {
            // The server says so itself when it goes on without the API.
            if matches!(purpose, Purpose::Start { .. }) && path == of_api && api.is_optional() {
                continue;
            }
            let grade = match (purpose, address.in_use) {
                _ if path == of_api && api.is_optional() => Grade::Warning,
                (Purpose::Start { .. }, _) | (_, false) => Grade::Fault,
                (_, true) => Grade::Warning,
            };
            let mut fault = address.fault;
            if grade == Grade::Warning {
                let then = if path == of_api && api.is_optional() {
                    "the server runs without API and metrics while that is so"
                } else {
                    "another server does not start while that is so"
                };
                fault.words = format!("{} ({then})", fault.words);
            }
            self.add(grade, path, fault);
        }
    }

    /// The credentials of the API.
    pub(super) fn api(&mut self) {
        if let Err((key, fault)) = self.loaded.settings.api.check() {
            self.add(Grade::Fault, Path::of(&["api", key]), fault);
        }
    }

    /// The certificates and their keys.
    pub(super) fn certificates(&mut self) {
        let tls = &self.loaded.settings.tls;
        let (path, has_https) = (Path::of(&["tls", "certificates"]), !self.loaded.settings.web.https.is_empty());
        if has_https && tls.certificates.is_empty() {
            let fault = Fault::new(
                "HTTPS needs at least one certificate",
                "add [[tls.certificates]] with the files certificate and key, or remove web.https",
            );
            self.add(Grade::Fault, Path::of(&["web", "https"]), fault);
        }
        if tls.is_on() && tls.certificates.is_empty() {
            let key = if tls.on_rtmp_ports { "on_rtmp_ports" } else { "listen" };
            let fault = Fault::new(
                "RTMPS needs at least one certificate",
                "add [[tls.certificates]] with the files certificate and key, or switch RTMPS off",
            );
            self.add(Grade::Fault, Path::of(&["tls", key]), fault);
        }
        if !(tls.is_on() || has_https || tls.certificates.is_empty()) {
            let fault = Fault::new(
                "there are certificates, but no address uses them",
                "set tls.listen, tls.on_rtmp_ports or web.https, or remove the certificates",
            );
            self.add(Grade::Warning, path.index(0), fault);
        }
        let grade = if tls.is_on() || has_https { Grade::Fault } else { Grade::Warning };
        for (index, files) in tls.certificates.iter().enumerate() {
            let path = path.index(index);
            match files.examine() {
                Err(wrong) => {
                    let key = if wrong.is_in_key { "key" } else { "certificate" };
                    self.add(grade, path.key(key), wrong.fault);
                }
                Ok(found) => {
                    if let Some(fault) = dates(&files.certificate.display().to_string(), &found) {
                        self.add(Grade::Warning, path.key("certificate"), fault);
                    }
                }
            }
        }
    }

    /// The files of CA certificates for hooks.
    pub(super) fn hooks(&mut self) {
        for (path, settings) in sections(&self.loaded.settings) {
            if let Err(words) = hooks::check(&settings.hooks) {
                let fault =
                    Fault::new(words, "name a readable file of CA certificates in PEM, or \"\" for the system's");
                self.add(Grade::Fault, path.key("hooks").key("ca_file"), fault);
            }
        }
    }

    /// The programs of `[[run]]`.
    pub(super) fn runs(&mut self) {
        let mut needs_url = None;
        for (path, settings) in sections(&self.loaded.settings) {
            for (index, run) in settings.run.iter().enumerate() {
                let path = path.key("run").index(index);
                if !run.folder.as_os_str().is_empty() && !run.folder.is_dir() {
                    let words = format!("{} is not a folder", run.folder.display());
                    let cure = "make it, or name the folder that the program is to work in";
                    self.add(Grade::Warning, path.key("folder"), Fault::new(words, cure));
                }
                if let Err(words) = find(&run.program(), &run.folder, &run.places()) {
                    let cure = "install it, or write its path; until then it is tried again for each stream";
                    self.add(Grade::Warning, path.key("command"), Fault::new(words, cure));
                }
                if let Some(item) = run.collides() {
                    let words = "streams of several apps match, and the name of a file has {stream_file} only";
                    let cure = "write {app_file}+{stream_file}, or {vhost_file}+{app_file}+{stream_file} if virtual hosts \
                                share the folder";
                    self.add(Grade::Warning, path.key("command").index(item), Fault::new(words.to_owned(), cure));
                }
                if run.has_url() {
                    needs_url.get_or_insert(path.key("command"));
                }
                for name in run.inherit.iter().filter(|name| std::env::var_os(name.as_str()).is_none()) {
                    let words = format!("{name} is not set here, so the program does not get it");
                    let cure = "set it for the server, or remove it from inherit";
                    self.add(Grade::Warning, path.key("inherit"), Fault::new(words, cure));
                }
            }
        }
        if let Some(path) = needs_url.filter(|_| !self.loaded.settings.server.listens_on_loopback()) {
            let words = "{input} and {output} have no address: no address of server.listen is on loopback";
            let cure = "add \"127.0.0.1:1935\", or another port, to server.listen";
            self.add(Grade::Warning, path, Fault::new(words, cure));
        }
    }

    /// The cluster: its settings, and for `check` whether its directory answers.
    pub(super) fn cluster(&mut self, purpose: Purpose) {
        let settings: &ClusterSettings = &self.loaded.settings.cluster;
        let faults = settings.faults();
        let is_right = faults.is_empty();
        for (key, fault) in faults {
            self.add(Grade::Fault, Path::of(&["cluster", key]), fault);
        }
        if !settings.is_on() || !is_right {
            return;
        }
        if settings.is_loopback_only() {
            let fault = Fault::new(
                "only programs on this machine reach the server there, and the directory is on another",
                "set it to the address of this machine in the network of the servers",
            );
            self.add(Grade::Warning, Path::of(&["cluster", "advertise"]), fault);
        }
        let is_tls = settings.advertised().is_ok_and(|address| address.tls);
        for (key, is_set) in [("srs_lookup", settings.srs_lookup), ("redirect", settings.redirect)] {
            if is_tls && is_set {
                let words = "servers of SRS connect without TLS, and cluster.advertise is rtmps";
                let fault = Fault::new(words.to_owned(), "set cluster.advertise to an address with rtmp, or remove it");
                self.add(Grade::Warning, Path::of(&["cluster", key]), fault);
            }
        }
        // The start must not wait for a directory that does not answer, nor refuse: the server works without it.
        if purpose != Purpose::Check {
            return;
        }
        let found = cluster::probe(settings);
        let directory = found.directory.and_then(Result::err);
        let faults = directory.into_iter().chain(found.warnings).map(|fault| ("redis", fault));
        let advertise = found.advertise.and_then(Result::err).map(|fault| ("advertise", fault));
        for (key, fault) in faults.chain(advertise) {
            self.add(Grade::Warning, Path::of(&["cluster", key]), fault);
        }
    }

    /// The file of CA certificates for other servers.
    pub(super) fn relays(&mut self) {
        if let Err(words) = relays::client(&self.loaded.settings.relay) {
            let fault = Fault::new(words, "name a readable file of CA certificates in PEM, or \"\" for the system's");
            self.add(Grade::Fault, Path::of(&["relay", "ca_file"]), fault);
        }
    }

    /// The folders of recordings and captures.
    pub(super) fn folders(&mut self, purpose: Purpose) {
        for (path, settings) in sections(&self.loaded.settings) {
            let record = &settings.record;
            if record.streams.is_empty() {
                continue;
            }
            let path = path.key("record");
            match check_folder(&record.folder) {
                Err(fault) => self.add(Grade::Fault, path.key("folder"), fault),
                Ok(()) => {
                    let least = record.min_free.0;
                    if let Some(free) = free_space(&record.folder).filter(|free| *free < least) {
                        let words = format!(
                            "nothing is recorded: {} MiB are free on the disk of {}, and record.min_free keeps {} MiB",
                            free >> 20,
                            record.folder.display(),
                            least >> 20
                        );
                        let fault = Fault::new(words, "remove old recordings, or lower record.min_free");
                        self.add(Grade::Warning, path.key("folder"), fault);
                    }
                }
            }
        }
        for (path, settings) in sections(&self.loaded.settings) {
            let (path, hls) = (path.key("hls"), &settings.hls);
            if !hls.folder.as_os_str().is_empty()
                && let Err(fault) = check_folder(&hls.folder)
            {
                self.add(Grade::Fault, path.key("folder"), fault);
            }
            if let Err(words) = hls.s3.check() {
                let fault =
                    Fault::new(words, "write endpoint, region, access_key and secret_key as the store gave them");
                self.add(Grade::Fault, path.key("s3"), fault);
            }
        }
        let capture = &self.loaded.settings.capture;
        // It is used only when a capture is asked for, so the server starts without it.
        let path = Path::of(&["capture", "api_folder"]);
        let is_meant = self.origin(&path) != Origin::Default
            || purpose == Purpose::Check && self.loaded.settings.api.place().is_some();
        if is_meant
            && !capture.api_folder.as_os_str().is_empty()
            && let Err(mut fault) = check_folder(&capture.api_folder)
        {
            fault.words = format!("captures through the API do not work: {}", fault.words);
            self.add(Grade::Warning, path, fault);
        }
        if capture.folder.as_os_str().is_empty() {
            return;
        }
        let path = Path::of(&["capture", "folder"]);
        if let Err(fault) = check_folder(&capture.folder) {
            self.add(Grade::Fault, path, fault);
            return;
        }
        let is_capture = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|name| name == "anacap");
        let count = fs::read_dir(&capture.folder).into_iter().flatten().flatten().filter(is_capture).count() as u64;
        if count >= capture.files {
            let words = format!("no connection is captured: {} has {count} captures already", capture.folder.display());
            self.add(Grade::Warning, path, Fault::new(words, "remove old captures, or raise capture.files"));
        }
    }
}

/// The addresses that a server with these settings listens on: each with its place, and the part of the server that
/// listens there.
pub(crate) fn addresses(settings: &Settings, purpose: Purpose) -> Vec<(Path, &'static str, Listen)> {
    let Settings { server, tls, web, rtc, api, .. } = settings;
    let place = |keys: &[&str], index| Path::of(keys).index(index);
    let mut wanted = Vec::new();
    if purpose == Purpose::Reload {
        return wanted;
    }
    if purpose != (Purpose::Start { inherits: true }) {
        let rtmp = server.listen.iter().enumerate();
        wanted.extend(rtmp.map(|(index, listen)| (place(&["server", "listen"], index), "the server", listen.0)));
    }
    let rtmps = tls.listen.iter().enumerate();
    wanted.extend(rtmps.map(|(index, listen)| (place(&["tls", "listen"], index), "the server", listen.0)));
    if let WebListen::At(addresses) = &web.listen.0 {
        let http = addresses.iter().map(|listen| (Path::of(&["web", "listen"]), "the server", *listen));
        wanted.extend(http);
    }
    let https = web.https.iter().enumerate();
    wanted.extend(https.map(|(index, listen)| (place(&["web", "https"], index), "the server", listen.0)));
    let by_tcp = rtc.tcp_listen.iter().filter(|_| rtc.is_on()).enumerate();
    wanted.extend(by_tcp.map(|(index, listen)| (place(&["rtc", "tcp_listen"], index), "the server", listen.0)));
    wanted.extend(api.place().map(|listen| (Path::of(&["api", "listen"]), "the API", listen)));
    wanted
}

/// The settings of all virtual hosts and applications with their place. The first are the defaults. An application of the
/// defaults is there again for each virtual host in which it has other hooks, recordings or programs.
pub(crate) fn sections(settings: &Settings) -> Vec<(Path, &VhostSettings)> {
    let vhosts = settings.vhost.iter().enumerate();
    let vhosts = vhosts.map(|(index, vhost)| (Path::of(&["vhost"]).index(index), &vhost.settings));
    let mut all = Vec::new();
    for (path, host) in [(Path::of(&["defaults"]), &settings.defaults)].into_iter().chain(vhosts) {
        all.push((path.clone(), host));
        for (index, one) in host.application.iter().enumerate() {
            let known = host.shared_place(index).and_then(|shared| settings.defaults.application.get(shared));
            let is_same = |known: &VhostSettings| {
                let same = known.hooks == one.settings.hooks && known.record == one.settings.record;
                let same = same && known.hls.outlet() == one.settings.hls.outlet();
                same && known.run == one.settings.run && known.play.fallback == one.settings.play.fallback
            };
            if !known.is_some_and(|known| is_same(&known.settings)) {
                all.push((host.place_of_application(&path, index), &one.settings));
            }
        }
    }
    all
}

/// What is wrong with the dates of a certificate, now.
pub(crate) fn dates(file: &str, certificate: &Described) -> Option<Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let Described { not_before, not_after, .. } = *certificate;
    if now > not_after {
        let words = format!("{file} is not valid any more since {}, and clients refuse it", date(not_after));
        return Some(Fault::new(words, "renew it; the server notices the new file by itself"));
    }
    if now < not_before {
        let words = format!("{file} is not valid before {}, and clients refuse it until then", date(not_before));
        return Some(Fault::new(words, "check the clock of this machine, or use the old certificate until then"));
    }
    let left = not_after - now;
    let life = not_after.saturating_sub(not_before);
    if left < RENEWED.as_secs().min(life / 3) {
        let words = format!("{file} is valid for {} more, until {}", days(left), date(not_after));
        return Some(Fault::new(words, "renew it now, and look at why that has not happened by itself"));
    }
    None
}

/// So many seconds as days, or as hours if they are few.
pub(crate) fn days(seconds: u64) -> String {
    match seconds / 86_400 {
        0..=2 => format!("{} hours", seconds / 3600),
        days => format!("{days} days"),
    }
}

/// The day of a Unix time.
pub(crate) fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.map_or_else(
        || "a time beyond the year 9999".to_owned(),
        |time| format!("{:04}-{:02}-{:02}", time.year(), u8::from(time.month()), time.day()),
    )
}
