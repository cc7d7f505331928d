//! A decision record as one line of JSON. Written by hand: it must be valid for any bytes, and it is on the way of every request.

use crate::calendar::push_time;
use portcullis_model::{AttemptOutcome, DecisionRecord, Phase, VerdictKind};
use std::io::Write;

/// Appends one line. Values of the query are not written: they carry tokens and personal data.
pub(crate) fn push_line(out: &mut Vec<u8>, record: &DecisionRecord) {
    let mut line = Line { out, first: true };
    line.out.push(b'{');
    line.key("time");
    line.out.push(b'"');
    push_time(line.out, record.started_unix_micros);
    line.out.push(b'"');
    line.text("request_id", &record.id.hex());
    line.display("trace_id", format_args!("\"{:032x}\"", record.trace.trace_id));
    line.display("span_id", format_args!("\"{:016x}\"", record.trace.span));
    line.optional("listener", record.listener.as_deref());
    if let Some(client) = record.client {
        line.display("client", format_args!("\"{client}\""));
    }
    if let Some(peer) = record.peer {
        line.display("peer", format_args!("\"{peer}\""));
    }
    line.text("protocol", record.protocol.as_str().as_bytes());
    push_tls(&mut line, record);
    for (key, bytes) in [("method", record.method()), ("host", record.host()), ("path", record.path())] {
        line.text(key, bytes);
    }
    if !record.query().is_empty() {
        line.text("query", &redacted(record.query()));
    }
    if !record.user_agent().is_empty() {
        line.text("user_agent", record.user_agent());
    }
    line.optional("route", record.route.as_deref());
    line.optional("api", record.api.as_deref());
    push_upstream(&mut line, record);
    line.number("status", u64::from(record.status));
    push_refusal(&mut line, record);
    push_numbers(&mut line, record);
    line.out.extend_from_slice(b"}\n");
}

fn push_tls(line: &mut Line<'_>, record: &DecisionRecord) {
    let Some(tls) = &record.tls else { return };
    line.key("tls");
    let mut inner = Line { out: line.out, first: true };
    inner.out.push(b'{');
    for (key, value) in [("version", tls.version), ("suite", tls.suite), ("group", tls.group)] {
        inner.text(key, value.as_bytes());
    }
    inner.optional("sni", tls.sni.as_deref());
    inner.boolean("resumed", tls.resumed);
    inner.out.push(b'}');
}

fn push_upstream(line: &mut Line<'_>, record: &DecisionRecord) {
    line.optional("upstream", record.upstream.as_deref());
    if let Some(last) = record.attempts.last() {
        line.display("endpoint", format_args!("\"{}\"", last.endpoint));
        line.number("attempts", record.attempts.len() as u64);
        line.boolean("reused", last.reused);
    }
    let failed = record.attempts.iter().filter_map(|attempt| match attempt.outcome {
        AttemptOutcome::Failed(reason) => Some(reason.code()),
        AttemptOutcome::Answered => None,
    });
    if let Some(first) = failed.clone().next() {
        line.text("attempt_failed", first.as_bytes());
    }
}

fn push_refusal(line: &mut Line<'_>, record: &DecisionRecord) {
    if let Some(reason) = record.reason {
        line.text("reason", reason.code().as_bytes());
        line.text("blame", reason.blame().as_str().as_bytes());
        line.text("detail", record.detail());
    }
    let mut verdicts = record.verdicts.iter().peekable();
    if verdicts.peek().is_none() {
        return;
    }
    line.key("verdicts");
    line.out.push(b'{');
    let mut inner = Line { out: line.out, first: true };
    for verdict in verdicts {
        inner.text(verdict.name, VerdictKind::as_str(verdict.kind).as_bytes());
    }
    line.out.push(b'}');
}

fn push_numbers(line: &mut Line<'_>, record: &DecisionRecord) {
    line.key("timings_us");
    line.out.push(b'{');
    let mut inner = Line { out: line.out, first: true };
    let phases = [
        ("head", Phase::Head),
        ("decide", Phase::Decide),
        ("connect", Phase::Connect),
        ("first_byte", Phase::FirstByte),
        ("body", Phase::Body),
    ];
    for (key, phase) in phases {
        inner.number(key, u64::from(record.timings.micros(phase)));
    }
    inner.number("total", record.total_micros);
    line.out.push(b'}');
    line.key("bytes");
    line.out.push(b'{');
    let mut inner = Line { out: line.out, first: true };
    let traffic = &record.traffic;
    for (key, value) in [
        ("request_head", traffic.request_head),
        ("request_body", traffic.request_body),
        ("response_head", traffic.response_head),
        ("response_body", traffic.response_body),
    ] {
        inner.number(key, value);
    }
    line.out.push(b'}');
    line.number("generation", record.generation.0);
    if record.upgraded {
        line.boolean("upgraded", true);
    }
}

