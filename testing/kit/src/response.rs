//! A response as it was on the wire.

/// A response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The status line and the fields, as they came.
    pub head: String,
    /// The fields in order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The trailer fields, names in lower case.
    pub trailers: Vec<(String, String)>,
    /// The sizes of the chunks, if the body came in chunks.
    pub chunks: Vec<usize>,
}

impl Response {
    /// The only field of a name.
    ///
    /// # Panics
    /// When there are several.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
        let first = values.next();
        assert!(values.next().is_none(), "several `{name}` in\n{}", self.head);
        first
    }

    /// Every field of a name, in order.
    pub fn fields<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// The stable code of an answer of the gateway's own; empty for others.
    pub fn code(&self) -> String {
        let json = serde_json::from_slice::<serde_json::Value>(&self.body).unwrap_or_default();
        json.get("code").and_then(|code| code.as_str()).unwrap_or_default().to_owned()
    }
}

/// Splits a head into its status and its fields.
///
/// # Panics
/// When it is not well-formed: the gateway must never write such a thing.
#[track_caller]
pub(crate) fn parse_head(head: &[u8]) -> Response {
    let text = String::from_utf8_lossy(head).into_owned();
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let mut words = status_line.splitn(3, ' ');
    let (version, status) = (words.next(), words.next().and_then(|word| word.parse().ok()));
    let (Some("HTTP/1.1" | "HTTP/1.0"), Some(status)) = (version, status) else { panic!("not a status line: `{status_line}`") };
    let fields = parse_fields(lines);
    Response { status, head: text, fields, ..Response::default() }
}

#[track_caller]
pub(crate) fn parse_fields<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    let field = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a field: `{line}`"));
        assert!(!name.is_empty() && !name.contains([' ', '\t', '\n']), "not a field name: `{name}`");
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    lines.map(field).collect()
}
