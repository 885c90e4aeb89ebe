//! The description of the API, made from the handlers and the forms themselves.

use std::sync::OnceLock;

use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Components, Content, HeaderBuilder, Paths, Ref, RefOr, Required, Response, ResponseBuilder,
};
use utoipa::{Modify, OpenApi};

use crate::{docs, error, seen, v1, w3block};

/// The tags, which are the headings of `/docs`.
pub(crate) const EVENTS: &str = "Events";
/// See [`EVENTS`].
pub(crate) const ENDPOINTS: &str = "Endpoints";
/// See [`EVENTS`].
pub(crate) const KEYS: &str = "Keys";
/// See [`EVENTS`].
pub(crate) const DELIVERIES: &str = "Deliveries";
/// See [`EVENTS`].
pub(crate) const COMPANIES: &str = "Companies";
/// See [`EVENTS`].
pub(crate) const ACCESS: &str = "Access";
/// See [`EVENTS`].
pub(crate) const W3BLOCK: &str = "Companies Webhooks Configurations (Admin)";
/// See [`EVENTS`].
pub(crate) const OPERATION: &str = "Operation";

/// The OpenAPI document, as `/openapi.json` shows it.
pub fn openapi() -> String {
    text().to_owned()
}

/// The document, made once.
pub(crate) fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| Document::openapi().to_pretty_json().unwrap_or_default())
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Fanfare", description = include_str!("openapi.md")),
    paths(
        v1::events::emit,
        v1::events::emit_all,
        v1::events::cancel,
        v1::explain::show,
        v1::matching::endpoints,
        v1::endpoints::register,
        v1::endpoints::list,
        v1::endpoints::show,
        v1::endpoints::change,
        v1::endpoints::delete,
        v1::endpoints::activate,
        v1::endpoints::deactivate,
        v1::keys::rotate,
        v1::keys::list,
        v1::deliveries::list,
        v1::deliveries::show,
        v1::deliveries::replay,
        v1::replays::start,
        v1::replays::list,
        v1::replays::show,
        v1::replays::cancel,
        v1::deliveries::cancel,
        v1::companies::show,
        v1::companies::name,
        v1::api_keys::create,
        v1::api_keys::list,
        v1::api_keys::revoke,
        v1::audit::list,
        w3block::configurations::list,
        w3block::configurations::create,
        w3block::configurations::show,
        w3block::configurations::update,
        w3block::configurations::enable,
        w3block::configurations::disable,
        w3block::webhooks::list,
        w3block::webhooks::show,
        v1::rekey::rotate,
        seen::health,
        seen::ready,
        seen::metrics,
        seen::document,
        docs::page,
        docs::front,
    ),
    components(schemas(error::ErrorDto, w3block::OrderByEnum)),
    tags(
        (name = EVENTS, description = "The way in, and what became of it."),
        (name = ENDPOINTS, description = "Where events are posted: commercio's webhooks."),
        (name = KEYS, description = "What receivers verify signatures with. No token is needed."),
        (name = DELIVERIES, description = "Events on their way: commercio's webhook deliveries."),
        (name = COMPANIES, description = "Tenants."),
        (name = ACCESS, description = "API keys for programs, and who changed what."),
        (name = W3BLOCK, description = "W3Block's interface to the same endpoints and deliveries."),
        (name = OPERATION, description = "For those who run the server. No token is needed to look."),
    ),
    modifiers(&Everywhere)
)]
struct Document;

/// W3Block's name for the way of API keys, and the header that they are in.
const API_KEY: &str = "x-w3block-api-key";

/// What is the same for all operations: who may call, ids in the path, and errors.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Components::new);
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some(
                "A JWT with `exp`, `roles` (one of administrator, admin, superAdmin, integration) \
                 and `tenantId`, the company. superAdmin reaches every company.",
            ))
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let key = ApiKeyValue::with_description(
            API_KEY,
            "An API key of the company. It is accepted as a bearer, too.",
        );
        components.add_security_scheme(API_KEY, SecurityScheme::ApiKey(ApiKey::Header(key)));
        let Paths { paths, .. } = &mut document.paths;
        for (path, item) in paths.iter_mut() {
            let operations =
                [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                complete(path, operation);
            }
        }
    }
}

