use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use std::{fmt, fs, io, thread};

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tracing::{error, info, warn};

use super::{CertificateFiles, TlsSettings};

/// The certificates in force.
pub(crate) struct Certificates {
    held: Mutex<Held>,
}

struct Held {
    files: Vec<CertificateFiles>,
    /// When each of the files was last changed, if known.
    changed: Vec<Option<SystemTime>>,
    keys: Arc<[Arc<CertifiedKey>]>,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// There is no certificate, or one cannot be used; the error names it.
    pub(crate) fn load(settings: &TlsSettings) -> Result<Arc<Self>, String> {
        let held = Held::load(&settings.certificates)?;
        Ok(Arc::new(Certificates { held: Mutex::new(held) }))
    }

    /// Reads the certificates of other settings. New connections get them once the returned function is called.
    ///
    /// # Errors
    /// There is no certificate, or one cannot be used; the error names it.
    pub(crate) fn prepare(&self, settings: &TlsSettings) -> Result<impl FnOnce() + use<'_>, String> {
        let held = Held::load(&settings.certificates)?;
        Ok(move || *self.held() = held)
    }

    /// The TLS configuration of a listener.
    ///
    /// # Errors
    /// rustls does not accept it.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, String> {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS: {error}"))?;
        let resolver: Arc<dyn ResolvesServerCert> = self.clone();
        Ok(Arc::new(config.with_no_client_auth().with_cert_resolver(resolver)))
    }

    /// Starts a thread that checks the files at this interval, and reads them again when one has changed.
    ///
    /// # Errors
    /// The system starts no thread.
    pub(crate) fn watch(self: &Arc<Self>, interval: Duration) -> io::Result<()> {
        let certificates = Arc::downgrade(self);
        let watch = move || {
            loop {
                thread::sleep(interval);
                let Some(certificates) = certificates.upgrade() else {
                    return;
                };
                if catch_unwind(AssertUnwindSafe(|| certificates.look())).is_err() {
                    error!(event = "bug", "checking the certificates panicked, which is a bug; the checks go on");
                }
            }
        };
        thread::Builder::new().name("certificates".to_owned()).spawn(watch).map(drop)
    }

    fn look(&self) {
        let files = {
            let mut held = self.held();
            let changed = changes(&held.files);
            if changed == held.changed {
                return;
            }
            // Log a certificate that cannot be used once, not at every check.
            held.changed = changed;
            held.files.clone()
        };
        match Held::load(&files) {
            Ok(new) => {
                let mut held = self.held();
                // Otherwise a reload has set other files in the meantime.
                let is_right = held.files == new.files;
                if is_right {
                    *held = new;
                }
                drop(held);
                if is_right {
                    info!(
                        event = "certificates_changed",
                        "the certificates have changed; new connections get the new ones"
                    );
                }
            }
            Err(error) => {
                warn!(
                    event = "certificates_refused",
                    error = %error,
                    "the certificates have changed but cannot be used, so the old ones stay in force: {error}"
                );
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn load(files: &[CertificateFiles]) -> Result<Self, String> {
        if files.is_empty() {
            return Err("tls.certificates: RTMPS needs at least one certificate".to_owned());
        }
        // First, so that a change during the reading is noticed later.
        let changed = changes(files);
        let keys = files.iter().map(|files| load(files).map(Arc::new)).collect::<Result<_, _>>()?;
        Ok(Held { files: files.to_vec(), changed, keys })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.held().keys.clone();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fits = |key: &&Arc<CertifiedKey>| {
            name.as_ref().is_some_and(|name| {
                let parsed = key.end_entity_cert().and_then(ParsedCertificate::try_from);
                parsed.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
            })
        };
        keys.iter().find(fits).or(keys.first()).cloned()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("files", &self.held().files).finish_non_exhaustive()
    }
}

fn load(files: &CertificateFiles) -> Result<CertifiedKey, String> {
    let CertificateFiles { certificate, key } = files;
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| named(certificate, &error))?;
    if chain.is_empty() {
        return Err(named(certificate, &"it contains no certificate"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| named(key, &error))?;
    let certified = CertifiedKey::from_der(chain, private, &ring::default_provider());
    certified.map_err(|error| format!("{} with {}: {error}", certificate.display(), key.display()))
}

fn changes(files: &[CertificateFiles]) -> Vec<Option<SystemTime>> {
    let changed = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    files.iter().flat_map(|files| [changed(&files.certificate), changed(&files.key)]).collect()
}

fn named(path: &Path, error: &dyn fmt::Display) -> String {
    format!("{}: {error}", path.display())
}
