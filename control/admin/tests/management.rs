//! The management API over real sockets.
#![expect(clippy::unwrap_used, reason = "a test")]

use portcullis_control_admin::{
    Actor, BanInfo, BanRequest, ClientError, Failure, KeyUsesInfo, LockoutInfo, Management, Reloaded, RevocationInfo,
    RevokeRequest, RouteInfo, Status, UnlockRequest, UpgradeRequest, Upgraded, UpstreamInfo, adopt, bind, call, serve_probes,
    serve_unix,
};
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Default)]
struct Fake {
    audited: Mutex<Vec<(Actor, String)>>,
    refuse: bool,
}

impl Management for Fake {
    fn status(&self) -> Status {
        Status {
            version: "0".to_owned(),
            pid: 1,
            uptime_seconds: 2,
            ready: true,
            generation: 7,
            configuration_hash: "abc".to_owned(),
            configured_unix_seconds: 1,
            last_reload_error: None,
            last_known_good_error: None,
            overload: None,
            store: None,
            workers: 1,
            listeners: Vec::new(),
            routes: 0,
            weakenings: Vec::new(),
            expiring: Vec::new(),
            reminders: Vec::new(),
        }
    }
    fn routes(&self) -> Vec<RouteInfo> {
        Vec::new()
    }
    fn upstreams(&self) -> Vec<UpstreamInfo> {
        Vec::new()
    }
    fn configuration(&self) -> serde_json::Value {
        serde_json::json!({"version": 1})
    }
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<Reloaded, Failure>> + Send + '_>> {
        let refused = Failure { message: "line 3: unknown key `upstrem`".to_owned() };
        let done = Reloaded { generation: 8, configuration_hash: "def".to_owned(), changed: true, warnings: Vec::new() };
        Box::pin(std::future::ready(if self.refuse { Err(refused) } else { Ok(done) }))
    }
    fn drain(&self, _: bool) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
    fn upgrade(&self, _: Actor, _: UpgradeRequest) -> Pin<Box<dyn Future<Output = Result<Upgraded, Failure>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(Upgraded { pid: 2, draining_pid: 1 })))
    }
    fn revoke(&self, actor: Actor, asked: &RevokeRequest) -> Result<RevocationInfo, Failure> {
        if self.refuse {
            return Err(Failure { message: "there is no provider `crop`".to_owned() });
        }
        let (kind, id) = ("token".to_owned(), asked.what.to_string());
        let (issuer, reason) = (None, asked.reason.clone());
        Ok(RevocationInfo {
            kind,
            issuer,
            id,
            issued_until: None,
            until: asked.until,
            unix_seconds: 1,
            uid: actor.uid,
            reason,
            shared: None,
        })
    }
    fn key_uses(&self) -> Vec<KeyUsesInfo> {
        Vec::new()
    }
    fn revocations(&self) -> Vec<RevocationInfo> {
        Vec::new()
    }
    fn ban(&self, actor: Actor, asked: &BanRequest) -> Result<BanInfo, Failure> {
        if self.refuse {
            return Err(Failure { message: format!("`{}` is no address", asked.network) });
        }
        let (network, cause, reason) = (asked.network.clone(), "operator".to_owned(), asked.reason.clone());
        Ok(BanInfo { network, until: asked.until, unix_seconds: 1, cause, times_before: 0, uid: Some(actor.uid), reason })
    }
    fn bans(&self) -> Vec<BanInfo> {
        Vec::new()
    }
    fn unlock(&self, _: Actor, asked: &UnlockRequest) -> Result<LockoutInfo, Failure> {
        let (per, name) = (asked.per.clone(), asked.name.clone());
        Ok(LockoutInfo { per, name, until: 5, unix_seconds: 1, status: 401, times_before: 0 })
    }
    fn lockouts(&self) -> Vec<LockoutInfo> {
        Vec::new()
    }
    fn metrics(&self) -> String {
        "portcullis_up 1\n".to_owned()
    }
    fn ready(&self) -> bool {
        !self.refuse
    }
    fn audit(&self, actor: Actor, action: &str) -> Result<(), Failure> {
        self.audited.lock().unwrap().push((actor, action.to_owned()));
        Ok(())
    }
}

fn socket_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("portcullis-admin-{name}-{}.sock", std::process::id()))
}

