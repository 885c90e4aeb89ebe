//! Settings as they reach the command: by flag, environment and file, and what is refused.

use fanfare_testkit::client::Client;
use fanfare_testkit::process::{Ended, Fanfare};
use hyper::Method;

fn fanfare(dir: &tempfile::TempDir) -> Fanfare {
    Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), dir.path())
}

fn assert_refused(ended: &Ended, name: &str, remedy: &str) {
    let Ended { code, stderr, .. } = ended;
    assert_eq!(*code, 2, "{stderr}");
    assert!(stderr.contains(name) && stderr.contains(remedy), "{stderr}");
}

#[tokio::test]
async fn an_unknown_variable_refuses_to_start_whatever_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let fanfare = fanfare(&dir).env("FANFARE_RETRY_SHEDULE", "1s");
    let company = "01980a54-5b5c-7d8e-9f00-112233445566";
    for command in [
        &["serve"][..],
        &["check"],
        &["token", "--company", company],
        &["emit", "--company", company, "order.created", "{}"],
        &["demo"],
    ] {
        let ended = fanfare.run(command).await;
        assert_refused(&ended, "FANFARE_RETRY_SHEDULE", "did you mean `FANFARE_RETRY_SCHEDULE`?");
    }
    assert!(!dir.path().join("fanfare-data").exists());
}

#[tokio::test]
async fn a_bad_value_is_refused_and_named_wherever_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let by_flag = fanfare(&dir).run(&["serve", "--grace", "soon"]).await;
    assert_refused(&by_flag, "--grace", "ms, s, m, h or d");
    let by_variable = fanfare(&dir).env("FANFARE_GRACE", "1").run(&["serve"]).await;
    assert_refused(&by_variable, "FANFARE_GRACE", "ms, s, m, h or d");
    std::fs::write(dir.path().join("fanfare.toml"), "grace = 1").unwrap();
    let by_file = fanfare(&dir).run(&["serve", "--config", "fanfare.toml"]).await;
    assert_refused(&by_file, "grace in fanfare.toml", "ms, s, m, h or d");
}

#[tokio::test]
async fn an_unknown_name_is_refused_on_the_command_line_and_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let by_flag = fanfare(&dir).run(&["serve", "--retry-shedule", "1s"]).await;
    assert_refused(&by_flag, "--retry-shedule", "--retry-schedule");
    std::fs::write(dir.path().join("fanfare.toml"), "retry_shedule = '1s'").unwrap();
    let by_file = fanfare(&dir).env("FANFARE_CONFIG", "fanfare.toml").run(&["serve"]).await;
    assert_refused(&by_file, "retry_shedule", "retry_schedule");
    let no_file = fanfare(&dir).run(&["serve", "--config", "nowhere.toml"]).await;
    assert_refused(&no_file, "nowhere.toml", "cannot be read");
}

#[tokio::test]
async fn flags_come_before_the_environment_and_the_environment_before_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = "data_dir = 'by-file'\nlog_format = 'json'\nretention = '1d'\n";
    std::fs::write(dir.path().join("fanfare.toml"), file).unwrap();
    let fanfare = fanfare(&dir).env("FANFARE_DATA_DIR", "by-variable").env("FANFARE_RETENTION", "");
    let server = fanfare.serve(&["--config=fanfare.toml"]).await;
    assert!(dir.path().join("by-variable/fanfare.db").exists());
    assert!(server.process.logged("serving").await.starts_with('{'), "the file counts, too");
    server.process.kill().await;

    let server = fanfare.serve(&["--config=fanfare.toml", "--data-dir=by-flag"]).await;
    assert!(dir.path().join("by-flag/fanfare.db").exists());
    server.process.kill().await;
    assert!(!dir.path().join("by-file").exists());
}

#[tokio::test]
async fn limits_that_are_set_hold() {
    let dir = tempfile::tempdir().unwrap();
    let fanfare = fanfare(&dir);
    let settings = ["--rate-limit-company=1:3", "--max-connections=1"];
    let server = fanfare.env("FANFARE_RATE_LIMIT_ADDRESS", "1:9").serve(&settings).await;
    let shop = Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), dir.path()).shop().await;
    let mut first = Client::connect(server.address, &shop.token).await.unwrap();
    let path = format!("/v1/companies/{}/endpoints", shop.company);
    let mut codes = Vec::new();
    for _ in 0..40 {
        let (status, answer) = first.send(Method::GET, &path, "").await.unwrap();
        assert!([200, 429].contains(&status), "{answer}");
        codes.push((status, answer["message"].as_str().unwrap_or_default().to_owned()));
    }
    assert_eq!(codes[0].0, 200);
    for who in ["this company", "this address"] {
        assert!(codes.iter().any(|(_, message)| message.contains(who)), "{codes:?}");
    }
    let mut second = Client::connect(server.address, &shop.token).await.unwrap();
    assert_eq!(second.send(Method::GET, "/healthz", "").await.unwrap().0, 200);
    assert!(first.send(Method::GET, "/healthz", "").await.is_err(), "there is place for one");
    server.process.kill().await;
}

#[tokio::test]
async fn help_shows_every_setting_with_its_default_and_the_readme_has_the_same_table() {
    let dir = tempfile::tempdir().unwrap();
    let table = fanfare(&dir).run(&["settings-table"]).await.stdout;
    let help = fanfare(&dir).run(&["help", "serve"]).await.stdout;
    let help: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for row in table.lines().skip(2) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let (variable, default) = (cells[0].trim_matches(['|', ' ', '`']), cells[1]);
        let default = default.trim_matches('`');
        assert!(help.contains(&format!("[env: {variable}] [default: {default}]")), "{row}");
    }

    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, after) = readme.split_once("<!-- settings -->").unwrap();
    let (block, _) = after.split_once("<!-- /settings -->").unwrap();
    assert_eq!(block.trim(), table.trim(), "put the output of `fanfare settings-table` there");
}

#[tokio::test]
async fn wrong_usage_is_exit_code_2_and_the_version_is_told() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(fanfare(&dir).run(&["serv"]).await.code, 2);
    assert_eq!(fanfare(&dir).run(&[]).await.code, 2);
    let version = fanfare(&dir).run(&["--version"]).await;
    assert_eq!(version.stdout, concat!("fanfare ", env!("CARGO_PKG_VERSION")));
}