/// The query with its names, and nothing of its values.
fn redacted(query: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(query.len());
    for pair in query.split(|byte| *byte == b'&') {
        if !out.is_empty() {
            out.push(b'&');
        }
        let equals = pair.iter().position(|byte| *byte == b'=');
        match equals.and_then(|at| pair.get(..=at)) {
            Some(name) => {
                out.extend_from_slice(name);
                out.extend_from_slice(b"[redacted]");
            }
            // A pair without `=` may be a value alone.
            None => out.extend_from_slice(b"[redacted]"),
        }
    }
    out
}

/// A JSON object being written.
struct Line<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl Line<'_> {
    fn key(&mut self, key: &str) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn text(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        self.out.push(b'"');
        push_escaped(self.out, value);
        self.out.push(b'"');
    }

    fn optional(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value.as_bytes());
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn boolean(&mut self, key: &str, value: bool) {
        self.key(key);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A value whose text is known to need no escaping.
    fn display(&mut self, key: &str, value: std::fmt::Arguments<'_>) {
        self.key(key);
        let written = self.out.write_fmt(value);
        debug_assert!(written.is_ok(), "writing to memory does not fail");
    }
}

/// Appends bytes as the inside of a JSON string: control bytes escaped, what is not UTF-8 replaced (threats C 69).
fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        return out.extend_from_slice(bytes);
    }
    for char in String::from_utf8_lossy(bytes).chars() {
        match char {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                let written = write!(out, "\\u{:04x}", u32::from(char));
                debug_assert!(written.is_ok(), "writing to memory does not fail");
            }
            _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::push_line;
    use portcullis_model::{DecisionRecord, Reason};

    fn line(record: &DecisionRecord) -> serde_json::Value {
        let mut out = Vec::new();
        push_line(&mut out, record);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn c69_any_bytes_make_one_valid_line() {
        let mut record = DecisionRecord::default();
        let agent = b"\"},{\"x\":\"\r\n\x1b[31m\xff\xfe\\";
        record.note_request(b"GET", b"a.test", b"/x", None, Some(agent));
        record.note_reason(Reason::RequestMalformed, "a \"quoted\" detail");
        let line = line(&record);
        assert_eq!(line["user_agent"], "\"},{\"x\":\"\r\n\u{1b}[31m\u{fffd}\u{fffd}\\");
        assert_eq!((&line["reason"], &line["blame"]), (&"request_malformed".into(), &"downstream".into()));
    }

    #[test]
    fn values_of_the_query_are_not_written() {
        let mut record = DecisionRecord::default();
        record.note_request(b"GET", b"a.test", b"/x", Some(b"token=s3cret&q=me&bare"), None);
        assert_eq!(line(&record)["query"], "token=[redacted]&q=[redacted]&[redacted]");
    }
}
#[cfg(test)]
mod speed {
    #[test]
    fn speed() {
        use portcullis_model::*;
        let mut record = DecisionRecord::default();
        record.note_request(
            b"GET",
            b"api.example.com",
            b"/orders/7/lines",
            Some(b"page=2&token=abc"),
            Some(b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        );
        record.id = RequestId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        record.trace = TraceContext::continue_from(None, record.id, 7);
        record.started_unix_micros = 1_795_440_000_000_001;
        record.total_micros = 1234;
        record.status = 200;
        record.route = Some("orders/route".into());
        record.listener = Some("public".into());
        record.upstream = Some("orders".into());
        record.client = Some([192, 0, 2, 1].into());
        record.peer = Some(([192, 0, 2, 1], 40_000).into());
        record.tls = Some(std::sync::Arc::new(TlsFacts {
            version: "TLSv1.3",
            suite: "TLS13_AES_128_GCM_SHA256",
            group: "X25519MLKEM768",
            sni: Some("api.example.com".into()),
            alpn: None,
            resumed: false,
        }));
        record.note_attempt(Attempt { endpoint: ([192, 0, 2, 2], 8080).into(), reused: true, outcome: AttemptOutcome::Answered });
        for n in ["request_limits", "security_headers"] {
            record.verdicts.push(PolicyVerdict { policy: PolicyId(0), name: n, kind: VerdictKind::Continue });
        }
        let mut best = u128::MAX;
        let mut out = Vec::new();
        for _ in 0..300 {
            out.clear();
            let b = std::time::Instant::now();
            for _ in 0..200 {
                super::push_line(&mut out, &record);
            }
            best = best.min(b.elapsed().as_nanos() / 200);
        }
        println!("{best} ns per line of {} bytes: {}", out.len() / 200, String::from_utf8_lossy(&out[..out.len() / 200]));
    }
}
