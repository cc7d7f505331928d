//! A case as its file has it.

use std::fmt;

/// A case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// Which one, for messages.
    pub name: String,
    /// What it shows: the lines with `#` at its beginning.
    pub shows: String,
    /// Parts of the configuration by their title, with their text, as they stand in the file.
    pub configuration: Vec<(String, String)>,
    /// The requests in order.
    pub exchanges: Vec<Exchange>,
}

/// A request and what becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// The request, with plain ends of lines.
    pub request: String,
    /// What is written of the client.
    pub client: Option<String>,
    /// What the upstream would answer.
    pub upstream_answers: Option<String>,
    /// What the upstream is sent; `None` when nothing is.
    pub forwarded: Option<String>,
    /// What the client is sent; `None` when the connection ends without a word.
    pub answer: Option<String>,
}

/// Who sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// From where.
    pub address: String,
    /// Whether by TLS.
    pub https: bool,
}

impl Case {
    /// Reads a case.
    ///
    /// # Panics
    /// When it is not written as the documentation of this crate says.
    pub fn read(name: &str, text: &str) -> Self {
        let (shows, sections) = text.split_once("\n== ").unwrap_or_else(|| panic!("{name}: no section, such as `== request`"));
        assert!(shows.lines().all(|line| line.starts_with("# ")), "{name}: it begins with lines of `# `, which say what it shows");
        let mut case = Self { name: name.to_owned(), shows: shows.to_owned(), ..Self::default() };
        for section in sections.split("\n== ") {
            let (title, body) = section.split_once('\n').unwrap_or((section, ""));
            case.add(title.trim(), body.trim_end_matches('\n').to_owned());
        }
        assert!(!case.exchanges.is_empty(), "{name}: no request");
        case
    }

    fn add(&mut self, title: &str, body: String) {
        let name = &self.name;
        if matches!(title, "defaults" | "api" | "route" | "sections") || title.starts_with("file ") {
            assert!(self.exchanges.is_empty(), "{name}: `{title}` stands after a request");
            return self.configuration.push((title.to_owned(), body));
        }
        if title == "request" {
            return self.exchanges.push(Exchange { request: body, ..Exchange::default() });
        }
        let exchange = self.exchanges.last_mut().unwrap_or_else(|| panic!("{name}: `{title}` stands before the first request"));
        let slot = match title {
            "client" => &mut exchange.client,
            "upstream answers" => &mut exchange.upstream_answers,
            "forwarded" => &mut exchange.forwarded,
            "answer" => &mut exchange.answer,
            _ => panic!("{name}: there is no section `{title}`"),
        };
        assert!(slot.replace(body).is_none(), "{name}: a request with two of `{title}`");
    }

    /// The texts of a part of the configuration.
    pub fn part(&self, title: &str) -> impl Iterator<Item = &str> {
        self.configuration.iter().filter(move |(name, _)| name == title).map(|(_, text)| text.as_str())
    }

    /// The files beside the configuration.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.configuration.iter().filter_map(|(title, text)| Some((title.strip_prefix("file ")?, text.as_str())))
    }

    /// Whether some request is forwarded.
    pub fn passes(&self) -> bool {
        self.exchanges.iter().any(|exchange| exchange.forwarded.is_some())
    }

    /// Whether some request is refused, with a code.
    pub fn refuses(&self) -> bool {
        let refused = |exchange: &Exchange| exchange.answer.as_ref().is_some_and(|answer| answer.contains("\"code\":\""));
        self.exchanges.iter().any(|exchange| exchange.forwarded.is_none() && refused(exchange))
    }
}

impl Exchange {
    /// The bytes of the request.
    pub fn bytes(&self) -> Vec<u8> {
        let (head, body) = self.request.split_once("\n\n").unwrap_or((&self.request, ""));
        format!("{}\r\n\r\n{body}", head.replace('\n', "\r\n")).into_bytes()
    }

    /// Who sends it.
    ///
    /// # Panics
    /// When something else is written of the client than its address and scheme.
    pub fn client(&self) -> Client {
        let mut client = Client { address: "192.0.2.1".to_owned(), https: true };
        for line in self.client.as_deref().unwrap_or_default().lines() {
            match line.split_once(' ') {
                Some(("address", address)) => address.clone_into(&mut client.address),
                Some(("scheme", "http")) => client.https = false,
                Some(("scheme", "https")) => client.https = true,
                _ => panic!("not of a client: `{line}`"),
            }
        }
        client
    }

    /// The status and the fields that the upstream would answer with.
    ///
    /// # Panics
    /// When they are not written as a number and lines of fields.
    pub fn upstream_answer(&self) -> (u16, Vec<(String, String)>) {
        let mut lines = self.upstream_answers.as_deref().unwrap_or("200").lines();
        let status = lines.next().and_then(|line| line.parse().ok()).expect("an upstream answers with a status");
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("not a field: `{line}`"));
            (name.to_ascii_lowercase(), value.to_owned())
        };
        (status, lines.map(field).collect())
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.shows)?;
        let mut section =
            |title: &str, body: &str| if body.is_empty() { writeln!(f, "== {title}") } else { writeln!(f, "== {title}\n{body}") };
        for (title, body) in &self.configuration {
            section(title, body)?;
        }
        for exchange in &self.exchanges {
            section("request", &exchange.request)?;
            let parts = [
                ("client", &exchange.client),
                ("upstream answers", &exchange.upstream_answers),
                ("forwarded", &exchange.forwarded),
                ("answer", &exchange.answer),
            ];
            for (title, body) in parts {
                body.as_ref().map_or(Ok(()), |body| section(title, body))?;
            }
        }
        Ok(())
    }
}
