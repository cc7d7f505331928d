//! A decision record as one line of JSON.

use crate::calendar::TimeWriter;
use crate::json::{
    first_key, key, push_address, push_boolean, push_escaped, push_hex, push_number, push_optional, push_raw, push_socket,
    push_text,
};
use portcullis_model::{AttemptOutcome, DecisionRecord, Phase, VerdictKind};

/// What a line takes beside the texts of its record.
const LINE_BYTES: usize = 1024;

/// Writes records as lines.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    times: TimeWriter,
}

impl Encoder {
    /// Appends one line. Values of the query are not written: they carry tokens and personal data.
    pub(crate) fn push_line(&mut self, out: &mut Vec<u8>, record: &DecisionRecord) {
        out.reserve(LINE_BYTES + record.path().len() + record.user_agent().len());
        push_raw(out, first_key!("time"));
        out.push(b'"');
        self.times.push(out, record.started_unix_micros);
        out.push(b'"');
        push_hex::<32>(out, key!("request_id"), record.id.0);
        push_hex::<32>(out, key!("trace_id"), record.trace.trace_id);
        push_hex::<16>(out, key!("span_id"), u128::from(record.trace.span));
        push_connection(out, record);
        push_request(out, record);
        push_optional(out, key!("route"), record.route.as_deref());
        push_optional(out, key!("api"), record.api.as_deref());
        push_principal(out, record);
        if !record.limits_over.is_empty() {
            push_list(out, key!("limits_over"), record.limits_over.iter().map(|name| &**name));
        }
        push_upstream(out, record);
        push_number(out, key!("status"), u64::from(record.status));
        push_refusal(out, record);
        push_numbers(out, record);
        push_raw(out, "}\n");
    }
}

fn push_connection(out: &mut Vec<u8>, record: &DecisionRecord) {
    push_optional(out, key!("listener"), record.listener.as_deref());
    if let Some(client) = record.client {
        push_address(out, key!("client"), client);
    }
    if let Some(peer) = record.peer {
        push_socket(out, key!("peer"), peer);
    }
    if let Some(balancer) = record.balancer {
        push_socket(out, key!("balancer"), balancer);
    }
    push_text(out, key!("protocol"), record.protocol.as_str().as_bytes());
    let Some(tls) = &record.tls else { return };
    push_raw(out, key!("tls"));
    push_text(out, first_key!("version"), tls.version.as_bytes());
    push_text(out, key!("suite"), tls.suite.as_bytes());
    push_text(out, key!("group"), tls.group.as_bytes());
    push_optional(out, key!("sni"), tls.sni.as_deref());
    push_boolean(out, key!("resumed"), tls.resumed);
    if let Some(client) = &tls.client {
        push_raw(out, key!("client_certificate"));
        push_text(out, first_key!("fingerprint"), &hexadecimal(&client.fingerprint));
        push_text(out, key!("subject"), client.subject.as_bytes());
        push_text(out, key!("issuer"), client.issuer.as_bytes());
        push_text(out, key!("names"), client.names.as_bytes());
        out.push(b'}');
    }
    out.push(b'}');
}

/// The digits of a fingerprint.
fn hexadecimal(bytes: &[u8; 32]) -> [u8; 64] {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).map_or(b'0', |digit| digit as u8);
    let mut digits = [0; 64];
    let all = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    digits.iter_mut().zip(all).for_each(|(slot, digit)| *slot = digit);
    digits
}

fn push_request(out: &mut Vec<u8>, record: &DecisionRecord) {
    push_text(out, key!("method"), record.method());
    push_text(out, key!("host"), record.host());
    push_text(out, key!("path"), record.path());
    if !record.query().is_empty() {
        push_raw(out, key!("query"));
        out.push(b'"');
        push_redacted(out, record.query());
        out.push(b'"');
    }
    if !record.user_agent().is_empty() {
        push_text(out, key!("user_agent"), record.user_agent());
    }
}

/// The query with its names, and nothing of its values.
fn push_redacted(out: &mut Vec<u8>, query: &[u8]) {
    for (number, pair) in query.split(|byte| *byte == b'&').enumerate() {
        if number > 0 {
            out.push(b'&');
        }
        let equals = pair.iter().position(|byte| *byte == b'=');
        // A pair without `=` may be a value alone.
        push_escaped(out, equals.and_then(|at| pair.get(..=at)).unwrap_or_default());
        push_raw(out, "[redacted]");
    }
}

fn push_principal(out: &mut Vec<u8>, record: &DecisionRecord) {
    let Some(principal) = &record.principal else { return };
    push_text(out, key!("provider"), principal.provider.as_bytes());
    push_text(out, key!("principal"), principal.subject.as_bytes());
    push_optional(out, key!("principal_client"), principal.client.as_deref());
    push_optional(out, key!("consumer"), principal.consumer.as_ref().map(|consumer| &*consumer.name));
    let Some(allowed) = &record.allowed else { return };
    push_number(out, key!("allow_line"), u64::from(allowed.line));
    if let Some(roles) = allowed.roles() {
        push_list(out, key!("allow_roles"), roles);
    }
    if !allowed.words.scopes.is_empty() {
        push_list(out, key!("allow_scopes"), allowed.words.scopes.iter().map(|scope| &**scope));
    }
}

