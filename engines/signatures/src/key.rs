//! What signatures are checked with: a secret that both sides have, or a public key.

use crate::base64::decode;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PSS_2048_8192_SHA512, VerificationAlgorithm};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

/// The longest file of a key, in bytes.
pub const KEY_FILE_BYTES_MAX: usize = 16 * 1024;
/// The shortest secret, in bytes.
const SECRET_BYTES_MIN: usize = 24;
/// The longest, in bytes.
const SECRET_BYTES_MAX: usize = 512;

const PEM: &[u8] = b"-----BEGIN";
const WEBHOOK_SECRET: &[u8] = b"whsec_";
const WEBHOOK_PUBLIC: &[u8] = b"whpk_";

const OID_ED25519: &str = "1.3.101.112";
const OID_EC: &str = "1.2.840.10045.2.1";
const OID_P256: &str = "1.2.840.10045.3.1.7";
const OID_RSA: [&str; 2] = ["1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10"];

/// An algorithm of signatures (RFC 9421 section 6.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256, by a secret that both sides have.
    HmacSha256,
    /// Ed25519.
    Ed25519,
    /// ECDSA with P-256 and SHA-256.
    EcdsaP256Sha256,
    /// RSA-PSS with SHA-512.
    RsaPssSha512,
}

impl Algorithm {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::HmacSha256, Self::Ed25519, Self::EcdsaP256Sha256, Self::RsaPssSha512];

    /// As it is registered.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::RsaPssSha512 => "rsa-pss-sha512",
        }
    }
}

enum Material {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

/// A key. It is for one algorithm, whatever a message says.
pub struct SignatureKey {
    algorithm: Algorithm,
    material: Material,
}

impl SignatureKey {
    /// Reads a key as it is in a file: a public key as PEM (`PUBLIC KEY`) or `whpk_` with base64, a secret as `whsec_` with base64 or as
    /// the characters of one line.
    ///
    /// # Errors
    /// What is wrong, and what to do; never what is in the file.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.starts_with(PEM) {
            return Self::read_pem(bytes);
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(text) = line.strip_prefix(WEBHOOK_PUBLIC) {
            let point = decode(text).ok_or("behind `whpk_` is no base64")?;
            return Self::public(Algorithm::Ed25519, &ED25519, &point);
        }
        if line.starts_with(b"whsk_") {
            return Err("this is the private key of whoever signs: take it out of use, and put their public key here".to_owned());
        }
        let secret = match line.strip_prefix(WEBHOOK_SECRET) {
            Some(text) => Zeroizing::new(decode(text).ok_or("behind `whsec_` is no base64")?),
            None if line.iter().all(u8::is_ascii_graphic) => Zeroizing::new(line.to_vec()),
            None => return Err("write a secret as one line of visible ASCII, or as `whsec_` with base64".to_owned()),
        };
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()) {
            let told = format!("the secret has {} bytes, and may have {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}", secret.len());
            return Err(told);
        }
        let material = Material::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &secret)));
        Ok(Self { algorithm: Algorithm::HmacSha256, material })
    }

    fn read_pem(bytes: &[u8]) -> Result<Self, String> {
        if bytes.windows(11).any(|window| window == b"PRIVATE KEY") {
            return Err("this is a private key: take it out of use, and put the public key of whoever signs here".to_owned());
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(bytes).map_err(|_| "there is no `PUBLIC KEY` in the PEM")?;
        let (rest, info) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| "the public key is not well-formed")?;
        let oid = info.algorithm.algorithm.to_id_string();
        let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        let key: &[u8] = &info.subject_public_key.data;
        if !rest.is_empty() {
            return Err("something follows the public key".to_owned());
        }
        match &*oid {
            OID_ED25519 => Self::public(Algorithm::Ed25519, &ED25519, key),
            OID_EC if curve.is_some_and(|curve| curve.to_id_string() == OID_P256) => {
                Self::public(Algorithm::EcdsaP256Sha256, &ECDSA_P256_SHA256_FIXED, key)
            }
            // The modulus takes less than all of it, so that this is at least as strict as what verifies.
            rsa if OID_RSA.contains(&rsa) && key.len() > 256 => {
                Self::public(Algorithm::RsaPssSha512, &RSA_PSS_2048_8192_SHA512, key)
            }
            rsa if OID_RSA.contains(&rsa) => Err("the RSA key has less than 2048 bits".to_owned()),
            _ => Err("the key is none of Ed25519, P-256 and RSA".to_owned()),
        }
    }

    fn public(algorithm: Algorithm, verification: &'static dyn VerificationAlgorithm, key: &[u8]) -> Result<Self, String> {
        let key = ParsedPublicKey::new(verification, key).map_err(|_| "the public key is not one of its kind")?;
        Ok(Self { algorithm, material: Material::Public(key) })
    }

    /// What it is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether it signed what these parts are, one behind the other. Comparing takes as long wherever two tags differ.
    #[must_use]
    pub fn has_signed(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => {
                let mut context = hmac::Context::with_key(key);
                parts.iter().for_each(|part| context.update(part));
                verify_slices_are_equal(context.sign().as_ref(), signature).is_ok()
            }
            Material::Public(key) => key.verify_sig(&parts.concat(), signature).is_ok(),
        }
    }
}