#[expect(clippy::disallowed_methods, reason = "`take` bounds what is read")]
async fn ask(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.take(1 << 20).read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_socket_is_for_its_group_only_and_answers_with_the_callers_identity_kept() {
    let path = socket_path("answers");
    let fake = Arc::new(Fake::default());
    let bound = bind(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let server = tokio::spawn(serve_unix(bound, fake.clone(), std::future::pending::<()>()));
    let status = call(&path, hyper::Method::GET, "/v1/status").await.unwrap();
    assert_eq!(status["generation"], 7);
    assert_eq!(call(&path, hyper::Method::POST, "/v1/reload").await.unwrap()["generation"], 8);
    let revoked = call(&path, hyper::Method::POST, "/v1/revoke?kind=token&provider=corp&id=t%2F1&until=7").await.unwrap();
    assert_eq!((&revoked["id"], &revoked["until"]), (&"token `t/1` of `corp`".into(), &7.into()));
    let banned = call(&path, hyper::Method::POST, "/v1/ban?network=2001%3adb8%3a%3a%2f64&until=7").await.unwrap();
    assert_eq!((&banned["network"], &banned["until"]), (&"2001:db8::/64".into(), &7.into()));
    call(&path, hyper::Method::POST, "/v1/unban?network=192.0.2.1").await.unwrap();
    assert_eq!(call(&path, hyper::Method::GET, "/v1/bans").await.unwrap(), serde_json::json!([]));
    let unlocked = call(&path, hyper::Method::POST, "/v1/unlock?per=login&name=app%2fbob").await.unwrap();
    assert_eq!((&unlocked["per"], &unlocked["name"]), (&"login".into(), &"app/bob".into()));
    assert_eq!(call(&path, hyper::Method::GET, "/v1/lockouts").await.unwrap(), serde_json::json!([]));
    let audited = fake.audited.lock().unwrap().clone();
    let me = std::fs::metadata("/proc/self").unwrap();
    let actions: Vec<&str> = audited.iter().map(|(_, action)| action.as_str()).collect();
    assert_eq!(
        actions,
        ["reload", "revoke token `t/1` of `corp`", "ban `2001:db8::/64`", "unban `192.0.2.1`", "unlock login `app/bob`"]
    );
    assert_eq!((audited[0].0.uid, audited[0].0.pid), (std::os::unix::fs::MetadataExt::uid(&me), Some(std::process::id() as i32)));
    server.abort();
    let _ended = server.await;
    assert!(!path.exists(), "the socket's file goes with it");
}

#[tokio::test]
async fn a_refused_reload_says_why_and_unknown_operations_are_refused() {
    let path = socket_path("refused");
    let server = tokio::spawn(serve_unix(
        bind(&path).unwrap(),
        Arc::new(Fake { refuse: true, ..Fake::default() }),
        std::future::pending::<()>(),
    ));
    match call(&path, hyper::Method::POST, "/v1/reload").await {
        Err(ClientError::Refused(text)) => assert!(text.contains("upstrem"), "{text}"),
        other => panic!("not refused: {other:?}"),
    }
    match call(&path, hyper::Method::POST, "/v1/revoke?kind=token&provider=crop&id=t").await {
        Err(ClientError::Refused(text)) => assert!(text.contains("`crop`"), "{text}"),
        other => panic!("not refused: {other:?}"),
    }
    assert!(matches!(call(&path, hyper::Method::GET, "/v1/reload").await, Err(ClientError::Refused(_))));
    assert!(matches!(call(&path, hyper::Method::GET, "/v1/../v1/status").await, Err(ClientError::Refused(_))));
    server.abort();
}

#[tokio::test]
async fn a_living_socket_is_not_taken_over_and_a_dead_one_is() {
    let path = socket_path("taken");
    let bound = bind(&path).unwrap();
    let refused = bind(&path).unwrap_err().to_string();
    assert!(refused.contains("another process answers there"), "{refused}");
    drop(bound);
    let dead = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(dead);
    bind(&path).unwrap();
}

#[tokio::test]
async fn probes_answer_three_paths_to_local_names_only() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve_probes(listener, Arc::new(Fake::default()), std::future::pending::<()>()));
    let get = |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    assert!(ask(address, &get("/livez", "127.0.0.1:9464")).await.starts_with("HTTP/1.1 200"));
    assert!(ask(address, &get("/readyz", "localhost")).await.starts_with("HTTP/1.1 200"));
    assert!(ask(address, &get("/metrics", "[::1]:9464")).await.contains("portcullis_up 1"));
    assert!(ask(address, &get("/v1/status", "localhost")).await.starts_with("HTTP/1.1 404"));
    assert!(ask(address, &get("/metrics", "evil.test")).await.starts_with("HTTP/1.1 403"));
    let post = "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert!(ask(address, post).await.starts_with("HTTP/1.1 405"));
    server.abort();
}

#[tokio::test]
async fn the_socket_passes_to_the_next_version_with_its_file_and_what_is_queued() {
    let path = socket_path("passes");
    let bound = bind(&path).unwrap();
    let descriptor = bound.descriptor().unwrap();
    let (leave, left) = tokio::sync::oneshot::channel::<()>();
    let before = tokio::spawn(serve_unix(bound, Arc::new(Fake::default()), left));
    assert_eq!(call(&path, hyper::Method::GET, "/v1/status").await.unwrap()["generation"], 7);
    // One that does not get ready leaves the file where it is.
    drop(adopt(descriptor.try_clone().unwrap(), &path).unwrap());
    assert!(path.exists());
    leave.send(()).unwrap();
    before.await.unwrap();
    // Nobody accepts just now; the call waits in the queue.
    let waiting = tokio::spawn({
        let path = path.clone();
        async move { call(&path, hyper::Method::POST, "/v1/upgrade?within_seconds=5").await.unwrap()["pid"].clone() }
    });
    tokio::task::yield_now().await;
    let mut adopted = adopt(descriptor, &path).unwrap();
    adopted.own_file();
    let after = tokio::spawn(serve_unix(adopted, Arc::new(Fake::default()), std::future::pending::<()>()));
    assert_eq!(waiting.await.unwrap(), 2);
    assert!(matches!(call(&path, hyper::Method::POST, "/v1/upgrade?binary=x").await, Err(ClientError::Refused(_))));
    after.abort();
    let _ended = after.await;
    assert!(!path.exists(), "the socket's file goes with the last one");
}
