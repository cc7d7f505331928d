//! The way of a request, to real servers: nginx and Python, by raw sockets and by curl.

use portcullis_testing_kit::{Nginx, Plain, PyServer, RawClient, Witness, output_of};
use std::process::Command;

fn raw(response: &portcullis_testing_kit::Response) -> String {
    response.json()["raw"].as_str().expect("an echo").to_owned()
}

#[test]
fn a_get_reaches_nginx_and_leaves_one_line_in_the_log() {
    let nginx = Nginx::start(&[("hello.txt", b"hello from nginx")]);
    let mut gateway = Plain::to(nginx.address()).start();
    let response = gateway.get("/hello.txt");
    assert_eq!((response.status, response.text().as_str()), (200, "hello from nginx"));
    let records = gateway.records_when(1);
    assert_eq!((records.len(), &records[0]["status"], &records[0]["path"]), (1, &200.into(), &"/hello.txt".into()));
    assert!(nginx.access_log().contains("GET /hello.txt"));
    assert_eq!(gateway.get("/none").status, 404, "nginx's own 404");
    gateway.stop();
}

#[test]
fn curl_gets_what_nginx_has_byte_by_byte() {
    let large: Vec<u8> = (0_u32..4_000_000).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let nginx = Nginx::start(&[("large.bin", &large)]);
    let gateway = Plain::to(nginx.address()).start();
    let url = format!("http://{}/large.bin", gateway.http());
    let output = output_of(Command::new("curl").args(["-sS", "--fail", &url]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == large, "{} bytes of {}", output.stdout.len(), large.len());
    let ranged = output_of(Command::new("curl").args(["-sS", "-r", "1000-1999", &url]));
    assert!(ranged.stdout == large[1000..2000]);
}

#[test]
fn a_connection_serves_request_after_request() {
    let nginx = Nginx::start(&[("a", b"first"), ("b", b"second")]);
    let gateway = Plain::to(nginx.address()).start();
    let mut client = RawClient::connect(gateway.http());
    for _ in 0..50 {
        for (path, body) in [("/a", "first"), ("/b", "second")] {
            let response = client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")).response();
            assert_eq!((response.status, response.text().as_str()), (200, body));
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = PyServer::start();
    let gateway = Plain::to(server.address()).start();
    let requests: String = (0..40)
        .map(|number| format!("POST /echo/{number} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\n{:02}", number))
        .collect();
    let mut client = RawClient::connect(gateway.http());
    client.send(&requests);
    for number in 0..40 {
        let seen = raw(&client.response());
        assert!(seen.starts_with(&format!("POST /echo/{number} ")) && seen.ends_with(&format!("\r\n\r\n{number:02}")), "{seen}");
    }
}

#[test]
fn requests_cut_into_single_bytes_are_read_all_the_same() {
    let server = PyServer::start();
    let gateway = Plain::to(server.address()).start();
    let request = "POST /echo HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
    let mut client = RawClient::connect(gateway.http());
    for byte in request.bytes() {
        client.send([byte]);
    }
    let seen = raw(&client.response());
    let (head, body) = seen.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("POST /echo HTTP/1.1\r\n"), "{seen}");
    // How many bytes a chunk has on its way on depends on how they came.
    let data: String = body.split("\r\n").skip(1).step_by(2).collect();
    assert_eq!(data, "abcde", "{seen}");
}

#[test]
fn head_has_the_length_and_no_body() {
    let nginx = Nginx::start(&[("a", b"four")]);
    let gateway = Plain::to(nginx.address()).start();
    let mut client = RawClient::connect(gateway.http());
    let head = client.send("HEAD /a HTTP/1.1\r\nHost: a.test\r\n\r\n").response_to("HEAD").expect("a response");
    assert_eq!((head.status, head.field("content-length")), (200, Some("4")), "{}", head.head);
    let next = client.send("GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n").response();
    assert_eq!(next.text(), "four", "nothing was left on the connection");
    let missing = client.send("HEAD /none HTTP/1.1\r\nHost: a.test\r\n\r\n").response_to("HEAD").expect("a response");
    assert_eq!(missing.status, 404);
    assert_eq!(client.send("GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n").response().text(), "four");
}

#[test]
fn a_refused_head_has_no_body_either() {
    let nginx = Nginx::start(&[]);
    let mut plain = Plain::to(nginx.address());
    plain.routes = "- { name: get, methods: [GET], path: \"/a\", access: { public: true } }";
    let gateway = plain.start();
    let mut client = RawClient::connect(gateway.http());
    for _ in 0..3 {
        let response = client.send("HEAD /a HTTP/1.1\r\nHost: a.test\r\n\r\n").response_to("HEAD").expect("a response");
        assert_eq!(response.status, 405);
    }
}

#[test]
fn conditional_requests_keep_their_304() {
    let nginx = Nginx::start(&[("a", b"four")]);
    let gateway = Plain::to(nginx.address()).start();
    let tag = gateway.get("/a").field("etag").expect("nginx sends an ETag").to_owned();
    let mut client = RawClient::connect(gateway.http());
    let response = client.send(format!("GET /a HTTP/1.1\r\nHost: a.test\r\nIf-None-Match: {tag}\r\n\r\n")).response();
    assert_eq!((response.status, response.body.len()), (304, 0));
    assert_eq!(client.send("GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n").response().text(), "four");
}

#[test]
fn bodies_arrive_however_they_are_framed() {
    let server = PyServer::start();
    let gateway = Plain::to(server.address()).start();
    let mut client = RawClient::connect(gateway.http());
    let plain = client.send("POST /echo?q=1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello").response();
    assert!(raw(&plain).starts_with("POST /echo?q=1 HTTP/1.1\r\n") && raw(&plain).ends_with("\r\n\r\nhello"));
    let chunked = client
        .send("POST /echo HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;ext\r\nllo\r\n0\r\n\r\n")
        .response();
    let seen = raw(&chunked);
    assert!(
        seen.contains("transfer-encoding: chunked\r\n") && !seen.contains("ext") && seen.contains("he") && seen.contains("llo"),
        "{seen}"
    );
    let none = client.send("POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n").response();
    assert!(raw(&none).contains("\r\ncontent-length: 0\r\n"), "{}", raw(&none));
}

#[test]
fn trailers_of_a_request_arrive_and_dangerous_ones_do_not() {
    let server = PyServer::start();
    let gateway = Plain::to(server.address()).start();
    let mut client = RawClient::connect(gateway.http());
    let body =
        "3\r\nabc\r\n0\r\nX-Sum: 6\r\nContent-Length: 9\r\nHost: evil.test\r\nAuthorization: x\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    let response =
        client.send(format!("POST /echo HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).response();
    assert_eq!(response.status, 200, "{}", response.text());
    let seen = raw(&response).to_lowercase();
    assert!(seen.contains("x-sum: 6"), "{seen}");
    for gone in ["content-length: 9", "evil.test", "authorization", "6.6.6.6"] {
        assert!(!seen.contains(gone), "{gone}: {seen}");
    }
}

#[test]
fn chunked_responses_and_their_trailers_arrive() {
    let server = PyServer::start();
    let gateway = Plain::to(server.address()).start();
    let mut client = RawClient::connect(gateway.http());
    let response = client.send("GET /chunks HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\n\r\n").response();
    assert_eq!((response.status, response.text().as_str()), (200, "onetwo!three"));
    let trailers: Vec<&str> = response.trailers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(!trailers.contains(&"content-length"), "{trailers:?}");
    assert_eq!(response.trailers, [("x-sum".to_owned(), "12".to_owned())]);
    let next = client.send("GET /echo HTTP/1.1\r\nHost: a.test\r\n\r\n").response();
    assert_eq!(next.status, 200, "the connection goes on after a chunked response");
}

#[test]
fn an_old_client_gets_a_body_that_ends_with_the_connection() {
    let server = PyServer::start();
    let gateway = Plain::to(server.address()).start();
    let mut client = RawClient::connect(gateway.http());
    let response = client.send("GET /chunks HTTP/1.0\r\nHost: a.test\r\n\r\n").response();
    assert_eq!((response.field("transfer-encoding"), response.text().as_str()), (None, "onetwo!three"), "{}", response.head);
}

#[test]
fn a_body_that_ends_with_the_upstreams_connection_is_framed_for_the_client() {
    let server = PyServer::start();
    let gateway = Plain::to(server.address()).start();
    let mut client = RawClient::connect(gateway.http());
    for _ in 0..2 {
        let response = client.send("GET /until-close HTTP/1.1\r\nHost: a.test\r\n\r\n").response();
        assert_eq!((response.text().as_str(), response.field("transfer-encoding")), ("to the end", Some("chunked")));
    }
}

#[test]
fn a_client_that_waits_for_100_gets_it_and_sends_its_body_then() {
    let server = PyServer::start();
    let gateway = Plain::to(server.address()).start();
    for path in ["/continue", "/echo"] {
        let mut client = RawClient::connect(gateway.http());
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
        assert_eq!(client.response().status, 100, "{path}");
        let response = client.send("hello").response();
        assert_eq!(response.status, 200);
        assert!(raw(&response).ends_with("\r\n\r\nhello"), "{}", raw(&response));
        assert_eq!(client.send("GET /echo HTTP/1.1\r\nHost: a.test\r\n\r\n").response().status, 200);
    }
}

#[test]
fn a_client_that_expects_100_and_does_not_wait_is_served() {
    let server = PyServer::start();
    let gateway = Plain::to(server.address()).start();
    let body = "x".repeat(100_000);
    let mut command = Command::new("curl");
    command.args(["-sS", "-H", "Expect: 100-continue", "--data-binary", &body, &format!("http://{}/echo", gateway.http())]);
    let output = output_of(&mut command);
    let echo: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an echo");
    assert!(echo["raw"].as_str().is_some_and(|raw| raw.ends_with(&format!("\r\n\r\n{body}"))));
}

#[test]
fn an_answer_before_the_end_of_the_body_comes_through() {
    let server = PyServer::start();
    let gateway = Plain::to(server.address()).start();
    let mut client = RawClient::connect(gateway.http());
    client.send("POST /early HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n").send(vec![b'x'; 1000]);
    let response = client.response();
    assert_eq!(response.status, 403, "{}", response.head);
    // The rest of the body can never be taken for a request.
    client.send("GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n").finish();
    assert_eq!(client.responses().len(), 0);
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    let server = PyServer::start();
    let gateway = Plain::to(server.address()).start();
    let mut client = RawClient::connect(gateway.http());
    client.send("POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello").finish();
    let responses = client.responses();
    assert_eq!(responses.iter().map(|response| response.status).collect::<Vec<_>>(), [200]);
}

#[test]
fn redirects_are_for_the_client_to_follow() {
    let server = PyServer::start();
    let gateway = Plain::to(server.address()).start();
    let response = gateway.get("/redirect");
    assert_eq!((response.status, response.field("location")), (307, Some("/elsewhere")));
}

#[test]
fn connections_to_an_upstream_are_used_again() {
    let witness = Witness::ok();
    let gateway = Plain::to(witness.address()).start();
    let mut client = RawClient::connect(gateway.http());
    for _ in 0..20 {
        assert_eq!(client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").response().status, 200);
    }
    assert_eq!((witness.requests().len(), witness.connections()), (20, 1));
}

#[test]
fn interim_responses_come_through_and_are_bounded() {
    let witness =
        Witness::answering("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let gateway = Plain::to(witness.address()).start();
    let mut client = RawClient::connect(gateway.http());
    client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut statuses = vec![client.response().status];
    if statuses == [103] {
        statuses.push(client.response().status);
    }
    assert_eq!(statuses.last(), Some(&200), "{statuses:?}");
    let many = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000);
    let witness = Witness::answering(format!("{many}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    let gateway = Plain::to(witness.address()).start();
    let mut client = RawClient::connect(gateway.http());
    client.send("GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    assert_eq!(client.responses().last().map(|response| response.status), Some(502), "interim responses without end");
}