/// A list of texts.
fn push_list<'t>(out: &mut Vec<u8>, key: &str, texts: impl Iterator<Item = &'t str>) {
    push_raw(out, key);
    out.push(b'[');
    for (number, text) in texts.enumerate() {
        push_text(out, if number == 0 { "" } else { "," }, text.as_bytes());
    }
    out.push(b']');
}

fn push_upstream(out: &mut Vec<u8>, record: &DecisionRecord) {
    push_optional(out, key!("upstream"), record.upstream.as_deref());
    if let Some(last) = record.attempts.last() {
        push_socket(out, key!("endpoint"), last.endpoint);
        push_number(out, key!("attempts"), record.attempts.len() as u64);
        push_boolean(out, key!("reused"), last.reused);
    }
    let mut failed = record.attempts.iter().filter_map(|attempt| match attempt.outcome {
        AttemptOutcome::Failed(reason) => Some(reason.code()),
        AttemptOutcome::Answered => None,
    });
    push_optional(out, key!("attempt_failed"), failed.next());
}

fn push_refusal(out: &mut Vec<u8>, record: &DecisionRecord) {
    if let Some(reason) = record.reason {
        push_text(out, key!("reason"), reason.code().as_bytes());
        push_text(out, key!("blame"), reason.blame().as_str().as_bytes());
        push_text(out, key!("detail"), record.detail());
    }
    for (number, verdict) in record.verdicts.iter().enumerate() {
        push_raw(out, if number == 0 { concat!(key!("verdicts"), "{\"") } else { ",\"" });
        push_escaped(out, verdict.name.as_bytes());
        push_text(out, "\":", VerdictKind::as_str(verdict.kind).as_bytes());
    }
    if record.verdicts.iter().next().is_some() {
        out.push(b'}');
    }
}

fn push_numbers(out: &mut Vec<u8>, record: &DecisionRecord) {
    push_raw(out, key!("timings_us"));
    for (key, phase) in [
        (first_key!("head"), Phase::Head),
        (key!("decide"), Phase::Decide),
        (key!("connect"), Phase::Connect),
        (key!("first_byte"), Phase::FirstByte),
        (key!("body"), Phase::Body),
    ] {
        push_number(out, key, u64::from(record.timings.micros(phase)));
    }
    push_number(out, key!("total"), record.total_micros);
    push_raw(out, concat!("}", key!("bytes")));
    let traffic = &record.traffic;
    push_number(out, first_key!("request_head"), traffic.request_head);
    push_number(out, key!("request_body"), traffic.request_body);
    push_number(out, key!("response_head"), traffic.response_head);
    push_number(out, key!("response_body"), traffic.response_body);
    out.push(b'}');
    push_number(out, key!("generation"), record.generation.0);
    if record.upgraded {
        push_boolean(out, key!("upgraded"), true);
    }
}

#[cfg(test)]
mod tests {
    use super::Encoder;
    use portcullis_model::{
        Attempt, AttemptOutcome, ClientCertificate, DecisionRecord, Generation, PolicyId, PolicyVerdict, Protocol, Reason,
        RequestId, TlsFacts, TraceContext, VerdictKind,
    };
    use std::sync::Arc;

    fn line(record: &DecisionRecord) -> serde_json::Value {
        let mut out = Vec::new();
        Encoder::default().push_line(&mut out, record);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        assert!(out.iter().all(|byte| *byte >= b' ' || *byte == b'\n'), "no control bytes");
        serde_json::from_slice(&out).unwrap()
    }

    fn tls_facts() -> TlsFacts {
        let client = ClientCertificate {
            fingerprint: std::array::from_fn(|at| 0xf0 + at as u8 / 16),
            subject: "CN=a\"b".into(),
            issuer: "CN=ca".into(),
            names: "DNS:a.test".into(),
            ..ClientCertificate::default()
        };
        TlsFacts {
            version: "TLSv1.3",
            suite: "S",
            group: "G",
            sni: Some("a.test".into()),
            alpn: None,
            resumed: true,
            client: Some(client),
            client_trust: [0; 32],
        }
    }

