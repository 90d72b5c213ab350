use std::io;
use std::net::TcpListener;
use std::num::NonZero;
use std::sync::Arc;

use anabranch_core::conn::{Asks, Config, VhostConfig};
use tracing::warn;

use crate::{Captures, Entrance, Hooks, Listen, LogAddresses, TcpOptions, Web, WebListen, listen};
#[cfg(feature = "webrtc")]
use crate::{RtcOptions, RtcSockets};

/// What a server is made of.
#[derive(Debug)]
pub struct Setup {
    /// What the core does.
    pub config: Config,
    /// How TCP connections are treated.
    pub tcp: TcpOptions,
    /// What decides about clients.
    pub hooks: Option<Arc<dyn Hooks>>,
    /// Whether a configuration may ask the hooks nothing.
    pub hooks_may_idle: bool,
    /// What chooses the connections that are captured.
    pub captures: Option<Arc<dyn Captures>>,
    /// How much of clients' addresses the log shows.
    pub log_addresses: LogAddresses,
    /// The client's side of TLS for connections to other servers; `None`: it trusts the roots of the system.
    #[cfg(feature = "tls")]
    pub client_tls: Option<Arc<rustls::ClientConfig>>,
    /// Threads that serve connections, for runtimes that have a number of them; `None`: one a core.
    pub threads: Option<NonZero<usize>>,
    /// What answers requests by HTTP that are for no live stream.
    pub web: Option<Arc<dyn Web>>,
    /// Sockets for WebRTC; `None`: there is none.
    #[cfg(feature = "webrtc")]
    pub rtc: Option<RtcSockets>,
    /// Sockets that listen, and what their connections are.
    pub listeners: Vec<(TcpListener, Entrance)>,
}

/// Builds a server of the runtime that made the builder. Everything except the addresses has a default. Without an
/// address, no client can connect, and only the program itself publishes and plays.
#[derive(Debug)]
#[must_use = "it does nothing until it is built"]
pub struct Builder<S> {
    setup: Setup,
    listen: Vec<Address>,
    #[cfg(feature = "webrtc")]
    rtc: Option<RtcOptions>,
    /// Where it listens for HTTP, if that is not every address.
    #[cfg(feature = "webrtc")]
    web: Vec<Listen>,
    make: fn(Setup) -> io::Result<S>,
}

/// An address to listen on.
#[derive(Debug)]
struct Address {
    listen: Listen,
    entrance: Entrance,
    /// False if the server runs without it.
    is_needed: bool,
}

impl<S> Builder<S> {
    /// A builder for servers that `make` makes. `make` fails if the runtime cannot do what the setup asks for.
    pub fn new(make: fn(Setup) -> io::Result<S>) -> Self {
        let setup = Setup {
            config: Config::default(),
            tcp: TcpOptions::default(),
            hooks: None,
            hooks_may_idle: false,
            captures: None,
            log_addresses: LogAddresses::default(),
            #[cfg(feature = "tls")]
            client_tls: None,
            threads: None,
            web: None,
            #[cfg(feature = "webrtc")]
            rtc: None,
            listeners: Vec::new(),
        };
        Builder {
            setup,
            listen: Vec::new(),
            #[cfg(feature = "webrtc")]
            rtc: None,
            #[cfg(feature = "webrtc")]
            web: Vec::new(),
            make,
        }
    }

    /// Listens on one more address.
    pub fn listen(self, address: Listen) -> Self {
        self.listen_as(address, Entrance::default())
    }

    /// Listens on one more address, for connections of this kind.
    pub fn listen_as(mut self, address: Listen, entrance: impl Into<Entrance>) -> Self {
        self.listen.push(Address { listen: address, entrance: entrance.into(), is_needed: true });
        self
    }

    /// The same if the address is free. If it is not, the log says so, and the server runs without it.
    pub fn listen_if_free(mut self, address: Listen, entrance: impl Into<Entrance>) -> Self {
        self.listen.push(Address { listen: address, entrance: entrance.into(), is_needed: false });
        self
    }

    /// Listens for HTTP.
    pub fn listen_for_web(self, listen: &WebListen, entrance: &Entrance) -> Self {
        let builder = self.notes_web(listen);
        match listen {
            WebListen::Off => builder,
            WebListen::Auto => builder.listen_if_free(Listen::Any(WebListen::WEB_PORT), entrance.clone()),
            WebListen::At(addresses) => {
                addresses.iter().fold(builder, |builder, address| builder.listen_as(*address, entrance.clone()))
            }
        }
    }

    #[cfg(feature = "webrtc")]
    fn notes_web(mut self, listen: &WebListen) -> Self {
        if let WebListen::At(addresses) = listen {
            self.web.extend(addresses);
        }
        self
    }

    #[cfg(not(feature = "webrtc"))]
    fn notes_web(self, _: &WebListen) -> Self {
        self
    }

    /// Takes over one more socket that listens already.
    pub fn listener(self, listener: TcpListener) -> Self {
        self.listener_as(listener, Entrance::default())
    }

    /// Takes over one more socket that listens already, for connections of this kind.
    pub fn listener_as(mut self, listener: TcpListener, entrance: impl Into<Entrance>) -> Self {
        self.setup.listeners.push((listener, entrance.into()));
        self
    }

