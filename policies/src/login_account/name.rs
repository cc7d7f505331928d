//! One form of a name, however it is spelt (threats E 122).

use icu_normalizer::ComposingNormalizer;

/// The longest name that is taken, in bytes, before and after it is made canonical.
const NAME_BYTES_MAX: usize = 256;

/// Whether a character shows nothing and is passed over by some readers.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// A text as those see it who take most for the same: compatible characters are one (NFKC), so are capital and small letters, nothing
/// invisible is left, and no space around it.
pub(super) fn folded(text: &str) -> String {
    let normalizer = ComposingNormalizer::new_nfkc();
    let visible = |text: &str| text.chars().filter(|c| !is_invisible(*c)).collect::<String>();
    let normal = normalizer.normalize(&visible(text)).to_uppercase().to_lowercase();
    visible(&normalizer.normalize(&normal)).trim().to_owned()
}

/// The account that a login names, in the form that it is counted by: with one of `domains` (in folded form) it is the name alone. Nothing when
/// it names nobody, or is too long.
pub(super) fn canonical_account(text: &str, domains: &[Box<str>]) -> Option<Box<str>> {
    if text.len() > NAME_BYTES_MAX {
        return None;
    }
    let name = folded(text);
    let name = match name.rsplit_once('@') {
        Some((local, domain)) if domains.iter().any(|known| **known == *domain) => local.trim_end().to_owned(),
        _ => name,
    };
    (!name.is_empty() && name.len() <= NAME_BYTES_MAX).then(|| name.into())
}
