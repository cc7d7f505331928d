//! The page of `portcullis exposure --html`: one file, without scripts, that loads nothing and reads well in light and in dark.

use super::{Row, limits};
use crate::check::counted;
use aws_lc_rs::digest::{SHA256, digest};
use portcullis_control_config::Plan;
use std::fmt::{self, Write};

const STYLE: &str = include_str!("page.css");

/// Text as it may stand in an element or in a quoted attribute.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // What turns or hides text around it would let a route look like another one.
                c if portcullis_model_settings::is_deceptive(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Base64 with padding (RFC 4648 section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * place) & 63) as usize).filter(|_| place <= chunk.len());
            out.push(digit.map_or('=', |digit| char::from(*digit)));
        }
    }
    out
}

/// The page.
///
/// # Errors
/// Never: text can always be written to text.
pub fn page(plan: &Plan, rows: &[Row<'_>]) -> Result<String, String> {
    let mut page = String::new();
    write_page(&mut page, plan, rows).map_err(|error| error.to_string())?;
    Ok(page)
}

fn write_page(out: &mut String, plan: &Plan, rows: &[Row<'_>]) -> fmt::Result {
    let style = base64(digest(&SHA256, STYLE.as_bytes()).as_ref());
    let (open, known): (Vec<&Row<'_>>, Vec<&Row<'_>>) = rows.iter().partition(|row| row.is_public());
    let hash = plan.hash().to_string();
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Who may call what</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>Who may call what</h1>\n\
         <p class=\"of\">Configuration <code>{}</code></p>\n</header>",
        Escaped(hash.get(..16).unwrap_or(&hash))
    )?;
    writeln!(out, "<ul class=\"sums\">")?;
    for (count, what, class) in [
        (open.len(), "for everybody", if open.is_empty() { "calm" } else { "open" }),
        (known.len(), "for known callers", "calm"),
        (plan.apis.len(), if plan.apis.len() == 1 { "API" } else { "APIs" }, "calm"),
        (plan.weakenings.len(), "weakened", if plan.weakenings.is_empty() { "calm" } else { "open" }),
    ] {
        writeln!(out, "<li class=\"{class}\"><b>{count}</b> {what}</li>")?;
    }
    writeln!(out, "</ul>\n<main>")?;
    writeln!(out, "<section class=\"everybody\">\n<h2>Everybody, without a credential</h2>")?;
    if open.is_empty() {
        writeln!(out, "<p>Nothing can be called by somebody who is not known.</p>")?;
    } else {
        write_table(out, plan, &open)?;
    }
    writeln!(out, "</section>")?;
    for api in &plan.apis {
        let own: Vec<&Row<'_>> = known.iter().filter(|row| row.api.name == api.name).copied().collect();
        if own.is_empty() {
            continue;
        }
        let owner = api.owner.as_ref().map_or(String::new(), |owner| format!("<span class=\"dim\"> of {}</span>", Escaped(owner)));
        writeln!(
            out,
            "<section>\n<h2>{}{owner} <span class=\"dim\">{}</span></h2>",
            Escaped(&api.name),
            counted(own.len(), "route")
        )?;
        write_table(out, plan, &own)?;
        writeln!(out, "</section>")?;
    }
    if !plan.weakenings.is_empty() {
        writeln!(out, "<section class=\"everybody\">\n<h2>Weakened</h2>\n<ul>")?;
        for one in &plan.weakenings {
            writeln!(out, "<li><code>{}</code> {} ({})</li>", Escaped(&one.path), Escaped(&one.reason), Escaped(&one.owner))?;
        }
        writeln!(out, "</ul>\n</section>")?;
    }
    writeln!(out, "</main>\n<footer>Written by <code>portcullis exposure --html</code>.</footer>\n</body>\n</html>")
}

fn write_table(out: &mut String, plan: &Plan, rows: &[&Row<'_>]) -> fmt::Result {
    writeln!(
        out,
        "<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">Operation</th><th scope=\"col\">Who</th>\
         <th scope=\"col\">By which credential</th><th scope=\"col\">Limits</th></tr></thead>\n<tbody>"
    )?;
    for row in rows {
        write_row(out, plan, row)?;
    }
    writeln!(out, "</tbody>\n</table></div>")
}

fn write_row(out: &mut String, plan: &Plan, row: &Row<'_>) -> fmt::Result {
    write!(out, "<tr><th scope=\"row\"><div class=\"operation\">")?;
    for method in row.route.methods.iter() {
        write!(out, "<span class=\"method\">{}</span> ", Escaped(method.as_str()))?;
    }
    write!(out, "<code>{}</code></div>", Escaped(&row.route.path))?;
    let (api, name, hosts) = (Escaped(&row.api.name), Escaped(&row.route.name), row.hosts().replace(',', ", "));
    write!(out, "<div class=\"dim\">{api}/{name} on {}", Escaped(&hosts))?;
    for (field, value) in row.route.headers.iter() {
        write!(out, " with {}: {}", Escaped(field), Escaped(value))?;
    }
    if row.route.websocket {
        write!(out, " · WebSocket")?;
    }
    write!(out, "</div></th><td><ol>")?;
    let granted = row.granted();
    for one in &granted {
        write!(out, "<li>{}</li>", Escaped(&one.who))?;
    }
    write!(out, "</ol></td><td>")?;
    if let Some(one) = granted.first() {
        write!(out, "{}", Escaped(if row.is_public() { "none" } else { &one.by }))?;
        if !one.audiences.is_empty() {
            write!(out, "<div class=\"dim\">for {}</div>", Escaped(&one.audiences))?;
        }
    }
    write!(out, "</td><td>")?;
    let limits = limits::told(plan, &row.route.policies);
    if limits.is_empty() {
        write!(out, "<span class=\"dim\">the defaults</span>")?;
    }
    for limit in &limits {
        write!(out, "<div>{}</div>", Escaped(limit))?;
    }
    writeln!(out, "</td></tr>")
}

#[cfg(test)]
mod tests {
    use super::{Escaped, base64};

    #[test]
    fn what_has_a_meaning_in_a_page_is_escaped() {
        let text = Escaped("<a href=\"x\" onclick='y'>&amp;\u{202e}").to_string();
        assert_eq!(text, "&lt;a href=&quot;x&quot; onclick=&#39;y&#39;&gt;&amp;amp;\\u{202e}");
    }

    #[test]
    fn base64_is_as_its_rfc_shows() {
        for (plain, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
