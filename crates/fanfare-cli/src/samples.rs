//! What a shop would tell: one event of each documented type.

/// An event type with a payload that could be real.
pub(crate) const SAMPLES: [(&str, &str); 8] = [
    (
        "customer.created",
        r#"{"customer":{"id":"cus_7402","name":"Zoë Müller","email":"zoe@example.com","locale":"de-CH"}}"#,
    ),
    (
        "product.created",
        r#"{"product":{"id":"prd_1108","sku":"TEE-OAT-M","name":"T-Shirt “Ōsaka”","price":"19.90","currency":"EUR"}}"#,
    ),
    (
        "product.updated",
        r#"{"product":{"id":"prd_1108","sku":"TEE-OAT-M","price":"17.50","currency":"EUR"},"changed":["price"]}"#,
    ),
    (
        "order.created",
        r#"{"order":{"id":"ord_20517","customerId":"cus_7402","items":[{"sku":"TEE-OAT-M","quantity":2,"price":"17.50"},{"sku":"MUG-01","quantity":1,"price":"9.00"}],"shipping":"4.90","total":"48.90","currency":"EUR","note":"Bitte klingeln 🔔"}}"#,
    ),
    (
        "payment.received",
        r#"{"payment":{"id":"pay_90311","orderId":"ord_20517","amount":"48.90","currency":"EUR","method":"card"}}"#,
    ),
    (
        "order.status_changed",
        r#"{"order":{"id":"ord_20517","status":"shipped","previousStatus":"paid"}}"#,
    ),
    (
        "inventory.low",
        r#"{"product":{"id":"prd_1108","sku":"TEE-OAT-M"},"available":3,"reorderLevel":5,"warehouse":"Zürich"}"#,
    ),
    (
        "shipment.delivered",
        r#"{"shipment":{"id":"shp_5521","orderId":"ord_20517","carrier":"La Poste","trackingNumber":"00340434161094015902","signedBy":"Z. Müller"}}"#,
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fanfare::model::CATALOGUE;

    use super::*;

    #[test]
    fn there_is_one_sample_of_each_documented_type_and_all_are_json() {
        let sampled: BTreeSet<&str> = SAMPLES.iter().map(|(name, _)| *name).collect();
        let documented: BTreeSet<&str> = CATALOGUE.iter().map(|known| known.name).collect();
        assert_eq!(sampled, documented);
        for (name, payload) in SAMPLES {
            assert!(fanfare::engine::check_json(payload.as_bytes()).is_ok(), "{name}");
        }
    }
}
