//! What every store must do. One function, one promise of [`fanfare::store`]; every store runs
//! them all.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a promise that is not kept is a panic")]
#![allow(clippy::cognitive_complexity, reason = "it counts every assertion and await as a branch")]

mod api_keys;
mod audit;
mod calls;
mod claims;
mod endpoints;
mod fanout;
mod fixtures;
mod health;
mod histories;
mod journeys;
mod lists;
mod order;
mod queue;
mod races;
mod records;
mod repeats;
mod replays;
mod reseals;
mod selections;
mod upkeep;

pub use api_keys::*;
pub use audit::*;
pub use calls::*;
pub use claims::*;
pub use endpoints::*;
pub use fanout::*;
pub use fixtures::{LEASE, NOW, accept_all, act, attempt, card, endpoint, event};
pub use health::*;
pub use histories::*;
pub use journeys::*;
pub use lists::*;
pub use order::*;
pub use queue::*;
pub use races::*;
pub use records::*;
pub use repeats::*;
pub use replays::*;
pub use reseals::*;
pub use selections::*;
pub use upkeep::*;

/// Turns every promise into a test. `$open` is an async function that opens an empty store; what
/// it returns dereferences to the store and keeps alive what the store stands on.
#[macro_export]
macro_rules! store_contract {
    ($open:path) => {
        $crate::store_contract! { @each $open,
            an_event_reaches_those_who_listen_to_its_type
            an_event_stays_in_its_company
            a_filter_lets_only_some_payloads_through
            an_event_passes_by_disabled_and_deleted_endpoints
            an_event_nobody_hears_is_accepted
            the_first_write_makes_the_company
            an_admitted_delivery_is_claimed_at_birth
            a_delivery_that_is_not_admitted_waits_and_is_due_at_once
            each_delivery_is_admitted_by_itself
            a_company_is_named

            a_claim_excludes_others_until_its_lease_ends
            a_claim_takes_its_limit_and_the_longest_due_first
            a_claim_serves_many_lanes
            a_claim_leaves_disabled_and_deleted_endpoints_alone
            a_claim_tells_when_to_come_again
            a_claim_tells_when_it_was_due
            a_claim_carries_the_endpoint_as_it_is_now_and_the_shape_of_old
            claims_are_given_back_unused
            a_recovered_store_has_no_claims
            recovery_leaves_retries_where_they_are
            racing_claimers_never_get_the_same_delivery

            concluded_is_final
            a_retry_is_due_when_it_says
            a_failed_delivery_says_why
            gone_disables_the_endpoint_and_holds_its_others
            a_stale_claim_records_history_but_changes_nothing
            a_stale_gone_disables_nothing
            a_late_result_counts_if_nobody_else_claimed
            a_held_delivery_still_takes_its_result
            a_batch_of_records_is_judged_one_by_one

            a_probe_brings_forward_what_waits_for_a_retry
            a_probe_takes_what_is_due_first
            a_probe_is_counted_as_an_attempt_and_as_a_probe
            a_result_brings_along_how_its_endpoint_does
            an_endpoint_that_is_given_up_is_disabled_with_the_reason
            notices_reach_the_operational_endpoints_that_listen
            a_notice_that_nobody_hears_is_not_stored
            operational_events_and_others_never_meet

            a_repeated_id_is_answered_the_same
            a_repeated_key_is_answered_the_same
            another_event_under_the_same_id_or_key_is_a_conflict
            ids_and_keys_belong_to_their_company
            a_receipt_tells_what_was_answered_then
            a_hundred_emits_with_one_key_are_one_event
            a_crowd_is_accepted_whole

            a_call_is_stored_in_its_order
            a_call_with_a_conflict_stores_nothing
            a_call_may_repeat_itself
            the_first_name_that_is_known_decides
            a_delivery_is_due_at_its_events_time
            an_event_that_has_expired_is_not_stored
            what_has_expired_lapses_in_slices
            only_what_waits_is_ended

            only_the_first_of_a_key_is_claimed
            in_a_strict_order_everything_waits_for_what_came_before
            whatever_ends_a_delivery_lets_the_next_one_go
            what_is_let_go_may_be_claimed_at_once
            a_replay_waits_for_others_of_its_key
            racing_emits_and_results_leave_one_of_each_key_to_go
            a_newer_delivery_supersedes_those_of_its_type_and_key
            a_failed_attempt_gives_way_to_a_newer_delivery
            superseding_keeps_the_order
            a_call_supersedes_its_own

            a_replay_is_a_new_delivery_of_the_same_event
            a_replay_needs_a_delivery_and_an_endpoint
            a_second_click_is_answered_with_the_first_replay
            two_clicks_at_once_are_one_replay
            a_replay_of_many_is_asked_for_once
            a_replays_key_is_answered_the_same
            a_replay_goes_on_where_it_stopped
            a_replay_keeps_its_pace
            a_cancelled_replay_makes_no_more
            replays_are_listed_until_they_are_forgotten
            listed_deliveries_are_repeated_where_they_can_be
            failures_are_repeated_unless_repeated_before
            failures_are_selected_by_endpoint_and_type
            what_was_given_up_on_purpose_stays_so
            events_reach_endpoints_that_listen_today
            events_are_selected_by_type_and_time
            what_nobody_heard_stays_while_it_is_replayed
            a_count_is_what_a_replay_makes

            lanes_are_those_that_wait_and_may_go
            lanes_are_read_on_from_any_place

            bytes_in_are_bytes_out
            attempts_are_kept_whole_and_in_order
            history_shows_the_newest_attempt
            history_is_read_on_by_cursor
            another_companys_ids_are_not_found

            an_event_is_found_in_its_company
            the_deliveries_of_an_event_come_with_their_attempts_in_pages
            who_has_no_delivery_of_an_event_is_listed_and_counted
            a_deleted_endpoint_is_still_known
            the_first_in_order_is_one_that_waits

            deliveries_come_in_pages
            deliveries_are_sorted_by_every_key_both_ways
            deliveries_are_searched_by_literal_text_and_exact_id
            totals_are_right_after_every_step
            endpoints_come_in_pages
            endpoints_are_sorted_by_every_key_both_ways
            endpoints_are_searched_by_literal_text

            an_endpoint_is_kept_whole
            a_change_is_kept_and_moves_updated_at_only_if_it_is_one
            a_change_of_a_secret_that_was_replaced_changes_nothing
            a_secret_that_signs_no_more_goes_with_the_next_change
            disabling_and_enabling_can_be_repeated
            a_deleted_endpoint_is_gone_but_its_history_stays
            endpoints_are_read_on_by_cursor
            endpoints_of_all_companies_are_read_on_by_id

            a_key_is_kept_whole_and_found_by_its_hash
            a_key_makes_the_company
            keys_are_read_on_by_cursor
            a_key_is_revoked_once
            the_latest_use_of_a_key_is_noted
            keys_of_no_use_are_forgotten_in_slices

            an_entry_tells_who_when_what_and_which_fields
            every_change_is_noted_and_nothing_else
            an_endpoint_that_the_engine_disables_is_noted_as_its_own_act
            entries_are_read_on_by_cursor_and_by_subject
            old_entries_are_forgotten_in_slices

            a_deleted_endpoints_deliveries_are_buried_in_slices
            final_history_expires_in_slices
            what_waits_never_expires
            a_walk_through_what_is_old_reaches_everything_and_ends
            old_payloads_are_emptied_and_nothing_else
            an_event_expires_with_its_last_delivery
            names_are_forgotten_in_slices
            a_value_is_agreed_on_once
            a_kept_value_is_replaced_only_as_it_is_known
            what_is_sealed_anew_takes_the_place_of_what_it_was
            what_is_sealed_is_listed_with_older_secrets_and_that_of_deleted_endpoints
            a_store_that_works_is_ready
            a_closed_store_answers_nothing
            a_busy_store_checks_out
        }
    };
    (@each $open:path, $($promise:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let store = $open().await;
                $crate::contract::$promise(&*store).await;
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_promise_is_run() {
        let listed = include_str!("mod.rs");
        let files = [
            include_str!("api_keys.rs"),
            include_str!("audit.rs"),
            include_str!("calls.rs"),
            include_str!("claims.rs"),
            include_str!("endpoints.rs"),
            include_str!("fanout.rs"),
            include_str!("health.rs"),
            include_str!("histories.rs"),
            include_str!("journeys.rs"),
            include_str!("lists.rs"),
            include_str!("order.rs"),
            include_str!("queue.rs"),
            include_str!("races.rs"),
            include_str!("records.rs"),
            include_str!("repeats.rs"),
            include_str!("replays.rs"),
            include_str!("reseals.rs"),
            include_str!("selections.rs"),
            include_str!("upkeep.rs"),
        ];
        for line in files.iter().flat_map(|file| file.lines()) {
            if let Some(rest) = line.strip_prefix("pub async fn ") {
                let (promise, _) = rest.split_once('(').unwrap();
                let named = listed.lines().any(|line| line.trim() == promise);
                assert!(named, "{promise} is not in the macro");
            }
        }
    }
}
