//! How the engine behaves, in the domain's words: on any store, on a manual clock, with a scripted
//! network. One function, one behaviour.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a behaviour that is not kept is a panic")]
#![allow(clippy::cognitive_complexity, reason = "it counts every assertion and await as a branch")]

mod access_taps;
mod api_keys;
mod arrivals;
mod bench;
mod deaths;
mod keys;
mod network;
mod node_taps;
mod notices;
mod order;
mod outages;
mod owns;
mod paces;
mod pulse;
mod rekey;
mod replays;
mod retries;
mod schedules;
mod sequence;
mod shares;
mod switches;
mod tapped;
mod taps;
mod troubles;
mod week;
mod whereabouts;

use std::sync::Arc;

use async_trait::async_trait;
use fanfare::store::Store;

pub use api_keys::*;
pub use arrivals::*;
pub use bench::{BREATH, Bench, DELAYS, LEASE, PAYLOAD, START, SWEEP, event, switched, to_url};
pub use deaths::*;
pub use keys::*;
pub use network::{Network, Reply, Sent};
pub use notices::*;
pub use order::*;
pub use outages::*;
pub use owns::*;
pub use paces::*;
pub use rekey::*;
pub use replays::*;
pub use retries::*;
pub use schedules::*;
pub use sequence::*;
pub use shares::*;
pub use switches::*;
pub use tapped::{Call, Moment, Tapped};
pub use troubles::*;
pub use week::{Trouble, a_week_of_outages_and_crashes};
pub use whereabouts::*;

