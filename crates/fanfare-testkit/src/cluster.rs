//! PostgreSQL servers of a test's own: to be stopped, crashed, filled and left behind.
//!
//! `cargo xtask test` says in `FANFARE_TEST_POSTGRES_BIN` where the system's binaries are.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls};

use crate::dice::Dice;
use crate::wait::{PATIENCE, pause, within};

/// The lowest port for a server: above what is reserved, below what the system gives to clients, so
/// that nobody takes it while the server is down.
const PORT_MIN: u16 = 20_000;
/// How many there are from there on.
const PORTS: usize = 10_000;

/// What every server has: nothing is lost when only a process dies, and disks need not be waited
/// for.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
max_connections = 60
wal_level = replica
";

/// Runs a server that alone sees a disk of 16 MiB: it goes with the server.
const SMALL_DISK: &str = r#"
    mount -t tmpfs -o "size=16m,uid=$2,gid=$3,mode=700" none "$1" || exit 1
    user=$2 group=$3
    shift 3
    exec setpriv --reuid "$user" --regid "$group" --clear-groups "$@"
"#;

/// Waits until its input ends, which happens also when the test is killed, then ends the server and
/// removes its folder.
const WATCHDOG: &str = r#"
    trap '' INT TERM HUP
    cat
    server=$(head -n 1 "$1/data/postmaster.pid")
    case $server in *[!0-9]*) server= ;; esac
    [ -z "$server" ] || kill -QUIT "$server"
    tries=0
    while kill -0 "$server" 2>/dev/null || ! rm -rf "$1"; do
        [ $tries -lt 100 ] || break
        sleep 0.05
        tries=$((tries + 1))
    done
"#;

/// A server, or a place where one was.
pub struct Cluster {
    folder: PathBuf,
    binaries: PathBuf,
    owner: Option<(u32, u32)>,
    port: u16,
    server: Mutex<Option<Child>>,
    /// Are tables on a small disk of their own?
    small_disk: bool,
    _watchdog: Child,
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// It ends its connections and leaves everything in order.
    Fast,
    /// It ends at once, and has to recover when it is started again.
    Immediate,
}

impl Cluster {
    /// A new server with these settings (lines of `postgresql.conf`).
    ///
    /// # Panics
    /// Without `FANFARE_TEST_POSTGRES_BIN`: a test that is left out in silence proves nothing.
    pub async fn start(settings: &str) -> Cluster {
        let cluster = Cluster::place();
        cluster.make().await;
        cluster.set(settings).await;
        cluster.start_again().await;
        cluster
    }

