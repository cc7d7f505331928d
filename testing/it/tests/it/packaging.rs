//! What is installed: the unit, the package, the image's root. Built here as they are shipped, looked at, and run.

use portcullis_testing_kit::{Authority, Guarded, RawClient, TempDir, Witness, binary, free_port, get, holds, output_of};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.join("../..").join(path).canonicalize().unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[track_caller]
fn said(command: &mut Command) -> String {
    let output = output_of(command);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

/// The Debian package around the program under test, as it lies in a folder.
#[track_caller]
fn package(folder: &TempDir) -> PathBuf {
    let built = output_of(Command::new(file("packaging/debian/build.sh")).arg(binary()).arg(folder.path()));
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    PathBuf::from(String::from_utf8_lossy(&built.stdout).trim())
}

#[test]
fn the_unit_is_sound_and_keeps_the_service_in_narrow_bounds() {
    let folder = TempDir::new();
    let unit = std::fs::read_to_string(file("packaging/systemd/portcullis.service")).expect("the unit");
    // The same unit, with the program where it is here.
    let unit = folder.write("portcullis.service", unit.replace("/usr/bin/portcullis", binary().to_str().expect("a path")));
    let complaints = said(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit));
    assert!(!complaints.contains("portcullis.service"), "{complaints}");
    // The exposure times ten; above it the command fails.
    said(Command::new("systemd-analyze").args(["security", "--no-pager", "--offline=true", "--threshold=19"]).arg(&unit));
}

#[test]
fn the_package_has_what_it_should_with_rights_that_are_right_and_it_runs() {
    let folder = TempDir::new();
    let package = package(&folder);
    let list = said(Command::new("dpkg-deb").arg("--contents").arg(&package));
    for line in list.lines() {
        let (rights, path) = (&line[..10], line.split_whitespace().nth(5).expect("a path"));
        assert!(line.contains(" root/root "), "{line}");
        assert!(&rights[8..9] != "w" && &rights[5..6] != "w", "others may write: {line}");
        assert!(!rights.contains('s') && !rights.contains('t'), "{line}");
        assert_eq!(rights.contains('x'), path.ends_with('/') || path == "./usr/bin/portcullis", "{line}");
    }
    for (path, rights) in [
        ("./usr/bin/portcullis", "-rwxr-xr-x"),
        ("./lib/systemd/system/portcullis.service", "-rw-r--r--"),
        ("./etc/portcullis/portcullis.yaml", "-rw-r-----"),
        ("./usr/share/man/man1/portcullis.1.gz", "-rw-r--r--"),
        ("./usr/share/bash-completion/completions/portcullis", "-rw-r--r--"),
        ("./usr/share/doc/portcullis/copyright", "-rw-r--r--"),
    ] {
        let line = list.lines().find(|line| line.ends_with(&format!(" {path}")));
        assert!(line.is_some_and(|line| line.starts_with(rights)), "{path}: {line:?}");
    }
    let field = |name: &str| said(Command::new("dpkg-deb").arg("--field").arg(&package).arg(name)).trim().to_owned();
    assert_eq!((field("Package").as_str(), field("Version").as_str()), ("portcullis", env!("CARGO_PKG_VERSION")));
    assert!(field("Depends").contains("libc6 (>= "), "{}", field("Depends"));
    let control = folder.path().join("control");
    said(Command::new("dpkg-deb").arg("--control").arg(&package).arg(&control));
    assert_eq!(std::fs::read_to_string(control.join("conffiles")).expect("a list"), "/etc/portcullis/portcullis.yaml\n");
    for script in ["postinst", "prerm", "postrm"] {
        let script = control.join(script);
        assert_eq!(std::fs::metadata(&script).expect("a script").permissions().mode() & 0o777, 0o755);
        said(Command::new("sh").arg("-n").arg(script));
    }
    runs(&folder, &package);
}

