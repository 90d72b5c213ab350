//! TLS for connections that the server opens to other servers.

use std::sync::{Arc, Mutex, PoisonError};

use anabranch_core::relay::Failure;
use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error};
use rustls_platform_verifier::Verifier;

use crate::host::{Host, Link};

/// What the server uses as a client of TLS.
#[derive(Debug, Default)]
pub(crate) struct OutboundTls(Mutex<Option<Arc<ClientConfig>>>);

/// The client's side of TLS, which trusts the roots of the system and these. Reads the system's roots, so it may take some
/// milliseconds.
///
/// # Errors
/// A root cannot be used, or there are none at all.
pub fn client_tls(roots: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(roots, provider.clone())?;
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// The failure for an error of TLS, in words for the operator.
pub fn tls_failure(error: &Error) -> Failure {
    Failure::Tls(match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the certificate's issuer is not trusted (unknown CA)".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the certificate has expired".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("the certificate is for another name ({error})"),
        Error::InvalidMessage(_) => format!("the server does not speak TLS ({error})"),
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the server does not know the host name (alert UnrecognisedName)".to_owned()
        }
        error => error.to_string(),
    })
}

impl OutboundTls {
    pub(crate) fn of(config: Option<Arc<ClientConfig>>) -> Self {
        OutboundTls(Mutex::new(config))
    }

    pub(crate) fn set(&self, config: Option<Arc<ClientConfig>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }
}

impl<C: Link> Host<C> {
    /// The client's side of TLS for connections to other servers. Without one that the program gave, the certificates
    /// must be of the system's roots; the first call reads these and may take some milliseconds.
    ///
    /// # Errors
    /// The system has no roots.
    pub fn outbound_tls(&self) -> Result<Arc<ClientConfig>, Failure> {
        let mut config = self.client_tls().0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = &*config {
            return Ok(config.clone());
        }
        let made =
            client_tls([]).map_err(|error| Failure::Tls(format!("the system's roots cannot be used: {error}")))?;
        Ok(config.insert(Arc::new(made)).clone())
    }
}
