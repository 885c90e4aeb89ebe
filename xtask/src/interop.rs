//! Foreign clients and verifiers that Fanfare is tested against, installed below `target/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Result, probe, root, run_quietly, target};
use crate::system::install;

/// Where they are.
pub(crate) struct Interop {
    /// The `node_modules` folder.
    pub(crate) node_modules: PathBuf,
    /// The Python interpreter that sees the packages.
    pub(crate) python: PathBuf,
}

/// Installs what is not installed yet.
pub(crate) fn prepare() -> Result<Interop> {
    let folder = target().join("interop");
    Ok(Interop {
        node_modules: node(&folder.join("node"))?,
        python: python(&folder.join("python"))?,
    })
}

fn node(folder: &Path) -> Result<PathBuf> {
    let wanted = root().join("tests/interop/node");
    if !(answers("node") && answers("npm")) {
        install("Node.js and npm", &["nodejs", "npm"])?;
    }
    once(folder, &[wanted.join("package.json"), wanted.join("package-lock.json")], || {
        run_quietly(
            Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(folder),
        )
    })?;
    Ok(folder.join("node_modules"))
}

fn python(folder: &Path) -> Result<PathBuf> {
    let wanted = root().join("tests/interop/python/requirements.txt");
    if probe(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_none() {
        install("Python 3 with its module venv", &["python3", "python3-venv"])?;
    }
    let python = folder.join("bin/python");
    once(folder, &[wanted], || {
        run_quietly(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        run_quietly(
            Command::new(&python)
                .args(["-m", "pip", "install", "--disable-pip-version-check", "--requirement"])
                .arg(folder.join("requirements.txt")),
        )
    })?;
    Ok(python)
}

/// Makes `folder` anew from the files that say what is wanted, unless that was done already.
fn once(folder: &Path, wanted: &[PathBuf], make: impl FnOnce() -> Result) -> Result {
    let stamp = folder.join("installed");
    let mut content = String::new();
    for file in wanted {
        content += &fs::read_to_string(file).map_err(|error| failed("read", file, &error))?;
    }
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == content) {
        return Ok(());
    }
    println!("installing into {}", folder.display());
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).map_err(|error| failed("make", folder, &error))?;
    for file in wanted {
        let copy = folder.join(file.file_name().unwrap_or_default());
        fs::copy(file, copy).map_err(|error| failed("copy", file, &error))?;
    }
    make()?;
    fs::write(&stamp, content).map_err(|error| failed("write", &stamp, &error))
}

fn answers(program: &str) -> bool {
    probe(Command::new(program).arg("--version")).is_some()
}

fn failed(to_do: &str, path: &Path, error: &std::io::Error) -> String {
    format!("cannot {to_do} {}: {error}", path.display())
}
