//! `portcullis init`: a starter configuration that is secure as it stands, with a development CA of its own.

use crate::dev_ca;
use crate::output::{Colour, Output};
use portcullis_model::Clock;
use std::io;
use std::path::Path;

/// Writes the starter configuration to `folder`. Nothing is overwritten.
///
/// # Errors
/// When a file is already there or cannot be written.
pub fn init(folder: &Path, host: &str, upstream: &str, clock: &Clock, output: Output) -> io::Result<()> {
    let config = folder.join("portcullis.yaml");
    if config.exists() {
        let text = format!("`{}` is already there; give another folder, or remove it first", config.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    let hosts: Vec<&str> = if host == "localhost" { vec!["localhost", "127.0.0.1"] } else { vec![host, "localhost", "127.0.0.1"] };
    let files = dev_ca::make(&folder.join("tls"), &hosts, clock.unix_seconds())?;
    dev_ca::write_new(&config, starter(&hosts, upstream).as_bytes(), 0o644)?;
    if output.is_json() {
        output
            .json(&serde_json::json!({ "configuration": config, "authority": files.authority, "certificate": files.certificate }));
        return Ok(());
    }
    output.line(&format!("{} {}", output.paint(Colour::Green, "written"), config.display()));
    output.line(&format!(
        "{} {} (for trying out; valid for 90 days)",
        output.paint(Colour::Green, "written"),
        files.certificate.display()
    ));
    output.line("\nnext:");
    output.line(&format!("  portcullis check --config {}", config.display()));
    output.line(&format!("  portcullis run --config {}", config.display()));
    output.line(&format!("  curl --cacert {} https://{host}:8443/", files.authority.display()));
    Ok(())
}

/// The text of the starter configuration.
fn starter(hosts: &[&str], upstream: &str) -> String {
    let names = hosts.join(", ");
    format!(
        r#"# A starter configuration for Portcullis. What is not written here is off or refused.
# Every key is described in docs/reference/configuration.md; `portcullis check` explains what is wrong with a file.
version: 1

listeners:
  public:
    address: 127.0.0.1:8443          # 0.0.0.0:8443 to be reached from elsewhere
    protocols: [h1, h2]
    tls:
      certificates:
        - hosts: [{names}]
          files: {{ certificate: tls/server.crt, key: tls/server.key }}   # for trying out: made by `portcullis init`

management:
  socket: run/portcullis.sock        # local commands speak to it: portcullis status --socket run/portcullis.sock
  probes: 127.0.0.1:9464             # GET /livez /readyz /metrics, and nothing else

upstreams:
  app:
    endpoints:
      - {{ url: "{upstream}" }}
    timeouts: {{ connect: 1s, first_byte: 10s, idle: 30s }}

defaults:                            # policies for every API; an API or a route can only tighten them
  security_headers: {{ hsts: 365d }}
  request_limits: {{ methods: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS], uri_bytes_max: 8KiB, body_bytes_max: 1MiB }}

apis:
  app:
    hosts: [{names}]
    base_path: /
    upstream: app
    routes:                          # nothing is reachable that no route names; every route says who may use it
      - {{ name: read, methods: [GET, HEAD], path: "/{{*path}}", access: {{ public: true }} }}

record:
  access_log: {{ to: stdout, format: json }}
"#
    )
}
