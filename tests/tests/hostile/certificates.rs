use std::fs;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A signature with this key takes milliseconds. Fixed, since to make one takes seconds.
const RSA: [(&str, &str); 2] =
    [("rsa.pem", include_str!("certificates/rsa-4096.pem")), ("rsa.key", include_str!("certificates/rsa-4096.key"))];

/// Writes the certificates that configurations may name, `ec.pem` and `rsa.pem` with their keys, and returns both.
pub(crate) fn write(folder: &Path) -> RootCertStore {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let mut roots = RootCertStore::empty();
    for (name, text) in [("ec.pem", certificate.as_str()), ("ec.key", &key)].into_iter().chain(RSA) {
        fs::write(folder.join(name), text).expect("the folder can be written");
        if name.ends_with(".pem") {
            let certificate = CertificateDer::from_pem_slice(text.as_bytes()).expect("a certificate");
            roots.add(certificate).expect("it can be trusted");
        }
    }
    roots
}
