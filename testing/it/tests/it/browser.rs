//! A browser as far as logins need one: it keeps cookies, says what it is for, and is sent from place to place.

use portcullis_testing_kit::{Response, ask};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The origin of the application that the tests protect; its requests go to the gateway's plain listener.
pub(crate) const ORIGIN: &str = "https://app.test";

/// What a browser says when somebody wants to see a page.
pub(crate) const PAGE: &str = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nAccept: text/html\r\n";

/// A browser.
#[derive(Clone)]
pub(crate) struct Browser {
    gateway: SocketAddr,
    provider: SocketAddr,
    /// By host, then by name.
    pub(crate) cookies: BTreeMap<(String, String), String>,
}

impl Browser {
    pub(crate) fn new(gateway: SocketAddr, provider: SocketAddr) -> Self {
        Self { gateway, provider, cookies: BTreeMap::new() }
    }

    /// Where a URL leads, the host that is asked for there, and the target.
    fn place(&self, url: &str) -> (SocketAddr, String, String) {
        let issuer = format!("http://{}", self.provider);
        match (url.strip_prefix(ORIGIN), url.strip_prefix(&issuer)) {
            (Some(target), _) => (self.gateway, "app.test".to_owned(), target.to_owned()),
            (_, Some(target)) => (self.provider, self.provider.to_string(), target.to_owned()),
            _ => panic!("a browser is sent to `{url}`"),
        }
    }

    /// Sends one request, with the cookies of its host, and keeps those of the answer.
    pub(crate) fn send(&mut self, method: &str, url: &str, fields: &str, body: &str) -> Response {
        let (address, host, target) = self.place(url);
        let own: Vec<String> = self
            .cookies
            .iter()
            .filter(|((known, _), _)| *known == host)
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        let cookies = if own.is_empty() { String::new() } else { format!("Cookie: {}\r\n", own.join("; ")) };
        let length = if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{cookies}{fields}{length}Connection: close\r\n\r\n{body}");
        let answer = ask(address, request).remove(0);
        for cookie in answer.fields("set-cookie") {
            let (name, rest) = cookie.split_once('=').expect("a cookie");
            let (value, attributes) = rest.split_once(';').unwrap_or((rest, ""));
            let key = (host.clone(), name.to_owned());
            let lower = attributes.to_ascii_lowercase();
            if lower.contains("max-age=0") || lower.contains("expires=thu, 01 jan 1970") {
                self.cookies.remove(&key);
            } else {
                self.cookies.insert(key, value.to_owned());
            }
        }
        answer
    }

    /// Asks for a page, and goes where it is sent, to the end.
    pub(crate) fn visit(&mut self, url: &str) -> (String, Response) {
        self.visit_until(url, |_| false)
    }

    /// The same, but stops before it goes to a place.
    pub(crate) fn visit_until(&mut self, url: &str, stop: impl Fn(&str) -> bool) -> (String, Response) {
        let mut url = url.to_owned();
        for _ in 0..12 {
            let answer = self.send("GET", &url, PAGE, "");
            let Some(next) = self.next(&url, &answer).filter(|next| !stop(next)) else { return (url, answer) };
            url = next;
        }
        panic!("sent from place to place without end, to {url}");
    }

    /// Where an answer sends it.
    fn next(&self, url: &str, answer: &Response) -> Option<String> {
        let location = answer.field("location").filter(|_| (300..400).contains(&answer.status))?;
        if location.starts_with('/') {
            let (_, host, _) = self.place(url);
            return Some(format!("http://{host}{location}"));
        }
        Some(location.to_owned())
    }

    /// Tells the provider's page who it is, and gives where that leads.
    pub(crate) fn tell_name(&mut self, page: &str, name: &str) -> String {
        let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
        let answer = self.send("POST", page, fields, &format!("login={name}"));
        self.next(page, &answer).unwrap_or_else(|| panic!("the provider does not go on: {}", answer.text()))
    }

    /// Wants to see a page, logs in for it, and gives what it sees.
    pub(crate) fn log_in(&mut self, url: &str, name: &str) -> (String, Response) {
        let (page, answer) = self.visit(url);
        assert!(page.contains("/interaction/"), "{page}: {} {}", answer.status, answer.text());
        let next = self.tell_name(&page, name);
        self.visit(&next)
    }

    /// The callback that a login leads to, not gone to. A provider that knows the browser asks nothing.
    pub(crate) fn log_in_to_callback(&mut self, url: &str, name: &str) -> String {
        let is_callback = |url: &str| url.contains("/callback?");
        let (mut page, mut answer) = self.visit_until(url, is_callback);
        if page.contains("/interaction/") {
            let next = self.tell_name(&page, name);
            (page, answer) = self.visit_until(&next, is_callback);
        }
        self.next(&page, &answer).expect("a callback")
    }

    /// The value of a cookie of the application.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(&("app.test".to_owned(), name.to_owned())).map(String::as_str)
    }
}
