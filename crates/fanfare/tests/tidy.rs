//! House rules that the compiler does not know. Runs with the other tests; needs no tool.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// The longest file, in lines, its tests not counted.
const FILE_LINES_MAX: usize = 450;

/// Who may import whom inside the engine crate. A module may always import itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("metrics", &[]),
    ("policy", &["model"]),
    ("sign", &[]),
    ("seal", &["model"]),
    ("clock", &["model"]),
    ("send", &["model", "sign", "metrics"]),
    ("store", &["model", "metrics"]),
    ("error", &["model", "store"]),
    ("keys", &["error", "seal"]),
    (
        "engine",
        &["model", "metrics", "policy", "sign", "seal", "clock", "send", "store", "error", "keys"],
    ),
];

/// The embedding face of the engine crate, which may import everything. Nothing imports it.
const FACE: &[&str] = &["lib", "service", "options"];

/// What must not reach a crate: those who embed the engine bring no server, and servers no command.
const BARRED: &[(&str, &[&str])] = &[
    ("fanfare", &["axum", "clap", "fanfare-server", "fanfare-cli", "fanfare-testkit"]),
    ("fanfare-server", &["clap", "fanfare-cli", "fanfare-testkit"]),
    ("fanfare-cli", &["fanfare-testkit"]),
];

#[test]
fn files_fit_in_the_head() {
    for (path, text) in rust_files() {
        let lines = production(&text).lines().count();
        let fits = lines <= FILE_LINES_MAX || is_test(&path);
        assert!(fits, "{} has {lines} lines; split it", path.display());
    }
}

#[test]
fn modules_import_only_what_lies_below_them() {
    for (path, text) in rust_files() {
        let Ok(inside) = path.strip_prefix("crates/fanfare/src") else { continue };
        let first = inside.iter().next().unwrap().to_str().unwrap();
        let module = first.trim_end_matches(".rs");
        if FACE.contains(&module) {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            panic!("{module} is not in LAYERS: say what it may import");
        };
        for imported in imports(production(&text)) {
            let fine = imported == module || allowed.contains(&imported.as_str());
            assert!(fine, "{}: `{module}` may not import `{imported}`", path.display());
        }
    }
}

#[test]
fn imports_are_seen_wherever_they_stand() {
    let code = "
        use crate::model::{Event, Page};
        use crate::{\n    clock::{self, Clock},\n    send, store::sqlite,\n};
        // crate::unseen
        fn f() -> crate::error::Error { super::policy::g(super::local::h) }";
    let seen = ["model", "clock", "send", "store", "error", "policy"];
    assert_eq!(imports(code), seen);
}

#[test]
fn a_crate_depends_only_on_what_may_reach_it() {
    for (name, barred) in BARRED {
        let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml"));
        for dependency in dependencies(&manifest.unwrap()) {
            assert!(!barred.contains(&dependency.as_str()), "{name} may not need {dependency}");
        }
    }
}

#[test]
fn dependencies_are_seen_in_every_form() {
    let manifest = "
        [package]\nname = \"x\"
        [dependencies]\na.workspace = true\nb = \"1\"
        [dependencies.c]\nversion = \"1\"
        [target.'cfg(unix)'.dependencies]\nd = { path = \"d\" }
        [dev-dependencies]\ne = \"1\"
        [build-dependencies]\nf = \"1\"";
    assert_eq!(dependencies(manifest), ["a", "b", "c", "d", "f"]);
}

#[test]
fn every_migration_of_the_embedded_store_has_its_like() {
    let names = |store: &str| {
        let Ok(folder) = fs::read_dir(root().join("migrations").join(store)) else {
            return Vec::new();
        };
        let mut names: Vec<_> = folder.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    // The other store has more: nodes, and what belongs to them.
    let postgres = names("postgres");
    assert!(names("sqlite").iter().all(|name| postgres.contains(name)), "{postgres:?}");
}

#[test]
fn a_todo_names_its_issue() {
    let markers = [concat!("TO", "DO"), concat!("FIX", "ME")];
    for (path, line, text) in lines() {
        for marker in markers {
            let nameless = text.contains(marker) && !text.contains(&format!("{marker}(#"));
            assert!(!nameless, "{}:{line}: write {marker}(#123)", path.display());
        }
    }
}

#[test]
fn no_test_is_left_out() {
    for (path, line, text) in lines() {
        let left_out = text.trim().starts_with(concat!("#[", "ignore"))
            || text.contains(concat!(", ", "ignore)]"));
        assert!(!left_out, "{}:{line}: repair the test or remove it", path.display());
    }
}

#[test]
fn nothing_knows_the_machine_it_was_written_on() {
    let place = concat!("/wo", "rk/");
    for path in files(root()) {
        // What is no text has no paths in it.
        let text = fs::read_to_string(&path).unwrap_or_default();
        assert!(!text.contains(place), "{} names a path of one machine", path.display());
    }
}

/// The modules that code names from the crate's root, or one level up where it means the root.
fn imports(code: &str) -> Vec<String> {
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let from_root = code.match_indices("crate::").flat_map(|(at, found)| {
        let whole_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if whole_word { heads(&code[at + found.len()..]) } else { Vec::new() }
    });
    let from_above = code
        .match_indices("super::")
        .flat_map(|(at, found)| heads(&code[at + found.len()..]))
        .filter(|name| LAYERS.iter().any(|(layer, _)| layer == name));
    from_root.chain(from_above).collect()
}

/// The first names of a path: one, or those of a group in braces.
fn heads(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        let name = |c: char| c.is_alphanumeric() || c == '_' || c == '*';
        return vec![path.chars().take_while(|&c| name(c)).collect()];
    };
    let mut depth = 1;
    let mut top = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ if depth == 1 => top.push(c),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    let names = top.split(',').map(|path| path.trim().split("::").next().unwrap().to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

/// What a crate needs to be built, without what only its tests need.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            inside = table.ends_with("dependencies") && !table.ends_with("dev-dependencies");
            if let Some((table, name)) = table.rsplit_once('.')
                && table.ends_with("dependencies")
                && !table.ends_with("dev-dependencies")
            {
                names.push(name.to_owned());
            }
        } else if inside && line.contains('=') {
            names.push(line.split(['.', '=', ' ']).next().unwrap().to_owned());
        }
    }
    names
}

/// A file without the tests at its end.
fn production(text: &str) -> &str {
    let tests = text.match_indices("\n#[cfg(test)]\nmod ").map(|(at, _)| at).find(|&at| {
        let module = text[at..].lines().nth(2).unwrap_or_default();
        module.ends_with('{')
    });
    tests.map_or(text, |at| &text[..at])
}

fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "tests.rs")
}

/// Every line of our Rust files, with its file and number.
fn lines() -> Vec<(PathBuf, usize, String)> {
    let numbered = |(path, text): (PathBuf, String)| {
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.into_iter().zip(1..).map(move |(line, number)| (path.clone(), number, line))
    };
    rust_files().into_iter().flat_map(numbered).collect()
}

/// Our Rust files, by their path from the root.
fn rust_files() -> Vec<(PathBuf, String)> {
    let rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let folders = ["crates", "xtask"].map(|folder| root().join(folder));
    let paths = folders.into_iter().flat_map(files).filter(rust);
    paths
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path.strip_prefix(root()).unwrap().to_path_buf(), text)
        })
        .collect()
}

/// Every file below a folder that is ours, neither built nor installed nor kept by git.
fn files(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if [".git", "target", "node_modules", "fanfare-data"].iter().any(|other| name == *other) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}
