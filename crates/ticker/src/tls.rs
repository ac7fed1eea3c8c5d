//! The ticker's certificates: the files they are in, and how they are read anew.
//!
//! The command line names files; a start reads them once, and whoever renews them sends SIGHUP when
//! the new ones are in place. Files that cannot be used at a start are an error; at a reload they
//! are a line in the log, and what was shown before is shown on.

use std::path::PathBuf;

use tickwire::{Certificate, Tls, TlsError};

/// Files in PEM form: chains of certificates, and for each the key of its first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chains.
    pub chains: Vec<PathBuf>,
    /// As many keys, in the same order.
    pub keys: Vec<PathBuf>,
}

impl CertificateFiles {
    /// Reads all of them; `None` where there are none, and TLS is not spoken.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, a certificate and its key are of no use, or one is missing.
    pub fn open(self) -> Result<Option<Certificates>, TlsError> {
        if self.chains.is_empty() && self.keys.is_empty() {
            return Ok(None);
        }
        let tls = Tls::new(self.read()?)?;
        Ok(Some(Certificates { files: self, tls }))
    }

    fn read(&self) -> Result<Vec<Certificate>, TlsError> {
        let Self { chains, keys } = self;
        if chains.len() != keys.len() {
            let (chains, keys) = (chains.len(), keys.len());
            let reason = format!("there are {chains} certificates and {keys} keys");
            return Err(TlsError::Identity(reason));
        }
        chains.iter().zip(keys).map(|(chain, key)| Certificate::from_files(chain, key)).collect()
    }
}

/// What a running ticker shows its clients.
#[derive(Clone, Debug)]
pub struct Certificates {
    files: CertificateFiles,
    tls: Tls,
}

impl Certificates {
    /// For the engine's configuration.
    #[must_use]
    pub const fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Reads the files again and shows what they hold from now on.
    ///
    /// # Errors
    ///
    /// As [`CertificateFiles::open`]; nothing has changed then.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.tls.reload(self.files.read()?)
    }
}
