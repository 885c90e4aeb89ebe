//! A disk that is full, and one that loses what it was asked to keep.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fanfare_testkit::client::Client;
use fanfare_testkit::process::{Fanfare, Server};
use fanfare_testkit::producers::Shop;
use fanfare_testkit::receiver::Receiver;
use hyper::Method;
use serde_json::Value;
use tokio::process::Command;

/// A script that runs the command in a file system of its own, of 3 MiB, most of it taken.
const SMALL_DISK: &str = r#"#!/bin/sh
set -e
exec unshare --user --map-root-user --mount sh -c '
    set -e
    mkdir -p disk
    mount -t tmpfs -o size=3m none disk
    head -c 1500000 /dev/zero > disk/ballast
    exec "$0" "$@"' "BINARY" "$@"
"#;

/// A library that fails fsync once the file `bad-disk` is there.
const BAD_DISK: &str = r#"
#include <errno.h>
#include <unistd.h>
static int sync_file(void) {
    if (access("bad-disk", F_OK) != 0) return 0;
    errno = EIO;
    return -1;
}
int fsync(int file) { (void)file; return sync_file(); }
int fdatasync(int file) { (void)file; return sync_file(); }
"#;

#[tokio::test]
async fn a_full_disk_refuses_events_loses_none_and_works_again_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let script = SMALL_DISK.replace("BINARY", env!("CARGO_BIN_EXE_fanfare"));
    let fanfare = Fanfare::new(&executable(directory.path(), &script), directory.path());
    // Keys are made beforehand, so that the command can make tokens outside of that disk.
    let keys = [("FANFARE_JWT_SECRET", "a secret of at least 32 bytes, for a test"), KEY];
    let fanfare = keys.iter().fold(fanfare, |fanfare, (name, value)| fanfare.env(name, value));
    let receiver = Receiver::start().await;
    let server = fanfare.serve(&settings(&receiver)).await;
    let mut plain = Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), directory.path());
    plain = keys.iter().fold(plain, |fanfare, (name, value)| fanfare.env(name, value));
    let shop = plain.shop().await;
    let mut client = Client::connect(server.address, &shop.token).await.unwrap();
    register(&mut client, &shop, &receiver).await;

    let mut accepted = 0;
    let (status, refusal) = loop {
        let (status, answer) = emit(&mut client, &shop).await;
        if status != 202 {
            break (status, answer);
        }
        accepted += 1;
    };
    assert!(accepted > 0);
    assert_eq!((status, refusal["code"].as_str()), (503, Some("disk_full")), "{refusal}");
    let (ready, _) = client.send(Method::GET, "/readyz", "").await.unwrap();
    assert_eq!(ready, 503);
    let (alive, _) = client.send(Method::GET, "/healthz", "").await.unwrap();
    assert_eq!(alive, 200);

    let pid = server.process.id().unwrap();
    fs::remove_file(format!("/proc/{pid}/root{}/disk/ballast", directory.path().display()))
        .unwrap();
    let (status, answer) = emit(&mut client, &shop).await;
    assert_eq!(status, 202, "{answer}");
    receiver.wait_for(accepted + 1).await;
    server.process.terminate().await;
    assert_eq!(server.process.end().await.code, 0);
    assert_eq!(receiver.count(), accepted + 1, "nothing was lost and nothing sent twice");
}

#[tokio::test]
async fn a_lost_write_ends_the_process_with_exit_code_70() {
    let directory = tempfile::tempdir().unwrap();
    let library = bad_disk(directory.path()).await;
    let fanfare = Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), directory.path());
    let receiver = Receiver::start().await;
    let on_bad_disk = fanfare.clone().env("LD_PRELOAD", library.to_str().unwrap());
    let server: Server = on_bad_disk.serve(&receiver.allowed()).await;
    let shop = fanfare.shop().await;
    let mut client = Client::connect(server.address, &shop.token).await.unwrap();
    register(&mut client, &shop, &receiver).await;
    assert_eq!(emit(&mut client, &shop).await.0, 202);
    receiver.wait_for(1).await;

    fs::write(directory.path().join("bad-disk"), "").unwrap();
    // No answer is as good as a refusal; an acceptance would be a lie.
    if let Ok((status, _)) = try_emit(&mut client, &shop).await {
        assert!(status >= 500, "{status}");
    }
    let ended = server.process.end().await;
    assert_eq!(ended.code, 70, "{}", ended.stderr);

    fs::remove_file(directory.path().join("bad-disk")).unwrap();
    let check = fanfare.run(&["check"]).await;
    assert_eq!(check.code, 0, "{}{}", check.stdout, check.stderr);
    let server = fanfare.serve(&receiver.allowed()).await;
    let mut client = Client::connect(server.address, &shop.token).await.unwrap();
    assert_eq!(emit(&mut client, &shop).await.0, 202);
}

const KEY: (&str, &str) =
    ("FANFARE_ENCRYPTION_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");

fn settings(receiver: &Receiver) -> Vec<String> {
    let mut settings = receiver.allowed().to_vec();
    settings.push("--data-dir=disk".to_owned());
    settings
}

async fn register(client: &mut Client, shop: &Shop, receiver: &Receiver) {
    let body = format!(r#"{{"url":"{}","events":["*"]}}"#, receiver.url());
    let path = format!("/v1/companies/{}/endpoints", shop.company);
    let (status, answer) = client.send(Method::POST, &path, body).await.unwrap();
    assert_eq!(status, 201, "{answer}");
}

async fn emit(client: &mut Client, shop: &Shop) -> (u16, Value) {
    try_emit(client, shop).await.unwrap()
}

async fn try_emit(client: &mut Client, shop: &Shop) -> std::io::Result<(u16, Value)> {
    let body = format!(r#"{{"type":"order.created","data":"{}"}}"#, "x".repeat(20_000));
    client.send(Method::POST, &format!("/v1/companies/{}/events", shop.company), body).await
}

fn executable(directory: &Path, script: &str) -> String {
    let path = directory.join("fanfare.sh");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn bad_disk(directory: &Path) -> PathBuf {
    let (source, library) = (directory.join("bad_disk.c"), directory.join("bad_disk.so"));
    fs::write(&source, BAD_DISK).unwrap();
    let mut compiler = Command::new("cc");
    let built = compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().await;
    assert!(built.unwrap().success());
    library
}
