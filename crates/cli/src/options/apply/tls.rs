//! Options about TLS: understood, checked for their sense, and not supported yet.

use super::Word;
use crate::options::problem::Problem;
use crate::options::table::Opt;
use crate::programs::Dialect;
use crate::settings::{Secret, Settings};

/// Options about TLS that are no files, then those that are.
pub(super) fn tls(word: &Word<'_>, settings: &mut Settings) -> Result<bool, Problem> {
    let tls = &mut settings.tls;
    match word.spec.opt {
        Opt::Insecure => tls.insecure = true,
        Opt::NoTls => tls.off = true,
        Opt::Psk => tls.psk = Some(Secret(word.bytes())),
        Opt::PskIdentity => {
            tls.psk_identity = Some(word.owned()?);
            return Ok(true);
        }
        Opt::KeyForm => tls.key_form = Some(word.owned()?),
        Opt::TlsEngine => tls.engine = Some(word.owned()?),
        Opt::TlsEngineKpass => tls.engine_password = Some(word.owned()?),
        Opt::Ciphers
        | Opt::TlsVersion
        | Opt::TlsAlpn
        | Opt::ServerName
        | Opt::TlsOsCerts
        | Opt::Ws => {}
        _ => return Ok(tls_files(word, settings)),
    }
    // mosquitto speaks plain text as long as nobody names certificates or a key.
    let certificates = matches!(
        word.spec.opt,
        Opt::Psk | Opt::TlsOsCerts | Opt::Ws | Opt::TlsAlpn
    );
    if certificates || word.dialect == Dialect::Martlet && word.spec.opt != Opt::NoTls {
        tls.asked_by = Some(word.option());
    }
    Ok(true)
}

fn tls_files(word: &Word<'_>, settings: &mut Settings) -> bool {
    let tls = &mut settings.tls;
    let file = Some(word.value.into());
    match word.spec.opt {
        Opt::CaFile => tls.ca_file = file,
        Opt::CaPath => tls.ca_path = file,
        Opt::Cert => tls.cert = file,
        Opt::Key => tls.key = file,
        _ => return false,
    }
    if word.dialect == Dialect::Martlet || matches!(word.spec.opt, Opt::CaFile | Opt::CaPath) {
        tls.asked_by = Some(word.option());
    }
    true
}
