//! Path templates.

use std::fmt;

/// How many segments a template may have.
const SEGMENTS_MAX: usize = 64;

/// A segment of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// This text, in canonical form.
    Static(Box<str>),
    /// One segment that is not empty; the name.
    Param(Box<str>),
    /// All that is left, also nothing; the name.
    CatchAll(Box<str>),
}

/// A path with places for parameters: `/items/{id}`, `/files/{*path}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathTemplate {
    segments: Box<[Segment]>,
}

impl PathTemplate {
    /// Reads a template. Static text must be canonical, as paths are when they are looked up.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(inner) = text.strip_prefix('/') else {
            return Err(format!("`{text}` does not begin with `/`"));
        };
        let parts: Vec<&str> = inner.split('/').collect();
        if parts.len() > SEGMENTS_MAX {
            return Err(format!("a path template may have {SEGMENTS_MAX} segments; this one has {}", parts.len()));
        }
        let last = parts.len() - 1;
        let mut segments = Vec::with_capacity(parts.len());
        for (at, part) in parts.into_iter().enumerate() {
            let segment = parse_segment(part, at == last).map_err(|problem| format!("`{text}`: {problem}"))?;
            if let Segment::Param(name) | Segment::CatchAll(name) = &segment
                && segments.iter().any(|other| matches!(other, Segment::Param(known) if known == name))
            {
                return Err(format!("`{text}`: the parameter `{name}` comes twice"));
            }
            segments.push(segment);
        }
        Ok(Self { segments: segments.into() })
    }

    /// The segments.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The parameters of a path that fits the template: names, and values as they stand in the canonical path, escapes included.
    pub fn params<'s, 'p>(&'s self, path: &'p str) -> impl Iterator<Item = (&'s str, &'p str)> {
        let mut rest = path.strip_prefix('/');
        self.segments.iter().filter_map(move |segment| {
            let left = rest.take()?;
            if let Segment::CatchAll(name) = segment {
                return Some((&**name, left));
            }
            let part = match left.split_once('/') {
                Some((part, behind)) => {
                    rest = Some(behind);
                    part
                }
                None => left,
            };
            if let Segment::Param(name) = segment { Some((&**name, part)) } else { None }
        })
    }
}

fn parse_segment(part: &str, is_last: bool) -> Result<Segment, String> {
    let Some(inside) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return parse_static(part, is_last);
    };
    let (name, catches_all) = match inside.strip_prefix('*') {
        Some(name) => (name, true),
        None => (inside, false),
    };
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
        return Err(format!("`{{{inside}}}` is not a parameter; write `{{name}}`, or `{{*name}}` at the end"));
    }
    match (catches_all, is_last) {
        (true, false) => Err(format!("`{{*{name}}}` catches all that is left, so it must be the last segment")),
        (true, true) => Ok(Segment::CatchAll(name.into())),
        (false, _) => Ok(Segment::Param(name.into())),
    }
}

fn parse_static(part: &str, is_last: bool) -> Result<Segment, String> {
    if part.contains(['{', '}']) {
        return Err(format!("`{part}`: a parameter takes a whole segment"));
    }
    if part.is_empty() && !is_last {
        return Err("an empty segment; no canonical path has one".to_owned());
    }
    if matches!(part, "." | "..") {
        return Err("a dot segment; no canonical path has one".to_owned());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@%".contains(&byte);
    if let Some(wrong) = part.chars().find(|char| !u8::try_from(*char).is_ok_and(plain)) {
        return Err(format!("`{wrong}` must be escaped, as `%` and two hexadecimal digits"));
    }
    Ok(Segment::Static(part.into()))
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Static(text) => write!(f, "/{text}")?,
                Segment::Param(name) => write!(f, "/{{{name}}}")?,
                Segment::CatchAll(name) => write!(f, "/{{*{name}}}")?,
            }
        }
        Ok(())
    }
}
