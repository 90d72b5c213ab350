use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use std::{fmt, fs, io, thread};

use anabranch_program::{Fault, file_cure};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore, ServerConfig};
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
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
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
        let keys = files.iter().map(|files| load(files).map(Arc::new)).collect::<Result<_, _>>();
        let keys = keys.map_err(|wrong: CertificateFault| wrong.fault.to_string())?;
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

/// Why a certificate cannot be used.
#[derive(Debug)]
pub(crate) struct CertificateFault {
    /// True if the fault is in the file of the key.
    pub(crate) is_in_key: bool,
    pub(crate) fault: Fault,
}

/// What a certificate says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    /// The names that it is valid for.
    pub(crate) names: Vec<String>,
    /// When it begins to be valid, in seconds since 1970. Of several certificates in the chain the last one counts.
    pub(crate) not_before: u64,
    /// When it ends to be valid. Of several certificates in the chain the first one counts.
    pub(crate) not_after: u64,
    /// The certificates in the file: the server's own, and those of its issuers.
    pub(crate) chain: usize,
}

impl CertificateFiles {
    /// Reads the files as the server does when it starts.
    ///
    /// # Errors
    /// The certificate cannot be used.
    pub(crate) fn examine(&self) -> Result<Described, CertificateFault> {
        load(self).map(|certified| describe(&certified.cert))
    }
}

fn load(files: &CertificateFiles) -> Result<CertifiedKey, CertificateFault> {
    let CertificateFiles { certificate, key } = files;
    let wrong = |is_in_key, fault| CertificateFault { is_in_key, fault };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| wrong(false, unreadable(certificate, &error, "a certificate in PEM")))?;
    if chain.is_empty() {
        let words = named(certificate, &"it contains no certificate");
        return Err(wrong(false, Fault::new(words, "name the file with \"BEGIN CERTIFICATE\", such as fullchain.pem")));
    }
    let private = PrivateKeyDer::from_pem_file(key);
    let private =
        private.map_err(|error| wrong(true, unreadable(key, &error, "a private key in PEM, without password")))?;
    let certified = CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider());
    certified.map_err(|error| {
        let words = format!("{} with {}: {error}", certificate.display(), key.display());
        wrong(true, Fault::new(words, "name the key that belongs to the certificate: both are made together"))
    })
}

fn unreadable(file: &Path, error: &pem::Error, form: &str) -> Fault {
    match error {
        pem::Error::Io(error) => Fault::new(named(file, error), file_cure(file, error)),
        _ => Fault::new(named(file, error), format!("the file must have {form}")),
    }
}

fn describe(chain: &[CertificateDer<'_>]) -> Described {
    let own = chain.first().and_then(|own| webpki::EndEntityCert::try_from(own).ok());
    let names = own.map(|own| own.valid_dns_names().map(str::to_owned).collect()).unwrap_or_default();
    Described {
        names,
        not_before: chain.iter().filter_map(not_before).max().unwrap_or(0),
        not_after: chain.iter().filter_map(not_after).min().unwrap_or(u64::MAX),
        chain: chain.len(),
    }
}

fn not_before(certificate: &CertificateDer<'_>) -> Option<u64> {
    match verified_at(certificate, 0)? {
        CertificateError::NotValidYetContext { not_before, .. } => Some(not_before.as_secs()),
        _ => None,
    }
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    match verified_at(certificate, u64::MAX)? {
        CertificateError::ExpiredContext { not_after, .. } => Some(not_after.as_secs()),
        _ => None,
    }
}

/// What is wrong with a certificate at a time that it is not valid at: rustls reads the dates, and does not show them in
/// another way. It checks them before it looks for an issuer, so none is needed.
fn verified_at(certificate: &CertificateDer<'_>, seconds: u64) -> Option<CertificateError> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    match verify_server_cert_signed_by_trust_anchor(&parsed, &RootCertStore::empty(), &[], now, algorithms) {
        Err(rustls::Error::InvalidCertificate(error)) => Some(error),
        _ => None,
    }
}

fn changes(files: &[CertificateFiles]) -> Vec<Option<SystemTime>> {
    let changed = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    files.iter().flat_map(|files| [changed(&files.certificate), changed(&files.key)]).collect()
}

fn named(path: &Path, error: &dyn fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, params: impl FnOnce(&mut rcgen::CertificateParams)) -> CertificateDer<'static> {
        let mut with = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params(&mut with);
        with.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_certificate_tells_its_names_and_dates() {
        let own = made("live.example", |params| {
            params.not_before = rcgen::date_time_ymd(2024, 1, 2);
            params.not_after = rcgen::date_time_ymd(2034, 5, 6);
        });
        let issuer = made("issuer.example", |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2030, 1, 1);
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        });
        let found = describe(std::slice::from_ref(&own));
        assert_eq!((found.not_before, found.not_after), (1_704_153_600, 2_030_486_400));
        let found = describe(&[own, issuer]);
        assert_eq!((found.not_before, found.not_after, found.chain), (1_704_153_600, 1_893_456_000, 2));
        assert_eq!(found.names, ["live.example"]);
    }
}
