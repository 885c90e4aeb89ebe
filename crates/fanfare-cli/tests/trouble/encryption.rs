//! TLS to the database, verified.

use fanfare_testkit::authority::Authority;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::process::{Ended, Fanfare};

/// What becomes of a check of a store with this in its URL.
async fn check(cluster: &Cluster, host: &str, query: &str) -> Ended {
    let dir = tempfile::tempdir().expect("a folder");
    let port = cluster.address().port();
    let url = format!("postgres://postgres:hunter2@{host}:{port}/postgres?{query}");
    let fanfare = Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), dir.path());
    let ended = fanfare.env("FANFARE_DATABASE_URL", &url).run(&["check"]).await;
    assert!(!format!("{ended:?}").contains("hunter2"), "{ended:?}");
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_believed_only_with_a_certificate_of_its_name() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let cluster = Cluster::start("").await;
    let issued = ours.issue("localhost", 2999);
    cluster.write("server.crt", &issued.certificate);
    cluster.write("server.key", &issued.key);
    cluster.set("ssl = on").await;
    cluster.write("pg_hba.conf", "hostssl all all 127.0.0.1/32 trust\n");
    cluster.sql("select pg_reload_conf()").await;
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, authority: &Authority| {
        let path = dir.path().join(name);
        std::fs::write(&path, authority.certificate()).expect("a file");
        path.display().to_string()
    };
    let (ours, theirs) = (file("ours.pem", &ours), file("theirs.pem", &theirs));

    // There is no store yet; to learn that, the server must be believed.
    let believed = "there is none in the schema";
    for (host, query, said) in [
        ("localhost", format!("sslmode=verify-full&sslrootcert={ours}"), believed),
        ("localhost", format!("sslmode=require&sslrootcert={ours}"), believed),
        ("localhost", "sslmode=prefer".to_owned(), believed),
        ("127.0.0.1", "sslmode=prefer".to_owned(), believed),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={ours}"), "certificate"),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={theirs}"), "certificate"),
        ("localhost", "sslmode=require".to_owned(), "certificate"),
        ("localhost", "sslmode=disable".to_owned(), "no encryption"),
        ("localhost", "sslmode=maybe".to_owned(), "sslmode"),
        ("localhost", "sslrootcert=/nowhere.pem".to_owned(), "sslrootcert"),
    ] {
        let ended = check(&cluster, host, &query).await;
        assert_ne!(ended.code, 0, "{host} {query}");
        assert!(ended.stderr.contains(said), "{host} {query}: {ended:?}");
    }
}
