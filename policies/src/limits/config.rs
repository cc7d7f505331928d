//! What the operator writes.

use portcullis_engines_limiter::{CHARGES_MAX, Rate, RateError};
use portcullis_model_settings::{Decode, Diagnostics, Level, Name, Node, RequestRate, Schema, Tighten, Value, choice, section};
use std::sync::Arc;

/// Lines at one level: with three levels all fit into one charge.
const LINES_MAX: usize = CHARGES_MAX / 3;

choice! {
    /// Whose requests are counted together.
    pub enum Per {
        /// Each client address, as found behind trusted proxies; of IPv6 each network of `ipv6_prefix` bits.
        ClientIp = "client_ip",
        /// Each caller, as its provider names it; where nobody is to say who they are, each client address.
        Principal = "principal",
        /// Each consumer; who is none counts as with `principal`.
        Consumer = "consumer",
        /// Each value of the header field that `header` names; a request without it counts by client address.
        Header = "header",
        /// Each API.
        Api = "api",
        /// Each route.
        Route = "route",
        /// Everybody, on all routes of the level together.
        All = "all",
    }
}

choice! {
    /// What becomes of requests beyond a limit.
    pub enum Mode {
        /// They are refused.
        Enforce = "enforce",
        /// They are let through, counted and recorded, so that a limit can be tried on traffic as it is.
        Report = "report",
    }
}

choice! {
    /// Where a limit takes what consumers may use from.
    pub enum LimitUse {
        /// From the plan of the consumer.
        Plan = "plan",
    }
}

section! {
    /// A limit: whose requests are counted together, and how many may come. All limits of all levels hold together, and a request that one of them
    /// refuses (429 with the code `rate_limited`) is charged to none. Answers tell by `RateLimit` and `RateLimit-Policy` of the one that has
    /// least left, refusals by `Retry-After` when to come again. What was used is remembered across reloads, not across restarts.
    pub struct LimitLine {
        /// Whose requests are counted together.
        pub per: Per,
        /// How many, such as `50/s`, `600/m` or `1000/h`.
        pub rate: RequestRate,
        /// With `per: consumer`: a consumer that has a plan may use what that says, instead of `rate` and `burst`, which hold for all others.
        pub r#use: Option<LimitUse>,
        /// How many may come at once; as many as the rate has in a second, and at least 1, when absent.
        pub burst: Option<u32>,
        /// How many requests one request counts as.
        pub cost: u32 where (1, 1_000_000) = 1,
        /// With `per: header`: the name of the field. Clients choose what they send: where a limit is to hold whatever they send, add one by address.
        pub header: Option<Arc<str>>,
        /// What becomes of requests beyond the limit.
        pub mode: Mode = Mode::Enforce,
        /// With `client_ip`, `principal`, `consumer` and `header`: how many bits of an IPv6 address are one client's. Providers give each customer a network of 64 bits or more.
        pub ipv6_prefix: u8 where (32, 128) = 64,
        /// What clients see it called in `RateLimit`; the word of `per` when absent.
        pub name: Option<Name>,
    }
}

/// The limits of a level, and where they are written: that is what tells them from those of other levels, also after a reload.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The lines.
    pub lines: Vec<LimitLine>,
    /// The JSON pointer of the list.
    pub(super) place: String,
}

impl LimitLine {
    /// The rate as the engine counts.
    pub(super) fn rate(&self) -> Result<Rate, RateError> {
        let in_a_second = self.rate.count().saturating_mul(1_000_000_000) / self.rate.period_nanos().max(1);
        let burst = self.burst.unwrap_or_else(|| u32::try_from(in_a_second.max(1)).unwrap_or(u32::MAX));
        Rate::new(u32::try_from(self.rate.count()).unwrap_or(u32::MAX), self.rate.period_nanos(), burst)
    }
}

impl Decode for Limits {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        Some(Self { lines: Vec::decode(node, diagnostics)?, place: node.path() })
    }

    fn encode(&self) -> Value {
        self.lines.encode()
    }

    fn schema() -> Schema {
        Vec::<LimitLine>::schema()
    }
}

