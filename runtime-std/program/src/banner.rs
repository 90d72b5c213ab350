use std::fmt;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tracing::info;

use crate::LogFormat;

/// The text printed when the server has started: the addresses for OBS and for players.
#[derive(Debug)]
pub struct Banner<'a> {
    /// The name of the program.
    pub program: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The addresses it listens on.
    pub addresses: &'a [SocketAddr],
    /// The addresses at which it serves HTTP.
    pub web: &'a [SocketAddr],
    /// The addresses of UDP at which it serves WebRTC.
    pub rtc: &'a [SocketAddr],
    /// The path before the name of a stream on its pages for viewers, if it has pages.
    pub page: Option<&'a str>,
    /// The address of its API, if it has one.
    pub api: Option<SocketAddr>,
}

impl Banner<'_> {
    /// Prints it on standard output, and writes it into the log, in one line. Where the log is JSON it is not printed:
    /// journals and containers put both streams together.
    pub fn show(&self, format: LogFormat) {
        if format == LogFormat::Text {
            // A server with a closed or full standard output goes on.
            let _ = writeln!(io::stdout(), "{self}");
        }
        self.log();
    }

    fn log(&self) {
        let Banner { program, version, addresses, web, rtc, page, api } = self;
        let console = web.first().filter(|_| page.is_some()).map(|web| format!("http://{}/", local(web)));
        let with_console = console.as_ref().map(|console| format!(", console {console}")).unwrap_or_default();
        let joined = |all: &[SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let listen = joined(addresses);
        let web = (!web.is_empty()).then(|| joined(web));
        let with_web = web.as_ref().map(|web| format!("; HTTP on {web}{with_console}")).unwrap_or_default();
        let rtc = (!rtc.is_empty()).then(|| joined(rtc));
        let with_rtc = rtc.as_ref().map(|rtc| format!("; WebRTC on UDP {rtc}")).unwrap_or_default();
        let url = addresses.first().map(|address| format!("{}/live", base_url(address)));
        let api = api.map(|address| format!("http://{address}/api/v1"));
        let with_api = api.as_ref().map(|api| format!("; API {api}")).unwrap_or_default();
        let publish = url.as_ref().map(|url| format!("; publish and play {url}/NAME")).unwrap_or_default();
        info!(
            event = "started",
            program,
            version,
            pid = std::process::id(),
            listen,
            url,
            web,
            rtc,
            console,
            api,
            "{program} {version} is ready, listening on {listen}{publish}{with_web}{with_rtc}{with_api}"
        );
    }
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Banner { program, version, .. } = self;
        let Some(url) = self.addresses.first().map(base_url) else {
            return write!(f, "{program} {version}: no address to listen on");
        };
        writeln!(f, "{program} {version} is ready.")?;
        for address in self.addresses {
            writeln!(f, "  listening on   {address}")?;
        }
        writeln!(f, "  publish, OBS   server {url}/live   stream key cam")?;
        writeln!(f, "  publish        ffmpeg -re -i FILE -c copy -f flv {url}/live/cam")?;
        write!(f, "  watch          ffplay {url}/live/cam   (or VLC, mpv, any RTMP player)")?;
        if let Some(web) = self.web.first() {
            let web = local(web);
            write!(f, "\n  watch, HTTP    http://{web}/live/cam.flv   (or cam.mp4, also by ws://)")?;
            if let Some(page) = self.page {
                write!(f, "\n  watch, browser http://{web}{page}live/cam")?;
                write!(f, "\n  console        http://{web}/")?;
            }
            if let Some(rtc) = self.rtc.first() {
                write!(f, "\n  WebRTC         http://{web}/live/cam/whip and /whep, UDP port {}", rtc.port())?;
            }
        }
        match self.api {
            Some(address) => write!(f, "\n  API            http://{address}/api/v1"),
            None => Ok(()),
        }
    }
}

/// An address that a program on this machine can use.
fn local(address: &SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) | IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(host, address.port())
}

fn base_url(address: &SocketAddr) -> String {
    let host = local(address).ip();
    match (host, address.port()) {
        (IpAddr::V4(host), 1935) => format!("rtmp://{host}"),
        (IpAddr::V6(host), 1935) => format!("rtmp://[{host}]"),
        (host, port) => format!("rtmp://{}", SocketAddr::new(host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_can_be_pasted() {
        let url = |address: &str| base_url(&address.parse().unwrap());
        assert_eq!(url("[::]:1935"), "rtmp://127.0.0.1");
        assert_eq!(url("0.0.0.0:1936"), "rtmp://127.0.0.1:1936");
        assert_eq!(url("[::1]:1935"), "rtmp://[::1]");
        assert_eq!(url("10.1.2.3:1935"), "rtmp://10.1.2.3");
    }
}
