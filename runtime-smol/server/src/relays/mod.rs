//! Pushes to and pulls from other servers: their settings, and the certificates that they trust.

mod settings;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anabranch_host::client_tls;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub(crate) use settings::{EdgeSettings, ForwardSettings, RelaySettings};

/// The client's side of TLS for connections to other servers; `None` if only the system's roots are trusted.
///
/// # Errors
/// The file of CA certificates cannot be used; the error names it.
pub(crate) fn client(settings: &RelaySettings) -> Result<Option<Arc<ClientConfig>>, String> {
    let file = &settings.ca_file;
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let roots = roots(file)?;
    let config = client_tls(roots).map_err(|error| format!("{} cannot be used: {error}", file.display()))?;
    Ok(Some(Arc::new(config)))
}

fn roots(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let roots = roots.map_err(|error| format!("{} is not PEM: {error}", file.display()))?;
    if roots.is_empty() {
        return Err(format!("{} has no certificate", file.display()));
    }
    Ok(roots)
}
