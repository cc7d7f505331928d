//! Digits, capitals and small letters: what a key is written with, so that it is one word everywhere.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The digit of a number below 62.
fn digit(number: u32) -> char {
    char::from(DIGITS.get(number as usize).copied().unwrap_or(b'0'))
}

/// As many digits as `count`, each as likely as any other, out of random bytes. Nothing when there are too few bytes: of 256, those from 248 on
/// are left out, as they would make some digits likelier.
pub(crate) fn random(bytes: &mut impl Iterator<Item = u8>, count: usize) -> Option<String> {
    let digits: String = bytes.filter(|byte| *byte < 248).take(count).map(|byte| digit(u32::from(byte) % 62)).collect();
    (digits.len() == count).then_some(digits)
}

/// A number in six digits.
pub(crate) fn six(mut number: u32) -> String {
    let mut digits = [0_u32; 6];
    for slot in digits.iter_mut().rev() {
        *slot = number % 62;
        number /= 62;
    }
    digits.into_iter().map(digit).collect()
}

/// The CRC-32 of ISO 3309, as zip and PNG have it.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    };
    !bytes.iter().fold(u32::MAX, step)
}
