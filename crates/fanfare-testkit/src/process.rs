//! The command `fanfare` as a process of its own, with nothing of the test's environment.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use fanfare::metrics::Stopwatch;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::producers::Shop;
use crate::wait::{PATIENCE, within};

/// The line with which a server says where it is.
const LISTENS: &str = " listens on http://";

/// The command, in a directory.
#[derive(Clone)]
pub struct Fanfare {
    binary: PathBuf,
    dir: PathBuf,
    env: Vec<(String, String)>,
}

/// What a process that has ended left behind.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; -1 after a signal.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it logged or complained.
    pub stderr: String,
}

impl Fanfare {
    /// The binary (`env!("CARGO_BIN_EXE_fanfare")`), to be run in `dir`.
    pub fn new(binary: &str, dir: &Path) -> Fanfare {
        Fanfare { binary: binary.into(), dir: dir.to_owned(), env: Vec::new() }
    }

    /// With another environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Fanfare {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it.
    pub fn spawn(&self, args: &[&str]) -> Process {
        let mut command = Command::new(&self.binary);
        command.args(args).env_clear().envs(self.env.iter().cloned()).current_dir(&self.dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.kill_on_drop(true).spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}", self.binary.display()));
        Process::new(child)
    }

    /// Runs it to its end.
    pub async fn run(&self, args: &[&str]) -> Ended {
        self.spawn(args).end().await
    }

    /// Runs it to its end with this standard input.
    pub async fn run_with(&self, args: &[&str], input: &str) -> Ended {
        let mut process = self.spawn(args);
        if let Some(mut stdin) = process.child.stdin.take() {
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        process.end().await
    }

    /// Starts a server on a free port and waits until it listens.
    pub async fn serve<S: AsRef<str>>(&self, settings: &[S]) -> Server {
        let mut args = vec!["serve", "--listen", "127.0.0.1:0"];
        args.extend(settings.iter().map(AsRef::as_ref));
        let since_start = Stopwatch::start();
        let process = self.spawn(&args);
        let line = process.line(LISTENS).await;
        let address = line.split(LISTENS).nth(1).and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
        Server { process, address, since_start }
    }

    /// A new company with a token for it.
    pub async fn shop(&self) -> Shop {
        let company = uuid::Uuid::new_v4().to_string();
        let token = self.run(&["token", "--company", &company]).await;
        assert_eq!(token.code, 0, "{}", token.stderr);
        Shop { company, token: token.stdout.trim().to_owned() }
    }
}

/// A server that listens.
pub struct Server {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// Runs since its process was started.
    pub since_start: Stopwatch,
}

/// A process of the command.
pub struct Process {
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

impl Process {
    fn new(mut child: Child) -> Process {
        let stdout = Stream::read(child.stdout.take());
        let stderr = Stream::read(child.stderr.take());
        Process { child, stdout, stderr }
    }

    /// Waits for a line of its output that contains `wanted`, and returns it.
    ///
    /// # Panics
    /// When the output ends without it.
    pub async fn line(&self, wanted: &str) -> String {
        self.lines(wanted, 1).await.remove(0)
    }

    /// Waits for `count` lines of its output that contain `wanted`, and returns them.
    ///
    /// # Panics
    /// When the output ends without them.
    pub async fn lines(&self, wanted: &str, count: usize) -> Vec<String> {
        match self.stdout.wait_for(wanted, count).await {
            Some(lines) => lines,
            None => panic!(
                "its output ended without {count} times {wanted:?}:\n{}\n{}",
                self.stdout.text(),
                self.stderr.text()
            ),
        }
    }

    /// Waits for a line of its log that contains `wanted`.
    pub async fn logged(&self, wanted: &str) -> String {
        let found = self.stderr.wait_for(wanted, 1).await;
        found.map(|mut lines| lines.remove(0)).unwrap_or_else(|| {
            panic!("its log ended without {wanted:?}:\n{}", self.stderr.text());
        })
    }

    /// What it has logged until now.
    pub fn log(&self) -> String {
        self.stderr.text()
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks it to end.
    pub async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// Sends it a signal: `TERM`, `STOP`, `CONT`.
    pub async fn signal(&self, name: &str) {
        let Some(id) = self.id() else { return };
        let kill = format!("kill -{name} {id}");
        let sent = Command::new("/bin/sh").args(["-c", &kill]).status().await;
        assert!(sent.is_ok_and(|status| status.success()), "no signal could be sent");
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub async fn kill(mut self) {
        if let Err(error) = self.child.kill().await {
            panic!("it could not be killed: {error}");
        }
    }

    /// Waits until it ends by itself.
    pub async fn end(mut self) -> Ended {
        let ended = within(PATIENCE, "the end of the process", self.child.wait()).await;
        let code = ended.as_ref().ok().and_then(ExitStatus::code).unwrap_or(-1);
        Ended { code, stdout: self.stdout.whole().await, stderr: self.stderr.whole().await }
    }
}

/// Lines of a stream as they come.
struct Stream(watch::Receiver<Heard>);

#[derive(Default)]
struct Heard {
    lines: Vec<String>,
    ended: bool,
}

impl Stream {
    fn read(from: Option<impl AsyncRead + Unpin + Send + 'static>) -> Stream {
        let (hear, heard) = watch::channel(Heard::default());
        tokio::spawn(async move {
            let Some(from) = from else { return };
            let mut from = BufReader::new(from).lines();
            while let Ok(Some(line)) = from.next_line().await {
                hear.send_modify(|heard| heard.lines.push(line));
            }
            hear.send_modify(|heard| heard.ended = true);
        });
        Stream(heard)
    }

    /// The first `count` lines that contain `wanted`; `None` when the stream ends before.
    async fn wait_for(&self, wanted: &str, count: usize) -> Option<Vec<String>> {
        let fitting = |heard: &Heard| -> Vec<String> {
            let fitting = heard.lines.iter().filter(|line| line.contains(wanted));
            fitting.take(count).cloned().collect()
        };
        let mut heard = self.0.clone();
        let enough = heard.wait_for(|heard| heard.ended || fitting(heard).len() == count);
        let heard = within(PATIENCE, &format!("{count} lines with {wanted:?}"), enough).await;
        heard.ok().map(|heard| fitting(&heard)).filter(|lines| lines.len() == count)
    }

    fn text(&self) -> String {
        self.0.borrow().lines.join("\n")
    }

    async fn whole(mut self) -> String {
        let _ = self.0.wait_for(|heard| heard.ended).await;
        self.text()
    }
}