    /// What the server does: virtual hosts, rules, limits, times.
    pub fn config(mut self, config: impl Into<Config>) -> Self {
        self.setup.config = config.into();
        self
    }

    /// How TCP connections are treated.
    pub fn tcp(mut self, options: TcpOptions) -> Self {
        self.setup.tcp = options;
        self
    }

    /// The hooks that decide about clients. The configuration says what they are asked, with
    /// [`VhostConfig::asks`](anabranch_core::conn::VhostConfig::asks); a server whose hooks are asked nothing is not
    /// built.
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.setup.hooks = Some(Arc::new(hooks));
        self.setup.hooks_may_idle = false;
        self
    }

    /// The same, for a program whose configuration changes while the server runs
    /// ([`Handle::reconfigure`](crate::Handle::reconfigure)): this configuration, and each later one, may ask the hooks
    /// nothing.
    pub fn hooks_if_asked(mut self, hooks: impl Hooks) -> Self {
        self.setup.hooks = Some(Arc::new(hooks));
        self.setup.hooks_may_idle = true;
        self
    }

    /// What answers requests by HTTP that are for no live stream. Default: nothing, the answer is 404.
    pub fn web(mut self, web: impl Web) -> Self {
        self.setup.web = Some(Arc::new(web));
        self
    }

    /// Serves WebRTC so: publishers by WHIP and players by WHEP, whose requests come to the entrances for HTTP. `auto` is
    /// the port of WebRTC at the addresses of [`listen_for_web`](Self::listen_for_web). Default: not at all.
    #[cfg(feature = "webrtc")]
    pub fn rtc(mut self, options: RtcOptions) -> Self {
        self.rtc = Some(options);
        self
    }

    /// What chooses the connections that are captured. Default: none is captured.
    pub fn captures(mut self, captures: impl Captures) -> Self {
        self.setup.captures = Some(Arc::new(captures));
        self
    }

    /// How much of clients' addresses the log shows. Default: all.
    pub fn log_addresses(mut self, addresses: LogAddresses) -> Self {
        self.setup.log_addresses = addresses;
        self
    }

    /// The client's side of TLS for connections to other servers, for example with roots that the system does not have
    /// ([`client_tls`](crate::client_tls)). Default: the roots of the system.
    #[cfg(feature = "tls")]
    pub fn client_tls(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.setup.client_tls = Some(config);
        self
    }

    /// Threads that serve connections. Default: one for each core. Runtimes with separate threads for each connection
    /// ignore it.
    pub fn threads(mut self, threads: NonZero<usize>) -> Self {
        self.setup.threads = Some(threads);
        self
    }

    /// The server. It listens from now on; connections are served when it runs.
    ///
    /// # Errors
    /// An address that cannot be listened on, which the error names; a configuration that asks the back end without
    /// [`hooks`](Self::hooks); hooks that the configuration asks nothing; TLS if the runtime has none.
    pub fn build(self) -> io::Result<S> {
        #[cfg(feature = "webrtc")]
        let (rtc, web) = (self.rtc, self.web);
        let (mut setup, addresses, make) = (self.setup, self.listen, self.make);
        check_hooks(&setup.config, setup.hooks.is_some(), setup.hooks_may_idle)?;
        for Address { listen: address, entrance, is_needed } in addresses {
            match listen(address) {
                Ok(listener) => setup.listeners.push((listener, entrance)),
                Err(error) if is_needed => {
                    return Err(io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")));
                }
                Err(error) => warn!(
                    event = "not_listening",
                    error = %error,
                    "cannot listen on {address}: {error}; the server runs without it"
                ),
            }
        }
        #[cfg(feature = "webrtc")]
        if let Some(options) = rtc {
            setup.rtc = options.bind_beside(&web)?;
        }
        make(setup)
    }
}

/// Checks that there are hooks to answer what the configuration asks, and that it asks those that there are.
pub(crate) fn check_hooks(config: &Config, hooks: bool, may_idle: bool) -> io::Result<()> {
    // `connect` names no stream, so an application does not decide whether it is asked about.
    let about_streams = |asks: &Asks| asks.publish || asks.play || asks.traverse;
    let asks = |settings: &VhostConfig| {
        let applications = settings.applications.iter().map(|application| &application.settings.asks);
        settings.asks.connect || applications.chain([&settings.asks]).any(about_streams)
    };
    let (default, vhosts) = (asks(&config.defaults), config.vhosts.iter().any(|vhost| asks(&vhost.settings)));
    let words = match hooks {
        false if default || vhosts => {
            "the configuration asks the back end (VhostConfig::asks), and there are no hooks to answer: give them to \
             Builder::hooks"
        }
        // Beside virtual hosts, the defaults are those of no client.
        true if !(vhosts || may_idle || default && config.vhosts.is_empty()) => {
            "the hooks would decide nothing, because no virtual host of the configuration asks them: set \
             VhostConfig::asks, for example to Asks { publish: true, play: true, ..Asks::default() }; if only a later \
             configuration asks, use Builder::hooks_if_asked"
        }
        _ => return Ok(()),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, words))
}