/// What the package installs runs as it is.
#[track_caller]
fn runs(folder: &TempDir, package: &Path) {
    let root = folder.path().join("installed");
    said(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&root));
    let (program, config) = (root.join("usr/bin/portcullis"), root.join("etc/portcullis/portcullis.yaml"));
    said(Command::new(&program).args(["check", "--config"]).arg(&config));
    said(Command::new("bash").arg("-n").arg(root.join("usr/share/bash-completion/completions/portcullis")));
    // The unit starts what is there.
    let unit = std::fs::read_to_string(root.join("lib/systemd/system/portcullis.service")).expect("the unit");
    assert!(unit.contains("ExecStart=/usr/bin/portcullis run --config /etc/portcullis/portcullis.yaml\n"), "{unit}");
    let start = |config: &Path| {
        let mut command = Command::new(&program);
        command.args(["run", "--config"]).arg(config);
        command
    };
    serves(folder, &config, &folder.path().join("state"), start, || {});
}

/// Starts a gateway with the package's own configuration, but for ports and the folder of its state, and asks it for something over TLS; does
/// something else while it serves.
#[track_caller]
fn serves(folder: &TempDir, config: &Path, state: &Path, start: impl FnOnce(&Path) -> Command, meanwhile: impl FnOnce()) {
    let (witness, authority) = (Witness::ok(), Authority::new());
    let leaf = authority.leaf(&["api.example.com"]);
    let (tls, redirect, probes) = (free_port(), free_port(), free_port());
    let mut text = std::fs::read_to_string(config).expect("the configuration");
    for (written, here) in [
        ("0.0.0.0:443", format!("127.0.0.1:{tls}")),
        ("0.0.0.0:80,", format!("127.0.0.1:{redirect},")),
        ("127.0.0.1:9464", format!("127.0.0.1:{probes}")),
        ("127.0.0.1:3000", witness.address().to_string()),
        ("/var/lib/portcullis", state.display().to_string()),
    ] {
        assert!(text.contains(written), "{written} is not in\n{text}");
        text = text.replace(written, &here);
    }
    let config = folder.write("run/portcullis.yaml", text);
    folder.write("run/tls/server.crt", &leaf.certificate);
    folder.write("run/tls/server.key", &leaf.key);
    let ca = folder.write("ca.crt", &authority.certificate);
    let log = folder.path().join("log");
    let out = || Stdio::from(std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log"));
    let mut gateway = Guarded::start(start(&config).current_dir(folder.path()).stdin(Stdio::null()).stdout(out()).stderr(out()));
    holds("the gateway to be ready", || {
        assert!(gateway.is_running(), "{}", std::fs::read_to_string(&log).unwrap_or_default());
        [tls, redirect].iter().all(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok())
    });
    let answer = said(Command::new("curl").args(["-sS", "--cacert"]).arg(ca).args([
        "--resolve",
        &format!("api.example.com:{tls}:127.0.0.1"),
        &format!("https://api.example.com:{tls}/"),
    ]));
    assert_eq!(answer, "ok");
    let redirected = get(([127, 0, 0, 1], redirect).into(), "api.example.com", "/");
    assert_eq!(redirected.status, 308);
    let refused =
        RawClient::connect(([127, 0, 0, 1], redirect).into()).send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").response();
    assert_eq!(refused.status, 400);
    meanwhile();
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

#[test]
fn the_images_root_is_complete_and_holds_nothing_else() {
    let folder = TempDir::new();
    let root = folder.path().join("root");
    said(Command::new("sh").arg(file("packaging/container/rootfs.sh")).arg(binary()).arg(&root));
    let mut files = said(Command::new("find").arg(&root).args(["-type", "f", "-printf", "%P %m\n"]));
    files = files.lines().filter(|line| !line.contains("ca-certificates.crt")).map(|line| format!("{line}\n")).collect();
    let expected = |line: &str| line.contains("/lib") || line.contains("/ld-") || line.starts_with("lib");
    let own: Vec<&str> = files.lines().filter(|line| !expected(line)).collect();
    let mut own = own;
    own.sort_unstable();
    assert_eq!(own, ["etc/group 644", "etc/passwd 644", "usr/bin/portcullis 755"], "{files}");
    // The loader of the image, told to look nowhere else, finds everything.
    let loader =
        files.lines().map(|line| line.split(' ').next().expect("a path")).find(|path| path.contains("/ld-")).expect("a loader");
    let libraries: Vec<String> = files
        .lines()
        .filter_map(|line| Some(root.join(line.split(' ').next()?).parent()?.display().to_string()))
        .filter(|folder| folder.contains("/lib"))
        .collect();
    let path = libraries.join(":");
    let start = |config: &Path| {
        let mut command = Command::new(root.join(loader));
        command.env_clear().args(["--inhibit-cache", "--library-path", &path]).arg(root.join("usr/bin/portcullis"));
        command.args(["run", "--config"]).arg(config);
        command
    };
    serves(&folder, &file("packaging/debian/portcullis.yaml"), &folder.path().join("state"), start, || {});
    let containerfile = std::fs::read_to_string(file("packaging/container/Containerfile")).expect("the Containerfile");
    let stages: Vec<&str> = containerfile.lines().filter(|line| line.starts_with("FROM ")).collect();
    assert_eq!(stages.last(), Some(&"FROM scratch"));
    assert!(
        containerfile.contains("\nUSER 10001:10001\n") && containerfile.contains("packaging/container/rootfs.sh"),
        "{containerfile}"
    );
}

/// What an instruction of the Containerfile's last stage says; the words of one in JSON.
fn instruction(containerfile: &str, name: &str) -> Vec<String> {
    let stage = containerfile.rsplit("\nFROM ").next().expect("a stage");
    let line = stage.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{stage}"));
    let words = line.find('[').map(|begin| serde_json::from_str(&line[begin..]).expect("words in JSON"));
    words.unwrap_or_else(|| vec![line.to_owned()])
}

#[test]
fn the_image_runs_as_its_containerfile_says() {
    let folder = TempDir::new();
    let root = folder.path().join("root");
    said(Command::new("sh").arg(file("packaging/container/rootfs.sh")).arg(binary()).arg(&root));
    let containerfile = std::fs::read_to_string(file("packaging/container/Containerfile")).expect("the Containerfile");
    let says = |name: &str| instruction(&containerfile, name);
    let (user, place) = (says("USER").concat(), says("WORKDIR").concat());
    let (user, group) = user.split_once(':').expect("a user and a group");
    std::fs::create_dir(root.join("proc")).expect("a folder");
    // What an engine does: the user, without any right of root's, with the image and `/proc` as all the files there are.
    let enter = "root=$1 user=$2 group=$3 place=$4; shift 4; mount --rbind /proc \"$root/proc\"; \
                 exec unshare --user --map-user=$user --map-group=$group --root=\"$root\" --wd=\"$place\" \"$@\"";
    let inside = |words: &[String]| {
        let mut command = Command::new("unshare");
        command.env_clear().args(["--user", "--map-root-user", "--mount", "sh", "-ec", enter, "sh"]).arg(&root);
        command.args([user, group, &place]).args(words);
        command
    };
    let start = |config: &Path| {
        let there = root.join("etc/portcullis");
        std::fs::create_dir_all(there.join("tls")).expect("a folder");
        for name in ["portcullis.yaml", "tls/server.crt", "tls/server.key"] {
            std::fs::copy(config.with_file_name(name), there.join(name)).expect("a copy");
        }
        inside(&[says("ENTRYPOINT"), says("CMD")].concat())
    };
    let is_healthy = || output_of(&mut inside(&says("HEALTHCHECK"))).status.success();
    assert!(!is_healthy(), "nobody is there to answer");
    serves(&folder, &file("packaging/debian/portcullis.yaml"), Path::new("/var/lib/portcullis"), start, || assert!(is_healthy()));
    assert!(!is_healthy(), "it has ended");
}