    /// A new server whose tables are on a disk of 16 MiB. `None` where such a disk cannot be made:
    /// only root may.
    pub async fn on_small_disk() -> Option<Cluster> {
        let mut tried = Command::new("unshare");
        let tried = tried.args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).output().await;
        if owner().is_none() || !tried.is_ok_and(|tried| tried.status.success()) {
            return None;
        }
        let cluster = Cluster { small_disk: true, ..Cluster::place() };
        cluster.make().await;
        let made = cluster.run_as_owner("mkdir").arg(cluster.small_disk()).output();
        finished("mkdir", made).await;
        cluster.start_again().await;
        let place = cluster.small_disk().display().to_string();
        cluster.sql(&format!("create tablespace small location '{place}'")).await;
        cluster.sql("alter role postgres set default_tablespace = small").await;
        Some(cluster)
    }

    /// Takes all the room that is left on the small disk.
    pub async fn fill_disk(&self) {
        use std::io::Write;
        let mut ballast = std::fs::File::create(self.ballast().await).ok();
        let ballast = ballast.as_mut();
        let full = ballast.is_some_and(|file| {
            let some = [0; 4096];
            (0..10_000).any(|_| file.write_all(&some).is_err())
        });
        assert!(full, "the small disk could not be filled");
    }

    /// Gives it free again.
    pub async fn free_disk(&self) {
        let freed = std::fs::remove_file(self.ballast().await);
        freed.unwrap_or_else(|error| panic!("the small disk could not be freed: {error}"));
    }

    fn small_disk(&self) -> PathBuf {
        self.folder.join("small")
    }

    /// Only the server sees that disk.
    async fn ballast(&self) -> PathBuf {
        let server = self.server.lock().await;
        let id = server.as_ref().and_then(Child::id).unwrap_or_default();
        format!("/proc/{id}/root{}/ballast", self.small_disk().display()).into()
    }

    async fn make(&self) {
        let made = self
            .command("initdb")
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"])
            .args(["--no-sync", "--pgdata"])
            .arg(self.data())
            .output();
        finished("initdb", made).await;
        self.set(SETTINGS).await;
    }

    /// A standby that follows this server.
    pub async fn standby(&self) -> Cluster {
        let standby = Cluster::place();
        let copied = standby
            .command("pg_basebackup")
            .args(["--no-sync", "--checkpoint=fast", "--wal-method=stream"])
            .args(["--write-recovery-conf", "-h", "127.0.0.1", "-U", "postgres", "-p"])
            .args([&self.port.to_string(), "-D"])
            .arg(standby.data())
            .output();
        finished("pg_basebackup", copied).await;
        standby.start_again().await;
        standby
    }

    /// Makes a standby a primary, and waits until it is one.
    pub async fn promote(&self) {
        self.sql("select pg_promote(true)").await;
    }

    /// Stops the server and waits until it is gone.
    pub async fn stop(&self, how: Stop) {
        let Some(mut server) = self.server.lock().await.take() else { return };
        let signal = match how {
            Stop::Fast => "INT",
            Stop::Immediate => "QUIT",
        };
        let id = server.id().unwrap_or_default();
        let kill = Command::new("/bin/sh").args(["-c", &format!("kill -{signal} {id}")]).output();
        finished("kill", kill).await;
        let _ = within(PATIENCE, "the end of PostgreSQL", server.wait()).await;
    }

    /// Starts the server on the port it had, and waits until it takes connections.
    pub async fn start_again(&self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log"));
        let server = self
            .postgres()
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .stdout(Stdio::null())
            .stderr(log.map_or_else(|_| Stdio::null(), Stdio::from))
            .kill_on_drop(true)
            .spawn();
        let server = server.unwrap_or_else(|error| panic!("PostgreSQL did not start: {error}"));
        *self.server.lock().await = Some(server);
        let ready = async {
            while self.connect("postgres").await.is_err() {
                pause().await;
            }
        };
        let ready = tokio::time::timeout(PATIENCE, ready).await;
        assert!(ready.is_ok(), "PostgreSQL did not get ready; its log:\n{}", self.log());
    }

    /// Adds lines to `postgresql.conf`. They count from the next start, or from
    /// `select pg_reload_conf()` on.
    pub async fn set(&self, settings: &str) {
        let file = self.data().join("postgresql.conf");
        let before = tokio::fs::read_to_string(&file).await.unwrap_or_default();
        self.write("postgresql.conf", &format!("{before}\n{settings}\n"));
    }

    /// Writes a file of the server's folder that only the server may read.
    pub fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let file = self.data().join(name);
        let written = std::fs::write(&file, text)
            .and_then(|()| std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)))
            .and_then(|()| self.owner.map_or(Ok(()), |(u, g)| chown(&file, Some(u), Some(g))));
        written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address())
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// A connection of the superuser.
    pub async fn connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let url = format!("postgres://postgres@{}/{database}?connect_timeout=5", self.address());
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Runs statements as the superuser, and returns the first column of what they answer.
    pub async fn sql(&self, statements: &str) -> Vec<String> {
        let answered = async {
            let messages = self.connect("postgres").await?.simple_query(statements).await?;
            let rows = messages.into_iter().filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => {
                    Some(row.get(0).unwrap_or_default().to_owned())
                }
                _ => None,
            });
            Ok::<_, tokio_postgres::Error>(rows.collect())
        };
        answered.await.unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    /// Ends every connection but the one that asks.
    pub async fn terminate_all(&self) {
        self.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where pid <> pg_backend_pid() and backend_type = 'client backend'",
        )
        .await;
    }

    /// A folder for a server, and a port.
    fn place() -> Cluster {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let binaries = binaries();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fanfare-cluster-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let owner = owner();
        let made = std::fs::create_dir(&folder)
            .and_then(|()| owner.map_or(Ok(()), |(u, g)| chown(&folder, Some(u), Some(g))));
        made.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let watchdog = run_as(owner, Path::new("/bin/sh"), Path::new("/"))
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        Cluster {
            binaries,
            owner,
            port: free_port(),
            server: Mutex::default(),
            small_disk: false,
            _watchdog: watchdog.unwrap_or_else(|error| panic!("no watchdog: {error}")),
            folder,
        }
    }

    /// Where its data is.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, program: &str) -> Command {
        self.run_as_owner(&self.binaries.join(program).display().to_string())
    }

    fn run_as_owner(&self, program: &str) -> Command {
        let mut command = run_as(self.owner, Path::new(program), &self.folder);
        // A Ctrl-C in the terminal is for the test.
        command.process_group(0).stdin(Stdio::null());
        command
    }

    fn postgres(&self) -> Command {
        let (true, Some((user, group))) = (self.small_disk, self.owner) else {
            return self.command("postgres");
        };
        let mut command = run_as(None, Path::new("unshare"), &self.folder);
        command.process_group(0).stdin(Stdio::null());
        command.args(["--mount", "/bin/sh", "-c", SMALL_DISK, "small-disk"]);
        command.arg(self.small_disk()).args([user.to_string(), group.to_string()]);
        command.arg(self.binaries.join("postgres"));
        command
    }
}

fn run_as(owner: Option<(u32, u32)>, program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

async fn finished(name: &str, run: impl Future<Output = std::io::Result<std::process::Output>>) {
    let output = within(PATIENCE * 2, name, run).await;
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
}

#[expect(clippy::disallowed_methods, reason = "whoever runs the tests says where they are")]
fn binaries() -> PathBuf {
    let Ok(folder) = std::env::var("FANFARE_TEST_POSTGRES_BIN") else {
        panic!(
            "FANFARE_TEST_POSTGRES_BIN must name the folder of PostgreSQL's `initdb`: run `cargo \
             xtask test`, which finds it, or set it"
        );
    };
    folder.into()
}

/// PostgreSQL refuses to run as root: then it is run by an account that may do nothing else.
fn owner() -> Option<(u32, u32)> {
    let root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").ok()?) == 0;
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let account = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map_while(|field| field.parse().ok());
        Some((numbers.next()?, numbers.next()?))
    };
    root.then(|| account("postgres").or_else(|| account("nobody"))).flatten()
}

fn free_port() -> u16 {
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    let mut dice = Dice::new(seed);
    loop {
        let port = PORT_MIN + u16::try_from(dice.below(PORTS)).unwrap_or_default();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
