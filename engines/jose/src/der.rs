//! The one structure that is written: RSAPublicKey (RFC 8017 appendix A.1.1).

/// A public key of this modulus and exponent, both without leading zeros.
pub(crate) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let mut inside = Vec::with_capacity(modulus.len() + exponent.len() + 16);
    integer(&mut inside, modulus);
    integer(&mut inside, exponent);
    let mut out = Vec::with_capacity(inside.len() + 6);
    out.push(0x30);
    length(&mut out, inside.len());
    out.extend(inside);
    out
}

fn integer(out: &mut Vec<u8>, bytes: &[u8]) {
    // A first bit that is set would make it negative.
    let sign = bytes.first().is_none_or(|first| first & 0x80 != 0);
    out.push(0x02);
    length(out, bytes.len() + usize::from(sign));
    if sign {
        out.push(0);
    }
    out.extend_from_slice(bytes);
}

fn length(out: &mut Vec<u8>, length: usize) {
    match length {
        0..=0x7f => out.push(length as u8),
        0x80..=0xff => out.extend([0x81, length as u8]),
        _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
}
