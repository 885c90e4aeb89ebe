//! What judges input of strangers, given what nobody would write.

use fanfare_testkit::fuzz;

#[test]
fn an_accepted_url_means_one_thing_and_nobodys_own_address() {
    fuzz::play("url", fuzz::url);
}

#[test]
fn an_accepted_address_is_anyones() {
    fuzz::play("address", fuzz::address);
}

#[test]
fn a_filter_is_kept_as_it_is_read_and_explains_itself() {
    fuzz::play("filter", fuzz::filter);
}

#[test]
fn a_wait_that_is_asked_for_is_bounded() {
    fuzz::play("retry_after", fuzz::retry_after);
}
