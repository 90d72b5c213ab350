use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::Folder;
use crate::program::{Launch, Program, Runtime};

/// An authority, and a folder with what it vouches for.
#[derive(Debug)]
pub struct Authority {
    folder: Folder,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// If the folder cannot be written.
    #[allow(clippy::new_without_default)] // it makes files
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Anabranch's tests");
        let key = KeyPair::generate().expect("there is randomness");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("it signs itself");
        let folder = Folder::new();
        fs::write(folder.file("ca.pem"), issuer.pem()).expect("the folder can be written");
        Authority { folder, issuer }
    }

    /// Makes a certificate for these names, in `name.pem` with its key in `name.key`; its bytes.
    ///
    /// # Panics
    /// If the folder cannot be written.
    pub fn issue(&self, name: &str, names: &[&str]) -> Vec<u8> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("there is randomness");
        let params = CertificateParams::new(names).expect("the names can be names");
        let certificate = params.signed_by(&key, &self.issuer).expect("it signs");
        fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).expect("the folder can be written");
        fs::write(self.file(&format!("{name}.pem")), certificate.pem()).expect("the folder can be written");
        certificate.der().to_vec()
    }

    /// The path of a file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.file(name)
    }

    /// The path of its own certificate.
    pub fn ca(&self) -> String {
        self.file("ca.pem").display().to_string()
    }

    /// A server with these certificates, on one port for both: RTMP and RTMPS.
    ///
    /// # Panics
    /// If the folder cannot be written.
    pub fn server(&self, certificates: &[&str]) -> Program {
        let mut text = "[tls]\non_rtmp_ports = true\ncheck = \"100ms\"\n".to_owned();
        for name in certificates {
            let (certificate, key) = (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
            text.push_str(&format!("[[tls.certificates]]\ncertificate = {certificate:?}\nkey = {key:?}\n"));
        }
        Launch::of(Runtime::Smol).settings(&text).start()
    }
}
