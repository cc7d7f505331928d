//! Where in the claims something is found.

use crate::Json;

/// How deep a path may go.
const STEPS_MAX: usize = 8;

/// A path into the claims: `realm_access.roles`, or, for names with dots in them, a JSON pointer (RFC 6901): `/https:~1~1a.test~1roles`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimPath {
    written: Box<str>,
    steps: Box<[Box<str>]>,
}

impl ClaimPath {
    /// Reads a path. Nothing when it is empty, has an empty step or more than eight.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let steps: Box<[Box<str>]> = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(unescaped).collect::<Option<_>>()?,
            None => text.split('.').map(Box::from).collect(),
        };
        let is_sound = steps.len() <= STEPS_MAX && steps.iter().all(|step| !step.is_empty() && !step.chars().any(char::is_control));
        is_sound.then(|| Self { written: text.into(), steps })
    }

    /// A member of the claims themselves.
    #[must_use]
    pub fn member(name: &str) -> Self {
        Self { written: name.into(), steps: Box::new([name.into()]) }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// What stands there.
    #[must_use]
    pub fn find<'j>(&self, claims: &'j Json) -> Option<&'j Json> {
        self.steps.iter().try_fold(claims, |at, step| at.member(step))
    }

    /// The texts that stand there: of a list, or of one text, cut at spaces when it is `spaced`. Nothing else counts: a list in which
    /// something is no text gives none at all.
    #[must_use]
    pub fn texts<'j>(&self, claims: &'j Json, spaced: bool) -> Vec<&'j str> {
        match self.find(claims) {
            Some(Json::Text(text)) if spaced => text.split(' ').filter(|part| !part.is_empty()).collect(),
            Some(Json::Text(text)) => vec![text],
            Some(Json::List(items)) => items.iter().map(Json::as_text).collect::<Option<_>>().unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

/// A step of a JSON pointer.
fn unescaped(step: &str) -> Option<Box<str>> {
    let mut rest = step;
    let mut out = String::with_capacity(step.len());
    while let Some((before, after)) = rest.split_once('~') {
        out.push_str(before);
        let (replaced, behind) = match (after.strip_prefix('0'), after.strip_prefix('1')) {
            (Some(behind), _) => ('~', behind),
            (_, Some(behind)) => ('/', behind),
            _ => return None,
        };
        out.push(replaced);
        rest = behind;
    }
    out.push_str(rest);
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::ClaimPath;
    use crate::Json;

    #[test]
    fn paths_by_dots_and_by_pointers() {
        let claims = Json::parse(br#"{"a":{"b":["x","y"]},"https://a.test/r":"p q","n":[1,"x"],"~":"t"}"#).unwrap();
        let texts = |path: &str, spaced| ClaimPath::parse(path).unwrap().texts(&claims, spaced);
        assert_eq!(texts("a.b", false), ["x", "y"]);
        assert_eq!(texts("/a/b", false), ["x", "y"]);
        assert_eq!(texts("/https:~1~1a.test~1r", true), ["p", "q"]);
        assert_eq!(texts("/https:~1~1a.test~1r", false), ["p q"]);
        assert_eq!(texts("/~0", false), ["t"]);
        // A list that is not of texts alone is not half a list.
        assert!(texts("n", false).is_empty() && texts("a", false).is_empty() && texts("a.b.c", false).is_empty());
        for bad in ["", ".", "a..b", "a.", "/", "/a//b", "/~2", "a.b.c.d.e.f.g.h.i", "a\u{0}"] {
            assert!(ClaimPath::parse(bad).is_none(), "{bad:?}");
        }
    }
}
