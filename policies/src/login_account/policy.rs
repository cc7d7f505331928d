//! Finds the account that a login names.

use super::config::LoginAccount;
use super::name::{canonical_account, folded};
use portcullis_engines_jose::Json;
use portcullis_gateway_policy::{CompileError, Exchange, LiveFiles, Policy, Step, Verdict};
use portcullis_model::{LoginAttempt, Reason, Rejection};
use portcullis_wire::{KnownName, query_pairs};
use std::any::Any;
use std::sync::Arc;

/// The longest body of a login, in bytes.
const BODY_BYTES_MAX: u64 = 64 * 1024;
/// How many fields a form of a login may have.
const FIELDS_MAX: usize = 256;

/// Makes the running policy: that of the route, where it is written.
///
/// # Errors
/// When it does not say where accounts are named, which was refused when the configuration was checked.
pub fn compile(settings: &[Arc<dyn Any + Send + Sync>], _: &LiveFiles) -> Result<Arc<dyn Policy>, CompileError> {
    let mut levels = settings.iter().filter_map(|level| level.downcast_ref::<LoginAccount>());
    let Some(written) = levels.next_back() else { return Err(CompileError("no login field is written".to_owned())) };
    let field = match (&written.json, &written.form) {
        (Some(json), None) => Field::Json(segments(json)),
        (None, Some(form)) => Field::Form(form.as_ref().into()),
        _ => return Err(CompileError("it is not clear which field names the account".to_owned())),
    };
    Ok(Arc::new(LoginAccountPolicy { field, domains: written.domains.iter().map(|domain| folded(domain).into()).collect() }))
}

/// The names that lead to a member (RFC 6901), or the one name.
fn segments(path: &str) -> Box<[Box<str>]> {
    match path.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(|part| part.replace("~1", "/").replace("~0", "~").into()).collect(),
        None => [path.into()].into(),
    }
}

enum Field {
    Json(Box<[Box<str>]>),
    Form(Box<str>),
}

impl Field {
    /// The name by which other readers of the request may find an account as well.
    fn name(&self) -> &str {
        match self {
            Self::Json(segments) => segments.last().map_or("", |name| &**name),
            Self::Form(name) => name,
        }
    }

    fn media_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::Form(_) => "application/x-www-form-urlencoded",
        }
    }
}

/// The running policy.
struct LoginAccountPolicy {
    field: Field,
    domains: Box<[Box<str>]>,
}

fn invalid(detail: &'static str) -> Rejection {
    Rejection::new(Reason::LoginFieldInvalid, detail)
}

/// The name of a field of a form, as lenient readers see it: without what stands in brackets, dots and spaces are underscores.
fn lenient(name: &str) -> String {
    let name = name.split('[').next().unwrap_or_default();
    folded(name).replace(['.', ' '], "_")
}

/// A part of a form or query in plain text. Nothing where it is not UTF-8 or an escape is broken.
fn decoded(text: &str) -> Option<String> {
    let (mut out, mut bytes) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

impl LoginAccountPolicy {
    /// What can be said of the head: nothing when it is good.
    fn check_head(&self, exchange: &Exchange) -> Result<(), Rejection> {
        let fields = exchange.request.fields();
        let mut types = fields.values(KnownName::ContentType);
        let is_right = |value: &[u8]| {
            let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            essence.eq_ignore_ascii_case(self.field.media_type().as_bytes())
        };
        match (types.next(), types.next()) {
            (Some(only), None) if is_right(only) => {}
            _ => return Err(invalid("the Content-Type is not that of the declared login field")),
        }
        if fields.first_named("content-encoding").is_some() {
            return Err(invalid("the body is compressed, so the login field cannot be read"));
        }
        // SECURITY: many upstreams join the fields of the query with those of the body, and some take the former.
        let wanted = lenient(self.field.name());
        for (name, _) in query_pairs(exchange.request.query().unwrap_or_default()) {
            if decoded(name).is_none_or(|name| lenient(&name) == wanted) {
                return Err(invalid("the query names an account too"));
            }
        }
        Ok(())
    }

    fn account(&self, body: &[u8]) -> Result<String, Rejection> {
        match &self.field {
            Field::Json(segments) => of_json(body, segments),
            Field::Form(name) => of_form(body, name),
        }
    }

    fn judge(&self, exchange: &mut Exchange) -> Result<(), Rejection> {
        let text = self.account(exchange.body.as_deref().unwrap_or_default())?;
        let account = canonical_account(&text, &self.domains).ok_or_else(|| invalid("the login field is empty or too long"))?;
        let api = exchange.record.api.clone().unwrap_or_default();
        exchange.record.login = Some(Box::new(LoginAttempt { api, account, under_way: false }));
        Ok(())
    }
}

/// SECURITY: readers differ in which of two members they take, and some take names in any case: there must be one alone.
fn of_json(body: &[u8], segments: &[Box<str>]) -> Result<String, Rejection> {
    let document = Json::parse(body).ok_or_else(|| invalid("the body is not JSON, or has a member twice"))?;
    let mut found = &document;
    for name in segments {
        let Json::Object(members) = found else { return Err(invalid("the login field is missing")) };
        let wanted = folded(name);
        let mut alike = members.iter().filter(|(known, _)| folded(known) == wanted);
        found = match (alike.next(), alike.next()) {
            (Some((known, value)), None) if **known == **name => value,
            (None, _) => return Err(invalid("the login field is missing")),
            _ => return Err(invalid("members are called like the login field")),
        };
    }
    found.as_text().map(str::to_owned).ok_or_else(|| invalid("the login field is not a text"))
}

fn of_form(body: &[u8], field: &str) -> Result<String, Rejection> {
    let text = std::str::from_utf8(body).map_err(|_| invalid("the form is not UTF-8"))?;
    let (wanted, mut account) = (lenient(field), None);
    // Some readers part the fields at semicolons too.
    for (at, pair) in text.split(['&', ';']).enumerate() {
        if at == FIELDS_MAX {
            return Err(invalid("the form has too many fields"));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name).ok_or_else(|| invalid("a name of the form is not percent-encoded UTF-8"))?;
        if lenient(&name) != wanted {
            continue;
        }
        let value = decoded(value).ok_or_else(|| invalid("the login field is not percent-encoded UTF-8"))?;
        if name != *field || account.replace(value).is_some() {
            return Err(invalid("several fields are called like the login field"));
        }
    }
    account.ok_or_else(|| invalid("the login field is missing"))
}

impl Policy for LoginAccountPolicy {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        match self.check_head(exchange) {
            Ok(()) => Step::Body(BODY_BYTES_MAX),
            Err(rejection) => Step::Ready(Verdict::Reject(rejection)),
        }
    }

    fn on_body<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        Step::Ready(match self.judge(exchange) {
            Ok(()) => Verdict::Continue,
            Err(rejection) => Verdict::Reject(rejection),
        })
    }
}
