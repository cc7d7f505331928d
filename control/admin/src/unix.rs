//! The management API on a Unix socket: who may open the socket may manage; who did is recorded.

use crate::backend::{Actor, Management};
use crate::server::{Answer, CONNECTIONS_MAX, answer, converse, json, problem};
use hyper::body::{Body, Incoming};
use hyper::{Method, Request, StatusCode};
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// The description of this API.
const OPENAPI: &str = include_str!("openapi.json");

/// A bound socket; its file goes when this is dropped, unless another process has put its own there.
#[derive(Debug)]
pub struct Bound {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
    stays: bool,
}

impl Bound {
    /// The socket's file is this process's from now on, and goes with the socket.
    pub fn own_file(&mut self) {
        self.stays = false;
    }

    /// Another descriptor of the socket, for the next version of this program.
    ///
    /// # Errors
    /// When the system gives no more descriptors.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if !self.stays && std::fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _gone_already = std::fs::remove_file(&self.path);
        }
    }
}

/// Binds the socket with mode 0660. A socket file that nobody answers on is replaced; a living one is not.
///
/// # Errors
/// When somebody answers there, or the path cannot be used; the message says which.
pub fn bind(path: &Path) -> io::Result<Bound> {
    let described = |error: io::Error| io::Error::new(error.kind(), format!("management.socket `{}`: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(described)?;
    }
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(described(io::Error::new(io::ErrorKind::AlreadyExists, "something that is not a socket is there")));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            let text = "another process answers there; stop it, or give this gateway another `management.socket`";
            return Err(described(io::Error::new(io::ErrorKind::AddrInUse, text)));
        }
        std::fs::remove_file(path).map_err(described)?;
    }
    // The socket gets its final name only with its final permissions: nobody can connect in between.
    let staged = path.with_extension(format!("new{}", std::process::id()));
    let _left_over = std::fs::remove_file(&staged);
    let listener = UnixListener::bind(&staged).map_err(described)?;
    std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(0o660)).map_err(described)?;
    std::fs::rename(&staged, path).map_err(described)?;
    let inode = std::fs::metadata(path).map_err(described)?.ino();
    Ok(Bound { listener, path: path.to_owned(), inode, stays: false })
}

/// Takes a bound socket of the version before. Its file stays, whatever becomes of this process, until [`Bound::own_file`].
///
/// # Errors
/// When the path is not there any more, or the descriptor is not such a socket.
pub fn adopt(descriptor: OwnedFd, path: &Path) -> io::Result<Bound> {
    let listener = std::os::unix::net::UnixListener::from(descriptor);
    listener.set_nonblocking(true)?;
    let inode = std::fs::symlink_metadata(path)?.ino();
    Ok(Bound { listener: UnixListener::from_std(listener)?, path: path.to_owned(), inode, stays: true })
}

/// Serves the API until the socket fails, or until the next version of this program has it: then what goes on is finished, and the
/// socket's file stays.
pub async fn serve_unix(mut bound: Bound, management: Arc<dyn Management>, until: impl Future) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut until = pin!(until);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let arrival = tokio::select! {
            biased;
            _ = &mut until => break,
            arrival = bound.listener.accept() => arrival,
        };
        match arrival {
            Ok((stream, _)) => {
                let management = Arc::clone(&management);
                tokio::spawn(async move {
                    if let Some(actor) = actor_of(&stream) {
                        converse(stream, |request| handle(request, actor, Arc::clone(&management))).await;
                    }
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
    bound.stays = true;
    drop(bound);
    // Every place is free again when every conversation has ended, and each ends within its deadline.
    let _all = places.acquire_many(CONNECTIONS_MAX as u32).await;
}

fn actor_of(stream: &UnixStream) -> Option<Actor> {
    let credentials = stream.peer_cred().ok()?;
    Some(Actor { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() })
}

async fn handle(request: Request<Incoming>, actor: Actor, management: Arc<dyn Management>) -> Answer {
    if request.body().size_hint().exact() != Some(0) {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "body_not_expected", "no operation of this API takes a body");
    }
    let (method, path) = (request.method(), request.uri().path());
    match (method, path) {
        (&Method::GET, "/v1/status") => json(StatusCode::OK, &management.status()),
        (&Method::GET, "/v1/routes") => json(StatusCode::OK, &management.routes()),
        (&Method::GET, "/v1/upstreams") => json(StatusCode::OK, &management.upstreams()),
        (&Method::GET, "/v1/configuration") => json(StatusCode::OK, &management.configuration()),
        (&Method::GET, "/openapi.json") => answer(StatusCode::OK, "application/json", OPENAPI),
        (&Method::GET, "/v1/revocations") => json(StatusCode::OK, &management.revocations()),
        (&Method::GET, "/v1/key-uses") => json(StatusCode::OK, &management.key_uses()),
        (&Method::POST, "/v1/revoke") => revoke(&request, false, actor, &*management),
        (&Method::POST, "/v1/lift") => revoke(&request, true, actor, &*management),
        (&Method::GET, "/v1/bans") => json(StatusCode::OK, &management.bans()),
        (&Method::POST, "/v1/ban") => ban(&request, false, actor, &*management),
        (&Method::POST, "/v1/unban") => ban(&request, true, actor, &*management),
        (&Method::GET, "/v1/lockouts") => json(StatusCode::OK, &management.lockouts()),
        (&Method::POST, "/v1/unlock") => unlock(&request, actor, &*management),
        (&Method::POST, "/v1/reload") => reload(&request, actor, &*management).await,
        (&Method::POST, "/v1/drain") => drain(true, actor, &*management).await,
        (&Method::POST, "/v1/undrain") => drain(false, actor, &*management).await,
        (&Method::POST, "/v1/upgrade") => upgrade(&request, actor, &*management).await,
        (
            _,
            "/v1/status" | "/v1/routes" | "/v1/upstreams" | "/v1/configuration" | "/openapi.json" | "/v1/reload" | "/v1/drain"
            | "/v1/undrain" | "/v1/upgrade" | "/v1/revocations" | "/v1/revoke" | "/v1/lift" | "/v1/key-uses" | "/v1/bans"
            | "/v1/ban" | "/v1/unban" | "/v1/lockouts" | "/v1/unlock",
        ) => problem(StatusCode::METHOD_NOT_ALLOWED, "method_unknown", "see /openapi.json for the operations of this API"),
        _ => problem(StatusCode::NOT_FOUND, "route_unknown", "see /openapi.json for the operations of this API"),
    }
}

async fn drain(draining: bool, actor: Actor, management: &dyn Management) -> Answer {
    if let Err(failure) = management.audit(actor, if draining { "drain" } else { "undrain" }) {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "audit_failed", &failure.message);
    }
    management.drain(draining).await;
    json(StatusCode::OK, &serde_json::json!({ "draining": draining }))
}

async fn upgrade(request: &Request<Incoming>, actor: Actor, management: &dyn Management) -> Answer {
    let asked = match crate::upgrade::read(request.uri().query()) {
        Ok(asked) => asked,
        Err(what) => return problem(StatusCode::BAD_REQUEST, "request_malformed", what),
    };
    if let Err(failure) = management.audit(actor, "upgrade") {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "audit_failed", &failure.message);
    }
    match management.upgrade(actor, asked).await {
        Ok(upgraded) => json(StatusCode::OK, &upgraded),
        Err(failure) => problem(StatusCode::UNPROCESSABLE_ENTITY, "upgrade_refused", &failure.message),
    }
}