/// What a store stands on: it is there again after the process has died.
#[async_trait]
pub trait Ground: Send + Sync {
    /// Opens the store, empty the first time.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Turns every behaviour into a test. `$open` is an async function that gives an empty ground.
#[macro_export]
macro_rules! road {
    ($open:path) => {
        $crate::road! { @each $open,
            an_accepted_event_is_delivered_once
            everyone_who_listens_hears_of_it
            what_arrives_is_what_was_emitted_and_signed
            every_attempt_has_the_same_id_and_body
            telling_an_event_twice_is_telling_it_once
            an_event_goes_on_when_its_caller_hangs_up
            a_change_goes_on_when_its_caller_hangs_up
            nothing_is_sent_before_the_start

            a_failing_endpoint_is_retried_on_schedule_until_it_recovers
            retries_are_spread
            a_delivery_out_of_retries_fails_with_the_reason
            without_retries_the_first_failure_is_the_last
            later_attempts_use_the_present_url_and_retries
            retry_after_is_obeyed_in_both_forms_and_capped
            a_redirect_is_a_failure
            every_attempt_is_in_the_history

            gone_fails_the_delivery_and_disables_the_endpoint
            an_endpoint_enabled_after_a_410_goes_on_at_once
            a_disabled_endpoint_holds_what_waits_and_hears_nothing
            an_endpoint_disabled_with_a_backlog_goes_on_when_enabled
            an_endpoint_disabled_and_enabled_at_once_goes_on_at_once
            a_claim_on_its_way_goes_by_what_its_endpoint_is_now
            deleting_an_endpoint_fails_what_waits
            a_replay_has_the_same_id_and_is_marked

            a_rotated_secret_signs_beside_the_old_one_until_its_grace_ends
            a_retry_is_signed_with_the_secret_of_its_time
            a_rotation_waits_for_the_one_before_it_or_ends_it
            a_rotation_on_disk_survives_a_crash_before_its_answer
            an_endpoint_signs_with_a_key_of_its_own_when_asked
            everything_is_sealed_anew_while_deliveries_go_on
            a_rotation_of_the_key_survives_a_crash_at_any_write
            a_key_is_rotated_again_and_again_in_one_life
            a_filter_stops_what_does_not_pass
            headers_of_its_own_go_with_every_request_and_are_not_shown
            a_change_replaces_headers_and_keeps_what_is_masked
            of_two_changes_at_once_none_brings_an_old_header_back
            certificates_of_its_own_go_with_every_request
            what_cannot_be_opened_sends_nothing
            a_double_click_sends_once
            a_crash_in_the_middle_of_a_replay_doubles_nothing
            a_paced_replay_is_sent_at_its_pace_until_it_is_cancelled
            an_endpoint_registered_later_hears_what_happened_before
            two_replays_of_the_same_failures_send_each_once
            a_drained_engine_makes_no_more_of_a_replay
            a_failing_event_holds_up_its_own_key_alone
            an_event_given_up_lets_the_next_one_go
            a_strict_order_is_that_of_acceptance
            order_outlives_the_process
            a_disabled_endpoint_goes_on_in_order
            of_a_flood_the_newest_is_sent_once_a_window
            no_interleaving_inverts_a_key

            a_scheduled_event_is_sent_at_its_time
            times_and_keys_that_cannot_be_are_refused
            nothing_is_sent_after_its_end
            what_waits_is_cancelled_and_what_is_sent_goes_on
            a_hundred_callers_with_one_key_tell_one_event
            a_conflict_in_a_batch_stores_nothing
            a_key_is_known_longer_than_its_event

            a_key_is_looked_up_once_in_a_while
            a_revoked_key_ends_at_once
            a_use_that_cannot_be_noted_fails_no_call
            revoked_keys_go_with_history_and_the_audit_log_later

            a_drained_engine_ends_what_is_in_flight_and_nothing_is_sent_twice
            a_stop_cuts_what_outlasts_its_grace
            what_waits_keeps_its_time_over_a_restart
            a_crash_with_requests_on_the_wire_repeats_only_those
            a_crash_before_the_result_is_on_disk_sends_again
            a_crash_after_the_result_is_on_disk_sends_nothing
            a_crash_right_after_accepting_loses_nothing
            what_is_concluded_stays_concluded

            a_hanging_endpoint_does_not_hold_up_the_others
            many_hanging_endpoints_leave_room_for_one_that_answers
            a_loud_company_does_not_hold_up_another
            a_heavy_backlog_does_not_hold_up_others
            a_backlog_stays_in_the_store_and_drains_in_order
            what_waits_longer_than_its_lease_is_not_sent_twice
            a_newcomer_is_next

the_breaker_opens_at_the_tenth_failure_over_a_minute
            deliveries_are_held_through_an_outage_and_go_out_after_it
            a_probe_is_a_delivery_brought_forward
            an_endpoint_is_back_within_a_minute_of_its_recovery
            an_endpoint_that_fails_for_days_is_disabled_with_the_reason
            a_restart_keeps_an_open_breaker_open
            an_endpoint_that_is_sent_elsewhere_begins_anew
            a_companys_dead_endpoints_do_not_hold_up_its_healthy_one

            retry_after_holds_the_whole_endpoint
            no_second_sees_more_than_the_rate_limit
            a_backlog_drains_slowly_at_first_and_never_above_the_pace
            no_more_are_in_flight_than_the_endpoint_says
            an_outage_of_one_endpoint_slows_no_other

            operational_endpoints_hear_of_an_outage_and_its_end
            operational_endpoints_hear_of_deliveries_that_are_given_up
            operational_endpoints_hear_of_disabled_endpoints
            what_operational_endpoints_are_to_hear_outlives_a_crash
            troubles_of_operational_endpoints_are_not_told

            a_full_disk_refuses_events_and_takes_results_later
            a_disk_full_for_longer_than_a_lease_costs_no_duplicate
            what_falls_due_while_the_database_is_away_is_sent_later
            claims_that_cannot_be_given_back_come_back_by_themselves
            a_panicking_transport_gives_its_place_back
            old_history_is_removed_in_rounds

            an_event_says_who_heard_of_it_and_why_the_others_did_not
            a_delivery_says_what_it_waits_for
            replays_and_deleted_endpoints_are_explained_too
            the_wait_before_each_attempt_is_measured
            of_many_endpoints_a_hundred_others_are_shown_and_the_rest_counted

            any_sequence_ends_with_everything_accounted_for
            any_sequence_with_sudden_crashes_ends_well
        }
    };
    (@each $open:path, $($behaviour:ident)*) => {
        $(
            // One thread: once every task is at rest, nothing happens until time passes.
            #[tokio::test]
            async fn $behaviour() {
                let mut bench = $crate::road::Bench::on($open().await).await;
                $crate::road::$behaviour(&mut bench).await;
                bench.end().await;
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_behaviour_is_run() {
        let listed = include_str!("mod.rs");
        let files = [
            include_str!("api_keys.rs"),
            include_str!("api_keys.rs"),
            include_str!("arrivals.rs"),
            include_str!("order.rs"),
            include_str!("retries.rs"),
            include_str!("schedules.rs"),
            include_str!("switches.rs"),
            include_str!("deaths.rs"),
            include_str!("keys.rs"),
            include_str!("rekey.rs"),
            include_str!("replays.rs"),
            include_str!("shares.rs"),
            include_str!("troubles.rs"),
            include_str!("outages.rs"),
            include_str!("owns.rs"),
            include_str!("paces.rs"),
            include_str!("notices.rs"),
            include_str!("whereabouts.rs"),
            include_str!("sequence.rs"),
        ];
        for line in files.iter().flat_map(|file| file.lines()) {
            if let Some(rest) = line.strip_prefix("pub async fn ") {
                let (behaviour, _) = rest.split_once('(').unwrap();
                let named = listed.lines().any(|line| line.trim() == behaviour);
                assert!(named, "{behaviour} is not in the macro");
            }
        }
    }
}
