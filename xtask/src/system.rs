//! The machine: who runs this, and its packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Result, probe, run_quietly};

/// A user and its group, by number.
#[derive(Clone, Copy)]
pub(crate) struct Account {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

pub(crate) fn is_root() -> bool {
    probe(Command::new("id").arg("-u")).as_deref() == Some("0")
}

/// The account of that name.
pub(crate) fn account(name: &str) -> Option<Account> {
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2).map_while(|field| field.parse().ok());
    Some(Account { user: numbers.next()?, group: numbers.next()? })
}

/// The folders in which programs are looked for.
pub(crate) fn search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// Installs Debian packages, where that can be done without asking anybody.
///
/// Otherwise the failure says `what` is missing and which packages bring it.
pub(crate) fn install(what: &str, packages: &[&str]) -> Result {
    let names = packages.join(" ");
    let apt = search_path().iter().any(|folder| folder.join("apt-get").exists());
    if !(apt && is_root()) {
        return Err(format!(
            "the tests need {what}; please install what is missing (on Debian and Ubuntu: \
             `apt-get install {names}`) and start again"
        ));
    }
    println!("installing {names}");
    apt_get(&["update"])?;
    if packages.contains(&"postgresql") {
        return without_cluster(|| apt_get(&["install", "--no-install-recommends", &names]));
    }
    apt_get(&[&["install", "--no-install-recommends"], packages].concat())
}

/// Debian sets up and starts a server of its own with the package: not wanted here.
fn without_cluster(install: impl FnOnce() -> Result) -> Result {
    apt_get(&["install", "--no-install-recommends", "postgresql-common"])?;
    let settings = Path::new("/etc/postgresql-common/createcluster.conf");
    let before = fs::read_to_string(settings).map_err(|error| error.to_string())?;
    let meanwhile = format!("{before}\ncreate_main_cluster = false\n");
    fs::write(settings, meanwhile).map_err(|error| error.to_string())?;
    let installed = install();
    fs::write(settings, before).map_err(|error| error.to_string())?;
    installed
}

fn apt_get(words: &[&str]) -> Result {
    run_quietly(
        Command::new("apt-get").arg("--yes").args(words).env("DEBIAN_FRONTEND", "noninteractive"),
    )
}
