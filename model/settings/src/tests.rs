//! A section with everything a section can have, read from a tree built by hand.

use crate::{
    ByteRate, ByteSize, Date, Decode, Diagnostics, FileId, IpNetwork, Method, Methods, Named, Node, Percent, PolicySchema,
    RequestRate, SecretRef, Spanned, Tighten, Tree, TreeBuilder, TreeFull, choice, section,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

choice! {
    /// Where to.
    pub enum Target {
        /// Standard output.
        Stdout = "stdout",
        /// A file.
        File = "file",
    }
    later "syslog"
}

section! {
    /// Limits.
    pub struct Limits {
        /// Connections at the same time.
        pub connections: u32 where (1, 1000) = 200,
        /// How long.
        pub wait: Duration where (Duration::from_millis(1), Duration::from_secs(60)) = Duration::from_secs(10),
    }
}

section! {
    /// Everything.
    pub struct Everything {
        /// Where it listens.
        pub address: SocketAddr,
        /// Where to write.
        pub target: Option<Target>,
        /// Its limits.
        pub limits: Limits,
        /// Others.
        pub others: Named<Spanned<ByteSize>>,
        ; .. pub policies: PolicyUses
    }
}

/// Builds a tree from JSON, each value on a line of its own.
fn tree(value: &Value) -> Arc<Tree> {
    fn add(builder: &mut TreeBuilder, value: &Value, line: &mut u32) {
        *line += 1;
        match value {
            Value::Array(items) => {
                builder.begin_list(*line, 1).expect("within bounds");
                items.iter().for_each(|item| add(builder, item, line));
                builder.end();
            }
            Value::Object(entries) => {
                builder.begin_map(*line, 1).expect("within bounds");
                for (key, value) in entries {
                    *line += 1;
                    builder.scalar(key, true, *line, 1).expect("within bounds");
                    add(builder, value, line);
                }
                builder.end();
            }
            Value::String(text) => builder.scalar(text, false, *line, 1).expect("within bounds"),
            Value::Null => builder.scalar("", true, *line, 1).expect("within bounds"),
            other => builder.scalar(&other.to_string(), true, *line, 1).expect("within bounds"),
        }
    }
    let mut builder = TreeBuilder::new(FileId(0), 10_000, 32);
    add(&mut builder, value, &mut 0);
    builder.finish().expect("a whole tree")
}

impl Tighten for Limits {
    fn tighten(outer: &Self, inner: &Self, at: &Node<'_>, diagnostics: &mut Diagnostics) {
        if inner.connections > outer.connections {
            diagnostics.error(at, "more than above");
        }
    }
}

fn policies() -> Arc<[PolicySchema]> {
    Arc::new([PolicySchema::of::<Limits>("quota")])
}

fn read<T: Decode>(value: &Value) -> Result<T, Vec<String>> {
    let tree = tree(value);
    let mut diagnostics = Diagnostics::new(policies(), &["/balance", "/limits/pending"]);
    let decoded = T::decode(&tree.root(), &mut diagnostics);
    let found: Vec<String> =
        diagnostics.found().iter().map(|d| format!("{}: {} ({})", d.path, d.what, d.help.as_deref().unwrap_or("-"))).collect();
    assert!(decoded.is_some() || diagnostics.has_errors(), "a refusal has a reason");
    decoded.filter(|_| !diagnostics.has_errors()).ok_or(found)
}

#[test]
fn what_is_not_written_has_its_default() {
    let read = read::<Everything>(&json!({ "address": "127.0.0.1:80", "others": { "a": "1KiB" } })).expect("valid");
    assert_eq!((read.limits.connections, read.limits.wait), (200, Duration::from_secs(10)));
    assert!(read.target.is_none() && read.policies.0.is_empty());
    assert_eq!(
        read.encode(),
        json!({ "address": "127.0.0.1:80", "limits": { "connections": 200, "wait": "10s" }, "others": { "a": "1KiB" } })
    );
}

#[test]
fn everything_wrong_is_reported_at_once_with_its_path() {
    let wrong = json!({
        "adress": "127.0.0.1:80",
        "balance": "x",
        "limits": { "connections": 0, "pending": 1, "wait": 10 },
        "others": { "b;ad": "1KiB", "c": "many" },
        "target": "syslog",
        "quota": { "connections": "no" },
    });
    assert_eq!(
        read::<Everything>(&wrong).expect_err("refused"),
        [
            "/target: `syslog` is not available in this version (what can be written here: `stdout`, `file`)",
            "/limits/connections: expected `1` to `1000`, found `0` (-)",
            "/limits/wait: expected a duration with its unit, such as `250ms`, `10s`, `5m`, `12h` or `365d`, found `10` (-)",
            "/limits/pending: `pending` is not available in this version (remove it; nothing that is written here is ignored silently)",
            "/others/b;ad: `b;ad` is not a name (use 1 to 64 of `A-Z a-z 0-9 - _ .`, beginning with a letter or digit)",
            "/others/c: expected a size with its unit, such as `512B`, `32KiB`, `1MiB` or `2GiB`, found `many` (-)",
            "/adress: unknown key `adress` (did you mean `address`)",
            "/balance: `balance` is not available in this version (remove it; nothing that is written here is ignored silently)",
            "/quota/connections: expected a whole number from 0 to 4294967295, found `no` (-)",
        ]
    );
}

#[test]
fn what_is_missing_is_named_with_its_meaning() {
    assert_eq!(
        read::<Everything>(&json!({ "quota": {} })).expect_err("refused"),
        [": `address` is missing (add `address`: where it listens)"]
    );
}

#[test]
fn policies_are_read_by_the_row_of_their_name() {
    let settings = json!({ "address": "127.0.0.1:80", "quota": { "connections": 7 } });
    let read = read::<Everything>(&settings).expect("valid");
    let [quota] = &*read.policies.0 else { panic!("one policy") };
    let (row, outer) = (&policies()[quota.policy], Limits::absent().expect("all defaults"));
    assert_eq!((row.encode)(&*quota.settings)["connections"], 7);
    let mut diagnostics = Diagnostics::default();
    (row.tighten)(&outer, &*quota.settings, &quota.at.node(), &mut diagnostics);
    assert!(!diagnostics.has_errors());
    (row.tighten)(&*quota.settings, &outer, &quota.at.node(), &mut diagnostics);
    assert_eq!(diagnostics.found()[0].what, "more than above");
    // Settings of another type are refused, not let through.
    (row.tighten)(&1_u8, &outer, &quota.at.node(), &mut diagnostics);
    assert_eq!(diagnostics.errors(), 2);
}

#[test]
fn a_section_that_is_something_else_is_refused() {
    for value in [json!("text"), json!([1]), json!(null), json!(3)] {
        assert_eq!(read::<Limits>(&value).expect_err("refused").len(), 1, "{value}");
    }
}

#[test]
fn typed_values_are_read_and_shown_in_their_shortest_form() {
    fn shown<T: Decode>(text: &str) -> Option<String> {
        read::<T>(&json!(text)).ok().map(|value| value.encode().as_str().unwrap_or_default().to_owned())
    }
    assert_eq!(shown::<Duration>("90s").as_deref(), Some("90s"));
    assert_eq!(shown::<Duration>("120s").as_deref(), Some("2m"));
    assert_eq!(shown::<Duration>("0s").as_deref(), Some("0s"));
    assert_eq!(shown::<ByteSize>("2048B").as_deref(), Some("2KiB"));
    for written in ["50/s", "600/m", "1000/h", "4294967295/d"] {
        assert_eq!(shown::<RequestRate>(written).as_deref(), Some(written));
    }
    for wrong in ["50", "/s", "-1/s", "1.5/s", "50/w", "4294967296/s", "50 /s"] {
        assert_eq!(shown::<RequestRate>(wrong), None, "{wrong}");
    }
    assert_eq!(shown::<ByteRate>("500B/s").as_deref(), Some("500B/s"));
    assert_eq!(shown::<Percent>("0.50%").as_deref(), Some("0.5%"));
    assert_eq!(shown::<Percent>("100%").as_deref(), Some("100%"));
    assert_eq!(shown::<Date>("2027-01-01").as_deref(), Some("2027-01-01"));
    assert_eq!(shown::<IpNetwork>("10.0.0.5").as_deref(), Some("10.0.0.5/32"));
    assert_eq!(shown::<SecretRef>("env:A_1").as_deref(), Some("env:A_1"));
    for bad in ["10", "s", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615d", "10 s", "10S"] {
        assert_eq!(shown::<Duration>(bad), None, "{bad}");
    }
    for bad in ["1K", "1kb", "1MB", "", "99999999999TiB"] {
        assert_eq!(shown::<ByteSize>(bad), None, "{bad}");
    }
    for bad in ["100.01%", "101%", "20", "-1%", "1.%", ".5%", "0.001%", "99999999999%"] {
        assert_eq!(shown::<Percent>(bad), None, "{bad}");
    }
    for bad in ["10.0.0.5/8", "10.0.0.0/33", "example.com", ""] {
        assert_eq!(shown::<IpNetwork>(bad), None, "{bad}");
    }
}

#[test]
fn a_secret_written_out_is_refused_without_being_repeated() {
    for literal in ["hunter2", "env:", "env:A B", "file:", "vault:x"] {
        let tree = tree(&json!({ "key": literal }));
        let mut diagnostics = Diagnostics::default();
        assert_eq!(SecretRef::decode(&tree.root().field("key").expect("there"), &mut diagnostics), None);
        let [found] = diagnostics.found() else { panic!("one finding") };
        assert!(found.hide_source && !format!("{found:?} {tree:?}").contains("hunter2"), "{found:?}");
    }
}

#[test]
fn no_finding_shows_a_line_with_a_secret_whichever_comes_first() {
    let tree = tree(&json!({ "key": "hunter2" }));
    let (node, mut diagnostics) = (tree.root().field("key").expect("there"), Diagnostics::default());
    diagnostics.error(&node, "wrong");
    SecretRef::decode(&node, &mut diagnostics);
    diagnostics.warning(&node, "odd", "mend it");
    let mut all = Diagnostics::default();
    all.error(&node, "wrong");
    all.extend(&diagnostics);
    assert_eq!(all.found().len(), 4);
    assert!(all.found().iter().all(|one| one.hide_source));
}

#[test]
fn methods_are_a_set_of_those_that_can_be_routed() {
    let read_methods = |value: Value| read::<Methods>(&value);
    let set = read_methods(json!(["POST", "GET"])).expect("valid");
    assert!(set.iter().eq([Method::Get, Method::Post]));
    for bad in
        [json!(["get"]), json!(["CONNECT"]), json!(["TRACE"]), json!([]), json!(["GET", "GET"]), json!("GET"), json!(["BREW"])]
    {
        assert!(read_methods(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn the_bounds_of_a_tree_hold() {
    let mut builder = TreeBuilder::new(FileId(0), 3, 2);
    assert_eq!(builder.begin_list(1, 1), Ok(()));
    assert_eq!(builder.begin_list(1, 2), Ok(()));
    assert_eq!(builder.begin_list(1, 3), Err(TreeFull::Depth));
    assert_eq!(builder.scalar("a", true, 1, 3), Ok(()));
    assert_eq!(builder.scalar("b", true, 1, 4), Err(TreeFull::Nodes));
    assert!(builder.finish().is_none(), "a tree with open lists is not whole");
}

#[test]
fn the_path_of_a_value_is_its_way_from_the_top() {
    let tree = tree(&json!({ "a": { "x/y": [1, { "k~": 2 }] }, "b": 3 }));
    let inner = tree.root().field("a").and_then(|a| a.field("x/y")).expect("there");
    let item = inner.items().and_then(|mut items| items.nth(1)).expect("there");
    assert_eq!(item.field("k~").expect("there").path(), "/a/x~1y/1/k~0");
    assert_eq!((tree.root().path(), tree.root().field("b").expect("there").path()), (String::new(), "/b".to_owned()));
}

#[test]
fn plain_scalars_are_typed_by_the_core_schema_and_nothing_else() {
    let kind = |text: &str| {
        let mut builder = TreeBuilder::new(FileId(0), 1, 1);
        builder.scalar(text, true, 1, 1).expect("within bounds");
        builder.finish().expect("whole").root().describe()
    };
    for (text, expected) in [
        ("no", "text"),
        ("off", "text"),
        ("yes", "text"),
        ("true", "true or false"),
        ("~", "nothing"),
        ("12", "a whole number"),
        ("-12", "a whole number"),
        ("1.2", "a number"),
        ("99999999999999999999", "a number"),
        ("1.2.3", "text"),
        (".inf", "text"),
        ("0x10", "text"),
        ("10s", "text"),
        ("-", "text"),
    ] {
        assert_eq!(kind(text), expected, "{text}");
    }
}

#[test]
fn equal_content_feeds_equal_bytes_and_different_content_does_not() {
    #[derive(Default)]
    struct Collect(Vec<u8>);
    impl std::hash::Hasher for Collect {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
    }
    let bytes = |value: Value| {
        let mut collect = Collect::default();
        tree(&json!({ "around": value })).root().field("around").expect("there").feed(&mut collect);
        collect.0
    };
    assert_eq!(bytes(json!(["a", { "b": 1 }])), bytes(json!(["a", { "b": 1 }])));
    let different = [
        json!(["a", "b"]),
        json!([["a"], "b"]),
        json!([["a", "b"]]),
        json!(["ab"]),
        json!("ab"),
        json!(["a", "b", ""]),
        json!(1),
        json!("1"),
    ];
    for (index, one) in different.iter().enumerate() {
        for other in different.iter().skip(index + 1) {
            assert_ne!(bytes(one.clone()), bytes(other.clone()), "{one} {other}");
        }
    }
}

#[test]
fn the_schema_says_what_decoding_does() {
    let schema = Everything::schema();
    assert_eq!(schema["required"], json!(["address"]));
    assert_eq!(schema["additionalProperties"], json!(false));
    let connections = &schema["properties"]["limits"]["properties"]["connections"];
    assert_eq!((&connections["default"], &connections["minimum"], &connections["maximum"]), (&json!(200), &json!(1), &json!(1000)));
    assert_eq!(connections["description"], "Connections at the same time.");
    assert_eq!(schema["properties"]["target"]["enum"], json!(["stdout", "file"]));
    assert_eq!(schema["x-policies"], json!(true));
}

#[test]
fn findings_are_bounded_and_the_rest_is_counted() {
    let many: Value = (0..1000).map(|i| (format!("k{i}"), json!(1))).collect::<serde_json::Map<_, _>>().into();
    let tree = tree(&many);
    let mut diagnostics = Diagnostics::default();
    Limits::decode(&tree.root(), &mut diagnostics);
    assert_eq!((diagnostics.found().len(), diagnostics.omitted(), diagnostics.errors()), (200, 800, 1000));
    let mut all = Diagnostics::default();
    all.extend(&diagnostics);
    assert_eq!((all.found().len(), all.omitted(), all.errors()), (200, 800, 1000));
}
