//! What reads tokens and bodies, given what nobody would write.

use fanfare_server::fuzz;
use fanfare_testkit::fuzz::play;

#[test]
fn no_text_is_taken_for_a_token() {
    play("jwt", 5_000, fuzz::jwt);
}

#[test]
fn no_claims_let_in_who_may_not() {
    play("claims", 5_000, fuzz::claims);
}

#[test]
fn no_body_breaks_the_server() {
    play("bodies", 3_000, fuzz::bodies);
}
