//! base64 with padding (RFC 4648 section 4), strictly: one spelling for each sequence of bytes.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn digit(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// The bytes of a text. Nothing when its padding is missing or wrong, it has another alphabet, or bits that are left over.
#[must_use]
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let digits = text.get(..text.len().checked_sub(padding)?)?;
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut quads = digits.chunks_exact(4);
    for quad in &mut quads {
        let bits = quad.iter().try_fold(0, |bits, byte| Some(bits << 6 | digit(*byte)?))?;
        out.extend([(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]);
    }
    let rest = quads.remainder();
    let bits = rest.iter().try_fold(0, |bits, byte| Some(bits << 6 | digit(*byte)?))?;
    match (rest.len(), padding) {
        (0, 0) => {}
        (2, 2) if bits & 0xf == 0 => out.push((bits >> 4) as u8),
        (3, 1) if bits & 0x3 == 0 => out.extend([(bits >> 10) as u8, (bits >> 2) as u8]),
        _ => return None,
    }
    Some(out)
}

/// The text of bytes.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digits = [18, 12, 6, 0].map(|shift| DIGITS.get((bits >> shift & 0x3f) as usize).copied().unwrap_or(b'A'));
        out.extend(digits.iter().take(chunk.len() + 1).map(|digit| char::from(*digit)));
        out.extend(std::iter::repeat_n('=', 3 - chunk.len()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn each_sequence_of_bytes_has_one_spelling() {
        let good: [(&str, &[u8]); 6] =
            [("", b""), ("Zg==", b"f"), ("Zm8=", b"fo"), ("Zm9v", b"foo"), ("Zm9vYmE=", b"fooba"), ("+/+/", &[0xfb, 0xff, 0xbf])];
        for (text, bytes) in good {
            assert_eq!((decode(text.as_bytes()).as_deref(), encode(bytes).as_str()), (Some(bytes), text));
        }
        for bad in ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "Zm8", "====", "Z===", "Zm9v\n", " Zm9v", "-_-_", "Zm9v=", "=Zm9", "Zg==Zg=="]
        {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }
}
