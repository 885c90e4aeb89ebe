//! What judges input of strangers, given what nobody would write.

use fanfare_testkit::fuzz;

#[test]
fn an_accepted_url_means_one_thing_and_nobodys_own_address() {
    fuzz::play("url", 20_000, fuzz::url);
}

#[test]
fn an_accepted_address_is_anyones() {
    fuzz::play("address", 20_000, fuzz::address);
}

#[test]
fn a_filter_is_kept_as_it_is_read_and_explains_itself() {
    fuzz::play("filter", 20_000, fuzz::filter);
}

#[test]
fn headers_of_an_endpoint_are_whole_harmless_and_not_shown() {
    fuzz::play("headers", 20_000, fuzz::headers);
}

#[test]
fn a_wait_that_is_asked_for_is_bounded() {
    fuzz::play("retry_after", 20_000, fuzz::retry_after);
}
