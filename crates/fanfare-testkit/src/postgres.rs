//! The PostgreSQL that tests may use.

/// The URL of the test server with a schema of its own, which is made when it is opened.
///
/// # Panics
/// Without `FANFARE_TEST_POSTGRES`: a test that is left out in silence proves nothing.
#[expect(clippy::disallowed_methods, reason = "whoever runs the tests says where the server is")]
pub fn url_of_new_schema() -> String {
    let Ok(server) = std::env::var("FANFARE_TEST_POSTGRES") else {
        panic!(
            "FANFARE_TEST_POSTGRES must be the URL of a PostgreSQL server for tests: run `cargo \
             xtask test`, which starts one, or set it"
        );
    };
    let mark = if server.contains('?') { '&' } else { '?' };
    let schema = format!("t_{}", uuid::Uuid::new_v4().simple());
    format!("{server}{mark}options=-csearch_path%3D{schema}")
}
