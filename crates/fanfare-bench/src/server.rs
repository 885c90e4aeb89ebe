//! A real server process on a throw-away directory.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Client;
use crate::{memory, payload};

/// The company of everything that needs only one.
pub(crate) const COMPANY: &str = "0197d0a5-7b5d-7c39-8cfa-2f1f0a5f3b11";

/// A running server. It is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Good for every company.
    pub(crate) token: String,
    /// From its start until it said that it listens.
    pub(crate) ready_after: Duration,
    directory: Arc<TempDir>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with settings beside the usual ones.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        Self::start_on(tempfile::tempdir().unwrap(), settings)
    }

    /// Starts one on what is there already.
    pub(crate) fn start_on(directory: TempDir, settings: &[&str]) -> Self {
        Self::launch(Arc::new(directory), "127.0.0.1:0", settings)
    }

    /// Starts another one beside it, with the same keys. Their store must be one for several.
    pub(crate) fn start_beside(&self, settings: &[&str]) -> Self {
        Self::launch(Arc::clone(&self.directory), "127.0.0.1:0", settings)
    }

    /// Kills it in the middle of what it does (SIGKILL) and starts it again where it was.
    pub(crate) fn kill_and_restart(self, settings: &[&str]) -> Self {
        let (directory, address) = (Arc::clone(&self.directory), self.address);
        drop(self);
        Self::launch(directory, &address.to_string(), settings)
    }

    fn launch(directory: Arc<TempDir>, listen: &str, settings: &[&str]) -> Self {
        let started = Instant::now();
        let mut child = command("serve", directory.path())
            .args(["--listen", listen, "--allow-http=true"])
            .args(["--allow-networks", "127.0.0.0/8"])
            .args(settings)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("build fanfare-cli in the same profile first");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|line| {
                let line = line.unwrap();
                let (_, rest) = line.split_once("http://")?;
                let end = rest.find(|c: char| c.is_whitespace() || c == '/');
                rest[..end.unwrap_or(rest.len())].parse().ok()
            })
            .expect("the server says where it listens");
        let ready_after = started.elapsed();
        std::thread::spawn(move || lines.for_each(drop));
        let token = token(directory.path());
        Server { child, address, token, ready_after, directory }
    }

    /// Registers an endpoint that hears everything.
    pub(crate) async fn register(&self, url: &str) {
        self.register_for(COMPANY, &json!({ "url": url, "events": ["*"] })).await;
    }

    /// Registers an endpoint of some company.
    pub(crate) async fn register_for(&self, company: &str, endpoint: &Value) {
        let (status, answer) = self.try_register(company, endpoint).await;
        assert_eq!(status, StatusCode::CREATED, "{answer:?}");
    }

    /// Registers an endpoint that may be refused.
    pub(crate) async fn try_register(
        &self,
        company: &str,
        endpoint: &Value,
    ) -> (StatusCode, Bytes) {
        let mut client = Client::connect(self.address).await;
        let path = format!("/v1/companies/{company}/endpoints");
        let (bearer, body) = (self.bearer(), endpoint.to_string());
        client.send("POST", &path, &[("authorization", &bearer)], body.into()).await
    }

    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// Where it keeps everything.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_of(self.pid())
    }

    /// Resident memory, in MiB.
    pub(crate) fn resident_mib(&self) -> f64 {
        memory::resident_mib(self.pid()).unwrap()
    }
}

/// Processor time of a process so far, in ticks of 10 ms.
pub(crate) fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// An event on its way to the server.
pub(crate) struct Post {
    /// Of whose events.
    pub(crate) path: String,
    pub(crate) body: Bytes,
}

/// Emits one event of some company and returns the answer.
pub(crate) async fn emit_for(client: &mut Client, headers: &[(&str, &str)], post: &Post) -> Bytes {
    let (status, answer) = client.send("POST", &post.path, headers, post.body.clone()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer:?}");
    answer
}

/// The path on which a company emits.
pub(crate) fn events_of(company: &str) -> String {
    format!("/v1/companies/{company}/events")
}

/// The body of an emit.
pub(crate) fn event_body() -> Bytes {
    format!(r#"{{"type":"ORDER_CREATED","data":{}}}"#, payload()).into()
}

/// A payload that begins with a number, by which a receiver knows the event again.
pub(crate) fn numbered_payload(number: u64) -> String {
    format!(r#"{{"number":{number},{}"#, &payload()[1..])
}

fn token(directory: &Path) -> String {
    let role = ["--company", COMPANY, "--role", "superAdmin", "--ttl", "2h"];
    let token = command("token", directory).args(role).output().unwrap();
    String::from_utf8(token.stdout).unwrap().trim().to_owned()
}

fn command(name: &str, directory: &Path) -> Command {
    let this = std::env::current_exe().unwrap();
    let fanfare: PathBuf = this.with_file_name("fanfare");
    let mut command = Command::new(fanfare);
    command.env_clear().arg(name).arg("--data-dir").arg(directory);
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
