//! RTMPS: certificates are chosen by the name that the client asks for, and can change while the server runs.

mod certificates;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anabranch_host::Listen;
use anabranch_smol::Carrier;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ureq::tls::{RootCerts, TlsConfig};

use certificates::Certificates;
pub(crate) use certificates::Described;

use crate::settings::values::Time;
use crate::settings::written::Of;

/// TLS for calls by HTTP. Without encryption that it is given, the client would fail at the first such call.
pub(crate) fn of_calls(roots: RootCerts, verifies: bool) -> TlsConfig {
    TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .root_certs(roots)
        .disable_verification(!verifies)
        .build()
}

/// RTMPS: RTMP in TLS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsSettings {
    /// Addresses to listen on for RTMPS: PORT or ADDRESS:PORT. The usual ports are 443 and 1443.
    #[schemars(extend("x-restart" = true))]
    pub(crate) listen: Vec<Of<Listen>>,
    /// Whether RTMPS is also served on the ports of RTMP. The client's first byte tells which protocol it speaks.
    #[schemars(extend("x-restart" = true))]
    pub(crate) on_rtmp_ports: bool,
    /// Certificates with their keys. A client gets the one that is valid for the name that it asks for, or the first.
    pub(crate) certificates: Vec<CertificateFiles>,
    /// How often the server checks whether the files have changed; with "never" it reads them again only when the
    /// configuration is reloaded.
    #[schemars(extend("x-restart" = true, "x-minimum" = "100ms"))]
    pub(crate) check: Time,
}

impl Default for TlsSettings {
    fn default() -> Self {
        TlsSettings {
            listen: Vec::new(),
            on_rtmp_ports: false,
            certificates: Vec::new(),
            check: Time(Duration::from_secs(60)),
        }
    }
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateFiles {
    /// The certificate and its chain in PEM, as in Let's Encrypt's fullchain.pem.
    pub(crate) certificate: PathBuf,
    /// The private key in PEM.
    pub(crate) key: PathBuf,
}

impl TlsSettings {
    /// Whether any listener uses TLS.
    pub(crate) fn is_on(&self) -> bool {
        !self.listen.is_empty() || self.on_rtmp_ports
    }
}

/// The listeners for RTMPS.
#[derive(Debug)]
pub(crate) struct TlsListeners {
    certificates: Arc<Certificates>,
    config: Arc<ServerConfig>,
    addresses: Vec<Listen>,
    on_rtmp_ports: bool,
}

impl TlsListeners {
    /// Reads the certificates, and checks their files for changes from now on.
    ///
    /// # Errors
    /// A certificate or an address cannot be used; the error names it.
    pub(crate) fn new(settings: &TlsSettings) -> Result<Self, String> {
        let certificates = Certificates::load(settings)?;
        if let Some(interval) = settings.check.limit() {
            let watched = certificates.watch(interval);
            watched.map_err(|error| format!("cannot start a thread to check the certificates: {error}"))?;
        }
        let config = certificates.server_config()?;
        Ok(TlsListeners {
            certificates,
            config,
            addresses: settings.listen.iter().map(|address| address.0).collect(),
            on_rtmp_ports: settings.on_rtmp_ports,
        })
    }

    /// The carrier of connections on RTMP's own ports.
    pub(crate) fn on_rtmp_ports(&self) -> Carrier {
        if self.on_rtmp_ports { Carrier::Either(self.config.clone()) } else { Carrier::Plain }
    }

    /// The carrier of connections that are always in TLS.
    pub(crate) fn carrier(&self) -> Carrier {
        Carrier::Tls(self.config.clone())
    }

    /// The listeners that serve only RTMPS.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (Listen, Carrier)> {
        self.addresses.iter().map(|address| (*address, self.carrier()))
    }

    /// Reads the certificates of other settings. New connections get them once the returned function is called.
    ///
    /// # Errors
    /// A certificate cannot be used; the error names it.
    pub(crate) fn prepare(&self, settings: &TlsSettings) -> Result<impl FnOnce() + use<'_>, String> {
        self.certificates.prepare(settings)
    }
}