fn complete(path: &str, operation: &mut Operation) {
    let ids = path.split(['{', '}']).skip(1).step_by(2);
    let of_company = path.contains("{companyId}");
    let ids: Vec<_> = ids.map(id_parameter).collect();
    let with_token = of_company || operation.operation_id.as_deref() == Some("rotateKey");
    if with_token {
        let parameters = operation.parameters.get_or_insert_default();
        parameters.splice(0..0, ids.iter().cloned().map(RefOr::T));
        let bearer: [&str; 0] = [];
        operation.security = Some(vec![
            SecurityRequirement::new("bearer", bearer),
            SecurityRequirement::new(API_KEY, bearer),
        ]);
    }
    let is = |id: &str| operation.operation_id.as_deref() == Some(id);
    let has_body = operation.request_body.is_some();
    if is("rotateSecret")
        && let Some(RefOr::T(body)) = &mut operation.request_body
    {
        body.required = Some(Required::False);
    }
    let applies = |status: u16| match status {
        400 => of_company || is("listWebhookKeys"),
        401 | 403 => with_token,
        404 => ids.len() > 1 || is("getCompany") || is("startReplay"),
        408 | 413 => has_body,
        409 => {
            let those = [
                "emitEvent",
                "emitEvents",
                "cancelDelivery",
                "rotateSecret",
                "startReplay",
                "rotateKey",
            ];
            those.into_iter().any(is)
        }
        410 => is("replayDelivery"),
        429 => !["health", "ready", "metrics"].into_iter().any(is),
        _ => with_token || is("ready") || is("listWebhookKeys"),
    };
    let w3block = operation.tags.iter().flatten().any(|tag| tag == W3BLOCK);
    for (status, description) in REFUSALS {
        if applies(status) {
            let description = match status {
                401 if w3block => W3BLOCK_401,
                403 if is("rotateKey") => "The token is not a superAdmin's.",
                409 if is("rotateSecret") => ROTATE_409,
                409 if is("rotateKey") => ROTATE_KEY_409,
                409 if is("cancelDelivery") => "The delivery has ended already.",
                _ => description,
            };
            let response = refusal(status, description);
            operation.responses.responses.insert(status.to_string(), RefOr::T(response));
        }
    }
}

/// What may be refused, and why.
const REFUSALS: [(u16, &str); 10] = [
    (400, "Something in the request can never work; `message` names it."),
    (
        401,
        "No token or API key, one that is not valid, or a token without a role that administers.",
    ),
    (
        403,
        "The token or API key is for another company (`forbidden`), or the key's scope is not \
         enough (`insufficient_scope`).",
    ),
    (404, "There is no such thing, or it belongs to another company."),
    (408, "The body took too long to arrive."),
    (409, "The id or the Idempotency-Key was used before for something else."),
    (410, "The event's payload has expired, so it cannot be sent again."),
    (413, "The body is too large."),
    (429, "Too many requests for this company or of this address, where limits are set."),
    (
        503,
        "Not now: shutting down (`draining`), the disk is full (`disk_full`) or the database is \
           away (`store_unavailable`).",
    ),
];

/// In W3Block's words.
const W3BLOCK_401: &str = "User doesn't have any of the expected roles: administrator, admin, \
                           superAdmin, integration";

const ROTATE_409: &str = "The secret before this one still signs (`rotation_under_way`); \
                          `message` says until when.";

const ROTATE_KEY_409: &str = "Everything is sealed with the present key, and that was given to the \
                              server (`nothing_to_rotate`); `message` says how to give another.";

fn refusal(status: u16, description: &str) -> Response {
    let error = Content::new(Some(RefOr::Ref(Ref::from_schema_name("Error"))));
    let response =
        ResponseBuilder::new().description(description).content("application/json", error);
    if ![429, 503].contains(&status) {
        return response.build();
    }
    let secs = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    let retry_after = HeaderBuilder::new()
        .schema(Some(secs))
        .description(Some("Seconds after which to try again."));
    response.header("Retry-After", retry_after.build()).build()
}

fn id_parameter(name: &str) -> utoipa::openapi::path::Parameter {
    let uuid = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("uuid".to_owned())));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(uuid))
        .build()
}
