//! A real server process on a throw-away directory.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;

use crate::client::Client;

/// The company everything belongs to.
pub(crate) const COMPANY: &str = "0197d0a5-7b5d-7c39-8cfa-2f1f0a5f3b11";

const EVENTS: &str = "/v1/companies/0197d0a5-7b5d-7c39-8cfa-2f1f0a5f3b11/events";

/// A running server. It is stopped when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    /// From its start until it said that it listens.
    pub(crate) ready_after: Duration,
    _directory: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_on(tempfile::tempdir().unwrap())
    }

    /// Starts one on what is there already.
    pub(crate) fn start_on(directory: TempDir) -> Self {
        let started = Instant::now();
        let mut child = command("serve", &directory)
            .args(["--listen", "127.0.0.1:0", "--allow-http=true"])
            .args(["--allow-networks", "127.0.0.0/8"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("build fanfare-cli in release first");
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
        let token = command("token", &directory).args(["--company", COMPANY]).output().unwrap();
        let token = String::from_utf8(token.stdout).unwrap().trim().to_owned();
        Server { child, address, token, ready_after, _directory: directory }
    }

    /// Registers an endpoint that hears everything.
    pub(crate) async fn register(&self, url: &str) {
        let mut client = Client::connect(self.address).await;
        let body = format!(r#"{{"url":"{url}","events":["*"]}}"#);
        let path = format!("/v1/companies/{COMPANY}/endpoints");
        let bearer = self.bearer();
        let (status, answer) =
            client.send("POST", &path, &[("authorization", &bearer)], body.into()).await;
        assert_eq!(status.as_u16(), 201, "{answer:?}");
    }

    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory, in MiB.
    pub(crate) fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }
}

/// Emits one event and returns the answer.
pub(crate) async fn emit(client: &mut Client, headers: &[(&str, &str)], body: &Bytes) -> Bytes {
    let (status, answer) = client.send("POST", EVENTS, headers, body.clone()).await;
    assert_eq!(status.as_u16(), 202, "{answer:?}");
    answer
}

/// The body of an emit.
pub(crate) fn event_body() -> Bytes {
    format!(r#"{{"type":"ORDER_CREATED","data":{}}}"#, crate::payload()).into()
}

fn command(name: &str, directory: &TempDir) -> Command {
    let this = std::env::current_exe().unwrap();
    let fanfare: PathBuf = this.with_file_name("fanfare");
    let mut command = Command::new(fanfare);
    command.env_clear().arg(name).arg("--data-dir").arg(directory.path());
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