fn revoke(request: &Request<Incoming>, lifts: bool, actor: Actor, management: &dyn Management) -> Answer {
    let asked = match crate::revoke::read(request.uri().query(), lifts) {
        Ok(asked) => asked,
        Err(what) => return problem(StatusCode::BAD_REQUEST, "request_malformed", what),
    };
    let action = format!("{} {}", if lifts { "lift" } else { "revoke" }, asked.what);
    if let Err(failure) = management.audit(actor, &action) {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "audit_failed", &failure.message);
    }
    match management.revoke(actor, &asked) {
        Ok(revocation) => json(StatusCode::OK, &revocation),
        Err(failure) => problem(StatusCode::UNPROCESSABLE_ENTITY, "revocation_refused", &failure.message),
    }
}

fn ban(request: &Request<Incoming>, lifts: bool, actor: Actor, management: &dyn Management) -> Answer {
    let asked = match crate::bans::read(request.uri().query(), lifts) {
        Ok(asked) => asked,
        Err(what) => return problem(StatusCode::BAD_REQUEST, "request_malformed", what),
    };
    let action = format!("{} `{}`", if lifts { "unban" } else { "ban" }, asked.network);
    if let Err(failure) = management.audit(actor, &action) {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "audit_failed", &failure.message);
    }
    match management.ban(actor, &asked) {
        Ok(ban) => json(StatusCode::OK, &ban),
        Err(failure) => problem(StatusCode::UNPROCESSABLE_ENTITY, "ban_refused", &failure.message),
    }
}

fn unlock(request: &Request<Incoming>, actor: Actor, management: &dyn Management) -> Answer {
    let asked = match crate::lockouts::read(request.uri().query()) {
        Ok(asked) => asked,
        Err(what) => return problem(StatusCode::BAD_REQUEST, "request_malformed", what),
    };
    if let Err(failure) = management.audit(actor, &format!("unlock {} `{}`", asked.per, asked.name)) {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "audit_failed", &failure.message);
    }
    match management.unlock(actor, &asked) {
        Ok(lockout) => json(StatusCode::OK, &lockout),
        Err(failure) => problem(StatusCode::UNPROCESSABLE_ENTITY, "unlock_refused", &failure.message),
    }
}

async fn reload(request: &Request<Incoming>, actor: Actor, management: &dyn Management) -> Answer {
    let expected = request.headers().get(hyper::header::IF_MATCH).and_then(|value| value.to_str().ok());
    let current = management.status().configuration_hash;
    if expected.is_some_and(|expected| expected.trim_matches('"') != current) {
        let detail = "another configuration is in force than the one this reload was meant for";
        return problem(StatusCode::PRECONDITION_FAILED, "generation_changed", detail);
    }
    if let Err(failure) = management.audit(actor, "reload") {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "audit_failed", &failure.message);
    }
    match management.reload().await {
        Ok(reloaded) => json(StatusCode::OK, &reloaded),
        Err(failure) => problem(StatusCode::UNPROCESSABLE_ENTITY, "configuration_refused", &failure.message),
    }
}
