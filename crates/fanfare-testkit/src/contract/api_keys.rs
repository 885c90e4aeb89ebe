//! Keys that programs call with.

use fanfare::model::{ApiKey, ApiKeyId, CompanyId, KeyHash, Scope};
use fanfare::store::Store;

use super::fixtures::{NOW, SECOND, act, assert_sound, company};

/// A key that works for ever.
fn key(company: CompanyId) -> ApiKey {
    let id = ApiKeyId::new(NOW);
    let mut hash = [7; 32];
    hash[..16].copy_from_slice(id.uuid().as_bytes());
    ApiKey {
        id,
        company,
        name: "Café O'Brien's till \"7\" 北京".to_owned(),
        hash: KeyHash(hash),
        hint: "x_-4".to_owned(),
        scope: Scope::Read,
        created_at: NOW,
        expires_at: None,
        used_at: None,
        revoked_at: None,
    }
}

async fn added(store: &dyn Store, company: CompanyId) -> ApiKey {
    let key = key(company);
    store.add_api_key(&key, &act(NOW)).await.unwrap();
    key
}

/// Whether or not it works; and in its own company alone.
pub async fn a_key_is_kept_whole_and_found_by_its_hash(store: &dyn Store) {
    let company = company();
    for scope in [Scope::Emit, Scope::Read, Scope::Admin] {
        let (later, past) = (NOW.plus(SECOND), NOW.minus(SECOND));
        let times = [(None, None, None), (Some(past), Some(later), Some(NOW))];
        for (expires_at, used_at, revoked_at) in times {
            let kept = ApiKey { scope, expires_at, used_at, revoked_at, ..key(company) };
            store.add_api_key(&kept, &act(NOW)).await.unwrap();
            let found = store.api_key(company, &kept.hash).await.unwrap();
            assert_eq!(found, Some(kept.clone()));
            let other = super::fixtures::company();
            assert_eq!(store.api_key(other, &kept.hash).await.unwrap(), None);
        }
    }
    assert_eq!(store.api_key(company, &KeyHash([0; 32])).await.unwrap(), None);
    assert_sound(store).await;
}

/// As any write does that names it.
pub async fn a_key_makes_the_company(store: &dyn Store) {
    let company = company();
    added(store, company).await;
    let made = store.company(company).await.unwrap().unwrap();
    assert_eq!((made.name.as_str(), made.created_at), ("", NOW));
    assert_sound(store).await;
}

/// The newest first, and those of the company alone.
pub async fn keys_are_read_on_by_cursor(store: &dyn Store) {
    let company = company();
    let mut keys = Vec::new();
    for _ in 0..5 {
        keys.push(added(store, company).await);
    }
    added(store, super::fixtures::company()).await;
    store.revoke_api_key(company, keys[0].id, &act(NOW)).await.unwrap();
    keys[0].revoked_at = Some(NOW);
    keys.reverse();
    let (mut read, mut before) = (Vec::new(), None);
    loop {
        let page = store.api_keys_before(company, before, 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        read.extend(page);
    }
    assert_eq!(read, keys);
}

/// The first time counts; another company's key is not there.
pub async fn a_key_is_revoked_once(store: &dyn Store) {
    let company = company();
    let key = added(store, company).await;
    let other = super::fixtures::company();
    assert!(!store.revoke_api_key(other, key.id, &act(NOW)).await.unwrap());
    assert!(!store.revoke_api_key(company, ApiKeyId::new(NOW), &act(NOW)).await.unwrap());
    assert_eq!(store.api_key(company, &key.hash).await.unwrap(), Some(key.clone()));
    for later in [1, 2] {
        let act = act(NOW.plus(SECOND * later));
        assert!(store.revoke_api_key(company, key.id, &act).await.unwrap());
        let found = store.api_key(company, &key.hash).await.unwrap().unwrap();
        assert_eq!(found.revoked_at, Some(NOW.plus(SECOND)));
    }
    assert_sound(store).await;
}

/// Whatever comes in whichever order.
pub async fn the_latest_use_of_a_key_is_noted(store: &dyn Store) {
    let company = company();
    let key = added(store, company).await;
    let other = added(store, company).await;
    for (used, noted) in [(2, 2), (5, 5), (3, 5)] {
        store.note_use(company, key.id, NOW.plus(SECOND * used)).await.unwrap();
        let found = store.api_key(company, &key.hash).await.unwrap().unwrap();
        assert_eq!(found.used_at, Some(NOW.plus(SECOND * noted)));
    }
    assert_eq!(store.api_key(company, &other.hash).await.unwrap(), Some(other));
}

/// Those that were revoked or had expired before, and no others.
pub async fn keys_of_no_use_are_forgotten_in_slices(store: &dyn Store) {
    let company = company();
    let before = NOW.plus(SECOND);
    let times = [(None, None), (Some(NOW), None), (None, Some(NOW)), (Some(before), Some(before))];
    let mut kept = Vec::new();
    for (expires_at, revoked_at) in times.into_iter().cycle().take(8) {
        let key = ApiKey { expires_at, revoked_at, ..key(company) };
        store.add_api_key(&key, &act(NOW)).await.unwrap();
        if expires_at != Some(NOW) && revoked_at != Some(NOW) {
            kept.insert(0, key);
        }
    }
    for (limit, gone) in [(3, 3), (3, 1), (3, 0)] {
        assert_eq!(store.forget_api_keys(before, limit).await.unwrap(), gone);
    }
    assert_eq!(store.api_keys_before(company, None, 100).await.unwrap(), kept);
    assert_sound(store).await;
}