    #[test]
    fn a_whole_record_is_written_field_by_field() {
        let mut record = DecisionRecord::default();
        record.note_request(b"GET", b"a.test", b"/x/%2F", Some(b"token=s3cret&q"), Some(b"curl/8"));
        record.note_reason(Reason::UpstreamReset, "after 3 bytes");
        record.id = RequestId(0xab);
        record.trace = TraceContext { trace_id: 0xcd, parent_span: 1, span: 0xef, flags: 1 };
        record.started_unix_micros = 1_795_440_000_000_001;
        record.total_micros = 99;
        record.status = 502;
        record.generation = Generation(7);
        record.protocol = Protocol::Http2;
        record.upgraded = true;
        record.listener = Some("public".into());
        record.route = Some("a/x".into());
        record.api = Some("a".into());
        record.upstream = Some("up".into());
        record.client = Some("192.0.2.255".parse().unwrap());
        record.peer = Some("[2001:db8::1]:443".parse().unwrap());
        record.balancer = Some("10.0.0.5:1024".parse().unwrap());
        record.traffic.response_body = 3;
        record.tls = Some(Arc::new(tls_facts()));
        for outcome in [AttemptOutcome::Failed(Reason::UpstreamUnreachable), AttemptOutcome::Answered] {
            record.note_attempt(Attempt { endpoint: "10.0.0.1:80".parse().unwrap(), reused: false, outcome });
        }
        for (name, kind) in [("request_limits", VerdictKind::Continue), ("cors", VerdictKind::Reject)] {
            record.verdicts.push(PolicyVerdict { policy: PolicyId(0), name, kind });
        }
        let expected = serde_json::json!({
            "time": "2026-11-23T13:20:00.000001Z", "request_id": "000000000000000000000000000000ab",
            "trace_id": "000000000000000000000000000000cd", "span_id": "00000000000000ef", "listener": "public",
            "client": "192.0.2.255", "peer": "[2001:db8::1]:443", "balancer": "10.0.0.5:1024", "protocol": "HTTP/2",
            "tls": { "version": "TLSv1.3", "suite": "S", "group": "G", "sni": "a.test", "resumed": true, "client_certificate": {
                "fingerprint": format!("{}{}", "f0".repeat(16), "f1".repeat(16)), "subject": "CN=a\"b", "issuer": "CN=ca", "names": "DNS:a.test",
            } },
            "method": "GET", "host": "a.test", "path": "/x/%2F", "query": "token=[redacted]&[redacted]", "user_agent": "curl/8",
            "route": "a/x", "api": "a", "upstream": "up", "endpoint": "10.0.0.1:80", "attempts": 2, "reused": false,
            "attempt_failed": "upstream_unreachable", "status": 502, "reason": "upstream_reset", "blame": "upstream",
            "detail": "after 3 bytes", "verdicts": { "request_limits": "continue", "cors": "reject" },
            "timings_us": { "head": 0, "decide": 0, "connect": 0, "first_byte": 0, "body": 0, "total": 99 },
            "bytes": { "request_head": 0, "request_body": 0, "response_head": 0, "response_body": 3 },
            "generation": 7, "upgraded": true,
        });
        assert_eq!(line(&record), expected);
    }

    #[test]
    fn c69_any_bytes_make_one_valid_line() {
        let mut record = DecisionRecord::default();
        let agent = b"\"},{\"x\":\"\r\n\x1b[31m\xff\xfe\\";
        record.note_request(b"GET", b"a.test", b"/x", None, Some(agent));
        record.note_reason(Reason::RequestMalformed, "a \"quoted\" detail");
        let found = line(&record);
        assert_eq!(found["user_agent"], "\"},{\"x\":\"\r\n\u{1b}[31m\u{fffd}\u{fffd}\\");
        assert_eq!((&found["reason"], &found["blame"]), (&"request_malformed".into(), &"downstream".into()));
        for byte in 0..=255_u8 {
            let mut record = DecisionRecord::default();
            let text = [b'a', byte, b'z'];
            record.note_request(&text, &text, &text, Some(&text), Some(&text));
            let read = String::from_utf8_lossy(&text);
            let found = line(&record);
            assert_eq!((&found["path"], &found["method"]), (&(*read).into(), &(*read).into()));
        }
    }

    /// A terminal or an editor would show a line of the log other than it is.
    #[test]
    fn c69_the_direction_of_writing_is_not_turned() {
        let mut record = DecisionRecord::default();
        let turning = "a\u{202e}b\u{2066}c\u{200f}d\u{2028}e\u{e9}";
        record.note_request(b"GET", b"a.test", b"/x", None, Some(turning.as_bytes()));
        let mut out = Vec::new();
        Encoder::default().push_line(&mut out, &record);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(r"a\u202eb\u2066c\u200fd\u2028eé"), "{text}");
        assert_eq!(line(&record)["user_agent"], turning);
    }

    #[test]
    fn values_of_the_query_are_not_written() {
        for (query, written) in [
            ("token=s3cret&q=me&bare", "token=[redacted]&q=[redacted]&[redacted]"),
            ("a=b=c", "a=[redacted]"),
            ("&=x&", "[redacted]&=[redacted]&[redacted]"),
        ] {
            let mut record = DecisionRecord::default();
            record.note_request(b"GET", b"a.test", b"/x", Some(query.as_bytes()), None);
            assert_eq!(line(&record)["query"], written);
        }
    }
}
