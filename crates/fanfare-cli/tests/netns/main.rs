//! Hostile URLs through every door, on real addresses.
//!
//! The test starts itself anew inside a network of its own (`unshare`), in which every address of
//! IPv4 and IPv6 is this machine: cloud metadata, private networks, translators' prefixes, all of
//! them answer, and every connection is seen. There the real `fanfare serve` runs as it does in
//! production, without any setting that opens something.
//!
//! The doors that take a URL: registering and changing an endpoint natively, by W3Block's interface
//! and in the library; the key-set URL; and the store, when somebody writes to it directly. Fanfare
//! has no test call and no import, so there is no such door.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where something is missing")]
#![allow(clippy::print_stderr, reason = "what was tried is told, and that it could not be")]

mod doors;
mod names;
mod urls;
mod watch;

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Output};

use fanfare_testkit::process::Fanfare;

use crate::doors::House;
use crate::watch::Watch;

/// The name of the test, by which it starts itself anew.
const TEST: &str = "hostile_urls_reach_nothing_through_any_door";
/// Set inside the namespace.
const INSIDE: &str = "FANFARE_TEST_NAMESPACE";

/// Makes every address one of this machine, and has names resolved by the test's own server.
const SET_UP: &str = r#"
    set -e
    ip link set lo up
    ip route add local 0.0.0.0/0 dev lo
    ip -6 route add local ::/0 dev lo
    mount --bind "$FANFARE_TEST_NAMESPACE/resolv.conf" /etc/resolv.conf
    mount --bind "$FANFARE_TEST_NAMESPACE/hosts" /etc/hosts
"#;

#[test]
fn hostile_urls_reach_nothing_through_any_door() {
    if inside() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        return runtime.expect("a runtime").block_on(play());
    }
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("resolv.conf"), "nameserver 127.0.0.53\n").expect("a file");
    std::fs::write(dir.path().join("hosts"), "127.0.0.1 localhost\n").expect("a file");

    let probe = unshare(&dir).arg(SET_UP).output();
    if let Some(why) = reason(&probe) {
        eprintln!("NOT RUN: no network namespace can be made here: {why}");
        return;
    }
    let play = format!("{SET_UP}\nexec \"$0\" \"$@\"");
    let myself = std::env::current_exe().expect("a test is a program");
    let ended = unshare(&dir).arg(play).arg(myself).args(["--exact", TEST, "--nocapture"]).output();
    let ended = ended.expect("it ran before");
    eprintln!("{}", String::from_utf8_lossy(&ended.stderr));
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "inside the namespace:\n{said}");
}

fn unshare(dir: &tempfile::TempDir) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "--mount", "--", "sh", "-c"]).env(INSIDE, dir.path());
    command
}

/// Why there can be no namespace.
fn reason(probe: &std::io::Result<Output>) -> Option<String> {
    match probe {
        Ok(ended) if ended.status.success() => None,
        Ok(ended) => Some(String::from_utf8_lossy(&ended.stderr).trim().to_owned()),
        Err(error) => Some(format!("`unshare` cannot be run: {error}")),
    }
}

fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

async fn play() {
    let _names = names::serve().await;
    let watch = Watch::on(&urls::ports()).await;

    let production = House::open(&[], "https").await;
    let with_http = House::open(&["--allow-http"], "http").await;
    let mut refused = 0;
    for house in [production, with_http] {
        refused += house.try_every_door().await;
    }
    refused += doors::library().await;
    refused += doors::key_sets().await;

    // Whoever is connected to now was connected to after everything before it, so what is not seen
    // by the time these are seen has not been.
    let controls = watch.connect_everywhere().await;
    watch.until_seen(&controls).await;
    let mut seen = watch.seen();
    for control in &controls {
        let at = seen.iter().position(|seen| seen == control).expect("it was seen");
        seen.swap_remove(at);
    }
    assert_eq!(seen, [], "forbidden connections");
    eprintln!(
        "{} URLs written out and {} by name, on {} ports: {refused} refusals, no connection; {} \
         connections made directly were seen",
        urls::typed("https").len(),
        names::HOSTILE.len(),
        urls::ports().len(),
        controls.len()
    );
    what_is_allowed_is_reached(&watch).await;
}

/// The same server reaches what is public, and what its operator allows.
async fn what_is_allowed_is_reached(watch: &Watch) {
    let public: IpAddr = names::PUBLIC.parse().expect("an address");
    let allowed = IpAddr::from([10, 1, 2, 3]);
    for (setting, url, reached) in [
        ("--allow-http=false", "https://example.com/", public),
        ("--allow-networks=10.0.0.0/8", "https://10.1.2.3/", allowed),
        ("--allow-networks=10.0.0.0/8", "https://inside.example.com/", allowed),
    ] {
        let before = watch.count(SocketAddr::new(reached, 443));
        let house = House::open(&[setting], "https").await;
        house.deliver_to(url).await;
        watch.until_count(SocketAddr::new(reached, 443), before + 1).await;
    }
}

fn fanfare(dir: &tempfile::TempDir) -> Fanfare {
    Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), dir.path())
}
