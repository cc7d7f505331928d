//! A certificate authority for trying things out: made on this machine, trusted by nobody who was not told to.

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a development certificate is valid.
const VALID_FOR: Duration = Duration::from_secs(90 * 86_400);

/// Where the files of a development authority lie.
#[derive(Clone, Debug)]
pub struct DevelopmentFiles {
    /// The authority's certificate, to be given to clients.
    pub authority: PathBuf,
    /// The server's certificate chain.
    pub certificate: PathBuf,
    /// The server's key, readable by its owner only.
    pub key: PathBuf,
}

/// Makes an authority and a server certificate for `hosts` in `folder`. The authority's key is not kept: it can sign nothing more.
///
/// # Errors
/// When a file cannot be written, or already exists.
pub fn make(folder: &Path, hosts: &[&str], now_unix_seconds: u64) -> io::Result<DevelopmentFiles> {
    fs::create_dir_all(folder)?;
    let files = DevelopmentFiles {
        authority: folder.join("dev-ca.crt"),
        certificate: folder.join("server.crt"),
        key: folder.join("server.key"),
    };
    let not_before = UNIX_EPOCH + Duration::from_secs(now_unix_seconds.saturating_sub(3600));
    let made = certificates(hosts, not_before).map_err(io::Error::other)?;
    write_new(&files.authority, made.authority.as_bytes(), 0o644)?;
    write_new(&files.certificate, made.certificate.as_bytes(), 0o644)?;
    write_new(&files.key, made.key.as_bytes(), 0o600)?;
    Ok(files)
}

struct Made {
    authority: String,
    certificate: String,
    key: String,
}

fn certificates(hosts: &[&str], not_before: SystemTime) -> Result<Made, rcgen::Error> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "Portcullis development CA (this machine only)");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.not_before = not_before.into();
    authority.not_after = (not_before + VALID_FOR).into();
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let mut server = CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())?;
    server.distinguished_name.push(DnType::CommonName, hosts.first().copied().unwrap_or("localhost"));
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.use_authority_key_identifier_extension = true;
    server.not_before = not_before.into();
    server.not_after = (not_before + VALID_FOR).into();
    let server_key = KeyPair::generate()?;
    let certificate = server.signed_by(&server_key, &issuer)?;
    Ok(Made { authority: authority_certificate.pem(), certificate: certificate.pem(), key: server_key.serialize_pem() })
}

/// Writes a file that must not be there yet, with its permissions from the first byte.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let described = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(described)?;
    file.write_all(bytes).map_err(described)
}
