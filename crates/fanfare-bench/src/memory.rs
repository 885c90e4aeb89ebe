//! How much memory a process holds, watched while something else is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::server::Server;

const PERIOD: Duration = Duration::from_millis(100);

/// Watches a server until it is asked what it saw. Ask before the server is gone.
pub(crate) struct Watch {
    pid: u32,
    stop: Arc<AtomicBool>,
    watching: JoinHandle<f64>,
}

/// Resident memory, in MiB.
pub(crate) struct Memory {
    pub(crate) most: f64,
    pub(crate) at_end: f64,
}

impl Watch {
    pub(crate) fn start(server: &Server) -> Self {
        let (pid, stop) = (server.pid(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let watching = std::thread::spawn(move || {
            let mut most = 0.0_f64;
            while !stopped.load(Ordering::Relaxed) {
                most = most.max(resident_mib(pid).unwrap_or_default());
                std::thread::sleep(PERIOD);
            }
            most
        });
        Watch { pid, stop, watching }
    }

    pub(crate) fn end(self) -> Memory {
        let at_end = resident_mib(self.pid).unwrap();
        self.stop.store(true, Ordering::Relaxed);
        Memory { most: self.watching.join().unwrap().max(at_end), at_end }
    }
}

/// What a process holds now; none if it is gone.
pub(crate) fn resident_mib(pid: u32) -> Option<f64> {
    status_mib(pid, "VmRSS:")
}

/// The most that it ever held.
pub(crate) fn most_resident_mib(pid: u32) -> Option<f64> {
    status_mib(pid, "VmHWM:")
}

fn status_mib(pid: u32, field: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
}
