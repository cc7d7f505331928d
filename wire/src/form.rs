//! Forms and queries (WHATWG URL, `application/x-www-form-urlencoded`).

/// Whether a byte stands for itself.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Pairs as a form. Every byte that could mean something else is escaped.
#[must_use]
pub fn form_encode(pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        push(&mut out, name);
        out.push('=');
        push(&mut out, value);
    }
    out
}

fn push(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            let digit = |at: u8| DIGITS.get(usize::from(at)).map_or('0', |digit| char::from(*digit));
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// A value of a form or a canonical query in plain text. Nothing when it is longer than `bytes_max` or not visible ASCII with spaces.
#[must_use]
pub fn form_decode(value: &str, bytes_max: usize) -> Option<String> {
    let mut out = String::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit =
                    || rest.next().and_then(|digit| char::from(digit).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
                digit()? << 4 | digit()?
            }
            byte => byte,
        };
        if !matches!(byte, b' '..=b'~') || out.len() == bytes_max {
            return None;
        }
        out.push(char::from(byte));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::{form_decode as decode, form_encode as encode};

    #[test]
    fn what_is_encoded_is_read_again_and_means_nothing_else() {
        let odd = "a b&c=d%2F+~/?\u{22}";
        let form = encode(&[("x", odd), ("y", "")]);
        assert_eq!(form, "x=a%20b%26c%3Dd%252F%2B~%2F%3F%22&y=");
        let (_, value) = form.split_once('&').unwrap().0.split_once('=').unwrap();
        assert_eq!(decode(value, 64).as_deref(), Some(odd));
        assert_eq!(decode("a+b", 3).as_deref(), Some("a b"));
        for bad in ["%0A", "%00", "%C3%A9", "%", "%4", "%zz", "abcd"] {
            assert_eq!(decode(bad, 3), None, "{bad}");
        }
    }
}