impl Tighten for Limits {
    /// Limits of every level hold together, so nothing that is written further in is weaker.
    fn tighten(_: &Self, _: &Self, _: &Node<'_>, _: &mut Diagnostics) {}

    fn check(&self, at: &Node<'_>, _: Level<'_>, diagnostics: &mut Diagnostics) {
        if self.lines.is_empty() {
            diagnostics.error_with_help(
                at,
                "no limit is written here",
                "add a line such as `{ per: client_ip, rate: 50/s }`, or remove it",
            );
        }
        if self.lines.len() > LINES_MAX {
            let what = format!("{} limits, and {LINES_MAX} at most may stand here", self.lines.len());
            diagnostics.error_with_help(at, what, "keep those that are tightest");
        }
        for (item, line) in at.items().into_iter().flatten().zip(&self.lines) {
            line.check(&item, diagnostics);
        }
    }
}

impl LimitLine {
    fn check(&self, at: &Node<'_>, diagnostics: &mut Diagnostics) {
        let node = |name| at.field(name).unwrap_or(*at);
        match self.rate() {
            Ok(rate) if self.cost > rate.burst() => {
                let what =
                    format!("no request would ever pass: each counts as {}, and {} may come at once", self.cost, rate.burst());
                diagnostics.error_with_help(&node("cost"), what, "raise `burst` or lower `cost`");
            }
            Ok(_) => {}
            Err(RateError::Zero) => {
                let help = "write at least 1; to refuse everything use `disabled`";
                let place = if self.burst == Some(0) { "burst" } else { "rate" };
                diagnostics.error_with_help(&node(place), "no request would ever pass", help);
            }
            Err(RateError::TooFast) => {
                diagnostics.error_with_help(&node("rate"), "this is more than can be counted", "write at most 1000000000/s");
            }
            Err(RateError::TooSlow) => {
                let what = "it would take more than 100 days until the whole burst may come again";
                diagnostics.error_with_help(&node("burst"), what, "lower `burst` or raise `rate`");
            }
        }
        if self.per != Per::Consumer
            && let Some(used) = at.field("use")
        {
            diagnostics.error_with_help(&used, "only consumers have plans", "remove `use`, or write `per: consumer`");
        }
        self.check_header(at, diagnostics);
        if matches!(self.per, Per::Api | Per::Route | Per::All)
            && let Some(prefix) = at.field("ipv6_prefix")
        {
            diagnostics.error_with_help(
                &prefix,
                "this limit does not count by address",
                "remove `ipv6_prefix`, or write `per: client_ip`",
            );
        }
    }

    fn check_header(&self, at: &Node<'_>, diagnostics: &mut Diagnostics) {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        match (&self.header, at.field("header")) {
            (None, _) if self.per == Per::Header => {
                diagnostics.error_with_help(
                    at,
                    "it is not said which header field counts",
                    "add `header`, such as `header: X-Tenant`",
                );
            }
            (Some(_), Some(header)) if self.per != Per::Header => {
                diagnostics.error_with_help(
                    &header,
                    "this limit does not count by a header field",
                    "remove it, or write `per: header`",
                );
            }
            (Some(name), Some(header)) if name.is_empty() || name.len() > 64 || !name.bytes().all(is_token) => {
                diagnostics.wrong(&header, "the name of a header field, such as `X-Tenant`");
            }
            _ => {}
        }
    }

    /// What clients see it called.
    pub(super) fn shown_name(&self) -> &str {
        match (&self.name, self.per) {
            (Some(name), _) => name,
            (None, Per::ClientIp) => "client_ip",
            (None, Per::Principal) => "principal",
            (None, Per::Consumer) => "consumer",
            (None, Per::Header) => "header",
            (None, Per::Api) => "api",
            (None, Per::Route) => "route",
            (None, Per::All) => "all",
        }
    }
}
