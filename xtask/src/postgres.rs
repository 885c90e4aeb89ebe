//! A throw-away PostgreSQL server, made from the system's binaries.

use std::fs::{self, DirBuilder, File};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{Result, probe, run_quietly};
use crate::system::{Account, account, install, is_root, search_path};

const SETTINGS: [&str; 3] =
    ["max_connections=200", "listen_addresses=127.0.0.1", "unix_socket_directories="];
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Another program may take the free port between our finding it and the server's taking it.
const STARTS_MAX: u32 = 3;

/// Waits until its input ends, which happens also when this process is killed, then stops the
/// server by its id with an immediate shutdown and removes its folder.
const WATCHDOG: &str = r#"
    trap '' INT TERM HUP
    cat
    server=$(head -n 1 "$1/data/postmaster.pid")
    case $server in *[!0-9]*) server= ;; esac
    kill -QUIT $server
    tries=0
    while kill -0 $server || ! rm -rf "$1"; do
        [ $tries -lt 100 ] || break
        sleep 0.05
        tries=$((tries + 1))
    done
"#;

/// A running server. Dropped, it is stopped and leaves nothing behind.
pub(crate) struct Postgres {
    port: u16,
    server: Child,
    home: Home,
    binaries: PathBuf,
}

impl Postgres {
    /// Starts a server on a free port of the loopback address, installing its binaries first
    /// where they are missing and may be installed.
    pub(crate) fn start() -> Result<Self> {
        let binaries = match find_binaries() {
            Some(binaries) => binaries,
            None => {
                install("the server of PostgreSQL", &["postgresql"])?;
                find_binaries().ok_or("PostgreSQL is installed, but its `initdb` is not found")?
            }
        };
        let mut failure = String::new();
        for _ in 0..STARTS_MAX {
            match Self::start_once(&binaries) {
                Ok(server) => return Ok(server),
                Err(reason) => failure = reason,
            }
        }
        Err(failure)
    }

    /// Where clients find it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Where its programs are, for tests that start servers of their own.
    pub(crate) fn binaries(&self) -> &Path {
        &self.binaries
    }

    fn start_once(binaries: &Path) -> Result<Self> {
        let home = Home::make()?;
        run_quietly(
            home.command(&binaries.join("initdb"))
                .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"])
                .args(["--no-sync", "--pgdata"])
                .arg(home.data()),
        )?;
        let port = free_port()?;
        let server = home.serve(binaries, port)?;
        let binaries = binaries.to_owned();
        let mut started = Self { port, server, home, binaries };
        started.wait_until_ready()?;
        Ok(started)
    }

    fn wait_until_ready(&mut self) -> Result {
        let deadline = Instant::now() + START_TIME_MAX;
        while !self.home.says_ready() {
            let ended = self.server.try_wait().map_err(sentence)?.is_some();
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(self.home.log()).unwrap_or_default();
                return Err(format!("PostgreSQL did not get ready; its log:\n{log}"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.home.let_go();
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.server.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The server's folder and, since PostgreSQL refuses to run as root, its owner. Dropped, it is
/// removed.
struct Home {
    folder: PathBuf,
    owner: Option<Account>,
    watchdog: Option<Child>,
}

impl Home {
    fn make() -> Result<Self> {
        let owner = if is_root() {
            let owner = account("postgres").or_else(|| account("nobody"));
            Some(owner.ok_or("PostgreSQL cannot run as root, and there is no account `nobody`")?)
        } else {
            None
        };
        let folder = std::env::temp_dir().join(format!("fanfare-postgres-{}", std::process::id()));
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let mut home = Self { folder, owner, watchdog: None };
        if let Some(owner) = owner {
            chown(&home.folder, Some(owner.user), Some(owner.group)).map_err(sentence)?;
        }
        home.watchdog = Some(home.watch()?);
        Ok(home)
    }

    fn watch(&self) -> Result<Child> {
        self.background(Path::new("/bin/sh"))
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(&self.folder)
            .stdin(Stdio::piped())
            .current_dir("/")
            .spawn()
            .map_err(|error| format!("no watchdog for PostgreSQL: {error}"))
    }

    /// Has the watchdog do its work.
    fn let_go(&mut self) {
        drop(self.watchdog.as_mut().and_then(|watchdog| watchdog.stdin.take()));
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// A program that runs as the owner.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        if let Some(owner) = self.owner {
            command.uid(owner.user).gid(owner.group);
        }
        command
    }

    /// A program that a Ctrl-C in the terminal does not reach.
    fn background(&self, program: &Path) -> Command {
        let mut command = self.command(program);
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn serve(&self, binaries: &Path, port: u16) -> Result<Child> {
        let log = File::create(self.log()).map_err(sentence)?;
        self.background(&binaries.join("postgres"))
            .arg("-D")
            .arg(self.data())
            .args(["-p", &port.to_string()])
            .args(SETTINGS.iter().flat_map(|setting| ["-c", setting]))
            .stderr(log)
            .spawn()
            .map_err(|error| format!("PostgreSQL did not start: {error}"))
    }

    /// The eighth line of the server's pid file is its state.
    fn says_ready(&self) -> bool {
        let state = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        state.lines().nth(7).is_some_and(|line| line.trim() == "ready")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.let_go();
        if let Some(watchdog) = &mut self.watchdog {
            let _ = watchdog.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The folder that holds `initdb` and `postgres`.
fn find_binaries() -> Option<PathBuf> {
    let on_path = search_path().into_iter().filter_map(|folder| {
        let program = folder.join("initdb").canonicalize().ok()?;
        Some(program.parent()?.to_path_buf())
    });
    let configured = probe(Command::new("pg_config").arg("--bindir")).map(PathBuf::from);
    on_path
        .chain(debian_folders())
        .chain(configured)
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

/// Debian keeps the versions side by side and off the path. The newest comes first.
fn debian_folders() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(sentence)?;
    Ok(listener.local_addr().map_err(sentence)?.port())
}

fn sentence(error: std::io::Error) -> String {
    error.to_string()
}
